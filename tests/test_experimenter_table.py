"""A role is declared once: a new one is a question, a line in the table, a prompt and a setting, and every variant plays it."""

import json
from dataclasses import dataclass, field

import pytest
from model_server import Fault, ModelServer, Reply, sensible_answers
from pydantic import Field

from ludus import config
from ludus.config import ExperimenterConfig
from ludus.experimenter import assemble, prompts, table
from ludus.experimenter.answers import Answer, clean
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import Ledger, NullCalls
from ludus.experimenter.roles import NoAnswer
from ludus.experimenter.table import ROLES, Role
from ludus.skills.predicates import Vocabulary
from ludus.types import LudusError, ObservationSpec

WORDS = Vocabulary(ObservationSpec(()), (), ())

# --- all that a new role needs: a question and a line (table.py), a prompt (prompts/summarise.md), a setting (config.py) ---


@dataclass(frozen=True)
class SummariseQuestion:
    key: str
    tasks: tuple[str, ...]


class SummariseAnswer(Answer):
    """What the rounds were about."""

    text: str = Field(max_length=200)


def _read(text):
    if not text:
        raise NoAnswer("could not tell what it was about")
    return text


SUMMARISE = Role(
    "summarise",
    answer_type=lambda q: SummariseAnswer,
    variables=lambda q, context: {"tasks": json.dumps(list(q.tasks))},
    read=lambda q, given, context: _read(clean(given[0]["text"])),
    text=lambda q: f"In one line, what were these about: {'; '.join(q.tasks)}?",
    read_text=lambda q, line: _read(line),
    builtin=lambda q, context: f"{len(q.tasks)} tasks",
)
PROMPT = """---
name: summarise
version: 1
---
# Instructions

Sum up.

# Question

The tasks: $tasks.
"""


@dataclass(frozen=True)
class Settings(ExperimenterConfig):
    summarise: str = field(default="planner", kw_only=True)


# -------------------------------------------------------------------------------------------------------------------------

QUESTION = SummariseQuestion("r1/summarise", ("lift red", "stack red on green"))


@pytest.fixture
def new_role(monkeypatch, tmp_path):
    monkeypatch.setitem(table.ROLES, "summarise", SUMMARISE)
    (tmp_path / "summarise.md").write_text(PROMPT)
    load = prompts.load
    monkeypatch.setattr(prompts, "load", lambda name: load(name, *[tmp_path] * (name == "summarise")))


def play(player, **context):
    return assemble(RoleContext(WORDS, 0, Settings(summarise=player), Ledger(NullCalls()), **context)).more["summarise"]


@pytest.mark.usefixtures("new_role")
def test_every_built_in_variant_plays_a_new_role():
    for player in ("planner", "random", "oracle"):
        assert play(player)(QUESTION) == "2 tasks"


@pytest.mark.usefixtures("new_role")
def test_a_model_plays_a_new_role(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with ModelServer(sensible_answers) as server:
        server.faults.append(Fault.reply(Reply(json.dumps({"text": "stacking\nred"}))))
        answer = play(server.url)
        assert answer(QUESTION) == "stacking red"
        assert 'The tasks: ["lift red", "stack red on green"].' in server.requests[0].text
        server.faults.append(Fault.reply(Reply(json.dumps({"text": ""}))))
        with pytest.raises(NoAnswer, match="could not tell what it was about"):
            answer(SummariseQuestion("r2/summarise", ()))


@pytest.mark.usefixtures("new_role")
def test_a_person_plays_a_new_role():
    asked = []
    answer = play("human", person=lambda text: asked.append(text) or "stacking")
    assert answer(QUESTION) == "stacking" and "lift red; stack red on green" in asked[0]


@pytest.mark.usefixtures("new_role")
def test_a_player_that_cannot_play_a_new_role_is_refused(monkeypatch):
    monkeypatch.setitem(table.ROLES, "summarise", Role(**{**vars(SUMMARISE), "builtin": None}))
    with pytest.raises(LudusError, match=r"experimenter\.summarise=planner: 'planner' cannot play this role"):
        play("planner")


def test_every_role_has_a_setting_and_a_prompt():
    assert tuple(ROLES) == config.ROLES
    for name, role in ROLES.items():
        assert role.name == name and getattr(ExperimenterConfig(), name) == "planner"
        assert prompts.load(role.prompt or name).name == name
