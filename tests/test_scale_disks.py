"""Collection on Ray with disks that are full: of the storage, of the run, of a node. What was committed is whole, and goes on."""

import subprocess
from contextlib import suppress

import pytest
from command import ludus
from ray_nodes import Nodes, until, workers
from run_processes import DATA, RUN, TAKES_S, begin, committed, content, finish

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
OWN = ("collection.on=ray", "collection.workers=1", "collection.retries=1")
"""A cluster of the command's own."""


@pytest.fixture(scope="module")
def run_here(tmp_path_factory):
    """A run of one process."""
    directory = tmp_path_factory.mktemp("here") / "run"
    ludus("run", "--dir", directory, *RUN)
    return directory


@pytest.fixture
def disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk]).returncode:
        pytest.skip("cannot mount a small disk here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def stays_full(disk, process):
    """Leave no room until the command has ended."""

    def filled():
        with suppress(OSError), (disk / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        return process.poll() is not None

    until(filled, TAKES_S)


def test_the_storage_is_full(disk, tmp_path):
    ludus("collect", tmp_path / "here", *DATA)
    command = ("collect", tmp_path / "data", *DATA, *OWN, f"collection.storage=file://{disk}")
    process = begin(*command)
    until(lambda: committed(tmp_path / "data"), TAKES_S, process)
    stays_full(disk, process)
    said = finish(process, 2)
    assert "(No space left on device); free some space there. What was committed is safe" in said
    assert 0 < committed(tmp_path / "data") < 6
    (disk / "filler").unlink()
    assert not list(disk.iterdir()), "what did not fit was removed"
    process = begin(*command)
    stays_full(disk, process)
    assert "(No space left on device); free some space there" in finish(process, 2)
    (disk / "filler").unlink()
    finish(begin(*command))
    assert content(tmp_path / "data") == content(tmp_path / "here")


@pytest.mark.parametrize("exchange", ["in the run's directory", "elsewhere"])
def test_the_disk_of_the_run_is_full(run_here, disk, tmp_path, exchange):
    storage = (f"collection.storage=file://{tmp_path}/far",) if exchange == "elsewhere" else ()
    process = begin("run", "--dir", disk / "run", *RUN, *OWN, *storage)
    until(lambda: committed(disk / "run") > 1, TAKES_S, process)
    stays_full(disk, process)
    said = finish(process, 2)
    assert "Traceback" not in said and "safe" in said and "`ludus resume" in said, said
    assert ("No space left on device" if not storage else f"the disk of {disk / 'run'} is full") in said
    done = committed(disk / "run")
    (disk / "filler").unlink()
    finish(begin("resume", disk / "run"))
    assert 1 < done < committed(disk / "run") and content(disk / "run") == content(run_here)


def test_the_temporary_folder_of_a_node_is_full(run_here, disk, tmp_path):
    subprocess.run(["mount", "-o", "remount,size=100k", disk], check=True)  # less than a checkpoint
    data = ("--actor", "policy", "--policy", run_here, *DATA)
    ludus("collect", tmp_path / "here", *data)
    with Nodes(tmp_path / "token") as nodes:
        other = nodes.start("env", f"TMPDIR={disk}")
        on = ("collection.on=ray", f"collection.address={nodes.address}", f"collection.token={tmp_path / 'token'}")
        process = begin("collect", tmp_path / "data", *data, *on)
        until(lambda: workers(other), TAKES_S, process)
        finish(process)
    assert content(tmp_path / "data") == content(tmp_path / "here")
    assert "No space left on device" in (tmp_path / "data/ray/driver.log").read_text()
