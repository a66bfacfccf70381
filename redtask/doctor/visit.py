"""A visit of the doctor: checks of server, connection, fleet and data, in turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redtask.connect import address, known_keys, loaded, unreachable
from redtask.doctor import fleet, server
from redtask.doctor.data import Examination, mistyped
from redtask.doctor.finding import WRONG, Finding
from redtask.error import ConfigurationError, ConnectionLost, HubError, NoHub
from redtask.hub import calls
from redtask.store import Driver, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.profile import Profile


@dataclass
class Visit:
    """Findings, and figures: ``rtt``, ``looked``, ``longest`` ..."""

    #: The name of the hub.
    hub: str
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def all_well(self) -> bool:
        """Are there no problems? Notes do not count."""
        return not any(finding.is_wrong for finding in self.findings)


def visit(
    profile: Profile,
    *,
    repair: bool = False,
    most: int | None = None,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Visit:
    """Check a hub, and repair its data if ``repair`` is set.

    ``most`` is how many keys and entries are examined (None: all, and counters as well;
    0: none). ``progress`` is called with the numbers examined and suspected so far.
    Raises ``ConnectionLost``; a missing hub is a finding.
    """
    store = Store(address(profile), profile.hub, patience=0.0)
    try:
        found = _keys(store, profile, repair=repair)
        Driver(store).run(loaded(profile))
        seen = _visit(store, profile, repair=repair, most=most, progress=progress)
    except ConnectionLost as problem:
        raise unreachable(profile, problem) from None
    finally:
        store.close()
    seen.findings += found
    return seen


def _keys(store: Store, profile: Profile, *, repair: bool) -> list[Finding]:
    """Give the store its keys; return a finding if they are bad.

    Who only looks can do without. Raises ``ConfigurationError`` for who repairs.
    """
    try:
        store.keyring = known_keys(profile)
    except ConfigurationError as problem:
        if repair:
            raise
        source = profile.key_source
        return [Finding(WRONG, "connection", "key", source, str(problem))]
    return []


def _visit(
    store: Store,
    profile: Profile,
    *,
    repair: bool,
    most: int | None,
    progress: Callable[[int, int], None],
) -> Visit:
    seen = Visit(profile.hub)
    about, settings = server.ask(store)
    seen.figures["redis_version"] = about.get("redis_version", "?")
    seen.findings += server.look(about, settings)
    lacking = server.rights(store, about)
    seen.findings += lacking
    try:
        found, figures = server.measure(store)
        seen.findings += found
        seen.figures.update(figures)
        _fleet(store, seen)
        if most != 0:
            _data(seen, Examination(store, repair, most, progress))
    except NoHub:
        seen.findings.append(
            Finding(
                WRONG,
                "data",
                "nohub",
                profile.hub,
                f"there is no hub {profile.hub!r}",
                "the first client or worker with a key makes it",
            )
        )
    except ConfigurationError:
        # What is refused for want of a right is not worth more words than all of them.
        if not any(finding.is_wrong for finding in lacking):
            raise
    except HubError:
        # Where a key is of a wrong type, nothing else can be examined.
        if not (found := mistyped(store)):
            raise
        seen.findings += found
    return seen


def _fleet(store: Store, seen: Visit) -> None:
    status = store.do(calls.status(10000))
    workers = fleet.cards(store, status)
    spoken = fleet.versions(store)
    seen.figures.update(
        engines=len(status.engines), workers=len(workers), versions=spoken
    )
    seen.findings += fleet.look(status, workers, spoken)


def _data(seen: Visit, examination: Examination) -> None:
    seen.findings += examination.run()
    seen.figures.update(
        looked=examination.looked,
        flaws=examination.flaws,
        longest=examination.longest,
    )
