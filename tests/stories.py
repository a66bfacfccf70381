"""Pages that tell what is typed at a terminal, and what is seen there."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time

#: What differs from run to run: times, numbers of engines before times.
_SPAN = re.compile(r"\b\d+(?:\.\d+)? (?:us|ms|s|min|h)\b")
_ENGINE = re.compile(r"\b\d+ +(?=<T>)")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_ID = re.compile(r"\b([a-z0-9]{6})((?:[a-z0-9]{6})?)(?=-\d)")
#: An id that is cut where the terminal ends.
_CUT = re.compile(r"[a-z0-9<>C-]*…")
_PROMPT = "(Pdb) "
DEADLINE = 60


def steps(page):
    """Yield each command of a page, what is typed into it, and what is seen."""
    found = re.findall(
        r"^\.\. code-block:: console\n\n((?:    .*\n|\n)+)",
        page.read_text(),
        re.MULTILINE,
    )
    for block in found:
        lines = [line[4:].rstrip() for line in block.splitlines()]
        starts = [at for at, line in enumerate(lines) if line.startswith("$ ")]
        for at, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            told = [line for line in lines[at + 1 : end] if line]
            typed = [
                line.removeprefix(_PROMPT) for line in told if line.startswith(_PROMPT)
            ]
            yield lines[at][2:], typed, _without_echo(told)


def _without_echo(told):
    """Leave out what is typed: without a terminal answers follow the prompt."""
    text = "\n".join(told)
    return re.sub(r"^\(Pdb\) .*\n?", _PROMPT, text, flags=re.MULTILINE).splitlines()


def run(command, typed, **options):
    """Run a command at a terminal of 80 columns; return the lines that are seen.

    What is typed into comes from a pipe: else it would be seen twice.
    """
    world = {**os.environ, "COLUMNS": "80", "LINES": "24", "NO_COLOR": "1"}
    world["TERM"] = "xterm"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["bash", "-c", command],
        stdin=subprocess.PIPE if typed else theirs,
        stdout=theirs,
        stderr=theirs,
        env=world,
        **options,
    )
    os.close(theirs)
    if process.stdin is not None:
        process.stdin.write("".join(f"{line}\n" for line in typed).encode())
        process.stdin.close()
    try:
        text = _read(ours).decode("utf-8", "replace")
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    lines = _ESCAPE.sub("", text).replace("\r\n", "\n").split("\n")
    return [line.rpartition("\r")[2].rstrip() for line in lines if line.strip()]


def _read(terminal):
    text, end = b"", time.monotonic() + DEADLINE
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        if not ready:
            raise TimeoutError(text.decode("utf-8", "replace"))
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            return text
        if not piece:
            return text
        text += piece


class Story:
    """Compares what a page tells with what is seen; learns the names of clients."""

    def __init__(self, masks=()):
        self.names: dict[str, str] = {}
        self.masks = [(re.compile(pattern), word) for pattern, word in masks]

    def command(self, text):
        """Return a command of the page with the names that are real here."""

        def real(found):
            return self.names.get(str(found[1]), str(found[1]))

        return _ID.sub(real, text)

    def check(self, command, told, seen):
        """Complain unless each line that is told is seen, and no other."""
        left = [self._masked(line) for line in seen]
        for at, line in enumerate(seen):
            self._learn(told, line, left[at])
        if "..." in told:
            missing = [
                one for one in told if one != "..." and not self._take(one, left)
            ]
            left = []
        else:
            missing = [one for one in told if not self._take(one, left)]
        shown = "\n".join(seen)
        assert not missing, f"{command}\nmissing: {missing}\nseen:\n{shown}"
        assert not left, f"{command}\nnot told: {left}\nseen:\n{shown}"

    def _learn(self, told, line, masked):
        """Learn which name of the page is which here, by the line it stands in."""
        for one in told:
            if not _matches(self._masked(one), masked):
                continue
            for ours, real in zip(_ID.finditer(one), _ID.finditer(line), strict=False):
                self.names.setdefault(ours[1], real[1])

    def _take(self, line, left):
        wanted = self._masked(line)
        for at, one in enumerate(left):
            if _matches(wanted, one):
                del left[at]
                return True
        return False

    def _masked(self, line):
        line = _CUT.sub("…", _ID.sub("<C>", line))
        line = _ENGINE.sub("<E> ", _SPAN.sub("<T>", line))
        for pattern, word in self.masks:
            line = pattern.sub(word, line)
        return re.sub(r" +", " ", re.sub("─+", "─", line)).strip()


def _matches(wanted, seen):
    """Is it the same line, where ``...`` is anything, and either may be cut short?"""
    if wanted.endswith("…") or seen.endswith("…"):
        size = min(len(wanted.rstrip("…")), len(seen.rstrip("…"))) - 12
        return wanted[:size] == seen[:size]
    parts = map(re.escape, wanted.split("..."))
    return re.fullmatch(".*".join(parts), seen) is not None


def programs(folder):
    """Make ``redtask`` and ``python`` of this test's own; return their folder."""
    folder.mkdir()
    for name, words in (("redtask", "-m redtask "), ("python", "")):
        path = folder / name
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        path.chmod(0o755)
    return folder


__all__ = ["Story", "programs", "run", "steps"]
