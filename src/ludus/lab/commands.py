"""What each command does: from what was said, and before which step of the run it is read, to what came of it.

Nothing is decided here about when commands are read; see `ludus.lab.interventions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Any

from ludus.config import Config
from ludus.experimenter.goals import Form, Goal
from ludus.lab import oversight
from ludus.lab.context import Wish
from ludus.lab.oversight import LAPSED, LAST_STEP, NOBODY, PLAN_ID, Command, CommandOutcome
from ludus.lab.rounds import begun_rounds
from ludus.lab.standing import Standing, is_vetoed, plain, standing
from ludus.record import Record, tables
from ludus.skills.expression import Expression, parse
from ludus.skills.names import ObjectNames
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError, Plan

CALL = re.compile(r"\w\(")
"""A task that has one is a condition: on(red, green)."""
EXECUTING = ("grow", "approve", "collect")
"""Steps of a round before which episodes of its plans may be left."""

Effect = tuple[CommandOutcome, str, dict[str, Any]]
"""What came of a command, in a sentence, and what is kept of it besides."""


@dataclass
class Situation:
    """A run, and the commands that were carried out in it."""

    record: Record
    config: Config
    vocabulary: Vocabulary
    done: list[dict[str, Any]] = field(default_factory=list)
    """See `oversight.interventions`."""

    @cached_property
    def names(self) -> ObjectNames:
        return ObjectNames(self.vocabulary.objects)

    @property
    def standing(self) -> Standing:
        """How the commands so far leave the run."""
        return standing(self.done)

    @property
    def rounds(self) -> int:
        """How many there are at most."""
        said = self.standing.rounds
        return self.config.experiment.rounds if said is None else said

    def asked(self, n: int) -> tuple[Wish, ...]:
        """The tasks that people want round n to plan."""
        wanted = [d for d in self.done if d["command"] == "propose" and d["outcome"] == "done" and d["round"] == n]
        lapsed = {d["key"] for d in self.done if d["outcome"] == "late"}
        wishes = (Wish(d["key"], d["task"], d["goal"], d["author"]) for d in wanted)
        return tuple(w for w in wishes if f"{w.key}{LAPSED}" not in lapsed)

    def unplanned(self) -> list[Wish]:
        """The tasks that people want and no round has planned."""
        rounds = {d["round"] for d in self.done if d["command"] == "propose" and d["outcome"] == "done"}
        return [a for n in sorted(rounds) if not self.record.done(f"round/{n}/plan") for a in self.asked(n)]

    def forbidden_plans(self, n: int, vetoed: Mapping[str, str]) -> list[Plan]:
        """The plans of round n that are vetoed, those that cannot be executed left out."""
        plans = self.record.plans(n) if vetoed and n else []
        return [p for _, p in plans if not p.gaps and is_vetoed(p, vetoed)]


def carry_out(command: Command, step: str, now: Situation) -> Effect:
    """Do what a command says; what changes in the record is added to the open step.

    Args:
        step: of the run, which is begun next.
    """
    if command.name != "pause" and not round_of(step) and step != LAST_STEP and now.record.done("round/1/plan"):
        step = "round/1/approve"  # the training on the seed data is a part of the round whose tasks it knows
    return _CARRY_OUT[command.name](command, step, now)


def round_of(step: str) -> int:
    """Of a step's name; 0 outside of the rounds."""
    found = re.match(r"round/(\d+)/", step)
    return int(found[1]) if found else 0


def where(step: str) -> str:
    """A step's name in words: 'round 1 collect 002'."""
    return step.replace("/", " ")


# --- the run -------------------------------------------------------------------------------------------------------


def _pause(command: Command, step: str, now: Situation) -> Effect:
    if now.standing.paused:
        return "refused", "It is paused already; /continue goes on.", {}
    return "done", f"Paused before {where(step)}. /continue goes on.", {}


def _continue(command: Command, step: str, now: Situation) -> Effect:
    if now.standing.paused:
        return "done", "Goes on.", {}
    if not now.standing.stopping:
        return "refused", "There is nothing to continue: the run is neither paused nor about to stop.", {}
    if step == LAST_STEP:
        return "late", "That comes too late: the rounds are over.", {}
    return "done", "Does not stop after this round.", {}


def _stop(command: Command, step: str, now: Situation) -> Effect:
    if step == LAST_STEP:
        return "late", "That comes too late: the rounds are over.", {}
    if now.standing.stopping and not now.standing.paused:
        return "refused", "It stops already; /continue takes that back.", {}
    begun = _begun(step, now)
    when = f"after round {begun}" if begun > 0 else "before the first round"
    text = (
        f"Stops {when}: success is measured, the report is written, and the run is done. Nobody is asked anything any more. "
        "To go on later: `ludus resume RUN experiment.rounds=N`."
    )
    return "done", text, {}


def _rounds(command: Command, step: str, now: Situation) -> Effect:
    n, begun = int(command.argument), _begun(step, now)
    if n < begun:
        return "refused", f"Round {begun} has begun already: a run has at least {begun} rounds.", {}
    if step == LAST_STEP:
        if n == begun:
            return "late", f"That comes too late: {begun} rounds are over. Say more for another one.", {}
        if now.record.done(step):  # what was measured then is kept
            earlier = (f"measure/end-of-round-{begun}{'' if k == 1 else f'-{k}'}" for k in count(1))
            now.record.set_aside(step, next(name for name in earlier if not now.record.done(name)))
        return "done", f"Goes on with round {begun + 1}, up to round {n}.", {"rounds": n, "reopened": begun}
    if n == now.rounds and not now.standing.stopping:
        return "refused", f"It has {n} rounds already.", {}
    return "done", f"Ends after round {n}.", {"rounds": n}


def _begun(step: str, now: Situation) -> int:
    """How many rounds were planned before this step."""
    n = round_of(step)
    if step == LAST_STEP:
        return begun_rounds(now.record)
    return n if now.record.done(f"round/{n}/plan") else max(0, n - 1)


# --- tasks ---------------------------------------------------------------------------------------------------------


def _propose(command: Command, step: str, now: Situation) -> Effect:
    task, goal, most = command.argument, None, now.config.experiment.plans_per_round
    if CALL.search(task):
        try:
            parsed = parse(task, now.vocabulary)
            task, goal = _words_for(parsed), str(parsed)
        except LudusError as error:
            return "refused", f"That cannot be planned: {str(error).rstrip('.')}.", {}
    n = max(1, round_of(step))
    while now.record.done(f"round/{n}/plan") or len(now.asked(n)) >= most:
        n += 1
    if step == LAST_STEP or n > now.rounds or now.standing.stopping:
        return "late", "That comes too late: no further round is planned.", {}
    if any(plain(asked.task) == plain(task) for asked in now.asked(n)):
        return "refused", f"Round {n} plans {task!r} already.", {}
    return "done", f"Round {n} plans {task!r}.", {"round": n, "task": task, "goal": goal}


def _words_for(goal: Expression) -> str:
    """What a robot is told to bring a condition about.

    Raises:
        LudusError: no condition, or no words for it.
    """
    if goal.type != "bool":
        raise LudusError(f"{str(goal)!r} is a number; compare it with one, as in '{goal} > 0.5'")
    parts = Goal(goal.vocabulary, goal.node, frozenset(), Form()).parts()
    return " and ".join(dict.fromkeys(part.says for part in parts if part.says))


def _veto(command: Command, step: str, now: Situation) -> Effect:
    name, n = command.argument, round_of(step)
    is_plan, rounds = PLAN_ID.fullmatch(name) is not None, {plan.id: k for k, plan in now.record.plans()}
    if is_plan and name not in rounds:
        return "refused", f"There is no plan {name}.", {}
    late = f"That comes too late: the episodes of {name} are over."
    if is_plan and rounds[name] != n:
        return "late", late, {}
    hit = now.forbidden_plans(n, {plain(name): command.author})
    if not hit:
        return "done", f"From now on {name!r} is refused when it is proposed.", _as_goal(name, now)
    if step.split("/")[2] not in EXECUTING:
        if is_plan:
            return "late", late, {}
        return "done", f"Its episodes of round {n} are over; from now on {name!r} is refused.", _as_goal(name, now)
    collected = tables.episodes.c.step.startswith(f"round/{n}/collect/", autoescape=True)
    over = [episode["info"].get("plan") for episode in now.record.rows(tables.episodes, collected)]
    n_over = sum(over.count(plan.id) for plan in hit)
    begun = f"; {n_over} of its episodes are over" if n_over else ""
    said = f"{', '.join(plan.id for plan in hit)} ({hit[0].proposal.task!r}) is not executed{begun}."
    return "done", said, {"plans": [plan.id for plan in hit]}


def _as_goal(name: str, now: Situation) -> dict[str, str]:
    """A condition as goals are written, whatever blanks it was said with."""
    try:
        return {"goal": str(parse(name, now.vocabulary))} if CALL.search(name) else {}
    except LudusError:
        return {}


# --- skills and plans that wait --------------------------------------------------------------------------------------


def _approve(command: Command, step: str, now: Situation) -> Effect:
    return _decided(command, step, now, "practising", oversight.waiting_skills(now.record), "practised", "executed")


def _reject(command: Command, step: str, now: Situation) -> Effect:
    practised = [s["caption"] for s in now.record.skills() if s["status"] == "practising"]
    skills = [*oversight.waiting_skills(now.record), *practised]
    return _decided(command, step, now, "dropped", skills, "dropped", "not executed")


def _decided(
    command: Command, step: str, now: Situation, status: str, skills: Sequence[str], skill_is: str, plan_is: str
) -> Effect:
    name, waiting = command.argument, oversight.waiting_plans(now.record)
    plans = [id for id, plan in waiting.items() if plain(name) in (plain(id), plain(plan.proposal.task))]
    # skills are practised, accepted and dropped together with those of other objects
    templates = {now.names.template(caption) for caption in oversight.skills_called(name, skills)}
    captions = [c for c in skills if now.names.template(c) in templates]
    if not plans and not captions:
        return _nothing_waits(command, now)
    for caption in captions:
        now.record.set_skill_status(caption, status, round_of(step))
    what = (
        f"{', '.join(map(repr, sorted(templates)))} is {skill_is}" if captions else f"{', '.join(plans)} is {plan_is}"
    )
    why = f"{command.author} says so"
    if command.author == NOBODY:
        why = "the run is to stop, and nobody had decided" if now.standing.stopping else "nobody said anything in time"
    about = {"round": round_of(step), "captions": captions, "templates": sorted(templates), "plans": plans, "why": why}
    return "done", f"{what}: {why}.", about


def _nothing_waits(command: Command, now: Situation) -> Effect:
    known = {s["caption"]: s["status"] for s in now.record.skills()}
    called = oversight.skills_called(command.argument, known)
    if called:
        return "late", f"There is nothing to {command.name}: {called[0]!r} is {known[called[0]]}.", {}
    return "refused", f"There is nothing to {command.name} that is called {command.argument!r}.", {}


# --- verdicts ------------------------------------------------------------------------------------------------------


def _wrong(command: Command, step: str, now: Situation) -> Effect:
    found = oversight.latest_verdict(now.record, command.argument)
    if found is None:
        return "refused", f"No verdict was given on {command.argument!r}.", {}
    round_, update, caption = found
    if found in oversight.wrong_verdicts(now.record):
        return "refused", f"The latest verdict on {caption!r} is marked as wrong already.", {}
    verdict = next(v for _, at, v in now.record.verdicts(round_) if (at, v.caption) == (update, caption))
    text = f"The verdict {verdict.judgement!r} on {caption!r} after {update:,} updates is marked as wrong."
    return "done", text, {"round": round_, "update": update, "caption": caption}


_CARRY_OUT: Mapping[str, Callable[[Command, str, Situation], Effect]] = {
    "pause": _pause,
    "continue": _continue,
    "stop": _stop,
    "rounds": _rounds,
    "propose": _propose,
    "veto": _veto,
    "approve": _approve,
    "reject": _reject,
    "wrong": _wrong,
}
