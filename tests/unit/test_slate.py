"""The slate: what a task says, as its supervisor can read it."""

from __future__ import annotations

import pytest

from redtask.engine.slate import RING, Slate
from redtask.hub.records import Work

ONE = Work("c-1", "1:n", "fn", b"", "c-1", "")
OTHER = Work("c-2", "1:m", "fn", b"", "c-2", "")


@pytest.fixture
def told():
    return []


@pytest.fixture
def slate(told):
    return Slate(lambda: told.append(True))


def test_a_new_slate_tells_of_nobody(slate):
    assert slate.task() is None
    assert slate.read_progress() == ""
    assert not slate.take_told()


def test_what_a_task_prints_can_be_read(slate):
    slate.write(0, "one\n", ONE)
    slate.write(1, "two\n", ONE)
    slate.write(0, "three ä\n", ONE)

    assert slate.task() == ("c-1", "1:n")
    assert slate.read(0) == (0, "one\nthree ä\n".encode())
    assert slate.read(0, 4) == (4, "three ä\n".encode())
    assert slate.read(0, 13) == (13, b"")
    assert slate.read(1) == (0, b"two\n")


def test_a_task_begins_with_nothing(slate):
    slate.write(0, "one\n", ONE)
    slate.progress("0.5 half", ONE)

    slate.write(1, "two\n", OTHER)

    assert slate.task() == ("c-2", "1:m")
    assert (slate.read(0), slate.read(1)) == ((0, b""), (0, b"two\n"))
    assert slate.read_progress() == ""


def test_only_the_end_of_much_is_there(slate):
    for number in range(3):
        slate.write(0, str(number) * (RING // 2 + 7), ONE)

    piece = slate.read(0)

    assert piece.at == 3 * (RING // 2 + 7) - RING
    assert piece.data == b"1" * (RING // 2 - 7) + b"2" * (RING // 2 + 7)
    assert slate.read(0, most=10) == (piece.at + RING - 10, b"2" * 10)


def test_one_text_may_be_longer_than_there_is_room(slate):
    slate.write(0, "ä", ONE)
    slate.write(0, "ö" * (2 * RING), ONE)

    piece = slate.read(0)

    assert (piece.at, len(piece.data)) == (2 + 4 * RING - RING, RING)
    assert piece.data == ("ö" * (RING // 2)).encode()


def test_what_is_overwritten_while_it_is_read_is_left_out(slate):
    slate.write(0, "a" * RING, ONE)
    # As if the engine were in the midst of writing ten bytes more.
    slate._fields[5] += 10

    assert slate.read(0) == (10, b"a" * (RING - 10))


def test_progress_is_the_latest(slate):
    slate.progress("0.1 reading", ONE)
    slate.progress("0.25 sorting", ONE)

    assert (slate.task(), slate.read_progress()) == (("c-1", "1:n"), "0.25 sorting")


def test_long_progress_is_cut_between_letters(slate):
    slate.progress("0.1 " + "ä" * 40, ONE)

    assert slate.read_progress() == "0.1 " + "ä" * 30


def test_progress_is_told_once_until_somebody_looks(slate, told):
    slate.progress("0.1", ONE)
    slate.progress("0.2", ONE)
    assert len(told) == 1

    assert slate.take_told()
    slate.progress("0.3", ONE)

    assert len(told) == 2


def test_what_is_printed_is_told_only_while_somebody_listens(slate, told):
    slate.write(0, "one\n", ONE)
    assert told == []

    slate.listen(True)
    slate.write(0, "two\n", ONE)
    slate.write(0, "three\n", ONE)
    assert len(told) == 1
    slate.take_told()
    slate.listen(False)
    slate.write(0, "four\n", ONE)

    assert len(told) == 1


def test_nothing_is_read_while_the_engine_turns_to_another_task(slate):
    slate.write(0, "one\n", ONE)
    slate._fields[0] += 1

    assert slate.task() is None
    assert slate.task(dead=True) == ("c-1", "1:n")


def test_an_interrupted_turn_is_done_by_the_next_word(slate):
    slate.write(0, "one\n", ONE)
    slate._fields[0] += 1

    slate.write(0, "two\n", OTHER)

    assert slate.task() == ("c-2", "1:m")
    assert slate.read(0) == (0, b"two\n")


def test_half_written_progress_is_not_read(slate):
    slate.progress("0.1", ONE)
    slate._fields[2] += 1

    assert slate.read_progress() == ""
    slate.progress("0.2", ONE)
    assert slate.read_progress() == "0.2"
