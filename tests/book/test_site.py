"""The built HTML (`make book` runs first): links, hosts, alternatives, formulas, claims."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import claims
import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
PAGES = sorted(p for p in SITE.rglob("*.html") if "_static" not in p.parts)


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
        body = soup.find("article")
        for code in body.select("pre, code, math, script") if body else []:
            code.extract()
        assert not body or not re.search(r"\$[^$\n]+\\[a-z]+|\\\(", body.get_text()), page


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


def test_pages_can_be_shared_and_run(soups):
    for path in claims.notebooks(ROOT):
        soup = soups[SITE / path.relative_to(ROOT).with_suffix(".html")]
        colab = [a["href"] for a in soup.select('a[href*="colab.research.google.com"]')]
        assert any(h.endswith(path.relative_to(ROOT).as_posix()) for h in colab), path
