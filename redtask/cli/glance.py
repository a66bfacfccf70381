"""The output of ``redtask status --once``: an overview that fits a screen."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli.configure import settings
from redtask.cli.engines import engine_json, read_engines
from redtask.cli.output import (
    STATES,
    duration,
    moment,
    print_table,
    say_json,
    short_id,
    short_url,
    size,
)
from redtask.cli.queue import queue_json
from redtask.error import ConfigurationError, HubError
from redtask.hub import calls
from redtask.hub.records import info
from redtask.tui.text import (
    UNICODE,
    clean,
    counted,
    line,
    number,
    of_failures,
    percentile,
    rate,
    span,
    spark,
)

if TYPE_CHECKING:
    from redtask.cli.output import Output
    from redtask.hub.views import EngineRow, Overview
    from redtask.profile import Profile
    from redtask.store import Store

#: Fields of the server's INFO that are shown, as numbers where possible.
_SERVER: Final = (
    "redis_version",
    "uptime_in_seconds",
    "connected_clients",
    "used_memory",
    "maxmemory",
    "maxmemory_policy",
    "aof_enabled",
)
#: Counters of the hub since it was made, and bytes of ended tasks that it keeps.
_COUNTERS: Final = ("submitted", "completed", "failed", "aborted", "kept_bytes")
#: Rows per table on a terminal.
_ROWS: Final = 5
#: The last ten minutes, in intervals of ten seconds.
_PIECES: Final = 60
_PIECE: Final = 10000


@dataclass(frozen=True, slots=True)
class Glance:
    """A snapshot of a hub."""

    #: Where the hub is.
    profile: Profile
    #: Its state and counters.
    seen: Overview
    #: Its engines, by id: all of them, or (on a terminal) the first.
    engines: tuple[EngineRow, ...]
    #: Information from the server, as far as available.
    server: dict[str, Any]

    @classmethod
    def take(cls, profile: Profile, store: Store, *, every: bool) -> Glance:
        """Take a snapshot. With ``every``, one read per 200 engines."""
        seen = store.do(calls.overview(_PIECES, _PIECE))
        found = read_engines(store, None if every else _ROWS)
        return cls(profile, seen, tuple(found), server_of(store))


def server_of(store: Store) -> dict[str, Any]:
    """Return the server's INFO; nothing if we lack the right."""
    with contextlib.suppress(ConfigurationError, HubError):
        found = info(store.command("INFO"))
        return {name: _number(found[name]) for name in _SERVER if name in found}
    return {}


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


def show(glance: Glance, out: Output) -> None:
    """Print it."""
    if out.as_json:
        say_json(as_json(glance))
    elif out.for_people:
        _for_people(glance)
    else:
        _lines(glance)


def as_json(glance: Glance) -> dict[str, Any]:
    """Return all of it as JSON values; durations in seconds."""
    seen, profile = glance.seen, glance.profile
    lately = seen.lately
    return {
        "hub": profile.hub,
        "at": moment(seen.stamp),
        "settings": settings(seen.scheme, seen.hub),
        "counters": {name: seen.counter(name) for name in _COUNTERS},
        "redis": {"url": profile.shown_url, **glance.server},
        "states": dict(seen.states),
        "queues": [
            {**queue_json(one), "oldest_age": _age(one.oldest, seen)}
            for one in seen.queues
        ],
        "engines": [engine_json(one, seen.stamp) for one in glance.engines],
        "lately": {
            "span": seen.span,
            "completed": lately.completed,
            "failed": lately.failed,
            "aborted": lately.aborted,
            "per_second": lately.total / seen.span,
        },
        "latency": {
            "samples": len(seen.times),
            **_percentiles("run", [one.ran for one in seen.times]),
            **_percentiles("wait", [one.waited for one in seen.times]),
        },
        "oldest": {
            state: {"id": one.task_id, "age": _age(one.submitted, seen)}
            for state, one in seen.oldest.items()
        },
        "failures": [
            {
                "function": one.function,
                "ename": one.error,
                "count": one.count,
                "latest": one.task_id,
            }
            for one in seen.failures
        ],
    }


def _percentiles(name: str, values: list[float]) -> dict[str, float | None]:
    return {
        f"{name}_p50": percentile(values, 0.5),
        f"{name}_p95": percentile(values, 0.95),
    }


def _age(submitted: int, seen: Overview) -> float | None:
    return max(0, seen.stamp - submitted) / 1000 if submitted else None


def _lines(glance: Glance) -> None:
    """Print tab-separated lines, each with its kind first."""
    seen, server = glance.seen, glance.server
    told = as_json(glance)

    def say(kind: str, *values: object) -> None:
        click.echo("\t".join([kind, *(clean(str(one)) for one in values)]))

    say("hub", glance.profile.hub)
    say(
        "redis",
        server.get("redis_version", "?"),
        server.get("used_memory", 0),
        server.get("maxmemory", 0),
        glance.profile.shown_url or "",
    )
    say("scheme", seen.scheme)
    for state, count in seen.states.items():
        say("state", state, count)
    for name, value in told["lately"].items():
        say("lately", name, value)
    for name, value in told["latency"].items():
        say("latency", name, "" if value is None else value)
    for state, one in told["oldest"].items():
        say("oldest", state, one["id"], one["age"])
    for queue in seen.queues:
        say("queue", queue.name, queue.engines, queue.ready)
    for failed in seen.failures:
        say("failed", failed.count, failed.function, failed.error, failed.task_id)
    say("engines", seen.engines)
    for engine in glance.engines:
        say(
            "engine",
            engine.engine_id,
            engine.worker,
            ",".join(engine.queues),
            engine.assigned,
            engine.held,
        )


def _for_people(glance: Glance) -> None:
    from rich.console import Console  # noqa: PLC0415 - only on a terminal

    seen = glance.seen
    console = Console(highlight=False, markup=False, emoji=False)

    def say(*parts: str | tuple[str, str]) -> None:
        shown = line(*parts)
        shown.end = "\n"
        console.print(shown, no_wrap=True, overflow="ellipsis")

    say((f"hub {glance.profile.hub}", "bold"), f"  {_about(glance)}")
    cells = max(10, min(14, console.width // len(STATES)))
    say(*[(f"{name:>{cells}}", STATES[name]) for name in STATES])
    say(*[(f"{number(seen.states[name]):>{cells}}", "bold") for name in STATES])
    say()
    points = [one.total * 1000 / _PIECE for one in reversed(seen.buckets)]
    glyphs = UNICODE if _is_unicode(console.encoding) else None
    drawn = f"  {spark(points[-30:], 30, glyphs)} 5 min" if glyphs else ""
    lately, width = seen.lately, 8
    say(
        (f"{'ended':<{width}}", "bold"),
        f"{rate(lately.total / seen.span)} in {span(seen.span)}, "
        f"{number(lately.failed)} failed",
        drawn,
    )
    say((f"{'took':<{width}}", "bold"), _times(seen))
    elders = [
        f"{state} {span((seen.stamp - one.submitted) / 1000)} ({short_id(one.task_id)})"
        for state, one in seen.oldest.items()
    ]
    say((f"{'oldest':<{width}}", "bold"), ", ".join(elders) or "-")
    if seen.engines:
        busy = seen.states["running"] + seen.states["assigned"]
        say(
            (f"{'engines':<{width}}", "bold"),
            f"{seen.engines}, with {counted(busy, 'task')}",
        )
    else:
        say(("no engine: start some with 'redtask worker'", "bold red"))
    say()
    _tables(glance)


def _about(glance: Glance) -> str:
    server = glance.server
    words = [f"Redis {clean(str(server.get('redis_version', '?')))}"]
    if "used_memory" in server:
        limit = server.get("maxmemory", 0)
        words.append(
            size(server["used_memory"]) + (f" of {size(limit)}" if limit else "")
        )
    if "uptime_in_seconds" in server:
        words.append(f"up {duration(server['uptime_in_seconds'])}")
    words += [short_url(glance.profile.shown_url or ""), f"scheme {glance.seen.scheme}"]
    return ", ".join(words)


def _is_unicode(encoding: str) -> bool:
    return encoding.lower().startswith("utf")


def _times(seen: Overview) -> str:
    if not seen.times:
        return "-"
    told = []
    for name, values in (
        ("run", [one.ran for one in seen.times]),
        ("wait before", [one.waited for one in seen.times]),
    ):
        half, most = percentile(values, 0.5), percentile(values, 0.95)
        told.append(f"{name} p50 {span(half or 0.0)}, p95 {span(most or 0.0)}")
    return "; ".join(told)


def _tables(glance: Glance) -> None:
    seen = glance.seen
    if seen.queues:
        print_table(
            "queue",
            ("queue", "engines", "ready", "oldest"),
            [
                (
                    clean(one.name) + (" (paused)" if one.paused else ""),
                    one.engines,
                    one.ready,
                    span((seen.stamp - one.oldest) / 1000) if one.oldest else "",
                )
                for one in seen.queues[:_ROWS]
            ],
        )
    if seen.failures:
        counted = sum(one.count for one in seen.failures)
        title = of_failures(counted, seen.states.get("failed", 0))
        print_table(
            "failed",
            (title, "function", "error", "latest"),
            [
                (
                    one.count,
                    clean(one.function)[:30],
                    clean(one.error)[:24],
                    clean(short_id(one.task_id)),
                )
                for one in sorted(seen.failures, key=lambda one: -one.count)[:_ROWS]
            ],
        )
