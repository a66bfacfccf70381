"""What the screens know, and what they wish to see: frozen values. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from redtask.hub.views import EngineRow, Event, TaskRow
from redtask.tui.history import History
from redtask.tui.text import UNICODE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.hub.views import Overview
    from redtask.hub.why import Why
    from redtask.tui.text import Glyphs

Tab: TypeAlias = Literal["overview", "engines", "tasks", "failed", "events"]
Item: TypeAlias = EngineRow | TaskRow | Event
Kind: TypeAlias = Literal["task", "engine", "event"]
View: TypeAlias = Literal["record", "why", "logs", "traceback"]
Mode: TypeAlias = Literal["browse", "filter", "help", "confirm", "detail"]

TABS: Final[tuple[Tab, ...]] = ("overview", "engines", "tasks", "failed", "events")
#: States that the tab Tasks shows, one at a time; failed ones have a tab.
STATES: Final = ("running", "assigned", "ready", "waiting", "completed", "aborted")
#: Lines that are no rows of a list: title, tabs, rule, titles of columns, foot.
FRAME: Final = 5
#: The smallest terminal on which something can be read.
SMALLEST: Final = (40, 10)


@dataclass(frozen=True, slots=True)
class Size:
    """Of the terminal, in cells."""

    width: int = 80
    height: int = 24

    @property
    def rows(self) -> int:
        """How many rows a list has."""
        return max(1, self.height - FRAME)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list stands."""

    #: What is looked for.
    text: str = ""
    #: Where its pages begin, the one that is shown last.
    pages: tuple[str, ...] = ("",)
    #: The row that is chosen, and its name: it is found again when rows move.
    row: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a detail is of."""

    #: What kind of thing.
    kind: Kind
    #: Its id, or uuid.
    name: str
    #: What of it is shown.
    view: View = "record"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be read: an overview, a page of the tab, a detail."""

    #: The tab.
    tab: Tab = "overview"
    #: Of tasks: in which state.
    state: str = ""
    #: Where the page begins, how many rows it has, and what is looked for.
    start: str = ""
    count: int = 1
    text: str = ""
    #: A detail instead of the page.
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of a list."""

    items: tuple[Item, ...] = ()
    #: Where the next one begins; None: there is none.
    more: str | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """All that is known of one thing."""

    #: Of what.
    subject: Subject
    #: Is it no more?
    gone: bool = False
    #: Its fields, in the order in which they are shown.
    fields: Mapping[str, str] = field(default_factory=dict)
    #: Further lines, under a title each.
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: Of a task: why it is where it is.
    why: Why | None = None
    #: Of a task: what it printed, and the traceback of what it raised.
    stdout: str = ""
    stderr: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was read at once."""

    #: What was wished for.
    wish: Wish
    #: How the hub does.
    overview: Overview
    #: The page; of the overview and of details None.
    rows: Rows | None = None
    #: The detail.
    card: Card | None = None
    #: How long it took until all was here, in seconds.
    took: float = 0.0
    #: What the server says of itself, as far as it does.
    server: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """Something to be done."""

    #: ``abort`` or ``replay`` a task, ``drain`` or ``resume`` an engine.
    verb: str
    #: The task's id, or the engine's uuid.
    name: str
    #: What it is, for people.
    about: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the foot of the screen."""

    text: str
    #: Did something go wrong?
    bad: bool = False


def _places() -> Mapping[str, Place]:
    return MappingProxyType({tab: Place() for tab in TABS})


@dataclass(frozen=True, slots=True)
class State:
    """The screen, and what it is about."""

    #: Name of the hub, and where it is.
    hub: str
    where: str
    size: Size = field(default_factory=Size)
    glyphs: Glyphs = UNICODE
    history: History = field(default_factory=lambda: History(2.0))
    tab: Tab = "overview"
    #: By tab.
    places: Mapping[str, Place] = field(default_factory=_places)
    #: The state that the tab Tasks shows.
    tasks: str = "running"
    mode: Mode = "browse"
    #: What is being typed as a filter.
    typed: str = ""
    #: What a detail is of, and its first line that is seen.
    subject: Subject | None = None
    top: int = 0
    #: What the task of the detail has printed since it is listened to.
    said: str = ""
    #: What is to be confirmed; and what has been, and is to be done now.
    asked: Action | None = None
    doing: Action | None = None
    notice: Notice | None = None
    #: Nothing is read but what is asked for.
    frozen: bool = False
    seen: Snapshot | None = None
    #: When the hub was last seen, by the clock of this machine; None: never.
    seen_at: float | None = None
    #: Why it is not seen now.
    problem: str = ""
    #: What time it is.
    now: float = 0.0
    over: bool = False

    @property
    def place(self) -> Place:
        """Where the list of the tab stands."""
        return self.places[self.tab]

    @property
    def rows(self) -> Rows | None:
        """The page of the tab, if it is there already; perhaps that of before."""
        seen = self.seen
        if seen is None or seen.rows is None or seen.wish.tab != self.tab:
            return None
        return seen.rows if seen.wish.state == self.state else None

    @property
    def state(self) -> str:
        """The state of the tasks of this tab; "": it has none."""
        return {"tasks": self.tasks, "failed": "failed"}.get(self.tab, "")

    @property
    def item(self) -> Item | None:
        """What is chosen."""
        items = self.rows.items if self.rows else ()
        return items[min(self.place.row, len(items) - 1)] if items else None

    @property
    def card(self) -> Card | None:
        """The detail, if it is there already."""
        card = self.seen.card if self.seen else None
        if card is None or self.subject is None:
            return None
        same = (card.subject.kind, card.subject.name)
        return card if same == (self.subject.kind, self.subject.name) else None

    @property
    def listens(self) -> str:
        """The task to be listened to: one that runs, and whose logs are seen."""
        subject, card = self.subject, self.card
        if subject is None or card is None or subject.view != "logs":
            return ""
        return subject.name if card.fields.get("state") == "running" else ""

    @property
    def wish(self) -> Wish:
        """What is to be read for this screen."""
        if self.subject is not None:
            return Wish(self.tab, self.state, subject=self.subject)
        if self.tab == "overview":
            return Wish()
        place = self.place
        return Wish(
            self.tab, self.state, place.pages[-1], min(200, self.size.rows), place.text
        )


def name_of(item: Item) -> str:
    """Return what an item is known by."""
    if isinstance(item, EngineRow):
        return item.uuid
    return item.task_id if isinstance(item, TaskRow) else item.entry


def subject_of(item: Item, view: View = "record") -> Subject | None:
    """Return the detail of an item, or None: it has no such.

    Why, logs and traceback are of tasks: of an engine, or event, the task with it.
    """
    if isinstance(item, TaskRow):
        return Subject("task", item.task_id, view)
    if view == "record":
        kind: Kind = "engine" if isinstance(item, EngineRow) else "event"
        return Subject(kind, name_of(item))
    task = item.task_id if isinstance(item, EngineRow) else item.about.get("task", "")
    return Subject("task", task, view) if task else None


def changed(places: Mapping[str, Place], tab: str, place: Place) -> Mapping[str, Place]:
    """Return the places with one other."""
    return MappingProxyType({**places, tab: place})
