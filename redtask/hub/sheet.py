"""Records on the sheet, as ``lua/lib/sheet.lua`` writes them. No I/O here.

A record moves from the sheet to a hash of its own, never back. So a reader that looks
at the sheet first, then at the hash, misses no record. It reads the run before the row:
if both leave the sheet in between, a row alone would say that the task has not begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redtask.hub.keys import Keys

#: Largest result that is kept there, in bytes.
MOST: Final = 1024
#: How runs begin that have ended.
_ENDINGS: Final = {b"c\0": "completed", b"a\0": "aborted"}
_ENDED: Final = ("engine", "token", "started", "took", "repr", "result")


class Row(NamedTuple):
    """A task as it was submitted."""

    score: bytes
    submitted: bytes
    #: Names and values of further fields, the function first, each length-prefixed.
    fields: bytes
    args: bytes


def read(row: bytes) -> Row:
    """Read ``<score> <submitted> <length>:<fields><args>``."""
    head, _, rest = row.partition(b":")
    score, submitted, length = head.split(b" ")
    return Row(score, submitted, rest[: int(length)], rest[int(length) :])


def words(keys: Keys, task_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the commands that read a task's run and row."""
    return ("HGET", keys.runs(), task_id), ("HGET", keys.rows(), task_id)


def unfold(run: bytes | None, row: bytes | None) -> dict[str, bytes]:
    """Return the fields of the record that ``words`` read; {} if there is none."""
    if row is None:
        return {}
    _, submitted, fields, args = read(row)
    parts = list(texts(fields))
    names = [name.decode() for name in parts[::2]]
    record = dict(zip(names, parts[1::2], strict=True))
    record |= {"state": b"ready", "submitted": submitted, "args": args}
    if run is None:
        return record
    if run.startswith(b"c\0"):
        ended = zip(_ENDED, run.split(b"\0", len(_ENDED))[1:], strict=True)
        return record | {"state": b"completed"} | dict(ended)
    if run.startswith(b"a\0"):
        _, at, words = run.split(b"\0", 2)
        verdict, _, reason = words.partition(b" ")
        why = {"verdict": verdict, "ended": at, "reason": reason}
        return record | {"state": b"aborted"} | why
    token, _, engine, started, _ = run.split(b" ")
    return record | {
        "state": b"running",
        "token": token,
        "engine": engine,
        "started": started,
    }


def ended(run: bytes | None) -> str:
    """Return how a task ended by its run; "" if it has not."""
    return _ENDINGS.get((run or b"")[:2], "")


def pick(
    names: Sequence[str],
    run: bytes | None,
    row: bytes | None,
    own: Sequence[bytes | None],
) -> list[bytes | None]:
    """Return these fields from the replies to ``words``, else to HMGET (``own``)."""
    fields = unfold(run, row)
    return [fields.get(name) for name in names] if fields else list(own)


def texts(fields: bytes) -> Iterable[bytes]:
    """Yield the length-prefixed strings in ``fields``."""
    at = 0
    while at < len(fields):
        begin = fields.index(b":", at) + 1
        at = begin + int(fields[at : begin - 1])
        yield fields[begin:at]
