"""Replies are read whatever is in them: damage concerns one task, not an engine."""

import pytest

from redtask.hub.records import Turn, read_bell

#: A row as ``lua/lib/sheet.lua`` writes it.
ROW = b"0 1000 12:2:fn4:fn 7args"


def named(turn):
    return [(work.task_id, work.function, work.until) for work in turn.work]


@pytest.mark.parametrize(
    "damaged",
    [
        (b"c-1", 1, b"fn\xff 7", b"args", b""),
        (b"c-1", 1, b"fn 7", b"args", b"c-\xff"),
        (b"\xff-1", 1, b"fn 7", b"args", b""),
    ],
)
def test_a_task_whose_words_are_no_text_hinders_no_other(damaged):
    reply = [b"ok", 0, *damaged, b"c-2", -2, b"fn 7", b"args", b"c-0"]

    (first, second) = Turn.read(reply, "n").work

    assert "\N{REPLACEMENT CHARACTER}" in "".join(first[:3] + first[4:6])
    assert second == ("c-2", "2:n", "fn", b"args", "c-0", "7", False, True)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"0",
        b"x y z",
        b"0 1000 x:args",
        b"0 1000 0:args",
        b"0 1000 12:2:fn9:fn 7args",
        b"0 1000 12:x:fn4:fn 7args",
        b"0 1000 12:2:fn4:fn\xff7args",
    ],
)
def test_a_row_that_cannot_be_read_hinders_no_other(damaged):
    turn = Turn.read([b"ok", 0, [b"c-1", b"c-2"], [damaged, ROW]], "n")

    assert turn.work[0].task_id == "c-1"
    assert named(turn)[1] == ("c-2", "fn", "7")


@pytest.mark.parametrize(
    "ring",
    [
        b"",
        b"a\nb\nc",
        b"n\nc-1\n1\nfn",
        b"n\nc-1\nx\nfn\n\nargs",
        b"n\nc-1\n1\n\xff\n\nargs",
        b"n\n\xff\n1\nfn\n\nargs",
        b"\xff\n\xff\n\xff\n1\n\n",
    ],
)
def test_a_malformed_bell_only_rings(ring):
    assert read_bell(ring) is None


def test_a_bell_hands_a_task_over():
    nonce, work = read_bell(b"n\nc-1\n2\nfn 7\nc-0\na\nrgs") or ("", None)

    assert nonce == "n"
    assert work == ("c-1", "2:n", "fn", b"a\nrgs", "c-0", "7", False, False)
