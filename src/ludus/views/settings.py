"""Every setting with its value, and what it means in the words that stand under it in `ludus.config`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from ludus.config import Config
from ludus.config.limits import Section


@dataclass(frozen=True)
class Setting:
    """One leaf of the configuration."""

    name: str  # 'training.updates'
    value: str
    default: str
    meaning: str

    def has(self, words: Sequence[str]) -> bool:
        """Whether all of these occur in its name or meaning, in any case of letters."""
        text = f"{self.name} {self.meaning}".lower()
        return all(word.lower() in text for word in words)


def settings(config: Config) -> Iterator[Setting]:
    """All settings, section by section, with the values of `config`."""
    for section, value, default, meaning in _leaves(config, Config()):
        if not isinstance(value, Section):
            yield Setting(section, _text(value), _text(default), meaning)
            continue
        for name, own, usual, words in _leaves(value, default):
            yield Setting(f"{section}.{name}", _text(own), _text(usual), words)


def _leaves(section: Any, default: Any) -> Iterator[tuple[str, Any, Any, str]]:
    meanings = _meanings(type(section))
    for f in fields(section):
        yield f.name, getattr(section, f.name), getattr(default, f.name), meanings.get(f.name, "")


def _meanings(kind: type) -> Mapping[str, str]:
    """Of a class: attribute -> the text that stands under it."""
    (parsed,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(parsed, ast.ClassDef)
    found = dict[str, str]()
    for above, node in pairwise(parsed.body):
        match above, node:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _text(value: Any) -> str:
    """As it is given on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(value).removesuffix(".0")
    return ",".join(map(_text, value)) if isinstance(value, tuple) else "" if value in (None, {}) else str(value)
