"""Schemes: find one by name or file, validate a user's own, and store it in a hub."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redtask.error import ConnectionLost, HubError, SchemeError
from redtask.hub import calls, scripts, trial
from redtask.hub.linker import Place
from redtask.hub.scripts import Scheme, Script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redtask.hub.calls import Argument
    from redtask.hub.scripts import AnyScheme
    from redtask.store import Store

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_DIGEST: Final = 16
#: How Redis and fakeredis report the line of an error in a script.
_PLACE: Final = re.compile(r'(?:user_script|\[string "[^\n]*?"\]):(\d+): ([^\n]*)')


def find(word: str, base: Path | None = None) -> AnyScheme:
    """Return the scheme of this name, or that of this Lua file.

    A relative path begins at ``base``. Raises ``SchemeError`` for an unknown name, and
    for a file with something that schemes must not contain, giving its line.
    """
    if word in scripts.schemes():
        return word
    if "/" not in word and not word.endswith(".lua"):
        known = ", ".join(scripts.schemes())
        raise SchemeError(
            f"there is no scheme {word!r}; there are {known}, and Lua files of your own"
        )
    path = (base or Path()) / Path(word).expanduser()
    if not _NAME.fullmatch(path.stem):
        raise SchemeError(
            f"{word}: a scheme cannot be called {path.stem!r} (a name is of a-z, 0-9, "
            "_ and -, begins with a letter, and has at most 32 characters)"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise SchemeError(f"{word}: the scheme cannot be read: {problem}") from None
    if wrong := sorted(trial.complaints(text)):
        line, why = wrong[0]
        raise SchemeError(f"{word}:{line}: {why}")
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return Scheme(f"{path.stem}@{digest}", text, word)


def try_out(store: Store, scheme: AnyScheme) -> None:
    """Raise ``SchemeError`` unless a scheme satisfies the contract.

    It runs on the hub's server, with three imaginary engines, and leaves nothing
    behind.
    """
    if isinstance(scheme, str):
        return
    # By itself first: the code around it could hide an unbalanced block.
    _load(store, Script(scheme.name, scheme.text, "", (Place(1, scheme.file, 1),)))
    checked = scheme._replace(text=trial.counted(scheme.text))
    script = scripts.bundle("tools/tryout", checked)
    _load(store, script)
    try:
        word, why = store.command("EVALSHA", script.sha, 1, store.keys.root)
    except ConnectionLost:
        raise
    except HubError as problem:
        raise SchemeError(_explain(script, str(problem))) from None
    if word != b"ok":
        told = script.explain(why.decode("utf-8", "replace"))
        place = "" if told.startswith(scheme.file) else f"{scheme.file}: "
        raise SchemeError(place + told)


def _load(store: Store, script: Script) -> None:
    try:
        store.command("SCRIPT", "LOAD", script.text)
    except HubError as problem:
        raise SchemeError(_explain(script, str(problem))) from None


def _explain(script: Script, message: str) -> str:
    """Return the place and the reason of an error reported by Redis."""
    found = _PLACE.search(message)
    return script.explain(found[0] if found else message)


def configure(
    store: Store,
    settings: Mapping[str, int],
    scheme: AnyScheme | None = None,
    *,
    upgrade: bool = False,
) -> None:
    """Change the numbers and the scheme of a hub; return once all engines have it.

    A user's own scheme is validated first, and signed with the key of the store. With
    ``upgrade``, a hub of an earlier release is upgraded: it then rejects workers of
    that release. Raises ``SchemeError``, ``BadArgument``, ``ConnectionLost``; then
    nothing has changed.
    """
    changes: dict[str, Argument] = dict(settings)
    if scheme is not None:
        changes.update(_as_settings(store, scheme))
        try_out(store, scheme)
    configured = store.do(calls.configure(changes, upgrade=upgrade))
    if scheme is not None:
        store.scheme = scheme
    while configured.left:
        configured = store.do(calls.configure())


def _as_settings(store: Store, scheme: AnyScheme) -> dict[str, Argument]:
    if isinstance(scheme, str):
        return {"scheme": scheme}
    if store.keyring is None:
        raise SchemeError(
            "a scheme of your own must be signed, and the hub's key is not here"
        )
    text = scheme.text.encode()
    return {
        "scheme": scheme.name,
        "scheme_text": text,
        "scheme_signature": store.keyring.sign_scheme(scheme.name, text),
    }
