"""One client's own state."""

from __future__ import annotations

import asyncio
import collections
import itertools
import numbers
import os
import sys
import threading
import time
import tracemalloc
import types
from typing import Any, cast

import pytest

from redtask import error, inputs, lookahead, payload, session
from redtask.dependency import Dependency, Ref
from redtask.ferry import Passenger
from redtask.flags import Flags
from redtask.flows import Meanwhile
from redtask.gathering import Gathering
from redtask.hub.calls import Call
from redtask.hub.keys import Keys
from redtask.hub.records import Outcome, Submitted
from redtask.inbox import TaskSet
from redtask.profile import Key
from redtask.recent import Contact
from redtask.session import Session
from redtask.signing import Keyring
from redtask.slices import MOST_BYTES, MOST_TASKS, together
from tests import tasks
from tests.alarms import LateError, Rings, alarm, be_late
from tests.talks import Talk

KEYRING = Keyring("hub", (Key.of_secret(b"1" * 32),))


@pytest.fixture
def core():
    return Session(Keys("hub"), KEYRING, Contact())


@pytest.fixture
def patient(monkeypatch):
    """Let slices of a stream be full, however slow the machine."""
    monkeypatch.setattr(session, "_PAUSE", 1e9)


def outcome(kind, body, task="c-0", state="completed"):
    envelope = KEYRING.sign_result(task, "1:n", kind, body)
    return Outcome(state, "1:n", kind, envelope)


def test_ids_are_the_clients_and_count_up(core):
    one, _ = core.call(Flags(), tasks.double, (1,), {})
    other, _ = core.call(Flags(), tasks.double, (1,), {})

    assert one.ids == (f"{core.client}-0",)
    assert other.ids == (f"{core.client}-1",)
    assert len(core.client) == 12


def test_a_call_is_one_signed_task(core):
    found, task = core.call(Flags(retries=2), tasks.add, (1,), {"y": 2})

    assert (task.task_id,) == found.ids
    assert task.flags["retries"] == 2
    until = task.flags["until"]
    digest = task.function.digest
    body = KEYRING.open_task(digest, until, task.task_id, task.envelope)
    assert payload.call(tasks.add, body) == 3


def test_slices_are_made_as_they_are_sent(core):
    made = []

    class Loud:
        def __reduce__(self):
            made.append(1)
            return int, ()

    _, slices = core.calls(Flags(), tasks.double, [([Loud()],)] * 1200)

    assert not made
    assert len(next(slices)[0].tasks) == 1000
    assert len(made) == 500
    assert [len(groups[0].tasks) for groups in slices] == [1000, 400]


def test_slices_end_at_so_many_bytes(core):
    chunks = [(["x" * 3_000_000],)] * 4

    _, slices = core.calls(Flags(), tasks.double, chunks)

    assert [len(groups[0].tasks) // 2 for groups in slices] == [2, 2]


@pytest.mark.parametrize(
    ("length", "chunksize", "sizes"),
    [(0, 3, []), (4, 1, [1] * 4), (10, 4, [4, 3, 3]), (3, 10, [3]), (3, 0, [1] * 3)],
)
def test_chunks_are_balanced(length, chunksize, sizes):
    assert inputs.chunk_sizes(length, chunksize) == sizes


class Array:
    """As an array of NumPy: each row is a string."""

    def __init__(self, *rows):
        self.rows = rows
        self.shape = (len(rows), *{len(row) for row in rows})

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return iter(self.rows)

    def __getitem__(self, rows):
        return Array(*(self.rows[row] for row in rows))


@pytest.fixture
def numpy(monkeypatch):
    module = types.ModuleType("numpy")
    vars(module).update(
        ndarray=Array, concatenate=lambda parts: Array(*itertools.chain(*parts))
    )
    monkeypatch.setitem(sys.modules, "numpy", module)


@pytest.mark.usefixtures("numpy")
@pytest.mark.parametrize(("stripes", "rows"), [(False, "adbec"), (True, "abcde")])
def test_arrays_are_joined_to_one(stripes, rows):
    pieces = [Array("a", "d"), Array("b", "e"), Array("c")]

    whole = inputs.rejoined(pieces, stripes=stripes)

    assert type(whole) is Array
    assert whole.rows == tuple(rows)


def shapeless():
    array = Array()
    array.shape = ()
    return array


@pytest.mark.usefixtures("numpy")
@pytest.mark.parametrize(
    "pieces",
    [
        [Array("a"), Array("bb")],
        [Array("a"), ["b"]],
        [Array("a"), 2],
        [shapeless(), shapeless()],
    ],
)
def test_what_makes_no_array_stays_apart(pieces):
    assert inputs.rejoined(pieces, stripes=False) == pieces


@pytest.mark.parametrize(
    "given",
    [
        [0, 1, 2],
        (0, 1, 2),
        range(3),
        {0: "a", 1: "b", 2: "c"},
        collections.deque([0, 1, 2]),
        {0, 1, 2},
        collections.OrderedDict.fromkeys([0, 1, 2]).keys(),
    ],
)
@pytest.mark.parametrize("chunksize", [1, 2])
def test_whatever_can_be_iterated_can_be_mapped(core, given, chunksize):
    _, slices, sizes = core.map(Flags(), tasks.double, [given], chunksize)

    [[group]] = list(slices)
    found = [
        value
        for task_id, envelope in zip(group.tasks[::2], group.tasks[1::2], strict=True)
        for value in payload.call(
            tasks.double,
            KEYRING.open_task(group.digest, group.flags["until"], task_id, envelope),
        )
    ]
    assert found == [0, 2, 4]
    assert sum(sizes) == 3


def test_an_iterator_is_read_to_its_end(core):
    found, pieces, sizes = core.map(Flags(), tasks.double, [iter("abc")], 2)

    assert len(groups_of(pieces)[0].tasks) == 4
    assert sizes == [2, 1]
    assert len(found.ids) == found.distinct == 2
    assert not found.done


def test_inputs_of_unknown_length_are_read_as_they_are_sent(core, patient):
    read = []

    def numbers():
        for number in itertools.count():
            read.append(number)
            yield number

    _, pieces, _ = core.map(Flags(), tasks.add, [numbers(), range(1200)], 1)

    assert not read
    assert len(next(pieces)[0].tasks) == 2 * MOST_TASKS
    assert len(read) == MOST_TASKS
    assert len([*pieces]) == 2


def test_a_slow_input_does_not_hold_back_what_it_gave(core, monkeypatch):
    now = itertools.count()
    monkeypatch.setattr("redtask.slices.time.monotonic", lambda: next(now))

    _, pieces, _ = core.map(Flags(), tasks.double, [iter(range(3))], 1)

    assert [len(piece[0].tasks) // 2 for piece in pieces] == [1, 1, 1]


def test_a_map_of_a_stream_takes_no_more_memory_than_slices(core, patient):
    items = (bytes([number % 256]) * 10_000 for number in range(5000))
    _, pieces, _ = core.map(Flags(), tasks.double, [items], 1)

    tracemalloc.start()
    sent = sum(len(group.tasks) for piece in pieces for group in piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert sent == 10_000
    assert peak < 4 * MOST_BYTES


def test_progress_is_told_when_a_slice_was_sent(core, patient):
    told: list[int] = []
    items = iter(range(1300))

    _, pieces, _ = core.map(Flags(), tasks.double, [items], 2, told.append)
    next(pieces)

    assert told == []
    assert len([*pieces]) == 1
    assert told == [1000, 1300]


def test_a_map_ends_with_the_shortest(core):
    found, _, sizes = core.map(Flags(), tasks.add, ["abc", [1, 2]], 1)

    assert sizes == [1, 1]
    assert len(found.ids) == 2


def test_what_cannot_be_mapped_is_refused(core):
    with pytest.raises(TypeError, match="at least one sequence"):
        core.map(Flags(), tasks.double, [], 1)
    with pytest.raises(TypeError, match="not iterable"):
        core.map(Flags(), tasks.double, [5], 1)
    with pytest.raises(ValueError, match="chunksize"):
        core.map(Flags(), tasks.double, [[5]], -1)
    with pytest.raises(TypeError, match="chunksize must be a whole number, not float"):
        core.map(Flags(), tasks.double, [[5]], cast(Any, 1.5))
    with pytest.raises(TypeError, match="chunksize must be a whole number, not str"):
        core.map(Flags(), tasks.double, [iter([5])], cast(Any, "1"))
    with pytest.raises(TypeError, match="progress must be callable, not int"):
        core.map(Flags(), tasks.double, [[5]], 1, progress=cast(Any, 5))


def test_a_result_is_opened_and_unpickled(core):
    assert core.decode("c-0", outcome("r", b"N")) == (True, None)
    assert core.decode("c-0", outcome("r", payload.pack_result([1]))) == (True, [1])


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("the bomb went off",)


def test_nothing_is_unpickled_that_nobody_signed(core):
    bomb = payload.pack_result(Bomb())
    for one in (
        Outcome("completed", "1:n", "r", bytes(20) + bomb),
        Outcome("completed", "1:n", "r", bomb),
        outcome("r", bomb, task="c-1"),
        outcome("r", bomb)._replace(token="2:n"),  # noqa: S106 - no secret
        outcome("e", bomb)._replace(kind="r"),
    ):
        good, problem = core.decode("c-0", one)
        assert not good
        assert isinstance(problem, error.SignatureError)
        assert "outcome of c-0" in str(problem)


def test_a_result_that_cannot_be_unpickled_here_says_so(core):
    body = b"pcno_such_module\nf\n."

    good, problem = core.decode("c-0", outcome("r", body))

    assert not good
    assert isinstance(problem, error.SerializationError)
    assert isinstance(problem.__cause__, ModuleNotFoundError)


class Raiser:
    """Unpickling it raises an exception."""

    def __init__(self, problem):
        self.problem = problem

    def __reduce__(self):
        return tasks.raise_this, (self.problem,)


@pytest.mark.parametrize("problem", [SystemExit(3), BaseException("odd")])
def test_a_result_that_ends_the_program_when_it_is_unpickled_does_not(core, problem):
    body = payload.pack_result(Raiser(problem))

    good, failure = core.decode("c-0", outcome("r", body))

    assert not good
    assert isinstance(failure, error.SerializationError)
    assert type(failure.__cause__) is type(problem)


@pytest.mark.parametrize(
    "problem", [KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]
)
def test_what_is_not_the_doing_of_a_result_is_raised(core, problem):
    body = payload.pack_result(Raiser(problem))

    with pytest.raises(type(problem)):
        core.decode("c-0", outcome("r", body))


@pytest.mark.parametrize(
    "problem",
    [LateError("why"), SystemExit(3), BaseExceptionGroup("all", [LateError()])],
)
def test_what_a_signal_handler_raises_while_a_result_is_unpickled_is_raised(
    core, problem
):
    told = payload.pack_error(ValueError("why"), "", {})
    size = 4 + int.from_bytes(told[:4], "big")

    with alarm(problem):
        with pytest.raises(type(problem)) as of_result:
            core.decode("c-0", outcome("r", payload.pack_result(Rings())))
        with pytest.raises(type(problem)) as of_error:
            core.decode("c-0", outcome("e", told[:size] + payload.dumps(Rings())))

    assert of_result.value is of_error.value is problem


@pytest.mark.parametrize("late", ["at first", "one by one"])
def test_what_a_signal_handler_raises_during_a_trip_is_of_no_task(
    core, monkeypatch, late
):
    aboard = [Passenger(core.call(Flags(), tasks.double, (n,), {})[1]) for n in (1, 2)]

    def refuse(tasks):
        yield from ()
        if late == "one by one" and len(tasks) > 1:
            raise ValueError(tasks)
        be_late()

    monkeypatch.setattr(core, "_enter", refuse)
    with pytest.raises(LateError):
        list(core.cross(aboard))

    assert not any(one.over for one in aboard)


def test_what_a_signal_handler_raises_refuses_no_task_of_a_batch(core, monkeypatch):
    batch = Gathering(core)
    tasks_of, task = core.call(Flags(), tasks.double, (1,), {})
    assert batch._fits(task)
    monkeypatch.setattr(core, "_enter", be_late)

    with pytest.raises(LateError):
        list(batch._sending(core, batch._take()))

    assert not tasks_of.done


def test_a_cause_that_ends_the_program_when_it_is_unpickled_is_left_out(core):
    told = payload.pack_error(ValueError("why"), "", {})
    size = 4 + int.from_bytes(told[:4], "big")
    body = told[:size] + payload.dumps(Raiser(SystemExit(3)))

    good, problem = core.decode("c-0", outcome("e", body))

    assert not good
    assert str(problem) == "ValueError: why"
    assert problem.__cause__ is None


@pytest.mark.parametrize(
    ("verdict", "kind", "sentence"),
    [
        (b"aborted ", error.TaskAborted, "c-0 was aborted"),
        (b"engine_lost killed", error.EngineError, "EngineError: killed"),
        (b"engine_lost ", error.EngineError, "The engine died"),
        (b"record_gone none", error.TaskLost, "c-0: none"),
        (b"impossible c-9 failed", error.ImpossibleDependency, "c-9 failed"),
        (b"invalid no task c-9", error.InvalidDependency, "no task c-9"),
        (b"timeout after c-9", error.DependencyTimeout, "after c-9"),
        (b"time_limit 5 s", error.TimeLimitExceeded, "5 s"),
    ],
)
def test_verdicts_are_exceptions(core, verdict, kind, sentence):
    good, problem = core.decode("c-0", Outcome("failed", "", "v", verdict))

    assert not good
    assert type(problem) is kind
    assert sentence in str(problem)


class HasSome:
    msg_ids = ("c-5", "c-6")


def test_jobs_have_many_names(core):
    core._remember(["c-0", "c-1"])

    assert core.ids_of("c-9") == ["c-9"]
    assert core.ids_of(-1) == ["c-1"]
    assert core.ids_of([0, "c-0", HasSome(), ("c-7",)]) == [
        "c-0", "c-5", "c-6", "c-7",
    ]  # fmt: skip
    with pytest.raises(TypeError, match="ids, positions or results, not float"):
        core.ids_of(1.5)
    with pytest.raises(TypeError, match="ids, positions or results, not bytes"):
        core.ids_of([b"c-9"])
    with pytest.raises(IndexError, match="history has 2 ids, and no position 2"):
        core.ids_of(2)


def test_a_result_in_a_wrapper_names_its_tasks(core):
    class Wrapper:
        def __getattr__(self, name):
            return {"msg_ids": ["c-7", "c-8"], "_single": True}[name]

    assert core.ids_of(Wrapper()) == ["c-7", "c-8"]
    assert session.is_single(Wrapper())


def test_only_what_is_open_and_its_own_is_asked_for(core):
    core._remember(["c-0", "c-1"])

    assert core.open_of(["c-1", "x-0", "c-0"]) == ["c-1", "c-0"]
    core.inbox.deliver("c-1", outcome("r", b"N", task="c-1"))
    assert core.open_of(["c-0", "c-1"]) == ["c-0"]


def test_history_has_an_end(core, monkeypatch):
    monkeypatch.setattr(session, "_HISTORY", 3)

    core._remember(["c-0", "c-1"])
    core._remember(["c-2", "c-3"])

    assert core.history == ["c-1", "c-2", "c-3"]
    assert list(core.inbox.open) == ["c-1", "c-2", "c-3"]


def submitting(core, pieces):
    """Return a session's submit, with its first slice on its way."""
    core.inbox.listens("0-0")
    return Talk(core.submit(pieces))


def test_only_what_was_submitted_is_remembered(core):
    found, task = core.call(Flags(), tasks.double, (1,), {})

    def slices():
        yield together([task])
        raise TypeError

    talk = submitting(core, slices())
    assert core.history == []
    with pytest.raises(TypeError):
        talk.answer(Submitted(1, 0)).answer(["aborted"])
    assert core.history == list(found.ids)
    assert core.open_of(found.ids) == list(found.ids)


def test_what_ended_while_it_was_submitted_is_not_open(core):
    found, task = core.call(Flags(), tasks.double, (1,), {})
    talk = submitting(core, [together([task])])

    core.inbox.deliver(found.ids[0], outcome("r", b"N"))
    assert talk.answer(Submitted(1, 0)).over

    assert core.history == list(found.ids)
    assert core.open_of(found.ids) == []


@pytest.fixture
def packed(monkeypatch):
    """What was packed so far; the item None cannot be."""
    found = []

    def pack(chunk):
        if chunk[0][0] is None:
            raise TypeError("no more")
        found.append(chunk)
        return b"0"

    monkeypatch.setattr(payload, "pack_chunk", pack)
    return found


def test_the_next_slice_is_made_while_the_last_is_on_its_way(core, packed):
    found, pieces, _ = core.map(Flags(), tasks.double, [range(1200)], None)
    talk = submitting(core, pieces)

    assert isinstance(talk.step, Meanwhile)
    assert len(packed) == 500
    for _ in range(2):
        talk.step.act()
        assert len(packed) == 1000
    assert core.history == []
    talk.answer(Submitted(500, 0))
    assert (len(core.history), len(packed)) == (500, 1000)
    talk.answer(Submitted(500, 0), Submitted(200, 0))
    assert talk.over
    assert core.history == list(found.ids)


def test_what_cannot_be_made_meanwhile_is_heard_when_it_is_its_turn(core, packed):
    items = [*range(700), None]
    _, pieces, _ = core.map(Flags(), tasks.double, [items], None)
    talk = submitting(core, pieces)
    talk.step.act()

    talk.answer(Submitted(500, 0))
    # What had entered is aborted.
    for _ in range(4):
        talk.answer(["aborted"] * 100)
    with pytest.raises(TypeError, match="no more"):
        talk.answer(["aborted"] * 100)
    assert (len(core.history), len(packed)) == (500, 700)


def test_of_a_stream_no_slice_is_made_ahead(core):
    _, pieces, _ = core.map(Flags(), tasks.double, [iter(range(1200))], None)
    talk = submitting(core, pieces)

    talk.step.act()
    assert pieces._made == []


def test_a_forked_child_is_another_client(core):
    core._remember(["c-0"])
    waiting = TaskSet(["c-0"])
    core.inbox.expect(waiting)
    before = core.client
    there, here = os.pipe()

    if (child := os.fork()) == 0:
        found = core.call(Flags(), tasks.double, (1,), {})[0]
        core.inbox.deliver("c-0", outcome("r", b"N"))
        words = [core.client, found.ids[0], str(core.history), str(waiting.done)]
        os.write(here, "|".join(words).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(here)
    name, task_id, history, done = os.read(there, 1000).decode().split("|")
    os.close(there)

    assert name != before
    assert core.client == before
    assert task_id == f"{name}-0"
    assert (history, done) == ("[]", "True")
    assert not waiting.done


def test_what_a_parent_is_submitting_is_missed_when_the_parent_is_gone(
    core, monkeypatch
):
    core.inbox.underway.add("c-0")
    there, here = os.pipe()

    if (child := os.fork()) == 0:
        recent = core.inbox.recent
        said = [recent.was_said_since(0, name) for name in ("c-0", "c-1")]
        monkeypatch.setattr(os, "getppid", lambda: 1)
        os.write(here, str([*said, recent.was_said_since(0, "c-0")]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(here)

    assert os.read(there, 1000) == b"[True, False, False]"
    os.close(there)


def test_a_wait_refuses_what_is_no_timeout(core):
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        next(core.wait([], "5"))


# -- what tasks wait for


def groups_of(pieces):
    return [group for piece in pieces if not isinstance(piece, Call) for group in piece]


def both(found, name):
    return found, name


def test_options_are_bound_by_the_signature(core):
    flags = Flags().replaced(time_limit=5, retry_on=ValueError, after="p-1")

    found, task = core.call(flags, tasks.add, (1,), {"y": 2})

    assert task.waits.fields()["after"] == "as p-1"
    assert task.flags["opts"] == "l5000 oValueError"
    until = f"{task.flags['until']} l5000 oValueError"
    (task_id,), digest = found.ids, task.function.digest
    assert KEYRING.open_task(digest, until, task_id, task.envelope)
    with pytest.raises(error.SignatureError):
        KEYRING.open_task(digest, task.flags["until"], task_id, task.envelope)


@pytest.mark.parametrize(
    ("flags", "days"),
    [
        ({}, 91),
        ({"result_ttl": 0}, 90),
        ({"result_ttl": 5 * 86400}, 95),
        ({"timeout": 60}, 91),
        ({"timeout": 200 * 86400}, 201),
        ({"retries": 1000}, 91),
        ({"retries": 3, "retry_delay": 86400}, 94),
        ({"retries": 3, "retry_delay": 43200, "retry_jitter": 0.5}, 93.25),
        ({"retries": 3, "retry_delay": 4000, "retry_backoff": 3}, 91 + 52000 / 86400),
        # 1, 2 .. 65,536 seconds, and eight days: no pause is longer than one.
        ({"retries": 25, "retry_delay": 1, "retry_backoff": 2}, 99 + 131071 / 86400),
    ],
)
def test_work_may_begin_months_later_and_after_all_pauses_of_its_retries(
    core, flags, days
):
    _, task = core.call(Flags().replaced(**flags), tasks.double, (1,), {})

    last = task.flags["until"]
    assert int(last) * 60 == pytest.approx(time.time() + days * 86400, abs=120)
    assert len(last) == 8


def test_work_that_begins_later_may_be_run_later(core):
    def until(**flags):
        _, task = core.call(Flags().replaced(**flags), tasks.double, (1,), {})
        return int(task.flags["until"]) * 60 - time.time()

    assert until(delay=1e6) - until() == pytest.approx(1e6, abs=120)
    assert until(eta=time.time() + 1e6) - until() == pytest.approx(1e6, abs=120)
    assert until(eta=5) == pytest.approx(until(), abs=120)


def test_only_sets_with_timers_need_sweeps(core):
    core.inbox.sweep_at = 1e9

    assert not core.call(Flags(), tasks.double, (1,), {})[0].timed
    assert core.inbox.sweep_at == 1e9
    assert core.call(Flags().replaced(timeout=1), tasks.double, (1,), {})[0].timed
    assert core.inbox.sweep_at == 0


def test_what_runs_again_may_have_timers(core):
    core.inbox.sweep_at = 1e9

    core.expected(1)

    assert core.inbox.sweep_at == 0


def test_chunks_of_a_map_need_their_own_results(core):
    items = [Ref("p-1"), Ref("p-1"), 5, Ref("p-2")]

    _, pieces, _ = core.map(Flags().replaced(after="p-9"), tasks.double, [items], 1)

    assert [
        (group.flags["after"], group.flags.get("refs"), len(group.tasks) // 2)
        for group in groups_of(pieces)
    ] == [
        ("as p-9 p-1", "p-1", 2),
        ("as p-9", None, 1),
        ("as p-9 p-2", "p-2", 1),
    ]


def test_a_graph_is_tasks_that_wait_for_each_other(core):
    graph = {"c": ["a", "b"], "a": [], "b": ["a"]}
    jobs = {
        "a": tasks.noop,
        "b": (tasks.double, (Ref("a"),)),
        "c": (tasks.add, (Ref("b"),), {"y": Ref("p-5")}),
    }

    ids, sets, pieces = core.graph(Flags().replaced(retries=2), graph, jobs, both)

    a, b, c = (ids[node] for node in "abc")
    found = {group.tasks[0]: group.flags for group in groups_of(pieces)}
    assert {node: (one.ids, name) for node, (one, name) in sets.items()} == {
        "a": ((a,), "noop"), "b": ((b,), "double"), "c": ((c,), "add")
    }  # fmt: skip
    assert [found[a].get("after"), found[a]["retries"]] == [None, 2]
    assert (found[b]["after"], found[b]["refs"]) == (f"as {a}", a)
    assert (found[c]["after"], found[c]["refs"]) == (f"as {a} {b} p-5", f"{b} p-5")


def test_the_first_of_a_graph_wait_for_what_the_view_waits_for(core):
    flags = Flags().replaced(
        after=Dependency("p-1", failure=True), follow="p-2", timeout=5
    )
    graph = {"a": [], "b": Dependency("a", all=False)}

    *_, pieces = core.graph(flags, graph, tasks.noop, both)

    first, second = (group.flags for group in groups_of(pieces))
    assert (first["after"], first["follow"]) == ("asf p-1", "as p-2")
    assert second["after"].startswith(f"ns {core.client}-")
    assert second["follow"] == "as p-2"


def test_a_large_graph_is_entered_whole(core):
    graph = {number: [number // 2] if number else [] for number in range(1200)}

    ids, _, pieces = core.graph(Flags(), graph, tasks.noop, both)

    *pieces, opening = pieces
    sizes = [sum(len(g.tasks) // 2 for g in piece) for piece in pieces]
    assert len(sizes) > 1
    assert sum(sizes) == 1200
    gates = [group.flags.get("gate", "") for group in groups_of(pieces)]
    gate = gates[0]
    # Who waits for others of the graph needs no gate.
    assert gate
    assert set(gates[1:]) == {""}
    assert (opening.script, opening.args[1]) == ("open", gate)
    assert gate not in ids.values()


def test_results_of_a_graph_are_made_slice_by_slice(core):
    _, made, pieces = core.graph(Flags(), dict.fromkeys(range(1200), ()), abs, both)

    before = len(made)
    sent = sum(len(group.tasks) // 2 for group in next(pieces))
    first = len(made)
    list(pieces)

    assert before == 0
    assert sent <= first < 1200
    assert list(made) == list(range(1200))


def test_whoever_could_begin_too_early_stands_behind_the_gate(core):
    graph = {
        **dict.fromkeys(map(str, range(600)), ()),
        "cleanup": Dependency("0", success=False, failure=True),
        "any": Dependency(["0", "1"], all=False),
        "all": ["0", "1"],
    }
    flags = Flags().replaced(after=Dependency("p-1"))

    ids, _, pieces = core.graph(flags, graph, tasks.noop, both)

    gated = {
        name
        for group in groups_of(list(pieces)[:-1])
        for name in group.tasks[::2]
        if "gate" in group.flags
    }
    free = {node for node, name in ids.items() if name not in gated}
    assert free == {"any", "all"}


def test_a_function_of_many_nodes_is_packed_once(core, monkeypatch):
    packed = []
    pack = core._pack

    def count(function):
        packed.append(function)
        return pack(function)

    monkeypatch.setattr(core, "_pack", count)
    state = [0]

    core.graph(Flags(), dict.fromkeys(range(100), ()), lambda: state, both)

    assert len(packed) == 1


@pytest.mark.parametrize(
    ("graph", "jobs", "kind", "words"),
    [
        ({"a": ["a"]}, tasks.noop, ValueError, "cycle"),
        ({"a": []}, {}, ValueError, "no job for node 'a'"),
        ({"a": [], "b": []}, {"a": tasks.noop, "b": (tasks.double, (Ref("a"),))},
         ValueError, r"node 'b': Ref\('a'\) is not to one of the node's predecessors"),
        ({"a": []}, {"a": (tasks.double, (Ref("a"),))}, ValueError, "node 'a'"),
        ({"a": []}, {"a": (tasks.double, (Ref("nobody"),))},
         ValueError, r"node 'a': Ref\('nobody'\) is not to one of the node's pred"),
        ({"a": []}, {"a": (tasks.double, ([Ref(5)],))},
         ValueError, r"node 'a': Ref\(5\) is not to one of the node's pred"),
        ({"a": []}, {"a": (tasks.double, (threading.Lock(),))}, TypeError, "node 'a'"),
        ({"a": [], "b": Dependency("a", failure=True)},
         {"a": tasks.noop, "b": (tasks.double, (Ref("a"),))},
         ValueError, "node 'b': a Dependency must be on the success of all"),
    ],
)  # fmt: skip
def test_a_graph_that_cannot_be_is_refused_by_name(core, graph, jobs, kind, words):
    with pytest.raises(kind, match=words):
        core.graph(Flags(), graph, jobs, both)


def test_large_graphs_cost_no_more_per_node(core):
    def steps(count):
        graph = {
            n: [n - 1 - back for back in range(3) if n > back] for n in range(count)
        }
        seen = 0

        def count_calls(*_):
            nonlocal seen
            seen += 1

        sys.setprofile(count_calls)
        try:
            list(core.graph(Flags(), graph, tasks.noop, both)[2])
        finally:
            sys.setprofile(None)
        return seen

    few, many = steps(200), steps(2000)

    assert many < 12 * few


def test_the_record_of_an_empty_task_has_a_size_that_the_allocator_has(core):
    _, task = core.call(Flags(), tasks.double, (1,), {})

    fn = f"{task.function.digest} {task.flags['until']}"
    pairs = [("state", "ready"), ("fn", fn), ("args", task.envelope)]
    each = [len(name) + len(value) + 4 for name, value in pairs]
    # Of the head, and the time, which is a number.
    assert sum(each) + 7 + len("submitted") + 2 + 10 <= 128


@numbers.Integral.register
class Whole:
    """A whole number that is no ``int``, like those of NumPy."""

    def __int__(self):
        return 7


def test_a_position_is_any_whole_number():
    assert session.is_single(cast(Any, Whole()))


def test_how_far_to_be_ahead_is_any_whole_number():
    assert lookahead.ahead_of([[1]], cast(Any, Whole())) == 7
    assert lookahead.ahead_of([[1]], "auto") is None
    for wrong in -1, 1.5, "all":
        with pytest.raises(ValueError, match="max_outstanding must be 'auto' or a"):
            lookahead.ahead_of([[1]], cast(Any, wrong))
