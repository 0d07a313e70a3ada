"""tasks: what passes is silent, what fails says the input, what came, what was expected."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kltools import tasks

INF, NAN = math.inf, math.nan


def said(f, *args, **keywords) -> str:
    with pytest.raises(AssertionError) as caught:
        tasks.answer(f, *args, **keywords)
    return str(caught.value)


def returns(value):
    def f(*args):
        return value

    return f


@pytest.mark.parametrize(
    "got, want",
    [
        (0.5, 0.5), (0.5 + 1e-8, 0.5), (1, 1.0), (np.float32(0.5), 0.5), (np.int64(3), 3),
        (INF, INF), (NAN, NAN), ([1, 2], np.array([1.0, 2.0])), ((1.0, 2.0), [1, 2]),
        (torch.tensor([1.0, 2.0], requires_grad=True), [1, 2]), (torch.tensor(2.0), 2),
        (np.array(0.5), 0.5), (True, True), (np.bool_(True), True), ("a", "a"), (None, None),
        ((1.0, np.ones(3)), (1, [1, 1, 1])), ({"a": np.ones(2)}, {"a": [1, 1]}), ([], []),
        ([["a"], []], (("a",), ())), (np.zeros((2, 0)), np.zeros((2, 0))),
        ((0.25, "x", None), (0.25, "x", None)), (torch.ones(2, dtype=torch.bfloat16), [1, 1]),
    ],
)  # fmt: skip
def test_the_same_passes_in_silence(got, want, capsys):
    tasks.answer(returns(got), want=want)
    assert capsys.readouterr().out == ""


class Liar(float):
    """Equal to everything."""

    def __eq__(self, other):
        return True

    __hash__ = float.__hash__


class Words(str):
    """A string of a kind that may do anything."""


@pytest.mark.parametrize(
    "got, want",
    [
        (0.5, 0.5001), (INF, -INF), (NAN, 0.0), (0.0, NAN), ([1, 2], [1, 2, 3]), ([[1, 2]], [1, 2]),
        (1, True), (True, 1), (0, False), (np.array([True]), [1]), ("1", 1), (1, "1"), (None, 0),
        ("a", None), ([], None), ((1.0, np.ones(3)), (1, [1, 1])), ({"a": 1}, {"b": 1}),
        ({"a": 1}, [1]), ([1], {"a": 1}), (1.0, [1.0]), ([1.0], 1.0), (1 + 0j, 1), (object(), 1),
        (["a", 1], ["a", "1"]), ({1}, [1]), ("ab", ["a", "b"]), (Liar(3), 5.0), (lambda: 1, 1),
        ([[1], [1, 2]], [[1, 1], [1, 2]]), ([Liar(3)], [5.0]), (Liar(3), True), ("b", "a"),
    ],
)  # fmt: skip
def test_what_differs_fails(got, want):
    assert "expected" in said(returns(got), want=want)


@given(
    st.recursive(
        st.floats(allow_nan=False) | st.text() | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_a_value_is_the_same_as_itself_and_not_as_more(value):
    assert tasks.same(value, value)
    assert not tasks.same([value, "more"], [value])
    assert not tasks.same([value], [value, "more"])


def test_a_message_names_input_value_expectation_mistake_and_section():
    def kl(p, q):
        return 0.25

    message = said(
        kl,
        [0.5, 0.5],
        np.array([1.0, 0.0]),
        want=INF,
        mistakes={"The zeros are lost.": 0.25, "Not this one.": 0.3},
        read="'Zeros' (divergence/entropy-and-kl)",
    )
    assert message == (
        "kl([0.5, 0.5], [1, 0])\n  came     0.25\n  The zeros are lost.\n  expected inf\n"
        "  Read 'Zeros' (divergence/entropy-and-kl)."
    )


def test_of_a_large_array_the_first_difference_is_named():
    want = np.zeros((5, 6))
    got = want.copy()
    got[2, 3] = 1.5
    assert "an array of shape (5, 6); at [2, 3] it is 1.5, expected 0" in said(
        returns(got), want=want
    )


def test_an_exception_is_told_and_an_empty_answer_has_its_own_words():
    def f(x):
        return 1 / x

    def stub(x):
        raise NotImplementedError

    assert "f(0)\n  raised   ZeroDivisionError: division by zero\n  expected 1" in said(
        f, 0, want=1
    )
    assert said(stub, 0, want=1) == "stub is not written yet"
    with pytest.raises(AssertionError, match=r"^stub is not written yet$"):
        tasks.refuses(stub, 0, why="x")


def test_the_tests_keep_their_inputs():
    p = np.ones(2)

    def spoil(x):
        x[:] = 0
        return 0

    tasks.answer(spoil, p, want=0)
    assert p.tolist() == [1, 1]


def test_refuses_wants_the_error_it_names():
    def strict(p):
        if abs(sum(p) - 1) > 1e-9:
            raise ValueError("p")
        return 1

    def wrong(p):
        raise KeyError("p")

    tasks.refuses(strict, [0.5, 0.6], why="p sums to 1.1")
    with pytest.raises(AssertionError, match=r"came     1\n  expected a ValueError: p sums to 1"):
        tasks.refuses(strict, [0.5, 0.5], why="p sums to 1.1")
    with pytest.raises(AssertionError, match=r"raised   KeyError"):
        tasks.refuses(wrong, [1], why="x", read="'A' (b/c)")


@pytest.mark.parametrize(
    "value, text",
    [
        (0.123456789, "0.123457"), ([1, 2.5], "[1, 2.5]"), ((1, "a"), "(1, 'a')"),
        (np.ones((2, 2)), "[[1, 1], [1, 1]]"), (np.ones(25), "an array of shape (25,)"),
        (np.array([[True]]), "[[True]]"), ({"a": None}, "{'a': None}"), (np.float64(2), "2"),
        (object(), "an object of type object"), (torch.ones(2), "[1, 1]"), (NAN, "nan"),
        ("x" * 400, "'" + "x" * 298 + "…"), (np.bool_(False), "False"),
    ],
)  # fmt: skip
def test_values_are_shown_short(value, text):
    assert tasks.show(value) == text


def test_an_expectation_of_no_kind_is_the_tests_own_error():
    with pytest.raises(TypeError, match="want: expected numbers"):
        tasks.answer(returns(1), want=object())
