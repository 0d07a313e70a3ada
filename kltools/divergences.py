r"""Entropies, KL and Jensen-Shannon divergence, total variation, from log-probabilities.

The divergence is summed in the Bregman form

$$D(p\|q) = \sum_v p_v\,\phi(d_v), \qquad \phi(d) = e^d - 1 - d, \quad d_v = \log q_v - \log p_v ,$$

which equals $\sum_v p_v \log(p_v/q_v)$ because both sum to one. Every term is nonnegative and
quadratic near equality, so rounding cannot make the sum negative and the errors of size
``eps * |d|`` that swamp the usual form cancel out.

``logp`` and ``logq`` are log-probabilities ``[..., V]`` of one shape, dtype and device (nothing
is broadcast), ``dim`` is the dimension of V, -inf marks a masked entry. Half precision is computed
and returned in ``float32``, which cannot undo earlier rounding: ``logits.float().log_softmax(-1)``
is the way. ``check=False`` skips the tests that read values (they wait for a GPU).
"""

import math

import torch
from torch import Tensor

NEAR = 0.5  # |d| up to which phi is summed as a series, whose truncation error is below rounding


class _Phi(torch.autograd.Function):
    """phi(d) = e^d - 1 - d for |d| <= NEAR, by its series; saves d alone, derivative expm1(d)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(d: Tensor) -> Tensor:
        s = one = d.new_ones(())  # phi(d) = d²/2 · (1 + d/3 · (1 + d/4 · (…)))
        for k in range(16 if d.dtype == torch.float64 else 9, 2, -1):
            s = torch.addcmul(one, d, s, value=1 / k)
        return d * d / 2 * s

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return grad * torch.expm1(ctx.saved_tensors[0])

    @staticmethod
    def jvp(ctx, tangent: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return tangent * torch.expm1(ctx.saved_tensors[0])


def bregman(p: Tensor, q: Tensor, d: Tensor) -> Tensor:
    """The terms p·phi(d) = q - p - p·d with d = log q - log p, by the branch that keeps precision.

    Args:
        p: nonnegative numbers.
        q: the same shape; p·e^d in exact arithmetic.
        d: log q - log p, the same shape; -inf where p > 0 = q.

    Returns:
        Nonnegative terms: the series near equality, else the difference, which cannot overflow.
    """
    near = d.abs() <= NEAR
    return torch.where(near, p * _Phi.apply(torch.where(near, d, 0)), q - p - p * d)


def assert_normalized(
    logp: Tensor, *, name: str = "logp", dim: int = -1, atol: float = 1e-3
) -> None:
    """Raise unless ``logp`` holds log-probabilities that sum to one along ``dim``.

    Args:
        logp: log-probabilities ``[..., V]``.
        name: how to call the argument in the error.
        dim: the dimension of the distribution.
        atol: largest allowed ``|sum - 1|``. The default is far above float32 (2e-6 at V = 131072)
            and below ``log_softmax`` in bfloat16 over a large vocabulary (4e-3 to 2e-2).

    Raises:
        TypeError: not a floating-point tensor.
        ValueError: a NaN, a positive entry (probabilities or logits were given), or a sum that is
            not 1; there is no ``dim``, or no value to look at (the meta device).
    """
    _tensor(logp, name, dim)
    if logp.is_meta:
        raise ValueError(f"{name}: expected values to check, got device meta; pass check=False")
    x = _wide(logp.detach())
    if x.isnan().any():
        raise ValueError(f"{name}: expected log-probabilities, got NaN")
    total = x.exp().sum(dim)
    if x.numel() and (largest := x.max().item()) > math.log1p(atol):
        hint = "probabilities need .log(), logits .float().log_softmax(-1)"
        raise ValueError(f"{name}: expected log-probabilities, got {largest:.6g} > 0; {hint}")
    if total.numel() and (off := (total - 1).abs()).max() > atol:
        worst = total.flatten()[off.argmax()].item()
        hint = f"within {atol:g}; logits need .float().log_softmax(-1)"
        raise ValueError(f"{name}: expected exp to sum to 1, got {worst:.6g} ({hint})")


def entropy(logp: Tensor, *, dim: int = -1, check: bool = True) -> Tensor:
    """Shannon's (1948) entropy H(p) = -Σ p log p ``[...]`` nats, from 0 to log V; 0 log 0 = 0.

    Raises:
        TypeError, ValueError: as in `kl`.
    """
    if check:
        assert_normalized(logp, dim=dim)
    return cross_entropy(logp, logp, dim=dim, check=False)


def cross_entropy(logp: Tensor, logq: Tensor, *, dim: int = -1, check: bool = True) -> Tensor:
    """The cross-entropy H(p, q) = -Σ p log q = H(p) + D(p‖q) ``[...]`` nats.

    It is +inf where some p > 0 = q; 0 log 0 = 0, in the gradients too.

    Raises:
        TypeError, ValueError: as in `kl`; class indices are no distribution.
    """
    logp, logq = _arguments(dim, check, logp=logp, logq=logq)
    logq = torch.where(logp == -math.inf, 0, logq)
    return -(_positive_where(logq, logp.exp()) * logq).sum(dim)


def kl(logp: Tensor, logq: Tensor, *, dim: int = -1, check: bool = True) -> Tensor:
    """The Kullback-Leibler divergence D(p‖q) = Σ p log(p/q): p is the data, q the model.

    Twice differentiable in both. The gradients are those of the Bregman sum, q - p in ``logq`` and
    p (log p - log q) in ``logp``; behind a ``log_softmax`` they equal those of Σ p log(p/q).

    Args:
        logp: log-probabilities of the data ``[..., V]``.
        logq: log-probabilities of the model, the same shape, dtype and device.
        dim: the dimension of the distribution.
        check: raise unless both are normalized. Without it, unnormalized arguments give the
            generalized divergence Σ p log(p/q) - p + q, which is still nonnegative.

    Returns:
        ``[...]`` nats: never negative; exactly 0 if the arguments are the same; +inf where some
        p > 0 = q. Entries with p = q = 0 (a masked vocabulary) add 0 to the value and to both
        gradients. Where the value is +inf the gradient in ``logp`` is not finite.
        Source: Kullback and Leibler (1951); the Bregman form: Amari (2016).

    Raises:
        TypeError: an argument is not a floating-point tensor, or the dtypes differ.
        ValueError: the shapes or devices differ, or `assert_normalized` fails.
    """
    logp, logq = _arguments(dim, check, logp=logp, logq=logq)
    q, none = logq.exp(), logp == -math.inf
    d = torch.where(none, 0, logq - logp)
    return torch.where(none, q, bregman(_positive_where(d, logp.exp()), q, d)).sum(dim)


def tv(logp: Tensor, logq: Tensor, *, dim: int = -1, check: bool = True) -> Tensor:
    """The total variation ½ Σ |p - q| ``[...]``, a metric between 0 and 1, without a unit.

    Raises:
        TypeError, ValueError: as in `kl`.
    """
    logp, logq = _arguments(dim, check, logp=logp, logq=logq)
    return (logp.exp() - logq.exp()).abs().sum(dim) / 2


def gjs(
    logp: Tensor, logq: Tensor, beta: float = 0.5, *, dim: int = -1, check: bool = True
) -> Tensor:
    """The Jensen-Shannon divergence β D(p‖m) + (1 - β) D(q‖m), m = β p + (1 - β) q ``[...]`` nats.

    It lies between 0 and the entropy of the coin (β, 1 - β), log 2 for β = ½, which it has where
    p and q share no entry; finite for all supports. It goes to 0 as β goes to 0 or 1, where
    GJS/β and GJS/(1 - β) go to D(p‖q) and D(q‖p). Source: Lin (1991).

    Args:
        logp: log-probabilities of the first law ``[..., V]``, with the weight β.
        logq: log-probabilities of the second, the same shape, dtype and device.
        beta: the weight, strictly between 0 and 1.
        dim: the dimension of the distribution.
        check: raise unless both are normalized.

    Raises:
        TypeError, ValueError: as in `kl`; ``beta`` is not inside (0, 1).
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta: expected a number inside (0, 1), got {beta}")
    logp, logq = _arguments(dim, check, logp=logp, logq=logq)
    none = (logp == -math.inf) & (logq == -math.inf)  # logaddexp has no gradient there
    a, b = (torch.where(none, 0, x) for x in (logp, logq))
    logm = torch.logaddexp(a + math.log(beta), b + math.log1p(-beta)).masked_fill(none, -math.inf)
    p_side, q_side = (kl(x, logm, dim=dim, check=False) for x in (logp, logq))
    return beta * p_side + (1 - beta) * q_side


def _positive_where(d: Tensor, p: Tensor) -> Tensor:
    """Keep p > 0 where d = -inf: then -p·d is +inf, as it must be, even if exp underflowed."""
    return torch.where(d == -math.inf, p.clamp_min(torch.finfo(p.dtype).tiny), p)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _tensor(x: Tensor, name: str, dim: int) -> None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name}: expected a floating-point tensor, got {got}")
    if not -x.ndim <= dim < x.ndim:
        raise ValueError(f"{name}: expected a dimension {dim}, got shape {tuple(x.shape)}")


def same_kind(name: str, x: Tensor, like: str, y: Tensor) -> None:
    """Raise unless tensor ``x``, called ``name``, has the dtype, shape and device of ``y``."""
    if x.dtype != y.dtype:
        raise TypeError(f"{name}: expected {y.dtype} as {like}, got {x.dtype}")
    if x.shape != y.shape:
        raise ValueError(f"{name}: expected shape {tuple(y.shape)} as {like}, got {tuple(x.shape)}")
    if x.device != y.device:
        raise ValueError(f"{name}: expected device {y.device} as {like}, got {x.device}")


def _arguments(dim: int, check: bool, **named: Tensor) -> list[Tensor]:
    """Validate the named log-probabilities and return them in at least float32."""
    (first, y), *_ = named.items()
    for name, x in named.items():
        _tensor(x, name, dim)
        same_kind(name, x, first, y)
    for name, x in named.items() if check else ():
        assert_normalized(x, name=name, dim=dim)
    return [_wide(x) for x in named.values()]
