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

from ludus.config import PACConfig, TrainingConfig
from ludus.pac.crew import Crew, Here, Job, flatten
from ludus.pac.features import Features
from ludus.pac.networks import actor_critic
from ludus.pac.policy import Policy
from ludus.pac.shard import Inputs
from ludus.pac.text import CaptionReader
from ludus.seeding import child
from ludus.types import Batch, LudusError, WorldSpec

FLOOR = 0.1
"""The cosine schedule ends at this share of the learning rate and stays there through the rounds."""
CHECK_EVERY = 50
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


class Learner:
    """Perceiver-Actor-Critic on one world.

    Args:
        total_updates: length of the learning-rate schedule.
        seed: the run's seed; initial weights and action samples are drawn from named children of it.
        training: gives parts, processes, device and precision. Of these, the number of parts, the device and the
            precision shape the result; the number of processes does not. Under an initialised `torch.distributed`
            every rank is to be given the same source; it learns from its share of the parts, and gradients are added
            over all ranks.

    Raises:
        LudusError: no such device or precision here.
    """

    def __init__(
        self, config: PACConfig, spec: WorldSpec, total_updates: int, seed: int, training: TrainingConfig | None = None
    ):
        self.config, self.spec, self.total_updates, self.seed = config, spec, total_updates, seed
        self.training = training or TrainingConfig(processes=1)
        self.updates = 0
        self._device = device_of(self.training)
        self._features = Features(spec)
        self._reader = CaptionReader(spec.objects)
        sizes = self._features.task_size, self._features.object_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(child(seed, "pac", "weights"))
            self.online = actor_critic(config, *sizes, len(spec.actions))
        self.target = copy.deepcopy(self.online)
        self.acting = copy.deepcopy(self.online)
        flat = torch.cat([p.detach().flatten() for p in self.online.parameters()]).to(self._device)
        self._online, self._target = nn.Parameter(_share(flat)), _share(flat.clone())
        self._acting = flat.clone()
        flatten(self.online, self._online.data)
        flatten(self.target, self._target).requires_grad_(False)
        flatten(self.acting, self._acting).requires_grad_(False)
        self._optimiser = torch.optim.AdamW(
            [self._online], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.crew: Here | Crew | None = None
        self._inputs: tuple[Inputs, Inputs] | None = None

    @property
    def n_parameters(self) -> int:
        return self._online.numel()

    def policy(self, temperature: float = 0.0) -> Policy:
        """The averaged weights, ready to act; a copy, so that training may go on."""
        return Policy(copy.deepcopy(self.acting).cpu(), self.spec, temperature)

    def start_from(self, path: Path) -> None:
        """Take the acting weights of a checkpoint as all three networks' and begin a new training with them.

        Raises:
            LudusError: no such checkpoint, or one of another world or size.
        """
        other = Learner.load(path, self.spec, TrainingConfig(processes=1))
        if other.n_parameters != self.n_parameters or [p.shape for p in other.acting.parameters()] != [
            p.shape for p in self.online.parameters()
        ]:
            raise LudusError(
                f"checkpoint {path} has {other.n_parameters:,} parameters (pac: {asdict(other.config)}), this "
                f"configuration makes {self.n_parameters:,}; give the same pac settings"
            )
        for flat in (self._online.data, self._target, self._acting):
            flat.copy_(other._acting)

    # --- learning ------------------------------------------------------------------------------------------------

    def fit(self, source: Source, updates: int, progress: Callable[[int], None] | None = None) -> dict[str, float]:
        """Train for `updates` batches; mean metrics of these updates. `time/` metrics are wall-clock.

        Raises:
            Diverged: a loss that is no number, a policy without entropy. (A value cannot explode: it is a distribution
                on [0, 1].)
            LudusError: memory ran out, a learning process died.
        """
        try:
            return self._fit(source, updates, progress or (lambda n: None))
        except (MemoryError, RuntimeError) as error:
            self._dismiss()
            if isinstance(error, RuntimeError) and "allocate" not in str(error):  # so says torch, of CPUs and GPUs
                raise
            raise LudusError(
                f"not enough memory on {self._device} for {self.n_parameters:,} parameters and batches of "
                f"{self.config.batch_size} in {self.training.parts} parts; the last checkpoint is kept: raise "
                "training.parts, or lower pac.batch_size"
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
                self._target.lerp_(self._online, self.config.target_ema)
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
        parts = min(self.training.parts, self.config.batch_size)
        shape = (parts, self.n_parameters)
        self._gradients = _share(torch.zeros(shape, device=self._device))
        sizes = self._features.task_size, self._features.object_size
        job = Job(
            self.config, self.spec, self.seed, self.training.precision, self._online.data, self._target,
            self._gradients, self._inputs, sizes,
        )  # fmt: skip
        if dist.is_available() and dist.is_initialized():
            rank, world = dist.get_rank(), dist.get_world_size()
            if world > parts:
                raise LudusError(f"{world} ranks for training.parts={parts} of a batch; give at least as many parts")
            return Here(job, range(rank * parts // world, (rank + 1) * parts // world))
        processes = min(parts, self.training.processes or self._processes())
        if processes == 1:
            return Here(job, range(parts))
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
        gradient = self._gradients[0].clone()
        for part in self._gradients[1:]:  # in a fixed order: the same bits always
            gradient += part
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(gradient)
        gradient /= len(self._gradients)
        gradient *= (self.config.grad_clip / (gradient.norm() + 1e-6)).clamp(max=1)
        self._online.grad = gradient
        for group in self._optimiser.param_groups:
            group["lr"] = self.config.learning_rate * self._schedule()
        self._optimiser.step()
        self.updates += 1
        # the average forgets the first weights quickly, then settles to its horizon
        self._acting.lerp_(self._online, max(self.config.acting_ema, 9 / (self.updates + 10)))

    def _schedule(self) -> float:
        warm = min(1.0, (self.updates + 1) / 100)
        share = min(1.0, self.updates / max(1, self.total_updates))
        return warm * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * share)))

    def _check(self, sums: Mapping[str, float], done: int) -> None:
        bad = [name for name, value in sums.items() if not math.isfinite(value)]
        cause = f"{bad[0]} is not a number" if bad else ""
        if not bad and self.updates > 200 and sums["entropy"] / done < 0.01:
            cause = "the policy's entropy collapsed below 0.01 nat; a larger pac.eta or pac.alpha helps"
        if cause:
            raise Diverged(
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
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    @classmethod
    def load(cls, path: Path, spec: WorldSpec, training: TrainingConfig | None = None) -> Learner:
        """The learner as it was saved, for the same kind of world (the number of objects is free).

        Raises:
            LudusError: no checkpoint there, a broken one, or one of another world.
        """
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except FileNotFoundError:
            raise LudusError(f"no checkpoint {path}; train first") from None
        except Exception as error:
            raise LudusError(f"checkpoint {path} cannot be read ({type(error).__name__}); delete it, resume") from error
        if state["world"] != spec.name:
            raise LudusError(f"checkpoint {path} is of world {state['world']!r}, not {spec.name!r}")
        learner = cls(PACConfig(**state["config"]), spec, state["total_updates"], state["seed"], training)
        learner.updates = state["updates"]
        for name in ("online", "target", "acting"):
            getattr(learner, name).load_state_dict(state[name])
        learner._optimiser.load_state_dict(state["optimiser"])
        return learner


def device_of(training: TrainingConfig) -> torch.device:
    """Where to compute.

    Raises:
        LudusError: no such device or precision here, or numbers of parts and processes that make no sense.
    """
    if training.precision not in ("float32", "bfloat16"):
        raise LudusError(f"unknown training.precision {training.precision!r}; it is 'float32' or 'bfloat16'")
    if training.parts < 1 or training.processes < 0:
        raise LudusError(
            f"training.parts={training.parts} and training.processes={training.processes}; at least 1 and 0"
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


def _share(tensor: Tensor) -> Tensor:
    return tensor.share_memory_() if tensor.device.type == "cpu" else tensor


def _shared(inputs: Inputs) -> Inputs:
    return Inputs(*[getattr(inputs, name).clone().share_memory_() for name in Inputs.__dataclass_fields__])
