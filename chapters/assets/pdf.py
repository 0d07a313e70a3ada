"""The whole book as one PDF: the built pages in the order of _toc.yml, printed by Chromium.

Each page gives its article. Ids get the page's name as a prefix, so that a link to another page
becomes a link within the PDF; a link to anything else leads to the published address. Chromium
cannot write page numbers into a table of contents, so the book is printed twice: the first print
says on which page each chapter begins.
"""

import json
import subprocess
import sys
import tomllib
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from playwright.sync_api import Browser, Page, Route
from pypdf import PdfReader

from tests import browser as chrome

ROOT = Path(__file__).resolve().parents[2]
TEXT = {"width": 642, "height": 960}  # CSS pixels: A4 less the margins of print.css
SETUP = "Every chapter begins with this set-up cell; here it is printed once:"
IDREFS = ("for", "headers", "aria-labelledby", "aria-describedby", "aria-controls")
# A formula or a table that is wider than the text is set smaller, until it fits.
FIT = """document.querySelectorAll("div.math, table").forEach(e => {
  const wide = () => e.scrollWidth > e.clientWidth || e.offsetWidth > e.parentElement.clientWidth;
  for (let k = 0.98; wide() && k > 0.4; k -= 0.02) e.style.setProperty("--fit", k.toFixed(2));
})"""


class Chapter(NamedTuple):
    """A page of the book, with its ids and links made ready for the PDF."""

    part: str  # empty for the first page
    slug: str
    title: str
    article: Tag


class Book(NamedTuple):
    """What is printed, the folder where it is built, and the address where it is published."""

    site: Path
    title: str
    base: str
    sheets: list[str]
    chapters: list[Chapter]


def order(root: Path = ROOT) -> list[tuple[str, str]]:
    """(part, page) for each page of the book, as _toc.yml has it."""
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf8"))
    pages = [(part["caption"], c["file"]) for part in toc["parts"] for c in part["chapters"]]
    return [("", toc["root"]), *pages]


def slug(page: str) -> str:
    """The name of a page within the PDF: ``divergence-two-directions``."""
    return page.removeprefix("chapters/").replace("/", "-")


def rewrite(article: Tag, url: str, slugs: dict[str, str]) -> None:
    """Prefix every id of the article at ``url``, and lead its links to where they now belong."""
    here = f"{slugs[url]}--"

    def lead(href: str) -> str:
        page, fragment = urldefrag(urljoin(url, href))
        if page not in slugs:
            return urljoin(url, href)
        return f"#{slugs[page]}--{unquote(fragment)}" if fragment else f"#{slugs[page]}"

    for e in article.find_all(True):
        for key, value in e.attrs.items():
            if key == "id":
                e[key] = here + value
            elif key in ("href", "xlink:href"):
                e[key] = lead(value)
            elif key == "src":
                e[key] = urljoin(url, value)
            elif key in IDREFS:
                words = value.split() if isinstance(value, str) else value
                e[key] = " ".join(here + word for word in words)
            elif isinstance(value, str) and "url(#" in value:
                e[key] = value.replace("url(#", f"url(#{here}")


def read(site: Path) -> Book:
    """The built pages; the published address is the one that they name themselves."""
    toc = [(part, page, site / f"{page}.html") for part, page in order()]
    soups = [BeautifulSoup(f.read_text(encoding="utf8"), "html.parser") for *_, f in toc]
    base = soups[0].select_one("link[rel=canonical]")["href"]  # the first page is the front page
    urls = [f"{base}{page}.html" for _, page, _ in toc]
    slugs = {url: slug(page) for url, (_, page, _) in zip(urls, toc, strict=True)}
    chapters: list[Chapter] = []
    for (part, page, _), url, soup in zip(toc, urls, soups, strict=True):
        article = soup.select_one("article.bd-article")
        for e in article.select("script, button, a.headerlink, .actions"):
            e.decompose()
        for e in article.select("div.tag_setup"):  # the same in every chapter: printed once
            if any(c.article.select("div.tag_setup") for c in chapters):
                e.decompose()
            else:
                e.insert_before(BeautifulSoup(f"<p>{SETUP}</p>", "html.parser"))
        for e in article.select("details"):
            e["open"] = ""
        rewrite(article, url, slugs)
        article["id"] = slug(page)
        chapters.append(Chapter(part, slug(page), article.h1.get_text(), article))
    sheets = [urljoin(urls[0], e["href"]) for e in soups[0].select("link[rel=stylesheet]")]
    return Book(site, chapters[0].title, base, sheets, chapters)


def front(book: Book, pages: dict[str, int]) -> str:
    """The title page and the table of contents."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    log = ["git", "-C", str(ROOT), "log", "-1", "--format=%cs, commit %h"]
    commit = subprocess.run(log, capture_output=True, text=True).stdout.strip()
    state = f"Version {project['version']}" + (f", {commit}" if commit else "")
    rows, part = [], ""
    for c in book.chapters:
        if c.part != part:
            rows.append(f'<li class="part">{escape(c.part)}</li>')
        part = c.part
        label = f"<span>{escape(c.title)}</span> <b>{pages.get(c.slug, 0)}</b>"
        rows.append(f'<li><a href="#{c.slug}">{label}</a></li>')
    return f"""<article class="bd-article kl-title">
<p class="title">{escape(book.title)}</p>
<p>{escape(book.chapters[0].article.p.get_text())}</p>
<footer><p>{state}</p><p>{project["license"]} License</p>
<p>Online, with notebooks to run and figures to move: <a href="{book.base}">{book.base}</a></p>
</footer></article>
<article class="bd-article kl-contents" id="contents"><h1>Contents</h1><ul>{"".join(rows)}</ul>
</article>"""


def document(book: Book, pages: dict[str, int]) -> str:
    """The book as one page of HTML; ``pages`` says where each chapter begins."""
    css = "".join(f'<link rel="stylesheet" href="{url}">' for url in book.sheets)
    for c in book.chapters:  # what runs along the head of each page
        left, right = (json.dumps(s, ensure_ascii=False) for s in (c.part, c.title))
        css += f"<style>@page {c.slug} {{ @top-left {{ content: {left} }} "
        css += f"@top-right {{ content: {right} }} }} #{c.slug} {{ page: {c.slug} }}</style>"
    body = "\n".join(str(c.article) for c in book.chapters)
    head = f'<meta charset="utf-8"><title>{escape(book.title)}</title>{css}'
    start = '<!doctype html><html lang="en" data-theme="light">'
    return f"{start}<head>{head}</head><body>{front(book, pages)}{body}</body></html>"


def load(page: Page, book: Book, pages: dict[str, int]) -> None:
    """Show the book as it will be on paper; what it needs comes from the built pages alone."""

    def answer(route: Route) -> None:
        path = unquote(urlsplit(route.request.url.removeprefix(book.base)).path)
        if route.request.url == f"{book.base}book":
            route.fulfill(body=document(book, pages), content_type="text/html; charset=utf-8")
        elif route.request.url.startswith(book.base) and (book.site / path).is_file():
            route.fulfill(path=book.site / path)
        else:
            route.abort()

    page.route("**/*", answer)
    page.emulate_media(media="print", color_scheme="light")
    page.goto(f"{book.base}book")
    page.evaluate(FIT)


def build(browser: Browser, book: Book, target: Path) -> None:
    """Print the book to ``target``, again and again until its page numbers hold."""
    pages: dict[str, int] = {}
    for _ in range(4):
        page = browser.new_page(viewport=TEXT)
        load(page, book, pages)
        page.pdf(path=target, format="A4", print_background=True, tagged=True, outline=True,
                 prefer_css_page_size=True)  # fmt: skip
        page.close()
        reader = PdfReader(target)
        found = {k.lstrip("/"): d for k, d in reader.named_destinations.items()}
        now = {c.slug: reader.get_destination_page_number(found[c.slug]) + 1 for c in book.chapters}
        if now == pages:
            return
        pages = now
    raise RuntimeError("the page numbers of the table of contents do not settle")


if __name__ == "__main__":
    if chrome.chromium() is None:
        sys.exit("no Chromium or Chrome is installed (Debian: apt-get install chromium)")
    pdf = ROOT / "_build" / "book.pdf"
    with chrome.launch() as launched:
        build(launched, read(ROOT / "_build" / "html"), pdf)
    print(pdf)
