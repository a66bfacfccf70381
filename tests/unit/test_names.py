"""Names drawn at random."""

from redtask.names import random_name

MANY = 2000


def test_a_name_is_neither_a_number_nor_an_option():
    # About half of all names would fail this if anything might come first.
    names = {random_name() for _ in range(MANY)}
    assert len(names) == MANY
    for name in names:
        assert name.isascii()
        assert name.isalnum()
        assert name.islower()
        assert name[0].isalpha()
        assert len(name) == 12
