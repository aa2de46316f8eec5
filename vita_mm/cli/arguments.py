"""What the command lines of the tools share.

The standard library alone is imported, so that ``--help`` does not wait for torch.
"""
import argparse
from collections.abc import Iterator

BRACKETS = {'[': ']', '(': ')'}
QUOTES = '\'"'
WORDS = {'true': True, 'false': False, 'none': None}


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--work-dir', help='where checkpoints and logs go')
    parser.add_argument('--launcher', default='none',
                        choices=('none', 'pytorch', 'slurm', 'mpi'),
                        help='what started this process beside others (%(default)s); '
                        '--gpus needs none')
    parser.add_argument('--gpus', dest='processes', type=positive(int), metavar='N',
                        help='start N processes: one a GPU, or on CPUs where there are '
                        'no GPUs; on several machines set NNODES, NODE_RANK, MASTER_ADDR '
                        'and PORT on each')
    add_config_options(parser)
    # torchrun passes it to scripts on some versions; LOCAL_RANK is what counts.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0,
                        help=argparse.SUPPRESS)


def add_config_options(parser: argparse.ArgumentParser, name: str = '--cfg-options',
                       help: str = 'overrides, such as train_cfg.max_epochs=2'
                       ) -> None:
    parser.add_argument(name, nargs='+', metavar='KEY=VALUE', action=KeyValues,
                        default={}, help=help)


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--trust-data', action='store_true',
                        help='do not read the videos to see whether they have changed: '
                        'their sizes and times tell')


def positive(kind: type):
    """A type of arguments: numbers above zero."""
    def convert(text: str):
        number = kind(text)
        if not number > 0:
            raise argparse.ArgumentTypeError(f'{text} is not above zero')
        return number
    convert.__name__ = kind.__name__  # argparse names it where kind() fails
    return convert


def add_variant_arguments(parser: argparse.ArgumentParser, trains: bool = False) -> None:
    """What differs from a config without a file of its own, see docs/configs.md.

    What is given is in ``args.variants``, a dict.

    Args:
        trains: leave out what an evaluation alone has.
    """
    parser.set_defaults(variants={})
    group = parser.add_argument_group('variants of the config')

    def add(name: str, **options) -> None:
        group.add_argument(f'--{name}', action=Variant, default=argparse.SUPPRESS,
                           **options)

    add('frames', type=int, metavar='N', help='of a clip' + (
        '' if trains else '; with --dataset of the evaluation alone, else those that the '
        'model was trained on, too'))
    add('stride', type=int, metavar='N', help='of the frames of a clip')
    add('views', metavar='TxS', help='clips in time x crops (1 or 3) in space of an '
        'evaluation, such as 4x3')
    add('clips', choices=('drawn', 'even'), help='how those in time are taken by systems '
        'whose authors draw them at random')
    if trains:
        add('draws', choices=('frame', 'clip'), help='draw augmentations that are done '
            'frame by frame for each frame of a clip, or once for it')
        return
    add('resize', type=int, metavar='N', help='pixels of the shorter side of a frame, '
        'of which the centre is seen in an evaluation, such as 224 or 256')
    add('dataset', metavar='NAME', help='evaluate on the test set of hmdb51, ucf101, '
        'k600, k600_val, k400, ssv2, the same of the miniature such as mini_hmdb51, or '
        'of a config file')
    add('split', type=parse_value, help='one of the official splits, from 1, or lists '
        'that the config of the dataset names')
    add('sampling', choices=('parts', 'stride'), help='of the frames of an evaluation of '
        'which the paper does not say it: middles of equal parts, or the largest stride '
        'that fits')
    add('reading', choices=('frame_windows', 'tile'), help='of clips of more frames than '
        'Vita-CLIP was trained on')
    add('prompts', metavar='NAME', help='name, templates, a list that comes with the '
        'package, or a template with {}')
    add('names', metavar='COLUMN', help='of the packaged list of classes, such as folder '
        'of ucf101 (ApplyEyeMakeup); default: name (Apply Eye Makeup)')


class Variant(argparse.Action):
    """Collects variants by their names, apart from a tool's own arguments."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        namespace.variants = {**namespace.variants, self.dest: values}


class KeyValues(argparse.Action):
    """Collects ``KEY=VALUE ...`` in a dict, see :func:`parse_value`."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        found = dict(getattr(namespace, self.dest) or {})
        for text in values or ():
            key, equals, value = text.partition('=')
            if not equals or not key.strip():
                parser.error(f'{option_string}: {text!r} is no KEY=VALUE; quote a value '
                             'that has spaces')
            found[key.strip()] = parse_value(value)
        setattr(namespace, self.dest, found)


def parse_value(text: str):
    """A value as it is written on a command line.

    Numbers, ``true``, ``false`` and ``none`` are what they say, ``[a, b]`` is a list and
    ``(a, b)`` a tuple of values, and what stands in quotes is a string. All else is a
    string as it is written, spaces included. As in MMEngine ``a,b`` is a list too, but
    only of words: a name with a slash or a space in it stays whole.
    """
    bare = text.strip()
    if is_quoted(bare):
        return bare[1:-1]
    if bare[:1] in BRACKETS and closes_at_end(bare):
        items = [parse_value(item.strip()) for item in split(bare[1:-1])]
        return tuple(items) if bare[0] == '(' else items
    items = list(split(text))
    if len(items) > 1 and not any(set(item) & set('/\\ ') and not is_quoted(item.strip())
                                  for item in items):
        return [parse_value(item) for item in items]
    for kind in (int, float):
        try:
            return kind(bare)
        except ValueError:
            continue
    return WORDS.get(bare.lower(), text)


def is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] in QUOTES and text.find(text[0], 1) == len(text) - 1


def closes_at_end(text: str) -> bool:
    """Whether the bracket that opens a text is closed by its last character."""
    return [place for place, depth in depths(text) if depth == 0][:1] == [len(text) - 1]


def split(text: str) -> Iterator[str]:
    """The parts between the commas that stand in no brackets or quotes."""
    start = 0
    for place, depth in depths(text):
        if text[place] == ',' and depth == 0:
            yield text[start:place]
            start = place + 1
    if text[start:].strip():
        yield text[start:]


def depths(text: str) -> Iterator[tuple[int, int]]:
    """Each place outside of quotes with the number of brackets open behind it."""
    closing, quote, start = [], None, True
    for place, letter in enumerate(text):
        if quote:
            quote = None if letter == quote else quote
            start = False
            continue
        # An apostrophe within a word opens nothing.
        if letter in QUOTES and start and letter in text[place + 1:]:
            quote = letter
            continue
        if letter in BRACKETS:
            closing.append(BRACKETS[letter])
        elif closing and letter == closing[-1]:
            closing.pop()
        yield place, len(closing)
        start = letter == ',' or letter in BRACKETS or start and letter.isspace()
