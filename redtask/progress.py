"""The progress bar of ``wait_interactive`` and of commands."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(
    name: str, total: int | None, *, transient: bool = False
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error where that is a terminal.

    ``total`` may be open; a ``transient`` bar goes when it is done.
    """
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
