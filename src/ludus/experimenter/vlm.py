"""A vision-language model plays the roles: questions become prompts with pictures, answers become types again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from ludus.experimenter import prompts, table
from ludus.experimenter.answers import NONE_FITS, clean
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import CannotAsk, Request
from ludus.experimenter.model import Model, ModelInput, parts_of
from ludus.experimenter.roles import DecomposeQuestion, NoAnswer, ProposeQuestion, RetrieveQuestion
from ludus.experimenter.table import ROLES, ModelAnswer, Role
from ludus.types import Proposal, Retrieval


class VLM:
    """Every role, by one model. The same question is sent once, see `Ledger`.

    Args:
        name: of the model, see `Model`.

    Raises:
        LudusError: a model that cannot be used; a limit on money for a model without a known price.
    """

    def __init__(self, context: RoleContext, name: str) -> None:
        self._context, self._config, self._ledger = context, context.config, context.need_ledger()
        self._model = Model(name, context.config)
        self._ledger.check_price(name, self._model.cost(1000, 100) is not None)
        self._combined: dict[str, ModelAnswer] = {}
        """With `one_call`: name of a plan -> the answer that has its task, steps and skills."""
        self._lock = threading.Lock()

    def answer(self, role: Role, question: Any) -> Any:
        """The answer to a question of any role.

        Raises:
            NoAnswer: the model can't tell, or its answers do not fit the role's type.
            CannotAsk: no question can be put any more, see `Ledger.ask`.
        """
        given = self._ask(role, question)
        try:
            return role.read(question, given, self._context)
        except NoAnswer as error:
            raise NoAnswer(f"{self._model.name} {error}") from None

    # --- roles that settings change -------------------------------------------------------------------------------

    def propose(self, question: ProposeQuestion) -> Proposal:
        """With `one_call` the answer has steps and skills too, which are kept for `decompose` and `retrieve`."""
        if not self._config.one_call:
            return self.answer(ROLES["propose"], question)

        def read(q: ProposeQuestion, given: Sequence[ModelAnswer], context: RoleContext) -> Proposal:
            chosen = table.first_task(q, given)
            with self._lock:
                self._combined[_plan(q.key)] = chosen
            return table.proposal(chosen, context)

        return self.answer(replace(table.EXPERIMENT, read=read), question)

    def decompose(self, question: DecomposeQuestion) -> tuple[str, ...]:
        combined = self._combined_answer(question.key)
        if combined is None or clean(combined["task"]) != question.proposal.task:
            return self.answer(ROLES["decompose"], question)
        return table.steps(question, [clean(s["step"]) for s in combined["steps"]])

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        """With `affordance` the answer ranks several skills, see `Retrieval.options`."""
        allowed = (*table.captions(question), NONE_FITS)
        for step in (self._combined_answer(question.key) or {"steps": ()})["steps"]:
            if clean(step["step"]) == question.step and step["caption"] in allowed:
                return table.retrieval(question.step, step)
        return self.answer(table.RANK if self._config.affordance else ROLES["retrieve"], question)

    def _combined_answer(self, key: str) -> ModelAnswer | None:
        with self._lock:
            return self._combined.get(_plan(key))

    # --- asking ---------------------------------------------------------------------------------------------------

    def _ask(self, role: Role, question: Any) -> list[Mapping[str, Any]]:
        """The usable ones of `samples` answers; at least one. Raises: NoAnswer: there is none."""
        prompt, c, kind = prompts.load(role.prompt or role.name), self._config, role.answer_type(question)
        shown = role.images(question) if c.images and role.images else ()
        pictures = [self._context.picture(path) for path in shown]
        instructions, parts = prompt.fill(role.variables(question, self._context), pictures, c.exemplars)
        if not c.images:
            parts = tuple(p for p in parts if isinstance(p, str))
        model_input = ModelInput(instructions, parts_of(parts))
        tokens = self._model.tokens_in(model_input, kind)
        request = Request(
            question.key, 0, role.name, prompt.title, self._hash(prompt, model_input, kind), tuple(map(_hash, pictures)),
            self._model.name, tokens + c.max_tokens, self._model.cost(tokens, c.max_tokens) or 0.0,
        )  # fmt: skip
        given, failure = [], None
        for sample in range(max(1, c.samples)):
            try:
                answer = self._ledger.ask(replace(request, sample=sample), lambda: self._model.ask(model_input, kind))
                given.append(kind.model_validate(answer).model_dump(mode="json"))
            except NoAnswer as error:
                failure = error
            except ValidationError as error:
                where = ".".join(map(str, error.errors()[0]["loc"]))
                raise CannotAsk(
                    f"the answer that was kept to {question.key!r} fits its type no more ({where}: {error.errors()[0]['msg']}); "
                    "it is damaged: take another recording, or begin anew"
                ) from None
        if failure is not None and not given:
            raise failure
        return given

    def _hash(self, prompt: prompts.Prompt, model_input: ModelInput, kind: type[BaseModel]) -> str:
        """Of all that is sent but the pictures, by which a recording is found."""
        c, shape = self._config, json.dumps(kind.model_json_schema(), sort_keys=True)
        texts = [p if isinstance(p, str) else "<picture>" for p in model_input.parts]
        settings = [c.temperature, c.max_tokens, c.structure, self._model.name]
        return _hash(json.dumps([prompt.title, model_input.instructions, *texts, shape, *settings]).encode())


def _plan(key: str) -> str:
    """'r1-s0-a0/retrieve/2' -> 'r1-s0-a0'."""
    return key.partition("/")[0]


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
