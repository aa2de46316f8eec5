"""Protocols of zero-shot evaluation: their datasets."""
from vita_mm.errors import UserError

from .class_names import LABELS, read_rows


def read_protocol(name: str, datasets: list[str] | None = None) -> list[str]:
    """Datasets by their names in ``vita_mm.engine.variants``, in the order of the tables.

    Args:
        name: ``paper`` or ``mini``.
        datasets: only these.

    Raises:
        UserError: if there is no such protocol, or it has no such dataset.
    """
    found: dict[str, list[str]] = {}
    for row in read_rows(LABELS / 'protocols.csv'):
        found.setdefault(row['protocol'], []).append(row['dataset'])
    if name not in found:
        raise UserError(f'there is no protocol {name!r}; there are ' + ', '.join(found))
    for dataset in datasets or ():
        if dataset not in found[name]:
            raise UserError(f'the protocol {name} has no dataset {dataset!r}; it has '
                            + ', '.join(found[name]))
    return [dataset for dataset in found[name]
            if datasets is None or dataset in datasets]
