r"""Gradients and Hessians of the divergence in the logits z of the model, q = softmax(z).

$$\nabla_z D(p\|q) = q - p, \qquad
\nabla_z D(q\|p) = q \odot (f - R), \quad f = \log q - \log p, \; R = \sum_v q_v f_v = D(q\|p).$$

``direction="forward"`` is D(p‖q), the data first; ``direction="reverse"`` is D(q‖p), the model
first. `ForwardKL` and `ReverseKL` carry these gradients as hand-written backward passes. All of
this needs Σ p = 1: ``check=False`` skips the test, not the condition.
"""

import math
from typing import Any

import torch
from torch import Tensor

from kltools.divergences import _arguments, _tensor, _wide, assert_normalized, kl, same_kind
from kltools.fused import fused_linear_divergence

__all__ = [
    "ForwardKL",
    "ReverseKL",
    "fused_linear_divergence",
    "kl_from_logits",
    "logit_gradient",
    "logit_hessian",
]


def logit_gradient(
    logp: Tensor, logq: Tensor, *, direction: str = "forward", check: bool = True
) -> Tensor:
    """The gradient of the divergence with respect to the logits of q.

    Args:
        logp: log-probabilities of the data ``[..., V]``; -inf where masked.
        logq: log-probabilities of the model, ``log_softmax`` of the logits, the same shape.
        direction: ``"forward"`` for D(p‖q), ``"reverse"`` for D(q‖p).
        check: raise unless both are normalized.

    Returns:
        ``[..., V]`` nats per logit; sums to 0 along V. Entries with q = 0 have gradient -p
        (forward) or 0 (reverse). A row with D(q‖p) = +inf has no reverse gradient: NaN.
        Source, forward: Bishop (2006), equation 4.109.

    Raises:
        ValueError: unknown direction; shapes, devices or sums as in `divergences.kl`.
        TypeError: not floating-point tensors, or differing dtypes.
    """
    logp, logq = _arguments(-1, check, logp=logp, logq=logq)
    if _choose(direction) is ForwardKL:
        return logq.exp() - logp.exp()
    q, f, r = _reverse(logp, logq)
    return q * (f - r)


def logit_hessian(
    logp: Tensor, logq: Tensor, *, direction: str = "forward", check: bool = True
) -> Tensor:
    """The matrix of second derivatives with respect to the logits of q.

    Forward: diag(q) - q qᵀ, the Fisher information, positive semidefinite and independent of p.
    Reverse: δ_ij q_i (f_i - R + 1) - q_i q_j (f_i + f_j - 2R + 1), indefinite in general.

    Args:
        logp: log-probabilities of the data ``[..., V]``.
        logq: log-probabilities of the model, the same shape.
        direction: ``"forward"`` for D(p‖q), ``"reverse"`` for D(q‖p).
        check: raise unless both are normalized.

    Returns:
        ``[..., V, V]`` nats per logit squared, symmetric; rows sum to 0.

    Raises:
        ValueError, TypeError: as in `logit_gradient`.
    """
    logp, logq = _arguments(-1, check, logp=logp, logq=logq)
    if _choose(direction) is ForwardKL:
        q = logq.exp()
        return torch.diag_embed(q) - q[..., :, None] * q[..., None, :]
    q, f, r = _reverse(logp, logq)
    g = f - r
    pair = q[..., :, None] * q[..., None, :] * (g[..., :, None] + g[..., None, :] + 1)
    return torch.diag_embed(q * (g + 1)) - pair


class _FromLogits(torch.autograd.Function):
    """What both directions share: arguments (logp, logits), and what the backward pass needs."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        """Save the inputs: q is recomputed, so that the backward pass is differentiable."""
        ctx.save_for_backward(*inputs)


class ForwardKL(_FromLogits):
    """D(p‖softmax(z)) with the backward pass written by hand: g (q - p) for the logits z.

    ``ForwardKL.apply(logp, logits)``: log-probabilities and logits ``[..., V]`` to ``[...]`` nats.
    ``logp`` gets its gradient too, p (log p - log q), that of `divergences.kl`: returning None
    would silently train only one side when both arguments come from networks.
    Arguments are not checked; `kl_from_logits` does that.
    """

    @staticmethod
    def forward(logp: Tensor, logits: Tensor) -> Tensor:
        """The value."""
        return kl(logp, logits.log_softmax(-1), check=False)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor]:
        """Multiply the incoming gradient ``[...]`` by the closed forms."""
        logp, logits = ctx.saved_tensors
        logq, g = logits.log_softmax(-1), g[..., None]
        dlogp = None
        if ctx.needs_input_grad[0]:
            p, minus_d, _ = _reverse(logq, logp)
            dlogp = g * p * minus_d
        return dlogp, g * logit_gradient(logp, logq, direction="forward", check=False)


class ReverseKL(_FromLogits):
    """D(softmax(z)‖p) with the backward pass written by hand: g q (f - R) for the logits z.

    ``ReverseKL.apply(logp, logits)``: as `ForwardKL`; ``logp`` gets the gradient p - q.
    """

    @staticmethod
    def forward(logp: Tensor, logits: Tensor) -> Tensor:
        """The value."""
        return kl(logits.log_softmax(-1), logp, check=False)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor]:
        """Multiply the incoming gradient ``[...]`` by the closed forms."""
        logp, logits = ctx.saved_tensors
        logq, g = logits.log_softmax(-1), g[..., None]
        dlogp = g * (logp.exp() - logq.exp()) if ctx.needs_input_grad[0] else None
        return dlogp, g * logit_gradient(logp, logq, direction="reverse", check=False)


def kl_from_logits(
    logp: Tensor, logits: Tensor, *, direction: str = "forward", check: bool = True
) -> Tensor:
    """The divergence between the data and softmax(logits), with a hand-written backward pass.

    Args:
        logp: log-probabilities of the data ``[..., V]``; -inf where masked.
        logits: the model's logits, the same shape, dtype and device; -inf where masked. Half
            precision is widened first, so it goes with a float32 ``logp``.
        direction: ``"forward"`` for D(p‖q), ``"reverse"`` for D(q‖p).
        check: raise unless ``logp`` is normalized and ``logits`` are free of NaN.

    Returns:
        ``[...]`` nats, at least float32; twice differentiable (reverse mode) in both arguments.

    Raises:
        ValueError: unknown direction; shapes, devices or sums as in `divergences.kl`; NaN.
        TypeError: not floating-point tensors, or differing dtypes.
    """
    function = _choose(direction)
    _tensor(logp, "logp", -1)
    _tensor(logits, "logits", -1)
    logp, logits = _wide(logp), _wide(logits)
    same_kind("logits", logits, "logp", logp)
    if check:
        assert_normalized(logp, name="logp")
        if (bad := logits.detach().logsumexp(-1)).isnan().any() or bad.isinf().any():
            raise ValueError(
                "logits: expected rows with a finite maximum, got NaN, +inf or a row of -inf"
            )
    return function.apply(logp, logits)


def _choose(direction: str) -> type[torch.autograd.Function]:
    functions = {"forward": ForwardKL, "reverse": ReverseKL}
    if direction not in functions:
        raise ValueError(f"direction: expected one of {list(functions)}, got {direction!r}")
    return functions[direction]


def _reverse(logp: Tensor, logq: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, f = log q - log p (0 where q = 0) and R = Σ q f ``[..., 1]``."""
    q = logq.exp()
    f = torch.where(logq == -math.inf, 0, logq - logp)
    return q, f, (q * f).sum(-1, keepdim=True)
