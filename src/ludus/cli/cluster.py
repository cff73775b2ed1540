"""`ludus cluster`: what starts a command on several machines."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from ludus.cli.collect import Collect
from ludus.cli.common import command_line, play_all, say, settings_apart, writing
from ludus.cli.run import Run
from ludus.cli.train import Train
from ludus.types import LudusError
from ludus.views import display

if TYPE_CHECKING:
    from ludus.config import Config

LIMITS = {"nodes": (1, 10_000), "cpus": (1, 1024), "gpus": (0, 64), "ranks": (0, 1024)}
TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,4}):([0-5]\d):([0-5]\d)")
PLAIN = re.compile(r"[A-Za-z0-9._/+-]+")
MADE = ("collection.on=", "collection.address=", "collection.token=", "collection.workers=")
"""Settings that are not given: the machines of the job are the cluster."""
EXTRAS = "blocks,postgresql,ray,s3"
"""Of ludus on SkyPilot's machines."""


@dataclass(frozen=True)
class Cluster:
    """Write what starts `ludus run`, `collect` or `train` on several machines: DIR/ludus.sbatch for SLURM, DIR/ludus.sky.yaml for
    SkyPilot. `run` and `collect` have their episodes made on a Ray cluster of all machines, `train` is shared between them by
    torchrun. Nothing is started."""

    what: Annotated[tyro.conf.Positional[Literal["run", "collect", "train"]], tyro.conf.arg(metavar="COMMAND")]
    """What is started: run, collect or train."""
    arguments: tyro.conf.Positional[tuple[str, ...]] = ()
    """What follows its name, behind two dashes: -- --dir /shared/first seed=1."""
    nodes: int = 2
    """Machines."""
    cpus: int = 8
    """Cores of each machine."""
    gpus: int = 0
    """GPUs of each machine."""
    gpu: str = ""
    """What SkyPilot calls them, e.g. H100."""
    ranks: int = 0
    """Of train: processes on each machine; 0: one per GPU, or one."""
    time: str = "12:00:00"
    """How long the machines are needed, [DAYS-]HOURS:MINUTES:SECONDS. What is started again goes on."""
    ready: str = ""
    """Shell commands after which a machine knows `ludus`, e.g. 'module load cuda; . /shared/venv/bin/activate'. If not given,
    SLURM's nodes take this process's, and SkyPilot's machines install it."""
    dir: Path = Path("cluster")
    """Where the files are written; for SLURM in a folder that all nodes reach."""

    def __call__(self) -> None:
        from ludus.experiment import compose
        from ludus.record import files
        from ludus.scale import launch
        from ludus.scale.environment import TOKEN, write_token

        seconds = self._checked()
        command = self._command()  # what the machines would refuse is refused here
        config = _config(command)
        compose.check(config)
        arguments, resumed = self._told(command, config)
        job = launch.Launch(
            **{name: getattr(self, name) for name in ("nodes", "cpus", "gpus", "gpu")},
            ranks=self.ranks or self.gpus or 1,
            seconds=seconds,
            arguments=arguments,
            resumed=resumed,
            directory=self.dir.absolute(),
            start=Path.cwd(),
            ready=self.ready or f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
            written=command_line(),
        )
        written = {"ludus.sbatch": launch.sbatch(job)}
        if self.gpu or not self.gpus:
            source, install = (None, "") if self.ready else _installation(launch.sky_install)
            written["ludus.sky.yaml"] = launch.sky(
                job if self.ready else replace(job, ready=launch.SKY_READY), source, install
            )
        with writing(self.dir):
            self.dir.mkdir(parents=True, exist_ok=True)
            if job.on_ray and not (self.dir / TOKEN).is_file():
                write_token(self.dir / TOKEN)
            for name, text in written.items():
                files.write(self.dir / name, text.encode())
        say(display.console(), self._next(written, job.name))

    def _command(self) -> Any:
        """The command that is started, as the machines will read it."""
        words, settings = settings_apart(self.arguments)
        command = tyro.cli(
            {"run": Run, "collect": Collect, "train": Train}[self.what], prog=f"ludus {self.what}", args=words
        )
        return replace(command, overrides=(*command.overrides, *settings))

    def _next(self, written: Collection[str], name: str) -> Iterator[str]:
        from ludus.record.files import typed

        for file in written:
            path = typed(self.dir / file)
            how = f"sbatch {path}" if file.endswith("sbatch") else f"sky launch --cluster {name} {path}"
            yield f"{path} is written; start it with: {how}"
        if len(written) == 1:
            yield "No file for SkyPilot: it wants to know which GPUs; give --gpu H100 or another."

    # --- checks ------------------------------------------------------------------------------------------------------

    def _checked(self) -> int:
        """The seconds of `time`.

        Raises:
            LudusError: an option that cannot be.
        """
        from ludus.record.location import discreet

        for name, (least, most) in LIMITS.items():
            if not least <= (given := getattr(self, name)) <= most:
                raise LudusError(f"--{name} {given} must be {least} to {most}")
        if unfit := next((w for w in (*self.arguments, self.gpu, str(self.dir)) if not w.isprintable()), None):
            raise LudusError(f"{unfit!r} holds characters that no script keeps as they are; rename it")
        if not PLAIN.fullmatch(str(self.dir.absolute())):
            raise LudusError(
                f"--dir {self.dir.absolute()} holds characters that SLURM takes for its own; choose another folder"
            )
        if self.gpu and not (self.gpus and PLAIN.fullmatch(self.gpu)):
            raise LudusError(f"--gpu {self.gpu!r} is the name of --gpus N GPUs; give e.g. --gpus 8 --gpu H100")
        if self.ranks and self.what != "train":
            raise LudusError("--ranks are processes of train; leave it out")
        if any(discreet(word) != word for word in self.arguments):
            raise LudusError(
                "a password would be kept in the files; leave it out, and give PGPASSWORD or ~/.pgpass on the nodes"
            )
        found = TIME.fullmatch(self.time)
        days, hours, minutes, seconds = (int(x or 0) for x in found.groups()) if found else (0, 0, 0, 0)
        total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        if not total:
            raise LudusError(f"--time {self.time!r} must be [DAYS-]HOURS:MINUTES:SECONDS, e.g. 12:00:00")
        return total

    def _told(self, command: Any, config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The command's words, and those with which it is resumed.

        Raises:
            LudusError: it does not fit the machines.
        """
        from ludus.config.limits import MAX_THREADS

        said = tuple(command.overrides)
        if word := next((w for w in said if w.startswith(MADE)), None):
            raise LudusError(f"{word}: the machines of the job are the cluster; leave it out")
        _check_gpus(self.what, self.gpus, config.training.device)
        if self.what == "train":
            command.runs()
            _check_ranks(self.nodes * (self.ranks or self.gpus or 1), config)
            return (self.what, *self.arguments), ()
        if self.what == "run" and command.dir is None:
            raise LudusError(
                "give `run` a directory, -- --dir /shared/first: there it goes on when it is started again"
            )
        cores = max(config.world.threads or 1, config.training.threads)
        if cores > self.cpus:
            raise LudusError(
                f"a task takes {cores} cores (world.threads, training.threads) and a machine has --cpus {self.cpus}; give more "
                "of these or fewer of those"
            )
        # nodes come one after the other: the run need not count them
        ahead = min(2 * self.nodes * (self.cpus // cores), MAX_THREADS)
        made = () if config.collection.in_flight else (f"collection.in_flight={ahead}",)
        told = tuple(w for w in said if w.startswith("collection."))
        return (self.what, *self.arguments, *made), (*told, *made, str(command.dir)) if self.what == "run" else ()


def _config(command: Any) -> Config:
    """The settings of a command."""
    from ludus import config as configs

    roles = [] if getattr(command, "experimenter", None) is None else play_all(command.experimenter)
    return configs.override(configs.preset(command.preset), (*roles, *command.overrides))


def _check_gpus(what: str, gpus: int, device: str) -> None:
    """
    Raises:
        LudusError: GPUs for nothing, or none where some are needed.
    """
    if gpus and what == "collect":
        raise LudusError(f"--gpus {gpus}: `collect` uses none; leave them out")
    if gpus > 1 and what == "run":
        raise LudusError(
            f"--gpus {gpus}: `run` learns on one; give --gpus 1, or none, and world.threads for the robots"
        )
    if bool(gpus) != (device == "cuda"):
        raise LudusError(
            f"--gpus {gpus} and training.device={device} do not fit; give --gpus N and training.device=cuda, or neither"
        )


def _check_ranks(ranks: int, config: Config) -> None:
    """
    Raises:
        LudusError: too few microbatches for as many processes.
    """
    n = min(config.training.microbatches, config.agent.batch_size)
    if n < ranks or (config.training.sharded and n % ranks):
        which = "a multiple of that" if config.training.sharded else "at least as many"
        raise LudusError(f"{ranks} processes for training.microbatches={n} of a batch; give {which}")
    if config.training.sharded and ranks == 1:
        raise LudusError(
            "training.sharded=true shards the networks over several processes, this is one; give more --nodes or --ranks"
        )


def _installation(install: Callable[[str, Sequence[str]], str]) -> tuple[Path | None, str]:
    """The folder that SkyPilot brings to each machine, and how ludus is installed there: from the source that this one was
    installed from, or from the package index."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    source = Path(__file__).resolve().parents[3]
    if (source / "constraints.txt").is_file():
        return source, install(python, ["--constraint", "constraints.txt", "--editable", f".[{EXTRAS}]"])
    return None, install(python, [f"ludus[{EXTRAS}]=={metadata.version('ludus')}"])
