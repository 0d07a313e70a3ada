"""Every labelled statement has a code cell that checks it, and every such cell really checks."""

import re
from collections import Counter
from pathlib import Path

import claims
import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = claims.notebooks(ROOT)
CHECKS = re.compile(r"\bcheck\.(close|at_most|within|true|raises)\(|\bassert\b")


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_every_statement_is_checked(path):
    missing = set(claims.required(path)) - set(claims.tagged(path, "claim"))
    assert not missing, f"no cell is tagged claim:<label> for {sorted(missing)}"
    assert not claims.unlabelled(path), "a statement without a label cannot be claimed"


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_every_claim_cell_checks_something_that_exists(path):
    known = set(claims.labels(path))
    cells = [c for c in claims.load(path) if c["cell_type"] == "code"]
    for cell in cells:
        for tag in cell["tags"]:
            kind, _, label = tag.partition(":")
            if kind in ("claim", "erratum"):
                assert CHECKS.search(cell["source"]), f"{tag} checks nothing:\n{cell['source']}"
            if kind == "claim":
                assert label in known, f"{tag} names no statement of this chapter"


def test_labels_are_unique_in_the_book():
    counts = Counter(label for path in PATHS for label in claims.labels(path))
    assert [label for label, n in counts.items() if n > 1] == []


def test_the_reader_of_claims_sees_a_missing_check(tmp_path):
    """The test above must be able to fail: a statement without its cell, an empty check."""
    import nbformat
    import nbformat.v4 as v4

    statement = (
        ":::{prf:theorem} Two is small\n:label: thm-two\n\n$2 < 3$.\n:::\n\n$$1 = 1$$ (eq-one)"
    )
    nb = v4.new_notebook(cells=[v4.new_markdown_cell(statement), v4.new_code_cell("2 < 3")])
    path = tmp_path / "a.ipynb"
    nbformat.write(nb, path)
    assert set(claims.required(path)) == {"thm-two", "eq-one"}
    assert claims.tagged(path, "claim") == {}
    assert not CHECKS.search("2 < 3")
