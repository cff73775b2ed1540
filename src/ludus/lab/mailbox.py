"""Questions that wait for a coding agent, or for a person who is not at the terminal. They are messages of the room, and so are
the answers: any process that can open the record may answer, and the one that runs picks answers up by polling.

    question   experimenter -> agent   payload: name, role, text, schema of the answer
    answer     agent -> experimenter   payload: key (of the question's message), answer
    refused    experimenter -> agent   the answer does not fit, and why; the question stays open
    accepted   experimenter -> agent   or 'lapsed', where nobody answered in time or the run was told to stop; the question is
                                       closed

A question belongs to the step that asks it. Where the run was stopped meanwhile it stays open: an answer that is given then is
found when the run goes on, unless it goes on to its end without asking again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from ludus.experimenter.answers import clean
from ludus.experimenter.ledger import WITHDRAWN, Withdrawn
from ludus.experimenter.outside import Answer, Question, Read
from ludus.experimenter.roles import NoAnswer
from ludus.lab.room import speaker
from ludus.record import Record, tables
from ludus.record.mapping import Posted, posted
from ludus.record.progress import Progress
from ludus.record.reader import Reader
from ludus.types import LudusError, Message

QUESTION, ANSWER, REFUSED, ACCEPTED, LAPSED = "question", "answer", "refused", "accepted", "lapsed"
"""Kinds of messages."""
WHO = {"agent": "an agent", "human": "a person"}
"""Addressee -> in words."""
POLL_S = 0.25
SIGN_OF_LIFE_S = 30.0
"""How often a run that waits says that it is there: less than `ludus.record.reader.FRESH_S`."""
LONGEST_ANSWER = 20_000
"""Characters of JSON: twice the longest skill that can be written."""
DEEPEST_ANSWER = 10
"""Objects and lists within each other."""
LONGEST_SHOWN = 1000
"""Characters of an answer in the room."""


class RoomMailbox:
    """The side of the run.

    Args:
        timeout_s: seconds after which a question counts as not answered; 0: never.
        listen: hears what else is said meanwhile, see `Overseer.while_waiting`.
    """

    def __init__(
        self, record: Record, progress: Progress, timeout_s: float = 0.0, listen: Callable[[], bool] = lambda: False
    ) -> None:
        self._record, self._progress, self._timeout_s, self._listen = record, progress, timeout_s, listen

    def ask(self, question: Question, read: Read) -> Answer:
        """See `ludus.experimenter.outside.Mailbox`. Blocks; what it waits for is a stage of the run's progress."""
        over = None
        with self._progress.stage(f"waiting for {WHO[question.addressee]}: {question.role}", 0) as advance:
            self._record.post(_put(question))
            try:
                return self._wait(question, read, advance)
            except (NoAnswer, Withdrawn) as error:  # it waits no more, so this stage is over
                over = error
        raise over

    def _wait(self, question: Question, read: Read, advance: Callable[[int], None]) -> Answer:
        last, asked = 0, _find(self._record, question.key)
        began = signed = time.monotonic()
        while True:
            for offer in _offers(self._record, question.key, last):
                last = offer.number
                try:
                    return read(offer.message.payload["answer"])
                except LudusError as error:
                    self._refuse(offer.message, str(error))
            last = max(last, asked.number if asked else 0)  # what was there before has been read
            now = time.monotonic()
            if self._listen():
                began = now
            if self._timeout_s and now - began >= self._timeout_s:
                raise NoAnswer(f"nobody answered within experimenter.answer_s={self._timeout_s:g}")
            if now - signed >= SIGN_OF_LIFE_S:
                advance(0)
                signed = now
            time.sleep(POLL_S)

    def close(self, question: Question, answer: Answer | None, why: str = "") -> None:
        """See `ludus.experimenter.outside.Mailbox`. Of a question that a recording answers, both are shown."""
        to = question.addressee
        if answer is None:
            text = f"Nobody answered {question.name!r} in time; it counts as: can't tell."
            if WITHDRAWN in why:
                text = f"{question.name!r} needs no answer any more: the run was told to stop."
            self._record.post(_put(question), Message(_closed(question.key), "experimenter", to, LAPSED, text))
            return
        given = [] if _offers(self._record, question.key) else [_offer(f"{question.key}/answer", question, answer, to)]
        accepted = Message(_closed(question.key), "experimenter", to, ACCEPTED, f"Accepted for {question.name!r}.")
        self._record.post(_put(question), *given, accepted)

    def _refuse(self, offer: Message, why: str) -> None:
        key = f"{offer.key}/{REFUSED}"
        text = f"Not accepted: {clean(why)[:LONGEST_SHOWN]}. The question is still open."
        self._record.post(Message(key, "experimenter", offer.sender, REFUSED, text, payload={"why": why}))


# --- the side of who answers -------------------------------------------------------------------------------------


def open_question(record: Reader) -> Question | None:
    """The question that waits for an answer; one is asked at a time. None waits in a run that is over, though one may have been
    left when its process died, and the run was then told to stop."""
    m = tables.messages.c
    query = sa.select(tables.messages).where(m.run_id == record.run_id, m.kind == QUESTION)
    rows = record.query(query.order_by(m.number.desc()).limit(1))
    if not rows or "schema" not in rows[0]["payload"] or _find(record, _closed(rows[0]["key"])) or record.is_over():
        return None
    message = posted(rows[0]).message
    p = message.payload
    return Question(
        p["name"], p["role"], message.addressee, message.text, p["text"], p["schema"], message.images, message.key
    )


def answer(record: Record, question_key: str, answer: Any, author: str) -> Message:
    """Put an answer into the room; `record` need not be open for writing. Whether it is accepted, the run says: see `receipt`.

    Args:
        question_key: `Question.key`.
        answer: JSON, of the question's schema.

    Raises:
        LudusError: the question is not open; an answer that is no JSON, too long or nested too deep; an author who cannot be.
    """
    author = speaker(author)
    question = open_question(record)
    if question is None or question.key != question_key:
        now = f"open is {question.key!r}" if question else "none is"
        raise LudusError(f"question {clean(question_key)[:200]!r} is not open any more; {now}")
    _check(answer)
    offer = _offer(f"answer/{uuid.uuid4().hex}", question, answer, author)
    record.post(offer)
    return offer


def answer_text(record: Record, text: str, author: str) -> Message:
    """As `answer`, by a line that a person typed: their words where a person is asked, JSON where an agent is.

    Raises:
        LudusError: no question is open; no JSON for an agent's question; see `answer`.
    """
    question = open_question(record)
    if question is None:
        raise LudusError("no question waits for an answer; the run asks here only where a role is played by 'agent', or by "
                         "'human' without a terminal")  # fmt: skip
    if question.addressee == "human":
        return answer(record, question.key, {"text": text}, author)
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        fields = ", ".join(question.schema.get("properties", {}))
        raise LudusError(
            f"{question.name!r} waits for an agent, whose answer is a JSON object with the fields {fields}"
        ) from None
    return answer(record, question.key, said, author)


@dataclass(frozen=True)
class Receipt:
    """What became of an answer."""

    state: Literal["waiting", "accepted", "refused", "late"]
    """'waiting': the run has not read it yet; 'late': another answer was accepted, or the time was over."""
    why: str = ""
    """Of a refusal."""


def receipt(record: Reader, offer: Message) -> Receipt:
    """What became of an answer that `answer` returned."""
    refusal = _find(record, f"{offer.key}/{REFUSED}")
    if refusal is not None:
        return Receipt("refused", str(refusal.message.payload["why"]))
    question = str(offer.payload["key"])
    closed = _find(record, _closed(question))
    if closed is None:
        return Receipt("waiting")
    keys = (offered.message.key for offered in _offers(record, question))
    first = next((key for key in keys if _find(record, f"{key}/{REFUSED}") is None), None)
    return Receipt("accepted" if closed.message.kind == ACCEPTED and first == offer.key else "late")


def receipts(record: Reader, question_key: str) -> list[Receipt]:
    """What became of each answer to a question, in the order they came."""
    return [receipt(record, offer.message) for offer in _offers(record, question_key)]


# --- inside ------------------------------------------------------------------------------------------------------


def _put(question: Question) -> Message:
    payload = {"name": question.name, "role": question.role, "text": question.text, "schema": dict(question.schema)}
    return Message(
        question.key, "experimenter", question.addressee, QUESTION, question.summary, question.images, payload
    )


def _offer(key: str, question: Question, answer: Any, author: str) -> Message:
    only = answer["text"] if isinstance(answer, Mapping) and answer.keys() == {"text"} else None
    shown = only if isinstance(only, str) else json.dumps(answer, ensure_ascii=False)
    payload = {"key": question.key, "answer": answer}
    return Message(key, author, "experimenter", ANSWER, clean(shown)[:LONGEST_SHOWN] or "(can't tell)", payload=payload)


def _closed(question_key: str) -> str:
    return f"{question_key}/closed"


def _offers(record: Reader, question_key: str, after: int = 0) -> list[Posted]:
    """Answers to a question, in the order they came. They may be older than the question, which a run that goes on asks again
    under a new number; so the database looks for the key, and answers to other questions are not read."""
    m = tables.messages.c
    query = sa.select(tables.messages).where(m.run_id == record.run_id, m.kind == ANSWER, m.number > after)
    query = query.where(m.payload["key"].as_string() == question_key)
    return [posted(row) for row in record.query(query.order_by(m.number))]


def _find(record: Reader, key: str) -> Posted | None:
    """The message of a key, if there is one."""
    m = tables.messages.c
    rows = record.query(sa.select(tables.messages).where(m.run_id == record.run_id, m.key == key))
    return posted(rows[0]) if rows else None


def _check(answer: Any) -> None:
    """
    Raises:
        LudusError: an answer that the record or the run could not read.
    """
    level, depth = [answer], 0
    while level:
        depth += 1
        if depth > DEEPEST_ANSWER:
            raise LudusError(f"the answer is nested deeper than {DEEPEST_ANSWER} levels; give it as its schema says")
        inside = (v.values() if isinstance(v, Mapping) else v for v in level if isinstance(v, Mapping | list))
        level = [value for values in inside for value in values]
    try:
        length = len(json.dumps(answer, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise LudusError(f"the answer is no JSON: {error}; give it as its schema says") from None
    if length > LONGEST_ANSWER:
        raise LudusError(f"the answer has {length:,} characters, at most {LONGEST_ANSWER:,} are read; say it shorter")
