"""check: each function passes what is right, refuses what is wrong, and prints what it says."""

import math

import numpy as np
import pytest
import torch

from kltools import check

NAN, INF = math.nan, math.inf


def test_close_prints_the_expectation(capsys):
    check.close("pi", 3.14159265359, math.pi)
    check.close("few", [1.0, 2.0], (1, 2), digits=3)
    check.close("tensor", torch.ones(2, requires_grad=True), np.ones(2))
    check.close("many", np.arange(9.0), torch.arange(9))
    check.close("zero", 1e-17, 0, atol=1e-12)
    check.close("infinite", INF, INF)
    assert capsys.readouterr().out.splitlines() == [
        "✓ pi: 3.14159 (to 1e-09)",
        "✓ few: [1, 2] (to 1e-09)",
        "✓ tensor: [1, 1] (to 1e-09)",
        "✓ many: array of shape (9,) (to 1e-09)",
        "✓ zero: 0 (within 1e-12)",
        "✓ infinite: inf (to 1e-09)",
    ]


def test_close_prints_no_rounding(capsys):
    check.close("x", [1e-17, 0.5], [3e-17, 0.5], atol=1e-15)
    check.close("y", 0.0, -2e-16, atol=1e-15)
    check.close("z", 0.31, 0.3, atol=0.5)  # a wide tolerance hides no value
    out = capsys.readouterr().out
    assert out == "✓ x: [0, 0.5] (within 1e-15)\n✓ y: 0 (within 1e-15)\n✓ z: 0.3 (within 5e-01)\n"


@pytest.mark.parametrize(
    "got, want, keywords",
    [
        (1.0, 1.0 + 1e-8, {}),
        (1.0, 1.1, {"rtol": 0.05}),
        (1e-12, 0.0, {}),
        (0.2, 0.0, {"atol": 0.1}),
        (NAN, 1.0, {"atol": 1e300}),
        (NAN, NAN, {}),
        (INF, -INF, {}),
        (1e308, INF, {}),
        ([1.0, 2.0], [1.0, 2.1], {}),
        ([1.0], 1.0, {}),
        ([[1.0, 1.0]], [1.0, 1.0], {}),
        ([], [], {}),
    ],
)
def test_close_refuses(got, want, keywords, capsys):
    with pytest.raises(AssertionError, match="it: "):
        check.close("it", got, want, **keywords)
    assert capsys.readouterr().out == ""


def test_close_says_what_came_and_what_was_expected():
    with pytest.raises(AssertionError, match=r"x: got 1.0, expected 2.0 \(rtol=1e-09, atol=0.0\)"):
        check.close("x", 1, 2)
    with pytest.raises(AssertionError, match=r"x: got shape \(2,\), expected \(3,\)"):
        check.close("x", [1, 2], [1, 2, 3])


def test_at_most(capsys):
    check.at_most("a", 1.5, 2)
    check.at_most("b", torch.tensor([1.0, 2.0]), [2.0, 2.25])
    check.at_most("c", [1.0, 3.0], 3)
    check.at_most("d", [1 + 1e-16, 2.0], [1.0, 2 - 1e-15], slack=1e-14)
    check.at_most("e", 3e-16, 0, slack=1e-15)
    check.at_most("f", -5, INF)
    assert capsys.readouterr().out.splitlines() == [
        "✓ a: 1.5 ≤ 2",
        "✓ b: 2 cases, largest excess -0.25 ≤ 0",
        "✓ c: 2 cases, largest excess 0 ≤ 0",
        "✓ d: 2 cases, largest excess 0 (to rounding) ≤ 0",
        "✓ e: 0 (to rounding) ≤ 0",
        "✓ f: -5 ≤ inf",
    ]


@pytest.mark.parametrize(
    "got, bound, slack",
    [(2, 1, 0), (1 + 1e-9, 1, 1e-10), ([0, 2], 1, 0), (NAN, 1, 0), ([0, NAN], 1, INF), ([], 1, 0)],
)
def test_at_most_refuses(got, bound, slack, capsys):
    with pytest.raises(AssertionError, match="it: "):
        check.at_most("it", got, bound, slack=slack)
    assert capsys.readouterr().out == ""


def test_within(capsys):
    check.within("accuracy", torch.tensor(0.871), 0.87, 0.02)
    check.within("loss", 0.3333, 0.333, 0.001, digits=3)
    assert capsys.readouterr().out == "✓ accuracy: 0.87 ± 0.02\n✓ loss: 0.333 ± 0.001\n"
    for bad in (0.9, 0.84, NAN, INF):
        with pytest.raises(AssertionError, match=r"accuracy: got .*, expected 0\.87 ± 0\.02"):
            check.within("accuracy", bad, 0.87, 0.02)


def test_true(capsys):
    for condition in (True, np.bool_(True), [True, True], torch.tensor([True]), np.ones(2, bool)):
        check.true("holds", condition)
    assert capsys.readouterr().out == "✓ holds\n" * 5
    for condition in (False, [True, False], torch.tensor(False), np.zeros((2, 2), bool)):
        with pytest.raises(AssertionError, match="it: does not hold"):
            check.true("it", condition)


@pytest.mark.parametrize(
    "vacuous", [(x > 1 for x in (0, 0)), [], {"a": False}, "no", None, 0.5, np.zeros(0, bool)]
)
def test_true_refuses_what_could_not_fail(vacuous, capsys):
    with pytest.raises(TypeError, match="it: expected booleans, got "):
        check.true("it", vacuous)
    assert capsys.readouterr().out == ""


def test_raises_shows_the_first_line_and_goes_on(capsys):
    with check.raises(ValueError):
        raise ValueError("one\ntwo")
    with check.raises(Exception, width=5):
        raise KeyError("a long key")
    with check.raises(RuntimeError):
        raise RuntimeError
    out = capsys.readouterr().out.splitlines()
    assert out == ["ValueError: one", "KeyError: 'a lo…", "RuntimeError: "]


def test_raises_fails_if_nothing_or_something_else_is_raised():
    with (
        pytest.raises(AssertionError, match="expected ValueError, but nothing was raised"),
        check.raises(ValueError),
    ):
        pass
    with pytest.raises(AssertionError, match="nothing was raised"), check.raises(AssertionError):
        pass
    with pytest.raises(ZeroDivisionError), check.raises(ValueError):
        _ = 1 / 0
