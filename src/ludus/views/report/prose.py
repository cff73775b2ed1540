"""Sentences and numbers of the report alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ludus.lab.oversight import NOBODY
from ludus.views import text
from ludus.views.queries import Conclusion, Intervention, ModelCalls, Proposed, RunHeader, Success, VerdictScores

HOUR_S = 3600
LONG_S = 2 * HOUR_S
"""From here on a duration is said in hours."""


def asked(header: RunHeader) -> str:
    """What was asked of the run."""
    rounds = f"{text.count(header.rounds_planned, 'round')} of proposing tasks, trying them, learning and judging"
    who = text.experimenter(header.experimenter)
    return f"At most {rounds}, in the world {header.world}, with seed {header.seed}. Experimenter: {who}."


def tasks(found: Proposed) -> str:
    """What came of the tasks that were proposed."""
    if not found.tasks:
        return "No task was proposed."
    lacking = found.tasks - found.executable
    said = f"{text.count(found.tasks, 'task')} proposed"
    said += f", of which {lacking:,} lacked a skill" if lacking else ""
    return f"{said}; {found.successes:,} of {text.count(found.tries, 'try')} by robots succeeded."


def totals(header: RunHeader, calls: ModelCalls | None) -> Iterator[tuple[str, str]]:
    """What the run took: `(number, of what)`."""
    s = header.seconds
    yield (f"{s / HOUR_S:.1f}", "hours") if s >= LONG_S else (f"{s / 60:.1f}", "minutes")
    yield text.rounds(header), "rounds"
    yield f"{header.episodes:,}", "episodes"
    yield f"{header.updates:,}", "updates"
    if calls is None:
        yield "no", "model was asked"
        return
    yield f"{calls.total.calls:,}", "calls to models"
    yield f"{calls.total.tokens_in + calls.total.tokens_out:,}", "tokens"
    yield text.price(calls.total), "USD"


def caveats(
    found: Conclusion, success: Success, scores: Sequence[VerdictScores], interventions: Sequence[Intervention]
) -> Iterator[str]:
    """What a reader must know of how the numbers came about."""
    yield "Success is a condition on what was observed, the same for acting, learning and judging; it is nobody's opinion."
    if found.growth.evaluated:
        yield (
            f"Before and after the rounds every skill was tried in {text.count(success.episodes, 'episode')}, on the same "
            "starts, which no training has seen."
        )
    else:
        yield "There was no evaluation at the end: the rates are those of the last one during training."
    yield "This is one run with one seed; another seed may come out differently."
    for judge in scores:
        checked = (
            f"{len(judge.scored)} of the {judge.judge}'s {text.count(judge.verdicts, 'verdict')} on learning curves"
        )
        yield f"{checked} could be checked by how the curve went on: {judge.right} of them right."
    unanswered = found.asked.calls - found.asked.answered
    if unanswered:
        yield f"{unanswered:,} of {text.count(found.asked.calls, 'call')} to models had no usable answer."
    said = sum(i.author != NOBODY for i in interventions)
    yield f"People said something {text.count(said, 'time')}; see above." if said else "Nobody intervened while it ran."
