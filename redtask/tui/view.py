"""Renders a state as lines that fit the terminal. No I/O here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.text import Text

from redtask.tui import dashboard, detail, lists, manual
from redtask.tui.looks import BAD, QUIET, TITLE, style_of
from redtask.tui.state import SMALLEST, STATES, TABS
from redtask.tui.text import clean, counted, fit, line, span

if TYPE_CHECKING:
    from redtask.tui.state import State, Subject

_TITLES: Final = {
    "overview": "Overview", "engines": "Engines", "tasks": "Tasks", "failed": "Failed",
    "events": "Events",
}  # fmt: skip
#: Where the names of all tabs fit.
_TABS_WIDTH: Final = sum(len(f"[1 {title}] ") for title in _TITLES.values())

#: Redis is silent if it has not answered for two reads, and as long as the last took
#: twice, but at least so long; in seconds.
_SILENT: Final = 1.0


def draw(state: State) -> list[Text]:
    """Return the lines of the screen, none wider than it."""
    width, height = state.size.width, state.size.height
    if width < SMALLEST[0] or height < SMALLEST[1]:
        told = f"too small: {width}x{height}, needs {SMALLEST[0]}x{SMALLEST[1]}"
        return _filled([line(told[:width])], height)
    head = [_title(state), _tabs(state), line((state.glyphs.rule * width, QUIET))]
    body = _body(state)
    room = height - len(head) - 1
    lines = head + _filled(body[:room], room) + [_foot(state)]
    return [_cut(one, width, state.glyphs.more) for one in lines]


def _filled(lines: list[Text], height: int) -> list[Text]:
    return (lines + [line("")] * height)[:height]


def _cut(one: Text, width: int, more: str) -> Text:
    if one.cell_len > width:
        one = one.copy()
        one.rstrip()
    if one.cell_len > width:
        one.truncate(width - len(more))
        one.append(more)
    return one


def _within(text: str, state: State, taken: int) -> str:
    """Return text that leaves so many cells of a line to others."""
    width = min(cell_len(clean(text)), max(1, state.size.width - taken))
    return fit(text, width, state.glyphs)


def _title(state: State) -> Text:
    width = state.size.width
    before, after = "redtask ", "  [frozen]" if state.frozen else ""
    taken = len(before) + len(after) + 2
    if state.problem or _is_silent(state):
        right, style = _away(state), BAD
    else:
        most = width - taken - cell_len(clean(state.hub))
        right, style = _facts(state, most), ""
    left = before + _within(state.hub, state, taken + len(right)) + after
    space = max(2, width - cell_len(left) - len(right))
    return line((left, TITLE), " " * space, (right, style))


def _facts(state: State, most: int) -> str:
    """Return what is known of the server, at least how many engines there are."""
    if state.seen is None:
        return ""
    version = clean(state.seen.server.get("redis_version", ""))
    engines = counted(state.seen.overview.engines, "engine")
    answers = f"answers in {span(state.seen.took)}"
    told = [f"Redis {version}", engines, answers] if version else [engines, answers]
    for facts in (told, told[-2:], [engines]):
        if len(", ".join(facts)) <= most:
            break
    return ", ".join(facts)


def _is_silent(state: State) -> bool:
    """Has Redis not answered for a while, despite repeated reads?"""
    if state.seen is None or state.seen_at is None or state.frozen:
        return False
    patience = max(_SILENT, 2 * state.seen.took)
    return state.now - state.seen_at > patience + 2 * state.history.interval


def _away(state: State) -> str:
    what = "Redis is away" if state.problem else "no answer"
    if state.seen_at is None:
        return what
    return f"{what}: last seen {span(max(0.0, state.now - state.seen_at))} ago"


def _tabs(state: State) -> Text:
    found = Text("", end="", no_wrap=True)
    narrow = state.size.width < _TABS_WIDTH
    for at, tab in enumerate(TABS, 1):
        here = tab == state.tab
        name = f"{at}" if narrow and not here else f"{at} {_TITLES[tab]}"
        name = f"[{name}]" if here else f" {name} "
        found.append(name, "bold reverse" if here else None)
        found.append(" ")
    if state.tab == "tasks" and state.subject is None:
        found.append("  ")
        for name in STATES:
            here = name == state.tasks
            if here or state.size.width >= 120:  # noqa: PLR2004 - all fit
                found.append(name, f"{style_of(name)} underline" if here else QUIET)
                found.append(" ")
    place = state.place
    if place.text:
        found.append(f" /{clean(place.text)}", "bold")
    if len(place.pages) > 1 and state.subject is None:
        found.append(f" page {len(place.pages)}")
    return found


def _body(state: State) -> list[Text]:
    if state.mode == "help":
        return _help(state)
    if state.subject is not None:
        return _detail(state, state.subject)
    if state.tab == "overview":
        return dashboard.lines(state)
    return lists.lines(state)


def _help(state: State) -> list[Text]:
    head = line(("Keys", TITLE))
    return [head, *_part(state, head, manual.lines(state), state.help_top)]


def _part(state: State, head: Text, all_lines: list[Text], top: int) -> list[Text]:
    """Return the lines that are visible; if not all are, say so in the head."""
    room = detail.room(state)
    top = max(0, min(top, len(all_lines) - room))
    shown = all_lines[top : top + room]
    if len(shown) < len(all_lines):
        place = f"  (lines {top + 1}-{top + len(shown)} of {len(all_lines)})"
        head.append(place, QUIET)
    return shown


def _detail(state: State, subject: Subject) -> list[Text]:
    card = state.card
    fields = card.fields if card else {}
    title, now = f"{subject.kind} {clean(subject.name)}", fields.get("state", "")
    view = f"  {subject.view}" if subject.view != "record" else ""
    taken = len(title) + len(now) + len(view) + 4
    function = _within(fields.get("function", ""), state, taken)
    head = line((title, TITLE), "  ", function, "  ", (now, style_of(now)), view)
    return [head, *_part(state, head, detail.lines(state), state.top)]


def _foot(state: State) -> Text:
    if state.mode == "confirm" and state.asked is not None:
        asked = state.asked
        before, after = f"{asked.verb} {clean(asked.name)} (", ")? y/n"
        about = _within(asked.about, state, len(before) + len(after))
        return line((before + about + after, "bold reverse"))
    if state.mode == "filter":
        return line(("/", TITLE), clean(state.typed), ("_", "blink"), "  Enter, Esc")
    if state.notice is not None:
        style = BAD if state.notice.bad else TITLE
        return line((clean(state.notice.text), style))
    if state.problem and state.problem != "away":
        return line((clean(state.problem), BAD))
    return line((_keys(state), QUIET))


def _keys(state: State) -> str:
    if state.mode == "help":
        return "j/k scroll  any other key: back"
    if state.subject is not None:
        words = ["Esc back", "j/k scroll"]
        if state.subject.kind == "task":
            words += ["w why", "l logs", "t traceback", "A abort", "R replay"]
        return _fit(words, state.size.width)
    if state.tab == "overview":
        words = ["? help", "left/right tabs", "space freeze", "q quit"]
        return _fit(words, state.size.width)
    words = ["? help", "q quit"]
    if state.rows is not None and state.rows.more is not None:
        words.append("PgDn more")
    words += ["/ filter", "Enter detail"]
    words += {
        "engines": ["D drain"],
        "tasks": ["s state", "w why", "l logs", "A abort", "R replay"],
        "failed": ["w why", "l logs", "t traceback", "R replay"],
    }.get(state.tab, [])
    return _fit(words, state.size.width)


def _fit(words: list[str], width: int) -> str:
    """Join the words that fit; those also shown by the help are dropped first."""
    kept = list(words)
    for word in ("Enter detail", "PgDn more", "q quit", "/ filter"):
        if len("  ".join(kept)) > width and word in kept:
            kept.remove(word)
    while len("  ".join(kept)) > width:
        kept.pop()
    return "  ".join(kept)
