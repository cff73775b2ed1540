"""Who decides. `assemble` gives each role to the variant that the configuration names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from ludus.config import ROLES, BudgetConfig, ExperimenterConfig
from ludus.experimenter.human import Human
from ludus.experimenter.ledger import Ledger, Nowhere
from ludus.experimenter.oracle import Oracle
from ludus.experimenter.planner import Planner
from ludus.experimenter.random import RandomRoles
from ludus.experimenter.roles import Experimenter, Roles
from ludus.experimenter.setting import MakeRoles, Setting, no_pictures, nobody
from ludus.seeding import child
from ludus.skills.predicates import Vocabulary
from ludus.types import ObservationSpec, unknown

VARIANTS: dict[str, MakeRoles] = {
    "planner": lambda s: Planner(s.vocabulary, s.seed),
    "random": lambda s: RandomRoles(s.vocabulary, s.seed),
    "oracle": Oracle,
    "human": Human,
}
"""Add your own: a class with the four methods of `roles.Roles`, and a line here."""
MODEL = re.compile(r"https?://|[a-z][a-z0-9-]*:")


def player(name: str, setting: Setting) -> Roles:
    """The variant called `name`, or the model of that name.

    Raises:
        LudusError: a variant that does not exist, a model that cannot be used.
    """
    if name in VARIANTS:
        return VARIANTS[name](replace(setting, seed=child(setting.seed, "experimenter", name)))
    if MODEL.match(name):
        from ludus.experimenter.vlm import VLM

        return VLM(setting, name)
    raise unknown("experimenter", name, (*VARIANTS, "provider:model", "http://host:port/v1#model"))


def asks_others(config: ExperimenterConfig) -> bool:
    """Whether a role is played by a model or a person, whose answers cost something."""
    return any(name == "human" or MODEL.match(name) for name in (getattr(config, role) for role in ROLES))


def check(name: str, config: ExperimenterConfig, budget: BudgetConfig, reach: bool = False) -> None:
    """Complain of a variant that does not exist, or of a model that cannot be used; asks nothing.

    Args:
        reach: also see that its server is there and takes the key, see `Model.reach`.

    Raises:
        LudusError: see `player`.
    """
    if name not in VARIANTS:
        player(name, Setting(Vocabulary(ObservationSpec(()), (), ()), 0, config, Ledger(Nowhere(), budget)))
        if reach:
            from ludus.experimenter.model import Model

            Model(name, config).reach()


def assemble(
    config: ExperimenterConfig,
    vocabulary: Vocabulary,
    seed: int,
    ledger: Ledger | None = None,
    picture: Callable[[str], bytes] = no_pictures,
    person: Callable[[str], str] | None = None,
    heard: Callable[[str, str], None] = nobody,
    truth: Mapping[str, str | None] | None = None,
) -> Experimenter:
    """The experimenter that `config` describes, over the words of one world; the rest as in `Setting`.

    Raises:
        LudusError: see `player`.
    """
    setting = Setting(vocabulary, seed, config, ledger, picture, person, heard, truth or {})
    names = {role: getattr(config, role) for role in ROLES}
    players = {name: player(name, setting) for name in sorted(set(names.values()))}
    waits = {role for role, name in names.items() if MODEL.match(name)}
    planners = [names[role] for role in ROLES if role != "analyse"]
    return Experimenter(
        **{role: getattr(players[name], role) for role, name in names.items()},
        waits=bool(waits - {"analyse"}) and "human" not in planners,  # a person answers one question at a time
        analyst_waits="analyse" in waits,
    )
