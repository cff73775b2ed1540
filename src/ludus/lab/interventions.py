"""Reads what people tell a run to do, and has it carried out, between two steps of the run.

Every command is a step of its own, `oversight/000`, ..., whose result says what was told, before which step of the run, and what
came of it. So a run that was killed goes on with every command carried out once, and a run that replays another one repeats its
commands where they were. A run that nobody says anything to has no such step.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ludus.config import Config, OversightConfig
from ludus.experimenter.ledger import WITHDRAWN, Withdrawn
from ludus.experimenter.roles import NoAnswer
from ludus.lab import oversight
from ludus.lab.collector import CollectTask
from ludus.lab.commands import Situation, carry_out, round_of, where
from ludus.lab.context import Refusal, Wish, nothing_refused
from ludus.lab.mailbox import SIGN_OF_LIFE_S
from ludus.lab.oversight import COMMAND, EFFECT, LAPSED, LAST_STEP, NOBODY, PLAN_ID, STEPS, Command
from ludus.lab.rollout import RolloutSpec
from ludus.lab.room import Room
from ludus.lab.rounds import begun_rounds
from ludus.lab.rules import Rules
from ludus.lab.standing import ahead, plain
from ludus.record import Record
from ludus.record.progress import Progress
from ludus.record.reader import Reader
from ludus.skills.verify import Evidence
from ludus.skills.vocabulary import Vocabulary
from ludus.types import Message

POLL_S = 0.5
"""How often a run that waits looks for what was said, s."""
HEARD = "heard"
"""Outcome of a command that is read while the run waits for an answer, and carried out once it does not."""
PLANNING = re.compile(r"round/\d+/plan")

Recorded = Mapping[str, Sequence[Command]]
"""Step of a run -> the commands that were carried out before it."""


class Overseer:
    """Reads the commands of one run and carries them out. All of its state is in the record.

    Args:
        rules: what the run may not do.
        recorded: the commands of the run that this one replays.
    """

    def __init__(
        self,
        record: Record,
        config: Config,
        vocabulary: Vocabulary,
        rules: Rules,
        progress: Progress,
        recorded: Recorded | None = None,
    ) -> None:
        self._record, self._config, self._rules, self._progress = record, config, rules, progress
        self._recorded, self._signed = recorded or {}, 0.0
        self._read_up_to, self._unread, self._heard = 0, list[Command](), set[str]()
        self._now = Situation(record, config, vocabulary, oversight.interventions(record))

    # --- between two steps ---------------------------------------------------------------------------------------

    def before(self, step: str) -> None:
        """Carry out what was said until now, and wait as long as the run is paused. Call it before `step` is begun. Before the
        last step of a run that is over only the wish for more rounds is carried out."""
        if self._record.done(step):
            if step == LAST_STEP:
                self._reopen(step)
            return
        self._carry_out_new(step)
        if self._now.standing.paused:
            with self._progress.stage(f"paused before {where(step)}; /continue goes on", 0) as advance:
                while self._now.standing.paused:
                    self._wait(step, advance)

    def ends_before(self, n: int) -> bool:
        """Whether there is no round n: there are no more of them, or somebody said so."""
        return (self._now.standing.stopping or n > self._now.rounds) and not self._record.done(f"round/{n}/plan")

    @property
    def rounds(self) -> int | None:
        """How many there are, where somebody said so."""
        return self._now.standing.rounds

    @property
    def reopened(self) -> int:
        """See `Standing`."""
        return self._now.standing.reopened

    def while_waiting(self) -> bool:
        """Acknowledge what is said while the open step waits for an answer; it is carried out before the next step. Returns
        whether the run pauses then, until when no time runs out.

        Raises:
            Withdrawn: the run is to stop, and the round that is planned does not come.
            NoAnswer: it is to stop after the round that has begun, in which nobody is waited for any more.
        """
        planning = PLANNING.fullmatch(self._record.open_step.name) if self._record.open_step else None
        begun, said = begun_rounds(self._record), self._read()
        told = [c for c in said if c.name != "rounds" or int(c.argument) >= begun]  # fewer are refused
        expected = ahead(self._now.done, [c.name for c in told])
        for command in (c for c in self._unread if c.key not in self._heard):
            self._heard.add(command.key)
            when = (
                "when the open question is answered" if not expected.stopping else "and nobody is waited for any more"
            )
            text = f"Heard: /{command.name} is carried out before the next step, {when}."
            about = {"command": command.key, "outcome": HEARD}
            self._record.post(
                Message(f"{command.key}/{HEARD}", "oversight", command.author, EFFECT, text, payload=about)
            )
        if expected.stopping:
            raise Withdrawn(WITHDRAWN) if planning else NoAnswer(WITHDRAWN)
        return expected.paused

    def decide(self, n: int) -> None:
        """Wait until somebody has approved or rejected each skill and plan of round n that waits for it; after
        `oversight.timeout_s` the answer is `oversight.default`."""
        step, limits = f"round/{n}/approve", self._config.oversight
        if self._record.done(f"round/{n}/outcomes") or not (waiting := self._undecided()):
            return  # what waits is of a later round, where a run that is resumed goes through those before it
        with self._progress.stage(f"waiting for /approve or /reject: {', '.join(waiting)}", 0) as advance:
            ends = time.monotonic() + limits.timeout_s
            self._carry_out_new(step)
            while waiting := self._undecided():
                if self._now.standing.paused:
                    ends = time.monotonic() + limits.timeout_s
                if self._now.standing.paused or (time.monotonic() < ends and not self._now.standing.stopping):
                    self._wait(step, advance)
                else:
                    self._carry_out(Command(f"{self._next_step}/default", limits.default, waiting[0], NOBODY), step)

    def _undecided(self) -> list[str]:
        """Templates of skills, and ids of plans."""
        skills = map(self._now.names.template, oversight.waiting_skills(self._record))
        return [*dict.fromkeys(skills), *oversight.waiting_plans(self._record)]

    def _wait(self, step: str, advance: Callable[[int], None]) -> None:
        time.sleep(POLL_S)
        if time.monotonic() - self._signed >= SIGN_OF_LIFE_S:
            advance(0)
            self._signed = time.monotonic()
        self._carry_out_new(step)

    def _carry_out_new(self, step: str) -> None:
        known = {done["key"] for done in self._now.done}
        for command in (*self._recorded.get(step, ()), *self._read()):
            if command.key not in known:
                known.add(command.key)
                self._carry_out(command, step)
                if step == LAST_STEP and self._now.done[-1].get("reopened") is not None:
                    return  # what was said after that is carried out in the round that follows
        self._unread.clear()

    def _read(self) -> list[Command]:
        """What was said and not carried out."""
        newest = oversight.newest_message(self._record)
        if newest > self._read_up_to:
            known = {c.key for c in self._unread}
            new = oversight.unread(self._record, self._now.done, after=self._read_up_to)
            self._unread += [c for c in new if c.key not in known]
            self._read_up_to = newest
        return self._unread

    @property
    def _next_step(self) -> str:
        return f"{STEPS}{len(self._now.done):03d}"

    def _carry_out(self, command: Command, step: str) -> None:
        with self._record.commit(self._next_step) as opened:
            if not oversight.was_said(self._record, command.key):  # but in another run, or by nobody
                text = f"/{command.name} {command.argument}".strip()
                self._record.post(Message(command.key, command.author, "loop", COMMAND, text, payload=command.payload))
            outcome, effect, details = carry_out(command, step, self._now)
            payload = {"command": command.key, "outcome": outcome, **details}
            Room(self._record).post("oversight", command.author, EFFECT, effect, payload=payload)
            told = {"key": command.key, "author": command.author, **command.payload}
            opened.result = {"before": step, **told, "outcome": outcome, "effect": effect, **details}
        self._now.done.append(dict(opened.result))

    # --- the end ---------------------------------------------------------------------------------------------------

    def _reopen(self, step: str) -> None:
        said = unread(self._record)
        last = max((i for i, command in enumerate(said) if command.name == "rounds"), default=-1)
        for command in said[: last + 1]:
            if command.name == "rounds":
                self._carry_out(command, step)
            elif command.name == "stop":  # more rounds were wanted after that; all else is for them
                oversight.answer_late(self._record, command)

    def close(self) -> None:
        """Answer what was said while the end was measured."""
        for command in unread(self._record):
            oversight.answer_late(self._record, command)

    def let_lapse(self, step: str) -> None:
        """Say of each task that was to be planned in a round which does not come that it comes too late. Call it before the
        last step."""
        if self._record.done(step):
            return
        known = {done["key"] for done in self._now.done}
        for asked in self._now.unplanned():
            key, effect = f"{asked.key}{LAPSED}", f"{asked.task!r} comes too late: no further round is planned."
            if key in known:
                continue
            with self._record.commit(self._next_step) as opened:
                payload = {"command": asked.key, "outcome": "late"}
                Room(self._record).post("oversight", asked.author, EFFECT, effect, payload=payload)
                about = {"key": key, "author": NOBODY, "command": "propose", "argument": asked.task}
                opened.result = {"before": step, **about, "outcome": "late", "effect": effect}
            self._now.done.append(dict(opened.result))

    # --- what is planned and executed ----------------------------------------------------------------------------

    def asked(self, n: int) -> tuple[Wish, ...]:
        """The tasks that people want round n to plan."""
        return self._now.asked(n)

    @property
    def vetoed(self) -> tuple[str, ...]:
        """Tasks, see `ludus.lab.standing.plain`."""
        return tuple(name for name in self._now.standing.vetoed if not PLAN_ID.fullmatch(name))

    def refusal(self) -> Refusal:
        """Of tasks that are vetoed and, unless they may wait for approval, of those that a rule forbids."""
        vetoed, rules = self._now.standing.vetoed, not self._config.oversight.ask

        def refused(task: str, *conditions: str | None) -> str | None:
            for said in (task, *conditions[:1]):
                if said and plain(said) in vetoed:
                    return f"{vetoed[plain(said)]} has vetoed it"
            return self._rules.broken(*conditions) if rules else None

        return refused

    def broken(self, *conditions: str | None) -> str | None:
        """See `Rules.broken`."""
        return self._rules.broken(*conditions)

    def look_at(self, evidence: Callable[[], Evidence]) -> None:
        """Judge rules, where there are any, by these observations from now on."""
        if self._rules:
            self._rules.look_at(evidence())

    def admitted(self, task: CollectTask) -> CollectTask:
        """The task without the episodes that somebody has forbidden meanwhile, and without what robots would go on with that is
        forbidden."""
        now = self._now.standing
        if not now.vetoed and not now.rejected:
            return task
        plans = {p.id: p.captions for p in self._now.forbidden_plans(round_of(task.step), now.vetoed)}
        both = [(_left(r, plans, now.rejected), id) for r, id in zip(task.rollouts, task.ids, strict=True)]
        kept = [(rollout, id) for rollout, id in both if rollout is not None]
        return replace(task, rollouts=tuple(r for r, _ in kept), ids=tuple(id for _, id in kept))


class NullOverseer:
    """Nobody says anything, and nothing is forbidden."""

    vetoed: tuple[str, ...] = ()
    rounds: int | None = None

    def before(self, step: str) -> None:
        """Does nothing."""

    def asked(self, n: int) -> tuple[Wish, ...]:
        """Nothing."""
        return ()

    def refusal(self) -> Refusal:
        """Of nothing."""
        return nothing_refused

    def broken(self, *conditions: str | None) -> str | None:
        """No rule."""
        return None

    def admitted(self, task: CollectTask) -> CollectTask:
        """The task."""
        return task


UNWATCHED = NullOverseer()


def unread(record: Reader) -> list[Command]:
    """The commands that were neither carried out nor refused, in order."""
    if not (said := oversight.commands(record)):
        return []
    answered = {one["key"] for one in oversight.interventions(record)}
    return [c for c in said if c.key not in answered and not oversight.was_said(record, f"{c.key}{LAPSED}")]


def approval(what: str, name: str, limits: OversightConfig) -> str:
    """The sentence that says what waits for approval.

    Args:
        name: what it is called in a command.
    """
    default = {"approve": "approved", "reject": "rejected"}[limits.default]
    return (
        f"{what} waits for approval: /approve {name} or /reject {name}. If nobody says anything within {limits.timeout_s:g} s, "
        f"it is {default}."
    )


def recorded(record: Reader) -> dict[str, list[Command]]:
    """See `Recorded`."""
    found: dict[str, list[Command]] = {}
    for done in oversight.interventions(record):
        command = Command(done["key"], done["command"], done["argument"], done["author"])
        if not command.key.endswith(LAPSED):
            found.setdefault(done["before"], []).append(command)
    return found


def _left(rollout: RolloutSpec, plans: Mapping[str, Sequence[str]], rejected: frozenset[str]) -> RolloutSpec | None:
    """What of a rollout may be executed: nothing, all, or its own commands with some of those that it would go on with."""
    n = rollout.info.get("n_plan_commands", len(rollout.captions))
    own, more = rollout.captions[:n], rollout.captions[n:]
    if rollout.info.get("plan") in plans or rejected & set(own):
        return None
    for i, caption in enumerate(more):
        if caption in rejected or any(captions == more[i : i + len(captions)] for captions in plans.values()):
            return replace(rollout, captions=rollout.captions[: n + i])
    return rollout
