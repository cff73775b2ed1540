"""Every world by name, with what it brings along. Add your own with a line in `WORLDS`, see docs/add-a-world.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.config import WorldConfig
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import Episode, LudusError, Observations, WorldSpec, unknown
from ludus.worlds.base import World


@dataclass(frozen=True)
class WorldKind:
    """What a world brings along."""

    make: Callable[[WorldConfig], World]
    teacher: Callable[[WorldSpec], Any]
    """Makes the scripted controller, anything with `begin(seeds, noise, random_mask)` and `act(observations, captions)`."""
    extra_skills: Callable[[Sequence[str]], Sequence[Skill]]
    """Skills about these objects, beyond the base library, that capability gaps may ask for."""
    play: Callable[[WorldConfig, SkillLibrary, Sequence[int], str, bool], Iterator[Episode]] | None = None
    """Episodes of a world that has its own way of making them: from a library, seeds and the start of their ids; the last
    argument asks for commands found in hindsight instead of those that they were made under."""
    goals: Callable[[WorldSpec, Observations], np.ndarray] | None = None
    """Of a world whose task is that all of its library's skills hold at once: `[E, n]`, the lowest is to be done first."""


def _blocks() -> WorldKind:
    from ludus.worlds.blocks.skills import extra_skills
    from ludus.worlds.blocks.teacher import Teacher
    from ludus.worlds.blocks.world import BlocksWorld

    return WorldKind(lambda c: BlocksWorld(c.n_blocks, c.n_envs, c.threads), Teacher, extra_skills)


def _ogbench() -> WorldKind:
    from ludus.worlds.ogbench.play import play
    from ludus.worlds.ogbench.skills import extra_skills, first_things_first
    from ludus.worlds.ogbench.world import CubesWorld

    def no_teacher(spec: WorldSpec) -> Any:
        raise LudusError("world ogbench has no teacher that acts on command; collect with --actor play")

    return WorldKind(
        lambda c: CubesWorld(c.variant, c.n_envs, c.threads),
        no_teacher,
        extra_skills,
        lambda c, library, seeds, name, hindsight: play(c.variant, library, seeds, name, hindsight, c.threads),
        first_things_first,
    )


WORLDS: dict[str, Callable[[], WorldKind]] = {"blocks": _blocks, "ogbench": _ogbench}
"""Name -> a function that imports the world and says what it brings along: only the world in use is imported."""


def world_kind(name: str) -> WorldKind:
    """The world called `name`.

    Raises:
        LudusError: unknown world.
    """
    if name not in WORLDS:
        raise unknown("world", name, tuple(WORLDS))
    return WORLDS[name]()


def make_world(config: WorldConfig | None = None) -> World:
    """The world that the settings name, by default three blocks; close it when you are done.

    Raises:
        LudusError: unknown world, settings out of range, or a package that is not installed.
    """
    config = config or WorldConfig()
    return world_kind(config.name).make(config)
