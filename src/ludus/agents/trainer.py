"""The trainer: moves an agent's weights along the gradients of a backend; saves and restores all that the next update
depends on. It knows no loss and no process.
"""

from __future__ import annotations

import inspect
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ludus.agents import agent_class
from ludus.agents.backends import make_backend, process_group
from ludus.agents.backends.base import NETWORKS, Info
from ludus.agents.base import AgentSpec
from ludus.agents.batches import Source, make_reader
from ludus.agents.checkpoint import read_checkpoint, write_checkpoint
from ludus.agents.policy import Policy
from ludus.config import AgentConfig, TrainingConfig
from ludus.seeding import child
from ludus.types import LudusError, WorldSpec, differences

WARMUP_UPDATES = 100
"""The learning rate rises linearly over the first updates of a cycle."""
MIN_LR_FRACTION = 0.1
"""Each cycle of the cosine schedule ends at this share of the learning rate, which stays there until the next begins."""
AVERAGING_UPDATES = 9
"""The average behind the acting weights begins with about the last tenth of all updates: after n it forgets at the rate
AVERAGING_UPDATES / (n + AVERAGING_UPDATES + 1), until that falls to `agent.acting_ema`."""
CHECK_INTERVAL_UPDATES = 50
MAX_LOSS_NATS = 1000
"""No training comes back from a mean loss above this; it begins at about 20."""
MIN_ENTROPY_NATS = 0.01
"""Nor from a mean entropy of the policy below this, per dimension of the action."""


class Diverged(LudusError):
    """Training has gone wrong beyond repair."""


class EagerAdamW(torch.optim.AdamW):
    """AdamW without torch's compiler. AdamW's own methods load it, seconds of a process's start, to tell it what of them it
    is not to compile; here nothing is compiled."""

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)


class Trainer:
    """Trains the agent that `agent.name` names on one world.

    Args:
        total_updates: length of the learning-rate schedule's first cycle.
        seed: the run's seed; initial weights and random numbers of updates are drawn from named children of it.
        training: gives microbatches, processes, device and precision. Of these, the number of microbatches, the device and
            the precision shape the result; the number of processes does not. Under an initialised `torch.distributed`
            every rank is to be given the same source; it computes gradients of its share of the microbatches. Sharded, it
            also keeps only its share of the networks and of the optimiser; where there is but one process, such a trainer
            is whole and cannot `fit`.

    Raises:
        LudusError: unknown agent or option; no such device or precision here; memory ran out.
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
        self.updates = self.cycle_start = 0
        self._device = device_of(self.training)
        kind = agent_class(config.name)
        kind.read_options(config)
        self._agent = AgentSpec(kind, config, spec, self.training.precision)
        with self._memory(
            f"networks of agent.width={config.shape.width}, agent.latents={config.shape.latents} and "
            f"agent.blocks={config.shape.blocks}; choose a smaller agent.size"
        ):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(child(seed, config.name, "weights"))
                network = self._agent.network()
            self.backend = make_backend(self._agent, seed, network, self._device, self.training)
        self._optimiser = EagerAdamW(
            self.backend.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self._schedule()  # the groups' 'initial_lr' is part of a checkpoint
        self._gathered: dict[str, Any] = {}

    @property
    def n_parameters(self) -> int:
        return self.backend.n_parameters

    def policy(self, temperature: float = 0.0) -> Policy:
        """The averaged weights, ready to act; a copy, so that training may go on. Sharded: as `gather` found them."""
        state = self._state()["acting"]
        network = self._agent.loaded({name: weight.detach().cpu().clone() for name, weight in state.items()})
        return Policy(AgentSpec(self._agent.kind, self.config, self.spec).agent(network), temperature)

    def start_from(self, path: Path) -> None:
        """Take the acting weights of a checkpoint as all three networks' and begin a new training with them.

        Raises:
            LudusError: no such checkpoint, or one of another world or size.
        """
        state = read_checkpoint(path, self.spec, mmap=True)
        acting = state["acting"]
        if _shapes(acting) != _shapes(self.backend.online.state_dict()):
            n = sum(weight.numel() for weight in acting.values())
            theirs, ours = ({"agent": _size(config)} for config in (AgentConfig(**state["config"]), self.config))
            raise LudusError(
                f"checkpoint {path} has {n:,} parameters, this configuration makes {self.n_parameters:,}; give the same "
                f"agent settings ({differences(theirs, ours)})"
            )
        for name in NETWORKS:
            self.backend.load_weights(name, acting)

    # --- updates -------------------------------------------------------------------------------------------------

    def fit(self, source: Source, updates: int, progress: Callable[[int], None] | None = None) -> dict[str, float]:
        """Train for `updates` batches; mean metrics of these updates. `time/` metrics are wall-clock.

        Raises:
            Diverged: a loss that is no number or huge, a policy without entropy. (A value cannot explode: it is a
                distribution on [0, 1].)
            LudusError: memory ran out, a worker process died; sharded, but this is the only process.
        """
        process_group.check(self.training.sharded)
        self._gathered = {}
        advance = progress or (lambda n: None)
        with (
            self._memory(
                f"{self.n_parameters:,} parameters and batches of {self.config.batch_size} in {self.training.microbatches} "
                "parts; all finished steps are kept: free some memory and resume, or train anew with more "
                "training.microbatches or a smaller agent.batch_size"
            ),
            self._workers_closed_on_error(),
        ):
            on_device = self._device if self.training.data_on_device else None
            backend, reader = self.backend, make_reader(source, self.spec, on_device)
            schedule = self._schedule()
            sums: dict[str, float] = {}
            started = time.perf_counter()
            batch = reader.next()
            waited = time.perf_counter() - started
            backend.start_prepare(batch, self.updates)
            backend.finish_prepare()
            for done in range(1, updates + 1):
                backend.start_gradient()
                before = drawn = time.perf_counter()
                if done < updates:
                    batch = reader.next()
                    drawn = time.perf_counter()
                    backend.start_prepare(batch, self.updates + 1)
                infos, idle = backend.finish_gradient()
                waited += max(0.0, drawn - max(before, idle))
                self._step(schedule)
                if done < updates:
                    backend.finish_prepare()
                _average(backend.target_weights, backend.parameters, self.config.target_ema)
                _add(sums, infos)
                if done % CHECK_INTERVAL_UPDATES == 0 or done == updates:
                    self._check({name: value / done for name, value in sums.items()})
                advance(1)
            seconds = time.perf_counter() - started
            means = {name: value / updates for name, value in sums.items()}
            return means | {"time/updates_per_s": updates / seconds, "time/data_wait_share": waited / seconds}

    def begin_cycle(self, updates: int) -> None:
        """The learning rate warms up again and falls over the next `updates` updates. Source: warm restarts, Loshchilov and
        Hutter 2017, arXiv 1608.03983."""
        self.cycle_start, self.total_updates = self.updates, updates

    def _step(self, schedule: LambdaLR) -> None:
        """One step of the optimiser on the microbatches' mean gradient; the acting weights follow."""
        self.backend.clip_gradient(self.config.grad_clip)
        self._optimiser.step()
        schedule.step()
        self.updates += 1
        rate = max(self.config.acting_ema, AVERAGING_UPDATES / (self.updates + AVERAGING_UPDATES + 1))
        _average(self.backend.acting_weights, self.backend.parameters, rate)

    def _schedule(self) -> LambdaLR:
        """Learning rates from this update on; made anew by each `fit`, so that `updates` is the only counter."""
        for group in self._optimiser.param_groups:
            group["initial_lr"] = self.config.learning_rate
        fraction = partial(lr_fraction, cycle_start=self.cycle_start, total_updates=self.total_updates)
        return LambdaLR(self._optimiser, fraction, self.updates - 1)

    def _check(self, means: Mapping[str, float]) -> None:
        bad = [name for name, mean in means.items() if not math.isfinite(mean)]
        bad += ["a weight"] * (not all(p.isfinite().all() for p in self.backend.parameters))
        slower = f"lower agent.learning_rate ({self.config.learning_rate})"
        cause = ""
        if bad:
            cause = f"{bad[0]} is not a number; {slower}"
        elif means["loss"] > MAX_LOSS_NATS:
            cause = f"the loss is {means['loss']:,.0f}, more than {MAX_LOSS_NATS:,}; {slower}"
        elif means.get("entropy", math.inf) < MIN_ENTROPY_NATS:
            cause = f"the policy's entropy is below {MIN_ENTROPY_NATS} nat; {slower}, or raise agent.eta or agent.alpha"
        if cause:
            raise Diverged(
                f"training diverged at update {self.updates}: {cause} and start again; all finished steps are kept"
            )

    @contextmanager
    def _workers_closed_on_error(self):
        """Replies may be under way when an update breaks off: the next call of `fit` starts with new workers."""
        try:
            yield
        except BaseException:
            self.backend.close()
            raise

    @contextmanager
    def _memory(self, what: str):
        """Say what there was too little memory for."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not (isinstance(error, MemoryError) or "allocate" in str(error)):  # so says torch, of CPUs and GPUs
                raise
            raise LudusError(f"not enough memory on {self._device} for {what}") from error

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def gather(self) -> None:
        """Sharded: bring all shards to rank 0's main memory, for its `policy` and `save`; every rank is to call this.
        Else nothing."""
        if self.backend.is_collective:
            self._gathered = self.backend.state(self._optimiser)

    def _state(self) -> dict[str, Any]:
        if not self.backend.is_collective:
            return self.backend.state(self._optimiser)
        if not self._gathered:
            raise RuntimeError("only rank 0 acts with a sharded network or saves it, after gather() on every rank")
        return self._gathered

    def save(self, path: Path) -> None:
        """Everything that the next update depends on, whole or not at all. Sharded: as `gather` found it."""
        state = {
            "config": asdict(self.config),
            "world": self.spec.name,
            "total_updates": self.total_updates,
            "cycle_start": self.cycle_start,
            "seed": self.seed,
            "updates": self.updates,
            **self._state(),
        }
        write_checkpoint(path, state)

    @classmethod
    def load(cls, path: Path, spec: WorldSpec, training: TrainingConfig | None = None) -> Trainer:
        """The trainer as it was saved, for the same kind of world (the number of objects is free).

        Raises:
            LudusError: no checkpoint there, a broken one, or one of another world.
        """
        sharded = training is not None and training.sharded and process_group.is_member()
        state = read_checkpoint(path, spec, mmap=sharded)  # a rank reads its shards only
        trainer = cls(AgentConfig(**state["config"]), spec, state["total_updates"], state["seed"], training)
        trainer.updates, trainer.cycle_start = state["updates"], state.get("cycle_start", 0)
        for name in NETWORKS:
            trainer.backend.load_weights(name, state[name])
        trainer.backend.load_optimiser(trainer._optimiser, state["optimiser"])
        return trainer


def lr_fraction(update: int, cycle_start: int, total_updates: int) -> float:
    """Share of `agent.learning_rate` at an update, counted from 0: linear warm-up times cosine decay over the
    `total_updates` updates of the cycle that began at `cycle_start`."""
    done = update - cycle_start
    warm = min(1.0, (done + 1) / WARMUP_UPDATES)
    share = min(1.0, done / max(1, total_updates))
    return warm * (MIN_LR_FRACTION + (1 - MIN_LR_FRACTION) * 0.5 * (1 + math.cos(math.pi * share)))


@torch.no_grad()
def _average(averages: Iterable[Tensor], weights: Iterable[nn.Parameter], rate: float) -> None:
    """Move exponential averages a step towards the weights. Not `torch.optim.swa_utils.AveragedModel`: that copies the
    weights at its first update, and goes through modules where one row suffices."""
    for average, weight in zip(averages, weights, strict=True):
        average.lerp_(weight, rate)


def _add(sums: dict[str, float], infos: list[Info]) -> None:
    for info in infos:
        for name, value in info.items():
            sums[name] = sums.get(name, 0.0) + value / len(infos)


def device_of(training: TrainingConfig) -> torch.device:
    """Where to compute.

    Raises:
        LudusError: no such device or precision here, or numbers of microbatches and processes that make no sense.
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
        probe = torch.zeros((), device=device)
        probe.item()  # 'meta' has shapes but no numbers
        return probe.device
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises an AssertionError
        raise LudusError(
            f"training.device={training.device!r} cannot be used here ({str(error).splitlines()[0]}); 'cpu' always can"
        ) from None


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: weight.shape for name, weight in state.items()}


def _size(config: AgentConfig) -> dict[str, Any]:
    """The settings that a network's parameters depend on."""
    rest = {k: getattr(config, k) for k in ("name", "network", "action_bins", "value_atoms")}
    return config.shape._asdict() | rest
