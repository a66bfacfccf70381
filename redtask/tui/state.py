"""What the screens know, and what they need to read: frozen values. No I/O here."""

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
#: States in the tab Tasks, one shown at a time; failed tasks have their own tab.
STATES: Final = ("running", "assigned", "ready", "waiting", "completed", "aborted")
#: Lines around the rows of a list: title, tabs, rule, headers, footer.
FRAME: Final = 5
#: The smallest usable terminal: columns, lines.
SMALLEST: Final = (40, 10)


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the terminal, in cells."""

    width: int = 80
    height: int = 24

    @property
    def rows(self) -> int:
        """The number of rows of a list."""
        return max(1, self.height - FRAME)


@dataclass(frozen=True, slots=True)
class Place:
    """The position in a list."""

    #: The filter.
    text: str = ""
    #: The starts of its pages; the last one is shown.
    pages: tuple[str, ...] = ("",)
    #: The selected row, and its name, by which it is found again when rows move.
    row: int = 0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The subject of a detail."""

    #: Its kind.
    kind: Kind
    #: Its id, or uuid.
    name: str
    #: The view of it that is shown.
    view: View = "record"


@dataclass(frozen=True, slots=True)
class Wish:
    """What to read: an overview, and a page of the tab or a detail."""

    tab: Tab = "overview"
    #: For tasks: their state.
    state: str = ""
    #: The start of the page, its number of rows, and the filter.
    start: str = ""
    count: int = 1
    text: str = ""
    #: The subject of a detail, which is read instead of the page.
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """A page of a list."""

    items: tuple[Item, ...] = ()
    #: Where the next page starts; None: there is none.
    more: str | None = None
    #: How many were searched for a text until there; 0: unknown.
    searched: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """All that is known of one subject."""

    subject: Subject
    #: Does it no longer exist?
    gone: bool = False
    #: Its fields, in display order.
    fields: Mapping[str, str] = field(default_factory=dict)
    #: Further lines, by their headings.
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    #: For a task: why it is where it is.
    why: Why | None = None
    #: For a task: its output, and the traceback of its exception.
    stdout: str = ""
    stderr: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The result of one read."""

    #: What was requested.
    wish: Wish
    #: The hub's overview.
    overview: Overview
    #: The page; None for the overview and for details.
    rows: Rows | None = None
    #: The detail.
    card: Card | None = None
    #: How long the read took, in seconds.
    took: float = 0.0
    #: The server's INFO, as far as available.
    server: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Action:
    """An action to perform."""

    #: ``abort`` or ``replay`` a task, ``drain`` or ``resume`` an engine.
    verb: str
    #: The task's id, or the engine's uuid.
    name: str
    #: Description of its target, for display.
    about: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """A message in the footer."""

    text: str
    #: Is it about a failure?
    bad: bool = False


def _places() -> Mapping[str, Place]:
    return MappingProxyType({tab: Place() for tab in TABS})


@dataclass(frozen=True, slots=True)
class State:
    """The state of the screens."""

    #: Name of the hub, and its address.
    hub: str
    where: str
    size: Size = field(default_factory=Size)
    glyphs: Glyphs = UNICODE
    history: History = field(default_factory=lambda: History(2.0))
    tab: Tab = "overview"
    #: Positions in lists, by tab.
    places: Mapping[str, Place] = field(default_factory=_places)
    #: The state selected in the tab Tasks.
    tasks: str = "running"
    mode: Mode = "browse"
    #: The filter being typed.
    typed: str = ""
    #: The subject of the detail shown, and its first visible line.
    subject: Subject | None = None
    top: int = 0
    #: The first visible line of the help.
    help_top: int = 0
    #: Output of that task since listening began.
    said: str = ""
    #: The action to be confirmed; and the confirmed one, to be performed now.
    asked: Action | None = None
    doing: Action | None = None
    notice: Notice | None = None
    #: Are automatic reads paused?
    frozen: bool = False
    seen: Snapshot | None = None
    #: When the hub was last read, by this machine's clock; None: never.
    seen_at: float | None = None
    #: Why it cannot be read now.
    problem: str = ""
    #: The current time.
    now: float = 0.0
    over: bool = False

    @property
    def place(self) -> Place:
        """The position in the tab's list."""
        return self.places[self.tab]

    @property
    def rows(self) -> Rows | None:
        """The tab's page, if already read; possibly an older one."""
        seen = self.seen
        if seen is None or seen.rows is None or seen.wish.tab != self.tab:
            return None
        return seen.rows if seen.wish.state == self.state else None

    @property
    def state(self) -> str:
        """The state of the tab's tasks; "" if it has none."""
        return {"tasks": self.tasks, "failed": "failed"}.get(self.tab, "")

    @property
    def item(self) -> Item | None:
        """The selected item."""
        items = self.rows.items if self.rows else ()
        return items[min(self.place.row, len(items) - 1)] if items else None

    @property
    def card(self) -> Card | None:
        """The detail, if already read."""
        card = self.seen.card if self.seen else None
        if card is None or self.subject is None:
            return None
        same = (card.subject.kind, card.subject.name)
        return card if same == (self.subject.kind, self.subject.name) else None

    @property
    def listens(self) -> str:
        """Id of the task to listen to: a running one whose logs are shown; else ""."""
        subject, card = self.subject, self.card
        if subject is None or card is None or subject.view != "logs":
            return ""
        return subject.name if card.fields.get("state") == "running" else ""

    @property
    def wish(self) -> Wish:
        """What must be read for this screen."""
        if self.subject is not None:
            return Wish(self.tab, self.state, subject=self.subject)
        if self.tab == "overview":
            return Wish()
        place = self.place
        return Wish(
            self.tab, self.state, place.pages[-1], min(200, self.size.rows), place.text
        )


def name_of(item: Item) -> str:
    """Return what identifies an item."""
    if isinstance(item, EngineRow):
        return item.uuid
    return item.task_id if isinstance(item, TaskRow) else item.entry


def subject_of(item: Item, view: View = "record") -> Subject | None:
    """Return the subject of an item's detail; None: it has none.

    Why, logs and traceback are views of tasks: of an engine's or event's task.
    """
    if isinstance(item, TaskRow):
        return Subject("task", item.task_id, view)
    if view == "record":
        kind: Kind = "engine" if isinstance(item, EngineRow) else "event"
        return Subject(kind, name_of(item))
    task = item.task_id if isinstance(item, EngineRow) else item.about.get("task", "")
    return Subject("task", task, view) if task else None


def changed(places: Mapping[str, Place], tab: str, place: Place) -> Mapping[str, Place]:
    """Return the places with one replaced."""
    return MappingProxyType({**places, tab: place})
