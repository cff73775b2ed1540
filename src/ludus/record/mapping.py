"""Conversion between data types and rows: each function that makes a row, next to the one that reads it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from sqlalchemy import RowMapping

from ludus.types import Message, Outcome, Plan, Proposal, Retrieval, SuccessCount, Verdict

WORDS = ("key", "sender", "addressee", "kind", "text")
SKILL = ("hash", "caption", "reward", "success", "steps", "base")


class SkillLike(Protocol):
    """What the record keeps of a skill (`ludus.skills.library.Skill`, which this room may not import)."""

    @property
    def hash(self) -> str: ...
    @property
    def caption(self) -> str: ...
    @property
    def reward(self) -> str: ...
    @property
    def success(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def base(self) -> bool: ...


@dataclass(frozen=True)
class Posted:
    """A message of the run's chat as it is stored."""

    number: int  # grows with time; pass the last one seen to `Record.posted`
    at: float  # seconds since 1970
    step: str | None
    message: Message


@dataclass(frozen=True)
class Evaluation:
    """A point of one skill's learning curve."""

    stage: str  # 'before', 'after', 'round/1', ...
    update: int
    count: SuccessCount


@dataclass(frozen=True)
class StepTime:
    """When a step ran and how long it took."""

    name: str
    started: float  # seconds since 1970
    seconds: float


@dataclass(frozen=True)
class StageState:
    """How far a process has come with one stage of a run, such as 'round 1: training'. Times in seconds since 1970."""

    name: str
    done: int
    total: int
    started: float
    updated: float
    finished: float | None  # None: under way, or cut short


@dataclass(frozen=True)
class Heartbeat:
    """The last sign of life of the process that writes a run."""

    pid: int
    host: str
    at: float  # seconds since 1970


def stage(row: RowMapping) -> StageState:
    return StageState(**{k: row[k] for k in StageState.__dataclass_fields__})


def heartbeat(row: RowMapping) -> Heartbeat:
    return Heartbeat(row["pid"], row["host"], row["at"])


def step_time(row: RowMapping) -> StepTime:
    return StepTime(row["name"], row["started"], row["seconds"])


def of_message(message: Message, step: str | None) -> dict[str, Any]:
    row = {k: getattr(message, k) for k in WORDS}
    extra = {"images": list(message.images), "payload": dict(message.payload), "at": time.time(), "step": step}
    return row | extra


def posted(row: RowMapping) -> Posted:
    words = {k: row[k] for k in WORDS}
    message = Message(**words, images=tuple(row["images"]), payload=dict(row["payload"]))
    return Posted(row["number"], row["at"], row["step"], message)


def of_skill(skill: SkillLike, round: int, author: str | None, parents: Iterable[str]) -> dict[str, Any]:
    author = author or ("base" if skill.base else "extra")
    return {"round": round, "author": author, "parents": list(parents)} | {k: getattr(skill, k) for k in SKILL}


def of_status(caption: str, status: str, round: int) -> dict[str, Any]:
    return {"caption": caption, "round": round, "status": status}


def skill(row: RowMapping, change: RowMapping) -> dict[str, Any]:
    kept = {k: row[k] for k in (*SKILL, "round", "author")}
    return kept | {"parents": tuple(row["parents"]), "status": change["status"], "changed": change["round"]}


def of_outcome(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome)


def outcome(row: RowMapping) -> Outcome:
    return Outcome(**{k: row[k] for k in Outcome.__dataclass_fields__})


def of_metric(name: str, update: int, value: float) -> dict[str, Any]:
    # NaN stands as NULL: SQLite does that by itself, PostgreSQL would keep a NaN, which equals nothing.
    return {"name": name, "update": int(update), "value": None if math.isnan(value) else float(value)}


def metric(row: RowMapping) -> tuple[str, int, float]:
    return row["name"], row["update"], math.nan if row["value"] is None else row["value"]


def of_evaluation(stage: str, update: int, count: SuccessCount) -> dict[str, Any]:
    return {"stage": stage, "update": update} | asdict(count)


def evaluation(row: RowMapping) -> Evaluation:
    count = SuccessCount(row["caption"], row["skill"], row["n"], row["successes"], row["successes_once"])
    return Evaluation(row["stage"], row["update"], count)


def of_plan(round: int, plan: Plan) -> dict[str, Any]:
    row = {"round": round, "id": plan.id, "steps": list(plan.steps)}
    return row | asdict(plan.proposal) | {"retrievals": [asdict(r) for r in plan.retrievals]}


def plan(row: RowMapping) -> Plan:
    proposal = Proposal(row["task"], row["why"], row["success_probability"], row["goal"])
    return Plan(row["id"], proposal, tuple(row["steps"]), tuple(Retrieval(**x) for x in row["retrievals"]))


def of_verdict(round: int, update: int, verdict: Verdict) -> dict[str, Any]:
    return {"round": round, "update": update} | asdict(verdict)


def verdict(row: RowMapping) -> Verdict:
    return Verdict(row["caption"], row["judgement"], row["probability"], row["why"])
