"""Functional dependencies and results among arguments, with real engines."""

import os
import subprocess
import sys
import textwrap

import pytest

import redtask
from redtask import Ref, depend, require
from tests.processes import DEADLINE, until

pytestmark = pytest.mark.acceptance


def run(script):
    """Run a program of its own; return what it printed."""
    return subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_at(place):
    """Is this engine there?"""
    return os.environ.get("PLACE") == place


def place():
    """Return where this engine is."""
    return os.environ.get("PLACE")


@pytest.fixture
def start(site, monkeypatch):
    """Start a worker at a place, with a module of its own if wanted."""

    def start(where, *words, module=None):
        monkeypatch.setenv("PLACE", where)
        path = os.environ["PYTHONPATH"]
        if module:
            folder = site.folder / where
            folder.mkdir()
            (folder / f"{module}.py").write_text("def answer(): return 42\n")
            monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{path}")
        worker = site.worker("-n", "2", *words)
        monkeypatch.setenv("PYTHONPATH", path)
        return worker

    return start


def test_tasks_run_only_where_their_predicate_says_yes(site, start):
    start("here")
    start("there")
    dependent = depend(is_at, "there")(lambda _: place())

    results = site.view.map_async(dependent, range(50), chunksize=1)

    assert results.get(DEADLINE) == ["there"] * 50


def test_each_chunk_of_a_map_is_placed_for_itself(site, start):
    start("here")
    start("there")
    dependent = depend(is_at, "there")(lambda x: (x, place()))

    results = site.view.map_async(dependent, range(100), chunksize=10)

    assert results.get(DEADLINE) == [(x, "there") for x in range(100)]


def test_a_task_waits_for_an_engine_that_may_run_it(site, start):
    start("here")
    result = site.view.apply_async(depend(is_at, "there")(place))
    until(lambda: site.state(*result.msg_ids) == "ready", "both refusals")

    start("there")

    assert result.get(DEADLINE) == "there"


def test_a_task_may_say_while_it_runs_that_it_is_in_the_wrong_place(site, start):
    start("here")
    start("there")

    def task(_):
        if place() == "here":
            raise redtask.UnmetDependency("not here")
        return place()

    results = site.view.map_async(task, range(20), chunksize=1)

    assert results.get(DEADLINE) == ["there"] * 20


def test_among_targets_that_all_refuse_it_is_impossible(site, start):
    start("here")
    view = site.view.with_flags(targets=site.client.ids)

    with pytest.raises(redtask.ImpossibleDependency, match="is_at returned False"):
        view.apply_async(depend(is_at, "there")(place)).get(DEADLINE)


def test_an_error_of_a_predicate_fails_the_task(site, start):
    start("here")

    def broken():
        raise LookupError("no such thing")

    with pytest.raises(redtask.RemoteError, match="LookupError: no such thing"):
        site.view.apply_async(depend(broken)(place)).get(DEADLINE)


def test_what_is_required_decides_where_and_is_there(site, start):
    start("here")
    start("there", module="only_there")
    factor = 2

    @require("only_there", is_at, factor=3)
    def work(x):
        return factor * x, is_at("there"), only_there.answer()  # type: ignore[name-defined] # noqa: F821

    results = site.view.map_async(work, range(20), chunksize=1)

    assert results.get(DEADLINE) == [(2 * x, True, 42) for x in range(20)]


def test_a_script_decorates_its_own_functions(site, start):
    start("here")
    start("there", module="only_there")
    script = site.folder / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import redtask

            limit = 3

            def enough(n):
                import os
                return n >= limit and os.environ["PLACE"] == "there"

            @redtask.require("only_there", "os.path", double=lambda x: 2 * x)
            @redtask.depend(enough, n=4)
            def work(n):
                if n == 0:
                    return os.path.basename("a/b"), double(limit), only_there.answer()
                return work(n - 1)

            view = redtask.Client().load_balanced_view()
            print(view.apply_sync(work, 2))
            print(view.map_sync(redtask.depend(enough, 9)(lambda x: x + limit), [1, 2]))
            """
        )
    )

    told = run(script)

    assert told.stdout == "('b', 6, 42)\n[4, 5]\n", told.stderr


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_children_of_multiprocessing_send_what_their_script_defines(
    site, start, method
):
    start("here")
    script = site.folder / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing
            import redtask

            class Point:
                def __init__(self, x):
                    self.x = x

            def double(point):
                return Point(2 * point.x)

            @redtask.require("os.path", double)
            def length(point, more):
                return double(point).x + len(more)

            def child():
                view = redtask.Client().load_balanced_view()
                point = view.apply_sync(double, Point(2))
                print(type(point) is Point, point.x)
                print(view.apply_sync(length, Point(3), bytes(100_000)))
                print(view.apply_sync(lambda point: double(point).x, Point(4)))

            if __name__ == "__main__":
                process = multiprocessing.get_context({method!r}).Process(target=child)
                process.start()
                process.join()
            """
        )
    )

    told = run(script)

    assert told.stdout == "True 4\n100006\n8\n", told.stderr


def test_results_of_tasks_are_arguments_of_others(site):
    site.worker("-n", "2")
    parts = [site.view.apply_async(lambda x: 2 * x, x) for x in range(10)]

    total = site.view.apply_async(sum, [Ref(part) for part in parts])
    more = site.view.apply_async(
        lambda x, *, y: (x, y), Ref(total), y={"y": Ref(total)}
    )

    assert total.get(DEADLINE) == 90
    assert more.get(DEADLINE) == (90, {"y": 90})


def test_a_large_result_is_an_argument_of_many(site):
    site.worker("-n", "2")
    large = site.view.apply_async(lambda: bytes(5_000_000))

    sizes = [site.view.apply_async(len, Ref(large)) for _ in range(20)]

    assert [size.get(DEADLINE) for size in sizes] == [5_000_000] * 20


def test_the_result_of_a_failed_task_is_no_argument(site):
    site.worker("-n", "1")

    def fail():
        raise ValueError("no")

    failed = site.view.apply_async(fail)
    with pytest.raises(redtask.ImpossibleDependency):
        site.view.apply_async(len, Ref(failed)).get(DEADLINE)


def test_errors_that_are_not_named_are_not_retried(site):
    site.worker("-n", "1")
    ledger = site.ledger

    def task(kind):
        with ledger.open("a") as notes:
            notes.write(f"{kind.__name__}\n")
        raise kind("no")

    view = site.view.with_flags(retries=2, retry_on=[OSError])
    for kind in (ValueError, ConnectionError):
        with pytest.raises(redtask.RemoteError, match=kind.__name__):
            view.apply_async(task, kind).get(DEADLINE)

    assert site.executions() == {"ValueError": 1, "ConnectionError": 3}
