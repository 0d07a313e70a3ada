"""The README's commands are run, so that they cannot rot."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import tree

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.S)
    for line in block.splitlines()
    if line.strip()
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The working tree beside the same environment, so that a command may write what it writes."""
    folder = tmp_path_factory.mktemp("readme") / "book"
    tree.copy_to(folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def shell(command: str, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PYTEST"))}
    done = subprocess.run(
        command, shell=True, cwd=cwd, env=env, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_readme_opens_with_the_two_commands():
    assert COMMANDS[:2] == ["make book", "make test"]


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, copy):
    before = {p: p.read_bytes() for p in (copy / "chapters").rglob("*.ipynb")}
    if command == "make test":  # this test is a part of it: see that make can plan all of it
        plan = shell("make -n test", copy)
        for part in ("ruff check", "mypy", "--nbval", "jupyter-book build", "pytest -n 2"):
            assert part in plan, part
        return
    if command == "make slides":  # made and looked at in tests/classroom
        assert "chapters.assets.slides" in shell("make -n slides", copy)
        return
    if command.startswith("make grade"):  # of what came back, here a notebook as it went out
        (copy / "folder").mkdir()
        shutil.copy(copy / "_build/assignments/part-1.ipynb", copy / "folder/anna.ipynb")
    out = shell(command, copy)
    if command == "make book":
        page = Path(out.strip().splitlines()[-1])
        assert page.name == "index.html" and page.exists()
    if command == "make assignments":
        assert Path(out.strip()).name == "assignments.zip" and Path(out.strip()).exists()
    if command.startswith("make grade"):
        assert "anna: part-1 0/20" in out and Path(out.split()[-1]).exists()
    if command.startswith("make notebook"):  # running again stores the same bytes
        assert before == {p: p.read_bytes() for p in (copy / "chapters").rglob("*.ipynb")}


def test_every_make_target_that_is_named_exists(copy):
    for target in set(re.findall(r"`make (\w+)[`\s]", README)):
        shell(f"make -n {target} NB=x RUN=x", copy)


def test_every_file_that_is_named_exists():
    for name in re.findall(r"`([\w./-]+\.(?:txt|toml|cff|py|md))`|\]\((\.[\w./-]+)\)", README):
        path = name[0] or name[1]
        assert (ROOT / path).exists(), path
