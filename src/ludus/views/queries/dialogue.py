"""What was said: plans and their outcomes, the chat by step, and what calls to models used."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ludus.config import ROLES
from ludus.record import tables
from ludus.record.reader import Reader
from ludus.skills.names import ObjectNames
from ludus.types import Curve
from ludus.views.queries.learning import TemplateCurve, object_names, template_curve


@dataclass(frozen=True)
class PlanEntry:
    """A proposed task, the skills that carry it out, and what came of it."""

    round: int
    id: str
    task: str
    in_words: str  # the task, see `in_words`
    why: str
    success_probability: float  # as the proposer stated it
    goal: str | None
    captions: tuple[str, ...]  # skills in order
    gaps: tuple[str, ...]  # steps that no skill of the library can do; such a plan is not executed
    outcome: str | None  # None: not executed, or not yet


def plans(record: Reader) -> tuple[PlanEntry, ...]:
    """All plans in the order they were made."""
    outcomes, names = {m.payload.get("plan"): m.text for m in record.messages("outcome")}, object_names(record)
    return tuple(
        PlanEntry(
            round_,
            plan.id,
            plan.proposal.task,
            in_words(plan.proposal.task, names),
            plan.proposal.why,
            plan.proposal.success_probability,
            plan.proposal.goal,
            plan.captions,
            tuple(gap.missing or gap.step for gap in plan.gaps),
            None if plan.id not in outcomes else outcomes[plan.id].removeprefix(f"{plan.proposal.task}: "),
        )
        for round_, plan in record.plans()
    )


def in_words(task: str, names: ObjectNames) -> str:
    """What the planner calls 'arrange red on green and blue lifted' as a person would say it, 'red on green, then lift blue';
    other tasks as they stand."""
    prefix, arrange, goal = task.partition("arrange ")
    if not arrange or prefix not in ("", "at once: ") or not names.objects:
        return task
    thing = "|".join(map(re.escape, sorted(names.objects, key=len, reverse=True)))
    parts = re.split(rf" and (?=(?:{thing}) (?!and\b))", goal)
    said = [re.sub(rf"^({thing}) (\w+)ed$", r"\2 \1", part) for part in parts]
    return prefix + (" and " if prefix else ", then ").join(said)


# --- the chat ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Posting:
    """A message of the chat."""

    number: int  # grows with time
    at: float  # seconds since 1970
    step: str | None
    sender: str
    addressee: str
    kind: str
    text: str
    images: tuple[str, ...]  # paths relative to the run directory
    plan: str | None = None  # id of the plan that a proposal or its steps belong to, or of this one
    subject: str = ""  # what it is about: the task of a plan, the caption of a candidate or a verdict
    curve: TemplateCurve | None = None  # that a verdict is asked for


@dataclass(frozen=True)
class Topic:
    """What was said in steps that belong together: 'round/1', 'pretrain/train', 'notes' outside of steps."""

    name: str
    postings: tuple[Posting, ...]


@dataclass(frozen=True)
class Chat:
    topics: tuple[Topic, ...]
    last: int  # the highest number; ask for what is `after` it next time


def chat(record: Reader, after: int = 0) -> Chat:
    """Messages with a number above `after`, grouped by the first two parts of their step's name."""
    topics: dict[str, list[Posting]] = {}
    last = after
    for posted in record.posted(after):
        m, last = posted.message, posted.number
        posting = Posting(posted.number, posted.at, posted.step, m.sender, m.addressee, m.kind, m.text, m.images)
        topics.setdefault("/".join((posted.step or "notes").split("/")[:2]), []).append(posting)
    return Chat(tuple(Topic(name, tuple(said)) for name, said in topics.items()), last)


@dataclass(frozen=True)
class Wanted:
    """Which messages are wanted; empty: all."""

    round: str = ""  # '3': those of steps 'round/3/...'
    sender: str = ""
    kind: str = ""
    words: str = ""  # a part of the text, in any case


def postings(
    record: Reader, wanted: Wanted = Wanted(), before: int | None = None, after: int = 0, limit: int = 100
) -> tuple[Posting, ...]:
    """The last `limit` messages with a number above `after` and below `before`, oldest first."""
    m = tables.messages.c
    query = sa.select(tables.messages).where(m.run_id == record.run_id, m.number > after)
    if before is not None:
        query = query.where(m.number < before)
    if wanted.round:
        query = query.where(m.step.startswith(f"round/{wanted.round}/", autoescape=True))
    if wanted.sender:
        query = query.where(m.sender == wanted.sender)
    if wanted.kind:
        query = query.where(m.kind == wanted.kind)
    if wanted.words:
        query = query.where(m.text.icontains(wanted.words, autoescape=True))
    rows = record.query(query.order_by(m.number.desc()).limit(limit))
    names = ("number", "at", "step", "sender", "addressee", "kind", "text")
    return tuple(
        Posting(
            **{name: row[name] for name in names}, images=tuple(row["images"]), **_about(row["kind"], row["payload"])
        )
        for row in reversed(rows)
    )


def _about(kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    if kind == "plan":
        return {"plan": payload.get("id"), "subject": payload.get("proposal", {}).get("task", "")}
    if kind == "curve" and payload:
        return {"subject": payload["caption"], "curve": template_curve(Curve(**payload))}
    return {"plan": payload.get("plan"), "subject": payload.get("caption", "")}


def call_costs(record: Reader, keys: Sequence[str]) -> dict[str, RoleCalls]:
    """Key of a question -> what its calls used, of those that were put to a model or a person."""
    rows = record.rows(tables.calls, tables.calls.c.key.in_(keys)) if keys else []
    return {key: role_calls(key, [r for r in rows if r["key"] == key]) for key in dict.fromkeys(r["key"] for r in rows)}


def speakers(record: Reader) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Every sender and every kind of message that there is."""
    m = tables.messages.c
    rows = record.query(sa.select(m.sender, m.kind).where(m.run_id == record.run_id).distinct())
    senders, kinds = ({row[name] for row in rows} for name in ("sender", "kind"))
    return tuple(sorted(senders)), tuple(sorted(kinds))


# --- calls to models ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RoleCalls:
    """What one role asked of models and people. An unknown price is not zero: such calls are counted in `unpriced`."""

    role: str  # 'all' for the sum
    calls: int
    replayed: int  # answered from a recording; they cost nothing
    unanswered: int
    repairs: int  # further turns after an answer that did not fit
    retries: int  # of transient errors
    tokens_in: int
    tokens_out: int
    usd: float  # of the calls whose price is known
    unpriced: int  # calls of unknown price
    seconds: float  # added up over calls, of which several may have been under way at once


@dataclass(frozen=True)
class ModelCalls:
    models: tuple[str, ...]
    roles: tuple[RoleCalls, ...]  # of those that asked anything
    total: RoleCalls


def model_calls(record: Reader) -> ModelCalls | None:
    """Calls per role; None where none was made."""
    rows = record.calls()
    if not rows:
        return None
    asked = list(dict.fromkeys((*ROLES, *(r["role"] for r in rows))))
    of = {role: [r for r in rows if r["role"] == role] for role in asked}
    roles = tuple(role_calls(role, found) for role, found in of.items() if found)
    return ModelCalls(tuple(sorted({r["model"] for r in rows})), roles, role_calls("all", rows))


def role_calls(role: str, rows: Sequence[Mapping[str, Any]]) -> RoleCalls:
    """Rows of the table of calls, added up under a name."""
    asked = [r for r in rows if not r["replayed"]]
    return RoleCalls(
        role,
        len(rows),
        len(rows) - len(asked),
        sum(r["answer"] is None for r in rows),
        sum(max(0, r["turns"] - 1) for r in rows),
        sum(r["retries"] for r in rows),
        sum(r["tokens_in"] for r in rows),
        sum(r["tokens_out"] for r in rows),
        sum((r["usd"] for r in asked if r["usd"] is not None), 0.0),
        sum(r["usd"] is None for r in asked),
        sum(r["seconds"] for r in rows),
    )
