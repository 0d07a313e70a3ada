"""A notebook opened alone, as on Colab: what Colab has is installed, the book is not."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import claims
import nbformat
import notebook as author
import pytest

from tests import tree

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages")
OURS = ("kltools", "__editable__", "pip", "distutils-precedence")
# The shortest chapter in every run of the tests; KLTOOLS_ALONE=all takes the whole book.
PATHS = claims.notebooks(ROOT)
if os.environ.get("KLTOOLS_ALONE") != "all":
    PATHS = [p for p in PATHS if p.stem == "two-directions"]


def run(*command: object, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """The working tree as a git repository: what the address would serve."""
    folder = tmp_path_factory.mktemp("published")
    tree.copy_to(folder)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    run("git", "init", "-q", "-b", "main", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    run("git", *identity, "commit", "-q", "-m", "as it is", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def colab(tmp_path_factory) -> Path:
    """An environment with the third-party packages (linked, not copied) and without kltools."""
    folder = tmp_path_factory.mktemp("colab") / "env"
    venv.create(folder, with_pip=True, symlinks=True)
    for item in (folder / SITE).glob("setuptools*"):  # the one of ensurepip is too old
        shutil.rmtree(item)
    for item in (Path(sys.prefix) / SITE).iterdir():
        if not item.name.lower().startswith(OURS) and not (folder / SITE / item.name).exists():
            (folder / SITE / item.name).symlink_to(item)
    return folder


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_installs_kltools_from_the_address_and_runs(path, published, colab, tmp_path):
    python = colab / "bin" / "python"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "PYTHONPATH"))}
    env |= {
        "PATH": f"{colab / 'bin'}{os.pathsep}{env['PATH']}",
        "PIP_NO_INDEX": "1",  # pip may fetch nothing: whatever is there has to satisfy kltools
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: build with the setuptools that is there
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{published}.insteadOf",
        "GIT_CONFIG_VALUE_0": author.repository_url(),
    }
    run(python, "-m", "pip", "uninstall", "-q", "-y", "kltools", cwd=tmp_path, env=env)
    alone = tmp_path / path.name
    shutil.copy(path, alone)
    # nbclient runs the notebook in a kernel of this environment, as a user's Jupyter would
    program = (
        "import nbformat, nbclient, sys; nb = nbformat.read(sys.argv[1], 4);"
        "nbclient.NotebookClient(nb, timeout=300).execute(); nbformat.write(nb, sys.argv[1])"
    )
    run(python, "-c", program, alone, cwd=tmp_path, env=env)

    listed = run(python, "-m", "pip", "freeze", cwd=tmp_path, env=env)
    assert f"kltools @ git+{author.repository_url()}" in listed
    assert not (colab / SITE / "torch").resolve().is_relative_to(colab), "torch was replaced"
    want, got = (
        [c for c in nbformat.read(p, 4).cells if c.cell_type == "code"] for p in (path, alone)
    )
    for a, b in zip(want[1:], got[1:], strict=True):
        assert _text(a) == _text(b), a.source


def _text(cell) -> str:
    return "".join(
        o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in cell.outputs
    )
