"""Sentences and numbers that the terminal and the report share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence

from ludus.experimenter.chaining import GAP
from ludus.record.files import typed
from ludus.record.reader import RunState
from ludus.views.display import clean as clean
from ludus.views.queries import (
    Conclusion,
    Family,
    Gate,
    Growth,
    Missed,
    Passport,
    Problem,
    Rate,
    RoleCalls,
    RunHeader,
    RunStatus,
)

MOST_NAMED = 3
"""Skills of one kind that the first line about a run names."""
SPARKS = "▁▂▃▄▅▆▇█"


def status(run: RunStatus) -> str:
    """How far a run has come, in a sentence."""
    if run.state == "done":
        return "Finished."
    if run.state == "failed":
        return f"Failed: {(run.error or 'for an unknown reason').rstrip('.')}."
    stages = ", ".join(f"{s.name} ({s.done:,} of {s.total:,})" if s.total else s.name for s in run.stages)
    if run.state == "running":
        return f"Running: {stages or 'between two stages'}; not finished."
    if run.kind == "exam":
        return "Not running; the same command asks only what was not answered yet."
    at = f"in {stages}" if stages else f"after step {run.last_step}" if run.last_step else "before its first step"
    return f"Not finished: stopped {at}."


def first_line(found: Conclusion) -> str:
    """How a run stands and what came of it: what is read first wherever it is shown, and never a success that was none."""
    return " ".join(first_sentences(found))


def first_sentences(found: Conclusion) -> list[str]:
    """The sentences of `first_line`; the first says how it ended, and the gravest problem of a run that is done."""
    problems = [_problem(p, found) for p in found.problems]
    ended = status(found.status)
    if found.stopped_by and found.status.state == "done":
        ended = f"Finished early, since {found.stopped_by} said /stop."
    if problems and found.status.state == "done":
        ended = f"{ended.rstrip('.')}, but {problems.pop(0)}."
    grown = _grown(found.growth, MOST_NAMED) if found.status.kind == "experiment" else []
    return [ended, *(f"{p[0].upper()}{p[1:]}." for p in problems), *grown]


def state(found: Conclusion) -> str:
    """The same in a word or three, for a table: 'done: nothing learned'."""
    return ": ".join([found.status.state, *found.problems[:1]])


def _problem(problem: Problem, found: Conclusion) -> str:
    asked, p = found.asked, found.proposed
    match problem:
        case "the model never answered":
            return (
                f"the model never answered: no usable answer of {_listed(asked.models)} in {count(asked.calls, 'call')}"
            )
        case "no task proposed":
            return f"no task was proposed in {count(found.rounds, 'round')}"
        case "no task executable":
            return f"no proposal could be carried out: {count(p.tasks, 'task')}, and each lacked a skill"
        case "every proposal failed":
            return f"every proposal failed: {count(p.tasks, 'task')}, and no robot succeeded in {count(p.tries, 'try')}"
        case "nothing learned":
            return _nothing(found.growth)
        case "not evaluated":
            return "what was learned is not known: the policy was not evaluated both before and after the rounds"


def growth(found: Growth) -> str:
    """What the rounds changed, in a sentence or three; empty where nothing is known yet."""
    nothing = _nothing(found)
    return " ".join([*([f"{nothing[0].upper()}{nothing[1:]}."] if found.nothing else []), *_grown(found)])


def _nothing(found: Growth) -> str:
    skills = "no added one succeeds" if found.added else "none was added"
    return f"nothing new was learned: no skill got measurably better and {skills}"


def _grown(found: Growth, most: int | None = None) -> list[str]:
    """What changed, a sentence per direction, with at most so many names each."""

    def changed(judgement: str) -> list[str]:
        of = [c for c in found.changes if c.judgement == judgement]
        return [f"{c.template} ({c.before.rate:.2f} → {c.after.rate:.2f})" for c in of]

    def named(learned: bool) -> list[str]:
        return [
            f"{a.template} ({a.after.rate:.2f})" if a.after else a.template for a in found.added if a.learned == learned
        ]

    sentences = {
        "New skills that succeed": named(True),
        "Better after the rounds": changed("better"),
        "Worse after the rounds": changed("worse"),
        "Added but not learned": named(False),
    }
    if not found.evaluated:
        accepted, open_ = ([a.template for a in found.added if a.accepted == yes] for yes in (True, False))
        sentences = {"Skills accepted so far": accepted, "Added but not accepted": open_}
    return [f"{what}: {_listed(names, most)}." for what, names in sentences.items() if names]


def _listed(items: Sequence[str], most: int | None = None) -> str:
    shown = items[:most]
    return ", ".join(shown) + (f" and {len(items) - len(shown)} more" if len(shown) < len(items) else "")


def steps(captions: Iterable[str]) -> str:
    """Skills in order, as prose: 'stack red on green, then lift blue'."""
    return ", then ".join(captions)


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


def heard(state: RunState, going_on: str) -> str:
    """Who reads what is said to a run, where that is not the run at once.

    Args:
        going_on: see `Reader.going_on`.
    """
    return {
        "running": "",
        "stopped": f"The run is stopped: it reads this when it goes on, with {going_on}.",
        "failed": "The run has failed: nobody reads this.",
        "done": "The run has ended: nobody reads this.",
    }[state]


def more_rounds(header: RunHeader) -> str:
    """The command by which an experiment that is over goes on."""
    return f"ludus resume {typed(header.directory)} experiment.rounds={header.rounds_begun + 1}"


def when(seconds: float) -> str:
    """Seconds since 1970 as a date in UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def step(name: str) -> str:
    """A step of the record, or a part of its name, in words: 'round/1/collect/000' is 'Round 1: collect'."""
    name = re.sub("^measure/", "measuring ", name)
    said = re.sub(r"(?<=\D)/\d+$", "", re.sub(r"^round/(\d+)/", r"round \1: ", name))
    said = said.replace("/", ": ").replace("-", " ")
    return said[:1].upper() + said[1:]


def duration(seconds: float) -> str:
    """'40 s', '12 min', '3 h 5 min'."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count(n: int, what: str) -> str:
    """'1 round', '2,000 rounds', '3 tries'."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what[:-1]}ies" if what.endswith("ry") else f"{n:,} {what}s"


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


def story(found: Family) -> str:
    """How a family came about, in a sentence or three."""
    gap = found.gap
    said = [f"No skill did this in round {gap.round}: {gap.missing.removeprefix(GAP).strip()}."]
    if not gap.attempts:
        return f"{said[0]} None was written by {gap.author}."
    last, n = gap.attempts[-1], len(gap.attempts)
    tried = f" at the {n}{'nd' if n == 2 else 'rd'} attempt" if n > 1 else ""
    if last.failed:
        said.append(
            f"{count(n, 'candidate')} by {gap.author}; the last failed {last.failed.name!r}: {last.failed.detail}."
        )
    else:
        said.append(f"Written by {gap.author}{tried}; it passed {count(last.passed, 'check')}.")
    if found.practice_episodes:
        said.append(f"{count(found.practice_episodes, 'episode')} of practice.")
    if found.decisions:
        decided = found.decisions[-1]
        said.append(f"{decided.status.capitalize()} after round {decided.round}: {decided.reason}.")
    return " ".join(said)


def change(rates: Sequence[Rate | None]) -> str:
    """Of the last two stages: '0.40 → 0.95'."""
    known = [f"{r.rate:.2f}" for r in rates[-2:] if r is not None]
    return " → ".join(known) or "–"


def gate(found: Gate) -> str:
    """What was decided of a round's policy, on one line."""
    if found.promoted:
        return f"round {found.round}: the new policy acts from here on" + (f": {found.reason}" if found.reason else "")
    return f"round {found.round}: the policy of {found.best} stays: {found.reason or 'nothing to compare'}"
