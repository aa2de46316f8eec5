"""List the configs that come with this package, or copy them to edit.

    vita-mm configs [WORD]            those with the word in their path
    vita-mm configs --copy [FOLDER]   all of them, to FOLDER (configs)

Wherever a config is named, the current folder is looked at before the package: with a
copy in its folder `configs` every verb uses that.
"""
import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('word', nargs='?', default='')
    parser.add_argument('--copy', nargs='?', const='configs', metavar='FOLDER', type=Path)


def main(args: argparse.Namespace) -> None:
    import shutil
    import tempfile

    from vita_mm.errors import UserError
    from vita_mm.io.files import ROOT

    source = ROOT / 'configs'
    if args.copy is None:
        for path in sorted(source.rglob('*.py')):
            name = path.relative_to(ROOT).as_posix()
            if '_base_' not in path.parts and args.word in name:
                print(name)
        return
    if args.copy.exists():
        raise UserError(f'{args.copy} is there already: name another folder')
    with tempfile.TemporaryDirectory(dir=args.copy.parent, prefix='.configs-') as folder:
        whole = Path(folder, 'configs')
        shutil.copytree(source, whole, ignore=shutil.ignore_patterns('__pycache__'))
        whole.rename(args.copy)
    print(f'the configs are in {args.copy}')
