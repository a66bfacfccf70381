"""Where a cluster tells what happens: its terminal, or a file of its profile."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from pathlib import Path

#: A log of so many bytes is put aside before the next one begins.
_KEPT: Final = 1 << 20
_LINES_SHOWN: Final = 8


class ClusterLog:
    """The log of a cluster and its workers, if it is a file."""

    def __init__(self) -> None:
        #: The file; None: all goes to the standard error that we were given.
        self.path: Path | None = None

    def open(self, folder: Path) -> None:
        """Let all that is told from now on go to a file in this folder."""
        path = folder / "cluster.log"
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size > _KEPT:
                path.replace(path.with_name("cluster.log.old"))
        log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(log, 2)
        os.close(log)
        self.path = path

    @property
    def name(self) -> str:
        """Where the file is; "": there is none."""
        return "" if self.path is None else str(self.path)

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return 0 if self.path is None else self.path.stat().st_size

    def tail(self, begin: int) -> str:
        """Quote its last words behind so many bytes, as the end of a sentence."""
        if self.path is None:
            return ""
        text = self.path.read_bytes()[begin:].decode("utf-8", "replace")
        lines = [line.rstrip() for line in text.splitlines() if line.strip()]
        shown = "".join(f"\n  {line}" for line in lines[-_LINES_SHOWN:])
        return f"; {self.path} ends with:{shown}" if shown else ""


def configure_log(stream: TextIO, form: str) -> None:
    """Let the keeper's words go to a stream."""
    log = logging.getLogger("redtask.cluster")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(form, "%H:%M:%S"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
