"""Convert checkpoints between released code and vita_mm.

    python tools/convert_checkpoint.py IN OUT [--clip-out FILE]
    python tools/convert_checkpoint.py IN OUT --to released [--clip FILE]
    python tools/convert_checkpoint.py IN OUT --config configs/xclip/k400.py

From the released code: OUT holds the trained tensors and the fingerprint of the CLIP
inside IN; with --clip-out that CLIP is written too, as an open_clip checkpoint.
To the released code: OUT holds everything, the CLIP that IN was trained on included.
With --config, from the code of X-CLIP, ActionCLIP or EVL, whichever IN is of.
"""
import argparse
import signal

# The options of each direction.
OPTIONS = dict(
    vita_mm=('clip_out', 'classes', 'vision_heads', 'text_heads', 'context_position'),
    released=())


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('input', metavar='IN')
    parser.add_argument('output', metavar='OUT')
    parser.add_argument('--to', choices=OPTIONS, default='vita_mm')
    released = parser.add_argument_group('from the released code')
    released.add_argument('--clip-out', help='write the CLIP inside IN to this file')
    released.add_argument('--classes', help='class names: a file, or kinetics400; '
                          'by default told from the tokens in IN')
    released.add_argument('--vision-heads', type=int, help='default: width / 64')
    released.add_argument('--text-heads', type=int, help='default: width / 64')
    released.add_argument('--context-position', choices=('end', 'middle', 'front'),
                          help='IN does not say it; default: end')
    other = parser.add_argument_group('to the released code, or from that of others')
    other.add_argument('--config', help='where IN does not describe itself')
    other.add_argument('--clip', help='the file of the CLIP weights')
    args = parser.parse_args()
    for to, names in OPTIONS.items():
        for name in names:
            if to != args.to and getattr(args, name) is not None:
                parser.error(f'--{name.replace("_", "-")} is an option of --to {to}')
    return args


def main(args: argparse.Namespace) -> None:
    from vita_mm.cli.convert_checkpoint import from_released, to_released
    if args.to == 'released':
        to_released(args)
    else:
        from_released(args)


if __name__ == '__main__':
    args = parse_args()
    from vita_mm.errors import cli_errors
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main(args)
