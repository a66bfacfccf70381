"""The worker: supervisor of the engines of one machine.

A single-threaded process, so that it can safely fork: engines start in milliseconds and
share its memory. One event loop waits for everything: the death of an engine (pidfd),
signals (wakeup fd) and time. It renews the leases of its engines. When one dies it
notices at once, reports what had finished and which task was running, and starts
another. It also takes back tasks that wait behind a slow one, and stops tasks that
exceed their time limit or were aborted.

Calls to Redis have short timeouts and are not retried for long: while Redis is
unreachable, everything else goes on.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import redtask
from redtask import process
from redtask.address import redact_url
from redtask.engine import remains, stacks
from redtask.engine.block import Block, Taken
from redtask.engine.control import Control
from redtask.engine.engine import DONE, REFUSED, Engine, Plan
from redtask.engine.exits import Exits
from redtask.engine.health import Health, notify, watchdog
from redtask.engine.herald import Farewell, Herald
from redtask.engine.inherit import inherit
from redtask.engine.live import Live, last_words
from redtask.engine.orders import Orders
from redtask.engine.seat import PARTING, Seat
from redtask.engine.terms import Limits, Terms
from redtask.engine.warden import Warden
from redtask.error import (
    ConfigurationError,
    HubError,
)
from redtask.hub import calls, scripts
from redtask.orders import instance
from redtask.signals import (
    END_NOW,
    END_WITH_CLUSTER,
    Signals,
    hear_of_children,
    name_of,
)
from redtask.spelling import count
from redtask.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redtask.signing import Keyring

#: Timeout of one reply, and of the retries of a call, in seconds: meanwhile the
#: supervisor reacts to nothing else.
_REPLY: Final = 2.0
_INSIST: Final = 0.05
#: How often batches are checked, in seconds.
_LOOK: Final = 0.01
#: How long the current task may run before earlier outcomes of its batch are taken, and
#: a batch before the rest of it is taken back, ns.
_SLOW_TASK: Final = 5_000_000
_SLOW_BATCH: Final = 20_000_000

#: The signal by which engines wake us; it is ignored by default.
_WAKES: Final = signal.SIGURG
#: Signals to stop; those that do not count as a second request; to stop without waiting
#: for tasks; to drain our engines, and to resume them; to log their stacks.
_STOPS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, END_WITH_CLUSTER)
_STOPS_ONCE: Final = (signal.SIGHUP, END_WITH_CLUSTER)
_STOPS_NOW: Final = (signal.SIGQUIT, END_NOW)
_QUIET: Final = signal.SIGUSR1
_RESUME: Final = signal.SIGCONT
_STACKS: Final = signal.SIGUSR2
_HANDLED: Final = (*_STOPS, *_STOPS_NOW, _QUIET, _RESUME, _STACKS, _WAKES)
#: How long to try to tell an unreachable Redis that the engines are gone, in seconds.
_PARTING: Final = 5.0
#: Interrupted tasks that go on are killed after this many seconds.
_LAST: Final = 3.0
#: Why a task is interrupted, and its engine killed if it goes on, when we are to stop.
_STOPPED: Final = "its worker was stopped"

_GAVE_UP: Final = "its worker gave up"

#: The default maximum size of a Redis string, and the overhead of an envelope.
_REDIS_LIMIT: Final = (512 << 20) - 64
_ENVELOPE: Final = 64

#: Words in a message about an attempt: verb, id, token.
_OF_TASK: Final = 3

#: Exit code if running tasks were stopped.
STOPPED: Final = 1
#: ... if Redis stayed unreachable.
UNREACHABLE: Final = 69
#: ... if the cluster that manages this worker must end with it.
CLUSTER_ENDS: Final = 10
_CRASHED: Final = 70

_log = logging.getLogger("redtask.worker")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a worker."""

    #: Its name, unique among the workers of the hub.
    name: str
    #: Number of engines.
    engines: int
    #: Queues to serve.
    queues: Sequence[str] = ("default",)
    #: An engine is replaced after this many tasks; 0: never.
    max_tasks: int = 0
    #: Is it managed by a cluster?
    kept: bool = False
    #: It gives up after Redis was unreachable for this many seconds; 0: never.
    patience: float = 600.0
    #: When engines and the worker end.
    limits: Limits = field(default_factory=Limits)
    #: Port of the HTTP health check; None: there is none.
    health_port: int | None = None
    #: Labels for display: ``gpu``, ``zone=b``.
    labels: Sequence[str] = ()


class Worker:
    """A supervisor and its engines."""

    def __init__(self, store: Store, keyring: Keyring, options: Options) -> None:
        self.options = options
        self._pid = os.getpid()
        self._keyring = keyring
        self._store = Store(store.url, store.keys.name, patience=_INSIST, reply=_REPLY)
        self._store.scheme = store.scheme
        self._store.keyring = keyring
        self._herald = Herald(
            self._store, options.name, keyring.fingerprint, self._forsake
        )
        self._seats = _seats(options.engines)
        self._warden = Warden(self._seats, self._herald.report)
        self._live = Live(self._store, self._seats)
        self._orders = Orders(self._store, options.name, self._seats, self._stop)
        #: Messages that cannot wait for a beat.
        self._control = Control(
            self._store, options.name, keyring, self._herald, self._told
        )
        #: Periodic jobs: when each is due, s of the monotonic clock, and what to call.
        self._chores: Sequence[tuple[Callable[[], float], Callable[[], None]]] = (
            (lambda: self._warden.due, self._warden.look),
            (lambda: self._herald.due, self._speak),
            (lambda: self._control.due, self._control.open),
            (lambda: self._live.due, self._live.look),
            (lambda: self._orders.stacks.due, self._orders.stacks.look),
            (lambda: self._terms.due, self._look_at_terms),
            (lambda: self._press_at, self._press),
            (lambda: min(seat.end_by for seat in self._seats), self._end_late),
            (lambda: self._watchdog_at, self._pat),
        )
        self._terms = Terms(
            options.limits, self._store, options.queues, self._seats, self._stop
        )
        #: The health check; None if there is none.
        self._health: Health | None = None
        #: When the drain period is over, and when to notify systemd's watchdog, s of
        #: the monotonic clock.
        self._press_at = float("inf")
        self._watchdog_at = float("inf")
        #: When to check batches next, s of the monotonic clock; None: no need.
        self._look_at: float | None = None
        self._ready = False
        #: Did a signal drain our engines?
        self._quiet = False
        #: How far we are with stopping: as many steps as we were asked, or more if the
        #: time of one was over; and were we asked twice?
        self._asked = 0
        self._insisted = False
        self._code = DONE

    # -- the loop

    def run(self) -> int:
        """Supervise until asked to stop; return the exit code.

        Raises ``NameTaken`` if a worker of this name is alive on this machine, and
        ``ConnectionLost`` if Redis cannot be reached at the start.
        """
        hear_of_children()
        self._selector = selectors.DefaultSelector()
        needed = {_WAKES, END_WITH_CLUSTER, END_NOW}
        self._signals = Signals(self._selector, _HANDLED, self._hear, needed=needed)
        try:
            # A request to stop is heard once the loop begins, before it forks.
            with self._signals:
                self._begin()
                while not self._is_finished():
                    for key, _ in self._selector.select(self._pause()):
                        key.data()
                    self._act()
        finally:
            self._let_go()
        if lost := self._herald.outcomes:
            _log.error("%s cannot be reported", count(lost, "outcome"))
            self._code = self._code or STOPPED
        if self._orders.ends_cluster and self.options.kept and self._code == DONE:
            return CLUSTER_ENDS
        return self._code

    def _begin(self) -> None:
        """Do all that comes before the first engine."""
        self._plan = self._make_plan()
        self._orders.instance = instance(self._plan.about)
        inherit(self._store, self.options.name, self._plan.about)
        if self.options.health_port is not None:
            self._health = Health(self.options.health_port, self.health)
            _log.info("how it is can be asked on port %d", self._health.port)
            self._health.serve(self._selector)
        self._watchdog_at = time.monotonic() + watchdog()
        gc.collect()
        self._control.serve(self._selector)

    def _pause(self) -> float:
        """Return how long to wait for events, in seconds."""
        times = [due() for due, _ in self._chores]
        times += [seat.start_at for seat in self._seats if seat.start_at is not None]
        if self._look_at is not None:
            times.append(self._look_at)
        if any(seat.to_drain for seat in self._seats):
            return 0.0
        return max(0.0, min(times) - time.monotonic())

    def _act(self) -> None:
        """Do whatever is due."""
        if self._look_at is not None and time.monotonic() >= self._look_at:
            self._look()
        for seat in self._seats:
            if seat.to_drain:
                self._drain(seat)
        for due, do in self._chores:
            if time.monotonic() >= due():
                do()
        for seat in self._seats:
            if seat.start_at is not None and time.monotonic() >= seat.start_at:
                self._fork(seat)

    def _speak(self) -> None:
        self._herald.speak(self._seats)
        if self._herald.away > self.options.patience > 0 and not self._asked:
            self._give_up()

    def _give_up(self) -> None:
        """End because Redis stays unreachable, unless there is more to report."""
        # Also if it has ended: a large result is nowhere but in its engine.
        inside = any(seat.pid and seat.block.inside for seat in self._seats)
        if inside or self._herald.has_news:
            return
        _log.error("Redis has been away for %.0f s: giving up", self._herald.away)
        self._code, self._asked = UNREACHABLE, 1
        for seat in self._seats:
            seat.start_at = None
            if seat.pid:
                self._part_with(seat)

    def _part_with(self, seat: Seat) -> None:
        """End an engine that, as far as we know, runs nothing."""
        taken = seat.block.take_back(for_good=True)
        if taken is None or taken.inside:
            seat.kill(_GAVE_UP)
        else:
            # What has not begun goes back when the hub finds the engine gone.
            seat.dismiss(_GAVE_UP)

    def _is_finished(self) -> bool:
        if not self._asked or any(seat.pid for seat in self._seats):
            return False
        if self._insisted:
            return True
        if self._code == UNREACHABLE or self._herald.away > _PARTING:
            # The hub will notice by itself that the engines are gone.
            return not self._herald.outcomes
        return not self._herald.has_news

    # -- signals

    def _hear(self, number: int) -> None:
        if number == _WAKES:
            self._nudged()
        elif number in _STOPS:
            # Whoever has asked may close the terminal, or end the cluster.
            if not (self._asked and number in _STOPS_ONCE):
                self._stop(name_of(number))
        elif number in _STOPS_NOW:
            if not self._asked:
                self._stop(name_of(number))
            self._stop(name_of(number))
        elif number == _QUIET or (number == _RESUME and self._quiet):
            # A stopped process that is continued gets SIGCONT as well.
            self._quiet = number == _QUIET
            self._herald.wish(resume=not self._quiet)
        elif number == _STACKS:
            self._orders.stacks.ask(self._seats, stacks.log_stacks)

    def _nudged(self) -> None:
        """Watch the engines: one started a batch or a limited task, or registered."""
        self._warden.wake()
        self._live.wake()
        self._herald.heed(self._seats)
        for seat in self._seats:
            if seat.pid and seat.block.leaving and not seat.is_leaving:
                seat.expect_end()
                # What the hub has placed on it goes to others meanwhile.
                self._herald.end_soon(seat.block.uuid)
        if self._look_at is None:
            self._look_at = time.monotonic() + _LOOK
        if not self._ready and all(seat.block.registered for seat in self._seats):
            self._ready = True
            are = "is" if len(self._seats) == 1 else "are"
            engines = count(len(self._seats), "engine")
            _log.info("%s %s ready", engines, are)
            notify(f"READY=1\nSTATUS={engines}")

    # -- health

    def health(self) -> dict[str, Any]:
        """Return the worker's health: does it take tasks, and if not, why?"""
        engines = [seat.block for seat in self._seats if seat.pid]
        joined = [one for one in engines if one.registered]
        working = [one for one in joined if not (one.quiet or one.lease_over)]
        why = ""
        if self._asked:
            why = "it stops"
        elif not self._herald.is_heard:
            why = "Redis is away"
        elif not joined:
            why = "no engine has joined"
        elif not working:
            drained = any(one.quiet for one in joined)
            why = "its engines are drained" if drained else "their leases are over"
        return {
            "consuming": not why,
            "why": why,
            "worker": self.options.name,
            "queues": list(self.options.queues),
            "engines": len(engines),
            "joined": len(joined),
            "ended": sum(one.ended for one in engines),
        }

    def _pat(self) -> None:
        """Notify systemd's watchdog."""
        self._watchdog_at = time.monotonic() + watchdog()
        notify("WATCHDOG=1")

    def _look_at_terms(self) -> None:
        if not self._asked:
            self._terms.look()

    # -- messages

    def _forsake(self, task_id: str, token: str) -> None:
        self._warden.abort(task_id, token, "the hub had given its engine up")

    def _told(self, text: str) -> None:
        """Obey a message, which a key holder has signed."""
        words = text.split(" ")
        if words[0] == "abort" and len(words) == _OF_TASK:
            self._warden.abort(*words[1:])
        elif words[0] == "order":
            self._orders.obey(words[1:])
        elif words[0] == "look":
            self._herald.beat_now()
        elif words[0] == "listen" and len(words) == _OF_TASK:
            self._live.listen(*words[1:])
        else:
            _log.warning("a message is not understood: %.80r", text)

    # -- engines

    def _make_plan(self) -> Plan:
        status = self._store.do(calls.status())
        self._herald.lease = int(status.hub["lease"])
        longest = self._longest_word()
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
                "labels": ",".join(self.options.labels),
            },
            largest=min(int(status.hub["max_payload"]), longest),
            longest=longest,
            max_tasks=self.options.max_tasks,
        )

    def _longest_word(self) -> int:
        """Return the maximum payload, beyond which Redis closes the connection."""
        try:
            _, size = self._store.command("CONFIG", "GET", "proto-max-bulk-len")
        except (ConfigurationError, HubError, ValueError):
            # CONFIG is not permitted, or this server has no such setting.
            return _REDIS_LIMIT
        return int(size) - _ENVELOPE

    def _fork(self, seat: Seat) -> None:
        if self._asked:
            # An order to restart engines came too late.
            seat.start_at = None
            return
        # Bundle scripts once, before forking.
        for name in ("register", "turn"):
            scripts.bundle(name, self._store.scheme)
        gc.freeze()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
        sheet = -1
        try:
            # It needs /dev/shm, which may be full.
            block = Block()
            # The successor of a drained engine is drained, too.
            block.quiet = seat.block.quiet
            sheet = os.memfd_create("stack")
            pid = os.fork()
            if pid == 0:
                self._be_engine(seat.number, block, sheet)
            seat.sit(pid, block, sheet)
        except OSError as problem:
            if sheet >= 0:
                os.close(sheet)
            _log.error("no engine can be started: %s", problem)
            seat.put_off()
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        bury = partial(self._bury, seat)
        self._selector.register(seat.pidfd, selectors.EVENT_READ, bury)

    def _be_engine(self, number: int, block: Block, sheet: int) -> None:
        """Run the engine in the child process; never return."""
        code = _CRASHED
        try:
            # Only the supervisor must get a terminal's Ctrl-C: it lets tasks finish.
            os.setsid()
            process.die_with(self._pid)
            remains.mark(self._pid, number)
            signal.set_wakeup_fd(-1)
            for handled in _HANDLED:
                signal.signal(handled, signal.SIG_DFL)
            self._let_go()
            # Release the blocks of other engines.
            self._seats.clear()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            _reseed()
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.close(nothing)
            stacks.listen(sheet)
            exits, tell = Exits(), partial(_tell, self._pid)
            code = Engine(self._plan, block, tell).run()
            if code == DONE:
                block.leave()
                if exits.are_left:
                    tell()
                exits.run()
        except BaseException:  # noqa: BLE001 - the supervisor's stack is below
            _log.exception("the engine of seat %d stops", number)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _let_go(self) -> None:
        """Close all resources of the supervisor."""
        self._selector.close()
        self._signals.close()
        for seat in self._seats:
            if seat.pid:
                seat.let_go()
        self._control.close()
        if self._health is not None:
            self._health.close()
        self._store.close()

    def _bury(self, seat: Seat) -> None:
        """Handle the death of an engine: save what it left, and schedule another."""
        self._selector.unregister(seat.pidfd)
        code, memory = seat.reap()
        uuid = seat.block.uuid
        outcomes, begun = seat.block.bequeath()
        # A task may exit with any code.
        in_order = code == DONE and not begun
        refused = code == REFUSED and not begun and not seat.block.registered
        stop = seat.stopped
        if in_order:
            reason = seat.ended_for or ("drained" if self._asked else "recycled")
        elif stop:
            reason = stop.reason
        else:
            reason = seat.ended_for or f"{_reason(code)}, memory {memory} MiB"
        if uuid:
            self._herald.report(Taken(uuid, outcomes, inside=False, more=False))
            late = stop is not None and stop.late
            parting = stop.parting if stop else seat.ended_for == _STOPPED
            last = last_words(seat, begun[0]) if len(begun) == 1 else []
            self._herald.bid_farewell(
                Farewell(uuid, reason, begun, late, parting, last)
            )
        if refused:
            self._refused()
        meant = in_order or seat.ended_for or stop or refused
        if not meant:
            lost = f", in task {', '.join(begun)}" if begun else ""
            _log.warning("%s is gone: %s%s", seat.called, reason, lost)
        if not self._asked and not seat.closed:
            seat.start_at = time.monotonic() + (0.0 if meant else seat.delay())

    def _look(self) -> None:
        """Take back what waits too long in the middle of batches."""
        now, more = time.monotonic_ns(), False
        for seat in self._seats:
            if seat.pid:
                taken = seat.block.take(
                    waited=_SLOW_TASK, patience=_SLOW_BATCH, now=now
                )
                self._herald.report(taken)
                more = more or taken.more
        self._look_at = time.monotonic() + _LOOK if more else None

    # -- stopping

    def _stop(self, why: str) -> None:
        """Let tasks finish; the second time, return them; the third time, kill them."""
        self._insisted = self._asked > 0
        self._stop_harder(why)

    def _press(self) -> None:
        """Stop what still runs, because its time is over.

        What has finished is reported all the same, as soon as Redis is back.
        """
        if self._insisted or any(map(_is_busy, self._seats)):
            self._stop_harder("its time is over")
            return
        self._press_at = float("inf")
        _log.info("its time is over; what has finished is still to be reported")

    def _stop_harder(self, why: str) -> None:
        self._asked += 1
        self._press_at = float("inf")
        if self._asked == 1:
            _log.info("%s: stopping; what runs may finish (again: stop now)", why)
            notify("STOPPING=1")
            self._drain_all()
            if self.options.limits.drain is not None:
                self._press_at = time.monotonic() + self.options.limits.drain
            return
        if any(seat.pid and not seat.is_leaving for seat in self._seats):
            self._code = STOPPED
        if self._asked == 2:  # noqa: PLR2004 - the second time
            _log.warning(
                "%s: stopping now; what runs goes back, if it has retries", why
            )
            self._warden.stop_all(_STOPPED)
            self._press_at = time.monotonic() + _LAST
            return
        _log.warning("%s: ending what runs", why)
        for seat in self._seats:
            if _is_busy(seat) or (self._insisted and seat.pid):
                seat.kill(_STOPPED)

    def _drain_all(self) -> None:
        for seat in self._seats:
            seat.start_at = None
            seat.to_drain = seat.pid != 0

    def _drain(self, seat: Seat) -> None:
        """Let an engine finish its running task, then end."""
        taken = seat.block.take_back(for_good=True)
        if taken is None:
            return
        seat.to_drain = False
        self._herald.report(taken)
        if taken.inside:
            self._herald.end_soon(seat.block.uuid)
        else:
            # It cannot start anything, and its outcomes are in its log.
            seat.dismiss("drained")

    def _end_late(self) -> None:
        """Kill engines that were to end and have not."""
        for seat in self._seats:
            if time.monotonic() >= seat.end_by:
                if seat.block.leaving:
                    words = "%s is ended: what was left for its end takes longer than"
                    _log.warning(f"{words} %g s", seat.called, PARTING)
                seat.end_by = float("inf")
                seat.kill(seat.ended_for or "recycled")

    def _refused(self) -> None:
        """Stop, because a worker of our name is alive on another machine."""
        if self._code != REFUSED:
            _log.error(
                "a worker named %s is alive: stop that one, or choose another --name",
                self.options.name,
            )
            self._code = REFUSED
            self._asked = max(1, self._asked)
            self._drain_all()


def _seats(number: int) -> list[Seat]:
    """Return empty seats. Raises ``ConfigurationError`` without shared memory."""
    try:
        return [Seat(at) for at in range(number)]
    except OSError as problem:
        raise ConfigurationError(
            f"the shared memory of engines cannot be made: {problem.strerror}. "
            "A worker needs a /dev/shm that can be written to and is not full"
        ) from problem


def _is_busy(seat: Seat) -> bool:
    """Does an engine run a task, as far as we know?"""
    return seat.pid != 0 and (seat.to_drain or seat.block.inside_since > 0)


def _reason(code: int) -> str:
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            # Some real-time signals have no name.
            return f"killed by signal {-code}"
        return f"killed by signal {-code} ({name})"
    return f"exit code {code}"


def _tell(supervisor: int) -> None:
    """Wake the supervisor.

    By a signal, because a task might close a file descriptor, whose number might then
    be reused.
    """
    # A task may have given up the right to do that.
    with contextlib.suppress(PermissionError):
        os.kill(supervisor, _WAKES)


def _reseed() -> None:
    """Reseed NumPy, so that engines draw different numbers; Python reseeds itself."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def default_name() -> str:
    """Return a worker name made of host and process."""
    host = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else "-"
        for letter in socket.gethostname()
    )
    # The next worker of a container has the same host and, mostly, the same pid.
    number = secrets.token_hex(3) if process.is_contained() else os.getpid()
    return f"{host[:40] or 'worker'}-{number}"


def banner(store: Store, options: Options) -> str:
    """Return a line that describes the worker, for its start."""
    return (
        f"redtask {redtask.__version__}: worker {options.name}, hub "
        f"{store.keys.name} at {redact_url(store.url)}, queues "
        f"{','.join(options.queues)}, {count(options.engines, 'engine')}"
    )


__all__ = ["Options", "Worker", "banner", "default_name"]
