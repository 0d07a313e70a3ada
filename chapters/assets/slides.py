"""One slide deck a part of the book, made of the chapters' own cells: text, code, stored outputs.

A cell's tag says where it goes: ``slide`` starts a slide, ``slide-more`` goes on with it, and
``slide-fragment`` does so at the press of a key. Beside one of these, ``slide-output`` shows what a
cell has printed or drawn without its code, and ``slide-each`` gives each of a cell's boxes a slide
of its own. No cell is written or changed for a slide:

* A Markdown cell with boxes (definition, theorem, popular claim …) shows them alone, and a check by
  hand only if it has no other; one in which a section begins shows that section; any other is
  shown whole. Proofs are left out.
* The title of a slide is the heading under which its first cell stands in the book.
* What a cell holds that is not foreseen here is an error, not a gap.

nbconvert makes the slides. reveal.js comes out of a wheel on PyPI, checked by its hash; the wheel
is not installed. Nothing is executed, and a deck asks no other host for anything.
"""

import re
import shutil
import sys
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from urllib.parse import urljoin

import nbformat
import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.tree import SyntaxTreeNode
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from nbconvert import SlidesExporter
from nbformat.v4 import new_markdown_cell, new_notebook
from pybtex.database import parse_file

sys.path.insert(0, str(Path(__file__).parent))
import book
import claims
import formulas
import publish

from kltools import tiers

ROOT = Path(__file__).resolve().parents[2]
TAGS = {"slide": "subslide", "slide-more": "-", "slide-fragment": "fragment"}
BOXES = {f"prf:{k}": k for k in ("definition", "theorem", "lemma", "proposition", "corollary")}
NEVER = {"setup", "grader", "solution"}  # tags of cells that are no part of a lecture
PLAIN = set("p ul ol li em strong blockquote table thead tbody tr th td".split())
REVEAL = tiers.Asset(
    name="reveal",
    members=tiers._members("""
34014800f4126ac2525e224166f099f26628612e95c41f76d70841b63138c989 1108 LICENSE
46538b52db48724192f59bf46f5e851a18e302777c46f4a34c32709d010d6a29 112163 dist/reveal.js
68f915a11ebf7203c0446576b7e952ff61c5dd02134a8a226ffaf62ed42136d2 54097 dist/reveal.css
df1201d19d03241a2897d39c3d38768177df1cbd4bde06327b321cb83461ae89 69167 plugin/notes/notes.js
"""),
    carriers=(
        tiers.Carrier(
            "sphinx-revealjs",
            "3.2.1",
            "805bed3ca459346e0f01967d5ed1c40d6b7b917de1541e1e4566c8341fe7017b",
            "sphinx_revealjs/_static/revealjs",
        ),
    ),
    license="MIT",
    source="reveal.js 5.2.0, as released",
    elsewhere="https://github.com/hakimel/reveal.js",
)


class Part(NamedTuple):
    """A part of the book: its number, its caption and the pages of its chapters."""

    number: int
    caption: str
    pages: list[str]


def parts(root: Path = ROOT) -> list[Part]:
    """The numbered parts of _toc.yml; the back matter has no lecture."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    numbered = [p for p in toc["parts"] if "·" in p["caption"]]
    pages = [[c["file"] for c in p["chapters"]] for p in numbered]
    return [Part(n, p["caption"], f) for n, (p, f) in enumerate(zip(numbered, pages), 1)]


# ---------------------------------------------------------------- text


class Talk(RendererHTML):
    """MyST as the book uses it, in HTML for a slide."""

    __output__ = "slides"

    def renderToken(self, tokens, idx, options, env) -> str:  # noqa: N802
        """Write what Markdown itself has; anything else must have a rule below."""
        if tokens[idx].tag not in PLAIN:
            raise ValueError(f"{env['page']}: no rule for {tokens[idx].type!r} on a slide")
        return super().renderToken(tokens, idx, options, env)

    def html_block(self, tokens, idx, options, env) -> str:
        """Refuse HTML: the book's text has none."""
        raise ValueError(f"{env['page']}: HTML on a slide: {tokens[idx].content!r}")

    html_inline = html_block

    def link_open(self, tokens, idx, options, env) -> str:
        """Lead a link to the published book; one without words has its page's title."""
        target = re.sub(r"\.(?:ipynb|md)$", ".html", tokens[idx].attrs["href"])
        words = ""
        if tokens[idx + 1].type == "link_close":
            words = title(ROOT / Path(env["page"]).parent / tokens[idx].attrs["href"])
        return f'<a href="{escape(urljoin(env["base"] + env["page"], target))}">{escape(words)}'

    def link_close(self, tokens, idx, options, env) -> str:
        """End a link."""
        return "</a>"

    def math_inline(self, tokens, idx, options, env) -> str:
        """Set a formula within a line."""
        pieces = formulas.breakable(formulas.mathml(tokens[idx].content))
        after = tokens[idx + 1].content if idx + 1 < len(tokens) else ""
        joined = "&NoBreak;" if re.match(r"[^\s\w]", after) else ""  # no line begins with a comma
        return f'<span class="math">{pieces}</span>{joined}'

    def math_block(self, tokens, idx, options, env) -> str:
        """Set a displayed formula, as the book does."""
        tex = tokens[idx].content.strip()
        if r"\\" in tex and r"\begin" not in tex:
            tex = rf"\begin{{split}}{tex}\end{{split}}"
        return f'<div class="math">{formulas.mathml(tex, True)}</div>'

    math_block_label = math_block

    def myst_role(self, tokens, idx, options, env) -> str:
        """Write a citation as author and year, a reference as the title of what it refers to."""
        role, text = tokens[idx].meta["name"], tokens[idx].content
        if role == "cite":
            return f"[{'; '.join(env['authors'][key.strip()] for key in text.split(','))}]"
        if role not in ("eq", "prf:ref"):
            raise ValueError(f"{env['page']}: no rule for the role {role!r} on a slide")
        page, words = env["labels"][text]
        anchor = f"equation-{text}" if role == "eq" else text
        words = "its equation" if role == "eq" else env["md"].renderInline(words, env)
        return f'<a href="{env["base"]}{page}.html#{anchor}">{words}</a>'

    def colon_fence(self, tokens, idx, options, env) -> str:
        """Write a directive as a box with a title; leave a proof out; refuse the rest."""
        kind, words = directive(tokens[idx].info)
        head = re.match(r"(?::[\w-]+:.*\n)*", tokens[idx].content)[0]
        if kind == "prf:proof":
            return ""
        if kind in BOXES:
            name, style = f"<b>{BOXES[kind].capitalize()}.</b> ", BOXES[kind]
        elif kind == "admonition":
            name, style = "", re.search(r":class: (.*)", head)[1]
        else:
            raise ValueError(f"{env['page']}: no rule for the directive {kind!r} on a slide")
        words = env["md"].renderInline(words, env)
        body = env["md"].render(tokens[idx].content[len(head) :], env)
        return f'<div class="box {style}"><p class="box-title">{name}{words}</p>{body}</div>\n'

    fence = colon_fence


def directive(info: str) -> tuple[str, str]:
    """The name of a directive and what stands beside it; plain code has no name."""
    m = re.fullmatch(r"\{([^}]*)\}\s*(.*)", info.strip())
    return (m[1], m[2]) if m else ("", info)


def title(path: Path) -> str:
    """The title of a chapter."""
    return claims.load(path)[0]["source"].split("\n")[0].removeprefix("# ")


def authors() -> dict[str, str]:
    """Author and year of each entry of the bibliography, as the book cites it."""
    found = {}
    for key, entry in parse_file(ROOT / "chapters/back/references.bib").entries.items():
        people = entry.persons.get("author") or entry.persons["editor"]
        names = [" ".join(str(n.render_as("text")) if hasattr(n, "render_as") else str(n)
                 for n in p.rich_last_names) for p in people]  # fmt: skip
        some = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
        found[key] = escape(f"{some}, {entry.fields['year']}")
    return found


def reader() -> tuple[MarkdownIt, dict[str, Any]]:
    """A parser that writes slides, and what it has to know of the whole book."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    extensions = set(config["parse"]["myst_enable_extensions"])
    md = create_md_parser(MdParserConfig(enable_extensions=extensions), Talk)
    site = SimpleNamespace(html_baseurl=config["html"]["baseurl"], html_theme_options={})
    book.follow_fork(None, site)
    labels = {
        label: (path.relative_to(ROOT).with_suffix("").as_posix(), words)
        for path in claims.notebooks(ROOT)
        for label, (_, words) in claims.labels(path).items()
    }
    env = {"md": md, "base": site.html_baseurl, "labels": labels, "authors": authors()}
    return md, env | {"title": config["title"]}


def chosen(md: MarkdownIt, source: str, env: dict, above: str) -> tuple[str, list, str]:
    """What a Markdown cell shows, under which heading, and the heading at the cell's end."""
    pieces: list[tuple[str, list[SyntaxTreeNode]]] = [(above, [])]
    for node in SyntaxTreeNode(md.parse(source)).children:
        if node.type == "heading":
            pieces.append((md.renderInline(node.children[0].content, env), []))
        else:
            pieces[-1][1].append(node)
    statements = [p for p in _boxes(pieces, {*BOXES, "popular-claim"}) if p[1]]
    boxes = statements or [p for p in _boxes(pieces, {"tip"}) if p[1]]
    full = boxes or [p for p in pieces[1:] if p[1]][:1] or pieces[:1]
    return full[0][0], [n for _, nodes in full for n in nodes], pieces[-1][0]


def _boxes(pieces: list[tuple[str, list]], kinds: set[str]) -> list[tuple[str, list]]:
    """The boxes of these kinds, under their headings."""
    return [(h, [n for n in nodes if kinds & set(_kind(n))]) for h, nodes in pieces]


def _kind(node: SyntaxTreeNode) -> list[str]:
    if node.type != "colon_fence":
        return []
    classes = re.search(r"^:class: (.*)$", node.content, re.M)
    return [directive(node.info)[0], *(classes[1].split() if classes else [])]


# ---------------------------------------------------------------- decks


def slide(html: str, kind: str, slide_type: str, name: str = "") -> nbformat.NotebookNode:
    """A cell that nbconvert shows as it is."""
    data = {"slideshow": {"slide_type": slide_type, "data": {"kind": kind}}, "cell": name}
    return new_markdown_cell(html, metadata=data)


def chapter(page: str, md: MarkdownIt, env: dict) -> list[nbformat.NotebookNode]:
    """The slides of a chapter: its title and its first sentence, then the cells with a tag."""
    nb = nbformat.read(ROOT / f"{page}.ipynb", as_version=4)
    env["page"] = page
    first = SyntaxTreeNode(md.parse(nb.cells[0].source)).children
    name, promise = (md.renderInline(n.children[0].content, env) for n in first[:2])
    cells = [slide(f"<h1>{name}</h1><p>{promise}</p>", "chapter", "slide")]
    heading = ""
    for cell in nb.cells[1:]:
        tags = set(cell.metadata.get("tags", []))
        wanted, at, nodes = [t for t in TAGS if t in tags], heading, []
        if cell.cell_type == "markdown":
            at, nodes, heading = chosen(md, cell.source, env, heading)
        if not wanted:
            continue
        if len(wanted) > 1 or tags & NEVER:
            raise ValueError(f"{page}: a cell with the tags {sorted(tags)} is for no slide")
        head = f"<p>{name}</p><h2>{at}</h2>"
        kind = "-" if wanted == ["slide"] else TAGS[wanted[0]]
        if cell.cell_type == "markdown":
            htmls = [md.renderer.render(n.to_tokens(), md.options, env) for n in nodes]
            for html in htmls if "slide-each" in tags else ["".join(htmls)]:
                cells += [slide(head, "cells", "subslide")] if wanted == ["slide"] else []
                cells.append(slide(html, "text", kind, cell.id))
            continue
        cells += [slide(head, "cells", "subslide")] if wanted == ["slide"] else []
        quiet = bool(tags & {"slide-output", "hide-cell", "hide-input"})
        for output in cell.outputs:
            if output.output_type != "stream":
                output.data["text/html"] = publish.tidy(output.data["text/html"])
        cell.metadata = {"slideshow": {"slide_type": kind}, "cell": cell.id, "quiet": quiet}
        cells.append(cell)
    return cells


def front(part: Part, env: dict) -> nbformat.NotebookNode:
    """The first slide: the part, the book and its address."""
    name, base = escape(env["title"]), env["base"]
    words = f'<p>{name}</p><h1>{escape(part.caption)}</h1><p><a href="{base}">{base}</a></p>'
    return slide(words, "front", "slide")


def deck(part: Part, md: MarkdownIt, env: dict) -> str:
    """The deck of a part, as one page of HTML."""
    cells = [front(part, env), *(c for page in part.pages for c in chapter(page, md, env))]
    nb = new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})
    nb.metadata["title"] = f"{part.caption}: {env['title']}"
    template = str(ROOT / "chapters/assets/templates/slides.html.j2")
    return SlidesExporter(template_file=template).from_notebook_node(nb)[0]


def build(target: Path, wanted: list[Part]) -> list[Path]:
    """Write the decks, the list of all decks, and the files that they share."""
    md, env = reader()
    shared = target / "_static"
    shared.mkdir(parents=True, exist_ok=True)
    tiers.ASSETS["reveal"] = REVEAL
    for path in tiers.fetch("reveal").iterdir():
        shutil.copy(path, shared / ("reveal-license.txt" if path.name == "LICENSE" else path.name))
    written = [target / f"part-{part.number}.html" for part in wanted]
    for part, path in zip(wanted, written):
        path.write_text(deck(part, md, env), encoding="utf8")
    rows = [f'<li><a href="part-{p.number}.html">{escape(p.caption)}</a></li>' for p in parts()]
    head = f'<meta charset="utf-8"><title>Slides: {escape(env["title"])}</title>'
    head += '<meta name="viewport" content="width=device-width">'
    head += '<link rel="stylesheet" href="_static/slides.css">'
    (target / "index.html").write_text(
        f'<!doctype html><html lang="en"><head>{head}</head><body class="list"><main>'
        f"<h1>{escape(env['title'])}: slides</h1><ul>{''.join(rows)}</ul>"
        f'<p>The book: <a href="{env["base"]}">{env["base"]}</a></p></main></body></html>\n',
        encoding="utf8",
    )
    colors = (ROOT / "chapters/assets/static/book.css").read_text(encoding="utf8")
    look = (ROOT / "chapters/assets/slides.css").read_text(encoding="utf8")
    colors = re.search(r"^:root \{.*?^\}", colors, re.M | re.S)[0]
    css = "\n".join([colors, look, publish.token_styles()[0]])
    (shared / "slides.css").write_text(css, encoding="utf8")
    pages = [path.read_text(encoding="utf8") for path in target.glob("part-*.html")]
    publish.write_math_font(pages, target, shared)
    return written


if __name__ == "__main__":
    chosen_parts = [p for p in parts() if not sys.argv[1:] or str(p.number) in sys.argv[1:]]
    print(*build(ROOT / "_build/slides", chosen_parts), sep="\n")
