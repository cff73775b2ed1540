"""Who decides. `assemble` gives each role to the variant that the configuration names."""

from __future__ import annotations

from ludus.config import ExperimenterConfig
from ludus.experimenter.planner import Planner
from ludus.experimenter.random import RandomRoles
from ludus.experimenter.roles import Experimenter, MakeRoles
from ludus.seeding import child
from ludus.skills.predicates import Vocabulary
from ludus.types import unknown

VARIANTS: dict[str, MakeRoles] = {"planner": Planner, "random": RandomRoles}
"""Add your own: a class with the four methods of `roles.Roles`, and a line here."""


def assemble(config: ExperimenterConfig, vocabulary: Vocabulary, seed: int) -> Experimenter:
    """The experimenter that `config` describes, over the words of one world.

    Raises:
        LudusError: a variant that does not exist.
    """

    def variant(name: str) -> MakeRoles:
        if name not in VARIANTS:
            raise unknown("experimenter", name, tuple(VARIANTS))
        return VARIANTS[name]

    names = {config.propose, config.decompose, config.retrieve, config.analyse}
    players = {name: variant(name)(vocabulary, child(seed, "experimenter", name)) for name in sorted(names)}
    return Experimenter(
        players[config.propose].propose,
        players[config.decompose].decompose,
        players[config.retrieve].retrieve,
        players[config.analyse].analyse,
    )
