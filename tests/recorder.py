"""What the scripts were seen to do: for the test that asks what no test did."""

from __future__ import annotations

from collections import Counter

from redtask.hub import states

# Two moves in one script look like one from outside.
TWO = {
    ("new", "assigned"): ("new>ready", "ready>assigned"),
    ("running", "assigned"): ("running>ready", "ready>assigned"),
    ("assigned", "assigned"): ("assigned>ready", "ready>assigned"),
    ("new", "running"): ("new>ready", "ready>running"),
    ("new", "failed"): ("new>waiting", "waiting>failed"),
    ("new", "aborted"): ("new>waiting", "waiting>aborted"),
    ("waiting", "assigned"): ("waiting>ready", "ready>assigned"),
    ("assigned", "waiting"): ("assigned>ready", "ready>waiting"),
}

# What is longer is no word.
LONGEST = 10


class Recorder:
    """Counts the arrows, reply words and error codes that were hit."""

    def __init__(self) -> None:
        self.arrows: Counter[str] = Counter()
        #: (script, word)
        self.words: Counter[tuple[str, str]] = Counter()
        #: (script, code)
        self.codes: Counter[tuple[str, str]] = Counter()
        #: Of the truth table: (set, letters, what became of two members).
        self.cells: Counter[tuple[str, str, str]] = Counter()
        self._allowed = {str(move) for move in states.moves()}

    def heard(self, script, reply):
        """Note the words of a reply: its first, and all that look like one."""
        for value in reply:
            if isinstance(value, bytes) and value.isalpha():
                self.words[script, value.decode()] += 1

    def cell(self, name, letters, members):
        """Note that a cell of the truth table was looked up."""
        self.cells[name, letters, members] += 1

    def seen(self):
        """Return all that was counted, by names."""
        words = {pair: n for pair, n in self.words.items() if len(pair[1]) < LONGEST}
        return {
            "arrows": dict(sorted(self.arrows.items())),
            "words": {" ".join(pair): n for pair, n in sorted(words.items())},
            "codes": {" ".join(pair): n for pair, n in sorted(self.codes.items())},
            "cells": {" ".join(cell): n for cell, n in sorted(self.cells.items())},
        }

    def refused(self, script, code):
        """Note an error reply."""
        self.codes[script, code] += 1

    def moved(self, before, after):
        """Compare two pictures of all tasks, id -> (state, engine, token, waits)."""
        for name in before.keys() | after.keys():
            old = before.get(name, ("new",))
            new = after.get(name, ("gone",))
            if old[:3] == new[:3] or (old[0] == new[0] != "assigned"):
                continue
            arrow = f"{old[0]}>{new[0]}"
            steps = TWO.get((old[0], new[0]), (arrow,))
            if arrow == "waiting>running" and not new[3]:
                steps = ("waiting>ready", "ready>running")
            assert set(steps) <= self._allowed, f"{name} made the move {arrow}"
            self.arrows.update(steps)
