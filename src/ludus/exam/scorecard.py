"""Runs the exam and writes the scorecard: a table, JSON, a picture."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from ludus.config.limits import Count, Integer, ThreadsOrZero, check_numbers
from ludus.exam.metrics import Rate, Result
from ludus.exam.parts import PARTS
from ludus.exam.questions import FOLDER, QuestionSet, load
from ludus.exam.session import Session
from ludus.exam.simulator import Simulators
from ludus.experimenter.roles import Experimenter
from ludus.skills.predicates import Vocabulary
from ludus.types import unknown

STORED = tuple(sorted(f.name for f in FOLDER.iterdir() if f.name.startswith("stored-")))
"""Observations that written skills are judged on."""
Begin = Callable[[str, int], Callable[[], None]]


@dataclass(frozen=True)
class ExamSpec:
    """Which questions are asked, and how."""

    parts: tuple[str, ...] = ()
    """Of `PARTS`; all that the question set has questions for if empty."""
    limit: Count | None = None
    """Questions per part, drawn by `seed` alone, so that every examinee gets the same; None asks all."""
    seed: Integer = 0
    """Of the draw of questions and of the noise with which proposals are executed."""
    folder: Path | None = None
    """Pictures are written to `images/` below it and named relative to it in the questions; None: no pictures."""
    threads: ThreadsOrZero = 0
    """Of physics; 0 takes every core. The results do not depend on it."""

    def __post_init__(self) -> None:
        for part in self.parts:
            if part not in PARTS:
                raise unknown("part of the exam", part, tuple(PARTS))
        check_numbers(self)


def evaluate(
    make: Callable[[Vocabulary], Experimenter],
    exam: ExamSpec | None = None,
    begin: Begin | None = None,
    question_set: QuestionSet | None = None,
) -> list[Result]:
    """Ask an examinee and score its answers; one result per part.

    Args:
        make: the examinee over the words of one world; called once per world that questions are about.
        exam: by default every question, without pictures.
        begin: called with a part and its number of questions; returns what is called before each question.
        question_set: by default the one that ships with the project.

    Raises:
        LudusError: an examinee that only fails, see `Examiner`.
    """
    exam = exam or ExamSpec()
    question_set = question_set or load()
    simulators = Simulators(threads=exam.threads)
    try:
        session = Session(question_set, make, simulators, exam.seed, exam.limit, exam.folder)
        if begin is not None:
            session.begin = begin
        asked = [part for part in PARTS if getattr(question_set, part)]
        return [work(session) for part, work in PARTS.items() if part in (exam.parts or asked)]
    finally:
        simulators.close()


def fingerprint() -> str:
    """Twelve hex digits that name the question set: scores of different question sets do not compare."""
    digest = hashlib.blake2b(digest_size=6)
    for name in ("scenes.json", "retrieve.json", "curves.json", "write.json", *STORED):
        digest.update((FOLDER / name).read_bytes())
    return digest.hexdigest()


def table(results: Sequence[Result]) -> Table:
    """Every score, for the terminal."""
    shown = Table()
    shown.add_column("part")
    shown.add_column("score")
    for column in ("value", "95 % Wilson", "n"):
        shown.add_column(column, justify="right")
    for result in results:
        part = result.part
        for rate in (r for r in result.rates if r.worth_showing):
            low, high = rate.interval
            style = "bold" if rate is result.rates[0] else ""
            shown.add_row(part, rate.name, f"{rate.value:.3f}", f"[{low:.2f}, {high:.2f}]", str(rate.n), style=style)
            part = ""
        for mean in (m for m in result.means if m.value is not None):
            shown.add_row("", mean.name, f"{mean.value:.3f}", "", str(mean.n))
        shown.add_section()
    return shown


def unanswered(results: Sequence[Result]) -> str | None:
    """Sentence on the questions without an answer, if any; the last one's reason may say what to do."""
    errors = [row["error"] for result in results for row in result.answers if row["error"] is not None]
    n = sum(len(result.answers) for result in results)
    return f"{len(errors)} of {n} questions got no answer; the last: {errors[-1]}" if errors else None


def as_json(name: str, seed: int, limit: int | None, results: Sequence[Result]) -> dict[str, Any]:
    """All numbers and answers."""
    return {
        "examinee": name,
        "bank": fingerprint(),
        "seed": seed,
        "limit": limit,
        "parts": {
            r.part: {
                "rates": {rate.name: _rate(rate) for rate in r.rates},
                "means": {m.name: {"value": m.value, "n": m.n} for m in r.means},
                "confusion": None
                if r.confusion is None
                else {"rows": r.confusion.rows, "columns": r.confusion.columns, "counts": r.confusion.counts},
                "answers": r.answers,
            }
            for r in results
        },
    }


def _rate(rate: Rate) -> dict[str, Any]:
    return {"right": rate.right, "n": rate.n, "rate": rate.value, "wilson": rate.interval}
