"""``redtask replay``: run ended tasks again."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from redtask.cli import INTERRUPTED
from redtask.cli.options import Where, confirm, hub_options, output_options, yes_option
from redtask.cli.output import STATES, Output, say_json
from redtask.cli.selection import Selection, selection_options
from redtask.cli.spans import seconds
from redtask.cli.tasks import what_came
from redtask.cli.waiting import bar, tell, wait
from redtask.ended import MOST
from redtask.error import ConnectionLost, RedtaskError
from redtask.hub import states
from redtask.listing import read
from redtask.replay import Replay, Wish
from redtask.spelling import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redtask.client import Client
    from redtask.ended import Copy

_RATE: Final = re.compile(r"(\d+(?:\.\d+)?)(?:/(\w+))?")
#: The most new tasks shown on a terminal; other output has all.
_SHOWN: Final = 20
#: Records per round trip.
_PAGE: Final = 500
#: The longest interval between submits at a limited rate, in seconds.
_BEAT: Final = 0.25
#: Options that mean nothing to a task that runs here.
_NOT_HERE: Final = ("downstream", "again", "rate", "wait", "dry_run")
#: What a dry run tells of a task, as JSON.
_ABOUT: Final = ("state", "function", "module", "label")


def _rate(_ctx: object, _parameter: object, value: str | None) -> float | None:
    """Parse ``50/s`` or ``600/min`` as tasks per second."""
    if value is None:
        return None
    found = _RATE.fullmatch(value)
    try:
        if found and float(found[1]) > 0:
            unit = found[2] or "s"
            return float(found[1]) / seconds(unit if unit[0].isdigit() else f"1{unit}")
    except (ValueError, ZeroDivisionError):
        pass
    raise click.BadParameter(f"{value!r} is not a rate, such as 50/s or 600/min")


def _edits(_ctx: object, _parameter: object, value: tuple[str, ...]) -> dict[str, Any]:
    """Parse ``name=JSON`` or ``0=JSON``, given any number of times."""
    found: dict[str, Any] = {}
    for word in value:
        name, equals, text = word.partition("=")
        if not equals or not (name.isidentifier() or name.isdigit()):
            raise click.BadParameter(f"{word!r}: say name=JSON, or 0=JSON by position")
        try:
            found[name] = json.loads(text)
        except ValueError:
            raise click.BadParameter(
                f"{word!r}: {text!r} is not JSON; a string is "
                f"{name}={json.dumps(text)!r}"
            ) from None
    return found


@click.command("replay")
@selection_options
@click.option(
    "--downstream", is_flag=True, help="Also what failed because of them, in turn."
)
@click.option(
    "--edit",
    multiple=True,
    metavar="NAME=JSON",
    callback=_edits,
    help="Another value for an argument, by name or position; may be repeated.",
)
@click.option("--again", is_flag=True, help="Also those that were replayed before.")
@click.option("--rate", callback=_rate, metavar="50/s", help="No faster than this.")
@click.option("--wait", is_flag=True, help="Wait, and print the outcomes.")
@click.option("--dry-run", is_flag=True, help="Only show what would run.")
@click.option(
    "--inline", is_flag=True, help="Run one task here, without telling the hub."
)
@click.option("--pdb", is_flag=True, help="With --inline: debug what it raises.")
@yes_option
@hub_options
@output_options
def command(
    *,
    chosen: Selection,
    edit: dict[str, Any],
    inline: bool,
    pdb: bool,
    where: Where,
    out: Output,
    **said: Any,
) -> int:
    """Run ended tasks again, with all their flags but delay and eta, as new tasks.

    A query chooses ended tasks only, and, as - does, none that were replayed before.
    --downstream adds those that failed because of them; existing results are used
    again. What depends on a task that runs again depends on its new run. Nothing is
    unpickled here: the engine applies an --edit to the arguments. Prints the old and
    the new id of each; asks before it replays more than one named task.

    --inline unpickles one task and runs it in this process, with --pdb under the
    debugger; the hub is not told.

    Exit code 1: with --wait, a task failed; 3: no such task; 5: one has not ended; 130:
    interrupted.

    \b
    redtask replay --failed --since 8h --dry-run
    redtask replay --failed --name 'fit*' --rate 50/s --wait --yes
    redtask replay k3f9ab-17 --downstream --edit 'mode="safe"' --yes
    redtask replay k3f9ab-17 --inline --pdb
    """
    chosen.require(states.ENDED)
    if pdb and not inline:
        raise click.UsageError("--pdb goes with --inline")
    if inline:
        _check_inline(said)
    with where.client() as client:
        if inline:
            return _inline(client, out, chosen, edit, debug=pdb)
        try:
            return _Action(client, out, edit, **said).run(chosen)
        except RedtaskError:
            raise
        except ValueError as problem:
            raise click.UsageError(str(problem)) from None


def _check_inline(said: Mapping[str, Any]) -> None:
    """Reject options of other replays; settings are for those.

    But what is only to be shown does not run, wherever that is said.
    """
    ctx = click.get_current_context()
    given = [
        f"--{name.replace('_', '-')}"
        for name in _NOT_HERE
        if said[name]
        and (
            name == "dry_run"
            or ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        )
    ]
    if given:
        raise click.UsageError(f"--inline runs it here: without {', '.join(given)}")


def _inline(
    client: Client,
    out: Output,
    chosen: Selection,
    edit: Mapping[str, Any],
    *,
    debug: bool,
) -> int:
    from redtask.cli.inline import run_inline  # noqa: PLC0415 - rarely needed

    ids = client._run(chosen.ids(client._session, states.ENDED))
    if len(ids) != 1:
        raise click.UsageError(f"--inline runs one task, and {len(ids)} are chosen")
    return run_inline(client, out, ids[0], edit, debug=debug)


class _Action:
    """One replay, as requested."""

    def __init__(  # noqa: PLR0913 - one per option
        self,
        client: Client,
        out: Output,
        edit: Mapping[str, Any],
        *,
        downstream: bool,
        again: bool,
        rate: float | None,
        wait: bool,
        dry_run: bool,
        yes: bool,
    ) -> None:
        self._client = client
        self._out = out
        self._edit = edit
        self._downstream = downstream
        self._again = again
        self._rate = rate
        self._waits = wait
        self._dry = dry_run
        self._yes = yes
        #: What is chosen, without what failed because of it.
        self._ids: Sequence[str] = ()

    def run(self, chosen: Selection) -> int:
        """Count, ask, replay and report."""
        client = self._client
        ids = client._run(
            replace(chosen, limit=None).ids(client._session, states.ENDED)
        )
        before: list[str] | None = None
        if chosen.is_bulk and not self._again:
            ids, before = self._not_before(ids)
        self._ids = ids[: chosen.limit]
        wish = Wish(
            ids=self._ids,
            downstream=self._downstream,
            edit=self._edit or None,
            begun=before,
            matched=chosen.is_bulk,
        )
        replay = Replay(client._session, wish)
        plan = client._run(replay.plan())
        if before:
            told = "was" if len(before) == 1 else "were"
            self._say(f"{len(before)} {told} replayed before: --again takes them too")
        if self._dry or not plan:
            self._tell_gone(replay)
        if not plan:
            self._say("no task to replay")
            return 0
        if self._dry:
            return self._show_plan(plan)
        if not chosen.is_one or len(plan) > 1:
            confirm(f"Replay {self._count(plan)}?", yes=self._yes)
        tasks = self._replay(replay, plan, chosen)
        self._tell_gone(replay)
        return self._report(_left(replay, plan), tasks)

    def _say(self, text: str) -> None:
        click.echo(f"redtask: {text}", err=True)

    def _not_before(self, ids: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return those that were not resubmitted, and those that were.

        Nor was what they were resubmitted from, once more.
        """
        newer = self._fields(ids, "resubmitted")
        origins = self._fields(ids, "resubmit_of")
        known = [one for one in origins if one]
        latest = dict(zip(known, self._fields(known, "resubmitted"), strict=True))
        left = [
            one
            for one, found, origin in zip(ids, newer, origins, strict=True)
            if not found and latest.get(origin, "") in {"", one}
        ]
        kept = set(left)
        return left, [one for one in ids if one not in kept]

    def _fields(self, ids: Sequence[str], name: str) -> list[str]:
        """Return one field of many records; "" where it is missing."""
        found: list[str] = []
        for at in range(0, len(ids), _PAGE):
            flow = read(self._client._session.keys, ids[at : at + _PAGE], (name,))
            found += [one.get(name, "") for one in self._client._run(flow)]
        return found

    def _count(self, plan: Sequence[Copy]) -> str:
        """Format how many there are, by state."""
        found = Counter(self._fields([one.old for one in plan], "state"))
        told = ", ".join(f"{number} {state}" for state, number in found.most_common())
        return f"{count(len(plan), 'task')} ({told})"

    def _show_plan(self, plan: Sequence[Copy]) -> int:
        rows: list[tuple[str, ...]] = []
        for at in range(0, len(plan), _PAGE):
            ids = [one.old for one in plan[at : at + _PAGE]]
            records = self._client.db_query({"msg_id": {"$in": ids}})
            found = {one["msg_id"]: one for one in records}
            for one in (found[name] for name in ids if name in found):
                name, state, function = one["msg_id"], one["state"], one["function"]
                what = what_came(one)
                if self._out.as_json:
                    shown = {key: one[key] for key in _ABOUT}
                    say_json({"id": name, **shown, "what": what or None})
                else:
                    rows.append((self._out.task(name), state, function, what))
        if self._out.as_json:
            return 0
        self._out.table(("task", "state", "function", "what"), rows, {"state": STATES})
        self._say(f"{self._count(plan)} would run, nothing was done")
        return 0

    def _replay(
        self, replay: Replay, plan: Sequence[Copy], chosen: Selection
    ) -> Sequence[str]:
        """Submit the plan, at most at the rate requested; return the new ids."""
        at_once = MOST
        if self._rate is not None:
            at_once = max(1, min(at_once, int(self._rate * _BEAT)))
        begun, entered = monotonic(), 0
        try:
            with bar("replaying", len(plan)) as show:

                def progress(done: int, total: int) -> None:
                    nonlocal entered
                    entered = done
                    show(done)
                    if self._rate is not None and done < total:
                        due = begun + done / self._rate
                        sleep(max(0.0, due - monotonic()))

                flow = replay.run(
                    progress, wanted=plan, at_once=at_once, keep=chosen.is_bulk
                )
                return self._client._run(flow).ids
        except KeyboardInterrupt:
            rest = self._rest(_left(replay, plan)[entered:], chosen)
            self._say(f"interrupted: {entered} of {len(plan)} are replayed; {rest}")
            raise click.exceptions.Exit(INTERRUPTED) from None
        except RedtaskError as problem:
            if entered and (chosen.is_bulk or isinstance(problem, ConnectionLost)):
                rest = self._rest(_left(replay, plan)[entered:], chosen)
                self._say(f"stopped: {entered} of {len(plan)} are replayed; {rest}")
            raise

    def _rest(self, left: Sequence[Copy], chosen: Selection) -> str:
        """Say how to go on with what is left of a plan."""
        first = left[0].old if left else ""
        if first and (self._again or not chosen.is_bulk):
            # The same command would replay all of it again.
            return f"the rest begins with {first}"
        if chosen.limit is None:
            return "the same command goes on with the rest"
        # It would go on with as many as it began with.
        number = len({one.old for one in left}.intersection(self._ids))
        if number:
            return f"the same command with --limit {number} goes on with the rest"
        return f"the rest begins with {first}" if first else "nothing is left"

    def _tell_gone(self, replay: Replay) -> None:
        number = len(replay.gone)
        if number:
            self._say(f"{number} {'was' if number == 1 else 'were'} gone by then")

    def _report(self, replayed: Sequence[Copy], ids: Sequence[str]) -> int:
        """Print the new tasks; or wait, and print their outcomes."""
        pairs = [(one.old, new) for one, new in zip(replayed, ids, strict=True)]
        if not (self._waits and pairs):
            self._tell(pairs)
            return 0
        try:
            wait(self._client, ids)
        except KeyboardInterrupt:
            self._say(f"{count(len(pairs), 'task')} go on without you")
            raise
        return tell(self._client, self._out, ids, single=len(pairs) == 1)

    def _tell(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Print the old and the new ids."""
        out = self._out
        if out.as_json:
            for old, new in pairs:
                say_json({"id": new, "resubmit_of": old})
        elif not out.for_people:
            out.table((), pairs)
        elif len(pairs) > _SHOWN:
            click.echo(f"{count(len(pairs), 'task')} replayed: redtask ls")
        else:
            for old, new in pairs:
                click.echo(f"{out.task(old)} -> {out.task(new)}")


def _left(replay: Replay, plan: Sequence[Copy]) -> list[Copy]:
    """Return those of a plan that are not gone."""
    gone = set(replay.gone)
    return [one for one in plan if one.old not in gone]
