"""Builds the miniature benchmark under a folder, once.

    videos/SET/*.mp4                    the files
    SET_train.txt, SET_val.txt, …       annotations in MMAction2's format
    SET_classes.txt                     class names in the order of their ids
    SET_splitN_candidates.txt           those among which a split chooses
    clip/ViT-Mini.json, clip/vit_mini.pt   the CLIP, as open_clip reads it
    manifest.json                       what was built and every file's sha256; last
"""
import dataclasses
import hashlib
import json
import multiprocessing
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from vita_mm.io.checkpoints import write_atomically
from vita_mm.io.files import lock, write_json
from vita_mm.io.processes import die_with_parent

from .clip import ARCHITECTURE, train_clip
from .sets import ActionClass, Size, Split, Video, all_splits
from .videos import write_video


def build(root: str | Path, seed: int = 0, size: Size | None = None) -> Path:
    """Make what is missing or damaged; returns the folder.

    The same seed and size give the same bytes. Interrupted at any moment, it goes on
    from the files that are whole. A second process waits for the first.
    """
    root, size = Path(root), size or Size()
    recipe = describe(seed, size)
    if is_built(root, recipe):
        return root
    place = root.resolve()
    with lock(place.with_name(f'.{place.name}.lock'), f'{root} is being built',
              wait=True):
        if not is_built(root, recipe):
            make_missing(root, recipe, seed, size)
    return root


def is_built(root: Path, recipe: dict) -> bool:
    """Whether all is there as the manifest says, which is written last."""
    manifest = read_manifest(root)
    files = manifest.get('files')
    return (manifest.get('recipe') == recipe and bool(files)
            and all(whole(root, path, files) for path in files))


def make_missing(root: Path, recipe: dict, seed: int, size: Size) -> None:
    manifest = read_manifest(root)
    if manifest.get('recipe') != recipe:
        clear(root)
        root.mkdir(parents=True, exist_ok=True)
        # From here on the files belong to this recipe, whole ones are kept.
        write_json(root / 'manifest.json', dict(recipe=recipe, files={}))
        manifest = dict(files={})
    known = manifest['files']
    splits = list(all_splits(size, seed))
    videos = {video.path: video for split in splits for video, _ in split.videos}
    missing = [video for path, video in videos.items() if not whole(root, path, known)]
    for split in splits:
        write_split(root, split)
    shutil.copyfile(ARCHITECTURE, make_folder(root / 'clip') / 'ViT-Mini.json')
    make(root, missing, not whole(root, 'clip/vit_mini.pt', known), seed, size)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob('*')
                   if path.is_file() and path.name != 'manifest.json')
    write_json(root / 'manifest.json', dict(
        recipe=recipe, files={path: digest(root / path) for path in files}))


def make(root: Path, videos: list[Video], wants_clip: bool, seed: int, size: Size
         ) -> None:
    """Write videos on all cores but one, which trains the CLIP meanwhile."""
    columns = ('{task.description}', BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())
    # Forked before this process has threads: torch starts none before train_clip.
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 2) - 1),
                             multiprocessing.get_context('fork'),
                             die_with_parent) as pool, \
            Progress(*columns) as progress:
        filming = progress.add_task('videos', total=len(videos))
        jobs = [pool.submit(write_video, root / video.path, video.scene,
                            video.num_frames, video.fps) for video in videos]
        for job in jobs:
            job.add_done_callback(lambda _: progress.advance(filming))
        try:
            if wants_clip:
                training = progress.add_task('CLIP steps', total=size.clip_steps)
                state = train_clip(size, seed, lambda: progress.advance(training))
                write_atomically(state, root / 'clip' / 'vit_mini.pt')
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def describe(seed: int, size: Size) -> dict:
    """What decides every byte: seed, size, and the code of this package."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob('*')):
        if file.suffix in ('.py', '.json'):
            code.update(file.read_bytes())
    return dict(seed=seed, size=dataclasses.asdict(size), code=code.hexdigest(),
                torch=torch.__version__)


def read_manifest(root: Path) -> dict:
    try:
        return json.loads((root / 'manifest.json').read_text())
    except (OSError, ValueError):
        return {}


def whole(root: Path, path: str, known: dict[str, str]) -> bool:
    """Whether a file is as the manifest says; before there is one, whether it exists:
    files are put in place whole."""
    if not (root / path).is_file():
        return False
    return not known or known.get(path) == digest(root / path)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def clear(root: Path) -> None:
    """Remove what another recipe built, and nothing else."""
    for folder in ('videos', 'clip'):
        shutil.rmtree(root / folder, ignore_errors=True)
    for pattern in ('*_classes.txt', '*_train.txt', '*_val.txt', '*_split?.txt',
                    '*_candidates.txt'):
        for file in root.glob(pattern):
            file.unlink()


def write_split(root: Path, split: Split) -> None:
    write_names(root / f'{split.classes_file}.txt', split.classes)
    if split.candidates:
        write_names(root / f'{split.name}_candidates.txt', split.candidates)
    (root / f'{split.name}.txt').write_text(
        ''.join(f'{video.path} {label}\n' for video, label in split.videos))


def write_names(path: Path, classes: tuple[ActionClass, ...]) -> None:
    path.write_text(''.join(f'{action.name}\n' for action in classes))


def make_folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
