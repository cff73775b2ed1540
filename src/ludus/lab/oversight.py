"""What people say to a run: remarks, which its questions show, and commands, which its loop carries out.

All of it is messages of the room. `say` stores one, from any process, while the run works or after it was stopped. The loop reads
commands between two steps (`ludus.lab.interventions`) and answers each with a message of kind 'effect'. The order of the messages
decides between two people.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from ludus.experimenter.answers import LONGEST_TEXT, clean
from ludus.lab.room import LONGEST_REMARK, REMARK, speaker
from ludus.lab.standing import Standing, is_vetoed, plain, standing
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.record.record import Record
from ludus.types import LudusError, Message, Plan, unknown

COMMAND, EFFECT, APPROVAL, HELP = "command", "effect", "approval", "help"
"""Kinds of messages: what was said to the loop, what it did about it, what it waits for, and what can be said."""
COMMANDS: Mapping[str, str] = {
    "pause": "Waits before the next batch of episodes, chunk of training or other step, until /continue.",
    "continue": "Ends a pause; where there is none, takes back a /stop.",
    "stop": "Ends the run after this round: what was learned is measured, and the report is written.",
    "rounds": "The run has so many rounds in all, more or fewer than before; takes back a /stop.",
    "propose": "The next round plans this task too: in words, or as a condition such as on(red, green).",
    "veto": "This task, or the plan of this id, is not executed.",
    "approve": "A skill or a plan that waits for approval goes ahead.",
    "reject": "A skill that waits or is practised is dropped; a plan that waits is not executed.",
    "wrong": "Marks the latest verdict on this skill as wrong: it no longer counts for how long the skill is practised.",
    "answer": "Answers the question that waits: in words (none: can't tell), or in JSON where it waits for an agent.",
    "help": "Says what can be said.",
}
"""Name -> one sentence of help."""
ARGUMENTS: Mapping[str, str] = {
    "rounds": "N",
    "propose": "TASK",
    "veto": "TASK",
    "approve": "SKILL",
    "reject": "SKILL",
    "wrong": "CAPTION",
    "answer": "TEXT",
}
"""Name -> what a command is followed by, of those that are."""
PERSON, NOBODY = "person", "oversight"
"""Who speaks where no name is given, and who decides where nobody speaks in time."""
LAST_STEP = "measure/after"
"""Step of a run before which its rounds are over."""
MOST_ROUNDS = 9_999_999
LAPSED = "/late"
"""Ends the key of a message that nobody said: that a command comes too late."""
STEPS = "oversight/"
"""Steps of the record in each of which a command was carried out: `oversight/000`, ... For their results see `interventions`."""
LONGEST_LINE = 40_000
"""Characters of what is read at all: an answer may be that long."""
REPLAY_STEP = "replay"
"""Step of a record that replays another run's answers: its result says which."""
MORE_ROUNDS = "`ludus resume RUN experiment.rounds=N` goes on, up to N rounds in all."
PLAN_ID = re.compile(r"r\d+-s\d+-\w+")
PLACEHOLDER = re.compile(r"(?<!\w)(?:[UVWXYZ]|_)(?!\w)")
"""Of an object, in a template: 'stack X on Y', 'stack _ on _'."""

CommandOutcome = Literal["done", "refused", "late"]


def say(record: Record, line: str, author: str = PERSON) -> Message:
    """Put what somebody says into the room of a run, which may be running: `record` need not be open for writing. A line that
    begins with '/' is a command, anything else a remark, which the curriculum shows with its next question.

    Args:
        author: who says it, a name.

    Returns: the message that was stored; for '/help' one that was not, of kind 'help'.

    Raises:
        LudusError: an unknown command, one that has nothing to act on, nothing said or too much, a name that is none, a run that
            is over, or one that listens to nobody.
    """
    if len(line) > LONGEST_LINE:
        raise LudusError(f"a line of {len(line):,} characters; say something in at most {LONGEST_REMARK:,}")
    text, author = clean(line), speaker(author)
    if not text.startswith("/"):
        return _remark(record, text, author)
    name, _, argument = text[1:].partition(" ")
    name, argument = name.casefold(), argument.strip()
    if name not in COMMANDS:
        raise unknown("command", f"/{name}", [f"/{command}" for command in COMMANDS])
    _check_argument(name, argument)
    if name == "help":
        return Message("help", "oversight", author, HELP, help_text())
    if name == "answer":  # an exam asks, too
        return _answer(record, argument, author)
    _check_listens(record)
    _check_target(record, name, argument)
    message = Message(new_key(), author, "loop", COMMAND, text, payload={"command": name, "argument": argument})
    record.post(message)
    if record.done(LAST_STEP):  # meanwhile, and so perhaps after the run looked for the last time
        answer_late(record, message)
    return message


def help_text() -> str:
    """A line per command."""
    usages = {name: f"/{name} {ARGUMENTS.get(name, '')}".rstrip() for name in COMMANDS}
    width = max(map(len, usages.values()))
    return "\n".join(f"{usages[name]:{width}}  {said}" for name, said in COMMANDS.items())


# --- what was said, and what came of it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A command that somebody gave."""

    key: str
    """Of its message."""
    name: str
    argument: str
    author: str

    @property
    def payload(self) -> dict[str, str]:
        """Of its message."""
        return {"command": self.name, "argument": self.argument}


def newest_message(record: Reader) -> int:
    """The number of the last message that there is; 0 for none."""
    m = tables.messages.c
    last = sa.select(m.number).where(m.run_id == record.run_id).order_by(m.number.desc()).limit(1)
    return next((row["number"] for row in record.query(last)), 0)


def commands(record: Reader, after: int = 0) -> list[Command]:
    """Every command that was said, in order; of messages with a number above `after`."""
    m = tables.messages.c
    rows = record.rows(tables.messages, sa.and_(m.kind == COMMAND, m.number > after))
    return [Command(r["key"], r["payload"]["command"], r["payload"]["argument"], r["sender"]) for r in rows]


def was_said(record: Reader, key: str) -> bool:
    """Whether a message of this key is there."""
    return bool(record.rows(tables.messages, tables.messages.c.key == key))


def interventions(record: Reader) -> list[dict[str, Any]]:
    """Every command that was carried out or refused, in order: `key, command, argument, author`, `before` (the step of the run),
    `outcome` (see `CommandOutcome`), `effect` (a sentence) and, as they apply, `round, rounds, task, goal, captions, plans,
    update, caption`."""
    s = tables.steps.c
    query = sa.select(s.result).where(s.run_id == record.run_id, s.name.startswith(STEPS, autoescape=True))
    return [dict(row["result"]) for row in record.query(query.order_by(s.number))]


def unread(record: Reader, done: Iterable[Mapping[str, Any]], after: int = 0) -> list[Command]:
    """Commands that were neither carried out nor answered as too late, in order; of messages with a number above `after`."""
    known = {one["key"] for one in done}
    said = (c for c in commands(record, after) if c.key not in known)
    return [c for c in said if not was_said(record, f"{c.key}{LAPSED}")]


def answer_late(record: Record, said: Command | Message) -> None:
    """Answer a command that no round can read any more. Whoever notices it first does."""
    author = said.author if isinstance(said, Command) else said.sender
    text = f"That comes too late: the run is over. {MORE_ROUNDS}"
    payload = {"command": said.key, "outcome": "late"}
    record.post(Message(f"{said.key}{LAPSED}", "oversight", author, EFFECT, text, payload=payload))


def wrong_verdicts(record: Reader) -> dict[tuple[int, int, str], str]:
    """`(round, update, caption)` of the verdicts that were marked as wrong -> by whom."""
    marks = (one for one in interventions(record) if one["command"] == "wrong" and one["outcome"] == "done")
    return {(one["round"], one["update"], one["caption"]): one["author"] for one in marks}


# --- what a command is about -------------------------------------------------------------------------------------------


def skills_called(name: str, captions: Iterable[str]) -> list[str]:
    """The caption that is written so; else those of a template, 'put X beside Y' or 'put _ beside _'; else the template of it."""
    captions = list(captions)
    if same := [c for c in captions if plain(c) == plain(name)]:
        return same
    return [c for c in captions if _is_of(c, name)] or [c for c in captions if _is_of(name, c)]


def waiting_skills(record: Reader) -> list[str]:
    """Captions of the skills that were written in the run and wait for approval."""
    return [s["caption"] for s in record.skills() if s["round"] > 0 and s["status"] == "candidate"]


def waiting_plans(record: Reader, stand: Standing | None = None) -> dict[str, Plan]:
    """The plans of the latest round that wait for approval, by id.

    Args:
        stand: how the commands so far leave the run, where that is known already.
    """
    s = tables.steps.c
    query = sa.select(s.name, s.result).where(s.run_id == record.run_id, s.name.like("round/%/plan"))
    planned = record.query(query.order_by(s.number.desc()).limit(1))
    held = planned[0]["result"].get("held", {}) if planned else {}
    if not held:
        return {}
    now, plans = stand or standing(interventions(record)), record.plans(int(planned[0]["name"].split("/")[1]))
    open_ = (p for _, p in plans if p.id in held and p.id not in now.approved and not is_vetoed(p, now.vetoed))
    return {plan.id: plan for plan in open_}


def latest_verdict(record: Reader, name: str) -> tuple[int, int, str] | None:
    """`(round, update, caption)` of the latest verdict on the curve of this name; None where there is none."""
    found = [(r, update, v.caption) for r, update, v in record.verdicts()]
    called = set(skills_called(name, dict.fromkeys(c for *_, c in found)))
    return next((one for one in reversed(found) if one[2] in called), None)


# --- inside --------------------------------------------------------------------------------------------------------


def _is_of(caption: str, template: str) -> bool:
    parts = PLACEHOLDER.split(template)
    return len(parts) > 1 and re.fullmatch("(.+)".join(map(re.escape, parts)), caption, re.IGNORECASE) is not None


def new_key() -> str:
    """Of a message in which somebody says something."""
    return f"said/{uuid.uuid4().hex}"


def _remark(record: Record, text: str, author: str) -> Message:
    if not text or len(text) > LONGEST_REMARK:
        raise LudusError(f"a remark of {len(text):,} characters; say something in at most {LONGEST_REMARK:,}")
    _check_listens(record)
    if record.done(REPLAY_STEP):
        raise LudusError("the run replays another one, in whose questions its own remarks stand; commands are heard")
    message = Message(new_key(), author, "experimenter", REMARK, text)
    record.post(message)
    return message


def _check_listens(record: Record) -> None:
    if (state := record.state()) not in ("running", "stopped"):
        more = f". {MORE_ROUNDS}" if record.done(LAST_STEP) else ""
        raise LudusError(
            f"the run {'is over' if state == 'done' else 'has failed'}: nobody would hear it any more{more}"
        )
    if kind := re.match("ludus (collect|import|exam|train) ", record.command):
        raise LudusError(f"this is a run of `ludus {kind[1]}`, which asks nobody; only `ludus run` listens")


def _check_argument(name: str, argument: str) -> None:
    usage = f"/{name} {ARGUMENTS.get(name, '')}".rstrip()
    if bool(argument) != (name in ARGUMENTS) and name != "answer":  # nothing: can't tell
        raise LudusError(f"/{name} needs to say what: {usage}" if name in ARGUMENTS else f"{usage} takes nothing more")
    if name == "rounds" and not re.fullmatch(r"0*[1-9]\d{0,6}", argument, re.ASCII):
        raise LudusError(f"{usage} with {argument[:40]!r}; give a number from 1 to {MOST_ROUNDS:,}")
    if name != "answer" and len(argument) > LONGEST_TEXT:
        raise LudusError(f"{usage} with {len(argument):,} characters; say it in at most {LONGEST_TEXT:,}")


def _check_target(record: Reader, name: str, argument: str) -> None:
    if name == "veto" and PLAN_ID.fullmatch(argument):
        ids = [plan.id for _, plan in record.plans()]
        if argument not in ids:
            raise unknown("plan", argument, ids[-5:])
    if name in ("approve", "reject"):
        plans = waiting_plans(record)
        waiting = [*waiting_skills(record), *plans, *(plan.proposal.task for plan in plans.values())]
        practised = [s["caption"] for s in record.skills() if s["status"] == "practising"]
        _check_called(name, argument, waiting if name == "approve" else [*waiting, *practised])
    if name == "wrong" and latest_verdict(record, argument) is None:
        _check_called(name, argument, list(dict.fromkeys(v.caption for *_, v in record.verdicts())))


def _check_called(name: str, argument: str, known: Sequence[str]) -> None:
    nothing = {"approve": "waits for approval", "reject": "waits or is practised", "wrong": "was judged yet"}
    if not known:
        raise LudusError(f"/{name} has nothing to act on: no skill {nothing[name]}")
    if not skills_called(argument, known):
        raise unknown("skill", argument, known)


def _answer(record: Record, text: str, author: str) -> Message:
    from ludus.lab import mailbox

    return mailbox.answer_text(record, text, author)
