"""Text for screens: cleaned, cut to cells; short numbers and times.

Names, results and output of tasks are untrusted: only ``clean`` text may reach a
terminal.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from redtask.cli.output import in_units

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Categories of characters that move the cursor, are invisible, or are unassigned.
_UNFIT: Final = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})
_TIMES: Final = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_MANY: Final = 100_000
_FEW: Final = 10


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters that bars and lines are drawn with."""

    #: Sparkline steps, from the lowest to the highest.
    steps: str = "▁▂▃▄▅▆▇█"
    #: The filled part of a bar, and the rest.
    full: str = "█"
    empty: str = "░"
    #: A horizontal line.
    rule: str = "─"
    #: Marks where text was cut.
    more: str = "…"
    #: Replaces characters that must not be shown.
    unfit: str = "·"
    #: Marks the selected row.
    here: str = "▶"


#: For most terminals, and for those limited to ASCII.
UNICODE: Final = Glyphs()
ASCII: Final = Glyphs("_.:-=+*#", "#", ".", "-", "~", "?", ">")


def clean(text: str, unfit: str = "·") -> str:
    """Return text in which no character affects others or the terminal."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        one
        if one.isprintable() and unicodedata.category(one) not in _UNFIT
        else " "
        if one == "\t"
        else unfit
        for one in text
    )


def fit(text: str, width: int, glyphs: Glyphs, *, right: bool = False) -> str:
    """Return cleaned text, exactly ``width`` cells wide; cuts are marked."""
    found = clean(text, glyphs.unfit)
    if glyphs is ASCII:
        found = found.encode("ascii", "replace").decode()
    length = cell_len(found)
    if length > width:
        return set_cell_size(found, max(0, width - 1)) + glyphs.more[: max(0, width)]
    pad = " " * (width - length)
    return pad + found if right else found + pad


def spark(values: Sequence[float], width: int, glyphs: Glyphs) -> str:
    """Draw values as a sparkline, the latest on the right; zero is blank."""
    shown = list(values[-width:])
    top = max(shown, default=0.0)
    steps = glyphs.steps
    if top <= 0:
        return " " * (width - len(shown)) + steps[0] * len(shown)
    drawn = "".join(
        steps[min(len(steps) - 1, int(value / top * (len(steps) - 1) + 0.999))]
        if value > 0
        else steps[0]
        for value in shown
    )
    return " " * (width - len(shown)) + drawn


def bar(share: float, width: int, glyphs: Glyphs) -> str:
    """Draw a fraction of 1 as a bar; above zero, at least one step is filled."""
    filled = min(width, max(0, round(share * width)))
    if share > 0:
        filled = max(1, filled)
    return glyphs.full * filled + glyphs.empty * (width - filled)


def of_failures(counted: int, every: int) -> str:
    """Return a label for failures by kind: only the latest may have been counted."""
    return "failed" if counted >= every else f"last {counted}"


def number(value: float, many: int = _MANY) -> str:
    """Format a number briefly: 99,999 and 1.2M; with thousands from ``many`` on."""
    if value < many:
        return f"{value:,.0f}"
    for size, unit in ((1e3, "k"), (1e6, "M")):
        if value < 999.5 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value / 1e9:.3g}G"


def counted(value: float, noun: str) -> str:
    """Format a number with its noun."""
    return f"{number(value)} {noun}" if value == 1 else f"{number(value)} {noun}s"


def rate(value: float) -> str:
    """Format a rate per second."""
    if 0 < value < _FEW:
        return f"{value:.1f}/s"
    return f"{number(value)}/s"


def span(seconds: float) -> str:
    """Format a duration in the largest unit that leaves one: 250 us, 12 ms, 1.7 min."""
    if seconds <= 0:
        return "0 s"
    if seconds < 0.001:  # noqa: PLR2004
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    for size, unit in _TIMES:
        if seconds >= size:
            return f"{in_units(seconds / size)} {unit}"
    return f"{seconds:.1f} s" if seconds < _FEW else f"{seconds:.0f} s"


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the value that this share of them does not exceed; None if empty."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def line(*parts: str | tuple[str, str]) -> Text:
    """Join text and styled text, cleaned; markup is not interpreted."""
    found = Text("", no_wrap=True, overflow="crop", end="")
    for part in parts:
        words, style = (part, "") if isinstance(part, str) else part
        found.append(clean(words), style or None)
    return found
