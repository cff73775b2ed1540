"""A vision-language model plays the roles: questions become prompts with pictures, answers become types again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from ludus.experimenter import answers, prompts
from ludus.experimenter.answers import NONE_FITS, clean
from ludus.experimenter.context import RoleContext
from ludus.experimenter.ledger import Request
from ludus.experimenter.model import Model, ModelInput, parts_of
from ludus.experimenter.roles import (
    AnalyseQuestion,
    Attempt,
    DecomposeQuestion,
    NoAnswer,
    ProposeQuestion,
    RetrieveQuestion,
    Scene,
    SkillStats,
)
from ludus.skills.expression import condition
from ludus.types import Judgement, Proposal, Retrieval, Verdict


class VLM:
    """All four roles, by one model. The same question is sent once; see `Ledger`.

    Args:
        name: of the model, see `Model`.

    Raises:
        LudusError: a model that cannot be used; a limit on money for a model without a known price.
    """

    def __init__(self, context: RoleContext, name: str) -> None:
        self._setting, self._config, self._ledger = context, context.config, context.need_ledger()
        self._model = Model(name, context.config)
        self._ledger.check_price(name, self._model.cost(1000, 100) is not None)
        self._at_once: dict[str, Mapping[str, Any]] = {}
        """Key of a plan -> its one answer, where one answers all."""
        self._lock = threading.Lock()

    # --- the roles ------------------------------------------------------------------------------------------------

    def propose(self, question: ProposeQuestion) -> Proposal:
        """Raises: NoAnswer: it can't tell, or its answers fit no task."""
        variables = self._scene(question.scene) | {
            "skills": _skills(question.skills),
            "history": _history(question.history),
            "gaps": ", ".join(map(_quote, question.gaps)) or "none",
            "max_steps": str(question.max_steps),
            "words": ", ".join(p.signature for p in self._setting.vocabulary.predicates if p.result == "bool"),
        }
        if self._config.one_call:
            kind = answers.experiment_answer([s.caption for s in question.skills])
            given = self._ask("propose", "experiment", question.key, variables, question.scene.images, kind)
        else:
            kind = answers.ProposeAnswer
            given = self._ask("propose", "propose", question.key, variables, question.scene.images, kind)
        said = next((g for g in given if clean(g["task"])), None)
        if said is None:
            raise NoAnswer(f"{self._model.name} could not tell what to propose for {question.key!r}")
        with self._lock:
            self._at_once[_plan(question.key)] = said
        known = condition(said["goal"], self._setting.vocabulary)  # one that is not in the language is left out
        goal = said["goal"] if known else None
        return Proposal(clean(said["task"]), clean(said["why"]), said["success_probability"], goal)

    def decompose(self, question: DecomposeQuestion) -> tuple[str, ...]:
        """Raises: NoAnswer: it can't tell."""
        if self._config.one_call and (said := self._said(question.key, question.proposal.task)) is not None:
            steps = tuple(clean(s["step"]) for s in said["steps"])
        else:
            variables = self._scene(question.scene) | {
                "task": _quote(question.proposal.task),
                "max_steps": str(question.max_steps),
            }
            given = self._ask(
                "decompose", "decompose", question.key, variables, question.scene.images, answers.DecomposeAnswer
            )
            steps = Counter(tuple(map(clean, g["steps"])) for g in given).most_common(1)[0][0]
        steps = tuple(filter(None, steps))
        if not steps:
            raise NoAnswer(f"{self._model.name} could not tell the steps of {question.proposal.task!r}")
        return steps

    def retrieve(self, question: RetrieveQuestion) -> Retrieval:
        captions = [s.caption for s in question.skills]
        if self._config.one_call and (said := self._said(question.key)) is not None:
            fitting = [
                s for s in said["steps"] if clean(s["step"]) == question.step and s["caption"] in (*captions, NONE_FITS)
            ]
            if fitting:
                return _retrieval(question.step, fitting[0])
        variables = {"captions": ", ".join(map(_quote, captions)) or "none", "step": _quote(question.step)}
        if self._config.affordance:
            return self._ranked(question, captions, variables)
        kind = answers.retrieve_answer(captions)
        given = self._ask("retrieve", "retrieve", question.key, variables, (), kind)
        winner = Counter(g["caption"] for g in given).most_common(1)[0][0]
        return _retrieval(question.step, next(g for g in given if g["caption"] == winner))

    def _ranked(self, question: RetrieveQuestion, captions: list[str], variables: Mapping[str, str]) -> Retrieval:
        kind = answers.rank_answer(captions)
        given = self._ask("retrieve", "rank", question.key, variables, (), kind)
        weight: Counter[str] = Counter()
        for option in (o for g in given for o in g["options"]):
            weight[option["caption"]] += option["probability"] / len(given)
        winner = max(weight, key=lambda c: weight[c])
        missing = next((g["missing"] for g in given if g["missing"]), None)
        chosen = _retrieval(question.step, {"caption": winner, "missing": missing})
        return replace(chosen, options=tuple((c, min(1.0, p)) for c, p in weight.items()))

    def analyse(self, question: AnalyseQuestion) -> Verdict:
        curve = question.curve
        points = zip(curve.updates, curve.successes, curve.n, strict=True)
        variables = {
            "caption": _quote(curve.caption),
            "points": ", ".join(f"{s} of {n} at {u}" for u, s, n in points) or "none yet",
        }
        given = self._ask("analyse", "analyse", question.key, variables, question.images, answers.AnalyseAnswer)
        weight: Counter[Judgement] = Counter()
        for g in given:
            weight[g["judgement"]] += g["probability"]
        judgement = max(weight, key=lambda j: weight[j])
        why = next(clean(g["why"]) for g in given if g["judgement"] == judgement)
        return Verdict(curve.caption, judgement, weight[judgement] / len(given), why or "no reason given")

    # --- asking ---------------------------------------------------------------------------------------------------

    def _ask(
        self,
        role: str,
        prompt_name: str,
        key: str,
        variables: Mapping[str, str],
        images: Sequence[str],
        kind: type[BaseModel],
    ) -> list[Mapping[str, Any]]:
        """The usable ones of `samples` answers; at least one."""
        prompt, c = prompts.load(prompt_name), self._config
        pictures = [self._setting.picture(path) for path in images] if c.images else []
        instructions, parts = prompt.fill(variables, pictures, c.exemplars)
        if not c.images:
            parts = tuple(p for p in parts if isinstance(p, str))
        model_input = ModelInput(instructions, parts_of(parts))
        shape = json.dumps(kind.model_json_schema(), sort_keys=True)
        texts = [p if isinstance(p, str) else "<picture>" for p in model_input.parts]
        sent = [
            prompt.title,
            model_input.instructions,
            *texts,
            shape,
            c.temperature,
            c.max_tokens,
            c.structure,
            self._model.name,
        ]
        request = Request(
            key, 0, role, prompt.title, _hash(json.dumps(sent).encode()), tuple(map(_hash, pictures)), self._model.name,
            model_input.tokens + c.max_tokens, self._model.cost(model_input.tokens, c.max_tokens) or 0.0,
        )  # fmt: skip
        given, failure = [], None
        for sample in range(max(1, c.samples)):
            try:
                answer = self._ledger.ask(replace(request, sample=sample), lambda: self._model.ask(model_input, kind))
                given.append(kind.model_validate(answer).model_dump(mode="json"))
            except NoAnswer as error:
                failure = error
        if failure is not None and not given:
            raise failure
        return given

    def _scene(self, scene: Scene) -> dict[str, str]:
        facts = "True now: " + (", ".join(scene.facts) or "nothing of note") + "." if self._config.facts else ""
        return {"objects": ", ".join(map(_quote, scene.objects)), "facts": facts}

    def _said(self, key: str, task: str | None = None) -> Mapping[str, Any] | None:
        with self._lock:
            said = self._at_once.get(_plan(key))
        return said if said is not None and task in (None, clean(said["task"])) else None


def _plan(key: str) -> str:
    """'r1-s0-a0/retrieve/2' -> 'r1-s0-a0'."""
    return key.partition("/")[0]


def _retrieval(step: str, said: Mapping[str, Any]) -> Retrieval:
    if said["caption"] == NONE_FITS:
        return Retrieval(step, None, clean(said["missing"]) or step)
    return Retrieval(step, said["caption"])


def _skills(stats: Sequence[SkillStats]) -> str:
    return ", ".join(f"{_quote(c.caption)} ({c.successes} of {c.n})" for c in stats) or "none"


def _history(history: Sequence[Attempt]) -> str:
    n, successes = Counter(a.task for a in history), Counter(a.task for a in history if a.success)
    return ", ".join(f"{_quote(t)} ({successes[t]} of {n[t]})" for t in n) or "none"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _hash(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()
