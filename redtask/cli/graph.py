"""``redtask graph``: dependencies and dependents of tasks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.abbreviation import expand
from redtask.cli import proposals
from redtask.cli.drawing import STATE_FILLS, Picture
from redtask.cli.options import Where, hub_options, json_option
from redtask.cli.output import (
    STATES,
    is_terminal,
    json_object,
    one_line,
    say_json,
    short_id,
    short_ids,
    shorten,
)
from redtask.cli.selection import named
from redtask.cli.tasks import what_came
from redtask.cli.waiting import bar
from redtask.family import Family, family, place
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: The most tasks shown by default.
_MOST: Final = 500
#: More children of one kind than this share a line.
_FEW: Final = 3
#: Levels below this one are numbered instead of indented: chains may be very long.
_DEEPEST: Final = 10
#: Width of a line if there is no terminal.
_WIDEST: Final = 120


@click.command("graph")
@click.argument("ids", nargs=-1, required=True, shell_complete=proposals.tasks)
@click.option("--up", is_flag=True, help="Only what it depends on.")
@click.option("--down", is_flag=True, help="Only what depends on it.")
@click.option(
    "--format",
    type=click.Choice(("text", "mermaid", "svg", "json")),
    default="text",
    show_default=True,
    help="A tree in text, a mermaid diagram, a picture, or an object.",
)
@click.option("--full", is_flag=True, help="In text, give each task a line of its own.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=_MOST,
    show_default=True,
    help="At most this many tasks.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it into this file.",
)
@hub_options
@json_option
def command(
    *,
    ids: tuple[str, ...],
    where: Where,
    as_json: bool,
    output: Path | None,
    **said: Any,
) -> None:
    """Show what tasks depend on and what depends on them, with their states.

    To find dependents, all tasks of the hub are read; --up leaves them out. Exit code
    3: no such task.

    \b
    redtask graph k3f9ab-17
    redtask graph k3f9ab-17 --up --format mermaid
    redtask graph k3f9ab-17 --format svg -o night.svg
    """
    both = said["up"] == said["down"]
    with where.reader() as hub, bar("looking through", None) as show:
        names = hub.run(expand(hub.keys, named(ids)))
        try:
            flow = family(
                hub.session,
                names,
                up=both or said["up"],
                down=both or said["down"],
                most=said["limit"],
                progress=show,
            )
            found = hub.run(flow)
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None
    if found.is_cut:
        limit = f"redtask: there are more than {said['limit']:,} tasks: see --limit"
        click.echo(limit, err=True)
    form = "json" if as_json else said["format"]
    if form == "json":
        if output is None:
            say_json(_as_json(found))
            return
        text = json_object(_as_json(found))
    elif form == "mermaid":
        text = "\n".join(_mermaid(found))
    elif form == "svg":
        text = _svg(found)
    else:
        colours = output is None and is_terminal()
        text = "\n".join(_Tree(found, full=said["full"], colours=colours).lines())
    if output is None:
        click.echo(text.rstrip("\n"))
    else:
        output.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
        click.echo(
            f"redtask: {count(len(found.records), 'task')} in {output}", err=True
        )


def _state(record: dict[str, Any] | None) -> str:
    return "gone" if record is None else str(record["state"])


def _name(record: dict[str, Any] | None) -> str:
    return "?" if record is None else one_line(record["function"]) or "?"


def _as_json(found: Family) -> dict[str, Any]:
    return {
        "chosen": list(found.chosen),
        "nodes": [
            {
                "id": name,
                "state": _state(record),
                "function": record["function"] if record else None,
                "label": record["label"] if record else None,
                "engine_id": record["engine_id"] if record else None,
                "started": record["started"] if record else None,
                "completed": record["completed"] if record else None,
                "what": (what_came(record) or None) if record else None,
            }
            for name, record in found.records.items()
        ],
        "edges": [
            {"from": one, "to": name}
            for name, parents in found.parents.items()
            for one in parents
        ],
    }


# -- as text


#: What stands before a task: others follow on its level, or none does.
_FORK: Final = "├─ "
_LAST: Final = "└─ "


class _Tree:
    """The graph as a tree: a task with several parents is below the last of them.

    So, read from above, all its dependencies come first.
    """

    def __init__(self, found: Family, *, full: bool, colours: bool) -> None:
        self._width = shutil.get_terminal_size().columns if colours else _WIDEST
        self._family = found
        self._full = full
        self._colours = colours
        self._children = found.children()
        order = {name: at for at, name in enumerate(found.records)}
        #: Where each task is shown in full: below the parent that is read last.
        self._home = {
            name: max(parents, key=order.__getitem__)
            for name, parents in found.parents.items()
            if parents
        }

    def lines(self) -> Iterator[str]:
        """Yield the lines."""
        roots = [one for one in self._family.records if one not in self._home]
        # A stack, because chains may be longer than Python recurses.
        todo = [(group, 0, "", "") for group in reversed(self._grouped(roots))]
        while todo:
            group, level, indent, branch = todo.pop()
            number = f"{level} " if level > _DEEPEST else ""
            yield self._line(group, indent + number + branch)
            if 0 < level < _DEEPEST:
                indent += "│  " if branch == _FORK else "   "
            below = self._below(group)
            branches = [_FORK] * (len(below) - 1) + [_LAST]
            todo += [
                (one, level + 1, indent, branch)
                for one, branch in reversed(list(zip(below, branches, strict=False)))
            ]

    def _below(self, group: Sequence[str]) -> list[list[str]]:
        """Return the groups shown below one."""
        inside = set(group)
        below = [
            child
            for name in group
            for child in self._children[name]
            if self._home[child] in inside
        ]
        return self._grouped(list(dict.fromkeys(below)))

    def _grouped(self, names: Sequence[str]) -> list[list[str]]:
        """Group tasks of one kind, if there are many."""
        if self._full:
            return [[name] for name in names]
        kinds: dict[tuple[Any, ...], list[str]] = {}
        for name in names:
            record = self._family.records[name]
            chosen = name in self._family.chosen
            kind = (_name(record), _state(record), name if chosen else "")
            kinds.setdefault(kind, []).append(name)
        groups: list[list[str]] = []
        for some in kinds.values():
            some.sort(key=place)
            groups += [some] if len(some) > _FEW else [[one] for one in some]
        return groups

    def _line(self, group: Sequence[str], indent: str) -> str:
        name = group[0]
        record = self._family.records[name]
        state = _state(record)
        shown = state
        if self._colours:
            *bold, colour = STATES.get(state, "white").split()
            shown = click.style(state, fg=colour, bold=bool(bold))
        if len(group) > 1:
            ends = f"{short_id(name)} … {short_id(group[-1])}"
            return f"{indent}{len(group)} times {_name(record)}  {shown}  {ends}"
        words = [f"{indent}{_name(record)}", short_id(name), shown]
        if record is not None and record["label"]:
            words.insert(1, one_line(record["label"]))
        parents = self._family.parents.get(name, ())
        if len(parents) > 1:
            words.append(f"after {len(parents)}")
        if record is not None and state in {"failed", "aborted", "completed"}:
            words.append(short_ids(one_line(what_came(record))))
        mark = "  ◀" if name in self._family.chosen else ""
        room = self._width - len(mark) - sum(len(one) + 2 for one in words[:-1])
        # Escape codes of colours have no width.
        room += len(shown) - len(state)
        if words[-1] is not shown:
            words[-1] = shorten(words[-1], max(1, room))
        return "  ".join(one for one in words if one) + mark


# -- as mermaid


def _mermaid(found: Family) -> Iterator[str]:
    numbers = {name: f"t{at}" for at, name in enumerate(found.records)}
    yield "flowchart LR"
    for name, record in found.records.items():
        state = _state(record)
        words = f"{_name(record)}<br/>{short_id(name)} {state}".replace('"', "'")
        yield f'  {numbers[name]}["{words}"]:::{state}'
    for name, parents in found.parents.items():
        for one in parents:
            yield f"  {numbers[one]} --> {numbers[name]}"
    for state, (fill, stroke) in STATE_FILLS.items():
        width = ",stroke-width:3px" if state == "failed" else ""
        yield f"  classDef {state} fill:{fill},stroke:{stroke}{width}"


# -- as a picture

_WIDE: Final = 150
_HIGH: Final = 34
_GAP_X: Final = 60
_GAP_Y: Final = 12
_EDGE: Final = 20


def _svg(found: Family) -> str:
    depths = found.depths()
    columns: dict[int, list[str]] = {}
    for name, depth in depths.items():
        columns.setdefault(depth, []).append(name)
    rows = _rows(found, columns)
    tallest = max((len(some) for some in columns.values()), default=1)
    width = 2 * _EDGE + len(columns) * (_WIDE + _GAP_X) - _GAP_X
    height = 2 * _EDGE + tallest * (_HIGH + _GAP_Y) - _GAP_Y
    title = f"{count(len(found.records), 'task')} of {', '.join(found.chosen[:3])}"
    picture = Picture(width, height, title)
    places = {}
    for depth, some in columns.items():
        # Short columns are centred.
        above = (tallest - len(some)) * (_HIGH + _GAP_Y) / 2
        for name in some:
            x = _EDGE + depth * (_WIDE + _GAP_X)
            places[name] = x, _EDGE + above + rows[name] * (_HIGH + _GAP_Y)
    for name, parents in found.parents.items():
        x, y = places[name]
        for one in parents:
            left, top = places[one]
            colour = STATE_FILLS[_state(found.records[one])][1]
            picture.curve((left + _WIDE, top + _HIGH / 2), (x, y + _HIGH / 2), colour)
    for name, (x, y) in places.items():
        _draw(picture, found, name, (x, y))
    return picture.text()


def _rows(found: Family, columns: dict[int, list[str]]) -> dict[str, float]:
    """Order each column by the position of the parents; return the row of each."""
    rows: dict[str, float] = {}
    for depth in sorted(columns):

        def middle(name: str) -> float:
            above = [rows[one] for one in found.parents.get(name, ()) if one in rows]
            return sum(above) / len(above) if above else 0.0

        columns[depth].sort(key=middle)
        rows.update((name, at) for at, name in enumerate(columns[depth]))
    return rows


def _draw(
    picture: Picture, found: Family, name: str, corner: tuple[float, float]
) -> None:
    record = found.records[name]
    state = _state(record)
    fill, stroke = STATE_FILLS[state]
    chosen = name in found.chosen
    about = f"{name}\n{_name(record)}: {state}"
    if record is not None and (what := what_came(record)):
        about += f"\n{what}"
    picture.box(
        corner,
        (_WIDE, _HIGH),
        about,
        rx=5,
        fill=fill,
        stroke=stroke,
        stroke_width=3 if chosen or state == "failed" else 1,
        **({"stroke_dasharray": "4 3"} if state in {"waiting", "gone"} else {}),
    )
    x, y = corner
    picture.words((x + 7, y + 14), shorten(_name(record), 22))
    picture.words((x + 7, y + 27), f"{short_id(name)}  {state}", 9.5, fill="#555")
