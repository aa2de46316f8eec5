"""Convert checkpoints between the code of their authors and vita_mm.

    vita-mm convert IN OUT [--clip-out FILE]
    vita-mm convert IN OUT --config configs/xclip/k400.py
    vita-mm convert IN OUT --to released [--clip FILE]

From the authors' code, whichever system IN is of: OUT holds what was trained, and says
what model it is of. A checkpoint of Vita-CLIP needs no config, and the CLIP inside it is
written too with --clip-out; one of X-CLIP, ActionCLIP, EVL, A5/A6 or ViFi-CLIP needs the
config of its model.
To the authors' code: OUT holds all that their code saves of a model, the CLIP that IN was
trained on included.
"""
import argparse

# The options of each direction.
OPTIONS = dict(
    vita_mm=('clip_out', 'classes', 'vision_heads', 'text_heads', 'context_position',
             'prefix', 'postfix'),
    released=())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('input', metavar='IN')
    parser.add_argument('output', metavar='OUT')
    parser.add_argument('--to', choices=OPTIONS, default='vita_mm')
    parser.add_argument('--system', help='what IN is of, such as xclip; by default told '
                        'from its content')
    parser.add_argument('--config', help='of the model, where IN does not say it')
    parser.add_argument('--clip', help='the CLIP, FILE or ARCH:WEIGHTS, in place of that '
                        'of the config')
    released = parser.add_argument_group('from the released code of Vita-CLIP')
    released.add_argument('--clip-out', help='write the CLIP inside IN to this file')
    released.add_argument('--classes', help='class names: a file, or kinetics400; '
                          'by default told from the tokens in IN')
    released.add_argument('--vision-heads', type=int, help='default: width / 64')
    released.add_argument('--text-heads', type=int, help='default: width / 64')
    released.add_argument('--context-position', choices=('end', 'middle', 'front'),
                          help='IN does not say it; default: end')
    efficient_prompt = parser.add_argument_group('from the released code of A5/A6')
    for name, place in (('prefix', 'before'), ('postfix', 'behind')):
        efficient_prompt.add_argument(
            f'--{name}', type=int, metavar='N', help=f'vectors {place} the name; '
            "default: as the optimizer's state in IN tells, else of the config")


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    for to, names in OPTIONS.items():
        for name in names:
            if to != args.to and getattr(args, name) is not None:
                parser.error(f'--{name.replace("_", "-")} is an option of --to {to}')
    if args.clip is not None and args.config is None and args.to == 'vita_mm':
        parser.error('--clip is the CLIP of the model of --config, or of --to released')


def main(args: argparse.Namespace) -> None:
    if args.to == 'released':
        to_released(args)
    else:
        from_released(args)


def from_released(args: argparse.Namespace) -> None:
    import json

    from vita_mm.description import describe
    from vita_mm.errors import UserError
    from vita_mm.io.checkpoints import write_atomically
    from vita_mm.io.foreign import read_foreign
    from vita_mm.models.common.description import KEY, evaluation_pipeline

    content = read_foreign(args.input)
    system = find_released(args, content)
    conversion = system.conversion
    options = {name: getattr(args, name) for name in OPTIONS['vita_mm']
               if getattr(args, name) is not None}
    for name in options.keys() - set(conversion.options):
        raise UserError(f'--{name.replace("_", "-")} is not for checkpoints of '
                        f'{system.title}, which {args.input} is')
    config = model = None
    if conversion.needs_model:
        config, model = build_empty(args, system, content, options)
    elif args.config is not None:
        raise UserError(f'--config is not for checkpoints of {system.title}: '
                        f'{args.input} says itself what model it is of')
    converted = conversion.read(content, args.input, model,
                                **({} if conversion.needs_model else options))
    if model is not None:
        model.load_state_dict(converted.state_dict)
    if args.clip_out is not None:
        write_atomically(converted.clip, args.clip_out)
        print(f'{args.clip_out}: the CLIP inside, as an open_clip checkpoint')
    meta, note = dict(converted_from=args.input), None
    try:
        if converted.model is not None:
            meta[KEY] = json.dumps(describe(
                converted.model, converted.pipeline, system=system))
        elif config is not None:
            meta[KEY] = json.dumps(describe(config.model, evaluation_pipeline(config)))
    except UserError as error:
        note = f'  it does not say what model it is of, so it needs its config: {error}'
    write_atomically(dict(meta=meta, state_dict=converted.state_dict), args.output)
    print(f'{args.output}: {len(converted.state_dict) - 1} tensors of {system.title}')
    for line in [*converted.report, *([note] if note else [])]:
        print(line)
    if content.left_out:
        print('  left out unread: ' + ', '.join(
            f'{key} ({asked})' for key, asked in content.left_out.items()))
    if config is not None:
        settings = ''.join(f' model.cls_head.{key}={config.model.cls_head[key]}'
                           for key in conversion.options if key in config.model.cls_head)
        print(f'  evaluate it with {args.config}'
              + (f' --cfg-options{settings}' if settings else ''))


def say_left_out(content) -> str:
    """What of a foreign file was not read, and how its tensors are got out."""
    if not content.left_out:
        return ''
    found = ', '.join(f'{key} ({asked})' for key, asked in content.left_out.items())
    return (f'; not read, for it holds more than tensors and plain values: {found}; if '
            'its tensors are in there, save them alone where its own code loads it: '
            "torch.save({'model': MODEL.state_dict()}, FILE)")


def find_released(args: argparse.Namespace, content):
    """The system that a released checkpoint is of.

    Raises:
        UserError: if there is none, it is of another than was said, or it cannot be
            converted.
    """
    from vita_mm.errors import UserError
    from vita_mm.systems import SYSTEMS, check_verb, get_system

    said = args.system and get_system(args.system)
    if said:
        check_verb('convert', said)
    found = next((system for system in SYSTEMS.values() if system.conversion is not None
                  and system.conversion.recognises(content)), None)
    if found is None:
        raise UserError(f'{args.input} is in none of the formats of ' + ', '.join(
            system.title for system in SYSTEMS.values() if system.conversion is not None)
            + ' as their authors release them' + say_left_out(content))
    if said and said is not found:
        raise UserError(f'{args.input} is of {found.title}, not of {said.title}')
    return found


def build_empty(args: argparse.Namespace, system, content, options: dict):
    """The config that was given, with what the file and the options tell of its head, and
    its model to fill."""
    from mmaction.registry import MODELS
    from mmaction.utils import register_all_modules

    from vita_mm.engine.runs import load_config
    from vita_mm.errors import UserError
    from vita_mm.inference import parse_clip
    from vita_mm.systems import check_verb, find_system

    if args.config is None:
        raise UserError(f'{args.input} is a checkpoint of {system.title}: give the '
                        f'config of its model, such as --config {system.paper_config}')
    config = load_config(args.config)
    given = find_system(config.get('model') or {})
    if given is not system:
        if given is not None:
            check_verb('convert', given)
        raise UserError(f'{args.input} is of {system.title}: give the config of such a '
                        f'model (--config), as {system.paper_config}')
    if args.clip is not None:
        config.model.clip.update(parse_clip(args.clip))
    config.model.cls_head.update(system.conversion.settings(
        content, config.model.cls_head, args.input, **options))
    register_all_modules()
    return config, MODELS.build(config.model)


def to_released(args: argparse.Namespace) -> None:
    from vita_mm.errors import UserError
    from vita_mm.inference import build_model, read_model
    from vita_mm.io.checkpoints import write_atomically
    from vita_mm.systems import check_verb, get_system

    said = args.system and get_system(args.system)
    if said:
        check_verb('convert', said)
    description, state = read_model(args.input, args.config, args.clip)
    system = get_system(description['system'])
    if said and said is not system:
        raise UserError(f'{args.input} is of {system.title}, not of {said.title}')
    check_verb('convert', system)
    if system.conversion is None:
        raise UserError(f'vita_mm knows no format of the authors of {system.title}')
    model = build_model(description, state)
    checkpoint = system.conversion.write(model)
    write_atomically(checkpoint, args.output)
    count = sum(len(part) for part in checkpoint.values())
    print(f'{args.output}: {count} tensors in the released format of {system.title}')
    if 'prefix' in system.conversion.options:
        print('  it does not say where its vectors stand; their code takes --prefix {} '
              '--postfix {}'.format(*model.cls_head.context_places))
    if 'vision_heads' in system.conversion.options:
        say_heads(description['clip']['arch'])


def say_heads(arch: str | dict) -> None:
    """Name the attention heads for the way back, where they would be guessed wrongly: the
    format does not hold their number."""
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    from vita_mm.models.common.clip import read_architecture

    config = read_architecture(arch)
    vision = CLIPVisionCfg(**config['vision_cfg'])
    text = CLIPTextCfg(**config['text_cfg'])
    heads = vision.width // vision.head_width, text.heads
    if heads != (vision.width / 64, text.width / 64):
        print('  it does not say how many heads there are; to read it again give '
              f'--vision-heads {heads[0]} --text-heads {heads[1]}')
