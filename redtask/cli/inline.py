"""Run one stored task here as an engine would, without telling the hub."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from redtask import ended, payload
from redtask.cli import FAILED
from redtask.cli.output import safe_lines, say_json
from redtask.engine.coroutines import awaited, finished
from redtask.engine.parents import Parents
from redtask.engine.task import traceback_of
from redtask.error import SerializationError, SignatureError
from redtask.flows import Commands
from redtask.functional import dependent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redtask.cli.output import Output
    from redtask.client import Client
    from redtask.flows import Flow

Called = tuple["Callable[..., Any]", bytes, "Callable[[str], Any] | None"]


def run_inline(
    client: Client, out: Output, name: str, edit: Mapping[str, Any], *, debug: bool
) -> int:
    """Unpickle a task and call its function here; return the exit code.

    With ``debug``, exceptions open the debugger.
    """
    click.echo(f"redtask: unpickling {name} and running it here", err=True)
    # So that code being fixed here is preferred.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - it holds strings
    function, body, resolver = _load(client, name, edit)
    try:
        value = finished(payload.call(function, body, resolver), body)
    except Exception as problem:  # noqa: BLE001 - user code may raise anything
        # Without this frame.
        here = problem.__traceback__
        problem.__traceback__ = here.tb_next if here else None
        click.echo(safe_lines(traceback_of(problem).rstrip("\n")), err=True)
        if debug:
            import pdb  # noqa: PLC0415, T100 - that is what was asked for

            pdb.post_mortem(problem.__traceback__)
        if out.as_json:
            said = {"ename": type(problem).__name__, "evalue": str(problem)}
            say_json({"id": name, "state": "failed", **said})
        return FAILED
    if out.as_json:
        say_json({"id": name, "state": "completed", "repr": repr(value)})
    else:
        click.echo(safe_lines(repr(value)))
    return 0


def _load(client: Client, name: str, edit: Mapping[str, Any]) -> Called:
    """Return the function, its packed arguments, and a resolver of Refs in them.

    Verified as on an engine: raises ``SignatureError``.
    """
    session = client._session
    (copy,) = client._run(ended.copies(session, [name]))
    body = client._run(ended.body_of(session, copy))
    blob = client._run(_blob(client, copy.function))
    if payload.digest_of(blob) != copy.function:
        raise SignatureError("the function is not the one that was signed")
    if edit:
        try:
            body = payload.lay_over(body, {}, edit)
        except ValueError as problem:
            raise click.UsageError(f"{name}: {problem}") from None
    ids, body = payload.unpack_refs(body)
    parents = Parents(client._store, session.keyring)
    resolver = parents.resolver(ids) if ids else None
    try:
        function, _ = payload.unpack_function(blob)
        if isinstance(function, dependent):
            function = function.ready(awaited=awaited)
    except Exception as problem:
        raise SerializationError(
            f"the function cannot be loaded here: {type(problem).__name__}: {problem}"
        ) from problem
    return function, body, resolver


def _blob(client: Client, digest: str) -> Flow[bytes]:
    key = client._session.keys.function(digest)
    (blob,) = yield Commands([("HGET", key, "blob")])
    if not blob:
        raise SerializationError("the hub no longer has the function")
    found: bytes = blob
    return found
