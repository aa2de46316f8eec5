"""The predictions that an evaluation has dumped (``vita-mm test --dump FILE``)."""
import io
import pickle
from pathlib import Path

import torch

from vita_mm.errors import UserError

# What a dump of tensors, arrays and plain values is made of.
KNOWN = {
    '_codecs': {'encode'},  # how bytes are pickled for older versions
    'collections': {'OrderedDict'},
    'numpy': {'dtype', 'ndarray'},
    'numpy._core.multiarray': {'_reconstruct', 'scalar'},
    'torch._utils': {'_rebuild_tensor_v2'},
}


class TensorsOnly(pickle.Unpickler):
    """Refuses to import whatever else a file names: a pickle is a program."""

    def find_class(self, module: str, name: str):
        if (module, name) == ('torch.storage', '_load_from_bytes'):
            return load_storage
        if name in KNOWN.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f'it names {module}.{name}')


def load_storage(content: bytes):
    """torch's own function, which is to execute nothing."""
    return torch.load(io.BytesIO(content), weights_only=True)


def read_predictions(path: str | Path) -> list[dict]:
    """The samples of a dump, each with its ``pred_score`` (C,) and ``gt_label`` (1,).

    Raises:
        UserError: if the file cannot be read or is no such dump.
    """
    try:
        with open(path, 'rb') as file:
            samples = TensorsOnly(file).load()
    except OSError as error:
        raise UserError(f'cannot read {path}: {error.strerror}') from error
    except Exception as error:  # damaged pickles raise many kinds
        raise UserError(f'{path} is no dump of predictions as `test --dump` writes it: '
                        f'{error}') from error
    if not isinstance(samples, list) or not samples or not all(
            isinstance(sample, dict) and all(
                isinstance(sample.get(key), torch.Tensor) and sample[key].dim() == 1
                for key in ('pred_score', 'gt_label')) for sample in samples):
        raise UserError(f'{path} holds no predictions: a list of samples with '
                        'pred_score and gt_label, as `test --dump` writes it')
    return samples
