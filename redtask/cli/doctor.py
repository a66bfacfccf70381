"""``redtask doctor``: check the health of a hub, its server and its users."""

from __future__ import annotations

import dataclasses
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from redtask.cli import FAILED, NOT_FOUND
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, say_json
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redtask.doctor.finding import Finding
    from redtask.doctor.visit import Visit
    from redtask.profile import Profile

#: How many flaws of one kind are shown on a terminal.
_SHOWN: Final = 10
_COLOURS: Final = {
    "": {"wrong": "bold red", "note": "yellow", "mended": "green"},
}


@click.command("doctor")
@hub_options
@click.option("--repair", is_flag=True, help="Repair what can be repaired.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Look at only N keys and entries, not at all of them.",
)
@click.option(
    "--no-data", is_flag=True, help="Look only at the server and the workers."
)
@output_options
def command(
    *, where: Where, repair: bool, sample: int | None, no_data: bool, out: Output
) -> None:
    """Check a hub: its server's settings, rights, clocks, versions, and all its data.

    Can be used while the hub is working: data is examined in pieces of a few ms. Exit
    code 0: all is well (there may be notes); 1: something is wrong; 3: there is no such
    hub; 69: Redis cannot be reached.

    When piped, a line has, separated by tabs, the grade of a finding (or mended), its
    area, its kind, what it concerns, a description, and what to do.

    \b
    redtask doctor                 # what is wrong?
    redtask doctor --repair        # repair what can be repaired
    redtask doctor --no-data --json | jq -r '.findings[].words'
    """
    if repair and no_data:
        raise click.UsageError("--repair repairs data: it cannot go with --no-data")
    most = 0 if no_data else sample
    seen = _visit(where.profile(), repair=repair, most=most)
    if out.as_json:
        say_json(_as_json(seen))
    elif out.for_people:
        _show(seen, out)
    else:
        out.table((), [_line(finding) for finding in seen.findings])
    if any(finding.code == "nohub" for finding in seen.findings):
        raise click.exceptions.Exit(NOT_FOUND)
    if not seen.all_well:
        raise click.exceptions.Exit(FAILED)


def _visit(profile: Profile, *, repair: bool, most: int | None) -> Visit:
    from redtask.doctor.visit import visit  # noqa: PLC0415 - not needed for help

    if not sys.stderr.isatty():
        return visit(profile, repair=repair, most=most)
    from rich.console import Console  # noqa: PLC0415 - only on a terminal

    with Console(stderr=True).status("looking at the server") as line:

        def tell(looked: int, suspects: int) -> None:
            line.update(
                f"looked at {count(looked, 'thing')}, {count(suspects, 'suspect')}"
            )

        return visit(profile, repair=repair, most=most, progress=tell)


def _as_json(seen: Visit) -> dict[str, Any]:
    return {
        "hub": seen.hub,
        "all_well": seen.all_well,
        "findings": [dataclasses.asdict(finding) for finding in seen.findings],
        "figures": seen.figures,
    }


def _word(finding: Finding) -> str:
    return "mended" if finding.fate == "mended" else finding.grade


def _line(finding: Finding) -> tuple[str, ...]:
    return (
        _word(finding), finding.area, finding.code, finding.subject, finding.words,
        finding.advice,
    )  # fmt: skip


def _rows(findings: Sequence[Finding]) -> list[tuple[str, str, str]]:
    """Return the rows for a terminal: only the first of many flaws of one kind."""
    rows: list[tuple[str, str, str]] = []
    of_kind: Counter[tuple[str, str]] = Counter()
    for finding in sorted(findings, key=lambda one: not one.is_wrong):
        kind = (_word(finding), finding.code)
        of_kind[kind] += 1
        if of_kind[kind] <= _SHOWN:
            rows.append((_word(finding), finding.words, finding.advice))
    rows += [
        (word, f"and {number - _SHOWN} more like that ({code})", "")
        for (word, code), number in of_kind.items()
        if number > _SHOWN
    ]
    return rows


def _show(seen: Visit, out: Output) -> None:
    if seen.findings:
        columns = ("", "found", "what to do")
        out.table(columns, _rows(seen.findings), _COLOURS, wrap=True)
    figures = seen.figures
    words = [f"hub {seen.hub}: Redis {figures['redis_version']}"]
    if "rtt" in figures:
        words.append(f"{1000 * figures['rtt']:.2f} ms away")
    if "looked" in figures:
        words.append(f"{count(figures['looked'], 'thing')} looked at")
        words.append(f"{1000 * figures['longest']:.0f} ms at most at a time")
    click.echo(", ".join(words))
    click.echo("all is well" if seen.all_well else "not all is well")


__all__ = ["command"]
