"""Print a script by which a shell completes vita-mm: verbs, options, files.

    bash   add  eval "$(vita-mm completion bash)"  to ~/.bashrc
    zsh    vita-mm completion zsh > ~/.zfunc/_vita-mm, a folder of $fpath
    fish   vita-mm completion fish > ~/.config/fish/completions/vita-mm.fish

The script knows all by itself: completing starts no Python.
"""
import argparse

# It asks nothing of vita_mm, which would take seconds of every new shell.
LIGHT = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('shell', choices=('bash', 'zsh', 'fish'))


def main(args: argparse.Namespace) -> None:
    import shtab

    from .main import make_parser

    parser = make_parser()
    complete_files(parser, shtab.FILE)
    print(shtab.complete(parser, args.shell))


def complete_files(parser: argparse.ArgumentParser, files: dict) -> None:
    """Say that what has no choices may be a file."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                complete_files(verb, files)
        elif action.choices is None and action.nargs != 0:
            action.complete = files  # type: ignore[attr-defined]
