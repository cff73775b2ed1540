"""Is the experimenter's data worth it? `python benchmarks/results/curriculum.py`; the same command goes on where it stopped.

For each seed a weak start, trained a little on few and poor episodes; from its checkpoint and data six arms go on with equally
many rounds, episodes and updates. They differ only in who says what the robots do:

* experimenter: the built-in experimenter as in `ludus run`: its tasks, and the skills that it writes are practised.
* planner: the built-in experimenter's tasks only; no skill is written.
* sequences, progress, weakest: skills that fill an episode, drawn at random, by learning progress, or the weakest ones.
* none: no new episodes.

Then the latest policy of each arm tries every base skill from the same starts, and with `--new-updates` trains on with its own
arm's episodes, skills that the start does not know among the labels, and tries those. Output: `curriculum.json`, `curriculum.md`.

Needs about `--rounds` x `--updates` updates per arm: with the defaults 7 to 8 minutes per arm on one core (training.processes=1).
"""

from __future__ import annotations

import json
import math
import shutil
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from curriculum_table import write_tables
from rich.console import Console

from ludus.agents.policy import load_policy
from ludus.cli.common import terminal
from ludus.config import Config, override, preset
from ludus.experiment import checkpoints, loop, offline
from ludus.experiment.compose import Experiment, compose
from ludus.experiment.library import recorded_library
from ludus.experiment.opening import opened
from ludus.lab.embodiment import EvalSpec, run
from ludus.record import Record
from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.views import queries
from ludus.worlds.registry import make_world

ARMS = ("experimenter", "planner", "sequences", "progress", "weakest", "none")
"""Values of `experimenter.propose`, and the first and the last."""
GROWING = ("experimenter.propose=planner", "experiment.max_practising=1", "experiment.practice_ratio=0.75")
"""As in the default run."""
POOR = (
    "seed_data.min_noise=0.25",
    "seed_data.max_noise=0.6",
    "seed_data.clean_share=0",
    "training.early_stop=false",  # equally many updates
    "experiment.max_practising=0",
    "experiment.practice_ratio=0",
    "experiment.stop_after=0",  # equally many rounds
    "experiment.final_episodes=0",  # measured here instead
)
"""The default data and 2,500 updates leave nothing to learn: every base skill succeeds nearly always."""
GRID = queries.Grid(low=(0.30, -0.28), high=(0.68, 0.28), levels=(0.04, 0.08))
"""The gripper's workspace (`ludus.worlds.blocks.control`); a block 4 cm high stands on the table, on a block, or is higher."""


@dataclass(frozen=True)
class Curriculum:
    """The planner's curriculum against other ways to choose what the robots do, and against no new data."""

    overrides: tyro.conf.Positional[tuple[str, ...]] = ()
    """More settings of every run, e.g. training.processes=1."""
    out: Path = Path("runs/results/curriculum")
    """Where runs, measurements and tables are kept."""
    seeds: tuple[int, ...] = (0, 1, 2)
    arms: tuple[str, ...] = ARMS
    seed_episodes: int = 384
    """Of the noisy teacher."""
    seed_updates: int = 1200
    """Updates on them."""
    rounds: int = 3
    episodes: int = 128
    """Per round."""
    plans: int = 16
    """Scenes that are planned for per round."""
    updates: int = 1000
    """Per round."""
    curve_episodes: int = 4
    """Per skill and round: what the proposers know of each skill."""
    n: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 96
    """Episodes per template of the last measurement, at least."""
    new: tuple[str, ...] = ("put _ beside _",)
    """Skills that no arm but the experimenter's is told in its rounds."""
    new_updates: int = 0
    """Updates on each arm's episodes with these skills among the labels; 0: not tried."""

    def __call__(self) -> None:
        for seed in self.seeds:
            base = self.out / f"seed{seed}" / "start"
            config = self._config(seed)
            if not base.with_suffix(".json").exists():
                with opened(base, config, command=f"curriculum, seed {seed}") as record:
                    _carry_out(record, config, lambda experiment: loop.start(experiment))
                self._measure(base, seed)
            for arm in self.arms:
                self._arm(base, arm, seed)
            write_tables(self.out)
        print((self.out / "curriculum.md").read_text())

    def _config(self, seed: int) -> Config:
        sizes = (
            f"seed_data.episodes={self.seed_episodes}",
            f"training.updates={self.seed_updates}",
            f"training.round_updates={self.updates}",
            f"training.evaluate_every={max(self.updates, self.seed_updates)}",
            f"training.evaluation_episodes={self.curve_episodes}",
            f"experiment.rounds={self.rounds}",
            f"experiment.episodes_per_round={self.episodes}",
            f"experiment.plans_per_round={self.plans}",
        )
        return override(preset("cpu"), (*POOR, *sizes, *self.overrides, f"seed={seed}"))

    def _arm(self, base: Path, arm: str, seed: int) -> None:
        directory = base.with_name(arm)
        if not directory.exists():
            # a copy that was cut short has another name
            unfinished = base.with_name(f"{arm}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            shutil.copytree(base, unfinished)
            unfinished.rename(directory)
        with Record.open(directory) as record:
            who = {"none": (), "experimenter": GROWING}.get(arm, (f"experimenter.propose={arm}",))
            changed = [*self.overrides, *who]
            _carry_out(record, override(record.config, changed), train_only if arm == "none" else loop.run)
        self._measure(directory, seed)
        if self.new_updates:
            self._learn_new(directory, seed)

    def _learn_new(self, arm: Path, seed: int) -> None:
        """Training on the arm's own episodes, with further skills among the labels."""
        directory = arm.with_name(f"{arm.name}-new")
        config = override(
            self._config(seed), [f"training.updates={self.new_updates}", f"training.evaluate_every={self.new_updates}"]
        )
        spec = offline.OfflineSpec((str(arm),), skills=self.new, init=str(arm)).resolved()
        with opened(directory, config, command=f"curriculum, seed {seed}", steps=spec.step(directory)) as record:
            offline.check_same(record, spec)
            with terminal(Console(), "the same command") as shown:
                offline.train(record, config, shown.person, shown.show)
        self._measure(directory, seed, self.new)

    def _measure(self, directory: Path, seed: int, only: tuple[str, ...] = ("base",)) -> None:
        """Writes `<directory>.json`, unless it is there for as many episodes."""
        path = directory.with_suffix(".json")
        if path.exists() and json.loads(path.read_text())["n"] == self.n:
            return
        with Record.open(directory, write=False) as record, closing(make_world(record.config.world)) as world:
            library = recorded_library(record, world)
            policy = load_policy(checkpoints.latest(record), world.spec, record.config.training.evaluation_temperature)
            successes: dict[str, list[bool]] = {}
            for template, captions in _templates(library, only).items():
                each = math.ceil(self.n / len(captions))
                trials = EvalSpec(captions, each, child(seed, "curriculum", "measure"))
                _, outcomes = run(world, library, trials.rollouts, policy, "measure")
                successes[template] = [o.success_at_end for o in outcomes]
            found = {"seed": seed, "arm": directory.name, "n": self.n, "successes": successes}
            found |= {"settings": self._settings(), "data": self._data(record, library)}
        part = path.with_suffix(".part")
        part.write_text(json.dumps(found))
        part.replace(path)

    def _settings(self) -> dict[str, Any]:
        kept = ("overrides", "seed_episodes", "seed_updates", "rounds", "episodes", "plans", "updates", "new_updates")
        return {name: getattr(self, name) for name in kept}

    def _data(self, record: Record, library: SkillLibrary) -> dict[str, Any]:
        """What the rounds collected, and what all of its episodes are; what time that took."""
        new = asdict(queries.diversity(record, library, GRID, "round/", self.rounds * self.episodes))
        every = asdict(queries.diversity(record, library, GRID, "", self.seed_episodes))
        seconds = sum(s.seconds for s in record.steps() if s.name.startswith("round/"))
        return {"new": new, "all": every, "seconds": seconds}


def train_only(experiment: Experiment) -> None:
    """The rounds of `loop.run` without planning and acting: as many updates, on the seed data."""
    stages, library = loop.start(experiment)
    for n in range(1, experiment.config.experiment.rounds + 1):
        stages.learning.train(f"round/{n}", n, experiment.config.training.round_updates, library)
        stages.settling.settle(n, library)
    stages.learning.measure("after", library)


def _carry_out(record: Record, config: Config, what: Any) -> None:
    with (
        terminal(Console(), "the same command") as shown,
        compose(record, config, shown.person, shown.show) as experiment,
    ):
        what(experiment)


def _templates(library: SkillLibrary, only: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Template -> its captions, of the skills that `only` names."""
    found: dict[str, tuple[str, ...]] = {}
    for caption in library.matching(only):
        template = library.template(caption)
        found[template] = (*found.get(template, ()), caption)
    return found


if __name__ == "__main__":
    tyro.cli(Curriculum)()
