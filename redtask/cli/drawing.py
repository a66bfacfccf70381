"""Simple SVG pictures: a few shapes with text, without further dependencies."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from redtask.cli.output import one_line

#: Fill and outline of each state; the outlines also differ without colour.
STATE_FILLS: Final = {
    "waiting": ("#fff3c4", "#b58900"),
    "ready": ("#d7f0f5", "#2a8a9a"),
    "assigned": ("#d6e4fb", "#3b6fc4"),
    "running": ("#a9c7f7", "#1f55b0"),
    "completed": ("#d9f2d9", "#3a8a3a"),
    "failed": ("#f9d0cc", "#c0392b"),
    "aborted": ("#ead6f0", "#8e44ad"),
    "gone": ("#eeeeee", "#888888"),
}
#: Colours distinguishable with most forms of colour blindness (Okabe and Ito 2008).
PALETTE: Final = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#7f7f7f",
    "#8c564b",
)  # fmt: skip
FONT: Final = "font-family='system-ui,sans-serif'"


class Picture:
    """An SVG to which shapes are added."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self._parts = [
            (
                f"<svg xmlns='http://www.w3.org/2000/svg' width='{width:g}' "
                f"height='{height:g}' viewBox='0 0 {width:g} {height:g}' role='img'>"
            ),
            f"<title>{_clean(title)}</title>",
            "<rect width='100%' height='100%' fill='white'/>",
        ]

    def box(
        self,
        corner: tuple[float, float],
        size: tuple[float, float],
        title: str = "",
        **style: Any,
    ) -> None:
        """Draw a rectangle; ``title`` is its tooltip."""
        attributes = " ".join(
            f"{name.replace('_', '-')}='{value}'" for name, value in style.items()
        )
        x, y = corner
        width, height = size
        inside = f"<title>{_clean(title)}</title>" if title else ""
        self._parts.append(
            f"<rect x='{x:.2f}' y='{y:.2f}' width='{width:.2f}' "
            f"height='{height:.2f}' {attributes}>{inside}</rect>"
        )

    def words(
        self,
        place: tuple[float, float],
        text: str,
        size: float = 11,
        anchor: str = "start",
        fill: str = "#222",
    ) -> None:
        """Write a line of text."""
        x, y = place
        self._parts.append(
            f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size:g}' "
            f"text-anchor='{anchor}' fill='{fill}'>{_clean(text)}</text>"
        )

    def line(
        self, start: tuple[float, float], end: tuple[float, float], colour: str
    ) -> None:
        """Draw a thin line."""
        self._parts.append(
            f"<line x1='{start[0]:.1f}' y1='{start[1]:.1f}' x2='{end[0]:.1f}' "
            f"y2='{end[1]:.1f}' stroke='{colour}'/>"
        )

    def curve(
        self, start: tuple[float, float], end: tuple[float, float], colour: str
    ) -> None:
        """Draw a curve from left to right."""
        (x1, y1), (x2, y2) = start, end
        middle = (x1 + x2) / 2
        self._parts.append(
            f"<path d='M{x1:.1f},{y1:.1f} C{middle:.1f},{y1:.1f} {middle:.1f},{y2:.1f} "
            f"{x2:.1f},{y2:.1f}' fill='none' stroke='{colour}'/>"
        )

    def text(self) -> str:
        """Return the SVG document."""
        return "\n".join([*self._parts, "</svg>", ""])


def _clean(text: str) -> str:
    """Escape text for XML, which allows no control characters."""
    return escape("\n".join(map(one_line, text.split("\n"))))
