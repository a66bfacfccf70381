"""``redtask doctor``: is all well with a hub, its server and those who use it?"""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import click

from redtask.cli.output import count, is_terminal, parseable, print_table, say_json
from redtask.doctor.finding import WRONG
from redtask.profile import Profile

if TYPE_CHECKING:
    from redtask.doctor.finding import Finding
    from redtask.doctor.visit import Visit

#: Of flaws of one kind so many are shown to people.
_SHOWN = 10


@click.command("doctor")
@click.option("--url", "-u", help="Where Redis is; ?hub=NAME at its end chooses a hub.")
@click.option("--profile", help="The profile to use.")
@click.option("--repair", is_flag=True, help="Mend what can be mended.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    metavar="N",
    help="Look at N keys and entries only, not at all of them.",
)
@click.option("--no-data", is_flag=True, help="Look at server and workers only.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(
    *,
    url: str | None,
    profile: str | None,
    repair: bool,
    sample: int | None,
    no_data: bool,
    as_json: bool,
) -> None:
    """Check a hub: its server's settings, rights, clocks, versions, and all its data.

    May be used while the hub works: data are looked at in pieces of a few ms. Exit
    code 0: all is well (there may be notes); 1: something is wrong; 69: Redis cannot be
    reached.

    \b
    redtask doctor                 # what is wrong?
    redtask doctor --repair        # mend what can be mended
    redtask doctor --json | jq -r '.findings[] | select(.grade == "wrong") | .words'
    """
    from redtask.doctor.visit import visit  # noqa: PLC0415 - help needs no Redis

    with parseable(as_json):
        found = Profile.load(profile, url=url)
        most = 0 if no_data else sample
        if as_json or not sys.stderr.isatty():
            seen = visit(found, repair=repair, most=most)
        else:
            seen = _visit_with_progress(visit, found, repair=repair, most=most)
    if as_json:
        say_json(_as_json(seen))
    else:
        _show(seen)
    if not seen.all_well:
        raise click.exceptions.Exit(1)


def _visit_with_progress(visit: Any, profile: Profile, **options: Any) -> Visit:
    from rich.console import Console  # noqa: PLC0415 - only for people

    with Console(stderr=True).status("looking at the server") as line:

        def tell(looked: int, suspects: int) -> None:
            line.update(
                f"looked at {count(looked, 'thing')}, {count(suspects, 'suspect')}"
            )

        seen: Visit = visit(profile, progress=tell, **options)
        return seen


def _as_json(seen: Visit) -> dict[str, Any]:
    return {
        "hub": seen.hub,
        "all_well": seen.all_well,
        "findings": [dataclasses.asdict(finding) for finding in seen.findings],
        "figures": seen.figures,
    }


def _rows(findings: list[Finding]) -> list[tuple[str, str, str]]:
    """Return what people are shown: of many flaws of one kind the first."""
    rows, of_kind = [], {}  # type: ignore[var-annotated]
    for finding in sorted(findings, key=lambda one: one.grade != WRONG):
        kind = (finding.area, finding.code)
        of_kind[kind] = of_kind.get(kind, 0) + 1
        if of_kind[kind] <= _SHOWN:
            word = finding.fate if finding.fate == "mended" else finding.grade
            rows.append((word, finding.words, finding.advice))
    rows += [
        (WRONG, f"and {number - _SHOWN} more like that ({code})", "")
        for (_, code), number in of_kind.items()
        if number > _SHOWN
    ]
    return rows


def _show(seen: Visit) -> None:
    if not is_terminal():
        print_table(
            "finding",
            (),
            [
                (
                    one.fate if one.fate == "mended" else one.grade,
                    one.area,
                    one.code,
                    one.subject,
                    one.words,
                )
                for one in seen.findings
            ],
        )
        return
    if seen.findings:
        print_table("finding", ("", "found", "what to do"), _rows(seen.findings))
    figures = seen.figures
    words = [f"hub {seen.hub}: Redis {figures['redis_version']}"]
    words.append(f"{figures['rtt_ms']:.2f} ms away")
    if "looked" in figures:
        words.append(f"{count(figures['looked'], 'thing')} looked at")
        words.append(f"none longer than {figures['longest_ms']:.0f} ms")
    click.echo(", ".join(words))
    click.echo("all is well" if seen.all_well else "not all is well")


__all__ = ["command"]
