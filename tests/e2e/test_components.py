"""The figures that move: what they show is what Python computes, and anybody can use them."""

import re
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, optimize

from kltools import plots
from tests import components as ui
from tests.browser import DESK, PHONE

FILES = sorted((Path(plots.__file__).parent / "components").glob("*.js"))
HEX = re.compile(r"#[0-9a-fA-F]{3,8}\b")


# What holds for every component.


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_is_small_and_needs_nothing_else(path):
    source = path.read_text(encoding="utf8")
    assert len(source.encode()) < 10_000
    assert not re.search(r"https?:|\bimport\b|\bfetch\(|</script", source)
    assert "customElements.get(" in source, "running twice must do no harm"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_has_the_colors_of_the_book(path):
    book = {c.lower() for c in [*plots.COLORS, plots.GREY]}
    assert {c.lower() for c in HEX.findall(path.read_text(encoding="utf8"))} <= book


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_figure_stays_on_paper_and_without_scripts(path, browser):
    with ui.opened(browser, path.stem, java_script_enabled=False) as page:
        assert page.get_by_text(ui.FALLBACK).is_visible()
    with ui.opened(browser, path.stem) as page:
        assert not page.get_by_text(ui.FALLBACK).is_visible()


@pytest.mark.parametrize("paper, view", product(ui.PAPERS, [DESK, PHONE]))
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_anybody_can_use_it(path, paper, view, browser):
    with ui.opened(browser, path.stem, paper=paper, viewport=view) as page:
        assert ui.violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= view["width"]
        for control in page.locator(
            "input:not([type=radio]), button, select, label:has([type=radio])"
        ).all():
            box = control.bounding_box()  # a radio button is pressed by its label
            assert box["height"] >= 24 and box["width"] >= 24


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_pushes_nothing_aside(path, browser):
    """Cumulative layout shift from the first paint on, the element in the first screen."""
    for view in (DESK, PHONE):
        with ui.opened(browser, path.stem, viewport=view) as page:
            assert ui.shift(page) <= 0.02


# Two bumps.

M_STAR, M_FOLD = 2.80008, 2.41223  # as the chapter computes them


def log_q(x, mu, sigma):
    return -0.5 * ((x - mu) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)


def log_p(x, m):
    return np.logaddexp(log_q(x, -m, 1), log_q(x, m, 1)) - np.log(2)


def divergences(m: float, mu: float, sigma: float) -> tuple[float, float]:
    """D(p‖q) and D(q‖p), by SciPy's adaptive quadrature of the densities."""

    def forward(x):
        return np.exp(log_p(x, m)) * (log_p(x, m) - log_q(x, mu, sigma))

    def reverse(x):
        return np.exp(log_q(x, mu, sigma)) * (log_q(x, mu, sigma) - log_p(x, m))

    def over(f, knots):
        knots = np.unique(knots)
        return sum(integrate.quad(f, a, b, epsabs=1e-7, limit=200)[0] for a, b in pairwise(knots))

    steps = np.array([-12, -4, 0, 4, 12])
    return over(forward, [*(steps - m), *(steps + m)]), over(reverse, mu + sigma * steps)


def cost(t, m: float) -> float:
    """D(q‖p_m) for t = (mu, log sigma), by a sum over a fine grid."""
    x = np.linspace(-70, 70, 2241)
    q = log_q(x, t[0], np.exp(t[1]))
    return (x[1] - x[0]) * np.sum(np.exp(q) * (q - log_p(x, m)))


def flow(t, m: float) -> np.ndarray:
    h = 1e-5 * np.eye(2)
    return -np.array([cost(t + e, m) - cost(t - e, m) for e in h]) / 2e-5


def downhill(m: float, mu: float, sigma: float) -> tuple[float, float, float]:
    """mu, sigma and D at the local optimum below a start: gradient flow, then SciPy's BFGS."""
    time = 200 if 2.3 < m < M_FOLD else 20  # slow where a bowl is about to open
    start = mu, np.log(sigma)
    path = integrate.solve_ivp(lambda _, t: flow(t, m), (0, time), start, "LSODA", rtol=1e-4)
    end = optimize.minimize(cost, path.y[:, -1], args=(m,), tol=1e-9)
    return end.x[0], np.exp(end.x[1]), end.fun


@pytest.fixture(scope="module")
def page(browser):
    with ui.opened(browser, "two-bumps") as opened:
        yield opened


def put(page, m: float, mu: float, sigma: float) -> None:
    for name, value in [("m", m), ("mu", mu), ("sigma", sigma)]:
        ui.move(page, name, value)


def state(place) -> list[float]:
    return [ui.number(place, name) for name in ("_m", "_mu", "_sigma")]


@pytest.mark.parametrize("m", [0, 2.8, 6])
def test_shows_what_quadrature_gives(m, page):
    for mu, sigma in product([-7, 0, 3.21, 7], [0.3, 1.04, 7]):
        put(page, m, mu, sigma)
        assert state(page) == [m, mu, sigma]
        got = ui.number(page, "forward"), ui.number(page, "reverse")
        assert got == pytest.approx(divergences(m, mu, sigma), rel=0, abs=0.5001e-4)


@pytest.mark.parametrize("m", [0, 0.5, 2.8, 4.44, 6])
def test_best_forward_fit_has_the_moments_of_p(m, page):
    put(page, m, -2, 0.7)
    page.get_by_role("button", name="forward fit").click()
    best = 0, np.sqrt(1 + m**2)
    assert state(page)[1:] == pytest.approx(best, abs=0.6e-3)
    assert ui.number(page, "forward") == pytest.approx(divergences(m, *best)[0], abs=0.6e-4)
    assert ui.shown(page, "forward") == ui.shown(page, "low_forward")


@pytest.mark.parametrize(
    "m, mu, sigma",
    [
        (3, 0.5, 2), (3, 2, 1), (3, -2, 1), (3, 0, 0.3), (3, 7, 7), (1, 4, 0.5), (0, -7, 7),
        (2.42, 3, 1), (2.41, 3, 1), (2.6, 2.5, 0.4), (4, 0.5, 3), (4, 3, 3), (6, 0.25, 4),
        (6, 3, 0.3), (6, -7, 7),
    ],
)  # fmt: skip
def test_best_reverse_fit_is_the_optimum_of_this_basin(m, mu, sigma, page):
    put(page, m, mu, sigma)
    page.get_by_role("button", name="reverse fit from here").click()
    *fit, value = downhill(m, mu, sigma)
    assert state(page)[1:] == pytest.approx(fit, abs=0.6e-3)
    assert ui.number(page, "reverse") == pytest.approx(value, abs=0.6e-4)
    where = "the broad one" if abs(fit[0]) < 0.1 else "a one-bump one"
    assert ui.shown(page, "where") == where


@pytest.mark.parametrize(
    "m", [0, 2, M_FOLD - 0.0123, M_FOLD + 0.0177, M_STAR - 0.01, M_STAR + 0.01, 5]
)
def test_says_which_optima_there_are_and_which_is_best(m, page):
    put(page, m, 1, 0.5)
    m = state(page)[0]
    assert ui.shown(page, "best") == ("broad" if m < M_STAR else "one bump")
    assert ui.shown(page, "optima") == ("1" if m < M_FOLD else "3")
    assert ui.shown(page, "where") == "none of them"
    lowest = min(downhill(m, 0, 1 + m)[2], downhill(m, m, 1)[2])
    assert ui.number(page, "low_reverse") == pytest.approx(lowest, abs=0.6e-4)


def test_draws_the_branches_where_they_are(page):
    """The second plot, back from pixels: the dots at this m, and where the branches cross."""
    put(page, 3.5, 1, 2)
    plot = page.locator("svg").nth(1)
    height = [
        float(plot.locator(f"circle.{c}").get_attribute("cy")) for c in ("broad", "bump", "at")
    ]
    want = downhill(3.5, 0, 3)[2], downhill(3.5, 3.5, 1)[2], divergences(3.5, 1, 2)[1]
    assert [(212 - y) / 90 for y in height] == pytest.approx(want, abs=1e-3)
    for name, start in [("broad", (0, 3)), ("bump", (3.5, 1))]:
        line = plot.locator(f"path.{name}").get_attribute("d")[1:].split("L")
        points = np.array([[float(v) for v in xy.split(",")] for xy in line])
        ms, values = (points[:, 0] - 26) / 49, (212 - points[:, 1]) / 90
        k = abs(ms - 3.5).argmin()
        assert values[k] == pytest.approx(downhill(ms[k], *start)[2], abs=1e-3)
    assert "m* = 2.80" in plot.text_content()


def test_the_keyboard_alone_does_everything(browser):
    with ui.opened(browser, "two-bumps") as page:
        order = []
        for _ in range(5):
            page.keyboard.press("Tab")
            order.append(ui.focused(page))
            if order[-1] in ("m", "mu", "sigma"):
                before = ui.number(page, f"_{order[-1]}")
                page.keyboard.press("ArrowRight")
                page.keyboard.press("ArrowUp")
                page.keyboard.press("ArrowLeft")
                assert ui.number(page, f"_{order[-1]}") == pytest.approx(before + 0.01)
                spoken = page.locator(f'input[name="{order[-1]}"]').get_attribute("aria-valuetext")
                assert spoken == f"{before + 0.01:.3f}"
            else:
                page.keyboard.press("Enter" if order[-1] == "forward" else "Space")
                assert ui.shown(page, "where") == (
                    "none of them" if order[-1] == "forward" else "the broad one"
                )
        assert order == ["m", "mu", "sigma", "forward", "reverse"]


@pytest.mark.parametrize("view", [DESK, PHONE])
def test_q_can_be_dragged(view, browser):
    with ui.opened(browser, "two-bumps", viewport=view) as page:
        unit = page.locator("svg").first.bounding_box()["width"] / 20

        def drag(knob, dx):
            box = knob.bounding_box()
            assert box["width"] >= 24 and box["height"] >= 24
            x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            page.mouse.move(x + dx * unit / 2, y + 5)
            page.mouse.move(x + dx * unit, y + 5)
            page.mouse.up()
            page.mouse.move(x, y)  # let go: nothing follows any more

        middle, *sides = page.locator(".knob").all()
        drag(middle, 2)
        assert state(page) == pytest.approx([3, 2.5, 2], abs=0.02)
        drag(sides[0], -1)
        assert state(page) == pytest.approx([3, 2.5, 3], abs=0.02)
        drag(sides[1], -2)
        assert state(page) == pytest.approx([3, 2.5, 1], abs=0.02)
        drag(middle, -20)
        assert state(page)[1] == -7, "not beyond the end of the slider"
        got = ui.number(page, "forward"), ui.number(page, "reverse")
        assert got == pytest.approx(divergences(*state(page)), rel=2e-3)


def test_a_finger_scrolls_the_page_except_on_the_knobs(page):
    action = "e => getComputedStyle(e).touchAction"
    assert {k.evaluate(action) for k in page.locator(".knob").all()} == {"none"}
    rest = page.locator("svg, section, input, button").all()
    assert {e.evaluate(action) for e in rest} == {"auto"}


def test_the_state_is_said_once_the_hand_rests(browser):
    with ui.opened(browser, "two-bumps") as page:
        status = page.locator("[role=status]")
        first = status.text_content()
        assert "m 3.000, mu 0.500, sigma 2.000" in first and "The best: one bump" in first
        while_moving = page.evaluate(  # in one go: a slow machine must not count as a rest
            """() => { const root = document.querySelector("kl-two-bumps").shadowRoot;
              const slider = root.querySelector("[name=m]"), said = [];
              for (const m of [2.9, 2.8, 2.7]) {
                slider.value = m;
                slider.dispatchEvent(new Event("input", { bubbles: true, composed: true }));
                said.push(root.querySelector("[role=status]").textContent);
              } return said; }"""
        )
        assert while_moving == [first] * 3
        page.wait_for_timeout(800)
        said = status.text_content()
        assert "m 2.700" in said and "The best: broad" in said
        assert ui.shown(page, "forward") in said and ui.shown(page, "reverse") in said


def test_two_on_a_page_and_the_script_twice(browser):
    pair = [ui.element("two-bumps", m=2, mu=-1, sigma=0.5), ui.element("two-bumps", m=9)]
    with ui.opened(browser, "two-bumps", plots.script("two-bumps").join(pair)) as page:
        one, two = page.locator("kl-two-bumps").all()
        assert state(one) == [2, -1, 0.5]
        assert state(two) == [6, 0.5, 2], "an attribute beyond the end of its slider"
        ui.move(one, "mu", 4)
        two.get_by_role("button", name="forward fit").click()
        assert state(one) == [2, 4, 0.5] and state(two) == [6, 0, 6.083]
        ids = page.evaluate(
            "[document, ...[...document.querySelectorAll('kl-two-bumps')].map(e => e.shadowRoot)]"
            ".flatMap(root => [...root.querySelectorAll('[id]')].map(e => e.id))"
        )
        assert len(ids) == len(set(ids))
        one.evaluate("e => document.querySelector('main').append(e)")  # moved, it keeps its state
        assert state(page.locator("kl-two-bumps").last) == [2, 4, 0.5]


def test_runs_from_a_file_and_prints_the_figure(browser, tmp_path):
    path = tmp_path / "page.html"
    body = ui.element("two-bumps") + plots.script("two-bumps")
    path.write_text(ui.document(body), encoding="utf8")
    page = browser.new_page()
    page.goto(path.as_uri())
    assert state(page) == [3, 0.5, 2]
    page.emulate_media(media="print")
    assert page.get_by_text(ui.FALLBACK).is_visible()
    assert not page.locator("section").is_visible()
    page.close()
