"""Switch a hub to another signing key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redtask.hub import calls
from redtask.hub.records import text

if TYPE_CHECKING:
    from redtask.signing import Keyring
    from redtask.store import Store


def rekey(store: Store, keyring: Keyring) -> None:
    """Store the signing key's fingerprint in the hub, and sign its scheme anew.

    The previous signing key must still be in the keyring. Raises ``SignatureError`` if
    none of the keys signed the scheme.
    """
    settings: dict[str, str | bytes] = {"fingerprint": keyring.fingerprint}
    name, body, signature = store.command(
        "HMGET", store.keys.scheme(), "name", "text", "signature"
    )
    if name is not None and text(name) == getattr(store.scheme, "name", store.scheme):
        keyring.check_scheme(text(name), body, signature)
        settings["scheme"] = text(name)
        settings["scheme_text"] = body
        settings["scheme_signature"] = keyring.sign_scheme(text(name), body)
    store.do(calls.configure(settings))
