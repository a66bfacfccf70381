"""``redtask submit``: submit calls of functions that engines import by name."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

import click
from click.core import ParameterSource

from redtask.bulk import Bulk
from redtask.cli import INTERRUPTED, exit_code, proposals
from redtask.cli.calls import Reading, check_function
from redtask.cli.options import Where, hub_options, output_options
from redtask.cli.output import Output, say_json
from redtask.cli.spans import SPAN
from redtask.cli.waiting import bar, tell, wait
from redtask.dependency import Dependency
from redtask.error import (
    AmbiguousTask,
    NoEnginesRegistered,
    RedtaskError,
    UnknownEngine,
    UnknownTask,
)
from redtask.flags import Flags
from redtask.names import is_whole
from redtask.spelling import count
from redtask.targets import Targets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redtask.client import Client

#: The outcomes that satisfy each value of ``--on``: success, failure.
_ON: Final = {
    "success": (True, False),
    "failure": (False, True),
    "end": (True, True),
}
#: The part of an id before the number.
_NAME: Final = re.compile(r"[a-z0-9]{1,40}")
_NEGATIVE: Final = re.compile(r"-[0-9.]")
#: Prefix of words that look like options and are arguments.
_MARK: Final = "\0"


def _time(_ctx: object, _parameter: object, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a time, such as 2026-11-28T03:00 or "
            "2026-11-28T03:00+00:00"
        ) from None


def _resumed(_ctx: object, _parameter: object, value: str | None) -> str | None:
    if value is not None and not _NAME.fullmatch(value):
        raise click.BadParameter(
            f"{value!r} is not the name of a submission: that is what its ids "
            "begin with, as k3f9abw0z1x5 in k3f9abw0z1x5-17"
        )
    return value


class _Submit(click.Command):
    """A command whose arguments may include negative numbers."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse ``-5`` as an argument, unless it is the value of an option."""
        takers = {
            name
            for one in self.params
            if isinstance(one, click.Option) and not one.is_flag
            for name in one.opts
        }
        before = ["", *args]
        marked = [
            _MARK + word
            if _NEGATIVE.match(word) and ahead not in takers and "--" not in args[:at]
            else word
            for at, (ahead, word) in enumerate(zip(before, args, strict=False))
        ]
        return super().parse_args(ctx, marked)


def _unmark(
    _ctx: object, _parameter: object, value: tuple[str, ...]
) -> tuple[str, ...]:
    return tuple(word.removeprefix(_MARK) for word in value)


@click.command("submit", cls=_Submit)
@click.argument("function", required=False)
@click.argument("args", nargs=-1, callback=_unmark)
@click.option(
    "-i",
    "--input",
    # Names of files need not be text.
    type=click.File("r", errors="surrogateescape", lazy=False),
    metavar="FILE",
    help="Submit a task for each line of it; - is standard input.",
)
@click.option(
    "--strings", is_flag=True, help="All arguments are strings, even 20 and a=b."
)
@click.option("--lines", is_flag=True, help="Each line is one string.")
@click.option(
    "--after",
    multiple=True,
    metavar="ID",
    shell_complete=proposals.tasks,
    help="Run after it has ended.",
)
@click.option(
    "--follow",
    multiple=True,
    metavar="ID",
    shell_complete=proposals.tasks,
    help="Run where it ran.",
)
@click.option("--any", is_flag=True, help="One of them is enough.")
@click.option(
    "--on",
    type=click.Choice(list(_ON)),
    default="success",
    show_default=True,
    help="Which end of them counts.",
)
@click.option(
    "--retries", type=click.IntRange(0, 1000), help="Further attempts after a failure."
)
@click.option(
    "--retry-delay", type=SPAN, metavar="SPAN", help="Delay before the first of them."
)
@click.option(
    "--timeout", type=SPAN, metavar="SPAN", help="Do not wait longer than this to run."
)
@click.option(
    "--time-limit", type=SPAN, metavar="SPAN", help="Do not run longer than this."
)
@click.option(
    "--delay",
    type=SPAN,
    metavar="SPAN",
    help="Do not run before this has passed: 30s, 2h.",
)
@click.option(
    "--at", metavar="TIME", callback=_time, help="Do not run before this time."
)
@click.option("--priority", type=click.IntRange(-1000, 1000), help="Higher goes first.")
@click.option(
    "--queue",
    shell_complete=proposals.queues,
    help="For engines that serve this queue.",
)
@click.option("--label", help="Text to find it by.")
@click.option("--result-ttl", type=SPAN, metavar="SPAN", help="Keep it this long.")
@click.option(
    "--engine",
    type=click.IntRange(0),
    multiple=True,
    shell_complete=proposals.engines,
    help="Run only on this engine.",
)
@click.option("--wait", is_flag=True, help="Wait, and print the outcome.")
@click.option("--skip", type=click.IntRange(0), help="Skip this many lines.")
@click.option(
    "--resume",
    metavar="NAME",
    callback=_resumed,
    help="Go on with lines that were not submitted.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be called.")
@hub_options
@output_options
def command(  # noqa: PLR0913 - one per option
    *,
    function: str | None,
    args: tuple[str, ...],
    input: IO[str] | None,  # noqa: A002 - as the option is called
    strings: bool,
    lines: bool,
    wait: bool,
    skip: int | None,
    resume: str | None,
    dry_run: bool,
    where: Where,
    out: Output,
    **said: Any,
) -> int:
    """Submit a call of a function that engines import: module:name.

    Arguments are read as JSON if possible, otherwise as strings: 20 is a number, '"20"'
    and two-words are strings; name=value is a keyword argument. Prints the id, or with
    --wait the outcome.

    With - as the last argument, or -i FILE, each line is a task: its words are further
    arguments, or it is a JSON array of them, or an object with args, kwargs and
    function. If no function is given, the first word of each line is one. Ctrl-C tells
    what was submitted, and how to go on.

    Exit code 1: with --wait, a task failed; 130: interrupted.

    \b
    redtask submit math:factorial 20 --wait
    redtask submit report:build day=2026-11-28 --after k3f9ab-17 --retries 2
    seq 100000 | redtask submit math:sqrt -
    find . -name '*.png' | redtask submit images:shrink width=200 --lines -
    """
    if args[-1:] == ("-",) or function == "-":
        if input is not None:
            raise click.UsageError("- or -i FILE, not both")
        input = sys.stdin  # noqa: A001
        function, args = (None, ()) if function == "-" else (function, args[:-1])
    reading = _reading(function, args, strings=strings, lines=lines, many=input)
    if input is None and (skip is not None or resume is not None):
        raise click.UsageError("--skip and --resume are for lines: -i FILE, or -")
    if not (said["after"] or said["follow"]):
        _check_alone()
    flags = _flags(said)
    if dry_run:
        return _show_calls(reading, input, args, skip or 0, out)
    with where.client(make=True) as client:
        flags = _with_targets(client, flags)
        flags = _with_dependencies(client, flags, said)
        if input is None:
            assert function is not None  # noqa: S101 - checked above
            given = reading.words(args)
            view = client.load_balanced_view().with_flags(**flags)
            (name,) = view.apply_async(function, *given[0], **given[1]).msg_ids
            return _submitted(client, out, name, waits=wait)
        if resume is not None:
            resume = _resumed_name(client, resume, skip or 0)
        bulk = Bulk(client._session, Flags().replaced(**flags), resume)
        lot = _Lot(client, out, bulk, skip or 0, waits=wait)
        return lot.run(reading, input)


def _check_alone() -> None:
    """Reject dependency options without dependencies; in a file they are for others."""
    ctx = click.get_current_context()
    for name in ("any", "on"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} goes with --after or --follow")


def _reading(
    function: str | None,
    args: tuple[str, ...],
    *,
    strings: bool,
    lines: bool,
    many: IO[str] | None,
) -> Reading:
    if function is None and many is None:
        raise click.UsageError("say which function: module:name")
    if function is None and lines:
        raise click.UsageError("--lines needs a function: module:name")
    if lines and many is None:
        raise click.UsageError("--lines is for lines: -i FILE, or -")
    try:
        if function is not None:
            check_function(function)
        words = Reading(strings=strings).words(args)
    except ValueError as problem:
        raise click.UsageError(str(problem)) from None
    if many is None:
        return Reading(function, strings=strings)
    return Reading(function, *words, strings=strings, lines=lines)


def _show_calls(
    reading: Reading,
    lines: IO[str] | None,
    words: tuple[str, ...],
    skip: int,
    out: Output,
) -> int:
    """Print the calls that would be submitted; as JSON, as lines may have them."""
    if lines is None:
        jobs = iter([(1, reading.function, reading.words(words))])
    else:
        jobs = (
            (at, job.function, (job.args, job.kwargs))
            for at, job in _jobs(reading, lines, skip)
        )
    for _, function, (args, kwargs) in jobs:
        if out.as_json:
            say_json({"function": function, "args": args, "kwargs": kwargs})
            continue
        shown = [*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())]
        click.echo(f"{function}({', '.join(shown)})")
    return 0


def _flags(said: dict[str, Any]) -> dict[str, Any]:
    """Return the flags given. Raises ``UsageError``."""
    names = (
        "retries", "retry_delay", "timeout", "time_limit", "delay", "priority",
        "queue", "label", "result_ttl",
    )  # fmt: skip
    flags = {name: said[name] for name in names if said[name] is not None}
    if said["at"] is not None:
        if "delay" in flags:
            raise click.UsageError("--delay or --at, not both")
        flags["eta"] = said["at"]
    if said["engine"]:
        flags["targets"] = Targets.of(list(said["engine"]))
    try:
        Flags().replaced(**flags)
    except (TypeError, ValueError) as problem:
        raise click.UsageError(str(problem).removeprefix("flag ")) from None
    return flags


def _with_targets(client: Client, flags: dict[str, Any]) -> dict[str, Any]:
    """Look up the engines given. Raises ``UnknownEngine``."""
    if "targets" not in flags:
        return flags
    living = client.ids
    try:
        return {**flags, "targets": flags["targets"].resolved(living)}
    except (IndexError, NoEnginesRegistered) as problem:
        raise UnknownEngine(str(problem).removeprefix("flag targets: ")) from None


def _with_dependencies(
    client: Client, flags: dict[str, Any], said: dict[str, Any]
) -> dict[str, Any]:
    """Add the dependencies; ids may be abbreviated. Raises ``UnknownTask``."""
    from redtask.abbreviation import expand  # noqa: PLC0415 - rarely needed

    success, failure = _ON[said["on"]]
    found = dict(flags)
    for name in ("after", "follow"):
        if said[name]:
            ids = client._run(expand(client._session.keys, said[name]))
            found[name] = Dependency(ids, not said["any"], success, failure)
    return found


def _resumed_name(client: Client, begun: str, skip: int) -> str:
    """Return the name of the submission to go on with, which may be abbreviated.

    Raises ``UnknownTask``: under a name of which the hub knows nothing, all lines would
    be submitted once more. But those that are skipped may be forgotten by now.
    """
    from redtask.abbreviation import clients  # noqa: PLC0415 - rarely needed

    found = client._run(clients(client._session.keys, begun))
    if len(found) > 1:
        raise AmbiguousTask(
            f"--resume: {begun!r} may be several submissions: {', '.join(found)}"
        )
    if found:
        return found[0]
    if skip and is_whole(begun):
        return begun
    raise UnknownTask(
        f"--resume: the hub has no task whose id begins with {begun!r}: none was "
        "submitted, or all are forgotten; without --resume all lines are submitted"
    )


def _submitted(client: Client, out: Output, name: str, *, waits: bool) -> int:
    """Print the id; or wait, and print the outcome."""
    if not waits:
        _say_id(out, name)
        return 0
    try:
        wait(client, [name])
    except KeyboardInterrupt:
        click.echo(f"redtask: {name} goes on: redtask result {name} --wait", err=True)
        raise
    return tell(client, out, [name], single=True)


def _say_id(out: Output, name: str) -> None:
    if out.as_json:
        say_json({"id": name})
    else:
        click.echo(name)


def _jobs(reading: Reading, lines: IO[str], skip: int) -> Iterator[tuple[int, Any]]:
    """Yield the number, from 0, and the call of each line that has one."""
    for at, line in enumerate(lines):
        if at < skip:
            continue
        try:
            job = reading.line(line)
        except ValueError as problem:
            raise click.UsageError(f"line {at + 1}: {problem}") from None
        if job is not None:
            yield at, job


class _Lot:
    """The tasks of many lines, and how far they are."""

    def __init__(
        self, client: Client, out: Output, bulk: Bulk, skip: int, *, waits: bool
    ) -> None:
        self._client = client
        self._out = out
        self._bulk = bulk
        self._skip = skip
        self._waits = waits
        #: The number of lines done, from the first; and ids, if needed for waiting.
        self._done = skip
        self._count = 0
        self._ids: list[str] = []
        #: Did Ctrl-C arrive while a batch was being sent?
        self._stopped = False
        self._is_reading = False

    def run(self, reading: Reading, lines: IO[str]) -> int:
        """Submit all lines; report what was submitted, however it ends."""
        try:
            with self._hearing(), bar("submitting", None) as show:
                self._submit(reading, lines, show)
        except KeyboardInterrupt:
            self._tell_rest("interrupted")
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (RedtaskError, click.UsageError, OSError) as problem:
            self._fail(problem)
        self._say(f"{count(self._count, 'task')} submitted as {self._bulk.name}")
        if not self._waits or not self._ids:
            return 0
        try:
            wait(self._client, self._ids)
        except KeyboardInterrupt:
            self._say("they go on without you: redtask ls shows them")
            raise
        return tell(self._client, self._out, self._ids, single=False)

    def _submit(self, reading: Reading, lines: IO[str], show: Any) -> None:
        batch: dict[int, Any] = {}
        jobs = _jobs(reading, lines, self._skip)
        while True:
            self._is_reading = True
            found = next(jobs, None)
            self._is_reading = False
            if batch and (found is None or len(batch) >= Bulk.BATCH):
                self._enter(batch)
                show(self._count)
                batch = {}
            if self._stopped:
                raise KeyboardInterrupt
            if found is None:
                return
            at, job = found
            try:
                batch[at] = self._bulk.pack(job)
            except TypeError as problem:
                raise click.UsageError(f"line {at + 1}: {problem}") from None

    def _enter(self, batch: dict[int, Any]) -> None:
        ids = self._client._run(self._bulk.enter(batch))
        self._done, self._count = max(batch) + 1, self._count + len(batch)
        if self._waits:
            self._ids += ids
        elif not self._out.for_people:
            for name in ids:
                _say_id(self._out, name)

    @contextlib.contextmanager
    def _hearing(self) -> Iterator[None]:
        """Let Ctrl-C stop between batches, or at once while reading a line."""

        def hear(_number: int, _frame: object) -> None:
            if self._is_reading or self._stopped:
                raise KeyboardInterrupt
            self._stopped = True

        try:
            before = signal.signal(signal.SIGINT, hear)
        except ValueError:  # not in the main thread
            yield
            return
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _fail(self, problem: RedtaskError | click.UsageError | OSError) -> NoReturn:
        self._tell_rest("stopped")
        if isinstance(problem, click.UsageError) or self._out.as_json:
            raise problem
        click.echo(f"redtask: {problem}", err=True)
        raise click.exceptions.Exit(exit_code(problem))

    def _tell_rest(self, how: str) -> None:
        """Print what was submitted, and how to go on."""
        are = "is" if self._count == 1 else "are"
        name = self._bulk.name
        self._say(
            f"{how}: {count(self._count, 'task')} {are} submitted, lines "
            f"{self._skip + 1:,} to {self._done:,}; go on with --resume {name}"
            + (f" --skip {self._done}" if self._done else "")
            if self._count
            else f"{how}: nothing was submitted"
        )

    def _say(self, text: str) -> None:
        click.echo(f"redtask: {text}", err=True)
