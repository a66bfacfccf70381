"""A connection for reading unsigned data, which needs no key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from redtask.connect import address, check_server, keys_to_read, no_hub
from redtask.error import NoHub
from redtask.hub import calls
from redtask.session import Session
from redtask.signing import Keyring
from redtask.store import open_store

if TYPE_CHECKING:
    from redtask.flows import Flow
    from redtask.hub.keys import Keys
    from redtask.profile import Profile
    from redtask.store import Driver, Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reader:
    """An existing hub, for reading."""

    #: The profile it was found by.
    profile: Profile
    store: Store
    #: A session without keys: it can neither sign nor verify.
    session: Session
    _driver: Driver

    @classmethod
    def connect(cls, profile: Profile) -> Reader:
        """Find the hub of a profile, without making one.

        Raises ``NoHub``, ``ConnectionLost`` and ``ConfigurationError``.
        """
        store = open_store(address(profile), profile.hub, patience=0.0)
        store.keyring = keys_to_read(profile)
        driver = store.driver()
        keyring = Keyring(profile.hub, (), signed=False)
        try:
            store.contact.server = driver.run(check_server(profile, writes=False))
            store.do(calls.status(0))
        except NoHub:
            store.close()
            raise no_hub(profile) from None
        except BaseException:
            store.close()
            raise
        return cls(profile, store, Session(store.keys, keyring, store.contact), driver)

    @property
    def keys(self) -> Keys:
        """The hub's key names."""
        return self.session.keys

    def run(self, flow: Flow[T]) -> T:
        """Run a flow."""
        return self._driver.run(flow)

    def close(self) -> None:
        """Close the connections."""
        self.store.close()
