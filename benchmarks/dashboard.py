"""How long the pages of `ludus serve` take to open over many runs, messages and episodes, and what viewers take from a run.

    taskset -c 1 python benchmarks/dashboard.py --runs 300 --messages 100000 --episodes 10000 --viewers 5

Opening: seconds in Chromium from the address to the first content of the page, and CPU seconds of the server, when the page is
opened for the first time and again, each time once the server has done what the page before asked for; *runs* right after the
start, while all of them are read once, and `all_runs_s` until all stand there. Scrolling: frames per second and the longest
frame, ms, while a page moves 30 px per frame. Throughput: a process works and writes like a run does (progress each second, a
message and a committed step now and then) in a run of the folder while the server runs as it does beside a run, in windows with
and without viewers in turn, all on the same cores; `ratio` is the median over pairs of windows, that of units of work per
second, and `cpu_ratio` that of the run's share of a core, which is more exact where other machines share the processor. Viewers
are connections that hold the tab *Now* open and get what is new, at the lowest priority, since browsers work elsewhere. The
intervals are of the mean of the pairs' ratios (Student's t, 95 %). Rows are made up, in a temporary folder, without arrays.
`load` is the machine's, of the last minute, at the beginning and at the end.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import multiprocessing as mp
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import socketio

from ludus.config import Config
from ludus.experiment.library import begin
from ludus.lab.room import Room
from ludus.record import Record, tables
from ludus.record.progress import Progress
from ludus.skills.library import SkillLibrary
from ludus.types import Message, Outcome, Plan, Proposal, SuccessCount, Verdict
from ludus.views.page.beside import NICENESS
from ludus.worlds.registry import make_world

ROUNDS = 20
CHUNK = 20_000
"""Messages per transaction."""
WINDOW_S, PAIRS, T_95 = 6.0, 16, 2.131
"""Seconds, pairs of windows, and the quantile of Student's t for so many."""
PATIENCE_MS, SCROLL_S = 300_000, 4
SKILL = "stack red on green"
PAGES = {
    "runs": "/",
    "compare": "/compare?run=large&run=small",
    "now": "/run/large/now",
    "room": "/run/large/room",
    "room, words": "/run/large/room?words=number+7",
    "learning": "/run/large/learning",
    "skills": "/run/large/skills",
    "passport": f"/run/large/skills?skill={quote(SKILL)}",
    "episodes": "/run/large/episodes",
    "episodes, failures": f"/run/large/episodes?skill={quote(SKILL)}&result=failure",
    "cost": "/run/large/cost",
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 300), ("messages", 100_000), ("episodes", 10_000), ("viewers", 5)):
        options.add_argument(f"--{name}", type=int, default=default)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_runs(folder, asked.runs, asked.messages, asked.episodes)
        server, address = serve(folder)
        try:
            load = [round(os.getloadavg()[0], 2)]
            found: dict[str, Any] = in_browser(address, server.pid)
            found["throughput"] = throughput(folder / "small", server, address, asked.viewers)
            found["load"] = [*load, round(os.getloadavg()[0], 2)]
        finally:
            server.terminate()
            server.wait(30)
    print(json.dumps(vars(asked) | found, indent=1))


# --- the runs ------------------------------------------------------------------------------------------------------


def make_runs(folder: Path, n_runs: int, n_messages: int, n_episodes: int) -> None:
    """A run with all the messages and episodes, and copies of one with few of them."""
    make(folder / "large", n_messages, n_episodes)
    make(folder / "small", 200, 200)
    for i in range(1, n_runs - 1):
        copy = folder / f"run-{i:03d}"
        shutil.copytree(folder / "small", copy)
        with sqlite3.connect(copy / "ludus.db") as database:
            database.execute("UPDATE runs SET seed = ?, created = created + ?", (i, i))
        database.close()


def make(directory: Path, n_messages: int, n_episodes: int) -> None:
    with Record.create(directory, Config()) as record:
        world = make_world(record.config.world, look=True)
        library = world.library()
        begin(record, world, library, "made up")
        world.close()
        for n in range(1, ROUNDS + 1):
            make_round(record, n, library, n_episodes // ROUNDS)
        for first in range(0, n_messages, CHUNK):
            numbers = range(first, min(n_messages, first + CHUNK))
            record.post(*(Message(f"m{i}", "loop", "all", "note", f"message number {i}") for i in numbers))


def make_round(record: Record, n: int, library: SkillLibrary, n_episodes: int) -> None:
    """Plans, episodes with four outcomes each, an evaluation and a verdict per skill."""
    captions = library.captions
    with record.commit(f"round/{n}/plan"):
        for i in range(8):
            steps = (captions[i % len(captions)],)
            record.add_plan(n, Plan(f"r{n}-s{i}-a0", Proposal(f"task {i}", "made up", 0.5), steps, ()))
    write_episodes(record, f"round/{n}/practice/000", n_episodes, captions)
    with record.commit(f"round/{n}/train/000") as opened:
        opened.result = {"stop": False, "updates": 1000 * n}
        record.add_metrics([("time/updates_per_s", 1000 * n, 20.0), ("time/training_s", 1000 * n, 50.0)])
        record.add_evaluation("curve", 1000 * n, [SuccessCount(c, "h", 24, n, n) for c in captions])
        for template in dict.fromkeys(library.template(c) for c in captions):
            verdict = Verdict(template, "learning", 0.7, "made up")
            record.add_verdict(n, 1000 * n, verdict)
            Room(record).post("experimenter", "analysis", "verdict", "made up", payload={"caption": template})
    with record.commit(f"round/{n}/settle") as opened:
        step = f"round/{n}/train/000"
        opened.result = {"tried": step, "best": step, "gate": None, "skills": []}


def write_episodes(record: Record, step: str, n: int, captions: tuple[str, ...]) -> None:
    row = {
        "shard": f"{step}.safetensors",
        "steps": 320,
        "actor": "policy",
        "world": "w",
        "seed": 0,
        "start": "scattered",
    }
    row |= {"ended": "time", "info": {"practice": "stack X on Y"}}
    with record.commit(step):
        ids = [f"{step}/{i:05d}".replace("/", "-") for i in range(n)]
        told = [[captions[(i + k) % len(captions)] for k in range(4)] for i in range(n)]
        rows = [
            row | {"id": id, "place": i, "segments": [[80 * k, c, "h"] for k, c in enumerate(told[i])]}
            for i, id in enumerate(ids)
        ]
        shard = {"name": f"{step}.safetensors", "episodes": n, "transitions": 320 * n, "checksum": "c"}
        record.add_rows(tables.shards, [shard])
        record.add_rows(tables.episodes, rows)
        record.add_outcomes(
            Outcome(id, k, c, "h", (i + k) % 3 > 0, True, 0.5)
            for i, id in enumerate(ids)
            for k, c in enumerate(told[i])
        )


# --- the server ----------------------------------------------------------------------------------------------------


def serve(folder: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "ludus.cli", "serve", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().removeprefix("Open ").strip().rstrip("/")


def in_browser(address: str, pid: int) -> dict[str, Any]:
    """Opening and scrolling, see above."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        opened, scrolled, all_runs_s, started = {}, {}, 0.0, time.perf_counter()
        for name, path in PAGES.items():
            opened[name] = [opening(page, address + path, pid)]
            if name == "runs":
                page.wait_for_function("!document.body.innerText.includes('being read')")
                all_runs_s = round(time.perf_counter() - started, 3)
            settled(pid)
            opened[name].append(opening(page, address + path, pid))
            settled(pid)
        for name in ("room", "episodes"):
            opening(page, address + PAGES[name], pid)
            scrolled[name] = page.evaluate(SCROLL, SCROLL_S)
        browser.close()
    return {"opening": opened, "all_runs_s": all_runs_s, "scrolling": scrolled}


SCROLL = """seconds => new Promise(done => {
    const began = performance.now(), frames = []; let last = began, step = 30;
    requestAnimationFrame(function frame(now) {
        frames.push(now - last); last = now;
        const at = scrollY; scrollBy(0, step); if (scrollY === at) step = -step;
        if (now - began < 1000 * seconds) requestAnimationFrame(frame);
        else done({frames_per_s: Math.round(frames.length / (now - began) * 1e4) / 10,
                   longest_ms: Math.round(Math.max(...frames.slice(1)))});
    });
})"""


def opening(page: Any, address: str, pid: int) -> dict[str, float]:
    """Seconds until a page shows what it is about, and CPU seconds of the server."""
    started, used = time.perf_counter(), cpu_s(pid)
    page.goto(address, wait_until="commit")
    page.wait_for_function("document.querySelector('.view') && !document.querySelector('.waiting')")
    if "cannot be shown" in page.content():
        raise SystemExit(f"{address} shows nothing")
    return {"s": round(time.perf_counter() - started, 3), "cpu_s": round(cpu_s(pid) - used, 3)}


def settled(pid: int) -> None:
    """Wait until the server does next to nothing: what one page has set going is no time of the next one."""
    used, deadline = -1.0, time.perf_counter() + 30
    while cpu_s(pid) - used > 0.05 and time.perf_counter() < deadline:
        used = cpu_s(pid)
        time.sleep(0.5)


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


# --- throughput ----------------------------------------------------------------------------------------------------


def work(directory: Path, done: Any) -> None:
    """Stand in for a run: count units of work, writing what a run writes."""
    numbers = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    with Record.open(directory) as record, Progress(record).stage("round 21: training", 10**9) as advance:
        room, units = Room(record), 0
        while True:
            for _ in range(20):
                numbers = np.tanh(numbers @ numbers.T / 200)
            units += 1
            advance(1)
            done.value = units
            if units % 500 == 0:
                with record.commit(f"round/21/practice/{units}"):
                    room.post("loop", "all", "note", "some more units")


async def come(address: str) -> socketio.AsyncClient:
    """A viewer, as a browser is one: the page, and a socket that gets what is new."""
    page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"{address}/run/small/now").read().decode())
    found = re.search(r"query: (\{.*?\}),\n", page)
    assert found, "NiceGUI writes its pages in another way"
    query = ast.literal_eval(found[1]) | {"document_id": str(uuid.uuid4()), "tab_id": str(uuid.uuid4())}
    told = "&".join(f"{k}={quote(json.dumps(v) if isinstance(v, bool) else str(v))}" for k, v in query.items())
    client = socketio.AsyncClient()
    path = "/_nicegui_ws/socket.io"
    await client.connect(f"{address}?{told}", socketio_path=path, transports=["websocket"], wait_timeout=60)
    return client


def viewers(address: str, n: int, come_in: Any, there: Any, leave: Any) -> None:
    """The process of all viewers: they come when told, say when they are there, and leave when told."""
    os.nice(19)

    async def visit() -> None:
        clients = await asyncio.gather(*(come(address) for _ in range(n)))
        there.set()
        while not leave.is_set():
            await asyncio.sleep(0.1)
        await asyncio.gather(*(client.disconnect() for client in clients))

    while True:
        come_in.wait()
        come_in.clear()
        asyncio.run(visit())


def throughput(directory: Path, server: subprocess.Popen[str], address: str, n: int) -> dict[str, Any]:
    for thread in os.listdir(f"/proc/{server.pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(thread), NICENESS)
    context = mp.get_context("spawn")
    done, (come_in, there, leave) = context.Value("q", 0), (context.Event() for _ in range(3))
    processes = [
        context.Process(target=work, args=(directory, done), daemon=True),
        context.Process(target=viewers, args=(address, n, come_in, there, leave), daemon=True),
    ]
    for process in processes:
        process.start()
    run_pid = processes[0].pid or 0
    ratios, cpu_ratios, shares = [], [], []
    try:
        while done.value < 100:
            time.sleep(0.2)
        for _ in range(PAIRS):
            without, own, _ = measured(done, run_pid, server.pid)
            leave.clear()
            come_in.set()
            if not there.wait(120):
                raise SystemExit("the viewers did not come")
            watched, own_watched, share = measured(done, run_pid, server.pid)
            there.clear()
            leave.set()
            time.sleep(2)
            ratios.append(watched / without)
            cpu_ratios.append(own_watched / own)
            shares.append(share)
    finally:
        for process in processes:
            process.kill()
    return {
        "ratio": round(statistics.median(ratios), 4),
        "interval": interval(ratios),
        "ratios": [round(r, 4) for r in ratios],
        "cpu_ratio": round(statistics.median(cpu_ratios), 4),
        "cpu_interval": interval(cpu_ratios),
        "cpu_of_the_server_with_viewers": round(statistics.median(shares), 4),
    }


def interval(ratios: list[float]) -> list[float]:
    mean, half = statistics.mean(ratios), T_95 * statistics.stdev(ratios) / len(ratios) ** 0.5
    return [round(mean - half, 4), round(mean + half, 4)]


def measured(done: Any, run: int, server: int) -> tuple[float, float, float]:
    """Units of work per second within a window, and the shares of a core that the run and the server took."""

    def at() -> tuple[float, int, float, float]:
        return time.perf_counter(), done.value, cpu_s(run), cpu_s(server)

    (t0, n0, r0, s0), _, (t1, n1, r1, s1) = at(), time.sleep(WINDOW_S), at()
    window = t1 - t0
    return (n1 - n0) / window, (r1 - r0) / window, (s1 - s0) / window


if __name__ == "__main__":
    main()
