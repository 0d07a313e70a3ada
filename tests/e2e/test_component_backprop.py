"""<kl-backprop> walks the graph in an order that works, and every number is autograd's."""

import itertools
import re

import numpy as np
import pytest
import torch

from tests import components as ui
from tests.browser import PHONE
from tests.components import move, readings, shown

NAME = "backprop"
FORWARD = ["z1_1", "a1_1", "z2_1", "z2_2", "q1 q2", "loss"]
BACKWARD = [
    "loss", "q1 q2", "z2_1", "z2_2", "W2_11 W2_21 r2_1 r2_2", "a1_1", "z1_1", "W1_11 W1_12 b1_1",
    "x1 x2",
]  # fmt: skip
GIVEN = ["x1", "x2", "W1_11", "W1_12", "b1_1", "W2_11", "W2_21", "r2_1", "r2_2"]


def expected(x1, x2, label):
    """Values and gradients of the same graph by autograd, in float64."""
    log3 = np.log(3.0)
    numbers = [x1, x2, log3, -log3, 0.0, log3, -log3, log3 / 2, log3 / 2]
    n = {k: torch.tensor(v, dtype=torch.float64) for k, v in zip(GIVEN, numbers)}
    for leaf in n.values():
        leaf.requires_grad_()
    n["z1_1"] = n["W1_11"] * n["x1"] + n["W1_12"] * n["x2"] + n["b1_1"]
    n["a1_1"] = n["z1_1"].sigmoid()
    n["z2_1"] = n["W2_11"] * n["a1_1"] + n["r2_1"]
    n["z2_2"] = n["W2_21"] * n["a1_1"] + n["r2_2"]
    n["q1"], n["q2"] = torch.stack([n["z2_1"], n["z2_2"]]).softmax(0)
    n["loss"] = -n[f"q{label}"].log()
    # the unused probability has gradient 0
    grads = torch.autograd.grad(n["loss"], list(n.values()), materialize_grads=True)
    values = {f"value-{k}": v.item() for k, v in n.items()}
    return values | {f"grad-{k}": g.item() for k, g in zip(n, grads)}


def step(page, button="Next"):
    page.get_by_role("button", name=button).click()


def filled(page):
    return {name: float(text) for name, text in readings(page).items() if text}


@pytest.fixture
def page(browser):
    with ui.opened(browser, NAME) as loaded:
        yield loaded


def test_all_numbers_are_those_of_autograd_on_a_grid(page):
    for _ in FORWARD + BACKWARD:
        step(page)
    for x1, x2, label in itertools.product((-2, -0.5, 1, 2), (-2, 0, 1, 2), (1, 2)):
        move(page, "x1", x1)
        move(page, "x2", x2)
        move(page, "y", label)
        assert filled(page) == pytest.approx(expected(x1, x2, label), abs=5.1e-5)
        assert "-0.0000" not in readings(page).values()


def test_each_number_appears_at_its_step_and_not_before(page):
    want = expected(1, 1, 2)
    known = [f"value-{n}" for n in GIVEN]
    steps = [("value", s) for s in FORWARD] + [("grad", s) for s in BACKWARD]
    for kind, made in steps:
        assert set(filled(page)) == set(known)
        step(page)
        known += [f"{kind}-{n}" for n in made.split()]
        assert filled(page) == pytest.approx({n: want[n] for n in known}, abs=5.1e-5)
    assert set(known) == set(want)
    step(page)  # there is no step after the last one
    assert set(filled(page)) == set(want)
    step(page, "Previous")
    assert set(want) - set(filled(page)) == {"grad-x1", "grad-x2"}
    step(page, "Restart")
    assert set(filled(page)) == {f"value-{n}" for n in GIVEN}


def test_the_start_is_the_first_hidden_unit_of_the_chapter(page):
    for _ in FORWARD + BACKWARD:
        step(page)
    log3 = np.log(3)
    for name, value in {
        "value-z1_1": 0, "value-a1_1": 1 / 2, "value-z2_1": log3, "value-z2_2": 0,
        "value-q1": 3 / 4, "value-loss": np.log(4), "grad-z2_1": 3 / 4, "grad-z2_2": -3 / 4,
        "grad-W2_11": 6 / 16, "grad-a1_1": log3 * 3 / 2, "grad-z1_1": log3 * 3 / 8,
    }.items():  # fmt: skip
        assert float(shown(page, name)) == pytest.approx(value, abs=5.1e-5), name


def test_the_status_line_says_the_rule_with_its_numbers(page):
    status = page.get_by_role("status").and_(page.locator("p"))
    assert status.get_attribute("aria-live") == "polite"
    said = []
    for _ in FORWARD + BACKWARD:
        step(page)
        said.append(" ".join(status.inner_text().split()))
    assert len(set(said)) == len(said)
    assert said[1].endswith("a₁⁽¹⁾ = σ(z₁⁽¹⁾) = 1/(1 + exp(−z₁⁽¹⁾)) = 0.5000.")
    assert "δ₂⁽²⁾ = ∂ℓ/∂q₁·∂q₁/∂z₂⁽²⁾ + ∂ℓ/∂q₂·∂q₂/∂z₂⁽²⁾ = 0.0000 + (−0.7500)" in said[9]
    assert "W₁₁⁽²⁾·δ₁⁽²⁾ + W₂₁⁽²⁾·δ₂⁽²⁾ = 0.8240 + 0.8240 = 1.6479" in said[11]
    assert "δ₁⁽¹⁾ = ∂ℓ/∂a₁⁽¹⁾·σ′(z₁⁽¹⁾) = 1.6479·0.2500 = 0.4120" in said[12]
    for text in said:
        assert not re.search(r"[\[\]_]|undefined|NaN|[a-zA-Z]\d", text), text


def test_the_active_nodes_stand_out_by_more_than_color(page):
    looks = """[...document.querySelectorAll("svg rect")].map((e) =>
      [e.getAttribute("stroke-width"), e.getAttribute("stroke-dasharray")].join("|"))"""
    step(page)  # z1_1 forward
    assert sorted(page.evaluate(looks)) == ["1|"] * 8 + ["3.5|"]
    for _ in range(7):  # q backward
        step(page)
    assert sorted(page.evaluate(looks)) == ["1|"] * 7 + ["3.5|6 3"] * 2
    for _ in range(3):  # W^(2), which reads a1_1
        step(page)
    assert sorted(page.evaluate(looks)) == ["1|"] * 8 + ["3.5|2 3"]
    step(page)  # a1_1: both contributions stand at their edges
    texts = page.locator("svg text").all_text_contents()
    assert texts.count("0.8240") == 2


def test_the_keyboard_alone_reaches_and_moves_everything(page):
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")  # x1
    page.keyboard.press("Tab")
    page.keyboard.press("End")  # x2
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowUp")  # class 1
    want = expected(0.5, 2, 1)
    for _ in range(2):
        page.keyboard.press("Tab")  # Previous, Next
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert "value-a1_1" in filled(page) and "value-z2_1" not in filled(page)
    for _ in range(2):
        page.keyboard.press("Tab")  # Restart, the graph
    assert page.evaluate("document.activeElement.tagName") == "svg"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    for key in ["ArrowRight", "ArrowDown"] * 7:
        page.keyboard.press(key)
    assert filled(page) == pytest.approx(want, abs=5.1e-5)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    assert "grad-W1_11" not in filled(page) and "grad-z1_1" in filled(page)


@pytest.mark.parametrize("paper", ui.PAPERS)
def test_no_violation_in_the_middle_of_the_way(browser, paper):
    with ui.opened(browser, NAME, paper=paper) as page:
        for _ in range(11):
            step(page)
        assert ui.violations(page) == []


def test_fits_a_phone_with_readable_text_and_holds_still(browser):
    with ui.opened(browser, NAME, viewport=PHONE) as page:
        tops = set()
        for _ in FORWARD + BACKWARD:
            assert page.evaluate("document.documentElement.scrollWidth") <= 390
            sizes = page.evaluate(
                """[...document.querySelectorAll("svg text")].map(
                     (e) => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a)"""
            )
            assert min(sizes) >= 11
            tops.add(page.locator("svg").bounding_box()["y"])
            tops.add(page.locator("table").bounding_box()["y"] + 1e4)
            step(page)
        assert len(tops) == 2, "a longer sentence moved what stands below it"
        assert ui.shift(page) <= 0.02


def test_two_on_a_page_are_independent(browser):
    with ui.opened(browser, NAME, ui.element(NAME) * 2) as page:
        assert page.locator("form").count() == 2
        assert page.get_by_text(ui.FALLBACK).count() == 0
        first, second = page.locator(f"kl-{NAME}").all()
        move(second, "y", 1)
        page.get_by_role("button", name="Next").nth(1).click()
        assert shown(first, "value-z1_1") == ""
        assert shown(second, "value-z1_1") == "0.0000"
        assert page.locator("[type=radio][value='2']").nth(0).is_checked()
        assert page.locator("[type=radio][value='1']").nth(1).is_checked()


def test_an_element_that_comes_later_is_built_too(page):
    """As in a notebook, whose outputs are set as innerHTML."""
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<kl-backprop><i>static</i></kl-backprop>')"
    )
    assert page.locator("form").count() == 2 and page.locator("i").count() == 0
    page.get_by_role("button", name="Next").nth(1).click()
    assert shown(page.locator(f"kl-{NAME}").nth(1), "value-z1_1") == "0.0000"
