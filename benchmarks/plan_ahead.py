"""How long robots wait for a slow model: `python benchmarks/plan_ahead.py [--latency 2] [--rounds 3]`.

A server on this machine answers every question after `latency` seconds. The same run is made twice, with questions asked
ahead and at the same time, and in line. Prints one JSON object: `idle_share` is the robots' waiting for plans over the
time of collecting and waiting, of all rounds but the first, whose plans nothing can run beside.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ludus.config import ROLES, override, preset
from ludus.experiment import loop
from ludus.lab.curriculum import Curriculum
from ludus.record import Record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from model_server import ModelServer, sensible_answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    settings = [
        f"experiment.rounds={options.rounds}",
        "experiment.episodes_per_round=512",
        "seed_data.episodes=128",
        "training.updates=100",
        "training.evaluate_every=100",
        "training.evaluation_episodes=2",
        "training.round_updates=50",
        "experiment.final_episodes=1",
    ]
    result = {"latency_s": options.latency, "rounds": options.rounds}
    with ModelServer(sensible_answers, latency=options.latency) as server, tempfile.TemporaryDirectory() as folder:
        roles = [f"experimenter.{role}={server.url}" for role in ROLES]
        config = override(preset("cpu"), [*settings, *roles])
        for name in ("ahead", "in_line"):
            with Record.create(Path(folder) / name, config) as record:
                if name == "in_line":
                    _ask_in_line()
                loop.run(record, Console(quiet=True))
                seconds = {s.name: s.seconds for s in record.steps()}
                calls = len(record.calls())
            later = [f"round/{n}/" for n in range(2, options.rounds + 1)]
            waiting = sum(s for step, s in seconds.items() if step in [f"{r}plan" for r in later])
            moving = sum(s for step, s in seconds.items() if step.startswith(tuple(f"{r}collect" for r in later)))
            result[name] = {
                "calls": calls,
                "waiting_s": round(waiting, 2),
                "collecting_s": round(moving, 2),
                "idle_share": round(waiting / (waiting + moving), 4),
            }
    print(json.dumps(result, indent=1))


def _ask_in_line() -> None:
    """One question after the other, when its answer is needed."""
    init = Curriculum.__init__

    def patient(self, experimenter, *args, **kwargs):
        init(self, replace(experimenter, waits=False), *args, **kwargs)

    Curriculum.__init__ = patient


if __name__ == "__main__":
    main()
