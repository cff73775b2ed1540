"""What a model is to answer, as types: their JSON schema is sent. What is only too long or written in another way ('85 %') is
cut or converted; an answer that still does not fit is mended or dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model, model_validator

from ludus.skills.syntax import MAX_LENGTH
from ludus.types import Judgement

LONGEST_CAPTION = 120
"""Characters of a skill's caption; a policy reads twelve words."""
NONE_FITS = "none fits"
LONGEST_TEXT = 600
"""Characters of a task, a step or a reason."""
ASKED_EXPRESSION = 1000
"""Characters of a reward or a success that a model is asked for at most; up to the language's limit are taken. llama.cpp's server
refuses a type with a text of 2,000, for which it would repeat a rule of its grammar as often."""
MAX_STEPS = 100_000
"""Control steps that an answer may name; what is more than an episode is cut to it."""
MOST_STEPS, MOST_OPTIONS = 20, 5
"""Of an answer."""


def _cut(length: int) -> BeforeValidator:
    """Of a text or a list."""
    return BeforeValidator(lambda said: said[:length] if isinstance(said, str | list) else said)


def _share(said: Any) -> Any:
    """'85 %', '85' and 85 are 0.85."""
    try:
        number = float(said.strip().removesuffix("%")) if isinstance(said, str) else said
    except ValueError:
        return said
    of_hundred = isinstance(number, int | float) and (1 < number <= 100 or str(said).endswith("%"))
    return number / 100 if of_hundred else number


def _count(said: Any) -> Any:
    """Of control steps."""
    return round(min(said, MAX_STEPS)) if isinstance(said, int | float) and math.isfinite(said) else said


def _one_of(options: Sequence[str]) -> BeforeValidator:
    """The option that differs in nothing but capitals and what stands around it."""
    plain: Callable[[str], str] = lambda text: text.casefold().strip(" \t\n.'\"`")  # noqa: E731
    known = {plain(option): option for option in options}
    return BeforeValidator(
        lambda said: known.get(plain(said), said) if isinstance(said, str) and said not in options else said
    )


Text = Annotated[str, Field(max_length=LONGEST_TEXT), _cut(LONGEST_TEXT)]
TextOrNone = Annotated[str | None, Field(max_length=LONGEST_TEXT), _cut(LONGEST_TEXT)]
Expression = Annotated[str, Field(max_length=MAX_LENGTH, json_schema_extra={"maxLength": ASKED_EXPRESSION})]
Probability = Annotated[float, Field(ge=0, le=1), BeforeValidator(_share)]


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _unwrapped(cls, said: Any) -> Any:
        """An answer that is encoded twice, or the only value of another object."""
        if isinstance(said, str):
            try:
                said = json.loads(said)
            except (ValueError, RecursionError):
                return said
        if isinstance(said, dict) and len(said) == 1 and not said.keys() & cls.model_fields.keys():
            (inner,) = said.values()
            return inner if isinstance(inner, dict) else said
        return said


class ProposeAnswer(Answer):
    """The task to try next."""

    task: TextOrNone = Field(default=None, description="the task in plain words")
    why: Text = Field(default="", description="why this task, and why now")
    success_probability: Probability = Field(default=0.5, description="that the robot succeeds now")
    # one that is cut is another goal
    goal: Annotated[
        str | None, BeforeValidator(lambda said: None if isinstance(said, str) and len(said) > LONGEST_TEXT else said)
    ] = Field(default=None, max_length=LONGEST_TEXT, description="condition that holds when it is done")


class DecomposeAnswer(Answer):
    """The steps that lead to the goal."""

    steps: Annotated[list[Text], _cut(MOST_STEPS)] = Field(
        max_length=MOST_STEPS, description="steps in plain words, in order"
    )


class AnalyseAnswer(Answer):
    """What the learning curve says."""

    judgement: Annotated[Judgement, _one_of(get_args(Judgement))]
    probability: Probability = Field(description="that the judgement is right")
    why: Text = ""


class WriteSkillAnswer(Answer):
    """A skill for what is missing."""

    caption: Annotated[str, Field(max_length=LONGEST_CAPTION)] | None = Field(
        default=None, description="what the robot is told"
    )
    reward: Expression = Field(default="", description="expression in [0, 1] that rises towards success")
    success: Expression = Field(default="", description="condition that holds when it is done")
    prerequisites: str = Field(default="", max_length=LONGEST_TEXT, description="condition to begin with; empty: none")
    steps: Annotated[int, Field(ge=0, le=MAX_STEPS), BeforeValidator(_count)] = Field(
        default=0, description="control steps it is given; 0: the usual number"
    )
    why: Text = Field(default="", description="why it is written this way")


def retrieve_answer(captions: Sequence[str]) -> type[BaseModel]:
    """The caption of a skill among `captions`, or none."""
    return create_model("RetrieveAnswer", __base__=Answer, __doc__="The skill that does the step.", **_skill(captions))


def rank_answer(captions: Sequence[str]) -> type[BaseModel]:
    """Several skills that may do the step, with probabilities."""
    fields: dict[str, Any] = {
        "caption": _caption(captions),
        "probability": (Probability, Field(description="that this is the skill for the step")),
    }
    option: Any = create_model("Option", __base__=Answer, **fields)
    options: Any = (
        Annotated[list[option], _cut(MOST_OPTIONS)],
        Field(min_length=1, max_length=MOST_OPTIONS, description="the likeliest skills"),
    )
    missing: Any = (TextOrNone, Field(default=None, description="the skill that is missing, if any"))
    return create_model("RankAnswer", __base__=Answer, options=options, missing=missing)


def experiment_answer(captions: Sequence[str]) -> type[BaseModel]:
    """Task, steps and their skills at once."""
    step: Any = create_model("Step", __base__=Answer, step=(Text, ...), **_skill(captions))
    steps: Any = (Annotated[list[step], _cut(MOST_STEPS)], Field(max_length=MOST_STEPS))
    return create_model("ExperimentAnswer", __base__=ProposeAnswer, steps=steps)


def _skill(captions: Sequence[str]) -> dict[str, Any]:
    described = Field(default=None, description="the skill that is missing, if none fits")
    return {"caption": _caption(captions), "missing": (TextOrNone, described)}


def _caption(captions: Sequence[str]) -> Any:
    options = (*captions, NONE_FITS)
    return Annotated[Literal[options], _one_of(options)], ...


def clean(text: str | None) -> str:
    """On one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
