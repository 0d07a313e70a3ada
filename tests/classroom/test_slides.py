"""The slides: each deck holds the tagged cells of its part as they are committed, and no more."""

import json
import re
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup, Tag

from chapters.assets import slides
from chapters.assets.slides import talk
from tests import browser as chrome

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))["parts"]
TOC = [part for part in TOC if "·" in part["caption"]]  # the back matter has no lecture
NUMBERS = range(1, len(TOC) + 1)
PAGES = [chapter["file"] for part in TOC for chapter in part["chapters"]]
STARTS = {"slide", "slide-more", "slide-fragment"}
LEAST = 0.75  # of the usual size of the text: 19.5 of 720 pixels
SHOWN = ("definition", "theorem", "lemma", "proposition", "corollary")


@pytest.fixture(scope="module")
def reader():
    return talk.reader()


def cells(page: str) -> list[dict]:
    """The cells of a chapter, read without nbformat."""
    found = json.loads((ROOT / f"{page}.ipynb").read_text(encoding="utf8"))["cells"]
    for cell in found:
        cell["source"] = "".join(cell["source"])
        cell["tags"] = set(cell["metadata"].get("tags", []))
    return found


def tagged(page: str) -> list[dict]:
    return [c for c in cells(page) if c["tags"] & STARTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All four decks, built once."""
    target = tmp_path_factory.mktemp("slides")
    slides.build(target, slides.parts())
    return target


@pytest.fixture(scope="module")
def chapters(folder) -> dict[str, Tag]:
    """The slides of each chapter."""
    found: dict[str, Tag] = {}
    for n, part in enumerate(TOC, 1):
        html = (folder / f"part-{n}.html").read_text(encoding="utf8")
        front, *rest = BeautifulSoup(html, "html.parser").select(".slides > section")
        assert front.h1.get_text() == part["caption"]
        assert len(rest) == len(part["chapters"])
        found |= {c["file"]: section for c, section in zip(part["chapters"], rest)}
    return found


# ---------------------------------------------------------------- tags


@pytest.mark.parametrize("page", PAGES)
def test_tags_are_known_and_on_cells_of_a_lecture(page):
    for cell in cells(page):
        tags = {t for t in cell["tags"] if t.startswith("slide")}
        assert tags <= STARTS | {"slide-output", "slide-each"}, tags
        assert len(tags & STARTS) == bool(tags), tags
        assert "slide-output" not in tags or cell.get("outputs"), cell["source"]
        assert "slide-each" not in tags or cell["cell_type"] == "markdown"
        if tags:
            assert not cell["tags"] & {"setup", "grader", "solution"}
            assert not re.search(r"\{(exercise|solution)\}|^## Exercises", cell["source"], re.M)
    assert "slide" in tagged(page)[0]["tags"]
    assert tagged(page)[-1]["source"].startswith("## Summary")


def test_no_other_page_has_tags_for_slides():
    others = {
        p.relative_to(ROOT).with_suffix("").as_posix() for p in ROOT.glob("chapters/*/*.ipynb")
    }
    assert not [p for p in others - set(PAGES) if tagged(p)]


# ---------------------------------------------------------------- what a deck holds


@pytest.mark.parametrize("page", PAGES)
def test_a_chapter_has_its_title_its_promise_and_five_to_fourteen_slides(chapters, page):
    first, *rest = chapters[page].find_all("section", recursive=False)
    title, promise = cells(page)[0]["source"].split("\n\n")[:2]
    assert first.h1.get_text() == title.removeprefix("# ")
    assert words(first.p) == source_words(promise)
    assert 5 <= len(rest) + 1 <= 14
    assert all(section.h2.get_text().strip() for section in rest)


@pytest.mark.parametrize("page", PAGES)
def test_it_holds_the_tagged_cells_in_their_order(chapters, page):
    shown = [e["data-cell"] for e in chapters[page].select("[data-cell]") if e["data-cell"]]
    ids = [i for n, i in enumerate(shown) if shown[n - 1 : n] != [i]]  # each box on its own
    assert ids == [c["id"] for c in tagged(page)]
    fragments = [e["data-cell"] for e in chapters[page].select(".fragment > .cell:first-child")]
    assert fragments == [c["id"] for c in tagged(page) if "slide-fragment" in c["tags"]]


@pytest.mark.parametrize("page", PAGES)
def test_code_and_outputs_are_those_of_the_notebook(chapters, page):
    code = [c for c in tagged(page) if c["cell_type"] == "code"]
    shown = chapters[page].select(".cell.code")
    assert len(shown) == len(code) > 3
    for cell, on_slide in zip(code, shown):
        quiet = cell["tags"] & {"slide-output", "hide-cell", "hide-input"}
        assert [e.get_text().strip("\n") for e in on_slide.select(".input")] == (
            [] if quiet else [cell["source"]]
        )
        outputs = [o for o in cell["outputs"] if o["output_type"] == "stream"]
        texts = [e.get_text().lstrip("\n") for e in on_slide.select(".printed")]
        assert texts == ["".join(o["text"]).lstrip("\n") for o in outputs]
        html = ["".join(o["data"]["text/html"]) for o in cell["outputs"] if "data" in o]
        assert [figure(e) for e in on_slide.select(".drawn")] == [
            figure(BeautifulSoup(h, "html.parser")) for h in html
        ]


def figure(e: Tag) -> tuple:
    """What a figure shows: its alternative, its words, its lines and its pictures."""
    alternatives = [f["aria-label"] for f in e.select(".kl-figure, svg.kl-figure")]
    lines = [p.get("d") for p in e.select("path")]
    pictures = [i["src"] for i in e.select("img")]
    texts = [t.get_text(" ", strip=True) for t in e.select("text, td, th")]
    assert alternatives and (lines or pictures)
    return alternatives, texts, lines, pictures


def words(e: Tag) -> list[str]:
    """The words of a slide, without formulas and what stands for a reference."""
    copy = BeautifulSoup(str(e), "html.parser")
    for extra in copy.select(".math, cite, .ref"):
        extra.decompose()
    return re.findall(r"\w+", copy.get_text(" "))


def source_words(text: str) -> list[str]:
    """The same of a piece of MyST."""
    text = re.sub(
        r"\$\$.*?\$\$(?: \([\w:-]+\))?|\$[^$]*\$|\{[\w:]+\}`[^`]*`", " ", text, flags=re.S
    )
    text = re.sub(r"\[\]\([^)]*\)", " ", text)
    text = re.sub(r"\]\([^)]*\)|^:(?:label|class):.*$|^\|[-|]+\|$", " ", text, flags=re.M)
    return re.findall(r"\w+", re.sub(r"^ *\d\. ", "", text, flags=re.M))


def told(source: str) -> str:
    """What of a Markdown cell belongs on a slide: found with regular expressions alone."""
    box = re.compile(r"^(:{3,})\{([\w:]+)\}(.*?)^\1$", re.M | re.S)
    boxes = list(box.finditer(source))
    strong = [m for m in boxes if m[2][4:] in SHOWN or ":class: popular-claim" in m[3]]
    if found := strong or [m for m in boxes if m[2] == "admonition"]:
        return " ".join(f"{m[2][4:] if m[2][4:] in SHOWN else ''} {m[3]}" for m in found)
    parts = re.split(r"^##+ .*$", box.sub("", source), flags=re.M)
    return next((p for p in parts[1:] if p.strip()), parts[0])


@pytest.mark.parametrize("page", PAGES)
def test_text_is_that_of_the_notebook(chapters, page):
    for cell in tagged(page):
        if cell["cell_type"] == "markdown":
            on_slide = chapters[page].select(f'[data-cell="{cell["id"]}"]')
            shown = [w.lower() for e in on_slide for w in words(e)]
            assert shown == [w.lower() for w in source_words(told(cell["source"]))]
            formulas = sum(len(e.select("div.math")) for e in on_slide)
            assert formulas == len(re.findall(r"\$\$.*?\$\$", told(cell["source"]), re.S))


def test_no_solution_and_no_exercise(chapters):
    text = " ".join(section.get_text() for section in chapters.values())
    assert not re.search(r"\bgrade_\w+\(|Exercise \d|:::", text)
    hidden = [c for p in PAGES for c in cells(p) if c["tags"] & {"grader", "solution"}]
    assert len(hidden) > 100
    for cell in hidden:
        for name in re.findall(r"^def (grade\w*)", cell["source"], re.M):
            assert name not in text


def test_links_lead_to_the_published_book_and_sizes_are_small(folder, chapters, reader):
    base = reader[1]["base"]
    links = [a["href"] for section in chapters.values() for a in section.select("a[href]")]
    assert len(links) > 20
    for link in links:
        assert link.startswith((base, "https://")), link
        if link.startswith(base):
            page = link.removeprefix(base).partition("#")[0].removesuffix(".html")
            assert list(ROOT.glob(f"{page}.*")), link
    sizes = [p.stat().st_size for p in folder.glob("part-*.html")]
    assert len(sizes) == len(TOC) and max(sizes) < 3e6
    index = BeautifulSoup((folder / "index.html").read_text(encoding="utf8"), "html.parser")
    assert [a["href"] for a in index.select("li a")] == [f"part-{n}.html" for n in NUMBERS]
    assert [a.get_text() for a in index.select("li a")] == [part["caption"] for part in TOC]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "text",
    [
        ":::{note}\nIt has no rule.\n:::", ":::{exercise} A title\n:label: x\n\nDo it.\n:::",
        ":::{prf:remark} A title\n\nWords.\n:::", "see {doc}`two-directions`", "{eq}`eq-no-such`",
        "{cite}`nobody1900`", "a <b>bold</b> word", "<div>a block</div>", "```python\nx = 1\n```",
        ":::{prf:theorem} A title\n\nsee {doc}`two-directions`\n:::", "![a picture](x.png)", "---",
    ],
)  # fmt: skip
def test_what_has_no_rule_is_an_error(reader, text):
    md, env = reader
    with pytest.raises((ValueError, KeyError)):
        md.render(text, env | {"page": PAGES[0]})


def test_the_published_address_follows_a_fork(monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    assert talk.reader()[1]["base"] == config["html"]["baseurl"]
    monkeypatch.setenv("GITHUB_REPOSITORY", "Someone/a-copy")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    assert talk.reader()[1]["base"] == "https://someone.github.io/a-copy/"


def test_what_has_a_rule_is_shown(reader):
    md, env = reader
    env = env | {"page": "chapters/divergence/two-directions"}
    html = md.render("As {cite}`kullback1951,pang2005` and {prf:ref}`def-directions` say", env)
    assert "[Kullback and Leibler, 1951; Pang and Lee, 2005]" in html
    assert "two-directions.html#def-directions" in html and "Two directions of the div" in html
    html = md.render("[](entropy-and-kl.ipynb), [words](../computing/stable-kl.ipynb)", env)
    assert ">Entropy, cross-entropy and KL divergence</a>" in html
    assert f'href="{env["base"]}chapters/computing/stable-kl.html">words</a>' in html
    assert md.render(":::{prf:proof}\nBy magic.\n:::", env) == ""


@pytest.mark.parametrize("tags", [["solution", "slide"], ["slide", "slide-more"]])
def test_a_solution_or_two_places_for_a_cell_are_an_error(reader, tmp_path, monkeypatch, tags):
    md, env = reader
    nb = nbformat.v4.new_notebook()
    nb.cells = [nbformat.v4.new_markdown_cell("# T\n\nP."), nbformat.v4.new_code_cell("1 + 1")]
    nb.cells[1].metadata["tags"] = tags
    nbformat.write(nb, tmp_path / "x.ipynb")
    monkeypatch.setattr(slides, "ROOT", tmp_path)
    with pytest.raises(ValueError, match="is for no slide"):
        slides.chapter("x", md, env)


# ---------------------------------------------------------------- in the browser

NOW = ".slides > section.present > section.present"
STATE = """([h, v]) => { Reveal.slide(h, v, 99);
  const s = Reveal.getCurrentSlide(), all = [...s.querySelectorAll("*")];
  const wide = all.filter(e => !e.closest("math, svg") && e.clientWidth
    && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1);
  const out = all.filter(e => { const b = e.getBoundingClientRect();
    return b.width && !e.closest("svg, .on-dark") && (b.bottom > 680 || b.right > 1240); });
  const broken = all.filter(e => e.matches("img") && e.checkVisibility() && !e.naturalWidth);
  const waits = all.filter(e => e.matches(".fragment:not(.visible)"));
  return {fit: +(s.style.getPropertyValue("--fit") || 1), width: s.getBoundingClientRect().width,
    high: s.scrollHeight - s.clientHeight,
    wrong: [wide, out, broken, waits].map(es => es.map(e => e.outerHTML.slice(0, 90)))}; }"""


@pytest.fixture
def show(browser):
    """Open a deck from its folder; a complaint or a request to elsewhere fails the test."""
    wrong, contexts = [], []

    def open_(url: str):
        context = browser.new_context(viewport={"width": 1280, "height": 720})
        contexts.append(context)
        page = context.new_page()
        here = url.rpartition("/")[0]
        page.on("request", lambda r: r.url.startswith((here, "data:")) or wrong.append(r.url))
        page.on("requestfailed", lambda r: wrong.append(r.url))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
        page.goto(url)
        page.wait_for_function("Reveal.isReady()")
        page.evaluate(chrome.FONTS)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong


@pytest.mark.parametrize("number", NUMBERS)
def test_every_slide_fits_and_nothing_comes_from_elsewhere(folder, show, number):
    page = show((folder / f"part-{number}.html").as_uri())
    places = page.evaluate("Reveal.getSlides().map(s => Object.values(Reveal.getIndices(s)))")
    assert len(places) > 50
    for h, v, *_ in places:
        state = page.evaluate(STATE, [h, v or 0])
        where = f"part-{number}.html#/{h}/{v}: {state}"
        assert state["fit"] >= LEAST and state["high"] <= 0 and state["width"] == 1280, where
        assert state["wrong"] == [[], [], [], []], where


def test_a_fragment_waits_for_a_key(folder, show):
    page = show((folder / "part-1.html").as_uri())
    page.evaluate("""() => { const section = [...document.querySelectorAll("section section")]
        .find(s => s.querySelectorAll(".fragment").length === 1);
      const i = Reveal.getIndices(section); Reveal.slide(i.h, i.v); }""")
    fragment, before = (
        page.locator(f"{NOW} .fragment"),
        page.evaluate("Reveal.getIndices().v"),
    )
    assert fragment.evaluate("e => getComputedStyle(e).visibility") == "hidden"
    page.keyboard.press("Space")
    assert fragment.evaluate("e => getComputedStyle(e).visibility") == "visible"
    page.keyboard.press("Space")
    assert page.evaluate("Reveal.getIndices().v") == before + 1


PLACES = {2: [[1, 4]], 4: [[0, 0], [2, 1], [4, 6]]}
HIDDEN = {"exclude": [[".slides section:not(.present)"]]}


def test_axe_finds_no_barrier(folder, show):
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations", "passes"]}
    with chrome.serve(folder) as address:  # axe reads style sheets, which a folder forbids
        for number, places in PLACES.items():
            page = show(f"{address}part-{number}.html")
            for place in places:
                page.evaluate(STATE, place)
                if place != [0, 0]:  # the controls cover all text: it could not be measured
                    page.add_style_tag(
                        content=".controls, .progress, .slide-number { display: none !important }"
                    )
                found = Axe().run(page, context=HIDDEN, options=options).response
                wrong = [(v["id"], v["nodes"][0]["html"][:200]) for v in found["violations"]]
                assert wrong == [], (number, place)
                measured = [r["nodes"] for r in found["passes"] if r["id"] == "color-contrast"]
                assert place == [0, 0] or len(measured[0]) > 3, (number, place)
