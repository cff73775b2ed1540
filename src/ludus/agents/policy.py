"""The acting half: all that a robot's side needs of PAC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ludus.agents.captions import CaptionEncoder
from ludus.agents.encoders import make_encoder
from ludus.agents.pac.losses import bin_centres
from ludus.agents.pac.networks import ActorCritic
from ludus.seeding import rng
from ludus.types import LudusError, Observations, WorldSpec


class Policy:
    """A text-conditioned policy for E robots with E captions. An actor for `ludus.lab.embodiment`.

    Args:
        temperature: 0 takes the likeliest bin of each dimension; t > 0 samples from the logits divided by t, with
            random numbers of the episode's own seed, so that an episode does not depend on its neighbours.

    Raises:
        LudusError: a temperature below 0 or that is no number.
    """

    def __init__(self, network: ActorCritic, spec: WorldSpec, temperature: float = 0.0, name: str = "policy"):
        if not 0 <= temperature < math.inf:
            raise LudusError(f"temperature {temperature:g} of a policy; give 0 (greedy) or more (1 samples from it)")
        self.name = name
        self.temperature = temperature
        self._network = network.eval()
        self._features = make_encoder(spec)
        self._reader = CaptionEncoder(spec.objects)
        self._centres = bin_centres(network.action_bins).numpy()
        self._steps, self._n_actions, self._step = spec.episode_steps, len(spec.actions), 0
        self._uniform = np.zeros((0, 0, 0), np.float32)

    def begin(self, rollouts: Sequence[Any]) -> None:
        """New episodes; `job.seed` names each one's random numbers."""
        self._step = 0
        if self.temperature > 0:
            shape = (self._steps, self._n_actions)
            self._uniform = np.stack([rng(j.seed, "policy").random(shape, dtype=np.float32) for j in rollouts])

    @torch.inference_mode()
    def act(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """`[E, size]` per group, E captions -> `[E, A]` float32 in [-1, 1]."""
        words, mentioned = self._reader.table(captions)
        task, objects = self._features(self._features.pack(observations), torch.from_numpy(mentioned))
        logits = self._network.policy(*self._network.encode(task, objects, torch.from_numpy(words)))
        if self.temperature == 0:
            chosen = logits.argmax(-1).numpy()
        else:
            cdf = (logits / self.temperature).softmax(-1).cumsum(-1).numpy()
            uniform = self._uniform[:, self._step % self._steps] * cdf[..., -1]
            chosen = np.minimum((cdf <= uniform[..., None]).sum(-1), len(self._centres) - 1)
            self._step += 1
        return self._centres[chosen]

    @torch.inference_mode()
    def values(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """The critic's value of each caption in each scene, `[E, len(captions)]` in [0, 1]: discounted reward to come, times
        1 - gamma, if the likeliest action is taken now (SayCan's affordance, arXiv 2204.01691)."""
        packed, n = self._features.pack(observations), len(captions)
        words, mentioned = map(torch.from_numpy, self._reader.table(captions))
        scenes = len(packed)
        task, objects = self._features(packed.repeat_interleave(n, 0), mentioned.repeat(scenes, 1))
        z, about = self._network.encode(task, objects, words.repeat(scenes, 1))
        action = torch.from_numpy(self._centres)[self._network.policy(z, about).argmax(-1)]
        q = self._network.value(z, about, action[:, None])[:, 0].softmax(-1)
        return (q @ torch.linspace(0, 1, q.shape[-1])).reshape(scenes, n).numpy()
