"""What a Markdown cell shows on a slide: MyST, as far as the book uses it, in HTML.

* A cell with boxes (definition, theorem, popular claim …) shows them alone, and a check by hand
  only if it has no other; one in which a section begins shows that section; any other is shown
  whole. Proofs are left out.
* What is not foreseen here, a directive, a role or a piece of HTML, is an error, not a gap.
"""

import re
import sys
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin

import yaml
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.tree import SyntaxTreeNode
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser
from pybtex.database import parse_file

sys.path.insert(0, str(Path(__file__).parent))
import book
import claims
import formulas

ROOT = Path(__file__).resolve().parents[2]
BOXES = {f"prf:{k}": k for k in ("definition", "theorem", "lemma", "proposition", "corollary")}
PLAIN = {"p", "ul", "ol", "li", "em", "strong", "blockquote"}
PLAIN |= {"table", "thead", "tbody", "tr", "th", "td"}


class Talk(RendererHTML):
    """MyST as the book uses it, in HTML for a slide."""

    __output__ = "slides"

    def renderToken(self, tokens, idx, options, env) -> str:
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
        href = tokens[idx].attrs["href"]
        target = urljoin(env["base"] + env["page"], re.sub(r"\.(?:ipynb|md)$", ".html", href))
        if tokens[idx + 1].type != "link_close":
            return f'<a href="{escape(target)}">'
        words = title((ROOT / env["page"]).parent / href)
        return f'<a class="ref" href="{escape(target)}">{escape(words)}'

    def link_close(self, tokens, idx, options, env) -> str:
        """End a link."""
        return "</a>"

    def math_inline(self, tokens, idx, options, env) -> str:
        """Set a formula within a line."""
        pieces = formulas.breakable(formulas.mathml(tokens[idx].content))
        after = tokens[idx + 1] if idx + 1 < len(tokens) else None
        if after:
            signs = formulas.AFTER.match(after.content)[0]
            after.content = after.content[len(signs) :]
            pieces = formulas.with_signs(pieces, signs)
        return f'<span class="math">{pieces}</span>'

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
            names = [env["authors"][key.strip()] for key in text.split(",")]
            return f"<cite>[{'; '.join(names)}]</cite>"
        if role not in ("eq", "prf:ref"):
            raise ValueError(f"{env['page']}: no rule for the role {role!r} on a slide")
        page, words = env["labels"][text]
        anchor = f"equation-{text}" if role == "eq" else text
        words = "this equation" if role == "eq" else env["md"].renderInline(words, env)
        return f'<a class="ref" href="{env["base"]}{page}.html#{anchor}">{words}</a>'

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
        names = [" ".join(map(str, person.rich_last_names)) for person in people]
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
