"""The model's updates: a state and an event make a new state.

No I/O here. What must be read is the new state's ``wish``, what must be done its
``doing``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from redtask.hub import states
from redtask.hub.views import EngineRow, TaskRow
from redtask.tui import detail, manual
from redtask.tui.state import (
    STATES,
    TABS,
    Action,
    Notice,
    Place,
    State,
    Subject,
    changed,
    name_of,
    subject_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redtask.tui.state import Item, Size, Snapshot, Tab, View

_VIEWS: Final[Mapping[str, View]] = {
    "enter": "record",
    "w": "why",
    "l": "logs",
    "t": "traceback",
}
_PAGES: Final = {
    "pagedown": 1, "]": 1, "pageup": -1, "[": -1,
}  # fmt: skip
#: States in which a task can be aborted.
_OPEN: Final = ("waiting", "ready", "assigned", "running")
#: Actions on tasks, by key.
_VERBS: Final = {"A": "abort", "R": "replay"}
#: Beyond the end of any page or detail.
_FAR: Final = 10**6
#: Keys that move the selection, or scroll: old row -> new row.
_MOVES: Final[Mapping[str, Callable[[int], int]]] = {
    "j": lambda row: row + 1,
    "down": lambda row: row + 1,
    "k": lambda row: row - 1,
    "up": lambda row: row - 1,
    "home": lambda _: 0,
    "end": lambda _: _FAR,
}
#: The most characters of a task's output that are kept.
_MOST_SAID: Final = 65536
#: The most characters of a filter.
_LONGEST: Final = 60


def press(state: State, key: str) -> State:
    """Return the state after a key."""
    state = replace(state, notice=None)
    return _MODES[state.mode](state, key)


def resize(state: State, size: Size) -> State:
    """Return the state on a terminal of another size."""
    return replace(state, size=size)


def receive(state: State, seen: Snapshot, now: float) -> State:
    """Return the state after a read."""
    state = replace(
        state,
        history=state.history.add(seen.overview),
        seen_at=now,
        now=now,
        problem="",
    )
    before = state.seen
    if before is not None:
        seen = replace(seen, overview=seen.overview.filled(before.overview))
    if seen.rows is None and before is not None and _is_same(before, seen):
        # Behind a detail, the list stays as it was.
        seen = replace(seen, rows=before.rows)
    state = replace(state, seen=seen)
    return _found_again(state)


def _is_same(one: Snapshot, other: Snapshot) -> bool:
    return (one.wish.tab, one.wish.state) == (other.wish.tab, other.wish.state)


def lose(state: State, problem: str, now: float) -> State:
    """Return the state after a failed read."""
    return replace(state, problem=problem, now=now)


def hear(state: State, task_id: str, text: str) -> State:
    """Return the state after a task has printed something.

    If its end was visible, it stays visible.
    """
    if state.subject is None or state.subject.name != task_id:
        return state
    follows = state.top >= _last(state)
    state = replace(state, said=(state.said + text)[-_MOST_SAID:])
    return replace(state, top=_last(state)) if follows else state


def _last(state: State) -> int:
    """Return the first visible line of a detail that is scrolled to its end."""
    return max(0, len(detail.lines(state)) - detail.room(state))


def tell(state: State, notice: Notice) -> State:
    """Return the state with a notice in the footer."""
    return replace(state, notice=notice)


def _found_again(state: State) -> State:
    """Keep the selection on the same item, wherever it is now on the page."""
    rows = state.rows
    if rows is None or not rows.items:
        return state
    place = state.place
    names = [name_of(item) for item in rows.items]
    row = names.index(place.name) if place.name in names else place.row
    return _choose(state, row)


def _choose(state: State, row: int) -> State:
    items = state.rows.items if state.rows else ()
    row = max(0, min(row, len(items) - 1))
    place = replace(state.place, row=row, name=name_of(items[row]) if items else "")
    return replace(state, places=changed(state.places, state.tab, place))


# -- browsing


def _browse(state: State, key: str) -> State:
    if key in _COMMON:
        return _COMMON[key](state)
    if key in ("1", "2", "3", "4", "5"):
        return _turn_to(state, TABS[int(key) - 1])
    if key in _VIEWS:
        return _open(state, _VIEWS[key])
    if state.tab != "overview":
        return _in_list(state, key)
    return state


def _in_list(state: State, key: str) -> State:
    row = state.item
    if key in _MOVES:
        return _choose(state, _MOVES[key](state.place.row))
    if key in _PAGES:
        return _page(state, _PAGES[key])
    if key == "/":
        return replace(state, mode="filter", typed=state.place.text)
    if key == "s" and state.tab == "tasks":
        return _next_state(state)
    if key in "ARD" and row is not None:
        return _act(state, key, row)
    return _filtered(state, "") if key == "escape" and state.place.text else state


def _act(state: State, key: str, row: Item) -> State:
    """Ask for confirmation of the key's action, if it applies to such a row."""
    if key == "D" and isinstance(row, EngineRow):
        return _ask_engine(state, row)
    if key in _VERBS and isinstance(row, TaskRow):
        fields = {**row.fields, "state": state.state}
        return _ask(state, _VERBS[key], row.task_id, fields)
    return state


def _next_state(state: State) -> State:
    at = STATES.index(state.tasks)
    places = changed(state.places, "tasks", Place(state.place.text))
    return replace(state, tasks=STATES[(at + 1) % len(STATES)], places=places)


def _turn_to(state: State, tab: Tab) -> State:
    return replace(state, tab=tab, mode="browse", subject=None, top=0, said="")


def _beside(step: int) -> Callable[[State], State]:
    def turn(state: State) -> State:
        at = TABS.index(state.tab)
        return _turn_to(state, TABS[(at + step) % len(TABS)])

    return turn


def _page(state: State, step: int) -> State:
    place = state.place
    if step > 0 and state.rows and state.rows.more is not None:
        place = Place(place.text, (*place.pages, state.rows.more))
    elif step < 0 and len(place.pages) > 1:
        place = Place(place.text, place.pages[:-1])
    else:
        return _choose(state, _FAR if step > 0 else 0)
    return replace(state, places=changed(state.places, state.tab, place))


def _open(state: State, view: View) -> State:
    if state.item is None:
        return state
    subject = subject_of(state.item, view)
    if subject is None:
        return tell(state, Notice(f"there is no task here whose {view} could be shown"))
    return replace(state, mode="detail", subject=subject, top=0)


def _ask(state: State, verb: str, name: str, fields: Mapping[str, str]) -> State:
    """Ask for confirmation of an action on a task, or say why it is impossible."""
    now = fields.get("state", "")
    if verb == "abort" and now not in _OPEN:
        return tell(state, Notice(f"{name} has ended: nothing is to be aborted"))
    if verb == "replay" and now not in states.ENDED:
        return tell(state, Notice(f"{name} has not ended: it cannot run again yet"))
    about = ", ".join(word for word in (fields.get("function", ""), now) if word)
    return replace(state, mode="confirm", asked=Action(verb, name, about))


def _ask_engine(state: State, row: EngineRow) -> State:
    verb = "resume" if row.state == "drained" else "drain"
    about = f"engine {row.engine_id} of {row.worker}"
    return replace(state, mode="confirm", asked=Action(verb, row.uuid, about))


def _freeze(state: State) -> State:
    return replace(state, frozen=not state.frozen)


_COMMON: Final[Mapping[str, Callable[[State], State]]] = {
    "q": lambda state: replace(state, over=True),
    "?": lambda state: replace(state, mode="help", help_top=0),
    "space": _freeze,
    "right": _beside(1),
    "tab": _beside(1),
    "left": _beside(-1),
    "backtab": _beside(-1),
}


# -- other modes


def _filter(state: State, key: str) -> State:
    typed = state.typed
    if key == "enter":
        return _filtered(state, typed)
    if key == "escape":
        return replace(state, mode="browse", typed="")
    if key == "backspace":
        typed = typed[:-1]
    elif key == "clear":
        typed = ""
    elif key == "space":
        typed += " "
    elif len(key) == 1:
        typed += key
    return replace(state, typed=typed[:_LONGEST])


def _filtered(state: State, text: str) -> State:
    place = Place(text.strip())
    places = changed(state.places, state.tab, place)
    return replace(state, mode="browse", typed="", places=places)


def _help(state: State, key: str) -> State:
    if key in _MOVES or key in _PAGES:
        last = max(0, len(manual.lines(state)) - detail.room(state))
        top = _scrolled(state, key, state.help_top, last)
        return replace(state, help_top=top)
    return replace(state, mode="detail" if state.subject else "browse")


def _confirm(state: State, key: str) -> State:
    asked = state.asked
    state = replace(state, asked=None, mode="detail" if state.subject else "browse")
    if key in ("y", "Y") and asked is not None:
        return replace(state, doing=asked, notice=Notice(f"{asked.verb} {asked.name}"))
    return tell(state, Notice("nothing was done"))


def _detail(state: State, key: str) -> State:
    subject = state.subject
    if subject is None or key in ("escape", "backspace", "enter", "q"):
        return replace(state, mode="browse", subject=None, top=0, said="")
    if key in ("w", "l", "t"):
        return _view(state, _VIEWS[key])
    if key in _MOVES or key in _PAGES:
        return replace(state, top=_scrolled(state, key, state.top, _last(state)))
    if key in _VERBS and subject.kind == "task" and state.card:
        return _ask(state, _VERBS[key], subject.name, state.card.fields)
    if key in _COMMON:
        return _COMMON[key](state)
    return state


def _scrolled(state: State, key: str, top: int, last: int) -> int:
    """Return the first visible line after a key that scrolls."""
    if key in _MOVES:
        top = _MOVES[key](top)
    else:
        top += _PAGES[key] * state.size.rows
    return max(0, min(top, last))


def _view(state: State, view: View) -> State:
    """Show another view of a task, or the record again."""
    subject = state.subject
    if subject is None or subject.kind != "task":
        return tell(state, Notice(f"there is no task here whose {view} could be shown"))
    view = "record" if subject.view == view else view
    subject = Subject("task", subject.name, view)
    return replace(state, subject=subject, top=0, said="")


_MODES: Final[Mapping[str, Callable[[State, str], State]]] = {
    "browse": _browse,
    "filter": _filter,
    "help": _help,
    "confirm": _confirm,
    "detail": _detail,
}
