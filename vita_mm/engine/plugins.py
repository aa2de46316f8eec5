"""Code of the user's own that a config names: modules beside it, or on ``PYTHONPATH``."""
import sys
from collections.abc import Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from mmengine.config import Config

from vita_mm.errors import UserError


def add_to_path(folders: Iterable[str]) -> None:
    """Let modules in these folders be imported, after all others of their names."""
    for folder in folders:
        if folder not in sys.path:
            sys.path.append(folder)


def folder_of(path: str | Path) -> str:
    """The folder of a config, beside which its plug-ins may lie."""
    return str(Path(path).resolve().parent)


def plugins_of(config: Config) -> list[str]:
    """The modules that a config imports."""
    imports = (config.get('custom_imports') or {}).get('imports') or []
    return [imports] if isinstance(imports, str) else list(imports)


def check_plugins(config: Config, path: str | Path) -> None:
    """A plug-in beside a config must be the one that was imported.

    Raises:
        UserError: if another file of the same name came first.
    """
    for name in plugins_of(config):
        top = name.partition('.')[0]
        beside = PathFinder.find_spec(top, [folder_of(path)])
        if beside is None or beside.origin is None or top not in sys.modules:
            continue
        imported = getattr(sys.modules[top], '__file__', None)
        if imported is None or Path(imported).resolve() != Path(beside.origin).resolve():
            raise UserError(f'{path}: its plug-in {beside.origin} has the name of '
                            f'{imported}, which came first: rename one of them')


def explain(error: BaseException) -> str:
    """Why an import failed; MMEngine (0.10.7) hides it behind two exceptions more."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    if isinstance(error, ModuleNotFoundError):
        return f'there is no module {error.name} beside it or on PYTHONPATH'
    return str(error)
