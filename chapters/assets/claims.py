"""What the notebooks claim and where they check it: one reader for the page and for the tests."""

import json
import re
import statistics
from dataclasses import dataclass, field
from pathlib import Path

STATEMENTS = ("theorem", "lemma", "proposition", "corollary")
_DIRECTIVE = re.compile(
    r"^:{3,}\{prf:(?P<kind>\w+)\}\s*(?P<title>.*)\n(?P<options>(?::[\w-]+:.*\n)*)", re.M
)
_EQUATION = re.compile(r"\$\$\s*\((?P<label>[\w:-]+)\)")


@dataclass
class Claim:
    """A labelled statement (or a popular claim) and the code cells that check it."""

    label: str
    title: str
    page: str
    cells: list[int] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)

    @property
    def link(self) -> str:
        """A reference that Sphinx resolves, so a label that is gone breaks the build."""
        if self.label.startswith("eq-"):
            return f"Equation {{eq}}`{self.label}`"
        return f"{{prf:ref}}`{self.label}` {self.title}"

    @property
    def page_link(self) -> str:
        """A link to the chapter, by its title."""
        return f"[](/{self.page})"

    @property
    def cell_links(self) -> str:
        """A link to each checking cell."""
        html = Path(self.page).with_suffix(".html")
        pairs = zip(self.cells, self.anchors, strict=True)
        return ", ".join(f'<a href="../../{html}#{a}">cell {n}</a>' for n, a in pairs)


def notebooks(root: Path) -> list[Path]:
    """The notebooks of the book, in the order of _toc.yml."""
    files = re.findall(r"(?:file|root):\s*(\S+)", (root / "_toc.yml").read_text(encoding="utf8"))
    return [root / f"{f}.ipynb" for f in files if (root / f"{f}.ipynb").exists()]


def load(path: Path) -> list[dict]:
    """The cells of a notebook, with each source as one string."""
    cells = json.loads(path.read_text(encoding="utf8"))["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"])
        cell["tags"] = cell["metadata"].get("tags", [])
    return cells


def html_outputs(path: Path) -> list[str]:
    """Every HTML output of a notebook."""
    outputs = [o for c in load(path) for o in c.get("outputs", []) if "data" in o]
    return ["".join(o["data"].get("text/html", [])) for o in outputs]


def anchor(label: str, taken: set[str]) -> str:
    """The address of the next cell that checks ``label``."""
    name, n = f"check-{label.lower()}", 2
    while name in taken:
        name, n = f"check-{label.lower()}-{n}", n + 1
    return name


def labels(path: Path) -> dict[str, tuple[str, str]]:
    """Every labelled statement and equation of a notebook: label -> (kind, title)."""
    found: dict[str, tuple[str, str]] = {}
    for cell in load(path):
        if cell["cell_type"] != "markdown":
            continue
        for m in _DIRECTIVE.finditer(cell["source"]):
            label = re.search(r":label:\s*(\S+)", m["options"])
            if label:
                found[label[1]] = (m["kind"], m["title"].strip())
        for m in _EQUATION.finditer(cell["source"]):
            found[m["label"]] = ("equation", "")
    return found


def unlabelled(path: Path) -> list[str]:
    """Statements that cannot be claimed because they have no label."""
    source = "\n".join(c["source"] for c in load(path) if c["cell_type"] == "markdown")
    return [
        m["title"]
        for m in _DIRECTIVE.finditer(source)
        if m["kind"] in STATEMENTS and ":label:" not in m["options"]
    ]


def required(path: Path) -> dict[str, str]:
    """The labels that need a check, with their titles: all but definitions and remarks."""
    return {
        label: title
        for label, (kind, title) in labels(path).items()
        if (kind in STATEMENTS or kind == "equation") and not label.startswith(("def-", "eq-def-"))
    }


def tagged(path: Path, kind: str) -> dict[str, tuple[list[int], list[str]]]:
    """Code cells tagged ``kind:<label>``: label -> (cell numbers from 1, their addresses)."""
    found: dict[str, tuple[list[int], list[str]]] = {}
    taken: set[str] = set()
    code = [c for c in load(path) if c["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        for tag in cell["tags"]:
            prefix, _, label = tag.partition(":")
            if prefix not in ("claim", "erratum"):
                continue
            name = anchor(label, taken)
            taken.add(name)
            if prefix == kind:
                cells, anchors = found.setdefault(label, ([], []))
                cells.append(number)
                anchors.append(name)
    return found


def read(path: Path, root: Path) -> list[Claim]:
    """The statements of a notebook with their cells, in the order of the text."""
    page = path.relative_to(root).as_posix()
    cells = tagged(path, "claim")
    titles = {k: v[1] for k, v in labels(path).items()}
    order = [label for label in titles if label in cells]
    return [Claim(label, titles[label], page, *cells[label]) for label in order]


def errata(path: Path, root: Path) -> list[Claim]:
    """The popular claims that a notebook tests: the first quotation above each tagged cell."""
    page = path.relative_to(root).as_posix()
    found, quote, code = [], "", 0
    anchors = tagged(path, "erratum")
    for cell in load(path):
        if cell["cell_type"] == "markdown":
            q = re.search(r"[“\"]([^”\"]+)[”\"]", _popular(cell["source"]))
            quote = q[1] if q else quote
            continue
        code += 1
        for tag in cell["tags"]:
            label = tag.removeprefix("erratum:")
            if tag.startswith("erratum:") and code == anchors[label][0][0]:
                found.append(Claim(label, f"{label}: “{quote}”", page, *anchors[label]))
    return found


def _popular(source: str) -> str:
    """The part of a Markdown cell from its popular-claim box on; empty where it has none."""
    start = source.find("popular-claim")
    return source[start:] if start >= 0 else ""


def run_as_markdown(run: dict) -> list[str]:
    """A recorded run as a section: its numbers, and what it ran on."""
    lines = [f"### {run['name']}", ""]
    if "rounds" in run:
        lines += [
            f"| ratio | median of {run['rounds']} rounds | lowest to highest |",
            "|---|---|---|",
        ]
        for key, values in run["ratios"].items():
            case, pair, quantity = key.split(" / ")
            name = f"{case}, {quantity.replace('_', ' ')}: {pair.replace(' : ', ' to ')}"
            middle, low, high = statistics.median(values), min(values), max(values)
            lines.append(f"| {name} | {middle:.3g} | {low:.3g} to {high:.3g} |")
        return [*lines, "", *_about(run, {})]
    rows, seeds = run["data"]["rows"], len(run["seeds"])
    lines += [f"| metric | mean ± sd over {seeds} seeds | seed by seed |", "|---|---|---|"]
    for name, values in run["metrics"].items():
        mean, sd = run["summary"][name]["mean"], run["summary"][name]["sd"]
        spread = "" if sd is None else f" ± {sd:.3f}"
        each = ", ".join(f"{v:.3f}" if isinstance(v, float) else str(v) for v in values)
        label = name.replace("_", " ") + (", nats" if name.endswith("loss") else "")
        label += " (counted from 0)" if name == "best_epoch" else ""
        if name.endswith("trained"):  # a count of weights
            lines.append(f"| {label} | {values[0]:,} | {each} |")
        else:
            lines.append(f"| {label} | {mean:.3f}{spread} | {each} |")
    for name, value in run["baselines"].items():
        unit = ", nats" if name.endswith("loss") else ""
        lines.append(f"| baseline: {name.replace('_', ' ')}{unit} | {value:.3f} | |")
    about = {
        "wall time": ", ".join(f"{s:.0f} s" for s in run["wall_s"]),
        "model": f"{run['model']['name']}, {run['model']['weights']:,} weights",
        "data": f"{run['data']['name']}: " + ", ".join(f"{n:,} {k}" for k, n in rows.items()),
    }
    return [*lines, "", *_about(run, about)]


def _about(run: dict, more: dict[str, str]) -> list[str]:
    """What a run ran on, as a table."""
    device = run["device"]
    driver = "" if device["driver"] == "none" else f", driver {device['driver']}"
    about = {
        "device": f"{device['name']}{driver}, {device['threads']} thread(s)",
        **more,
        "settings": ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in run["config"].items()),
        "versions": ", ".join(f"{k} {v}" for k, v in run["versions"].items()),
        "date (UTC)": run["date"],
        "commit": f"`{run['commit']}`" if run["commit"] else "none",
        "command": f"`{run['command']}`",
    }
    return ["| what | value |", "|---|---|", *(f"| {k} | {v} |" for k, v in about.items()), ""]


if __name__ == "__main__":  # the Makefile asks which notebooks the book has
    print(*(p.relative_to(Path.cwd()) for p in notebooks(Path.cwd())))
