"""The folder of a run: what was asked for, what came out, and whether that still holds.

- ``config.py``, ``run.json``: what was asked for, written before the run starts;
- ``work/``: checkpoints, the journal for MLflow, and in the end ``weights.pth``, the last
  weights without the optimizer: what is evaluated;
- ``log.txt``: everything it printed;
- ``predictions.npz``: what an evaluation said of each video;
- ``result.json``: how it ended, written last: numbers, weights, data, CLIP, versions.
"""
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from vita_mm.analysis.predictions import NAME as PREDICTIONS
from vita_mm.errors import UserError

from .inputs import differences
from .records import Inputs, Manifest
from .result import DONE, FAILED, NAME, OLDER, Result, read_result

STALE, INTERRUPTED, ABSENT = 'stale', 'interrupted', 'not run'
# What MMEngine's CheckpointHook writes.
CHECKPOINTS = ('epoch_*.pth', 'iter_*.pth', 'best_*.pth', 'last_checkpoint')
LAST_WORDS = 12  # lines of the log that a failure keeps


@dataclass
class Status:
    """How a run stands: its state and, where it is not done, why."""
    state: str
    reasons: list[str] = field(default_factory=list)


class RunFolder:
    """Reads and writes the files of a run."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.log = self.path / 'log.txt'
        self.work = self.path / 'work'

    @property
    def manifest(self) -> Manifest | None:
        """What was asked for."""
        return Manifest.read(self.path / 'run.json')

    @property
    def result(self) -> Result | None:
        """What came out; None as long as the run has not ended."""
        return read_result(self.path)

    @property
    def outcome(self) -> Result:
        """The result of a run that has one.

        Raises:
            UserError: if it is there no more.
        """
        if (result := self.result) is None:
            raise UserError(f'{self.path} has lost its result: run the suite again')
        return result

    @property
    def weights(self) -> Path | None:
        """The file that the result names, of a training that is done or an evaluation."""
        result = self.result
        return self.path / result.weights.path if result and result.weights else None

    def status(self, inputs: Inputs, trust_code: bool = False) -> Status:
        """How the run with these inputs stands."""
        manifest = self.manifest
        if manifest is None:
            return Status(ABSENT)
        result = self.result
        changed = differences(manifest.inputs, inputs, trust_code)
        if changed:
            return Status(STALE if result else ABSENT, changed)
        if result is None:
            return Status(INTERRUPTED)
        return Status(result.state, [result.error] if result.error else [])

    def set_aside(self, place: Path) -> None:
        """Move what another run left here, if there is anything worth keeping."""
        if self.result is not None or self.work.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self.path, f'{place}-{time.strftime("%Y%m%d_%H%M%S")}')

    def create(self, config: Config, manifest: Manifest) -> None:
        """Prepare the folder for a run; an older result in it is gone."""
        for name in (NAME, *OLDER, PREDICTIONS):
            (self.path / name).unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        config.dump(self.path / 'config.py')
        self.write_manifest(manifest)

    def write_manifest(self, manifest: Manifest) -> None:
        manifest.write(self.path / 'run.json')

    def finish(self, **fields) -> None:
        """Write the result of a run that is done: fields of :class:`Result`."""
        self._write(state=DONE, **fields)

    def fail(self, why: str) -> None:
        """Record a failure with the last lines of the log."""
        self._write(state=FAILED, error=why, last_lines=self.last_lines())

    def _write(self, **fields) -> None:
        Result(time=time.strftime('%Y-%m-%dT%H:%M:%S%z'), **fields).write(
            self.path / NAME)

    def prune(self) -> None:
        """Remove the checkpoints to resume from; what the result names stays."""
        kept = self.weights
        if kept is None or not kept.is_file():
            return
        for pattern in CHECKPOINTS:
            for file in self.work.glob(pattern):
                if not os.path.samefile(file, kept):
                    file.unlink()

    def last_lines(self) -> list[str]:
        try:
            text = self.log.read_text(encoding='utf-8', errors='replace')
        except OSError:
            return []
        return [line for line in text.splitlines() if line.strip()][-LAST_WORDS:]
