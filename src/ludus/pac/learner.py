"""The learner: one network, three losses, one optimiser step per batch; saves and restores everything it is."""

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
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
SHARDS = 2
"""A batch is learned from in this many parts, each in a thread of its own, and prepared in as many more. Torch's own
threads pay off little on matrices this small and hurt when cores are busy; and the number of these parts, unlike that
of threads, may shape the result, because it is the same on every machine."""


class Source(Protocol):
    """Where batches come from (`ludus.data.sampler.Sampler`)."""

    @property
    def captions(self) -> tuple[str, ...]: ...
    def next(self) -> Batch: ...


@dataclass
class _Prepared:
    """One batch, ready for the gradient step. The first of the K tried actions is the data's own."""

    task: Tensor  # [B, task_size]
    objects: Tensor  # [B, N, object_size]
    words: Tensor  # [B, W]
    actions: Tensor  # [B, A]
    own: Tensor  # [B] 0 or 1
    tried: Tensor  # [B, K, A] bins
    goal: Tensor | None = None  # [B, atoms]
    weights: Tensor | None = None  # [B, K]
    kl: Tensor | None = None


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
        self._parameters = list(self.online.parameters())
        self._generators = [torch.Generator().manual_seed(child(seed, "pac", "samples", i)) for i in range(SHARDS)]
        self._optimiser = torch.optim.AdamW(
            self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
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
        with ThreadPoolExecutor(2 * SHARDS + 1) as pool:

            def prepare(drawn: Future[Batch]) -> list[Future[_Prepared]]:
                return [pool.submit(self._prepare, drawn, i, words, mentioned) for i in range(SHARDS)]

            drawn = pool.submit(source.next)
            coming = prepare(drawn)
            for done in range(1, updates + 1):
                before = time.perf_counter()
                wait([drawn])
                waited += time.perf_counter() - before
                shards = [future.result() for future in coming]
                if done < updates:
                    drawn = pool.submit(source.next)
                    coming = prepare(drawn)
                metrics = self._descend(shards, pool)
                # The next batch's targets come from the networks before this update, always: half the work runs beside
                # the other half, and what is computed does not depend on which half is faster.
                wait(coming)
                self._follow()
                for name, value in metrics.items():
                    sums[name] = sums.get(name, torch.zeros(())) + value
                if done % CHECK_EVERY == 0 or done == updates:
                    self._check(sums, done)
                if progress is not None:
                    progress(1)
        seconds = time.perf_counter() - started
        means = {name: float(value) / updates for name, value in sums.items()}
        return means | {"time/updates_per_s": updates / seconds, "time/data_wait_share": waited / seconds}

    @torch.no_grad()
    def _prepare(self, drawn: Future[Batch], shard: int, words: Tensor, mentioned: Tensor) -> _Prepared:
        """All that needs no gradient, for one shard of the batch: features, the Bellman target, sampled actions and
        their weights."""
        batch, generator = _part(drawn.result(), shard), self._generators[shard]
        c, b = self.config, len(batch.actions)
        skills = torch.from_numpy(batch.skills)
        words, mentioned = words[skills], mentioned[skills]
        both = torch.cat([self._features.pack(batch.observations), self._features.pack(batch.next_observations)])
        task, objects = self._features(both, mentioned.repeat(2, 1))
        actions = torch.from_numpy(batch.actions)
        taken = losses.to_bins(actions, c.action_bins)[:, None]
        own = torch.from_numpy(batch.own).float()
        prepared = _Prepared(task[:b], objects[:b], words, actions, own, tried=taken)
        if c.alpha == 1 and c.beta == 0:
            return prepared
        z, about = self.target.encode(task, objects, words.repeat(2, 1))
        logits = self.target.policy(z, about)
        then = losses.sample_bins(logits[b:], BOOTSTRAP_ACTIONS, generator)
        future = self.target.value(z[b:], about[b:], self._centres[then]).softmax(-1).mean(1)
        scale = 1 - c.gamma  # rewards in [0, 1] -> values in [0, 1]
        returns, discounts = torch.from_numpy(batch.returns) * scale, torch.from_numpy(batch.discounts)
        prepared.goal = losses.bellman_target(future, returns, discounts, self._support)
        if c.alpha < 1:
            sampled = losses.sample_bins(logits[:b], c.action_samples, generator)
            prepared.tried = torch.cat([taken, sampled], dim=1)
            tried = self._centres[prepared.tried]
            q = self.target.value(z[:b], about[:b], tried).softmax(-1) @ self._support
            prepared.weights, prepared.kl = losses.improvement_weights(q, c.eta)
        return prepared

    def _descend(self, shards: list[_Prepared], pool: ThreadPoolExecutor) -> dict[str, Tensor]:
        """One step of the optimiser on the mean loss of the shards."""
        others = [pool.submit(self._gradient, shard) for shard in shards[1:]]
        results = [self._gradient(shards[0]), *[o.result() for o in others]]
        for parameter, *gradients in zip(self._parameters, *[g for g, _ in results], strict=True):
            parameter.grad = sum(gradients[1:], gradients[0]) / len(shards)  # in a fixed order: the same bits always
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate * self._schedule()
        torch.nn.utils.clip_grad_norm_(self._parameters, self.config.grad_clip)
        self._optimiser.step()
        self.updates += 1
        return {k: torch.stack([m[k] for _, m in results]).mean() for k in results[0][1]}

    def _gradient(self, x: _Prepared) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """The three losses of one shard and their gradient."""
        c = self.config
        z, about = self.online.encode(x.task, x.objects, x.words)
        logits = self.online.policy(z, about)
        log_probs = losses.log_prob(logits, x.tried)  # the action of the data first, then the sampled ones
        # behaviour cloning, only where the action was meant for this caption (METHOD, "Recipe")
        bc = -(log_probs[:, 0] * x.own).sum() / x.own.sum().clamp(min=1)
        loss = c.alpha * bc
        metrics = {"bc": bc}
        if x.goal is not None:
            value_logits = self.online.value(z, about, x.actions[:, None])[:, 0]
            critic = losses.critic(value_logits, x.goal)
            loss = loss + c.beta * critic
            metrics |= {"critic": critic, "q": (value_logits.detach().softmax(-1) @ self._support).mean()}
        if x.weights is not None and x.kl is not None:
            improvement = -(x.weights * log_probs).sum(-1).mean()
            loss = loss + (1 - c.alpha) * improvement
            metrics |= {"improvement": improvement, "weights_kl": x.kl}
        probabilities = logits.detach().softmax(-1)
        entropy = -(probabilities * probabilities.clamp(min=1e-9).log()).sum(-1).mean()
        metrics |= {"loss": loss, "entropy": entropy}
        # parameters without a part in this loss (the critic's under plain cloning) get zeros
        gradient = torch.autograd.grad(loss, self._parameters, allow_unused=True, materialize_grads=True)
        return gradient, {k: v.detach() for k, v in metrics.items()}

    @torch.no_grad()
    def _follow(self) -> None:
        """The target and the acting weights move towards the online ones."""
        online = [p.detach() for p in self._parameters]
        # the average forgets the first weights quickly, then settles to its horizon
        acting = max(self.config.acting_ema, 9 / (self.updates + 10))
        torch._foreach_lerp_([p.data for p in self.target.parameters()], online, self.config.target_ema)  # pyright: ignore[reportPrivateImportUsage]
        torch._foreach_lerp_([p.data for p in self.acting.parameters()], online, acting)  # pyright: ignore[reportPrivateImportUsage]

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
            "generators": [g.get_state() for g in self._generators],
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
        for generator, kept in zip(learner._generators, state["generators"], strict=True):
            generator.set_state(kept)
        return learner


def _part(batch: Batch, shard: int) -> Batch:
    rows = slice(shard, None, SHARDS)
    return Batch(
        observations={g: a[rows] for g, a in batch.observations.items()},
        actions=batch.actions[rows],
        next_observations={g: a[rows] for g, a in batch.next_observations.items()},
        returns=batch.returns[rows],
        discounts=batch.discounts[rows],
        skills=batch.skills[rows],
        own=batch.own[rows],
    )
