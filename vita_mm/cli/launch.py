"""torchrun, without the traceback it puts after a worker's own error message.

    python tools/launch.py --nproc_per_node 2 tools/train.py CONFIG --launcher pytorch

Its options are those of torchrun.
"""
import sys
from pathlib import Path


def run() -> None:
    # Late, for torch takes seconds: --help does not wait for it.
    try:
        import torch
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.run import get_args_parser, main
    except ImportError:
        sys.exit(f'error: {sys.executable} has no torch: run tools/demo.sh once, or '
                 'activate the environment that vita_mm is installed in')
    asked = get_args_parser().parse_args().nproc_per_node
    present = torch.cuda.device_count()
    if asked.isdecimal() and 0 < present < int(asked):
        print(f'error: {asked} processes were asked for, one a GPU, and this machine has '
              f'{present}', file=sys.stderr)
        sys.exit(2)
    try:
        main()
    except ChildFailedError as error:
        sys.exit(max(1, error.get_first_failure()[1].exitcode))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == '__main__':
    # The modules beside this one are no modules of their own.
    sys.path[:] = [path for path in sys.path if path != str(Path(__file__).parent)]
    if sys.argv[1:] in (['-h'], ['--help']):
        print(f'usage: launch.py [options of torchrun] SCRIPT [arguments of it]\n\n'
              f'{__doc__}', end='')
    else:
        run()
