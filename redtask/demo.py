"""``python -m redtask.demo``: real work on a hub and engines of its own.

Indexes the standard library of its interpreter, one task per source file, kills an
engine half-way, finishes all the same, and compares with a serial pass. It leaves no
process and no file.
"""

from __future__ import annotations

import argparse
import ast
import collections
import contextlib
import io
import itertools
import os
import platform
import signal
import sys
import sysconfig
import time
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import redtask
from redtask.error import RedtaskError
from redtask.hub.records import info
from redtask.profile import Profile
from redtask.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from redtask.result import AsyncMapResult

#: The facts about one file.
Facts: TypeAlias = dict[str, Any]

#: Folders that are not the library itself.
_SKIPPED: Final = {
    "__pycache__",
    "dist-packages",
    "idle_test",
    "site-packages",
    "test",
    "tests",
}
#: The facts that are summed.
_COUNTS: Final = (
    "lines",
    "code",
    "comments",
    "imports",
    "classes",
    "functions",
    "documented",
    "complexity",
)
#: Commands that clients and engines send in a run; others are called by scripts.
_SENT: Final = ("evalsha", "blpop", "xread", "script|load")
_NO_CODE: Final = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
_BRANCHES: Final = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)

_DIFFERENT: Final = 1
_INTERRUPTED: Final = 130


# -- the work: what engines run


def index_file(path: str) -> Facts:
    """Count what a source file contains."""
    source = Path(path).read_bytes()
    facts: Facts = dict.fromkeys(_COUNTS, 0)
    facts["path"] = path
    # The process that ran it: the demo kills one of these.
    facts["pid"] = os.getpid()
    facts["lines"] = source.count(b"\n")
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return facts  # some files show how Python fails
    _count_lines(source, facts)
    for node in ast.walk(tree):
        _count_node(node, facts)
    return facts


def _count_lines(source: bytes, facts: Facts) -> None:
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    facts["code"], facts["comments"] = len(code), len(comments)


def _count_node(node: ast.AST, facts: Facts) -> None:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        facts["imports"] += 1
    elif isinstance(node, _BRANCHES):
        facts["complexity"] += 1
    elif isinstance(node, ast.BoolOp):
        facts["complexity"] += len(node.values) - 1
    elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        is_class = isinstance(node, ast.ClassDef)
        facts["classes" if is_class else "functions"] += 1
        facts["complexity"] += not is_class
        facts["documented"] += ast.get_docstring(node, clean=False) is not None


# -- what is made of it


def sources(root: Path, limit: int | None = None) -> list[str]:
    """Return the library's source files, or ``limit`` of them, evenly spaced."""
    found = sorted(
        str(path)
        for path in root.rglob("*.py")
        if not _SKIPPED & set(path.relative_to(root).parts[:-1])
    )
    if limit is None or limit >= len(found):
        return found
    step = len(found) / limit
    return [found[int(number * step)] for number in range(limit)]


def totals(facts: Iterable[Facts]) -> dict[str, int]:
    """Sum up the counts of files."""
    added: collections.Counter[str] = collections.Counter()
    for one in facts:
        added.update({name: one[name] for name in _COUNTS})
        added["files"] += 1
    return dict(added)


def by_package(root: Path, facts: Iterable[Facts]) -> dict[str, dict[str, int]]:
    """Sum up the counts per package; top-level modules form one group."""

    def package(one: Facts) -> str:
        first, *rest = Path(one["path"]).relative_to(root).parts
        return first if rest else "(modules)"

    ordered = sorted(facts, key=package)
    grouped = itertools.groupby(ordered, key=package)
    return {name: totals(group) for name, group in grouped}


@dataclass(slots=True)
class _Victim:
    """The engine that is killed half-way."""

    at: int
    pid: int = 0

    def consider(self, done: int, facts: Facts) -> bool:
        """Kill the engine that sent this if it is time; return whether it was."""
        if self.pid or done < self.at:
            return False
        pid = int(facts["pid"])
        # Its next task begins while we read the last one's result: kill it during that.
        time.sleep(0.005)
        with contextlib.suppress(OSError):
            # It may have ended by itself, and its pid be reused.
            if Path(f"/proc/{pid}/comm").read_text().startswith("redtask-"):
                os.kill(pid, signal.SIGKILL)
                self.pid = pid
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Work:
    """Work that Redis has done since it started."""

    #: Commands received.
    calls: int
    #: Wall time within them, and processor time of everything; in us.
    inside: int
    used: int

    @classmethod
    def read(cls, store: Store) -> _Work:
        """Ask the server for its counters."""
        replies = store.commands([("INFO", "commandstats"), ("INFO", "cpu")])
        found = info(b"\n".join(replies))
        calls = inside = 0
        for name in _SENT:
            if told := found.get(f"cmdstat_{name}"):
                numbers = dict(pair.split("=") for pair in told.split(","))
                calls += int(numbers["calls"])
                inside += int(numbers["usec"])
        used = float(found["used_cpu_user"]) + float(found["used_cpu_sys"])
        return cls(calls, inside, round(used * 1e6))

    def since(self, before: _Work) -> _Work:
        """Return the difference."""
        return _Work(
            self.calls - before.calls,
            self.inside - before.inside,
            self.used - before.used,
        )


def _lost(store: Store) -> int:
    """Return how many tasks lost their engine."""
    told = store.command("XRANGE", store.keys.story(), "-", "+")
    return sum(b"lost" in fields for _, fields in told)


# -- what is shown


class _Screen:
    """Shows progress: with a moving bar on a terminal, else in plain lines."""

    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - only the demo's

        self.console = Console(highlight=False, markup=False, soft_wrap=True)
        self.fancy = self.console.is_terminal

    def say(self, text: str = "") -> None:
        self.console.print(text)

    @contextlib.contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes the number done."""
        if not self.fancy:
            yield self._lines(what, total)
            return
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        columns = (
            TextColumn(f"{what:<10}"),
            BarColumn(None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, expand=True) as progress:
            bar = progress.add_task(what, total=total)
            yield lambda done: progress.update(bar, completed=done)

    def _lines(self, what: str, total: int) -> Callable[[int], None]:
        begun = time.monotonic()
        tenth = max(1, total // 10)

        def show(done: int) -> None:
            if done == total or done % tenth == 0:
                seconds = time.monotonic() - begun
                self.say(f"{what:<10} {done:5} of {total} after {seconds:5.1f} s")

        return show

    def table(self, packages: dict[str, dict[str, int]], most: int) -> None:
        """Show the packages with the most functions, and the total."""
        from rich import box  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        columns = ("files", "code", "classes", "functions", "complexity")
        table = Table(
            box=box.SIMPLE_HEAD, collapse_padding=True, pad_edge=False, show_edge=False
        )
        table.add_column("package")
        for column in (*columns, "each", "docs"):
            table.add_column(column, justify="right")

        def add(name: str, counts: dict[str, int]) -> None:
            named = counts["functions"] + counts["classes"]
            each = counts["complexity"] / max(1, counts["functions"])
            told = counts["documented"] / max(1, named)
            numbers = [f"{counts[column]:,}" for column in columns]
            table.add_row(name, *numbers, f"{each:.1f}", f"{told:.0%}")

        ranked = sorted(packages.items(), key=lambda one: -one[1]["functions"])
        for name, counts in ranked[:most]:
            add(name, counts)
        if rest := ranked[most:]:
            add(f"{len(rest)} others", _added(counts for _, counts in rest))
        table.add_section()
        add("all", _added(packages.values()))
        self.console.print(table)


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    added: collections.Counter[str] = collections.Counter()
    for one in counts:
        added.update(one)
    return dict(added)


# -- the demo


def run(screen: _Screen, *, engines: int, limit: int | None) -> int:
    """Show everything; return the exit code."""
    root = Path(sysconfig.get_path("stdlib"))
    paths = sources(root, limit)
    screen.say(
        f"redtask {redtask.__version__} indexes the standard library of Python "
        f"{platform.python_version()}:\n{len(paths)} files, one task each, "
        f"on {engines} engines and a Redis of its own.\n"
    )
    begun = time.monotonic()
    cluster = redtask.Cluster(n=engines, private=True)
    with cluster as client:
        screen.say(f"started in {time.monotonic() - begun:.1f} s")
        profile = Profile.load(url=cluster.url)
        assert profile.url is not None  # noqa: S101 - it was given
        store = Store(profile.url, profile.hub)
        before = _Work.read(store)
        begun = time.monotonic()
        view = client.load_balanced_view(retries=1)
        result = view.map(index_file, paths, ordered=False, block=False)
        facts = _gather(screen, result)
        seconds = time.monotonic() - begun
        work = _Work.read(store).since(before)
        lost = _lost(store)
        store.close()
    again = "one lost its engine and ran again" if lost else "none had to run again"
    screen.say(f"all {len(facts)} results are here; {again}\n")
    serial, serial_seconds = _serially(screen, paths)
    same = _compare(screen, facts, serial)
    screen.table(by_package(root, facts), most=7)
    count = len(paths)
    screen.say(
        f"\n{count / seconds:.0f} tasks/s, {seconds:.1f} s in all; one process alone "
        f"took {serial_seconds:.1f} s, {serial_seconds / seconds:.1f} times as long.\n"
        f"Per task Redis answered {work.calls / count:.1f} calls in "
        f"{work.inside / count:.0f} µs; its processor worked "
        f"{work.used / count:.0f} µs for it."
    )
    return 0 if same else _DIFFERENT


def _gather(screen: _Screen, result: AsyncMapResult) -> list[Facts]:
    """Collect results as they arrive, and kill an engine half-way."""
    facts: list[Facts] = []
    victim = _Victim(at=len(result) // 2)
    with screen.bar("engines", len(result)) as show:
        for done, one in enumerate(result, start=1):
            facts.append(one)
            show(done)
            if victim.consider(done, one):
                screen.say(f"half-way: killed engine process {victim.pid} (SIGKILL)")
    return facts


def _serially(screen: _Screen, paths: Sequence[str]) -> tuple[list[Facts], float]:
    facts = []
    begun = time.monotonic()
    with screen.bar("serially", len(paths)) as show:
        for done, path in enumerate(paths, start=1):
            facts.append(index_file(path))
            show(done)
    return facts, time.monotonic() - begun


def _compare(screen: _Screen, facts: list[Facts], serial: list[Facts]) -> bool:
    """Report whether both passes found the same, per file and in total."""

    def plain(found: list[Facts]) -> dict[str, Facts]:
        return {one["path"]: {name: one[name] for name in _COUNTS} for one in found}

    ours, theirs = plain(facts), plain(serial)
    same = len(facts) == len(serial) and ours == theirs
    if same and totals(facts) == totals(serial):
        screen.say(f"the totals agree, as does each of {len(serial)} files\n")
        return True
    different = [path for path in theirs if ours.get(path) != theirs[path]]
    screen.say(f"DIFFERENT: {', '.join(different) or 'the number of results'}\n")
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo from the command line."""
    parser = argparse.ArgumentParser(
        prog="redtask.demo", description="Real work on a hub and engines of its own."
    )
    parser.add_argument(
        "-n", "--engines", type=int, default=4, help="how many engines (4)"
    )
    parser.add_argument("--limit", type=int, help="index only so many files")
    chosen = parser.parse_args(arguments)
    if chosen.engines < 1 or (chosen.limit is not None and chosen.limit < 1):
        parser.error("at least one engine and one file")
    screen = _Screen()
    try:
        return run(screen, engines=chosen.engines, limit=chosen.limit)
    except KeyboardInterrupt:
        screen.say("interrupted; everything is stopped")
        return _INTERRUPTED
    except RedtaskError as problem:
        print(f"redtask: {problem}", file=sys.stderr)  # noqa: T201 - it is a command
        return 1


if __name__ == "__main__":
    sys.exit(main())
