"""A runner of tasks without an engine and without a hub."""

from __future__ import annotations

import io
import time
from typing import Any, cast

from redtask import payload
from redtask.engine.guard import Guard
from redtask.engine.output import Output
from redtask.engine.task import Runner
from redtask.hub.keys import Keys
from redtask.hub.records import Work
from redtask.profile import Key
from redtask.signing import Keyring

RING = Keyring("h", (Key.new(),))
TOKEN = "1:abcdefghijkl"  # noqa: S105


class FakeStore:
    """The plain reads that a runner needs."""

    def __init__(self):
        self.keys = Keys("h")
        self.values = {}
        self.reads = 0
        #: How far the hub's clock is ahead, in seconds.
        self.ahead = 0

    def command(self, *words):
        if words == ("TIME",):
            return [int(time.time()) + self.ahead, 0]
        self.reads += 1
        return self.values.get(words[1])

    def fetch(self, commands):
        return self.commands(commands)

    def commands(self, commands):
        self.reads += 1
        return [self.read(*words) for words in commands]

    def read(self, verb, key, *words):
        if verb == "GETRANGE":
            return self.values.get(key, b"")[: int(words[1]) + 1]
        return self.values.get(key, [None] * 3 if verb == "HMGET" else None)


class Guarded(Guard):
    """Interrupts a task where a test says so."""

    def __init__(self):
        super().__init__()
        self.limits = []
        self.wanted: BaseException | None = None

    def limit(self, milliseconds):
        self.limits.append(milliseconds)

    def check(self):
        super().check()
        if self.wanted:
            self._interrupt(self.wanted)


class Bench:
    """A runner, and a hub's worth of functions."""

    def __init__(self, largest=1 << 20):
        self.store = store = cast(Any, FakeStore())
        self.real = io.StringIO()
        self.output = Output(self.real, self.real)
        self.guard = Guarded()
        self.runner = Runner(store, RING, self.output, largest, self.guard)
        self.runner.engine_info = {"engine_id": 0}

    def work(
        self, function, *args, until="", refs=None, name="c-1", along=False, **kwargs
    ):
        # pytest has streams of its own in each phase of a test.
        self.output.install()
        packed = payload.pack_function(function)
        key = self.store.keys.function(packed.digest)
        self.store.values[key] = packed.blob
        body = payload.pack_call(args, kwargs)
        if refs is not None:
            _, body = payload.unpack_refs(body)
            ids = " ".join(refs).encode()
            body = b"R" + len(ids).to_bytes(4, "big") + ids + body
        envelope = RING.sign_task(packed.digest, until, name, body)
        return Work(name, TOKEN, packed.digest, envelope, name, until, along=along)

    def run_all(self, works):
        """Run a batch as an engine does; return the outcomes."""
        self.runner.begin(works)
        return [self.runner(work) for work in works]

    def values(self, works, outcomes):
        """Return the results of tasks that succeeded."""
        assert [kind for kind, _ in outcomes] == ["ok"] * len(works)
        return [
            payload.unpack_result(
                RING.open_result(work.task_id, TOKEN, "r", bytes(fields[1]))
            )
            for work, (_, fields) in zip(works, outcomes, strict=True)
        ]

    def run(self, function, *args, **kwargs):
        kind, flat = self.runner(self.work(function, *args, **kwargs))
        return kind, dict(zip(flat[::2], flat[1::2], strict=True))

    def value(self, function, *args, **kwargs):
        kind, fields = self.run(function, *args, **kwargs)
        assert kind == "ok", fields
        body = RING.open_result("c-1", TOKEN, "r", fields["result"])
        return payload.unpack_result(body)

    def error(self, function, *args, **kwargs):
        kind, fields = self.run(function, *args, **kwargs)
        assert kind == "error", fields
        return self.read_error(fields)

    def ends(self, kind, function, *args, **kwargs):
        """Run a task that ends so; return its fields."""
        found, fields = self.run(function, *args, **kwargs)
        assert found == kind, fields
        return fields

    def keep_result(self, task_id, value, *, beside=False, **more):
        """Have the hub know a result."""
        record = {"state": b"completed", "token": b"1:parent", **more}
        packed = payload.pack_result(value)
        envelope = bytes(RING.sign_result(task_id, "1:parent", "r", packed))
        envelope = more.get("result", envelope)
        keys, values = self.store.keys, self.store.values
        values[keys.task(task_id)] = [
            record["state"], record["token"], b"" if beside else envelope,
        ]  # fmt: skip
        if beside:
            values[keys.task(task_id, "result")] = envelope

    def read_error(self, fields):
        body = RING.open_result("c-1", TOKEN, "e", fields["error"])
        return payload.unpack_error(body), fields
