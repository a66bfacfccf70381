"""``redtask events``: what did not go as planned."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli import proposals
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import SHORT, Output, cut, iso, one_line, say_json
from redtask.cli.spans import MOMENT
from redtask.error import ConnectionLost
from redtask.flows import Commands, Flow, Hear, story
from redtask.hub.records import mapping, moment, number, text
from redtask.labels import labels_of, of_events

if TYPE_CHECKING:
    from redtask.cli.reader import Reader

#: How many are shown by default, and read at a time.
_MOST: Final = 20
_PAGE: Final = 500
#: The longest name of an event.
_LONGEST: Final = len("engine draining")

_Event = tuple[str, Mapping[str, str]]


@click.command("events")
@click.option("-f", "--follow", is_flag=True, help="Show new ones as they come.")
@click.option(
    "--since", type=MOMENT, metavar="1h|DATE", help="All since then, the oldest first."
)
@click.option("--limit", type=click.IntRange(1), help="At most this many, the latest.")
@click.option("--event", metavar="GLOB", help="Only of this kind: 'lost', 'engine *'.")
@click.option("--task", shell_complete=proposals.tasks, help="Only those of this task.")
@hub_options
@output_options
def command(  # noqa: PLR0913 - one per option
    *,
    follow: bool,
    since: datetime | None,
    limit: int | None,
    event: str | None,
    task: str | None,
    where: Where,
    out: Output,
) -> None:
    """Show what did not go as planned: by default the last 20 events.

    Engines that joined and left, tasks that were lost, retried or refused. The hub
    keeps some 10,000. On a terminal, lines are cut at its edge. With -f it waits for
    more, until Ctrl-C; while Redis is away it says so, and it goes on when Redis is
    back.

    \b
    redtask events -f
    redtask events --since 1h --event 'engine *' --json
    """

    def is_meant(about: Mapping[str, str]) -> bool:
        return (event is None or fnmatchcase(about.get("event", ""), event)) and (
            task is None or about.get("task") == task
        )

    with where.reader() as hub:
        if task is not None:
            task = _whole(hub, task)
        most = limit or (None if since else _MOST)
        begin = "-" if since is None else str(max(0, int(since.timestamp() * 1000)))
        position = hub.run(story.latest(hub.keys))
        labels = _Labels(hub)
        found = hub.run(_before(hub, begin, position, most, is_meant))
        _show_all(out, found[::-1], labels)
        if follow:
            for some in _coming(hub, position):
                _show_all(out, [one for one in some if is_meant(one[1])], labels)


def _whole(hub: Reader, task: str) -> str:
    from redtask.abbreviation import expand  # noqa: PLC0415
    from redtask.error import UnknownTask  # noqa: PLC0415

    try:
        (name,) = hub.run(expand(hub.keys, [task]))
    except UnknownTask:
        # The event may be of a task that the hub has forgotten.
        return task
    return name


def _before(
    hub: Reader, begin: str, end: str, most: int | None, is_meant: Any
) -> Flow[list[_Event]]:
    """Return the events up to ``end``, the latest first."""
    found: list[_Event] = []
    while most is None or len(found) < most:
        (page,) = yield Commands(
            [("XREVRANGE", hub.keys.story(), end, begin, "COUNT", _PAGE)]
        )
        for entry, fields in page:
            about = mapping(fields)
            if is_meant(about):
                found.append((text(entry), about))
        if len(page) < _PAGE:
            break
        end = "(" + text(page[-1][0])
    return found[:most]


def _coming(hub: Reader, position: str) -> Iterator[Sequence[_Event]]:
    """Yield events as they come, with blocking reads."""
    from redtask.link import LONGEST_BLOCK  # noqa: PLC0415 - it imports redis

    patience = int(LONGEST_BLOCK * 1000)
    words = ("XREAD", "COUNT", _PAGE, "BLOCK", patience, "STREAMS", hub.keys.story())
    while True:
        try:
            reply = hub.run(_hear((*words, position)))
        except ConnectionLost as problem:
            click.echo(f"redtask: {problem}; waiting for it", err=True)
            hub.store.patience = None
            hub.run(story.latest(hub.keys))
            click.echo("redtask: Redis is back", err=True)
            continue
        if reply:
            some = [(text(entry), mapping(fields)) for entry, fields in reply[0][1]]
            position = some[-1][0]
            yield some


def _hear(words: tuple[Any, ...]) -> Flow[Any]:
    return (yield Hear(words))


class _Labels:
    """The labels of engines; those that are not known are looked for once."""

    def __init__(self, hub: Reader) -> None:
        self._hub = hub
        self._unknown: set[str] = set()
        self.known: dict[str, int] = {}

    def learn(self, events: Sequence[_Event]) -> None:
        """Find out the labels of the engines of some events."""
        abouts = [about for _, about in events]
        self.known.update(of_events(abouts))
        uuids = {about["engine"] for about in abouts if "engine" in about}
        new = uuids - self.known.keys() - self._unknown
        if new:
            flow = labels_of(self._hub.keys, new, self.known)
            self.known = self._hub.run(flow)
            self._unknown |= new - self.known.keys()


def _show_all(out: Output, events: Sequence[_Event], labels: _Labels) -> None:
    labels.learn(events)
    for entry, about in events:
        _show(out, entry, about, labels.known)


def _details(about: Mapping[str, str], labels: Mapping[str, int]) -> dict[str, Any]:
    """Return the details of an event, with the names that other commands have."""
    found: dict[str, Any] = {}
    for name, value in about.items():
        if name == "engine":
            found["engine_id"] = labels.get(value)
            found["engine_uuid"] = value
        elif name == "try":
            tries = number(value)
            found["tries"] = value if tries is None else tries
        elif name == "task":
            found["id"] = value
        elif name == "why":
            found["what"] = value
        elif name not in {"at", "event", "id"}:
            found[name] = value
    return found


def _show(
    out: Output, entry: str, about: Mapping[str, str], labels: Mapping[str, int]
) -> None:
    at = datetime.fromtimestamp(moment(entry, about.get("at")) / 1000, UTC)
    event = about.get("event", "")
    if out.as_json:
        details = _details(about, labels)
        say_json({"entry": entry, "at": at, "event": event, **details})
        return
    if not out.for_people:
        words = [
            f"{name}={value}"
            for name, value in _details(about, labels).items()
            if value is not None
        ]
        click.echo("\t".join(map(one_line, [iso(at), event, *words])))
        return
    rest = {
        name: value
        for name, value in about.items()
        if name not in {"at", "event", "id"}
    }
    if (uuid := rest.get("engine")) is not None:
        rest["engine"] = str(labels.get(uuid, uuid[:SHORT]))
    shown = ", ".join(_piece(out, *one) for one in rest.items())
    when = at.astimezone().strftime("%m-%d %H:%M:%S")
    line = one_line(f"{when}  {event:<{_LONGEST}} {shown}")
    click.echo(cut(line, shutil.get_terminal_size().columns))


def _piece(out: Output, name: str, value: str) -> str:
    if name == "why":
        return value
    return f"{name} {out.task(value) if name == 'task' else value}"
