"""How long runs take: as long as like runs took, else what the suite says."""
import statistics

from .plan import Plan, Run

UNKNOWN = 20.0  # seconds of an evaluation that nothing is known about


class Estimates:
    """Estimates from the runs that are done.

    Args:
        plan: of the suite.
    """

    def __init__(self, plan: Plan) -> None:
        self.given = plan.suite.estimates
        self.taken: dict[str, list[float]] = {}
        for run in plan.runs.values():
            status = run.folder.status or {}
            if 'seconds' in status:
                self.taken.setdefault(self._kind(run), []).append(status['seconds'])

    def _kind(self, run: Run) -> str:
        return f'{run.source} {run.trains}'

    def of(self, run: Run) -> float:
        """Seconds of one run."""
        taken = self.taken.get(self._kind(run))
        if taken:
            return statistics.median(taken)
        return self.given.get(run.source, UNKNOWN) if run.trains else UNKNOWN

    def of_all(self, runs: list[Run]) -> float:
        return sum(map(self.of, runs))

    def wall(self, runs: list[Run], jobs: int) -> float:
        """Seconds until all are done, so many at once."""
        return self.of_all(runs) / max(1, jobs)


def say_time(seconds: float) -> str:
    if seconds < 90:
        return f'{seconds:.0f} s'
    if seconds < 5400:
        return f'{seconds / 60:.0f} min'
    return f'{seconds / 3600:.1f} h'
