"""CPU, memory, disk, network and GPU use, for MLflow's tab "System metrics"."""
import logging
import os
import threading
from collections.abc import Callable
from importlib import import_module

from mmengine.logging import print_log

from vita_mm.errors import UserError

PREFIX = 'system/'
SWITCH = 'MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING'
INTERVAL = 'MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL'
MONITORS = dict(cpu_monitor='CPUMonitor', disk_monitor='DiskMonitor',
                network_monitor='NetworkMonitor', gpu_monitor='GPUMonitor')


class SystemMonitor(threading.Thread):
    """Samples MLflow's own monitors until :meth:`stop`.

    MLflow's thread would write to the server itself, which may be away.

    Args:
        write: takes metrics and their step.
        first_step: that of the first sample.

    Raises:
        UserError: if the seconds between two samples, from the environment, are none.
    """

    def __init__(self, write: Callable[[dict, int], None], first_step: int) -> None:
        super().__init__(name='system-metrics', daemon=True)
        self.write = write
        self.step = first_step
        self.interval = read_interval()
        self.ready = threading.Event()
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            monitors = find_monitors()
        finally:
            self.ready.set()
        while monitors and not self._stopping.is_set():
            sample = {}
            for monitor in monitors:
                try:
                    monitor.collect_metrics()
                    sample.update(monitor.aggregate_metrics())
                except Exception:  # a probe of the machine must not end the others
                    continue
                finally:
                    monitor.clear_metrics()
            self.write({f'{PREFIX}{key}': value for key, value in sample.items()},
                       self.step)
            self.step += 1
            self._stopping.wait(self.interval)

    def stop(self) -> None:
        self._stopping.set()
        self.join(10)  # a probe that hangs must not hold up the end of a run


def is_wanted() -> bool:
    return os.environ.get(SWITCH, 'true').lower() not in ('false', '0')


def read_interval() -> float:
    """Seconds between two samples."""
    text = os.environ.get(INTERVAL) or '10'
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds <= threading.TIMEOUT_MAX:
        raise UserError(f'{INTERVAL}={text} is no number of seconds above zero')
    return seconds


def find_monitors() -> list:
    """Those that work on this machine: there may be no GPU."""
    found = []
    for module, name in MONITORS.items():
        try:
            found.append(getattr(import_module(
                f'mlflow.system_metrics.metrics.{module}'), name)())
        except Exception as error:
            print_log(f'no {name}: {error}', 'current', logging.DEBUG)
    return found
