"""A study that was killed again and again is, in the end, the study that nobody interrupted."""

import signal
import time

import numpy as np
import pytest
from ray_nodes import below, send, until
from run_processes import TAKES_S, begin, content, finish
from test_experiment_study import FEWEST

from ludus.record import Record
from ludus.types import LudusError

KILLS = 4
RUNS = ("none-0", "one-0")
LONGER = """"experiment.practice_ratio=0",
  "seed_data.episodes=8", "training.updates=20", "training.round_updates=10", "training.evaluate_every=10",
  "training.evaluation_episodes=1", "experiment.final_episodes=1", "experiment.episodes_per_round=4", "training.processes=1",
  "world.threads=1"]"""
STUDY = FEWEST.replace('"experiment.practice_ratio=0"]', LONGER)
"""Of two runs that take long enough to be killed."""


def steps(directory):
    """How many steps the study's runs have committed."""
    time.sleep(0.3)  # who looks takes time from the runs
    n = 0
    for name in RUNS:
        try:
            with Record.open(directory / name, write=False) as record:
                n += len(record.steps())
        except LudusError:
            continue
    return n


def under_way(process, directory, draw):
    """The processes of its runs, somewhere in the midst of a step."""
    end = steps(directory) + 1 + draw.integers(3)
    until(lambda: steps(directory) >= end, TAKES_S, process)
    time.sleep(draw.uniform(0, 1.5))
    return below(process)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_random_a_study_ends_as_the_uninterrupted_one(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    whole, killed, draw = tmp_path / "whole", tmp_path / "killed", np.random.default_rng(0)

    def study(directory):
        return begin("study", tmp_path / "study.toml", "--dir", directory, "--parallel", 2)

    finish(study(whole))
    for kill in range(KILLS):
        process = study(killed)
        runs = under_way(process, killed, draw)
        process.kill()
        process.communicate()
        for run in runs if kill % 3 else ():  # else they go on by themselves, and are waited for
            send(run, signal.SIGKILL)
    said = finish(study(killed))
    assert "not done" not in said
    for name in RUNS:
        assert content(killed / name) == content(whole / name), name
