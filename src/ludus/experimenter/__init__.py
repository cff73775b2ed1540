"""Who decides. `assemble` gives each role to the variant that the configuration names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from ludus.config import ROLES, BudgetConfig, ExperimenterConfig
from ludus.experimenter.context import MakeRoles, RoleContext, no_pictures, nobody
from ludus.experimenter.human import Human
from ludus.experimenter.ledger import Ledger, NullCalls
from ludus.experimenter.oracle import Oracle
from ludus.experimenter.planner import Planner
from ludus.experimenter.random import RandomRoles
from ludus.experimenter.roles import Experimenter, Roles
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


def make_role(name: str, context: RoleContext) -> Roles:
    """The variant called `name`, or the model of that name.

    Raises:
        LudusError: a variant that does not exist, a model that cannot be used.
    """
    if name in VARIANTS:
        return VARIANTS[name](replace(context, seed=child(context.seed, "experimenter", name)))
    if MODEL.match(name):
        from ludus.experimenter.vlm import VLM

        return VLM(context, name)
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
        make_role(name, RoleContext(Vocabulary(ObservationSpec(()), (), ()), 0, config, Ledger(NullCalls(), budget)))
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
    on_answer: Callable[[str, str], None] = nobody,
    truth: Mapping[str, str | None] | None = None,
) -> Experimenter:
    """The experimenter that `config` describes, over the words of one world; the rest as in `Setting`.

    Raises:
        LudusError: see `player`.
    """
    context = RoleContext(vocabulary, seed, config, ledger, picture, person, on_answer, truth or {})
    names = {role: getattr(config, role) for role in ROLES}
    made = {name: make_role(name, context) for name in sorted(set(names.values()))}
    is_remote = {role for role, name in names.items() if MODEL.match(name)}
    planners = [names[role] for role in ROLES if role != "analyse"]
    return Experimenter(
        **{role: getattr(made[name], role) for role, name in names.items()},
        is_remote=bool(is_remote - {"analyse"}) and "human" not in planners,  # a person answers one question at a time
        analyst_is_remote="analyse" in is_remote,
    )
