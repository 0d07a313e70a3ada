r"""A divergence between two vocabulary-sized laws, straight from hidden states and output matrices.

The logits of N tokens over V words are z = h Wᵀ / T, an N×V tensor that is often larger than the
model. Here no such tensor exists. For a few tokens at a time both logits tiles are computed into
two buffers that are used again, the student's tile is turned in place into dD/dz, and at once

$$\nabla_h = \frac1T\,\frac{\partial D}{\partial z} W, \qquad
\nabla_W = \frac1T \sum_n \Bigl(\frac{\partial D}{\partial z}\Bigr)_n^{\!\top} h_n$$

are accumulated: the gradients are ready when the forward pass ends, the backward pass only scales
them. With p = softmax of the teacher's logits and q = softmax(z):

$$\frac{\partial D(p\|q)}{\partial z} = q - p, \qquad
\frac{\partial D(q\|p)}{\partial z} = q \odot \Bigl(\log\frac qp - D(q\|p)\Bigr), \qquad
\frac{\partial\,\mathrm{GJS}_\beta}{\partial z}
  = (1-\beta)\, q \odot \Bigl(\log\frac qm - D(q\|m)\Bigr).$$

Values are summed in the Bregman form of `kltools.divergences`, so they are never negative.
The idea of chunks with the gradient in the forward pass: Hsu et al. (2024), Liger Kernel.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kltools.divergences import _tensor

DIRECTIONS = ("forward", "reverse", "gjs")
FAR = 60.0  # log-ratio from which p·phi(d) = q to the last bit; e^FAR is finite in float32
CACHE = 2**18  # entries of a row block on a CPU: its tiles stay in the cache from pass to pass


def fused_linear_divergence(
    hidden: Tensor,
    weight: Tensor,
    teacher_hidden: Tensor,
    teacher_weight: Tensor,
    *,
    direction: str = "forward",
    beta: float = 0.5,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    chunk: int | None = None,
) -> tuple[Tensor, int]:
    """Σ over tokens of the divergence between teacher p and student q, without N×V logits.

    Args:
        hidden: the student's last hidden states ``[..., H]``.
        weight: the student's output matrix ``[V, H]``, as in ``torch.nn.Linear``.
        teacher_hidden: ``[..., H']`` for the same tokens; H' may differ from H. A constant.
        teacher_weight: ``[V, H']``. A constant.
        direction: ``"forward"`` for D(p‖q), ``"reverse"`` for D(q‖p), ``"gjs"`` for
            β D(p‖m) + (1 - β) D(q‖m) with m = β p + (1 - β) q.
        beta: the weight β of ``"gjs"``, strictly between 0 and 1.
        temperature: T > 0, which divides both logits. No factor T² is applied.
        mask: bool ``[...]``, True for the tokens that count; others are not computed at all.
        chunk: tokens a tile; 128 on a CPU and 1,024 elsewhere if not given. Memory is two tiles
            ``[chunk, V]`` and the gradients (four tiles on a GPU without Triton; with it the
            passes over a tile are compiled at the first call, which takes some seconds).

    Returns:
        The sum in nats, and the number of tokens that count, for one mean at the end. float32 at
        least: half precision is multiplied as it is and accumulated in float32, and the gradients
        are returned in the dtype of their tensors. Once differentiable.

    Raises:
        ValueError: shapes, devices or an option out of range; a teacher that wants a gradient.
        TypeError: not floating-point tensors, differing dtypes, or a mask that is not bool.
    """
    _validate(hidden, weight, teacher_hidden, teacher_weight, mask)
    if direction not in DIRECTIONS:
        raise ValueError(f"direction: expected one of {list(DIRECTIONS)}, got {direction!r}")
    if not 0 < beta < 1:
        raise ValueError(f"beta: expected a number inside (0, 1), got {beta}")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    if chunk is None:
        chunk = 128 if hidden.device.type == "cpu" else 1024
    if chunk < 1:
        raise ValueError(f"chunk: expected one or more tokens, got {chunk}")
    if mask is None:
        h, t = hidden.flatten(0, -2), teacher_hidden.flatten(0, -2)
    else:
        h, t = hidden[mask], teacher_hidden[mask]
    options = (direction, beta, temperature, chunk)
    return _Fused.apply(h, weight, t, teacher_weight, options), len(h)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, W: Tensor, t: Tensor, U: Tensor, options: tuple[str, float, float, int]
    ) -> Tensor:
        ctx.save_for_backward(h, W, t, U)
        ctx.options, ctx.needs = options, ctx.needs_input_grad[:2]
        total, *ctx.gradients = _accumulate(h, W, t, U, options, ctx.needs)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        h, W, t, U = ctx.saved_tensors
        if ctx.gradients is None:  # called again: the first call has given them away
            _, *ctx.gradients = _accumulate(h, W, t, U, ctx.options, ctx.needs)
        dh, dW = (
            None if dx is None else dx.mul_(g).to(x.dtype) for dx, x in zip(ctx.gradients, (h, W))
        )
        ctx.gradients = None
        return dh, dW, None, None, None


def _accumulate(
    h: Tensor,
    W: Tensor,
    t: Tensor,
    U: Tensor,
    options: tuple[str, float, float, int],
    needs: tuple[bool, bool],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The sum over the tokens, and its gradients in ``h`` and ``W``, chunk by chunk."""
    direction, beta, T, chunk = options
    wide = torch.promote_types(h.dtype, torch.float32)
    on_cpu = h.device.type == "cpu"
    Wm, Um = (W.to(wide), U.to(wide)) if on_cpu else (W, U)  # CPUs mix no dtypes in a product
    N, V = len(h), len(W)
    compiled = None if on_cpu else _compiled()
    rows = max(1, CACHE // V) if on_cpu else chunk
    s_tile, t_tile = (h.new_empty(min(chunk, N), V, dtype=wide) for _ in range(2))
    work = [h.new_empty(0 if compiled else min(rows, chunk, N), V, dtype=wide) for _ in range(2)]
    total = h.new_zeros((), dtype=wide)
    dh = h.new_empty(h.shape, dtype=wide) if needs[0] else None
    dW = W.new_zeros(W.shape, dtype=wide) if needs[1] else None
    for i in range(0, N, chunk):
        hc, tc = ((x[i : i + chunk] / T).to(Wm.dtype) for x in (h, t))
        s, p = s_tile[: len(hc)], t_tile[: len(hc)]
        _product(hc, Wm.t(), s)
        _product(tc, Um.t(), p)
        if compiled:
            value, s = compiled(direction, beta, s, p, Wm.dtype)
            total += value
        else:
            for j in range(0, len(hc), rows):
                block = slice(j, j + rows)
                total += _divergence(direction, beta, s[block], p[block], work).sum()
            s = s.to(Wm.dtype)
        if dh is not None:
            _product(s, Wm, dh[i : i + chunk]).div_(T)
        if dW is not None:
            _product(s.t(), hc, dW, add=True)
    return total, dh, dW


def _product(a: Tensor, b: Tensor, out: Tensor, add: bool = False) -> Tensor:
    """A b into ``out``, or added to it; from half precision straight to float32 (CUDA)."""
    if a.dtype == out.dtype:
        return torch.addmm(out, a, b, out=out) if add else torch.mm(a, b, out=out)
    wide = out.dtype
    return torch.addmm(out, a, b, wide, out=out) if add else torch.mm(a, b, wide, out=out)


def _divergence(direction: str, beta: float, s: Tensor, t: Tensor, work: list[Tensor]) -> Tensor:
    """Nats of each row; ``s``, the student's logits, becomes dD/ds, and ``t`` is used up."""
    w, v = (x[: len(s)] for x in work)
    if direction == "gjs":
        return _gjs(beta, s, t, w, v)
    torch.log_softmax(s, -1, out=s)
    torch.log_softmax(t, -1, out=t)
    if direction == "forward":
        d = torch.sub(s, t, out=w)  # log q - log p
        return _bregman(t.exp_(), s, d, v)
    d = torch.sub(t, s, out=w)  # log p - log q
    value = _bregman(s.exp_(), t, d, v)
    s.mul_(d.add_(value[:, None])).neg_()
    return value


def _gjs(beta: float, s: Tensor, t: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """`_divergence` without logs of p and q: m = p + (1 - β) (q - p) = q - β (q - p)."""
    tiny, zero = torch.finfo(s.dtype).tiny, s.new_zeros(())
    torch.softmax(t, -1, out=p).clamp_min_(tiny)  # not 0: they divide
    torch.softmax(s, -1, out=q).clamp_min_(tiny)
    d = torch.sub(q, p, out=t)
    r = torch.addcdiv(zero, d, p, value=1 - beta, out=s).log1p_()  # log m - log p
    p_side = p.mul_(r).sum(-1)  # -D(p‖m)
    torch.addcdiv(zero, d, q, value=-beta, out=r).log1p_()  # log m - log q
    q_side = torch.mul(q, r, out=p).sum(-1)  # -D(q‖m)
    r.sub_(q_side[:, None]).mul_(q).mul_(beta - 1)
    return (-beta * p_side - (1 - beta) * q_side).clamp_min(0)


def _bregman(p: Tensor, q: Tensor, d: Tensor, out: Tensor) -> Tensor:
    """Σ p·phi(d) of each row, d = log q - log p; ``q`` holds log q and becomes q - p."""
    far = q.exp() if d.amax() > FAR else None
    torch.expm1(d, out=q).mul_(p)
    if far is not None:
        torch.where(d > FAR, far, q, out=q)
    return torch.addcmul(q, p, d, value=-1, out=out).clamp_min_(0).sum(-1)


@functools.cache
def _compiled() -> Callable[..., tuple[Tensor, Tensor]] | None:
    """`_tile`, compiled to a few passes over the tile, where there is Triton to do it."""
    return torch.compile(_tile) if importlib.util.find_spec("triton") else None


def _tile(
    direction: str, beta: float, s: Tensor, t: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """As `_divergence`, for a compiler: nats of the whole tile, and dD/ds as ``dtype``."""
    logq, logp = s.log_softmax(-1), t.log_softmax(-1)
    q, p, d = logq.exp(), logp.exp(), logq - logp
    if direction == "forward":
        value = torch.where(d > FAR, q, p * (torch.expm1(d) - d).clamp_min(0))
        return value.sum(), (q - p).to(dtype)
    if direction == "reverse":
        value = torch.where(-d > FAR, p, q * (torch.expm1(-d) + d).clamp_min(0)).sum(-1)
        return value.sum(), (q * (d - value[:, None])).to(dtype)
    e = torch.log1p((1 - beta) * torch.expm1(d.clamp(max=FAR))) + (d - FAR).clamp_min(0)
    r = d - e  # log q - log m; e is log m - log p
    q_side = (q * r).sum(-1)
    value = ((1 - beta) * q_side - beta * (p * e).sum(-1)).clamp_min(0)
    return value.sum(), ((1 - beta) * q * (r - q_side[:, None])).to(dtype)


def _validate(h: Tensor, W: Tensor, t: Tensor, U: Tensor, mask: Tensor | None) -> None:
    named = {"hidden": h, "weight": W, "teacher_hidden": t, "teacher_weight": U}
    for name, x in named.items():
        _tensor(x, name, -2)
        if x.dtype != h.dtype:
            raise TypeError(f"{name}: expected {h.dtype} as hidden, got {x.dtype}")
        if x.device != h.device:
            raise ValueError(f"{name}: expected device {h.device} as hidden, got {x.device}")
    for name in ("teacher_hidden", "teacher_weight") if torch.is_grad_enabled() else ():
        if named[name].requires_grad:
            raise ValueError(f"{name}: expected a constant, got requires_grad=True; .detach() it")
    if t.shape[:-1] != h.shape[:-1]:
        want = f"({', '.join(map(str, h.shape[:-1]))}, H)"
        raise ValueError(f"teacher_hidden: expected {want} as hidden, got {tuple(t.shape)}")
    for name, x, states in (("weight", W, h), ("teacher_weight", U, t)):
        if x.ndim != 2 or x.shape[1] != states.shape[-1] or len(x) != len(W):
            want = f"({len(W) if x is U else 'V'}, {states.shape[-1]})"
            raise ValueError(f"{name}: expected shape {want}, got {tuple(x.shape)}")
    if mask is not None:
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"mask: expected a bool tensor, got {got}")
        if mask.shape != h.shape[:-1]:
            raise ValueError(f"mask: expected {tuple(h.shape[:-1])}, got {tuple(mask.shape)}")
        if mask.device != h.device:
            raise ValueError(f"mask: expected device {h.device} as hidden, got {mask.device}")
