"""What nbval cannot see: cells without stored output, exemptions, traces of one machine."""

import json
import re
from pathlib import Path

import claims
import nbformat
import notebook as author
import pytest

from kltools import plots

ROOT = Path(__file__).resolve().parents[2]
PATHS = claims.notebooks(ROOT)
TAGS = {"setup", "hide-cell", "hide-input", "grader", "solution"}
TAGS |= {"slide", "slide-more", "slide-fragment", "slide-output"}  # for the decks of a lecture
PRINTS = re.compile(r"\bprint\(|\bcheck\.\w+\(|\bplots\.show\(|\bdisplay\(")


def code_cells(path: Path) -> list[dict]:
    return [c for c in claims.load(path) if c["cell_type"] == "code"]


def outputs_text(cell: dict) -> str:
    parts = []
    for o in cell["outputs"]:
        parts += ["".join(o.get("text", [])), "".join(o.get("data", {}).get("text/plain", []))]
    return "".join(parts)


@pytest.fixture(params=PATHS, ids=lambda p: p.stem)
def path(request) -> Path:
    return request.param


def test_every_notebook_is_in_the_table_of_contents():
    found = {p for p in (ROOT / "chapters").rglob("*.ipynb") if "assignments" not in p.parts}
    assert found == set(PATHS)


def test_ran_from_top_to_bottom(path):
    counts = [c["execution_count"] for c in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


def test_setup_cell_has_the_same_bytes_everywhere(path):
    first = code_cells(path)[0]
    assert first["source"] == author.setup_source()
    assert first["tags"] == author.SETUP_TAGS
    assert first["outputs"] == []


def test_no_errors_and_no_stderr(path):
    for cell in code_cells(path):
        for o in cell["outputs"]:
            assert o["output_type"] != "error", cell["source"]
            assert o.get("name") != "stderr", cell["source"]


def test_what_prints_has_its_output_stored(path):
    for cell in code_cells(path):
        body = re.sub(r"^ *def .*?(?=^\S|\Z)", "", cell["source"], flags=re.M | re.S)
        if PRINTS.search(body):
            assert outputs_text(cell).strip(), f"no stored output:\n{cell['source']}"


def test_only_known_tags_and_nothing_exempt_from_comparison(path):
    for cell in code_cells(path):
        unknown = {t for t in cell["tags"] if t not in TAGS and ":" not in t}
        assert not unknown, f"{unknown} in\n{cell['source']}"
        assert all(t.split(":")[0] in {"claim", "erratum"} for t in cell["tags"] if ":" in t)
        assert not re.match(r"\s*#\s*(NBVAL|PYTEST)", cell["source"])


def test_outputs_hold_no_trace_of_one_machine(path):
    trace = re.compile(
        r"/(?:home|root|tmp|work|usr|Users)/|0x[0-9a-f]{6,}|\d+(?:\.\d+)? ?(?:ms|it/s)\b"
    )
    for cell in code_cells(path):
        found = trace.search(outputs_text(cell))
        assert not found, f"{found[0]!r} in the output of\n{cell['source']}"


def test_normalized_so_that_diffs_are_small(path):
    stored = json.loads(path.read_text(encoding="utf8"))
    assert set(stored["metadata"]) == {"kernelspec", "language_info"}
    for cell in stored["cells"]:
        assert set(cell["metadata"]) <= {"tags"}
    ids = [c["id"] for c in stored["cells"]]
    assert len(set(ids)) == len(ids)


def test_structure_of_a_chapter(path):
    cells = claims.load(path)
    text = "\n".join(c["source"] for c in cells if c["cell_type"] == "markdown")
    assert cells[0]["source"].startswith("# ")
    for part in ("**You will be able to**", "**Before you start:**", "**Time to run:**"):
        assert part in cells[0]["source"], f"the card lacks {part}"
    for heading in ("## Exercises", "## Summary", "## Further reading"):
        assert re.search(f"^{heading}", text, re.M), heading
    assert text.count(":::{exercise}") >= 3
    exercises = set(re.findall(r"\{exercise\}[^\n]*\n:label: (\S+)", text))
    solutions = set(re.findall(r"\{solution\} (\S+)", text))
    assert exercises == solutions, "an exercise without its solution, or the other way round"
    code = code_cells(path)
    assert any("grader" in c["tags"] for c in code), "no auto-gradable exercise"
    assert any("solution" in c["tags"] for c in code), "no solution that runs"


def test_code_cells_are_short(path):
    for cell in code_cells(path):
        if {"grader", "solution", "setup", "hide-cell"} & set(cell["tags"]):
            continue
        lines = [l for l in cell["source"].splitlines() if l.strip()]
        assert len(lines) <= 20, f"{len(lines)} lines:\n{cell['source']}"


def test_one_sentence_a_line(path):
    """Two sentences on a line make a change to one look like a change to both."""
    prose = re.compile(r"^[A-Z][^|`$]*[a-z]{3}\. [A-Z][a-z]+ [a-z]+")
    for cell in claims.load(path):
        if cell["cell_type"] == "markdown":
            for line in cell["source"].splitlines():
                assert not prose.match(line), f"two sentences on a line: {line}"


def test_the_record_of_the_last_run_is_of_this_code(path):
    """What the page says of time and memory comes from a run of these very cells."""
    run = json.loads((ROOT / "chapters/runs/notebooks" / f"{path.stem}.json").read_text())
    nb = nbformat.read(path, as_version=4)
    assert run["code"] == author.code_digest(nb), f"make notebook NB={path.relative_to(ROOT)}"
    assert run["notebook"] == path.relative_to(ROOT).as_posix()
    assert run["seconds"] > 0 and run["memory_mb"] > 100 and run["device"]["name"]
    said = re.search(r"\*\*Time to run:\*\* under (\d+) min", nb.cells[0].source)
    assert said and run["seconds"] < 60 * int(said[1]), "the card promises less"


def test_the_script_of_a_component_is_the_one_of_the_package(path):
    """A notebook opened on Colab shows its stored output before anything runs."""
    for html in claims.html_outputs(path):
        for name in re.findall(r'<script data-component="([\w-]+)">', html):
            assert plots.script(name) in html, f"{name}.js changed: run the notebook again"
