"""Send MLflow records that are still in work dirs because the server was away.

    vita-mm sync FOLDER...

All journals below each folder are sent, to MLFLOW_TRACKING_URI or, if it is not set,
where the run meant to send them. Runs whose process was killed are closed as KILLED.
"""
import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', metavar='FOLDER',
                        help='a work dir, or any folder above some')


def main(args: argparse.Namespace) -> None:
    from vita_mm import tracking
    from vita_mm.errors import UserError
    found = {folder: tracking.find_journals(folder, below=True)
             for folder in args.folders}
    problems = []
    for folder, journals in found.items():
        headless = [str(journal.path)
                    for journal in tracking.find_folders(folder, below=True)
                    if journal.is_headless()]
        if not journals and not headless:
            raise UserError(f'{folder} has no MLflow journal; give the work dir of a '
                            'run, which holds a folder "mlflow"')
        problems += [f'{path} has no header that can be read' for path in headless]
    problems += [send(folder, journals) for folder, journals in found.items()]
    if any(problems):
        raise UserError('; '.join(filter(None, problems)))


def send(folder: str, journals: list) -> str:
    """Send what is left of all runs below a folder; what could not be sent, and why."""
    from vita_mm import tracking
    from vita_mm.errors import UserError
    total = running = unsent = 0
    away = {}
    for journal in journals:
        place = journal.header['uri']
        try:
            count = None if place in away else tracking.sync(journal)
        except (tracking.ServerAway, UserError) as error:
            away[place], count = error, None
        left = journal.count_unsent()
        if place in away:
            unsent += left
            continue
        running += count is None
        total += count or 0
        unsent += left if count is not None else 0
    print(f'{folder}: sent {total} records of {len(journals) - running} runs'
          + (f'; {running} are written by a process that sends them, or by another user'
             if running else ''))
    why = ''.join(f': MLflow {error}' for error in away.values())
    return unsent and f'{unsent} records stay in {folder}{why}'
