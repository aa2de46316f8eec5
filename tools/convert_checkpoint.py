"""Convert a checkpoint of the released Vita-CLIP code into one of vita_mm.

    python tools/convert_checkpoint.py IN OUT [--clip-out FILE]

OUT holds the trained tensors and the fingerprint of the CLIP inside IN; with --clip-out
that CLIP is written too, as an open_clip checkpoint.
"""
import argparse

import vita_mm  # noqa: F401
from vita_mm.checkpoints import write_atomically
from vita_mm.errors import cli_errors
from vita_mm.released import read_released


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('input', metavar='IN')
    parser.add_argument('output', metavar='OUT')
    parser.add_argument('--clip-out', help='write the CLIP inside IN to this file')
    parser.add_argument('--classes', help='class names: a file, or kinetics400; '
                        'by default told from the tokens in IN')
    parser.add_argument('--vision-heads', type=int, help='default: width / 64')
    parser.add_argument('--text-heads', type=int, help='default: width / 64')
    parser.add_argument('--context-position', default='end',
                        choices=('end', 'middle', 'front'))
    args = parser.parse_args()
    released = read_released(
        args.input, classes=args.classes, vision_heads=args.vision_heads,
        text_heads=args.text_heads, context_position=args.context_position)
    meta = dict(converted_from=args.input, backbone=released.backbone,
                cls_head=released.cls_head, clip_config=released.clip_config)
    write_atomically(dict(meta=meta, state_dict=released.state_dict()), args.output)
    print(f'{args.output}: {len(released.trained)} trained tensors')
    print(f'  backbone: {released.backbone}')
    head = {key: value for key, value in released.cls_head.items() if key != 'classes'}
    print(f'  cls_head: {head}, {len(released.cls_head.get("classes", ()))} classes')
    print(f'  CLIP inside: sha256 {released.clip.identity["sha256"]}')
    if args.clip_out:
        write_atomically(released.clip.model.state_dict(), args.clip_out)
        print(f'{args.clip_out}: that CLIP, as an open_clip checkpoint')


if __name__ == '__main__':
    with cli_errors():
        main()
