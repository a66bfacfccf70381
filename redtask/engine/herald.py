"""The herald: a supervisor's communication with the hub.

It reports outcomes taken from engines and engines that are gone, and sends heartbeats.
Reports are queued until the hub has received them, so while Redis is unreachable
nothing is lost and nothing blocks. All of them may safely be repeated.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from redtask.engine.block import IDLE, Outcome, Picture, Taken
from redtask.engine.engine import FIXABLE, deadline
from redtask.error import (
    ConfigurationError,
    ConnectionLost,
    HubError,
    NoHub,
    NoWorker,
    SchemaMismatch,
)
from redtask.hub import calls
from redtask.hub.calls import Life, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from redtask.engine.seat import Seat
    from redtask.hub.records import Beaten
    from redtask.store import Store

#: Pauses between attempts while Redis is unreachable, in seconds.
_FIRST_RETRY: Final = 0.05
_LONGEST_RETRY: Final = 0.5
#: Pause before an attempt to drain engines that have not all registered, in seconds.
_WISH_PAUSE: Final = 0.2
#: Minimum interval of sweeps, in seconds; and the pause after one that was refused.
_SWEEP_PAUSE: Final = 0.02
_REFUSED_PAUSE: Final = 2.0
#: An engine counts as hung after doing nothing for this long while Redis answers us, in
#: seconds: while waiting for its bell, or otherwise, as large results take time.
_HANGS_IDLE: Final = 60.0
_HANGS: Final = 300.0
#: Most outcomes in one report, and farewells in one beat.
_MOST: Final = 500

_log = logging.getLogger("redtask.worker")


@dataclass(frozen=True, slots=True)
class Farewell:
    """The report that an engine is gone."""

    uuid: str
    #: The reason.
    reason: str
    #: Ids of tasks it had started but not ended.
    begun: Sequence[str]
    #: Was it killed because that task exceeded its time limit?
    late: bool = False
    #: Was it killed because its worker stops?
    stopped: bool = False
    #: The last output of that task, like ``Life.last``.
    last: Sequence[Any] = ()


class Herald:
    """Communicates with the hub for one worker.

    ``forsake`` is called with the id and token of a task that runs on an engine which
    the hub has given up.
    """

    def __init__(
        self,
        store: Store,
        worker: str,
        fingerprint: str,
        forsake: Callable[[str, str], object],
    ) -> None:
        self._store = store
        self._worker = worker
        self._fingerprint = fingerprint
        self._forsake = forsake
        #: The hub's lease of engines when it last told us, in ms.
        self.lease = 15_000
        #: Pending request to resume (True) or drain (False) our engines, if any.
        self._wish: bool | None = None
        self._outcomes: dict[str, list[Outcome]] = {}
        self._farewells: list[Farewell] = []
        #: Uuids of engines that are to end after their task, to be drained.
        self._ending: list[str] = []
        # When to beat, sweep and retry, s of the monotonic clock.
        self._beat_at = 0.0
        self._sweep_at = 0.0
        self._retry_at = 0.0
        #: Since when Redis has been unreachable, and the number of attempts since.
        self._away: float | None = None
        self._tries = 0
        #: Was the last sweep refused?
        self._unswept = False

    # -- the queue

    def report(self, taken: Taken) -> None:
        """Queue outcomes to be reported."""
        if taken.outcomes:
            self._outcomes.setdefault(taken.uuid, []).extend(taken.outcomes)

    def bid_farewell(self, farewell: Farewell) -> None:
        """Queue the report that an engine is gone, after that of what it left."""
        self._farewells.append(farewell)

    def end_soon(self, uuid: str) -> None:
        """Queue the request to give an engine nothing new: it ends after its task."""
        self._ending.append(uuid)

    @property
    def has_news(self) -> bool:
        """Is there anything left to report?"""
        return bool(self._outcomes or self._farewells)

    def wish(self, *, resume: bool) -> None:
        """Queue a request to drain, or to resume, all engines of this worker."""
        self._wish = resume
        self.beat_now()

    @property
    def is_heard(self) -> bool:
        """Is Redis reachable, as far as we know?"""
        return self._away is None

    @property
    def outcomes(self) -> int:
        """How many outcomes are left to report?"""
        return sum(map(len, self._outcomes.values()))

    @property
    def away(self) -> float:
        """For how long Redis has been unreachable, in seconds; 0 if it is reachable."""
        return 0.0 if self._away is None else time.monotonic() - self._away

    def sweep_now(self) -> None:
        """Sweep now: something is due earlier than the last sweep said."""
        self._sweep_at = 0.0

    @property
    def due(self) -> float:
        """When to speak next, s of the monotonic clock."""
        news = (
            0.0 if self.has_news or self._ending else min(self._beat_at, self._sweep_at)
        )
        return max(self._retry_at, news)

    # -- sending

    def speak(self, seats: Iterable[Seat]) -> None:
        """Send what is queued or due, if Redis is reachable."""
        try:
            self._report()
            refused = self._say_queued(seats)
            if time.monotonic() >= self._beat_at:
                self._beat(seats)
                self._sweep()
            elif time.monotonic() >= self._sweep_at:
                self._sweep()
            if self._wish is not None:
                self._beat_at = min(self._beat_at, time.monotonic() + _WISH_PAUSE)
        except NoHub:
            self._make_hub()
        except (ConnectionLost, HubError, *FIXABLE) as problem:
            self._lost(problem)
        else:
            if refused is None:
                self._found()
            else:
                self._lost(refused)

    def _say_queued(self, seats: Iterable[Seat]) -> HubError | None:
        """Say all that is queued; return the last refusal, if any.

        A refusal must not keep the leases from being renewed.
        """
        refused = None
        for say in (
            self._say_farewell,
            partial(self._say_wish, seats),
            self._say_ending,
        ):
            try:
                say()
            except (NoHub, SchemaMismatch):
                raise
            except HubError as problem:
                refused = problem
        return refused

    def _lost(self, problem: Exception) -> None:
        if self._away is None:
            self._away = time.monotonic()
            _log.warning("%s; trying on", _words(problem))
        pause = min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(self._tries, 8))
        self._tries += 1
        self._retry_at = time.monotonic() + pause * random.uniform(0.5, 1.5)  # noqa: S311

    def _found(self) -> None:
        if self._away is not None:
            _log.info("Redis is back after %.1f s", time.monotonic() - self._away)
        self._away, self._tries, self._retry_at = None, 0, 0.0

    def _make_hub(self) -> None:
        """Create a new hub: Redis came back empty, or somebody deleted the hub."""
        call = calls.configure(create=True, fingerprint=self._fingerprint)
        try:
            made = self._store.do(call)
        except (ConnectionLost, ConfigurationError, HubError) as problem:
            self._lost(problem)
            return
        if made.created:
            _log.warning("the hub was gone and is made anew; what it knew is lost")
        self._beat_at = 0.0

    def _report(self) -> None:
        for uuid, outcomes in list(self._outcomes.items()):
            for at in range(0, len(outcomes), _MOST):
                reports = _reports(outcomes[at : at + _MOST])
                try:
                    turn = self._store.do(calls.turn(uuid, None, "", 0, reports))
                except (NoHub, SchemaMismatch):
                    raise
                except HubError as problem:
                    # Repeating it would not help.
                    _log.error("outcomes are refused: %s", problem)
                else:
                    if not turn.registered:
                        _log.warning("%d outcomes came too late", len(reports))
            del self._outcomes[uuid]

    def _say_farewell(self) -> None:
        while self._farewells:
            said, others = self._farewells[:_MOST], self._farewells[_MOST:]
            lives = [_last_of(one) for one in said]
            answers = self._store.do(calls.beat(self._worker, lives))
            more = {answer.engine for answer in answers if answer.word == "more"}
            self._farewells = [one for one in said if one.uuid in more] + others

    def _say_wish(self, seats: Iterable[Seat]) -> None:
        if self._wish is None:
            return
        blocks = [seat.block for seat in seats if seat.pid]
        # One that is just registering would miss it, and before the first has done so
        # the hub does not know us.
        if all(block.registered for block in blocks):
            with contextlib.suppress(NoWorker):
                self._drain([block.uuid for block in blocks], resume=self._wish)
                self._wish = None

    def _drain(self, uuids: Sequence[str], *, resume: bool) -> None:
        for at in range(0, len(uuids), _MOST):
            left = uuids[at : at + _MOST]
            while left:
                call = calls.drain(left, worker=self._worker, resume=resume)
                words = self._store.do(call)
                answers = zip(left, words, strict=True)
                left = [uuid for uuid, word in answers if word == "more"]
        _log.info("engines %s", "go on" if resume else "take nothing new until SIGCONT")

    def _say_ending(self) -> None:
        """Drain engines that are to end: they are seen to, and tasks go elsewhere."""
        while self._ending:
            said, others = self._ending[:_MOST], self._ending[_MOST:]
            words = self._store.do(calls.drain(said))
            answers = zip(said, words, strict=True)
            self._ending = [uuid for uuid, word in answers if word == "more"] + others

    # -- the beat

    def _beat(self, seats: Iterable[Seat]) -> None:
        """Renew the leases of the engines that live."""
        living = {picture.uuid: (seat, picture) for seat, picture in _living(seats)}
        lives = [self._life(picture) for _, picture in living.values()]
        sent = time.monotonic_ns()
        answers = self._store.do(calls.beat(self._worker, lives))
        # Asked after the beat, so that the first one with a shorter lease tells it. If
        # the lease was changed just then, we do not know which one was granted.
        before, self.lease = self.lease, self._ask_lease()
        granted = min(before, self.lease)
        for answer in answers:
            self._answered(*living[answer.engine], answer, sent, granted)
        # Jitter, so that workers do not beat in step.
        pause = self.lease / 5000 * random.uniform(0.8, 1.2)  # noqa: S311
        self._beat_at = sent / 1e9 + pause

    def _ask_lease(self) -> int:
        """Ask for the hub's lease: it may be changed while we work."""
        told = self._store.command("HGET", self._store.keys.hub(), "lease")
        if told is None:
            raise NoHub
        try:
            return int(told)
        except ValueError:
            raise HubError(f"the hub's lease is no number: {told!r}") from None

    def _life(self, picture: Picture) -> Life:
        """Return what an engine holds: its batch, and outcomes that we must report."""
        ours = [outcome.task_id for outcome in self._outcomes.get(picture.uuid, ())]
        return Life(picture.uuid, picture.number, [*picture.ids, *ours])

    def _answered(
        self, seat: Seat, picture: Picture, answer: Beaten, sent: int, granted: int
    ) -> None:
        block = seat.block
        if answer.word in {"live", "drained"}:
            block.renew(deadline(sent, granted))
            block.lease = granted
            self._drained(seat, drained=answer.word == "drained")
            # Without beats, it could not be seen to do anything.
            seat.still += min(sent / 1e9 - seat.beaten, granted / 5000)
            seat.beaten = sent / 1e9
            foreign = set(answer.foreign)
            if foreign.intersection(picture.ids[picture.begun :]):
                # Redis has lost its latest writes, and these tasks with them.
                self.report(block.take_back() or Taken.nothing())
        elif picture.state == IDLE:
            # It would learn of that only when its bell rings.
            seat.kill("the hub had given it up")
        else:
            # Its next turn tells it. Tasks not yet started are no longer its own. The
            # one that runs may run elsewhere by now: here nobody can see or abort it,
            # and nobody hears how it ends.
            block.take_back()
            if picture.attempt:
                self._forsake(*picture.attempt)

    def _drained(self, seat: Seat, *, drained: bool) -> None:
        """Note whether an engine is drained, also for its successor."""
        if seat.to_drain or seat.block.draining:
            # It is because it is to end. Its successor is not therefore.
            return
        if drained and not seat.block.quiet:
            self.report(seat.block.take_back() or Taken.nothing())
        seat.block.quiet = drained

    def beat_now(self) -> None:
        """Beat now: the hub has something to say about our engines."""
        self._beat_at = 0.0

    def heed(self, seats: Iterable[Seat]) -> None:
        """Beat now if an engine has registered with a shorter lease than we know of.

        Its lease might be over before the next beat.
        """
        for seat in seats:
            block = seat.block
            if block.lease < self.lease and seat.pid and block.registered:
                self.beat_now()

    def _sweep(self) -> None:
        """Sweep; if that is refused, only what is due by time has to wait."""
        try:
            swept = self._store.do(calls.sweep())
        except (NoHub, SchemaMismatch):
            raise
        except HubError as problem:
            if not self._unswept:
                _log.error("nothing is done that is due by time: %s", _words(problem))
            self._unswept = True
            self._sweep_at = time.monotonic() + _REFUSED_PAUSE
            return
        if self._unswept:
            _log.info("what is due by time is done again")
        self._unswept = False
        due = self.lease if swept.due < 0 else swept.due
        pause = max(_SWEEP_PAUSE, due / 1000)
        self._sweep_at = time.monotonic() + (0.0 if swept.more else pause)


def _words(problem: Exception) -> str:
    """Return what is wrong, and who knows more of it."""
    text = str(problem).rstrip(".")
    is_refusal = isinstance(problem, HubError) and not isinstance(
        problem, SchemaMismatch
    )
    if is_refusal and "redtask doctor" not in text:
        return f"{text} (redtask doctor may say why)"
    return text


def _living(seats: Iterable[Seat]) -> Iterator[tuple[Seat, Picture]]:
    """Yield the live engines; kill those that hang."""
    for seat in seats:
        if not (seat.pid and seat.block.registered):
            continue
        picture = seat.block.look()
        if picture is None or picture.engine_id is None:
            continue
        if picture.running or picture.loops != seat.loops:
            seat.loops, seat.still = picture.loops, 0.0
        if seat.still > (_HANGS_IDLE if picture.state == IDLE else _HANGS):
            _log.error("%s hangs and is replaced", seat.called)
            seat.kill("it hung")
            continue
        yield seat, picture


def _last_of(one: Farewell) -> Life:
    """Return what the hub is told of a dead engine."""
    return Life(
        one.uuid,
        0,
        one.begun,
        one.reason,
        late=one.late,
        stopped=one.stopped,
        last=one.last,
    )


def _reports(outcomes: Sequence[Outcome]) -> list[Report]:
    now = time.monotonic_ns()
    return [
        Report(
            one.kind,
            one.task_id,
            one.token,
            (now - one.begun) // 1000,
            (one.ended - one.begun) // 1000,
            one.fields,
        )
        for one in outcomes
    ]
