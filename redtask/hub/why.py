"""``Why``: what a task is waiting for, and how to change that. No I/O here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from redtask.hub import states
from redtask.hub.records import groups, mapping, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redtask.hub.records import Reply

#: How many engines the hub looks at.
MOST_ENGINES: Final = 1000
#: Spans of this many seconds or more are written with minutes.
_LONG: Final = 120
#: Most engines that are listed one by one: far fewer than the hub lists, because its
#: list may be cut off in the middle of a number.
_FEW: Final = 10


@dataclass(frozen=True, slots=True)
class Member:
    """A dependency that has not ended."""

    #: ``after`` or ``follow``.
    set: str
    #: Its id.
    task_id: str
    #: Its state.
    state: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """An engine that refused to run the task."""

    #: Its label.
    engine_id: int
    #: The reason it gave.
    words: str


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines that serve the task's queue."""

    #: How many are alive.
    living: int
    #: How many of them may take the task.
    admitted: int
    #: How many of those have room.
    free: int
    #: How many of the admitted ones are drained.
    drained: int = 0
    #: How many engines of any queue were counted, if these were not all.
    looked_at: int | None = None


#: Most tasks that are named of those like another.
_NAMED: Final = 10

#: Of a refusal without words.
_SILENT: Final = "it did not say why"


def _closed(sentence: str) -> str:
    """Return a sentence with a full stop, unless it has one or was cut."""
    return sentence if sentence.endswith(".") else f"{sentence}."


@dataclass(frozen=True, slots=True)
class Why:
    """Why a task is in its state, and what would change that.

    Use ``str`` for people, ``as_dict`` for programs.
    """

    #: Its id.
    task_id: str
    #: ``waiting ready assigned running completed failed aborted``.
    state: str
    #: What keeps it there, or how it ended; one sentence each.
    reasons: tuple[str, ...]
    #: What would change that; empty if nothing need or can be done.
    remedies: tuple[str, ...] = ()
    #: How many members of ``after`` and of ``follow`` have not ended.
    open_after: int = 0
    open_follow: int = 0
    #: Some of those, at most 10 of each.
    members: tuple[Member, ...] = ()
    #: The gate that it waits for.
    gate: str | None = None
    #: Earliest start.
    start: datetime | None = None
    #: Remaining ``timeout`` in seconds, while that applies.
    left: float | None = None
    #: The queue that it is, or will be, in.
    queue: str = "default"
    #: Engines that its line is for: "" any of the queue, ``=0-2`` only these, ``!3``
    #: all but these, ``?`` as its flags say.
    line: str | None = None
    #: How many tasks are ahead of it in that line.
    before: int | None = None
    #: Engines that could run it; None if it has ended.
    engines: Engines | None = None
    #: Engines that refused it: the first, and the last nine.
    refusals: tuple[Refusal, ...] = ()
    #: Label of the engine that has it, or had it most recently.
    engine_id: int | None = None
    #: And its uuid.
    engine_uuid: str | None = None
    #: The latest task that resubmitted it.
    resubmitted: str | None = None
    #: How many attempts have failed.
    tries: int = 0

    def __str__(self) -> str:
        lines = [_closed(f"{self.task_id} is {self.state}: {'; '.join(self.reasons)}")]
        if self.members:
            shown = [f"{one.task_id} ({one.state})" for one in self.members]
            more = self.open_after + self.open_follow - len(shown)
            lines.append(
                "Not ended: "
                + ", ".join(shown)
                + (f" and {more} more" if more > 0 else "")
                + "."
            )
        lines += [
            _closed(f"Engine {one.engine_id} refused it: {one.words or _SILENT}")
            for one in self.refusals
        ]
        lines += [f"{remedy[:1].upper()}{remedy[1:]}." for remedy in self.remedies]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """Show the sentences in IPython."""
        printer.text(str(self))

    @property
    def on_drained(self) -> Why:
        """The same, of a task that runs on a drained engine."""
        said = f"engine {self.engine_id} runs it, and then gets nothing new"
        return replace(self, reasons=(said, *self.reasons[1:]))

    @property
    def is_tried_again(self) -> bool:
        """Have attempts failed, and has it not ended?"""
        return self.tries > 0 and self.state not in states.ENDED

    def after_failure(self, what: str) -> Why:
        """Return the same, of a task whose last attempt failed with this."""
        *others, often = self.reasons
        last = ": " if self.tries == 1 else ", the last one: "
        return replace(self, reasons=(*others, f"{often}{last}{what}"))

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-compatible dict, with times in ISO 8601."""
        found = asdict(self)
        found["start"] = self.start.isoformat() if self.start else None
        return found

    @classmethod
    def read(cls, task_id: str, reply: Reply, engines: int | None = None) -> Why:
        """Read ``{"ok", facts, members, refusals}``.

        ``engines``: how many live, if that is known.
        """
        facts = mapping(reply[1])
        members = tuple(Member(*map(text, one)) for one in groups(reply[2], 3))
        refusals = tuple(
            Refusal(int(label), text(words)) for label, words in groups(reply[3], 2)
        )
        counted = _counted(facts, engines) if "living" in facts else None
        label, _, uuid = facts.get("engine", "").partition("/")
        start = facts.get("start")
        reasons, remedies = _explain(facts, counted)
        return cls(
            task_id,
            facts["state"],
            tuple(reasons),
            tuple(remedies),
            open_after=int(facts.get("open_after", 0)),
            open_follow=int(facts.get("open_follow", 0)),
            members=members,
            gate=facts.get("gate"),
            start=datetime.fromtimestamp(int(start) / 1000, UTC) if start else None,
            left=int(facts["left"]) / 1000 if "left" in facts else None,
            queue=facts.get("queue", "default"),
            line=facts.get("line"),
            before=int(facts["before"]) if "before" in facts else None,
            engines=counted,
            refusals=refusals,
            engine_id=int(label) if label else None,
            engine_uuid=uuid or None,
            resubmitted=facts.get("resubmitted"),
            tries=int(facts.get("tries", 0)),
        )


class Whys(list[Why]):
    """Why each of several tasks is in its state, in order.

    Use ``str`` for people, ``as_dict`` for programs.
    """

    def __str__(self) -> str:
        alike: dict[str, list[Why]] = {}
        for one in self:
            alike.setdefault(str(replace(one, task_id="")), []).append(one)
        return "\n".join(map(_said_of, alike.values())) or "There are no tasks."

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002
        """Show the sentences in IPython."""
        printer.text(str(self))

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return a JSON-compatible dict: by id, that of each task."""
        return {one.task_id: one.as_dict() for one in self}


def _said_of(alike: Sequence[Why]) -> str:
    """Return the sentences that are true of several tasks."""
    first, *others = alike
    names = [one.task_id for one in others[:_NAMED]]
    if more := len(others) - len(names):
        names.append(f"{more} more")
    *but_one, last = names or [""]
    listed = f"{', '.join(but_one)} and {last}" if but_one else last
    return f"{first}\nLikewise {listed}." if others else str(first)


def _counted(facts: Mapping[str, str], number: int | None) -> Engines:
    """Return how many engines there are of each kind, of this number in all."""
    names = ("living", "admitted", "free", "drained")
    found = Engines(*(int(facts.get(name, 0)) for name in names))
    # If nobody counted them, as many as this are hardly all.
    is_cut = found.living >= MOST_ENGINES if number is None else number > MOST_ENGINES
    return replace(found, looked_at=MOST_ENGINES) if is_cut else found


def _explain(
    facts: Mapping[str, str], engines: Engines | None
) -> tuple[list[str], list[str]]:
    """Return reasons and remedies."""
    reasons, remedies = _explain_state(facts, engines)
    if "tries" in facts and facts["state"] not in states.ENDED:
        most = int(facts.get("retries", 0)) + 1
        reasons.append(f"{facts['tries']} of {most} tries failed")
    return reasons, remedies


def _explain_state(
    facts: Mapping[str, str], engines: Engines | None
) -> tuple[list[str], list[str]]:
    state = facts["state"]
    if state == "waiting":
        return [*_of_waiting(facts), *_of_nobody(facts, engines)], []
    if state == "ready" and engines is not None:
        return _of_ready(facts, engines)
    engine = facts.get("engine", "?").partition("/")[0]
    reasons = {
        "assigned": f"engine {engine} is to take it next",
        "running": f"engine {engine} runs it",
        "completed": f"it ran on engine {engine}",
        "failed": _of_failed(facts),
        "aborted": facts.get("reason", "nobody said why"),
    }
    found = [reasons.get(state, "nothing more is known")]
    if "resubmitted" in facts:
        found.append(f"it was resubmitted as {facts['resubmitted']}")
    return found, remedies_of(facts.get("ename")) if state == "failed" else []


def remedies_of(ename: str | None) -> list[str]:
    """Return what helps against an exception of this name, if that is known."""
    if ename != "ModuleNotFoundError":
        return []
    where = "the folder where their worker was started, PYTHONPATH, and the packages"
    return [f"engines import from {where} of its Python; the traceback names them"]


def _of_failed(facts: Mapping[str, str]) -> str:
    if "verdict" in facts:
        return f"{facts['verdict']}: {facts.get('reason', '')}".rstrip(": ")
    tries = int(facts.get("tries", 1))
    often = "" if tries == 1 else f" in the last of {tries} tries"
    return f"it raised {facts.get('ename', '?')}: {facts.get('evalue', '')}{often}"


def _of_waiting(facts: Mapping[str, str]) -> list[str]:
    reasons = []
    for name in ("after", "follow"):
        count = int(facts.get(f"open_{name}", 0))
        if count:
            what = "task has" if count == 1 else "tasks have"
            reasons.append(f"{count} {what} not ended that it is to {_VERBS[name]}")
    if "gate" in facts:
        reasons.append(f"the graph behind the gate {facts['gate']} is not complete yet")
    if "start" in facts:
        ahead = (int(facts["start"]) - int(facts["stamp"])) / 1000
        reasons.append(f"it is not to start for another {_span(ahead)}")
    return reasons or ["what it waits for has come; it is about to be ready"]


def _of_nobody(facts: Mapping[str, str], engines: Engines | None) -> list[str]:
    """Say of a task that waits if it cannot run after that: then it will fail."""
    bound = facts.keys() & {"targets", "place"}
    if not bound or engines is None or engines.looked_at is not None:
        return []
    if engines.living == 0 or engines.admitted > 0:
        return []
    return [f"{_nobody(engines)} as things are", *_limits(facts)]


def _nobody(engines: Engines) -> str:
    if engines.living == 1:
        return "the only engine of its queue may not take it"
    return f"none of the {engines.living} engines of its queue may take it"


def _span(seconds: float) -> str:
    """Format a duration; from two minutes on as hours, minutes and seconds."""
    if seconds < _LONG:
        return f"{max(0.0, seconds):.1f} s"
    return str(timedelta(seconds=round(seconds)))


_VERBS = {"after": "run after", "follow": "follow"}


def _of_ready(
    facts: Mapping[str, str], engines: Engines
) -> tuple[list[str], list[str]]:
    queue = facts.get("queue", "default")
    if "paused" in facts:
        return [f"its queue, {queue}, is paused"], [
            f"'redtask queue resume {queue}' lets it go on"
        ]
    if engines.free:
        return ["an engine with room is about to take it"], []
    if engines.looked_at is not None:
        reasons = [_of_the_first(facts, engines), *_limits(facts)]
        return reasons, ["it runs when an engine that may take it has time"]
    return _of_all(facts, engines)


def _of_all(facts: Mapping[str, str], engines: Engines) -> tuple[list[str], list[str]]:
    """Return reasons and remedies if no engine of its queue has room."""
    queue = facts.get("queue", "default")
    if engines.living == 0:
        return [f"no engine lives that serves the queue {queue}"], [
            f"start a worker for the queue {queue}"
        ]
    if engines.admitted == 0:
        return [_nobody(engines), *_limits(facts)], ["a new engine may take it"]
    alone = engines.admitted == 1
    all_are = (
        "the only engine that may take it is"
        if alone
        else f"all {engines.admitted} engines that may take it are"
    )
    if engines.drained == engines.admitted:
        names = " ".join(_named(facts, engines.admitted)) or "ENGINE"
        remedy = f"'redtask engine resume {names}' lets {'it' if alone else 'them'}"
        end = "it is to end" if alone else "they are to end"
        return [f"{all_are} drained", *_limits(facts)], [
            f"{remedy} go on, unless {end}"
        ]
    time = "it runs when that has time" if alone else _WHEN_ONE
    return [f"{all_are} {_busy(facts, engines)}", *_limits(facts)], [time]


def _of_the_first(facts: Mapping[str, str], engines: Engines) -> str:
    """Say what is true of those looked at, where there are more."""
    some = f"of the first {engines.looked_at:,} engines looked at"
    if engines.living == 0:
        return f"{some}, none serves the queue {facts.get('queue', 'default')}"
    if engines.admitted == 0:
        return f"{some}, none may take it"
    are = "is" if engines.admitted == 1 else "are"
    all_drained = engines.drained == engines.admitted
    busy = "drained" if all_drained else _busy(facts, engines)
    return f"{some}, {engines.admitted} may take it, and {are} {busy}"


def _busy(facts: Mapping[str, str], engines: Engines) -> str:
    """Say what the engines that may take it are, and who stands before it."""
    before = int(facts.get("before", 0))
    stand = "stands" if before == 1 else "stand"
    waits = f", and {before} {stand} before it" if before else ""
    busy = f"busy or drained ({engines.drained})" if engines.drained else "busy"
    return f"{busy}{waits}"


_WHEN_ONE: Final = "it runs when one of them has time"


def _named(facts: Mapping[str, str], admitted: int) -> list[str]:
    """Return the engines that may take it, if its flags name exactly these."""
    told = facts.get("targets") or facts.get("place") or ""
    found: list[str] = []
    for part in told.split(","):
        low, _, high = part.partition("-")
        if not low.isdecimal() or int(high or low) - int(low) >= admitted:
            return []
        found += map(str, range(int(low), int(high or low) + 1))
    return found if len(found) == admitted <= _FEW else []


def _limits(facts: Mapping[str, str]) -> list[str]:
    """Explain why not every engine of its queue may take it."""
    sentences = {
        "targets": ("its target is engine {}", "its targets are the engines {}"),
        "place": (
            "it is to follow tasks to engine {}",
            "it is to follow tasks to the engines {}",
        ),
        "not": (
            "engine {} refused it or failed it",
            "the engines {} refused it or failed it",
        ),
        "refused": (
            "engine {} lacks what its function requires",
            "the engines {} lack what its function requires",
        ),
    }
    return [
        (one if facts[name].isdecimal() else several).format(facts[name])
        for name, (one, several) in sentences.items()
        if name in facts
    ]
