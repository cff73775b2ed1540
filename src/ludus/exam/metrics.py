"""Metrics of the exam: rates with intervals, scores of stated probabilities, and the answers themselves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.experimenter.ledger import CannotAsk
from ludus.experimenter.roles import NoAnswer
from ludus.lab.analysis import wilson
from ludus.types import LudusError

MAX_FAILURES = 5
"""Errors in a row that end the exam: they mean a broken examinee, not wrong answers."""
NO_ANSWER = "no answer"
BINS = 10
"""Of the reliability diagram."""


@dataclass(frozen=True)
class Rate:
    """A share of questions (or of executions), with its 95 % Wilson interval."""

    name: str
    right: int
    n: int

    @classmethod
    def of(cls, name: str, results: Sequence[bool]) -> Rate:
        return cls(name, sum(map(bool, results)), len(results))

    @property
    def value(self) -> float | None:
        return self.right / self.n if self.n else None

    @property
    def worth_showing(self) -> bool:
        """Whether the rate is shown: not without trials, and not where no question was left without an answer."""
        return self.n > 0 and (self.right > 0 or self.name != NO_ANSWER)

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.n)


@dataclass(frozen=True)
class Balanced(Rate):
    """The mean of the rates of several classes of questions, so that each class weighs the same however many questions it has:
    who always gives one of three answers gets a third. The interval is composed of those of the rates by square-and-add
    (Zou and Donner 2008, MOVER)."""

    classes: tuple[Rate, ...] = ()

    @classmethod
    def over(cls, name: str, classes: Sequence[Rate]) -> Balanced:
        """Of the classes that have questions."""
        asked = tuple(rate for rate in classes if rate.n)
        return cls(name, sum(rate.right for rate in asked), sum(rate.n for rate in asked), asked)

    @property
    def value(self) -> float | None:
        return sum(rate.right / rate.n for rate in self.classes) / len(self.classes) if self.classes else None

    @property
    def interval(self) -> tuple[float, float]:
        if not self.classes:
            return wilson(0, 0)
        below = [rate.right / rate.n - rate.interval[0] for rate in self.classes]
        above = [rate.interval[1] - rate.right / rate.n for rate in self.classes]
        mean = self.value or 0.0
        return mean - math.hypot(*below) / len(below), mean + math.hypot(*above) / len(above)


@dataclass(frozen=True)
class Mean:
    """A score that is no share: Brier, calibration error. None without a question to score."""

    name: str
    value: float | None
    n: int


@dataclass(frozen=True)
class Confusion:
    """Counts `[row][column]`: what was right against what was answered."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, rows: Sequence[str], columns: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Confusion:
        return cls(tuple(rows), tuple(columns), tuple(tuple(pairs.count((r, c)) for c in columns) for r in rows))


@dataclass(frozen=True)
class Result:
    """One part of the exam. The first rate is the part's score."""

    part: str
    rates: tuple[Rate, ...]
    means: tuple[Mean, ...] = ()
    confusion: Confusion | None = None
    stated: tuple[tuple[float, bool], ...] = ()
    """Stated probabilities, each with whether the event happened."""
    answers: tuple[Mapping[str, Any], ...] = ()
    """JSON: one object per question, in order."""


class Examiner:
    """Asks the questions of one part. A `LudusError` counts as no answer."""

    def __init__(self, progress: Callable[[], None]) -> None:
        self._progress, self._failures = progress, 0

    def __call__(self, role: Callable[[Any], Any], question: Any) -> tuple[Any, str | None]:
        """`(answer, None)`, or `(None, what went wrong)`.

        Raises:
            LudusError: `MAX_FAILURES` times in a row there was no answer, or nobody can be asked.
        """
        self._progress()
        try:
            answer = role(question)
        except CannotAsk:
            raise
        except NoAnswer as error:  # it can't tell, which is an answer
            return None, str(error)
        except LudusError as error:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                raise LudusError(f"{MAX_FAILURES} questions in a row got no answer; the last: {error}") from error
            return None, str(error)
        self._failures = 0
        return answer, None


def brier(stated: Sequence[tuple[float, bool]]) -> float | None:
    """Mean squared difference of probability and outcome (Brier 1950, binary): 0 at best, 0.25 for always 1/2."""
    return float(np.mean([(p - right) ** 2 for p, right in stated])) if stated else None


def bins(stated: Sequence[tuple[float, bool]]) -> list[tuple[float, float, int]]:
    """`(mean stated probability, share that was so, n)` of each of `BINS` equal bins that is not empty."""
    which = [min(int(p * BINS), BINS - 1) for p, _ in stated]
    return [
        (float(np.mean([p for p, _ in inside])), float(np.mean([right for _, right in inside])), len(inside))
        for b in range(BINS)
        if (inside := [s for s, w in zip(stated, which, strict=True) if w == b])
    ]


def calibration_error(stated: Sequence[tuple[float, bool]]) -> float | None:
    """Expected calibration error: mean distance of stated and true share over the bins, weighted by their sizes."""
    return sum(n * abs(p - q) for p, q, n in bins(stated)) / len(stated) if stated else None
