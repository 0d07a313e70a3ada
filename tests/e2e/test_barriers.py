"""Every published page in every mode: axe finds nothing, and nothing scrolls sideways."""

import pytest

from tests import browser as chrome

pytestmark = pytest.mark.timeout(120)

# Contrast depends on colors and sizes alone, and a chapter has ten thousand pieces of text: keep
# the first two that look the same and remove the rest, so that axe measures looks, not words.
ONE_OF_EACH_LOOK = """() => { const looks = new Map(), papers = new Map();
  const paper = e => { if (!e) return '';
    if (!papers.has(e)) { const c = getComputedStyle(e);
      const own = c.backgroundColor === 'rgba(0, 0, 0, 0)' && c.backgroundImage === 'none' ? ''
        : c.backgroundColor + c.backgroundImage + '|';
      papers.set(e, own + (c.opacity === '1' ? '' : c.opacity + '|') + paper(e.parentElement)); }
    return papers.get(e); };
  const again = [];
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const c = getComputedStyle(e);
    const look = [c.color, c.fill, c.fontSize, c.fontWeight, c.visibility, paper(e)].join();
    looks.set(look, (looks.get(look) ?? 0) + 1);
    if (looks.get(look) > 2) again.push(e);
  }
  again.filter(e => !e.firstElementChild).forEach(e => e.remove());
  document.querySelectorAll('math, svg').forEach(e => e.textContent.trim() || e.remove());
  return looks.size; }"""

# Of a formula axe sees the box alone, and half of a chapter's elements are inside of formulas.
EMPTY_FORMULAS = """() => { for (const m of [...document.querySelectorAll('math')].slice(20)) {
  const b = m.getBoundingClientRect();
  if (!b.width) continue;
  const block = getComputedStyle(m).display.startsWith('block') ? 'block' : 'inline-block';
  m.style.cssText = `display: ${block}; width: ${b.width}px; height: ${b.height}px`;
  m.replaceChildren();
} }"""

# A period or comma that belongs to an inline formula, but starts the next line.
LONE_SIGNS = """() => [...document.querySelectorAll('span.math math')].filter(m => {
  let e = m;
  while (!e.nextSibling && !e.matches('p, li, td, dd')) e = e.parentElement;
  const text = e.nextSibling;
  if (!m.getClientRects().length || text?.nodeType !== 3 || !/^[.,;:!?)]/.test(text.data)) return 0;
  const sign = document.createRange();
  sign.setStart(text, 0);
  sign.setEnd(text, 1);
  return sign.getBoundingClientRect().left < m.getBoundingClientRect().left;
}).map(m => m.closest('p, li, td, dd').textContent.slice(0, 80))"""

# All that axe sees of a page besides colors: two pages alike in this need be searched only once.
BUT_FOR_COLORS = """() => [...document.querySelectorAll('body *')].map(e => {
  const b = e.getBoundingClientRect(), names = e.getAttributeNames();
  return [e.tagName, e.checkVisibility(), Math.round(b.width), Math.round(b.height),
    names.filter(n => n.startsWith('aria-') || n === 'role').map(n => n + e.getAttribute(n))];
}).join(';')"""


def axe(page, options: dict) -> list[str]:
    """What axe finds, each with the first element that it finds it on."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={**options, "resultTypes": ["violations"]}).response
    return [
        f"{v['id']} ({len(v['nodes'])}): {v['nodes'][0]['target']} {v['nodes'][0]['html'][:160]}"
        for v in found["violations"]
    ]


OF_COLOR = ["color-contrast", "link-in-text-block"]


def barriers(page) -> list[str]:
    """Every rule of axe but those of color, and one that it leaves out by default."""
    page.evaluate(EMPTY_FORMULAS)
    rules = {rule: {"enabled": False} for rule in OF_COLOR} | {"target-size": {"enabled": True}}
    return axe(page, {"rules": rules})


def low_contrast(page) -> list[str]:
    """The rules that remain; they use the page up."""
    assert page.evaluate(ONE_OF_EACH_LOOK) > 1
    return axe(page, {"runOnly": OF_COLOR})


@pytest.mark.parametrize("mode", chrome.MODES)
@pytest.mark.parametrize("name", chrome.PAGES)
def test_no_barrier_and_no_sideways_scroll(open_page, name, mode):
    page = open_page(name, mode)
    assert page.evaluate(LONE_SIGNS) == [], "signs on another line than the formula before them"
    if mode == "light":
        assert barriers(page) == []
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    # a reader unfolds what is in view: lay out all sections, as scrolling does
    page.add_style_tag(content="section { content-visibility: visible !important }")
    page.wait_for_timeout(200)  # boxes that scroll become stops of the keyboard
    if "dark" not in mode:
        assert barriers(page) == [], "with everything unfolded"
        light = page.evaluate(BUT_FOR_COLORS)
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(BUT_FOR_COLORS) == light, "dark is more than other colors"
        page.emulate_media(color_scheme="light")
    wide = page.evaluate(
        "document.scrollingElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wide <= 0, f"{wide} px wider than the window"
    assert low_contrast(page) == []


@pytest.mark.parametrize("mode", chrome.MODES)
@pytest.mark.parametrize(
    "name", ["index.html", chrome.CHAPTERS[0] if chrome.CHAPTERS else "", "search.html"]
)
def test_no_barrier_with_lists_and_search_open(open_page, name, mode):
    page = open_page(name, mode)
    for label in ("Contents of the book", "On this page"):
        button = page.get_by_role("button", name=label)
        if button.is_visible():
            button.click()
            assert page.get_by_role("navigation", name=label).is_visible()
            assert barriers(page) == [], label
            page.keyboard.press("Escape")
            assert not page.get_by_role("navigation", name=label).is_visible()
    if name == "search.html":
        page.fill("#query", "entropy")
    else:
        page.keyboard.press("Control+k")
        page.fill("dialog#search input", "entropy")
    page.wait_for_selector("ol li mark")
    assert barriers(page) == [], "search"
    assert low_contrast(page) == [], "search"
