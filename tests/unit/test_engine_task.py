"""Running one task: whatever it does, there is an outcome, and the next can run."""

import io
import sys
import threading
import time
from typing import Any, cast

import pytest

from redtask import payload
from redtask.engine.output import Output
from redtask.engine.task import Runner
from redtask.error import SignatureError
from redtask.hub.keys import Keys
from redtask.hub.records import Work
from redtask.profile import Key
from redtask.signing import Keyring

RING = Keyring("h", (Key.new(),))
TOKEN = "1:abcdefghijkl"  # noqa: S105


class FakeStore:
    """The two plain reads that a runner needs."""

    def __init__(self):
        self.keys = Keys("h")
        self.values = {}
        self.reads = 0

    def command(self, *words):
        self.reads += 1
        return self.values.get(words[1])


class Bench:
    """A runner, and a hub's worth of functions."""

    def __init__(self, largest=1 << 20):
        self.store = store = cast(Any, FakeStore())
        self.real = io.StringIO()
        self.output = Output(self.real, self.real)
        self.runner = Runner(store, RING, self.output, largest)
        self.runner.engine_info = {"engine_id": 0}

    def work(self, function, *args, until="", **kwargs):
        packed = payload.pack_function(function)
        key = self.store.keys.function(packed.digest)
        self.store.values[key] = packed.blob
        body = payload.pack_call(args, kwargs)
        envelope = RING.sign_task(packed.digest, until, "c-1", body)
        return Work("c-1", TOKEN, packed.digest, envelope, "c-1", until)

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

    def read_error(self, fields):
        body = RING.open_result("c-1", TOKEN, "e", fields["error"])
        return payload.unpack_error(body), fields


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    return Bench()


def test_a_result_is_signed_for_its_task_and_attempt(bench):
    kind, fields = bench.run(lambda x, y=0: x + y, 2, y=3)

    assert kind == "ok"
    assert fields["repr"] == "5"
    assert RING.open_result("c-1", TOKEN, "r", fields["result"])
    with pytest.raises(SignatureError):
        RING.open_result("c-1", "2:abcdefghijkl", "r", fields["result"])


def test_arguments_that_did_not_come_along_are_fetched(bench):
    work = bench.work(lambda x: x * 2, 21)
    bench.store.values[bench.store.keys.task("c-1", "args")] = work.args

    kind, _ = bench.runner(work._replace(args=b""))

    assert kind == "ok"


def test_a_function_is_fetched_once(bench):
    def double(x):
        return 2 * x

    assert [bench.value(double, x) for x in range(5)] == [0, 2, 4, 6, 8]
    assert bench.store.reads == 1


def test_a_function_with_state_is_made_anew_for_each_task_but_fetched_once(bench):
    def remember(x, seen=[]):  # noqa: B006
        seen.append(x)
        return list(seen)

    assert [bench.value(remember, x) for x in range(3)] == [[0], [1], [2]]
    assert bench.store.reads == 1


def test_a_raised_exception_is_told_with_the_users_frames_alone(bench):
    def inner():
        raise KeyError("k")

    def outer():
        inner()

    error, fields = bench.error(outer)

    assert (error.ename, error.evalue) == ("KeyError", "'k'")
    assert (fields["ename"], fields["evalue"]) == ("KeyError", "'k'")
    assert error.engine_info == {"engine_id": 0}
    assert "in outer" in error.traceback
    assert "in inner" in error.traceback
    assert "redtask/" not in error.traceback
    assert isinstance(error.__cause__, KeyError)


def test_a_wrong_call_is_the_tasks_error(bench):
    error, _ = bench.error(lambda: None, 1)

    assert error.ename == "TypeError"
    assert "0 positional arguments" in error.evalue


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class LeavingError(Exception):
    def __str__(self):  # noqa: PLE0307
        sys.exit("gone")


class TwoArgumentsError(Exception):
    def __init__(self, first, second):
        super().__init__(first)


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not me")


class Endless:
    def __reduce__(self):
        return Endless, (Endless(),)


def raise_two():
    raise TwoArgumentsError(1, 2)


def recurse():
    return recurse()


def raiser(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize(
    ("function", "ename"),
    [
        (raiser(SystemExit(3)), "SystemExit"),
        (raiser(KeyboardInterrupt()), "KeyboardInterrupt"),
        (raiser(GeneratorExit()), "GeneratorExit"),
        (lambda: (_ for _ in ()).throw(MemoryError()), "MemoryError"),
        (raise_two, "TwoArgumentsError"),
        (raiser(UnprintableError()), "UnprintableError"),
        (raiser(LeavingError()), "RuntimeError"),
        (recurse, "RecursionError"),
        (Unpicklable, "SerializationError"),
        (Endless, "SerializationError"),
        (threading.Lock, "SerializationError"),
        (lambda: bytes(2 << 20), "PayloadTooLarge"),
    ],
)
def test_every_way_to_fail_is_an_outcome(bench, function, ename):
    error, fields = bench.error(function)

    assert error.ename == ename
    assert all(value != "" for value in fields.values())
    assert bench.value(lambda: "next") == "next"


def test_short_fields_stay_short_in_bytes(bench):
    _, fields = bench.run(lambda: "ü" * 500)
    assert len(fields["repr"].encode()) <= 64

    error, fields = bench.error(raiser(ValueError("ü" * 500)))
    assert len(fields["evalue"].encode()) <= 64
    assert error.evalue == "ü" * 500


def test_half_a_character_in_a_message_hurts_nobody(bench):
    error, fields = bench.error(raiser(ValueError("\ud800")))

    assert fields["evalue"].encode() == b"?"
    assert error.ename == "ValueError"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda work: work._replace(args=work.args[:-1] + b"?"),
        lambda work: work._replace(args=b"short"),
        lambda work: work._replace(root="c-2"),
        lambda work: work._replace(until="1"),
        lambda work: work._replace(function="other"),
    ],
)
def test_what_was_tampered_with_is_refused_before_anything_is_read(bench, spoil):
    work = bench.work(pytest.fail, "it ran")

    kind, flat = bench.runner(spoil(work))
    error, fields = bench.read_error(dict(zip(flat[::2], flat[1::2], strict=True)))

    assert kind == "error"
    assert error.ename == fields["ename"] == "SignatureError"
    assert fields["evalue"].startswith("refused: ")
    assert bench.store.reads == 0


def test_a_function_that_was_exchanged_is_refused(bench):
    work = bench.work(lambda: 1)
    key = bench.store.keys.function(work.function)
    bench.store.values[key] = payload.pack_function(pytest.fail).blob

    _, flat = bench.runner(work)

    assert flat[3] == "SignatureError"


def test_a_function_that_is_gone_is_told(bench):
    work = bench.work(lambda: 1)
    bench.store.values.clear()

    _, flat = bench.runner(work)

    assert flat[3] == "SerializationError"


def test_a_signature_error_of_the_users_own_is_an_ordinary_one(bench):
    error, _ = bench.error(raiser(SignatureError("mine")))

    assert error.evalue == "mine"


def test_work_is_not_run_after_its_time_by_the_hubs_clock(bench):
    now = round(time.time() * 1000)
    assert bench.value(lambda: 1, until=str(now - 30_000)) == 1

    error, _ = bench.error(lambda: 1, until=str(now - 120_000))
    assert "its time is over" in error.evalue

    bench.runner.ahead = 10 * 60_000
    error, _ = bench.error(lambda: 1, until=str(now))
    assert error.ename == "SignatureError"


def test_what_a_task_prints_is_kept_with_it_and_nothing_else(bench):
    def task(x):
        print("out", x)  # noqa: T201
        sys.stderr.write("err\n")
        sys.stdout.buffer.write("bytes ü\n".encode())
        return x

    _, fields = bench.run(task, 1)
    _, quiet = bench.run(lambda: 1)

    assert fields["stdout"] == "out 1\nbytes ü\n".encode()
    assert fields["stderr"] == b"err\n"
    assert "stdout" not in quiet
    assert bench.real.getvalue() == ""
    sys.stdout.write("between tasks")
    assert bench.real.getvalue() == "between tasks"


def test_what_a_failing_task_printed_is_kept(bench):
    def task():
        sys.stdout.write("before")
        raise ValueError("after")

    _, fields = bench.error(task)

    assert fields["stdout"] == b"before"


def test_a_flood_is_cut_in_the_middle(bench):
    def flood():
        for line in range(300_000):
            print(f"line {line:7d}")  # noqa: T201

    _, fields = bench.run(flood)
    kept = fields["stdout"].decode()

    assert len(kept) < 600_000
    assert kept.startswith("line       0\n")
    assert kept.endswith("line  299999\n")
    assert "characters left out" in kept


@pytest.mark.parametrize("text", ["x" * 3_000_000, "ü" * 3_000_000, "ü" * 260_000])
def test_one_huge_write_is_cut_too(bench, text):
    def task():
        sys.stdout.write("<" + text + ">")

    _, fields = bench.run(task)
    kept = fields["stdout"].decode("utf-8", "ignore")

    assert len(fields["stdout"]) < 530_000
    assert kept[0] == "<"
    assert kept[-1] == ">"
    assert "left out" in kept or len(text.encode()) < 524_288


def test_a_task_that_replaces_or_closes_stdout_does_not_hurt_the_next(bench):
    def replace():
        sys.stdout = io.StringIO()

    def close():
        sys.stdout.close()

    bench.run(replace)
    bench.run(close)
    _, fields = bench.run(lambda: print("here"))  # noqa: T201

    assert fields["stdout"] == b"here\n"


def test_stdout_is_a_text_file_like_any_other(bench):
    def look():
        return (
            sys.stdout.encoding,
            sys.stdout.isatty(),
            sys.stdout.writable(),
            sys.stdout.flush(),
            sys.stdout.write("ab"),
        )

    assert bench.value(look) == ("utf-8", False, True, None, 2)
    wrong: Any = b"bytes"
    error, _ = bench.error(lambda: sys.stdout.write(wrong))
    assert error.ename == "TypeError"
