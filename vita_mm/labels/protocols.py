"""Protocols of zero-shot evaluation: their datasets, each a config."""
from vita_mm.errors import UserError

from .class_names import LABELS, read_rows


def read_protocol(name: str, datasets: list[str] | None = None) -> dict[str, str]:
    """Dataset to its config, relative to the project, in the order of the tables.

    Args:
        name: ``paper`` or ``mini``.
        datasets: only these.

    Raises:
        UserError: if there is no such protocol, or it has no such dataset.
    """
    found: dict[str, dict[str, str]] = {}
    for row in read_rows(LABELS / 'protocols.csv'):
        found.setdefault(row['protocol'], {})[row['dataset']] = row['config']
    if name not in found:
        raise UserError(f'there is no protocol {name!r}; there are ' + ', '.join(found))
    for dataset in datasets or ():
        if dataset not in found[name]:
            raise UserError(f'the protocol {name} has no dataset {dataset!r}; it has '
                            + ', '.join(found[name]))
    return {dataset: config for dataset, config in found[name].items()
            if datasets is None or dataset in datasets}
