"""What `import ludus` offers as functions: make a world, run an experiment, evaluate and load what it learned. Each is a thin
wrapper; heavy imports happen when it is called."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ludus.config import Config, WorldConfig, override
from ludus.config import preset as named
from ludus.types import LudusError

if TYPE_CHECKING:
    from ludus.agents.policy import Policy
    from ludus.experiment.evaluation import EvalResult
    from ludus.experiment.instruction import Done
    from ludus.worlds.base import World

logger = logging.getLogger("ludus")


def make_world(name: str = "blocks", **settings: Any) -> World:
    """A batch of simulations of the world called `name`.

    Args:
        settings: of `WorldConfig`, e.g. `n_envs=4, n_blocks=2`; its defaults for the others.

    Raises:
        LudusError: unknown world, or a setting outside of its limits.
    """
    from ludus.worlds.registry import make_world

    return make_world(WorldConfig(name=name, **settings))


def do(
    words: str,
    policy: str | Path | None = None,
    film: str | Path | None = None,
    seed: int = 0,
    n_blocks: int | None = None,
) -> Done:
    """Have a simulated robot do what the words say, in a scene drawn by the seed: `do("put red on green").success`.

    Args:
        policy: a run directory or a policy file (`ludus export --policy FILE`); the one that comes with ludus if None.
        film: where to write a GIF of it.
        n_blocks: another number of objects than the policy was trained with.

    Raises:
        LudusError: words that ask for something which no skill does; no policy there; no OpenGL, where a film is wanted.
    """
    from ludus.experiment.instruction import Robot
    from ludus.experiment.policy_file import SHIPPED, TrainedPolicy
    from ludus.views.figures import episode_film

    with Robot(TrainedPolicy.of(SHIPPED if policy is None else Path(policy)), n_blocks) as robot:
        done = robot.carry_out(robot.plan(words, seed), seed)
        if film is not None:
            Path(film).write_bytes(episode_film(done.episode, robot.world))
    return done


def run(
    directory: str | Path,
    preset: str = "cpu",
    overrides: Iterable[str] = (),
    seed: int = 0,
    library: str | Path | None = None,
    record: str | Path | None = None,
) -> Path:
    """Carry out an experiment in `directory`, or continue the one that stands there; the same call goes on where it was
    interrupted. Returns the directory, for `evaluate`, `load_policy` and `Record.open`.

    Args:
        preset: where the configuration starts from, e.g. 'cpu', 'tiny' or 'tiny,bc'.
        overrides: settings to change, e.g. ['experiment.rounds=5', 'world.n_blocks=4'].
        seed: the only source of randomness.
        library: a library file, whose skills the run begins with in place of the world's base skills.
        record: the database of its rows, see `Record.create`; one of its own in the directory if None.

    Raises:
        LudusError: a wrong setting or library file, or a run with other settings or skills in `directory`.
    """
    from ludus.experiment import loop
    from ludus.experiment.collection import is_collection
    from ludus.experiment.compose import check, compose
    from ludus.experiment.library import check_library, library_step
    from ludus.experiment.offline import is_training
    from ludus.experiment.opening import opened
    from ludus.skills.files import read_skills
    from ludus.views import queries, text
    from ludus.views.report import write_report

    config = override(named(preset), [*overrides, f"seed={seed}"])
    check(config, reach=True)  # an unknown world or model makes no directory
    skills = None if library is None else read_skills(Path(library))
    with opened(Path(directory), config, record, command="ludus.run", steps=library_step(skills)) as begun:
        if is_collection(begun) or is_training(begun):
            raise LudusError(f"{directory} holds a run of another kind; choose another directory")
        check_library(begun, skills)
        with compose(begun, config) as experiment:
            logger.info("run in %s: preset %s, seed %d", directory, preset, seed)
            grown = loop.run(experiment)
            report = write_report(begun, experiment.world, grown)
            said = text.first_line(queries.conclusion(begun))
            logger.info("run in %s: %s Report: %s", directory, said, report)
    return Path(directory)


def evaluate(
    directory: str | Path,
    skills: Sequence[str] = (),
    episodes: int = 100,
    starts: Sequence[str] = (),
    temperatures: Sequence[float] = (),
    overrides: Iterable[str] = (),
    seed: int = 1,
) -> list[EvalResult]:
    """Success of the best policy of the run in `directory`: one result per start and temperature, in each a
    `SuccessCount` per skill. Nothing is stored.

    Args:
        skills: captions or templates such as 'stack _ on _'; all of the run's skills if empty.
        episodes: per skill, start and temperature.
        starts: start distributions; if empty, where the world has each skill begin.
        temperatures: of the policy; the run's `training.evaluation_temperature` if empty.
        overrides: settings of the world to evaluate in, e.g. ['world.n_blocks=5'].
        seed: of the starts.

    Raises:
        LudusError: no run or no trained policy there; unknown skill or start; fewer than one episode.
    """
    from ludus.experiment.evaluation import EvalRequest
    from ludus.experiment.evaluation import evaluate as carry_out
    from ludus.record.record import Record

    with Record.open(directory, write=False) as record:
        request = EvalRequest(tuple(skills), episodes, tuple(starts), tuple(temperatures), seed)
        return carry_out(record, override(record.config, overrides), request)


def load_policy(directory: str | Path, temperature: float = 0.0, overrides: Iterable[str] = ()) -> Policy:
    """The best policy of the run in `directory`, or that of a policy file: `policy.act(observations, captions)` gives `[E, A]`
    actions in [-1, 1] for observations of E simulations (group -> `[E, size]`) and E captions. Call `policy.begin` before
    each episode if `temperature` is not 0.

    Args:
        temperature: 0 takes the likeliest action, 1 samples from the policy.
        overrides: settings of the world it is to act in, if not the run's own, e.g. ['world.n_blocks=5'].

    Raises:
        LudusError: no run or no trained policy there.
    """
    from ludus.agents.policy import load_policy
    from ludus.experiment.policy_file import TrainedPolicy
    from ludus.worlds.registry import make_world

    trained = TrainedPolicy.of(Path(directory))
    config = override(Config(world=trained.world), [*overrides, "world.n_envs=1"])
    world = make_world(config.world, look=True)
    try:
        return load_policy(trained.checkpoint, world.spec, temperature)
    finally:
        world.close()
