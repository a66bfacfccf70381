"""``%px`` and its kin: what is typed in IPython runs on engines.

Only IPython lets this be imported.
"""

from __future__ import annotations

import ast
import contextlib
import textwrap
from typing import TYPE_CHECKING, Any, Final

from IPython.core.error import UsageError
from IPython.core.magic import no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from redtask import cells
from redtask.error import RedtaskError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from redtask.client import Client
    from redtask.direct import DirectView
    from redtask.result import AsyncResult

#: How long output is gathered, in seconds; then it is shown as it comes. None: till the
#: end.
_SOON: Final = 0.5
_STREAMS: Final[Mapping[bool, float | None]] = {True: 0.0, False: None}
#: How output is grouped, unless an option says so.
_TYPE: Final = "type"
#: What the last expression of a cell is put into: engines send text, as a value might
#: be anything.
_TEXT: Final = b"(lambda value: None if value is None else repr(value))"


def offer(shell: Any, newest: Callable[[], Client | None]) -> None:
    """Have the magics, for whichever client is the newest, unless there are some."""
    if "px" not in shell.magics_manager.magics["line"]:
        Magics(shell, Newest(newest))


def load(shell: Any, newest: Callable[[], Client | None]) -> None:
    """Have the magics, also instead of those of another library."""
    known = shell.magics_manager.magics["line"].get("px")
    if not isinstance(getattr(known, "__self__", None), Magics):
        Magics(shell, Newest(newest))


def activate(shell: Any, view: DirectView, suffix: str) -> None:
    """Have the magics for a view, with a suffix of their names."""
    Magics(shell, lambda: view, suffix)


class Newest:
    """Returns a view of all engines of whichever client is the newest."""

    def __init__(self, newest: Callable[[], Client | None]) -> None:
        self._newest = newest
        self._view: DirectView | None = None

    def __call__(self) -> DirectView:
        client = self._newest()
        if client is None:
            raise UsageError("there is no client: rc = redtask.Client()")
        if self._view is None or self._view.client is not client:
            self._view = client.direct_view(block=True)
        return self._view


class Automatic:
    """Makes a ``%%px`` of each cell."""

    #: IPython also asks what a line would become while it is being typed.
    has_side_effects = True

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix

    def __call__(self, lines: list[str]) -> list[str]:
        """Return the lines of a cell, changed."""
        text = "".join(lines).strip()
        if not text or text.startswith(("%autopx", "%px", "%%px")):
            return lines
        return [f"%%px{self.suffix}\n", *lines]


def _where(magic: Any) -> Any:
    """Give a magic the options that say where and how code runs."""
    for option in (
        argument("-t", "--targets", help="the engines: all, 0, 0,2 or a slice as :2"),
        argument(
            *("-b", "--block"),
            dest="block",
            action="store_const",
            const=True,
            help="wait, and show the output",
        ),
        argument(
            *("-a", "--noblock"),
            dest="block",
            action="store_const",
            const=False,
            help="return the AsyncResult at once",
        ),
        argument(
            "--stream",
            dest="stream",
            action="store_const",
            const=True,
            help="show output as it comes",
        ),
        argument(
            "--no-stream",
            dest="stream",
            action="store_const",
            const=False,
            help="show output in the end",
        ),
        argument(
            "--verbose",
            dest="verbose",
            action="store_const",
            const=True,
            help="say where code runs",
        ),
        argument(
            "--no-verbose",
            dest="verbose",
            action="store_const",
            const=False,
            help="do not say that",
        ),
    ):
        magic = option(magic)
    return magic


def _how(magic: Any) -> Any:
    """Give a magic the options that say what becomes of results."""
    for option in (
        argument("-o", "--out", help="the name that the AsyncResult gets"),
        argument(
            "--group-outputs",
            dest="groupby",
            choices=["type", "engine", "order"],
            help="what is shown together: what is of one type, by default",
        ),
        argument(
            "-e",
            dest="groupby",
            action="store_const",
            const="engine",
            help="--group-outputs engine",
        ),
        argument(
            "-r",
            dest="groupby",
            action="store_const",
            const="order",
            help="--group-outputs order",
        ),
    ):
        magic = option(magic)
    return magic


class Magics:
    """The magics of one IPython for one view, or for one that is found each time."""

    def __init__(
        self, shell: Any, view: Callable[[], DirectView], suffix: str = ""
    ) -> None:
        self.shell = shell
        self.suffix = suffix
        #: The result of the last ``%px``.
        self.last: AsyncResult | None = None
        self._view = view
        self._soon: float | None = _SOON
        self._verbose = False
        for name, kind, magic in (
            (f"px{suffix}", "line_cell", self.px),
            (f"pxresult{suffix}", "line", self.pxresult),
            (f"pxconfig{suffix}", "line", self.pxconfig),
            (f"autopx{suffix}", "line", self.autopx),
        ):
            shell.register_magic_function(magic, kind, name)

    @no_var_expand
    @magic_arguments()
    @_how
    @_where
    @argument("--local", action="store_true", help="run the cell here, too")
    def px(self, line: str, cell: str | None = None) -> AsyncResult | None:
        """Run code on engines, and show what they print and the last value.

        A line, ``%px import numpy``, or a cell, ``%%px``; only this has options.
        Engines run Python, without magics.
        """
        chosen = parse_argstring(self.px, line if cell is not None else "")
        view = self._view()
        if chosen.targets:
            view = view.with_flags(targets=_targets(chosen.targets))
        block = view.block if chosen.block is None else chosen.block
        if self._verbose if chosen.verbose is None else chosen.verbose:
            kind = "Parallel" if block else "Async parallel"
            _say(f"{kind} execution on engine(s): {view.targets}")
        code = line if cell is None else cell
        self.last = result = _execute(view, code)
        if chosen.out:
            self.shell.user_ns[chosen.out] = result
        if chosen.local:
            self.shell.run_cell(code)
        if not block:
            return result
        soon = self._soon if chosen.stream is None else _STREAMS[chosen.stream]
        _wait(result, chosen.groupby or _TYPE, soon)
        return None

    @magic_arguments()
    @_how
    def pxresult(self, line: str = "") -> None:
        """Wait for the last ``%px`` that did not, and show what came of it."""
        chosen = parse_argstring(self.pxresult, line)
        if self.last is None:
            raise UsageError("there is no result: no %px was used")
        if chosen.out:
            self.shell.user_ns[chosen.out] = self.last
        else:
            _wait(self.last, chosen.groupby or _TYPE)

    @magic_arguments()
    @_where
    def pxconfig(self, line: str) -> None:
        """Choose engines, and how ``%px`` waits, from now on."""
        chosen = parse_argstring(self.pxconfig, line)
        view = self._view()
        if chosen.targets:
            view.set_flags(targets=_targets(chosen.targets))
        if chosen.block is not None:
            view.set_flags(block=chosen.block)
        if chosen.stream is not None:
            self._soon = _STREAMS[chosen.stream]
        if chosen.verbose is not None:
            self._verbose = chosen.verbose

    def autopx(self, line: str = "") -> None:  # noqa: ARG002 - as IPython calls it
        """Let engines run all cells, or stop that."""
        known = self.shell.input_transformers_cleanup
        ours = [one for one in known if isinstance(one, Automatic)]
        for one in ours:
            known.remove(one)
        is_on = any(one.suffix == self.suffix for one in ours)
        if not is_on:
            # Those after it know cells of magics.
            known.insert(0, Automatic(self.suffix))
        _say(f"%autopx {'disabled' if is_on else 'enabled'}")


def _targets(text: str) -> Any:
    """Return the engines that an option names."""
    if text == "all":
        return text
    try:
        if ":" in text:
            parts = text.strip("[]").split(":")
            return slice(*(int(part) if part.strip() else None for part in parts))
        found = ast.literal_eval(text)
    except (SyntaxError, TypeError, ValueError):
        raise UsageError(f"these are no engines: {text!r}") from None
    return list(found) if isinstance(found, tuple) else found


# -- what engines are to run


def _execute(view: DirectView, code: str) -> AsyncResult:
    try:
        text, silent = _with_text(code)
    except SyntaxError as problem:
        wrong = (problem.text or "").split()
        if wrong and wrong[0].startswith(("%", "!")):
            raise UsageError(f"engines run Python, without {wrong[0]}") from None
        raise problem.with_traceback(None)  # noqa: B904 - it is the same one
    # Errors quote what was typed.
    return view._execute(text, cells.typed(code), silent, None, block=False)


def _with_text(code: str) -> tuple[str, bool]:
    """Return code whose value is text, or (True) that of a cell without a value."""
    try:
        tree = ast.parse(code, "cell")
    except IndentationError:
        code = textwrap.dedent(code)
        tree = ast.parse(code, "cell")
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr) or code.rstrip().endswith(";"):
        return code, True
    lines = code.replace("\r\n", "\n").replace("\r", "\n").encode().split(b"\n")
    # The end first: it may be in the same line.
    end = last.end_lineno or last.lineno
    _insert(lines, end, last.end_col_offset or 0, b"))")
    _insert(lines, last.lineno, last.col_offset, _TEXT + b"((")
    return b"\n".join(lines).decode(), False


def _insert(lines: list[bytes], row: int, column: int, added: bytes) -> None:
    whole = lines[row - 1]
    lines[row - 1] = whole[:column] + added + whole[column:]


# -- what came of it


def _wait(result: AsyncResult, groupby: str, soon: float | None = None) -> None:
    """Wait for a result and show it. Raises what engines raised.

    An interrupt is meant for the engines.
    """
    try:
        done = result.wait(soon)
        if not done:
            _show_as_it_comes(result)
    except KeyboardInterrupt as problem:
        # It may be done, or Redis may be away.
        with contextlib.suppress(RuntimeError, RedtaskError):
            result.abort(running=True)
        raise problem.with_traceback(None)  # noqa: B904 - it is the same one
    if done:
        result.display_outputs(groupby)
    _show_values(result)
    result.get()


def _show_values(result: AsyncResult) -> None:
    values, engines = result.get(return_exceptions=True), result.metadata
    if result._single:
        values, engines = [values], [engines]
    for text, about in zip(values, engines, strict=True):
        if isinstance(text, str):
            between = "\n" if "\n" in text else " "
            _say(f"Out[{about.engine_id}]:{between}{text}")


def _show_as_it_comes(result: AsyncResult) -> None:
    """Print lines with their engines until all tasks have ended."""
    engines = Engines(result)
    begun: dict[tuple[str, str], str] = {}
    for said in result.stream_output():
        if said.stream != "progress":
            place = said.msg_id, said.stream
            *whole, begun[place] = (begun.get(place, "") + said.text).split("\n")
            for line in whole:
                _say(f"{engines.label(*place)}{line}")
    for place, rest in begun.items():
        if rest:
            _say(f"{engines.label(*place)}{rest}")


class Engines:
    """Knows which engine said something."""

    def __init__(self, result: AsyncResult) -> None:
        self._result = result
        self._known: dict[str, int] = {}

    def label(self, msg_id: str, stream: str) -> str:
        """Return what is printed before a line."""
        if self._result._single:
            return ""
        if msg_id not in self._known:
            # It has begun, so it has an engine.
            self._known = {one.msg_id: one.engine_id for one in self._result.metadata}
        return f"[{stream}:{self._known[msg_id]}] "


def _say(text: str) -> None:
    print(text)  # noqa: T201 - whoever typed a magic reads it


__all__ = ["Magics", "activate", "load", "offer"]
