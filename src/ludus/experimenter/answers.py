"""What a model is to answer, as types: their JSON schema is sent, and an answer that does not fit is mended or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from ludus.skills.syntax import MAX_LENGTH
from ludus.types import Judgement

LONGEST_CAPTION = 120
"""Characters of a skill's caption; a policy reads twelve words."""
NONE_FITS = "none fits"
LONGEST_TEXT = 600
"""Characters of a task, a step or a reason."""
MAX_STEPS = 100_000
"""Control steps that an answer may name; what is more than an episode is cut to it."""


class Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ProposeAnswer(Answer):
    """The task to try next."""

    task: str | None = Field(default=None, max_length=LONGEST_TEXT, description="the task in plain words")
    why: str = Field(default="", max_length=LONGEST_TEXT, description="why this task, and why now")
    success_probability: float = Field(default=0.5, ge=0, le=1, description="that the robot succeeds now")
    goal: str | None = Field(default=None, max_length=LONGEST_TEXT, description="condition that holds when it is done")


class DecomposeAnswer(Answer):
    """The steps that lead to the goal."""

    steps: list[str] = Field(max_length=20, description="steps in plain words, in order")


class AnalyseAnswer(Answer):
    """What the learning curve says."""

    judgement: Judgement
    probability: float = Field(ge=0, le=1, description="that the judgement is right")
    why: str = Field(default="", max_length=LONGEST_TEXT)


class WriteSkillAnswer(Answer):
    """A skill for what is missing."""

    caption: str | None = Field(default=None, max_length=LONGEST_CAPTION, description="what the robot is told")
    reward: str = Field(
        default="", max_length=MAX_LENGTH, description="expression in [0, 1] that rises towards success"
    )
    success: str = Field(default="", max_length=MAX_LENGTH, description="condition that holds when it is done")
    prerequisites: str = Field(default="", max_length=LONGEST_TEXT, description="condition to begin with; empty: none")
    steps: int = Field(default=0, ge=0, le=MAX_STEPS, description="control steps it is given; 0: the usual number")
    why: str = Field(default="", max_length=LONGEST_TEXT, description="why it is written this way")


def retrieve_answer(captions: Sequence[str]) -> type[BaseModel]:
    """The caption of a skill among `captions`, or none."""
    return create_model("RetrieveAnswer", __base__=Answer, __doc__="The skill that does the step.", **_skill(captions))


def rank_answer(captions: Sequence[str]) -> type[BaseModel]:
    """Several skills that may do the step, with probabilities."""
    fields: dict[str, Any] = {
        "caption": (Literal[(*captions, NONE_FITS)], ...),
        "probability": (float, Field(ge=0, le=1, description="that this is the skill for the step")),
    }
    option: Any = create_model("Option", __base__=Answer, **fields)
    options: Any = (list[option], Field(min_length=1, max_length=5, description="the likeliest skills"))
    missing: Any = (
        str | None,
        Field(default=None, max_length=LONGEST_TEXT, description="the skill that is missing, if any"),
    )
    return create_model("RankAnswer", __base__=Answer, options=options, missing=missing)


def experiment_answer(captions: Sequence[str]) -> type[BaseModel]:
    """Task, steps and their skills at once."""
    step: Any = create_model("Step", __base__=Answer, step=(str, Field(max_length=LONGEST_TEXT)), **_skill(captions))
    steps: Any = (list[step], Field(max_length=20))
    return create_model("ExperimentAnswer", __base__=ProposeAnswer, steps=steps)


def _skill(captions: Sequence[str]) -> dict[str, Any]:
    described = Field(default=None, max_length=LONGEST_TEXT, description="the skill that is missing, if none fits")
    return {"caption": (Literal[(*captions, NONE_FITS)], ...), "missing": (str | None, described)}


def clean(text: str | None) -> str:
    """On one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text or "").split())
