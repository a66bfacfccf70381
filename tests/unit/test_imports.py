"""What a block of code imports is noted, and nothing else."""

# What is imported is not used, nor at the top.
# ruff: noqa: F401, PLC0415

from __future__ import annotations

import builtins
import sys

import pytest

from redtask.imports import Imports


class Noting:
    """Notes the imports of a block."""

    def __init__(self, *, local=True):
        self._imports = Imports(local=local, quiet=True)
        self.found = []

    def __enter__(self):
        self._imports.begin(sys._getframe(1))
        return self

    def __exit__(self, *_):
        self.found = self._imports.end()


def test_each_import_is_noted_by_the_name_that_it_gets():
    with Noting() as noting:
        import json
        import os.path
        import xml.dom as markup
        from string import Formatter as Form
        from string import digits

    assert noting.found == [
        ("json", "json", ""),
        ("", "os.path", ""),
        ("os", "os", ""),
        ("markup", "xml.dom", ""),
        ("Form", "string", "Formatter"),
        ("digits", "string", "digits"),
    ]


def test_what_is_not_imported_here_gets_its_names_as_well():
    with Noting(local=False) as noting:
        import nowhere  # type: ignore[import-not-found]
        import nowhere.deep  # type: ignore[import-not-found]
        import nowhere.deep.down as below  # type: ignore[import-not-found]
        from nowhere import this as that

    assert noting.found == [
        ("nowhere", "nowhere", ""),
        ("", "nowhere.deep", ""),
        ("below", "nowhere.deep.down", ""),
        ("that", "nowhere", "this"),
    ]
    assert "nowhere" not in sys.modules
    assert not hasattr(nowhere, "__path__")


def test_all_of_a_module_is_noted_as_such():
    noting = Noting(local=False)
    code = "with noting:\n    from nowhere import *\n"

    exec(code, {"noting": noting})  # noqa: S102 - functions may not import *

    assert noting.found == [("*", "nowhere", "*")]


def test_a_relative_import_is_noted_with_its_package():
    noting = Noting()
    code = "with noting:\n    from . import parser\n    from .parser import Parser\n"

    exec(code, {"noting": noting, "__package__": "email", "__name__": "email.x"})  # noqa: S102

    assert noting.found == [
        ("parser", "email", "parser"),
        ("Parser", "email.parser", "Parser"),
    ]


def test_what_the_block_calls_may_import_what_it_likes():
    def elsewhere():
        import wave

    with Noting() as noting:
        elsewhere()

    assert noting.found == []


def test_an_error_in_the_block_changes_nothing_for_good():
    before = builtins.__import__

    with pytest.raises(ModuleNotFoundError), Noting():
        import not_there  # type: ignore[import-not-found]

    assert builtins.__import__ is before
