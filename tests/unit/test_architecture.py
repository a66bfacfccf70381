"""ARCHITECTURE.rst says what is so."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "ARCHITECTURE.rst").read_text(encoding="utf-8")


def test_the_picture_of_the_states_is_the_one_that_the_table_draws():
    drawn = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "draw-states")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert textwrap.indent(drawn.strip(), "    ") in TEXT


def test_every_key_that_the_scripts_name_is_in_the_table_of_keys():
    source = (ROOT / "lua" / "lib" / "keys.lua").read_text(encoding="utf-8")
    named = set(re.findall(r'root \.\. ":([a-z:]+?):?"', source))

    missing = {name for name in named if f"``R:{name}" not in TEXT}

    assert not missing


def test_every_part_of_a_task_or_engine_that_scripts_name_is_in_the_table_of_keys():
    parts = set()
    for path in (ROOT / "lua").rglob("*.lua"):
        text = path.read_text(encoding="utf-8")
        parts |= set(re.findall(r'keys\.(?:task|engine)\(\w+, "(\w+)"\)', text))

    missing = {part for part in parts if f":{part}``" not in TEXT}

    assert parts
    assert not missing
