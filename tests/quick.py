"""Blocks' base skills at a quarter of their time, for runs of which nobody asks what the robots can do."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from ludus.skills.files import FiledSkill, as_toml
from ludus.skills.library import Skill
from ludus.worlds.blocks.scene import COLOURS
from ludus.worlds.blocks.skills import base_skills


def quick_skills(objects: Sequence[str]) -> list[Skill]:
    """In place of `base_skills`."""
    return [replace(skill, steps=skill.steps // 4) for skill in base_skills(objects)]


@cache
def quick_library(n_blocks: int) -> Path:
    """A file for `--library`, which other processes can read while this one lives."""
    folder = Path(tempfile.mkdtemp(prefix="ludus-quick-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    skills = quick_skills(tuple(COLOURS)[:n_blocks])
    path = folder / "quick.toml"
    path.write_text(
        as_toml(FiledSkill(s.caption, s.reward, s.success, s.steps, prerequisites=s.prerequisites) for s in skills)
    )
    return path
