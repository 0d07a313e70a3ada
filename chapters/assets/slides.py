"""One slide deck a part of the book, made of the chapters' own cells: text, code, stored outputs.

A cell's tag says where it goes: ``slide`` starts a slide, ``slide-more`` goes on with it, and
``slide-fragment`` does so at the press of a key. Beside one of these, ``slide-output`` shows what a
cell has printed or drawn without its code, and ``slide-each`` gives each of a cell's boxes a slide
of its own. No cell is written or changed for a slide; ``talk`` says what of a Markdown cell is
shown. The title of a slide is the heading under which its first cell stands in the book.

nbconvert makes the slides. reveal.js comes out of a wheel on PyPI, checked by its hash; the wheel
is not installed. Nothing is executed, and a deck asks no other host for anything.
"""

import re
import shutil
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

import nbformat
import yaml
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode
from nbconvert import SlidesExporter
from nbformat.v4 import new_markdown_cell, new_notebook

sys.path.insert(0, str(Path(__file__).parent))
import publish
import talk

from kltools import tiers

ROOT = Path(__file__).resolve().parents[2]
TAGS = {"slide": "subslide", "slide-more": "-", "slide-fragment": "fragment"}
NEVER = {"setup", "grader", "solution"}  # tags of cells that are no part of a lecture
REVEAL = tiers.Asset(
    name="reveal",
    members=tiers.members("""
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
            at, nodes, heading = talk.chosen(md, cell.source, env, heading)
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
    md, env = talk.reader()
    shared = target / "_static"
    shared.mkdir(parents=True, exist_ok=True)
    tiers.ASSETS["reveal"] = REVEAL
    cache = tiers.fetch("reveal")
    for member in REVEAL.members:
        name = member.name.replace("LICENSE", "reveal-license.txt")
        shutil.copy(cache / member.name, shared / name)
    written = [target / f"part-{part.number}.html" for part in wanted]
    for part, path in zip(wanted, written):
        path.write_text(deck(part, md, env), encoding="utf8")
    rows = [f'<li><a href="part-{p.number}.html">{escape(p.caption)}</a></li>' for p in parts()]
    head = f'<meta charset="utf-8"><title>Slides: {escape(env["title"])}</title>'
    head += '<meta name="viewport" content="width=device-width">'
    head += '<link rel="icon" href="_static/favicon.svg">'
    head += '<link rel="stylesheet" href="_static/slides.css">'
    (target / "index.html").write_text(
        f'<!doctype html><html lang="en"><head>{head}</head><body class="list"><main>'
        f"<h1>{escape(env['title'])}: slides</h1><ul>{''.join(rows)}</ul>"
        f'<p>The book: <a href="{env["base"]}">{env["base"]}</a></p></main></body></html>\n',
        encoding="utf8",
    )
    shutil.copy(ROOT / "chapters/assets/favicon.svg", shared)
    colors = (ROOT / "chapters/assets/static/book.css").read_text(encoding="utf8")
    look = (ROOT / "chapters/assets/slides.css").read_text(encoding="utf8")
    colors = re.search(r"^:root \{.*?^\}", colors, re.M | re.S)[0]
    css = "\n".join([colors, look, publish.token_styles()[0]])
    (shared / "slides.css").write_text(css, encoding="utf8")
    pages = [path.read_text(encoding="utf8") for path in target.glob("part-*.html")]
    publish.write_math_font(pages, target, shared)
    return written


if __name__ == "__main__":
    asked = [part for part in parts() if str(part.number) in sys.argv[1:] or not sys.argv[1:]]
    print(*build(ROOT / "_build/slides", asked), sep="\n")
