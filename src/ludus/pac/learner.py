"""The learner: one network, three losses, one optimiser step per batch; saves and restores everything it is."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ludus.config import PACConfig
from ludus.pac import losses
from ludus.pac.features import Features
from ludus.pac.networks import Perceiver
from ludus.pac.policy import Policy
from ludus.pac.text import CaptionReader
from ludus.seeding import child
from ludus.types import Batch, LudusError, WorldSpec

FLOOR = 0.1
"""The cosine schedule ends at this share of the learning rate and stays there through the rounds."""
BOOTSTRAP_ACTIONS = 4
"""Actions of the target policy averaged over in the Bellman target."""
CHECK_EVERY = 50


class Source(Protocol):
    """Where batches come from (`ludus.data.sampler.Sampler`)."""

    @property
    def captions(self) -> tuple[str, ...]: ...
    def next(self) -> Batch: ...


class Learner:
    """Perceiver-Actor-Critic on one world.

    Args:
        total_updates: length of the learning-rate schedule.
        seed: the run's seed; initial weights and action samples are drawn from named children of it.
    """

    def __init__(self, config: PACConfig, spec: WorldSpec, total_updates: int, seed: int):
        self.config, self.spec, self.total_updates, self.seed = config, spec, total_updates, seed
        self.updates = 0
        self._features = Features(spec)
        self._reader = CaptionReader(spec.objects)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(child(seed, "pac", "weights"))
            self.online = Perceiver(config, self._features.task_size, self._features.object_size, len(spec.actions))
        self.target = copy.deepcopy(self.online).requires_grad_(False)
        self.acting = copy.deepcopy(self.online).requires_grad_(False)
        self._generator = torch.Generator().manual_seed(child(seed, "pac", "samples"))
        self._optimiser = torch.optim.AdamW(
            self.online.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._support = torch.linspace(0, 1, config.value_atoms)
        self._centres = losses.bin_centres(config.action_bins)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.online.parameters())

    def policy(self, temperature: float = 0.0) -> Policy:
        """The averaged weights, ready to act; a copy, so that training may go on."""
        return Policy(copy.deepcopy(self.acting), self.spec, temperature)

    def fit(self, source: Source, updates: int, progress: Callable[[int], None] | None = None) -> dict[str, float]:
        """Train for `updates` batches; mean metrics of these updates. `time/` metrics are wall-clock.

        Raises:
            LudusError: the training diverged (a loss that is no number, a policy without entropy).
        """
        words, mentioned = map(torch.from_numpy, self._reader.table(source.captions))
        sums: dict[str, Tensor] = {}
        started, waited = time.perf_counter(), 0.0
        with ThreadPoolExecutor(1) as background:  # the next batch is drawn while this one is learned from
            coming = background.submit(source.next)
            for done in range(1, updates + 1):
                before = time.perf_counter()
                batch = coming.result()
                waited += time.perf_counter() - before
                if done < updates:
                    coming = background.submit(source.next)
                for name, value in self._update(batch, words, mentioned).items():
                    sums[name] = sums.get(name, torch.zeros(())) + value
                if done % CHECK_EVERY == 0 or done == updates:
                    self._check(sums, done)
                if progress is not None:
                    progress(1)
        seconds = time.perf_counter() - started
        metrics = {name: float(value) / updates for name, value in sums.items()}
        return metrics | {"time/updates_per_s": updates / seconds, "time/data_wait_share": waited / seconds}

    def _update(self, batch: Batch, words: Tensor, mentioned: Tensor) -> dict[str, Tensor]:
        c, b = self.config, len(batch.actions)
        skills = torch.from_numpy(batch.skills)
        words, mentioned = words[skills], mentioned[skills]
        both = torch.cat([self._features.pack(batch.observations), self._features.pack(batch.next_observations)])
        task, objects = self._features(both, mentioned.repeat(2, 1))
        actions = torch.from_numpy(batch.actions)
        taken = losses.to_bins(actions, c.action_bins)
        own = torch.from_numpy(batch.own).float()
        scale = 1 - c.gamma  # rewards in [0, 1] -> values in [0, 1]
        returns, discounts = torch.from_numpy(batch.returns) * scale, torch.from_numpy(batch.discounts)

        z, about = self.online.encode(task[:b], objects[:b], words)
        logits = self.online.policy(z, about)
        metrics: dict[str, Tensor] = {}
        # behaviour cloning, only where the action was meant for this caption (METHOD, "Recipe")
        cloned = losses.log_prob(logits, taken[:, None])[:, 0]
        bc = -(cloned * own).sum() / own.sum().clamp(min=1)
        loss = c.alpha * bc
        metrics["bc"] = bc
        if c.alpha < 1 or c.beta > 0:
            with torch.no_grad():
                target_z, target_about = self.target.encode(task, objects, words.repeat(2, 1))
                target_logits = self.target.policy(target_z, target_about)
                then = losses.sample_bins(target_logits[b:], BOOTSTRAP_ACTIONS, self._generator)
                future = self.target.value(target_z[b:], target_about[b:], self._centres[then]).softmax(-1).mean(1)
                goal = losses.bellman_target(future, returns, discounts, self._support)
            value_logits = self.online.value(z, about, actions[:, None])[:, 0]
            critic = losses.critic(value_logits, goal)
            loss = loss + c.beta * critic
            metrics |= {"critic": critic, "q": (value_logits.detach().softmax(-1) @ self._support).mean()}
        if c.alpha < 1:
            with torch.no_grad():
                sampled = losses.sample_bins(target_logits[:b], c.action_samples, self._generator)
                tried = torch.cat([sampled, taken[:, None]], dim=1)
                q = self.target.value(target_z[:b], target_about[:b], self._centres[tried]).softmax(-1) @ self._support
                weights, kl = losses.improvement_weights(q, c.eta)
            improvement = -(weights * losses.log_prob(logits, tried)).sum(-1).mean()
            loss = loss + (1 - c.alpha) * improvement
            metrics |= {"improvement": improvement, "weights_kl": kl}
        metrics |= {"loss": loss, "entropy": torch.distributions.Categorical(logits=logits.detach()).entropy().mean()}

        rate = c.learning_rate * self._schedule()
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.online.parameters(), c.grad_clip)
        self._optimiser.step()
        self.updates += 1
        with torch.no_grad():
            online = list(self.online.parameters())
            # the average forgets the first weights quickly, then settles to its horizon
            acting = max(c.acting_ema, 1 / (self.updates + 1))
            torch._foreach_lerp_(list(self.target.parameters()), online, c.target_ema)
            torch._foreach_lerp_(list(self.acting.parameters()), online, acting)
        return {k: v.detach() for k, v in metrics.items()}

    def _schedule(self) -> float:
        warm = min(1.0, (self.updates + 1) / 100)
        share = min(1.0, self.updates / max(1, self.total_updates))
        return warm * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))

    def _check(self, sums: Mapping[str, Tensor], done: int) -> None:
        bad = [name for name, value in sums.items() if not torch.isfinite(value)]
        cause = f"{bad[0]} is not a number" if bad else ""
        if not bad and self.updates > 200 and float(sums["entropy"]) / done < 0.01:
            cause = "the policy's entropy collapsed below 0.01 nat; a larger pac.eta or pac.alpha helps"
        if cause:
            raise LudusError(
                f"training diverged at update {self.updates}: {cause}; the last checkpoint is kept, "
                f"lower pac.learning_rate ({self.config.learning_rate}) and start again"
            )

    # --- keeping -------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Everything that the next update depends on, whole or not at all."""
        state: dict[str, Any] = {
            "config": asdict(self.config),
            "world": self.spec.name,
            "total_updates": self.total_updates,
            "seed": self.seed,
            "updates": self.updates,
            "online": self.online.state_dict(),
            "target": self.target.state_dict(),
            "acting": self.acting.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "generator": self._generator.get_state(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path, spec: WorldSpec) -> Learner:
        """The learner as it was saved, for the same kind of world (the number of objects is free).

        Raises:
            LudusError: no checkpoint there, a broken one, or one of another world.
        """
        try:
            state = torch.load(path, weights_only=True)
        except FileNotFoundError:
            raise LudusError(f"no checkpoint {path}; train first") from None
        except Exception as error:
            raise LudusError(f"checkpoint {path} cannot be read ({type(error).__name__}); delete it, resume") from error
        if state["world"] != spec.name:
            raise LudusError(f"checkpoint {path} is of world {state['world']!r}, not {spec.name!r}")
        learner = cls(PACConfig(**state["config"]), spec, state["total_updates"], state["seed"])
        learner.updates = state["updates"]
        for name in ("online", "target", "acting"):
            getattr(learner, name).load_state_dict(state[name])
        learner._optimiser.load_state_dict(state["optimiser"])
        learner._generator.set_state(state["generator"])
        return learner
