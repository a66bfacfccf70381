"""Keys, from the bytes that a terminal sends."""

import pytest

from redtask.tui.keys import Decoder


def typed(*pieces):
    decoder = Decoder()
    keys = [key for piece in pieces for key in decoder.feed(piece)]
    return keys + decoder.flush()


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jk", ["j", "k"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~", ["pageup", "pagedown"]),
        (b"\t\x1b[Z", ["tab", "backtab"]),
        (b"\r\n", ["enter", "enter"]),
        (b"\x7f \x0c", ["backspace", "space", "redraw"]),
        ("ж東".encode(), ["ж", "東"]),
        (b"\x1b", ["escape"]),
        (b"\x1bq", ["escape", "q"]),
        (b"\x1b[1;5A", []),
        (b"\x1b[<0;3;4M", []),
        (b"\x01\x02", []),
        (b"\xff", ["�"]),
    ],
)
def test_bytes_are_keys(data, keys):
    assert typed(data) == keys


@pytest.mark.parametrize("at", [1, 2])
def test_a_sequence_may_come_in_pieces(at):
    data = b"\x1b[A"

    assert typed(data[:at], data[at:]) == ["up"]


def test_a_letter_may_come_in_pieces():
    data = "東".encode()

    assert typed(data[:1], data[1:]) == ["東"]


def test_an_escape_waits_for_what_may_follow():
    decoder = Decoder()

    assert decoder.feed(b"\x1b") == []
    assert decoder.is_waiting
    assert decoder.flush() == ["escape"]
    assert not decoder.is_waiting


def test_what_was_begun_and_never_ended_was_typed():
    assert typed(b"\x1b[") == ["escape", "["]
