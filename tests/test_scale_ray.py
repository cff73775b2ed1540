"""Collection on a real Ray cluster, whose processes die and hang: the record is that of one process."""

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from command import ludus
from ray_nodes import Nodes, below, kill, raylets, send, until, workers
from run_processes import DATA, RUN, TAKES_S, begin, committed, content, finish

from ludus.config import CollectionConfig, SeedDataConfig, WorldConfig
from ludus.lab.actors import ActorSpec, seed_rollouts
from ludus.lab.collector import LocalCollector, collect_tasks
from ludus.scale.ray_collector import RayCollector
from ludus.types import LudusError
from ludus.worlds.registry import make_world

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = 8


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Collected by one process."""
    directory = tmp_path_factory.mktemp("here") / "data"
    ludus("collect", directory, *DATA)
    return content(directory)


@pytest.fixture(scope="module")
def run_here(tmp_path_factory):
    """A run of one process."""
    directory = tmp_path_factory.mktemp("here") / "run"
    ludus("run", "--dir", directory, *RUN)
    return content(directory)


@pytest.fixture
def nodes(tmp_path):
    with Nodes(tmp_path / "token") as nodes:
        yield nodes


def at(nodes, tmp_path):
    return "collection.on=ray", f"collection.address={nodes.address}", f"collection.token={tmp_path / 'token'}"


def test_a_cluster_of_its_own_whose_worker_is_killed_and_another_hangs(here, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    command = ("collect", tmp_path / "data", *DATA, "collection.on=ray", "collection.timeout_s=45")
    process = subprocess.Popen(
        [sys.executable, "-m", "ludus.cli", *map(str, command)], env=os.environ | {"HOME": str(home)}
    )
    send(until(lambda: workers(process), TAKES_S, process)[0], signal.SIGKILL)
    begun = committed(tmp_path / "data")
    hung = until(lambda: committed(tmp_path / "data") > begun and workers(process), TAKES_S, process)[0]
    send(hung, signal.SIGSTOP)
    below = psutil.Process(process.pid).children(recursive=True)
    assert process.wait(TAKES_S) == 0
    assert content(tmp_path / "data") == here
    log = (tmp_path / "data/ray/driver.log").read_text()
    assert "WorkerCrashedError" in log and "no answer within 45 s" in log
    assert not [p for p in below if p.is_running()], "the cluster ends with the command"
    assert stat.S_IMODE((tmp_path / "data/ray/token").stat().st_mode) == 0o600
    assert not list(home.iterdir()) and not (tmp_path / "data/ray/exchange").exists()


def test_a_node_is_killed(here, nodes, tmp_path):
    other = nodes.start()
    process = begin(
        "collect", tmp_path / "data", *DATA, *at(nodes, tmp_path), f"collection.storage=file://{tmp_path}/far"
    )
    until(lambda: workers(other), TAKES_S, process)
    send(raylets(other)[0], signal.SIGKILL)
    finish(process)
    assert content(tmp_path / "data") == here
    assert raylets(nodes.head), "a cluster that was there stays"
    assert not list((tmp_path / "far").iterdir()), "what was exchanged is removed"


def test_what_is_exchanged_goes_through_an_object_store(run_here, bucket, store, tmp_path):
    command = ("run", "--dir", tmp_path / "run", *RUN, "collection.on=ray", f"collection.storage={bucket}/exchange")
    finish(begin(*command))
    assert content(tmp_path / "run") == run_here
    assert store.ask("GET", f"/{bucket.removeprefix('s3://')}/") == 200
    assert b"<Contents>" not in store.body, "what was exchanged is removed"


def test_a_node_hangs(here, nodes, tmp_path):
    other = nodes.start()
    process = begin("collect", tmp_path / "data", *DATA, *at(nodes, tmp_path), "collection.timeout_s=60")
    until(lambda: workers(other), TAKES_S, process)
    for stopped in below(other):
        send(stopped, signal.SIGSTOP)
    finish(process)
    assert content(tmp_path / "data") == here


def test_a_node_does_not_see_the_storage(here, nodes, tmp_path):
    far, within = tmp_path / "far", ("unshare", "--mount", "sh", "-c")
    far.mkdir()
    hide = f'mount -t tmpfs none {far} && exec "$@"'
    if os.geteuid() != 0 or subprocess.run([*within, hide, "sh", "true"]).returncode:
        pytest.skip("cannot hide a folder from a process here")
    other = nodes.start(*within, hide, "sh")
    process = begin("collect", tmp_path / "data", *DATA, *at(nodes, tmp_path), f"collection.storage=file://{far}")
    until(lambda: workers(other), TAKES_S, process)
    finish(process)
    assert content(tmp_path / "data") == here
    assert "give a place that every node reaches" in (tmp_path / "data/ray/driver.log").read_text()


def test_workers_are_killed_at_random(tmp_path):
    data, draw, killed = (*DATA[:-1], 240), np.random.default_rng(0), 0
    ludus("collect", tmp_path / "here", *data)
    on = ("collection.on=ray", "collection.workers=2", "collection.retries=1000")
    process = begin("collect", tmp_path / "data", *data, *on)
    while killed < KILLS and process.poll() is None:
        if found := workers(process):
            send(found[draw.integers(len(found))], signal.SIGKILL)
            killed += 1
        time.sleep(draw.uniform(0, 8))  # some die while they start, some in the midst of a task
    finish(process)
    assert killed == KILLS
    assert content(tmp_path / "data") == content(tmp_path / "here")


def test_the_collector_is_asked_like_that_of_one_process(tmp_path):
    config = WorldConfig(n_blocks=1, n_envs=2)
    with closing(make_world(config)) as world:
        library, actor = world.library(), ActorSpec("random")
        rollouts = seed_rollouts(library, SeedDataConfig(episodes=8, segments=1), seed=4)
        tasks = collect_tasks("collect/a", rollouts, actor, library, config, world.spec)

        def admitted(task):  # of the last but one a part, of the last nothing
            n = {tasks[2].step: 1, tasks[3].step: 0}.get(task.step, 2)
            return replace(task, rollouts=task.rollouts[:n], ids=task.ids[:n])

        def shown(results):
            return [(r.step, r.outcomes, [(e.id, e.actions.tobytes()) for e in r.episodes]) for r in results]

        expected = shown(LocalCollector(world).map(tasks, None, admitted))
        steps: list[int] = []
        settings = CollectionConfig(on="ray", workers=1, in_flight=3)
        with closing(RayCollector(settings, tmp_path, "session", 1, 1)) as collector:
            assert shown(collector.map(tasks, steps.append, admitted)) == expected
            assert sum(steps) == sum(t.n_steps(world.spec) for t in map(admitted, tasks))
            wrong = replace(tasks[0], actor=ActorSpec("policy", str(tmp_path / "nothing.pt")))
            with pytest.raises(LudusError, match=r"nothing\.pt is missing"):
                list(collector.map([wrong]))
            (tmp_path / "broken.pt").write_bytes(b"no checkpoint")
            wrong = replace(tasks[0], actor=ActorSpec("policy", str(tmp_path / "broken.pt")))
            with pytest.raises(LudusError, match="checkpoint"):  # of the worker
                list(collector.map([tasks[0], wrong, tasks[1]]))
            started = collector.map(tasks)
            next(started)
            started.close()
            (result,) = collector.map(tasks[:1])
            assert shown([result]) == expected[:1]
            lost = collector.map(tasks)
            next(lost)
            processes = psutil.Process().children(recursive=True)
            (driver,) = (p for p in processes if "ludus.scale.fleet" in p.cmdline())
            below_it = [driver, *driver.children(recursive=True)]
            driver.kill()
            with pytest.raises(LudusError, match=r"is lost: its driver ended \(signal SIGKILL\).*ludus resume"):
                list(lost)
        # agents of Ray look once a minute
        until(lambda: not [p for p in below_it if p.is_running() and p.status() != psutil.STATUS_ZOMBIE], 180)


def test_the_head_is_killed_and_the_run_goes_on_elsewhere(run_here, nodes, tmp_path):
    process = begin("run", "--dir", tmp_path / "run", *RUN, *at(nodes, tmp_path))
    until(lambda: committed(tmp_path / "run") > 1, TAKES_S, process)
    kill(nodes.head)
    said = finish(process, 2)
    assert f"the Ray cluster {nodes.address} is lost" in said and "`ludus resume`" in said and "Traceback" not in said
    assert 1 < committed(tmp_path / "run") < 4
    said = ludus("resume", tmp_path / "run", code=2)
    assert f"collection.address={nodes.address} is not reached" in said
    ludus("resume", tmp_path / "run", "collection.address=", "collection.token=")
    assert content(tmp_path / "run") == run_here


def test_clusters_that_cannot_be_used(nodes, tmp_path):
    on, address, token = at(nodes, tmp_path)
    collect = ("collect", tmp_path / "data", *DATA, on)
    assert "is not reached: nothing listens" in ludus(*collect, "collection.address=127.0.0.1:9", code=2)
    assert "collection.token" in ludus(*collect, address, code=2)
    (tmp_path / "wrong").write_text("0" * 64)
    assert "collection.token" in ludus(*collect, address, f"collection.token={tmp_path / 'wrong'}", code=2)
    said = ludus(*collect, address, token, "world.threads=2", code=2)
    assert "no node of the Ray cluster has the 2 cores" in said
    assert not Path(tmp_path / "data").exists()
