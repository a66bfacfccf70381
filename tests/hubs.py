"""A hub for tests: every script as a verb, time as the first argument."""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import redis

from redtask import error, link
from redtask.hub import calls, scripts, sheet
from redtask.hub.calls import Call, Group, Life, Report
from redtask.hub.keys import Keys
from tests import invariants, picture

if TYPE_CHECKING:
    from redtask.hub.records import Purged, Turn, Work
    from tests.recorder import Recorder
    from tests.servers import Server

T = TypeVar("T")


class ScriptError(AssertionError):
    """A script stopped with a Lua error, which must never happen."""


def ok(work: Work, result: bytes = b"result", **more: Any) -> Report:
    """Say that the task returned."""
    return _report("ok", work, result=result, **more)


def error_in(work: Work, error: bytes = b"error", **more: Any) -> Report:
    """Say that the task raised."""
    more = {"ename": "ValueError", "evalue": "no", **more}
    return _report("error", work, error=error, **more)


def unmet(work: Work, words: str = "no numpy", **more: Any) -> Report:
    """Refuse the task: this engine lacks what it needs."""
    return _report("unmet", work, words=words, **more)


def final(work: Work, error: bytes = b"error", **more: Any) -> Report:
    """Say that the task raised, and that it is not to be tried again."""
    more = {"ename": "TypeError", "evalue": "no", **more}
    return _report("final", work, error=error, **more)


def interrupted(work: Work) -> Report:
    """Say that the task was interrupted."""
    return _report("aborted", work)


def unbegun(work: Work) -> Report:
    """Give the task back."""
    return _report("unbegun", work)


def _report(
    kind: str, work: Work, ago: int = 0, took: int = 0, **fields: Any
) -> Report:
    flat = [part for pair in fields.items() for part in pair]
    return Report(kind, work.task_id, work.token, ago, took, flat, work.folded)


class Hub:
    """One hub on a server, and what a test wants to know of it."""

    def __init__(
        self,
        server: Server,
        name: str | None = None,
        recorder: Recorder | None = None,
        scheme: scripts.AnyScheme = "leastload",
        **settings: int,
    ) -> None:
        self.server = server
        self.redis: Any = server.redis()
        self.keys = Keys(name or uuid.uuid4().hex)
        self.root = self.keys.root
        self.recorder = recorder
        self.scheme = scheme
        self.numbers: dict[str, int] = {}
        self.nonces = 0
        #: Set by a test that lowers hwm: engines may have more than it.
        self.draining = False
        self.do(calls.configure({"testing": 1, **settings}, create=True))

    def close(self) -> None:
        """Close the connection."""
        self.redis.close()

    def check(self, *, quiet: bool = False) -> None:
        """Check every invariant."""
        invariants.check(self.redis, self.root, quiet=quiet, draining=self.draining)

    # Calls

    def send(self, call: Call[Any]) -> Any:
        """Call a script and return the bare reply; its refusal is an exception."""
        try:
            return self.run(scripts.bundle(call.script, self.scheme), *call.args)
        except error.HubError as refused:
            if self.recorder:
                self.recorder.refused(call.script, refused.code)
            raise

    def run(self, script: scripts.Script, *args: Any, root: str = "") -> Any:
        """Run any script and return the bare reply; its refusal is an exception."""
        arguments = (script.sha, 1, root or self.root, *args)
        try:
            try:
                return self.redis.evalsha(*arguments)
            except redis.exceptions.NoScriptError:
                self.redis.script_load(script.text)
                return self.redis.evalsha(*arguments)
        except redis.ResponseError as failure:
            refused = error.from_reply(str(failure))
            if refused is None:
                raise ScriptError(script.explain(str(failure))) from failure
            raise refused from None

    def send_and_read(self, call: Call[Any]) -> tuple[Any, Any]:
        """Call a script, and read all of the hub behind it, in one go."""
        script = scripts.bundle(call.script, "leastload")
        while True:
            with self.redis.pipeline(transaction=False) as pipe:
                for words in link.ahead(script, self.keys, call):
                    pipe.execute_command(*words)
                pipe.evalsha(picture.READ_SHA, 1, self.root)
                *_, reply, read = pipe.execute(raise_on_error=False)
            if isinstance(read, redis.exceptions.NoScriptError):
                self.redis.script_load(picture.READ)
            if isinstance(reply, redis.exceptions.NoScriptError):
                self.redis.script_load(script.text)
            elif isinstance(reply, redis.ResponseError):
                raise ScriptError(script.explain(str(reply)))
            elif isinstance(read, list):
                return reply, read

    def do(self, call: Call[T]) -> T:
        """Call a script and read the reply, under the eyes of the recorder."""
        if self.recorder is None:
            return call.read(self.send(call))
        before = self.tasks()
        try:
            reply = self.send(call)
        finally:
            self.recorder.moved(before, self.tasks())
        self.recorder.heard(call.script, reply)
        return call.read(reply)

    @contextmanager
    def refuses(self, kind: Any, sentence: str | None = None):
        """Expect an error which leaves every key as it is."""
        before = self.dump()
        with pytest.raises(kind, match=sentence) as refused:
            yield refused
        assert self.dump() == before

    def configure(self, now: int, **settings: int) -> calls.Configured:
        """Change settings."""
        return self.do(calls.configure(settings, now=now))

    def submit(
        self,
        now: int,
        *ids: str,
        fn: str = "fn",
        blob: bytes = b"function",
        args: bytes = b"args",
        **flags: Any,
    ) -> Any:
        """Submit tasks with one function and the same arguments."""
        tasks = [part for name in ids for part in (name, args)]
        return self.do(calls.submit([Group(fn, blob, fn, flags, tasks)], now=now))

    def register(
        self,
        now: int,
        engine: str,
        worker: str = "w",
        queues: str = "default",
        **about: Any,
    ) -> Any:
        """Let an engine join."""
        return self.do(
            calls.register(engine, worker, queues.split(","), about, now=now)
        )

    def turn(self, now: int, engine: str, want: int = 1, *reports: Report) -> Turn:
        """Take the next turn of an engine, with a number and nonce of its own."""
        self.numbers[engine] = self.numbers.get(engine, 0) + 1
        self.nonces += 1
        return self.turn_again(now, engine, want, *reports)

    def turn_again(
        self,
        now: int,
        engine: str,
        want: int = 1,
        *reports: Report,
        number: int | None = None,
        nonce: str | None = None,
    ) -> Turn:
        """Send the latest turn again, or any other."""
        number = self.numbers[engine] if number is None else number
        nonce = nonce or f"n{self.nonces}"
        return self.do(calls.turn(engine, number, nonce, want, reports, now=now))

    def take(self, now: int, engine: str, want: int = 1) -> list[Work]:
        """Take a turn and return the work."""
        return self.turn(now, engine, want).work

    def join(self, now: int, *engines: str, **options: Any) -> None:
        """Let engines register and come for work, which there is not yet."""
        for engine in engines:
            self.register(now, engine, **options)
            self.turn(now, engine)

    def report(self, now: int, engine: str, *reports: Report) -> Turn:
        """Only report."""
        return self.do(calls.turn(engine, None, "", 0, reports, now=now))

    def live(
        self,
        now: int,
        engine: str,
        *ids: str,
        number: int | None = None,
        worker: str = "w",
    ) -> Any:
        """Say that an engine lives and holds these tasks."""
        number = self.numbers.get(engine, 0) if number is None else number
        (answer,) = self.do(calls.beat(worker, [Life(engine, number, ids)], now=now))
        return answer

    def gone(
        self,
        now: int,
        engine: str,
        *begun: str,
        why: str = "killed",
        worker: str = "w",
    ) -> Any:
        """Say that an engine is gone, which had begun these tasks."""
        (answer,) = self.do(calls.beat(worker, [Life(engine, 0, begun, why)], now=now))
        return answer

    def late(self, now: int, engine: str, *begun: str) -> Any:
        """Say that an engine was killed for a time limit."""
        life = Life(engine, 0, begun, "time limit of 1 s exceeded", late=True)
        (answer,) = self.do(calls.beat("w", [life], now=now))
        return answer

    def sweep(self, now: int, budget: int = 200) -> Any:
        """Sweep."""
        return self.do(calls.sweep(budget, now=now))

    def watch(self, now: int, client: str, *ids: str, budget: int = 1 << 20) -> Any:
        """Ask for outcomes."""
        return self.do(calls.watch(client, ids, budget, now=now))

    def abort(self, now: int, *ids: str, running: bool = False) -> list[str]:
        """Abort tasks."""
        return self.do(calls.abort(ids, running=running, now=now))

    def link(self, now: int, task: str, name: str, *ids: str) -> int:
        """Tell a task behind a gate more members of a set."""
        return self.do(calls.link(task, name, ids, now=now))

    def open_gate(self, now: int, gate: str) -> bool:
        """Open a gate."""
        return self.do(calls.open_gate(gate, now=now))

    def resubmit(self, now: int, *pairs: tuple[str, str], **anew: Any) -> list[str]:
        """Resubmit tasks: old and new id; what is said anew is so for all of them."""
        said = {old: anew for old, _ in pairs}
        return self.do(calls.resubmit(pairs, said, now=now))

    def purge(self, now: int, *ids: str) -> Purged:
        """Forget ended tasks."""
        return self.do(calls.purge(ids, now=now))

    def why(self, now: int, task: str) -> Any:
        """Ask why a task is where it is."""
        return self.do(calls.why(task, now=now))

    def status(self, now: int, most: int = 1000) -> Any:
        """Ask for a picture."""
        return self.do(calls.status(most, now=now))

    # What is there

    def key(self, *parts: str) -> str:
        """Return the key with these parts."""
        return ":".join((self.root, *parts))

    def record(self, task: str) -> dict[str, str]:
        """Return a record's fields as text."""
        fields = sheet.unfold(*self.on_sheet(task))
        if fields:
            return {name: value.decode() for name, value in fields.items()}
        fields = self.redis.hgetall(self.keys.task(task))
        return {name.decode(): value.decode() for name, value in fields.items()}

    def on_sheet(self, task: str) -> list[Any]:
        """Return run and row of a task, None where there is none."""
        words = sheet.words(self.keys, task)
        return [self.redis.execute_command(*one) for one in words]

    def state(self, task: str) -> Any:
        """Return a task's state; None when there is no such task."""
        return self.record(task).get("state")

    def members(self, *parts: str) -> list[str]:
        """Return what is in a sorted set, in order."""
        return [name.decode() for name in self.redis.zrange(self.key(*parts), 0, -1)]

    def gone_tasks(self) -> list[str]:
        """Return the tombstones of purged tasks, in order."""
        return self.members("gone")

    def ended(self, state: str) -> dict[str, float]:
        """Return the ended tasks of a state, by when they are forgotten."""
        found = self.redis.zrange(self.key("ended", state), 0, -1, withscores=True)
        return {name.decode(): score for name, score in found}

    def end(self, now: int, *reports: str, engine: str = "ender") -> None:
        """Let ready tasks end, in their order, each ``ok`` or ``error``.

        The engine that does it leaves.
        """
        self.register(now, engine)
        for kind in reports:
            (work,) = self.take(now, engine)
            self.report(now, engine, ok(work) if kind == "ok" else error_in(work))
        self.gone(now, engine)

    def engine_of(self, task: str) -> str:
        """Return the engine that a task has or had."""
        return self.record(task)["engine"].partition("/")[2]

    def ready(self, queue: str = "default", name: str = "") -> list[str]:
        """Return who stands in a queue's line, or in a class of it, in order."""
        return self.members("ready", queue, *([name] if name else []))

    def waiting(self) -> list[str]:
        """Return who waits for others, for a time or for a gate, in order."""
        return self.members("waiting")

    def free(self, queue: str = "default") -> list[str]:
        """Return the engines with room, best first."""
        return self.members("free", queue)

    def assigned(self, engine: str) -> list[str]:
        """Return what was placed on an engine."""
        return self.members("engine", engine, "assigned")

    def held(self, engine: str) -> list[str]:
        """Return what an engine took."""
        entries = self.redis.hgetall(self.key("engine", engine, "held"))
        for lot in self.redis.hvals(self.key("engine", engine, "lots")):
            head, _, ids = lot.partition(b"\n")
            entries |= dict.fromkeys(ids.split(), head.partition(b" ")[2])
        scores = {}
        for name, entry in entries.items():
            score = entry.split()[1]
            if score == b"=":
                score = sheet.read(self.redis.hget(self.keys.rows(), name)).score
            scores[name.decode()] = float(score)
        return sorted(scores, key=scores.__getitem__)

    def rings(self, engine: str) -> Any:
        """Return how often an engine's bell has rung since it was last heard."""
        return self.redis.llen(self.keys.bell(engine))

    def attempts(self, task: str) -> list[list[str]]:
        """Return the tries that did not succeed: token, engine, began, ended, what."""
        lines = self.redis.lrange(self.keys.task(task, "attempts"), 0, -1)
        return [line.decode().split("\t", 4) for line in lines]

    def story(self) -> list[dict[str, str]]:
        """Return what went otherwise than straight."""
        entries = self.redis.xrange(self.keys.story())
        return [
            {name.decode(): value.decode() for name, value in fields.items()}
            for _, fields in entries
        ]

    def events(self) -> list[str]:
        """Return the names of what went otherwise than straight."""
        return [entry["event"] for entry in self.story()]

    def done(self, client: str) -> list[tuple[str, bytes]]:
        """Return what a client's stream tells: id and outcome."""
        entries = self.redis.xrange(self.keys.done(client))
        return [
            (name.decode(), value)
            for _, fields in entries
            for name, value in fields.items()
            if name
        ]

    def tasks(self) -> dict[str, tuple[Any, ...]]:
        """Return state, engine and token of every task, and what it still waits for."""
        prefix, asked = f"{self.root}:task:", ("state", "engine", "token", "na")
        names = [
            name
            for key in self.redis.scan_iter(f"{prefix}*", count=1000)
            if ":" not in (name := key.decode().removeprefix(prefix))
        ]
        # Whole hashes: a command for each task would take most of the time of a test.
        with self.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(self.keys.rows())
            pipe.hgetall(self.keys.runs())
            for name in names:
                pipe.hmget(prefix + name, *asked)
            rows, runs, *records = pipe.execute()
        known = {
            name.encode(): (None, None, record)
            for name, record in zip(names, records, strict=True)
        }
        none = [None] * len(asked)
        known |= {name: (runs.get(name), row, none) for name, row in rows.items()}
        return {
            name.decode(): (state.decode() if state else "", engine, token, waits)
            for name, about in known.items()
            for state, engine, token, waits in [sheet.pick(asked, *about)]
        }

    def dump(self) -> dict[bytes, Any]:
        """Return every key of the server with all that is in it."""
        keys = sorted(self.redis.scan_iter(count=1000))
        return {key: self._whole(key) for key in keys}

    def _whole(self, key):
        kind = self.redis.type(key)
        if kind == b"string":
            return self.redis.get(key)
        if kind == b"hash":
            return sorted(self.redis.hgetall(key).items())
        if kind == b"list":
            return self.redis.lrange(key, 0, -1)
        if kind == b"set":
            return sorted(self.redis.smembers(key))
        if kind == b"zset":
            return self.redis.zrange(key, 0, -1, withscores=True)
        return self.redis.xrange(key)
