"""The experimenter: who decides. `assemble` gives each role to the player that the configuration names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ludus.config import BudgetConfig, ExperimenterConfig
from ludus.experimenter.agent import CodingAgent
from ludus.experimenter.context import RoleContext
from ludus.experimenter.human import Human
from ludus.experimenter.ledger import Ledger, NullCalls
from ludus.experimenter.oracle import Oracle
from ludus.experimenter.planner import Planner
from ludus.experimenter.random import RandomRoles
from ludus.experimenter.roles import Experimenter
from ludus.experimenter.sampling import SkillSampler, by_progress, uniform, weakest
from ludus.experimenter.table import ROLES, Role
from ludus.seeding import child
from ludus.skills.predicates import Vocabulary
from ludus.types import LudusError, ObservationSpec, unknown

VARIANTS: dict[str, Callable[[RoleContext], Any]] = {
    "planner": lambda context: Planner(context.vocabulary, context.seed),
    "random": lambda context: RandomRoles(context.vocabulary, context.seed),
    "oracle": Oracle,
    "human": Human,
    "agent": CodingAgent,
    "sequences": lambda context: SkillSampler(context, uniform, "skills drawn at random"),
    "progress": lambda context: SkillSampler(context, by_progress, "skills whose success changed lately"),
    "weakest": lambda context: SkillSampler(context, weakest, "the skills that succeed least"),
}
"""Add your own: a class with the four methods of `roles.Roles`, and a line here."""
MODEL = re.compile(r"https?://|[a-z][a-z0-9-]*:")
OUTSIDE = frozenset({"human", "agent"})
"""Variants that somebody outside of this process plays, who answers one question at a time."""


def make_role(player: str, context: RoleContext) -> dict[str, Callable[[Any], Any]]:
    """What answers each role that the player can play, by the role's name.

    Args:
        player: a variant, or the name of a model.

    Raises:
        LudusError: a variant that does not exist, a model that cannot be used.
    """
    if player in VARIANTS:
        context = replace(context, seed=child(context.seed, "experimenter", player))
        variant = VARIANTS[player](context)
    elif MODEL.match(player):
        from ludus.experimenter.vlm import VLM

        variant = VLM(context, player)
    else:
        raise unknown("experimenter", player, (*VARIANTS, "provider:model", "http://host:port/v1#model"))
    found = {name: _answers(variant, role, context) for name, role in ROLES.items()}
    return {name: answer for name, answer in found.items() if answer is not None}


def _answers(variant: Any, role: Role, context: RoleContext) -> Callable[[Any], Any] | None:
    """The variant's own method, or how it answers any role, or the role's built-in answer."""
    if hasattr(variant, role.name):
        return getattr(variant, role.name)
    if hasattr(variant, "answer"):
        return partial(variant.answer, role)
    builtin = role.builtin
    return None if builtin is None else lambda question: builtin(question, context)


def asks_others(config: ExperimenterConfig) -> bool:
    """Whether a role is played by a model, an agent or a person, whose answers cost something."""
    return any(name in OUTSIDE or MODEL.match(name) for name in (getattr(config, role) for role in ROLES))


def check(player: str, config: ExperimenterConfig, budget: BudgetConfig, reach: bool = False) -> str | None:
    """Refuse a player that does not exist or cannot be used, before a run begins. No question is asked.

    Args:
        reach: also see that the model's server is there and takes the key, see `Model.reach`.

    Returns:
        A sentence on what was chosen for the player, or on how it is asked, if there is anything to say.

    Raises:
        LudusError: see `make_role` and `Model.reach`.
    """
    if player == "agent":
        return "The questions wait for an agent, which connects by `ludus mcp RUN`: docs/agents.md"
    if player in VARIANTS:
        return None
    nothing = Vocabulary(ObservationSpec(()), (), ())
    make_role(player, RoleContext(nothing, 0, config, Ledger(NullCalls(), budget)))
    from ludus.experimenter.model import Model

    model = Model(player, config)
    if reach:
        roles = [role for name, role in ROLES.items() if getattr(config, name) == player]
        model.reach(with_pictures=config.images and any(role.images for role in roles))
    return f"{player} answers by experimenter.structure={model.structure}" if config.structure == "auto" else None


def assemble(context: RoleContext) -> Experimenter:
    """The experimenter that `context.config` describes, over the words of one world.

    Raises:
        LudusError: see `make_role`; a player who cannot play the role that it is given.
    """
    players = {role: getattr(context.config, role) for role in ROLES}
    made = {player: make_role(player, context) for player in sorted(set(players.values()))}
    for role, player in players.items():
        if role not in made[player]:
            raise LudusError(
                f"experimenter.{role}={player}: {player!r} cannot play this role; name a model, 'agent' or 'human'"
            )
    answers = {role: made[player][role] for role, player in players.items()}
    planners = {player for role, player in players.items() if ROLES[role].is_planning}
    return Experimenter(
        **{role: answers.pop(role) for role in ("propose", "decompose", "retrieve", "analyse")},
        more=answers,
        is_remote=any(MODEL.match(player) for player in planners) and not planners & OUTSIDE,
        analyst_is_remote=bool(MODEL.match(players["analyse"])),
        analyst_sees=context.config.images and players["analyse"] not in VARIANTS.keys() - OUTSIDE,
    )
