"""How long the pages of `ludus serve` take for many runs, messages and episodes, beside the same pages of a small run.

    python benchmarks/dashboard.py --runs 300 --messages 100000 --episodes 10000

CPU time of the server per page, in seconds, the least of three; browsers and the network come on top. Rows are made up and
written to a temporary folder; no episode has arrays.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ludus.config import Config
from ludus.experiment.library import begin
from ludus.record import Record, tables
from ludus.types import Message, Outcome, SuccessCount
from ludus.views.page import content
from ludus.views.page.place import Place
from ludus.worlds.registry import make_world

CHUNK = 1000
"""Rows per transaction."""
PAGES = {
    "room": {},
    "words": {"words": "number 7"},
    "learning": {},
    "skills": {},
    "passport": {"skill": "stack red on green"},
    "episodes": {},
    "failures": {"skill": "stack red on green", "result": "failure"},
    "cost": {},
}
"""Page -> its parameters; its tab is the page of the same name, or that of `TABS`."""
TABS = {"words": "room", "passport": "skills", "failures": "episodes"}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("runs", 300), ("messages", 100_000), ("episodes", 10_000)):
        options.add_argument(f"--{name}", type=int, default=default)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder, "large"), asked.messages, asked.episodes)
        make(Path(folder, "small"), 100, 100)
        for i in range(asked.runs - 2):
            Record.create(Path(folder, f"run-{i:03d}"), Config(seed=i)).close()
        place = Place(Path(folder))
        found = {
            "index, first": seconds(lambda: Place(Path(folder)).lines(), 1),
            "index": seconds(lambda: content.index(place, {})),
        }
        for page, params in PAGES.items():
            tab = TABS.get(page, page)
            large, small = (seconds(partial(show, place, n, tab, params)) for n in ("large", "small"))
            found[page] = {"large": large, "small": small, "ratio": round(large / small, 1)}
        place.close()
    print(json.dumps(vars(asked) | {"cpu_s": found}, indent=1))


def show(place: Place, name: str, tab: str, params: dict[str, str]) -> str:
    """A tab, made anew; the server keeps it until the run has something new."""
    with place.open(name) as record:
        return content.TABS[tab](place, record, name, params)


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """CPU time of the fastest of several."""
    found = []
    for _ in range(times):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return round(min(found), 3)


def make(directory: Path, n_messages: int, n_episodes: int) -> None:
    """A run of twenty rounds with so many messages and episodes; of each episode four outcomes."""
    with Record.create(directory, Config()) as record:
        world = make_world(record.config.world, look=True)
        library = world.library()
        begin(record, world, library, "made up")
        world.close()
        captions = library.captions
        for n in range(1, 21):
            with record.commit(f"round/{n}/train/000"):
                record.add_evaluation("curve", 1000 * n, [SuccessCount(c, "h", 24, n, n) for c in captions])
            write_episodes(record, f"round/{n}/practice/000", n_episodes // 20, captions)
        for first in range(0, n_messages, CHUNK):
            numbers = range(first, min(n_messages, first + CHUNK))
            record.post(*(Message(f"m{i}", "loop", "all", "note", f"message number {i}") for i in numbers))


def write_episodes(record: Record, step: str, n: int, captions: tuple[str, ...]) -> None:
    with record.commit(step):
        ids = [f"{step}/{i:05d}".replace("/", "-") for i in range(n)]
        told = [[captions[(i + k) % len(captions)] for k in range(4)] for i in range(n)]
        row = {
            "shard": f"{step}.safetensors",
            "steps": 320,
            "actor": "policy",
            "world": "w",
            "seed": 0,
            "start": "scattered",
        }
        row |= {"ended": "time", "info": {"practice": "stack X on Y"}}
        rows = [
            row | {"id": id, "place": i, "segments": [[80 * k, c, "h"] for k, c in enumerate(told[i])]}
            for i, id in enumerate(ids)
        ]
        record.add_rows(tables.episodes, rows)
        record.add_outcomes(
            Outcome(id, k, c, "h", (i + k) % 3 > 0, True, 0.5)
            for i, id in enumerate(ids)
            for k, c in enumerate(told[i])
        )


if __name__ == "__main__":
    main()
