"""The built HTML (`make book` runs first): links, hosts, alternatives, formulas, claims."""

import re
from copy import copy
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import claims
import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
ALL = sorted(p for p in SITE.rglob("*.html") if "_static" not in p.parts)
REDIRECTS = [p for p in ALL if 'http-equiv="refresh"' in p.read_text(encoding="utf8")[:500]]
PAGES = [p for p in ALL if p not in REDIRECTS]
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
BASE = CONFIG["html"]["baseurl"]


@pytest.fixture(scope="module")
def soups() -> dict[Path, BeautifulSoup]:
    assert PAGES, "no built book: run `make book`"
    return {p: BeautifulSoup(p.read_text(encoding="utf8"), "html.parser") for p in PAGES}


def test_every_chapter_is_built_and_newer_than_its_source(soups):
    for path in claims.notebooks(ROOT):
        html = SITE / path.relative_to(ROOT).with_suffix(".html")
        assert html in soups
        assert html.stat().st_mtime >= path.stat().st_mtime, f"{html} is older than {path}"


def test_no_broken_internal_link(soups):
    ids = {p: {e["id"] for e in s.select("[id]")} for p, s in soups.items()}
    broken = []
    for page, soup in soups.items():
        for a in soup.select("a[href]"):
            url = urlsplit(a["href"])
            if url.scheme or url.netloc or a["href"] in ("", "#"):
                continue
            if page.name == "404.html":  # its links are absolute below the published address
                continue
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            if not target.exists():
                broken.append(f"{page.name}: {a['href']}")
            elif url.fragment and target in ids and unquote(url.fragment) not in ids[target]:
                broken.append(f"{page.name}: {a['href']} (no such place)")
    assert not broken


def test_no_request_leaves_the_page(soups):
    for page, soup in soups.items():
        loads = [e.get("src") for e in soup.select("script[src], img[src], iframe[src]")]
        loads += [e.get("href") for e in soup.select("link[rel=stylesheet], link[rel=preload]")]
        foreign = [u for u in loads if u and urlsplit(u).netloc]
        assert not foreign, f"{page}: {foreign}"


def test_formulas_are_set_at_build_time(soups):
    for page, soup in soups.items():
        assert not soup.select("script[src*=mathjax i]"), page
        for e in soup.select("span.math, div.math"):
            assert e.find("math"), f"{page}: {e.get_text()[:60]}"
        body = copy(soup.find("article"))
        for code in body.select("pre, code, math, script") if body else []:
            code.extract()
        assert not body or not re.search(r"\$[^$\n]+\\[a-z]+|\\\(", body.get_text()), page


def test_no_table_halves_the_bars_of_a_divergence(soups):
    """In a table Markdown takes the backslash of one bar with two strokes for its own."""
    for page, soup in soups.items():
        cells = [m.get_text() for m in soup.select("td math")]
        halved = [m for m in cells if m.startswith("D(") and "∣" in m and "∥" not in m]
        assert not halved, f"{page}: {halved}"


def test_directives_left_no_raw_text(soups):
    for page, soup in soups.items():
        article = soup.find("article")
        text = article.get_text() if article else ""
        found = re.search(r":::|\{(?:prf|cite|eq|exercise|doc)[:}]", text)
        assert not found, f"{page}: …{text[max(0, found.start() - 60) : found.end() + 60]}…"


def test_every_image_has_words(soups):
    for page, soup in soups.items():
        for img in soup.select("article img"):
            assert img.get("alt", "").strip(), f"{page}: {img.get('src', '')[:60]}"
        for svg in soup.select("article svg.kl-figure"):
            assert len(svg["aria-label"].split()) >= 6


def test_ids_are_unique(soups):
    for page, soup in soups.items():
        ids = [e["id"] for e in soup.select("[id]")]
        twice = {i for i in ids if ids.count(i) > 1} if len(set(ids)) < len(ids) else set()
        assert not twice, f"{page}: {sorted(twice)[:5]}"


def test_claims_page_lists_every_statement_and_leads_to_its_cell(soups):
    page = SITE / "chapters/back/claims.html"
    text = soups[page].get_text().replace("’", "'").replace("“", '"').replace("”", '"')
    links = {a["href"] for a in soups[page].select("article a[href]")}
    for path in claims.notebooks(ROOT):
        html = path.relative_to(ROOT).with_suffix(".html")
        for label, (_, anchors) in claims.tagged(path, "claim").items():
            for anchor in anchors:
                assert f"../../{html}#{anchor}" in links, label
        for claim in claims.read(path, ROOT):
            assert claim.title.split("$")[0] in text
        for entry in claims.errata(path, ROOT):
            assert entry.label in text


def test_every_chapter_can_be_run_changed_and_reported(soups):
    for path in claims.notebooks(ROOT):
        source = path.relative_to(ROOT).as_posix()
        soup = soups[SITE / Path(source).with_suffix(".html")]
        links = {a.get_text(): a["href"] for a in soup.select("p.actions a")}
        assert links["Open in Colab"].startswith("https://colab.research.google.com/github/")
        assert links["Open in Colab"].endswith(f"/blob/main/{source}")
        assert links["Suggest an edit"].endswith(f"/edit/main/{source}")
        report = links["Report an error on this page"]
        assert "/issues/new?" in report and quote(source.removesuffix(".ipynb")) in report
        download = links["Download the notebook"]
        stored = (SITE / Path(source).parent / download).resolve()
        assert stored.read_bytes() == path.read_bytes()
        facts = soup.select_one("p.facts").get_text()
        assert re.search(r"Ran in \d+ s with [\d.]+ GB of memory on .*Colab.*CPU", facts)


def test_the_runs_page_gathers_the_runs_of_the_chapters(soups):
    rows = soups[SITE / "chapters/back/runs.html"].select("#chapters tbody tr")
    assert len(rows) == len(claims.notebooks(ROOT))
    for row, path in zip(rows, claims.notebooks(ROOT), strict=True):
        assert row.select_one("a")["href"].endswith(f"{path.stem}.html")
        assert re.search(r"\d+ s", row.get_text()) and "thread" in row.get_text()


def test_pages_can_be_found_shared_and_cited(soups):
    titles, descriptions = [], []
    for page, soup in soups.items():
        meta = {
            m.get("name") or m.get("property"): m["content"] for m in soup.select("meta[content]")
        }
        titles.append(soup.title.get_text())
        descriptions.append(meta["description"])
        assert 20 <= len(meta["description"]) <= 165, f"{page}: {meta['description']}"
        assert "<" not in meta["description"] and "\\" not in meta["description"]
        if page.name in ("404.html", "search.html"):  # nothing to cite, nothing to find
            assert meta["robots"] == "noindex" and "citation_title" not in meta
            assert not soup.select("link[rel=canonical]")
            continue
        assert meta["og:title"] and meta["og:description"] and meta["citation_title"]
        assert meta["citation_author"] and meta["citation_publication_date"]
        assert meta["og:image"].startswith(BASE)
        assert (SITE / meta["og:image"].removeprefix(BASE)).is_file()
        canonical = [e["href"] for e in soup.select("link[rel=canonical]")]
        name = page.relative_to(SITE).as_posix()
        front = name in ("index.html", "chapters/index.html")
        assert canonical == [BASE if front else BASE + name] == [meta["og:url"]]
    pages = len(PAGES) - 1  # the front page stands at two addresses
    assert len(set(titles)) == len(set(descriptions)) == pages


def test_the_front_page_stands_at_the_root(soups):
    front = soups[SITE / "index.html"]
    assert front.select(".doors a") and front.select(".map a") and front.select("kl-two-bumps")
    assert front.select_one("article p.lead, .lead")
    words = soups[SITE / "chapters/index.html"].select_one("article").get_text()
    assert front.select_one("article").get_text() == words


def test_the_map_shows_every_part_and_chapter(soups):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    map_ = soups[SITE / "index.html"].select_one(".map")
    links = [a["href"] for a in map_.select("a")]
    for part in toc["parts"]:
        if "·" in part["caption"]:
            assert part["caption"] in map_.get_text()
            for chapter in part["chapters"]:
                assert f"{chapter['file']}.html" in links


def test_renamed_pages_lead_on():
    assert len(REDIRECTS) == len(CONFIG["sphinx"]["config"]["redirects"]) > 0
    for page in REDIRECTS:
        target = re.search(r'url=([^"]+)"', page.read_text(encoding="utf8"))[1]
        assert (page.parent / target).is_file()


def test_sitemap_lists_the_pages(soups):
    text = (SITE / "sitemap.xml").read_text(encoding="utf8")
    listed = set(re.findall("<loc>(.*?)</loc>", text))
    assert listed == {
        e["href"] for soup in soups.values() for e in soup.select("link[rel=canonical]")
    }
    assert BASE in listed and len(listed) == len(PAGES) - 3  # 404, search, the front page twice


def test_formulas_are_drawn_as_they_are_meant(soups):
    from fontTools.ttLib import TTFont

    has = TTFont(SITE / "_static/math.woff2").getBestCmap()
    for page, soup in soups.items():
        roots = soup.select("msqrt, mroot")
        assert not roots or ord("√") in has, f"{page}: a root without its sign"
        assert not soup.select("[mathvariant]:not([mathvariant=normal])"), page
        for e in soup.select("math mi, math mo, math mn"):
            missing = [c for c in e.get_text() if ord(c) not in has and c not in "\u2061\u200b "]
            assert not missing, f"{page}: {missing} not in the font"
        assert not soup.select("summary p"), page


def test_every_page_says_when_it_changed_last(soups):
    for page, soup in soups.items():
        if page.parent.name in ("divergence", "backprop", "transformer", "back"):
            assert re.search(r"Last updated \d{4}-\d\d-\d\d", soup.footer.get_text()), page


def test_nothing_lies_beside_the_pages_that_no_page_asks_for():
    there = {p.name for p in (SITE / "_static").iterdir()}
    ours = {p.name for p in (ROOT / "chapters/assets/static").iterdir()}
    ours |= {p.name for p in (ROOT / "kltools/components").glob("*.js")}
    assert there == ours | {"search-index.js", "math.woff2", "card.png", "favicon.svg"}
