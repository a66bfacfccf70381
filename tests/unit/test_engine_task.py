"""Running one task: whatever it does, there is an outcome, and the next can run."""

import asyncio
import io
import sys
import threading
import time
import types
from typing import Any

import pytest

from redtask import payload
from redtask.dependency import Ref
from redtask.engine.guard import Aborted
from redtask.engine.task import Runner
from redtask.error import (
    ConfigurationError,
    ImpossibleDependency,
    SignatureError,
    TimeLimitExceeded,
    UnmetDependency,
)
from redtask.functional import depend, require
from tests.workbench import RING, TOKEN, Bench


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


@pytest.mark.parametrize("limit", [b"much", b"-1", None])
def test_a_limit_of_results_that_is_none_is_not_heeded(bench, limit):
    bench.store.values[bench.store.keys.hub()] = limit

    bench.runner.read_limit()

    assert bench.value(len, b"x" * 9) == 9


def fetched(bench, sizes):
    """Run a batch whose arguments have these sizes and did not come along."""
    works = []
    for number, size in enumerate(sizes):
        name = f"c-{number}"
        work = bench.work(len, bytes(size), name=name)
        key = bench.store.keys.task(name, "args")
        bench.store.values[key] = bytes(work.args)
        works.append(work._replace(args=b""))
    before = bench.store.reads
    assert bench.values(works, bench.run_all(works)) == list(sizes)
    return bench.store.reads - before


def test_of_a_batch_they_are_fetched_together(bench):
    # The function, the first, and all others.
    assert fetched(bench, [100_000] * 9) == 3


def test_large_ones_are_fetched_one_by_one(bench):
    assert fetched(bench, [1 << 20] * 5) == 6


def test_a_large_one_among_small_ones_is_fetched_alone(bench):
    assert fetched(bench, [5000, 5000, 1 << 20, 6000, 6000, 6000]) == 4


def test_what_was_fetched_for_a_batch_is_not_kept_for_the_next(bench):
    fetched(bench, [5000] * 3)
    bench.store.values.clear()
    works = [bench.work(len, b"x" * 9, name="c-2")._replace(args=b"")]
    key = bench.store.keys.task("c-2", "args")
    bench.store.values[key] = bytes(bench.work(len, b"x" * 9, name="c-2").args)

    assert bench.values(works, bench.run_all(works)) == [9]


@pytest.mark.parametrize("lacking", ["function", "arguments", "result"])
def test_what_redis_refuses_to_give_just_now_has_its_task_go_back(
    bench, monkeypatch, caplog, lacking
):
    bench.keep_result("c-0", 21)
    refs = ["c-0"] if lacking == "result" else None
    work = bench.work(lambda x: x, Ref("c-0") if refs else 21, refs=refs)
    if lacking == "arguments":
        bench.store.values[bench.store.keys.task("c-1", "args")] = work.args
        work = work._replace(args=b"")
    if lacking != "function":
        assert bench.values([work], bench.run_all([work])) == [21]
        bench.runner.forget()

    def refuse(*_):
        raise ConfigurationError("Redis refuses the password")

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "commands", refuse)
        patched.setattr(bench.store, "command", refuse)
        outcomes = bench.run_all([work, work])

    assert outcomes == [("unbegun", [])] * 2
    assert caplog.messages == ["Redis refuses the password"]
    assert bench.values([work], bench.run_all([work])) == [21]


def test_a_task_that_is_itself_refused_by_a_redis_fails(bench):
    def refuse():
        raise ConfigurationError("Redis refuses the password")

    error, _ = bench.error(refuse)

    assert error.ename == "ConfigurationError"


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


@pytest.mark.parametrize(
    "function", ["no_such_module:f", lambda: __import__("no_such_module")]
)
def test_a_missing_module_is_told_with_where_engines_look(bench, function):
    error, fields = bench.error(function)

    assert error.evalue == fields["evalue"] == "No module named 'no_such_module'"
    assert "importlib" not in error.traceback
    assert error.traceback.endswith(
        "\nEngines import from the folder where their worker was started "
        f"({sys.path[0]}), PYTHONPATH, and the packages of {sys.executable}.\n"
    )


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


def test_a_limit_that_was_raised_is_heeded_up_to_what_redis_takes(bench):
    bench.store.values[bench.store.keys.hub()] = b"%d" % (1 << 30)
    bench.runner.longest = 3 << 20

    kind, _ = bench.run(lambda: bytes(2 << 20))
    error, _ = bench.error(lambda: bytes(4 << 20))
    assert kind == "ok"
    assert f"the limit is {3 << 20}" in error.evalue


def test_a_result_that_is_too_large_is_called_so_if_the_hub_cannot_be_asked(
    bench, monkeypatch
):
    work = bench.work(lambda: bytes(2 << 20))
    command = bench.store.command

    def refuse(*words):
        if words[1] == bench.store.keys.hub():
            raise ConfigurationError("Redis refuses the password")
        return command(*words)

    monkeypatch.setattr(bench.store, "command", refuse)
    ((kind, fields),) = bench.run_all([work])

    assert kind == "error"
    assert "PayloadTooLarge" in fields


def test_short_fields_stay_short_in_bytes(bench):
    _, fields = bench.run(lambda: "ü" * 500)
    assert len(fields["repr"].encode()) <= 64

    error, fields = bench.error(raiser(ValueError("ü" * 500)))
    assert len(fields["evalue"].encode()) <= 64
    assert fields["evalue"] == "ü" * 30 + "..."
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

    assert kind == "final"
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
    now = int(time.time() // 60)
    assert bench.value(lambda: 1, until=str(now + 1)) == 1

    fields = bench.ends("final", lambda: 1, until=str(now - 2))
    assert fields["evalue"].startswith("refused: it was to begin by ")

    bench.store.ahead = 10 * 60
    bench.runner.compare_clocks()
    fields = bench.ends("final", lambda: 1, until=str(now + 1))
    assert fields["ename"] == "SignatureError"


def test_work_that_comes_too_late_says_what_to_do_and_why_it_failed_before(bench):
    line = b"1:n\tuuid\t5\t6\tConnectionError: no route"

    fields = bench.ends("final", lambda: 1, until="29000000 l500")
    before = bench.read_error(fields)[0]
    bench.store.values[bench.store.keys.task("c-1", "attempts")] = [line]
    fields = bench.ends("final", lambda: 1, until="29000000 l500")
    again = bench.read_error(fields)[0]

    words = "refused: it was to begin by 2025-02-19 21:20 UTC: resubmit it"
    assert before.ename == again.ename == "SignatureError"
    assert before.evalue == f"{words}, which signs it anew"
    assert again.evalue == f"{before.evalue}; before that: ConnectionError: no route"
    assert fields["evalue"] == f"{words}..."


def test_work_is_not_refused_because_a_clock_was_set(bench):
    now = int(time.time() // 60)
    bench.store.ahead = 10 * 60
    bench.runner.compare_clocks()

    bench.store.ahead = 0

    assert bench.value(lambda: 1, until=str(now + 1)) == 1


def soon(*options):
    """Return the not-after time and options of work that is to be run."""
    return " ".join([str(int(time.time() // 60) + 1), *options])


class SundayError(UnmetDependency):
    """Not on a Sunday."""


def raises_sunday():
    raise SundayError


def no(*_):
    return False


def test_a_dependency_that_says_no_is_no_failure(bench):
    fields = bench.ends("unmet", depend(no)(lambda: 1))

    assert fields == {"words": "no returned False"}


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (UnmetDependency("not  here\nat all"), "not here at all"),
        (UnmetDependency("ü" * 150), "ü" * 98 + "..."),
        (UnmetDependency(""), "UnmetDependency"),
        (SundayError(), "Not on a Sunday."),
    ],
)
def test_a_task_may_say_itself_that_it_is_not_met_here(bench, problem, words):
    assert bench.ends("unmet", raiser(problem)) == {"words": words}
    assert bench.ends("unmet", depend(raiser(problem))(len)) == {"words": words}


def test_what_an_unmet_task_printed_is_not_the_next_ones(bench):
    def task():
        print("here")  # noqa: T201
        raise UnmetDependency("no")

    bench.ends("unmet", task)

    _, fields = bench.run(lambda: 1)
    assert "stdout" not in fields


def test_a_verdict_of_the_hub_that_passes_through_is_an_ordinary_failure(bench):
    fields = bench.ends("error", raiser(ImpossibleDependency("c-7 failed")))

    assert fields["ename"] == "ImpossibleDependency"


def test_a_missing_module_is_told_as_such(bench):
    fields = bench.ends("unmet", require("no_such_module")(lambda: 1))

    assert fields["words"].startswith("no_such_module: No module named")
    assert fields["by"] == "require"


def test_a_module_that_only_some_calls_need_is_not_the_functions(bench):
    def task():
        return require("no_such_module")(len)("")

    assert "by" not in bench.ends("unmet", task)


def test_a_dependency_is_asked_once_for_a_chunk(bench):
    asked: list[int] = []
    work = bench.work(depend(asked.append, 1)(lambda x: 2 * x))
    body = payload.pack_chunk(((1, 2, 3),))
    envelope = RING.sign_task(work.function, "", "c-1", body)
    bench.runner._kept[work.function] = depend(asked.append, 1)(lambda x: 2 * x)

    kind, flat = bench.runner(work._replace(args=envelope))

    assert kind == "ok"
    assert asked == [1]
    body = RING.open_result("c-1", TOKEN, "r", flat[1])
    assert payload.unpack_result(body) == [2, 4, 6]


def test_a_dependency_is_asked_for_each_task_anew(bench):
    counted = depend(lambda seen=[]: seen.append(1) or len(seen) < 2)(lambda: 1)

    assert [bench.value(counted) for _ in range(3)] == [1, 1, 1]
    assert bench.store.reads == 1


def test_an_error_of_a_predicate_fails_the_task(bench):
    error, _ = bench.error(depend(raiser(ValueError("broken")))(lambda: 1))

    assert (error.ename, error.evalue) == ("ValueError", "broken")
    assert "redtask/" not in error.traceback


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("KeyError", "error"),
        ("LookupError", "error"),
        ("OSError,Exception", "error"),
        ("builtins.LookupError", "error"),
        ("ValueError", "final"),
        ("Key", "final"),
        ("SystemExit,OSError", "final"),
    ],
)
def test_only_errors_that_are_named_are_retried(bench, names, kind):
    fields = bench.ends(kind, raiser(KeyError("k")), until=soon("o" + names))

    assert fields["ename"] == "KeyError"


def test_options_are_those_of_each_task(bench):
    bench.ends("final", raiser(KeyError()), until=soon("oValueError"))
    bench.ends("error", raiser(KeyError()), until=soon("l7000"))
    bench.runner.fresh = None
    bench.ends("error", raiser(KeyError()))

    assert bench.guard.limits == [7000]


def test_options_are_signed(bench):
    work = bench.work(pytest.fail, "it ran", until=soon("l5000"))

    kind, _ = bench.runner(work._replace(until=work.until.replace("l5", "l9")))

    assert kind == "final"
    assert bench.guard.limits == []


def test_an_option_that_is_not_known_is_not_passed_over(bench):
    error, _ = bench.error(pytest.fail, "it ran", until=soon("z1"))

    assert "does not know the option 'z1'" in error.evalue


def test_a_time_limit_is_told_before_the_users_code_runs(bench):
    problem = TimeLimitExceeded("time limit of 1 s exceeded")

    def task():
        assert bench.guard.limits == [1000]
        bench.guard.check()

    kind, flat = interrupted(bench, problem, task, soon("l1000"))
    error, fields = bench.read_error(dict(zip(flat[::2], flat[1::2], strict=True)))

    assert kind == "late"
    assert fields["ename"] == "TimeLimitExceeded"
    assert fields["evalue"] == error.evalue == "time limit of 1 s exceeded"
    assert isinstance(error, TimeLimitExceeded)
    assert error.engine_info == {"engine_id": 0}
    assert "in task" in error.traceback


def interrupted(bench, problem, task, until=""):
    """Return the kind of a task that is interrupted where it checks."""
    bench.guard.wanted = problem
    work = bench.work(len, until=until)
    bench.runner._kept[work.function] = task
    return bench.runner(work)


def test_an_interrupted_task_is_aborted_and_has_only_its_output(bench):
    def task():
        print("so far")  # noqa: T201
        bench.guard.check()

    told = ["stdout", b"so far\n"]
    assert interrupted(bench, Aborted(), task) == ("aborted", told)
    bench.guard.wanted = None
    assert "stdout" not in bench.run(lambda: 1)[1]


def test_a_task_may_clean_up_and_return_all_the_same(bench):
    def task():
        try:
            bench.guard.check()
        except TimeLimitExceeded:
            return "half"
        return "all"

    kind, _ = interrupted(bench, TimeLimitExceeded("over"), task)

    assert kind == "ok"


def test_a_task_that_makes_another_error_of_it_has_that_error(bench):
    def task():
        try:
            bench.guard.check()
        except TimeLimitExceeded:
            raise ValueError("mine") from None

    kind, _ = interrupted(bench, TimeLimitExceeded("over"), task)

    assert kind == "error"


def test_a_limit_of_the_users_own_is_an_ordinary_error(bench):
    bench.ends("error", raiser(TimeLimitExceeded("mine")))


def test_who_is_late_is_tried_again_whatever_the_errors_to_be_retried(bench):
    until = soon("l5", "oValueError")

    kind, _ = interrupted(bench, TimeLimitExceeded("over"), bench.guard.check, until)

    assert kind == "late"


def test_a_signal_that_comes_too_early_is_heard_when_the_task_begins(bench):
    bench.guard.pending = True
    bench.guard.wanted = Aborted()

    bench.ends("aborted", pytest.fail, "it ran")
    bench.guard.wanted = None

    assert not bench.guard.pending
    assert bench.value(lambda: 1) == 1


def test_results_that_arguments_refer_to_stand_in_their_place(bench):
    bench.keep_result("p-1", [1, 2])
    bench.keep_result("p-2", bytes(100_000), beside=True)
    bench.keep_result("p-3", None)

    def look(first, second, *, third):
        return first, len(second), third

    found = bench.value(
        look, Ref("p-1"), Ref("p-2"), third=[Ref("p-3")],
        refs=["p-1", "p-2", "p-3"],
    )  # fmt: skip

    assert found == ([1, 2], 100_000, [None])


def test_many_results_are_fetched_in_one_round_trip_and_kept(bench):
    ids = [f"p-{number}" for number in range(50)]
    for number, one in enumerate(ids):
        bench.keep_result(one, number)

    found = [bench.value(sum, [Ref(one) for one in ids], refs=ids) for _ in range(3)]

    assert found == [1225] * 3
    # The function is kept, too.
    assert bench.store.reads == 2
    bench.runner.forget()
    assert bench.value(sum, [Ref("p-1")], refs=["p-1"]) == 1
    assert bench.store.reads == 3


def test_a_kept_result_is_made_anew_for_each_task(bench):
    bench.keep_result("p-1", [])

    def change(values):
        values.append(1)
        return values

    assert [bench.value(change, Ref("p-1"), refs=["p-1"]) for _ in "ab"] == [[1], [1]]


def test_what_is_kept_is_bounded(bench):
    ids = [f"p-{number}" for number in range(10)]
    for one in ids:
        bench.keep_result(one, bytes(5 << 20))
    bench.keep_result("p-99", bytes(9 << 20))

    for one in [*ids, "p-99"]:
        assert bench.value(len, Ref(one), refs=[one]) >= 5 << 20

    kept = bench.runner._parents._kept
    assert list(kept) == ids[-6:]
    assert bench.runner._parents._kept_size == sum(map(len, kept.values()))


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"state": None}, "there is no record"),
        ({"state": b"running"}, "it is running"),
        ({"result": b""}, "it is completed"),
    ],
)
def test_a_result_that_is_not_there_is_named(bench, more, why):
    bench.keep_result("p-1", 1, **more)

    error, _ = bench.error(pytest.fail, Ref("p-1"), refs=["p-1"])

    assert error.ename == "TaskLost"
    assert "the result of p-1" in error.evalue
    assert why in error.evalue


def test_a_result_that_no_engine_has_signed_is_refused(bench):
    bench.keep_result("p-1", 1, token=b"2:other")

    fields = bench.ends("final", pytest.fail, Ref("p-1"), refs=["p-1"])

    assert fields["evalue"].startswith("refused: the signature does not fit")


# Several tasks at once


def square(x):
    return x * x


def link(bench, number, **flags):
    """Return a task that needs the result of the one before it."""
    before, flags = f"c-{number - 1}", {"along": True, **flags}
    return bench.work(square, Ref(before), refs=[before], name=f"c-{number}", **flags)


def test_what_was_taken_along_gets_results_that_the_hub_does_not_have(bench):
    works = [bench.work(square, 2, name="c-1"), link(bench, 2), link(bench, 3)]

    assert bench.values(works, bench.run_all(works)) == [4, 16, 256]
    # The function.
    assert bench.store.reads == 1


@pytest.mark.parametrize("size", [60_000, 100_000, 900_000])
def test_also_large_ones(bench, size):
    def more(data):
        return data + b"x"

    works = [
        bench.work(bytes, size, name="c-1"),
        *(
            bench.work(more, Ref(one), refs=[one], name=name, along=True)
            for one, name in (("c-1", "c-2"), ("c-2", "c-3"))
        ),
    ]

    first, second, third = bench.values(works, bench.run_all(works))

    assert [len(first), second[size:], third[size:]] == [size, b"x", b"xx"]


def test_results_are_kept_once_the_hub_has_accepted_them(bench):
    works = [bench.work(square, 2, name="c-1"), link(bench, 2)]
    bench.run_all(works)
    bench.runner.reported(all_count=True)

    more = [link(bench, 3, along=False)]

    assert bench.values(more, bench.run_all(more)) == [256]
    assert bench.store.reads == 1


def test_but_not_if_it_has_not(bench):
    """What counts may be another engine's result."""
    works = [bench.work(square, 2, name="c-1"), link(bench, 2)]
    bench.run_all(works)
    bench.runner.reported(all_count=False)
    bench.keep_result("c-2", 3)

    more = [link(bench, 3, along=False)]

    assert bench.values(more, bench.run_all(more)) == [9]


def test_nor_what_nobody_took_along(bench):
    works = [bench.work(square, number, name=f"c-{number}") for number in range(3)]
    bench.run_all(works)
    bench.runner.reported(all_count=True)

    assert bench.runner._parents._kept == bench.runner._parents._made == {}


def test_what_needs_a_result_that_is_not_here_goes_back(bench):
    """As it is too large to be kept: the hub will have it."""
    works = [bench.work(bytes, 9 << 20, name="c-1"), link(bench, 2)]
    bench.runner = Runner(bench.store, RING, bench.output, 10 << 20, bench.guard)
    bench.keep_result("c-1", 0, state=b"running")

    outcomes = bench.run_all(works)

    assert [kind for kind, _ in outcomes] == ["ok", "unbegun"]
    assert outcomes[1][1] == []


def test_what_a_batch_needs_is_fetched_at_once(bench):
    works = []
    for number in range(1, 9):
        parents = [f"p-{number}", f"p-{number + 1}"]
        refs = [Ref(one) for one in parents]
        works.append(bench.work(sum, refs, refs=parents, name=f"c-{number}"))
    for number in range(1, 10):
        bench.keep_result(f"p-{number}", number, beside=number % 2 == 0)

    found = bench.values(works, bench.run_all(works))

    assert found == [2 * number + 1 for number in range(1, 9)]
    # The function, and all results.
    assert bench.store.reads == 2


def test_a_long_result_is_read_by_who_needs_it(bench):
    works = [
        bench.work(len, Ref(f"p-{n}"), refs=[f"p-{n}"], name=f"c-{n}") for n in (1, 2)
    ]
    bench.keep_result("p-1", b"")
    bench.keep_result("p-2", bytes(100_000), beside=True)

    assert bench.values(works, bench.run_all(works)) == [0, 100_000]
    assert bench.store.reads == 3


def test_only_who_needs_what_is_wrong_fails(bench):
    works = [
        bench.work(square, Ref(f"p-{n}"), refs=[f"p-{n}"], name=f"c-{n}")
        for n in (1, 2, 3, 4, 5)
    ]
    bench.keep_result("p-1", 1)
    bench.keep_result("p-2", 2, token=b"2:forged")
    bench.keep_result("p-3", 3, state=b"running")
    bench.keep_result("p-5", 5)
    forged = bytearray(works[3].args)
    forged[30] ^= 1
    works[3] = works[3]._replace(args=bytes(forged))

    outcomes = bench.run_all(works)

    kinds = [kind for kind, _ in outcomes]
    assert kinds == ["ok", "final", "error", "final", "ok"]


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


def test_what_a_task_prints_through_a_stream_of_its_own_is_kept(bench):
    def wrap(fail):
        sys.stdout = io.TextIOWrapper(sys.stdout.buffer)
        sys.stdout.write("wrapped")
        sys.stderr.write("err")
        assert not fail

    _, fields = bench.run(wrap, fail=False)
    _, failed = bench.error(wrap, fail=True)
    _, after = bench.run(lambda: sys.stdout.buffer.write(b"after"))

    assert fields["stdout"] == failed["stdout"] == b"wrapped"
    assert after["stdout"] == b"after"
    assert bench.real.getvalue() == ""


def test_a_stream_that_a_task_leaves_may_fail(bench):
    class Broken(io.StringIO):
        def flush(self):
            raise SystemExit(3)

    def leave():
        sys.stderr = Broken()
        sys.stdout.write("out")

    _, fields = bench.run(leave)

    assert fields["stdout"] == b"out"
    assert sys.stderr is bench.output.stderr


def test_a_task_may_take_the_streams_away(bench):
    def take(name):
        delattr(sys, name)

    error, _ = bench.error(take, "stdout")

    assert error.ename == "AttributeError"
    assert sys.stdout is bench.output.stdout
    assert bench.value(lambda: 1) == 1


def test_half_a_character_is_not_made_whole_by_the_next_task(bench):
    def write(data):
        sys.stdout.buffer.write(data)

    _, first = bench.run(write, "ü".encode()[:1])
    _, second = bench.run(write, "ü".encode()[1:] + b"x")

    assert (first["stdout"], second["stdout"]) == ("�".encode(), "�x".encode())


def test_half_a_character_comes_last_also_after_a_flood(bench):
    def flood():
        sys.stdout.buffer.write(b"x" * 2_000_000 + "ü".encode()[:1])

    _, fields = bench.run(flood)

    assert fields["stdout"].endswith("x�".encode())


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


async def agreed(answer):
    await asyncio.sleep(0)
    return answer


@pytest.mark.parametrize("function", [lambda: 1, depend(agreed, True)(lambda: 1)])
def test_a_predicate_that_is_a_coroutine_function_is_awaited(bench, function):
    fields = bench.ends("unmet", depend(agreed, False)(function))

    assert fields == {"words": "agreed returned False"}
    assert bench.value(depend(agreed, True)(function)) == 1


def test_a_predicate_inside_may_be_a_coroutine_function_too(bench):
    fields = bench.ends("unmet", depend(len, "")(depend(agreed, False)(len)))

    assert fields == {"words": "agreed returned False"}


def test_a_function_by_name_is_the_one_that_its_module_has_now(bench, monkeypatch):
    module: Any = types.ModuleType("changing")
    another: Any = types.ModuleType("changing")
    monkeypatch.setitem(sys.modules, "changing", module)

    def change(number):
        module.number = lambda: number

    def replace():
        another.number = lambda: 3
        sys.modules["changing"] = another

    steps = [lambda: change(1), abs, lambda: change(2), abs, replace]
    works = []
    for at, step in enumerate(steps):
        works.append(bench.work(step, *[1] * (step is abs), name=f"c-{2 * at}"))
        works.append(bench.work("changing:number", name=f"c-{2 * at + 1}"))
    found = bench.values(works, bench.run_all(works))

    assert found[1::2] == [1, 1, 2, 2, 3]
    monkeypatch.delitem(sys.modules, "changing")
    ((kind, _),) = bench.run_all([works[-1]])
    assert kind == "error"


def test_a_class_method_by_name_is_fetched_once(bench):
    assert bench.value("fractions:Fraction.from_float", 2) == 2
    reads = bench.store.reads

    assert bench.value("fractions:Fraction.from_float", 3) == 3

    assert bench.store.reads == reads
