r"""Estimating a divergence from samples: Schulman's k1, k2, k3, and a loss with the right gradient.

All of them look at samples ``x`` drawn from the *model* q and estimate the reverse divergence
$D(q\|p)$, one number a sample. With $r = p(x)/q(x)$:

$$k_1 = -\log r, \qquad k_2 = \tfrac12 (\log r)^2, \qquad k_3 = r - 1 - \log r .$$

``logq`` and ``logp`` are the log-probabilities of the *same* samples, of one shape, dtype and
device (nothing is broadcast). Average the results over samples; no function here does.
Source: Schulman (2020), Approximating KL Divergence, http://joschu.net/blog/kl-approx.html
"""

import torch
from torch import Tensor

from kltools.divergences import _tensor, _wide, bregman, same_kind

__all__ = ["k1", "k2", "k3", "surrogate"]


def k1(logq: Tensor, logp: Tensor) -> Tensor:
    """-log r = log q - log p, unbiased for D(q‖p) and of either sign.

    Args:
        logq: log-probabilities of the samples under the model that they were drawn from.
        logp: of the same samples under the reference. -inf where the reference excludes one.

    Returns:
        Nats, one a sample; +inf where ``logp`` is -inf. Half precision is widened to float32.

    Raises:
        TypeError: an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: the shapes or devices differ, or ``logq`` is not finite: a sample cannot have
            the probability 0.
    """
    logq, logp = _samples(logq, logp)
    return logq - logp


def k2(logq: Tensor, logp: Tensor) -> Tensor:
    """½ (log r)², nonnegative and biased; its bias is of third order where p and q are close.

    As a *loss* on samples from q it has the gradient of D(q‖p) on average.
    Arguments, result and errors as in `k1`.
    """
    return k1(logq, logp) ** 2 / 2


def k3(logq: Tensor, logp: Tensor) -> Tensor:
    """The Bregman term r - 1 - log r, unbiased for D(q‖p) if q excludes nothing that p allows.

    It is never negative. If q excludes something, as under top-k sampling, the mean is
    D(q‖p) + Σ p - 1, summed where q > 0.
    As a *loss* on samples from q it has the gradient of D(p‖q), the *other* direction, on average.
    Arguments, result and errors as in `k1`. Near r = 1 it is summed as a series.
    """
    logq, logp = _samples(logq, logp)
    d = logp - logq
    return bregman(torch.ones_like(d), d.exp(), d)


def surrogate(
    logq: Tensor, logp: Tensor, *, value: str = "k3", logmu: Tensor | None = None
) -> Tensor:
    """The value of an estimator with the gradient of the divergence D(q‖p).

    The backward pass is that of k1 · log q with k1 held constant (the score function), whichever
    estimator is shown. Samples from another law μ, an older q, are weighted with q/μ.

    Args:
        logq: log-probabilities of the samples under the model; the gradient goes here.
        logp: of the same samples under the reference; gets no gradient.
        value: the estimator that is shown, ``"k1"``, ``"k2"`` or ``"k3"``.
        logmu: of the same samples under the law that they were drawn from, if it is not q.

    Returns:
        Nats, one a sample: the estimator's value, times q/μ where ``logmu`` is given. The mean
        over samples from μ (or q) of its gradient is unbiased for the gradient of D(q‖p). Where
        ``logp`` is -inf the value is +inf and the gradient NaN. Source: Williams (1992) for the
        score function; Tang and Munos (2025, arXiv 2506.09477) for what the estimators lack.

    Raises:
        ValueError: an unknown ``value``; else as in `k1`.
        TypeError: as in `k1`.
    """
    functions = {"k1": k1, "k2": k2, "k3": k3}
    if value not in functions:
        raise ValueError(f"value: expected one of {list(functions)}, got {value!r}")
    shown = functions[value](logq, logp).detach()
    logq, logp = _samples(logq, logp)
    weight = torch.ones_like(shown)
    if logmu is not None:
        _tensor(logmu, "logmu", -1)
        same_kind("logmu", logmu := _wide(logmu), "logq", logq)
        weight = (logq - logmu).exp().detach()
    score = (logq - logp).detach() * logq
    return weight * torch.where(shown.isinf(), shown, shown + score - score.detach())


def _samples(logq: Tensor, logp: Tensor) -> tuple[Tensor, Tensor]:
    for name, x in (("logq", logq), ("logp", logp)):
        _tensor(x, name, -1)
    same_kind("logp", logp, "logq", logq)
    if not logq.detach().isfinite().all():
        raise ValueError(
            "logq: expected finite log-probabilities of samples from q, got inf or NaN"
        )
    return _wide(logq), _wide(logp)
