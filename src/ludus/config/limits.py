"""How a section of the configuration checks its values: pydantic compares every value with the limits declared beside it,
and a value that does not fit becomes one `LudusError` naming setting, value and limit."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from ludus.types import LudusError, unknown

MAX_INT = 2**63 - 1
"""Records and other processes hold whole numbers in 64 bits."""
MAX_SIZE = 2**20
"""Of what stands in memory side by side (simulations, rows of a batch, units of a layer): more fit into no machine, and far more
end a process without a word."""
MAX_THREADS = 1024
"""Of one pool: more than the cores of any machine; systems refuse some ten thousand by ending the process."""
MAX_TIME = 10**9
"""Seconds or minutes: 30 years. Waits of Python overflow at some 300."""
STRICT = ConfigDict(strict=True, extra="forbid")
"""No text becomes a number and no number a flag; only a whole number may stand for a real one."""

Integer = Annotated[int, Field(ge=-MAX_INT - 1, le=MAX_INT, description="a whole number of 64 bits")]
Count = Annotated[int, Field(ge=1, le=MAX_INT, description="at least 1")]
CountOrZero = Annotated[int, Field(ge=0, le=MAX_INT, description="0 or more")]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE, description=f"at least 1, at most {MAX_SIZE}")]
Threads = Annotated[int, Field(ge=1, le=MAX_THREADS, description=f"at least 1, at most {MAX_THREADS}")]
ThreadsOrZero = Annotated[
    int, Field(ge=0, le=MAX_THREADS, description=f"0 (one per core) or more, at most {MAX_THREADS}")
]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="0 to 1")]
Real = Annotated[float, Field(allow_inf_nan=False, description="a finite number")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="more than 0, and finite")]
PositiveOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False, description="0 or more, and finite")]
Time = Annotated[float, Field(gt=0, le=MAX_TIME, allow_inf_nan=False, description=f"more than 0, at most {MAX_TIME}")]
TimeOrZero = Annotated[float, Field(ge=0, le=MAX_TIME, allow_inf_nan=False, description=f"0 (no limit) to {MAX_TIME}")]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False, description="0 (greedy) or more, and finite")]
FromSize = Annotated[int, Field(ge=0, le=MAX_SIZE, description=f"0 (as agent.size says) or more, at most {MAX_SIZE}")]
FromTime = Annotated[
    int, Field(ge=0, le=MAX_SIZE, description=f"0 (as agent.n_step_s says) or more, at most {MAX_SIZE}")
]
Bins = Annotated[int, Field(ge=2, le=MAX_SIZE, description=f"at least 2, at most {MAX_SIZE}")]
Discount = Annotated[float, Field(ge=0, lt=1, description="at least 0 and less than 1")]
Error = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False, description="more than 0 and less than 1")]
Step = Annotated[float, Field(gt=0, le=1, description="more than 0, at most 1")]


class Section:
    """Base of all sections: turns pydantic's complaint about a section's first wrong value into a sentence."""

    path = ""
    """Where the section stands in the tree, e.g. 'agent.'."""

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, validate: Callable[[Any], Any]) -> Any:
        try:
            return validate(values)
        except ValidationError as error:
            raise mistake(cls, error.errors(include_url=False)[0]) from None


def mistake(section: type[Section], error: Any) -> LudusError:
    """The sentence for one of pydantic's errors about a section's values."""
    kind, value, where = error["type"], error["input"], [*map(str, error["loc"])]
    hints = get_type_hints(section)
    if kind == "unexpected_keyword_argument":
        return unknown("setting", section.path + where[0], [section.path + name for name in hints])
    name = where[0] if where else ""
    if name not in hints:  # a whole section of another kind, or more values than settings
        return LudusError(
            f"{(section.path + name).strip('.') or 'configuration'}={said(value)} makes no sense; give {section.__name__}"
        )
    if kind == "literal_error" and isinstance(value, str):
        return unknown(section.path + name, said(value), get_args(hints[name]))
    setting = section.path + (".".join(where[:2]) if get_origin(hints[name]) is dict else name)
    limit = _FIELDS(section)[name].description or _KINDS.get(hints[name], _FREE)
    if kind == "literal_error":
        limit = " or ".join(map(repr, get_args(hints[name])))
    elif kind == "less_than_equal" and error["ctx"]["le"] == MAX_INT:
        limit += ", in 64 bits"
    elif kind == "int_type":
        limit += ", a whole number"
    return LudusError(f"{setting}={said(value)} makes no sense; give {limit}")


def check_numbers(request: Any) -> None:
    """Compare the fields of a dataclass that are declared with one of these limits, alone, in a tuple or beside None, with them.
    For numbers that are no settings, such as those of the command line.

    Raises:
        LudusError: one does not fit.
    """
    for name, hint in get_type_hints(type(request), include_extras=True).items():
        limited = next((part for part in (hint, *get_args(hint)) if get_origin(part) is Annotated), None)
        if limited is None:
            continue
        value = getattr(request, name)
        for number in value if isinstance(value, tuple) else () if value is None else (value,):
            try:
                TypeAdapter(limited, config=ConfigDict(strict=True)).validate_python(number)
            except ValidationError:
                limit = limited.__metadata__[0].description
                raise LudusError(f"{name}={said(number)} makes no sense; give {limit}") from None


_FIELDS = attrgetter("__pydantic_fields__")
_KINDS = {bool: "true or false", str: "a text"}
_FREE = "names with a finite number of 64 bits, true, false or a text"


def said(value: Any) -> str:
    """The value for a sentence: one line, not too long."""
    try:
        text = str(value)
    except ValueError:  # more digits than Python writes down
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def check_shares(path: str, **shares: float) -> None:
    """
    Args:
        path: of the section that has these settings.

    Raises:
        LudusError: one is negative, or they sum to more than 1.
    """
    if min(shares.values()) < 0 or sum(shares.values()) > 1 + 1e-9:
        given = " and ".join(f"{path}{name} {value}" for name, value in shares.items())
        raise LudusError(f"{given} are shares; each at least 0, together at most 1")
