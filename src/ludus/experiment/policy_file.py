"""A trained policy with all that is needed to tell it what to do; and as one file, which needs no run directory.

The file is a checkpoint (`ludus.agents.checkpoint`) of the acting weights alone, with the keys `settings` (of the world),
`temperature`, `skills` and `counts` besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ludus.agents.checkpoint import write_checkpoint
from ludus.config import WorldConfig
from ludus.experiment import checkpoints
from ludus.experiment.library import recorded_skills
from ludus.lab.analysis import latest_counts
from ludus.record import Record
from ludus.record.location import BESIDE, way_to_world, world_at
from ludus.skills.library import Skill
from ludus.types import LudusError, SuccessCount
from ludus.worlds.registry import make_world

SHIPPED = Path(__file__).parents[1] / "shipped" / "blocks.pt"
"""Comes with the package: the policy of `ludus run --seed 0`, see docs/commands.md."""
KNOWN = ("base", "accepted")
"""Statuses of the skills that a policy is told to do."""


@dataclass(frozen=True)
class TrainedPolicy:
    """Which weights, in which world, with which skills."""

    checkpoint: Path
    world: WorldConfig
    temperature: float
    skills: tuple[Skill, ...]
    counts: tuple[SuccessCount, ...]
    """How well it does them, as it was measured last."""

    @classmethod
    def of(cls, path: Path) -> TrainedPolicy:
        """The best policy of a run directory, or that of a file.

        Raises:
            LudusError: neither is there, or it holds no policy.
        """
        if path.is_file():
            return cls._read(path)
        with Record.open(path, write=False) as record:
            return cls.of_record(record)

    @classmethod
    def of_record(cls, record: Record) -> TrainedPolicy:
        """The best policy of a run.

        Raises:
            LudusError: nothing was trained yet.
        """
        known = {row["caption"] for row in record.skills() if row["status"] in KNOWN}
        with closing(make_world(replace(record.config.world, n_envs=1), look=True)) as world:
            skills = tuple(s for s in recorded_skills(record, world.vocabulary) if s.caption in known)
        measured, curve = record.evaluations("after"), record.evaluations("curve")
        if not measured or (curve and curve[-1].update > measured[-1].update):  # the run went on
            measured = curve
        counts = latest_counts(measured)
        config = record.config
        temperature = config.training.evaluation_temperature
        counts = tuple(c for c in counts if c.caption in known)
        return cls(checkpoints.best(record), config.world, temperature, skills, counts)

    @classmethod
    def _read(cls, path: Path) -> TrainedPolicy:
        try:
            state = torch.load(path, weights_only=True, map_location="cpu", mmap=True)
            return cls(
                path,
                _world(state["settings"], path),
                state["temperature"],
                tuple(Skill(**row) for row in state["skills"]),
                tuple(SuccessCount(**row) for row in state["counts"]),
            )
        except Exception as error:  # whatever torch and its unpickler say of other people's files
            raise LudusError(
                f"{path} is no policy file ({type(error).__name__}); `ludus export --policy FILE` writes one"
            ) from error

    def write(self, path: Path) -> None:
        """As a file, which `of` reads again: about 1 MB at the default size."""
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu", mmap=True)
        kept = {name: state[name] for name in ("config", "world", "seed", "updates")}
        kept["acting"] = {name: weight.clone() for name, weight in state["acting"].items()}
        kept |= {
            "settings": asdict(self.world) | way_to_world(self.world, path.parent),
            "temperature": self.temperature,
        }
        kept |= {"skills": _rows(self.skills), "counts": _rows(self.counts)}
        write_checkpoint(path, kept)


def _world(settings: dict[str, Any], path: Path) -> WorldConfig:
    named = {name: value for name, value in settings.items() if name != BESIDE}
    return world_at(WorldConfig(**named), settings.get(BESIDE), path.parent)


def _rows(items: Sequence[Skill] | Sequence[SuccessCount]) -> list[dict]:
    return [asdict(item) for item in items]
