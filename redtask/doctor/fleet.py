"""Check that ready tasks have engines, and that workers and clients are compatible."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import redtask
from redtask.doctor.finding import NOTE, WRONG, Finding
from redtask.error import ConfigurationError, HubError
from redtask.hub.records import mapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redtask.hub.records import QueueStatus, Status
    from redtask.store import Store

#: Connection names of clients and workers, with their version.
_NAME: Final = re.compile(r"\bname=redtask-(\S+)")
#: Clock skew that is worth a note, in ms.
_APART: Final = 2000


def cards(store: Store, status: Status) -> dict[str, dict[str, str]]:
    """Return the cards of workers with live engines, by name."""
    names = sorted({engine.worker for engine in status.engines})
    replies = (
        store.commands([("HGETALL", store.keys.worker(name)) for name in names])
        if names
        else []
    )
    return dict(zip(names, map(mapping, replies), strict=True))


def strangers(workers: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the versions of workers that are of another release than this, by name."""
    ours = redtask.__version__
    found = {name: card.get("version", ours) for name, card in workers.items()}
    return {name: version for name, version in found.items() if version != ours}


def versions(store: Store) -> dict[str, int]:
    """Return the number of connections by redtask version."""
    try:
        text = store.command("CLIENT", "LIST").decode("utf-8", "replace")
    except (ConfigurationError, HubError):
        return {}
    found: dict[str, int] = {}
    for version in _NAME.findall(text):
        found[version] = found.get(version, 0) + 1
    return found


def look(
    status: Status, workers: Mapping[str, Mapping[str, str]], spoken: Mapping[str, int]
) -> Iterator[Finding]:
    """Check queues, workers and versions."""
    for queue in status.queues:
        if queue.ready:
            yield from _line(queue, status)
    if not status.engines:
        yield Finding(
            NOTE, "fleet", "nobody", "engines", "there is no engine", "redtask worker"
        )
    if status.is_earlier:
        yield Finding(
            NOTE,
            "fleet",
            "earlier",
            "hub",
            "an earlier release made the hub: large maps are slower than need be",
            "redtask configure --upgrade, when no worker of that release is left",
        )
    ours = redtask.__version__
    for name, version in strangers(workers).items():
        yield Finding(
            NOTE,
            "fleet",
            "version",
            name,
            f"worker {name} runs redtask {version}, and this is {ours}",
            "replace it: a worker that is stopped loses nothing",
        )
    for name, card in workers.items():
        offset = int(float(card.get("offset", 0)))
        if abs(offset) > _APART:
            yield Finding(
                NOTE,
                "fleet",
                "clock",
                name,
                f"the clock of worker {name} differs from Redis's by {offset} ms",
                "keep both by NTP",
            )
    pythons = {
        card["python"].rpartition(".")[0]
        for card in workers.values()
        if card.get("python")
    }
    if len(pythons) > 1:
        yield Finding(
            NOTE,
            "fleet",
            "python",
            "python",
            f"workers run Python {', '.join(sorted(pythons))}: functions that are sent "
            "by value may fail on some",
            "one minor version of Python, or functions by name",
        )
    for version in sorted(spoken.keys() - {ours}):
        yield Finding(
            NOTE,
            "fleet",
            "version",
            version,
            f"{spoken[version]} connections of redtask {version}, and this is {ours}",
        )


def _line(queue: QueueStatus, status: Status) -> Iterator[Finding]:
    """Check that the tasks that are ready in a queue can begin."""
    name = queue.name
    wait = "1 task waits" if queue.ready == 1 else f"{queue.ready} tasks wait"
    serving = [one for one in status.engines if name in one.queues]
    if not queue.engines:
        words = f"{wait} in {name!r}, and no engine serves it"
        yield Finding(
            WRONG, "fleet", "unserved", name, words, f"redtask worker -Q {name}"
        )
    elif serving and all(one.drained for one in serving):
        words = f"{wait} in {name!r}, and all engines that serve it are drained"
        yield Finding(
            NOTE, "fleet", "drained", name, words, "redtask engine resume --all"
        )
    if queue.paused:
        words = f"{wait} in {name!r}, which is paused"
        yield Finding(
            NOTE, "fleet", "paused", name, words, f"redtask queue resume {name}"
        )
