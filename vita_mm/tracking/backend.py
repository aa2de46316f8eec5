"""The visualizer backend that records a run for MLflow."""
import atexit
import os
import sys
import time
import traceback
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend

from vita_mm.errors import is_interrupt
from vita_mm.io.files import write_bytes

from .delivery import Delivery
from .journal import RUNNING, Journal, find_journals, now
from .sender import Sender
from .store import default_uri, read_environment, read_id, resolve_uri
from .system import PREFIX, SystemMonitor, is_wanted
from .values import PARAM_LENGTH, TAG_LENGTH, cut, flatten, redact, to_key, to_number

START_WAIT = 10  # seconds that the start of a run waits for the server
RESUME_WAIT = 5  # seconds that it waits for a journal that another just closes
TEXT_LENGTH = 1_000_000  # characters; a longer text is a file beside the journal
# The runs of this process that have not ended.
OPEN_RUNS: set['MLflowTracking'] = set()


@VISBACKENDS.register_module()
class MLflowTracking(BaseVisBackend):
    """Writes everything to a journal in the work dir, from which it goes to MLflow.

    A background thread sends the journal, so an absent server neither stops nor slows
    training, and loses nothing. A run ends as FINISHED only if it came to its end; see
    ``TrackingHook``, which starts it and adds what only the runner knows. Without that
    hook the run starts with the first record and ends with :meth:`close`.

    Args:
        save_dir: given by the visualizer; used where there is no ``work_dir``.
        experiment: default ``MLFLOW_EXPERIMENT_NAME``, else the one of
            ``MLFLOW_EXPERIMENT_ID``, else ``vita_mm``.
        run_name: default the runner's ``experiment_name``.
        tags: of the run, such as ``{'mlflow.parentRunId': ...}``.
        parent: the header of the journal of the run that this one is part of.
        tracking_uri: default ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the current
            folder (SQLite), with artifacts in ``mlartifacts`` beside it.
    """

    def __init__(self, save_dir: str, experiment: str | None = None,
                 run_name: str | None = None, tags: dict | None = None,
                 parent: dict | None = None, tracking_uri: str | None = None) -> None:
        super().__init__(save_dir)
        self._experiment = experiment
        self._run_name = run_name
        self._tags = tags or {}
        self._parent = parent
        self._uri = tracking_uri
        self._config = Config()
        self._work_dir: Path | None = None
        self._sender = self._monitor = None
        self._resumed_at = {}
        self.kind: str | None = None
        self.journal: Journal | None = None
        # What close() reports. A hook sets FAILED at the start and FINISHED at the end.
        self.outcome = 'FINISHED'

    def _init_env(self) -> None:
        """Nothing to set up: :meth:`start` does, once it is known what runs."""

    @property
    def experiment(self) -> Journal:
        """The journal of the run, started if need be."""
        if self.journal is None:
            self.start()
        assert self.journal is not None
        return self.journal

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run; None until a server has given it."""
        return self._sender and self._sender.current.run_id

    def start(self, kind: str = 'run', work_dir: str | None = None,
              resume: bool | None = None, run_name: str | None = None) -> None:
        """Begin a run, or continue the one that was resumed.

        Earlier runs of the work dir that were killed are closed as such, and what is
        unsent of them is sent.

        Args:
            kind: ``train``, ``val``, ``test`` or ``run``; only the same is continued.
            work_dir: whose ``mlflow`` folder holds the journals; default the config's.
            resume: continue the last run; default the config's ``resume``.
            run_name: for a new run, unless the constructor had one.

        Raises:
            UserError: if the tracking address, or an id in the environment, is none.
        """
        uri = resolve_uri(self._uri) if self._uri else default_uri()
        own = self._parent or (dict(experiment=str(self._experiment))
                               if self._experiment else read_environment())
        run_id = None if self._parent else read_id('MLFLOW_RUN_ID')
        place = Path(work_dir or self._config.get('work_dir') or self._save_dir)
        resume = self._config.get('resume', False) if resume is None else resume
        for other in list(OPEN_RUNS):
            if (other._work_dir, other.kind) == (place.resolve(), kind):
                other.finish('FAILED')  # it has been given up without a word
        journals = find_journals(place)
        last = resume and newest(journals, kind)
        end = time.monotonic() + RESUME_WAIT
        while last and not last.acquire() and time.monotonic() < end:
            time.sleep(.1)
        idle = [journal for journal in journals if journal.acquire()]
        self.journal = last if last in idle else Journal.create(
            place / 'mlflow', kind, experiment=own['experiment'],
            experiment_id=own.get('experiment_id'), parent=self._parent, run_id=run_id,
            run_name=self._run_name or run_name, uri=redact(uri),
            number=1 + max((old.header['number'] for old in journals), default=0))
        self.kind, self._work_dir = kind, place.resolve()
        OPEN_RUNS.add(self)
        self._resumed_at = self.journal.last_steps()
        self.journal.write('status', status=RUNNING, time=now())
        self.add_tags(self._tags)
        self._write_config()
        self._start_sender(
            uri, [journal for journal in idle if journal is not self.journal])
        self._start_monitor()

    def _start_sender(self, uri: str, older: list[Journal]) -> None:
        for journal in older:
            journal.close_stale()
        self._sender = Sender(
            Delivery(self.experiment, uri), [Delivery(journal, uri) for journal in older])
        self._sender.start()
        # The thread imports much in its first seconds. A data worker forked meanwhile
        # would inherit locks that nobody ever frees.
        self._sender.tried.wait(START_WAIT)
        if self.run_id:
            print_log(f'MLflow run {self.run_id} at {redact(uri)}', 'current')

    def _start_monitor(self) -> None:
        if is_wanted():
            last = [step for key, step in self._resumed_at.items()
                    if key.startswith(PREFIX)]
            self._monitor = SystemMonitor(self._add_points, max(last, default=-1) + 1)
            self._monitor.start()
            self._monitor.ready.wait(START_WAIT)  # it imports too

    def _write_config(self) -> None:
        if self._config:
            self.add_params(dict(flatten(self._config.to_dict())))
            self.add_text('config.py', self._config.pretty_text)

    def add_config(self, config: Config) -> None:
        """Record the config: its leaves as params, all of it as ``config.py``."""
        self._config = config
        if self.journal is not None:
            self._write_config()

    def add_params(self, params: dict) -> None:
        values = {to_key(key): cut(value, PARAM_LENGTH)
                  for key, value in params.items()}
        if values:
            self.experiment.write('params', values=values)

    def add_tags(self, tags: dict) -> None:
        values = {to_key(key): cut(value, TAG_LENGTH) for key, value in tags.items()}
        if values:
            self.experiment.write('tags', values=values)

    def add_text(self, path: str, text: str) -> None:
        """Record a text as the artifact ``path``."""
        text = redact(text)
        if len(text) <= TEXT_LENGTH:
            self.experiment.write('text', path=path, text=text)
        else:
            self._add_bytes(path, text.encode('utf-8', 'replace'))

    def add_dataset(self, name: str, digest: str, context: str, source: str) -> None:
        """Record a dataset that the run reads; ``context`` is train, val or test."""
        self.experiment.write('dataset', name=name, digest=digest, context=context,
                              source=source)

    def add_scalar(self, name: str, value, step: int = 0) -> None:
        """Record one point of a metric.

        Raises:
            TypeError: if the value is not one number.
        """
        self._add_points({name: value}, step)

    def add_scalars(self, scalar_dict: dict, step: int = 0,
                    file_path: str | None = None) -> None:
        """Record points of several metrics; ``file_path`` is for other backends.

        Raises:
            TypeError: if a value is not one number.
        """
        if 'iter' not in scalar_dict:
            # A validation, which LoggerHook counts in epochs: keep its clock apart from
            # that of training, which has the same names and counts in iterations.
            scalar_dict = {f'val/{key}' if key in ('time', 'data_time') else key: value
                           for key, value in scalar_dict.items()}
        self._add_points(scalar_dict, step)

    def _add_points(self, points: dict, step: int) -> None:
        journal = self.experiment
        values = {to_key(key): to_number(value) for key, value in points.items()}
        # A resumed run goes over steps again that the journal already has.
        values = {key: value for key, value in values.items()
                  if step > self._resumed_at.get(key, step - 1)}
        if values:
            journal.write('metrics', step=int(step), time=now(), values=values)

    def add_image(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Record an RGB image as the artifact ``images/<name>_<step>.png``."""
        path = f'images/{to_key(name).replace("/", "_")}_{step}.png'
        self._add_bytes(path, cv2.imencode('.png', image[..., ::-1])[1].tobytes())

    def add_file(self, path: str, source: Path) -> None:
        """Record a copy of a file as the artifact ``path``, in place of an earlier."""
        self._add_bytes(path, Path(source).read_bytes())

    def _add_bytes(self, path: str, content: bytes) -> None:
        journal = self.experiment
        # Whole or not at all, for the sender may be reading it.
        write_bytes(journal.folder / 'files' / path, content)
        journal.write('file', path=path)

    def fail(self, error: BaseException | None) -> None:
        """End the run: KILLED by Ctrl-C or SIGTERM, else FAILED with the error."""
        if is_interrupt(error):
            self.finish('KILLED')
        elif error is None:
            self.finish('FAILED')
        else:
            text = ''.join(traceback.format_exception(error))
            self.finish('FAILED', dict(error=text[-TAG_LENGTH:]))

    def finish(self, status: str, tags: dict | None = None) -> None:
        """End the run, if there is one, and send what is left while that goes on."""
        if self.journal is None:
            return
        if self._monitor is not None:
            self._monitor.stop()
        self.add_tags(tags or {})
        self.journal.write('status', status=status, time=now())
        sender = self._sender
        # Now, not later: a second Ctrl-C may interrupt the sending.
        self.journal = self._sender = self._monitor = None
        OPEN_RUNS.discard(self)
        if sender is not None:
            sender.close()

    def close(self) -> None:
        """End the run; MMEngine calls this in ``LoggerHook.after_run``."""
        self.finish(self.outcome)


def newest(journals: list[Journal], kind: str) -> Journal | None:
    """The last journal of its kind, and of ``MLFLOW_RUN_ID`` if that is set."""
    wanted = os.environ.get('MLFLOW_RUN_ID')
    found = [journal for journal in journals if journal.header['what'] == kind
             and wanted in (None, journal.sent()['run_id'], journal.header['run_id'])]
    return found[-1] if found else None


@atexit.register
def fail_open_runs() -> None:
    """A run that is open when its process ends has not come to its own end."""
    for run in list(OPEN_RUNS):
        run.fail(getattr(sys, 'last_value', None))
