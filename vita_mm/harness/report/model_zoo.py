"""Systems of the paper that MMAction2 ships: its configs, checkpoints and own figures."""
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import mmaction
import yaml

from vita_mm.errors import UserError

CONFIGS = Path(mmaction.__file__).parent / '.mim' / 'configs'


@dataclass(frozen=True)
class ZooModel:
    """A model of MMAction2's.

    Attributes:
        config: as ``Config.fromfile`` finds it, ``mmaction::recognition/...``.
        checkpoint: the address of its weights.
        top1: in percent, as its metafile says it was measured; None if it does not.
    """
    config: str
    checkpoint: str
    top1: float | None

    def __str__(self) -> str:
        return (f'{self.config} with {self.checkpoint.rpartition("/")[2]}'
                + (f', which it reports at {self.top1:g}' if self.top1 else ''))


@lru_cache(1)
def read_zoo() -> dict[str, ZooModel]:
    """All recognition models of the installed MMAction2, by the names it gives them."""
    zoo = {}
    for file in sorted(CONFIGS.glob('recognition/*/metafile.yml')):
        for model in yaml.safe_load(file.read_text())['Models']:
            results = model.get('Results') or [{}]
            metrics = results[0].get('Metrics', {})
            # MMAction2 1.2.0 misspells some of its own files.
            config = model['Config'].replace('.py.py', '.py')
            zoo[model['Name']] = ZooModel(
                'mmaction::' + config.removeprefix('configs/'),
                model.get('Weights', ''), metrics.get('Top 1 Accuracy'))
    return zoo


def describe_reference(name: str | None, note: str) -> str:
    """A sentence on a row of the paper that is run with MMAction2 alone.

    Args:
        name: of the model; None where MMAction2 has none.
        note: how it differs from the row.

    Raises:
        UserError: if MMAction2 has no model of this name.
    """
    if name is None:
        return f'not in MMAction2 {mmaction.__version__}' + (f': {note}' if note else '')
    if name not in read_zoo():
        raise UserError(f'MMAction2 {mmaction.__version__} has no model {name!r}')
    return f'in MMAction2: {read_zoo()[name]}' + (f'; {note}' if note else '')
