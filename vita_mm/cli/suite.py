"""Every table, figure and ablation of the paper, compared with it.

    vita-mm suite [run]    all of the miniature, then the report
    vita-mm suite plan     what would run, and why; nothing does
    vita-mm suite report   the report from what is done

    --suite paper        the same on Kinetics and the zero-shot datasets
    --only 'table6/*'    only what these rows need
    --seeds 3            trainings with seeds 0, 1 and 2
    --publish FOLDER     with report: keep it there, if it is of one clean commit

Interrupt it at any moment and start it again: what is done is kept, what was going on
resumes from its checkpoint. Everything is under work_dirs/ablations/SUITE, the report
in its folder report.
"""
import argparse
from pathlib import Path

from .arguments import add_config_options, add_trust_argument

MAIN = Path(__file__).with_name('main.py')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('verb', nargs='?', default='run',
                        choices=('plan', 'run', 'report'))
    parser.add_argument('--suite', default='mini', help='mini, paper or a .yaml file')
    parser.add_argument('--out', type=Path, help='default work_dirs/ablations/SUITE')
    parser.add_argument('--only', metavar='PATTERN', help="such as 'table6/*' or fig4")
    parser.add_argument('--seeds', type=int,
                        help="how many of each row that asks for no more; default as "
                        "last time, at first the suite's")
    add_config_options(parser, help='overrides of every config, such as '
                       'model.clip.pretrained=FILE; default as last time')
    parser.set_defaults(cfg_options=None)
    parser.add_argument('--timeout', type=float, help='seconds that one run may take')
    parser.add_argument('--trust-code', action='store_true',
                        help='keep results although the code has changed since')
    add_trust_argument(parser)
    parser.add_argument('--publish', type=Path, metavar='FOLDER',
                        help='of report: write it here, too, to be kept in a repository; '
                        'only if all runs are of one commit without changes')
    parser.add_argument('--launcher', default='none',
                        choices=('none', 'pytorch', 'slurm'),
                        help='of each run: one process, torchrun, or a Slurm job')
    parser.add_argument('--executor', metavar='MODULE:CLASS',
                        help='one of your own in its place, see docs/results.md')
    parser.add_argument('--jobs', type=int, help='runs at the same time')
    parser.add_argument('--gpus', type=int, default=0,
                        help='processes of a run on each node, one a GPU')
    parser.add_argument('--nodes', type=int, default=1, help='machines of a run')
    add_config_options(parser, '--slurm',
                       help='options of the jobs, such as partition=gpu account=me')


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    for name in ('seeds', 'jobs', 'nodes'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f'--{name} is at least 1')
    if args.publish and args.verb != 'report':
        parser.error('--publish is for report: what runs on is not published')
    if args.launcher == 'none' and not args.executor and (args.gpus or args.nodes > 1):
        parser.error('--gpus and --nodes are for --launcher pytorch or slurm')
    if args.launcher == 'pytorch' and not args.gpus:
        parser.error('--launcher pytorch needs --gpus, the processes of a run')


def make_plan(suite, args: argparse.Namespace):
    """The plan with the options of this call, or else of the last one."""
    from vita_mm.harness.run.plan import Plan
    from vita_mm.harness.run.sweep import Settings

    path = args.out / 'sweep.json'
    last = Settings.read(path) or Settings(seeds=suite.seeds)
    seeds = args.seeds or last.seeds
    options = last.options if args.cfg_options is None else args.cfg_options
    plan = Plan(suite, args.out, seeds, options, args.trust_code,
                args.trust_data or None)
    if args.verb == 'run':
        Settings(seeds=seeds, options=options).write(path)
    return plan


def make_executor(args: argparse.Namespace):
    if args.executor:
        from vita_mm.harness.executors.protocol import load_executor
        return load_executor(args.executor)(
            out=args.out, nodes=args.nodes, gpus=args.gpus, jobs=args.jobs)
    if args.launcher == 'slurm':
        from vita_mm.harness.executors.slurm import SlurmExecutor
        return SlurmExecutor(args.out, args.nodes, args.gpus, args.jobs, args.slurm)
    if args.nodes > 1:
        from vita_mm.harness.executors.nodes import NodesExecutor
        return NodesExecutor(args.nodes, args.gpus)
    from vita_mm.harness.executors.local import LocalExecutor
    return LocalExecutor(args.jobs, args.gpus)


def show_plan(plan, args: argparse.Namespace, console) -> None:
    from rich import box
    from rich.table import Table

    from vita_mm.harness.report.console import shown
    from vita_mm.harness.run.estimate import Estimates, say_time

    runs = plan.select(args.only)
    estimates = Estimates(plan)
    todo = [run for run in runs if not run.done]
    table = Table('run', 'rows', 'state', 'time', box=box.SIMPLE_HEAD,
                  title=shown(f'{plan.suite.title}: {len(runs)} runs'))
    table.columns[0].overflow = 'fold'
    reasons: dict[str, list[str]] = {}
    for run in runs:
        more = f' +{len(run.rows) - 1}' if len(run.rows) > 1 else ''
        table.add_row(shown(run.name), shown(run.rows[0] + more), run.status.state,
                      '' if run.done else say_time(estimates.of(run)))
        for reason in run.status.reasons:
            reasons.setdefault(reason, []).append(run.name)
    console.print(table)
    for sentence in plan.shared(runs):
        console.print(shown(sentence), soft_wrap=True)
    for reason, names in reasons.items():
        more = f' and {len(names) - 1} more' if len(names) > 1 else ''
        console.print(shown(f'{names[0]}{more}: {reason}'), soft_wrap=True)
    if not todo:
        console.print('all done')
        return
    device = 'A100' if plan.suite.compared == 'values' else 'core'
    console.print(f'{len(runs) - len(todo)} done, {len(todo)} to run: about '
                  f'{say_time(estimates.of_all(todo))} of one {device}, an estimate '
                  'from earlier runs where there are any')


def run(suite, args: argparse.Namespace, console) -> int:
    from rich.text import Text

    from vita_mm.harness.report.console import shown
    from vita_mm.harness.report.gather import gather
    from vita_mm.harness.report.publish import Publisher
    from vita_mm.harness.run.sweep import Sweep
    from vita_mm.io.files import lock

    held = lock(args.out / 'lock', f'another call works on {args.out}')
    executor = make_executor(args)
    if suite.prepare:
        prepare(suite.prepare)
    plan = make_plan(suite, args)
    publisher = Publisher(suite, args.out)
    parent = publisher.runs_parent()
    publisher.deliver()  # jobs that start together would all try to set up a database

    def publish() -> None:
        publisher.publish(gather(plan))
        publisher.deliver()

    sweep = Sweep(plan, executor, parent, console, ended=publish)
    failed = sweep.run(plan.select(args.only))
    report(plan, console)
    send(plan, publisher)
    for name, why in failed.items():
        console.print(Text('failed ', 'red') + shown(f'{name}: {why}'), soft_wrap=True)
    executor.close()
    held.close()
    return 1 if failed else 0


def prepare(command: str) -> None:
    """Make the data of the suite, if they are not there.

    Args:
        command: a verb with its arguments, or the same of a Python script.
    """
    import shlex
    import subprocess
    import sys

    from vita_mm.errors import UserError
    from vita_mm.io.files import locate
    from vita_mm.io.processes import die_with_parent

    first, *rest = shlex.split(command)
    script = [locate(first)] if first.endswith('.py') else [str(MAIN), first]
    # Were this process killed, the next call must not find another one at work.
    done = subprocess.run([sys.executable, *script, *rest], preexec_fn=die_with_parent)
    if done.returncode:
        raise UserError(f'{command!r} did not make the data of the suite')


def report(plan, console, folder: Path | None = None) -> None:
    """Write the report and print it; publish it to a folder, if one is given."""
    from vita_mm.harness.report.console import print_report, shown
    from vita_mm.harness.report.content import compose
    from vita_mm.harness.report.gather import gather
    from vita_mm.harness.report.provenance import find_provenance
    from vita_mm.harness.report.report import publish_report, write_report

    found = compose(plan.suite, gather(plan), find_provenance(plan))
    print_report(found, console)
    page = write_report(found, plan.out / 'report')
    console.print(shown(f'report: {page}'), soft_wrap=True)
    if folder is not None:
        page = publish_report(found, folder)
        console.print(shown(f'published: {page}'), soft_wrap=True)


def send(plan, publisher) -> None:
    """Send the numbers and the report to MLflow."""
    from vita_mm.harness.report.gather import gather

    publisher.publish(gather(plan))
    publisher.attach(plan.out / 'report')
    publisher.deliver()


def main(args: argparse.Namespace) -> int:
    from dataclasses import replace

    from rich.console import Console

    from vita_mm.harness.spec.suite import read_suite
    from vita_mm.io.files import lock

    suite = read_suite(args.suite)
    if args.timeout:
        suite = replace(suite, timeout=args.timeout)
    args.out = args.out or Path('work_dirs/ablations') / suite.name
    console = Console()
    if args.verb == 'run' and args.launcher == 'pytorch':
        from vita_mm.harness.executors.nodes import follow, node_rank
        if node_rank():
            return follow(args.nodes, args.gpus)
    if args.verb == 'run':
        return run(suite, args, console)
    plan = make_plan(suite, args)
    if args.verb == 'plan':
        show_plan(plan, args, console)
        return 0
    report(plan, console, args.publish)
    from vita_mm.harness.report.publish import Publisher
    held = lock(args.out / 'lock',
                f'MLflow is left to the call that works on {args.out}')
    send(plan, Publisher(suite, args.out))
    held.close()
    return 0
