"""Pauses of the garbage collector."""

from __future__ import annotations

import gc
import os
import threading

import pytest

from redtask.uncollected import uncollected


def test_there_is_no_collection_meanwhile():
    with uncollected():
        meanwhile = gc.isenabled()

    assert (meanwhile, gc.isenabled()) == (False, True)


def test_it_goes_on_when_the_last_pause_ends():
    other, go = threading.Event(), threading.Event()

    def pause():
        with uncollected():
            other.set()
            go.wait(10)

    thread = threading.Thread(target=pause)
    with uncollected():
        thread.start()
        other.wait(10)
    one_left = gc.isenabled()
    go.set()
    thread.join()

    assert (one_left, gc.isenabled()) == (False, True)


def test_it_goes_on_after_an_error():
    with pytest.raises(ZeroDivisionError), uncollected(), uncollected():
        _ = 1 / 0

    assert gc.isenabled()


def test_who_has_turned_it_off_keeps_it_off():
    gc.disable()
    try:
        with uncollected():
            pass
        after = gc.isenabled()
    finally:
        gc.enable()

    assert not after


def test_a_child_forked_meanwhile_collects():
    with uncollected():
        child = os.fork()
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
        _, status = os.waitpid(child, 0)

    assert status == 0


def test_a_child_that_is_forked_by_who_paused_collects_at_the_end():
    child = -1
    try:
        with uncollected():
            child = os.fork()
    finally:
        if child == 0:
            os._exit(0 if gc.isenabled() else 1)
    _, status = os.waitpid(child, 0)

    assert (status, gc.isenabled()) == (0, True)
