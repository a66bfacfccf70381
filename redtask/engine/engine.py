"""One engine: take tasks, run them, report, in a loop.

An engine is a single-threaded process forked by its supervisor. It reports a batch and
takes the next in one call, a turn, and records in the block that it shares with the
supervisor what has started and ended. The supervisor renews its lease.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import secrets
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redtask import link, namespace
from redtask.current import desk
from redtask.engine.block import SURE
from redtask.engine.guard import SIGNAL, BlockGuard, Dismissed
from redtask.engine.output import Output
from redtask.engine.task import Runner, fields_of
from redtask.engine.watchdog import Watchdog
from redtask.error import (
    ConfigurationError,
    NameTaken,
    NoHub,
    RedtaskError,
    SchemaMismatch,
    SignatureError,
)
from redtask.hub import calls
from redtask.hub.calls import Argument, Call, Report
from redtask.hub.records import Registered, Turn, Work, read_bell
from redtask.names import random_name
from redtask.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from redtask.engine.block import Block, Entry
    from redtask.hub.scripts import AnyScheme
    from redtask.signing import Keyring

T = TypeVar("T")

#: Exit codes: a worker of our name is alive elsewhere; all done.
REFUSED: Final = 5
DONE: Final = 0

#: A turn takes as many tasks as will probably be done within this time, ns ...
_STINT: Final = 5_000_000
#: ... and at most this many.
_MOST: Final = 200
#: The average is capped at this, ns, so that one slow task among many short ones is
#: soon forgotten.
_SLOWEST: Final = 100_000_000
#: How often an engine checks whether its lease was renewed, in seconds, and after how
#: many checks it asks the hub.
_LEASE_PAUSE: Final = 0.02
_LEASE_PAUSES: Final = 50

#: An administrator can fix these while we keep trying; the last is about the hub's
#: scheme.
FIXABLE: Final = (ConfigurationError, SchemaMismatch, SignatureError)

_HANDLED: Final = (signal.SIGINT, signal.SIGTERM)
#: Of timers of processor time, as profilers set them. Their default ends the process,
#: in another task if one leaves them; to switch them off costs two system calls.
_TIMED: Final = (signal.SIGPROF, signal.SIGVTALRM)

#: Kinds of outcomes that are failures; and words for others, for the log.
_FAILURES: Final = frozenset({"error", "final", "late"})
_ENDS: Final = {"ok": "completed", "unmet": "was refused", "unbegun": "goes back"}

_log = logging.getLogger("redtask.engine")


@dataclass(frozen=True, slots=True)
class Plan:
    """Configuration shared by the engines of one worker."""

    #: URL of Redis; may contain a password.
    url: str
    #: The hub's name.
    hub: str
    #: The hub's scheme.
    scheme: AnyScheme
    #: Verifies tasks and signs results.
    keyring: Keyring
    #: The worker's name.
    worker: str
    #: Queues to serve.
    queues: Sequence[str]
    #: Describes the worker's process, for its hash on the hub.
    about: Mapping[str, Argument]
    #: Maximum size of a result, in bytes, and of a string in Redis.
    largest: int
    longest: int
    #: An engine is replaced after this many tasks; 0: never.
    max_tasks: int = 0


def deadline(sent: int, lease: int) -> int:
    """Return until when a lease certainly lasts, ns of the monotonic clock.

    ``sent`` is when the call that granted it was sent; ``lease`` is in ms.
    """
    return sent + lease * SURE


class Engine:
    """One engine, from its start to its exit code."""

    def __init__(self, plan: Plan, block: Block, tell: Callable[[], None]) -> None:
        self._plan = plan
        self._block = block
        self._tell = tell
        self._store = Store(plan.url, plan.hub, patience=None)
        self._store.scheme = plan.scheme
        self._store.keyring = plan.keyring
        self._watchdog = Watchdog(block)
        self._store.trouble = self._tried_in_vain
        self._output = Output(
            sys.__stdout__ or sys.stdout, sys.__stderr__ or sys.stderr, block.slate
        )
        block.slate.tell = tell
        self._guard = BlockGuard(block, self._output, tell)
        self._runner = Runner(
            self._store, plan.keyring, self._output, plan.largest, self._guard
        )
        self._runner.longest = plan.longest
        self._uuid = ""
        self._number = 0
        #: Nonce of the next turn, as announced to the hub; "" if it was not.
        self._upcoming = ""
        #: The batch, and its outcomes.
        self._work: list[Work] = []
        self._done: list[Entry] = []
        self._pauses = link.pauses()
        #: Moving average of a task's duration, ns; None before the first.
        self._pace: float | None = None
        self._left = plan.max_tasks
        self._rights = _rights()
        self._mask: set[signal.Signals | int] = set()
        #: Is this a process forked off the engine by a task?
        self._foreign = False

    def run(self) -> int:
        """Run until there is a reason to end; return the exit code."""
        try:
            return self._work_on()
        except Dismissed:
            return DONE

    def _work_on(self) -> int:
        self._prepare()
        try:
            self._join()
            while True:
                turn = self._turn()
                if not turn.registered:
                    _log.warning("the hub has given engine %s up", self._uuid)
                    self._join()
                elif turn.work:
                    self._run(turn.work)
                elif self._block.draining or (self._spent and not self._is_bound):
                    return DONE
                elif not self._block.lease_over:
                    if given := self._wait():
                        self._run(given)
                else:
                    self._wait_for_lease()
        except NameTaken:
            return REFUSED

    # -- the process

    def _prepare(self) -> None:
        self._output.install()
        self._desk = desk(os.getpid())
        self._desk.work, self._desk.progress = (
            self._output.current,
            self._output.progress,
        )
        self._desk.fields = functools.partial(fields_of, self._store)
        self._desk.settle = self._settle
        namespace.enter(self._runner.names)
        self._runner.become_main()
        signal.signal(signal.SIGINT, self._interrupt)
        # An init system signals all processes of a worker, but means the supervisor,
        # which lets running tasks finish.
        for number in (signal.SIGTERM, *_TIMED):
            signal.signal(number, _ignore)
        self._guard.install()
        os.register_at_fork(
            before=self._hold_signals,
            after_in_parent=self._release_signals,
            after_in_child=self._be_foreign,
        )

    def _hold_signals(self) -> None:
        """Block signals until a task's child process has replaced our handlers."""
        if not self._foreign:
            self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)

    def _release_signals(self) -> None:
        if not self._foreign:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _interrupt(self, *_: object) -> None:
        if self._output.inside:
            raise KeyboardInterrupt

    def _be_foreign(self) -> None:
        """Become an ordinary process, because a task has forked it off the engine."""
        if self._foreign:
            return
        self._foreign = True
        self._store.trouble = None
        self._output.inside = False
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, *_TIMED, SIGNAL):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    @property
    def _spent(self) -> bool:
        worn = self._plan.max_tasks > 0 and self._left <= 0
        return worn or self._is_demoted

    @property
    def _is_demoted(self) -> bool:
        """Has a task given up rights that those of others may need?"""
        return _rights() != self._rights

    @property
    def _is_bound(self) -> bool:
        """Are there tasks that only this engine, or few others, may run?"""
        key = self._store.keys.tied(self._uuid)
        return bool(self._store.command("EXISTS", key))

    # -- the hub

    def _ask(self, make: Callable[[], Call[T]]) -> T:
        """Perform a call, however long that takes.

        It is made anew for each try: how long ago a task began and ended changes.
        """
        told, pauses = "", link.pauses()
        while True:
            try:
                return self._store.do(calls.remade(make))
            except FIXABLE as problem:
                if str(problem) != told:
                    _log.error("%s", problem)
                    told = str(problem)
            self._guard.check_dismissal()
            time.sleep(next(pauses))

    def _tried_in_vain(self, begun: float, problem: Exception) -> None:
        """Note that Redis could not be reached, which was first tried at ``begun``."""
        self._guard.check_dismissal()
        self._watchdog.trouble(begun, problem)

    def _join(self) -> None:
        """Register, always under a new uuid."""
        pauses = link.pauses()
        while True:
            # If there is no hub, the supervisor creates it again.
            with contextlib.suppress(NoHub):
                return self._register()
            time.sleep(next(pauses))

    def _register(self) -> None:
        plan, uuid = self._plan, random_name()
        # The supervisor must know it before the hub does.
        self._block.join(uuid)
        self._uuid, self._number, self._upcoming = uuid, 0, ""
        self._work, self._done = [], []
        self._runner.forget()
        self._bell = self._store.keys.bell(uuid)
        sent = time.monotonic_ns()
        about = {**plan.about, "drained": 1} if self._block.quiet else plan.about

        def register() -> Call[Registered]:
            told = {**about, "clock": round(time.time() * 1000)}
            return calls.register(uuid, plan.worker, plan.queues, told)

        joined = self._ask(register)
        # Its worker may have been drained by a name that it had before. Nobody is to
        # take the engine for one that works until the next beat tells.
        self._block.quiet = joined.drained
        self._runner.compare_clocks()
        # It may have been changed since the worker was started.
        self._runner.read_limit()
        self._runner.engine_info = {
            "engine_id": joined.engine_id,
            "engine_uuid": uuid,
            "host": plan.about["host"],
            "pid": os.getpid(),
            "method": "apply",
        }
        self._desk.about = {
            **self._runner.engine_info,
            "worker": plan.worker,
            "hub": plan.hub,
        }
        end = deadline(sent, joined.lease)
        self._block.joined(joined.engine_id, joined.lease, end)
        self._tell()
        _log.debug("engine %s is registered as %s", joined.engine_id, uuid)

    def _want(self) -> int:
        """Return how many tasks to take."""
        if self._block.draining or self._block.lease_over:
            return 0
        if self._spent:
            return 1 if self._is_bound else 0
        if self._pace is None:
            return 1
        want = max(1, min(_MOST, int(_STINT / self._pace)))
        return min(want, self._left) if self._plan.max_tasks else want

    def _turn(self) -> Turn:
        """Report outcomes and take the next tasks, in one round trip."""
        taken = self._block.talk()
        self._number += 1
        # If a ring that handed over a task in this turn was lost, this fetches it.
        nonce = self._upcoming or _nonce()
        want = self._want()
        self._upcoming = _nonce() if want else ""
        done = self._done[taken:]

        def report() -> Call[Turn]:
            return calls.turn(
                self._uuid,
                self._number,
                nonce,
                want,
                self._reports(done),
                upcoming=self._upcoming,
            )

        try:
            turn = self._ask(report)
        except NoHub:
            turn = Turn(registered=False, stale=0, work=[])
        self._work, self._done = turn.work, []
        if not turn.registered:
            return turn
        self._runner.reported(all_count=turn.stale == 0 and taken == 0)
        if turn.stale:
            _log.info("%d outcomes came too late", turn.stale)
        if turn.work:
            pairs = [word for work in turn.work for word in work[:2]]
            if self._block.open(self._number, pairs):
                self._tell()
        else:
            self._block.open_none(self._number)
        return turn

    def _reports(self, entries: Sequence[Entry]) -> list[Report]:
        now, work = time.monotonic_ns(), self._work
        return [
            Report(
                kind,
                work[index].task_id,
                work[index].token,
                (now - begun) // 1000,
                (ended - begun) // 1000,
                fields,
                work[index].folded,
            )
            for kind, index, begun, ended, fields in entries
        ]

    def _wait(self) -> list[Work]:
        """Wait some time for the bell; return the task it brings, if any.

        That task was handed over in the announced turn, which the hub has counted.
        """
        self._block.idle()
        rung, guard = None, self._guard
        guard.waits = True
        try:
            # It may have come just before.
            guard.check_dismissal()
            reply = self._store.block("BLPOP", self._bell, int(link.LONGEST_BLOCK))
        except RedtaskError as problem:
            # The next turn waits until Redis is back. Pause, so as not to spin if turns
            # succeed and this does not, for example when connections are scarce.
            _log.debug("no bell: %s", problem)
            time.sleep(next(self._pauses))
        else:
            self._pauses = link.pauses()
            rung = read_bell(reply[1]) if reply else None
        finally:
            guard.waits = False
        if rung is None or rung[0] != self._upcoming:
            return []
        self._block.talk()
        self._number += 1
        self._upcoming = ""
        work = rung[1]
        self._work, self._done = [work], []
        if self._block.open(self._number, work[:2]):
            self._tell()
        return self._work

    def _wait_for_lease(self) -> None:
        """Pause while the supervisor is stopped or cut off."""
        self._block.idle()
        for _ in range(_LEASE_PAUSES):
            if not self._block.lease_over or self._block.draining:
                break
            time.sleep(_LEASE_PAUSE)

    # -- tasks

    def _run(self, batch: list[Work]) -> None:
        """Run the tasks of a batch that are not taken back."""
        begin, end, run = self._block.begin, self._block.end, self._runner
        clock, done, silence = time.monotonic_ns, self._done, signal.setitimer
        run.begin(batch)
        first = ended = clock()
        count, telling = 0, _log.isEnabledFor(logging.DEBUG)
        # Between tasks only the user is looked at: that takes a third of the time.
        acts_as, user = os.geteuid, self._rights[0]
        # What was taken along waits for the success of those before it.
        failed = batch[0].along
        for work in batch:
            begun = clock()
            over = (failed and work.along) or acts_as() != user
            if over or not begin(count, begun):
                self._hand_back(count)
                break
            kind, fields = run(work)
            # A timer left by the task would fire in the middle of another one.
            silence(signal.ITIMER_REAL, 0.0)
            ended = clock()
            if self._foreign:
                # The task forked, and its child returned here.
                os._exit(1)
            entry = kind, count, begun, ended, fields
            count += 1
            if end(entry):
                done.append(entry)
            elif not self._flush(entry):
                break
            if kind != "ok" or telling:
                self._tell_of(work, kind, (ended - begun) / 1e9, fields)
                failed = failed or kind != "ok"
        if count:
            self._left -= count
            pace = min(_SLOWEST, (ended - first) / count)
            self._pace = pace if self._pace is None else (self._pace + pace) / 2

    def _tell_of(
        self, work: Work, kind: str, seconds: float, fields: Sequence[Any]
    ) -> None:
        """Log how a task ended: failures always, others at level DEBUG."""
        failed = kind in _FAILURES
        level = logging.WARNING if failed else logging.DEBUG
        if not _log.isEnabledFor(level):
            return
        told = f"{'failed' if failed else _ENDS.get(kind, kind)} after {seconds:.3f} s"
        if failed:
            about = dict(zip(fields[::2], fields[1::2], strict=False))
            told += f": {about['ename']}"
            if words := " ".join(str(about.get("evalue", "")).split()):
                told += f": {words}"
        whose = {
            "task_id": work.task_id,
            "attempt": int(work.token.partition(":")[0]),
            "engine_id": self._runner.engine_info["engine_id"],
        }
        _log.log(level, "%s", told, extra=whose)

    def _hand_back(self, first: int) -> None:
        """Return tasks that have not started, unless the supervisor does.

        Our lease may be over, what they wait for has failed, or we are to be replaced.
        """
        if self._block.forsake():
            self._done += [
                ("unbegun", index, 0, 0, ()) for index in range(first, len(self._work))
            ]

    def _flush(self, entry: Entry) -> bool:
        """Report in the middle of a batch, because the log is full.

        Returns False if the hub has given us up.
        """
        self._block.spare()
        return self._report_early(entry[1] + 1, entry)

    def _settle(self) -> None:
        """Report what has ended, because the running task asks about tasks.

        It may have been taken along with those it asks about, which have ended as far
        as it knows. Other threads of a task have no say in when its engine reports.
        """
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or not self._runner.chained or not self._done:
            return
        output, guard = self._output, self._guard
        inside, output.inside = output.inside, False
        try:
            self._report_early(self._runner.begun - 1)
        finally:
            output.inside = inside
        if guard.pending:
            guard.check()

    def _report_early(self, ended: int, *more: Entry) -> bool:
        """Report what has ended, and ``more``; returns False as ``_flush``."""
        taken = self._block.talk()
        done = [*self._done[taken:], *more]

        def report() -> Call[Turn]:
            return calls.turn(self._uuid, None, "", 0, self._reports(done))

        try:
            turn = self._ask(report)
        except NoHub:
            return False
        self._done.clear()
        self._runner.reported(all_count=turn.stale == 0 and taken == 0)
        if self._block.flushed(ended):
            self._tell()
        return turn.registered


def _nonce() -> str:
    """Return 72 random bits, by which the hub recognizes a repeated turn."""
    return secrets.token_urlsafe(9)


def _rights() -> tuple[int, int]:
    """Return as which user and group this process acts."""
    return os.geteuid(), os.getegid()


def _ignore(*_: object) -> None:
    """Ignore a signal. Unlike SIG_IGN, child programs do not inherit this."""
