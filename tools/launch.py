"""torchrun, without the traceback it puts after a worker's own error message.

    python tools/launch.py --nproc_per_node 2 tools/train.py CONFIG --launcher pytorch

Its options are those of torchrun.
"""
import sys


def run() -> None:
    # Late, for torch takes seconds: --help does not wait for it.
    try:
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.run import main
    except ImportError:
        sys.exit(f'error: {sys.executable} has no torch: run tools/demo.sh once, or '
                 'activate the environment that vita_mm is installed in')
    try:
        main()
    except ChildFailedError as error:
        sys.exit(max(1, error.get_first_failure()[1].exitcode))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == '__main__':
    if sys.argv[1:] in (['-h'], ['--help']):
        print(f'usage: launch.py [options of torchrun] SCRIPT [arguments of it]\n\n'
              f'{__doc__}', end='')
    else:
        run()
