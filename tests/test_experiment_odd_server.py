"""A run under a server that changes its misbehaviour at every question."""

import hashlib
import threading
from collections import Counter

import pytest
from command import ludus
from misbehaviours import LASTING, PASSING, READ, UNUSABLE
from model_server import ModelServer
from test_experiment_models import ARGUMENTS, answer, kept

from ludus.config import ROLES
from ludus.record import Record
from ludus.seeding import rng

MISBEHAVIOURS = {
    f"{kind}: {name}": fault
    for kind, table in (("read", READ), ("unusable", UNUSABLE), ("passing", PASSING), ("lasting", LASTING))
    for name, fault in table.items()
}
IMPATIENT = ("experimenter.retries=2", "experimenter.timeout_s=60")
FINISHED = "measure/after"


class Moods:
    """Another misbehaviour for every request, by what is asked and how often it was: the order of threads changes nothing."""

    def __init__(self, seed):
        self.seed, self.asked, self.shown, self.lock = seed, Counter(), Counter(), threading.Lock()

    def __call__(self, request):
        said = hashlib.blake2b(request.text.encode(), digest_size=8).hexdigest()
        with self.lock:
            self.asked[said] += 1
            names = sorted(MISBEHAVIOURS)
            name = names[rng(self.seed, "misbehaviour", said, str(self.asked[said])).integers(len(names))]
            self.shown[name] += 1
        return MISBEHAVIOURS[name]


def check_is_clean(text):
    """Nothing that a server said steers a terminal or is read as rich's markup; ':x:' is no picture."""
    assert "\x1b" not in text and "\u274c" not in text


@pytest.mark.parametrize(
    ("rounds", "plans", "questions"),
    [
        pytest.param(2, 4, 24, id="short"),
        pytest.param(21, 8, 500, id="500 questions", marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_a_server_with_moods_neither_breaks_nor_bills_a_run(tmp_path, monkeypatch, rounds, plans, questions):
    """It ends with a result, after sentences; nothing that was answered is asked again, and no budget is overrun."""
    monkeypatch.setattr("ludus.experimenter.model.FIRST_PAUSE_S", 0.001)
    directory, moods, said, stops = tmp_path / "run", Moods(0), [], 0
    rounds_of = (
        f"experiment.rounds={rounds}",
        f"experiment.plans_per_round={plans}",
        f"experiment.episodes_per_round={plans}",
    )
    with ModelServer(answer) as server:
        server.misbehave = moods
        name = f"{server.url}#x[/nope]"
        roles = [f"experimenter.{role}={name}" for role in ROLES]
        said.append(
            ludus(
                "run", *ARGUMENTS, *rounds_of, *IMPATIENT, *roles, "--preset", "tiny", "--dir", directory, code={0, 2}
            )
        )
        while True:
            with Record.open(directory, write=False) as record:
                calls, finished = record.calls(), record.done(FINISHED)
            spent = sum(c["tokens_in"] + c["tokens_out"] for c in calls)
            if finished:
                break
            stops += 1
            before, budget = kept(directory), (len(calls) + 40, spent + 100_000)
            limits = (f"budget.calls={budget[0]}", f"budget.tokens={budget[1]}")
            said.append(ludus("resume", directory, *limits, code={0, 2}))
            after = kept(directory)
            assert len(after["calls"]) <= budget[0]
            assert sum(c["tokens_in"] + c["tokens_out"] for c in after["calls"]) <= budget[1] + 16 * 3 * 5000
            for table, rows in before.items():
                assert after[table][: len(rows)] == rows, table
        status = ludus("status", directory)
    answered = [(c["key"], c["request"]) for c in calls if not c["attempt"]]
    assert len(set(answered)) == len(answered) >= questions
    assert sum(c["turns"] + c["retries"] for c in calls) == len(server.requests)  # each is recorded
    assert stops and all("refused" in s or "kept failing" in s or "used up" in s or "in a row" in s for s in said[:-1])
    assert "Report:" in said[-1] and all("Traceback" not in s for s in said)
    page = (directory / "report.html").read_text()
    for text in (*said, status, page):
        check_is_clean(text)
    assert "<script>alert" not in page  # in a terminal it is text as any other
    if questions >= 500:
        assert set(moods.shown) == set(MISBEHAVIOURS)
