"""What a report says, whoever draws it."""
import math
from collections import Counter
from dataclasses import dataclass, field

from vita_mm.harness.run.estimate import say_time
from vita_mm.harness.spec.suite import Suite

from .claims import RULE, check_claim, order_agreement
from .provenance import SHORT, Provenance
from .results import DONE, UNDECIDED, Check, TableResult
from .tables import (
    Printed,
    agreement,
    count_of,
    print_table,
    seeds_of,
    videos_of,
)


@dataclass(frozen=True)
class Report:
    """The content of a report.

    Attributes:
        suite: what was to be measured.
        tables: what was.
        checks: the claims of all tables.
        provenance: commit, hardware and time.
        remarks: on figures that could not be drawn, by table.
    """
    suite: Suite
    tables: list[Printed]
    checks: list[Check]
    provenance: Provenance
    remarks: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> list[TableResult]:
        return [printed.result for printed in self.tables]

    @property
    def warning(self) -> str:
        """Why these numbers are not to be published; empty if they may be."""
        fault = self.provenance.fault
        return f'Not to be published: {fault}.' if fault else ''

    @property
    def facts(self) -> dict[str, str]:
        """Commit, seeds, time and machine, in few words."""
        come = self.provenance
        commits = [commit[:SHORT] or 'unknown' for commit in come.commits]
        seeds = count_of((len(cell.values) for result in self.results
                          for row in result.rows if row.row.train
                          for cell in row.cells.values() if cell.state == DONE), 'seeds')
        machine = [come.machine[key] for key in ('gpu', 'cpu') if come.machine.get(key)]
        cores = come.machine.get('cores')
        found = dict(
            commit=', '.join(commits) and f'{", ".join(commits)} '
            f'({"with changes" if come.dirty else "clean"})',
            seeds=seeds.removesuffix(' seeds').removesuffix(' seed'),
            runs=come.runs and f'{come.runs}, {say_time(come.seconds)} of computing',
            date=' to '.join(come.days),
            machine=', '.join([*machine[:1], *([f'{cores} cores'] if cores else [])]))
        return {name: str(text) for name, text in found.items() if text}

    @property
    def machine(self) -> dict[str, str]:
        """All that is known of the versions and the hardware."""
        come = self.provenance
        return {**come.machine, 'git.commit': ', '.join(filter(None, come.commits))} \
            if any(come.commits) else come.machine

    @property
    def summary(self) -> str:
        """How many numbers and claims came out how, in a line."""
        verdicts = Counter(cell.verdict(self.suite, row.row) for result in self.results
                           for row in result.rows for cell in row.cells.values())
        sentences = [f'{verdicts.total()} numbers: {count(verdicts)}.']
        if self.suite.compared != 'values':
            # That no value is the paper's is said once, below.
            states = Counter(cell.state for result in self.results for row in result.rows
                             for cell in row.cells.values())
            sentences = [f'{states.total()} numbers: {count(states)}.']
            agreements = [order_agreement(result, column) for result in self.results
                          for column in result.table.columns]
            agreed, pairs = (sum(numbers) for numbers in zip(*agreements))
            if pairs:  # none, where nothing is published
                sentences.append(agreement(agreed, pairs) + '.')
        if self.checks:
            outcomes = Counter(check.outcome for check in self.checks)
            sentences.append(f'{count_of([len(self.checks)], "claims")}: '
                             f'{count(outcomes)}.')
        return ' '.join(sentences)

    @property
    def explanations(self) -> list[str]:
        """What the numbers mean."""
        texts = [
            '± is the standard deviation over trainings with different seeds (ddof=1). '
            'Brackets and bars are intervals of 95 %, over seeds and videos; of one '
            'seed, or where nothing is trained, over videos alone. '
            'A number without an interval is of runs that kept no predictions by video.',
            RULE]
        if self.suite.compared == 'values':
            texts.append('Reproduced: the mean of the seeds is no further from the '
                         "paper's figure than the tolerance, which is in the unit of "
                         'its column.')
        else:
            texts.append("The data are not the paper's, so that its values are not "
                         'here: only the order of rows can be compared. Ranks are among '
                         'the rows with a number both here and in the paper.')
        return texts + ([self.suite.note] if self.suite.note else [])

    def caption_of(self, result: TableResult) -> str:
        """Seeds and videos of a table, where they are the same in all of it."""
        return ', '.join(text for text in (seeds_of(result), videos_of(result)) if text)

    def remarks_of(self, result: TableResult) -> list[str]:
        remark = self.remarks.get(result.table.name)
        return [remark] if remark else []


def compose(suite: Suite, results: list[TableResult], provenance: Provenance) -> Report:
    checks = check_all(results)
    return Report(suite, [print_table(suite, result, checks) for result in results],
                  checks, provenance)


def check_all(results: list[TableResult]) -> list[Check]:
    return [check_claim(claim, result)
            for result in results for claim in result.table.claims]


def count(counter: Counter) -> str:
    return ', '.join(f'{name} {number}' for name, number in counter.most_common())


def need_of(check: Check) -> str:
    """What the step of an undecided claim would take that is the furthest from decided.
    """
    open_steps = [step for step in check.steps if step.outcome == UNDECIDED]
    if check.outcome != UNDECIDED or not open_steps:
        return ''
    furthest = max(open_steps, key=lambda step: step.estimate.needed_seeds or math.inf)
    return furthest.needs.strip(' ()')
