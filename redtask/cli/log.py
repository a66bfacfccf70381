"""A worker's log: coloured on a terminal, plain lines, or JSON for machines.

Only redtask's own loggers get a handler. Log records of tasks are the tasks' own: they
go to the worker's log only if requested, and are marked with their task.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from redtask.cli.output import iso, json_line, safe_lines
from redtask.current import TaskFilter
from redtask.logpipe import PipeHandler

FORMATS: Final = ("rich", "plain", "json")
_COLOURS: Final = {
    "DEBUG": "\x1b[2m",
    "WARNING": "\x1b[33m",
    "ERROR": "\x1b[1;31m",
    "CRITICAL": "\x1b[1;31m",
}


class Lines(logging.Formatter):
    """Readable lines; those of tasks name the task."""

    def __init__(self, *, coloured: bool) -> None:
        # A terminal shows the latest; a file is read weeks later.
        super().__init__(datefmt="%H:%M:%S" if coloured else "%Y-%m-%d %H:%M:%S")
        self._coloured = coloured

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's
        """Return a formatted line."""
        level = f"{record.levelname:<7}"
        if self._coloured and record.levelname in _COLOURS:
            level = f"{_COLOURS[record.levelname]}{level}\x1b[0m"
        task = getattr(record, "task_id", "-")
        of = ""
        if task != "-":
            of = f"[{task}/{record.attempt} engine {record.engine_id}] "  # type: ignore[attr-defined]
        said = safe_lines(record.message)
        return f"{self.formatTime(record, self.datefmt)} {level} {of}{said}"


class Objects(logging.Formatter):
    """JSON, one object per line."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return a JSON line."""
        found: dict[str, Any] = {
            "time": iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "worker": self._worker,
            "pid": record.process,
        }
        if (task := getattr(record, "task_id", "-")) != "-":
            found["id"], found["attempt"] = task, record.attempt  # type: ignore[attr-defined]
            found["engine_id"] = record.engine_id  # type: ignore[attr-defined]
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return json_line(found)


def formatter(name: str | None, worker: str, stream: TextIO) -> logging.Formatter:
    """Return the formatter of this name; None: chosen by the stream."""
    if name == "json":
        return Objects(worker)
    terminal = stream.isatty() and not os.environ.get("NO_COLOR")
    return Lines(coloured=name == "rich" or (name is None and terminal))


class _OfTasks(logging.Handler):
    """Logs what tasks log, which then goes on to where it would go without this.

    What nobody handles Python itself prints, if it is a warning or worse: into the
    output of the task. Any handler, even this one, would put an end to that.
    """

    def __init__(self, least: int, log: logging.Handler) -> None:
        """``log`` writes the log."""
        super().__init__()
        #: The lowest level to log. Not that of the handler: it has to see the rest.
        self._least = least
        self._log = log

    def handle(self, record: logging.LogRecord) -> bool:
        """Log a record that is important enough; print it if nobody else handles it."""
        last = logging.lastResort
        if last and record.levelno >= last.level and not self._is_handled(record):
            last.handle(record)
        return record.levelno >= self._least and bool(self._log.handle(record))

    def _is_handled(self, record: logging.LogRecord) -> bool:
        """Does anybody else handle it?"""
        log: logging.Logger | None = logging.getLogger(record.name)
        while log is not None and log.handlers in ([], [self]):
            log = log.parent
        return log is not None


def configure(
    name: str | None, worker: str, level: int, tasks: int | None = None
) -> None:
    """Log to standard error; with ``tasks``, also what tasks log, from that level on.

    Then a handler is on Python's root logger, to which applications may add others.
    """
    # The original stream: in an engine, ``sys.stderr`` captures tasks' output.
    handler = PipeHandler(sys.stderr)
    handler.addFilter(TaskFilter())
    handler.setFormatter(formatter(name, worker, sys.stderr))
    log, root = logging.getLogger("redtask"), logging.getLogger()
    log.addHandler(handler)
    log.propagate = False
    log.setLevel(level)
    if tasks is not None:
        root.addHandler(_OfTasks(tasks, handler))
        root.setLevel(min(tasks, root.level or tasks))


__all__ = ["FORMATS", "Lines", "Objects", "configure", "formatter"]
