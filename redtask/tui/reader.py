"""Reads what a screen needs: a bounded number of things, in one round trip.

A task's detail takes a second one. Nothing is unpickled, and no key is needed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from redtask import payload, signing
from redtask.dependency import is_id
from redtask.error import ConfigurationError, ConnectionLost, HubError, UnknownTask
from redtask.flows import reading
from redtask.functions import import_name_of
from redtask.hub import calls, holding, sheet
from redtask.hub.records import Try, groups, info, mapping, text
from redtask.hub.views import Course, EnginePage, TaskPage
from redtask.labels import labels_of
from redtask.tui.state import Card, Rows, Snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redtask.hub.calls import Call
    from redtask.store import Store
    from redtask.tui.state import Subject, Wish

#: Points of history that the first overview includes.
_BUCKETS: Final = 60
#: The most bytes read of output, and of an error.
_OUTPUT: Final = 16384
_ERROR: Final = 262144
#: The most engines and events that one call searches for a text.
_SEARCHED: Final = 200
#: The most tasks listed in an engine's detail.
_TASKS: Final = 20
#: Fields of a record in display order; other text fields follow.
_ORDER: Final = (
    "state", "function", "module", "label", "queue", "priority", "engine", "tries",
    "deaths", "submitted", "start", "started", "took", "ended", "repr", "ename",
    "evalue", "verdict", "reason", "resubmit_of", "resubmitted", "after", "follow",
    "targets", "place", "not", "retries",
)  # fmt: skip
_ENGINE: Final[tuple[str, ...]] = (
    "id", "worker", "queues", "joined", "done", "drained", "leaving",
)  # fmt: skip
_HIDDEN: Final = frozenset({
    "fn", "args", "result", "error", "stdout", "stderr", "marks", "refs", "na", "nf",
    "kept", "token", "class", "root",
})  # fmt: skip


class Reader:
    """Reads a hub for the screens."""

    def __init__(self, store: Store, interval: float) -> None:
        self._store = store
        self._width = max(1, round(interval * 1000))
        #: Has the history been read?
        self._begun = False
        self._server: Mapping[str, str] = {}
        #: Names of functions, and their modules if engines import them, by digest.
        self._names: dict[str, str] = {}
        self._modules: dict[str, str] = {}
        #: Numbers of engines in failed tries, by uuid; None: nobody knows it.
        self._labels: dict[str, int | None] = {}

    def read(self, wish: Wish) -> Snapshot:
        """Return what is needed.

        Raises ``ConnectionLost``, and ``HubError`` if the hub no longer exists.
        """
        if not self._server:
            self._server = self._about_server()
        buckets = 0 if self._begun else _BUCKETS
        brief = self._begun and (wish.tab != "overview" or wish.subject is not None)
        wanted: list[Call[Any]] = [calls.overview(buckets, self._width, brief=brief)]
        page = _page(wish)
        if page is not None:
            wanted.append(page)
        begun = time.perf_counter()
        try:
            overview, *found = self._store.do_all(wanted)
        except ConnectionLost:
            # It may come back as another server.
            self._server = {}
            raise
        took = time.perf_counter() - begun
        self._begun = True
        rows = _rows(wish, found[0]) if found else None
        card = self._card(wish.subject) if wish.subject else None
        return Snapshot(wish, overview, rows, card, took, self._server)

    def _about_server(self) -> Mapping[str, str]:
        """Return the server's INFO; {"": ""} if we lack the right."""
        try:
            return info(self._store.command("INFO", "server"))
        except (ConfigurationError, HubError):
            return {"": ""}

    # -- details

    def _card(self, subject: Subject) -> Card:
        if subject.kind == "engine":
            return self._engine(subject)
        if subject.kind == "task" and is_id(subject.name):
            return self._task(subject)
        if subject.kind == "event":
            return self._event(subject)
        return Card(subject, gone=True)

    def _engine(self, subject: Subject) -> Card:
        keys, uuid = self._store.keys, subject.name
        fields, *held, assigned = self._store.commands([
            ("HGETALL", keys.engine(uuid)),
            *holding.words(keys.held(uuid)),
            ("ZRANGE", keys.engine(uuid, "assigned"), 0, _TASKS - 1),
        ])  # fmt: skip
        about = mapping(fields)
        if not about:
            return Card(subject, gone=True)
        (worker,) = self._store.commands(
            [("HGETALL", keys.worker(about.get("worker", "")))]
        )
        shown = {name: about[name] for name in _ENGINE if name in about}
        shown["uuid"] = uuid
        more = mapping(worker)
        for name in ("host", "pid", "python", "version"):
            if name in more:
                shown[f"worker's {name}"] = more[name]
        lists = {
            "tasks that it took": tuple(sorted(holding.ids(*held)))[:_TASKS],
            "tasks that were placed on it": tuple(map(text, assigned)),
        }
        return Card(subject, fields=shown, lists={k: v for k, v in lists.items() if v})

    def _event(self, subject: Subject) -> Card:
        found = self._store.command(
            "XRANGE", self._store.keys.story(), subject.name, subject.name
        )
        if not found:
            return Card(subject, gone=True)
        return Card(subject, fields=mapping(found[0][1]))

    def _task(self, subject: Subject) -> Card:
        keys, name = self._store.keys, subject.name
        try:
            (why,) = self._store.driver().run(reading.why(keys, [name]))
        except UnknownTask:
            return Card(subject, gone=True)
        run, row, record, attempts, out, err, error, after, follow, targets = (
            self._store.commands(
                [
                    *sheet.words(keys, name),
                    ("HGETALL", keys.task(name)),
                    ("LRANGE", keys.task(name, "attempts"), 0, -1),
                    ("GETRANGE", keys.task(name, "stdout"), -_OUTPUT, -1),
                    ("GETRANGE", keys.task(name, "stderr"), -_OUTPUT, -1),
                    ("GETRANGE", keys.task(name, "error"), 0, _ERROR),
                    *(
                        ("GETRANGE", keys.task(name, part), 0, _OUTPUT)
                        for part in ("after", "follow", "targets")
                    ),
                ]
            )
        )
        if attempts and why.is_tried_again:
            why = why.after_failure(Try.read(attempts[-1]).what)
        raw = sheet.unfold(run, row)
        raw |= {text(key): value for key, value in groups(record, 2)}
        fields = {key: text(value) for key, value in raw.items()}
        beside = {"after": after, "follow": follow, "targets": targets}
        fields |= {key: text(value) for key, value in beside.items() if value}
        fields["function"] = self._function(fields.get("fn", ""))
        fields["module"] = self._module(fields.get("fn", ""))
        fields |= _course(fields)
        shown = {key: fields[key] for key in _ORDER if fields.get(key)}
        rest = {
            key: value
            for key, value in fields.items()
            if key not in shown and key not in _HIDDEN and value
        }
        return Card(
            subject,
            fields=shown | rest,
            lists={"failed tries": self._tries(attempts)} if attempts else {},
            why=why,
            stdout=text(out) or fields.get("stdout", ""),
            stderr=text(err) or fields.get("stderr", ""),
            traceback=traceback_of(error or raw.get("error", b"")),
        )

    def _tries(self, attempts: Sequence[bytes]) -> tuple[str, ...]:
        """Format failed tries, with the numbers of their engines."""
        tries = [Try.read(one) for one in attempts]
        new = {one.engine for one in tries if one.engine} - self._labels.keys()
        if new:
            flow = labels_of(self._store.keys, new, {})
            found = self._store.driver().run(flow)
            self._labels |= {uuid: found.get(uuid) for uuid in new}
        names = [self._labels.get(one.engine) for one in tries]
        return tuple(
            f"engine {one.engine[:8] if label is None else label}: {one.what}"
            for one, label in zip(tries, names, strict=True)
        )

    def _function(self, fn: str) -> str:
        digest = fn.partition(" ")[0]
        if digest and digest not in self._names:
            key = self._store.keys.function(digest)
            self._names[digest] = text(self._store.command("HGET", key, "name") or b"")
        return self._names.get(digest, "")

    def _module(self, fn: str) -> str:
        """Return the module that engines import a function from; "" if they do not."""
        digest = fn.partition(" ")[0]
        if digest and digest not in self._modules:
            flow = import_name_of(self._store.keys, digest)
            name = self._store.driver().run(flow) or ""
            self._modules[digest] = name.partition(":")[0]
        return self._modules.get(digest, "")


def _course(fields: Mapping[str, str]) -> dict[str, str]:
    """Return when a task began and ended as text, and its run time in us."""
    course = Course.read(fields)
    told = {"started": course.began, "ended": course.ended, "took": course.took * 1e6}
    return {name: f"{value:.0f}" if value else "" for name, value in told.items()}


def _page(wish: Wish) -> Call[Any] | None:
    """Return the call that reads the page, if any."""
    if wish.subject is not None:
        return None
    if wish.tab == "engines":
        return calls.engines(int(wish.start or 0), wish.count, wish.text)
    if wish.tab in ("tasks", "failed"):
        return calls.tasks(wish.state, wish.start, wish.count, wish.text)
    if wish.tab == "events":
        # Filtered here, from the largest page that one call reads.
        return calls.events(wish.start, _SEARCHED if wish.text else wish.count)
    return None


def _rows(wish: Wish, found: Any) -> Rows:
    if isinstance(found, EnginePage):
        more = None if found.more is None else str(found.more)
        return Rows(found.rows, more, _SEARCHED)
    if isinstance(found, TaskPage):
        return Rows(found.rows, found.more, _searched(wish.start, found.more))
    wanted = wish.text.lower()
    matching = [
        one
        for one in found
        if wanted in " ".join((one.event, *one.about.values())).lower()
    ]
    shown = tuple(matching[: wish.count])
    asked = _SEARCHED if wish.text else wish.count
    if len(matching) > len(shown):
        return Rows(shown, shown[-1].entry)
    more = found[-1].entry if len(found) == asked else None
    return Rows(shown, more, len(found))


def _searched(start: str, more: str | None) -> int:
    """Return how many tasks are between two positions.

    Each is a rank and the number of an index; or of ended tasks, a rank in each of
    several.
    """
    if more is None:
        return 0
    last = [int(number) for number in more.split()]
    first = [int(number) for number in start.split()] or [0] * len(last)
    if len(last) > len(("rank", "index")):
        return sum(last) - sum(first)
    return last[0] - first[0] if first[1] == last[1] else 0


def traceback_of(envelope: bytes) -> str:
    """Return the traceback in a signed error, unverified; "" if there is none."""
    traceback, words = payload.shown_error(signing.unverified(envelope))
    return traceback or words
