"""fused: values, gradients and memory against the textbook formulas on whole logits, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from kltools import divergences, fused
from kltools.gradients import fused_linear_divergence

DIRECTIONS = ["forward", "reverse", "gjs"]


def case(seed, N=7, H=4, V=11, teacher=3, scale=1.0, dtype=torch.float64):
    """Student and teacher of different widths; the student wants gradients."""
    g = torch.Generator().manual_seed(seed)
    shapes = ((N, H), (V, H), (N, teacher), (V, teacher))
    h, W, t, U = (scale * torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)
    return h.to(dtype).requires_grad_(), W.to(dtype).requires_grad_(), t.to(dtype), U.to(dtype)


def kl(a, b):
    return (a.exp() * (a - b)).sum(-1)


def from_logs(logp, logq, direction, beta=0.5):
    if direction == "forward":
        return kl(logp, logq)
    if direction == "reverse":
        return kl(logq, logp)
    logm = torch.logaddexp(logp + math.log(beta), logq + math.log1p(-beta))
    return beta * kl(logp, logm) + (1 - beta) * kl(logq, logm)


def textbook(h, W, t, U, direction, beta=0.5, T=1.0):
    """Each token's divergence from whole logits, by the definition: Σ p (log p - log q)."""
    logq = torch.log(torch.softmax(h @ W.T / T, -1))
    logp = torch.log(torch.softmax(t @ U.T / T, -1))
    return from_logs(logp, logq, direction, beta)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("T", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("chunk", [None, 1, 3, 7])
def test_value_and_gradients_are_those_of_the_definition(direction, T, chunk):
    h, W, t, U = case(0)
    mask = torch.tensor([True, False, True, True, False, True, True])
    value, count = fused_linear_divergence(
        h, W, t, U, direction=direction, beta=0.3, temperature=T, mask=mask, chunk=chunk
    )
    want = textbook(h, W, t, U, direction, 0.3, T)[mask].sum()
    assert count == 5
    torch.testing.assert_close(value, want, rtol=1e-13, atol=0)
    got = torch.autograd.grad(value / count, [h, W])
    for a, b in zip(got, torch.autograd.grad(want / 5, [h, W])):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert (got[0][~mask] == 0).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("T", [1.0, 2.5])
def test_gradcheck(direction, masked, T):
    h, W, t, U = case(1, N=4, H=3, V=5, teacher=2)
    mask = torch.tensor([True, True, False, True]) if masked else None

    def f(h, W):
        options = dict(direction=direction, beta=0.7, temperature=T, mask=mask, chunk=3)
        return fused_linear_divergence(h, W, t, U, **options)[0]

    assert gradcheck(f, (h, W))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    direction=st.sampled_from(DIRECTIONS),
    beta=st.floats(0.02, 0.98),
    scale=st.sampled_from([1e-4, 0.1, 1.0, 4.0, 12.0]),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 9)),
)
def test_any_case_against_the_kltools_of_whole_logits(seed, direction, beta, scale, shape):
    h, W, t, U = case(seed, N=shape[0], V=shape[1], scale=scale)
    logq, logp = (h @ W.T).log_softmax(-1), (t @ U.T).log_softmax(-1)
    want = {
        "forward": lambda: divergences.kl(logp, logq),
        "reverse": lambda: divergences.kl(logq, logp),
        "gjs": lambda: divergences.gjs(logp, logq, beta),
    }[direction]().sum()
    value, _ = fused_linear_divergence(h, W, t, U, direction=direction, beta=beta, chunk=4)
    assert value >= 0
    torch.testing.assert_close(value, want, rtol=1e-9, atol=1e-15)
    # An entry of a gradient is a sum of factor times q (log q - log p - D), which cancels: both
    # routes round it by a few ulps of Σ|factor| max|log ratio|, the more the larger the logits.
    ratio = 1 + float((logq - logp).detach().abs().max())
    for x, other in ((h, W), (W, h)):
        a, b = (torch.autograd.grad(v, x, retain_graph=True)[0] for v in (value, want))
        rounding = 8 * 2.0**-52 * ratio * float(other.detach().abs().sum())
        torch.testing.assert_close(a, b, rtol=1e-9, atol=rounding)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_log_ratios_beyond_the_range_of_exp(direction, sign):
    """One word at -200 nats for one side: e^200 is inf in float32, and no entry may become NaN."""
    h = torch.ones(1, 1, requires_grad=True)
    W = torch.tensor([[1.0], [-200.0 * sign], [0.5]], requires_grad=True)
    U = torch.tensor([[0.7], [200.0 * sign - 190], [0.1]])
    value, _ = fused_linear_divergence(h, W, h.detach(), U, direction=direction)
    grads = torch.autograd.grad(value, [h, W])
    hd, Wd = h.detach().double().requires_grad_(), W.detach().double().requires_grad_()
    logq, logp = (hd @ Wd.T).log_softmax(-1), (hd.detach() @ U.double().T).log_softmax(-1)
    want = from_logs(logp, logq, direction).sum()
    torch.testing.assert_close(value.double(), want, rtol=2e-6, atol=1e-12)
    for a, b in zip(grads, torch.autograd.grad(want, [hd, Wd])):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-7)  # eps of probabilities


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("gap", [1e-2, 1e-3])
def test_nearly_equal_laws_keep_their_digits_in_float32(direction, gap):
    """The plain sum Σ p (log p - log q) is off by 1e-7 here, more than the whole value."""
    h, W, _, _ = case(3, N=5, H=8, V=1000, dtype=torch.float32)
    U = (W + gap * torch.randn(W.shape, generator=torch.Generator().manual_seed(4))).detach()
    value, _ = fused_linear_divergence(h, W, h.detach(), U, direction=direction)
    # the reference starts from the float32 logits: their rounding is no error of the sum
    z, u = ((h @ x.T).detach().double().requires_grad_() for x in (W, U))
    logq, logp = z.log_softmax(-1), u.log_softmax(-1)
    want = from_logs(logp, logq, direction).sum()
    assert abs(value.item() / want.item() - 1) < (1e-4 if gap == 1e-2 else 2e-3)


def test_equal_laws_have_divergence_0():
    h, W, _, _ = case(5)
    for direction in DIRECTIONS:
        value, _ = fused_linear_divergence(
            h, W, h.detach(), W.detach().clone(), direction=direction
        )
        assert value == 0
        for g in torch.autograd.grad(value, [h, W]):
            assert g.abs().max() < 1e-15


def test_no_tensor_of_tokens_times_vocabulary():
    class Largest(TorchDispatchMode):
        numel = 0

        def __torch_dispatch__(self, f, types, args=(), kwargs=None):
            out = f(*args, **(kwargs or {}))
            for x in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(x, torch.Tensor):
                    self.numel = max(self.numel, x.numel())
            return out

    N, V = 64, 500
    for direction in DIRECTIONS:
        h, W, t, U = case(6, N=N, V=V, dtype=torch.float32)
        with Largest() as largest:
            value, _ = fused_linear_divergence(h, W, t, U, direction=direction, chunk=8)
            value.backward()
        assert largest.numel == 8 * V  # the tile; the matrix has 4 V entries
    with Largest() as largest:
        textbook(h, W, t, U, "forward").sum().backward()
    assert largest.numel == N * V  # the instrument sees it where it is


def test_leading_dimensions_and_an_empty_mask():
    h, W, t, U = case(7, N=6)
    flat, count = fused_linear_divergence(h, W, t, U)
    cube, same = fused_linear_divergence(h.view(2, 3, 4), W, t.view(2, 3, 3), U)
    assert (flat == cube) and count == same == 6
    none, count = fused_linear_divergence(h, W, t, U, mask=torch.zeros(6, dtype=torch.bool))
    assert none == 0 and count == 0
    assert all((g == 0).all() for g in torch.autograd.grad(none, [h, W]))


def test_what_needs_no_gradient_gets_none():
    h, W, t, U = case(8)
    want = torch.autograd.grad(fused_linear_divergence(h, W, t, U)[0], [h, W])
    (only,) = torch.autograd.grad(fused_linear_divergence(h, W.detach(), t, U)[0], [h])
    torch.testing.assert_close(only, want[0], rtol=0, atol=0)
    (only,) = torch.autograd.grad(fused_linear_divergence(h.detach(), W, t, U)[0], [W])
    torch.testing.assert_close(only, want[1], rtol=0, atol=0)
    with torch.no_grad():
        assert not fused_linear_divergence(h, W, t, U)[0].requires_grad


def test_half_precision_is_accumulated_in_float32():
    h, W, t, U = case(9, N=40, H=16, V=60, teacher=16, dtype=torch.bfloat16)
    value, _ = fused_linear_divergence(h, W, t, U)
    assert value.dtype == torch.float32
    grads = torch.autograd.grad(value, [h, W])
    hd, Wd = h.detach().double().requires_grad_(), W.detach().double().requires_grad_()
    want = textbook(hd, Wd, t.double(), U.double(), "forward").sum()
    torch.testing.assert_close(value.double(), want, rtol=1e-5, atol=0)
    for a, b in zip(grads, torch.autograd.grad(want, [hd, Wd])):
        assert a.dtype == torch.bfloat16
        torch.testing.assert_close(a.double(), b, rtol=2**-8, atol=2**-8 * float(b.abs().max()))


def test_a_second_backward_pass_gives_the_same_again():
    h, W, t, U = case(10)
    value, _ = fused_linear_divergence(h, W, t, U)
    first = torch.autograd.grad(value, [h, W], grad_outputs=torch.tensor(2.0), retain_graph=True)
    value.backward()
    torch.testing.assert_close(h.grad, first[0] / 2, rtol=1e-15, atol=0)
    torch.testing.assert_close(W.grad, first[1] / 2, rtol=1e-15, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        value.backward()


BAD = [
    (dict(direction="backward"), ValueError, "direction: expected one of .*'backward'"),
    (dict(beta=1.0), ValueError, r"beta: expected a number inside \(0, 1\), got 1.0"),
    (dict(temperature=0.0), ValueError, "temperature: expected a positive number, got 0.0"),
    (dict(temperature=math.nan), ValueError, "temperature: expected a positive number, got nan"),
    (dict(chunk=0), ValueError, "chunk: expected one or more tokens, got 0"),
    (dict(mask=torch.ones(7)), TypeError, "mask: expected a bool tensor, got torch.float32"),
    (dict(mask=torch.ones(6, dtype=bool)), ValueError, r"mask: expected \(7,\), got \(6,\)"),
    (dict(hidden=torch.ones(7)), ValueError, "hidden: expected a dimension -2"),
    (dict(hidden=torch.ones(7, 4, dtype=int)), TypeError, "hidden: expected a floating-point"),
    (dict(weight=torch.ones(11, 4)), TypeError, "weight: expected torch.float64 as hidden"),
    (dict(weight=torch.ones(11, 5).double()), ValueError, r"weight: expected shape \(V, 4\)"),
    (dict(teacher_hidden=torch.ones(6, 3).double()), ValueError, r"teacher_hidden: .*\(7, H\)"),
    (dict(teacher_weight=torch.ones(10, 3).double()), ValueError, r"teacher_weight: .*\(11, 3\)"),
    (dict(teacher_weight=torch.ones(11, 3).double().requires_grad_()), ValueError, "constant"),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_arguments_are_named(change, error, message):
    names = ("hidden", "weight", "teacher_hidden", "teacher_weight")
    arguments = dict(zip(names, case(11))) | change
    with pytest.raises(error, match=message):
        fused_linear_divergence(**arguments)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_tile_for_a_compiler_is_the_one_in_place(direction, scale):
    """What a GPU compiles and what a CPU runs: two programs for the same two results."""
    g = torch.Generator().manual_seed(3)
    s, t = (scale * torch.randn(5, 13, generator=g, dtype=torch.float64) for _ in range(2))
    value, slope = fused._tile(direction, 0.3, s.clone(), t.clone(), torch.float64)
    work = [torch.empty_like(s) for _ in range(2)]
    want = fused._divergence(direction, 0.3, s, t, work).sum()  # s becomes the slope
    torch.testing.assert_close(value, want, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(slope, s, rtol=1e-11, atol=1e-14 * (1 + scale))
