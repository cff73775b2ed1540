"""Collection on Ray nodes in network namespaces, cut off, slow, with full disks: the record is that of one process."""

import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path

import pytest
from command import ludus
from machines import Forbidden, Machines
from ray_nodes import HEAD, Nodes, below, raylets, send, until, workers
from run_processes import DATA, TAKES_S, begin, committed, content, finish

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
MORE = (*DATA[:-1], "60")
"""Fifteen tasks."""
HERE, OTHER = 2, 3
"""The machine of the run, and one with neither run nor head."""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Collected by one process."""
    directory = tmp_path_factory.mktemp("here") / "data"
    ludus("collect", directory, *MORE)
    return content(directory)


@pytest.fixture
def temporary():
    """Ray's folder, which is another on each machine."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def machines(temporary):
    try:
        with Machines(3, temporary) as machines:
            yield machines
    except Forbidden as error:
        pytest.skip(str(error))


@pytest.fixture
def nodes(machines, temporary, tmp_path):
    """The head, and the node of the machine of the run."""
    with Nodes(tmp_path / "token", machines, temporary) as nodes:
        nodes.start(machine=HERE)
        yield nodes


def at(nodes, tmp_path):
    return "collection.on=ray", f"collection.address={nodes.address}", f"collection.token={tmp_path / 'token'}"


def collects(nodes, machines, tmp_path, *settings):
    command = ("collect", tmp_path / "data", *MORE, *at(nodes, tmp_path), *settings)
    return begin(*command, within=machines.within(HERE))


def log(directory):
    return (directory / "ray/driver.log").read_text()


def test_a_node_is_cut_off(here, nodes, machines, tmp_path):
    other = nodes.start(machine=OTHER)
    process = collects(nodes, machines, tmp_path)
    until(lambda: workers(other), TAKES_S, process)
    machines.cut(OTHER)
    finish(process)
    assert content(tmp_path / "data") == here
    assert "its node is lost" in log(tmp_path / "data")


def test_a_node_is_cut_off_for_a_moment(here, nodes, machines, tmp_path):
    other = nodes.start(machine=OTHER)
    process = collects(nodes, machines, tmp_path)
    for _ in range(2):
        until(lambda: workers(other), TAKES_S, process)
        machines.cut(OTHER)
        time.sleep(4)
        machines.mend(OTHER)
    finish(process)
    assert content(tmp_path / "data") == here
    assert "collect/" not in log(tmp_path / "data"), "no task was done again"
    assert raylets(other)


def test_a_node_is_slow(here, nodes, machines, tmp_path):
    """Its processes stand still four fifths of the time, and its network lets half a megabit through."""
    other, ends = nodes.start(machine=OTHER), threading.Event()

    def by_turns():
        while not ends.wait(0.1):
            slowed = below(other)
            for process in slowed:
                send(process, signal.SIGSTOP)
            ends.wait(0.4)
            for process in slowed:
                send(process, signal.SIGCONT)

    turns = threading.Thread(target=by_turns)
    process = collects(nodes, machines, tmp_path)
    until(lambda: workers(other), TAKES_S, process)
    machines.slow(OTHER, 500)
    turns.start()
    try:
        finish(process)
    finally:
        ends.set()
        turns.join()
    assert content(tmp_path / "data") == here
    assert raylets(other) and "its node is lost" not in log(tmp_path / "data")


def test_the_disk_of_a_node_is_full(here, nodes, machines, temporary, tmp_path):
    """That on which Ray itself keeps logs."""
    other = nodes.start(machine=OTHER)
    process = collects(nodes, machines, tmp_path, "collection.timeout_s=60")
    worker = until(lambda: workers(other), TAKES_S, process)[0]
    machines.fill(OTHER, temporary)
    send(worker, signal.SIGKILL)  # the next one finds no room
    finish(process)
    assert content(tmp_path / "data") == here


def test_the_head_is_cut_off(here, nodes, machines, tmp_path):
    nodes.start(machine=OTHER)
    process = collects(nodes, machines, tmp_path)
    until(lambda: committed(tmp_path / "data"), TAKES_S, process)
    machines.cut(HEAD)
    said = finish(process, 2)
    assert f"the Ray cluster {nodes.address} is lost" in said and "`ludus resume`" in said and "Traceback" not in said
    assert 0 < committed(tmp_path / "data") < 15
    said = finish(collects(nodes, machines, tmp_path), 2)
    assert "is not reached: nothing listens there" in said
