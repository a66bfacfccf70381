"""Actions on tasks and engines from the screens, by a client of the hub."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from redtask.hub import calls
from redtask.tui.state import Notice

if TYPE_CHECKING:
    from redtask.client import Client
    from redtask.profile import Profile
    from redtask.tui.state import Action

#: How long an action is retried while Redis is away, in seconds.
_PATIENCE = 5.0


class Actor:
    """Performs confirmed actions; becomes a client at the first one."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._client: Client | None = None
        self._lock = threading.Lock()

    def client(self) -> Client:
        """Return the client, which threads may share.

        Raises ``ConfigurationError`` if there is no key.
        """
        from redtask.client import Client  # noqa: PLC0415 - rarely needed

        with self._lock:
            if self._client is None:
                self._client = Client.of(self._profile, timeout=_PATIENCE, make=False)
            return self._client

    def act(self, action: Action) -> Notice:
        """Perform an action, and return its outcome.

        Raises ``ConfigurationError`` if there is no key, and what clients raise.
        """
        client = self.client()
        if action.verb in ("drain", "resume"):
            return self._drain(action, client)
        if action.verb == "abort":
            word = client.abort(action.name, running=True)[action.name]
            told = {
                "aborted": "is aborted",
                "running": "is being interrupted",
                "ended": "had ended before",
            }.get(word, "is unknown")
            return Notice(f"{action.name} {told}", bad=word in ("ended", "unknown"))
        (new,) = client.replay(ids=[action.name]).msg_ids
        return Notice(f"{action.name} runs again as {new}")

    @staticmethod
    def _drain(action: Action, client: Client) -> Notice:
        call = calls.drain([action.name], resume=action.verb == "resume")
        word = "more"
        while word == "more":
            (word,) = client._store.do(call)  # noqa: SLF001 - parts of one whole
        told = {"drained": "gets nothing new", "resumed": "gets tasks again"}
        return Notice(f"{action.about} {told.get(word, 'is no more')}")

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
