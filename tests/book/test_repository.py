"""One statement of each fact: versions, addresses, order, citations."""

import ast
import re
import tomllib
from pathlib import Path

import claims
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tests import tree

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
URL = PROJECT["urls"]["Repository"]
PINS = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(encoding="utf8"), re.M)
)
RANGES = [
    Requirement(r) for r in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["notebooks"]
]
# What Colab had installed in August 2026: nothing of it may be replaced by installing kltools.
COLAB = {
    "torch": "2.11.0",
    "transformers": "5.15.0",
    "datasets": "4.0.0",
    "numpy": "2.1.3",
    "pandas": "2.2.3",
    "matplotlib": "3.10.0",
}


def test_pins_lie_inside_the_ranges():
    for r in RANGES:
        assert r.name in PINS, f"{r.name} is in pyproject.toml but not pinned"
        assert Version(PINS[r.name]) in r.specifier, f"{r} against the pin {PINS[r.name]}"


def test_every_requirement_is_an_exact_pin():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf8").splitlines()
    for line in lines:
        assert not line or line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line


def test_installed_versions_are_the_pins():
    from importlib.metadata import version

    wrong = {n: version(n) for n, pin in PINS.items() if version(n).split("+")[0] != pin}
    assert not wrong, f"installed but not what is pinned: {wrong}"


def test_colab_keeps_every_version_it_has():
    ranges = {r.name: r.specifier for r in RANGES}
    for name, version in COLAB.items():
        assert Version(version) in ranges[name], f"{name} {version} would be replaced on Colab"
    assert "torch" in {Requirement(r).name for r in PROJECT["dependencies"]}


def test_the_address_is_stated_once():
    owner, name = URL.removeprefix("https://github.com/").split("/")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    assert config["repository"]["url"] == URL
    assert config["html"]["baseurl"] == f"https://{owner}.github.io/{name}/"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["repository-code"] == URL
    for path in tree.files():
        if path.suffix not in {".md", ".py", ".yml", ".toml", ".ipynb", ".cff", ""}:
            continue
        text = path.read_text(encoding="utf8", errors="ignore")
        for found in re.findall(
            r"https://(?:colab\.research\.google\.com/)?github(?:\.com)?/([\w.-]+/[\w.-]+)", text
        ):
            if owner in found:
                assert found.rstrip(".").startswith(f"{owner}/{name}"), f"{path}: {found}"


def test_citation_version_is_the_package_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["version"] == PROJECT["version"]


def test_nothing_else_at_the_top():
    top = {p.relative_to(ROOT).parts[0] for p in tree.files()}
    allowed = {
        "README.md", "_config.yml", "_toc.yml", "requirements.txt", "pyproject.toml", "Makefile",
        "chapters", "kltools", "tests", "conftest.py", "CITATION.cff",
    }  # fmt: skip
    extra = {t for t in top if not t.startswith((".", "LICENSE"))} - allowed
    assert not extra


def lines_of_code(path: Path) -> int:
    """Lines that are neither blank, nor comment, nor docstring."""
    source = path.read_text(encoding="utf8")
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(
            node
        ):
            documentation |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(bool(t.strip()) and t.strip()[0] != "#" and n not in documentation for n, t in lines)


def test_kltools_can_be_read_in_an_evening():
    """What the chapters call; and apart from it the programs that make the recorded runs."""
    sizes = {p.name: lines_of_code(p) for p in (ROOT / "kltools").glob("*.py")}
    assert max(sizes.values()) < 300, sizes
    programs = ("record.py", "machine.py", "bench.py", "steps.py", "pretrain.py", "efficient.py")
    assert sum(sizes.pop(name) for name in programs) < 1100, sizes
    assert sum(sizes.values()) < 1800, sizes


def test_references_are_cited_and_can_be_found():
    bib = (ROOT / "chapters/back/references.bib").read_text(encoding="utf8")
    entries = {m[1]: m[0] for m in re.finditer(r"^@\w+\{([\w-]+),.*$", bib, re.M)}
    for key, entry in entries.items():
        assert re.search(r"doi=\{10\.|eprint=\{", entry), f"{key} has no DOI and no arXiv number"
    text = "".join(p.read_text(encoding="utf8") for p in claims.notebooks(ROOT))
    cited = {
        k.strip() for group in re.findall(r"\{cite\w*\}`([^`]+)`", text) for k in group.split(",")
    }
    assert cited <= set(entries), f"cited but not listed: {sorted(cited - set(entries))}"
    assert set(entries) <= cited, f"listed but never cited: {sorted(set(entries) - cited)}"


def test_every_file_of_the_order_exists():
    names = re.findall(r"(?:file|root):\s*(\S+)", (ROOT / "_toc.yml").read_text(encoding="utf8"))
    missing = [n for n in names if not any((ROOT / f"{n}{s}").exists() for s in (".md", ".ipynb"))]
    assert not missing


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "lorem" + " ipsum"])
def test_nothing_is_left_for_later(word):
    for path in tree.files():
        if path.suffix in {".py", ".md", ".ipynb", ".yml"}:
            assert word not in path.read_text(encoding="utf8", errors="ignore"), path


def test_a_fork_gets_its_own_addresses(monkeypatch):
    import types

    import book

    config = types.SimpleNamespace(html_theme_options={}, html_baseurl="x")
    monkeypatch.setenv("GITHUB_REPOSITORY", "Somebody/their-copy")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REF_NAME", "main")
    book.follow_fork(None, config)
    assert config.html_theme_options["repository_url"] == "https://github.com/Somebody/their-copy"
    assert config.html_baseurl == "https://somebody.github.io/their-copy/"
    assert config.notfound_urls_prefix == "/their-copy/"
