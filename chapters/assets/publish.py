"""What makes a published page: its facts, the repairs of its body, and the files beside it.

The page itself is ``templates/layout.html``: it loads one style sheet and one script of the
book's own, so nothing of a theme has to be trimmed, and no page asks another host for anything.
"""

import base64
import hashlib
import json
import re
import shutil
import unicodedata
from functools import cache
from html import escape, unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote, urljoin

import claims
import formulas
import yaml
from docutils import nodes
from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
RUNS = ROOT / "chapters" / "runs" / "notebooks"
COMPONENTS = ROOT / "kltools" / "components"
FILES = {"search-index.js", "math.woff2", "card.png", "favicon.svg"}  # made when the book is built
COLAB = "https://colab.research.google.com/github"


def fingerprint() -> str:
    """Changes with whatever the pages are made with, so that Sphinx writes them anew."""
    files = [p for p in (ROOT / "chapters" / "assets").rglob("*") if p.suffix in {".py", ".html"}]
    files += [*COMPONENTS.glob("*.js"), *RUNS.glob("*.json")]
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(files))).hexdigest()[:16]


# ---------------------------------------------------------------- facts of a page


def describe(doctree: nodes.document) -> str:
    """The first sentence or two of a page, for search engines and previews."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = re.sub(r"\s+", " ", paragraph.astext()).strip()
        if len(text) > 40 and not paragraph.next_node(nodes.math):
            return text if len(text) <= 160 else text[:157].rsplit(" ", 1)[0] + " …"
    return ""


def metadata(title: str, description: str, address: str, image: str, *, chapter: bool) -> list:
    """Open Graph for previews, and the tags that reference managers read."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    pairs = [
        ("og:title", title),
        ("og:description", description),
        ("og:type", "article" if chapter else "website"),
        ("og:site_name", citation["title"]),
        ("og:url", address),
        ("og:image", image),
        (
            "og:image:alt",
            "Two bumps p, a dashed curve q that can be dragged, and both divergences in nats",
        ),
        ("twitter:card", "summary_large_image"),
        ("citation_title", title),
        *(("citation_author", a.get("name") or a["family-names"]) for a in citation["authors"]),
        ("citation_publication_date", str(citation["date-released"]).replace("-", "/")),
        ("citation_language", "en"),
        ("citation_public_url", address),
    ]
    return pairs + ([("citation_inbook_title", citation["title"])] if chapter else [])


def addresses(app: Sphinx, page: str) -> dict[str, str]:
    """Where the source of a page is, and where to change it, report it and run it."""
    options = app.config.html_theme_options
    url, branch = options["repository_url"], options["repository_branch"]
    source = Path(app.env.doc2path(page)).relative_to(app.srcdir).as_posix()
    title = quote(f"Error on the page {page}")
    body = quote(f"What is wrong, and what should stand there:\n\n\n(page: {page}.html)")
    return {
        "colab": f"{COLAB}/{url.removeprefix('https://github.com/')}/blob/{branch}/{source}",
        "edit": f"{url}/edit/{branch}/{source}",
        "report": f"{url}/issues/new?title={title}&body={body}",
        "repository": url,
    }


def run_of(page: str) -> dict | None:
    """The last recorded execution of a notebook (``make notebook`` writes it)."""
    path = RUNS / f"{Path(page).name}.json"
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else None


def facts(run: dict) -> str:
    """Time, hardware and what a chapter costs on Colab, in one line."""
    files = f", and takes {run['download_mb']} MB of files" if run["download_mb"] else ""
    return (
        f"Ran in {run['seconds']:.0f} s with {run['memory_mb'] / 1000:.1f} GB of memory on "
        f"{hardware(run)}{files}. On Colab a free CPU runtime should do."
    )


def hardware(run: dict) -> str:
    """The machine that a chapter's outputs came from."""
    device = run["device"]
    name = re.sub(r"\((?:R|TM)\)| Processor|\s+@.*", "", device["name"])
    if device["kind"] == "cuda":
        return f"one {name}"
    threads = device["threads"]
    return f"{threads} thread{'s' * (threads > 1)} of {run['cores']} cores ({name}), no GPU"


def runs_of_chapters() -> list[str]:
    """A table of all recorded executions, in the order of the book."""
    lines = [
        "| chapter | time | memory | files | outputs came from | date |",
        "|---|---|---|---|---|---|",
    ]
    for path in claims.notebooks(ROOT):
        if run := run_of(path.stem):
            page = path.relative_to(ROOT).as_posix()
            software = f"Python {run['versions']['python']}, torch {run['versions']['torch']}"
            lines.append(
                f"| [](/{page}) | {run['seconds']:.0f} s | {run['memory_mb']:,} MB "
                f"| {run['download_mb']} MB | {hardware(run)}; {software} | {run['date']} |"
            )
    return lines


def context(app: Sphinx, page: str, template: str, ctx: dict, doctree) -> None:
    """Give the template what it shows, and mend the body."""
    body, home = ctx.get("body") or "", page == app.config.root_doc
    plain = unescape(re.sub(r"<[^>]+>", "", ctx.get("title") or page.capitalize()))
    name = app.config.html_title
    base = app.config.html_baseurl
    address = base if home else urljoin(base, f"{page}.html")
    description = (describe(doctree) if doctree is not None else "") or f"{plain}: {name}."
    book = {
        "title": escape(name if home else f"{plain} — {name}"),
        "description": escape(description, quote=True),
        "address": "" if page in ("404", "search") else address,
        "components": sorted(set(re.findall(r'<script data-component="([\w-]+)">', body))),
        "foot": f'© {app.config.copyright} {app.config.author}, <a href="'
        f'{app.config.html_theme_options["repository_url"]}/blob/main/LICENSE">MIT License</a>.',
    }
    chapter = doctree is not None and app.env.doc2path(page).endswith(".ipynb")
    image = urljoin(base, "_static/card.png")
    book["meta"] = book["address"] and metadata(
        name if home else plain, description, address, image, chapter=chapter
    )
    if doctree is not None:
        where = {key: escape(url, quote=True) for key, url in addresses(app, page).items()}
        change = f'<a href="{where["edit"]}">Suggest an edit</a>'
        change += f' <a href="{where["report"]}">Report an error on this page</a>'
        updated = f"Last updated {ctx['last_updated']}." if ctx.get("last_updated") else ""
        book["foot"] += f" {updated} {change}."
        body = pictures(tidy(body), Path(app.outdir), ctx["content_root"])
        if chapter:
            body = tell_heights(body)
            source = ctx["pathto"](f"_sources/{ctx['sourcename']}", 1)
            bar = f'<p class="actions"><a class="button" href="{where["colab"]}">Open in Colab</a> '
            bar += f'<a href="{source}" download>Download the notebook</a> {change}</p>'
            if run := run_of(page):
                runs = ctx["pathto"]("chapters/back/runs")
                bar += f'<p class="facts">{facts(run)} <a href="{runs}#chapters">All run times</a>.'
                bar += f" {updated}</p>"
            body = body.replace("</h1>", f"</h1>\n{bar}", 1)
    ctx["body"], ctx["book"] = body, book


# ---------------------------------------------------------------- repairs of a body

_SUMMARY = r'<summary[^>]*>\s*<p class="collapsed.*?</summary>'
_FOLDS = {  # what stands before the fold -> what its handle says
    r'<details class="admonition hide above-output">\s*': "Output",
    r'tag_setup[^"]*">\s*<details[^>]*>\s*': "Set-up",
    r'tag_solution[^"]*">\s*<details[^>]*>\s*': "Solution, as code",
    r'tag_hide-input[^"]*">\s*<details[^>]*>\s*': "Code",
    r"<details[^>]*>\s*": "Code and output",
}
# What extensions write that a page should not hold, and what stands there instead.
_REPAIRS = [
    # sphinx-proof and sphinx-exercise give every box the same ids, which nothing refers to
    (re.compile(r' id="(?:proof|exercise|solution)(?:-content)?"'), ""),
    # docutils 0.21 writes a deprecated role, inside a list that has other children too
    (re.compile(r' role="doc-biblioentry"'), ""),
    (re.compile(r'(<div )role="list" (class="citation-list")'), r"\1\2"),
    # myst-nb folds with two labels in paragraphs and an aria-label that hides them
    *(
        (re.compile(rf"({before}){_SUMMARY}", re.S), rf"\1<summary>{words}</summary>")
        for before, words in _FOLDS.items()
    ),
    # sphinx-design's chevron: the browser's own marker says the same
    (re.compile(r'<span class="sd-summary-state-marker.*?</svg></span>', re.S), ""),
    # a component's script, once a page: the template loads it as a file
    (re.compile(r'<script data-component="[\w-]+">.*?</script>', re.S), ""),
    # pandas writes a style sheet and presentational attributes into each table
    (re.compile(r"<style scoped>.*?</style>", re.S), ""),
    (re.compile(r'(<table )border="1" '), r"\1"),
    (re.compile(r'<tr style="text-align: right;">'), "<tr>"),
    (re.compile(r"(<summary[^>]*>\s*)<p[^>]*>(.*?)</p>(?=\s*</summary>)", re.S), r"\1\2"),
    # no line begins with the % of a number
    (
        re.compile(r"<(pre|svg)\b.*?</\1>|(?<=\d) (?=%)", re.S),
        lambda m: m[0] if m[1] else "\u00a0",
    ),
    # spaces and empty spans around code
    (re.compile(r'<span class="w">(\s*)</span>'), r"\1"),
    (re.compile(r"<pre><span></span>"), "<pre>"),
    (re.compile(r'<span class="pre">(.*?)</span>'), r"\1"),
    # a long name may be broken after its dots and underscores
    (re.compile(r"(?<=[a-z0-9][._])(?=[a-z][^<]*</code>)"), "<wbr>"),
]
_FOLDED = re.compile(
    r'<div class="([^"]*\bdropdown\b[^"]*)"( id="[^"]*")?>\s*<p class="admonition-title">(.*?)</p>',
    re.S,
)


def fold(body: str) -> str:
    """Boxes of class ``dropdown`` as native ``<details>``: they open without a script."""
    while m := _FOLDED.search(body):
        depth, end = 1, m.end()
        for tag in re.finditer(r"<div\b|</div>", body[m.end() :]):
            depth += 1 if tag[0] == "<div" else -1
            if depth == 0:
                end += tag.start()
                break
        classes = m[1].replace("dropdown", "").split()
        title = re.sub(r"</?a\b[^>]*>", "", m[3])  # a link inside a button cannot be reached
        head = f'<details class="{" ".join(classes)}"{m[2] or ""}>'
        head += f'<summary class="admonition-title">{title}</summary>'
        rest = body[end + len("</div>") :]
        body = body[: m.start()] + head + body[m.end() : end] + "</details>" + rest
    return body


def tidy(body: str) -> str:
    """The body of a page without what shuts readers out or only weighs."""
    for pattern, instead in _REPAIRS:
        body = pattern.sub(instead, body)
    _, plain = token_styles()
    body = re.sub(rf'<span class="(?:{"|".join(plain)})">([^<]*)</span>', r"\1", body)
    return fold(body)


def height(html: str, width: int) -> int:
    """About how high a section is, in pixels, when the text is ``width`` wide; rather too much."""
    html = re.sub(r"<details.*?</details>", '<p class="folded"></p>', html, flags=re.S)
    code = re.findall(r"<pre>(.*?)</pre>", html, re.S)
    total = sum(21 * text.count("\n") + 60 for text in code)
    for w, h in re.findall(r'<svg class="kl-figure"[^>]*? width="(\d+)" height="(\d+)"', html):
        total += int(h) * min(1, width / int(w)) + 30
    total += 900 * html.count("<kl-") * (1 if width < 500 else 0.65)
    total += (
        75 * html.count('<div class="math"')
        + 45 * len(re.findall("<p[ >]", html))
        + 40 * html.count("<tr")
    )
    text = re.sub(r"<pre>.*?</pre>|<svg.*?</svg>|<script.*?</script>|<[^>]+>", "", html, flags=re.S)
    return round(1.1 * (total + 28 * len(text) / (width / 9.5)))


def tell_heights(body: str) -> str:
    """Write into each section of a chapter how high it is, about, until it is laid out."""
    start = re.compile(r'<section id="([^"]+)">\n(?=<h2>)')
    places = [m.start() for m in start.finditer(body)] + [len(body)]
    for a, b in reversed(list(pairwise(places))):
        style = f"--phone:{height(body[a:b], 358)}px;--desk:{height(body[a:b], 700)}px"
        body = body[:a] + f'<section style="{style}"' + body[a + len("<section") :]
    return body


def pictures(body: str, out: Path, root: str) -> str:
    """Pictures that a notebook carries within itself as files: only those in view are fetched."""

    def store(m: re.Match) -> str:
        data = base64.b64decode(m[1])
        name = f"{hashlib.sha256(data).hexdigest()[:12]}.webp"
        (out / "_images").mkdir(exist_ok=True)
        (out / "_images" / name).write_bytes(data)
        return f'loading="lazy" decoding="async" src="{root}_images/{name}"'

    return re.sub(r'src="data:image/webp;base64,([A-Za-z0-9+/=]+)"', store, body)


# ---------------------------------------------------------------- files beside the pages


@cache
def token_styles() -> tuple[str, list[str]]:
    """Style sheet for code tokens in light and dark, and the classes that need none."""
    from pygments.styles import get_style_by_name
    from pygments.token import STANDARD_TYPES, Name, Operator

    pair = [get_style_by_name(f"a11y-high-contrast-{mode}") for mode in ("light", "dark")]
    ink = [style.style_for_token(Name)["color"] for style in pair]
    rules, plain = [], []
    for token, name in STANDARD_TYPES.items():
        if not name:
            continue
        light, dark = (style.style_for_token(token) for style in pair)
        quiet = token in Operator and token is not Operator.Word  # signs are ink, not ornament
        if quiet or (
            [light["color"], dark["color"]] == ink and not light["bold"] | light["italic"]
        ):
            plain.append(name)
            continue
        a, b = (s["color"] or c or "000000" for s, c in zip((light, dark), ink))
        extra = ";font-weight:600" * light["bold"] + ";font-style:italic" * light["italic"]
        rules.append(
            f".highlight .{name}{{color:#{a};color:light-dark(#{a},#{b}){extra}}}"  # old browsers
        )
    return "\n".join(rules), plain


def write_math_font(pages: list[str], out: Path, cache: Path) -> None:
    """Cut STIX Two Math down to the book's formulas, for readers who have no such font.

    The font (SIL Open Font License) comes out of the package ziamath. Android and most Linux
    machines have no font with a MATH table, and without one a browser cannot stretch a root.
    """
    characters = "".join(sorted(set().union(*map(formulas.characters, pages))))
    stamp, font = cache / "math-characters.txt", out / "_static" / "math.woff2"
    if font.exists() and stamp.exists() and stamp.read_text(encoding="utf8") == characters:
        return
    import logging
    from importlib.util import find_spec

    from fontTools import subset

    logging.getLogger("fontTools").setLevel(logging.ERROR)
    source = Path(find_spec("ziamath").origin).parent / "fonts" / "STIXTwoMath-Regular.ttf"
    options = subset.Options(
        flavor="woff2", hinting=False, layout_features=["math", "ssty", "dtls"]
    )
    options.name_IDs = [0, 1, 2, 13]  # its license travels with it
    loaded = subset.load_font(str(source), options)
    cut = subset.Subsetter(options)
    cut.populate(text=characters)
    cut.subset(loaded)
    subset.save_font(loaded, str(font), options)
    stamp.write_text(characters, encoding="utf8")


# Names by which people look for a symbol; Greek letters know their own.
SYMBOLS = {
    "∇": "nabla gradient", "∑": "sum sigma", "∫": "integral", "∥": "parallel divergence",
    "‖": "parallel divergence", "∞": "infinity", "∂": "partial derivative", "⊤": "transpose",
    "⊙": "odot hadamard product", "≤": "at most leq", "≥": "at least geq", "≠": "not equal",
    "∈": "element of in", "√": "square root", "𝔼": "expectation", "ℝ": "real numbers",
    "∏": "product", "→": "to arrow", "∼": "distributed as sim", "≈": "approximately",
    "∝": "proportional", "±": "plus minus",
}  # fmt: skip


def symbol_names(text: str) -> str:
    """The names of the symbols in ``text``, so that a search for one finds the other."""
    names = set()
    for symbol in set(text):
        if symbol in SYMBOLS:
            names |= set(SYMBOLS[symbol].split())
        elif "GREEK" in unicodedata.name(symbol, ""):
            names.add(unicodedata.name(symbol).split(" LETTER ")[-1].split()[0].lower())
    return " ".join(sorted(names))


_NAMES = re.compile(r"[^\W\d][\w.]+|[^\W\d_a-zA-Z]")  # a letter alone only if Greek


class Sections(HTMLParser):
    """Cut the article of a page into sections: [title, id, text] each."""

    def __init__(self) -> None:
        super().__init__()
        self.sections: list[list[str]] = []
        self._id, self._tag, self._heading, self._skip, self._inside = "", "", False, 0, False
        self._left_out: list[str] = []  # the elements open from one that is left out on
        self._cell: list[str] = []  # the same from the code of a cell on
        self._code = ""

    def handle_starttag(self, tag, attrs) -> None:
        """Open a section at its heading; take the words of a picture."""
        a, self._tag = dict(attrs), tag
        if tag == "article":
            self._inside = True
        if tag == "section" and a.get("id"):
            self._id = a["id"]
        if tag in ("h1", "h2", "h3"):
            self._heading = True
            self.sections.append(["", self._id, ""])
        if tag in ("script", "style", "svg") or "headerlink" in (a.get("class") or ""):
            self._skip += 1
        classes = set((a.get("class") or "").split())
        left_out = {"cell_output", "above-input", "tag_grader"} & classes
        if tag in ("div", "details") and (self._left_out or left_out):
            self._left_out.append(tag)
        if tag == "div" and (self._cell or "cell_input" in classes):
            self._cell.append(tag)
        if a.get("aria-label") and self.sections:
            self.sections[-1][2] += f" {a['aria-label']} "

    def handle_endtag(self, tag) -> None:
        """Close what was opened; block elements part words."""
        if self._left_out and tag == self._left_out[-1]:
            self._left_out.pop()
        if self._cell and tag == self._cell[-1]:
            self._cell.pop()
            if not self._cell and self.sections:
                self.sections[-1][2] += " ".join(["", *_NAMES.findall(self._code), ""])
                self._code = ""
        if tag == "article":
            self._inside = False
        if tag in ("h1", "h2", "h3"):
            self._heading = False
        if self._skip and tag in ("script", "style", "svg", "a"):
            self._skip -= 1
        elif self.sections and tag in ("p", "li", "td", "th", "dt", "dd", "pre", "div", "math"):
            self.sections[-1][2] += " "

    def handle_data(self, data) -> None:
        """Text of a heading is its title; all other text is the section's."""
        if self._inside and self.sections and not self._skip and not self._left_out:
            if self._cell:
                self._code += data
                return
            name = self._tag == "mi" and len(data) > 1  # log p, not logp
            self.sections[-1][0 if self._heading else 2] += f" {data} " if name else data


def search_entry(page: str, html: str) -> list | None:
    """One page of the search index: its title and its sections: text and words of pictures.

    Of code its names and words. Left out is what cells print (mostly digits), graders, and code
    that is folded.
    """
    parser = Sections()
    parser.feed(re.sub(r'<span class="eqno">.*?</span>', "", html, flags=re.S))
    if not parser.sections:
        return None
    parts = []
    for title, anchor, text in parser.sections:
        text = re.sub(r"\s+", " ", text).strip()
        url = page if not parts else f"{page}#{anchor}"
        parts.append([title.strip(), url, text, symbol_names(title + text)])
    return [parts[0][0], parts]


def write_files(app: Sphinx, error: Exception | None) -> None:
    """After the pages: style sheet, scripts, font, search index, front page."""
    if error or app.builder.name != "html":
        return
    out = Path(app.outdir)
    static = out / "_static"
    font = (
        '@font-face{font-family:"KL Math";src:url("math.woff2") format("woff2");font-display:swap}'
    )
    css = (ROOT / "chapters/assets/static/book.css").read_text(encoding="utf8")
    (static / "book.css").write_text(f"{css}\n{font}\n{token_styles()[0]}\n", encoding="utf8")
    for script in COMPONENTS.glob("*.js"):
        shutil.copy(script, static)
    shutil.copy(ROOT / ".github" / "page.png", static / "card.png")
    found = sorted(app.env.found_docs)
    pages = {f"{d}.html": (out / f"{d}.html").read_text(encoding="utf8") for d in found}
    write_math_font(list(pages.values()), out, Path(app.doctreedir))
    entries = [e for e in (search_entry(p, html) for p, html in pages.items()) if e]
    index = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
    (static / "search-index.js").write_text(f"const klIndex = {index};\n", encoding="utf8")
    write_front_page(out, app.config.root_doc)
    base = app.config.html_baseurl
    urls = [base if d == app.config.root_doc else f"{base}{d}.html" for d in found]
    lines = "\n".join(f"<url><loc>{escape(url)}</loc></url>" for url in urls)
    (out / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{lines}\n</urlset>\n',
        encoding="utf8",
    )
    keep = {p.name for p in (ROOT / "chapters/assets/static").iterdir()} | FILES
    keep |= {script.name for script in COMPONENTS.glob("*.js")}
    for path in static.iterdir():  # the theme and its extensions copy theirs; no page loads them
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def write_front_page(out: Path, root_doc: str) -> None:
    """The landing page also at the root, so that the book's address needs no redirect."""
    folder = f"{Path(root_doc).parent.as_posix()}/"

    def move(m: re.Match) -> str:
        url = m[2]
        if not re.match(r"[a-z]+:|#|/", url):
            url = url[3:] if url.startswith("../") else folder + url
        return f'{m[1]}="{url}"'

    html = (out / f"{root_doc}.html").read_text(encoding="utf8")
    html = re.sub(r'\b(href|src|action)="([^"]+)"', move, html)
    html = html.replace('data-root="../"', 'data-root=""')
    (out / "index.html").write_text(html, encoding="utf8")
