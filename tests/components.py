"""What the tests of the web components share: a small page around one, a hand, and an eye."""

from collections.abc import Iterator
from contextlib import contextmanager

from kltools import plots
from tests.browser import DESK

FALLBACK = "This text stays where no script runs."
PAPERS = {"light": ("#ffffff", "#222222"), "dark": ("#121212", "#dddddd")}  # paper, ink


def element(name: str, **attributes: float) -> str:
    """The element ``<kl-name>`` with its fallback, without its script."""
    words = "".join(f' {key}="{value}"' for key, value in attributes.items())
    return f"<kl-{name}{words}><p>{FALLBACK}</p></kl-{name}>"


def document(body: str, paper: str = "light") -> str:
    """A whole page around ``body``, on white or on black paper."""
    background, ink = PAPERS[paper]
    return f"""<!doctype html>
<html lang="en" style="color-scheme: {paper}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>One component</title>
<style>body {{ margin: 16px; background: {background}; color: {ink}; font: 16px sans-serif }}
main {{ max-width: 760px; margin: auto }}</style></head>
<body><main><h1>One component</h1>{body}<p>The text goes on.</p></main></body></html>"""


@contextmanager
def opened(
    browser, name: str, body: str = "", *, paper="light", viewport=DESK, **options
) -> Iterator:
    """A page with ``<kl-name>`` (or ``body``) and its script; it may neither complain nor fetch."""
    context = browser.new_context(viewport=viewport, **options)
    page, wrong = context.new_page(), []
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("request", lambda r: wrong.append(f"fetched {r.url}"))
    page.set_content(document((body or element(name)) + plots.script(name), paper))
    yield page
    context.close()
    assert not wrong, wrong


def move(place, name: str, value: object) -> None:
    """Set the slider, or choose the radio button, as a hand does; ``place``: a page or a part."""
    radio = place.locator(f'input[type=radio][name="{name}"][value="{value}"]')
    if radio.count():
        radio.check()
        return
    place.locator(f'input[type=range][name="{name}"]').evaluate(
        "(input, value) => { input.value = value;"
        " if (Math.abs(input.value - value) > 1e-3) throw Error(`${input.name}: not ${value}`);"
        " input.dispatchEvent(new Event('input', { bubbles: true, composed: true })); }",
        value,
    )


def shown(place, name: str) -> str:
    """The text of ``<output name=…>``, with a plain minus sign."""
    return (place.locator(f'output[name="{name}"]').text_content() or "").replace("−", "-")


def readings(place) -> dict[str, str]:
    """All that the named outputs show, as ``shown`` would say it."""
    pairs = place.locator("output[name]").evaluate_all("all => all.map(e => [e.name, e.value])")
    return {name: text.strip().replace("−", "-") for name, text in pairs}


def number(place, name: str) -> float:
    return float(shown(place, name))


def focused(page) -> str:
    """The name (or value, or text) of what has the focus, also inside a shadow root."""
    return page.evaluate(
        "() => { let e = document.activeElement;"
        " while (e.shadowRoot?.activeElement) e = e.shadowRoot.activeElement;"
        " return e.name || e.value || e.textContent.trim(); }"
    )


def violations(page) -> list[str]:
    """What axe finds wrong, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']}: {n['html'][:200]}" for v in found for n in v["nodes"]]


def shift(page) -> float:
    """The cumulative layout shift since the page was opened, typed input included."""
    return page.evaluate(
        """() => new Promise((done) => {
          let sum = 0;
          new PerformanceObserver((list) => { for (const e of list.getEntries()) sum += e.value; })
            .observe({ type: "layout-shift", buffered: true });
          setTimeout(() => done(sum), 200);
        })"""
    )
