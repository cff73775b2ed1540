"""Learning within a run: train in chunks, look at every skill after each, ask the analyst whether to go on.

Each chunk is a committed step with a checkpoint, so an interrupted training goes on from the last one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus.agents.backends import process_group
from ludus.agents.policy import Policy, load_policy
from ludus.agents.trainer import Diverged, Trainer
from ludus.config import Config
from ludus.data.labels import Focus
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment import checkpoints
from ludus.lab.analysis import Analysis, Background, aggregate, curves_of, members_of
from ludus.lab.approach import find_approaches
from ludus.lab.embodiment import EvalSpec, evaluate
from ludus.lab.interventions import UNWATCHED, NullOverseer, Overseer
from ludus.lab.rollout import Advance
from ludus.lab.room import Room
from ludus.record import Evaluation, Record
from ludus.record.progress import Progress
from ludus.seeding import child
from ludus.skills.library import SkillLibrary
from ludus.types import LudusError, Observations, SuccessCount
from ludus.worlds.base import World

CHECK_INTERVAL_S = 5.0
"""A training with a time limit looks at the clock this often, s."""


@dataclass(frozen=True)
class TrainingData:
    """What training draws from."""

    stores: tuple[EpisodeStore, ...]
    shares: Mapping[str, float] | None = None
    """See `Sampler`."""
    held_out: frozenset[str] = frozenset()
    """Captions that are never a label."""

    def labels(self, library: SkillLibrary) -> SkillLibrary:
        """The skills that training may use as labels."""
        if not self.held_out:
            return library
        return SkillLibrary(library.vocabulary, [s for s in library if s.caption not in self.held_out])


class Learning:
    """A trainer and its sampler over one record. Both are made when first needed, as the last committed training step
    left them."""

    def __init__(
        self,
        record: Record,
        config: Config,
        world: World,
        analysis: Analysis,
        progress: Progress,
        data: TrainingData,
        overseer: Overseer | NullOverseer = UNWATCHED,
    ) -> None:
        self.record, self.config, self.world, self.analysis, self.progress = record, config, world, analysis, progress
        self.data, self.overseer = data, overseer
        self._critic: tuple[int, Policy] | None = None
        self._trainer: Trainer | None = None
        self._sampler: Sampler | None = None

    @property
    def trainer(self) -> Trainer:
        if self._trainer is None:
            spec, training = self.world.spec, self.config.training
            path = checkpoints.latest(self.record) if checkpoints.training_steps(self.record) else None
            process_group.broadcast(process_group.Make(path and str(path)))
            if path is not None:
                self._trainer = Trainer.load(path, spec, training)
            else:
                self._trainer = Trainer(self.config.agent, spec, training.updates, self.config.seed, training)
        return self._trainer

    # --- training --------------------------------------------------------------------------------------------------

    def train(self, phase: str, round_: int, updates: int, library: SkillLibrary, focus: Sequence[Focus] = ()) -> None:
        """Train in chunks called `<phase>/train/000` ...; measure every skill after each, and stop early where the
        analysis says so.

        Args:
            focus: what training is about most, see `Sampler.refresh`.

        Raises:
            Diverged: the training went wrong beyond repair; finished steps are kept.
            LudusError: what the trainer or the sampler refuse.
        """
        every = max(1, min(self.config.training.evaluate_every, updates))
        steps = [(f"{phase}/train/{k:03d}", min(every, updates - k * every)) for k in range(-(-updates // every))]
        left = [(s, u) for s, u in steps if not self.record.done(s)]
        stopped = any(self.record.result(s)["stop"] for s, _ in steps if self.record.done(s))
        if not left or stopped:
            return
        title, n = phase.replace("/", " "), self.config.training.evaluation_episodes
        minutes = self._minutes(round_)
        control_steps = sum(s.steps for s in library) * n
        with self.progress.stage(f"{title}: loading episodes", 1):
            self._load(library, focus)
        if round_ and left == steps:
            self.trainer.begin_cycle(updates)
        with (
            self.progress.stage(f"{title}: training", sum(u for _, u in left)) as trained,
            self.progress.stage(f"{title}: measuring", control_steps * len(left)) as measured,
        ):
            for step, chunk in left:
                self.overseer.before(step)
                with self.record.commit(step) as opened:
                    metrics = self._fit(chunk, minutes, trained)
                    opened.result = self._judge(step, round_, library, metrics, measured)
                checkpoints.prune(self.record)
                if opened.result["stop"]:
                    break

    def _load(self, library: SkillLibrary, focus: Sequence[Focus]) -> None:
        """Make the trainer, and the sampler with its cursor where training stands."""
        labels, self._trainer = self.data.labels(library), self.trainer
        if self._sampler is None:
            self._sampler = Sampler(
                self.data.stores,
                labels,
                self.config.agent.per_step(self.world.spec.control_hz),
                self.config.sampling,
                child(self.config.seed, "sampler"),
                shares=self.data.shares,
                folder=self.record.directory,
            )
            self._sampler.refresh(labels, focus)
            if steps := checkpoints.training_steps(self.record):
                self._sampler.restore(self.record.result(steps[-1])["sampler"])
        else:
            self._sampler.refresh(labels, focus)

    def _judge(
        self, step: str, round_: int, library: SkillLibrary, metrics: Mapping[str, float], advance: Advance
    ) -> dict[str, Any]:
        """Save what was learned, measure every skill, ask the analyst; returns the step's result."""
        trainer, sampler, training = self.trainer, self._sampler, self.config.training
        assert sampler is not None
        trainer.save(self.record.path(checkpoints.name_of(step)))
        self.record.keep_file(checkpoints.name_of(step))
        self.record.add_metrics((name, trainer.updates, value) for name, value in metrics.items())
        policy = self.policy(training.evaluation_temperature)
        counts = self._evaluate(step, policy, library, training.evaluation_episodes, advance)
        self.record.add_evaluation("curve", trainer.updates, counts)
        points = [*self.record.evaluations("curve"), *(Evaluation("curve", trainer.updates, c) for c in counts)]
        practised = {t.caption: t.n for t in aggregate(self.record.success_counts(), library)}
        judged = self.analysis.judge(curves_of(points, library), Background(members_of(points, library), practised))
        for verdict in judged.verdicts:
            self.record.add_verdict(round_, trainer.updates, verdict)
        minutes = self._minutes(round_)
        late = minutes > 0 and self._trained_s() + metrics["time/training_s"] >= 60 * minutes
        measured_any = any(c.n for c in counts)  # without episodes no skill is known to be stuck
        enough = late or (training.early_stop and measured_any and judged.stop)
        second = [[v.judgement, s.judgement, v.caption] for v, s in judged.disagreements]
        return {"stop": enough, "sampler": sampler.state(), "updates": trainer.updates, "disagreements": second}

    def _fit(self, updates: int, minutes: float, advance: Advance) -> dict[str, float]:
        """Mean metrics of `updates` updates, or of fewer if the `minutes` of training (0: no limit) run out. Under a
        limit the learning rate falls with the larger of two shares: of the updates and of the time."""
        trainer, sampler, total = self.trainer, self._sampler, self.config.training.updates
        assert sampler is not None
        before, done, sums = self._trained_s(), 0, dict[str, float]()
        started, piece, spent = time.perf_counter(), updates, 0.0
        try:
            while done < updates and not (done and minutes and before + spent >= 60 * minutes):
                if minutes:
                    rate = done / spent if done else 0.0  # updates/s
                    left_s = 60 * minutes - before - spent
                    piece = min(updates - done, max(1, int(rate * min(CHECK_INTERVAL_S, left_s))))
                    share = max(trainer.updates / total, (before + spent) / (60 * minutes))
                    trainer.total_updates = max(1, int(trainer.updates / share)) if share else total
                process_group.broadcast(
                    process_group.Fit(piece, sampler.state(), trainer.cycle_start, trainer.total_updates)
                )
                for name, value in trainer.fit(sampler, piece, advance).items():
                    sums[name] = sums.get(name, 0.0) + value * piece
                done += piece
                spent = time.perf_counter() - started
        except LudusError as error:
            kind = "diverged" if isinstance(error, Diverged) else "failed"
            Room(self.record).post("learner", "all", kind, str(error))
            raise
        process_group.broadcast(process_group.Gather())
        trainer.gather()
        return {name: value / done for name, value in sums.items()} | {"time/training_s": spent}

    def _minutes(self, round_: int) -> float:
        """The limit on the time of training, 0 for none: rounds have none."""
        return self.config.training.minutes if round_ == 0 else 0.0

    def _trained_s(self) -> float:
        """Seconds of all committed training."""
        return sum(value for _, _, value in self.record.metrics("time/training_s"))

    # --- measuring -------------------------------------------------------------------------------------------------

    def policy(self, temperature: float = 0.0) -> Policy:
        """The trainer's averaged weights, ready to act; training may go on."""
        return self.trainer.policy(temperature)

    def values(self, observations: Observations, captions: Sequence[str]) -> np.ndarray:
        """See `Policy.values`; of the weights as they stand."""
        if self._critic is None or self._critic[0] != self.trainer.updates:
            self._critic = self.trainer.updates, self.policy()
        return self._critic[1].values(observations, captions)

    def measure(self, stage: str, library: SkillLibrary) -> None:
        """Success of the best policy at every skill, with more episodes than the curves have, on starts of its own; in step
        `measure/<stage>`."""
        step, n = f"measure/{stage}", self.config.experiment.final_episodes
        if self.record.done(step):
            return
        self.overseer.before(step)
        total = sum(s.steps for s in library) * n
        with (
            self.record.commit(step),
            self.progress.stage(f"measuring {stage}: {n} episodes per skill", total) as advance,
        ):
            counts = self._evaluate("measure", self._best_policy(), library, n, advance)
            self.record.add_evaluation(stage, self.trainer.updates, counts)

    def _best_policy(self) -> Policy:
        path, temperature = checkpoints.best(self.record), self.config.training.evaluation_temperature
        return load_policy(path, self.world.spec, temperature)

    def _evaluate(
        self, name: str, policy: Policy, library: SkillLibrary, n: int, advance: Advance
    ) -> list[SuccessCount]:
        seed = child(self.config.seed, "evaluation", name)
        approaches = find_approaches(library, self.world.spec)
        spec = EvalSpec(library.captions, n, seed, approaches=approaches)
        return evaluate(self.world, library, policy, spec, advance)
