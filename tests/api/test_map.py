"""Maps: their shapes, their errors, and how they arrive; through both faces."""

from __future__ import annotations

import math

import pytest

from redtask import error
from tests import tasks


@pytest.mark.parametrize("chunksize", [1, 2, 7, 100, 0, None])
def test_a_map_is_as_long_as_its_input(view, chunksize):
    result = view.map_async(tasks.double, range(7), chunksize=chunksize)

    assert result.get(10) == [0, 2, 4, 6, 8, 10, 12]
    assert len(result) == 7
    assert result.successful()


def test_a_map_of_nothing_is_an_empty_result(view):
    result = view.map_async(tasks.double, [])

    assert result.get() == []
    assert result.done()
    assert list(result) == []
    assert result.msg_ids == []
    assert len(result) == 0
    assert result.successful()
    assert view.map(tasks.double, [], block=True) == []


class Table:
    """As in pandas: the length and slices are of rows, iteration is by columns."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, rows):
        return Table(self.rows[rows])

    def __iter__(self):
        return iter(["a", "b"])


@pytest.mark.parametrize("rows", [0, 2, 5])
@pytest.mark.parametrize("chunksize", [1, 2])
def test_a_map_of_a_table_is_as_the_builtin(view, rows, chunksize):
    table = Table(list(range(rows)))

    result = view.map_async(tasks.double, table, chunksize=chunksize)

    assert result.get(10) == ["aa", "bb"]


class Labelled(list[float]):
    """As a Series of older pandas with an index of floats: slices go by labels."""

    def __getitem__(self, labels):
        first = -math.inf if labels.start is None else labels.start
        last = math.inf if labels.stop is None else labels.stop
        return [one for one in self if first <= one <= last]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_slices_by_label_are_not_chunks(view, chunksize):
    result = view.map_async(
        tasks.double, Labelled([10.0, 20.0, 30.0]), chunksize=chunksize
    )

    assert result.get(10) == [20.0, 40.0, 60.0]


def test_a_map_ends_with_its_shortest_input(view):
    assert view.map(tasks.add, "abc", ["x", "y"], block=True) == ["ax", "by"]


def test_chunks_are_balanced(view):
    result = view.map_async(tasks.double, range(10), chunksize=4)

    assert [len(part.get(10)) for part in result.split()] == [4, 3, 3]


def test_a_map_reads_what_does_not_know_its_length(view):
    told: list[int] = []
    numbers = (n for n in range(1234))

    result = view.map_async(tasks.double, numbers, chunksize=2, progress=told.append)

    assert told[-1] == 1234
    assert len(result) == 1234
    assert len(result.msg_ids) == 617
    assert result.get(30) == [2 * n for n in range(1234)]
    assert list(result.split()[-1].get(1)) == [2464, 2466]


def test_an_input_that_raises_takes_back_what_was_sent(view):
    def numbers():
        yield from range(600)
        raise ZeroDivisionError

    waiting = view.with_flags(delay=1000)
    with pytest.raises(ZeroDivisionError):
        waiting.map_async(tasks.double, numbers())

    assert len(view.client.history) >= 500
    states = {record["state"] for record in view.client.db_query({}, ["state"])}
    assert states == {"aborted"}


def test_progress_may_stop_a_map(view):
    def stop(items):
        raise InterruptedError(items)

    waiting = view.with_flags(delay=1000)
    with pytest.raises(InterruptedError):
        waiting.map_async(tasks.double, range(600), progress=stop)

    states = [record["state"] for record in view.client.db_query({}, ["state"])]
    assert set(states) == {"aborted"}


def test_map_may_wait_or_not(view):
    assert view.map(tasks.double, [1], block=True) == [2]
    assert view.map(tasks.double, [1], block=False).get(10) == [2]


def test_map_async_takes_no_block(view):
    with pytest.raises(TypeError, match="block"):
        view.map_async(tasks.double, [1], block=False)
    with pytest.raises(TypeError, match="nothing"):
        view.map_async(tasks.double, [1], nothing=1)


def test_a_label_is_for_one_map(view):
    result = view.map_async(tasks.double, [1], label="mine")
    result.wait()

    assert result.metadata[0]["label"] == "mine"
    assert view.label is None


def test_errors_are_collected(view):
    result = view.map_async(tasks.fail_odd, range(10))

    with pytest.raises(error.CompositeError) as caught:
        result.get(10)

    problem = caught.value
    assert [one[1] for one in problem.elist] == [f"odd {n}" for n in range(1, 10, 2)]
    assert len(problem.elist) == 5
    assert problem.elist[0][:2] == ("ValueError", "odd 1")
    assert str(problem).startswith("one or more exceptions raised in: fail_odd\n")
    assert "1 more exceptions" in str(problem)
    assert "Traceback" in "\n".join(problem.render_traceback())
    with pytest.raises(error.RemoteError, match="odd 3"):
        problem.raise_exception(1)
    with pytest.raises(IndexError):
        problem.raise_exception(5)
    assert not result.successful()


def test_errors_may_stand_among_the_values(view):
    for chunksize in (1, 2):
        result = view.map_async(
            tasks.fail_odd, range(5), chunksize=chunksize, return_exceptions=True
        )

        found = result.get(10)

        assert len(found) == 5
        assert found[4] == 4
        assert isinstance(found[1], error.RemoteError)
        assert result.successful()
        assert len(list(result)) == 5


def test_errors_may_be_asked_for_later(view):
    result = view.map_async(tasks.fail_odd, range(3))

    found = result.get(10, return_exceptions=True)

    assert found[0::2] == [0, 2]
    assert isinstance(found[1], error.RemoteError)


def test_iteration_gives_what_has_arrived(view, gate):
    paths = [__file__, __file__, str(gate)]
    result = view.map_async(tasks.pass_gate, paths, range(3))

    found = iter(result)

    assert [next(found), next(found)] == [0, 1]
    assert not result.done()
    gate.touch()
    assert list(found) == [2]
    assert list(result) == [0, 1, 2]


def test_iteration_need_not_be_in_order(view, gate):
    paths = [str(gate), __file__, __file__]
    result = view.map_async(tasks.pass_gate, paths, range(3), ordered=False)

    found = iter(result)

    assert {next(found), next(found)} == {1, 2}
    gate.touch()
    assert list(found) == [0]
    assert result.get() == [0, 1, 2]
    assert list(result) == [0, 1, 2]


def test_iteration_in_order_waits_for_who_is_first(view, gate):
    result = view.map_async(tasks.pass_gate, [str(gate), __file__], range(2))
    result.split()[1].get(10)
    gate.touch()

    assert list(result) == [0, 1]


def test_iteration_raises_where_the_error_is(view, gate):
    result = view.map_async(
        lambda path, x: tasks.pass_gate(path, tasks.fail_odd(x)),
        [__file__, __file__, str(gate)],
        range(3),
    )
    found = iter(result)

    assert next(found) == 0
    with pytest.raises(error.CompositeError, match="odd 1"):
        next(found)
    gate.touch()


def test_iteration_may_give_errors(view, gate):
    result = view.map_async(
        lambda path, x: tasks.pass_gate(path, tasks.fail_odd(x)),
        [__file__, __file__, str(gate)],
        range(3),
        return_exceptions=True,
    )
    found = iter(result)

    assert next(found) == 0
    assert isinstance(next(found), error.RemoteError)
    gate.touch()
    assert next(found) == 2


def test_a_single_result_is_not_iterable(view):
    with pytest.raises(TypeError, match="single result"):
        list(view.apply_async(tasks.double, 1))


def test_large_items_arrive_one_by_one(view):
    result = view.map_async(lambda n: bytes([n]) * 50_000, range(20), ordered=False)

    assert sorted(result) == [bytes([n]) * 50_000 for n in range(20)]


def test_a_map_of_many_slices(view):
    assert view.map_async(tasks.double, range(2000)).get(30) == list(range(0, 4000, 2))


def test_values_of_a_map_by_engine(view):
    one = view.map_async(tasks.double, [4])
    chunk = view.map_async(tasks.double, range(3), chunksize=3)
    nothing = view.map_async(tasks.double, [])

    assert list(one.get_dict(10).values()) == [8]
    assert list(chunk.get_dict(10).values()) == [[0, 2, 4]]
    assert nothing.get_dict(10) == {}


@pytest.mark.parametrize("finished", [False, True])
def test_what_comes_before_an_error_is_yielded(view, finished):
    result = view.map_async(tasks.invert, [4, 2, 1, 0, 5])
    if finished:
        result.wait(10)
    values = []

    with pytest.raises(error.CompositeError, match="ZeroDivisionError"):
        values.extend(result)

    assert values == [0.25, 0.5, 1.0]
