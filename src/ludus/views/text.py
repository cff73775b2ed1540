"""Sentences and numbers that the terminal and the report share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping

from ludus.views.queries import Family, Gate, Growth, Missed, Passport, Rate, RoleCalls, RunHeader, RunStatus

SPARKS = "▁▂▃▄▅▆▇█"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and newline, and those that change the direction of writing."""


def clean(text: str) -> str:
    """The text without control characters: a caption or a message of a model must not steer a terminal or hide what it says."""
    return CONTROL.sub("", text)


def status(run: RunStatus) -> str:
    """How far a run has come, in a sentence."""
    if run.state == "done":
        return "Finished."
    if run.state == "failed":
        return f"Failed: {(run.error or 'for an unknown reason').rstrip('.')}."
    stages = ", ".join(f"{s.name} ({s.done:,} of {s.total:,})" if s.total else s.name for s in run.stages)
    if run.state == "running":
        return f"Running: {stages or 'between two stages'}; not finished."
    at = f"in {stages}" if stages else f"after step {run.last_step}" if run.last_step else "before its first step"
    return f"Not finished: stopped {at}."


def growth(found: Growth) -> str:
    """What the rounds changed, in a sentence or three."""
    if not found.evaluated:
        added = _listed(s.caption for s in found.new_skills)
        return "What was learned is not known: the policy was not evaluated both before and after the rounds." + (
            f" Skills added: {added}." if added else ""
        )
    by = {j: [c for c in found.changes if c.judgement == j] for j in ("better", "worse")}
    changed = {
        j: _listed(f"{c.template} ({c.before.rate:.2f} → {c.after.rate:.2f})" for c in of) for j, of in by.items()
    }
    learned = _listed(f"{s.caption} ({s.after.rate:.2f})" for s in found.new_skills if s.learned and s.after)
    open_ = _listed(
        f"{s.caption} ({s.after.rate:.2f})" if s.after else s.caption for s in found.new_skills if not s.learned
    )
    sentences = []
    if found.nothing:
        skills = "no added skill succeeds" if found.new_skills else "no skill was added"
        sentences.append(f"Nothing new was learned: no template got measurably better and {skills}.")
    if changed["better"]:
        sentences.append(f"Better after the rounds: {changed['better']}.")
    if learned:
        sentences.append(f"New skills that succeed: {learned}.")
    if changed["worse"]:
        sentences.append(f"Worse after the rounds: {changed['worse']}.")
    if open_:
        sentences.append(f"Added but not learned: {open_}.")
    return " ".join(sentences)


def _listed(items) -> str:
    return ", ".join(items)


def rate(found: Rate | None) -> str:
    """'0.25 [0.07, 0.59] of 8', or a dash."""
    return "–" if found is None else f"{found.rate:.2f} [{found.low:.2f}, {found.high:.2f}] of {found.n}"


def price(calls: RoleCalls) -> str:
    """What calls cost, in USD; an unknown price is not zero."""
    asked = calls.calls - calls.replayed
    parts = [f"{calls.usd:.4f}"] if asked > calls.unpriced or not calls.unpriced else []
    unknown = f"{calls.unpriced} call{'s' if calls.unpriced > 1 else ''} of unknown price"
    return " and ".join([*parts, unknown] if calls.unpriced else parts)


def experimenter(roles: Mapping[str, str]) -> str:
    """Who plays the roles: one name, or one per role."""
    if len(set(roles.values())) == 1:
        return next(iter(roles.values()))
    return ", ".join(f"{role}: {name}" for role, name in roles.items())


def rounds(header: RunHeader) -> str:
    """'2', or '1 of 2' before the end."""
    return (
        f"{header.rounds}" if header.rounds >= header.rounds_planned else f"{header.rounds} of {header.rounds_planned}"
    )


def when(seconds: float) -> str:
    """Seconds since 1970 as a date in UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3 h 5 min'."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(n: int, what: str) -> str:
    """'1 round', '2,000 rounds'."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


# --- skills ------------------------------------------------------------------------------------------------------


def passport_title(found: Passport) -> str:
    """A skill, how it stands and how well it does, on one line."""
    row = found.row
    since = "the start" if row.round == 0 else f"round {row.round}"
    success = f"success {rate(row.success)}" if row.success else "never evaluated"
    return f"{found.name}: {row.status}, by {row.author}, since {since}; {success}"


def missed(found: Missed) -> str:
    """How a condition was missed in the commands that failed."""
    never = f"held at no time in {found.never:.0%}"
    said = f"does not hold at the end in {found.at_end:.0%}, {never}" if found.part else f"on the way: {never}"
    # A median over all ends says nothing of a condition on the way that was met before.
    near = found.part and found.median is not None
    return f"{found.condition}: {said}" + (f"; {found.measure} {found.median:.2g} (median)" if near else "")


def sparkline(rates: Iterable[float]) -> str:
    """Success rates as a row of blocks, low to high."""
    return "".join(SPARKS[round(min(max(r, 0.0), 1.0) * (len(SPARKS) - 1))] for r in rates)


def family(found: Family) -> str:
    """A gap and what came of it, on one line."""
    name = found.template or found.gap.template
    if found.template is None:
        last = found.gap.attempts[-1].failed if found.gap.attempts else None
        why = f"candidates failed {last.name}" if last else "nobody wrote a skill"
        return f"{name}: refused in round {found.gap.round}: {why}"
    line = f"{name}: {found.status}, written in round {found.gap.round}, {count(found.practice_episodes, 'practice episode')}"
    points = [p.rate.rate for p in found.points if p.rate]
    line += f", curve {sparkline(points)}" if points else ""
    return line + (f"; {found.decisions[-1].reason}" if found.decisions else "")


def gate(found: Gate) -> str:
    """What was decided of a round's policy, on one line."""
    if found.promoted:
        return f"round {found.round}: the new policy acts from here on" + (f": {found.reason}" if found.reason else "")
    return f"round {found.round}: the policy of {found.best} stays: {found.reason or 'nothing to compare'}"
