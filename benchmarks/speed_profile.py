"""Where the time of loading goes: CPU milliseconds of each transform.

    python benchmarks/speed_profile.py
"""
import argparse
import signal
import tempfile
from pathlib import Path


def parse_args() -> argparse.Namespace:
    return argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0]).parse_args()


def main() -> None:
    import torch
    from rich.console import Console
    from rich.table import Table
    from speed_data import decoding, make_videos, profile
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        videos = make_videos(Path(folder), 8)
        profiles = profile(videos)
        table = Table('transform', *profiles, title='CPU milliseconds of a video')
        for name in dict.fromkeys(key for part in profiles.values() for key in part):
            table.add_row(name, *(f'{part[name]:.2f}' if name in part else ''
                                  for part in profiles.values()))
        table.add_row('all', *(f'{sum(part.values()):.2f}' for part in profiles.values()))
        Console().print(table)
        Console().print('CPU milliseconds of 8 frames of a video:', decoding(videos))


if __name__ == '__main__':
    parse_args()
    from vita_mm.errors import cli_errors
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with cli_errors():
        main()
