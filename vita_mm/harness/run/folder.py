"""The folder of a run: what was asked for, what came out, and whether that still holds.

- ``config.py``, ``run.json``: what was asked for, written before the run starts;
- ``work/``: checkpoints, the journal for MLflow, and in the end ``weights.pth``, the last
  weights without the optimizer: what is evaluated;
- ``log.txt``: everything it printed;
- ``manifest.json``: versions, hardware, git state, seed, data, CLIP, checkpoint;
- ``metrics.json``: the numbers;
- ``status.json``: ``done`` or ``failed``, written last.
"""
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from vita_mm.io.files import read_json, write_json

from .inputs import differences

DONE, STALE, FAILED, INTERRUPTED, ABSENT = (
    'done', 'stale', 'failed', 'interrupted', 'not run')
# What MMEngine's CheckpointHook writes.
CHECKPOINTS = ('epoch_*.pth', 'iter_*.pth', 'best_*.pth', 'last_checkpoint')
LAST_WORDS = 12  # lines of the log that a failure keeps


@dataclass
class Standing:
    """How a run stands: its state and, where it is not done, why."""
    state: str
    reasons: list[str] = field(default_factory=list)


class RunFolder:
    """Reads and writes the files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.log = self.path / 'log.txt'
        self.work = self.path / 'work'
        self.weights = self.work / 'weights.pth'

    @property
    def status(self) -> dict | None:
        return read_json(self.path / 'status.json')

    @property
    def metrics(self) -> dict:
        return read_json(self.path / 'metrics.json') or {}

    @property
    def manifest(self) -> dict:
        return read_json(self.path / 'manifest.json') or {}

    @property
    def asked(self) -> dict | None:
        return read_json(self.path / 'run.json')

    def standing(self, inputs: dict, trust_code: bool = False) -> Standing:
        """How the run with these inputs stands."""
        asked = self.asked
        if asked is None:
            return Standing(ABSENT)
        status = self.status
        changed = differences(asked['inputs'], inputs, trust_code)
        if changed:
            return Standing(STALE if status else ABSENT, changed)
        if status is None:
            return Standing(INTERRUPTED)
        error = status.get('error')
        return Standing(status['state'], [error] if error else [])

    def set_aside(self, place: Path) -> None:
        """Move what another run left here, if there is anything worth keeping."""
        if self.status is not None or self.work.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.path, f'{place}-{time.strftime("%Y%m%d_%H%M%S")}')

    def ask(self, config, asked: dict) -> None:
        """Prepare the folder for a run."""
        (self.path / 'status.json').unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        config.dump(self.path / 'config.py')
        write_json(self.path / 'run.json', asked)

    def finish(self, manifest: dict, metrics: dict, seconds: float) -> None:
        write_json(self.path / 'manifest.json', manifest)
        write_json(self.path / 'metrics.json', metrics)
        self._write_status(DONE, seconds=seconds)

    def prune(self) -> None:
        """Remove the checkpoints to resume from; what the manifest names stays."""
        kept = (self.manifest.get('checkpoint') or {}).get('path')
        if kept is None or not os.path.isfile(kept):
            return
        for pattern in CHECKPOINTS:
            for file in self.work.glob(pattern):
                if not os.path.samefile(file, kept):
                    file.unlink()

    def fail(self, why: str) -> None:
        """Record a failure with the last lines of the log."""
        self._write_status(FAILED, error=why, last_lines=self.last_lines())

    def _write_status(self, state: str, **fields) -> None:
        write_json(self.path / 'status.json', dict(
            state=state, time=time.strftime('%Y-%m-%dT%H:%M:%S%z'), **fields))

    def last_lines(self) -> list[str]:
        try:
            text = self.log.read_text(encoding='utf-8', errors='replace')
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-LAST_WORDS:]
