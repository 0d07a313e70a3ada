"""A bare page that holds one or two web components, and the means to move and read them."""

from contextlib import contextmanager

from kltools import plots
from tests.browser import DESK

FALLBACK = '<svg class="kl-figure" role="img" aria-label="The static figure." viewBox="0 0 9 5"/>'


@contextmanager
def load(browser, name: str, *, copies=1, paper="#ffffff", viewport=DESK, scripts=True):
    """A page with ``copies`` of the component; leaving it fails on any error of the console."""
    ink = {"#ffffff": "#222222", "#121212": "#dddddd"}[paper]
    body = f"<kl-{name}>{FALLBACK}</kl-{name}>{plots.script(name)}\n<p>After it.</p>\n" * copies
    context = browser.new_context(viewport=viewport, java_script_enabled=scripts)
    page = context.new_page()
    errors: list[str] = []
    page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.set_content(
        '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Component</title>'
        '<meta name="viewport" content="width=device-width">'
        f'<body style="background:{paper};color:{ink};font-family:sans-serif">'
        f"<main><h1>Page</h1>{body}</main></body></html>"
    )
    try:
        yield page
        assert not errors
    finally:
        context.close()


def move(page, name: str, value, *, nth: int = 0) -> None:
    """Set the range or choose the radio button ``name`` of element ``nth``, as a reader would."""
    page.evaluate(
        """([name, value, nth]) => {
          const form = document.querySelectorAll("form")[nth];
          const radio = form.querySelector(`[type=radio][name="${name}"][value="${value}"]`);
          if (radio) return radio.click();
          const range = form.querySelector(`[type=range][name="${name}"]`);
          range.value = value;
          if (Number(range.value) !== Number(value)) throw Error(`${name} cannot be ${value}`);
          range.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        [name, str(value), nth],
    )


def shown(page, name: str, *, nth: int = 0) -> str:
    """What the output ``name`` of element ``nth`` shows, with an ASCII minus sign."""
    text = page.locator(f'output[name="{name}"]').nth(nth).inner_text()
    return text.strip().replace("−", "-")


def readings(page, *, nth: int = 0) -> dict[str, str]:
    """All that the named outputs of element ``nth`` show, as `shown` would say it."""
    pairs = page.evaluate(
        """(nth) => [...document.querySelectorAll("form")[nth].querySelectorAll("output[name]")]
             .map((e) => [e.name, e.value])""",
        nth,
    )
    return {name: text.strip().replace("−", "-") for name, text in pairs}


def shift(page) -> float:
    """The cumulative layout shift since the page was opened, typed input included."""
    return page.evaluate(
        """() => new Promise((done) => {
          let sum = 0;
          new PerformanceObserver((list) => { for (const e of list.getEntries()) sum += e.value; })
            .observe({ type: "layout-shift", buffered: true });
          setTimeout(() => done(sum), 150);
        })"""
    )
