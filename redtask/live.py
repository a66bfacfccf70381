"""What tasks say while they run, for who listens. No I/O here.

A ``Listener`` hears some tasks until they have ended. It asks the hub to have each of
them announced (``attend``), tells the worker of each that runs that somebody listens,
and reads the streams beside their records. What came before it listened, and what was
lost on the way, it reads from the record when the task has ended; so nothing is missing
in the end but what is left out there, too.
"""

from __future__ import annotations

import codecs
import sys
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from redtask import flows
from redtask.error import ConnectionLost, TaskLost
from redtask.flows import QUIET, Hear, acting, reading
from redtask.hub import calls, states

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redtask.flows import Flow
    from redtask.hub.records import Attended
    from redtask.session import Session

__all__ = ["Listener", "Output", "read_progress", "show_output"]

#: So many tasks are listened to at a time, the first that have not ended.
_AT_ONCE: Final = 100
#: How often a worker is told that somebody still listens, in seconds.
_AGAIN: Final = 15.0
#: A record has all that was printed up to this, in bytes.
_WHOLE: Final = 512 * 1024
_STREAMS: Final = ("stdout", "stderr")


class Output(NamedTuple):
    """Something that a task said."""

    #: The task.
    msg_id: str
    #: Which try of it: 1, 2, ...; 0: it never began.
    attempt: int
    #: ``stdout``, ``stderr`` or ``progress``.
    stream: str
    #: What was printed; of progress the message.
    text: str
    #: Of progress: how far it is, 0 to 1.
    progress: float | None = None


def read_progress(text: str | None) -> tuple[float | None, str]:
    """Return the share and the message of a record's field."""
    share, _, message = (text or "").partition(" ")
    try:
        return float(share), message
    except ValueError:
        return None, ""


def show_output(said: Output) -> None:
    """Print what a task printed, to the stream of the same name."""
    if said.stream != "progress":
        stream = sys.stdout if said.stream == "stdout" else sys.stderr
        stream.write(said.text)
        stream.flush()


@dataclass(slots=True)
class _Heard:
    """What was heard of one task."""

    msg_id: str
    token: str = ""
    #: Where the task's stream is read on.
    position: str = "0-0"
    #: Up to where each of what it prints is known, in bytes.
    at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STREAMS, 0))
    progress: str = ""
    decoders: dict[str, codecs.IncrementalDecoder] = field(default_factory=dict)
    #: When its worker was told that somebody listens, s of the monotonic clock.
    asked: float = 0.0

    def turn_to(self, token: str) -> None:
        """Hear another try."""
        if token != self.token:
            self.token, self.progress, self.asked = token, "", 0.0
            self.at = dict.fromkeys(_STREAMS, 0)
            self.decoders = {}

    @property
    def attempt(self) -> int:
        """Which try is heard."""
        return int(self.token.partition(":")[0] or 0)

    def take(self, stream: str, at: int, data: bytes, *, final: bool = False) -> str:
        """Return what is new in a piece."""
        known = self.at[stream]
        missed = at - known
        data = data[max(0, -missed) :]
        self.at[stream] = max(
            known, at + len(data) if missed > 0 else known + len(data)
        )
        decoder = self.decoders.get(stream)
        mark = ""
        if decoder is None or missed > 0:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            self.decoders[stream] = decoder
        if missed > 0:
            mark = f"\n[... {missed} bytes left out ...]\n" if known else ""
            # It may begin in the midst of a letter.
            while data and data[0] & 0xC0 == 0x80:  # noqa: PLR2004 - as UTF-8 has it
                data = data[1:]
        return mark + decoder.decode(data, final)


class Listener:
    """Hears tasks until they have ended."""

    def __init__(self, session: Session, ids: Sequence[str]) -> None:
        self._session = session
        self._open = {name: _Heard(name) for name in ids}
        #: When to ask for the records, s of the monotonic clock.
        self._look_at = 0.0
        #: Tasks that were announced to have ended.
        self._ended: set[str] = set()

    @property
    def done(self) -> bool:
        """Have all ended, and is everything told?"""
        return not self._open

    def hear(self, seconds: float = QUIET) -> Flow[list[Output]]:
        """Wait for more at most so long; return what came, perhaps nothing.

        Raises ``TaskLost``, a ``KeyError``, for a task that the hub does not know.
        """
        said: list[Output] = []
        if self._ended or time.monotonic() >= self._look_at:
            said = yield from self._look()
            if said or self.done:
                return said
        chosen = self._chosen()
        patience = max(1, int(min(seconds, QUIET) * 1000))
        keys = [self._session.keys.live(one.msg_id) for one in chosen]
        positions = [one.position for one in chosen]
        words = ("XREAD", "COUNT", 100, "BLOCK", patience, "STREAMS", *keys, *positions)
        try:
            reply = yield Hear(words)
        except ConnectionLost:
            # The next look has patience.
            self._look_at = 0.0
            return []
        by_key = dict(zip(keys, chosen, strict=True))
        pairs = reply.items() if isinstance(reply, dict) else reply or ()
        for key, entries in pairs:
            said += self._read(by_key[key.decode()], entries)
        return said

    def _chosen(self) -> list[_Heard]:
        return list(islice(self._open.values(), _AT_ONCE))

    def _read(
        self, one: _Heard, entries: Sequence[tuple[bytes, object]]
    ) -> list[Output]:
        """Read what a task's stream tells."""
        said = []
        for position, fields in entries:
            one.position = position.decode()
            for name, value in _pairs(fields):
                if name == "begun":
                    _, _, token = value.decode().split(" ")
                    one.turn_to(token)
                    self._look_at = 0.0
                elif name == "ended":
                    self._ended.add(one.msg_id)
                else:
                    of, _, rest = value.partition(b" ")
                    if of.decode() == one.token:
                        said += _said(one, name, rest)
        return said

    def _look(self) -> Flow[list[Output]]:
        """Ask where the tasks are; those that have ended say the rest."""
        self._look_at = time.monotonic() + QUIET
        self._ended.clear()
        chosen = self._chosen()
        call = calls.attend([one.msg_id for one in chosen])
        said: list[Output] = []
        ended: list[_Heard] = []
        messages = []
        for one, found in zip(chosen, (yield from flows.ask(call)), strict=True):
            if found.state == "unknown":
                raise TaskLost(f"No such message: {one.msg_id}")
            if found.state in states.ENDED:
                ended.append(one)
            elif found.token:
                one.turn_to(found.token)
                messages += _message(one, found)
        if messages:
            yield from acting.tell(messages, self._session.keyring.sign_control)
        if ended:
            said += yield from self._rest(ended)
        return said

    def _rest(self, ended: Sequence[_Heard]) -> Flow[list[Output]]:
        """Return what ended tasks said and was not heard."""
        keys, ids = self._session.keys, [one.msg_id for one in ended]
        records = yield from reading.records(keys, ids)
        said = []
        found = {}
        for stream in _STREAMS:
            found[stream] = yield from reading.parts(keys, ids, stream)
        for at, (one, record) in enumerate(zip(ended, records, strict=True)):
            one.turn_to(record.get("token", ""))
            for stream in _STREAMS:
                data = found[stream][at] or b""
                begins = 0
                if len(data) > _WHOLE and one.at[stream]:
                    # What stands there begins and ends as it did, the middle is left
                    # out; of what was heard nobody knows where it is in that.
                    data = data[-(_WHOLE // 2) :]
                    begins = one.at[stream] + 1
                if text := one.take(stream, begins, data, final=True):
                    said.append(Output(one.msg_id, one.attempt, stream, text))
            if progress := record.get("progress"):
                said += _said(one, "progress", progress.encode())
            del self._open[one.msg_id]
        self._look_at = 0.0
        return said


def _message(one: _Heard, found: Attended) -> list[tuple[str, str]]:
    """Return what to tell the worker of a task that runs, if it is time."""
    now = time.monotonic()
    if not found.worker or (one.asked and now < one.asked + _AGAIN):
        return []
    one.asked = now
    return [(found.worker, f"listen {one.msg_id} {found.token}")]


def _pairs(fields: object) -> Iterator[tuple[str, bytes]]:
    flat = fields
    if isinstance(fields, dict):
        flat = [word for pair in fields.items() for word in pair]
    words = iter(flat)  # type: ignore[call-overload]
    for name, value in zip(words, words, strict=True):
        yield name.decode(), value


def _said(one: _Heard, name: str, rest: bytes) -> list[Output]:
    """Return what an entry says that is new."""
    if name == "progress":
        text = rest.decode("utf-8", "replace")
        if text == one.progress:
            return []
        one.progress = text
        share, message = read_progress(text)
        return [Output(one.msg_id, one.attempt, name, message, share)]
    begins, _, data = rest.partition(b" ")
    text = one.take(name, int(begins), data)
    return [Output(one.msg_id, one.attempt, name, text)] if text else []
