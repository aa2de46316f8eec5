"""What runs read and write as JSON, as closed schemas: a field that is not known, missing
or of a wrong kind is named."""
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vita_mm.errors import UserError
from vita_mm.io.files import read_json, write_json

SCHEMA = 'schema'


class Record(BaseModel):
    """A record that crosses a border, unchangeable: ``model_copy`` makes another."""
    model_config = ConfigDict(extra='forbid', frozen=True, populate_by_name=True)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The record of a file; None if there is no such file or it is no JSON.

        Raises:
            UserError: naming the file and the field that is not what it is to be.
        """
        content = read_json(path)
        return None if content is None else cls.parse(content, str(path))

    @classmethod
    def parse(cls, content, place: str) -> Self:
        """The record of what JSON holds, found at a place.

        Raises:
            UserError: naming the place and the field that is not what it is to be.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f'{place}: {describe_fault(error)}') from error

    def write(self, path: Path) -> None:
        write_json(path, self.to_json())

    def to_json(self) -> dict:
        """Dicts, lists and values, by the names that the file has."""
        return self.model_dump(mode='json', by_alias=True)


class Inputs(Record):
    """What decides the result of a run, in parts that can be compared one by one.

    Attributes:
        config: dotted key to value, without keys that change no number.
        code: file to digest.
        data: loop, list or key to digest.
        looks: loop to the digest of the sizes and times of its videos; of runs before it
            was recorded there is none.
        clip: file of CLIP to digest, or the tag of open_clip.
        weights: digest of the checkpoint that is evaluated; None for a training, for
            frozen CLIP, and until the training is done.
        missing: why some of the files cannot be read; None if they can.
    """
    config: dict[str, str]
    code: dict[str, str]
    data: dict[str, str]
    looks: dict[str, str] = {}
    clip: dict[str, str]
    weights: str | None = None
    missing: str | None = None


class RunSpec(Record):
    """What a run is.

    Attributes:
        name: of its folder below ``runs``, such as ``vita_mini,num_global=0/seed1``.
        rows: ``TABLE/ROW`` of those whose numbers need it.
        source: the config file as the first of them names it.
        seed: of the training.
        trained: folder of the training whose weights are evaluated; None for frozen
            CLIP, and for a training itself.
        inputs: what decides its result.
        python_path: folders of its configs, for the plug-ins beside them.
    """
    name: str
    rows: list[str] = []
    source: str | None = None
    seed: int
    trained: str | None = None
    inputs: Inputs
    python_path: list[str] = []


class Manifest(RunSpec):
    """``run.json`` in a run's folder: what was asked for, written before it starts.

    Files of before it had a schema are read as well; what has no meaning any more in
    them is passed over.

    Attributes:
        suite: its name.
        parent: header of the journal of the MLflow run that this one is part of.
        version: of this form, ``schema`` in the file.
    """
    suite: str | None = None
    parent: dict | None = None
    version: Literal[1] = Field(default=1, alias=SCHEMA)

    @classmethod
    def of(cls, spec: RunSpec, suite: str, parent: dict | None) -> Self:
        return cls(**dict(spec), suite=suite, parent=parent)

    @model_validator(mode='before')
    @classmethod
    def read_older(cls, content):
        if not isinstance(content, dict) or SCHEMA in content or 'version' in content:
            return content
        content = {key: content[key] for key in cls.model_fields if key in content}
        inputs = content.get('inputs')
        if isinstance(inputs, dict):
            content['inputs'] = {key: inputs[key] for key in Inputs.model_fields
                                 if key in inputs}
        return content


def describe_fault(error: ValidationError) -> str:
    """The fault of a record in a sentence, with its field: of several the first, but
    another form explains all others."""
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault['loc'] == (SCHEMA, )), faults[0])
    field = '.'.join(map(str, fault['loc'])) or 'it'
    if field == SCHEMA:
        return (f'it is of the schema {fault["input"]!r}, which this version of vita_mm '
                'does not know: read it with the version that wrote it')
    if fault['type'] == 'extra_forbidden':
        return f'unknown field {field!r}'
    if fault['type'] == 'missing':
        return f'the field {field!r} is missing'
    return f'{field}: {fault["msg"]}, not {fault["input"]!r:.80}'
