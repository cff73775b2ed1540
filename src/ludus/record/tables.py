"""The tables of a database, which holds one run or many. Columns in `WALL_CLOCK` differ between two equal runs; every
other column must not.

Plain SQL types only, so that SQLite and PostgreSQL have the same tables. Every row belongs to the run `run_id`.
`number` orders the rows of a run as they were committed. Each table's natural key, which begins with the run's id, is a
unique constraint; inserting a key twice keeps the first row, except in the tables of `LIVE`.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA = 2
"""Version of these tables. A record of another version is refused; `ludus.record.convert` upgrades version 1."""

metadata = MetaData()
_NUMBER = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself in a column of type INTEGER only


def _table(name: str, key: tuple[str, ...], *columns: Column) -> Table:
    number = Column("number", _NUMBER, primary_key=True, autoincrement=True)
    unique = UniqueConstraint("run_id", *key, name=f"{name}_key")
    table = Table(name, metadata, number, _run_id(), *columns, unique, info={"key": ("run_id", *key)})
    if "step" in table.c:
        Index(f"{name}_step", table.c.run_id, table.c.step)
    return table


def _run_id(primary_key: bool = False) -> Column:
    return Column("run_id", String(120), nullable=False, primary_key=primary_key)


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
    return Column("step", String(400), nullable=True)  # the step it was committed with; None outside steps


runs = Table(
    "runs",
    metadata,
    _run_id(primary_key=True),
    _integer("schema"),
    _text("directory"),  # absolute, where the run was begun
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
    _text("author"),  # 'base', 'extra', 'planner', 'person' or a model's name
    _json("parents"),  # captions of the skills it was made from
)
skill_changes = _table(  # a log: the latest row of a caption is its status
    "skill_changes",
    ("caption", "round", "status"),
    _key("caption"),
    _integer("round"),
    Column("status", String(40), nullable=False),
    _step(),
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

stages = _table(
    "stages",
    ("name",),
    _key("name"),  # 'round 1: training'
    _integer("done"),
    _integer("total"),
    _float("started"),
    _float("updated"),
    _float("finished"),  # NULL while it is under way, or when it was cut short
)
heartbeats = Table(
    "heartbeats",
    metadata,
    _run_id(primary_key=True),
    _integer("pid"),
    _text("host"),
    _float("at"),
    info={"key": ("run_id",)},
)
objects = _table(  # what a run's files are on its object store, see `record.objects`
    "objects",
    ("name",),
    _key("name"),  # path in the run's directory
    _text("key"),  # name on the store
    Column("sha256", String(64), nullable=False),
    Column("size", BigInteger, nullable=False),  # bytes
    _text("origin"),  # directory that it was written from
)

# The latest of hundreds of thousands are found without sorting all, and without reading what other runs have added since. A
# change here, or of a column, needs a migration: `revisions.py`.
for _large in (messages, episodes, metrics, steps):
    Index(f"{_large.name}_number", _large.c.run_id, _large.c.number)
Index("messages_kind", messages.c.run_id, messages.c.kind, messages.c.number)  # questions, answers, commands among them

MADE = (shards, outcomes, metrics, evaluations, plans, verdicts, calls)
"""Tables of results. A run without a row in any of them may be replaced."""
LIVE = (stages, heartbeats, objects)
"""Live progress, and where copies of files are: rows that are overwritten in place. `Record.content` leaves them out."""
SKILL_STATUSES = ("base", "candidate", "practising", "accepted", "dropped")
WALL_CLOCK = {
    "runs": {"run_id", "directory", "command", "versions", "created"},
    "steps": {"started", "seconds"},
    "messages": {"at"},
    "calls": {"retries", "seconds", "at"},
}
"""What `Record.content` leaves out, besides metrics whose name starts with `time/`, and the `number` and `run_id` of
every row."""
