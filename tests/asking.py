"""Questions to a model behind a socket, and where its calls are kept; for several test files."""

from ludus.config import ExperimenterConfig
from ludus.experimenter import assemble, prompts
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import Ledger
from ludus.experimenter.roles import (
    AnalyseQuestion,
    Attempt,
    DecomposeQuestion,
    ProposeQuestion,
    RetrieveQuestion,
    Scene,
    SkillStats,
)
from ludus.types import Curve, Proposal

PICTURE = (prompts.FOLDER / "examples" / "scattered.png").read_bytes()
CARDS = (SkillStats("reach red", "reached(red)", 8, 7), SkillStats("stack red on green", "on(red, green)", 8, 1))
SCENE = Scene(("red", "green"), ("clear(red)",), ("images/scene.png",))
PROPOSE = ProposeQuestion(
    "r1-s0-a0/propose", SCENE, CARDS, (Attempt("reach red", True), Attempt("reach red", False)), ("dance",)
)
RETRIEVE = RetrieveQuestion("r1-s0-a0/retrieve/0", "put red on green", SCENE, CARDS)
CURVE = Curve("reach _", (10, 20), (1, 4), (8, 8))
QUESTIONS = {
    "propose": PROPOSE,
    "decompose": DecomposeQuestion("r1-s0-a0/decompose", SCENE, Proposal("lift red", "", 0.5), CARDS),
    "retrieve": RETRIEVE,
    "analyse": AnalyseQuestion("a/0", CURVE),
}


class Calls:
    def __init__(self):
        self.rows = []

    def add_call(self, row):
        same = ("key", "sample", "attempt", "request")  # as in the record: a second one with the same key is not kept
        if all(any(row[k] != old[k] for k in same) for old in self.rows):
            self.rows.append(dict(row))

    def calls(self):
        return self.rows


def asked(server, words, calls=None, budget=None, **settings):
    """An experimenter whose roles are all played by the server's model."""
    config = ExperimenterConfig(*[server.url] * 4, **({"retries": 2, "timeout_s": 100} | settings))
    ledger = Ledger(Calls() if calls is None else calls, budget)
    return assemble(RoleContext(words, 0, config, ledger, lambda path: PICTURE))
