"""What the tests of an assignment say: the input that failed, what came, what was expected.

Every task of an assignment asks for a function. A test calls it and compares; when it fails, its
message names a known mistake that gives the same value, and the section to read.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

SHOWN = 24  # entries of an array that a message shows


def answer(
    f: Callable,
    *args: Any,
    want: Any,
    mistakes: Mapping[str, Any] | None = None,
    read: str = "",
    rtol: float = 1e-6,
    atol: float = 1e-9,
) -> None:
    """Call ``f(*args)`` and raise unless the result is ``want``; silent when it is.

    Args:
        f: the student's function. It gets copies, so it cannot change what the test holds.
        *args: its arguments.
        want: the expected result: numbers or an array, compared to ``atol + rtol * |want|``, NaN
            equal to NaN; a bool, string or None, compared exactly; or a list, tuple or dict of
            these. Arrays must have equal shapes.
        mistakes: what a known mistake is, in a sentence, and the value that it gives here.
        read: where to read on: ``'Section' (folder/chapter)``.
        rtol: relative tolerance of numbers.
        atol: absolute tolerance of numbers.

    Raises:
        AssertionError: the result differs, is no plain value, or the call raised. The message
            says which input failed, what came and what was expected.
    """
    shown = call(f, args)
    try:
        got = f(*copy.deepcopy(args))
    except NotImplementedError:
        raise AssertionError(f"{f.__name__} is not written yet") from None
    except Exception as e:
        came = f"raised   {type(e).__name__}: {e}"
    else:
        if same(got, want, rtol, atol):
            return
        came = f"came     {show(got)}{_where(got, want, rtol, atol)}"
        for sentence, value in (mistakes or {}).items():
            if same(got, value, rtol, atol):
                came += f"\n  {sentence}"
                break
    raise AssertionError(f"{shown}\n  {came}\n  expected {show(want)}{_read(read)}") from None


def refuses(
    f: Callable, *args: Any, why: str, error: type[Exception] = ValueError, read: str = ""
) -> None:
    """Call ``f(*args)`` and raise unless it raises ``error``; ``why`` says what is wrong with it.

    Raises:
        AssertionError: it returned, or raised something else.
    """
    try:
        came = f"came     {show(f(*copy.deepcopy(args)))}"
    except NotImplementedError:
        raise AssertionError(f"{f.__name__} is not written yet") from None
    except error:
        return
    except Exception as e:
        came = f"raised   {type(e).__name__}: {e}"
    expected = f"expected a {error.__name__}: {why}"
    raise AssertionError(f"{call(f, args)}\n  {came}\n  {expected}{_read(read)}") from None


def same(got: Any, want: Any, rtol: float = 1e-6, atol: float = 1e-9) -> bool:
    """Whether two results agree, by kind and by value; an object of any other kind never does."""
    if want is None or isinstance(want, bool | np.bool_ | str):
        kind = (bool, np.bool_) if isinstance(want, bool | np.bool_) else type(want)
        return isinstance(got, kind) and bool(got == want)
    if isinstance(want, dict):
        return (
            isinstance(got, dict)
            and got.keys() == want.keys()
            and all(same(got[key], want[key], rtol, atol) for key in want)
        )
    if (expected := _numbers(want)) is not None:
        came = _numbers(got)
        if came is None or came.shape != expected.shape:
            return False
        return bool(np.allclose(came, expected, rtol=rtol, atol=atol, equal_nan=True))
    if isinstance(want, list | tuple):
        return (
            isinstance(got, list | tuple)
            and len(got) == len(want)
            and all(same(g, w, rtol, atol) for g, w in zip(got, want))
        )
    raise TypeError(f"want: expected numbers, words or a container of them, got {type(want)}")


def show(x: Any, width: int = 300) -> str:
    """A value in one short line: small arrays in full, to six digits, large ones by their shape."""
    x = x.tolist() if isinstance(x, np.ndarray) and x.dtype.kind not in "iuf" else x
    a = None if isinstance(x, list | tuple | str) else _numbers(x)
    if a is not None and a.size > SHOWN:
        return f"an array of shape {a.shape}"
    if isinstance(x, dict):
        text = "{" + ", ".join(f"{show(k)}: {show(v)}" for k, v in x.items()) + "}"
    elif a is not None and a.ndim == 0:
        text = f"{a:.6g}"
    elif isinstance(x, list | tuple) or a is not None:
        text = "[" + ", ".join(show(v) for v in (x if a is None else a)) + "]"
        text = f"({text[1:-1]})" if isinstance(x, tuple) else text
    elif x is None or isinstance(x, bool | np.bool_ | str):
        text = repr(x if x is None or isinstance(x, str) else bool(x))
    else:
        text = f"an object of type {type(x).__name__}"
    return text if len(text) <= width else text[: width - 1] + "…"


def call(f: Callable, args: tuple) -> str:
    """The call as one would write it."""
    return f"{f.__name__}({', '.join(map(show, args))})"


def _numbers(x: Any) -> np.ndarray | None:
    """The value as an array of integers or floats; None if it is not made of numbers."""
    if hasattr(x, "detach"):  # a torch tensor, without importing torch
        x = x.detach().cpu()
        x = (x.double() if x.dtype.is_floating_point else x).numpy()
    if not isinstance(x, int | float | np.number | np.ndarray | list | tuple):
        return None
    try:
        a = np.asarray(x)
    except (ValueError, TypeError, RuntimeError):  # of unequal lengths
        return None
    return a if a.dtype.kind in "iuf" else None


def _where(got: Any, want: Any, rtol: float, atol: float) -> str:
    """Of two arrays too large to show: the first place at which they differ."""
    a, b = _numbers(got), _numbers(want)
    if a is None or b is None or a.shape != b.shape or a.size <= SHOWN:
        return ""
    differs = ~np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    first = tuple(map(int, np.argwhere(differs)[0]))
    return f"; at {list(first)} it is {show(a[first])}, expected {show(b[first])}"


def _read(read: str) -> str:
    return f"\n  Read {read}." if read else ""
