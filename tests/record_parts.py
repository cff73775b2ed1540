"""Rows for the tests of the record: one of every kind."""

import math
from dataclasses import dataclass

import numpy as np

from ludus.record import tables
from ludus.types import Message, Outcome, Plan, Proposal, Retrieval, SuccessCount, Verdict


class Stop(BaseException):
    """Like Ctrl-C."""


def stop(_: object) -> None:
    raise Stop


@dataclass(frozen=True)
class Skill:
    hash: str = "h1"
    caption: str = "reach red"
    reward: str = "near(red)"
    success: str = "at(red)"
    steps: int = 80
    base: bool = True


def message(key: str, text: str = "hello", kind: str = "note") -> Message:
    return Message(key, "loop", "all", kind, text, ("images/a.png",), {"x": [1, 2.5], "y": None})


def outcome(episode: str, segment: int = 0, success: bool = True, caption: str = "reach red") -> Outcome:
    return Outcome(episode, segment, caption, f"hash of {caption}", success, True, 0.5)


PLAN = Plan(
    "p1",
    Proposal("a tower", "it is new", 0.25, "on(red, green)"),
    ("first", "then"),
    (Retrieval("first", "reach red"), Retrieval("then", None, "turn red over")),
)
COUNTS = [SuccessCount("reach red", "h1", 8, 3, 5), SuccessCount("grasp red", "h2", 8, 0, 1)]
VERDICT = Verdict("reach red", "converged", 0.9, "flat")
CALL = {k: k for k in ("key", "role", "prompt", "request", "model")}
CALL |= {"images": [], "answer": {"task": "x"}, "error": None, "replayed": False, "usd": None}
CALL = {c.name: CALL.get(c.name, 0) for c in tables.calls.c if c.name not in ("number", "run_id")}
SHARD = {"name": "a.safetensors", "episodes": 1, "transitions": 3, "checksum": "c"}
EPISODE = {
    "id": "e1", "shard": "a.safetensors", "place": 0, "steps": 3, "segments": [[0, "reach red", "h1"]], "actor": "teacher",
    "world": "w", "seed": 2**62, "start": "default", "ended": "time", "info": {},
}  # fmt: skip


def add_all(record):
    record.post(message("m1"), message("m2"))
    record.add_skills([Skill()], round=3)
    record.add_evaluation("before", 7, COUNTS)
    record.add_plan(1, PLAN)
    record.add_verdict(1, 800, VERDICT)
    record.add_metrics([("loss/critic", 1, np.float32(0.5)), ("loss/actor", 1, math.nan), ("time/fit", 1, 1.5)])
    record.add_metrics([])


def use_all(record):
    """Every kind of row, added and read."""
    add_all(record)
    with record.commit("a"):
        record.post(message("live"))
        record.add_outcomes([outcome("e1"), outcome("e1", 1, False)])
        record.add_call(CALL)
        record.add_rows(tables.shards, [dict(SHARD)])
        record.add_rows(tables.episodes, [dict(EPISODE)])
        record.set_skill_status("reach red", "dropped", 4)
    assert record.result("a") == {} and record.last_step() == "a"
    assert [m.message.key for m in record.posted(after=record.posted()[0].number)] == ["m2", "live"]
    expected = [SuccessCount("reach red", "hash of reach red", 2, 1, 2)]
    assert record.success_counts("a") == record.success_counts(actor="teacher") == expected
    assert record.outcomes("b") == record.success_counts(actor="policy") == []
    assert record.metrics("x") == record.evaluations("x") == []
    assert record.plans(1) and record.verdicts(1) and len(record.calls()) == 1
    assert record.skills()[0]["status"] == "dropped" and record.heartbeat().pid > 0
    return record.content()
