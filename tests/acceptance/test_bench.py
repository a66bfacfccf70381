"""The benchmarks run and tell everything; how fast anything is, is not asked here."""

import json
import platform
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from redtask.hub import scripts
from tests.benchmarks import server
from tests.benchmarks.age import PATHS
from tests.benchmarks.booth import Booth, BoothError
from tests.benchmarks.contestants.floors import SingleFloor
from tests.benchmarks.rows import ROWS, Plan
from tests.benchmarks.venvs import UnavailableError, Venv
from tests.processes import command_line

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


def test_the_benchmarks_measure_each_path_on_an_old_hub():
    told = bench("--only", "age", "--peers", "none", "--json")

    assert told.returncode == 0, told.stderr
    found = {row["figure"]: row["median"] for row in json.loads(told.stdout)["rows"]}
    for name in PATHS:
        assert found[f"{name}, us"] > 0
        assert 0 < found[name] <= found["worst"]


def test_the_benchmarks_show_where_the_time_of_one_path_goes():
    told = bench("--profile", "--only", "trip")

    assert told.returncode == 0, told.stderr
    shown = {line.split(":")[0] for line in told.stdout.splitlines() if ": " in line}
    assert "trip" in shown
    assert not shown & {"bulk", "single", "chain", "fan"}


def test_what_is_not_profiled_is_refused():
    told = bench("--profile", "--only", "crowd")

    assert told.returncode == 2
    assert "'crowd' is none of bulk, chain, fan, single, trip" in told.stderr


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
    # Two panels of two bars each, and the foot below them.
    assert 100 < int(picture.attrib["height"]) < 150


def test_an_unknown_row_is_refused():
    told = bench("--only", "bulk,speed")

    assert told.returncode == 2
    assert "'speed' is none of" in told.stderr


@pytest.fixture
def wheel(tmp_path):
    """Return a package that can be installed without a network."""
    path = tmp_path / "tiny-1.2-py3-none-any.whl"
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.2\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "size = 'tiny'\n")
        for name, text in about.items():
            archive.writestr(f"tiny-1.2.dist-info/{name}", text)
    return f"tiny @ {path.as_uri()}"


def test_a_peer_has_an_environment_of_its_own(tmp_path, wheel, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    venv = Venv("tiny", [wheel], tmp_path / "peers")

    venv.make(lambda: None)

    code = "import sys, tiny; print(sys.prefix, tiny.size)"
    told = subprocess.check_output([venv.python, "-c", code], text=True)
    assert told.split() == [str(tmp_path / "peers" / "tiny"), "tiny"]
    assert list(venv.versions()) == [("tiny", "1.2")]


def test_what_cannot_be_installed_is_told_with_the_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    venv = Venv("nobody", ["no-such-thing-at-all"], tmp_path)

    with pytest.raises(UnavailableError) as refused:
        venv.make(lambda: None)

    assert str(refused.value) == (
        "no-such-thing-at-all could not be installed: "
        "No matching distribution found for no-such-thing-at-all"
    )


def running_in(folder):
    """Return the processes that were told of a folder."""
    pids = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdecimal()]
    return [pid for pid in pids if str(folder) in command_line(pid)]


def test_nothing_of_a_contestant_is_left(tmp_path):
    booth = Booth(SingleFloor, tmp_path / "booth", 2)
    figures = booth.measure(ROWS["trip"], Plan.quick())
    during = running_in(tmp_path)

    booth.close()

    assert figures["p50"] > 0
    assert len(during) >= 3
    assert running_in(tmp_path) == []


def test_a_contestant_whose_process_ends_says_so(tmp_path):
    booth = Booth(SingleFloor, tmp_path / "booth", 2)
    try:
        with pytest.raises(
            BoothError, match=r"(?s)its process ended: .*KeyError: 'no row'"
        ):
            booth.measure(replace(ROWS["trip"], name="no row"), Plan.quick())
    finally:
        booth.close()


def test_a_server_tells_the_same_without_a_client_library(tmp_path):
    with server.running(tmp_path) as found:
        found.redis.set("a", 1)

        told = found.info("commandstats")["cmdstat_set"]

        theirs = found.redis.info("commandstats")["cmdstat_set"]
        assert told["calls"] == theirs["calls"] == 1
        assert told["usec"] == theirs["usec"]
