"""torchrun, without the traceback it puts after a worker's own error message.

    python tools/launch.py --nproc_per_node 2 tools/train.py CONFIG --launcher pytorch
"""
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main

if __name__ == '__main__':
    try:
        main()
    except ChildFailedError as error:
        sys.exit(max(1, error.get_first_failure()[1].exitcode))
    except KeyboardInterrupt:
        sys.exit(130)
