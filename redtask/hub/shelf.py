"""A cache of linked scripts for the next process: linking takes a tenth of a second.

It works like Python's bytecode cache and shares its folder. An entry has a
fingerprint of the source files, their sizes and modification times, and is ignored if
that differs. If the folder is not writable, for example because root installed the
package, nothing is cached. Entries are text, never executed by Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from importlib.util import cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Final

from redtask.hub.linker import Place

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What reading a damaged or missing entry may raise.
_TROUBLE: Final = (OSError, ValueError, TypeError, KeyError)


def folder_beside(source: str) -> Path | None:
    """Return the folder of a file's bytecode cache; None if there is none."""
    try:
        return Path(cache_from_source(source)).parent
    except NotImplementedError:
        return None


def fingerprint(files: Iterable[Path]) -> str:
    """Return a digest that changes whenever any of these files does."""
    digest = hashlib.sha256()
    for file in files:
        about = file.stat()
        digest.update(f"{file} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


class Shelf:
    """Scripts cached in a folder, linked from files with this fingerprint."""

    def __init__(self, folder: Path | None, made_of: str) -> None:
        self._folder = folder
        self._made_of = made_of

    def _file(self, name: str) -> Path | None:
        return self._folder / f"{name}.lua.json" if self._folder else None

    def get(self, name: str) -> tuple[str, tuple[Place, ...]] | None:
        """Return a script and where its parts come from; None if it is not cached."""
        file = self._file(name)
        if file is None:
            return None
        try:
            found = json.loads(file.read_bytes())
            if found["made_of"] != self._made_of:
                return None
            text = str(found["text"])
            places = tuple(
                Place(int(line), str(origin), int(of))
                for line, origin, of in found["places"]
            )
        except _TROUBLE:
            return None
        return text, places

    def put(self, name: str, text: str, places: tuple[Place, ...]) -> None:
        """Cache a script, if that is wanted and possible."""
        file = self._file(name)
        if file is None or sys.dont_write_bytecode:
            return
        what = {"made_of": self._made_of, "text": text, "places": places}
        with contextlib.suppress(OSError):
            file.parent.mkdir(exist_ok=True)
            number, made = tempfile.mkstemp(dir=file.parent, prefix=f"{name}.")
            with os.fdopen(number, "w", encoding="utf-8") as output:
                json.dump(what, output)
            Path(made).chmod(0o644)
            # Atomic: concurrent readers get the old entry or the new one.
            Path(made).replace(file)
