"""The method on one page: seed data, training, then rounds of propose, act, learn, judge, grow.

Every stage is a sequence of named steps of the record. A step that was committed is skipped, so resuming a run is the
same as running it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from ludus.agents.backends import distributed
from ludus.agents.trainer import Diverged, Trainer
from ludus.config import Config, ExperimentConfig
from ludus.data.sampler import Sampler
from ludus.experiment.compose import Experiment, build
from ludus.lab.actors import EpsilonZGreedy, SeedActor, seed_rollouts
from ludus.lab.analysis import add_point, aggregate, latest_counts, stop
from ludus.lab.embodiment import EvalSpec, batches, episode_steps, evaluate, run_batch
from ludus.lab.planning import Planning, start_seeds
from ludus.lab.rollout import Actor, RolloutSpec, rollouts_of
from ludus.record import Record
from ludus.seeding import child
from ludus.types import Curve, LudusError, Plan, SuccessCount
from ludus.views.report import write_report
from ludus.views.terminal import Task, show_progress


def run(record: Record, console: Console, config: Config | None = None) -> Path:
    """Carry out or continue the record's experiment; returns the path of the report. `config` replaces the record's own:
    with another budget, say."""
    terminal = Terminal(console)
    with build(record, config, terminal) as parts, show_progress(console) as progress:
        terminal.progress = progress
        loop = Loop(parts, progress)
        loop.begin(f"{loop.config.experiment.rounds} rounds")
        loop.seed_data()
        loop.train("pretrain", 0, loop.config.training.updates)
        loop.evaluate("before")
        for n in range(1, loop.config.experiment.rounds + 1):
            loop.round(n)
        loop.evaluate("after")
        with loop.doing("writing the report", 1):
            return write_report(record, parts.world, parts.library)


def behaviour_policy(learner: Trainer, config: ExperimentConfig) -> Actor:
    """The learner's policy as it collects."""
    policy = learner.policy(config.temperature)
    return EpsilonZGreedy(policy, config.exploration) if config.exploration else policy


class Terminal:
    """Asks a person, the bars of progress out of the way."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        with suppress(ImportError):  # not on every system
            import readline  # noqa: F401  arrow keys and history while typing

    def __call__(self, text: str) -> str:
        if self.progress is not None:
            self.progress.stop()
        try:
            self.console.print(text, markup=False, highlight=False)
            return self.console.input("> ")
        except EOFError:
            raise LudusError(
                "nobody answers at the terminal; `ludus resume` in one, or name another experimenter"
            ) from None
        finally:
            if self.progress is not None:
                self.progress.start()


CHECK_INTERVAL_S = 5.0
"""A training with a time limit looks at the clock this often, s."""


class Loop:
    """The stages; each one leaves everything it did in the record."""

    def __init__(self, parts: Experiment, progress: Progress):
        self.parts, self.progress = parts, progress
        self.config, self.record, self.room = parts.config, parts.record, parts.room
        self._learner: Trainer | None = None
        self._sampler: Sampler | None = None
        self._planning = Planning(parts.curriculum, parts.record, parts.world, parts.config)

    def begin(self, intent: str) -> None:
        """The room opens with what there is and what is to be done."""
        if self.record.done("begin"):
            return
        spec, library = self.parts.world.spec, self.parts.library
        with self.record.commit("begin"):
            self.record.add_skills(library)
            text = (
                f"World {spec.name!r} with {', '.join(spec.objects)}; {len(library)} skills; seed {self.config.seed}; "
                f"{intent}."
            )
            self.room.post("loop", "all", "note", text)

    def seed_data(self) -> None:
        """Episodes of mixed quality by the teacher."""
        rollouts = seed_rollouts(self.parts.library, self.config.seed_data, self.config.seed)
        actor = SeedActor(self.parts.kind.teacher(self.parts.world.spec))
        self.collect("seed-data", rollouts, actor)

    def round(self, n: int) -> None:
        """Propose, act, learn, judge, grow."""
        name = f"round/{n}"
        with self.doing(f"round {n}: planning", 1):
            plans = self._plans(n)
        self._planning.prefetch(n, self.parts.library)
        seeds = start_seeds(self.config, n)
        rollouts = rollouts_of([p for p in plans if not p.gaps], seeds, info={"round": n})
        self.collect(f"{name}/collect", rollouts, behaviour_policy(self.learner, self.config.experiment))
        self._planning.tell(n, plans, self.parts.library, self.parts.store.load)
        self.train(name, n, self.config.training.round_updates)

    # --- acting --------------------------------------------------------------------------------------------------

    def _plans(self, n: int) -> list[Plan]:
        parts = self.parts
        candidates = parts.kind.extra_skills(parts.world.spec.objects)
        values = self.learner.policy().values if parts.curriculum.affordance else None
        plans, parts.library = self._planning.plans(n, parts.library, candidates, values)
        return plans

    def collect(self, name: str, rollouts: Sequence[RolloutSpec], actor: Actor) -> None:
        """Run the jobs wave by wave; each wave is a step."""
        library, world = self.parts.library, self.parts.world
        groups = batches(rollouts, library, world.spec, world.n_envs)
        left = [(f"{name}/{k:03d}", g) for k, g in enumerate(groups) if not self.record.done(f"{name}/{k:03d}")]
        total = sum(episode_steps(rollouts[i].captions, library, world.spec) for _, g in left for i in g)
        if not left:
            return
        with self.doing(f"{name.replace('/', ' ')}: {len(rollouts)} episodes", total) as advance:
            for step, group in left:
                ids = [f"{name.replace('/', '-')}-{i:05d}" for i in group]
                with self.record.commit(step):  # opened before the robots move: its time is theirs
                    episodes, outcomes = run_batch(world, library, [rollouts[i] for i in group], ids, actor, advance)
                    self.parts.store.append(episodes)
                    self.record.add_outcomes(outcomes)

    # --- learning ------------------------------------------------------------------------------------------------

    @property
    def learner(self) -> Trainer:
        """As the last committed training step left it, or a new one."""
        if self._learner is None:
            last = self._last_training()
            spec, config = self.parts.world.spec, self.config
            if last is None and self.record.writable:
                self._learner = Trainer(config.agent, spec, config.training.updates, config.seed, config.training)
            else:
                self._learner = Trainer.load(self.checkpoint, spec, config.training)
        return self._learner

    @property
    def sampler(self) -> Sampler:
        """Over all that was collected so far, with its cursor where training stands."""
        if self._sampler is None:
            parts = self.parts
            seed = child(self.config.seed, "sampler")
            self._sampler = Sampler(
                parts.data,
                parts.taught,
                self.config.agent,
                self.config.sampling,
                seed,
                shares=parts.shares,
                folder=self.record.directory,
            )
            last = self._last_training()
            if last is not None:
                self._sampler.restore(self.record.result(last)["sampler"])
        return self._sampler

    def train(self, phase: str, n: int, updates: int) -> None:
        """Train in chunks; after each, look at every skill, and stop early where analysis says so."""
        every = max(1, min(self.config.training.evaluate_every, updates))
        steps = [(f"{phase}/train/{k:03d}", min(every, updates - k * every)) for k in range(-(-updates // every))]
        left = [(s, u) for s, u in steps if not self.record.done(s)]
        stopped = any(self.record.result(s)["stop"] for s, _ in steps if self.record.done(s))
        if not left or stopped:
            return
        minutes = self.config.training.minutes if n == 0 else 0.0
        captions = self.parts.library.captions
        control_steps = sum(self.parts.library[c].steps for c in captions) * self.config.training.evaluation_episodes
        with self.doing(f"{phase.replace('/', ' ')}: loading episodes", 1):
            learner, sampler = self.learner, self.sampler
            sampler.refresh(self.parts.taught)
        with (
            self.doing(f"{phase.replace('/', ' ')}: training", sum(u for _, u in left)) as trained,
            self.doing(f"{phase.replace('/', ' ')}: measuring", control_steps * len(left)) as measured,
        ):
            for step, chunk in left:
                with self.record.commit(step) as opened:
                    try:
                        metrics = self._fit(chunk, minutes, trained)
                    except LudusError as error:
                        kind = "diverged" if isinstance(error, Diverged) else "failed"
                        self.room.post("learner", "all", kind, str(error))
                        raise
                    learner.save(self._checkpoint(step))
                    self.record.add_metrics((name, learner.updates, value) for name, value in metrics.items())
                    counts = self._evaluate(step, captions, self.config.training.evaluation_episodes, measured)
                    self.record.add_evaluation("curve", learner.updates, counts)
                    verdicts = self.parts.analysis.judge(self._curves(learner.updates, counts))
                    for verdict in verdicts:
                        self.record.add_verdict(n, learner.updates, verdict)
                    late = minutes > 0 and self._trained_s() + metrics["time/training_s"] >= 60 * minutes
                    measured_any = any(t.n for t in counts)  # without episodes nothing is known to be stuck
                    enough = late or (self.config.training.early_stop and measured_any and stop(verdicts))
                    opened.result = {"stop": enough, "sampler": sampler.state(), "updates": learner.updates}
                self._prune()
                if enough:
                    break

    def _fit(self, updates: int, minutes: float, progress: Callable[[int], None]) -> dict[str, float]:
        """Mean metrics of so many updates, or of fewer if the `minutes` of training (0: any) run out. Then the
        learning rate falls with the larger of the two shares, of the updates and of the time."""
        learner, sampler, last = self.learner, self.sampler, self._last_training()
        before, done, sums = self._trained_s(), 0, dict[str, float]()
        started, piece, spent = time.perf_counter(), updates, 0.0
        while done < updates and not (done and minutes and before + spent >= 60 * minutes):
            if minutes:
                rate = done / spent if done else 0.0  # updates/s
                piece = min(updates - done, max(1, int(rate * min(CHECK_INTERVAL_S, 60 * minutes - before - spent))))
                share = max(learner.updates / self.config.training.updates, (before + spent) / (60 * minutes))
                learner.total_updates = max(1, int(learner.updates / share)) if share else self.config.training.updates
            checkpoint = last and str(self._checkpoint(last))
            distributed.tell(distributed.Work(piece, checkpoint, sampler.state(), learner.total_updates))
            for name, value in learner.fit(sampler, piece, progress).items():
                sums[name] = sums.get(name, 0.0) + value * piece
            done += piece
            spent = time.perf_counter() - started
        distributed.tell(distributed.Gather())
        learner.gather()
        return {name: total / done for name, total in sums.items()} | {"time/training_s": spent}

    def _trained_s(self) -> float:
        """Seconds of all committed training."""
        return sum(value for _, _, value in self.record.metrics("time/training_s"))

    def evaluate(self, stage: str) -> None:
        """Success of every skill, with more episodes than the curves have, on starts of its own."""
        step, n = f"measure/{stage}", self.config.experiment.final_episodes
        if self.record.done(step):
            return
        captions = self.parts.library.captions
        total = sum(self.parts.library[c].steps for c in captions) * n
        with self.record.commit(step), self.doing(f"measuring {stage}: {n} episodes per skill", total) as advance:
            self.record.add_evaluation(stage, self.learner.updates, self._evaluate("measure", captions, n, advance))

    def _evaluate(self, name: str, captions: Sequence[str], n: int, progress) -> list[SuccessCount]:
        seed = child(self.config.seed, "evaluation", name)
        policy = self.learner.policy(self.config.training.evaluation_temperature)
        return evaluate(self.parts.world, self.parts.library, policy, EvalSpec(tuple(captions), n, seed), progress)

    def _curves(self, updates: int, counts: Sequence[SuccessCount]) -> list[Curve]:
        """One curve per family of skills ('stack _ on _'): pooling its members makes the intervals worth reading."""
        library = self.parts.library
        curves: dict[str, Curve] = {}
        points: dict[int, list[SuccessCount]] = {}
        for evaluation in self.record.evaluations("curve"):
            points.setdefault(evaluation.update, []).append(evaluation.count)
        points[updates] = list(counts)
        for update, members in points.items():
            for count in aggregate(members, library):
                curves[count.caption] = add_point(curves.get(count.caption), update, count)
        return list(curves.values())

    def latest_tallies(self) -> list[SuccessCount]:
        """The last point of every skill's learning curve."""
        return latest_counts(self.record.evaluations("curve"))

    def _last_training(self) -> str | None:
        done = [s.name for s in self.record.steps() if "/train/" in s.name]
        return done[-1] if done else None

    @property
    def checkpoint(self) -> Path:
        """The latest one.

        Raises:
            LudusError: nothing was trained yet.
        """
        last = self._last_training()
        if last is None:
            raise LudusError(f"{self.record.directory} has no trained policy yet; train first")
        return self._checkpoint(last)

    def _checkpoint(self, step: str) -> Path:
        return self.record.path("checkpoints", f"{step.replace('/', '-')}.pt")

    def _prune(self) -> None:
        """Keep the last checkpoint and the one before the rounds."""
        steps = [s.name for s in self.record.steps() if "/train/" in s.name]
        pretrained = [s for s in steps if s.startswith("pretrain")][-1:]
        for step in set(steps) - set(steps[-1:]) - set(pretrained):
            self._checkpoint(step).unlink(missing_ok=True)

    # --- showing -------------------------------------------------------------------------------------------------

    def doing(self, what: str, total: int):
        """A line of progress; as a context manager it yields the function that advances it."""
        return Task(self.progress, what, total)
