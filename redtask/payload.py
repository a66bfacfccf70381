"""Functions, arguments, results and errors as bytes, and back.

A function that engines can import is sent by name; everything else by value, with
cloudpickle. Whatever is unpickled here was verified before (``redtask.signing``). No
I/O here.

Formats, by their first byte. Functions: ``n`` "module:qualified.name"; ``v`` Python
minor version and a cloudpickle; ``p`` a plain pickle (a callable object). Arguments:
``0`` none; ``a`` positional ones; ``k`` positional and keyword; ``m`` the sequences of
a map chunk; ``R`` ids of the tasks whose results they refer to, preceded by their
length in four bytes, then arguments; ``O`` edits of the arguments that follow
(``redtask.overlay``). Results: ``p`` a pickle; ``N`` None. Errors: a JSON object,
preceded by its length in four bytes, then the pickled exception or nothing.
"""

from __future__ import annotations

import base64
import builtins
import contextlib
import hashlib
import importlib
import json
import operator
import pickle
import re
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cloudpickle

from redtask import classes, dependency
from redtask.cells import quoted
from redtask.error import VERDICTS, RemoteError, SerializationError
from redtask.functional import (
    MEMOIZED,
    bound,
    by_value,
    dependent,
    importable_as,
    is_sent,
    plain_function,
)
from redtask.interrupt import let_through
from redtask.namespace import Native, refer
from redtask.overlay import Overlay
from redtask.rope import Rope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from redtask.rope import Read, Written

_PROTOCOL: Final = 5
_MINOR: Final = bytes(sys.version_info[:2])
#: The name of a function, ``package.module:function``.
BY_NAME: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
#: Immutable types: defaults of such types are no state.
_FIXED: Final = (type(None), bool, int, float, complex, str, bytes)
#: The opcode of every reference by name; other data may have that byte by chance.
_GLOBAL: Final = pickle.STACK_GLOBAL
#: Part of every pickle that contains a Ref.
_REFERS: Final = dependency.resolve.__module__.encode("ascii")
#: Likewise. Functions that only make Refs, or know of dependencies, have no such part.
_RESOLVES: Final = dependency.resolve.__name__.encode("ascii")
#: Part of every pickle that contains a Reference.
_STANDS: Final = refer.__module__.encode("ascii")
#: Part of every pickle that refers to the script by name; common to both its names.
_SCRIPT: Final = b"_main__"
#: A pickled exception larger than this is not worth sending.
_MOST_CAUSE: Final = 65536
_MOST_TRACEBACK: Final = 65536
#: From this many bytes on, a pickler writes a value separately. So large a copy mostly
#: goes to memory that is new to the process, and that takes several times as long.
_LARGE: Final = 65536
#: Large values are looked for only in containers of at most this many items.
_NEAR: Final = 16


@dataclass(frozen=True, slots=True)
class Function:
    """A function, packed for engines."""

    #: Of the blob: 128 bits of its SHA-256, as 22 letters.
    digest: str
    #: What engines load the function from.
    blob: bytes
    #: For display.
    name: str

    @classmethod
    def of_blob(cls, blob: bytes, name: str) -> Function:
        """Return a function of this blob, with its digest."""
        return cls(digest_of(blob), blob, name[:128])


def digest_of(blob: bytes) -> str:
    """Return the digest that identifies a function."""
    short = hashlib.sha256(blob).digest()[:16]
    return base64.urlsafe_b64encode(short).decode("ascii").rstrip("=")


class _Sink:
    """Collects what a pickler writes: small frames, and large values uncopied."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, piece: bytes | bytearray | memoryview) -> int:
        # A buffer's owner may change it later, so it is copied now.
        data = piece if type(piece) is bytes else bytes(piece)
        self.pieces.append(data)
        return len(data)


def _is_large(value: object, depth: int = 3) -> bool:
    """Is there a large value near the top? A wrong guess only costs time."""
    # This runs for every task: the likeliest case comes first.
    if type(value) in _SHORT:
        return False
    if isinstance(value, (tuple, list, dict)):
        if len(value) > _NEAR or depth == 0:
            return False
        for one in value.values() if isinstance(value, dict) else value:
            if type(one) not in _SHORT and _is_large(one, depth - 1):
                return True
        return False
    if isinstance(value, (bytes, bytearray, str)):
        return len(value) >= _LARGE
    size = getattr(value, "nbytes", 0)
    return isinstance(size, int) and size >= _LARGE


def _pieces(value: object) -> list[bytes] | None:
    """Pickle a value that contains something large, which is not copied.

    By the pickle protocol large values are written outside of frames; a bytes object of
    that size is passed as it is. None if it cannot be pickled so, or refers to anything
    that must not go by name.
    """
    sink = _Sink()
    try:
        pickle.Pickler(sink, _PROTOCOL).dump(value)
    except Exception as problem:  # noqa: BLE001 - pickling runs the user's code
        let_through(problem)
        return None
    framed = filter(_is_framed, sink.pieces)
    refers = any(_REFERS in one or _may_refer(one) for one in framed)
    return None if refers else sink.pieces


def _is_framed(piece: bytes) -> bool:
    """Is it a frame of a pickle, where names are, and not one large value?

    Frames are ended when they have 64 KiB, and so a little larger. Where a value looks
    like one, this only takes longer.
    """
    return len(piece) < _LARGE or piece[:1] in (pickle.PROTO, pickle.FRAME)


def _together(pieces: Sequence[bytes]) -> Written:
    """Join pieces: into bytes if that is cheap, else into a rope."""
    rope = Rope(pieces)
    return rope if len(rope) >= _LARGE else bytes(rope)


def dumps(value: object) -> bytes:
    """Pickle a value; what only this process could import, by value.

    Raises ``SerializationError`` naming the type.
    """
    try:
        data = pickle.dumps(value, _PROTOCOL)
    except Exception as problem:  # noqa: BLE001 - pickling runs the user's code
        let_through(problem)
        # Not tried again in here: this error would be the context of that.
        data = b""
    # This runs for every task, and most values refer to nothing.
    if data and (_GLOBAL not in data or not _may_refer(data)):
        return data
    return _by_cloudpickle(value)


def _may_refer(data: bytes) -> bool:
    """May a pickle refer by name to what only this process can import?"""
    if _SCRIPT in data:
        return True
    registered = cloudpickle.list_registry_pickle_by_value()
    return any(name.encode() in data for name in registered)


def _by_cloudpickle(value: object) -> bytes:
    try:
        return by_value(value)
    except Exception as error:
        let_through(error)
        raise SerializationError(
            f"cannot pickle {type(value).__name__}: {error}"
        ) from error


def import_name(blob: bytes) -> str | None:
    """Return the ``module:name`` of a packed function; None if it is sent by value."""
    if blob[:1] != b"n":
        return None
    name = blob[1:].decode("utf-8", "replace")
    return name if BY_NAME.fullmatch(name) else None


def name_of(function: object) -> str:
    """Return the function's name for display."""
    if isinstance(function, str):
        return function.partition(":")[2]
    inner = getattr(function, "func", function)
    return getattr(inner, "__name__", None) or type(function).__name__


def _by_value(function: object) -> bytes:
    try:
        return b"v" + _MINOR + by_value(function)
    except Exception as error:
        let_through(error)
        raise _unpicklable(function, error) from error


def _unpicklable(function: object, error: BaseException | None) -> SerializationError:
    """Return the error that says why a function cannot be pickled."""
    where = _where(function, _is_trouble)
    return SerializationError(
        f"cannot pickle the function {name_of(function)}{where}: {error}"
    )


def _is_trouble(value: object) -> bool:
    try:
        by_value(value)
    except Exception as problem:  # noqa: BLE001 - pickling runs the user's code
        let_through(problem)
        return True
    return False


def _has_ref(value: object) -> bool:
    try:
        return bool(dependency.refs_in(by_value, value))
    except Exception as problem:  # noqa: BLE001 - pickling runs the user's code
        let_through(problem)
        return False


def _where(function: object, is_it: Callable[[object], bool]) -> str:
    """Return how the function uses such a value, in parentheses, if that has names."""
    way = _way_to(function, is_it, set())
    return f" ({' -> '.join(way)})" if way else ""


def _way_to(
    function: object, is_it: Callable[[object], bool], seen: set[int]
) -> list[str]:
    """Return the names by which a function uses such a value, if by name."""
    function = getattr(function, "func", function)
    if isinstance(function, Native):
        function = function.function
    if isinstance(function, (dependent, MEMOIZED)):
        function = plain_function(function)
    if not isinstance(function, (types.FunctionType, types.MethodType)):
        return []
    seen.add(id(function))
    for name, value in _variables(function):
        if id(value) not in seen and is_it(value):
            return [name, *_way_to(value, is_it, seen)]
    return []


def _variables(
    function: types.FunctionType | types.MethodType,
) -> Iterator[tuple[str, object]]:
    """Yield the variables from outside that a function uses, or a method has."""
    if isinstance(function, types.MethodType):
        owner = function.__self__
        if not isinstance(owner, type):
            for name, value in getattr(owner, "__dict__", {}).items():
                yield f"self.{name}", value
        return
    for name in sorted(_names(function.__code__) & function.__globals__.keys()):
        yield name, function.__globals__[name]
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        with contextlib.suppress(ValueError):  # it is empty
            yield name, cell.cell_contents


def pack_function(function: Callable[..., Any] | str) -> Function:
    """Return a function as engines get it.

    A string is the name of a function that only engines need to import,
    ``"package.module:function"``. Raises ``TypeError`` if it is not callable, and
    ``SerializationError`` (a ``TypeError`` too) if it cannot be pickled, or if a Ref
    goes with it, which nobody would replace.
    """
    packed = _pack_function(function)
    # Once more only then: some functions are pickled for each task.
    if _REFERS in packed.blob and _RESOLVES in packed.blob:
        for ref in dependency.refs_in(_blob_of, function):
            raise SerializationError(_misplaced(ref, function))
    return packed


def _blob_of(function: Any) -> bytes:
    return _pack_function(function).blob


def _misplaced(ref: dependency.Ref, function: object) -> str:
    """Return what is wrong with a Ref that goes with a function."""
    said, name = f"{ref!r} belongs among the arguments of the call", name_of(function)
    if any(map(_has_ref, bound(function))):
        return f"{said}; it is bound to the function {name}"
    where = _where(function, _has_ref)
    return f"{said}; the function {name}{where} has it: pass it as an argument"


def _pack_function(function: Callable[..., Any] | str) -> Function:
    if isinstance(function, str):
        if not BY_NAME.fullmatch(function):
            raise TypeError(f"not the name of a function, module:name: {function!r}")
        return Function.of_blob(b"n" + function.encode(), name_of(function))
    if not callable(function):
        raise TypeError(f"f must be callable, not {type(function).__name__}")
    if name := importable_as(function):
        return Function.of_blob(b"n" + name.encode(), name_of(function))
    # The function inside may need to go by value, even if the dependent does not.
    if isinstance(function, (types.FunctionType, dependent, Native)):
        return Function.of_blob(_by_value(function), name_of(function))
    try:
        data = dumps(function)
    except SerializationError as error:
        raise _unpicklable(function, error.__cause__) from error.__cause__
    if data != (plain := _plain(function)):
        return Function.of_blob(_by_value(function), name_of(function))
    return Function.of_blob(b"p" + plain, name_of(function))


def _plain(value: object) -> bytes | None:
    try:
        return pickle.dumps(value, _PROTOCOL)
    except Exception as problem:  # noqa: BLE001 - pickling runs the user's code
        let_through(problem)
        return None


def _names(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names(constant)
    return found


def is_stateless(function: object) -> bool:
    """Is one unpickled copy of the function as good as another?

    True for a plain function without cells, mutable defaults and attributes: its
    globals are all that an earlier call could have changed. What a memoized one has
    memoized is meant to be kept.
    """
    if isinstance(function, MEMOIZED):
        function = function.__wrapped__
    return (
        isinstance(function, types.FunctionType)
        and function.__closure__ is None
        and not function.__dict__
        and all(isinstance(value, _FIXED) for value in function.__defaults__ or ())
        and all(
            isinstance(value, _FIXED)
            for value in (function.__kwdefaults__ or {}).values()
        )
    )


#: Stands for a missing global.
_NOWHERE: Final = object()


def _is_constant(value: object) -> bool:
    """Is a global found by its name on engines, and so always sent the same?"""
    if isinstance(value, types.ModuleType):
        # One that is made by hand, or sent by value, goes with what it has now.
        name = value.__name__
        return sys.modules.get(name) is value and not is_sent(name)
    if isinstance(value, types.BuiltinFunctionType):
        # A method of a dictionary, say, goes with that.
        return isinstance(value.__self__, (types.ModuleType, types.NoneType))
    return value is _NOWHERE


class _Packed(NamedTuple):
    """A function, and what it was when it was packed."""

    function: types.FunctionType | str
    #: Its code and its defaults, which may be replaced.
    inside: tuple[object, ...]
    #: The globals that it uses.
    used: tuple[tuple[str, object], ...]
    packed: Function

    def is_current(self) -> bool:
        """Would it be packed the same now?"""
        function = self.function
        if not isinstance(function, types.FunctionType):
            return True
        if any(map(operator.is_not, self.inside, _inside(function))):
            return False
        scope = function.__globals__
        return all(scope.get(name, _NOWHERE) is value for name, value in self.used)


def _inside(function: types.FunctionType) -> tuple[object, ...]:
    return function.__code__, function.__defaults__, function.__kwdefaults__


class Packer:
    """Packs functions, and caches those that cannot have changed.

    A function by value carries the current values of the globals it uses, so it is
    pickled anew for each call - unless it has no state and uses only modules and
    builtins, as most lambdas do. The cache needs no lock: at worst a function is
    pickled twice.
    """

    #: The size at which the cache is cleared.
    MOST = 1000

    def __init__(self) -> None:
        self._known: dict[int, _Packed] = {}
        #: The modules that are sent by value: what goes by name depends on them.
        self._sent: set[str] = set()

    def __call__(self, function: Callable[..., Any] | str) -> Function:
        """Return the packed function, as ``pack_function`` does."""
        sent = cloudpickle.list_registry_pickle_by_value()
        if sent != self._sent:
            self._known.clear()
            self._sent = sent
        known = self._known.get(id(function))
        if known is not None and known.function is function and known.is_current():
            return known.packed
        packed = pack_function(function)
        if (entry := self._entry(function, packed)) is not None:
            if len(self._known) >= self.MOST:
                self._known.clear()
            self._known[id(function)] = entry
        return packed

    @staticmethod
    def _entry(function: object, packed: Function) -> _Packed | None:
        """Return what is to be kept, if it cannot change unnoticed."""
        if isinstance(function, str):
            return _Packed(function, (), (), packed)
        if not isinstance(function, types.FunctionType) or not is_stateless(function):
            return None
        if importable_as(function):
            return _Packed(function, _inside(function), (), packed)
        # Including missing ones: they may be defined before the next call.
        scope = function.__globals__
        used = tuple(
            (name, scope.get(name, _NOWHERE))
            for name in sorted(_names(function.__code__))
        )
        if not all(_is_constant(value) for _, value in used):
            return None
        return _Packed(function, _inside(function), used, packed)


def unpack_function(blob: bytes) -> tuple[Callable[..., Any], bool]:
    """Return the function, and whether one copy can be reused.

    That of a function by name, as long as its module has it (``place_of``). Raises
    whatever importing or unpickling raises; ``SerializationError`` if it was
    pickled by value under another minor version of Python.
    """
    kind, data = blob[:1], blob[1:]
    if kind == b"n":
        return load_by_name(data.decode()), True
    if kind == b"v":
        if data[:2] != _MINOR:
            raise SerializationError(
                f"the function comes by value from Python {data[0]}.{data[1]}; this is "
                f"Python {_MINOR[0]}.{_MINOR[1]}"
            )
        function = cloudpickle.loads(data[2:])
        # What its References stand for may be another value at the next call.
        return function, is_stateless(function) and _STANDS not in data
    return pickle.loads(data), False


def place_of(blob: bytes) -> tuple[str, Callable[[Any], Any]] | None:
    """Return the module of a function that was sent by name, and what gets it of that.

    None if it was sent otherwise. A module that is loaded again has another function.
    """
    if blob[:1] != b"n":
        return None
    module, _, path = blob[1:].decode().partition(":")
    return module, operator.attrgetter(path)


def load_by_name(name: str) -> Callable[..., Any]:
    """Import ``package.module:function``."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    try:
        for part in path.split("."):
            found = getattr(found, part)
    except AttributeError as problem:
        if file := getattr(sys.modules[module], "__file__", None):
            raise AttributeError(
                f"{problem}; {file} was imported once: if it has changed since, "
                "restart the worker"
            ) from None
        raise
    if not callable(found):
        raise TypeError(f"{name} is not callable")
    return found  # type: ignore[no-any-return]


def pack_call(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    nodes: Mapping[Any, str] | None = None,
) -> Written:
    """Pickle the arguments of one call.

    ``nodes`` has the task ids of a graph's nodes, which Refs may name.
    """
    try:
        if kwargs:
            return _pack(b"k", (tuple(args), dict(kwargs)), nodes)
        return _pack(b"a", tuple(args), nodes) if args else b"0"
    except SerializationError:
        _blame({**dict(enumerate(args)), **kwargs})
        raise


def pack_chunk(sequences: tuple[Sequence[Any], ...]) -> Written:
    """Pickle one chunk of each sequence of a map."""
    try:
        return _pack(b"m", sequences)
    except SerializationError:
        _blame(dict(enumerate(sequences)))
        raise


def _blame(args: Mapping[Any, Any]) -> None:
    """Raise ``SerializationError`` for the first argument that cannot be pickled."""
    for name, value in args.items():
        try:
            dumps(value)
        except SerializationError as problem:
            raise SerializationError(
                f"argument {name}: {problem}"
            ) from problem.__cause__


def _pack(
    kind: bytes, value: tuple[Any, ...], nodes: Mapping[Any, str] | None = None
) -> Written:
    if _is_large(value) and (pieces := _pieces(value)):
        return _together([kind, *pieces])
    # In a graph, most that refer to others have them as arguments.
    if nodes is None or dependency.Ref not in map(type, value):
        data = dumps(value)
        if _GLOBAL not in data or _REFERS not in data:
            return kind + data
    try:
        data, refs = dependency.collecting(dumps, value, nodes)
    except ValueError as problem:
        if nodes is None:
            raise SerializationError(str(problem)) from None
        raise
    if not refs:
        return kind + data
    ids = " ".join(refs).encode("ascii")
    return b"".join((b"R", len(ids).to_bytes(4, "big"), ids, kind, data))


def refers(body: Written) -> bool:
    """Do packed arguments refer to results of tasks?"""
    return isinstance(body, bytes) and body[:1] == b"R"


def unpack_refs(body: Read) -> tuple[list[str], Read]:
    """Return the ids that packed arguments refer to, and the arguments themselves."""
    if isinstance(body, Rope) or body[:1] != b"R":
        return [], body
    ends = 5 + int.from_bytes(body[1:5], "big")
    return bytes(body[5:ends]).decode().split(), body[ends:]


def call(
    function: Callable[..., Any],
    body: Read,
    resolver: Callable[[str], Any] | None = None,
) -> Any:
    """Call the function with packed arguments; for a map chunk, return a list.

    ``resolver`` returns the result that a Ref stands for, given its id.
    """
    kind = body[:1]
    if kind == b"0":
        return function()
    if kind == b"O":
        overlay, body = Overlay.unpack(body)
        args, kwargs = unpack_call(body, overlay.resolver(resolver))
        if kwargs is None:
            return _mapped(function, args)
        args, kwargs = overlay.apply(function, args, kwargs)
        return function(*args, **kwargs)
    if resolver is None:
        values = pickle.loads(body[1:])
    else:
        with dependency.resolving(resolver):
            values = pickle.loads(body[1:])
    if kind == b"m":
        return _mapped(function, values)
    if kind == b"a":
        return function(*values)
    return function(*values[0], **values[1])


def _mapped(function: Callable[..., Any], sequences: Sequence[Any]) -> list[Any]:
    """Call the function for each item.

    Unlike that of ``list(map())``, the result is not cut short by a ``StopIteration``
    that the function raises: it is the task's error, like any other.
    """
    if len(sequences) == 1:
        return [function(item) for item in sequences[0]]
    return [function(*items) for items in zip(*sequences, strict=False)]


def is_chunk(body: Read) -> bool:
    """Are these the packed arguments of a map chunk?"""
    _, below = Overlay.unpack(body)
    return below[:1] == b"m"


def unpack_call(
    body: bytes, resolver: Callable[[str], Any] | None = None
) -> tuple[Sequence[Any], dict[str, Any] | None]:
    """Return positional and keyword arguments; of a map chunk, its sequences and None.

    Without any edits; Refs remain ids if there is no resolver.
    """
    kind = body[:1]
    if kind == b"0":
        return (), {}
    with dependency.resolving(resolver or dependency.Ref):
        values = pickle.loads(body[1:])
    if kind == b"k":
        return values[0], values[1]
    return values, None if kind == b"m" else {}


def lay_over(body: bytes, refs: Mapping[str, str], values: Mapping[str, Any]) -> bytes:
    """Add edits to packed arguments, without unpickling them.

    :param refs: replacements of tasks referred to, by id.
    :param values: new values, by the name or the position of the parameter.

    Raises ``ValueError`` for values in a map chunk, and ``TypeError`` for values that
    JSON does not have.
    """
    ids, rest = unpack_refs(body)
    overlay, rest = Overlay.unpack(rest)
    if values and rest[:1] == b"m":
        raise ValueError("it is a chunk of a map, whose arguments have no names")
    body = overlay.then(refs, values).pack(rest)
    if not ids:
        return body
    new = " ".join(dict.fromkeys(refs.get(one, one) for one in ids)).encode("ascii")
    return b"".join((b"R", len(new).to_bytes(4, "big"), new, body))


def pack_result(value: object) -> Written:
    """Pickle a result."""
    if value is None:
        return b"N"
    try:
        if _is_large(value) and (pieces := _pieces(value)):
            return _together([b"p", *pieces])
        return b"p" + dumps(value)
    except SerializationError as problem:
        raise SerializationError(f"the result: {problem}") from problem.__cause__


def unpack_result(body: Read) -> Any:
    """Unpickle a result."""
    return None if body == b"N" else classes.loads(body[1:])


def _pickled_cause(error: BaseException) -> bytes:
    """Pickle an exception if it survives a round trip; else return nothing."""
    try:
        data = dumps(error)
        if len(data) > _MOST_CAUSE or not isinstance(classes.loads(data), type(error)):
            return b""
    except Exception as problem:  # noqa: BLE001 - both run the user's code
        let_through(problem)
        return b""
    return data


def safe_text(value: object) -> str:
    """Return ``str(value)``, even if the user's ``__str__`` raises."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - it is the user's code
        let_through(error)
        return f"<unprintable {type(value).__name__}: {type(error).__name__}>"


def _ends(text: str, most: int) -> str:
    """Return the beginning and the end of a text that is too long.

    What a traceback ends with may itself be too long, and hide where that was raised.
    """
    if (more := len(text) - most) <= 0:
        return text
    half = most // 2
    return f"{text[:half]}\n... {more:,} characters ...\n{text[-half:]}"


def pack_error(
    error: BaseException,
    traceback: str,
    engine_info: Mapping[str, Any],
    verdict: str = "",
) -> bytes:
    """Pack an exception: its text always, itself if it can be pickled.

    With a ``verdict``, the verdict is raised in the end; ``error``, which is one, gives
    the reason.
    """
    if verdict and isinstance(error, RemoteError):
        text, cause = error.evalue, b""
    else:
        text, cause = safe_text(error), _pickled_cause(error)
    about = {
        "ename": type(error).__name__,
        "evalue": text[:_MOST_TRACEBACK],
        "traceback": _ends(traceback, _MOST_TRACEBACK),
        "engine_info": dict(engine_info),
    }
    if verdict:
        about["verdict"] = verdict
    data = json.dumps(about, ensure_ascii=False).encode("utf-8", "replace")
    return len(data).to_bytes(4, "big") + data + cause


def about_error(body: bytes) -> dict[str, Any]:
    """Return the description of an exception, without unpickling anything.

    ``ename evalue traceback engine_info``, and ``verdict`` if the hub ended the task.
    Anybody may have written what is not verified: raises ``ValueError`` for what is no
    description.
    """
    try:
        found = json.loads(body[4 : 4 + int.from_bytes(body[:4], "big")])
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - as of what is no JSON
    return found


def shown_error(body: bytes) -> tuple[str, str]:
    """Return the traceback of an unverified error, and name and text; "" without."""
    try:
        about = about_error(body)
        traceback = str(about["traceback"] or "")
        return traceback, f"{about['ename']}: {about['evalue']}"
    except (ValueError, KeyError, RecursionError):
        return "", ""


def unpack_error(envelope: Read, *, own: bool = False) -> RemoteError:
    """Return the exception to raise; its cause is the original if it can be rebuilt.

    ``own``: what was called may have been typed here.
    """
    body = bytes(envelope)
    size = 4 + int.from_bytes(body[:4], "big")
    about = about_error(body)
    if own:
        about["traceback"] = quoted(about["traceback"])
    verdict = VERDICTS.get(about.get("verdict", ""))
    if verdict:
        return verdict(about["evalue"], about["traceback"], about["engine_info"])
    error = RemoteError(
        about["ename"], about["evalue"], about["traceback"], about["engine_info"]
    )
    if len(body) > size:
        try:
            cause = classes.loads(body[size:])
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as problem:  # noqa: BLE001 - e.g. an unknown class
            let_through(problem)
            cause = None
        if isinstance(cause, BaseException):
            error.__cause__ = cause
    return error


def short_repr(value: object, most: int = 60) -> str:
    """Return a repr of at most ``most`` characters, cheap and never raising."""
    kind = type(value)
    if kind in _SHORT:
        text = _repr(value)
    elif isinstance(value, _CONTAINERS):
        if len(value) <= _FEW and kind in _CONTAINERS and _all_short(value):
            text = _repr(value)
        else:
            text = f"<{kind.__name__} of {len(value)}>"
    elif isinstance(value, (str, bytes)):
        text = _repr(value[: most + 1])
    else:
        text = _repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."


#: Types of which every value is small.
_SHORT: Final = frozenset({int, float, bool, type(None), complex})
_CONTAINERS: Final = (list, tuple, set, dict, frozenset)
_FEW: Final = 4


def _all_short(values: Any) -> bool:
    inside = [*values, *values.values()] if isinstance(values, dict) else values
    return _SHORT.issuperset(map(type, inside))


def _repr(value: object) -> str:
    try:
        text = builtins.repr(value)
        # It may be a subclass of the user's.
        return text if type(text) is str else str.__str__(text)
    except Exception as error:  # noqa: BLE001 - it is the user's code
        let_through(error)
        return f"<{type(value).__name__}, no repr: {type(error).__name__}>"
