"""The tables of a run. Columns in `WALL_CLOCK` differ between two equal runs; every other column must not.

Plain SQL types only, so that the same tables stand in SQLite and PostgreSQL. `number` orders rows as they were
committed; each table's natural key is a unique constraint, and inserting a key twice keeps the first row.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA = 1
"""Version of these tables; a record of another version is refused."""

metadata = MetaData()


def _table(name: str, key: tuple[str, ...], *columns: Column) -> Table:
    number = Column("number", Integer, primary_key=True, autoincrement=True)
    return Table(name, metadata, number, *columns, UniqueConstraint(*key, name=f"{name}_key"), info={"key": key})


def _text(name: str, **kwargs) -> Column:
    return Column(name, Text, nullable=False, **kwargs)


def _key(name: str) -> Column:
    return Column(name, String(400), nullable=False)


def _integer(name: str) -> Column:
    return Column(name, Integer, nullable=False)


def _json(name: str) -> Column:
    return Column(name, JSON, nullable=False)


def _bool(name: str) -> Column:
    return Column(name, Boolean, nullable=False)


def _float(name: str) -> Column:
    return Column(name, Float(53), nullable=True)  # NULL is NaN


def _step() -> Column:
    return Column("step", String(400), nullable=True, index=True)  # the step it was committed with; None outside steps


run = Table(
    "run",
    metadata,
    Column("schema", Integer, primary_key=True),
    _json("config"),
    Column("seed", BigInteger, nullable=False),
    _text("command"),
    _json("versions"),
    _float("created"),
)
steps = _table("steps", ("name",), _key("name"), _json("result"), _float("started"), _float("seconds"))
messages = _table(
    "messages",
    ("key",),
    _key("key"),
    _step(),
    _text("sender"),
    _text("addressee"),
    _text("kind"),
    _text("text"),
    _json("images"),
    _json("payload"),
    _float("at"),
)
shards = _table(
    "shards", ("name",), _key("name"), _step(), _integer("episodes"), _integer("transitions"), _text("checksum")
)
episodes = _table(
    "episodes",
    ("id",),
    _key("id"),
    _step(),
    _text("shard"),
    _integer("place"),  # 0, 1, ... within its shard
    _integer("steps"),
    _json("segments"),
    _text("actor"),
    _text("world"),
    Column("seed", BigInteger, nullable=False),
    _text("start"),
    _text("ended"),
    _json("info"),
)
skills = _table(
    "skills",
    ("hash",),
    _key("hash"),
    _step(),
    _integer("round"),  # when it joined the library; 0 for the skills a run starts with
    _text("caption"),
    _text("reward"),
    _text("success"),
    _integer("steps"),
    _bool("base"),
)
outcomes = _table(
    "outcomes",
    ("episode", "segment", "skill"),
    _key("episode"),
    _integer("segment"),
    _key("skill"),
    _step(),
    _text("caption"),
    _bool("success_at_end"),
    _bool("success_once"),
    _float("reward"),
)
metrics = _table("metrics", ("name", "update"), _key("name"), _integer("update"), _step(), _float("value"))
evaluations = _table(
    "evaluations",
    ("stage", "update", "caption"),
    _key("stage"),
    _integer("update"),
    _key("caption"),
    _step(),
    _text("skill"),
    _integer("n"),
    _integer("successes"),
    _integer("successes_once"),
)
plans = _table(
    "plans",
    ("round", "id"),
    _integer("round"),
    _key("id"),
    _step(),
    _text("task"),
    _text("why"),
    _float("success_probability"),
    Column("goal", Text, nullable=True),
    _json("steps"),
    _json("retrievals"),
)
verdicts = _table(
    "verdicts",
    ("round", "update", "caption"),
    _integer("round"),
    _integer("update"),
    _key("caption"),
    _step(),
    _text("judgement"),
    _float("probability"),
    _text("why"),
)

calls = _table(
    "calls",
    ("key", "sample", "attempt", "request"),
    _key("key"),  # of the question: 'r1-s0-a0/propose'
    _integer("sample"),
    _integer("attempt"),  # 0 for the one that was answered or given up; failures before a stop: 1, 2, ...
    _text("role"),
    _text("prompt"),  # its name and version: 'propose 1'
    _key("request"),  # hash of everything that was sent but the pictures
    _json("images"),  # hashes of the pictures
    _text("model"),
    Column("answer", JSON, nullable=True),  # None where there was none
    Column("error", Text, nullable=True),
    _bool("replayed"),  # taken from the recording of another run
    _integer("turns"),  # requests that were answered: 1, and one more per repair
    _integer("tokens_in"),
    _integer("tokens_out"),
    _float("usd"),  # NULL: unknown, which is not nothing
    _integer("retries"),
    _float("seconds"),
    _float("at"),
)

MADE = (shards, outcomes, metrics, evaluations, plans, verdicts, calls)
"""What a run is for. One without a row in them holds requests and notes only: nothing is lost with it."""
WALL_CLOCK = {
    "run": {"command", "versions", "created"},
    "steps": {"started", "seconds"},
    "messages": {"at"},
    "calls": {"retries", "seconds", "at"},
}
"""What `Record.content` leaves out, besides metrics whose name starts with `time/` and the `number` of every row."""
