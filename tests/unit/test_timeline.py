"""Lanes of a timeline, and how they are drawn."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

from redtask.cli.drawing import Picture
from redtask.cli.output import shorten
from redtask.cli.timeline import Span, draw, lanes

ZERO = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds):
    return ZERO + timedelta(seconds=seconds)


def span(engine, begin, end, state="completed", function="fit"):
    return Span("a-1", function, str(engine), at(begin), at(end), state, "<&\x1b>")


def test_a_lane_has_what_an_engine_did_and_where_it_rested():
    one, other = lanes(
        [span(1, 2, 4), span(1, 0, 1), span(0, 0, 5), span(1, 3, 5)], at(0), at(6)
    )

    assert (one.engine, one.busy, one.gaps) == ("0", 5, ((at(5), at(6)),))
    assert other.gaps == ((at(1), at(2)), (at(5), at(6)))
    # What overlaps counts once.
    assert other.busy == 4
    assert other.longest == 1


def test_a_picture_holds_whatever_is_said():
    states = ["completed", "failed", "tried", "running"]
    spans = [span(0, x, x + 1, state) for x, state in enumerate(states)]
    functions = [span(1, x, x + 0.5, function=f"f{x}") for x in range(12)]

    picture = draw(lanes([*spans, *functions], at(0), at(12)), at(0), at(12))

    words = [one.text for one in ET.fromstring(picture).iter() if one.text]
    assert "5 others" in " ".join(words) or "6 others" in " ".join(words)
    assert any("<& >" in one for one in words)
    assert "engine 0, busy 33%" in words


def test_very_many_engines_have_narrow_lanes():
    spans = [span(engine, 0, 3600) for engine in range(60)]

    root = ET.fromstring(draw(lanes(spans, at(0), at(3600)), at(0), at(3600)))

    assert int(root.attrib["height"]) < 60 * 15 + 100


def test_words_are_cut_to_the_room_they_have():
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abc", 4) == "abc"
    assert "&lt;b&gt;" in Picture(1, 1, "<b>").text()
