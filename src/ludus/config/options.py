"""Settings that only one agent or one world has: `agent.options.*` and `world.options.*` as the dataclass that declares them."""

from __future__ import annotations

import json
from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ludus.config.limits import said
from ludus.config.sections import AgentConfig, WorldConfig
from ludus.types import LudusError, unknown

Options = TypeVar("Options")


@dataclass(frozen=True)
class NoOptions:
    """Of whoever has no settings of its own."""


def read_options(declared: type[Options], section: AgentConfig | WorldConfig) -> Options:
    """The section's free settings as `declared`, a dataclass with their names, types and defaults.

    Raises:
        LudusError: an option that it does not have, one of another type, or one without a default that is not given.
    """
    known: dict[str, Any] = {f.name: f for f in fields(declared)}  # type: ignore[arg-type]  # of any dataclass
    whose, values = f"{section.path}name={section.name}", {}
    for name, value in section.options.items():
        if not known:
            raise LudusError(f"{section.path}options.{name}={said(value)}: {whose} has no options; leave it out")
        if name not in known:
            raise unknown(f"option of {whose}:", name, tuple(known))
        values[name] = _typed(value, get_type_hints(declared)[name], f"{section.path}options.{name}={said(value)}")
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise LudusError(f"{whose} needs {section.path}options.{name}; give it")
    return declared(**values)


def _typed(value: Any, hint: Any, assignment: str) -> Any:
    if hint is str and not isinstance(value, str):
        return json.dumps(value)  # as it was written: a name may read as a number
    try:
        if isinstance(value, str):
            return TypeAdapter(hint).validate_strings(value)
        return TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError:
        name = hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")
        raise LudusError(f"{assignment} is not of type {name}") from None
