"""Ids of engines and positions in a history may be numbers of NumPy."""

from __future__ import annotations

import functools
import numbers

import pytest

from tests import tasks


@numbers.Integral.register
@functools.total_ordering
class Whole:
    """A whole number that is no ``int``, as NumPy has them."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value

    def __eq__(self, other):
        return self.value == other

    def __lt__(self, other):
        return self.value < other

    def __hash__(self):
        return hash(self.value)

    def __str__(self):
        return str(self.value)


@pytest.fixture
def engine(rc, view):
    """The id of an engine that has run a task."""
    result = view.apply_async(tasks.double, 2)
    assert result.get(30) == 4
    return Whole(result.metadata.engine_id)


def test_positions_in_the_history(rc, view, engine):
    latest = view.history[-1]

    assert rc.get_result(Whole(-1), block=False).msg_ids == [latest]
    assert rc.get_result([Whole(-1)], block=False).msg_ids == [latest]
    assert view.get_result(Whole(-1), block=False).msg_ids == [latest]
    assert rc.why(Whole(-1)).state == "completed"
    with pytest.raises(IndexError, match="no position 7"):
        rc.get_result(Whole(7))


def test_ids_of_engines(rc, view, engine):
    number = engine.value

    assert rc.queue_status(engine).keys() == rc.queue_status(number).keys()
    assert rc.queue_status([engine]).keys() == rc.queue_status([number]).keys()
    with pytest.raises(IndexError, match="no engine 999"):
        rc.queue_status(Whole(999))


def test_what_an_engine_did_is_purged(rc, view, engine):
    with pytest.raises(IndexError, match="never was an engine 999"):
        rc.purge_hub_results(targets=Whole(999))

    assert rc.purge_hub_results(targets=engine).purged >= 1


def test_an_engine_is_stopped_by_it(rc, engine):
    with pytest.raises(IndexError, match="no engine 999"):
        rc.shutdown(targets=Whole(999))
