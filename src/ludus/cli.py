"""The command line: parse, call, print. `ludus run`, `resume`, `status`, `collect`, `train`, `eval`, `exam`, `export`,
`doctor`."""

from __future__ import annotations

import math
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ludus.types import LudusError, differences

RUNS = Path("runs")
HOW = ("world.threads", "training.processes", "training.sharded", "sampling.memory")
"""Settings of how something is computed, not of what."""
FREE_TO_CHANGE = ("budget.", "experimenter.", *(f"{setting}=" for setting in HOW))
"""Settings that a run may be continued with other values of: limits, who decides from here on, and how it is computed."""
MEASURING = ("world.", "training.evaluation_temperature=", "training.device=", "training.threads=")
"""Settings that a measurement depends on, or how it is computed."""
SETTING = re.compile(r"[a-z0-9_.]+=")
"""How an override begins; no flag takes such a value."""
Overrides = tyro.conf.Positional[tuple[str, ...]]
Many = tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]]
"""Values behind one flag or several, see `_listed`."""


def run(
    overrides: Overrides = (),
    experimenter: str | None = None,
    replay: Path | None = None,
    strict: bool = False,
    preset: str = "cpu",
    seed: int = 0,
    dir: Path | None = None,
) -> None:
    """Start an experiment, from seed data to report.

    Args:
        overrides: Settings to change, e.g. experiment.rounds=5 world.n_blocks=4 (see src/ludus/config.py).
        experimenter: Who plays all four roles: planner, random, oracle, human, a model such as openai:..., google:...,
            anthropic:... or ollama:..., or the address of an OpenAI-compatible server, http://host:port/v1#model. One role:
            experimenter.analyse=... .
        replay: A run whose recorded answers stand in for the model, where they fit.
        strict: With --replay: never ask the model; a question without a fitting recording is an error.
        preset: cpu (about ten minutes on four cores) or tiny (under a minute, learns little).
        seed: The only source of randomness.
        dir: Where the run is kept; a new folder under runs/ if not given.
    """
    from ludus import config as configs
    from ludus.experiment import compose, loop
    from ludus.record.record import Record

    if replay is not None:
        with Record.open(replay, write=False) as recorded:
            if not recorded.calls():
                raise LudusError(f"{replay} holds no calls to replay; it was run without a model")
    elif strict:
        raise LudusError("--strict goes with --replay RUN, the run whose answers are taken")
    roles = [] if experimenter is None else [f"experimenter.{role}={experimenter}" for role in configs.ROLES]
    config = configs.override(configs.preset(preset), (*roles, *overrides, f"seed={seed}"))
    compose.world_kind(config.world.name)  # an unknown world makes no directory
    compose.check_experimenter(config, reach=replay is None)  # nor does an unknown model, or a wrong key
    directory = dir or RUNS / f"{datetime.now():%Y-%m-%d-%H%M%S}-{preset}-seed{seed}"
    with _created(directory, config) as record:
        if replay is not None:
            with record.commit("replay") as opened:
                opened.result = {"run": str(replay.resolve()), "strict": strict}
        _drive(loop.run, record)


def resume(dir: tyro.conf.Positional[Path | None] = None, overrides: Overrides = ()) -> None:
    """Continue an interrupted run where it stopped; the result is the same as without the interruption.

    Args:
        dir: The run directory; the latest under runs/ if not given.
        overrides: Limits to raise, e.g. budget.calls=500, or another experimenter from here on: experimenter.analyse=planner.
    """
    from ludus import config as configs
    from ludus.experiment import collection, loop, offline
    from ludus.record.record import Record

    with Record.open(dir or _latest()) as record:
        if collection.is_collection(record):
            raise LudusError(f"{record.directory} holds collected episodes only; give the same `ludus collect` again")
        alone = offline.is_training(record)
        config = configs.override(record.config, overrides)
        for changed in overrides:
            if not changed.startswith(FREE_TO_CHANGE):
                more = (
                    f"; train on with `ludus train NEW --init {record.directory} --data RUN {changed}`" if alone else ""
                )
                raise LudusError(
                    f"{changed} would make another run of it; only budget.*, experimenter.* and {', '.join(HOW)} may change on "
                    f"resuming{more}"
                )
        if alone:
            _train(record, Console(), config)
        else:
            _drive(partial(loop.run, config=config), record)


def _drive(loop, record) -> None:
    console = Console()
    report = _interruptible(console, f"ludus resume {record.directory}", lambda: loop(record, console))
    console.print(f"Report: {report}")


def _interruptible(console: Console, go_on: str | None, work):
    # A second Ctrl-C during the clean-up must not lose anything either: nothing is kept outside committed steps.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return work()
    except KeyboardInterrupt:
        kept = f"all finished steps are kept. Continue with: {go_on}" if go_on else "nothing of it is kept."
        console.print(f"\nInterrupted; {kept}")
        raise SystemExit(130) from None


def status(dir: tyro.conf.Positional[Path | None] = None) -> None:
    """Say what a run has done so far, also while it is running.

    Args:
        dir: The run directory; the latest under runs/ if not given.
    """
    from ludus.record.record import Record
    from ludus.views import terminal

    with Record.open(dir or _latest(), write=False) as record:
        terminal.print_status(record, Console())


def collect(
    dir: tyro.conf.Positional[Path],
    overrides: Overrides = (),
    actor: str = "teacher",
    policy: Path | None = None,
    episodes: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None,
    skills: Many = (),
    noise: str | None = None,
    temperature: float | None = None,
    start: str | None = None,
    name: str | None = None,
    preset: str = "cpu",
    seed: int = 0,
) -> None:
    """Collect episodes without training, into a new run directory or one more time into an old one.

    Args:
        dir: Where the episodes are kept.
        overrides: Settings to change, e.g. seed_data.segments=1 seed_data.random_share=0.
        actor: teacher (its noise is in seed_data.*), random, policy, play (data as the world's makers collect it: ogbench), or
            play-hindsight (the same, with the commands forgotten and others found in what happened).
        policy: With --actor policy: the run whose latest policy acts.
        episodes: How many; seed_data.episodes if not given.
        skills: Captions, or families such as 'stack X on Y' or 'stack _ on _'; the base library if not given.
        noise: LEVEL or MIN-MAX of every episode of the teacher, e.g. 0.3-0.6: then none is clean and none random.
        temperature: Of the acting policy; experiment.temperature if not given.
        start: Start distribution: scattered, held, stacked or beside.
        name: Names this collection; the actor's name if not given. The same command goes on where it stopped, another
            name collects further episodes.
        preset: Where the configuration starts from.
        seed: The only source of randomness.
    """
    from ludus import config as configs
    from ludus.experiment import collection, compose, evaluation

    if noise is not None and actor != "teacher":
        raise LudusError(f"--noise is the teacher's; leave it out with --actor {actor}")
    if temperature is not None:
        if actor != "policy":
            raise LudusError(f"--temperature is an acting policy's; leave it out with --actor {actor}")
        _check_temperature(temperature)
    more = [] if episodes is None else [f"seed_data.episodes={episodes}"]
    more += [] if temperature is None else [f"experiment.temperature={temperature}"]
    more += [] if noise is None else _noise(noise)
    config = configs.override(configs.preset(preset), (*overrides, *more, f"seed={seed}"))
    compose.world_kind(config.world.name)
    console = Console()
    with _opened(dir, config, {"seed_data", "experiment", "seed", "training"}) as record:
        label = name or actor
        counts = _interruptible(
            console,
            "the same command",
            lambda: collection.collect(record, config, actor, label, _listed(skills), start, policy, console),
        )
        console.print(evaluation.table(f"{dir}, {label}: what the data itself does", counts))


def train(
    dir: tyro.conf.Positional[Path],
    overrides: Overrides = (),
    data: tyro.conf.UseAppendAction[tuple[tuple[Path, ...], ...]] = (),
    weights: Many = (),
    skills: Many = (),
    hold_out: Many = (),
    init: Path | None = None,
    preset: str = "cpu",
    seed: int = 0,
) -> None:
    """Train offline on the episodes of other runs. The same command, or `ludus resume`, goes on where it stopped.
    `torchrun --nproc-per-node 4 -m ludus.cli train ...` shares the work between four processes, on a GPU each or
    on CPUs; with training.sharded=true each of them holds a fourth of the networks and of the optimiser.

    Args:
        dir: A new run directory for the learner, its curves and checkpoints.
        overrides: Settings to change, e.g. training.updates=20000 training.minutes=15 agent.alpha=1.
        data: Run directories whose episodes to learn from.
        weights: Share of the draws from each; by their sizes if not given.
        skills: Captions or families to teach besides those of the data.
        hold_out: Captions or families that are never used as a label.
        init: Run whose weights to start from (the number of objects may differ).
        preset: Where the configuration starts from; several are joined by commas, e.g. cpu,bc.
        seed: The only source of randomness.
    """
    from ludus import config as configs
    from ludus.agents.backends import distributed
    from ludus.experiment import compose, offline
    from ludus.record.record import Record

    runs = [run for several in data for run in several]
    if not runs:
        raise LudusError("nothing to learn from; give --data RUN, a run directory with episodes")
    for run in [*runs, *([] if init is None else [init])]:
        Record.open(run, write=False).close()
    config = configs.override(configs.preset(preset), (*overrides, f"seed={seed}"))
    compose.world_kind(config.world.name)
    console = Console()
    start_from = None if init is None else str(init)
    course = offline.OfflineSpec(
        tuple(map(str, runs)), _numbers("--weights", weights), _listed(skills), _listed(hold_out), start_from
    ).resolved()
    try:
        if distributed.started() and distributed.join(config.training.device) > 0:
            offline.follow(config, course)
            return
        with _opened(dir, config, set()) as record:
            offline.begin(record, course)
            _train(record, console, config)
    finally:
        distributed.leave()


def _train(record, console: Console, config) -> None:
    from ludus.experiment import evaluation, offline

    counts = _interruptible(console, f"ludus resume {record.directory}", lambda: offline.train(record, console, config))
    console.print(evaluation.table(f"{record.directory}: the last point of the curves", counts))


@contextmanager
def _created(dir: Path, config) -> Iterator:
    """A new run in `dir`. A directory that was made for what is then refused is gone again."""
    from ludus.record import files
    from ludus.record.record import Record

    new = not dir.exists()
    with Record.create(dir, config, command=" ".join(["ludus", *sys.argv[1:]])) as record:
        try:
            yield record
        except LudusError:
            tried = any(m.sender == "learner" for m in record.messages())  # how a training failed is a finding
            if new and record.empty and not tried:
                files.remove(dir)
            raise


def _opened(dir: Path, config, free: set[str]):
    """The run in `dir`, made if there is none or nothing was made in it yet; another one must have the same settings but
    for the `free` sections and what its result does not depend on."""
    from dataclasses import asdict

    from ludus.record.record import Record

    if not (dir / "ludus.db").exists():
        return _created(dir, config)
    record = Record.open(dir)
    if record.empty:
        record.close()
        return _created(dir, config)
    old, new = ({k: v for k, v in asdict(c).items() if k not in free} for c in (record.config, config))
    for setting in HOW:
        section, name = setting.split(".")
        if section in new:
            old[section][name] = new[section][name]
    if old != new:
        record.close()
        raise LudusError(
            f"{dir} holds a run with other settings ({differences(old, new)}); give the same, or choose another directory"
        )
    return record


def eval(
    dir: tyro.conf.Positional[Path | None] = None,
    overrides: Overrides = (),
    skills: Many = (),
    episodes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100,
    start: Many = (),
    temperature: Many = (),
    plan: Many = (),
    library_of: int | None = None,
    goals: bool = False,
    seed: int = 1,
    json: Path | None = None,
) -> None:
    """Measure a run's latest policy: success per family of skills and per skill with 95 % Wilson intervals.

    Args:
        dir: The run directory; the latest under runs/ if not given.
        overrides: Settings to change for the measurement, e.g. world.n_blocks=5.
        skills: Captions or families to measure; all skills of the run if not given.
        episodes: Episodes per skill, start and temperature.
        start: Start distributions: scattered, held, stacked, beside, or all; scattered if not given.
        temperature: 0 acts greedily, 1 samples from the policy; several may be given. The run's own, 0.33, if none is.
        plan: Captions to carry out in sequence in each episode, e.g. "stack green on red; stack blue on green"; --skills
            then names what the last state is judged by, the plan's last skill if not given.
        library_of: Only skills about the first so many objects, e.g. those of a policy's training among more blocks.
        goals: Measure the world's own task, that all of its skills hold at once (ogbench): the policy is told whichever is
            next until an episode's end.
        seed: Seed of the starts; never one of the training's, which have other names.
        json: File to write all numbers to.
    """
    from dataclasses import asdict
    from json import dumps

    from ludus import config as configs
    from ludus.experiment import compose, evaluation
    from ludus.lab.analysis import aggregate
    from ludus.record.record import Record

    if episodes < 1:
        raise LudusError(f"--episodes {episodes} is below 1; 100 gives intervals of about ten points")
    warmth, steps = _numbers("--temperature", temperature), _listed(plan)
    for value in warmth:
        _check_temperature(value)
    if plan and not steps:
        raise LudusError("--plan without a caption; give some, e.g. --plan 'stack red on green', or leave it out")
    if json is not None:
        _check_place(json)
    console = Console()
    with Record.open(dir or _latest(), write=False) as record:
        config = configs.override(record.config, overrides)
        for changed in overrides:
            if not changed.startswith(MEASURING):
                raise LudusError(
                    f"{changed} changes nothing of a measurement; leave it out, or give settings of world.*"
                )
        with compose.build(record, config) as parts:
            starts = _listed(start)
            starts = parts.world.spec.starts if starts == ("all",) else starts
            temperatures = warmth or (config.training.evaluation_temperature,)
            measured = _interruptible(
                console,
                None,
                lambda: evaluation.evaluate(
                    parts, _listed(skills), episodes, starts, temperatures, seed, console, steps, library_of, goals
                ),
            )
            for m in measured:
                title = f"start {m.start}, temperature {m.temperature:g}"
                if plan:
                    console.print(evaluation.table(f"{title}: steps of the plan", m.steps))
                console.print(evaluation.table(title, m.success_counts))
                if not plan and not goals:
                    console.print(evaluation.table(f"{title}: families", aggregate(m.success_counts, parts.library)))
            if json is not None:
                what = {"run": str(record.directory), "seed": seed, "world": asdict(config.world)}
                with _explained(json):
                    json.write_text(dumps(what | evaluation.as_json(measured, parts.library), indent=1))


def exam(
    name: tyro.conf.Positional[str],
    overrides: Overrides = (),
    parts: Many = (),
    limit: int | None = None,
    json: Path | None = None,
    plot: Path | None = None,
    dir: Path | None = None,
    pictures: bool = True,
    seed: int = 0,
) -> None:
    """Examine an experimenter: does it propose, decompose, retrieve and analyse well? See docs/exam.md.

    Args:
        name: Who plays the four roles: planner, random, oracle, human or a model, as in `ludus run --experimenter`.
        overrides: Settings of the experimenter to change, e.g. experimenter.analyse=random.
        parts: Of propose, decompose, retrieve and analyse; all if not given.
        limit: Questions per part, the same for every examinee; all if not given.
        json: File to write all numbers and answers to.
        plot: File for the picture; scorecard.png in the directory if not given.
        dir: Where pictures and a model's answers go; runs/exam-NAME if not given. The same exam there again asks the model
            only what it has not answered yet.
        pictures: Draw the scenes and curves that the questions refer to.
        seed: Of the choice of questions, of the examinee and of the robots' noise.
    """
    from contextlib import nullcontext
    from json import dumps

    from ludus import config as configs
    from ludus.exam import draw, questions, scorecard
    from ludus.experiment import compose, loop
    from ludus.experimenter import asks_others, assemble
    from ludus.experimenter.context import RoleContext
    from ludus.experimenter.ledger import Ledger, NullCalls
    from ludus.experimenter.roles import Experimenter
    from ludus.skills.predicates import Vocabulary
    from ludus.views.terminal import show_progress

    roles = (f"experimenter.{role}={name}" for role in configs.ROLES)
    config = configs.override(configs.preset("cpu"), (*roles, *overrides, f"seed={seed}"))
    compose.check_experimenter(config)
    folder = dir or RUNS / f"exam-{re.sub(r'[^A-Za-z0-9.-]+', '-', name)}"
    console = Console()
    terminal = loop.Terminal(console)
    # only answers that cost something are kept
    kept = _opened(folder, config, {"budget"}) if asks_others(config.experimenter) else nullcontext(NullCalls())
    with kept as calls, show_progress(console) as progress:
        terminal.progress = progress

        def begin(part: str, n: int):
            return partial(progress.advance, progress.add_task(part, total=n))

        ledger = Ledger(calls, config.budget, max_concurrency=config.experimenter.max_concurrency)
        truth = questions.load().truth

        def make(vocabulary: Vocabulary) -> Experimenter:
            picture = lambda path: (folder / path).read_bytes()  # noqa: E731
            return assemble(
                RoleContext(vocabulary, config.seed, config.experimenter, ledger, picture, terminal, truth=truth)
            )

        shown = folder if pictures else None
        spec = scorecard.ExamSpec(tuple(_listed(parts)), limit, config.seed, shown, config.world.threads)
        results = _interruptible(
            console,
            "the same command" if asks_others(config.experimenter) else None,
            lambda: scorecard.evaluate(make, spec, begin),
        )
    title = " ".join((name, *overrides))
    console.print(scorecard.table(title, results))
    plot = plot or folder / "scorecard.png"
    for path, content in (
        (plot, draw.scorecard_picture(title, results)),
        (json, dumps(scorecard.as_json(title, config.seed, limit, results), indent=1).encode()),
    ):
        if path is not None:
            with _explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            console.print(f"{path}", highlight=False)


def export(directory: tyro.conf.Positional[Path], run: Path | None = None) -> None:
    """Write a run's metrics and learning curves as TensorBoard event files.

    Args:
        directory: Where to; new or empty.
        run: The run directory; the latest under runs/ if not given.
    """
    from ludus.experiment import compose
    from ludus.record.record import Record
    from ludus.views.tensorboard import tensorboard

    with Record.open(run or _latest(), write=False) as record, compose.build(record) as parts, _explained(directory):
        n = tensorboard(record, parts.library, directory)
    Console().print(f"{n} points; look at them with: tensorboard --logdir {directory}", highlight=False)


def doctor() -> None:
    """Check this machine: versions, cores, memory, disk, OpenGL; say what to install."""
    from ludus.experiment.doctor import diagnose

    raise SystemExit(diagnose(Console()))


def _listed(given: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All values of a flag, which may be repeated, followed by several values, or by a list with commas or semicolons."""
    return tuple(x.strip() for several in given for text in several for x in re.split("[,;]", text) if x.strip())


def _numbers(flag: str, given: Sequence[Sequence[str]]) -> tuple[float, ...]:
    try:
        return tuple(float(x) for x in _listed(given))
    except ValueError as error:
        raise LudusError(f"{flag}: {error}; give numbers such as 0.5") from None


def _check_temperature(value: float) -> None:
    if not 0 <= value < math.inf:
        raise LudusError(f"--temperature {value:g} makes no sense; 0 is greedy, 1 samples from the policy")


def _check_place(path: Path) -> None:
    """Complain of a file that cannot be written before the work of hours, not after it."""
    new = not path.exists()
    with _explained(path), path.open("ab"):
        if new:
            path.unlink()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LudusError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _noise(text: str) -> list[str]:
    """Overrides for '0.3' or '0.3-0.6'."""
    match = re.fullmatch(r"([0-9.]+)(?:-([0-9.]+))?", text)
    if not match:
        raise LudusError(f"--noise {text!r} is neither a level such as 0.3 nor a range such as 0.3-0.6")
    low, high = match[1], match[2] or match[1]
    return [f"seed_data.{x}" for x in (f"min_noise={low}", f"max_noise={high}", "clean_share=0", "random_share=0")]


def _latest() -> Path:
    runs = sorted(RUNS.glob("*/ludus.db"), key=lambda p: p.stat().st_mtime) if RUNS.is_dir() else []
    if not runs:
        raise LudusError(f"no run under {RUNS}/; start one with `ludus run`, or name its directory")
    return runs[-1].parent


def _check_alone() -> None:
    from ludus.agents.backends import distributed

    if distributed.started():
        raise LudusError(
            "torchrun starts several processes, which only `ludus train` shares its work between; leave it out"
        )


def main() -> None:
    """Entry point: one clear sentence for every mistake that a user can mend."""
    every = (run, resume, status, collect, train, eval, exam, export, doctor)
    commands = {command.__name__: command for command in every}
    arguments = sys.argv[1:]
    command = commands.get(arguments[0]) if arguments else None
    settings = tuple(a for a in arguments if SETTING.match(a))
    if settings and command and "overrides" in signature(command).parameters:
        # wherever they stand: behind `--data RUN` they would be read as runs, in `ludus resume budget.usd=5` as the run
        commands[arguments[0]] = partial(command, overrides=settings)
        arguments = [a for a in arguments if not SETTING.match(a)]
    try:
        if "WORLD_SIZE" in os.environ and arguments[:1] != ["train"]:
            _check_alone()
        tyro.extras.subcommand_cli_from_dict(commands, prog="ludus", description=__doc__, args=arguments)
    except LudusError as error:
        Console(stderr=True).print(f"ludus: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `ludus status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
