"""The tree of words that ``redtask graph`` prints."""

from __future__ import annotations

from redtask.cli.graph import _Tree
from redtask.family import Family


def tree(parents):
    """Return the lines of a tree of tasks that wait; each is named by a number."""
    record = {"state": "waiting", "label": None, "reason": None}
    records = {
        f"c-{one}": {**record, "msg_id": f"c-{one}", "function": f"f{one}"}
        for one in parents
    }
    named = {
        f"c-{one}": tuple(f"c-{other}" for other in others)
        for one, others in parents.items()
    }
    found = Family((), records, named)
    return list(_Tree(found, full=False, colours=False).lines())


def test_a_very_long_chain_fits_a_screen():
    lines = tree({at: [at - 1] if at else [] for at in range(3000)})

    assert len(lines) == 3000
    assert max(map(len, lines)) < 70
    assert lines[:2] == ["f0  c-0  waiting", "└─ f1  c-1  waiting"]
    assert lines[10] == " " * 27 + "└─ f10  c-10  waiting"
    assert lines[11] == " " * 27 + "11 └─ f11  c-11  waiting"
    assert lines[2999] == " " * 27 + "2999 └─ f2999  c-2999  waiting"


def test_a_bush_shows_who_is_below_whom():
    lines = tree({0: [], 1: [0], 2: [1], 3: [1], 4: [3], 5: [0], 6: [5], 7: []})

    assert [line.partition("  c-")[0] for line in lines] == [
        "f0",
        "├─ f1",
        "│  ├─ f2",
        "│  └─ f3",
        "│     └─ f4",
        "└─ f5",
        "   └─ f6",
        "f7",
    ]


def test_in_a_deep_bush_the_number_of_its_level_says_who_is_below_whom():
    spine = {at: [at - 1] if at else [] for at in range(13)}
    leaves = {100 + at: [at] for at in range(8, 13)}

    lines = tree(spine | leaves)

    begun = [line.partition("  c-")[0] for line in lines]
    assert begun[:9] == ["f0", *("   " * at + f"└─ f{at + 1}" for at in range(8))]
    assert begun[9:] == [
        " " * 24 + "├─ f9",
        " " * 24 + "│  ├─ f10",
        " " * 24 + "│  11 ├─ f11",
        " " * 24 + "│  12 ├─ f12",
        " " * 24 + "│  13 └─ f112",
        " " * 24 + "│  12 └─ f111",
        " " * 24 + "│  11 └─ f110",
        " " * 24 + "│  └─ f109",
        " " * 24 + "└─ f108",
    ]
