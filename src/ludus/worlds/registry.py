"""Every world by name, with what it brings along: those that come with ludus, those in a Python file, and those of installed
packages. See docs/add-a-world.md."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ludus.config import Config, NoOptions, WorldConfig, read_options
from ludus.skills.library import Skill, SkillLibrary
from ludus.types import Episode, LudusError, Observations, WorldSpec, unknown
from ludus.worlds import files
from ludus.worlds.base import World
from ludus.worlds.guard import Boundary, GuardedTeacher, GuardedWorld

ENTRY_POINTS = "ludus.worlds"
"""Group of the entry points by which installed packages offer their worlds."""
logger = logging.getLogger("ludus")


def _no_skills(objects: Sequence[str]) -> Sequence[Skill]:
    return ()


@dataclass(frozen=True)
class WorldKind:
    """What a world brings along."""

    make: Callable[[WorldConfig], World]
    teacher: Callable[[WorldSpec], Any] | None = None
    """Makes the scripted controller, anything with `begin(seeds, noise, random_mask)` and `act(observations, captions)`. One
    that does not obey every caption also has `obeys(caption) -> bool`."""
    extra_skills: Callable[[Sequence[str]], Sequence[Skill]] = _no_skills
    """Skills about these objects, beyond the world's library, that `--skills` may ask for."""
    play: Callable[[WorldConfig, SkillLibrary, Sequence[int], str, bool], Iterator[Episode]] | None = None
    """Episodes of a world that has its own way of making them: from a library, seeds and the start of their ids; the last
    argument asks for commands found in hindsight instead of those that they were made under."""
    goals: Callable[[WorldSpec, Observations], np.ndarray] | None = None
    """Of a world whose task is that all of its library's skills hold at once: `[E, n]`, the lowest is to be done first."""
    options: type = NoOptions
    """Frozen dataclass of the world's own settings, `world.options.*`; `make` gets it by `read_options(Options, config)`."""
    requirements: tuple[str, ...] = ()
    """Packages that `make` and `teacher` need and that may not fit beside ludus, 'metaworld==3.1.1'. The two are then called
    in an interpreter that has them: `ludus worlds install` makes it (docs/add-a-world.md)."""
    python: str = ""
    """That interpreter, where there is one already: a path. It needs NumPy and pydantic."""
    timeout_s: float = 60
    """Of a call to that interpreter; ten times as much to make or reset the world."""
    recorded: Callable[[WorldSpec, Any, Mapping[str, np.ndarray]], tuple[Observations, np.ndarray, bool]] | None = None
    """Reads episodes of other projects' datasets, see `ludus.worlds.from_gym.recorded`."""

    def make_teacher(self, spec: WorldSpec) -> Any:
        """Its teacher, for worlds that show this.

        Raises:
            LudusError: it has none.
        """
        if self.teacher is None:
            others = "--actor play or --actor random" if self.play else "--actor random"
            raise LudusError(
                f"world {spec.name!r} has no teacher; collect with {others}, or let a run begin with "
                f"seed_data.actor={'play' if self.play else 'random'}"
            )
        return self.teacher(spec)


def _blocks() -> WorldKind:
    from ludus.worlds.blocks.skills import extra_skills
    from ludus.worlds.blocks.teacher import Teacher
    from ludus.worlds.blocks.world import BlocksWorld

    return WorldKind(lambda c: BlocksWorld(c.n_blocks, c.n_envs, c.threads), Teacher, extra_skills)


def _ogbench() -> WorldKind:
    from ludus.worlds.ogbench.play import play
    from ludus.worlds.ogbench.skills import extra_skills, first_things_first
    from ludus.worlds.ogbench.world import CubesWorld

    return WorldKind(
        lambda c: CubesWorld(c.variant, c.n_envs, c.threads),
        extra_skills=extra_skills,
        play=lambda c, library, seeds, name, hindsight: play(c.variant, library, seeds, name, hindsight, c.threads),
        goals=first_things_first,
    )


WORLDS: dict[str, Callable[[], WorldKind]] = {"blocks": _blocks, "ogbench": _ogbench}
"""Name -> a function that imports the world and says what it brings along: only the world in use is imported."""


def world_kind(world: WorldConfig, *, look: bool = False) -> WorldKind:
    """The world that the settings name.

    Args:
        look: nothing is made that another version of the world would mix with: only warn where it is not `world.version`.

    Raises:
        LudusError: unknown world; a file or package that cannot be loaded, or holds no `WorldKind` of this name; another version
            than `world.version`; an option that the world does not have.
    """
    kind, version = kind_and_version(world)
    if world.version not in ("", version):
        if not look:
            raise changed(world, version)
        was = "world %r is of version %s now, this was begun with %s; going on with the new one"
        logger.warning(was, world.name, version or "none", world.version)
    read_options(kind.options, world)
    if world.name in WORLDS:
        return kind
    file = str(world.file) if world.file else getattr(getattr(kind.make, "__code__", None), "co_filename", world.name)
    return _guarded(_elsewhere(kind, world) if kind.python or kind.requirements else kind, file)


def bound(config: Config) -> Config:
    """The configuration with the version of its world, to which a run is bound that begins with it. See `world_kind`."""
    if config.world.name in WORLDS:
        return config
    world_kind(config.world)
    return replace(config, world=replace(config.world, version=kind_and_version(config.world)[1]))


def changed(world: WorldConfig, version: str) -> LudusError:
    """The error for a world that is of another version than its settings say."""
    if not version:
        return LudusError(
            f"world {world.name!r} comes with ludus and has no world.version={world.version}; leave it out"
        )
    return LudusError(
        f"world {world.name!r} is of version {version} now, this was begun with {world.version}; put the old one back, begin "
        f"anew, or go on with the new one by world.version={version}"
    )


def make_world(config: WorldConfig | None = None, *, look: bool = False) -> World:
    """The world that the settings name, by default three blocks; close it when you are done.

    Args:
        look: see `world_kind`.

    Raises:
        LudusError: as `world_kind`; settings out of range, or a package that is not installed.
    """
    config = config or WorldConfig()
    return world_kind(config, look=look).make(config)


def names() -> tuple[str, ...]:
    """Of the worlds that need no file."""
    return (*WORLDS, *sorted(metadata.entry_points(group=ENTRY_POINTS).names))


def kind_and_version(world: WorldConfig) -> tuple[WorldKind, str]:
    """The world as it says of itself, and its version, empty for one that comes with ludus."""
    if world.name in WORLDS:
        return WORLDS[world.name](), ""
    return _packaged(world.name) if world.file is None else _filed(world.file, world.kind)


# --- inside --------------------------------------------------------------------------------------------------------


def _elsewhere(kind: WorldKind, world: WorldConfig) -> WorldKind:
    """The same, made in an interpreter of its own."""
    from ludus.worlds import served, venvs

    def python() -> str:
        return venvs.interpreter(kind.requirements, kind.python, world.name)

    return replace(
        kind,
        make=lambda config: served.ServedWorld(config, python(), kind.timeout_s),
        teacher=kind.teacher and (lambda spec: served.ServedTeacher(world, spec, python(), kind.timeout_s)),
    )


def _filed(file: Path, name: str) -> tuple[WorldKind, str]:
    module, checksum = files.load(file)
    found = vars(module).get(name)
    if isinstance(found, WorldKind):
        return found, checksum
    if found is not None:
        raise LudusError(
            f"{name!r} in {file} is a {type(found).__name__}, not a WorldKind; give world.name={file}:NAME of one"
        )
    known = [n for n, value in vars(module).items() if isinstance(value, WorldKind)]
    if not known:
        raise LudusError(f"{file} has no WorldKind {name!r}; add one, as docs/add-a-world.md shows")
    raise unknown(f"WorldKind in {file}, given as {file}:NAME:", name, known)


def _packaged(name: str) -> tuple[WorldKind, str]:
    offers = metadata.entry_points(group=ENTRY_POINTS)
    points = {point.dist.name: point for point in offers.select(name=name) if point.dist is not None}
    if not points:
        error = unknown("world", name, (*WORLDS, *offers.names))
        own = "; a world of your own is given as FILE.py:NAME" if set(name) & set("/.:") else ""
        raise LudusError(f"{error}{own}")
    if len(points) > 1:
        raise LudusError(f"world {name!r} is offered by {' and '.join(sorted(points))}; uninstall all but one")
    ((package, point),) = points.items()
    try:
        found = point.load()
    except (Exception, SystemExit) as error:
        raise LudusError(
            f"world {name!r} of the package {package} cannot be loaded: {files.reason(error)}; mend or reinstall that"
        ) from error
    if not isinstance(found, WorldKind):
        raise LudusError(
            f"world {name!r} of the package {package} ({point.value}) is a {type(found).__name__}, not a WorldKind; mend that"
        )
    return found, f"{package}=={metadata.version(package)}"


def _guarded(kind: WorldKind, file: str) -> WorldKind:
    """The same world, of which nothing is raised but `LudusError`, see `ludus.worlds.guard`."""
    border, play = Boundary(file), kind.play

    def make(config: WorldConfig) -> World:
        return border.call("make", lambda: GuardedWorld(kind.make(config), border))

    def make_teacher(spec: WorldSpec) -> GuardedTeacher:
        return border.call("teacher", lambda: GuardedTeacher(kind.make_teacher(spec), spec, border))

    return replace(
        kind,
        make=make,
        teacher=kind.teacher and make_teacher,
        extra_skills=border.wrap("extra_skills", kind.extra_skills),
        play=play and (lambda *args: border.each("play", play, *args)),
        goals=border.wrap("goals", kind.goals),
    )
