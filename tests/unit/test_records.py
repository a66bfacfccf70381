"""Replies of the hub: what somebody has damaged harms nobody else."""

from __future__ import annotations

import pytest

from redtask.hub.records import Turn, read_bell

ROW = b"66 1796 8:2:fn2:f ARGS"


@pytest.mark.parametrize("function", [b"\xff 1", b"", b"f \xff"])
def test_a_function_that_cannot_be_read_comes_to_be_refused(function):
    reply = [b"ok", 0, b"c-1", 1, function, b"args", b"", b"c-2", 1, b"f 1", b"a", b""]

    work = Turn.read(reply, "n").work

    assert [one.task_id for one in work] == ["c-1", "c-2"]
    assert (work[0].args, work[1].function, work[1].until) == (b"args", "f", "1")


def test_an_ancestor_that_cannot_be_read_comes_to_be_refused():
    (work,) = Turn.read([b"ok", 0, b"c-1", 1, b"f 1", b"args", b"\xff"], "n").work

    assert work.root != work.task_id


@pytest.mark.parametrize("row", [b"", b"x", b"66", b"66 1796 x:", b"66 1796 2:xx"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_row_that_cannot_be_read_comes_to_be_refused_and_no_other(row, at):
    rows = [ROW, ROW]
    rows.insert(at, row)
    names = ["c-1", "c-2", "c-3"]

    work = Turn.read([b"ok", 0, [name.encode() for name in names], rows], "n").work

    assert [one.task_id for one in work] == names
    good = [one for number, one in enumerate(work) if number != at]
    assert [(one.function, one.args) for one in good] == [("f", b"ARGS")] * 2


@pytest.mark.parametrize(
    "ring", [b"", b"1", b"n\nc-1", b"\xff\n\xff\n\xff\n1\n\n", b"n\nc-1\n1\nf\n\xff\nx"]
)
def test_a_ring_that_cannot_be_read_brings_nothing(ring):
    assert read_bell(ring) is None
