"""The code that a run depends on: the import closure of the classes its config names.

Imports are followed in what is ours: this package and plug-ins, not installed libraries,
whose versions a run records. A name that a package's ``__init__`` passes on leads to the
module that defines it, so that the modules beside that one do not count.
"""
import ast
import copy
import functools
import hashlib
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

import mmaction.registry  # noqa: F401  (children of MMEngine's registries)
import mmengine.registry
from mmengine.registry import Registry

OURS = 'vita_mm'
# They carry numbers, show them or keep them, and decide none.
CARRIERS = tuple(f'{OURS}.{name}' for name in (
    'analysis.confusion', 'analysis.predictions', 'cli', 'compat', 'description',
    'errors', 'harness', 'io', 'models.common.description', 'tracking', 'version'))
# How a run is put together, whatever classes it has: of these modules what is reached
# from these functions.
PATHS = {f'{OURS}.harness.run.execute': ('divide_batch', 'equip', 'train', 'test'),
         f'{OURS}.engine.runs': ('build_runner', 'keep_test_only')}
LIBRARIES = tuple({os.path.join(os.path.realpath(path), '') for path in (
    *(sysconfig.get_path(name) for name in (
        'stdlib', 'platstdlib', 'purelib', 'platlib')),
    *site.getsitepackages(), site.getusersitepackages())})
STOCK = ('mm', 'torch')  # custom_imports may name libraries too


def digest_code(types: Iterable[str | type], plugins: Iterable[str] = ()
                ) -> dict[str, str]:
    """Digests of what decides the numbers of a run, without comments and docstrings.

    Args:
        types: the classes that its config names.
        plugins: the modules that its config imports, which count whole.

    Returns:
        File, such as ``vita_mm/models/common/vision.py``, to digest.
    """
    closure = Closure(plugins)
    closure.follow_types(types)
    for module in PATHS:
        closure.add(module)
    return closure.digests()


def stock_libraries(types: Iterable[str | type]) -> dict[str, str]:
    """The versions of the installed libraries that classes are of, by library.

    Of what decides a system, where that is not our code: MMAction2's recognizers, say.
    """
    registered, closure, found = find_registered(), Closure(), {}
    for kind in types:
        for module in modules_of(kind, registered):
            top = module.partition('.')[0]
            if closure.file_of(module) is None and top != OURS:
                found[top] = version_of(top)
    return found


def version_of(library: str) -> str:
    module = sys.modules.get(library)
    try:
        return getattr(module, '__version__', None) or metadata.version(library)
    except metadata.PackageNotFoundError:
        return 'of unknown version'


class Closure:
    """Modules that are reached from others.

    Args:
        plugins: modules to begin with; installed ones are followed as well.
    """

    def __init__(self, plugins: Iterable[str] = ()) -> None:
        plugins = [name for name in plugins if name != OURS]
        self.followed = {OURS, *(name.partition('.')[0] for name in plugins
                                 if not name.startswith(STOCK))}
        self.trees: dict[str, ast.Module] = {}
        self.seen: set[tuple[str, str]] = set()
        self.files: dict[str, Path | None] = {}
        for name in plugins:
            self.add(name)

    def digests(self) -> dict[str, str]:
        return {self._shown(module): digest_tree(tree)
                for module, tree in sorted(self.trees.items())}

    def _shown(self, module: str) -> str:
        inside = '/__init__' if self.is_package(module) else ''
        return f'{module.replace(".", "/")}{inside}.py'

    def follow_types(self, types: Iterable[str | type]) -> None:
        """Follow classes as configs name them."""
        registered = find_registered()
        for kind in types:
            for module in modules_of(kind, registered):
                self.add(module)

    def add(self, module: str) -> None:
        """Take in a module and what it imports; of those in ``PATHS`` their part."""
        file = self.file_of(module)
        if file is None or module in self.trees:
            return
        tree = parse(file)
        if module in PATHS:
            tree = reduced(tree, PATHS[module])
        self.trees[module] = tree
        for parent in parents_of(module):
            if not module.startswith(f'{OURS}.'):  # ours only pass names on
                self.add(parent)
        for node in imports_of(tree):
            for alias in node.names:
                if isinstance(node, ast.Import):
                    self._follow_import(alias, tree)
                else:
                    self.follow(self.origin(module, node), alias.name)

    def _follow_import(self, alias: ast.alias, tree: ast.Module) -> None:
        """``import a.b``: of a package, what is then used of it."""
        if not self.is_package(alias.name):
            self._enter(alias.name)
            return
        bound = alias.asname or alias.name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and dotted(node.value) == bound:
                self.follow(alias.name, node.attr)

    def follow(self, module: str, name: str) -> None:
        """``from module import name``: take in the module that defines the name."""
        if (module, name) in self.seen:
            return
        self.seen.add((module, name))
        if not self.is_package(module) or not module.startswith(OURS):
            self._enter(module)
        file, submodule = self.file_of(module), f'{module}.{name}'
        if file is None or not self.is_package(module):
            return
        tree = parse(file)
        sources = list(self.sources(module, tree, name))
        for source, original in sources:
            self.follow(source, original)
        if name in definitions(tree):
            self._enter(module)
        elif not sources and self.file_of(submodule) is not None:
            self._enter(submodule)

    def sources(self, package: str, tree: ast.Module, name: str
                ) -> Iterator[tuple[str, str]]:
        """Where a package has a name from, with its name there."""
        for node in imports_of(tree):
            if isinstance(node, ast.ImportFrom):
                origin = self.origin(package, node)
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        yield origin, alias.name
                    elif alias.name == '*' and self._defines(origin, name):
                        yield origin, name

    def _defines(self, module: str, name: str) -> bool:
        file = self.file_of(module)
        return file is not None and (
            name in definitions(parse(file)) or self.is_package(module))

    def _enter(self, module: str) -> None:
        if not any(module == carrier or module.startswith(f'{carrier}.')
                   for carrier in CARRIERS):
            self.add(module)

    def origin(self, module: str, node: ast.ImportFrom) -> str:
        """The module that an import in another names, however it does."""
        if node.module and not node.level:
            return node.module
        parts = module.split('.')
        parts = parts[:len(parts) - node.level + self.is_package(module)]
        return '.'.join([*parts, *filter(None, [node.module])])

    def is_package(self, module: str) -> bool:
        file = self.file_of(module)
        return file is not None and file.name == '__init__.py'

    def file_of(self, module: str) -> Path | None:
        """The source of a module that is followed; nothing is imported for that."""
        if module not in self.files:
            self.files[module] = self._find(module)
        return self.files[module]

    def _find(self, module: str) -> Path | None:
        top, *rest = module.split('.')
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
        file = Path(spec.origin) if spec.has_location and spec.origin else None
        for name in rest:
            choices = [choice for place in places for choice in (
                Path(place, name, '__init__.py'), Path(place, f'{name}.py'))]
            file = next(filter(Path.is_file, choices), None)
            places = [os.path.join(place, name) for place in places]
        if file is None or file.suffix != '.py':
            return None
        real = os.path.realpath(file)
        # PYTHONPATH or a .pth file may name the libraries of another environment.
        installed = real.startswith(LIBRARIES) or not {
            'site-packages', 'dist-packages'}.isdisjoint(real.split(os.sep))
        return None if installed and top not in self.followed else file


def modules_of(kind: str | type, registered: dict[str, list[str]]) -> list[str]:
    """The modules that may define a class as a config names it."""
    if isinstance(kind, type):
        return [kind.__module__]
    found = registered.get(kind) or registered.get(kind.rpartition('.')[2])
    return list(filter(None, found or [kind.rpartition('.')[0]]))


def find_registered() -> dict[str, list[str]]:
    """Name to modules of everything that is in MMEngine's registries or below."""
    found: dict[str, list[str]] = {}
    waiting = [value for value in vars(mmengine.registry).values()
               if isinstance(value, Registry)]
    while waiting:
        registry = waiting.pop()
        waiting += registry.children.values()
        for name, value in registry.module_dict.items():
            found.setdefault(name, []).append(getattr(value, '__module__', ''))
    return found


def parents_of(module: str) -> list[str]:
    parts = module.split('.')
    return ['.'.join(parts[:end]) for end in range(1, len(parts))]


def dotted(node: ast.AST) -> str | None:
    """``a.b.c`` of an expression that is just that."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f'{before}.{node.attr}'
    return None


@functools.lru_cache(1024)
def imports_of(tree: ast.Module) -> list[ast.Import | ast.ImportFrom]:
    """All imports of a module, those within its functions included."""
    return [node for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))]


@functools.lru_cache(1024)
def definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """What a module defines itself, by name."""
    found = {}
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update({name.id: node for target in targets
                          for name in ast.walk(target) if isinstance(name, ast.Name)})
    return found


@functools.lru_cache(64)
def reduced(tree: ast.Module, names: tuple[str, ...]) -> ast.Module:
    """A module with only what these names need, its imports included."""
    known, waiting, used = definitions(tree), list(names), set()
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += [node.id for node in ast.walk(known.get(name, ast.Pass()))
                        if isinstance(node, ast.Name)]
    body = []
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            aliases = [alias for alias in node.names if (
                alias.asname or alias.name.partition('.')[0]) in used]
            if aliases:
                part = copy.copy(node)
                part.names = aliases
                body.append(part)
        elif any(known.get(name) is node for name in used):
            body.append(node)
    return ast.Module(body, [])


def parse(file: Path) -> ast.Module:
    """The code of a file without its docstrings.

    It is read once until it changes; must not be changed.
    """
    status = file.stat()
    return parse_version(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(1024)
def parse_version(file: Path, mtime_ns: int, size: int) -> ast.Module:
    return without_docstrings(file.read_text(encoding='utf-8'))


def without_docstrings(source: str) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, 'body', None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) \
                and isinstance(body[0].value, ast.Constant) \
                and isinstance(body[0].value.value, str):
            body[0] = ast.Pass()
    return tree


@functools.lru_cache(1024)
def digest_tree(tree: ast.Module) -> str:
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()[:16]
