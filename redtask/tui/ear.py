"""Listens to the output of a running task, for the screen with its logs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from redtask.client import Client


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of a task's output."""

    #: The task's id.
    task_id: str
    #: The output; or, if listening is impossible, the reason.
    text: str
    #: Is listening impossible?
    deaf: bool = False


class Ear:
    """Listens to one task at a time, in a thread of its own.

    That needs the key: the task's worker is told that somebody listens.
    """

    def __init__(
        self, client: Callable[[], Client], tell: Callable[[Said], None]
    ) -> None:
        self._client, self._tell = client, tell
        self._task = ""
        self._stop = threading.Event()

    def listen(self, task_id: str) -> None:
        """Listen to this task, or with "" to none, instead of the previous one."""
        if task_id == self._task:
            return
        self._stop.set()
        self._task, self._stop = task_id, threading.Event()
        if task_id:
            # A daemon: quitting does not wait for further output.
            threading.Thread(
                target=self._hear,
                args=(task_id, self._stop),
                name=f"redtask-ear-{task_id}",
                daemon=True,
            ).start()

    def _hear(self, task_id: str, stop: threading.Event) -> None:
        from redtask.live import Listener  # noqa: PLC0415 - rarely needed

        try:
            client = self._client()
            listener = Listener(client._session, [task_id])  # noqa: SLF001 - one whole
            while not (stop.is_set() or listener.done):
                for said in client._run(listener.hear()):  # noqa: SLF001
                    if said.stream != "progress" and not stop.is_set():
                        self._tell(Said(task_id, said.text))
        except Exception as problem:  # noqa: BLE001 - it is shown, whatever it is
            if not stop.is_set():
                told = problem.args[0] if problem.args else problem
                self._tell(Said(task_id, str(told), deaf=True))
