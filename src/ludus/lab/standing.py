"""How the commands that people gave leave a run: paused or not, what is vetoed, what was approved."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ludus.types import Plan

SWITCHES = ("pause", "continue", "stop", "rounds")
"""Commands on whether and how long the run goes on."""


@dataclass(frozen=True)
class Standing:
    """How the commands so far leave the run."""

    paused: bool
    stopping: bool
    rounds: int | None
    """How many the run has, where somebody said so."""
    reopened: int
    """Rounds that were over when somebody wanted more of them; the skills that were accepted in them end no run."""
    vetoed: Mapping[str, str]
    """What is not executed, tasks and ids of plans, as `plain` writes them -> who said so."""
    approved: frozenset[str]
    """Ids of the plans that had to wait."""
    rejected: frozenset[str]
    """Captions."""


def standing(done: Iterable[Mapping[str, Any]]) -> Standing:
    """
    Args:
        done: see `ludus.lab.oversight.interventions`.
    """
    paused = stopping = False
    rounds, reopened = None, 0
    vetoed, approved, rejected = dict[str, str](), set[str](), set[str]()
    for one in done:
        if one["outcome"] != "done":
            continue
        match one["command"]:
            case "pause":
                paused = True
            case "stop":
                paused, stopping = False, True
            case "continue":
                paused, stopping = False, stopping and paused
            case "rounds":
                rounds, stopping, reopened = one["rounds"], False, one.get("reopened", reopened)
            case "propose":
                for said in (one["task"], one["goal"] or ""):
                    vetoed.pop(plain(said), None)
            case "veto":
                vetoed[plain(one.get("goal", one["argument"]))] = one["author"]
            case "approve":
                approved.update(one.get("plans", ()))
            case "reject":
                rejected.update(one.get("captions", ()))
                vetoed |= dict.fromkeys(one.get("plans", ()), one["author"])
    return Standing(paused, stopping, rounds, reopened, vetoed, frozenset(approved), frozenset(rejected))


def ahead(done: Iterable[Mapping[str, Any]], said: Iterable[str]) -> Standing:
    """How the run stands once what was said meanwhile is carried out.

    Args:
        said: names of commands, in order, of which only `SWITCHES` count.
    """
    return standing([*done, *({"command": c, "outcome": "done", "rounds": 0} for c in said if c in SWITCHES)])


def plain(text: str) -> str:
    """A task for comparing: two that differ in capitals and blanks only are one."""
    return " ".join(text.casefold().split())


def is_vetoed(plan: Plan, vetoed: Container[str]) -> bool:
    """Whether a plan is vetoed by its id, task or goal."""
    return any(plain(text) in vetoed for text in (plan.id, plan.proposal.task, plan.proposal.goal or ""))
