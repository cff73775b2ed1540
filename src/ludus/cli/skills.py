"""`ludus skills`: the skills of a run, the passport of one, and library files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from json import dumps
from pathlib import Path
from typing import Any, ClassVar

import tyro
from rich.console import Console

from ludus.cli.common import Finds, check_writable, opened_run, writing
from ludus.types import LudusError
from ludus.views import display


@dataclass(frozen=True)
class Skills(Finds):
    """Say how well a run's skills do and where they come from, or all that is known of one of them."""

    shows: ClassVar = True
    dir: tyro.conf.Positional[Path | None] = None
    """The run directory; the latest under runs/ if not given."""
    skill: tyro.conf.Positional[str | None] = None
    """A caption, or a template such as 'stack X on Y' or 'stack _ on _': show its passport."""
    json: bool = False
    """Print JSON: a row per skill (caption, author, status, success, n, successes, low, high, round, ...), or the passport."""
    export: Path | None = None
    """Write a library file of the base and accepted skills, for `ludus run --library FILE`."""
    all: bool = False
    """With --export: every skill, whatever its status."""

    def __call__(self) -> None:
        from ludus.experiment.library import recorded_library
        from ludus.worlds.registry import make_world

        if self.all and self.export is None:
            raise LudusError("--all goes with --export FILE, and says that skills of every status are written")
        if self.export is not None and (self.skill is not None or self.json):
            raise LudusError("--export writes all skills to a file; leave out SKILL and --json")
        with opened_run(self.dir, self.record) as record:
            world = make_world(record.config.world, look=True)
            try:
                self._show(record, recorded_library(record, world))
            finally:
                world.close()

    def _show(self, record: Any, library: Any) -> None:
        from ludus.data.store import EpisodeStore
        from ludus.views import passports, queries

        console = display.console()
        if self.export is not None:
            self._export(record, library, console)
        elif self.skill is not None:
            found = queries.passport(record, library, self.skill)
            failed = queries.failures(EpisodeStore(record), library, found.captions)
            if self.json:
                print(dumps({"passport": asdict(found), "failures": failed and asdict(failed)}, indent=1))
            else:
                passports.print_passport(found, failed, console)
        elif self.json:
            print(dumps([passports.as_json(row) for row in queries.skill_rows(record, library)], indent=1))
        else:
            passports.print_skills(queries.family_rows(record, library), console)

    def _export(self, record: Any, library: Any, console: Console) -> None:
        from ludus.record.files import typed
        from ludus.skills.files import as_toml
        from ludus.views.queries import filed

        assert self.export is not None
        skills = filed(record, library, self.all)
        if not skills:
            raise LudusError(f"{record.directory} has no base or accepted skill; --all also writes the others")
        check_writable(self.export)
        with writing(self.export):
            self.export.write_text(as_toml(skills), encoding="utf-8")
        console.print(f"{len(skills)} skills; start from them with: ludus run --library {typed(self.export)}")
