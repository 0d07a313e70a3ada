"""Checks that a notebook can show: each prints one rounded line and raises when it is wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np


def close(
    name: str, got: Any, want: Any, *, rtol: float = 1e-9, atol: float = 0.0, digits: int = 6
) -> None:
    """Print ``name: want`` and raise unless ``got`` agrees with it.

    Args:
        name: what is compared, in words.
        got: number, array or tensor from the formula under test.
        want: the same from an independent route (enumeration, closed form, autograd, SciPy …).
        rtol: relative tolerance: ``|got - want| <= atol + rtol * |want|`` for every element.
        atol: absolute tolerance; give one when ``want`` is zero.
        digits: significant digits printed, of ``want``: print what survives another CPU.

    Raises:
        AssertionError: the shapes differ, a value is NaN, or the two differ by more than allowed.
            Infinities agree only with infinities of the same sign.
    """
    a, b = _array(got), _array(want)
    if a.size == 0:
        raise AssertionError(f"{name}: nothing to compare")
    if a.shape != b.shape:
        raise AssertionError(f"{name}: got shape {a.shape}, expected {b.shape}")
    if not np.allclose(a, b, rtol=rtol, atol=atol):
        where = _worst(np.where(a == b, 0, np.abs(a - b)))  # named where arrays are large
        raise AssertionError(
            f"{name}: got {_all_or(a, where)}, expected {_all_or(b, where)} "
            f"(rtol={rtol}, atol={atol})"
        )
    tolerance = f"to {rtol:.0e}" if atol == 0 else f"within {atol:.0e}"
    shown = np.where(abs(b) <= min(atol, 1e-9), 0, b)  # rounding differs from CPU to CPU
    print(f"✓ {name}: {_text(shown, digits)} ({tolerance})")


def at_most(name: str, got: Any, bound: Any, *, slack: float = 0.0, digits: int = 3) -> None:
    """Print ``name: got ≤ bound`` and raise unless every ``got`` is at most ``bound + slack``.

    ``slack`` is for rounding alone (a few 1e-16 in float64); NaN never passes. Of arrays the
    largest excess ``got - bound`` is printed: the number that would refute the claim.
    """
    a, b = np.broadcast_arrays(_array(got), _array(bound))
    if a.size == 0:
        raise AssertionError(f"{name}: nothing to compare")
    if not np.all(a <= b + slack):
        where = _worst(a - b)
        raise AssertionError(
            f"{name}: {_all_or(a, where)} is not at most {_all_or(b, where)} (slack {slack})"
        )
    worst = a if a.ndim == 0 else np.max(a - b)
    shown = "0 (to rounding)" if slack > 0 and abs(worst) <= slack else _text(worst, digits)
    if a.ndim == 0:
        print(f"✓ {name}: {shown} ≤ {_text(b, digits)}")
    else:
        print(f"✓ {name}: {a.size} cases, largest excess {shown} ≤ 0")


def within(name: str, got: float, want: float, tol: float, *, digits: int = 2) -> None:
    """Print ``want ± tol`` and raise unless ``got`` is inside.

    For numbers that another processor changes a little, as training in float32 does: what is
    printed is the same everywhere, and the value that was measured is what is tested.
    """
    if not abs(float(got) - want) <= tol:
        raise AssertionError(f"{name}: got {float(got):.6g}, expected {want} ± {tol}")
    print(f"✓ {name}: {want:.{digits}f} ± {tol:.{digits}f}")


def true(name: str, condition: Any) -> None:
    """Print ``name`` and raise unless ``condition`` (all of its elements) holds.

    Raises:
        AssertionError: it does not hold.
        TypeError: it is not made of booleans, or empty: a generator or a dict would always pass.
    """
    if hasattr(condition, "detach"):
        condition = condition.detach().cpu()
    held = np.asarray(condition)
    if held.dtype != bool or held.size == 0:
        raise TypeError(f"{name}: expected booleans, got {type(condition).__name__}")
    if not held.all():
        raise AssertionError(f"{name}: does not hold")
    print(f"✓ {name}")


@contextmanager
def raises(error: type[BaseException], *, width: int = 160) -> Iterator[None]:
    """Show that the code inside fails: print ``Error: message`` and go on.

    A cell that is meant to fail would stop *Run all* on Colab; this one shows the first line of
    the same message and continues. It raises when nothing fails, or when something else does.
    """
    try:
        yield
    except error as e:
        line = str(e).strip().split("\n")[0]
        print(f"{type(e).__name__}: {line[:width]}{'…' if len(line) > width else ''}")
    else:
        raise AssertionError(f"expected {error.__name__}, but nothing was raised")


def _array(x: Any) -> np.ndarray:
    if hasattr(x, "detach"):  # a torch tensor, without importing torch
        x = x.detach().cpu().numpy()
    return np.asarray(x, dtype=float)


def _worst(excess: np.ndarray) -> tuple[int, ...]:
    ranked = np.where(np.isnan(excess), np.inf, excess)
    return tuple(map(int, np.unravel_index(np.argmax(ranked), ranked.shape)))


def _all_or(x: np.ndarray, where: tuple[int, ...]) -> str:
    return str(x.tolist()) if x.size <= 8 else f"{x[where]} at {list(where)}"


def _text(x: np.ndarray, digits: int) -> str:
    if x.ndim == 0:
        value = float(x)
        return "0" if value == 0 else f"{value:.{digits}g}"
    if x.size <= 8:
        return "[" + ", ".join(_text(v, digits) for v in x.reshape(-1)) + "]"
    return f"array of shape {tuple(x.shape)}"
