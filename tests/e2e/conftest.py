"""The built book in the browser: its server, and a page that fails the test if it complains."""

import pytest

from tests import browser as chrome


@pytest.fixture(scope="module")
def site():
    assert chrome.PAGES, "no built book: run `make book`"
    with chrome.serve(chrome.SITE, chrome.PREFIX) as address:
        yield address


@pytest.fixture
def open_page(browser, site):
    """Open a page in a mode; whatever goes wrong on it fails the test at its end."""
    wrong, contexts = [], []

    def open_(name: str, mode: str = "light", base: str | None = None, **more):
        context = browser.new_context(**{**chrome.MODES[mode], **more}, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda e: wrong.append(f"{name}: {e}"))
        page.on(
            "console",
            lambda m: wrong.append(f"{name}: {m.text}") if m.type in ("error", "warning") else None,
        )
        page.on(  # what leaving a page breaks off has not failed
            "requestfailed",
            lambda r: r.failure == "net::ERR_ABORTED" or wrong.append(f"{name}: {r.url} failed"),
        )
        page.goto(f"{base or site}{name}", wait_until="load")
        page.evaluate(chrome.FONTS)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong
