"""JSON schemas made finite, and the plainest answer to one.

`bounded` rewrites a schema so that every answer to it is short and also answers the original: strings and arrays get a
longest length, numbers become a grid, references are put in place and recursion ends. `sensible` picks one such answer.
"""

from __future__ import annotations

import math
import re
from typing import Any

LONGEST_STRING = 40  # characters
LONGEST_ARRAY = 3
DEEPEST_REFERENCE = 2  # times a definition may contain itself
GRID = 100  # steps between the smallest and the largest number
WORDS = ("red", "cube", "move the red cube", "0", "1", "a", "A")
FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = dict[str, Any]


def bounded(schema: Schema | bool, root: Schema | None = None, inside: tuple[str, ...] = ()) -> Schema | None:
    """The finite schema; None if there is no answer short enough, as in a definition that must contain itself."""
    schema = {} if schema is True or schema is False else schema
    root = schema if root is None else root
    if "$ref" in schema:
        reference = schema["$ref"]
        if inside.count(reference) >= DEEPEST_REFERENCE:
            return None
        rest = {k: v for k, v in schema.items() if k != "$ref"}
        return bounded({**_definition(root, reference), **rest}, root, (*inside, reference))
    if "const" in schema:
        return {"enum": [schema["const"]]}
    if "enum" in schema:
        return {"enum": schema["enum"]}
    if "allOf" in schema:
        rest = {k: v for k, v in schema.items() if k != "allOf"}
        for part in schema["allOf"]:
            rest |= _definition(root, part["$ref"]) if "$ref" in part else part
        return bounded(rest, root, inside)
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices is None and isinstance(kinds, list):
        choices = [{**schema, "type": kind} for kind in kinds]
    if choices is not None:
        options = [b for b in (bounded(choice, root, inside) for choice in choices) if b is not None]
        return {"anyOf": options} if options else None
    if kinds == "null":
        return {"enum": [None]}
    if kinds == "boolean":
        return {"enum": [True, False]}
    if kinds in ("integer", "number"):
        return {"type": kinds, "enum": _grid(schema)}
    if kinds == "string":
        return _string(schema)
    return (_array if kinds == "array" else _object)(schema, root, inside)


def sensible(schema: Schema) -> Any:
    """The plainest answer: the first choice, the middle of a range, an example or a short word, few elements."""
    b = bounded(schema)
    assert b is not None, f"no finite answer to {schema}"
    return _plainest(b)


def _plainest(b: Schema) -> Any:
    if "anyOf" in b:
        return _plainest(b["anyOf"][0])
    if "enum" in b:
        return b["enum"][len(b["enum"]) // 2 if "type" in b else 0]
    if b["type"] == "object":
        return {name: _plainest(part) for name, part in b["properties"].items()}
    if b["type"] == "array":
        fixed = b.get("prefixItems", [])
        return [_plainest(part) for part in (fixed + [b["items"]] * b["minItems"])[: b["minItems"]]]
    if "format" in b:
        return FORMATS[b["format"]]
    least, most = b["minLength"], b["maxLength"]
    words = [*b["examples"], *WORDS, ("red " * (least // 4 + 1))[:least]]
    fitting = [word for word in words if least <= len(word) <= most and re.search(b.get("pattern", ""), word)]
    if not fitting:
        raise LookupError(f"no sensible word matches {b['pattern']!r}; give the server an answer of your own")
    return fitting[0]


def _definition(root: Schema, reference: str) -> Schema:
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        found = found[name] if name else found
    return found


def _grid(schema: Schema) -> list[float]:
    integers = schema["type"] == "integer"
    above, below = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    least, most = max(schema.get("minimum", -math.inf), above), min(schema.get("maximum", math.inf), below)
    if math.isinf(least):
        least = 0 if math.isinf(most) else most - 10
    if math.isinf(most):
        most = least + 10
    step = schema.get("multipleOf", 1 if integers else None)
    if step is None:
        values = [float(f"{least + (most - least) * k / GRID:.6g}") for k in range(GRID + 1)]
    else:
        first, last = math.ceil(least / step), math.floor(most / step)
        values = [step * k for k in range(first, last + 1, max(1, (last - first) // GRID))]
    values = sorted({v for v in values if least <= v <= most and above < v < below})
    if not values:
        raise LookupError(f"no number found for {schema}")
    return [int(v) for v in values] if integers else values


def _string(schema: Schema) -> Schema:
    if "format" in schema:
        if schema["format"] not in FORMATS:
            raise LookupError(f"format {schema['format']!r} is none of {', '.join(FORMATS)}")
        return {"type": "string", "format": schema["format"]}
    least = schema.get("minLength", 0)
    examples = [*schema.get("examples", ()), *([schema["default"]] if "default" in schema else [])]
    b: Schema = {"type": "string", "minLength": least, "examples": examples}
    b["maxLength"] = max(least, min(schema.get("maxLength", LONGEST_STRING), LONGEST_STRING))
    return b | ({"pattern": schema["pattern"]} if "pattern" in schema else {})


def _array(schema: Schema, root: Schema, inside: tuple[str, ...]) -> Schema | None:
    fixed = [bounded(part, root, inside) for part in schema.get("prefixItems", ())]
    least = max(schema.get("minItems", 0), len(fixed))
    most = max(least, min(schema.get("maxItems", LONGEST_ARRAY), LONGEST_ARRAY))
    items = bounded(schema.get("items", {}), root, inside)
    if items is None or schema.get("items") is False:
        items, most = {"enum": [None]}, len(fixed)
    if None in fixed or least > most:
        return None
    b = {"type": "array", "items": items, "minItems": least, "maxItems": most}
    return b | ({"prefixItems": fixed} if fixed else {})


def _object(schema: Schema, root: Schema, inside: tuple[str, ...]) -> Schema | None:
    parts: dict[str, Any] = dict(schema.get("properties", {}))
    required = list(schema.get("required", ()))
    values = schema.get("additionalProperties")
    if not parts and isinstance(values, dict):  # a mapping: two entries, with the names allowed
        names = bounded(schema["propertyNames"], root, inside) if "propertyNames" in schema else None
        parts = dict.fromkeys((names or {}).get("enum", ["red", "green"])[:2], values)
        required = list(parts)
    properties = {name: bounded(part, root, inside) for name, part in parts.items()}
    if any(properties.get(name) is None for name in required):
        return None
    properties = {name: part for name, part in properties.items() if part is not None}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
