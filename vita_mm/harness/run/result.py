"""What came out of a run: ``result.json`` in its folder, written last.

docs/results.md says what each key means, in the words that stand here.
"""
from pathlib import Path
from typing import Literal

from pydantic import Field

from vita_mm.io.files import read_json

from .records import SCHEMA, Record

NAME = 'result.json'
# Before there was a schema, a result was these three files.
OLDER = STATUS, MANIFEST, METRICS = 'status.json', 'manifest.json', 'metrics.json'
DONE, FAILED = 'done', 'failed'


class Weights(Record):
    """The checkpoint that was trained or evaluated."""
    path: str = Field(description='of the file, relative to the folder of the run; '
                      'absolute in results of before there was a schema')
    sha256: str = Field(description='of the file')


class Dataset(Record):
    """A dataset that was read."""
    name: str = Field(description='the last two parts of the name of its list')
    digest: str = Field(description='SHA-256 of its lists and videos; of their sizes and '
                        'times with `trusted` before it, if the videos were not read')
    context: str = Field(description='`train`, `val` or `test`')
    source: str = Field(description='its lists, as the config names them')


class Result(Record):
    """How a run ended."""
    version: Literal[1, 2] = Field(
        default=2, alias=SCHEMA, description='of this form: 2; 1 has no `predictions`')
    state: Literal['done', 'failed'] = Field(
        description='`done`, or `failed`; a run that is going on or was interrupted has '
        'no result')
    time: str = Field(description='when it ended: date and time, with the time zone')
    seconds: float | None = Field(
        default=None, description='that it took, since it was started for the last time; '
        'without start-up')
    error: str | None = Field(default=None, description='why it failed, in a sentence')
    last_lines: list[str] = Field(
        default=[], description='of the log of a run that failed')
    name: str | None = Field(
        default=None, description='of the run, such as `vita_mini,num_global=0/seed1`')
    seed: int | None = Field(default=None, description='that was in effect')
    metrics: dict[str, int | float] = Field(
        default={}, description='the numbers: of an evaluation as its metric names them, '
        'such as `acc/top1`, and `trainable_parameters`')
    predictions: str | None = Field(
        default=None, description='of each video, the file, relative to the folder of '
        'the run; none of a training, of metrics that keep none, and in schema 1')
    weights: Weights | None = Field(
        default=None, description='the checkpoint that was trained, or is evaluated; '
        'none where nothing is trained')
    precision: str = Field(
        default='float32', description='`float32`, `tf32`, `bfloat16` or `float16`')
    datasets: list[Dataset] = Field(default=[], description='that were read')
    clip: dict[str, str] = Field(
        default={}, description='architecture and SHA-256 of the CLIP that the model '
        'stands on; empty if it stands on none')
    command: list[str] = Field(default=[], description='that executed it')
    environment: dict[str, str] = Field(
        default={}, description='versions and hardware, such as `env.torch` and '
        '`env.gpu`')
    git: dict[str, str] = Field(
        default={}, description='commit of the code, and whether it had changes; empty '
        'without a checkout')


def read_result(folder: Path) -> Result | None:
    """The result in a run's folder, of an older version as well; None if there is none.

    Raises:
        UserError: if it is of a newer version, or a field is not what it is to be.
    """
    found = Result.read(folder / NAME)
    if found is not None:
        return found
    status = read_json(folder / STATUS)
    if status is None:
        return None
    manifest, metrics = (read_json(folder / name) or {} for name in (MANIFEST, METRICS))
    older = {**manifest, **status, 'metrics': metrics,
             'weights': manifest.get('checkpoint')}
    return Result.parse({key: value for key, value in older.items()
                         if key in Result.model_fields and value is not None},
                        str(folder / STATUS))
