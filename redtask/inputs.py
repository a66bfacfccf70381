"""Inputs of a map, cut into chunks: each chunk is one task. No I/O here."""

from __future__ import annotations

import itertools
import numbers
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any, Final

_NOTHING: Final = object()


def chunk_of(chunksize: int | None) -> int:
    """Return how many items share a task; None or 0 means one.

    Raises ``TypeError`` and ``ValueError`` for an invalid number.
    """
    if chunksize is None:
        return 1
    if not isinstance(chunksize, numbers.Integral):
        kind = type(chunksize).__name__
        raise TypeError(f"chunksize must be a whole number, not {kind}")
    if chunksize < 0:
        raise ValueError(f"chunksize must not be negative: {chunksize}")
    return int(chunksize) or 1


def chunk_sizes(length: int, chunksize: int) -> list[int]:
    """Cut ``length`` items into balanced chunks of at most ``chunksize``.

    Ten items in chunks of four are 4, 3, 3, as in IPython.parallel.
    """
    if chunksize <= 1:
        return [1] * length
    count = -(-length // chunksize)
    return shares(length, count)


def shares(length: int, count: int) -> list[int]:
    """Share ``length`` items out among ``count``: the first ones get one more."""
    size, larger = divmod(length, count) if count else (0, 0)
    return [size + 1] * larger + [size] * (count - larger)


def cut(sequences: Sequence[Any], sizes: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Cut parallel sequences into chunks: yield one tuple of pieces per chunk."""
    if all(size == 1 for size in sizes):
        yield from zip(*(((item,) for item in one) for one in sequences), strict=False)
        return
    yield from slices(sequences, sizes)


def slices(sequences: Sequence[Any], sizes: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    """Likewise; each piece is of the type that slices of its sequence are."""
    at = 0
    for size in sizes:
        yield tuple(sequence[at : at + size] for sequence in sequences)
        at += size


def is_stream(inputs: Sequence[Any]) -> bool:
    """Has one of them no length? Then they are read as they are sent."""
    return any(
        isinstance(one, Iterable) and not isinstance(one, Sized) for one in inputs
    )


def chunks_of(inputs: Sequence[Any], chunksize: int) -> Iterator[tuple[Any, ...]]:
    """Yield chunks of inputs of unknown length, read lazily.

    The last one may be shorter. They stop at the end of the shortest input.
    """
    rows = zip(*inputs, strict=False)
    while chunk := tuple(itertools.islice(rows, max(1, chunksize))):
        yield tuple(zip(*chunk, strict=True))


def as_sequences(
    inputs: Sequence[Any], *, whole: bool = False
) -> tuple[list[Any], int]:
    """Return inputs as sequences, and the length of the shortest.

    ``whole``: nobody will iterate over them, but call a function with their slices.
    Raises ``TypeError`` if there is none, or one cannot be iterated.
    """
    if not inputs:
        raise TypeError("map needs at least one sequence")
    sequences = [one if _can_be_cut(one, whole) else list(one) for one in inputs]
    return sequences, min(len(one) for one in sequences)


def _can_be_cut(one: Any, whole: bool) -> bool:
    """Has it a length, and do its slices have the items that iteration yields?

    Not so in pandas: a DataFrame is iterated by columns and cut by rows, which are what
    is wanted of slices that stay ``whole``; and older ones cut a Series by its labels
    if these are floats.
    """
    if isinstance(one, Mapping):
        return False
    try:
        few = min(len(one), 1)
        ends = (one[:0], 0), (one[:1], few), (one[-1:], few)
        return all(
            len(part) == size and (whole or len(list(part)) == size)
            for part, size in ends
        )
    except Exception:  # noqa: BLE001 - a container may raise anything
        return False


def check_dist(dist: str) -> None:
    """Raise ``ValueError`` for an unknown way to part a sequence."""
    if dist not in {"b", "r"}:
        raise ValueError(f"dist must be 'b' (blocks) or 'r' (stripes), not {dist!r}")


#: What is joined to a list.
_LISTS: Final = (list, tuple, range)


def is_piece(value: object) -> bool:
    """May a value be joined with others?"""
    return isinstance(value, _LISTS) or _is_array(value)


def _is_array(value: Any) -> bool:
    # Who has an array has imported it.
    numpy: Any = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and value.shape != ()


def rejoined(pieces: Sequence[Any], *, stripes: bool) -> Any:
    """Return the lists, or the arrays of NumPy, that calls with slices gave, as one.

    What is neither stays a list of pieces. ``stripes``: each call got every n-th item.
    """
    if all(isinstance(piece, _LISTS) for piece in pieces):
        return _dealt(pieces) if stripes else list(itertools.chain(*pieces))
    if not all(map(_is_array, pieces)):
        return list(pieces)
    if len({piece.shape[1:] for piece in pieces}) > 1:
        return list(pieces)
    whole = sys.modules["numpy"].concatenate(pieces)
    if not stripes:
        return whole
    ends = itertools.accumulate(map(len, pieces))
    spans = zip(pieces, ends, strict=True)
    return whole[_dealt([range(end - len(piece), end) for piece, end in spans])]


def _dealt(stripes: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the first item of each, then the second of each, and so on."""
    rows = itertools.zip_longest(*stripes, fillvalue=_NOTHING)
    return [item for row in rows for item in row if item is not _NOTHING]
