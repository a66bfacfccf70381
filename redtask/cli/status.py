"""``redtask status``: what a hub has and does, once."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli.options import json_option
from redtask.cli.output import (
    is_terminal,
    parseable,
    print_table,
    say_json,
    short_url,
    size,
)
from redtask.connect import known_keys
from redtask.error import ConfigurationError, ConnectionLost, HubError, NoHub
from redtask.hub import calls
from redtask.profile import Profile
from redtask.store import Store

if TYPE_CHECKING:
    from redtask.hub.records import Status

#: What is shown of the server, and what of the hub, as numbers where they are.
_SERVER: Final = (
    "redis_version",
    "uptime_in_seconds",
    "connected_clients",
    "used_memory",
    "maxmemory",
    "maxmemory_policy",
    "aof_enabled",
)


@click.command("status")
@click.option("-u", "--url", help="Where Redis is; ?hub=NAME at its end chooses a hub.")
@click.option("--profile", help="The profile to use.")
@json_option
def command(*, url: str | None, profile: str | None, as_json: bool) -> None:
    """Show a hub: its Redis, its tasks by state, queues and engines.

    Reads only, and no payload. Exit code 3: there is no such hub; 69: Redis cannot
    be reached.

    \b
    redtask status
    redtask status -u 'redis://redis.example?hub=night' --json
    """
    with parseable(as_json):
        about, status, server = look(Profile.load(profile, url=url))
    if as_json:
        say_json(_as_json(about, status, server))
    else:
        _show(about, status, server)


def look(profile: Profile) -> tuple[Profile, Status, dict[str, Any]]:
    """Read a hub's status and what its server says of itself; write nothing."""
    if profile.url is None:
        raise NoHub(
            f"no Redis is known for profile {profile.name!r}: start one with "
            "'redtask cluster start', or set REDTASK_URL"
        )
    store = Store(profile.url, profile.hub, patience=0.0)
    store.keyring = known_keys(profile)
    where = f"Redis at {profile.shown_url} (from {profile.url_source})"
    try:
        status = store.do(calls.status(10000))
        return profile, status, _server(store)
    except ConnectionLost as problem:
        reason = str(problem.__cause__ or problem)
        raise ConnectionLost(f"{where} cannot be reached: {reason}") from None
    except NoHub:
        raise NoHub(f"there is no hub {profile.hub!r} in {where}") from None
    finally:
        store.close()


def _server(store: Store) -> dict[str, Any]:
    """Return what the server says of itself; nothing where we may not ask."""
    with contextlib.suppress(ConfigurationError, HubError):
        text = store.command("INFO").decode("utf-8", "replace")
        found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return {name: _number(found[name]) for name in _SERVER if name in found}
    return {}


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def _as_json(
    profile: Profile, status: Status, server: dict[str, Any]
) -> dict[str, Any]:
    return {
        "hub": {
            "name": profile.hub,
            "scheme": status.scheme,
            **{name: _number(value) for name, value in status.hub.items()},
        },
        "redis": {"url": profile.shown_url, **server},
        "states": dict(status.states),
        "queues": [
            {"name": queue.name, "engines": queue.engines, "ready": queue.ready}
            for queue in status.queues
        ],
        "engines": [
            {
                "id": engine.engine_id,
                "uuid": engine.uuid,
                "worker": engine.worker,
                "queues": list(engine.queues),
                "assigned": engine.assigned,
                "running": engine.held,
                "lease_ms": engine.lease,
                "joined_ms": engine.joined,
            }
            for engine in status.engines
        ],
    }


def _show(profile: Profile, status: Status, server: dict[str, Any]) -> None:
    url = profile.shown_url or ""
    version = server.get("redis_version", "?")
    used = server.get("used_memory", 0)
    limit = server.get("maxmemory", 0)
    if is_terminal():
        room = size(used) + (f" of {size(limit)}" if limit else "")
        click.echo(
            f"hub {profile.hub}: Redis {version}, {room}, {short_url(url)}, "
            f"scheme {status.scheme}\n"
        )
        print_table("state", list(status.states), [list(status.states.values())])
    else:
        print_table("hub", (), [(profile.hub,)])
        print_table("redis", (), [(version, used, limit, url)])
        print_table("scheme", (), [(status.scheme,)])
        print_table("state", (), status.states.items())
    print_table(
        "queue",
        ("queue", "engines", "ready"),
        [(queue.name, queue.engines, queue.ready) for queue in status.queues],
    )
    if not status.engines and is_terminal():
        click.echo("no engine: start some with 'redtask worker'")
        return
    print_table(
        "engine",
        ("engine", "worker", "queues", "assigned", "running"),
        [
            (
                engine.engine_id,
                engine.worker,
                ",".join(engine.queues),
                engine.assigned,
                engine.held,
            )
            for engine in status.engines
        ],
    )
