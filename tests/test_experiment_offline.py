"""Collect, train, measure: as a user would start them."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from command import ludus

from ludus.agents import actor_critic
from ludus.agents.trainer import Trainer
from ludus.data.sampler import Sampler
from ludus.data.store import EpisodeStore
from ludus.experiment import checkpoints, evaluation, offline
from ludus.experiment.collection import Driver
from ludus.experiment.learning import Learning, TrainingData
from ludus.experiment.library import recorded_library
from ludus.record import Record
from ludus.types import LudusError
from ludus.worlds.blocks.world import BlocksWorld

TINY = ("--preset", "tiny", "world.n_envs=4")
TRAIN = (*TINY, "training.updates=8", "training.evaluate_every=4", "training.evaluation_episodes=1")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    directory = tmp_path_factory.mktemp("offline") / "data"
    output = ludus("collect", directory, *TINY, "--episodes", 8)
    assert "what the data itself does" in output
    return directory


@pytest.fixture(scope="module")
def trained(data):
    directory = data.parent / "trained"
    ludus("train", directory, *TRAIN, "--data", data)
    return directory


def weights(directory):
    last = sorted((directory / "checkpoints").glob("*.pt"))[-1]
    return {k: v.numpy().tobytes() for k, v in torch.load(last, weights_only=True)["acting"].items()}


def test_more_can_be_collected_and_nothing_twice(data, trained, tmp_path):
    directory = tmp_path / "data"
    ludus("collect", directory, *TINY, "--episodes", 4, "--skills", "reach X")
    ludus("collect", directory, *TINY, "--episodes", 4, "--skills", "reach X")  # the same again: already there
    acting = ("--actor", "policy", "--policy", trained, "--skills", "put X beside Y")
    ludus("collect", directory, *TINY, "--episodes", 4, *acting)
    ludus("collect", directory, *TINY, "--episodes", 4, "--actor", "random")
    with Record.open(directory, write=False) as record:
        rows = EpisodeStore(record).rows()
        assert [r.actor for r in rows[4:]] == ["policy"] * 4 + ["random"] * 4 and len(rows) == 12
        assert {s.caption for r in rows[:4] for s in r.segments} <= {"reach red", "reach green"}
        assert {s["caption"] for s in record.skills()} >= {"put red beside green"}
        how = {"policy": "trained", "updates": 8, "temperature": 0.5, "exploration": 0.0}
        assert rows[4].info == {"actor": "policy"} | how
    # learned from together, in the shares asked for
    both = tmp_path / "both"
    shares = ("--data", data, "--data", directory, "--weights", "0.25,0.75", "--hold-out", "reach _")
    ludus("train", both, *TRAIN, *shares)
    with Record.open(both, write=False) as record:
        course = offline.OfflineSpec.of(record)
        assert course.data == (str(data), str(directory)) and course.weights == (0.25, 0.75)


def test_a_name_stands_for_one_request(data, tmp_path):
    ludus("collect", data, *TINY, "--episodes", 8, "world.threads=2")  # how it is computed is not what is asked for
    output = ludus("collect", data, *TINY, "--episodes", 12, code=2)
    assert "'teacher' with other settings (seed_data.episodes=8 there, 12 here)" in output
    assert "--name teacher-2" in output
    with Record.open(data, write=False) as record:
        assert len(EpisodeStore(record)) == 8
    assert "collected episodes only" in ludus("resume", data, code=2)
    assert "collected episodes only" in ludus("resume", data, "seed_data.episodes=12", code=2)
    output = ludus("status", data)
    assert "collected 8 of 8 episodes" in output and "the same command goes on" in output


def test_noise_is_what_was_asked_for(tmp_path):
    ludus("collect", tmp_path / "poor", *TINY, "-n", 12, "--noise", "0.3-0.6", "--skills", "reach red,reach green")
    with Record.open(tmp_path / "poor", write=False) as record:
        rows = EpisodeStore(record).rows()
    assert all(r.actor == "teacher" and 0.3 <= r.info["noise"] <= 0.6 for r in rows)
    assert {s.caption for r in rows for s in r.segments} == {"reach red", "reach green"}
    say = lambda *a: ludus("collect", tmp_path / "x", *TINY, *a, code=2)  # noqa: E731
    assert "0 <= min_noise <= max_noise" in say("--noise", "0.6-0.3")
    assert "neither a level" in say("--noise", "loud")


def test_training_stops_when_its_time_is_over(data, tmp_path):
    long = ("training.updates=1000000", "training.evaluate_every=1000000", "training.minutes=0.02")
    ludus("train", tmp_path / "timed", *TRAIN, *long, "--data", data)
    with Record.open(tmp_path / "timed", write=False) as record:
        ((_, update, spent),) = record.metrics("time/training_s")
    assert 1 <= update < 1_000_000 and 1.2 <= spent < 10
    assert "done" in ludus("status", tmp_path / "timed")
    state = torch.load(next((tmp_path / "timed" / "checkpoints").glob("*.pt")))
    # the learning rate followed the clock
    assert state["total_updates"] < 100 * state["updates"]


def test_training_goes_on_with_the_episodes_it_began_with(data, tmp_path, monkeypatch):
    mine, directory = tmp_path / "data", tmp_path / "learner"
    ludus("collect", mine, *TINY, "--episodes", 4)
    monkeypatch.setattr(Learning, "train", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert (
        f"ludus resume {directory}".split()[:2]
        == ludus("train", directory, *TRAIN, "--data", os.path.relpath(mine), code=130).split()[-3:-1]
    )
    monkeypatch.undo()
    ludus("collect", mine, *TINY, "--episodes", 4, "--name", "more")
    assert "holds 8 episodes, other than the 4" in ludus("resume", directory, code=2)


def test_killed_training_goes_on_to_the_same_weights(data, trained, tmp_path):
    directory = tmp_path / "killed"
    command = [sys.executable, "-m", "ludus.cli", "train", str(directory), *TRAIN, "--data", str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any("loading" in line for line in process.stdout)
    process.send_signal(signal.SIGKILL)
    process.wait()
    ludus("train", directory, *TRAIN, "--data", data)
    assert weights(directory) == weights(trained)


@pytest.fixture(scope="module")
def trained_on(data, trained):
    """What `trained` learned, trained on by one process."""
    directory = trained.with_name("trained on")
    ludus("train", directory, *TRAIN, "--data", data, "--init", trained)
    return directory


@pytest.mark.parametrize(
    ("init", "sharded"),
    [
        pytest.param(False, False, marks=pytest.mark.slow),
        pytest.param(True, False, marks=pytest.mark.slow),
        (True, True),
    ],
)
def test_torchrun_shares_the_work(data, trained, trained_on, tmp_path, init, sharded):
    train = ["--data", data, *(("--init", trained) if init else ())]
    alone, together = trained_on if init else trained, tmp_path / "ranks"
    torchrun = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    how = ("training.sharded=true",) if sharded else ()
    command = [sys.executable, *torchrun, "-m", "ludus.cli", "train", together, *TRAIN, *how, *train]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    one, two = (torch.load(sorted((d / "checkpoints").glob("*.pt"))[-1])["acting"] for d in (alone, together))
    assert all(torch.allclose(one[k], two[k], atol=1e-4) for k in one)
    if sharded:  # anything but training goes on without ranks, and so can training
        assert "reach X" in ludus("eval", together, "--skills", "reach X", "--episodes", 1)
        assert "torchrun" in ludus("resume", together, code=2)
        assert "last point" in ludus("resume", together, "training.sharded=false")
        assert "last point" in ludus("train", together, *TRAIN, *train)


def test_sharding_needs_ranks(data, tmp_path):
    assert "torchrun" in ludus("train", tmp_path / "alone", *TRAIN, "training.sharded=true", "--data", data, code=2)
    assert "torchrun" in ludus("run", "--dir", tmp_path / "run", *TINY, "training.sharded=true", code=2)


@pytest.mark.parametrize(("rate", "cause"), [(1e30, "is not a number"), (1e3, "more than 1,000")])
def test_a_training_that_diverges_says_so_and_keeps_what_was_good(data, tmp_path, rate, cause):
    output = ludus("train", tmp_path / "wild", *TRAIN, f"agent.learning_rate={rate}", "--data", data, code=2)
    assert "diverged at update 4" in output and cause in output and "lower agent.learning_rate" in output
    assert "diverged, and would again" in ludus("status", tmp_path / "wild")
    with Record.open(tmp_path / "wild", write=False) as record:
        assert [m.sender for m in record.messages("diverged")] == ["learner"]
        assert not any("/train/" in s.name for s in record.steps())


def test_weights_to_start_from(data, trained, tmp_path):
    directory = tmp_path / "tuned"
    ludus(
        "train",
        directory,
        *TRAIN,
        "agent.learning_rate=1e-30",
        "agent.weight_decay=0",
        "--data",
        data,
        "--init",
        trained,
    )
    assert weights(directory).keys() == weights(trained).keys()
    before, after = (torch.load(sorted((d / "checkpoints").glob("*.pt"))[-1])["acting"] for d in (trained, directory))
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in before)
    output = ludus("train", tmp_path / "big", *TRAIN, "agent.width=32", "--data", data, "--init", trained, code=2)
    assert "the same agent settings (agent.width=16 there, 32 here)" in output


def test_held_out_captions_are_never_a_label(data):
    held_out = frozenset({"reach red", "stack red on green"})
    with Record.open(data, write=False) as record:
        config, store = record.config, EpisodeStore(record)
        library = recorded_library(record, BlocksWorld(2, 1, 1))
        labels = TrainingData((store,), held_out=held_out).labels(library)
        sampler = Sampler(store, labels, config.agent.per_step(20), config.sampling, 0)
        drawn = {sampler.captions[i] for _ in range(50) for i in sampler.next().skills}
    assert drawn == set(library.captions) - held_out


def test_measuring_writes_what_it_shows(trained, tmp_path):
    ways = ("--start", "scattered", "stacked", "--temperature", 0, 1, "--skills", "reach X", "--episodes", 2)
    output = ludus("eval", trained, *ways, "--json", tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())["measured"]
    assert [(m["start"], m["temperature"]) for m in found] == [(s, t) for s in ("scattered", "stacked") for t in (0, 1)]
    assert {s["caption"] for s in found[0]["skills"]} == {"reach red", "reach green"}
    assert found[0]["templates"][0]["n"] == 4 and "reach X" in output
    plan = ("--plan", "grasp red", "stack red on green", "--skills", "stack red on green", "--episodes", 2)
    assert "stack red on green" in ludus("eval", trained, *plan)
    assert "reach blue" in ludus("eval", trained, "world.n_blocks=3", "--skills", "reach X", "--episodes", 1)
    few = ("world.n_blocks=4", "--library-of", 2, "--skills", "stack _ on _", "-n", 1, "--json", tmp_path / "four.json")
    ludus("eval", trained, *few)
    four = json.loads((tmp_path / "four.json").read_text())
    assert {s["caption"] for s in four["measured"][0]["skills"]} == {"stack red on green", "stack green on red"}
    assert four["world"]["n_blocks"] == 4
    assert "reach red" in ludus("eval", trained, "world.n_blocks=1", "--skills", "reach _", "-n", 1)


def test_a_plan_is_carried_out_once_and_judged_at_its_end(trained, tmp_path, monkeypatch):
    resets = []
    reset = BlocksWorld.reset
    monkeypatch.setattr(BlocksWorld, "reset", lambda *a, **k: resets.append(1) or reset(*a, **k))
    plan = (
        "world.n_blocks=3",
        "--plan",
        "stack green on red; stack blue on green",
        "-n",
        4,
        "--json",
        tmp_path / "p.json",
    )
    ludus("eval", trained, *plan, "--skills", "tower blue on green on red", "stack blue on green")
    (measured,) = json.loads((tmp_path / "p.json").read_text())["measured"]
    assert [s["caption"] for s in measured["steps"]] == ["stack green on red", "stack blue on green"]
    assert [s["caption"] for s in measured["skills"]] == ["tower blue on green on red", "stack blue on green"]
    assert len(resets) == 1 and all(s["n"] == 4 for s in measured["steps"] + measured["skills"])
    assert "an episode has 400" in ludus("eval", trained, "--plan", *["reach red"] * 6, "-n", 1, code=2)


def test_curves_can_be_read_by_tensorboard(trained, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert "tensorboard --logdir" in ludus("export", tmp_path / "events", "--run", trained)
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert {"loss", "success/reach_X", "skill/reach_red"} <= set(events.Tags()["scalars"])
    assert [e.step for e in events.Scalars("loss")] == [4, 8]
    assert "not empty" in ludus("export", tmp_path / "events", "--run", trained, code=2)


def test_no_start_of_training_is_measured(data, trained, monkeypatch):
    with Record.open(data, write=False) as record:
        trained_on = {r.seed for r in EpisodeStore(record).rows()}
    seen, reset = [], BlocksWorld.reset
    monkeypatch.setattr(BlocksWorld, "reset", lambda self, seeds, *a: seen.extend(seeds) or reset(self, seeds, *a))
    with Record.open(trained, write=False) as record:
        spec = evaluation.EvalRequest(("reach X",), episodes=8, temperatures=(0.0,), seed=0)
        evaluation.evaluate(record, record.config, spec)
    assert len(set(seen)) == 16 and trained_on.isdisjoint(seen)


def broken(path, data):
    """A copy of the episodes in which one number is none."""
    with Record.open(data, write=False) as old:
        episodes = list(EpisodeStore(old))
        config = old.config
    with EpisodeStore.create(path, config).record as record:
        store = EpisodeStore(record)
        store._check = lambda *_: None  # as a world with a fault, or a bad disk, would have left it
        next(iter(episodes[3].observations.values()))[2, 0] = np.nan
        store.append(episodes, step="collect/0")


def test_mapped_transitions_need_room_in_the_run(data, tmp_path, monkeypatch):
    def full(file, start, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    output = ludus("train", tmp_path / "m", *TRAIN, "sampling.memory=mapped", "--data", data, code=2)
    assert f"in {tmp_path / 'm'} (No space left" in output and "sampling.memory=ram" in output


def test_episodes_that_are_not_what_was_collected_are_refused(data, tmp_path):
    altered = shutil.copytree(data, tmp_path / "altered")
    shard = next((altered / "shards").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1] + bytes([shard.read_bytes()[-1] ^ 1]))
    assert "its checksum is" in ludus("train", tmp_path / "a", *TRAIN, "--data", altered, code=2)


def test_mistakes_end_in_one_sentence(data, trained, tmp_path):
    say = lambda *a: ludus(*a, code=2)  # noqa: E731
    assert "nothing to learn from" in say("train", tmp_path / "a", *TRAIN)
    assert "none does not exist" in say("train", tmp_path / "a", *TRAIN, "--data", tmp_path / "none")
    output = say("train", tmp_path / "b", *TRAIN, "world.n_blocks=3", "--data", data)
    assert "(world.n_blocks=2 there, 3 here); give the world settings of the data" in output
    assert "holds no episodes" in say("train", tmp_path / "c", *TRAIN, "--data", trained)
    assert "unknown skill" in say("train", tmp_path / "d", *TRAIN, "--data", data, "--skills", "reach purple")
    assert "--skills without a caption, name or number; give at least one" in say("eval", trained, "--skills", " , ")
    assert "give one for each" in say("train", tmp_path / "e", *TRAIN, "--data", data, "--weights", 1, 2)
    assert "(agent.alpha=0.3 there, 0.9 here)" in say("train", trained, *TRAIN, "agent.alpha=0.9", "--data", data)
    assert "(hold_out=none there, reach red here)" in say(
        "train", trained, *TRAIN, "--data", data, "--hold-out", "reach red"
    )
    assert "unknown actor" in say("collect", tmp_path / "f", *TINY, "--actor", "robot")
    assert "--policy RUN" in say("collect", tmp_path / "g", *TINY, "--actor", "policy")
    assert "teacher needs no --policy" in say("collect", tmp_path / "g", *TINY, "--policy", trained)
    assert "--noise is the teacher's" in say("collect", tmp_path / "g", *TINY, "--actor", "random", "--noise", 0.3)
    assert "--temperature is an acting policy's" in say("collect", tmp_path / "g", *TINY, "--temperature", 1)
    acting = ("--actor", "policy", "--policy", trained)
    assert "temperature=nan" in say("collect", tmp_path / "g", *TINY, *acting, "--temperature", "nan")
    assert "nearest: 'scattered'" in say("collect", tmp_path / "g", *TINY, "--start", "scatered")
    assert "leave out --skills" in say("collect", tmp_path / "k", *TINY, "--actor", "play", "--skills", "reach X")
    assert "leave out --plan" in say("eval", trained, "--goals", "--skills", "reach X")
    assert "no trained policy" in say("eval", data, "--episodes", 1)
    assert "weights=0.0 makes no sense; give more than 0" in say(
        "train", tmp_path / "i", *TRAIN, "--data", data, "--weights", 0
    )
    assert "unknown skill" in say("train", tmp_path / "j", *TRAIN, "--data", data, "--hold-out", "reach purple")
    assert "run of another kind" in say("collect", trained, *TINY, "training.updates=8")
    assert "'warm'" in say("eval", trained, "--temperature", "warm")
    assert "no metrics or curves" in say("export", tmp_path / "events", "--run", data)
    left = {path.parent.name for path in tmp_path.glob("*/ludus.db")}
    assert not left  # by what was refused
    broken(tmp_path / "nan", data)
    with Record.open(data, write=False) as record:
        fourth = list(EpisodeStore(record))[3]
    output = say("train", tmp_path / "h", *TRAIN, "--data", tmp_path / "nan")
    assert repr(fourth.id) in output and next(iter(fourth.observations)) in output and "no number" in output


def test_what_was_refused_or_failed_gives_way_to_the_next_try(data, tmp_path, monkeypatch):
    three, directory = tmp_path / "three", tmp_path / "learner"
    monkeypatch.setattr(Driver, "collect", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    ludus("collect", three, *TINY, "-n", 4, code=130)
    assert "collected 0 of 4 episodes" in ludus("status", three)
    monkeypatch.undo()
    ludus("collect", three, *TINY, "-n", 2, "world.n_blocks=3")  # before there were episodes: another request
    output = ludus("train", directory, *TRAIN, "--data", data, three, code=2)
    assert f"(world.n_blocks=3 there, 2 in {data}); two worlds do not mix" in output
    assert "diverged" in ludus("train", directory, *TRAIN, "agent.learning_rate=1e30", "--data", data, code=2)
    ludus("train", directory, *TRAIN, "--data", data)
    (checkpoint,) = (directory / "checkpoints").glob("*.pt")
    checkpoint.write_bytes(b"half")
    assert "restore it from a copy, or begin the run anew" in ludus("eval", directory, "-n", 1, code=2)
    checkpoint.unlink()
    assert "is missing; restore it" in ludus("eval", directory, "-n", 1, code=2)


def test_a_network_too_large_for_memory_is_refused(data, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000 bytes.")

    monkeypatch.setattr(actor_critic, "actor_critic", full)
    output = ludus("train", tmp_path / "large", *TRAIN, "--data", data, code=2)
    assert "not enough memory on cpu for networks of agent.width=16" in output and not (tmp_path / "large").exists()


@pytest.mark.parametrize("command", ["collect", "run", "eval"])
def test_torchrun_is_for_training_only(tmp_path, monkeypatch, command):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "only `ludus train` shares" in ludus(command, *([tmp_path / "a"] if command == "collect" else []), code=2)


def test_an_interrupted_measurement_says_that_nothing_is_kept(trained, monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert "Interrupted; nothing of it is kept" in ludus("eval", trained, code=130)


@pytest.mark.parametrize("temperature", [-1, np.nan, np.inf])
def test_a_policy_has_a_temperature_that_makes_sense(trained, temperature):
    with Record.open(trained, write=False) as record:
        trainer = Trainer.load(checkpoints.latest(record), BlocksWorld(2, 1, 1).spec)
    with pytest.raises(LudusError, match="temp"):
        trainer.policy(temperature)
