"""What a coding agent may see of a run and say in it, as plain data.

It is shown what the roles' questions show, and what came of its answers. Out of its reach are what it could tune its answers to:
the run's seed and the starts that are drawn from it, the measurements before and after the rounds, the success code of the skills
(but for the examples of the language in a question for a skill). No tool takes a path; what is told names none but those that the
agent said itself, nor what a database was asked. An agent is named by the door, never by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ludus.experimenter.answers import clean
from ludus.lab import mailbox, oversight
from ludus.lab.analysis import add_point, curves_of
from ludus.lab.mailbox import Receipt, open_question, receipt
from ludus.lab.pictures import draw_curve
from ludus.lab.room import AGENT
from ludus.record import Record
from ludus.types import Curve, LudusError, Message, unknown
from ludus.views import passports, queries, text
from ludus.views.page.folder import DatabaseRuns
from ludus.views.page.place import Place

EPISODES = 50
"""The latest ones, of a list."""
QUESTION = "question"
"""What is looked at: the pictures of the open question."""
PATH = re.compile(r"[A-Za-z][\w+.-]*://[^\s'\"()]+|(?<![\w.-])(?:[A-Za-z]:)?(?:[/\\][^\s/\\'\"(),;:]+){2,}[/\\]?")
HIDDEN = "(a path)"
SEEN = "curve"
"""Stage of the evaluations that the analysis is asked about."""


class Door:
    """One run. Thread-safe.

    Raises:
        LudusError: no run there.
    """

    def __init__(self, run: Path | DatabaseRuns) -> None:
        self._place = Place(run)
        if not self._place.is_run:
            raise LudusError(
                f"{run} is a folder of runs; name the directory of one: {', '.join(self._place.names()[:5])}"
            )
        with self._open():
            pass

    def close(self) -> None:
        """Close the world, where one was needed."""
        self._place.close()

    def _open(self) -> AbstractContextManager[Record]:
        return self._place.open(self._place.where.name)

    def told(self, error: Exception) -> str:
        """What the agent may know of an error."""
        if isinstance(error, LudusError):
            return self.without_paths(str(error))
        return f"the run cannot be read ({type(error).__name__}); whoever runs it sees why with `ludus status`"

    def without_paths(self, said: str) -> str:
        """A sentence without the places of files."""
        return text.clean(PATH.sub(HIDDEN, said.replace(str(self._place.where), HIDDEN)))

    # --- questions -----------------------------------------------------------------------------------------------

    def question(self) -> dict[str, Any] | None:
        """The question that waits for an agent; None where none does, or one was answered that the run has not read yet."""
        with self._open() as record:
            found = open_question(record)
            earlier = mailbox.receipts(record, found.key) if found else []
        if found is None or found.addressee != AGENT or any(r.state != "refused" for r in earlier):
            return None
        return {
            "question": found.key,
            "role": found.role,
            "text": text.clean(found.text),
            "schema": found.schema,
            "pictures": len(found.images),
        } | ({"refused": text.clean(earlier[-1].why)} if earlier else {})

    def answer(self, question: str, answer: Mapping[str, Any]) -> Message:
        """Put an answer into the room; see `receipt`.

        Raises:
            LudusError: no such question is open for an agent, or see `mailbox.answer`.
        """
        with self._open() as record:
            found = open_question(record)
            if found is not None and found.key == question and found.addressee != AGENT:
                raise LudusError("this question waits for a person")
            return mailbox.answer(record, question, answer, AGENT)

    def receipt(self, offer: Message) -> Receipt:
        """What became of an answer."""
        with self._open() as record:
            return receipt(record, offer)

    def say(self, remark: str) -> str:
        """Leave a remark in the room; returns who reads it, where that is not the run at once.

        Raises:
            LudusError: a command, which is for people: an agent does not approve its own skills; or see `oversight.say`.
        """
        if clean(remark).startswith("/"):
            raise LudusError("commands are for people; say in words what you would have them do")
        with self._open() as record:
            oversight.say(record, remark, AGENT)
            return text.heard(record.state(), record.going_on)

    def is_running(self) -> bool:
        """Whether a process works at the run, and so reads answers."""
        with self._open() as record:
            return record.state() == "running"

    # --- looking -------------------------------------------------------------------------------------------------

    def look(self, what: str = QUESTION) -> list[bytes]:
        """Pictures of the open question, PNG or JPEG, or the learning curve of a skill or a template, PNG.

        Raises:
            LudusError: nothing to see, or no such skill.
        """
        with self._open() as record:
            return self._pictures(record) if what == QUESTION else [draw_curve(self._curve(record, what))]

    def _pictures(self, record: Record) -> list[bytes]:
        found = open_question(record)
        images = found.images if found is not None and found.addressee == AGENT else ()
        folder = record.path("images").resolve()
        inside = [image for image in images if record.path(image).resolve().is_relative_to(folder)]
        seen = [record.file(image) for image in inside if record.holds(image)]
        if not seen:
            raise LudusError("no question with pictures is open; name a skill to see its learning curve")
        return [p.read_bytes() for p in seen]

    def _curve(self, record: Record, name: str) -> Curve:
        evaluations, alone = record.evaluations(SEEN), None
        for e in evaluations:
            if e.count.caption == name:
                alone = add_point(alone, e.update, e.count)
        if alone is not None:
            return alone
        curves = {c.caption: c for c in curves_of(evaluations, self._place.library(record))}
        if name not in curves:
            raise unknown(
                "skill with a learning curve", name[:200], [*{e.count.caption: 0 for e in evaluations}, *curves]
            )
        return curves[name]

    # --- reading -------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """How far the run has come, and what it waits for."""
        with self._open() as record:
            header, status, found = queries.run_header(record), queries.run_status(record), open_question(record)
        return _plain(
            {
                "status": self.without_paths(text.status(status)),
                "waits_for": None
                if found is None
                else {"who": found.addressee, "role": found.role, "question": found.key},
                "world": header.world,
                "experimenter": dict(header.experimenter),
                "rounds": header.rounds,
                "rounds_planned": header.rounds_planned,
                "episodes": header.episodes,
                "updates": header.updates,
                "skills": header.skills,
                "plans": header.plans,
                "calls": header.calls,
            }
        )

    def library(self) -> list[dict[str, Any]]:
        """A row per skill: who wrote it, how it stands, the last point of its curve."""
        with self._open() as record:
            rows = queries.skill_rows(record, self._place.library(record))
            last = {e.count.caption: e.count for e in record.evaluations(SEEN)}
        kept = ("caption", "template", "author", "status", "round", "practice_episodes")
        return _plain(
            [
                {k: v for k, v in asdict(row).items() if k in kept}
                | ({"successes": last[row.caption].successes, "n": last[row.caption].n} if row.caption in last else {})
                for row in rows
            ]
        )

    def passport(self, skill: str) -> dict[str, Any]:
        """All that an agent may know of one skill or template.

        Raises:
            LudusError: no such skill.
        """
        with self._open() as record:
            found = queries.passport(record, self._place.library(record), skill)
        tried = found.gap.attempts if found.gap else ()
        return _plain(
            {
                "name": found.name,
                "skills": found.captions,
                "author": found.row.author,
                "status": [asdict(change) for change in found.history],
                "control_steps": found.steps,
                "missing": found.gap.missing if found.gap else None,
                "candidates": [{c.name: c.passed for c in attempt.checks} for attempt in tried],
                "curve": [asdict(m) for m in found.competence if m.stage == SEEN],
                "verdicts": [asdict(v) for v in found.verdicts],
                "decisions": [asdict(d) for d in found.decisions],
                "episodes": [asdict(x) for x in found.lineage],
                "cost": dict(passports.paragraphs(found, None))["Cost"],
            }
        )

    def episodes(self) -> dict[str, Any]:
        """How many episodes there are, and the latest of them: what robots were told, and whether they succeeded."""
        with self._open() as record:
            page, phases = queries.episodes(record, limit=EPISODES), queries.phases(record)
        kept = ("id", "phase", "actor", "steps", "captions", "successes", "reward")
        latest = [{k: v for k, v in asdict(entry).items() if k in kept} for entry in page.entries]
        return _plain({"total": page.total, "phases": phases, "latest": latest})


def _plain(value: Any) -> Any:
    """Data without control characters in its texts: whoever shows it may be a terminal."""
    if isinstance(value, str):
        return text.clean(value)
    if isinstance(value, Mapping):
        return {name: _plain(inside) for name, inside in value.items()}
    return [_plain(inside) for inside in value] if isinstance(value, list | tuple) else value
