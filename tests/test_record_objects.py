"""The files of a run on a real S3-compatible server: there before a step names them, read through the directory, checked."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from command import ludus
from counting_episodes import episode
from record_parts import message

from ludus.config import override, preset
from ludus.data import EpisodeStore
from ludus.record import Record, runs_in, storage, tables
from ludus.record.storage import Storage
from ludus.types import LudusError


def config(bucket):
    return override(preset("tiny"), [f"record.objects={bucket}/runs"])


def key_of(record, name):
    (row,) = record.rows(tables.objects, tables.objects.c.name == name)
    return row["key"]


def collect(record, step="collect"):
    store = EpisodeStore(record)
    with record.commit(step):
        first = len(store)
        store.append([episode(first, 5), episode(first + 1, 5)])
        record.write_file("images/a.png", b"picture of " + step.encode())
        record.post(message(step))
    return store


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another machine: an empty working directory."""
    path = tmp_path / "elsewhere"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def test_a_file_is_on_the_store_before_a_step_names_it_and_is_read_elsewhere(bucket, database, tmp_path, elsewhere):
    with Record.create(tmp_path / "run", config(bucket), url=database, run_id="r") as record:
        with record.commit("collect"):
            EpisodeStore(record).append([episode(0, 5)])
            there = Storage(f"{bucket}/runs").get(key_of(record, "shards/collect.safetensors"))
            assert there == record.path("shards/collect.safetensors").read_bytes()
            assert not record.rows(tables.shards)
        record.write_file("checkpoints/a.pt", b"weights")
        assert record.file("checkpoints/a.pt") == tmp_path / "run/checkpoints/a.pt"
    shutil.rmtree(tmp_path / "run")
    with Record.open(tmp_path / "run", url=database, run_id="r", write=False) as far:
        assert not list(elsewhere.iterdir()), "nothing is fetched that nobody asked for"
        (found,) = EpisodeStore(far)
        assert found.id == "e0" and far.file("checkpoints/a.pt").read_bytes() == b"weights"
        assert far.holds("checkpoints/a.pt") and far.names("checkpoints") == {"checkpoints/a.pt"}
        assert not far.holds("checkpoints/b.pt") and not far.file("checkpoints/b.pt").exists()
    assert (elsewhere / "runs/r/shards/collect.safetensors").is_file()
    with Record.open(tmp_path / "run", url=database, run_id="r") as going_on:
        assert going_on.directory == Path("runs/r")
        collect(going_on, "more")
        going_on.remove_file("checkpoints/a.pt")  # written from another directory: it may be one's original
        assert not going_on.holds("checkpoints/a.pt")
    with Record.open("runs/r", write=False) as again:
        assert len(EpisodeStore(again)) == 3 and runs_in(database)[0].directory == str(elsewhere / "runs/r")


def test_what_is_damaged_is_fetched_again_or_told(bucket, store, tmp_path):
    with Record.create(tmp_path / "run", config(bucket), run_id="r") as record:
        collect(record)
        key = key_of(record, "shards/collect.safetensors")
    shard = tmp_path / "run/shards/collect.safetensors"
    whole = shard.read_bytes()

    def ids():
        with Record.open(tmp_path / "run", write=False) as reader:
            found = EpisodeStore(reader)
            found.verify()
            return [e.id for e in found]

    for damaged in (whole[:-1], bytes(len(whole)), None):
        shard.unlink() if damaged is None else shard.write_bytes(damaged)
        assert ids() == ["e0", "e1"] and shard.read_bytes() == whole
    path = f"/{bucket.removeprefix('s3://')}/runs/{key.replace('@', '%40')}"
    assert store.ask("PUT", path, whole[:-1] + b"x") == 200
    assert len(ids()) == 2, "the copy here is whole"
    shard.write_bytes(whole[:-1])
    with pytest.raises(
        LudusError, match=r"collect.safetensors is damaged, and .* has the sha256 .*restore one of both"
    ):
        ids()
    shard.unlink()
    assert store.ask("DELETE", path) == 204
    with pytest.raises(LudusError, match=r"collect.safetensors is not here, and cannot read .*no such object"):
        ids()


def test_two_runs_and_a_copy_share_a_bucket(bucket, tmp_path):
    for name in ("one", "two"):
        with Record.create(tmp_path / name, config(bucket), run_id=name) as record:
            collect(record)
            record.write_file("checkpoints/a.pt", name.encode())
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    with Record.open(tmp_path / "copy") as copy:
        copy.remove_file("checkpoints/a.pt")
        copy.write_file("images/a.png", b"another")
    for name in ("one", "two"):
        shutil.rmtree(tmp_path / name / "checkpoints")
        shutil.rmtree(tmp_path / name / "images")
        with Record.open(tmp_path / name) as record:
            assert record.file("checkpoints/a.pt").read_bytes() == name.encode()
            assert record.file("images/a.png").read_bytes() == b"picture of collect"
            key = key_of(record, "checkpoints/a.pt")
            record.remove_file("checkpoints/a.pt")
            with pytest.raises(LudusError, match="no such object"):
                Storage(f"{bucket}/runs").get(key)


def test_a_run_that_cannot_write_there_does_not_begin(bucket, tmp_path, monkeypatch):
    with pytest.raises(LudusError, match="has no bucket 'no-such-bucket'"):
        Record.create(tmp_path / "run", config("s3://no-such-bucket"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(LudusError, match="does not take the key"):
        Record.create(tmp_path / "run", config(bucket))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(LudusError, match="has no AWS_ACCESS_KEY_ID"):
        Record.create(tmp_path / "run", config(bucket))
    assert not (tmp_path / "run").exists()
    with pytest.raises(LudusError, match=r"record\.objects='bucket' is no URL; give s3://bucket/folder"):
        override(preset("tiny"), ["record.objects=bucket"])


def test_the_server_goes_away_in_an_upload(own_store, tmp_path, monkeypatch, caplog):
    own_store.start()
    own_store.ask("PUT", "/kept")
    uninterrupted = Record.create(tmp_path / "here", preset("tiny"))
    with uninterrupted:
        for step in ("one", "two"):
            collect(uninterrupted, step)
        expected = {k: v for k, v in uninterrupted.content().items() if k != "runs"}
    monkeypatch.setattr(storage, "PATIENCE_S", 1.0)
    with Record.create(tmp_path / "run", config("s3://kept"), command="ludus run") as record:
        collect(record, "one")
        own_store.kill()
        with pytest.raises(LudusError, match=r"does not answer .*step 'one' is safe.*continue with `ludus resume "):
            collect(record, "two")
        assert record.last_step() == "one" and "is tried again for 1 s" in caplog.text
    with pytest.raises(LudusError, match="does not answer"):
        Record.open(tmp_path / "run")
    Record.open(tmp_path / "run", write=False).close()
    own_store.start()
    with Record.open(tmp_path / "run") as record:
        collect(record, "two")
        assert {k: v for k, v in record.content().items() if k != "runs"} == expected


DIES = """
import os, sys
from test_record_objects import collect
from ludus.record import Record
with Record.open(sys.argv[1]) as record:
    record._save = lambda *_: os.kill(os.getpid(), 9)
    collect(record, "two")
"""


def test_a_run_is_killed_between_upload_and_commit(bucket, tmp_path):
    with Record.create(tmp_path / "run", config(bucket)) as record:
        collect(record, "one")
    killed = subprocess.run([sys.executable, "-c", DIES, tmp_path / "run"], cwd=Path(__file__).parent)
    assert killed.returncode == -signal.SIGKILL
    with Record.open(tmp_path / "run") as record:
        orphan = key_of(record, "shards/two.safetensors")
        assert record.last_step() == "one" and Storage(f"{bucket}/runs").get(orphan)
        found = collect(record, "two")
        assert key_of(record, "shards/two.safetensors") == orphan and len(found) == 4


RUN = ("world.n_blocks=1", "world.n_envs=4", "seed_data.episodes=16", "experiment.rounds=1",
       "experiment.episodes_per_round=16", "experiment.final_episodes=2", "training.updates=20",
       "training.round_updates=20", "training.evaluate_every=10", "training.evaluation_episodes=1")  # fmt: skip


@pytest.mark.slow
def test_a_killed_run_goes_on_where_there_is_nothing_of_it(bucket, postgresql, tmp_path, elsewhere):
    from postgresql import schema

    ludus("run", "--preset", "tiny", "--dir", tmp_path / "here", *RUN)
    with Record.open(tmp_path / "here", write=False) as here, schema(postgresql) as url:
        expected = {k: v for k, v in here.content().items() if k != "runs"}
        weights = {n: here.path(n).read_bytes() for n in here.names("checkpoints")}
        there = ("--record", url)
        command = ("run", "--preset", "tiny", "--dir", tmp_path / "run", *RUN, f"record.objects={bucket}/runs", *there)
        process = subprocess.Popen([sys.executable, "-m", "ludus.cli", *map(str, command)], cwd=tmp_path)
        while not (tmp_path / "run/checkpoints/pretrain-train-000.pt").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
        shutil.rmtree(tmp_path / "run")
        (run,) = runs_in(url)
        assert "stopped" in ludus("status", *there)
        said = ludus("resume", run.run_id, *there)
        assert f"runs/{run.run_id}" in said
        home = elsewhere / "runs" / run.run_id
        with Record.open(home, write=False) as record:
            assert {k: v for k, v in record.content().items() if k != "runs"} == expected
            assert {n: record.file(n).read_bytes() for n in record.names("checkpoints")} == weights
        shutil.rmtree(home)
        assert "done" in ludus("status", *there) and "reach" in ludus("skills", *there)
        assert "reach X" in ludus("eval", "-n", 1, "--skills", "reach red", *there)
        with Record.open(home, url=url, run_id=run.run_id, write=False) as far:
            assert b"</html>" in far.file("report.html").read_bytes()
        assert not (home / "run.json").exists(), "who looks leaves no run"
        with suppress(OSError):
            os.rmdir(home)
