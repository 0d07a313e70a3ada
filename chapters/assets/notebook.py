"""Author's tool: `make notebook NB=chapters/part/slug.ipynb` writes, runs and normalizes one.

A Markdown draft beside the notebook (`slug.md`, MyST, never committed) replaces its cells first.
The round trip is `jupytext --to md:myst slug.ipynb`, edit, `make notebook NB=slug.ipynb`.
"""

import hashlib
import json
import os
import re
import resource
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
SETUP_TAGS = ["hide-cell", "setup"]


def repository_url() -> str:
    """The book's address, from pyproject.toml: the one place that states it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    return project["urls"]["Repository"]


def setup_source() -> str:
    """The set-up cell: the same bytes in every notebook."""
    return f"""\
# Set-up. On Colab this installs the book's small package; torch and the rest stay as they are.
import importlib.util

if importlib.util.find_spec("kltools") is None:
    %pip install -q "kltools @ git+{repository_url()}"

from kltools import check, plots

plots.use()"""


def normalize(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keep what a reader needs: cells, tags, outputs, and ids that follow from the content."""
    seen: dict[str, int] = {}
    for cell in nb.cells:
        digest = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        cell.metadata = {"tags": cell.metadata["tags"]} if cell.metadata.get("tags") else {}
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
    nb.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nb.nbformat, nb.nbformat_minor = 4, 5
    return nb


def merge_streams(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """One output for what was printed in several pieces: where it splits is a matter of timing."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def put_setup(nb: nbformat.NotebookNode) -> None:
    """Place (or refresh) the set-up cell as the first code cell."""
    code = [c for c in nb.cells if c.cell_type == "code"]
    if not code or "setup" not in code[0].metadata.get("tags", []):
        first = nb.cells.index(code[0]) if code else len(nb.cells)
        nb.cells.insert(first, nbformat.v4.new_code_cell())
        code = [nb.cells[first]]
    code[0].source = setup_source()
    code[0].metadata["tags"] = list(SETUP_TAGS)


def code_digest(nb: nbformat.NotebookNode) -> str:
    """Changes with the code of a notebook: a record of its run says which code ran."""
    sources = [c.source for c in nb.cells if c.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def run_record(nb: nbformat.NotebookNode, path: Path, seconds: float) -> dict:
    """What the page says of a run: its time, its machine, what it needs, and of which code."""
    from kltools import machine, tiers

    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the kernel's: it has ended
    code = " ".join(c.source for c in nb.cells if c.cell_type == "code")
    fetches = re.search(r"import .*\b(?:finetune|reviews|tiers)\b", code)
    files = [m.size for asset in tiers.ASSETS.values() for m in asset.members] if fetches else []
    return {
        "notebook": path.relative_to(ROOT).as_posix(),
        "code": code_digest(nb),
        "date": datetime.now(UTC).date().isoformat(),
        "seconds": round(seconds, 1),
        "memory_mb": peak // (1024 if sys.platform == "linux" else 1024**2),
        "download_mb": round(sum(files) / 1e6),
        "cores": os.cpu_count(),
        "device": machine.device() | {"threads": int(os.environ["OMP_NUM_THREADS"])},
        "versions": machine.versions(),
    }


def execute(path: Path) -> None:
    """Replace the cells by the draft's where there is one, run top to bottom, normalize, write."""
    draft = path.with_suffix(".md")
    if draft.exists():
        import jupytext

        nb = jupytext.read(draft, fmt="md:myst")
        nb.metadata.pop("jupytext", None)
    else:
        nb = nbformat.read(path, as_version=4)
    put_setup(nb)
    sys.path.insert(0, str(ROOT))
    from conftest import ENV

    os.environ.update({k: os.environ.get(k, v) for k, v in ENV.items()})
    from nbclient import NotebookClient

    start = time.perf_counter()
    try:
        NotebookClient(
            nb, timeout=600, resources={"metadata": {"path": str(path.parent)}}, record_timing=False
        ).execute()
    finally:
        nbformat.write(normalize(nb), path)
    record = run_record(nb, path, time.perf_counter() - start)
    target = ROOT / "chapters" / "runs" / "notebooks" / f"{path.stem}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        execute(Path(name).resolve())
        print(f"executed {name}")
