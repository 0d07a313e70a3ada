"""The whole book as a PDF: nothing missing, nothing cut, every link and page number right."""

import re
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import claims
import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader
from pypdfium2 import PdfDocument

from chapters.assets import pdf
from tests import browser as chrome

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"


@pytest.fixture(scope="module")
def book():
    return pdf.read(SITE)


@pytest.fixture(scope="module")
def printed(browser, book, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("pdf") / "book.pdf"
    pdf.build(browser, book, target)
    return target


@pytest.fixture(scope="module")
def reader(printed) -> PdfReader:
    return PdfReader(printed)


@pytest.fixture(scope="module")
def texts(printed) -> list[str]:
    """Page by page; pypdf would take minutes. PDFium writes U+FFFE for a hyphen at a line's end."""
    with PdfDocument(printed) as document:
        pages = [page.get_textpage().get_text_range() for page in document]
    return [text.replace("\ufffe", "-") for text in pages]


def plain(text: str) -> str:
    """One space between words; a glyph that stands for two characters reads as the usual one."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text))


def packed(text: str) -> str:
    return plain(text).replace(" ", "")


def outline(items: list) -> list:
    """The entries of the outline, whatever their level."""
    return [e for i in items for e in (outline(i) if isinstance(i, list) else [i])]


@pytest.fixture(scope="module")
def links(reader) -> list[tuple[int, str]]:
    """(page, target) for each link: ``#name`` within the PDF, else an address."""
    found = []
    for n, page in enumerate(reader.pages, 1):
        for note in page.get("/Annots", []):
            note = note.get_object()
            if note["/Subtype"] == "/Link":
                inside = note.get("/Dest")
                found.append((n, f"#{str(inside)[1:]}" if inside else note["/A"]["/URI"]))
    return found


def starts(reader, book) -> dict[str, int]:
    """The page on which each chapter begins, by its destination."""
    names = reader.named_destinations
    return {
        c.slug: reader.get_destination_page_number(names[f"/{c.slug}"]) + 1 for c in book.chapters
    }


def test_metadata_and_size(reader, book):
    root = reader.trailer["/Root"]
    assert reader.metadata.title == book.title
    assert root["/Lang"] == "en"
    assert root["/MarkInfo"]["/Marked"] and "/StructTreeRoot" in root
    assert 5 * len(book.chapters) < len(reader.pages) < 40 * len(book.chapters)
    for page in reader.pages:  # A4, upright
        assert [round(float(v) / 72 * 25.4) for v in page.mediabox[2:]] == [210, 297]


def test_title_page(texts, book):
    text = plain(texts[0])
    assert book.title in text and book.base in text
    assert packed(book.chapters[0].article.p.get_text()) in packed(texts[0])  # the promise
    assert "MIT License" in text and re.search(r"Version \d", text)


def test_contents_name_the_page_of_every_chapter(reader, texts, book):
    begin = starts(reader, book)
    contents = packed("".join(texts[1 : min(begin.values()) - 1]))
    assert list(begin.values()) == sorted(begin.values())
    for c in book.chapters:
        number = re.search(rf"{re.escape(packed(c.title))}(\d+)", contents)
        assert number, f"{c.title!r} is not in the contents: {contents}"
        assert int(number[1]) == begin[c.slug], c.title
        title = packed(texts[begin[c.slug] - 1])
        assert title.count(packed(c.title)) >= 2, f"{c.title}: running head and title"


def test_outline_has_every_chapter(reader, book):
    entries = {e.title: reader.get_destination_page_number(e) + 1 for e in outline(reader.outline)}
    for c in book.chapters:
        assert entries.get(plain(c.title)) == starts(reader, book)[c.slug], c.title
    sections = [h for c in book.chapters for h in c.article.select("h2")]
    assert len(entries) > len(sections) / 2 > 10


def test_every_page_has_its_number_and_its_chapter(reader, texts, book):
    begin = starts(reader, book)
    for n, text in enumerate(texts[1:], 2):
        assert str(n) in text.split(), f"page {n} has no number"
        now = [c for c in book.chapters if begin[c.slug] <= n]
        assert not now or packed(now[-1].title) in packed(text), f"page {n} has no running head"
        assert packed(text).removesuffix(str(n)), f"page {n} is empty"


def test_every_link_leads_somewhere(reader, links, book):
    inside = {target[1:] for _, target in links if target.startswith("#")}
    missing = {name for name in inside if f"/{name}" not in reader.named_destinations}
    assert not missing
    written = {a["href"][1:] for c in book.chapters for a in c.article.select('a[href^="#"]')} | {
        c.slug for c in book.chapters
    }
    assert inside == written and len(inside) > 100
    ids = {e["id"] for c in book.chapters for e in c.article.select("[id]")}
    ids |= {c.article["id"] for c in book.chapters}
    assert inside <= ids


def test_links_out_lead_to_the_web(links, book):
    for n, target in links:
        if target.startswith("#"):
            continue
        assert re.match(r"(https?|mailto):", target), f"page {n}: {target}"
        if target.startswith(book.base):  # a file of the site that is not a page of the book
            path = unquote(target.removeprefix(book.base).split("#")[0])
            assert (SITE / (path or "index.html")).exists(), f"page {n}: {target}"


def test_ids_are_unique(book):
    ids = [e["id"] for c in book.chapters for e in c.article.select("[id]")]
    assert len(ids) == len(set(ids))


def test_references_within_pictures_and_forms_followed(book):
    for c in book.chapters:
        ids = {e["id"] for e in c.article.select("[id]")}
        text = str(c.article)
        for name in re.findall(r"url\(#([^)]+)\)", text):
            assert name in ids, name
        for use in c.article.select("use[href]"):
            assert use["href"].removeprefix("#") in ids, use


def test_no_code_is_cut(texts, book):
    """Every line of code, in order of the book; the running heads stand between pages."""
    heads = "|".join(re.escape(packed(c.part + c.title)) for c in book.chapters)
    text = re.sub(rf"({heads})\d*", "", packed("".join(texts)))
    lost = [
        f"{path.stem}: {line}"
        for path in claims.notebooks(ROOT)
        for cell in claims.load(path)
        if cell["cell_type"] == "code"
        for line in cell["source"].splitlines()
        if packed(line) not in text
    ]
    assert not lost, lost[:20]


@pytest.fixture(scope="module")
def sheet(browser, book):
    """The book in the browser, as wide as its text on A4; with the requests that failed."""
    page = browser.new_page(viewport=pdf.TEXT)
    page.failed = []
    page.on("requestfailed", lambda request: page.failed.append(request.url))
    pdf.load(page, book, {})
    yield page
    page.close()


def test_nothing_is_wider_than_the_paper_or_too_small_to_read(sheet):
    wide = sheet.evaluate("""() => [...document.querySelectorAll("article *")]
        .filter(e => !e.closest("svg *") && e.getClientRects().length)
        .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5
                  || e.getBoundingClientRect().left < -0.5)
        .map(e => `${e.closest("article").id}: ${e.outerHTML.slice(0, 120)}`)""")
    assert not wide, wide[:10]
    assert sheet.evaluate("document.documentElement.scrollWidth") <= pdf.TEXT["width"]
    small = sheet.evaluate("""() => [...document.querySelectorAll("article :is(p, li, td, pre)")]
        .filter(e => e.getClientRects().length && parseFloat(getComputedStyle(e).fontSize) < 9.3)
        .map(e => `${e.closest("article").id}: ${e.outerHTML.slice(0, 120)}`)""")
    assert not small, small[:10]  # 9.3 CSS pixels are 7 points


def test_nothing_stays_folded_and_nothing_fails_to_load(sheet):
    assert not sheet.failed
    hidden = sheet.evaluate("""() => [...document.querySelectorAll("article :is(p, pre, table)")]
        .filter(e => !e.closest("summary") && !e.checkVisibility({opacityProperty: true,
            visibilityProperty: true, contentVisibilityAuto: true}))
        .map(e => e.outerHTML.slice(0, 120))""")
    assert not hidden, hidden[:10]
    faded = sheet.evaluate("""() => [...document.querySelectorAll("article :not(svg, svg *)")]
        .map(e => [e, getComputedStyle(e)]).filter(([e, style]) => e.getClientRects().length
            && (style.opacity < 1 || style.animationName !== "none"))
        .map(([e]) => e.outerHTML.slice(0, 120))""")  # an animation prints as it starts
    assert not faded, faded[:10]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_printed_from_the_browser(browser, theme):
    """The article alone, dark ink on white paper, whatever the screen shows."""
    page = browser.new_page(color_scheme=theme, viewport=pdf.TEXT)
    with chrome.serve(SITE) as url:
        page.goto(f"{url}chapters/divergence/two-directions.html")
        page.emulate_media(media="print", color_scheme=theme)
        around = page.evaluate("""() => [...document.body.querySelectorAll("*")]
            .filter(e => e.checkVisibility() && e.getClientRects().length)
            .filter(e => !e.closest("article") && !e.querySelector("article.bd-article"))
            .map(e => e.outerHTML.slice(0, 120))""")
        ink = "p, li, h1, h2, td, a, code, pre, pre span, math"
        faint = page.evaluate(
            """ink => {
                const light = e => {
                    const c = getComputedStyle(e).color.match(/[\\d.]+/g).map(Number);
                    return 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2];
                };
                return [...document.querySelectorAll(`article :is(${ink})`)]
                    .filter(e => e.checkVisibility() && light(e) > 120)
                    .map(e => `${getComputedStyle(e).color} ${e.outerHTML.slice(0, 120)}`);
            }""",
            ink,
        )
        assert page.locator("article h1").is_visible()
        assert page.locator("article details pre").first.is_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= pdf.TEXT["width"]
    page.close()
    assert not around, around[:10]
    assert not faint, faint[:10]


def test_screens_do_not_take_the_rules_for_paper():
    index = BeautifulSoup((SITE / "chapters/index.html").read_text(encoding="utf8"), "html.parser")
    assert index.select_one('link[href*="print.css"]')["media"] == "print"
