"""The learner: one network, three losses, one optimiser step per batch; saves and restores everything it is."""

from __future__ import annotations

import copy
import math
import os
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ludus.agents.backends import distributed, fsdp
from ludus.agents.backends.workers import Crew, Here, Job, flatten
from ludus.agents.captions import CaptionEncoder
from ludus.agents.encoders import make_encoder
from ludus.agents.pac.agent import Inputs, Shard
from ludus.agents.pac.networks import actor_critic
from ludus.agents.policy import Policy
from ludus.config import AgentConfig, TrainingConfig
from ludus.seeding import child
from ludus.types import Batch, LudusError, WorldSpec, differences

MIN_LR_FRACTION = 0.1
"""The cosine schedule ends at this share of the learning rate and stays there through the rounds."""
CHECK_EVERY = 50
EXPLODED = 1000
"""A mean loss above this, in nats, is none that learning comes back from: it begins at about 20."""
COLLAPSED = 0.01
"""Nor is a mean entropy below this, in nats per dimension of the action."""
NETWORKS = ("online", "target", "acting")
SMALL = 20_000_000
"""Up to this many parameters several processes learn faster than several threads of one, or as fast and without waiting
for each other on busy cores."""


class Diverged(LudusError):
    """Training has gone wrong beyond repair."""


class Source(Protocol):
    """Where batches come from (`ludus.data.sampler.Sampler`)."""

    @property
    def captions(self) -> tuple[str, ...]: ...
    def next(self) -> Batch: ...


class Trainer:
    """Perceiver-Actor-Critic on one world.

    Args:
        total_updates: length of the learning-rate schedule.
        seed: the run's seed; initial weights and action samples are drawn from named children of it.
        training: gives parts, processes, device and precision. Of these, the number of parts, the device and the
            precision shape the result; the number of processes does not. Under an initialised `torch.distributed`
            every rank is to be given the same source; it learns from its share of the parts, and gradients are added
            over all ranks. Sharded, it also keeps only its share of the networks and of the optimiser; where there is
            but one process, such a learner is whole and cannot `fit`.

    Raises:
        LudusError: no such device or precision here; memory ran out.
    """

    def __init__(
        self,
        config: AgentConfig,
        spec: WorldSpec,
        total_updates: int,
        seed: int,
        training: TrainingConfig | None = None,
    ):
        self.config, self.spec, self.total_updates, self.seed = config, spec, total_updates, seed
        self.training = training or TrainingConfig(processes=1)
        self.updates = 0
        self._device = device_of(self.training)
        self._features = make_encoder(spec)
        self._reader = CaptionEncoder(spec.objects)
        sizes = self._features.task_size, self._features.object_size
        self._sharded = self.training.sharded and distributed.joined()
        # Each network's weights: one row of all of them, or slices of each.
        self._online: list[nn.Parameter]
        self._target: list[Tensor]
        self._acting: list[Tensor]
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(child(seed, "pac", "weights"))
                self.online = actor_critic(config, *sizes, len(spec.actions))
            (self._cut if self._sharded else self._flatten)()
        except (MemoryError, RuntimeError) as error:
            if not _of_memory(error):
                raise
            raise LudusError(
                f"not enough memory on {self._device} for networks of agent.width={config.shape.width}, "
                f"agent.latents={config.shape.latents} and agent.blocks={config.shape.blocks}; choose a smaller agent.size"
            ) from error
        self._optimiser = torch.optim.AdamW(
            self._online, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._whole: dict[str, Any] | None = None
        self.crew: Here | Crew | None = None
        self._inputs: tuple[Inputs, Inputs] | None = None

    def _flatten(self) -> None:
        self.target = copy.deepcopy(self.online)
        self.acting = copy.deepcopy(self.online)
        flat = torch.cat([p.detach().flatten() for p in self.online.parameters()]).to(self._device)
        self._online, self._target = [nn.Parameter(_share(flat))], [_share(flat.clone())]
        self._acting = [flat.clone()]
        flatten(self.online, self._online[0].data)
        flatten(self.target, self._target[0]).requires_grad_(False)
        flatten(self.acting, self._acting[0]).requires_grad_(False)

    def _cut(self) -> None:
        where = self._device, self.training.precision
        self.target = fsdp.cut(copy.deepcopy(self.online).requires_grad_(False), *where)
        self.acting = fsdp.cut(copy.deepcopy(self.online).requires_grad_(False), *where)
        self.online = fsdp.cut(self.online, *where)
        self._online, self._target, self._acting = (list(getattr(self, name).parameters()) for name in NETWORKS)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self._online)

    def policy(self, temperature: float = 0.0) -> Policy:
        """The averaged weights, ready to act; a copy, so that training may go on. Sharded: as `gather` found them."""
        if not self._sharded:
            return Policy(copy.deepcopy(self.acting).cpu(), self.spec, temperature)
        sizes = self._features.task_size, self._features.object_size
        with torch.device("meta"):  # initial weights would be drawn for nothing
            network = actor_critic(self.config, *sizes, len(self.spec.actions))
        network.load_state_dict(self._gathered()["acting"], assign=True)
        return Policy(network, self.spec, temperature)

    def start_from(self, path: Path) -> None:
        """Take the acting weights of a checkpoint as all three networks' and begin a new training with them.

        Raises:
            LudusError: no such checkpoint, or one of another world or size.
        """
        other = Trainer.load(path, self.spec, TrainingConfig(processes=1))
        if other.n_parameters != self.n_parameters or [p.shape for p in other.acting.parameters()] != [
            p.shape for p in self.online.parameters()
        ]:
            theirs, ours = ({"agent": _size(learner.config)} for learner in (other, self))
            raise LudusError(
                f"checkpoint {path} has {other.n_parameters:,} parameters, this configuration makes "
                f"{self.n_parameters:,}; give the same agent settings ({differences(theirs, ours)})"
            )
        for name in NETWORKS:
            self._fill(name, other.acting.state_dict())

    # --- learning ------------------------------------------------------------------------------------------------

    def fit(self, source: Source, updates: int, progress: Callable[[int], None] | None = None) -> dict[str, float]:
        """Train for `updates` batches; mean metrics of these updates. `time/` metrics are wall-clock.

        Raises:
            Diverged: a loss that is no number or huge, a policy without entropy. (A value cannot explode: it is a distribution
                on [0, 1].)
            LudusError: memory ran out, a learning process died; sharded, but this is the only process.
        """
        distributed.check(self.training.sharded)
        self._whole = None
        try:
            return self._fit(source, updates, progress or (lambda n: None))
        except (MemoryError, RuntimeError) as error:
            self._dismiss()
            if not _of_memory(error):
                raise
            raise LudusError(
                f"not enough memory on {self._device} for {self.n_parameters:,} parameters and batches of "
                f"{self.config.batch_size} in {self.training.microbatches} parts; all finished steps are kept: free some "
                "memory and resume, or train anew with more training.microbatches or a smaller agent.batch_size"
            ) from error
        except BaseException:
            self._dismiss()  # replies may be under way: a next call starts with a new crew
            raise

    def _fit(self, source: Source, updates: int, progress: Callable[[int], None]) -> dict[str, float]:
        words, mentioned = map(torch.from_numpy, self._reader.table(source.captions))

        def draw(slot: int) -> None:
            x = self._pack(source.next(), words, mentioned)
            if self._inputs is None or self._inputs[0].packed.shape != x.packed.shape:
                self._dismiss()
                self._inputs = _shared(x), _shared(x)
            for name in Inputs.__dataclass_fields__:
                getattr(self._inputs[slot], name).copy_(getattr(x, name))

        sums: dict[str, float] = {}
        started = time.perf_counter()
        draw(0)
        waited = time.perf_counter() - started
        crew = self.crew = self.crew or self._assemble()
        crew.prepare(0, self.updates)
        crew.prepared()
        for done in range(1, updates + 1):
            crew.gradient()
            before = time.perf_counter()
            if done < updates:
                draw(done % 2)
                # The next batch's targets come from the target network before this update, always: half of the work
                # runs beside the other half, and what is computed does not depend on which half is faster.
                drawn = time.perf_counter()
                crew.prepare(done % 2, self.updates + 1)
            else:
                drawn = before
            metrics, idle = crew.gradients()
            waited += max(0.0, drawn - max(before, idle))
            self._step()
            crew.prepared() if done < updates else None
            with torch.no_grad():
                for target, online in zip(self._target, self._online, strict=True):
                    target.lerp_(online, self.config.target_ema)
            for part in metrics:
                for name, value in part.items():
                    sums[name] = sums.get(name, 0.0) + value / len(metrics)
            if done % CHECK_EVERY == 0 or done == updates:
                self._check(sums, done)
            progress(1)
        seconds = time.perf_counter() - started
        means = {name: value / updates for name, value in sums.items()}
        return means | {"time/updates_per_s": updates / seconds, "time/data_wait_share": waited / seconds}

    def _pack(self, batch: Batch, words: Tensor, mentioned: Tensor) -> Inputs:
        skills = torch.from_numpy(batch.skills)
        return Inputs(
            packed=self._features.pack(batch.observations),
            then=self._features.pack(batch.next_observations),
            words=words[skills],
            mentioned=mentioned[skills],
            actions=torch.from_numpy(batch.actions),
            cloned=torch.from_numpy(batch.cloned).float(),
            returns=torch.from_numpy(batch.returns),
            discounts=torch.from_numpy(batch.discounts),
        )

    def _assemble(self) -> Here | Crew:
        assert self._inputs is not None
        parts = min(self.training.microbatches, self.config.batch_size)
        rank, world = (dist.get_rank(), dist.get_world_size()) if distributed.joined() else (0, 1)
        if world > parts:
            raise LudusError(f"{world} ranks for training.microbatches={parts} of a batch; give at least as many parts")
        mine = range(rank * parts // world, (rank + 1) * parts // world)
        if self._sharded:
            if parts % world:
                raise LudusError(
                    f"{world} sharded ranks for training.microbatches={parts} of a batch; give each as many parts"
                )
            networks = self.online, self.target
            shard = Shard(self.config, self.spec, self.seed, *networks, self.training.precision)
            return fsdp.Slices(shard, self._inputs, mine, parts)
        shape = (parts, self.n_parameters)
        self._gradients = _share(torch.zeros(shape, device=self._device))
        sizes = self._features.task_size, self._features.object_size
        job = Job(
            self.config, self.spec, self.seed, self.training.precision, self.training.threads, self._online[0].data,
            self._target[0], self._gradients, self._inputs, sizes,
        )  # fmt: skip
        processes = 1 if world > 1 else min(parts, self.training.processes or self._processes())
        if processes == 1:
            return Here(job, mine)
        crew = Crew(job, processes)
        weakref.finalize(self, crew.close)
        return crew

    def _processes(self) -> int:
        """As many as cores, for networks too small to keep torch's own threads busy."""
        small = self.n_parameters < SMALL and self._device.type == "cpu"
        return len(os.sched_getaffinity(0)) if small else 1

    def _dismiss(self) -> None:
        if self.crew is not None:
            self.crew.close()
            self.crew = None

    @torch.no_grad()
    def _step(self) -> None:
        """One step of the optimiser on the parts' mean gradient; the acting weights follow."""
        if self._sharded:
            nn.utils.clip_grad_norm_(self._online, self.config.grad_clip)  # of all ranks' slices together
        else:
            self._online[0].grad = self._gradient()
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate * self._schedule()
        self._optimiser.step()
        self.updates += 1
        # the average forgets the first weights quickly, then settles to its horizon
        rate = max(self.config.acting_ema, 9 / (self.updates + 10))
        for acting, online in zip(self._acting, self._online, strict=True):
            acting.lerp_(online, rate)

    def _gradient(self) -> Tensor:
        """The parts' mean, clipped."""
        gradient = self._gradients[0].clone()
        for part in self._gradients[1:]:  # in a fixed order: the same bits always
            gradient += part
        if distributed.joined():
            dist.all_reduce(gradient)
        gradient /= len(self._gradients)
        gradient *= (self.config.grad_clip / (gradient.norm() + 1e-6)).clamp(max=1)
        return gradient

    def _schedule(self) -> float:
        warm = min(1.0, (self.updates + 1) / 100)
        share = min(1.0, self.updates / max(1, self.total_updates))
        return warm * (MIN_LR_FRACTION + (1 - MIN_LR_FRACTION) * 0.5 * (1 + math.cos(math.pi * share)))

    def _check(self, sums: Mapping[str, float], done: int) -> None:
        means = {name: value / done for name, value in sums.items()}
        bad = [name for name, mean in means.items() if not math.isfinite(mean)]
        bad += ["a weight"] * (not all(p.isfinite().all() for p in self._online))
        slower = f"lower agent.learning_rate ({self.config.learning_rate})"
        cause = ""
        if bad:
            cause = f"{bad[0]} is not a number; {slower}"
        elif means["loss"] > EXPLODED:
            cause = f"the loss is {means['loss']:,.0f}, more than {EXPLODED:,}; {slower}"
        elif means["entropy"] < COLLAPSED:
            cause = f"the policy's entropy is below {COLLAPSED} nat; {slower}, or raise agent.eta or agent.alpha"
        if cause:
            raise Diverged(
                f"training diverged at update {self.updates}: {cause} and start again; all finished steps are kept"
            )

    # --- keeping -------------------------------------------------------------------------------------------------

    def gather(self) -> None:
        """Sharded: bring all slices to the leader's main memory, for its `policy` and `save`; every rank is to call this.
        Else nothing."""
        if self._sharded:
            whole: dict[str, Any] = {name: fsdp.gathered(getattr(self, name).state_dict()) for name in NETWORKS}
            whole["optimiser"] = fsdp.gathered_moments(self._optimiser)
            self._whole = whole if dist.get_rank() == 0 else None

    def _gathered(self) -> dict[str, Any]:
        if not self._sharded:
            networks = {name: getattr(self, name).state_dict() for name in NETWORKS}
            return networks | {"optimiser": self._optimiser.state_dict()}
        if self._whole is None:
            raise RuntimeError("only the leader acts with a sharded network or saves it, after gather() on every rank")
        return self._whole

    def _fill(self, name: str, whole: Mapping[str, Tensor]) -> None:
        network = getattr(self, name)
        network.load_state_dict(fsdp.slices_of(network, whole) if self._sharded else whole)

    def save(self, path: Path) -> None:
        """Everything that the next update depends on, whole or not at all. Sharded: as `gather` found it."""
        state: dict[str, Any] = {
            "config": asdict(self.config),
            "world": self.spec.name,
            "total_updates": self.total_updates,
            "seed": self.seed,
            "updates": self.updates,
            **self._gathered(),
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path, spec: WorldSpec, training: TrainingConfig | None = None) -> Trainer:
        """The learner as it was saved, for the same kind of world (the number of objects is free).

        Raises:
            LudusError: no checkpoint there, a broken one, or one of another world.
        """
        try:
            mapped = training is not None and training.sharded and distributed.joined()  # a rank reads its slices only
            state = torch.load(path, weights_only=True, map_location="cpu", mmap=mapped)
        except Exception as error:
            why = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({type(error).__name__})"
            raise LudusError(
                f"checkpoint {path} {why}; restore it from a copy, or begin the run anew in another directory (same seed, "
                "configuration and data give the same weights)"
            ) from error
        if state["world"] != spec.name:
            raise LudusError(f"checkpoint {path} is of world {state['world']!r}, not {spec.name!r}")
        learner = cls(AgentConfig(**state["config"]), spec, state["total_updates"], state["seed"], training)
        learner.updates = state["updates"]
        for name in NETWORKS:
            learner._fill(name, state[name])
        kept = state["optimiser"]
        learner._optimiser.load_state_dict(fsdp.moments_of(learner._optimiser, kept) if learner._sharded else kept)
        return learner


def _of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "allocate" in str(error)  # so says torch, of CPUs and GPUs


def device_of(training: TrainingConfig) -> torch.device:
    """Where to compute.

    Raises:
        LudusError: no such device or precision here, or numbers of parts and processes that make no sense.
    """
    if training.precision not in ("float32", "bfloat16"):
        raise LudusError(f"unknown training.precision {training.precision!r}; it is 'float32' or 'bfloat16'")
    if training.microbatches < 1 or training.processes < 0:
        raise LudusError(
            f"training.microbatches={training.microbatches} and training.processes={training.processes}; at least 1 and 0"
        )
    device = training.device
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # torchrun: a GPU for each process
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        return torch.zeros((), device=device).device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises an AssertionError
        raise LudusError(
            f"training.device={training.device!r} cannot be used here ({str(error).splitlines()[0]}); 'cpu' always can"
        ) from None


def _size(config: AgentConfig) -> dict[str, Any]:
    """The settings that a network's parameters depend on."""
    rest = {k: getattr(config, k) for k in ("network", "action_bins", "value_atoms")}
    return config.shape._asdict() | rest


def _share(tensor: Tensor) -> Tensor:
    return tensor.share_memory_() if tensor.device.type == "cpu" else tensor


def _shared(inputs: Inputs) -> Inputs:
    return Inputs(*[getattr(inputs, name).clone().share_memory_() for name in Inputs.__dataclass_fields__])
