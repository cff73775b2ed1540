"""Runs beside each other: settings in which they differ, and their curves per template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from ludus.config import Config
from ludus.views.queries.index import RunLine, differing
from ludus.views.queries.learning import LearningCurves, TemplateCurve


@dataclass(frozen=True)
class Setting:
    """A setting in which runs differ."""

    name: str  # 'world.n_blocks'
    values: tuple[Any, ...]  # per run; the default where a run was not told; None where there is no default


def settings_beside(lines: Sequence[RunLine]) -> tuple[Setting, ...]:
    """The settings in which these runs differ, but for the seed."""
    names = sorted(name for name in differing(lines) if name != "seed")
    return tuple(Setting(n, tuple(line.settings.get(n, _default(n)) for line in lines)) for n in names)


def _default(name: str) -> Any:
    """None of an option that an agent or a world has of its own."""
    try:
        return attrgetter(name)(Config())
    except AttributeError:
        return None


@dataclass(frozen=True)
class ComparedCurves:
    """The curves of one template in several runs."""

    template: str
    curves: tuple[TemplateCurve | None, ...]  # per run; None where a run does not have it


def together(runs: Sequence[LearningCurves]) -> tuple[ComparedCurves, ...]:
    """The curves of several runs per template: first those that all runs have, in the order of the first run."""
    by_template = [{c.template: c for c in run.curves} for run in runs]
    templates = dict.fromkeys(t for run in by_template for t in run)
    found = (ComparedCurves(t, tuple(run.get(t) for run in by_template)) for t in templates)
    return tuple(sorted(found, key=lambda c: sum(curve is None for curve in c.curves)))
