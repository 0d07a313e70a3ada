"""Every published page in a real browser: light, still, whole at any width, nothing fetched."""

import gzip
import statistics
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import browser as chrome

pytestmark = pytest.mark.timeout(120)
CLIPBOARD = """Promise.race([navigator.clipboard.readText(),
  new Promise(go => setTimeout(go, 5000, 'nothing to be read'))])"""


@pytest.mark.parametrize("name", chrome.PAGES)
def test_keyboard_reaches_everything_and_leaves_it(open_page, name):
    page = open_page(name)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate(
        """() => { let n = 0; window.at = () => {
            let e = document.activeElement;
            if (!e || e === document.body) return null;
            while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;
            e.dataset.stop ??= n++;
            const c = getComputedStyle(e), b = e.getBoundingClientRect();
            return {stop: +e.dataset.stop, name: (e.ariaLabel || e.textContent).trim().slice(0, 40),
              ring: c.outlineStyle !== 'none' && parseFloat(c.outlineWidth) >= 2,
              seen: b.width > 0 && b.height > 0, tag: e.tagName};
        }; }"""
    )
    stops = []
    for _ in range(2000):
        page.keyboard.press("Tab")
        at = page.evaluate("at()")
        if at is None or (stops and at["stop"] == 0):  # out of the page, or around
            break
        assert at["stop"] == len(stops), f"trapped, or back, at {at}"
        assert at["ring"], f"no visible focus: {at}"
        assert at["seen"], f"focus on something invisible: {at}"
        stops.append(at)
    else:
        pytest.fail("the keyboard does not leave the page")
    assert stops[0]["name"] == "Skip to main content"
    page.focus(".skip-link")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main-content"


# ---------------------------------------------------------------- light, still, self-contained


def weight(responses: list) -> int:
    """Bytes that a server with gzip sends for a page."""
    total = 0
    for response in responses:
        path = Path(urlsplit(response.url).path)
        body = response.body()
        total += len(gzip.compress(body, 6)) if path.suffix in chrome.TEXT else len(body)
    return total


WATCH_SHIFTS = """window.shift = 0; new PerformanceObserver(list => list.getEntries()
  .forEach(e => { if (!e.hadRecentInput) shift += e.value }))
  .observe({type: 'layout-shift', buffered: true})"""


READ_TO_THE_END = """async () => {
  for (let y = 0; y < document.documentElement.scrollHeight; y += 500) {
    scrollTo(0, y);
    await new Promise(go => setTimeout(go, 30)); // no frame is drawn in a window behind another
  } }"""


def load(browser, site: str, name: str) -> dict:
    """Bytes, requests, foreign hosts and layout shift of a page that is read from top to end."""
    context = browser.new_context(**chrome.MODES["phone"])
    page = context.new_page()
    responses: list = []
    page.on("response", lambda response: responses.append(response))
    page.add_init_script(WATCH_SHIFTS)
    page.goto(site + name, wait_until="load")
    page.evaluate(chrome.FONTS)
    page.evaluate(READ_TO_THE_END)
    page.wait_for_timeout(300)
    measured = {
        "bytes": weight(responses),
        "requests": len(responses),
        "hosts": {urlsplit(r.url).netloc for r in responses} - {urlsplit(site).netloc, ""},
        "missing": [r.url for r in responses if r.status >= 400],
        "shift": page.evaluate("shift"),
    }
    context.close()
    return measured


WHOLE_BOOK = pytest.mark.timeout(600)  # the first of three reads every page to its end


@pytest.fixture(scope="module")
def loads(browser, site) -> dict[str, dict]:
    return {name: load(browser, site, name) for name in chrome.PAGES}


@WHOLE_BOOK
def test_pages_are_light(loads):
    sizes = {name: m["bytes"] for name, m in loads.items()}
    assert statistics.median(sizes.values()) <= 150_000, sizes
    assert max(sizes.values()) <= 400_000, sizes


@WHOLE_BOOK
def test_pages_ask_for_little_and_only_from_their_own_host(loads):
    for name, m in loads.items():
        assert not m["missing"], name
        assert not m["hosts"], name
        assert m["requests"] <= 30, name


@WHOLE_BOOK
def test_nothing_moves_while_a_page_loads(loads):
    shifts = {name: round(m["shift"], 4) for name, m in loads.items() if m["shift"] > 0.02}
    assert not shifts


PLACE = """() => { const all = [...document.querySelectorAll('article :is(p, pre, h2, h3)')];
  const k = all.findIndex(e => e.getBoundingClientRect().top > 80);
  return [k, all[k].getBoundingClientRect().top]; }"""
AGAIN = """k => document.querySelectorAll('article :is(p, pre, h2, h3)')[k]
  .getBoundingClientRect().top"""


@pytest.mark.parametrize("mode", ["light", "phone"])
def test_reload_and_back_return_to_the_same_paragraph(open_page, site, mode):
    """Sections out of view have estimated heights: the number of pixels alone would mislead."""
    page = open_page("chapters/divergence/forward-and-reverse.html", mode)
    page.evaluate(READ_TO_THE_END)
    page.evaluate("scrollTo(0, 0.6 * document.documentElement.scrollHeight)")
    page.wait_for_timeout(300)
    k, top = page.evaluate(PLACE)
    page.reload()
    page.wait_for_timeout(500)
    assert abs(page.evaluate(AGAIN, k) - top) < 5
    page.goto(f"{site}chapters/back/notation.html")
    page.go_back()
    page.wait_for_timeout(500)
    assert abs(page.evaluate(AGAIN, k) - top) < 5


@pytest.mark.parametrize("mode", ["light", "phone"])
def test_links_from_the_claims_land_at_their_cells(open_page, mode):
    page = open_page("chapters/back/claims.html", mode)
    links = page.locator("td a[href*='#check-']").evaluate_all("all => all.map(a => a.href)")
    for link in links[:: max(1, len(links) // 6)]:
        page.goto("about:blank")
        page.goto(link)
        page.wait_for_timeout(300)
        top = page.evaluate("document.querySelector(':target').getBoundingClientRect().top")
        assert 0 <= top <= 200, f"{link}: {top:.0f} px from the top of the window"


def test_a_component_that_cannot_be_loaded_leaves_its_figure(browser, site):
    context = browser.new_context(**chrome.MODES["phone"])
    page = context.new_page()
    page.route("**/two-bumps.js", lambda route: route.abort())
    page.goto(f"{site}index.html")
    page.locator("kl-two-bumps").scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    figure = page.locator("kl-two-bumps svg")
    assert figure.is_visible() and figure.bounding_box()["height"] > 80
    assert page.locator("kl-two-bumps").bounding_box()["height"] < 400
    context.close()


@pytest.mark.parametrize("width", [320, 600, 768, 992, 1000, 1100, 1440, 1920])
def test_no_window_cuts_a_page(open_page, width):
    for name in chrome.CHAPTERS[-1], "index.html":
        page = open_page(name, viewport={"width": width, "height": 800})
        wide = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        edge = page.evaluate("document.querySelector('article').getBoundingClientRect().right")
        assert wide <= 0 and edge <= width - 10, (name, wide, edge)


# ---------------------------------------------------------------- without a server, without a net


@pytest.mark.parametrize("name", chrome.PAGES)
def test_works_from_a_folder_without_a_network(open_page, name):
    if name == "404.html":
        return  # only a server shows it, under an address that is not there
    page = open_page(name, base=chrome.SITE.as_uri() + "/", offline=True)
    formulas = page.locator("math")
    if formulas.count():
        assert formulas.first.bounding_box()["width"] > 0
    button = page.get_by_role("button", name="Theme")
    papers = set()
    for _ in range(3):
        button.click()
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2
    if name != "search.html":
        page.keyboard.press("/")
        page.fill("dialog#search input", "Pinsker" if name == "" else "divergence")
        page.wait_for_selector("dialog#search li a")
        page.keyboard.press("Escape")
        assert not page.locator("dialog#search").is_visible()


def test_theme_is_kept_and_follows_the_system(open_page):
    page = open_page("index.html", "dark")

    def paper():
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    dark = paper()
    page.emulate_media(color_scheme="light")
    light = paper()
    assert dark != light
    button = page.get_by_role("button", name="Theme")
    button.click()
    button.click()
    assert button.get_attribute("aria-label") == "Theme: dark" and paper() == dark
    page.reload()
    assert paper() == dark


def test_code_is_copied_as_it_stands(open_page):
    page = open_page(chrome.CHAPTERS[0])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    box = page.locator(".cell_input .highlight").nth(1)
    box.hover()
    box.get_by_role("button", name="Copy").click()
    copied = page.evaluate(CLIPBOARD)
    assert copied and copied == box.locator("pre").inner_text().rstrip("\n")


def test_everything_reads_without_javascript(browser, site):
    context = browser.new_context(**chrome.MODES["phone"], java_script_enabled=False)
    page = context.new_page()
    page.goto(site + chrome.CHAPTERS[0])
    page.get_by_role("button", name="Contents of the book").click()
    assert page.get_by_role("navigation", name="Contents of the book").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("math").count() and page.locator("svg.kl-figure").count()
    assert not page.get_by_role("button", name="Theme").is_visible()  # it could do nothing
    solution = page.locator("details.solution").first
    solution.locator("summary").focus()
    page.keyboard.press("Enter")
    assert solution.get_attribute("open") is not None
    context.close()
