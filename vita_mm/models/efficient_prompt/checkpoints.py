"""Checkpoints of A5 and A6 as their authors release them: frozen CLIP included.

They hold a vector for each place of a prompt, but not how many stand before and behind
the name, which their code is told on the command line. A checkpoint of a training has the
state of AdamW beside it, in which the places that were ever used have second moments.
"""
from collections.abc import Mapping

from open_clip import SimpleTokenizer
from torch import Tensor

from vita_mm.errors import UserError
from vita_mm.labels.class_names import read_classes
from vita_mm.models.common.conversion import NamedTensors

NAMES = (
    (r'cls_head\.context\.vectors', 'embedding.weight'),
    (r'backbone\.temporal\.positions', 'temporalEmbedding.weight'),
    (r'backbone\.temporal\.layers', 'temporalModelling.resblocks'))


def find_context(content: Mapping, head: Mapping, path: str, prefix: int | None = None,
                 postfix: int | None = None) -> dict:
    """``prefix`` and ``postfix`` of the head: as is said, else as the file tells; none
    where neither does, so that they are the config's.

    Args:
        head: the ``cls_head`` of the config.
        prefix, postfix: of the command line.

    Raises:
        UserError: if both do, and differ.
    """
    tokenizer = SimpleTokenizer()
    told = told_context(content, {len(tokenizer.encode(name))
                                  for name in read_classes(head['classes'],
                                                           repeated=True)})
    said = {key: value for key, value in (('prefix', prefix), ('postfix', postfix))
            if value is not None}
    for key in said if told else ():
        if said[key] != told[key]:
            raise UserError(f'{path} was trained with a {key} of {told[key]}, not of '
                            f'{said[key]}, as the state of its optimizer tells')
    return told or said


def told_context(content: Mapping, lengths: set[int]) -> dict[str, int]:
    """The prefix and postfix that fit the places in use best; empty if no state of an
    optimizer tells them.

    Args:
        lengths: numbers of tokens that the names of classes have.
    """
    used = used_places(content)
    if not used:
        return {}
    last, both = max(used), max(used) - max(lengths)
    pairs = [(last, 0), *((before, both - before) for before in range(both))]
    unused = {pair: len(places(*pair, lengths) - used) for pair in pairs
              if used <= places(*pair, lengths)}
    best = [pair for pair, number in unused.items() if number == min(unused.values())]
    return dict(zip(('prefix', 'postfix'), best[0])) if len(best) == 1 else {}


def places(prefix: int, postfix: int, lengths: set[int]) -> set[int]:
    """Where vectors stand in the prompts of names of these lengths."""
    return {*range(1, prefix + 1), *(
        place for length in lengths
        for place in range(prefix + length + 1, prefix + length + postfix + 1))}


def used_places(content: Mapping) -> set[int]:
    """The places whose vectors ever had a gradient, by the state of the optimizer."""
    shape = content['state_dict']['embedding.weight'].shape
    optimizer = content.get('optimizer')
    state = optimizer.get('state') if isinstance(optimizer, dict) else None
    for moments in state.values() if isinstance(state, dict) else ():
        squares = moments.get('exp_avg_sq') if isinstance(moments, dict) else None
        if isinstance(squares, Tensor) and squares.shape == shape:
            return set(squares.any(dim=1).nonzero().flatten().tolist())
    return set()


FORMAT = NamedTensors(
    'A5/A6', sign='temporalEmbedding.weight', names=NAMES, entries={'': 'state_dict'},
    frozen='clipmodel.', options=('prefix', 'postfix'), settings=find_context)
