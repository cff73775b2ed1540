"""Skills at a terminal: a table of a run's library, and the passport of one skill."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from ludus.views import text
from ludus.views.queries import Attempt, Cost, Failures, Passport, SkillRow


def print_skills(rows: Sequence[SkillRow], console: Console) -> None:
    """A line per skill or family."""
    table = Table(
        "skill", "author", "status", "since", "success", "95 % interval", "n", "practised", box=None, pad_edge=False
    )
    for row in rows:
        name = row.caption if row.skills == 1 else f"{row.caption} ({row.skills} skills)"
        since = "start" if row.round == 0 else f"round {row.round}"
        r = row.success
        success = ("–", "", "") if r is None else (f"{r.rate:.2f}", f"{r.low:.2f}–{r.high:.2f}", f"{r.n:,}")
        practised = text.count(row.practice_episodes, "episode") if row.practice_episodes else ""
        cells = (name, row.author, row.status, since, *success, practised)
        table.add_row(*(Text(text.clean(cell)) for cell in cells))
    console.print(table)


def as_json(row: SkillRow) -> dict[str, Any]:
    """A flat row; `success` is a rate with `successes` of `n`, `low` and `high`: None and 0 where nothing was measured."""
    rate = row.success
    numbers: dict[str, Any] = {"success": None, "n": 0, "successes": 0, "low": None, "high": None}
    if rate is not None:
        numbers = asdict(rate)
        numbers["success"] = numbers.pop("rate")
    return {k: v for k, v in asdict(row).items() if k != "success"} | numbers


def print_passport(found: Passport, failed: Failures | None, console: Console) -> None:
    """All that is known of a skill, in paragraphs."""

    def say(line: str, indent: int = 0) -> None:
        shown = Text(text.clean(line))
        if console.is_terminal:
            console.print(Padding(shown, (0, 0, 0, indent)), soft_wrap=False)
        else:  # a file or a pipe gets whole lines
            console.print(Text(" " * indent) + shown, soft_wrap=True)

    say(text.passport_title(found))
    for title, lines in paragraphs(found, failed):
        say(f"\n{title}")
        for line in lines:
            say(line, 2)


def paragraphs(p: Passport, failed: Failures | None) -> Iterator[tuple[str, list[str]]]:
    yield (
        "Definition",
        [
            *([f"skills: {', '.join(p.captions)}"] if len(p.captions) > 1 else []),
            f"reward: {p.reward}",
            f"success: {p.success}",
            f"prerequisites: {p.prerequisites or 'none stated'}",
            f"control steps: {p.steps}",
            f"made from: {', '.join(p.parents) or 'nothing'}",
            f"status: {'; '.join(f'{c.status} (round {c.round})' for c in p.history)}",
        ],
    )
    if p.gap is not None:
        title = f"Gap: round {p.gap.round}, plan {p.gap.plan}, task {p.gap.task!r}"
        yield title, [f"no skill for: {p.gap.missing}", f"asked: {p.gap.author}"]
        for i, attempt in enumerate(p.gap.attempts, 1):
            yield f"Candidate {i}: {attempt.caption!r}", [*_checks(attempt)]
    if p.competence:
        yield (
            "Success from the world's first start, at the end of the skill, with 95 % intervals",
            [f"{m.stage:7} update {m.update:>7,}: {text.rate(m.rate)}" for m in p.competence],
        )
    if p.decisions:
        yield (
            "Decisions",
            [
                f"round {d.round}: {d.status} after {text.count(d.practised, 'round')} of practice: {d.reason}"
                for d in p.decisions
            ],
        )
    if p.verdicts:
        yield (
            "Verdicts on its curve",
            [f"round {v.round}, update {v.update:,}: {v}" for v in p.verdicts],
        )
    if p.lineage:
        yield (
            "Episodes that commanded it",
            [
                f"{text.step(x.phase)}, {text.count(x.episodes, 'episode')}, {text.count(x.attempts, 'attempt')}, "
                f"{x.successes:,} succeeded, {x.steps:,} control steps"
                for x in p.lineage
            ],
        )
    yield "Cost", [*_cost(p.cost)]
    if failed is not None:
        title = f"Why it fails: {failed.failed:,} of {failed.attempts:,} attempts in {text.step(failed.phase).lower()}"
        yield (
            title + (f", {failed.read:,} of them read" if failed.read < failed.failed else ""),
            [text.missed(m) for m in failed.missed if failed.read],
        )


def _checks(attempt: Attempt) -> Iterator[str]:
    yield f"reward: {attempt.reward}"
    yield f"success: {attempt.success}"
    if attempt.why:
        yield f"why: {attempt.why}"
    for check in attempt.checks:
        yield f"{'passed' if check.passed else 'FAILED'} {check.name}: {check.detail}"


def _cost(cost: Cost) -> Iterator[str]:
    if cost.calls is not None:
        tokens = cost.calls.tokens_in + cost.calls.tokens_out
        yield f"{text.count(cost.calls.calls, 'call')} to models, {tokens:,} tokens; USD: {text.price(cost.calls)}"
    yield f"{text.count(cost.practice_episodes, 'practice episode')}, {cost.practice_steps:,} control steps"
    yield (
        f"{cost.growing_s:.1f} s of writing and checking, {cost.practising_s:.1f} s of practice, {cost.settling_s:.1f} s of "
        "judging (its share of each step)"
    )
