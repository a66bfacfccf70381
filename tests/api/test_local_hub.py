"""A hub in the test's own process, as programs that use redtask are tested with it."""

import asyncio
import concurrent.futures
import contextlib
import io
import math
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

import fakeredis
import pytest

import redtask
from redtask import Ref, aio, depend, error, testing
from tests import invariants, tasks
from tests.commands import Command
from tests.processes import DEADLINE

KEYS = "redtask:testing"
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "warm.lua"
#: The end of a scheme, whose function choose is to be tried.
SCHEME = "return { score = math.max, choose = choose }\n"


@contextlib.contextmanager
def checked(hub):
    """Check the invariants at the end."""
    with hub:
        yield hub
        server = hub._clockwork.server.inner
        invariants.check(fakeredis.FakeRedis(server=server), KEYS)


@pytest.fixture
def hub():
    with checked(testing.Hub()) as made:
        yield made


@pytest.fixture
def view(hub):
    with hub.client() as client:
        yield client.load_balanced_view()


def where():
    """Return the thread that runs the task."""
    return threading.get_ident()


class Ledger:
    """What has run, in order; tasks that travel by value still find it."""

    runs: ClassVar[list[object]] = []
    #: Has a task begun?
    began: ClassVar = threading.Event()
    #: May it end?
    let_go: ClassVar = threading.Event()


@pytest.fixture(autouse=True)
def ledger():
    Ledger.runs, Ledger.began, Ledger.let_go = [], threading.Event(), threading.Event()
    return Ledger.runs


def say(text):
    """Print something."""
    sys.stdout.write(f"{text}\n")


def note(what):
    """Note that it runs."""
    Ledger.runs.append(what)
    return what


def fail_before(attempt):
    """Fail in the attempts before this one."""
    task = redtask.current_task()
    note(task.attempt)
    if task.attempt < attempt:
        raise ValueError(task.attempt)
    return task.attempt


def die_once():
    """Let the engine die in the first attempt."""
    if redtask.current_task().attempt == 1:
        raise testing.EngineDies
    return redtask.current_task().engine_id


# -- running


def test_whoever_waits_runs_the_task(view):
    assert view.apply_sync(where) == threading.get_ident()
    assert view.map_sync(pow, range(5), [2] * 5) == [0, 1, 4, 9, 16]
    assert list(view.imap(abs, range(-3, 0))) == [3, 2, 1]


def test_nothing_runs_until_somebody_waits(hub, view):
    results = [view.apply_async(note, number) for number in range(3)]

    assert not any(result.ready() for result in results)
    assert Ledger.runs == []

    assert hub.run(2) == 2
    assert Ledger.runs == [0, 1]
    assert hub.run() == 1
    assert hub.run() == 0
    assert all(result.ready() for result in results)


def test_a_failure_is_a_remote_error_with_the_place(view):
    result = view.apply_async(fail_before, 2)

    with pytest.raises(redtask.RemoteError, match="ValueError: 1") as raised:
        result.get()

    assert isinstance(raised.value.__cause__, ValueError)
    assert "in fail_before" in raised.value.traceback
    assert "redtask/testing" not in raised.value.traceback


def test_the_order_is_that_of_priorities_and_dependencies(hub, view):
    last = view.with_flags(priority=-1).apply_async(note, "last")
    first = view.with_flags(priority=1).apply_async(note, "first")
    then = view.with_flags(after=[last]).apply_async(note, "then")
    here = view.with_flags(follow=[first], after=[then]).apply_async(note, "here")

    assert here.get() == "here"
    assert Ledger.runs == ["first", "last", "then", "here"]


def test_a_task_whose_parent_fails_never_runs(view):
    parent = view.apply_async(fail_before, 2)
    child = view.with_flags(after=[parent]).apply_async(note, "child")

    with pytest.raises(redtask.ImpossibleDependency):
        child.get()
    assert Ledger.runs == [1]


def test_results_are_arguments(view):
    one = view.apply_async(abs, -2)

    assert view.apply_sync(pow, Ref(one), 5) == 32


def test_what_a_task_prints_is_kept_and_shown(hub, view, capsys):
    result = view.apply_async(say, "hello")

    hub.run()

    assert result.stdout == "hello\n"
    assert capsys.readouterr().out == "hello\n"
    say("and this is ours")
    assert capsys.readouterr().out == "and this is ours\n"


def test_a_task_knows_who_it_is_and_reports_progress(hub, view):
    def work():
        task = redtask.current_task()
        task.progress(1, "half", total=2)
        return task.id, task.attempt, task.engine_id, task.hub, task.queue, task.label

    result = view.with_flags(label="mine").apply_async(work)

    assert result.get() == (result.msg_ids[0], 1, 0, "testing", "default", "mine")
    assert (result.metadata.progress, result.metadata.doing) == (0.5, "half")
    assert redtask.current_task().id is None


def test_output_is_streamed_while_the_task_is_run(view):
    result = view.apply_async(say, "hello")

    assert [said.text for said in result.stream_output()] == ["hello\n"]


def say_at_last(attempt):
    """Print something in each attempt, and fail before this one."""
    say(f"attempt {redtask.current_task().attempt}")
    fail_before(attempt)


async def listen(hub, flags, function, *arguments):
    """Return what a task prints, as a client for asyncio hears it."""
    async with hub.aio_client() as client:
        view = client.load_balanced_view(**flags)
        result = await view.apply_async(function, *arguments)
        return [said.text async for said in result.stream_output()]


def test_who_reads_what_a_task_prints_skips_the_time(hub, view):
    late, flaky = {"delay": 60}, {"retries": 2, "retry_delay": 60}

    for flags, call, printed in (
        (late, (say, "hello"), "hello\n"),
        (flaky, (say_at_last, 3), "attempt 3\n"),
    ):
        result = view.with_flags(**flags).apply_async(*call)
        heard = [said.text for said in result.stream_output()]
        assert heard[-1] == printed
        assert asyncio.run(listen(hub, flags, *call))[-1] == printed


def test_who_reads_what_is_never_printed_is_told_why(hub, view):
    result = view.with_flags(queue="gpu").apply_async(say, "hello")

    with pytest.raises(testing.Stuck, match="no engine lives that serves the queue g"):
        list(result.stream_output())
    with pytest.raises(testing.Stuck, match="no engine lives that serves the queue g"):
        asyncio.run(listen(hub, {"queue": "gpu"}, say, "hello"))

    hub.add_engine(["gpu"])
    assert [said.text for said in result.stream_output()] == ["hello\n"]


def listen_to_another():
    """Return what another task prints."""
    with redtask.Client() as client:
        result = client.load_balanced_view(delay=60).apply_async(say, "child")
        return [said.text for said in result.stream_output()], who("parent")


def test_a_task_reads_what_another_prints(hub, view):
    hub.add_engine()
    result = view.apply_async(listen_to_another)

    assert list(result.get()) == [["child\n"], result.msg_ids[0]]
    assert result.stdout == "parent\n"


def test_to_print_what_a_task_prints_runs_nothing(hub, view, capsys):
    async def program():
        async with hub.aio_client() as client:
            result = await client.load_balanced_view().apply_async(say, "late")
            async with result.stream_output():
                await asyncio.sleep(0.3)
                assert not await result.ready()
                await result.wait()

    result = view.apply_async(say, "hello")
    idle = view.with_flags(queue="gpu").apply_async(say, "never")

    with result.stream_output(), idle.stream_output():
        assert not Ledger.began.wait(0.3)
        assert not result.ready()
        result.wait()
    asyncio.run(program())

    assert capsys.readouterr().out == "hello\n" * 2 + "late\n" * 2


def interrupt():
    """Be interrupted, as by Ctrl-C."""
    raise KeyboardInterrupt


def test_an_interrupt_is_that_of_the_test(view):
    result = view.apply_async(interrupt)

    with pytest.raises(KeyboardInterrupt):
        result.get()
    with pytest.raises(redtask.RemoteError, match="KeyboardInterrupt"):
        result.get()


def hold():
    """Run until it is let go."""
    Ledger.began.set()
    assert Ledger.let_go.wait(DEADLINE)
    return note("held")


@contextlib.contextmanager
def held(result):
    """Have another thread run the task, which is let go in a while."""
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(result.get)
        assert Ledger.began.wait(DEADLINE)
        threading.Timer(0.3, Ledger.let_go.set).start()
        yield
        assert waiting.result(DEADLINE) == "held"


def test_what_can_run_now_runs_also_while_another_thread_runs_a_task(hub, view):
    hub.add_engine()
    with held(view.apply_async(hold)):
        quick = view.apply_async(note, "quick")

        assert hub.run() == 1

        assert quick.ready()
        assert Ledger.runs == ["held", "quick"]


def test_time_stands_still_while_another_thread_runs_a_task(hub, view):
    hub.add_engine()
    before = hub.now
    slow = view.apply_async(hold)
    late = view.with_flags(delay=60).apply_async(note, "late")
    with held(slow):
        assert hub.advance(100) == 1

    assert slow.metadata.completed == before
    assert late.metadata.started == before + timedelta(seconds=60)
    assert Ledger.runs == ["held", "late"]


def test_who_waits_skips_no_time_while_another_thread_runs_a_task(hub, view):
    hub.add_engine()
    before = hub.now
    slow = view.apply_async(hold)
    with held(slow):
        assert view.with_flags(delay=60).apply_sync(note, "late") == "late"

    assert slow.metadata.completed == before
    assert Ledger.runs == ["held", "late"]


class Hubs:
    """The hub of the test, for tasks."""

    now: ClassVar[testing.Hub]


def take_an_hour():
    """Take an hour of the hub's time; say what has run meanwhile."""
    return Hubs.now.run(), Hubs.now.advance(3600), Hubs.now.run()


def test_a_task_may_let_time_pass_and_others_run_after_it(monkeypatch):
    with checked(testing.Hub(engines=2)) as hub:
        monkeypatch.setattr(Hubs, "now", hub, raising=False)
        view, before = hub.client().load_balanced_view(), hub.now
        long = view.apply_async(take_an_hour)
        late = view.with_flags(delay=60).apply_async(note, "late")

        assert hub.run() == 2

        assert list(long.get()) == [0, 0, 0]
        assert long.metadata.completed == before + timedelta(hours=1)
        assert late.ready()


# -- time


def test_time_passes_only_when_it_is_told_to():
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    with checked(testing.Hub(now=begin)) as hub:
        view = hub.client().load_balanced_view()
        soon = view.with_flags(delay=10).apply_async(note, "soon")
        late = view.with_flags(delay=3600).apply_async(note, "late")

        assert hub.run() == 0
        assert hub.advance(9.9) == 0
        assert hub.advance(0.1) == 1
        assert soon.ready()
        assert not late.ready()
        assert hub.advance(timedelta(hours=1)) == 1
        assert hub.now == begin + timedelta(seconds=3610)
        assert late.metadata.completed == begin + timedelta(hours=1)


def test_many_short_times_are_as_long_as_one():
    begin = datetime(2030, 1, 1, tzinfo=UTC)
    with checked(testing.Hub(now=begin)) as hub:
        late = hub.client().load_balanced_view(delay=1.01).apply_async(note, "late")

        for _ in range(10):
            hub.advance(0.1)
        assert hub.now == begin + timedelta(seconds=1)
        for _ in range(10):
            hub.advance(timedelta(milliseconds=1))

        assert hub.now == begin + timedelta(seconds=1.01)
        assert late.ready()


def test_who_waits_skips_the_time(hub, view):
    begin, now = time.monotonic(), hub.now

    assert view.with_flags(delay=86400).apply_sync(abs, -1) == 1
    flaky = view.with_flags(retries=3, retry_delay=60, retry_backoff=2)
    assert flaky.apply_sync(fail_before, 4) == 4

    assert hub.now >= now + timedelta(seconds=86400 + 60 + 120 + 240)
    assert time.monotonic() - begin < 30
    assert hub.engine_ids == [0]


def test_a_waiting_limit_is_reached(hub, view):
    result = view.with_flags(timeout=30, queue="gpu").apply_async(abs, -1)

    with pytest.raises(redtask.TaskTimeout):
        result.get()


def test_results_are_forgotten_when_their_time_is_over(hub, view):
    result = view.with_flags(result_ttl=60).apply_async(abs, -1)
    hub.run()
    client = hub.client()
    assert client.get_result(result.msg_ids[0]).get() == 1

    hub.advance(61)

    with pytest.raises(KeyError):
        client.get_result(result.msg_ids[0])


# -- what can never happen


def test_who_waits_in_vain_is_told_why(view):
    result = view.with_flags(queue="gpu").apply_async(abs, -1)

    with pytest.raises(testing.Stuck, match="no engine lives that serves the queue g"):
        result.get()
    with pytest.raises(TimeoutError, match="is pending"):
        result.get(0.05)
    assert not result.wait(0.05)


def test_a_refused_task_waits_for_another_engine(hub, view):
    @depend(lambda: redtask.current_task().engine_id == 1)
    def picky():
        return redtask.current_task().engine_id

    result = view.apply_async(picky)
    with pytest.raises(testing.Stuck, match="refused it"):
        result.get()

    assert hub.add_engine() == 1
    assert result.get() == 1


def test_without_engines_nothing_runs():
    with checked(testing.Hub(engines=0)) as hub:
        result = hub.client().load_balanced_view(timeout=5).apply_async(abs, -1)

        assert hub.run() == 0
        assert hub.advance(5) == 0
        with pytest.raises(redtask.TaskTimeout):
            result.get()


def nested():
    """Wait for another task, as programs should not."""
    with redtask.Client() as client:
        return client.load_balanced_view().apply_sync(abs, -1)


def test_a_task_that_waits_for_another_needs_a_second_engine(hub, view):
    with pytest.raises(redtask.RemoteError, match="give the hub more engines"):
        view.apply_sync(nested)

    hub.add_engine()

    assert view.apply_sync(nested) == 1


# -- engines


def test_engines_die_when_told_to(hub, view):
    assert view.with_flags(retries=1).apply_sync(die_once) == 1
    assert hub.engine_ids == [1]

    with pytest.raises(redtask.EngineError):
        view.apply_sync(die_once)
    assert hub.engine_ids == [2]


def test_engines_serve_queues_and_leave():
    with checked(testing.Hub(2, queues=["default", "gpu"], scheme="lru")) as hub:
        rc = hub.client()
        view = rc.load_balanced_view()
        assert rc.ids == hub.engine_ids == [0, 1]

        where = lambda: redtask.current_task().engine_id  # noqa: E731
        assert view.map_sync(lambda _: redtask.current_task().engine_id, range(4)) == [
            0, 1, 0, 1,
        ]  # fmt: skip
        assert view.with_flags(targets=[1], queue="gpu").apply_sync(where) == 1
        hub.remove_engine(1)
        assert rc.ids == [0]
        with pytest.raises(KeyError):
            hub.remove_engine(1)


def test_a_scheme_may_be_a_file():
    with checked(testing.Hub(2, scheme=str(EXAMPLE))) as hub:
        view = hub.client().load_balanced_view()

        assert view.map_sync(abs, range(5)) == list(range(5))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("local x = = 1", "unexpected symbol near '='"),
        ("while true do end", "it does not come to an end"),
        ("undefined.x = 1", "attempt to index global 'undefined'"),
    ],
)
def test_a_scheme_that_is_wrong_is_told_with_its_line(tmp_path, line, words):
    path = tmp_path / "mine.lua"
    path.write_text(f"local function choose()\n  {line}\nend\n{SCHEME}")

    with pytest.raises(error.SchemeError, match=rf"mine\.lua:2: {words}"):
        testing.Hub(scheme=str(path))


# -- durability


@pytest.mark.parametrize("kind", ["fsync", "replica"])
def test_what_is_promised_of_submits_holds_at_once(hub, view, kind):
    async def program():
        async with hub.aio_client() as client:
            return await client.load_balanced_view(durability=kind).apply(abs, -3)

    sure = view.with_flags(durability=kind)

    assert sure.apply_sync(abs, -1) == 1
    assert sure.map_sync(abs, [-1, -2]) == [1, 2]
    assert view.client.direct_view("all").with_flags(durability=kind).apply_sync(
        abs, -2
    ) == [2]
    assert asyncio.run(program()) == 3


@pytest.mark.parametrize(
    ("kind", "words"), [("fsync", "keeps no log"), ("replica", "has no replica")]
)
def test_a_test_may_have_a_redis_that_promises_nothing(kind, words):
    with checked(testing.Hub(durable=False)) as hub:
        view = hub.client().load_balanced_view()

        with pytest.raises(redtask.ConfigurationError, match=words):
            view.with_flags(durability=kind).apply_async(abs, -1)

        assert hub.run() == 0
        assert view.apply_sync(abs, -1) == 1


# -- clients


def test_clients_made_meanwhile_are_of_this_hub(hub, monkeypatch):
    with redtask.Client() as client:
        assert client.load_balanced_view().apply_sync(abs, -1) == 1
    assert os.environ["REDTASK_URL"] == hub.url

    with testing.Hub() as inner:
        assert os.environ["REDTASK_URL"] == inner.url
        assert redtask.Client().db_query({}) == []

    assert os.environ["REDTASK_URL"] == hub.url
    assert len(redtask.Client().db_query({})) == 1


def test_afterwards_all_is_as_before(monkeypatch):
    monkeypatch.delenv("REDTASK_URL", raising=False)
    with testing.Hub() as hub:
        client = hub.client()

    assert "REDTASK_URL" not in os.environ
    with pytest.raises(redtask.ConfigurationError, match="closed"):
        client.load_balanced_view().apply_async(abs, -1)
    with pytest.raises(redtask.ConnectionLost):
        redtask.Client(hub.url, key=hub.key)


def test_many_threads_wait(hub, view):
    found = []

    def ask(number):
        found.append(view.apply_sync(pow, number, 2))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [number**2 for number in range(8)]


def test_tasks_run_one_at_a_time_whoever_waits():
    with checked(testing.Hub(engines=4)) as hub:
        view = hub.client().load_balanced_view()
        before = sys.stdout

        def work(number):
            say(number)
            time.sleep(0.02)
            return redtask.current_task().id, number

        results = [view.apply_async(work, number) for number in range(6)]
        threads = [threading.Thread(target=result.get) for result in results]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [result.get() for result in results] == [
            (result.msg_ids[0], number) for number, result in enumerate(results)
        ]
        assert [result.stdout for result in results] == [f"{n}\n" for n in range(6)]
        assert sys.stdout is before


def who(name):
    """Print it, and return the id of the task."""
    say(name)
    return redtask.current_task().id


def ask_another(number):
    """Wait for another task, and tell who this one is before and after."""
    before = who(f"begin {number}")
    with redtask.Client() as client:
        client.load_balanced_view().apply_sync(who, f"child of {number}")
    return before, who(f"end {number}")


def check_parents(results, values):
    """Check that tasks which have waited still know who they are."""
    assert values == [result.msg_ids * 2 for result in results]
    printed = [f"begin {n}\nend {n}\n" for n in range(len(results))]
    assert [result.stdout for result in results] == printed


def test_tasks_that_wait_in_several_threads_stay_who_they_are():
    with checked(testing.Hub(engines=8)) as hub:
        view, before = hub.client().load_balanced_view(), sys.stdout
        results = [view.apply_async(ask_another, number) for number in range(4)]
        threads = [threading.Thread(target=result.get) for result in results]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        check_parents(results, [list(result.get()) for result in results])
        assert sys.stdout is before
        assert redtask.current_task().id is None


def test_tasks_that_wait_in_an_event_loop_stay_who_they_are():
    async def program():
        async with aio.Client() as client:
            view = client.load_balanced_view()
            results = [await view.apply_async(ask_another, n) for n in range(2)]
            return [list(value) for value in await asyncio.gather(*results)], [
                result.msg_ids[0] for result in results
            ]

    with checked(testing.Hub(engines=4)) as hub:
        before = sys.stdout
        values, ids = asyncio.run(program())

        check_parents(list(map(hub.client().get_result, ids)), values)
        assert sys.stdout is before


def test_what_has_run_is_done_at_once(hub, view):
    first, second = (view.apply_async(abs, n) for n in (-1, -2))
    assert not first.done()
    assert not second.done()

    hub.run(1)
    assert (first.done(), second.done()) == (True, False)
    hub.run()

    assert second.done()


async def ask_two():
    """Wait for two tasks, one of which nobody runs, and tell who this is then."""
    async with aio.Client() as client:
        idle = await client.load_balanced_view(queue="gpu").apply_async(abs, -1)
        waiting = asyncio.ensure_future(idle.wait(0.5))
        await client.load_balanced_view().apply(who, "child")
        assert not waiting.done()
        found = who("parent")
        await waiting
        return found


def test_a_task_with_a_coroutine_that_waits_stays_who_it_is(hub, view):
    hub.add_engine()
    result = view.apply_async(ask_two)

    assert result.get() == result.msg_ids[0]
    assert result.stdout == "parent\n"


def test_a_stream_that_a_task_has_replaced_stays_so_while_it_waits(hub, view):
    def quiet():
        with contextlib.redirect_stdout(io.StringIO()) as kept:
            ask_another(0)
        return kept.getvalue()

    hub.add_engine()
    result = view.apply_async(quiet)

    assert result.get() == "begin 0\nend 0\n"
    assert not result.stdout


def wait_in_vain():
    """Wait for a task that nobody runs."""
    Ledger.began.set()
    with redtask.Client() as client:
        client.load_balanced_view(queue="gpu").apply_sync(abs, -1)


def ask_elsewhere(url, key):
    """Wait for a task of another hub, and tell who this is."""
    with redtask.Client(url, key=key) as client:
        return client.load_balanced_view().apply_sync(abs, -1), who("here")


def test_a_task_may_wait_for_one_of_another_hub(hub, view):
    with testing.Hub() as other:
        result = view.apply_async(ask_elsewhere, other.url, other.key)

        assert result.get() == (1, result.msg_ids[0])
        assert result.stdout == "here\n"


def test_what_is_the_tests_is_so_again_when_the_hub_is_closed():
    before = sys.stdout
    with testing.Hub() as hub:
        result = hub.client().load_balanced_view().apply_async(wait_in_vain)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(result.get)
            assert Ledger.began.wait(30)
            hub.close()

            assert sys.stdout is before
            assert waiting.exception(30)

    assert sys.stdout is before


def test_a_thread_waits_for_what_another_has_still_to_submit(hub, view):
    with testing.Hub(engines=0) as other:
        result = other.client().load_balanced_view().apply_async(abs, -1)
        timer = threading.Timer(0.3, other.add_engine)
        timer.start()

        assert result.get() == 1
        timer.join()


def test_futures_and_callbacks(hub, view):
    done = threading.Event()
    result = view.apply_async(abs, -3)
    result.add_done_callback(lambda _: done.set())
    hub.run()
    assert done.wait(30)

    with hub.client().executor() as executor:
        assert executor.submit(abs, -1).result(30) == 1
        assert list(executor.map(abs, [-2, -3])) == [2, 3]
    results = [view.apply_async(abs, -n) for n in range(3)]
    assert sorted(one.get() for one in redtask.as_completed(results)) == [0, 1, 2]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_who_leaves_the_map_of_an_executor_aborts_what_has_not_begun(
    hub, view, chunksize
):
    values = view.executor.map(note, range(8), chunksize=chunksize)
    assert hub.run(2) == 2
    assert next(values) == 0

    values.close()

    assert hub.run() == 0
    assert Ledger.runs == list(range(2 * chunksize))
    states = [row["state"] for row in view.client.db_query({})]
    assert sorted(states) == ["aborted"] * (8 // chunksize - 2) + ["completed"] * 2


def refuse(number):
    """Fail for one of them."""
    assert note(number) != 1


def test_an_error_in_the_map_of_an_executor_aborts_what_has_not_begun(hub, view):
    values = view.executor.map(refuse, range(4))
    hub.run(2)

    with pytest.raises(redtask.RemoteError):
        list(values)

    assert hub.run() == 0
    assert Ledger.runs == [0, 1]


def test_who_has_read_all_of_a_map_or_nothing_leaves_all_as_it_is(hub, view):
    with view.executor as executor:
        assert list(executor.map(note, range(2))) == [0, 1]
        executor.map(note, range(2, 4)).close()

    assert Ledger.runs == [0, 1, 2, 3]


def test_a_callback_runs_nothing_and_lets_no_time_pass(hub, view):
    done, before = threading.Event(), hub.now
    late = view.with_flags(delay=0.9)
    results = [view.apply_async(note, 1), late.apply_async(note, 2)]
    for result in results:
        result.add_done_callback(lambda _: done.set())

    assert not done.wait(0.3)
    assert (hub.now, Ledger.runs) == (before, [])

    assert hub.run() == 1
    assert done.wait(30)
    done.clear()
    assert hub.advance(1) == 1
    assert done.wait(30)


def test_a_callback_in_asyncio_runs_nothing_and_is_never_stuck(hub):
    async def program():
        done = asyncio.Event()
        async with aio.Client() as client:
            view = client.load_balanced_view()
            idle = await view.with_flags(queue="gpu").apply_async(note, 0)
            result = await view.apply_async(note, 1)
            for one in (idle, result):
                one.add_done_callback(lambda _: done.set())
            await asyncio.sleep(1.5)
            assert Ledger.runs == []

            assert hub.run() == 1
            await asyncio.wait_for(done.wait(), 30)
            done.clear()
            hub.add_engine(["gpu"])
            assert hub.run() == 1
            await asyncio.wait_for(done.wait(), 30)

    asyncio.run(program())


def test_who_waits_for_futures_as_the_standard_library_does_lets_them_run(hub, view):
    callback = view.with_flags(delay=3600).apply_async(note, "callback")
    callback.add_done_callback(note)
    futures = [view.executor.submit(note, number) for number in range(3)]

    assert concurrent.futures.wait(futures, 30).not_done == set()
    assert Ledger.runs == [0, 1, 2]


def result_after_callback(executor):
    """Wait for what somebody else has asked to be told of."""
    future = executor.submit(abs, -1)
    future.add_done_callback(note)
    return future.result()


def first_completed(executor):
    """Wait with ``as_completed``."""
    return next(concurrent.futures.as_completed([executor.submit(abs, -1)])).result()


def all_completed(executor):
    """Wait with ``wait``, for two."""
    futures = [executor.submit(abs, -1), executor.submit(abs, -1)]
    done, _ = concurrent.futures.wait(futures)
    assert done == set(futures)
    return futures[1].result()


def in_an_event_loop(executor):
    """Wait as programs for asyncio do."""

    async def program():
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, abs, -1)

    return asyncio.run(program())


def shut_down(executor):
    """Wait until nothing is left to do."""
    future = executor.submit(abs, -1)
    executor.shutdown()
    return future.result(0)


WAYS = [
    result_after_callback,
    first_completed,
    all_completed,
    in_an_event_loop,
    shut_down,
]


@pytest.mark.parametrize("way", WAYS)
def test_who_waits_for_a_future_in_vain_is_told_why(view, way):
    executor = view.with_flags(queue="gpu").executor

    with pytest.raises(testing.Stuck, match="no engine lives that serves the queue g"):
        way(executor)


@pytest.mark.parametrize("way", WAYS)
def test_who_waits_for_a_future_skips_the_time(hub, view, way):
    before = hub.now

    assert way(view.with_flags(delay=60).executor) == 1

    assert hub.now >= before + timedelta(seconds=60)


def test_a_future_that_is_only_asked_is_never_stuck_and_lets_no_time_pass(hub, view):
    done, before = threading.Event(), hub.now
    idle = view.with_flags(queue="gpu").executor.submit(note, "idle")
    late = view.with_flags(delay=3).executor.submit(note, "late")
    for future in (idle, late):
        future.add_done_callback(lambda _: done.set())

    assert not done.wait(1.5)
    assert (idle.done(), late.done(), hub.now) == (False, False, before)

    hub.advance(3)
    assert done.wait(DEADLINE)
    assert Ledger.runs == ["late"]
    hub.add_engine(["gpu"])
    assert idle.result(DEADLINE) == "idle"


def test_who_waits_for_a_future_with_a_timeout_skips_no_more_than_that(hub, view):
    before = hub.now
    soon, late = (view.with_flags(delay=n).executor.submit(note, n) for n in (20, 60))
    idle = view.with_flags(queue="gpu").executor.submit(note, 0)
    for future in (soon, late, idle):
        future.add_done_callback(lambda _: None)

    for future in (late, idle):
        with pytest.raises(TimeoutError) as raised:
            future.result(1.5)
        assert raised.type is TimeoutError
    assert hub.now == before
    assert soon.result(DEADLINE + 1) == 20

    assert hub.now == before + timedelta(seconds=20)
    assert late.exception(60) is None


def test_a_future_waits_for_what_another_thread_has_still_to_do(hub, view):
    future = view.with_flags(queue="gpu").executor.submit(note, 1)
    timer = threading.Timer(0.3, hub.add_engine, [["gpu"]])
    timer.start()

    assert concurrent.futures.wait([future]).done == {future}

    assert future.result(0) == 1
    timer.join()


def test_tasks_are_aborted_resubmitted_and_asked_about(hub, view):
    client = view.client
    result = view.apply_async(fail_before, 2)
    assert "ready" in str(result.why())
    client.abort(result)
    with pytest.raises(redtask.TaskAborted):
        result.get()

    again = client.resubmit(result)
    with pytest.raises(redtask.RemoteError):
        again.get()
    assert {row["state"] for row in client.db_query({})} == {"aborted", "failed"}


def test_commands_read_it_too(hub, view):
    result = view.apply_async(abs, -1)
    hub.run()

    told = Command(hub.url, hub.key)("show", result.msg_ids[0])

    assert told.exit_code == 0, told.output
    assert "completed" in told.output


# -- asyncio


def test_asyncio_waits_and_tasks_have_event_loops(hub):
    async def double(x):
        await asyncio.sleep(0)
        return 2 * x

    async def program():
        async with aio.Client() as client:
            view = client.load_balanced_view()
            results = [await view.apply_async(double, n) for n in range(5)]
            assert await asyncio.gather(*results) == [0, 2, 4, 6, 8]
            assert await view.with_flags(delay=3600).apply(abs, -1)
            stuck = await view.with_flags(queue="gpu").apply_async(abs, -1)
            with pytest.raises(testing.Stuck):
                await stuck
            with pytest.raises(TimeoutError):
                await stuck.get(0.05)
            return [one async for one in await view.map_async(abs, [-1, -2])]

    assert asyncio.run(program()) == [1, 2]


async def tell(number):
    """Print in an event loop, and tell who this is."""
    await asyncio.sleep(0)
    return who(number)


def tell_by_itself(number):
    """Do so in an event loop of its own."""
    return asyncio.run(tell(number))


@pytest.mark.parametrize("function", [tell, tell_by_itself])
def test_where_an_event_loop_runs_tasks_may_have_others(hub, view, function):
    async def program():
        early, late = (
            view.with_flags(delay=delay).apply_async(function, delay)
            for delay in (0, 60)
        )
        assert hub.run() == hub.advance(60) == 1
        own = view.apply_async(function, 1)
        return [early, late, own], [early.get(0), late.get(0), own.get()]

    results, values = asyncio.run(program())

    assert values == [result.msg_ids[0] for result in results]
    assert [result.stdout for result in results] == ["0\n", "60\n", "1\n"]


def test_where_an_event_loop_runs_a_map_and_an_interrupt_are_as_elsewhere(view):
    async def program():
        assert view.map_sync(tasks.later, range(4), chunksize=2) == [0, 1, 2, 3]
        with pytest.raises(KeyboardInterrupt):
            view.apply_async(interrupt).get()

    asyncio.run(program())


def test_a_client_of_ones_own_for_asyncio(hub):
    async def program():
        async with hub.aio_client() as client:
            return await client.load_balanced_view().apply(abs, -1)

    assert asyncio.run(program()) == 1


# -- bad input


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"engines": -1}, ValueError, "-1 is less than 0"),
        ({"queues": "gpu"}, TypeError, "a list of names"),
        ({"queues": ["G U"]}, error.HubError, "not a queue"),
        ({"scheme": "best"}, error.SchemeError, "best"),
        ({"hwn": 1}, error.HubError, "no such setting: hwn"),
        ({"now": datetime(2030, 1, 1)}, ValueError, "a datetime with a timezone"),  # noqa: DTZ001 - that is what is wrong
        ({"now": datetime(1969, 1, 1, tzinfo=UTC)}, ValueError, "1970 or later"),
        ({"now": 5}, TypeError, "a datetime with a timezone, not int"),
    ],
)
def test_what_is_wrong_is_named(arguments, kind, words):
    with pytest.raises(kind, match=words):
        testing.Hub(**arguments)


@pytest.mark.parametrize(
    "seconds",
    [-1, float("nan"), timedelta(seconds=-1), -0.0001, math.inf, 1e300, timedelta.max],
)
def test_time_passes_neither_backwards_nor_for_ever(hub, view, seconds):
    before = hub.now
    result = view.apply_async(note, 1)

    with pytest.raises(ValueError, match="time cannot pass by"):
        hub.advance(seconds)

    assert (hub.now, Ledger.runs) == (before, [])
    assert f"{before:%F %T}" in repr(hub)
    assert result.get() == 1


# -- pytest


@pytest.fixture
def redtask_hub_options():
    return {"engines": 3}


def test_the_fixtures_are_there(redtask_hub, redtask_client):
    assert redtask_client.ids == [0, 1, 2]
    assert redtask_hub.url == os.environ["REDTASK_URL"]
    assert redtask_client.load_balanced_view().apply_sync(abs, -1) == 1


def test_each_engine_has_a_namespace(hub):
    engine = hub.add_engine()
    with hub.client() as rc:
        dv = rc.direct_view(block=True)
        dv.scatter("part", range(4))
        assert dv["sum(part)"] == [1, 5]
        assert dv.apply(lambda: redtask.current_task().engine_id) == rc.ids
        assert rc[engine].apply_sync(redtask.Reference("len"), [1]) == 1

        hub.remove_engine(engine)
        hub.add_engine()

        with pytest.raises(error.CompositeError, match="name 'part' is not defined"):
            _ = dv["part"]
    with pytest.raises(RuntimeError, match="only engines"):
        redtask.Reference("part")()


def dies():
    raise testing.EngineDies


def test_an_engine_that_dies_takes_its_namespace_along(hub):
    with hub.client() as rc:
        rc[0].push({"kept": 1}, block=True)
        with pytest.raises(error.EngineError):
            rc[0].apply_sync(dies)

        with pytest.raises(error.CompositeError, match="name 'kept' is not defined"):
            rc[:].get("kept")
