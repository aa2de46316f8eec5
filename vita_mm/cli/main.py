"""Vita-CLIP and its rivals on MMAction2: one command, a verb for each job.

Each verb is a module of this folder, with

    add_arguments(parser)           its arguments
    check_arguments(parser, args)   where some do not go together (may be left out)
    main(args)                      the work; returns an exit code, or None for 0

Until the arguments are right nothing but the standard library is imported, so that
``--help`` does not wait for torch: the folder is imported under a name of its own, for
``vita_mm`` itself takes seconds, and verbs import what they need in ``main``.
"""
import argparse
import importlib
import importlib.util
import signal
import sys
from pathlib import Path
from types import ModuleType

PACKAGE = 'vita_mm_cli'
FOLDER = Path(__file__).resolve().parent
# Verb to its module.
VERBS = {'demo': 'demo', 'predict': 'predict', 'zero-shot': 'zero_shot'}


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


def run(verb: str, arguments: list[str], prog: str | None = None) -> int:
    """Do what a verb does; returns its exit code."""
    module = load(VERBS[verb])
    parser = argparse.ArgumentParser(
        prog=prog, description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    module.add_arguments(parser)
    args = parser.parse_args(arguments)
    if hasattr(module, 'check_arguments'):
        module.check_arguments(parser, args)
    from vita_mm.errors import cli_errors

    # torchrun and Slurm end a run by SIGTERM: as on Ctrl-C, it says so first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        return module.main(args) or 0
    return 2  # not reached: cli_errors exits


def run_tool() -> None:
    """For ``tools/VERB.py``: the verb of the script's name."""
    script = Path(sys.argv[0])
    sys.exit(run(script.stem.replace('_', '-'), sys.argv[1:], script.name))
