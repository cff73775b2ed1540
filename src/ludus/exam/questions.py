"""The questions that ship with the project, and where their truth comes from. Nothing here knows who answers.

`benchmarks/exam_bank.py` makes `data/scenes.json` and `data/curves.json` from simulation and from recorded trainings;
`data/retrieve.json` and `data/write.json` (see `ludus.exam.gaps`) are written by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import permutations
from typing import Any, Literal

from ludus.exam.gaps import WriteItem, write_items
from ludus.experimenter.roles import Attempt, SkillStats
from ludus.lab.hindsight import Count, truth
from ludus.skills.library import Skill
from ludus.types import Curve, Judgement, LudusError
from ludus.worlds.blocks.scene import COLOURS
from ludus.worlds.blocks.skills import base_skills, extra_skills

FOLDER = files("ludus.exam") / "data"
Which = Literal["base", "full"]
"""The base library, or with 'put beside', 'tower' and 'pyramid'."""


def skills(n_blocks: int, which: Which) -> list[Skill]:
    """The skills over the first `n_blocks` colours."""
    objects = tuple(COLOURS)[:n_blocks]
    return base_skills(objects) + (extra_skills(objects) if which == "full" else [])


# --- scenes and robots -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SceneItem:
    """A start of the blocks world, with the conditions that hold in it."""

    id: str
    n_blocks: int
    start: str
    seed: int
    facts: tuple[str, ...]

    @property
    def picture(self) -> bytes:
        """A JPEG."""
        return (FOLDER / "pictures" / f"{self.id}.jpg").read_bytes()


@dataclass(frozen=True)
class Robot:
    """The scripted teacher with this much noise, and how its skills went when they were tried."""

    name: str
    n_blocks: int
    noise: float
    tries: dict[str, str]
    """Caption -> outcomes, oldest first, '1' for a success."""

    def stats(self, which: Which) -> tuple[SkillStats, ...]:
        """Statistics of its skills that a question contains."""
        stats = []
        for skill in skills(self.n_blocks, which):
            tries = self.tries.get(skill.caption, "")
            recent = tuple(t == "1" for t in tries)
            stats.append(
                SkillStats(skill.caption, skill.success, len(tries), sum(recent), recent[-32:], skill.prerequisites)
            )
        return tuple(stats)


@dataclass(frozen=True)
class ProposeItem:
    """Which task next, for this robot in this scene?"""

    scene: SceneItem
    robot: Robot
    library: Which
    history: tuple[tuple[str, str, str], ...]
    """Tasks tried: text, goal, outcomes ('1' for a success)."""
    gaps: tuple[tuple[str, str], ...]
    """Tasks for which the library lacks a skill: text, goal."""

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        return tuple(Attempt(text, o == "1", 1) for text, _, outcomes in self.history for o in outcomes)


@dataclass(frozen=True)
class DecomposeItem:
    """How to reach this goal from this scene?"""

    scene: SceneItem
    robot: Robot
    library: Which
    kind: str
    task: str
    goal: str
    shown: bool
    """Whether the question gives the goal's expression; otherwise only its text."""
    reference: tuple[str, ...]
    """Captions with which the teacher reaches the goal."""


# --- retrieve ----------------------------------------------------------------------------------------------------

RETRIEVE_KINDS = ("exact", "paraphrase", "near miss", "none")


@dataclass(frozen=True)
class RetrieveItem:
    """Which of these skills is this step?"""

    kind: str
    n_blocks: int
    library: Which
    step: str
    captions: tuple[str, ...]
    """Any of these is right; none of them: no skill fits."""


# --- analyse -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CurveItem:
    """Has this training converged? The curve is the first third of a real one, or less of its episodes."""

    source: str
    """The run that it was recorded in."""
    curve: Curve
    now: Count
    """At the last point shown, over all episodes that were recorded there ..."""
    later: Count
    """... and at the points around three times its updates."""
    smooth: bool = False
    """The plot's line is a running mean of three points."""
    zoom: bool = False
    """The plot's y axis ends at the data instead of at 0 and 1."""

    @property
    def truth(self) -> Judgement:
        return truth(self.now, self.later)

    @property
    def difficulty(self) -> str:
        """By the episodes shown in all: fewer say less."""
        n = sum(self.curve.n)
        return "up to 40 episodes" if n <= 40 else "41 to 160 episodes" if n <= 160 else "over 160 episodes"


DIFFICULTIES = ("up to 40 episodes", "41 to 160 episodes", "over 160 episodes")


# --- all of them -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QuestionSet:
    """Every question, in the order of the files."""

    scenes: tuple[SceneItem, ...]
    robots: tuple[Robot, ...]
    propose: tuple[ProposeItem, ...]
    decompose: tuple[DecomposeItem, ...]
    retrieve: tuple[RetrieveItem, ...]
    analyse: tuple[CurveItem, ...]
    write: tuple[WriteItem, ...] = ()

    @cached_property
    def scene_of(self) -> dict[int, SceneItem]:
        """Number of blocks -> a scene for questions that are not about the scene."""
        return {s.n_blocks: s for s in reversed(self.scenes)}

    @cached_property
    def truth(self) -> dict[str, str | None]:
        """Key of a question to retrieve or to analyse -> the right caption (None: no skill fits) or judgement."""
        captions = {f"exam/retrieve/{i}": next(iter(q.captions), None) for i, q in enumerate(self.retrieve)}
        return captions | {f"exam/analyse/{i}": q.truth for i, q in enumerate(self.analyse)}

    def robot(self, name: str, n_blocks: int) -> Robot:
        """Raises LudusError where there is none."""
        found = [r for r in self.robots if (r.name, r.n_blocks) == (name, n_blocks)]
        if not found:
            raise LudusError(f"the question set has no robot {name!r} with {n_blocks} blocks")
        return found[0]


def load() -> QuestionSet:
    """The question set that ships with the project.

    Raises:
        LudusError: a file of it is missing.
    """
    data = _read("scenes")
    scenes = {s["id"]: SceneItem(**{**s, "facts": tuple(s["facts"])}) for s in data["scenes"]}
    robots = {(r["name"], r["n_blocks"]): Robot(**r) for r in data["robots"]}

    def where(row: dict[str, Any]) -> dict[str, Any]:
        scene = scenes[row["scene"]]
        return {**row, "scene": scene, "robot": robots[row["robot"], scene.n_blocks]}

    def tuples(rows: list[list[str]]) -> tuple[Any, ...]:
        return tuple(map(tuple, rows))

    return QuestionSet(
        tuple(scenes.values()),
        tuple(robots.values()),
        tuple(
            ProposeItem(**{**where(row), "history": tuples(row["history"]), "gaps": tuples(row["gaps"])})
            for row in data["propose"]
        ),
        tuple(DecomposeItem(**{**where(row), "reference": tuple(row["reference"])}) for row in data["decompose"]),
        tuple(_retrieve_item(i, *row) for i, row in enumerate(_read("retrieve"))),
        tuple(_curve_item(row) for row in _read("curves")["questions"]),
        write_items(),
    )


def _read(name: str) -> Any:
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        raise LudusError(f"{path} is missing; make it with: python benchmarks/exam_bank.py --help")
    return json.loads(path.read_text())


def _retrieve_item(i: int, kind: str, library: Which, step: str, captions: list[str]) -> RetrieveItem:
    """The file has `{x}`, `{y}`, `{z}` for the blocks; which they are goes round with the line."""
    n_blocks = 3 + i % 3
    orders = list(permutations(tuple(COLOURS)[:n_blocks], 3))
    blocks = dict(zip("xyz", orders[7 * i % len(orders)], strict=True))
    return RetrieveItem(kind, n_blocks, library, step.format(**blocks), tuple(c.format(**blocks) for c in captions))


def _curve_item(row: dict[str, Any]) -> CurveItem:
    curve = Curve(row["caption"], *(tuple(row[key]) for key in ("updates", "successes", "n")))
    return CurveItem(row["source"], curve, tuple(row["now"]), tuple(row["later"]), row["smooth"], row["zoom"])
