"""Figures: described in words, compared as text, readable on white and on black paper."""

import re
from pathlib import Path

import claims
import pytest

from kltools import plots

ROOT = Path(__file__).resolve().parents[2]
PATHS = claims.notebooks(ROOT)


def figures(path: Path) -> list[dict]:
    cells = [c for c in claims.load(path) if c["cell_type"] == "code"]
    data = [o["data"] for c in cells for o in c["outputs"] if "data" in o]
    return [d for d in data if 'class="kl-figure"' in "".join(d.get("text/html", []))]


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_each_figure_has_its_words_and_its_digest(path):
    found = figures(path)
    assert found, "a chapter has at least one figure"
    for data in found:
        html, text = "".join(data["text/html"]), "".join(data["text/plain"])
        alt = re.search(r'<(?:svg|div) class="kl-figure" role="img" aria-label="([^"]+)"', html)
        assert alt, "a figure that did not come from plots.show"
        assert len(alt[1].split()) >= 6
        assert "axes 1:" in text, "no digest to compare"
        assert "<svg" not in html or len(html) < plots.HEAVY + 12_000, "an old output: run it again"
        assert len(html) < 500_000, f"{len(html)} bytes: {alt[1]}"


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_no_other_way_to_show_a_figure(path):
    for cell in claims.load(path):
        if cell["cell_type"] == "code":
            assert not re.search(r"plt\.show\(|\.savefig\(|Image\(", cell["source"])
            for o in cell["outputs"]:
                assert "image/png" not in o.get("data", {}), "a picture that nothing compares"
        else:
            assert not re.search(r"!\[\]\(", cell["source"]), "a picture without alt text"


def luminance(color: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#121212"])
def test_colors_have_contrast_on_both_papers(paper):
    for color in [*plots.COLORS, plots.GREY]:
        a, b = sorted((luminance(color), luminance(paper)))
        assert (b + 0.05) / (a + 0.05) >= 3, f"{color} on {paper}"
