"""The worker: supervisor of the engines of one machine.

One process with one thread, so that it may fork: engines start in milliseconds and
share its memory. One loop waits for everything: the end of an engine (pidfd), signals
(wakeup fd) and time. It renews the leases of its engines, sees at once when one dies,
reports what that had finished, tells the hub which task it died in, and starts another.
It also takes back from an engine what a slow task holds up.

Calls to Redis are short and are not insisted upon: while Redis is away, what is to be
said is kept, and everything else goes on.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import random
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final

import redtask
from redtask.engine import process
from redtask.engine.block import IDLE, Block, Outcome, Picture, Taken
from redtask.engine.engine import DONE, REFUSED, Engine, Plan, deadline
from redtask.error import (
    ConfigurationError,
    ConnectionLost,
    HubError,
    NameTaken,
    NoHub,
    SchemaMismatch,
)
from redtask.hub import calls, scripts
from redtask.hub.calls import Life, Report
from redtask.hub.records import mapping
from redtask.profile import redact_url
from redtask.store import Store

if TYPE_CHECKING:
    from redtask.hub.records import Beaten, EngineStatus
    from redtask.signing import Keyring

#: How long one reply may take, and for how long a call is repeated, in seconds: while
#: it waits, the supervisor sees nothing else.
_REPLY: Final = 2.0
_INSIST: Final = 0.05
#: Pauses between tries while Redis is away, in seconds.
_FIRST_RETRY: Final = 0.05
_LONGEST_RETRY: Final = 0.5
#: How often batches are looked at, in seconds.
_LOOK: Final = 0.005
#: An outcome waits for the rest of its batch while tasks are shorter than this, ns;
#: a batch may take so long before the rest of it is taken back, ns.
_SLOW_TASK: Final = 5_000_000
_SLOW_BATCH: Final = 20_000_000
#: An engine that dies sooner than this is started with a delay, in seconds.
_YOUNG: Final = 5.0
_FIRST_DELAY: Final = 0.1
_LONGEST_DELAY: Final = 30.0
#: An engine that does nothing at all for so long, while Redis answers us, hangs.
_HANGS: Final = 60.0
#: No sweep follows another sooner than this, in seconds.
_SWEEP_PAUSE: Final = 0.02
#: Outcomes in one report.
_MOST: Final = 500

_HANDLED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

#: Exit codes, besides 0: all that ran has ended and is reported.
STOPPED: Final = 1
_CRASHED: Final = 70

_log = logging.getLogger("redtask.worker")


@dataclass(frozen=True, slots=True)
class Options:
    """What a worker is told by who starts it."""

    #: Its name among all workers of the hub.
    name: str
    #: How many engines it has.
    engines: int
    #: The queues they serve.
    queues: Sequence[str] = ("default",)
    #: Modules to import before engines are forked.
    preload: Sequence[str] = ()
    #: After so many tasks an engine is replaced; 0: never.
    max_tasks: int = 0


@dataclass(slots=True)
class Seat:
    """The place of one engine: its process, if there is one, and their block."""

    #: 0, 1, ...
    number: int
    #: 0: there is no process.
    pid: int = 0
    pidfd: int = -1
    block: Block | None = None
    #: When it was forked, and when the next is to be, s of the monotonic clock.
    born: float = 0.0
    start_at: float | None = 0.0
    #: How many in a row died young.
    young_deaths: int = 0
    #: Why we ended it, if we did.
    ended_for: str = ""
    #: Is it still to be told that nothing new is to begin?
    to_drain: bool = False
    #: Its loop counter, and for how long that has not moved, s.
    loops: int = 0
    still: float = 0.0


@dataclass(frozen=True, slots=True)
class Farewell:
    """An engine is gone, and the hub does not know yet."""

    uuid: str
    reason: str
    #: What it had begun and not ended.
    begun: Sequence[str]


@dataclass(slots=True)
class _Clock:
    """When something is to be done next, s of the monotonic clock; None: never."""

    beat: float = 0.0
    sweep: float = 0.0
    look: float | None = None
    retry: float = 0.0


@dataclass(slots=True)
class _Unsaid:
    """What the hub is still to be told."""

    #: Outcomes by the uuid of their engine.
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    farewells: list[Farewell] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.outcomes or self.farewells)

    def add(self, taken: Taken) -> None:
        if taken.outcomes:
            self.outcomes.setdefault(taken.uuid, []).extend(taken.outcomes)

    def ids(self, uuid: str) -> list[str]:
        return [outcome.task_id for outcome in self.outcomes.get(uuid, ())]


class Worker:
    """A supervisor and its engines."""

    def __init__(self, store: Store, keyring: Keyring, options: Options) -> None:
        self.options = options
        self._keyring = keyring
        self._store = Store(store.url, store.keys.name, patience=_INSIST, reply=_REPLY)
        self._store.scheme = store.scheme
        self._pid = os.getpid()
        self._seats = [Seat(number) for number in range(options.engines)]
        self._unsaid = _Unsaid()
        self._clock = _Clock()
        self._lease = 15.0
        #: Since when Redis is away, and how often we have tried since.
        self._away: float | None = None
        self._tries = 0
        self._ready = False
        #: How often we were asked to stop.
        self._asked = 0
        self._code = DONE

    # -- the loop

    def run(self) -> int:
        """Supervise until asked to stop; return the exit code.

        Raises ``NameTaken`` when a worker of this name lives on this machine, and
        what ``Store.do`` raises when Redis cannot be reached at the start.
        """
        self._plan = self._make_plan()
        for module in self.options.preload:
            importlib.import_module(module)
        self._inherit()
        gc.collect()
        with self._signals():
            while not self._is_finished():
                for key, _ in self._selector.select(self._pause()):
                    key.data()
                self._act()
        return self._code

    def _pause(self) -> float:
        """How long to wait for something to happen, in seconds."""
        clock = self._clock
        news = 0.0 if self._unsaid else min(clock.beat, clock.sweep)
        times = [max(clock.retry, news)]
        if clock.look is not None:
            times.append(clock.look)
        for seat in self._seats:
            if seat.to_drain:
                times.append(0.0)
            elif not seat.pid and seat.start_at is not None:
                times.append(seat.start_at)
        return max(0.0, min(times) - time.monotonic())

    def _act(self) -> None:
        """Do what time or an event has made due."""
        now = time.monotonic()
        clock = self._clock
        if clock.look is not None and now >= clock.look:
            self._look()
        for seat in self._seats:
            if seat.to_drain:
                self._drain_seat(seat)
        due = self._unsaid or now >= min(clock.beat, clock.sweep)
        if due and now >= clock.retry:
            self._speak()
        for seat in self._seats:
            if not seat.pid and seat.start_at is not None and now >= seat.start_at:
                self._fork(seat)

    def _is_finished(self) -> bool:
        if not self._asked or any(seat.pid for seat in self._seats):
            return False
        return not self._unsaid or self._asked > 1

    # -- signals

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Have signals wake the loop, which alone reacts to them."""
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._hear)
        before = {}
        for number in _HANDLED:
            # What is ignored from above, as under nohup, stays so.
            if number == signal.SIGUSR1 or signal.getsignal(number) != signal.SIG_IGN:
                before[number] = signal.signal(number, _note)
        old = signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._let_go()

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._woken.recv(4096):
                if number == signal.SIGUSR1:
                    self._nudged()
                elif number in _HANDLED:
                    self._stop(signal.Signals(number).name)

    def _nudged(self) -> None:
        """Watch the batches: an engine has begun one, or has registered."""
        if self._clock.look is None:
            self._clock.look = time.monotonic() + _LOOK
        if not self._ready and all(
            seat.block and seat.block.registered for seat in self._seats
        ):
            self._ready = True
            _log.info("%d engines are ready", len(self._seats))

    # -- engines

    def _make_plan(self) -> Plan:
        status = self._store.do(calls.status())
        self._lease = int(status.hub.get("lease", 15000)) / 1000
        return Plan(
            url=self._store.url,
            hub=self._store.keys.name,
            scheme=self._store.scheme,
            keyring=self._keyring,
            worker=self.options.name,
            queues=tuple(self.options.queues),
            about={
                "host": socket.gethostname(),
                "boot": process.boot(),
                "pid": self._pid,
                "begun": process.birth(self._pid) or "",
                "python": ".".join(map(str, sys.version_info[:3])),
                "version": redtask.__version__,
            },
            largest=int(status.hub.get("max_payload", 64 << 20)),
            max_tasks=self.options.max_tasks,
        )

    def _fork(self, seat: Seat) -> None:
        block = Block()
        # Scripts are bundled once, for all engines.
        for name in ("register", "turn"):
            scripts.bundle(name, self._store.scheme)
        gc.freeze()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_engine(seat, block)
        except OSError as problem:
            _log.error("no engine can be started: %s", problem)  # noqa: TRY400 - one line
            seat.start_at = time.monotonic() + self._delay(seat)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        seat.block, seat.pid, seat.pidfd = block, pid, os.pidfd_open(pid)
        seat.born, seat.start_at, seat.ended_for = time.monotonic(), None, ""
        seat.loops, seat.still = 0, 0.0
        self._selector.register(
            seat.pidfd, selectors.EVENT_READ, partial(self._bury, seat)
        )

    def _be_engine(self, seat: Seat, block: Block) -> None:
        """Be the engine; never return."""
        code = _CRASHED
        try:
            # Ctrl-C in a terminal is for the supervisor, which lets tasks finish.
            os.setsid()
            process.die_with(self._pid)
            process.set_name(f"redtask-{seat.number}")
            signal.set_wakeup_fd(-1)
            for number in _HANDLED:
                signal.signal(number, signal.SIG_DFL)
            self._let_go()
            self._seats.clear()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            _reseed()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            tell = partial(_tell, self._pid)
            code = Engine(self._plan, block, tell).run()
        except BaseException:
            _log.exception("engine %d stops", seat.number)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _let_go(self) -> None:
        """Close everything that is the supervisor's."""
        self._selector.close()
        self._woken.close()
        self._waker.close()
        for seat in self._seats:
            if seat.pid:
                os.close(seat.pidfd)
        self._store.close()

    def _kill(self, seat: Seat, reason: str) -> None:
        seat.ended_for = reason
        signal.pidfd_send_signal(seat.pidfd, signal.SIGKILL)

    def _bury(self, seat: Seat) -> None:
        """An engine is dead: keep what it left, and start another."""
        self._selector.unregister(seat.pidfd)
        code = _end_of(seat.pid)
        os.close(seat.pidfd)
        seat.pid, seat.to_drain = 0, False
        block, seat.block = seat.block, None
        assert block is not None  # noqa: S101 - it has one since it was forked
        reason = seat.ended_for or self._reason(code)
        outcomes, begun = block.bequeath()
        uuid = block.uuid
        if uuid:
            self._unsaid.add(Taken(uuid, outcomes, inside=False, more=False))
            self._unsaid.farewells.append(Farewell(uuid, reason, begun))
        if code == REFUSED:
            self._refused()
        elif not (code == DONE or seat.ended_for):
            _log.warning("engine %d is gone: %s", seat.number, reason)
        seat.start_at = None if self._asked else time.monotonic()
        if seat.start_at is not None and code != DONE and not seat.ended_for:
            seat.start_at += self._delay(seat)

    def _reason(self, code: int) -> str:
        if code == DONE:
            return "drained" if self._asked else "recycled"
        if code < 0:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        return f"exit code {code}"

    def _delay(self, seat: Seat) -> float:
        """How long to wait before another engine starts after a bad end."""
        if time.monotonic() - seat.born > _YOUNG:
            seat.young_deaths = 0
            return 0.0
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**seat.young_deaths)
        seat.young_deaths = min(seat.young_deaths + 1, 16)
        return delay

    # -- what an engine holds up

    def _look(self) -> None:
        """Take what waits too long from engines in the middle of a batch."""
        now, more = time.monotonic_ns(), False
        for seat in self._seats:
            if seat.pid and seat.block:
                taken = seat.block.take(
                    waited=_SLOW_TASK, patience=_SLOW_BATCH, now=now
                )
                self._unsaid.add(taken)
                more = more or taken.more
        self._clock.look = time.monotonic() + _LOOK if more else None

    # -- stopping

    def _stop(self, why: str) -> None:
        """The first time let what runs finish, the second time do not."""
        self._asked += 1
        if self._asked == 1:
            _log.info("%s: stopping; what runs may finish (again: stop now)", why)
            for seat in self._seats:
                seat.start_at = None
                seat.to_drain = seat.pid != 0
        elif self._asked == 2:  # noqa: PLR2004 - the second time
            _log.warning("%s again: stopping now", why)
            self._code = STOPPED
            for seat in self._seats:
                if seat.pid:
                    self._kill(seat, "its worker was stopped")

    def _drain_seat(self, seat: Seat) -> None:
        assert seat.block is not None  # noqa: S101 - it has a process
        taken = seat.block.take_back(for_good=True)
        if taken is None:
            return
        seat.to_drain = False
        self._unsaid.add(taken)
        if not taken.inside:
            # It can begin nothing, and what it has ended stands in its log.
            self._kill(seat, "drained")

    def _refused(self) -> None:
        if self._code != REFUSED:
            _log.error(
                "a worker named %s is alive: stop that one, or choose another --name",
                self.options.name,
            )
            self._code = REFUSED
            self._asked = max(1, self._asked)
            for seat in self._seats:
                seat.start_at = None
                seat.to_drain = seat.pid != 0

    # -- the hub

    def _speak(self) -> None:
        """Tell the hub what it is to know, and hear what is due."""
        try:
            self._report()
            self._say_farewell()
            if time.monotonic() >= self._clock.beat:
                self._beat()
            elif time.monotonic() >= self._clock.sweep:
                (swept,) = self._store.do_all([calls.sweep()])
                self._swept(swept.due, more=swept.more)
        except NoHub:
            self._make_hub()
        except (ConnectionLost, ConfigurationError, SchemaMismatch) as problem:
            self._lost(problem)
        else:
            self._found()

    def _lost(self, problem: Exception) -> None:
        if self._away is None:
            self._away = time.monotonic()
            _log.warning("%s; trying on", problem)
        pause = min(_LONGEST_RETRY, _FIRST_RETRY * 2 ** min(self._tries, 8))
        self._tries += 1
        self._clock.retry = time.monotonic() + pause * random.uniform(0.5, 1.5)  # noqa: S311

    def _found(self) -> None:
        if self._away is not None:
            _log.info("Redis is back after %.1f s", time.monotonic() - self._away)
        self._away, self._tries, self._clock.retry = None, 0, 0.0

    def _make_hub(self) -> None:
        """Redis came back empty, or somebody deleted the hub: go on with a new one."""
        fingerprint = self._keyring.fingerprint
        try:
            self._store.do(calls.configure(create=True, fingerprint=fingerprint))
        except (ConnectionLost, ConfigurationError, HubError) as problem:
            self._lost(problem)
        else:
            _log.warning("the hub was gone and is made anew; what it knew is lost")

    def _report(self) -> None:
        """Report outcomes that are ours to report."""
        for uuid, outcomes in list(self._unsaid.outcomes.items()):
            for at in range(0, len(outcomes), _MOST):
                reports = _reports(outcomes[at : at + _MOST])
                try:
                    turn = self._store.do(calls.turn(uuid, None, "", 0, reports))
                except (NoHub, SchemaMismatch):
                    raise
                except HubError as problem:
                    _log.error("outcomes of an engine are refused: %s", problem)  # noqa: TRY400 - one line
                else:
                    if not turn.registered:
                        _log.warning("%d outcomes came too late", len(reports))
            del self._unsaid.outcomes[uuid]

    def _say_farewell(self) -> None:
        while self._unsaid.farewells:
            said = self._unsaid.farewells[:_MOST]
            lives = [Life(one.uuid, 0, one.begun, gone=one.reason) for one in said]
            answers = self._store.do(calls.beat(self.options.name, lives))
            left = {answer.engine for answer in answers if answer.word == "more"}
            self._unsaid.farewells = [
                one
                for one in self._unsaid.farewells
                if one not in said or one.uuid in left
            ]

    def _beat(self) -> None:
        """Renew the leases of the engines that live, and sweep."""
        pictures = dict(self._living())
        lives = [
            Life(
                picture.uuid,
                picture.number,
                [*picture.ids, *self._unsaid.ids(picture.uuid)],
            )
            for _, picture in pictures.values()
        ]
        sent, now = time.monotonic_ns(), time.monotonic()
        answers: list[Beaten]
        answers, swept = self._store.do_all(  # type: ignore[assignment]
            [calls.beat(self.options.name, lives), calls.sweep()]  # type: ignore[list-item]
        )
        for answer in answers:
            self._answered(*pictures[answer.engine], answer, sent)
        interval = self._lease / 5 * random.uniform(0.8, 1.2)  # noqa: S311 - so that not all speak at once
        self._clock.beat = now + interval
        self._swept(swept.due, more=swept.more)

    def _living(self) -> Iterable[tuple[str, tuple[Seat, Picture]]]:
        """Show the engines that do what they should."""
        for seat in self._seats:
            block = seat.block
            if not seat.pid or block is None or not block.registered:
                continue
            self._lease = block.lease / 1000 or self._lease
            picture = block.look()
            if picture is None or picture.engine_id is None:
                continue
            if picture.running or picture.loops != seat.loops:
                seat.loops, seat.still = picture.loops, 0.0
            if seat.still > _HANGS:
                _log.error("engine %d hangs; it is replaced", seat.number)
                self._kill(seat, "it hung")
                continue
            yield picture.uuid, (seat, picture)

    def _answered(
        self, seat: Seat, picture: Picture, answer: Beaten, sent: int
    ) -> None:
        block = seat.block
        assert block is not None  # noqa: S101 - nobody was buried since
        if answer.word == "live":
            block.renew(deadline(sent, round(self._lease * 1000)))
            seat.still += self._lease / 5
            foreign = set(answer.foreign)
            unbegun = {task_id for task_id, _ in picture.batch[picture.begun :]}
            if foreign & unbegun and (taken := block.take_back()):
                mine = [one for one in taken.outcomes if one.task_id not in foreign]
                self._unsaid.add(taken._replace(outcomes=mine))
        elif picture.state == IDLE:
            # It would hear of it only when its bell rings.
            self._kill(seat, "the hub had given it up")
        else:
            block.take_back()

    def _swept(self, due: int, *, more: bool) -> None:
        pause = max(_SWEEP_PAUSE, due / 1000) if due >= 0 else self._lease
        self._clock.sweep = time.monotonic() + (0.0 if more else pause)

    # -- predecessors

    def _inherit(self) -> None:
        """Take over at once what dead workers of this machine left."""
        about = self._plan.about
        engines = self._store.do(calls.status()).engines
        by_worker = sorted(engines, key=lambda engine: engine.worker)
        groups = groupby(by_worker, key=lambda engine: engine.worker)
        left = {name: list(group) for name, group in groups}
        for name in {*left, self.options.name}:
            card = mapping(self._store.command("HGETALL", self._store.keys.worker(name)))
            if card.get("boot") != about["boot"]:
                continue
            if process.birth(int(card["pid"])) == card.get("begun"):
                if name == self.options.name:
                    raise NameTaken(
                        f"a worker named {name} is alive (process {card['pid']}): stop "
                        "it, or choose another --name"
                    )
            elif name in left:
                self._bury_all(name, left[name])

    def _bury_all(self, worker: str, engines: Sequence[EngineStatus]) -> None:
        for engine in engines:
            # What it had begun died with its memory: all it took counts as begun.
            held = self._store.command(
                "ZRANGE", self._store.keys.held(engine.uuid), 0, -1
            )
            ids = [task_id.decode() for task_id in held]
            life = Life(engine.uuid, 0, ids, gone="its worker died")
            while any(
                answer.word == "more"
                for answer in self._store.do(calls.beat(worker, [life]))
            ):
                pass
        _log.info("took over %d engines of the dead worker %s", len(engines), worker)


def _end_of(pid: int) -> int:
    """Reap an engine; return its exit code, or minus the signal that killed it.

    What its last task started dies with it, unless the engine ended in order.
    """
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    # As long as it is not reaped, its number means nobody else.
    if found is None or found.si_code != os.CLD_EXITED or found.si_status != DONE:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _reports(outcomes: Sequence[Outcome]) -> list[Report]:
    now = time.monotonic_ns()
    return [
        Report(
            one.kind,
            one.task_id,
            one.token,
            (now - one.begun) // 1_000_000,
            (one.ended - one.begun) // 1000,
            one.fields,
        )
        for one in outcomes
    ]


def _tell(supervisor: int) -> None:
    """Wake the supervisor.

    With a signal, not through a descriptor: a task may close those, and the number
    may come to mean something else.
    """
    os.kill(supervisor, signal.SIGUSR1)


def _note(*_: object) -> None:
    """Do nothing: the loop reads the signal's number from the wakeup fd."""


def _reseed() -> None:
    """Let no two engines draw the same numbers; Python reseeds its own."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def default_name() -> str:
    """Name a worker after host and process."""
    host = "".join(
        letter if letter.isalnum() and letter.isascii() or letter in "_.-" else "-"
        for letter in socket.gethostname()
    )
    return f"{host[:40] or 'worker'}-{os.getpid()}"


def banner(store: Store, options: Options) -> str:
    """Say in one line what is starting."""
    return (
        f"redtask {redtask.__version__}: worker {options.name}, hub "
        f"{store.keys.name} at {redact_url(store.url)}, queues "
        f"{','.join(options.queues)}, {options.engines} engines"
    )


__all__ = ["Options", "Worker", "banner", "default_name"]
