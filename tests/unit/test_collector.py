"""The garbage collector, which looks seldom while much is made."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from redtask import collector
from redtask.collector import seldom_collecting

LARGE = 10_000
USUAL = (700, 10, 10)


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(*USUAL)
    yield
    gc.set_threshold(*before)


def is_seldom():
    return gc.get_threshold()[0] > USUAL[0] and gc.get_threshold()[1:] == USUAL[1:]


def test_it_looks_seldom_meanwhile_but_it_is_on():
    with seldom_collecting(LARGE):
        meanwhile = is_seldom(), gc.isenabled()

    assert meanwhile == (True, True)
    assert (gc.get_threshold(), collector._THRESHOLD._look in gc.callbacks) == (
        USUAL,
        False,
    )


def test_it_works_as_usual_while_a_small_graph_is_made():
    with seldom_collecting(999):
        assert gc.get_threshold() == USUAL


def test_it_works_as_usual_when_the_last_ends():
    other, go = threading.Event(), threading.Event()

    def make():
        with seldom_collecting(LARGE):
            other.set()
            go.wait(10)

    thread = threading.Thread(target=make)
    with seldom_collecting(LARGE):
        thread.start()
        other.wait(10)
    one_left = is_seldom()
    go.set()
    thread.join()

    assert (one_left, gc.get_threshold()) == (True, USUAL)


def test_it_works_as_usual_after_an_error():
    with (
        pytest.raises(ZeroDivisionError),
        seldom_collecting(LARGE),
        seldom_collecting(LARGE),
    ):
        _ = 1 / 0

    assert gc.get_threshold() == USUAL


def test_it_looks_seldom_only_for_a_time_in_one_go(monkeypatch):
    monkeypatch.setattr(collector, "LONGEST", 0.0)

    with seldom_collecting(LARGE):
        before = is_seldom()
        gc.collect(0)
        after = gc.get_threshold()
        with seldom_collecting(LARGE):
            overlapping = gc.get_threshold()

    assert before
    assert (after, overlapping, gc.get_threshold()) == (USUAL, USUAL, USUAL)


def test_garbage_made_meanwhile_is_found():
    class Node:
        def __init__(self):
            self.me = self

        def __del__(self):
            found.append(1)

    found: list[int] = []

    with seldom_collecting(LARGE):
        for _ in range(100_000):
            Node()
        assert len(found) > 30_000


@pytest.mark.parametrize("thresholds_set", [(0, 10, 10), (100_000, 5, 5)])
def test_who_has_it_look_never_or_more_seldom_keeps_that(thresholds_set):
    gc.set_threshold(*thresholds_set)

    with seldom_collecting(LARGE):
        meanwhile = gc.get_threshold()

    assert (meanwhile, gc.get_threshold()) == (thresholds_set, thresholds_set)


def test_who_has_turned_it_off_keeps_it_off():
    gc.disable()
    try:
        with seldom_collecting(LARGE):
            pass
        after = gc.isenabled()
    finally:
        gc.enable()

    assert not after


def test_who_sets_it_meanwhile_keeps_that():
    with seldom_collecting(LARGE):
        gc.set_threshold(5000, 5, 5)

    assert gc.get_threshold() == (5000, 5, 5)


def test_in_a_child_forked_meanwhile_it_works_as_usual():
    with seldom_collecting(LARGE):
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.get_threshold() == USUAL else 1)
        _, status = os.waitpid(child, 0)

    assert status == 0


def test_in_a_child_forked_by_who_makes_much_it_works_as_usual_at_the_end():
    child = -1
    try:
        with seldom_collecting(LARGE):
            child = os.fork()
    finally:
        if child == 0:
            os._exit(0 if gc.get_threshold() == USUAL else 1)
    _, status = os.waitpid(child, 0)

    assert (status, gc.get_threshold()) == (0, USUAL)
