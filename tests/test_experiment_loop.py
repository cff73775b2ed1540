"""A whole run, as a user would start it: finished, repeated, killed and resumed."""

import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import command
import pytest
import torch
from quick import quick_library

from ludus.data.relabel import outcomes
from ludus.data.store import EpisodeStore
from ludus.experiment.library import recorded_library
from ludus.record import Record
from ludus.types import LudusError
from ludus.worlds.registry import make_world

SMALL = [
    *("run", "--preset", "tiny", "--seed", "7", "world.n_envs=16", "seed_data.episodes=8", "training.updates=8"),
    *("training.evaluate_every=4", "training.evaluation_episodes=1", "training.round_updates=4"),
    *("experiment.rounds=1", "experiment.episodes_per_round=4", "experiment.final_episodes=1"),
    *("--library", quick_library(2)),
]


def ludus(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "ludus.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # where the tests run in the background, Ctrl-C is ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def finish(process):
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def result(directory):
    """All that two equal runs share: rows, episode files, the last checkpoint."""
    with Record.open(directory, write=False) as record:
        content = record.content()
    shards = {p.name: p.read_bytes() for p in sorted((directory / "shards").glob("*.safetensors"))}
    checkpoints = sorted((directory / "checkpoints").glob("*.pt"))
    state = torch.load(checkpoints[-1], weights_only=True)
    return content, shards, [p.name for p in checkpoints], {k: v.numpy().tobytes() for k, v in state["acting"].items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "whole"
    started = time.monotonic()
    code, output = finish(ludus(*SMALL, "--dir", directory))
    assert code == 0, output
    return directory, time.monotonic() - started


def test_a_run_ends_with_a_report(finished):
    directory, _ = finished
    page = (directory / "report.html").read_text()
    assert "stack red on green" in page
    assert "http://" not in page and "https://" not in page


def test_online_success_is_relabelled_success(finished):
    directory, _ = finished
    with Record.open(directory, write=False) as record:
        online = {(o.episode, o.segment): o for o in record.outcomes()}
        again = outcomes(recorded_library(record, make_world(record.config.world)), list(EpisodeStore(record)))
    assert len(again) == len(online) > 0
    for o in again:
        was = online[o.episode, o.segment]
        assert (o.success_at_end, o.success_once, o.skill) == (was.success_at_end, was.success_once, was.skill)


def begun(directory):
    with suppress(LudusError), Record.open(directory, write=False):
        return True
    return False


@pytest.mark.parametrize("n_kills", [2, pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def test_killed_and_resumed_is_the_same_run(finished, tmp_path, n_kills):
    reference, seconds = finished
    draw = random.Random(n_kills)
    directory = tmp_path / "killed"
    process = ludus(*SMALL, "--dir", directory)
    for _ in range(n_kills):
        # A kill may also hit the start of Python; steps done since the last one are kept either way.
        time.sleep(draw.uniform(0.2, 1.0) * seconds / 2.5)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = ludus("resume", directory) if begun(directory) else ludus(*SMALL, "--dir", directory)
    code, output = finish(process)
    assert code == 0, output
    assert result(directory) == result(reference)


def test_ctrl_c_says_how_to_go_on(tmp_path):
    directory = tmp_path / "interrupted"
    process = ludus(*SMALL, "--dir", directory)
    assert process.stdout is not None
    assert any("seed-data" in line for line in process.stdout)  # reads up to there: the run is under way
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 130, output
    assert "ludus resume" in output.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--preset", "huge"], "unknown preset 'huge'"),
        (["run", "world.name=bloks"], "unknown world 'bloks'; nearest: 'blocks'"),
        (["run", "training.update=3"], "nearest: 'updates'"),
        (["run", "world.n_blocks=1", "--preset", "tiny", "world.name=bloks"], "unknown world 'bloks'"),
        (["resume", "budget.calls=1"], "no run under runs/"),
        (["run", "training.updates=many"], "'many' is not of type int"),
        (["run", "world.n_blocks=9"], "must be 1 to 8"),
        (["run", "agent.gamma=1"], "agent.gamma=1.0 makes no sense; give at least 0 and less than 1"),
        (["run", "agent.eta=nan"], "agent.eta=nan makes no sense; give more than 0"),
        (["run", "experimenter.propose=oracl"], "unknown experimenter 'oracl'"),
        (["resume", "nowhere"], "nowhere does not exist"),
        (["run", "alpha=0.5"], "nearest: 'agent.alpha'"),
        (["run", "agent.width=-5"], "agent.width=-5 makes no sense; give 0"),
        (["eval", "RUN", "agent.width=32"], "agent.width=32 changes nothing of a measurement"),
        (["eval", "RUN", "--plan", ""], "--plan without a caption"),
        (["eval", "RUN", "--temperature", "nan"], "temperatures=nan makes no sense"),
        (["eval", "RUN", "--json", "nowhere/five.json"], "cannot write nowhere/five.json: No such file"),
        (["export", "RUN/report.html", "--run", "RUN"], "report.html: Not a directory"),
        (["eval", "RUN", "--skills", "stack red"], "unknown skill 'stack red'; nearest"),
        (["eval", "RUN", "--start", "flying"], "unknown start"),
    ],
)
def test_mistakes_end_in_one_sentence(finished, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    output = command.ludus(*(a.replace("RUN", str(finished[0])) for a in arguments), code=2)
    assert not any(tmp_path.rglob("ludus.db"))  # what was refused leaves no run
    assert words in output
    assert "Traceback" not in output
