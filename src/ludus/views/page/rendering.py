"""What all parts of the page share: templates, addresses, numbers read from addresses."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ludus.record.reader import Reader
from ludus.views.report import environment

Params = Mapping[str, str]
PER_PAGE = 50
"""Runs or episodes."""
LONG = 260
"""Characters of a message from which on it is folded."""


def render(template: str, **values: Any) -> str:
    """A template of the page, or of the report, filled in; see `report.environment`."""
    made = environment("ludus.views.page", "ludus.views.report")
    return made.get_template(template, globals={"link": link, "long": LONG}).render(values)


def link(name: str, tab: str, /, **params: Any) -> str:
    """The address of a tab of a run, without parameters that are empty. A list is a parameter that is repeated."""
    kept = {k: v for k, v in params.items() if v not in ("", None)}
    return f"/run/{quote(name, safe='')}/{tab}" + (f"?{urlencode(kept, doseq=True)}" if kept else "")


def mark(record: Reader) -> str:
    """Of a run, in addresses that a browser may keep: another run that is begun under the same name has another one."""
    return f"{record.run_id}.{record.created:.3f}"


def number(text: str | None) -> int:
    """A number of an address; 0 for anything else."""
    return int(text) if text and re.fullmatch(r"\d{1,12}", text) else 0


def pages(total: int, page: int, address: Callable[[int], str]) -> dict[str, Any]:
    """What leads from a page of a list to the next."""
    last = max(0, (total - 1) // PER_PAGE)
    return {
        "first": page * PER_PAGE + 1 if total else 0,
        "last": min(total, (page + 1) * PER_PAGE),
        "total": total,
        "newer": address(page - 1) if page > 0 else None,
        "older": address(page + 1) if page < last else None,
    }
