"""The book's Sphinx extension: formulas set at build time, and the pages that are generated.

* Mathematics is set at build time (``formulas``), and pages are finished (``publish``).
* ``{claims}``: every labelled statement beside the code cell that checks it.
* ``{runs}``: the recorded runs. ``{assignments}``: what the assignments ask.
* In a fork on GitHub, links and addresses follow the fork.
"""

import json
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import claims
import formulas
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


def formula(tex: str, display: bool, where: nodes.Node) -> str:
    """One formula as MathML; one that cannot be drawn is a build error, not a red box."""
    try:
        return formulas.mathml(tex, display)
    except ValueError as e:
        logger.warning("formula %r: %s", tex, e, location=where)
        return ""


def visit_inline(self, node: nodes.math) -> None:
    """Write an inline formula, its last piece on one line with the signs that follow."""
    pieces = formulas.breakable(formula(node.astext(), False, node))
    pieces = formulas.with_signs(pieces, node.get("after", ""))
    self.body.append(f'<span class="math">{pieces}</span>')
    raise nodes.SkipNode


def keep_signs(app: Sphinx, doctree: nodes.document, name: str) -> None:
    """Keep the signs right after an inline formula with it: a line could start with them."""
    for node in doctree.findall(nodes.math):
        place = node.parent.index(node) + 1
        for text in node.parent[place : place + 1]:
            if isinstance(text, nodes.Text):
                node["after"] = formulas.AFTER.match(text)[0]
                node.parent[place] = nodes.Text(text[len(node["after"]) :])


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
    self.body.append(formula(tex, True, node) + "</div>")
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


class Assignments(SphinxDirective):
    """What each assignment asks, and the chapters that its tests send a student to."""

    has_content = False

    def run(self) -> list[nodes.Node]:
        """Read the instructor's notebooks; of them only titles and names of chapters appear."""
        lines: list[str] = []
        for path in sorted((ROOT / "chapters/assignments/source").glob("*/*.ipynb")):
            self.env.note_dependency(str(path))
            first, *cells = claims.load(path)
            lines += ["**" + first["source"].splitlines()[0].removeprefix("# ") + "**", ""]
            tasks = re.split("^## Task ", "\n".join(c["source"] for c in cells), flags=re.M)[1:]
            for task in tasks:
                title = task.splitlines()[0].partition(" · ")[2].removesuffix(" (4 points)")
                chapters = dict.fromkeys(re.findall(r"' \((\w+/[\w-]+)\)", task))
                links = ", ".join(f"[](/chapters/{chapter})" for chapter in chapters)
                lines.append(f"1. {title} – {links}")
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines))


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
            cell["ids"].append(name)  # no child of its own: folds go by the first child


# ---------------------------------------------------------------- settings


_NOT_FOUND = """<h1>Page not found</h1>
<p>This page has moved, or never was.
<a href="{root}search.html">Search the book</a>, go to <a href="{root}">its front page</a>,
or start with <a href="{root}chapters/divergence/two-directions.html">chapter 1</a>.</p>"""


def follow_fork(app: Sphinx, config) -> None:
    """On GitHub, take the addresses from the repository that runs the build."""
    if slug := os.environ.get("GITHUB_REPOSITORY"):
        owner, name = slug.split("/")
        options = config.html_theme_options
        options["repository_url"] = f"{os.environ['GITHUB_SERVER_URL']}/{slug}"
        options["repository_branch"] = os.environ.get("GITHUB_REF_NAME", "main")
        host = f"https://{owner.lower()}.github.io"
        config.html_baseurl = f"{host}/" if name.lower() == host[8:] else f"{host}/{name}/"
    root = urlsplit(config.html_baseurl).path  # where 404.html is served: under any address
    config.notfound_urls_prefix = root
    config.notfound_context = {"title": "Page not found", "body": _NOT_FOUND.format(root=root)}


def always_rebuilt(app: Sphinx, env, added, changed, removed) -> list[str]:
    """Pages that are made from all the others, new ones included."""
    return [f"chapters/{name}" for name in ("index", "back/references", "back/claims", "back/runs")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register everything with Sphinx."""
    app.add_html_math_renderer(
        "katex_at_build", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None)
    )
    app.add_config_value("book_assets", publish.fingerprint(), "html")  # they changed: write anew
    app.add_directive("claims", Claims)
    app.add_directive("runs", Runs)
    app.add_directive("assignments", Assignments)
    app.add_directive("map", Map)
    app.add_directive("tally", Tally)
    app.add_directive("component", Component)
    app.add_role("colab", colab_role)
    app.connect("config-inited", follow_fork)
    app.connect("env-get-outdated", always_rebuilt)
    app.connect("doctree-read", anchor_cells)
    app.connect("doctree-resolved", keep_signs)
    app.connect("html-page-context", publish.context, priority=900)
    app.connect("build-finished", publish.write_files, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
