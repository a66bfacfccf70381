"""The keeper: the process that owns a cluster's Redis and workers.

There is one, whether a script, a terminal or ``--daemonize`` starts the cluster. It
starts the embedded Redis (or adopts a running one), then workers; restarts what dies;
and in the end drains the workers, also those of ``redtask cluster engines``, and stops
what it started, keeping the data. Its one event loop waits for everything: process
exits (pidfds), signals (wakeup fd), messages of the script, time.

Nothing is left behind, whatever dies: the keeper of a script or terminal ends with it
(it has a pidfd of the script, which, unlike a pipe, the script's children cannot
inherit), as does that of a daemon until this is ready, and the kernel ends workers and
Redis with their keeper. Only a daemon's Redis survives if its keeper is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redtask
from redtask import files, process
from redtask.connect import connect
from redtask.engine.engine import DONE, REFUSED
from redtask.engine.worker import CLUSTER_ENDS, UNREACHABLE, default_name
from redtask.error import (
    ClusterError,
    ClusterRunning,
    ConnectionLost,
    RedtaskError,
)
from redtask.hub import calls
from redtask.keeper import guests
from redtask.keeper.card import Card, card_file, lock
from redtask.keeper.crew import Crew
from redtask.keeper.line import as_words, places
from redtask.keeper.log import ClusterLog
from redtask.keeper.plan import DAEMON, SCRIPT, TERMINAL, Plan
from redtask.keeper.server import KeptServer
from redtask.profile import LOCK, Profile
from redtask.scheme import configure, find
from redtask.signals import END_WITH_CLUSTER, Signals, hear_of_children, name_of
from redtask.spelling import count
from redtask.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from redtask.hub.scripts import AnyScheme
    from redtask.keeper.line import Line

#: How long running tasks may take after their script died, in seconds.
_ORPHAN_DRAIN: Final = 3.0
#: How often to ask the hub which engines have joined, in seconds.
_LOOK: Final = 0.02
#: A Redis that cannot be reached may end for so long, in seconds.
_DYING: Final = 1.0

_ASKING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_INTERRUPTED: Final = 130

#: Why it ends if a client has told all workers to stop.
_ORDER: Final = "an order"

_log = logging.getLogger("redtask.cluster")


@dataclass(slots=True)
class _Ending:
    """The request to end, if any."""

    #: How many times we were asked.
    asked: int = 0
    #: Seconds that running tasks may take; None: no limit.
    drain: float | None = None
    why: str = ""
    #: Have the workers been told?
    told: bool = False


class _Over(BaseException):
    """We were asked to end while waiting for something. Not to be handled."""


class Keeper:
    """Runs the Redis and the workers of one cluster."""

    def __init__(self, plan: Plan, line: Line | None = None) -> None:
        self.plan = plan
        self._line = line
        self._crews: list[Crew] = []
        self._guests: list[guests.Guest] = []
        self._ending = _Ending()
        #: May a signal interrupt what we are doing?
        self._interruptible = False
        self._server: KeptServer | None = None
        self._parent_fd = -1
        self._folder: Path | None = None
        #: The profile's lock; -1 if we do not hold it.
        self._lock = -1
        self._log_file = ClusterLog()
        self._crew_number = 0
        self._store: Store | None = None
        self._since = time.time()
        self._ready = False
        self._code = 0

    # -- start and end

    def run(self, ready: Callable[[Keeper], None]) -> int:
        """Start everything, call ``ready``, run until told to end; return a code.

        Errors before that are raised, and leave nothing behind.
        """
        hear_of_children()
        self._selector = selectors.DefaultSelector()
        signals = Signals(
            self._selector,
            (*_ASKING, signal.SIGQUIT, END_WITH_CLUSTER),
            self._hear_signal,
            needed={signal.SIGTERM, signal.SIGQUIT, END_WITH_CLUSTER},
            at_once=self._interrupt,
        )
        with contextlib.closing(self._selector), contextlib.closing(signals), signals:
            try:
                with contextlib.suppress(_Over):
                    self._start()
                    ready(self)
                    self._ready = True
                    while not self._ending.asked:
                        self._turn()
            finally:
                self._end()
        return self._code if self._ready else _INTERRUPTED

    def _start(self) -> None:
        plan = self.plan
        if plan.parent:
            self._watch_parent(plan.parent)
        if self._line is not None:
            self._selector.register(
                self._line.source, selectors.EVENT_READ, self._hear_script
            )
        if plan.private:
            home = tempfile.mkdtemp(prefix="redtask-")
            self._folder = Path(home)
            _forget_settings()
            os.environ["REDTASK_HOME"] = home
        self.profile = self._load()
        scheme = self._find_scheme()
        self._folder = self.profile.folder
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as problem:
            raise files.refused(self._folder, problem) from problem
        if plan.mode != SCRIPT:
            self._lock_profile(self._folder)
        if plan.mode != TERMINAL:
            self._log_file.open(self._folder)
            _log.info("redtask %s: a %s's cluster", redtask.__version__, plan.mode)
        own = not self._has_url()
        if own:
            self._start_server()
        self._enter_hub(scheme)
        self._write_card()
        if plan.engines:
            self._add(plan.engines, plan.patience)

    def _enter_hub(self, scheme: AnyScheme | None) -> None:
        """Connect to the hub and configure it; again if its Redis ends meanwhile."""
        while True:
            deaths = self._settled()
            try:
                return self._configure(scheme)
            except ConnectionLost:
                if not self._died_since(deaths):
                    raise

    def _configure(self, scheme: AnyScheme | None) -> None:
        plan = self.plan
        with self._interruptions():
            store, _ = connect(self.profile, patience=plan.patience)
        store.close()
        # Connecting may have created the key.
        self.profile = self._load()
        self._store = Store(store.url, store.keys.name, patience=0.5, reply=2.0)
        self._store.scheme, self._store.keyring = store.scheme, store.keyring
        wanted = {"hwm": plan.hwm, "max_payload": plan.max_payload}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        configure(self._store, chosen, scheme)

    def _load(self) -> Profile:
        plan = self.plan
        return Profile.load(plan.profile, url=plan.url, key=plan.key, told=plan.told)

    def _find_scheme(self) -> AnyScheme | None:
        """Return the scheme to set on the hub; None to leave it as it is."""
        if self.plan.scheme is not None:
            return find(self.plan.scheme)
        if self.profile.scheme is not None:
            return find(self.profile.scheme, self.profile.folder)
        return None

    def _has_url(self) -> bool:
        """Has the user named a Redis, rather than an embedded server of ours?"""
        profile = self.profile
        return profile.url is not None and profile.url_source != str(
            profile.server_folder / "url"
        )

    def _end(self) -> None:
        """Drain and stop everything we started; safe to call at any point."""
        if not self._ending.asked:
            # Something failed: do not wait for running tasks.
            self._ask_to_end("a failure", drain=0.0)
        try:
            self._tell_all()
            with contextlib.suppress(_Over):
                while self._crews or self._guests:
                    self._turn()
            if self._server is not None:
                self._server.stop()
        finally:
            for crew in self._crews:
                crew.kill()
            for guest in self._guests:
                os.close(guest.pidfd)
            self._clean()

    def _clean(self) -> None:
        folder = self._folder
        if folder is not None:
            if self.plan.private:
                home = os.environ["REDTASK_HOME"]
                shutil.rmtree(home, ignore_errors=True)
            elif self._lock >= 0:
                card_file(folder).unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
        if self._server is not None:
            self._server.let_go()
        if self._store is not None:
            self._store.close()

    # -- the loop

    def _turn(self, most: float | None = None) -> None:
        """Wait for events, at most ``most`` seconds, and handle them."""
        times = [
            at
            for crew in self._crews
            for at in (crew.start_at, crew.press_at)
            if at is not None
        ]
        times += [one.press_at for one in self._guests if one.press_at is not None]
        server = self._server
        if server is not None and server.start_at is not None:
            times.append(server.start_at)
        if self._log_file.look_at is not None:
            times.append(self._log_file.look_at)
        now = time.monotonic()
        pauses = [max(0.0, at - now) for at in times]
        if most is not None:
            pauses.append(most)
        for key, _ in self._selector.select(min(pauses, default=None)):
            key.data()
        self._tend_crews()
        now = time.monotonic()
        if server is not None:
            server.start_if_due(now)
        self._log_file.look_if_due(now)
        self._serve_script()

    def _tend_crews(self) -> None:
        """Restart and press workers for which it is time."""
        now = time.monotonic()
        for crew in list(self._crews):
            if crew.start_at is not None and now >= crew.start_at:
                self._restart(crew)
            if crew.press_at is not None and now >= crew.press_at:
                crew.press()
        for guest in list(self._guests):
            if guest.press_at is not None and now >= guest.press_at:
                if guest.pressed:
                    self._lose(guest)
                else:
                    guest.press()

    def _until(self, done: Callable[[], bool], *, look: float | None = None) -> None:
        """Run the loop until ``done()``. Raises ``_Over`` if asked to end before."""
        while not done():
            self._check_asked()
            self._turn(look)

    def _wait(self, seconds: float) -> None:
        """Wait a little for Redis to start, and handle all else meanwhile.

        If we were asked to end, workers still need it: what they run may finish. Raises
        ``_Over`` when they are gone.
        """
        for key, _ in self._selector.select(seconds):
            key.data()
        if self._ending.asked:
            self._tell_all()
            if not self._crews and not self._guests:
                raise _Over
        self._tend_crews()

    def _check_asked(self) -> None:
        if self._ending.asked:
            raise _Over

    # -- requests to end

    @contextlib.contextmanager
    def _interruptions(self) -> Iterator[None]:
        """Let signals interrupt the block."""
        self._interruptible = True
        try:
            self._check_asked()
            yield
        finally:
            self._interruptible = False

    def _interrupt(self, number: int, _frame: object) -> None:
        """Raise within ``_interruptions``; otherwise the loop handles the signal."""
        if self._interruptible:
            self._interruptible = False
            self._ask_to_end(name_of(number), drain=0.0)
            raise _Over

    def _hear_signal(self, number: int) -> None:
        if number in (signal.SIGHUP, END_WITH_CLUSTER) and self._ending.asked:
            # The terminal was closed, or somebody else waits for the end: nobody has
            # asked for more.
            return
        drain = 0.0 if number == signal.SIGQUIT else None
        self._ask_to_end(name_of(number), drain=drain)

    def _watch_parent(self, parent: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._parent_fd = os.pidfd_open(parent)
        if os.getppid() != parent or self._parent_fd < 0:
            # It died before we could look, and we were reparented.
            self._ask_to_end("the script is dead", drain=0.0)
            raise _Over
        self._selector.register(
            self._parent_fd, selectors.EVENT_READ, self._parent_died
        )

    def _parent_died(self) -> None:
        self._selector.unregister(self._parent_fd)
        self._ask_to_end("the script ended", drain=_ORPHAN_DRAIN)

    def _hear_script(self) -> None:
        assert self._line is not None  # noqa: S101 - it is registered
        if not self._line.read():
            self._selector.unregister(self._line.source)
            self._ask_to_end("the script closed its end", drain=_ORPHAN_DRAIN)

    def _ask_to_end(self, why: str, *, drain: float | None) -> None:
        ending = self._ending
        ending.asked += 1
        if ending.asked == 1:
            ending.drain, ending.why = drain, why
            if self._crews:
                kindly = drain is None
                hint = "; what runs may finish (again: stop at once)" if kindly else ""
                _log.info("%s: stopping%s", why, hint)
            return
        hurry = drain or 0.0
        ending.drain = hurry if ending.drain is None else min(hurry, ending.drain)
        if not ending.told:
            return
        at = time.monotonic() + hurry
        everybody: list[Crew | guests.Guest] = [*self._crews, *self._guests]
        for one in everybody:
            one.press_at = at if one.press_at is None else min(at, one.press_at)

    # -- requests of a script

    def _serve_script(self) -> None:
        line = self._line
        while line is not None and line.lines:
            words = line.lines.pop(0)
            if words["do"] == "end":
                self._ask_to_end("the script", drain=words["drain"])
                continue
            try:
                answer = self._serve(words)
            except RedtaskError as problem:
                answer = as_words(problem)
            line.say({**answer, "mark": words["mark"]})

    def _serve(self, words: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a script wants; return the answer."""
        if self._ending.asked:
            raise ClusterError("the cluster is being stopped")
        if words["do"] == "start":
            crew = self._add(words["engines"], words["patience"])
            return {"name": crew.name}
        return {"names": self._dismiss(words["name"], words["drain"])}

    # -- workers

    def _add(self, engines: int, patience: float) -> Crew:
        """Start one more worker and wait until its engines have joined."""
        name = default_name()
        if self._crew_number:
            name = f"{name}-{self._crew_number}"
        self._crew_number += 1
        crew = Crew(name, engines)
        self._crews.append(crew)
        deadline = time.monotonic() + patience
        joined, deaths = 0, self._settled()

        def done() -> bool:
            nonlocal joined, deaths
            if crew.code is not None:
                if crew.code != UNREACHABLE or not self._died_since(deaths):
                    raise self._failure(crew)
                deaths = self._settled()
                self._launch(crew)
            with contextlib.suppress(ConnectionLost):
                joined = self._joined(crew.name)
            if joined < engines and time.monotonic() > deadline:
                self._tell(crew, 0.0)
                raise ClusterError(
                    f"{joined} of {engines} engines joined within {patience:g} seconds"
                    f"{self._log_file.tail(crew.log_begin)}"
                )
            return joined >= engines

        self._launch(crew)
        self._until(done, look=_LOOK)
        crew.joined = True
        self._write_card()
        return crew

    def _launch(self, crew: Crew) -> None:
        """Start a worker that somebody waits for."""
        try:
            self._spawn(crew)
        except OSError as problem:
            self._crews.remove(crew)
            raise ClusterError(f"a worker cannot be started: {problem}") from None

    def _joined(self, name: str) -> int:
        assert self._store is not None  # noqa: S101 - we are connected
        status = self._store.do(calls.status(10000))
        return sum(engine.worker == name for engine in status.engines)

    def _failure(self, crew: Crew) -> RedtaskError:
        self._crews.remove(crew)
        return ClusterError(
            f"the worker {crew.how} before its engines had joined"
            f"{self._log_file.tail(crew.log_begin)}"
        )

    def _spawn(self, crew: Crew) -> None:
        crew.log_begin = self._log_file.size
        loud = self._log_file.path is not None or self.plan.verbose
        environment = {**os.environ, **places(), **self._settings()}
        crew.spawn([] if loud else ["--quiet"], environment)
        self._selector.register(
            crew.pidfd, selectors.EVENT_READ, partial(self._bury, crew)
        )

    def _restart(self, crew: Crew) -> None:
        """Start a worker again; later, if that cannot be done now."""
        try:
            self._spawn(crew)
        except OSError as problem:
            _log.error("worker %s cannot be started: %s", crew.name, problem)
            crew.born = time.monotonic()
            crew.start_again()

    def _settings(self) -> dict[str, str]:
        """Return settings to pass to a worker in its environment, safe for secrets."""
        profile = self.profile
        assert profile.url is not None  # noqa: S101 - there is a Redis by now
        mark = "&" if "?" in profile.url else "?"
        told = {
            "REDTASK_PROFILE": profile.name,
            "REDTASK_URL": f"{profile.url}{mark}hub={profile.hub}",
            "REDTASK_KEPT": "1",
        }
        if self.plan.key is not None:
            told["REDTASK_KEY"] = self.plan.key
        return told

    def _bury(self, crew: Crew) -> None:
        """Handle the death of a worker: restart it, unless it was told to stop."""
        self._selector.unregister(crew.pidfd)
        crew.reap()
        if crew.told or self._ending.asked:
            self._crews.remove(crew)
            self._code = self._code or int(crew.told > 1)
            return
        if not crew.joined:
            return  # `_add` raises that
        if crew.code in {DONE, CLUSTER_ENDS}:
            # An operator has stopped it, with an order or a signal.
            _log.info("worker %s was stopped", crew.name)
            self._crews.remove(crew)
            if crew.code == CLUSTER_ENDS:
                self._ask_to_end(_ORDER, drain=None)
            return
        _log.warning("worker %s %s", crew.name, crew.how)
        if crew.code != REFUSED:
            # Its name is not taken: a restart may help.
            crew.start_again()

    def _tell(self, crew: Crew, drain: float | None) -> None:
        """Tell a worker to drain, and to stop harder after ``drain`` seconds."""
        crew.start_at = None
        crew.tell(drain)
        if crew.process is None and crew in self._crews:
            self._crews.remove(crew)

    def _tell_all(self) -> None:
        """Tell the workers, once, that we are ending."""
        if not self._ending.told:
            self._ending.told = True
            for crew in list(self._crews):
                self._tell(crew, self._ending.drain)
            if self._lock >= 0 and self._folder is not None:
                self._tell_guests(self._folder)

    def _tell_guests(self, folder: Path) -> None:
        for guest in guests.find(folder):
            try:
                # An order has reached it, too, and a second request means: at once.
                if self._ending.why != _ORDER:
                    guest.tell(self._ending.drain)
            except PermissionError:
                os.close(guest.pidfd)
                continue
            self._guests.append(guest)
            self._selector.register(
                guest.pidfd, selectors.EVENT_READ, partial(self._lose, guest)
            )

    def _lose(self, guest: guests.Guest) -> None:
        """Handle the end of a worker that another process has started.

        Or that it does not end: it is not ours to kill.
        """
        self._selector.unregister(guest.pidfd)
        os.close(guest.pidfd)
        self._guests.remove(guest)

    def _dismiss(self, name: str | None, drain: float | None) -> list[str]:
        """Drain one worker, or all; return their names once they are gone."""
        leaving = [crew for crew in self._crews if name is None or crew.name == name]
        if not leaving and name is not None:
            raise ClusterError(f"no such set of engines: {name!r}")
        for crew in leaving:
            self._tell(crew, drain)
        self._until(lambda: not any(crew in self._crews for crew in leaving))
        self._write_card()
        return [crew.name for crew in leaving]

    # -- the embedded Redis

    def _start_server(self) -> None:
        self._server = KeptServer(
            self.profile.server_folder,
            self._selector,
            lambda: not self._ending.asked or bool(self._crews or self._guests),
            self._wait,
            mortal=self.plan.mode != DAEMON,
        )
        # Before it starts, which may take minutes, so that nobody takes it for what a
        # dead cluster has left.
        self._server.claim()
        with self._interruptions():
            self._server.embedded.start()
        self._server.watch()
        self.profile = Profile.load(self.plan.profile, key=self.plan.key)

    def _settled(self) -> int:
        """Wait until the embedded Redis runs; return how often it has ended.

        It may be another keeper's that is just ending, as when a notebook's kernel is
        restarted.
        """
        server = self._server
        if server is None:
            return 0
        deadline = time.monotonic() + self.plan.patience
        self._until(lambda: server.start_at is None or time.monotonic() > deadline)
        return server.deaths

    def _died_since(self, deaths: int) -> bool:
        """Has the embedded Redis ended since? It may be about to."""
        server = self._server
        if server is None:
            return False
        deadline = time.monotonic() + _DYING
        self._until(
            lambda: server.deaths > deaths or time.monotonic() > deadline, look=_LOOK
        )
        return server.deaths > deaths

    # -- files

    def _lock_profile(self, folder: Path) -> None:
        try:
            self._lock = lock(folder / LOCK, fcntl.LOCK_EX)
        except BlockingIOError:
            card = Card.read(folder)
            who = ""
            if card:
                who = f" (process {card.pid}, {count(card.engines, 'engine')})"
            raise ClusterRunning(
                f"a cluster of profile {self.profile.name!r} is already running{who}: "
                "'redtask cluster stop' stops it, 'redtask worker' adds engines"
            ) from None

    def _write_card(self) -> None:
        if self.plan.mode == SCRIPT or self._folder is None:
            return
        engines = sum(crew.engines for crew in self._crews)
        Card(
            pid=os.getpid(),
            birth=process.birth(os.getpid()) or "",
            boot=process.boot(),
            mode=self.plan.mode,
            url=self._settings()["REDTASK_URL"],
            hub=self.profile.hub,
            embedded=self._server is not None,
            engines=engines or self.plan.engines,
            workers=[crew.name for crew in self._crews],
            since=self._since,
            log=self._log_file.name,
        ).write(self._folder)

    @property
    def server_folder(self) -> Path | None:
        """Data folder of the embedded Redis; None if there is none."""
        return None if self._server is None else self._server.folder

    def about(self) -> dict[str, Any]:
        """Return facts about the cluster for whoever started it."""
        embedded = None if self._server is None else self._server.embedded
        living = None if embedded is None else embedded.running()
        profile = self.profile
        return {
            "pid": os.getpid(),
            "url": self._settings()["REDTASK_URL"],
            "shown_url": profile.shown_url,
            "hub": profile.hub,
            "profile": profile.name,
            "key": profile.keys[0].text if self.plan.private else None,
            "key_source": profile.key_source if profile.keys else None,
            "embedded": None if living is None else living.version,
            "data": None if living is None else str(profile.server_folder),
            "owned": embedded is not None and embedded.owned,
            "names": [crew.name for crew in self._crews],
            "engines": sum(crew.engines for crew in self._crews),
            "log": self._log_file.name,
            # What is to be deleted in the end.
            "home": os.environ["REDTASK_HOME"] if self.plan.private else None,
        }


def _forget_settings() -> None:
    """Clear settings in the environment, for a private cluster."""
    for name in list(os.environ):
        if name.startswith("REDTASK_") and name != "REDTASK_REDIS_SERVER":
            del os.environ[name]
