"""``python -m redtask.keeper``: the keeper of a script or a daemon."""

from __future__ import annotations

import logging
import os
import signal
import sys

from redtask import process
from redtask.error import ClusterError, RedtaskError
from redtask.keeper.keeper import Keeper
from redtask.keeper.line import Line, as_words
from redtask.keeper.log import configure_log
from redtask.keeper.plan import DAEMON, Plan

_log = logging.getLogger("redtask.cluster")


def main() -> int:
    """Run the keeper of a script or a daemon; the first line of input is the plan."""
    process.open_streams()
    configure_log(sys.stderr, "%(asctime)s %(levelname)-7s %(message)s")
    line = Line(0, 1)
    while not line.lines:
        if not line.read():
            return 1
    plan = Plan(**line.lines.pop(0))
    if plan.mode == DAEMON and not _is_awaited(line):
        return 1
    return _keep(plan, line)


def _is_awaited(line: Line) -> bool:
    """Does our starter live? If he dies before we are ready, we are to end.

    A signal interrupts whatever we wait for, which the end of his pipe would not.
    """
    process.hear_of_parent(signal.SIGQUIT)
    return not line.is_deserted


def _keep(plan: Plan, line: Line) -> int:
    """Run the keeper; report errors to the starter. Return the exit code."""
    daemon = plan.mode == DAEMON
    started = False

    def ready(keeper: Keeper) -> None:
        nonlocal started
        if daemon:
            process.hear_of_parent(0)
        line.say(keeper.about())
        started = True
        if daemon:
            _detach()

    try:
        return Keeper(plan, None if daemon else line).run(ready)
    except RedtaskError as problem:
        line.say(as_words(problem))
        if started:
            _log.error("%s", problem)
        return 1
    except OSError as problem:
        # As the command line tells it: a folder or a disk is not as it should be.
        line.say(as_words(ClusterError(str(problem))))
        if started:
            _log.exception("the keeper fails")
        return 1
    except Exception as problem:  # noqa: BLE001 - whatever it is, the starter waits
        _log.exception("the keeper fails")
        line.say(as_words(ClusterError(f"{type(problem).__name__}: {problem}")))
        return 1


def _detach() -> None:
    """Close the pipes, on which our starter may be waiting."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
