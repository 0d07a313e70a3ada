"""<kl-softmax> shows what the package computes, and can be read and moved by everybody."""

import itertools
import math

import pytest
import torch

from kltools import divergences, gradients
from tests import components as ui
from tests.browser import PHONE
from tests.components import move, readings, shown

NAME = "softmax"
TARGETS = {str(c): [float(k == c) for k in (1, 2, 3, 4)] for c in (1, 2, 3, 4)}
TARGETS["soft"] = [0.6, 0.25, 0.1, 0.05]
LOGITS = [[-1, 1, 0.5, 0], [0, 0, 0, 0], [5, -5, -5, -5], [-5, 5, 5, -5], [0.3, -2.7, 4.9, -5]]
OUTPUTS = [f"{v}{i}" for v in "qg" for i in (1, 2, 3, 4)] + [
    "entropy",
    "norm",
    "forward",
    "reverse",
]


def expected(z, T, target):
    """The same numbers from kltools and from autograd, in float64."""
    z = torch.tensor(z, dtype=torch.float64, requires_grad=True)
    logp = torch.tensor(target, dtype=torch.float64).log()
    logq = (z / T).log_softmax(-1)
    forward = divergences.kl(logp, logq)
    (g,) = torch.autograd.grad(forward, z)
    rule = gradients.logit_gradient(logp, logq.detach()) / T
    assert torch.allclose(g, rule, rtol=0, atol=1e-12)
    reverse, entropy = divergences.kl(logq, logp), divergences.entropy(logq)
    q, scalars = logq.detach().exp(), torch.stack([entropy, g.norm(), forward, reverse]).detach()
    return dict(zip(OUTPUTS, torch.cat([q, g, scalars]).tolist()))


def assert_shows(place, want):
    texts = readings(place)
    assert set(texts) == set(want)
    for name, value in want.items():
        text = texts[name]
        if math.isinf(value):
            assert text == "∞", name
        else:
            assert float(text) == pytest.approx(value, abs=5.1e-5), name
            assert text != "-0.0000"


@pytest.fixture
def page(browser):
    with ui.opened(browser, NAME) as loaded:
        yield loaded


def test_shows_the_package_values_on_a_grid(page):
    for z, T, target in itertools.product(LOGITS, (0.1, 1, 5), ("1", "4", "soft")):
        for i, v in enumerate(z, 1):
            move(page, f"z{i}", v)
        move(page, "T", T)
        move(page, "p", target)
        assert_shows(page, expected(z, T, TARGETS[target]))


def test_a_logit_difference_of_100_is_a_divergence_of_100_nats(page):
    for i, v in enumerate((5, -5, -5, -5), 1):
        move(page, f"z{i}", v)
    move(page, "T", 0.1)
    move(page, "p", "2")
    assert shown(page, "forward") == "100.0000"
    assert shown(page, "reverse") == "∞"
    assert shown(page, "g1") == "10.0000"
    assert shown(page, "g2") == "-10.0000"


def test_a_step_against_the_gradient_moves_the_logits_exactly(page):
    z = torch.tensor([-1, 1, 0.5, 0], dtype=torch.float64)
    p = torch.tensor(TARGETS["soft"], dtype=torch.float64)
    divergence = [float(shown(page, "forward"))]
    for _ in range(3):
        page.get_by_role("button", name="One step against the gradient").click()
        z = z - (z.softmax(-1) - p)
        assert_shows(page, expected(z.tolist(), 1, TARGETS["soft"]))
        divergence.append(float(shown(page, "forward")))
    assert divergence == sorted(divergence, reverse=True)
    page.get_by_label("z₁").press("ArrowRight")  # a slider goes on from where it stands
    z[0] = round(float(z[0]), 1) + 0.1
    assert_shows(page, expected(z.tolist(), 1, TARGETS["soft"]))


def test_far_steps_never_give_nan(page):
    for i, v in enumerate((5, -5, 5, -5), 1):
        move(page, f"z{i}", v)
    move(page, "T", 0.1)
    move(page, "p", "2")
    for _ in range(20):
        page.evaluate("document.querySelector('button').click()")
        assert all(math.isfinite(float(v.replace("∞", "0"))) for v in readings(page).values())


def test_the_keyboard_alone_reaches_and_moves_everything(page):
    page.keyboard.press("Tab")  # the chosen radio button
    page.keyboard.press("ArrowUp")  # the one before it
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")  # T
    page.keyboard.press("Tab")
    page.keyboard.press("End")  # z1
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")  # z2
    assert_shows(page, expected([5, 0.9, 0.5, 0], 1.1, TARGETS["4"]))
    for _ in range(3):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "One step against the gradient"
    focused = "getComputedStyle(document.activeElement).outlineWidth"
    assert page.evaluate(focused) == "3px"
    before = float(shown(page, "forward"))
    page.keyboard.press("Enter")
    assert float(shown(page, "forward")) < before


def test_fits_a_phone_with_readable_text(browser):
    with ui.opened(browser, NAME, viewport=PHONE) as page:
        move(page, "T", 0.1)
        move(page, "p", "4")  # the widest numbers
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        box = page.locator("kl-softmax table").bounding_box()
        assert box["x"] + box["width"] <= 390
        sizes = page.evaluate(
            """[...document.querySelectorAll("svg text")].map(
                 (e) => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"""
        )
        assert min(sizes) >= 11
        assert ui.shift(page) <= 0.02


def test_two_on_a_page_are_independent(browser):
    with ui.opened(browser, NAME, ui.element(NAME) * 2) as page:
        assert page.locator("form").count() == 2
        assert page.get_by_text(ui.FALLBACK).count() == 0
        first, second = page.locator(f"kl-{NAME}").all()
        move(second, "p", "2")
        move(first, "z1", 3)
        assert_shows(first, expected([3, 1, 0.5, 0], 1, TARGETS["soft"]))
        assert_shows(second, expected([-1, 1, 0.5, 0], 1, TARGETS["2"]))
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids)) == 2


def test_reset_returns_to_the_first_logits_and_keeps_the_temperature(page):
    move(page, "T", 0.1)
    page.get_by_role("button", name="One step against the gradient").click()
    page.get_by_role("button", name="Reset logits").click()
    assert_shows(page, expected([-1, 1, 0.5, 0], 0.1, TARGETS["soft"]))


def test_an_element_that_comes_later_is_built_too(page):
    """As in a notebook, whose outputs are set as innerHTML."""
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<kl-softmax><i>static</i></kl-softmax>')"
    )
    assert page.locator("form").count() == 2 and page.locator("i").count() == 0
    later = page.locator("kl-softmax").nth(1)
    assert_shows(later, expected([-1, 1, 0.5, 0], 1, TARGETS["soft"]))
