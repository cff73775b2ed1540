"""How long robots wait for a slow model: `python benchmarks/plan_ahead.py [CASE ...] [--latency 2] [--prefetch 1]`.

A server on this machine answers every question after `latency` seconds. Each case is a run of its own:

    usual         512 episodes and 50 updates per round; the model proposes tasks of one to three skills, and every
                  fourth time one that no skill can do
    in_line       the same, one question after the other when its answer is needed
    as_default    the same as usual, with the default 64 episodes and 400 updates per round
    nothing_fits  every proposal is one that no skill can do, three per scene: the longest wait for plans beside the
                  shortest rollouts, as robots then practise a single skill

Prints one JSON object, of all rounds but the first, whose plans nothing can run beside. `waiting_s`: from the beginning of
a round's planning to its last answer. `idle_s`: all the time from the end of a training to the first movement after it,
which is also needed for the world's reset, the pictures and the disk, whoever answers. The shares are of `collecting_s`.
`chain_s`: of each round, from the first question to the last answer. `training_s` hides it too. Other work on the machine
makes collecting look slower, and waiting shorter.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import zlib
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ludus.config import ROLES, Config, override, preset
from ludus.experiment import loop
from ludus.experimenter.answers import NONE_FITS
from ludus.lab.curriculum import Curriculum
from ludus.record import Record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from model_server import ModelServer, Request, sensible_answers

LONG = ("experiment.episodes_per_round=512", "training.round_updates=50", "training.evaluation_episodes=2")
TASKS = {
    "raise the blue block": ["lift blue"],
    "a tower of three": ["stack green on blue and leave", "stack red on green"],
    "visit all blocks": ["reach red", "hover green above blue", "grasp red"],
    "juggle": ["throw red", "catch red"],
}


def usual(request: Request, tasks: tuple[str, ...] = tuple(TASKS)) -> dict:
    """An answer that depends on nothing but the question."""
    said = sensible_answers(request)
    assert isinstance(said, dict)
    if "task" in said:
        said["task"] = tasks[zlib.crc32(request.text.encode() + b"".join(request.images)) % len(tasks)]
    elif "steps" in said:
        said["steps"] = TASKS[_last(request, "The task: ")]
    elif "caption" in said:
        step, known = _last(request, "The step: "), request.schema["properties"]["caption"]["enum"]
        said["caption"] = step if step in known else NONE_FITS
    return said


def nothing_fits(request: Request) -> dict:
    return usual(request, ("juggle",))


CASES = {
    "usual": (usual, LONG),
    "in_line": (usual, LONG),
    "as_default": (usual, ()),
    "nothing_fits": (nothing_fits, LONG),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--latency", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument(
        "--prefetch", type=int, default=Config().experimenter.prefetch, help="rounds, see experimenter.prefetch"
    )
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}")
    result = {"latency_s": options.latency, "rounds": options.rounds, "prefetch": options.prefetch}
    for name in options.cases or CASES:
        result[name] = _run(name, options.latency, options.rounds, options.prefetch)
    print(json.dumps(result, indent=1))


def _run(name: str, latency: float, rounds: int, prefetch: int) -> dict:
    answer, settings = CASES[name]
    settings = [
        f"experiment.rounds={rounds}",
        f"experimenter.prefetch={prefetch}",
        "seed_data.episodes=128",
        "training.updates=100",
        "training.evaluate_every=100",
        "experiment.final_episodes=1",
        *settings,
    ]
    if name == "in_line":
        Curriculum.__init__ = _one_by_one
    try:
        with ModelServer(answer, latency=latency) as server, tempfile.TemporaryDirectory() as folder:
            config = override(preset("cpu"), [*settings, *(f"experimenter.{role}={server.url}" for role in ROLES)])
            with Record.create(Path(folder) / "run", config) as record:
                loop.run(record, Console(quiet=True))
                steps, calls = record.steps(), record.calls()
    finally:
        Curriculum.__init__ = _init
    waiting = idle = collecting = training = 0.0
    chains = []
    for n in range(2, rounds + 1):
        planned = next(s.started for s in steps if s.name == f"round/{n}/plan")
        begun = min(s.started for s in steps if s.name.startswith(f"round/{n}/collect/"))
        trained = max(s.started + s.seconds for s in steps if s.name.startswith(f"round/{n - 1}/train/"))
        asked = [c for c in calls if c["key"].startswith(f"r{n}-")]
        answered = max(c["at"] for c in asked)
        waiting += max(0.0, answered - planned)
        idle += begun - trained
        collecting += sum(s.seconds for s in steps if s.name.startswith(f"round/{n}/collect/"))
        training += sum(s.seconds for s in steps if s.name.startswith(f"round/{n}/train/"))
        chains.append(answered - min(c["at"] - c["seconds"] for c in asked))
    return {
        "calls": len(calls),
        "chain_s": [round(c, 1) for c in chains],
        "collecting_s": round(collecting, 2),
        "training_s": round(training, 2),
        "waiting_s": round(waiting, 2),
        "waiting_share": round(waiting / collecting, 4),
        "idle_s": round(idle, 2),
        "idle_share": round(idle / collecting, 4),
    }


def _last(request: Request, label: str) -> str:
    return json.JSONDecoder().raw_decode(request.text, request.text.rindex(label) + len(label))[0]


_init = Curriculum.__init__


def _one_by_one(self, experimenter, *args, **kwargs) -> None:
    """One question after the other, when its answer is needed."""
    _init(self, replace(experimenter, is_remote=False), *args, **kwargs)


if __name__ == "__main__":
    main()
