"""Each engine counts the words of its part of a text, and keeps them for questions.

It also runs with ``import ipyparallel as ipp``: everything here is of both.
"""

import redtask as ipp

TEXT = """
the work is load-balanced and your program need not know how many engines there are
but sometimes it wants to know and each engine is to keep what it has read
"""


def count() -> int:
    """Count the words of a part, which is called ``words`` on its engine."""
    global counts  # noqa: PLW0603 - that is where engines keep it
    from collections import Counter

    counts = Counter(words)  # noqa: F821 - it is scattered
    return len(counts)


def main() -> None:
    """Scatter, compute, ask, gather."""
    rc = ipp.Client()
    rc.wait_for_engines(1)
    everybody = rc[:]
    everybody.block = True

    everybody.scatter("words", TEXT.split())
    print("different words on each engine:", everybody.apply(count))

    # Whoever has the variable can be asked, also by an expression.
    print("'engine' occurs", sum(everybody["counts['engine']"]), "times")
    longest = everybody.apply(max, ipp.Reference("words"), key=len)
    print("the longest words:", ", ".join(sorted(longest)))

    everybody.execute("loud = [word.upper() for word in words]")
    assert everybody.gather("loud") == [word.upper() for word in TEXT.split()]

    # A view of each engine, one by one.
    for view in rc:
        print(
            "engine", view.targets, "has", view.apply_sync(len, ipp.Reference("words"))
        )

    # What they keep ends with them, or here.
    rc.clear(block=True)


if __name__ == "__main__":
    main()
