"""Text for screens: clean, cut to cells, short."""

import pytest
from rich.cells import cell_len

from redtask.tui.columns import Cell, Column, layout, table
from redtask.tui.text import (
    ASCII,
    UNICODE,
    bar,
    clean,
    counted,
    fit,
    number,
    percentile,
    rate,
    span,
    spark,
)


@pytest.mark.parametrize(
    "evil",
    [
        "\x1b[2J", "\x9b31m", "\x07", "a\nb", "\r", "\x00", "\x7f", "\u202e", "\u200b",
        "\ud800", "\u2028", "\ufeff", "\U000e0001",
    ],
)  # fmt: skip
def test_what_moves_the_cursor_or_turns_text_round_is_never_shown(evil):
    shown = clean(f"x{evil}y")

    assert shown.isprintable()
    assert (shown[0], shown[-1]) == ("x", "y")
    assert "·" in shown


def test_letters_of_all_the_world_are_shown():
    text = "naïve 東京 привет [bold]ж[/]"

    assert clean(text) == text
    assert clean("a\tb") == "a b"


@pytest.mark.parametrize(
    "text", ["", "short", "rather long a text", "東京東京東京", "a東京"]
)
@pytest.mark.parametrize("width", [1, 2, 5, 8])
@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
def test_text_takes_exactly_its_cells(text, width, glyphs):
    assert cell_len(fit(text, width, glyphs)) == width
    assert cell_len(fit(text, width, glyphs, right=True)) == width


def test_what_is_cut_off_is_told():
    assert fit("abcdef", 4, UNICODE) == "abc…"
    assert fit("abcdef", 4, ASCII) == "abc~"
    assert fit("abc", 5, UNICODE, right=True) == "  abc"


def test_a_terminal_of_ascii_gets_nothing_else():
    assert fit("東京 ж", 10, ASCII).isascii()
    assert (spark([1, 2], 4, ASCII) + bar(0.5, 4, ASCII)).isascii()


def test_a_line_of_values():
    assert spark([0, 1, 4, 8], 6, UNICODE) == "  ▁▂▅█"
    assert spark([0, 0], 2, UNICODE) == "▁▁"
    assert spark([9, 1, 2], 2, UNICODE) == "▅█"
    assert spark([], 3, UNICODE) == "   "


def test_a_bar_shows_that_there_is_something():
    assert bar(0.0, 4, UNICODE) == "░░░░"
    assert bar(0.001, 4, UNICODE) == "█░░░"
    assert bar(0.5, 4, UNICODE) == "██░░"
    assert bar(7.0, 4, UNICODE) == "████"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0, "0"),
        (99999, "99,999"),
        (123456, "123k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (1e6, "1M"),
        (999_999_999, "1G"),
        (2.5e9, "2.5G"),
    ],
)
def test_numbers_take_few_letters(value, told):
    assert number(value) == told


def test_rates_and_spans_have_units():
    assert [rate(0), rate(0.25), rate(1234)] == ["0/s", "0.2/s", "1,234/s"]
    assert [span(one) for one in (0, 0.0002, 0.25, 2.34, 59, 100, 7200, 3e5, 9e5)] == [
        "0 s", "200 us", "250 ms", "2.3 s", "59 s", "1.7 min", "2 h", "3.5 d", "10 d",
    ]  # fmt: skip


def test_one_is_not_several():
    assert [counted(one, "task") for one in (0, 1, 2000)] == [
        "0 tasks", "1 task", "2,000 tasks",
    ]  # fmt: skip


def test_a_percentile_is_one_of_the_values():
    assert percentile([], 0.5) is None
    assert percentile([3.0], 0.95) == 3.0
    assert percentile(range(100), 0.95) == 95


COLUMNS = (
    Column("id", 4),
    Column("name", 6, grows=True),
    Column("size", 5, rank=1, right=True),
    Column("more", 8, rank=2),
)


def test_what_is_least_needed_is_left_out():
    assert [at for at, _ in layout(COLUMNS, 60)] == [0, 1, 2, 3]
    assert [at for at, _ in layout(COLUMNS, 25)] == [0, 1, 2]
    assert [at for at, _ in layout(COLUMNS, 12)] == [0, 1]


@pytest.mark.parametrize("width", range(14, 60))
def test_rows_take_the_width_that_there_is(width):
    rows = [("1", Cell("東京タワー", "red"), "5", "x" * 30)]

    lines = table(COLUMNS, rows, width, UNICODE, chosen=0)

    assert {line.cell_len for line in lines} == {width}


WORDS = (
    Column("id", 10),
    Column("name", 20, least=4, grows=True),
    Column("what", 12, least=6, grows=True),
    Column("more", 8, rank=1),
)


def test_room_that_a_column_does_not_need_goes_to_one_that_does():
    rows = [("c-1", "short", "x" * 40, "1"), ("c-2", "name", "y", "2")]

    _, first, _ = table(WORDS, rows, 58, UNICODE)

    assert first.plain == "c-1  short  " + "x" * 40 + "  1   "


def test_columns_keep_their_places_where_nothing_needs_room():
    head, first = table(WORDS, [("c-1", "a", "b", "1")], 60, UNICODE)

    assert head.plain.split() == ["id", "name", "what", "more"]
    assert [head.plain.index(word) for word in ("name", "what")] == [12, 36]
    assert first.plain.index("b") == 36


def test_columns_shrink_before_an_important_one_is_left_out():
    rows = [("c-12345678", "n" * 30, "w" * 30, "1")]

    _, narrow = table(WORDS, rows, 24, UNICODE)

    assert [at for at, _ in layout(WORDS, 24)] == [0, 1, 2]
    assert [at for at, _ in layout(WORDS, 23)] == [0, 1]
    assert narrow.plain.split() == ["c-12345678", "nnn…", "wwwww…"]


def test_the_chosen_row_is_seen_without_colours():
    head, first, second = table(COLUMNS, [("a",) * 4, ("b",) * 4], 40, ASCII, chosen=1)

    assert head.plain.startswith("  id")
    assert first.plain.startswith("  a")
    assert second.plain.startswith("> b")
