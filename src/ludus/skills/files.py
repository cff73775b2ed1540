"""Library files: skills as TOML, which a run may start from in place of its world's base skills.

[[skill]]
caption = "lift red"
reward = "staged(reach_grasp(red), lift(red))"
success = "lifted(red)"
steps = 80                     # 80 if left out
base = true                    # whether it is one of the base skills; true if left out
author = "base"                # the others may be left out
parents = ["grasp red"]
prerequisites = "held(red)"
status = "base"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ludus.record import files
from ludus.record.tables import SKILL_STATUSES
from ludus.skills.expression import condition, parse
from ludus.skills.library import Skill, SkillLibrary
from ludus.skills.vocabulary import Vocabulary
from ludus.types import LudusError, unknown

HEADER = "# Skills for `ludus run --library FILE`; the format: docs/add-a-skill.md\n"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


@dataclass(frozen=True)
class FiledSkill:
    """A skill with where it comes from, as a library file keeps it."""

    caption: str
    reward: str
    success: str
    steps: int = Skill.steps
    base: bool = True
    author: str = ""
    """Empty: 'base' or 'extra', as `base` says."""
    parents: tuple[str, ...] = ()
    prerequisites: str = ""
    """A condition that should hold before the skill begins; empty for none."""
    status: str = ""
    """One of `ludus.record.tables.SKILL_STATUSES`. Empty: 'base' or 'accepted', as `base` says."""

    @property
    def skill(self) -> Skill:
        return Skill(self.caption, self.reward, self.success, self.steps, self.base, self.prerequisites)


_KEYS = {f.name: f for f in fields(FiledSkill)}
_REQUIRED = ("caption", "reward", "success")
_TYPES: Mapping[str, type] = {"steps": int, "base": bool, "parents": list}


# --- writing -----------------------------------------------------------------------------------------------------


def as_toml(skills: Iterable[FiledSkill]) -> str:
    """The text of a library file; `from_toml` reads equal skills from it.

    Raises:
        LudusError: a text that is no valid Unicode.
    """
    return "".join([HEADER, *(_table(s) for s in skills)])


def _table(filed: FiledSkill) -> str:
    empty = {name for name in ("author", "parents", "prerequisites", "status") if not getattr(filed, name)}
    lines = [f"{name} = {_value(getattr(filed, name))}\n" for name in _KEYS if name not in empty]
    return "".join(["\n[[skill]]\n", *lines])


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if any(0xD800 <= ord(c) < 0xE000 for c in value):
        raise LudusError(f"{value!r} is no valid Unicode and cannot be written to a library file; rename it")
    return f'"{"".join(map(_character, value))}"'


def _character(c: str) -> str:
    if c in _ESCAPES or c.isprintable():
        return _ESCAPES.get(c, c)
    # by its number: TOML forbids control characters, and others hide or reorder the text around them
    return f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}"


# --- reading -----------------------------------------------------------------------------------------------------


def read_skills(path: Path) -> tuple[FiledSkill, ...]:
    """The skills of a library file. Their expressions are not checked, see `check`.

    Raises:
        LudusError: no such file, not TOML, a key that is unknown or missing, a value of another type, a caption twice.
    """
    found = files.read_toml(path, "library file")
    try:
        return _skills(found)
    except LudusError as error:
        raise LudusError(f"library file {path}: {error}") from None


def from_toml(text: str) -> tuple[FiledSkill, ...]:
    """As `read_skills`, of a text."""
    return _skills(files.parse_toml(text))


def _skills(found: Mapping[str, Any]) -> tuple[FiledSkill, ...]:
    for key in found:
        if key != "skill":
            raise unknown("key", key, ("skill",))
    entries = found.get("skill", [])
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise LudusError("'skill' is no list of tables; begin each skill with a line [[skill]]")
    if not entries:
        raise LudusError("no skill in it; begin each skill with a line [[skill]]")
    skills = tuple(_read(f"skill {i}", e) for i, e in enumerate(entries, 1))
    captions = [s.caption for s in skills]
    for caption in captions:
        if captions.count(caption) > 1:
            raise LudusError(f"skill {caption!r} is in it twice; give one another caption")
    return skills


def _read(name: str, entry: Mapping[str, Any]) -> FiledSkill:
    if isinstance(entry.get("caption"), str):
        name = f"skill {entry['caption']!r}"
    for key, value in entry.items():
        if key not in _KEYS:
            raise LudusError(f"{name}: {unknown('key', key, tuple(_KEYS))}")
        wanted = _TYPES.get(key, str)
        if type(value) is not wanted or (wanted is list and not all(isinstance(v, str) for v in value)):
            called = {str: "a text", int: "a whole number", bool: "true or false", list: "a list of texts"}[wanted]
            raise LudusError(f"{name}: {key} = {value!r} is not {called}")
    for key in _REQUIRED:
        if key not in entry:
            raise LudusError(f"{name}: {key!r} is missing; needed are {', '.join(_REQUIRED)}")
    if (status := entry.get("status", "")) and status not in SKILL_STATUSES:
        raise LudusError(f"{name}: {unknown('status', status, SKILL_STATUSES)}")
    return FiledSkill(**{**entry, "parents": tuple(entry.get("parents", ()))})


def check(skills: Sequence[FiledSkill], vocabulary: Vocabulary) -> SkillLibrary:
    """The library of these skills in a world.

    Raises:
        LudusError: an expression outside the world's language, or a success or a prerequisite that is no condition.
    """
    library = SkillLibrary(vocabulary, [s.skill for s in skills])
    for filed in skills:
        if not filed.prerequisites or condition(filed.prerequisites, vocabulary) is not None:
            continue
        try:
            parse(filed.prerequisites, vocabulary)
        except LudusError as error:
            raise LudusError(f"skill {filed.caption!r}: prerequisites: {error}") from None
        raise LudusError(f"skill {filed.caption!r}: prerequisites {filed.prerequisites!r} is a number; compare it")
    return library
