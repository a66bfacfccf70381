"""The progress bar of ``wait_interactive`` and of commands."""

from __future__ import annotations

import contextlib
import html
import importlib
import sys
import time
from typing import TYPE_CHECKING

from redtask import cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def progress_bar(
    name: str, total: int | None, *, transient: bool = False
) -> contextlib.AbstractContextManager[Callable[[int], None]]:
    """Show a progress bar in a notebook's cell, or on standard error, if a terminal.

    ``total`` may be open; a ``transient`` bar goes when it is done.
    """
    if cells.in_notebook():
        return _in_cell(name, total)
    return _in_terminal(name, total, transient=transient)


@contextlib.contextmanager
def _in_cell(name: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar by what every notebook has: no widgets."""
    display = importlib.import_module("IPython.display").display
    begun = time.monotonic()
    latest = 0, 0

    def picture() -> dict[str, str]:
        done, seconds = latest
        share = f"{done}" if total is None else f"{done}/{total}"
        text = f"{name}: {share}, {seconds // 60}:{seconds % 60:02}"
        bar = "" if total is None else f' value="{done}" max="{total}"'
        element = f"<progress{bar}></progress> {html.escape(text)}"
        return {"text/plain": text, "text/html": element}

    shown = display(picture(), raw=True, display_id=True)

    def show(done: int) -> None:
        nonlocal latest
        if (now := (done, int(time.monotonic() - begun))) != latest:
            latest = now
            shown.update(picture(), raw=True)

    yield show


@contextlib.contextmanager
def _in_terminal(
    name: str, total: int | None, *, transient: bool
) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # noqa: PLC0415 - only for a bar
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("tasks"),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        transient=transient,
    )
    with progress:
        bar = progress.add_task(name, total=total)
        yield lambda done: progress.update(bar, completed=done)
