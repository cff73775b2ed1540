"""What a study came to, for people and programs: a page, a JSON file, and a table at the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ludus.experiment.study_file import METRICS
from ludus.lab.resampling import Estimate
from ludus.record import files
from ludus.types import LudusError
from ludus.views import text
from ludus.views.queries.study import Comparison, StudyResult
from ludus.views.report import render, style

PAGE, NUMBERS = "study.html", "study.json"
SHARES = ("base_success", "new_success", "curve_area")
"""Metrics between 0 and 1."""
WHOLE = ("accepted", "graphs", "places", "episodes", "updates", "promoted", "tokens")
"""Metrics that count something."""
AT_END = ("base_success", "new_success")
"""Metrics of the best policy at a run's end."""
FEW = 5
"""Fewer runs than this have an interval that is too narrow."""

MOST_ANSWERS = 4
"""Comparisons that the page begins with, and arms that a sentence names."""


def write_study(result: StudyResult, directory: Path) -> Path:
    """Write `study.json` and `study.html` into the study's directory and return the path of the page.

    Raises:
        LudusError: they cannot be written.
    """
    page = render(
        "study.html",
        style=style(),
        study=result,
        prose=StudyProse(result),
        number=number,
        estimate=estimate,
    )
    numbers = json.dumps(asdict(result), indent=1, ensure_ascii=False)
    try:
        files.write(directory / NUMBERS, f"{numbers}\n".encode(errors="replace"))
        files.write(directory / PAGE, page.encode(errors="replace"))
    except OSError as error:
        raise LudusError(
            f"cannot write in {directory}: {error.strerror}; mend that, then `ludus study --report`"
        ) from error
    return directory / PAGE


def print_study(result: StudyResult, console: Console) -> None:
    """A line per arm, per comparison, and per run that is not done."""
    prose = StudyProse(result)
    arms = Table("arm", *(f"seed {seed}" for seed in result.seeds), "mean", "IQM", box=None, pad_edge=False)
    for arm in result.arms:
        arms.add_row(arm.name, *map(number, arm.values), estimate(arm.mean), estimate(arm.iqm))
    console.print(f"{prose.metric}, 95 % bootstrap intervals")
    console.print(arms)
    for comparison in result.comparisons:
        console.print(difference(comparison, result.card.test))
    for warning in prose.warnings():
        console.print(Text(warning, style="yellow"))
    for run in result.unfinished:
        console.print(Text(text.clean(f"{run.name}: {run.state}{f': {run.why}' if run.why else ''}")))


class StudyProse:
    """Sentences and scales of a study's page."""

    def __init__(self, result: StudyResult) -> None:
        self._result = result
        values = [v for arm in result.arms for v in arm.values if v is not None]
        self.axis = (0.0, 1.0 if result.card.metric in SHARES else _rounded(max(values, default=1.0)))
        far = [abs(v) for c in result.comparisons for v in (*c.differences, *_ends(c.mean)) if v is not None]
        reach = _rounded(max(far, default=1.0))
        self.difference_axis = (-reach, reach)
        made = [x for run in result.runs for x, _ in run.curve]
        self.episodes = (min(made, default=0), max(made, default=1))

    @property
    def metric(self) -> str:
        """The card's metric in words."""
        said = METRICS[self._result.card.metric]
        return said[0].upper() + said[1:]

    @property
    def tone(self) -> str:
        return "warn" if self._result.unfinished or any(self.warnings()) else "good"

    @property
    def first(self) -> str:
        """How far the study has come."""
        n, done = len(self._result.runs), len(self._result.runs) - len(self._result.unfinished)
        return f"{text.count(done, 'run')} done." if done == n else f"{done} of {text.count(n, 'run')} done."

    def answers(self) -> Iterator[str]:
        """The comparisons that the card asks for; of many, how they came out."""
        asked = self._result.comparisons
        if len(asked) <= MOST_ANSWERS:
            yield from (difference(c, self._result.card.test) for c in asked)
            return
        known = [c.mean.interval for c in asked if c.mean is not None and c.mean.interval is not None]
        above, below = sum(low > 0 for low, _ in known), sum(high < 0 for _, high in known)
        yield (
            f"{text.count(len(asked), 'difference')} between arms: {above} with an interval above 0, {below} below, "
            f"{len(known) - above - below} around 0."
        )

    def warnings(self) -> Iterator[str]:
        """What may make the arms no fair comparison."""
        updates: dict[float, list[str]] = {}
        for arm in self._result.arms:
            if (n := arm.others["updates"]) is not None:
                updates.setdefault(n, []).append(arm.name)
        if len(updates) > 1:
            told = sorted(updates) if len(updates) <= MOST_ANSWERS else (min(updates), max(updates))
            said = "; ".join(f"{n:,.0f} in {_arms(updates[n])}" for n in told)
            yield f"Arms were trained for different numbers of updates: {said}."
        kept = [arm.name for arm in self._result.arms if arm.others["promoted"] == 0]
        if kept and self._result.card.metric in AT_END:
            yield (
                f"In no run of {_arms(kept)} did a policy of the rounds replace the one before them: what is measured at the "
                "end is the training before the rounds."
            )

    def caveats(self) -> Iterator[str]:
        """What a reader must know of the numbers."""
        n, pooled = self._result.card.n, max((arm.pooled for arm in self._result.arms), default=0)
        yield (
            "Intervals are 95 % percentile intervals of a bootstrap over runs, each arm drawn from its own; they say what other "
            "seeds of the same settings may give, and nothing of other worlds or sizes."
        )
        if n < FEW:
            yield f"Of {n} runs an interval is no wider than from the lowest to the highest, and covers less than 95 %."
        of = f"all {pooled} skills of all runs" if pooled > 1 else "the runs"
        yield (
            f"IQM: the mean over {of} without the lowest and the highest quarter (Agarwal et al. 2021, arXiv 2108.13264). A "
            "run is drawn with all of its skills, since one policy does them."
        )
        if (pairs := len(self._result.comparisons)) and (least := self._result.comparisons[0].least_p):
            several = f", and not adjusted for {pairs} comparisons" if pairs > 1 else ""
            yield (
                f"p is two-sided, exact up to 16 pairs{several}; {text.count(n, 'pair')} of runs can give none below {least:.2g}."
            )
        if self._result.unfinished:
            yield "Runs that are not done count nowhere; where they failed for a reason, what is left is the better part."

    @property
    def metrics(self) -> dict[str, str]:
        """The metrics of which some run has something to say, in words: the card's, and those that are not 0 everywhere."""
        runs = [run.metrics for run in self._result.runs]
        told = {m for m in METRICS if m == self._result.card.metric or any(run.get(m) for run in runs)}
        return {metric: said for metric, said in METRICS.items() if metric in told}

    def cell(self, metric: str, value: float | None) -> str:
        """A metric's value of a run or of an arm."""
        return f"{value:,.0f}" if metric in WHOLE and value is not None and value == int(value) else number(value)

    def curves(self, name: str) -> list[Sequence[tuple[int, float]]]:
        """The curves of an arm's runs."""
        return [run.curve for run in self._result.runs if run.arm == name and run.curve]


def difference(c: Comparison, test: str) -> str:
    """'planner - none: +0.12 [+0.02, +0.20], p = 0.25 (permutation test, 3 pairs)'."""
    if c.mean is None or c.p is None:
        return f"{c.first} - {c.second}: no pair of runs is done"
    pairs = sum(d is not None for d in c.differences)
    return f"{c.first} - {c.second}: {estimate(c.mean, '+')}, p = {c.p:.2g} ({test} test, {text.count(pairs, 'pair')})"


def estimate(found: Estimate | None, sign: str = "") -> str:
    """'0.62 [0.40, 0.81]', or a dash."""
    if found is None:
        return "–"
    low, high = (number(end, sign) for end in found.interval or (None, None))
    return f"{number(found.value, sign)} [{low}, {high}]" if found.interval else number(found.value, sign)


def number(value: float | None, sign: str = "") -> str:
    """A metric's value in few digits, or a dash."""
    if value is None:
        return "–"
    small = 0 < abs(value) < 0.01
    return f"{value:{sign},.0f}" if abs(value) >= 100 else f"{value:{sign}.1g}" if small else f"{value:{sign}.2f}"


# --- inside --------------------------------------------------------------------------------------------------------


def _arms(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MOST_ANSWERS else text.count(len(names), "arm")


def _ends(found: Estimate | None) -> tuple[float, ...]:
    return () if found is None else (found.value, *(found.interval or ()))


def _rounded(value: float) -> float:
    """The next of 1, 2, 5, 10, ... above a value."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
