"""The house rules that no other tool sees: what lies where, and what ships."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import redtask

HOUSE = Path(__file__).parents[2]
TOP = {
    ".ci",
    ".gitignore",
    "ARCHITECTURE.rst",
    "CHANGELOG.rst",
    "CONTRIBUTING.rst",
    "LICENSE",
    "README.rst",
    "docs",
    "lua",
    "pyproject.toml",
    "redtask",
    "scripts",
    "tests",
}
COMMANDS = [
    path
    for path in [*HOUSE.glob("scripts/*"), *HOUSE.glob(".ci/*")]
    if path.is_file() and path.suffix != ".rst"
]


@pytest.fixture(scope="module")
def tracked():
    """Every file that git knows and that is there."""
    if not (HOUSE / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={HOUSE}", "ls-files", "-z"],
        cwd=HOUSE,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    paths = [HOUSE / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with a wheel and a source archive of this checkout."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=HOUSE,
        capture_output=True,
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def pyproject():
    return tomllib.loads((HOUSE / "pyproject.toml").read_text())


def relative(paths, folder=HOUSE):
    return {path.relative_to(folder).as_posix() for path in paths}


def test_only_the_agreed_names_stand_at_the_top(tracked):
    names = {path.relative_to(HOUSE).parts[0] for path in tracked}

    assert names <= TOP


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.name)
def test_a_command_can_be_run_and_says_what_it_does(path):
    first, second = path.read_text().splitlines()[:2]

    assert os.access(path, os.X_OK)
    assert first in {"#!/bin/sh", "#!/usr/bin/env python3"}
    assert re.fullmatch(rf'(# |""")({path.name}: .+\.)("""|)', second)


def test_the_readme_of_the_scripts_names_each_of_them():
    listed = re.findall(
        r"^``([\w-]+)``  ", (HOUSE / "scripts/README.rst").read_text(), re.MULTILINE
    )

    assert sorted(listed) == sorted(
        path.name for path in COMMANDS if path.parent.name == "scripts"
    )


def test_the_installed_version_is_the_one_of_the_source():
    try:
        installed = importlib.metadata.version("redtask")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("redtask is not installed here")

    assert installed == redtask.__version__


def test_the_changelog_begins_with_what_is_in_the_source():
    headings = re.findall(
        r"^(\S+)(?: .*)?\n-+$", (HOUSE / "CHANGELOG.rst").read_text(), re.MULTILINE
    )

    if "dev" in redtask.__version__:
        assert headings[0] == "Unreleased"
    else:
        assert headings[0] == redtask.__version__


def test_every_ignored_rule_has_its_reason():
    text = (HOUSE / "pyproject.toml").read_text()
    lint = text[text.index("[tool.ruff.lint]") : text.index("[tool.ruff.lint.isort]")]

    rules = re.findall(r'^    "[A-Z]+\d*",.*$', lint, re.MULTILINE)

    assert len(rules) > 1
    assert [rule for rule in rules if not re.search(r",\s+# \S.*\.$", rule)] == []


def test_every_module_has_a_storey(pyproject):
    (contract,) = (
        contract
        for contract in pyproject["tool"]["importlinter"]["contracts"]
        if contract["id"] == "layers"
    )
    known = set(re.findall(r"[\w.]+", " ".join(contract["layers"])))

    modules = {
        ".".join(path.relative_to(HOUSE).with_suffix("").parts)
        for folder in ("redtask", "redtask/aio")
        for path in (HOUSE / folder).glob("*")
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }

    doors = {"redtask.__init__", "redtask.aio", "redtask.aio.__init__"}
    assert modules - doors - known == set()


def test_lua_lives_in_its_own_files():
    spoken = re.compile(r"\bredis\.p?call\b|\bcjson\.")

    found = [
        path
        for path in HOUSE.glob("redtask/**/*.py")
        if spoken.search(path.read_text())
    ]

    assert relative(found) == set()


def test_nothing_is_left_for_later(tracked):
    words = ["TO" + "DO", "FIX" + "ME", "X" * 3]
    later = re.compile(rf"\b(?:{'|'.join(words)})\b")

    found = [path for path in tracked if later.search(path.read_text(errors="replace"))]

    assert relative(found) == set()


def test_no_path_of_one_machine_is_written_down(tracked):
    private = re.compile(r"(?<![\w.~])/(?:root|home/\w+|work)/")

    found = [
        path for path in tracked if private.search(path.read_text(errors="replace"))
    ]

    assert relative(found) == set()


def test_the_wheel_holds_the_package_with_its_lua_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = {
        name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name
    }

    package = relative(
        path
        for path in HOUSE.glob("redtask/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    )
    scripts = relative(HOUSE.glob("lua/**/*.lua"))

    assert scripts
    assert "redtask/py.typed" in names
    assert {name for name in names if not name.endswith("/.luacheckrc")} == (
        package | {f"redtask/{name}" for name in scripts}
    )


def test_the_package_finds_its_lua_where_the_wheel_puts_it(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    shutil.unpack_archive(wheel, tmp_path, "zip")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from redtask.hub import scripts\n"
        "print(scripts.folder())\n"
        "print(*scripts.commands())\n"
        "for command in scripts.commands(): scripts.bundle(command)"
    )

    told = subprocess.run(
        [sys.executable, "-I", "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    folder, commands = told.stdout.splitlines()

    assert Path(folder) == tmp_path / "redtask" / "lua"
    assert commands.split() == sorted(path.stem for path in HOUSE.glob("lua/*.lua"))


def test_the_source_archive_holds_all_that_git_knows(built, tracked):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}

    assert relative(tracked) - names == set()


#: Behaves as ``python -m venv --clear``; says yes to all else.
CLEARING = """#!/bin/sh
case "$*" in *"--clear .venv") ;; *) exit ;; esac
rm -rf .venv/*
mkdir -p .venv/bin
cp "$0" .venv/bin/python
"""


def test_bootstrap_clears_no_environment_behind_a_link(tmp_path):
    here, other, python = (tmp_path / name for name in ("here", "other", "python"))
    shutil.copytree(HOUSE / "scripts", here / "scripts")
    (here / "redtask").mkdir()
    for name in ("pyproject.toml", "redtask/__init__.py"):
        shutil.copy(HOUSE / name, here / name)
    (other / "bin").mkdir(parents=True)
    (here / ".venv").symlink_to(other)
    python.write_text(CLEARING)
    python.chmod(0o755)
    shutil.copy(python, other / "bin/python")

    subprocess.run([here / "scripts/bootstrap", python], check=True)

    assert [path.name for path in other.iterdir()] == ["bin"]
    assert (here / ".venv/redtask-test").exists()
