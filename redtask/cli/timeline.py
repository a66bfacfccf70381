"""``redtask timeline``: what each engine ran when, and its gaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli.drawing import PALETTE, Picture
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import SHORT, Output, say_json, shorten
from redtask.cli.spans import MOMENT
from redtask.cli.tasks import took
from redtask.flows import Commands
from redtask.hub.records import Try
from redtask.labels import labels_of, of_records
from redtask.listing import Finder
from redtask.query import Query
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from redtask.flows import Flow
    from redtask.session import Session

_MOST: Final = 5000
_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Span:
    """One attempt of a task on an engine."""

    task_id: str
    function: str
    #: Id of the engine, or its uuid if nothing else is known.
    engine: str
    begin: datetime
    end: datetime
    #: State of the task; of an attempt before the last, ``tried``.
    state: str
    #: Its outcome.
    what: str
    #: The engine's uuid.
    engine_uuid: str = ""

    @property
    def seconds(self) -> float:
        """Its duration in seconds."""
        return (self.end - self.begin).total_seconds()


@dataclass(frozen=True, slots=True)
class Lane:
    """The work of one engine."""

    engine: str
    #: In chronological order.
    spans: tuple[Span, ...]
    #: Total time it ran something, in seconds.
    busy: float
    #: Gaps: between two tasks, before the first and after the last.
    gaps: tuple[tuple[datetime, datetime], ...]

    @property
    def longest(self) -> float:
        """The longest gap, in seconds."""
        return max(((b - a).total_seconds() for a, b in self.gaps), default=0.0)


@click.command("timeline")
@click.option(
    "--since",
    type=MOMENT,
    default="10m",
    show_default=True,
    metavar="1h|DATE",
    help="What ran since then.",
)
@click.option("--until", type=MOMENT, metavar="1h|DATE", help="... and until then.")
@click.option(
    "--name", metavar="GLOB", help="Of functions with this name, or module:name."
)
@click.option("--label", metavar="GLOB", help="With this label.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=_MOST,
    show_default=True,
    help="At most this many tasks, the latest.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw it into this file, as SVG.",
)
@hub_options
@output_options
def command(
    *,
    since: datetime,
    until: datetime | None,
    output: Path | None,
    where: Where,
    out: Output,
    **said: Any,
) -> int:
    """Show which engine ran what when, and when it ran nothing.

    Prints a line for each engine: its tasks, how long it was busy, and its longest
    pause; with --json an object for each run of a task. With -o also draws it: a lane
    for each engine, a colour for each function, a red frame around what failed, and
    details under the pointer. Exit code 1: nothing ran.

    \b
    redtask timeline --since 10m -o run.svg
    redtask timeline --since 2026-11-28T02:00 --until 2026-11-28T04:00 --label night
    """
    if until is not None and until <= since:
        raise click.UsageError("--until has to be later than --since")
    until = until or datetime.now(UTC)
    with where.reader() as hub:
        flow = _spans(hub.session, since, until, said)
        spans = hub.run(flow)
    if not spans:
        told = "nothing ran in that time"
        if out.as_json:
            say_json({"error": told, "kind": "LookupError"})
        else:
            click.echo(f"redtask: {told}", err=True)
        return 1
    if output is not None:
        begin, end = _bounds(spans)
        picture = draw(lanes(spans, begin, end), begin, end)
        output.write_text(picture, encoding="utf-8")
        click.echo(f"redtask: {count(len(spans), 'run')} in {output}", err=True)
    if out.as_json:
        for one in spans:
            say_json(
                {
                    "id": one.task_id,
                    "function": one.function,
                    "engine_id": int(one.engine) if one.engine.isdigit() else None,
                    "engine_uuid": one.engine_uuid or None,
                    "started": one.begin,
                    "completed": None if one.state == "running" else one.end,
                    "state": one.state,
                    "what": one.what or None,
                }
            )
    else:
        _show(out, spans)
    return 0


def _bounds(spans: Iterable[Span]) -> tuple[datetime, datetime]:
    listed = list(spans)
    begin = min(one.begin for one in listed)
    end = max(one.end for one in listed)
    return begin, max(end, begin + timedelta(milliseconds=1))


def _show(out: Output, spans: Sequence[Span]) -> None:
    begin, end = _bounds(spans)
    whole = (end - begin).total_seconds()
    rows = [
        (
            lane.engine,
            len(lane.spans),
            sum(one.state in {"failed", "tried"} for one in lane.spans),
            took(lane.busy) if out.for_people else f"{lane.busy:.6f}",
            f"{lane.busy / whole:.0%}",
            took(lane.longest) if out.for_people else f"{lane.longest:.6f}",
        )
        for lane in lanes(spans, begin, end)
    ]
    names = ("engine", "runs", "failed", "busy", "share", "longest rest")
    out.table(names, rows)
    if out.for_people:
        here = begin.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"{took(whole)} from {here} on")


# -- reading


def _spans(
    session: Session, since: datetime, until: datetime, said: dict[str, Any]
) -> Flow[list[Span]]:
    """Return what ran in an interval, in chronological order."""
    wanted: dict[str, Any] = {"started": {"$exists": True, "$lte": until}}
    if said["label"] is not None:
        wanted["label"] = {"$glob": said["label"]}
    query = Query.parse(wanted)
    if said["name"] is not None:
        query = query.called(said["name"])
    # What runs still may have begun at any time.
    finder = Finder(session.keys, query, None, since, open_too=True)
    records = yield from finder.newest(said["limit"])
    ((seconds, micros),) = yield Commands([("TIME",)])
    now = datetime.fromtimestamp(int(seconds) + int(micros) / 1e6, UTC)
    spans = [
        Span(
            one["msg_id"],
            one["function"],
            str(one["engine_id"]),
            one["started"],
            max(one["started"], one["completed"] or now),
            one["state"],
            str(one["repr"] or one["error"] or ""),
            one["engine_uuid"] or "",
        )
        for one in records
        if one["engine_id"] is not None and _is_real(one)
    ]
    tried = [one for one in records if one["tries"]]
    spans += yield from _tries(session, tried)
    spans = [one for one in spans if one.end >= since and one.begin <= until]
    return sorted(spans, key=lambda one: (one.begin, one.engine))


def _is_real(record: dict[str, Any]) -> bool:
    """Are the record's times those of a run, and not of an earlier attempt?"""
    return record["state"] == "running" or record["completed"] is not None


def _tries(session: Session, records: Sequence[dict[str, Any]]) -> Flow[list[Span]]:
    """Return the attempts before the last."""
    found: list[tuple[dict[str, Any], Try]] = []
    for at in range(0, len(records), _PAGE):
        part = records[at : at + _PAGE]
        keys = [session.keys.task(one["msg_id"], "attempts") for one in part]
        replies = yield Commands([("LRANGE", key, 0, -1) for key in keys])
        for record, lines in zip(part, replies, strict=True):
            tries = [Try.read(line) for line in lines]
            if record["state"] == "failed":
                # The record itself has the last one.
                tries = tries[:-1]
            found += [(record, one) for one in tries]
    uuids = [one.engine for _, one in found if one.engine]
    labels = yield from labels_of(session.keys, uuids, of_records(records))
    return list(_of_tries(found, labels))


def _of_tries(
    found: Iterable[tuple[dict[str, Any], Try]], labels: dict[str, int]
) -> Iterator[Span]:
    for record, one in found:
        if not one.engine or one.started is None or one.ended is None:
            continue
        begin, end = (
            datetime.fromtimestamp(moment / 1000, UTC)
            for moment in (one.started, one.ended)
        )
        name, function = record["msg_id"], record["function"]
        yield Span(
            name,
            function,
            str(labels.get(one.engine, one.engine[:SHORT])),
            begin,
            max(begin, end),
            "tried",
            one.what,
            one.engine,
        )


def lanes(spans: Iterable[Span], begin: datetime, end: datetime) -> list[Lane]:
    """Return the work of each engine, ordered by id."""
    by_engine: dict[str, list[Span]] = {}
    for one in spans:
        by_engine.setdefault(one.engine, []).append(one)
    return [
        _lane(engine, sorted(some, key=lambda one: one.begin), begin, end)
        for engine, some in sorted(by_engine.items(), key=_by_label)
    ]


def _by_label(lane: tuple[str, list[Span]]) -> tuple[bool, int, str]:
    name = lane[0]
    return not name.isdigit(), int(name) if name.isdigit() else 0, name


def _lane(engine: str, spans: Sequence[Span], begin: datetime, end: datetime) -> Lane:
    gaps, at, busy = [], begin, 0.0
    for one in spans:
        if one.begin > at:
            gaps.append((at, one.begin))
        busy += max(0.0, (one.end - max(at, one.begin)).total_seconds())
        at = max(at, one.end)
    if end > at:
        gaps.append((at, end))
    return Lane(engine, tuple(spans), busy, tuple(gaps))


# -- drawing

_LEFT: Final = 150
_WIDTH: Final = 1000
_TOP: Final = 56
_MOST_FUNCTIONS: Final = 8
#: Possible steps of the axis, in seconds.
_STEPS: Final = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120,
    300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400,
)  # fmt: skip
_TICKS: Final = 10


def draw(found: Sequence[Lane], begin: datetime, end: datetime) -> str:
    """Return a picture of lanes: SVG."""
    high = 22 if len(found) <= 50 else 12  # noqa: PLR2004 - more must still be seen
    whole = (end - begin).total_seconds()
    height = _TOP + len(found) * high + 36
    when = begin.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    picture = Picture(_LEFT + _WIDTH + 24, height, f"{took(whole)} from {when}")

    def x(moment: datetime) -> float:
        return _LEFT + _WIDTH * (moment - begin).total_seconds() / whole

    runs = sum(len(lane.spans) for lane in found)
    busy = sum(lane.busy for lane in found) / (whole * len(found))
    picture.words(
        (_LEFT, 18),
        f"{count(runs, 'run')} on {count(len(found), 'engine')}, "
        f"{took(whole)} from {when}, "
        f"busy {busy:.0%} of the time",
        13,
    )
    colours = _legend(picture, found)
    bottom = _TOP + len(found) * high
    step = next((one for one in _STEPS if whole / one <= _TICKS), _STEPS[-1])
    for number in range(int(whole / step) + 1):
        at = _LEFT + _WIDTH * number * step / whole
        picture.line((at, _TOP), (at, bottom), "#e4e4e4")
        picture.words((at, bottom + 14), _tick(number * step), 10, "middle", "#555")
    for row, lane in enumerate(found):
        top = _TOP + row * high
        share = lane.busy / whole
        if high > 12:  # noqa: PLR2004 - else there is no room
            picture.words(
                (_LEFT - 8, top + high * 0.68),
                f"engine {lane.engine}, busy {share:.0%}",
                10.5,
                "end",
            )
        else:
            label = f"{lane.engine}  {share:.0%}"
            picture.words((_LEFT - 8, top + 9), label, 8, "end")
        for start, stop in lane.gaps:
            picture.box(
                (x(start), top + high * 0.44),
                (x(stop) - x(start), high * 0.12),
                f"engine {lane.engine} rests {took((stop - start).total_seconds())}",
                fill="#c9c9c9",
            )
        for one in lane.spans:
            _draw_span(
                picture, one, (x(one.begin), top + 2), (x(one.end), high - 4), colours
            )
    return picture.text()


def _draw_span(
    picture: Picture,
    one: Span,
    corner: tuple[float, float],
    extent: tuple[float, float],
    colours: dict[str, str],
) -> None:
    (left, top), (right, high) = corner, extent
    style: dict[str, Any] = {"fill": colours[one.function]}
    if one.state in {"failed", "tried"}:
        style.update(stroke="#c0392b", stroke_width=2)
    if one.state == "tried":
        style["fill_opacity"] = 0.35
    if one.state == "running":
        style.update(fill_opacity=0.6, stroke="#222", stroke_dasharray="3 2")
    # Even the shortest must be visible.
    wide = max(right - left, 0.6)
    words = (
        f"{one.function} {one.task_id}\n{one.state}, {took(one.seconds)}\n{one.what}"
    )
    picture.box((left, top), (wide, high), words, **style)
    room = int(wide / 6.5)
    if room >= 4 and high > 12:  # noqa: PLR2004 - enough letters to be useful
        picture.words(
            (left + 4, top + high * 0.7), shorten(one.function, room), 10, fill="#fff"
        )


def _legend(picture: Picture, found: Sequence[Lane]) -> dict[str, str]:
    """Draw the legend of functions' colours; return the colours."""
    busy: dict[str, float] = {}
    for lane in found:
        for one in lane.spans:
            busy[one.function] = busy.get(one.function, 0.0) + one.seconds
    names = sorted(busy, key=lambda name: -busy[name])
    last = len(PALETTE) - 1
    colours = {name: PALETTE[min(at, last)] for at, name in enumerate(names)}
    at = float(_LEFT)
    for number, name in enumerate(names[:_MOST_FUNCTIONS]):
        shown = shorten(name or "?", 18)
        if number == last and len(names) > _MOST_FUNCTIONS:
            shown = f"{len(names) - last} others"
        picture.box((at, 30), (10, 10), fill=colours[name])
        picture.words((at + 14, 39), shown, 10.5)
        at += 26 + 6.2 * len(shown)
    return colours


def _tick(seconds: float) -> str:
    if seconds >= 3600:  # noqa: PLR2004 - an hour
        return f"{seconds / 3600:g} h"
    if seconds >= 60:  # noqa: PLR2004 - a minute
        return f"{seconds / 60:g} min"
    return f"{seconds:g} s" if seconds >= 1 or not seconds else f"{seconds * 1000:g} ms"
