"""Changing leaves of the configuration by text, and its form as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, get_type_hints

from ludus.config.limits import Section, said
from ludus.config.sections import Config, ExperimentConfig
from ludus.types import LudusError, unknown

WRITTEN = {bool: "true or false", int: "a whole number, such as 100", float: "a number, such as 0.1"}
"""How values are written on the command line."""


def override(config: Config, assignments: Iterable[str]) -> Config:
    """Replace leaves by `path=value` assignments such as `training.updates=500`. All are applied together: of two for the same
    path the last counts, and limits hold for the result, whatever the order.

    Raises:
        LudusError: no such path, a value of the wrong type, or one outside of its limits.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        assignment = said(assignment)
        if not separator:
            raise LudusError(f"override {assignment!r} is not of the form path=value, e.g. training.updates=500")
        _add(changes, type(config), path.split("."), text, assignment)
    return _changed(config, changes)


def _add(changes: dict[str, Any], section: type, path: list[str], text: str, assignment: str) -> None:
    """Enter the parsed value into `changes`, a tree of the same form as the configuration."""
    hints, (name, *rest) = get_type_hints(section), path
    if name not in hints:
        sections = {k: get_type_hints(hint) for k, hint in hints.items() if dataclasses.is_dataclass(hint)}
        inside = [f"{k}.{name}" for k, settings in sections.items() if name in settings]
        raise unknown(f"setting in {assignment!r}:", name, inside or tuple(hints))
    hint = hints[name]
    if isinstance(hint, type) and issubclass(hint, Section):
        if not rest:
            raise LudusError(f"override {assignment!r} names a section; add one of {sorted(get_type_hints(hint))}")
        _add(changes.setdefault(name, {}), hint, rest, text, assignment)
    elif _is_free(hint):
        if len(rest) != 1 or not rest[0]:
            raise LudusError(f"override {assignment!r}: give one of its names, as in {section.path}{name}.NAME=VALUE")
        changes.setdefault(name, {})[rest[0]] = _guessed(text)
    elif rest:
        raise LudusError(f"override {assignment!r}: {name!r} is a value, not a section")
    else:
        changes[name] = _parsed(text, hint, assignment)


def _changed(node: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a section, or of free settings, with the changed leaves."""
    if isinstance(node, Mapping):
        return {**node, **changes}
    leaves = {k: _changed(getattr(node, k), v) if isinstance(v, Mapping) else v for k, v in changes.items()}
    return dataclasses.replace(node, **leaves) if leaves else node


def _is_free(hint: Any) -> bool:
    return getattr(hint, "__origin__", None) is dict


def _parsed(text: str, hint: Any, assignment: str) -> Any:
    if hint not in (bool, int, float):  # a text, or one of several
        return text
    try:
        return {"true": True, "false": False}[text.lower()] if hint is bool else hint(text)
    except (ValueError, KeyError):
        raise LudusError(
            f"override {assignment!r}: {said(text)!r} is not of type {hint.__name__}; give {WRITTEN[hint]}"
        ) from None


def _guessed(text: str) -> Any:
    """A number, true or false where the text reads as one in JSON; else the text itself."""
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, bool | int | float):
            return value
    return text


REMOVED = {(ExperimentConfig, "new_skills_per_round")}
"""Settings of earlier versions that nothing depends on any more; runs that were made with them can still be read."""

FORMER = {"experiment": {"fill": False, "rehearsal": 0.0}}
"""What runs did that were made before these settings existed, and go on doing."""

FORMER_PER_STEP = {"gamma": 0.96, "n_step": 8}
"""Defaults of the agent before its horizons were times: per control step, at the 20 Hz of the worlds that there were."""


def former(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tree that an earlier version wrote, with the settings by which this version does the same."""
    tree = {**tree, **{name: values | tree[name] for name, values in FORMER.items() if name in tree}}
    agent = tree.get("agent", {})
    if "horizon_s" not in agent and tree.get("world", {}).get("name") in ("blocks", "ogbench"):
        tree["agent"] = {k: v for k, v in agent.items() if FORMER_PER_STEP.get(k) != v}
    return tree


def as_dict(config: Any) -> dict[str, Any]:
    """The tree as JSON-able dicts."""
    return dataclasses.asdict(config)


@cache
def _hints(section: type) -> dict[str, Any]:
    return get_type_hints(section)


def from_dict(tree: Mapping[str, Any], section: type = Config) -> Any:
    """Inverse of `as_dict`.

    Raises:
        LudusError: a key that this version does not know, or a value outside of its limits.
    """
    hints = _hints(section)
    tree = {key: value for key, value in tree.items() if (section, key) not in REMOVED}
    for key in tree:
        if key not in hints:
            raise unknown("setting", key, tuple(hints))
    inside = {k for k, v in tree.items() if dataclasses.is_dataclass(hints[k]) and isinstance(v, Mapping)}
    return section(**{k: from_dict(v, hints[k]) if k in inside else v for k, v in tree.items()})
