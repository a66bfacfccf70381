"""What no test of this folder has seen the scripts do; runs last."""

import re

import pytest

from redtask.hub import scripts, states
from tests import headers

# Words that the text of a header explains, not its RETURNS.
MORE = {
    "beat": {"live", "drained", "unknown", "gone", "more"},
    "watch": {"unknown", "purged", "ready", "assigned", "running", *states.ENDED},
}


def test_every_move_was_made(whole, recorder):
    missing = {str(move) for move in states.moves()} - set(recorder.arrows)

    assert not missing


@pytest.mark.parametrize("command", scripts.commands())
def test_every_word_was_said(whole, recorder, command):
    header = headers.read(f"{command}.lua")
    words = header.words | MORE.get(command, set())
    said = {word for script, word in recorder.words if script == command}

    assert words - said == set()


@pytest.mark.parametrize("command", MORE)
def test_more_words_stand_in_the_text(command):
    text = headers.read(f"{command}.lua").text

    for word in MORE[command] - {"ready", "assigned", "running", *states.ENDED}:
        assert re.search(rf"`{word}`", text)


@pytest.mark.parametrize("command", scripts.commands())
def test_every_code_was_met(whole, recorder, command):
    met = {code for script, code in recorder.codes if script == command}

    assert headers.read(f"{command}.lua").codes - met == set()
