"""Episodes that say in every number where they are from, and skills whose rewards are those numbers.

Group 'counter' holds the episode's number and the control step; every action holds them too. Object 'a' is marked at
steps that a test chooses, and so is 'b'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.predicates import Vocabulary, predicate
from ludus.types import Episode, Field, Group, Observations, ObservationSpec, Segment

SPEC = ObservationSpec(
    (
        Group("counter", "effector", (Field("episode", 1, "1", "its number"), Field("step", 1, "1", "0, 1, ..."))),
        Group("a", "object", (Field("mark", 1, "1", "1 if marked"),)),
        Group("b", "object", (Field("mark", 1, "1", "1 if marked"),)),
    )
)


@predicate("real")
def step(spec: ObservationSpec, o: Observations) -> np.ndarray:
    """The control step."""
    return spec.get(o, "counter", "step")[..., 0]


@predicate("bool")
def marked(spec: ObservationSpec, o: Observations, x: str) -> np.ndarray:
    """X is marked."""
    return spec.get(o, x, "mark")[..., 0] > 0.5


VOCABULARY = Vocabulary(SPEC, ("a", "b"), (step, marked))
COUNT = Skill("count", "step() / 1000", "step() < 0")  # dense reward only
MARK_A = Skill("mark a", "0", "marked(a)")  # sparse reward only
MARK_B = Skill("mark b", "0", "marked(b)")
LIBRARY = SkillLibrary(VOCABULARY, [COUNT, MARK_A, MARK_B])


def episode(
    number: int,
    n_steps: int,
    switches: Sequence[int] = (),
    captions: Sequence[str] = ("count", "mark a"),
    a: Sequence[int] = (),
    b: Sequence[int] = (),
    world: str = "counting",
    resets: Sequence[int] = (),
    ended: Literal["time", "terminal"] = "time",
) -> Episode:
    """Episode `number`; commands take turns at `switches`, of which some are `resets`; 'a' and 'b' are marked at these
    observations."""
    steps = np.arange(n_steps + 1, dtype=np.float32)
    counter = np.stack([np.full_like(steps, number), steps], axis=1)
    marks = [np.isin(steps, list(where)).astype(np.float32)[:, None] for where in (a, b)]
    starts = sorted({0, *switches})
    segments = [(s, captions[i % len(captions)]) for i, s in enumerate(starts)]
    return Episode(
        id=f"e{number}",
        observations={"counter": counter, "a": marks[0], "b": marks[1]},
        actions=np.concatenate([counter[:-1], np.zeros((n_steps, 1), np.float32)], axis=1),
        segments=tuple(Segment(s, c, LIBRARY[c].hash, s in resets) for s, c in segments),
        actor="counter",
        world=world,
        seed=2**62 + number,
        start="there",
        snapshot=np.array([number, 0.5]),
        ended=ended,
        info={"noise": 0.25, "plan": None},
    )
