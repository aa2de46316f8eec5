"""What a run depends on, asked of the machine, git, the data and the model.

A probe may fail where something is missing; :func:`attempt` then goes on without it.
"""
import logging
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import torch
from mmengine.dist import get_world_size
from mmengine.logging import print_log

from vita_mm.io.digests import (  # noqa: F401
    annotation_files,
    digest_dataset,
    digest_file,
    parts_of,
)
from vita_mm.io.processes import unwrapped
from vita_mm.version import __version__

# Import name to the distributions that may provide it.
LIBRARIES = dict(
    torch=['torch'], mmengine=['mmengine'], mmcv=['mmcv', 'mmcv-lite'],
    mmaction2=['mmaction2'], open_clip=['open_clip_torch'], timm=['timm'],
    decord=['decord'], mlflow=['mlflow'])
DIFF_LENGTH = 1_000_000


def attempt(probe, *args):
    """What the probe finds; empty if it fails, for no probe is worth a training run."""
    try:
        return probe(*args)
    except Exception as error:
        print_log(f'tracking goes on without {probe.__name__}: {error!r}', 'current',
                  logging.WARNING)
        return {}


def find_environment() -> dict[str, str]:
    """Versions and hardware; deliberately no host name."""
    found = dict(python=platform.python_version(), platform=platform.platform(),
                 vita_mm=__version__, cuda=torch.version.cuda, cpu=cpu_name(),
                 cores=len(os.sched_getaffinity(0)), world_size=get_world_size())
    for name, distributions in LIBRARIES.items():
        found[name] = next(filter(None, map(version, distributions)), None)
    if torch.cuda.is_available():
        found['gpu'] = torch.cuda.get_device_name()
    return {f'env.{name}': str(value) for name, value in found.items() if value}


def version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def cpu_name() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines() \
        if os.path.exists('/proc/cpuinfo') else []
    names = [line.split(':', 1)[1].strip() for line in lines
             if line.startswith('model name')]
    return names[0] if names else platform.processor()


def find_command() -> dict[str, str]:
    return {'command': shlex.join(sys.argv), 'mlflow.source.name': sys.argv[0],
            'mlflow.source.type': 'LOCAL'}


def find_git(folder: str | Path) -> dict[str, str]:
    """Tags of the checkout that holds ``folder``; none if there is no checkout."""
    commit = git(folder, 'rev-parse', 'HEAD')
    if commit is None:
        return {}
    branch = git(folder, 'rev-parse', '--abbrev-ref', 'HEAD') or ''
    return {'git.commit': commit.strip(), 'git.branch': branch.strip(),
            'git.dirty': str(bool(git(folder, 'status', '--porcelain'))).lower(),
            'mlflow.source.git.commit': commit.strip()}


def find_diff(folder: str | Path) -> str:
    """What differs from the commit: the list of files, then the tracked changes."""
    status = git(folder, 'status', '--porcelain')
    if not status:
        return ''
    return f'{status}\n{git(folder, "diff", "HEAD") or ""}'[:DIFF_LENGTH]


def git(folder: str | Path, *args: str) -> str | None:
    """The output of a git command; None where git or the checkout is missing."""
    try:
        done = subprocess.run(['git', '-C', str(folder), *args], capture_output=True,
                              encoding='utf-8', errors='replace', timeout=30)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def find_datasets(loops: dict) -> list[dict[str, str]]:
    """Name, digest, context and source of the dataset of each loop that has one.

    Args:
        loops: context (``train``, ``val``, ``test``) to MMEngine loop.
    """
    found = []
    for context, loop in loops.items():
        dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
        files = [file for part in parts_of(dataset) for file in annotation_files(part)]
        if files:
            found.append(dict(
                name='/'.join(Path(files[0]).parts[-2:]),
                digest=digest_dataset(dataset), context=context,
                source=' '.join(files)))
    return found


def count_parameters(model: torch.nn.Module) -> dict[str, int]:
    """Counts as params; the frozen CLIP of ``VitaCLIP`` is not among its parameters."""
    parameters = list(unwrapped(model).parameters())
    trainable = [parameter for parameter in parameters if parameter.requires_grad]
    return {'run.trainable_parameters': sum(map(torch.numel, trainable)),
            'run.total_parameters': sum(map(torch.numel, parameters))}


def find_clip(model: torch.nn.Module) -> dict[str, str]:
    """Which CLIP a recognizer stands on, as tags."""
    identity = getattr(unwrapped(model), 'clip_identity', {})
    return {f'clip.{name}': value for name, value in identity.items()}

