"""Where the numbers of a suite come from: commit, hardware, time."""
from collections import defaultdict
from dataclasses import dataclass, field

from vita_mm.harness.run.plan import Plan

DAY = len('2026-01-31')
COMMIT, DIRTY = 'git.commit', 'git.dirty'
SHORT = 9  # letters of a commit


@dataclass(frozen=True)
class Provenance:
    """Of the runs that are done.

    Attributes:
        machine: versions and hardware; several values where runs differ.
        commits: of the code, each once; empty texts where there was no checkout.
        dirty: how many runs were of a tree with changes that no commit has.
        runs: how many are done.
        seconds: that they took, all together.
        days: the first and the last on which one ended.
    """
    machine: dict[str, str] = field(default_factory=dict)
    commits: tuple[str, ...] = ()
    dirty: int = 0
    runs: int = 0
    seconds: float = 0.
    days: tuple[str, ...] = ()

    @property
    def fault(self) -> str | None:
        """Why the numbers are not those of one commit; None if they are."""
        if not self.runs:
            return 'no run is done'
        if '' in self.commits:
            return 'some runs were made without a checkout of git, so that their code ' \
                   'is not known'
        names = ', '.join(commit[:SHORT] for commit in self.commits)
        if len(self.commits) > 1:
            return f'the runs are of {len(self.commits)} commits ({names})'
        if self.dirty:
            return f'{self.dirty} of {self.runs} runs were made with changes that are ' \
                   f'not in commit {names}'
        return None


def find_provenance(plan: Plan) -> Provenance:
    """Of all runs of the plan that are done, from their results."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    results = [run.folder.outcome for run in plan.runs.values() if run.done]
    for result in results:
        for key, value in {**result.environment, 'precision': result.precision}.items():
            if not key.startswith('mlflow.'):
                found[key.removeprefix('env.')][value] = None
    days = sorted(result.time[:DAY] for result in results)
    return Provenance(
        {key: ', '.join(values) for key, values in found.items()},
        tuple(dict.fromkeys(result.git.get(COMMIT, '') for result in results)),
        sum(result.git.get(DIRTY) == 'true' for result in results), len(results),
        sum(result.seconds or 0 for result in results),
        tuple(dict.fromkeys([days[0], days[-1]])) if days else ())
