"""Learning agents: `AGENTS` names the algorithms, `trainer.Trainer` trains one, `policy.Policy` acts with it.

An algorithm is a subclass of `base.Agent` in a file of its own and a line here.
"""

from ludus.agents.base import Agent
from ludus.agents.iql import IQL
from ludus.agents.pac.agent import PAC
from ludus.types import unknown

AGENTS: dict[str, type[Agent]] = {"pac": PAC, "iql": IQL}
"""Values of the setting `agent.name`."""


def agent_class(name: str) -> type[Agent]:
    """The algorithm called `name`.

    Raises:
        LudusError: unknown name.
    """
    if name not in AGENTS:
        raise unknown("agent.name", name, tuple(AGENTS))
    return AGENTS[name]
