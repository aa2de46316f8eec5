"""Vita-CLIP and its rivals on MMAction2: one command, a verb for each job.

Each verb is a module of this folder, with

    add_arguments(parser)           its arguments
    check_arguments(parser, args)   where some do not go together (may be left out)
    main(args)                      the work; returns an exit code, or None for 0
    LIGHT = True                    where that needs nothing of ``vita_mm``

Until the arguments are right nothing but the standard library is imported, so that
``--help`` does not wait for torch: the folder is imported under a name of its own, for
``vita_mm`` itself takes seconds, and verbs import what they need in ``main``. Started by
its path, this file is the command ``vita-mm``.
"""
import argparse
import difflib
import importlib
import importlib.util
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

PACKAGE = 'vita_mm_cli'
COMMAND = 'vita-mm'
FOLDER = Path(__file__).resolve().parent
# Verb to its module.
VERBS = {
    'demo': 'demo',
    'train': 'train',
    'test': 'test',
    'zero-shot': 'zero_shot',
    'predict': 'predict',
    'convert': 'convert_checkpoint',
    'rollout': 'rollout',
    'confusion': 'confusion',
    'costs': 'costs',
    'systems': 'systems',
    'recipes': 'recipes',
    'suite': 'suite',
    'prepare': 'prepare',
    'check': 'check',
    'mini': 'mini',
    'parity': 'parity',
    'sync': 'sync',
    'configs': 'configs',
    'completion': 'completion',
}
ABOUT = 'Vita-CLIP and its rivals as plug-ins for MMAction2, tracked in MLflow.'
MORE = f'{COMMAND} VERB --help says what a verb does and takes.'


def load(module: str) -> ModuleType:
    """A module of this folder, without importing ``vita_mm``."""
    if PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACKAGE, FOLDER / '__init__.py', submodule_search_locations=[str(FOLDER)])
        assert spec is not None and spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        sys.modules[PACKAGE] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f'{PACKAGE}.{module}')


def run(verb: str, arguments: Sequence[str], prog: str | None = None) -> int:
    """Do what a verb does; returns its exit code."""
    module = load(VERBS[verb])
    parser = argparse.ArgumentParser(
        prog=prog or f'{COMMAND} {verb}', description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    args = parser.parse_args(arguments)
    if hasattr(module, 'check_arguments'):
        module.check_arguments(parser, args)
    if getattr(args, 'processes', None) and args.launcher != 'pytorch':
        load('distributed').start(verb, arguments, args, parser)
    if getattr(module, 'LIGHT', False):
        return module.main(args) or 0
    from vita_mm.errors import cli_errors
    from vita_mm.io.processes import keep_imports

    keep_imports()
    # torchrun and Slurm end a run by SIGTERM: as on Ctrl-C, it says so first.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with cli_errors():
            return module.main(args) or 0
    finally:
        signal.signal(signal.SIGTERM, before)
    return 2  # not reached: cli_errors exits


def make_parser() -> argparse.ArgumentParser:
    """The whole command with all of its verbs, for its help and for completion."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=ABOUT, epilog=MORE)
    version = runpy.run_path(str(FOLDER.parent / 'version.py'))['__version__']
    parser.add_argument('--version', action='version', version=f'{COMMAND} {version}')
    verbs = parser.add_subparsers(title='verbs', metavar='VERB', required=True)
    for verb, name in VERBS.items():
        module = load(name)
        first = (module.__doc__ or '').split('\n')[0]
        module.add_arguments(verbs.add_parser(verb, help=first.rstrip('.')))
    return parser


def main(arguments: Sequence[str]) -> int:
    """The command ``vita-mm``; returns its exit code."""
    first = arguments[0] if arguments else '--help'
    if first in VERBS:
        return run(first, arguments[1:])
    if first.startswith('-'):
        make_parser().parse_args([first])
    near = difflib.get_close_matches(first, VERBS, n=1, cutoff=0.5)
    print(f'error: there is no verb {first!r}'
          + (f'; did you mean {near[0]!r}?' if near
             else f': {COMMAND} --help lists them'), file=sys.stderr)
    return 2


def run_tool(verb: str) -> None:
    """For ``tools/NAME.py``: a verb under the name of the script."""
    code = run(verb, sys.argv[1:], Path(sys.argv[0]).name)
    if code:
        sys.exit(code)


if __name__ == '__main__':
    # The modules beside this one are no modules of their own.
    sys.path[:] = [path for path in sys.path if path != str(FOLDER)]
    sys.exit(main(sys.argv[1:]))
