"""Functions as if they had been typed at a prompt."""

from __future__ import annotations

import textwrap
import types


def typed(source, name="f"):
    """Return a function of ``__main__``, with globals of its own."""
    module = types.ModuleType("__main__")
    exec(textwrap.dedent(source), module.__dict__)  # noqa: S102 - as a prompt does
    return module.__dict__[name]
