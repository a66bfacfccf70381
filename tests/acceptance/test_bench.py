"""The benchmarks run and tell everything; how fast anything is, is not asked here."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from redtask.hub import scripts

pytestmark = pytest.mark.acceptance

HOUSE = Path(__file__).parents[2]


def bench(*arguments):
    """Run the benchmarks in little."""
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", "--quick", *arguments],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_benchmarks_measure_redtask_beside_the_floors():
    told = bench("--only", "floors,bulk,trip", "--json")

    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    places = {
        (row["row"], row["contestant"], row["figure"]): row["median"]
        for row in found["rows"]
    }
    for place in (
        ("bulk", "redtask", "rate"),
        ("bulk", "redtask", "redis"),
        ("bulk", "redtask", "commands"),
        ("bulk", "floor-single", "rate"),
        ("bulk", "floor-batched", "rate"),
        ("trip", "redtask", "p50"),
        ("trip", "floor-single", "p50"),
    ):
        assert places[place] > 0
    assert "bulk map / batched floor" in {
        target["about"] for target in found["targets"]
    }


def test_the_benchmarks_measure_each_scheme():
    told = bench("--only", "schemes", "--peers", "none", "--json")

    assert told.returncode == 0, told.stderr
    found = {row["figure"] for row in json.loads(told.stdout)["rows"]}
    assert {f"{name} drain" for name in scripts.schemes()} <= found


def test_the_benchmarks_write_a_table_and_a_plot(tmp_path):
    readme = tmp_path / "README.rst"
    begin, end = ".. peers: made by scripts/bench --peers --write\n", ".. peers: end\n"
    readme.write_text(f"before\n\n{begin}of yesterday\n{end}\nafter\n")

    told = bench("--peers", "pool", "--only", "pool,bulk,trip", "--write", tmp_path)

    assert told.returncode == 0, told.stderr
    page = (tmp_path / "docs" / "peers.rst").read_text()
    text = readme.read_text()
    for shown in (page, text):
        assert "* - redtask" in shown
        assert "* - pool" in shown
        assert "round trip" in shown
        assert f"python {platform.python_version()}" in shown
    assert text.startswith(f"before\n\n{begin}\n.. image:: docs/peers.svg\n")
    assert text.endswith(f"{end}\nafter\n")
    assert "yesterday" not in text
    picture = ET.parse(tmp_path / "docs" / "peers.svg").getroot()
    names = {one.text for one in picture.iter() if one.tag.endswith("text")}
    assert {"redtask", "pool", "map", "round trip"} <= names


def test_an_unknown_row_is_refused():
    told = bench("--only", "bulk,speed")

    assert told.returncode == 2
    assert "'speed' is none of" in told.stderr
