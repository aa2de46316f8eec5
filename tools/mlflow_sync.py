"""Send MLflow records that are still in work dirs because the server was away.

    python tools/mlflow_sync.py WORK_DIR...

They go to MLFLOW_TRACKING_URI or, if it is not set, where the run meant to send them.
"""
import argparse

from vita_mm import tracking
from vita_mm.errors import UserError, cli_errors


def send_work_dir(work_dir: str, journals: list[tracking.Journal]) -> None:
    """Send what is left of all runs of a work dir and say so."""
    total, running = 0, 0
    for journal in journals:
        try:
            count = tracking.sync(journal)
        except tracking.ServerAway as error:
            raise UserError(
                f'MLflow server {tracking.redact(tracking.sync_uri(journal))} does not '
                f'answer; {journal.count_unsent()} records stay in {journal.folder} '
                f'({error})') from error
        running += count is None
        total += count or 0
    print(f'{work_dir}: sent {total} records of {len(journals) - running} runs'
          + (f'; {running} still going on send their own' if running else ''))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR')
    found = {folder: tracking.find_journals(folder)
             for folder in parser.parse_args().work_dirs}
    for folder, journals in found.items():
        if not journals:
            raise UserError(f'{folder} has no MLflow journal; give the work dir of a '
                            'run, which holds a folder "mlflow"')
    for folder, journals in found.items():
        send_work_dir(folder, journals)


if __name__ == '__main__':
    with cli_errors():
        main()
