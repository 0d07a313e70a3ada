"""Divergences that have a formula: two normal laws, two coins."""

from typing import Any

import torch
from torch import Tensor

from kltools.divergences import bregman

__all__ = ["kl_bernoulli", "kl_normal"]


def kl_normal(m1: Any, s1: Any, m2: Any, s2: Any) -> Tensor:
    """D(N(m1, s1²) ‖ N(m2, s2²)) = log(s2/s1) + (s1² + (m1 - m2)²) / (2 s2²) - 1/2.

    Args:
        m1: mean of the first law (the data): float, array or tensor.
        s1: its standard deviation, positive.
        m2: mean of the second law (the model).
        s2: its standard deviation, positive.

    Returns:
        Nats, of the shape that the four arguments broadcast to; float64 for Python numbers.
        Differentiable in all four. Source: Bishop (2006), exercise 1.30.

    Raises:
        ValueError: a standard deviation that is not positive and finite, or a mean that is not
            finite.
        TypeError: an argument that is not a number, array or tensor.
    """
    m1, s1, m2, s2 = (_number(x, n) for x, n in ((m1, "m1"), (s1, "s1"), (m2, "m2"), (s2, "s2")))
    for name, m in (("m1", m1), ("m2", m2)):
        _require(m.isfinite(), m, name, "a finite mean")
    for name, s in (("s1", s1), ("s2", s2)):
        _require(s.isfinite() & (s > 0), s, name, "a positive, finite standard deviation")
    r = s1 / s2  # ½ (r² - 1 - log r²) is a Bregman term too, and never negative
    spread = bregman(torch.ones_like(r), r * r, 2 * (s1.log() - s2.log()))
    return spread / 2 + ((m1 - m2) / s2) ** 2 / 2


def kl_bernoulli(p: Any, q: Any) -> Tensor:
    """D(Bernoulli(p) ‖ Bernoulli(q)) = p log(p/q) + (1 - p) log((1 - p)/(1 - q)).

    Args:
        p: probability of the data's success, in [0, 1]: float, array or tensor.
        q: probability of the model's success, in [0, 1].

    Returns:
        Nats, of the shape that p and q broadcast to; float64 for Python numbers. 0 log 0 = 0, so
        p = 0 gives -log(1 - q); +inf where p gives mass to an outcome that q excludes.
        Differentiable in both inside (0, 1), and in q also for p in {0, 1}.

    Raises:
        ValueError: a probability outside [0, 1], or NaN.
        TypeError: an argument that is not a number, array or tensor.
    """
    p, q = _number(p, "p"), _number(q, "q")
    for name, x in (("p", p), ("q", q)):
        _require((x >= 0) & (x <= 1), x, name, "a probability in [0, 1]")
    p, q = torch.broadcast_tensors(p, q)
    return _outcome(p, q) + _outcome(1 - p, 1 - q)


def _outcome(p: Tensor, q: Tensor) -> Tensor:
    """The Bregman term p log(p/q) - p + q of one outcome, which is q for p = 0."""
    none = p == 0
    p1, q1 = torch.where(none, 1, p), torch.where(none, 1, q)
    return torch.where(none, q, bregman(p1, q1, q1.log() - p1.log()))


def _number(x: Any, name: str) -> Tensor:
    try:
        x = torch.as_tensor(x, dtype=None if hasattr(x, "dtype") else torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"{name}: expected a number, an array or a tensor, got {type(x).__name__}"
        ) from None
    return x if x.is_floating_point() else x.to(torch.float64)


def _require(good: Tensor, x: Tensor, name: str, expected: str) -> None:
    if not good.all():
        raise ValueError(f"{name}: expected {expected}, got {x[~good].flatten()[0].item():g}")
