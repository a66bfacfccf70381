"""Live output of running tasks. No I/O here.

A ``Listener`` follows some tasks until they have ended. It asks the hub to announce
each of them (``attend``), tells the workers of running ones that somebody listens, and
reads the streams beside their records. Output from before it listened, or lost on the
way, it reads from the record once the task has ended; so in the end nothing is missing
but what the record leaves out, too.
"""

from __future__ import annotations

import codecs
import sys
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from redtask import flows
from redtask.error import GONE, ConnectionLost, TaskLost
from redtask.flows import QUIET, Hear, acting, anybody, reading
from redtask.hub import calls, states
from redtask.hub.records import groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.flows import Flow
    from redtask.hub.records import Attended
    from redtask.session import Session

__all__ = ["Listener", "Output", "read_progress", "show_output"]

#: How many tasks are followed at a time: the first that have not ended.
_AT_ONCE: Final = 100
#: How often a worker is reminded that somebody listens, in seconds.
_AGAIN: Final = 15.0
#: Up to this size the record has all the output, in bytes.
_WHOLE: Final = 512 * 1024
_STREAMS: Final = ("stdout", "stderr")


class Output(NamedTuple):
    """Output or progress of a task."""

    #: The task's id.
    msg_id: str
    #: The number of the attempt: 1, 2, ...; 0: it never began.
    attempt: int
    #: ``stdout``, ``stderr`` or ``progress``.
    stream: str
    #: What was printed; for progress, the message.
    text: str
    #: For progress: the fraction done, 0 to 1.
    progress: float | None = None


def read_progress(text: str | None) -> tuple[float | None, str]:
    """Return the fraction and the message of a record's field."""
    share, _, message = (text or "").partition(" ")
    try:
        return float(share), message
    except ValueError:
        return None, ""


def show_output(said: Output) -> None:
    """Print what a task printed, on the stream of the same name."""
    if said.stream != "progress":
        stream = sys.stdout if said.stream == "stdout" else sys.stderr
        stream.write(said.text)
        stream.flush()


@dataclass(slots=True)
class _Heard:
    """What was heard of one task so far."""

    msg_id: str
    token: str = ""
    #: Where to read on in the task's stream.
    position: str = "0-0"
    #: How much of each output stream is known, in bytes.
    at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STREAMS, 0))
    progress: str = ""
    decoders: dict[str, codecs.IncrementalDecoder] = field(default_factory=dict)
    #: When its worker was last told that somebody listens, ``time.monotonic()``.
    asked: float = 0.0

    def turn_to(self, token: str) -> None:
        """Follow another attempt."""
        if token != self.token:
            self.token, self.progress, self.asked = token, "", 0.0
            self.at = dict.fromkeys(_STREAMS, 0)
            self.decoders = {}

    @property
    def attempt(self) -> int:
        """The number of the attempt."""
        return int(self.token.partition(":")[0] or 0)

    def take(self, stream: str, at: int, data: bytes, *, final: bool = False) -> str:
        """Return the new part of a piece of output."""
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
            # It may begin in the middle of a character.
            while data and data[0] & 0xC0 == 0x80:  # noqa: PLR2004 - as UTF-8 has it
                data = data[1:]
        return mark + decoder.decode(data, final)


class Listener:
    """Follows tasks until they have ended."""

    def __init__(self, session: Session, ids: Sequence[str]) -> None:
        self._session = session
        self._open = {name: _Heard(name) for name in ids}
        #: When to ask for the records, ``time.monotonic()``.
        self._look_at = 0.0
        #: Tasks that were announced as ended.
        self._ended: set[str] = set()
        #: Does anybody wait for their output, rather than listen?
        self.wanted: Callable[[], bool] = anybody

    @property
    def done(self) -> bool:
        """Have all ended, and is all output returned?"""
        return not self._open

    def hear(self, seconds: float = QUIET) -> Flow[list[Output]]:
        """Wait at most this long for output; return it, or an empty list.

        Raises ``TaskLost``, a ``KeyError``, for a task that the hub does not know.
        """
        said: list[Output] = []
        if self._ended or time.monotonic() >= self._look_at:
            said = yield from self._look()
            if said or self.done:
                return said
        chosen = self._chosen()
        patience = max(1, int(min(seconds, QUIET) * 1000))
        ids = [one.msg_id for one in chosen]
        keys = [self._session.keys.live(name) for name in ids]
        positions = [one.position for one in chosen]
        words = ("XREAD", "COUNT", 100, "BLOCK", patience, "STREAMS", *keys, *positions)
        try:
            reply = yield Hear(words, ids, patience / 1000, self.wanted)
        except ConnectionLost:
            # The next look at the records is retried.
            self._look_at = 0.0
            return []
        by_key = dict(zip(keys, chosen, strict=True))
        for key, entries in reply or ():
            said += self._read(by_key[key.decode()], entries)
        return said

    def _chosen(self) -> list[_Heard]:
        return list(islice(self._open.values(), _AT_ONCE))

    def _read(
        self, one: _Heard, entries: Sequence[tuple[bytes, Sequence[bytes]]]
    ) -> list[Output]:
        """Read entries of a task's stream."""
        said = []
        for position, fields in entries:
            one.position = position.decode()
            for told, value in groups(fields, 2):
                name = told.decode()
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
        """Ask for the tasks' states; return the remaining output of ended ones."""
        self._look_at = time.monotonic() + QUIET
        self._ended.clear()
        chosen = self._chosen()
        call = calls.attend([one.msg_id for one in chosen])
        said: list[Output] = []
        ended: list[_Heard] = []
        messages = []
        for one, found in zip(chosen, (yield from flows.ask(call)), strict=True):
            if found.state == "unknown":
                raise TaskLost(f"{one.msg_id}: {GONE}")
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
        """Return the output of ended tasks that was not heard."""
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
                    # The record has only its beginning and end: where in the omitted
                    # part we are is unknown.
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
    """Return the message for the worker of a running task, if one is due."""
    now = time.monotonic()
    if not found.worker or (one.asked and now < one.asked + _AGAIN):
        return []
    one.asked = now
    return [(found.worker, f"listen {one.msg_id} {found.token}")]


def _said(one: _Heard, name: str, rest: bytes) -> list[Output]:
    """Return what is new in an entry."""
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
