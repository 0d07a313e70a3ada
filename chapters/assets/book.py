"""The book's Sphinx extension: formulas set at build time, and the pages that are generated.

* Mathematics: KaTeX (the copy that sphinxcontrib-katex carries) runs inside Python through V8
  (mini-racer) and writes MathML, which browsers draw and screen readers speak; no reader's
  browser typesets.
* ``{claims}``: every labelled statement beside the code cell that checks it.
* ``{runs}``: the recorded runs.
* In a fork on GitHub, links and addresses follow the fork.
"""

import atexit
import importlib.util
import json
import os
import re
import unicodedata
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import claims
import publish
import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]

# ---------------------------------------------------------------- mathematics


def _katex():
    from py_mini_racer import MiniRacer

    script = Path(importlib.util.find_spec("sphinxcontrib.katex").origin).with_name("katex.min.js")
    engine = MiniRacer()
    atexit.register(engine.close)  # its thread would keep the interpreter from ending
    engine.eval(script.read_text(encoding="utf8"))
    engine.eval(
        "function render(tex, display) { return katex.renderToString(tex, {displayMode: display,"
        " output: 'mathml', throwOnError: true, strict: false, trust: false}); }"
    )
    return engine


_engine = None


def mathml(tex: str, display: bool, where: nodes.Node) -> str:
    """One formula as MathML; a formula that KaTeX refuses is a build error, not a red box."""
    from py_mini_racer import JSEvalException

    global _engine
    _engine = _engine or _katex()
    try:
        formula = _engine.call("render", tex, display)
    except JSEvalException as e:
        logger.warning("KaTeX refuses %r: %s", tex, str(e).split("\n")[0], location=where)
        return ""
    formula = formula.removeprefix('<span class="katex">').removesuffix("</span>")
    formula = re.sub(r"<annotation.*?</annotation>|</?semantics>", "", formula, flags=re.S)
    formula = formula.replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")
    for pattern, instead in _SPACING:
        formula = pattern.sub(instead, formula)
    return re.sub(r'<(m[in]) mathvariant="([a-z-]+)">([^<]*)</m[in]>', _letters, formula)


# KaTeX leaves the spaces around names of functions, and the sign of a number, to its HTML output.
_THIN, _APPLY = '<mspace width="0.1667em"/>', "<mo>\u2061</mo>"
_NUMBER_OR_NAME = r"</m(?:n|i|su[bp]|subsup|frac)>|[)\]}]</mo>"
_SPACING = [
    (re.compile(rf"(</mi>{_APPLY})(?!<mo[^>]*>[(\[{{])"), rf"\1{_THIN}"),
    (re.compile(rf"({_NUMBER_OR_NAME})(?=<mi>\w\w+</mi>{_APPLY})"), rf"\1{_THIN}"),
    (
        re.compile(r"(<mo[^>]*>[=<>≤≥≈≠→∥(\[{,;∼∈]</mo>)<mo>([−+±])</mo>"),
        r'\1<mo form="prefix">\2</mo>',
    ),
]


def _letters(m: re.Match) -> str:
    """Styled letters as characters of their own: browsers heed no ``mathvariant`` but normal."""
    if m[2] == "normal":
        return m[0]
    style = m[2].upper().replace("BOLD-", "BOLD ")
    out = ""
    for c in unescape(m[3]):
        kind = (
            f"DIGIT {unicodedata.name(c).split()[-1]}"
            if c.isdigit()
            else (f"{'CAPITAL' if c.isupper() else 'SMALL'} {unicodedata.name(c).split()[-1]}")
        )
        names = (f"MATHEMATICAL {style} {kind}", f"{style} {kind}")
        out += next((u for n in names if (u := publish.named(n, ""))), c)
    return f"<{m[1]}>{out}</{m[1]}>"


_RELATIONS, _SIGNS = set("=<>≤≥≈≠→⇒⇔∼∈⊂⊆∝≡:,;"), set("+−±·×/")


def breakable(formula: str, most: int = 16) -> str:
    """A long inline formula as pieces between which a line may end: browsers break no <math>."""
    row = ET.fromstring(formula)[0] if formula else ET.Element("mrow")
    if row.tag != "mrow" or len("".join(row.itertext())) <= most:
        return formula
    pieces, length, depth = [ET.Element("mrow")], 0, 0
    for k, part in enumerate(row):
        pieces[-1].append(part)
        text = "".join(part.itertext())
        length += len(text)
        if part.tag == "mo":
            depth += (text in "([{") - (text in ")]}")
        ends = text in _RELATIONS or (text in _SIGNS and length > most)
        if part.tag == "mo" and ends and (depth == 0 or length > most) and 0 < k < len(row) - 1:
            if text in _SIGNS and part.get("form") != "prefix":
                part.set("form", "infix")  # at the end of a row it would lose its spaces
            if part.get("form") != "prefix":
                pieces.append(ET.Element("mrow"))
                length = 0
    done = [ET.tostring(piece, encoding="unicode") for piece in pieces]
    return "<wbr>".join(f"<math>{piece}</math>" for piece in done)


def visit_inline(self, node: nodes.math) -> None:
    """Write an inline formula."""
    formula = breakable(mathml(node.astext(), False, node))
    self.body.append(f'<span class="math">{formula}</span>')
    raise nodes.SkipNode


def visit_block(self, node: nodes.math_block) -> None:
    """Write a displayed formula, with its number and a link to it."""
    tex = node.astext()
    if r"\\" in tex and r"\begin" not in tex:  # Sphinx's own rule: lines without an environment
        tex = rf"\begin{{split}}{tex}\end{{split}}"
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(mathml(tex, True, node) + "</div>")
    raise nodes.SkipNode


# ---------------------------------------------------------------- generated pages


class Claims(SphinxDirective):
    """``{claims} statements`` or ``{claims} popular``: a table, read from the notebooks."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """One row a statement (or a popular claim), with links to the cells that check it."""
        paths = claims.notebooks(ROOT)
        for path in paths:
            self.env.note_dependency(str(path))
        read = {"statements": claims.read, "popular": claims.errata}[self.arguments[0]]
        rows = [claim for path in paths for claim in read(path, ROOT)]
        lines = ["| claim | chapter | checked in |", "|---|---|---|"]
        for claim in rows:
            text = claim.link if self.arguments[0] == "statements" else claim.title
            cells = [text.replace("|", "\\|"), claim.page_link, claim.cell_links]
            lines.append(f"| {' | '.join(cells)} |")
        return self.parse_text_to_nodes("\n".join(lines))


class Runs(SphinxDirective):
    """One table a recorded run: what ran, where, and mean ± standard deviation over the seeds."""

    optional_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Read every JSON file in chapters/runs; ``{runs} chapters``: the notebooks' own runs."""
        if self.arguments == ["chapters"]:
            for path in publish.RUNS.glob("*.json"):
                self.env.note_dependency(str(path))
            return self.parse_text_to_nodes("\n".join(publish.runs_of_chapters()))
        folder = ROOT / "chapters" / "runs"
        paths = sorted(folder.glob("*.json"))
        for path in paths:
            self.env.note_dependency(str(path))
        runs = [json.loads(path.read_text(encoding="utf8")) for path in paths]
        lines = [line for run in runs for line in claims.run_as_markdown(run)]
        if not any(run["device"]["kind"] == "cuda" for run in runs):
            lines = ["No run on a GPU has been recorded yet; these come from a CPU.", "", *lines]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class Map(SphinxDirective):
    """The parts of the book as a diagram; the chapters of each come from _toc.yml."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Boxes in lanes; a part without chapters is marked as being written."""
        drawn = yaml.safe_load("\n".join(self.content))
        toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
        files = {p["caption"]: [c["file"] for c in p["chapters"]] for p in toc["parts"]}
        known = {part for lane in drawn["lanes"] for part in lane["parts"]}
        for missing in [caption for caption in files if "·" in caption and caption not in known]:
            logger.warning("the map lacks the part %r", missing, location=self.get_location())
        boxes = [self._box("map-start", drawn["start"])]
        for lane in drawn["lanes"]:
            boxes.append(self._box("map-lane", lane["name"]))
            for part, question in lane["parts"].items():
                links = [f"- [](/{file})" for file in files.get(part, [])]
                text = "\n".join([f"**{part}**\n\n{question}\n", *(links or ["*being written*"])])
                boxes[-1] += self._box("map-part" if links else "map-part later", text)
        whole = nodes.container("", *boxes, classes=["map"])
        return [whole]

    def _box(self, kind: str, text: str) -> nodes.container:
        return nodes.container("", *self.parse_text_to_nodes(text), classes=kind.split())


class Tally(SphinxDirective):
    """How much of the book is checked, counted when it is built."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """One sentence with three numbers."""
        paths = claims.notebooks(ROOT)
        for path in paths:
            self.env.note_dependency(str(path))
        code = sum(cell["cell_type"] == "code" for path in paths for cell in claims.load(path))
        statements = sum(len(claims.read(path, ROOT)) for path in paths)
        popular = sum(len(claims.errata(path, ROOT)) for path in paths)
        text = (
            f"So far: **{statements}** statements and equations, each with the cells that "
            f"check it; **{popular}** popular claims, each put to the test; **{code}** code cells, "
            "executed again and compared with their stored outputs whenever the book changes."
        )
        return self.parse_text_to_nodes(text)


class Component(SphinxDirective):
    """A web component with its figure, as the notebook that draws it has stored them."""

    required_arguments = 1
    has_content = False

    def run(self) -> list[nodes.Node]:
        """Find the output; there is one place for a figure's code, its words and its numbers."""
        start = f"<kl-{self.arguments[0]}>"
        for path in claims.notebooks(ROOT):
            for html in claims.html_outputs(path):
                if html.startswith(start):
                    self.env.note_dependency(str(path))
                    return [nodes.raw("", html, format="html")]
        raise self.error(f"no notebook shows the component {self.arguments[0]!r}")


def colab_role(name, rawtext, text, lineno, inliner, options=None, content=None):
    """``{colab}`words <page>```: a link that opens the notebook of a page on Colab."""
    words, _, page = text.removesuffix(">").partition(" <")
    app = inliner.document.settings.env.app
    url = publish.addresses(app, page)["colab"]
    return [nodes.reference(rawtext, words, refuri=url, internal=False)], []


def anchor_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Give each code cell that checks something an address: ``#check-<label>``."""
    taken: set[str] = set()
    for cell in doctree.findall(nodes.container):
        if cell.get("nb_element") != "cell_code":
            continue
        for tag in cell.get("cell_metadata", {}).get("tags", []):
            kind, _, label = tag.partition(":")
            if kind not in ("claim", "erratum"):
                continue
            name = claims.anchor(label, taken)
            taken.add(name)
            target = nodes.target("", "", ids=[name], names=[])
            cell.insert(0, target)


# ---------------------------------------------------------------- settings


def follow_fork(app: Sphinx, config) -> None:
    """On GitHub, take the addresses from the repository that runs the build."""
    if slug := os.environ.get("GITHUB_REPOSITORY"):
        owner, name = slug.split("/")
        options = config.html_theme_options
        options["repository_url"] = f"{os.environ['GITHUB_SERVER_URL']}/{slug}"
        options["repository_branch"] = os.environ.get("GITHUB_REF_NAME", "main")
        host = f"https://{owner.lower()}.github.io"
        config.html_baseurl = f"{host}/" if name.lower() == host[8:] else f"{host}/{name}/"
    config.notfound_urls_prefix = urlsplit(config.html_baseurl).path  # where 404.html is served


def always_rebuilt(app: Sphinx, env, added, changed, removed) -> list[str]:
    """The page of references depends on the citations of every other page."""
    return ["chapters/back/references"]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything with Sphinx."""
    app.add_html_math_renderer(
        "katex_at_build", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None)
    )
    app.add_config_value("book_assets", publish.fingerprint(), "html")  # they changed: write anew
    app.add_directive("claims", Claims)
    app.add_directive("runs", Runs)
    app.add_directive("map", Map)
    app.add_directive("tally", Tally)
    app.add_directive("component", Component)
    app.add_role("colab", colab_role)
    app.connect("config-inited", follow_fork)
    app.connect("env-get-outdated", always_rebuilt)
    app.connect("doctree-read", anchor_cells)
    app.connect("html-page-context", publish.context, priority=900)
    app.connect("build-finished", publish.write_files, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
