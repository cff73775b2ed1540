"""The command line: parse, call, print. `ludus run`, `resume`, `status`, `eval`, `doctor`."""

from __future__ import annotations

import os
import signal
import sys
from datetime import datetime
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from ludus.types import LudusError

RUNS = Path("runs")
Overrides = tyro.conf.Positional[tuple[str, ...]]


def run(
    overrides: Overrides = (),
    preset: str = "cpu",
    seed: int = 0,
    dir: Path | None = None,
) -> None:
    """Start an experiment, from seed data to report.

    Args:
        overrides: Settings to change, e.g. experiment.rounds=5 world.n_blocks=4 (see src/ludus/config.py).
        preset: cpu (about ten minutes on four cores) or tiny (under a minute, learns little).
        seed: The only source of randomness.
        dir: Where the run is kept; a new folder under runs/ if not given.
    """
    from ludus import config as configs
    from ludus.experiment import build, loop
    from ludus.record.record import Record

    config = configs.override(configs.preset(preset), (*overrides, f"seed={seed}"))
    build.world_kind(config.world.name)  # an unknown world makes no directory
    directory = dir or RUNS / f"{datetime.now():%Y-%m-%d-%H%M%S}-{preset}-seed{seed}"
    with Record.create(directory, config, command=" ".join(["ludus", *sys.argv[1:]])) as record:
        _drive(loop.run, record)


def resume(dir: tyro.conf.Positional[Path | None] = None) -> None:
    """Continue an interrupted run where it stopped; the result is the same as without the interruption.

    Args:
        dir: The run directory; the latest under runs/ if not given.
    """
    from ludus.experiment import loop
    from ludus.record.record import Record

    with Record.open(dir or _latest()) as record:
        _drive(loop.run, record)


def _drive(loop, record) -> None:
    console = Console()
    # A second Ctrl-C during the clean-up must not lose anything either: nothing is kept outside committed steps.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report = loop(record, console)
    except KeyboardInterrupt:
        console.print(f"\nInterrupted; all finished steps are kept. Continue with: ludus resume {record.directory}")
        raise SystemExit(130) from None
    console.print(f"Report: {report}")


def status(dir: tyro.conf.Positional[Path | None] = None) -> None:
    """Say what a run has done so far, also while it is running.

    Args:
        dir: The run directory; the latest under runs/ if not given.
    """
    from ludus.experiment import loop
    from ludus.record.record import Record

    with Record.open(dir or _latest(), write=False) as record:
        loop.print_status(record, Console())


def eval(
    dir: tyro.conf.Positional[Path | None] = None,
    skills: tuple[str, ...] = (),
    episodes: int = 100,
    start: str = "scattered",
    temperature: float = 0.0,
    seed: int = 1,
) -> None:
    """Measure a run's latest policy, success per skill with 95 % Wilson intervals.

    Args:
        dir: The run directory; the latest under runs/ if not given.
        skills: Captions to measure; all skills of the run if not given.
        episodes: Episodes per skill.
        start: Start distribution: scattered, held, stacked or beside.
        temperature: 0 acts greedily, 1 samples from the policy.
        seed: Seed of the starts; never one of the training's, which have other names.
    """
    from ludus.experiment import build, loop
    from ludus.lab.analysis import wilson
    from ludus.record.record import Record

    if episodes < 1:
        raise LudusError(f"--episodes {episodes} is below 1; 100 gives intervals of about ten points")
    console = Console()
    with Record.open(dir or _latest(), write=False) as record, build.build(record) as parts:
        tallies = loop.measure(parts, skills or parts.library.captions, episodes, start, temperature, seed, console)
    table = Table("skill", "at the end", "95 % interval", "ever", "n")
    for t in tallies:
        low, high = wilson(t.successes, t.n)
        table.add_row(t.caption, f"{t.successes / t.n:.2f}", f"{low:.2f}–{high:.2f}", f"{t.ever / t.n:.2f}", str(t.n))
    console.print(table)


def doctor() -> None:
    """Check this machine: versions, cores, memory, disk, OpenGL; say what to install."""
    from ludus.experiment.doctor import diagnose

    raise SystemExit(diagnose(Console()))


def _latest() -> Path:
    runs = sorted(RUNS.glob("*/ludus.db"), key=lambda p: p.stat().st_mtime) if RUNS.is_dir() else []
    if not runs:
        raise LudusError(f"no run under {RUNS}/; start one with `ludus run`, or name its directory")
    return runs[-1].parent


def main() -> None:
    """Entry point: one clear sentence for every mistake that a user can mend."""
    commands = {"run": run, "resume": resume, "status": status, "eval": eval, "doctor": doctor}
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="ludus", description=__doc__)
    except LudusError as error:
        Console(stderr=True).print(f"ludus: {error}", style="red", markup=False, highlight=False)
        raise SystemExit(2) from None
    except BrokenPipeError:  # `ludus status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
