"""A coding agent plays the roles: it is asked as a model is, and answers through the mailbox, see `ludus.lab.mailbox`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from ludus.experimenter import outside, prompts, table
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import Request
from ludus.experimenter.outside import Answer, Question
from ludus.experimenter.roles import NoAnswer, RetrieveQuestion
from ludus.experimenter.table import ROLES, Role
from ludus.types import LudusError, Retrieval

NAME = "agent"
MOST_MISTAKES = 5
"""Of one answer that are told."""
LONGEST_MISTAKE = 400
"""Characters: a list of captions may be long."""


class CodingAgent:
    """Every role, by an agent. Answers are stored in the ledger, so they can be replayed.

    Raises:
        LudusError: no mailbox, or no ledger.
    """

    def __init__(self, context: RoleContext) -> None:
        if context.mailbox is None:
            raise LudusError(
                "experimenter 'agent' answers in the room of a run: use it with `ludus run` or `ludus exam`, or name another"
            )
        self._context, self._mailbox, self._ledger = context, context.mailbox, context.need_ledger()

    def answer(self, role: Role, question: Any) -> Any:
        """The answer to a question of any role.

        Raises:
            NoAnswer: the agent can't tell, or did not answer in time.
            CannotAsk: no question can be put any more, see `Ledger.ask`.
        """
        prompt, kind = prompts.load(role.prompt or role.name), role.answer_type(question)
        images = role.images(question) if self._context.config.images and role.images else ()
        instructions, parts = prompt.fill(role.variables(question, self._context), (), 0)
        text = "\n\n".join((instructions, *(p for p in parts if isinstance(p, str))))
        put = Question(question.key, role.name, NAME, role.text(question), text, kind.model_json_schema(), images)
        pictures = tuple(outside.digest(self._context.picture(path)) for path in images)
        request = Request(put.name, 0, role.name, prompt.title, put.digest, pictures, NAME)
        given = outside.ask(self._ledger, self._mailbox, put, request, lambda said: read(said, kind), usd=None)
        try:
            return role.read(question, [kind.model_validate(given).model_dump(mode="json")], self._context)
        except NoAnswer as error:
            raise NoAnswer(f"the agent {error}") from None

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        """With `affordance` the answer ranks several skills, see `Retrieval.options`."""
        return self.answer(table.RANK if self._context.config.affordance else ROLES["retrieve"], question)


def read(said: Any, kind: type[BaseModel]) -> Answer:
    """An answer as JSON that fits its type.

    Raises:
        LudusError: it does not fit, or has fields that the type lacks, which is how a misspelt one shows.
    """
    fields = ", ".join(kind.model_fields)
    if not isinstance(said, Mapping):
        raise LudusError(f"an answer is a JSON object with the fields {fields}; this is of type {type(said).__name__}")
    try:
        found = kind.model_validate(said)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        told = [f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}"[:LONGEST_MISTAKE] for e in mistakes]
        more = f" (and {len(told) - MOST_MISTAKES} more)" if len(told) > MOST_MISTAKES else ""
        raise LudusError("; ".join(told[:MOST_MISTAKES]) + more) from None
    known = kind.model_fields.keys()
    foreign = [str(name) for name in said if name not in known]
    is_wrapped = len(said) == 1 and isinstance(next(iter(said.values())), Mapping)
    if foreign and not is_wrapped:
        raise LudusError(f"no field {foreign[0][:60]!r} in this answer; its fields are {fields}")
    return found.model_dump(mode="json")
