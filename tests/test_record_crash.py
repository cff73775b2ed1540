"""Killed, out of disk space, resumed: the record holds what it would have held."""

import math
import os
import signal
import subprocess
import time
from contextlib import suppress

import numpy as np
import pytest
from record_parts import Stop, message, outcome, stop

from ludus.config import preset
from ludus.record import Record, files
from ludus.seeding import rng
from ludus.types import LudusError, Message, Outcome


@pytest.fixture
def record(tmp_path, place):
    with Record.create(tmp_path / "run", preset("tiny"), url=place) as record:
        yield record


# --- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_old_or_new_never_half(tmp_path):
    path = tmp_path / "deep" / "file"
    files.write(path, b"old")
    with pytest.raises(Stop), files.replacing(path) as temporary:
        stop(temporary.write_bytes(b"half of the n"))
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == ["file"]
    files.write(path, b"new")
    assert path.read_bytes() == b"new"


def test_a_directory_is_replaced_whole(record):
    for text in ("old", "new"):
        with record.replacing("checkpoints/last") as temporary:
            temporary.mkdir()
            (temporary / text).write_text(text)
    assert os.listdir(record.path("checkpoints")) == ["last"] and os.listdir(record.path("checkpoints/last")) == ["new"]


# --- crash and full disk ----------------------------------------------------------------------------------------------


def carry_out(directory, url=None, tell=lambda: None):
    """A run of 80 steps, from wherever it stands."""
    begun = directory.with_suffix(".begun")
    record = Record.open(directory) if begun.exists() else Record.create(directory, preset("tiny"), url=url)
    begun.touch()
    for i in range(80):
        step = f"step/{i}"
        if record.done(step):
            continue
        with record.commit(step) as opened:
            before = len(record.messages()), len(record.outcomes())
            for k in range(3):
                record.post(Message(f"{step}/{k}", "loop", "all", "note", f"{before}"))
                record.write_file(f"images/{i}-{k}.bin", rng(i, k).bytes(1000))
                reward = rng(i, k).random()
                record.add_outcomes([Outcome(f"e{i}", k, "c", "h", True, True, reward)])
            opened.result = {"before": before}
        tell()
    record.close()


def test_killed_at_random_and_resumed_equals_uninterrupted(tmp_path, place):
    draw = np.random.default_rng(0)
    carry_out(tmp_path / "whole")
    hear, say = os.pipe()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                carry_out(tmp_path / "killed", place, lambda: os.write(say, b"."))
            os._exit(0)
        for _ in range(draw.integers(1, 6)):  # some whole steps, and then anywhere in the next ones
            os.read(hear, 1)
        time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    left = len(Record.open(tmp_path / "killed", write=False).steps())
    carry_out(tmp_path / "killed")
    whole, killed = (Record.open(tmp_path / name, write=False) for name in ("whole", "killed"))
    assert left >= 10 and whole.content() == killed.content()
    names = os.listdir(whole.path("images"))
    assert len(names) == 240 and names == os.listdir(killed.path("images"))  # no temporary file is left either
    for name in names:
        assert whole.path("images", name).read_bytes() == killed.path("images", name).read_bytes()


def test_content_does_not_see_the_clock(tmp_path, database):
    contents = []
    for name in ("a", "b"):
        with Record.create(tmp_path / name, preset("tiny"), url=database, command=name) as record, record.commit("a"):
            record.add_metrics([("time/fit", 1, time.time()), ("loss", 1, 0.5), ("loss", 2, math.nan)])
            record.post(message("m"))
        with Record.open(tmp_path / name, write=False) as record:
            contents.append(record.content())
    assert contents[0] == contents[1] and len(contents[0]["metrics"]) == 2


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", disk]).returncode:
        pytest.skip("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize(
    ("command", "again"), [("ludus run", "ludus resume "), ("ludus collect a", "the same `ludus collect`")]
)
def test_a_full_disk_ends_in_one_sentence_and_loses_nothing(small_disk, command, again):
    with Record.create(small_disk / "run", preset("tiny"), command=command) as record:

        def fill():
            for i in range(2000):
                with record.commit(f"step/{i}"):
                    record.add_outcomes([outcome(f"e{i}", k) for k in range(20)])

        with pytest.raises(LudusError) as caught:
            fill()
        done = len(record.steps()) - 1
        assert done > 0
        assert f"is full; everything up to step 'step/{done}' is safe" in str(caught.value)
        assert again in str(caught.value)
        with pytest.raises(LudusError, match="is full"):
            record.write_file("images/large.bin", bytes(1_000_000))
        assert not record.path("images/large.bin").exists() and not list(record.path("images").iterdir())
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    with Record.open(small_disk / "run") as record:
        assert record.last_step() == f"step/{done}" and len(record.outcomes()) == 20 * (done + 1)
        with record.commit(f"step/{done + 1}"):
            record.add_outcomes([outcome(f"e{done + 1}")])


def test_a_disk_too_full_to_begin(small_disk):
    (small_disk / "ballast").write_bytes(bytes(590_000))
    with pytest.raises(LudusError, match="is full; free some space"):
        Record.create(small_disk / "run", preset("tiny"))
    assert not (small_disk / "run").exists()


def test_a_full_disk_is_seen_behind_other_errors(small_disk):
    torch = pytest.importorskip("torch")
    with Record.create(small_disk / "run", preset("tiny")) as record:
        with pytest.raises(RuntimeError, match="something else"), record.commit("a"):
            raise RuntimeError("something else")
        full = pytest.raises(LudusError, match="is full; no step was done yet")
        with full, record.commit("a"), record.replacing("checkpoints/a.pt") as temporary:
            torch.save({"weights": torch.zeros(1_000_000)}, temporary)  # raises a RuntimeError about positions
