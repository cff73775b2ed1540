"""`ludus import`: episodes of another project's dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from ludus.cli.common import Keeps, Overrides, command_line, terminal
from ludus.views import display


@dataclass(frozen=True)
class Import(Keeps):
    """Import a dataset of Minari or LeRobot, or NumPy's .npz files, into a run that `ludus train --data` learns from, checked as
    the world's own episodes are (docs/data.md)."""

    dir: tyro.conf.Positional[Path]
    """Where the episodes are kept."""
    format: tyro.conf.Positional[str]
    """minari, npz or lerobot."""
    sources: tyro.conf.Positional[tuple[str, ...]]
    """The id of a dataset of Minari on this machine, or its folder; .npz files; the folder of a LeRobot dataset. And settings,
    of which world.name=... says whose episodes they are to be."""
    mapping: Path | None = None
    """A file that says which columns are which fields of the world; by default what the dataset and the world say."""
    caption: str | None = None
    """What the robot was told in every episode, in place of what the dataset says."""
    name: str | None = None
    """Names this import; the format if not given. The same command goes on where it stopped, another name imports further
    episodes."""
    library: Path | None = None
    """A library file: its skills in place of the world's base skills."""
    preset: str = "cpu"
    """Where the configuration starts from."""
    overrides: Overrides = ()
    """Settings to change, e.g. world.name=my_world.py:plane world.options.speed=0.2."""

    def __call__(self) -> None:
        from ludus import config as configs
        from ludus.experiment.importing import ImportSpec, import_episodes
        from ludus.experiment.library import check_library, library_step
        from ludus.experiment.opening import opened
        from ludus.skills.files import read_skills
        from ludus.views.terminal import success_table

        config = configs.override(configs.preset(self.preset), self.overrides)
        name = self.name or self.format
        skills = None if self.library is None else read_skills(self.library)
        spec = ImportSpec(self.format, self.sources, name, self.mapping, self.caption)
        free = {"seed_data", "experiment", "seed", "training"}
        with opened(self.dir, config, self.record, free, command_line(), library_step(skills)) as record:
            check_library(record, skills)
            console = display.console()
            with terminal(console, "the same command") as shown:
                counts = import_episodes(record, config, spec, shown.show)
            console.print(success_table(f"{self.dir}, {name}: what the data itself does", counts))
