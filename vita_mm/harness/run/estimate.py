"""How long runs take: as long as others of their kind, else what the suite says."""
import statistics

from vita_mm.engine.precision import PRECISIONS

from .plan import Plan, Run

UNKNOWN = 20.0  # seconds of an evaluation that nothing is known about


class Estimates:
    """Estimates from the runs that are done.

    Args:
        plan: of the suite.
    """

    def __init__(self, plan: Plan) -> None:
        self.given = plan.suite.estimates
        self.precision = plan.suite.estimates_precision
        self.taken: dict[str, list[float]] = {}
        for run in plan.runs.values():
            result = run.folder.result
            if result is not None and result.seconds is not None:
                processes = int(result.environment.get('env.world_size', 1))
                self.taken.setdefault(self._kind(run), []).append(
                    result.seconds * processes)

    def _kind(self, run: Run) -> str:
        return f'{run.source} {run.trains} {precision(run)}'

    def of(self, run: Run) -> float:
        """Seconds of one run on one device."""
        taken = self.taken.get(self._kind(run))
        if taken:
            return statistics.median(taken)
        if run.trained is not None and run.source == run.trained.source:
            return UNKNOWN  # what is given for the config is its training
        if run.source not in self.given:
            return UNKNOWN
        return self.given[run.source] * self._slower(precision(run))

    def _slower(self, asked: str) -> float:
        """How many times longer a precision takes than that of what is given."""
        if self.precision is None or asked not in PRECISIONS:
            return 1.0
        return (PRECISIONS[self.precision].a100_tflops
                / PRECISIONS[asked].a100_tflops)

    def of_all(self, runs: list[Run]) -> float:
        return sum(map(self.of, runs))


def precision(run: Run) -> str:
    return run.config.get('precision', 'float32')


def say_time(seconds: float) -> str:
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'
