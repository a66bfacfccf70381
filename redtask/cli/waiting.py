"""Waiting for tasks with a progress bar, and reporting their outcomes."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli import FAILED
from redtask.cli.output import STATES, Output, one_line, safe_lines, say_json
from redtask.cli.tasks import as_json, what_came
from redtask.hub.why import remedies_of
from redtask.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redtask.client import Client

#: Records per read.
_PAGE: Final = 500
#: Interval between updates of a bar, in seconds.
_REFRESH: Final = 0.2
#: No bar is shown before this, in seconds.
_MOMENT: Final = 0.5
#: A person is told why a task has not begun after this, in seconds.
_LONG: Final = 3.0


@contextlib.contextmanager
def bar(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on standard error if it is a terminal; ``total`` may be unknown.

    Not for what is done in a moment.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    with contextlib.ExitStack() as stack:
        begun = time.monotonic()
        shown: list[Callable[[int], None]] = []

        def show(done: int) -> None:
            if not shown and time.monotonic() - begun > _MOMENT:
                shown.append(
                    stack.enter_context(progress_bar(name, total, transient=True))
                )
            for one in shown:
                one(done)

        yield show


def wait(client: Client, ids: Sequence[str]) -> None:
    """Wait with a bar until tasks have ended; Ctrl-C only stops the wait."""
    if sys.stderr.isatty() and len(ids) > 1:
        client.wait_interactive(list(ids), _REFRESH)
        return
    result = client.get_result(list(ids))
    if sys.stderr.isatty() and not result.wait(_LONG):
        _say_why(client, ids[0])
    result.wait()


def _say_why(client: Client, name: str) -> None:
    why = client.why(name)
    if why.state in {"waiting", "ready"}:
        click.echo(safe_lines(str(why)), err=True)


def tell(client: Client, out: Output, ids: Sequence[str], *, single: bool) -> int:
    """Print the outcomes of ended tasks, in order; return the exit code."""
    failed = 0
    rows: list[tuple[str, str, str]] = []
    for at in range(0, len(ids), _PAGE):
        part = ids[at : at + _PAGE]
        records = client.db_query({"msg_id": {"$in": list(part)}})
        found = {one["msg_id"]: one for one in records}
        for name in part:
            record = found.get(name)
            failed += record is None or record["state"] != "completed"
            if out.for_people and not single:
                what = "" if record is None else what_came(record)
                state = "gone" if record is None else record["state"]
                rows.append((out.task(name), state, what))
            else:
                _tell_one(out, name, record, single=single)
    if rows:
        out.table(("task", "state", "what"), rows, {"state": STATES})
    return FAILED if failed else 0


def _tell_one(
    out: Output, name: str, record: dict[str, Any] | None, *, single: bool
) -> None:
    if record is None:
        # It expired before it could be read.
        record = {"msg_id": name, "state": "gone"}
        if out.as_json:
            say_json({"id": name, "state": "gone"})
        else:
            click.echo(f"{name}\tgone")
    elif out.as_json:
        say_json(as_json(record))
    elif not single:
        words = (out.task(name), record["state"], what_came(record))
        click.echo("\t".join(map(one_line, words)))
    elif record["state"] == "completed":
        click.echo(safe_lines(what_came(record)))
    else:
        told = one_line(f"{name} {record['state']}: {what_came(record)}")
        click.echo(f"redtask: {told}", err=True)
        for remedy in remedies_of(record.get("ename")):
            click.echo(f"redtask: {remedy}", err=True)
