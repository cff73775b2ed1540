"""The acting half: all that a robot's side needs of an agent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ludus.agents import agent_class
from ludus.agents.base import ActingInputs, Agent, AgentSpec
from ludus.agents.captions import CaptionEncoder
from ludus.agents.checkpoint import read_checkpoint
from ludus.config import AgentConfig
from ludus.seeding import rng
from ludus.types import LudusError, Observations, WorldSpec


def load_policy(path: Path, spec: WorldSpec, temperature: float = 0.0) -> Policy:
    """The policy of a checkpoint. Only the acting weights are read.

    Raises:
        LudusError: no checkpoint there, a broken one, or one of another world.
    """
    state = read_checkpoint(path, spec, mmap=True)
    config = AgentConfig(**state["config"])
    agent = AgentSpec(agent_class(config.name), config, spec)
    acting = {name: weight.clone() for name, weight in state["acting"].items()}
    return Policy(agent.agent(agent.loaded(acting)), temperature)


class Policy:
    """A text-conditioned policy for E robots with E captions. An actor for `ludus.lab.embodiment`.

    Args:
        agent: on the CPU; acts with its online network.
        temperature: 0 takes the likeliest action; t > 0 samples, with random numbers of the episode's own seed, so that
            an episode does not depend on its neighbours.

    Raises:
        LudusError: a temperature below 0 or that is no number.
    """

    def __init__(self, agent: Agent, temperature: float = 0.0, name: str = "policy"):
        if not 0 <= temperature < math.inf:
            raise LudusError(f"temperature {temperature:g} of a policy; give 0 (greedy) or more (1 samples from it)")
        self.name = name
        self.temperature = temperature
        self._agent = agent
        agent.online.eval()
        spec = agent.spec
        self._captions = CaptionEncoder(spec.objects)
        self._steps, self._n_actions, self._step = spec.episode_steps, len(spec.actions), 0
        self._uniform = np.zeros((0, 0, 0), np.float32)

    def begin(self, rollouts: Sequence[Any]) -> None:
        """New episodes; `rollout.seed` names each one's random numbers."""
        self._step = 0
        if self.temperature > 0:
            shape = (self._steps, self._n_actions)
            self._uniform = np.stack([rng(r.seed, "policy").random(shape, dtype=np.float32) for r in rollouts])

    @torch.inference_mode()
    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """`[E, size]` per group, E captions -> `[E, A]` float32 in [-1, 1]."""
        uniform = None
        if self.temperature > 0:
            if len(self._uniform) != len(captions):
                raise LudusError(
                    f"a policy of temperature {self.temperature:g} acts for {len(captions)} robots, begun were "
                    f"{len(self._uniform)} episodes; call policy.begin(rollouts) before each episode"
                )
            uniform = torch.from_numpy(self._uniform[:, self._step % self._steps])
            self._step += 1
        token_ids, object_slots = map(torch.from_numpy, self._captions.table(captions))
        inputs = ActingInputs(self._agent.encoder.pack(observations), token_ids, object_slots)
        return self._agent.act(inputs, self.temperature, uniform).numpy()

    @torch.inference_mode()
    def values(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """The critic's value of each caption in each scene, `[E, len(captions)]` in [0, 1]: discounted reward to come, times
        1 - gamma, if the likeliest action is taken now (SayCan's affordance, arXiv 2204.01691).

        Raises:
            LudusError: the agent has no critic.
        """
        obs, n = self._agent.encoder.pack(observations), len(captions)
        token_ids, object_slots = map(torch.from_numpy, self._captions.table(captions))
        scenes = len(obs)
        inputs = ActingInputs(obs.repeat_interleave(n, 0), token_ids.repeat(scenes, 1), object_slots.repeat(scenes, 1))
        return self._agent.values(inputs).reshape(scenes, n).numpy()
