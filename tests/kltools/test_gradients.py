"""gradients: closed forms against autograd of the textbook sum, and against differences of it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from kltools.gradients import ForwardKL, ReverseKL, kl_from_logits, logit_gradient, logit_hessian

INF = math.inf
DIRECTIONS = ["forward", "reverse"]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def logits(seed, *shape, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=g, dtype=torch.float64)


def textbook(logp, z, direction):
    """Σ p log(p/q) or Σ q log(q/p), term by term, for finite log-probabilities."""
    logq = z - z.exp().sum(-1, keepdim=True).log()
    if direction == "forward":
        return (logp.exp() * (logp - logq)).sum(-1)
    return (logq.exp() * (logq - logp)).sum(-1)


def numpy_value(p, z, direction):
    """The same with Python floats: no torch, no autograd."""
    s = math.fsum(math.exp(x) for x in z)
    q = [math.exp(x) / s for x in z]
    a, b = (p, q) if direction == "forward" else (q, p)
    return math.fsum(u * math.log(u / v) for u, v in zip(a, b) if u)


# ----------------------------------------------------------------------------------- closed forms


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_gradient_and_hessian_equal_autograd_of_the_textbook_sum(direction, scale):
    logp, z = logits(0, 3, 6, scale=scale).log_softmax(-1), logits(1, 3, 6, scale=scale)
    logq = z.log_softmax(-1)
    leaf = z.clone().requires_grad_()
    (want,) = torch.autograd.grad(textbook(logp, leaf, direction).sum(), leaf)
    got = logit_gradient(logp, logq, direction=direction)
    np.testing.assert_allclose(got, want, atol=2e-15)
    np.testing.assert_allclose(got.sum(-1), 0, atol=1e-15)
    hessian = logit_hessian(logp, logq, direction=direction)
    assert hessian.shape == (3, 6, 6)
    for n in range(3):
        want = torch.autograd.functional.hessian(
            lambda x, n=n: textbook(logp[n], x, direction), z[n]
        )
        np.testing.assert_allclose(hessian[n], want, atol=5e-15)
    np.testing.assert_allclose(hessian.sum(-1), 0, atol=5e-15)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradient_and_hessian_equal_central_differences(direction):
    p, z = [0.5, 0.25, 0.2, 0.05], [0.3, -1.0, 1.5, 0.1]
    logp, logq = f64(*p).log(), f64(*z).log_softmax(-1)

    def bumped(*bumps):
        x = list(z)
        for i, h in bumps:
            x[i] += h
        return numpy_value(p, x, direction)

    h = 1e-5
    want = [(bumped((i, h)) - bumped((i, -h))) / (2 * h) for i in range(4)]
    got = logit_gradient(logp, logq, direction=direction)
    np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)
    h = 1e-4
    want = [
        [
            sum(s * t * bumped((i, s * h), (j, t * h)) for s in (1, -1) for t in (1, -1))
            / (4 * h * h)
            for j in range(4)
        ]
        for i in range(4)
    ]
    np.testing.assert_allclose(
        logit_hessian(logp, logq, direction=direction), want, rtol=1e-6, atol=1e-7
    )


def test_forward_gradient_by_hand():
    logp, logq = f64(1, 0, 0).log(), f64(0.7, 0.2, 0.1).log()
    np.testing.assert_allclose(logit_gradient(logp, logq), [-0.3, 0.2, 0.1], atol=1e-16)
    np.testing.assert_allclose(
        logit_hessian(logp, logq),
        [[0.21, -0.14, -0.07], [-0.14, 0.16, -0.02], [-0.07, -0.02, 0.09]],
        atol=1e-16,
    )


def test_reverse_gradient_by_hand():
    # q = (1/2, 1/2), p = (1/4, 3/4): f = (log 2, log 2/3), R their mean, g = ± ¼ log 3
    got = logit_gradient(f64(0.25, 0.75).log(), f64(0.5, 0.5).log(), direction="reverse")
    np.testing.assert_allclose(got, [math.log(3) / 4, -math.log(3) / 4], rtol=1e-14)


def test_forward_is_convex_in_logits_and_reverse_is_not():
    logp = logits(2, 500, 5, scale=2).log_softmax(-1)
    logq = logits(3, 500, 5, scale=2).log_softmax(-1)
    lowest = {
        d: np.linalg.eigvalsh(logit_hessian(logp, logq, direction=d).numpy()).min()
        for d in DIRECTIONS
    }
    assert lowest["forward"] > -1e-15
    assert lowest["reverse"] < -0.1


def test_confidently_wrong_forward_keeps_its_gradient_and_reverse_saturates():
    logp = f64(0.99, 0.01).log()
    logq = f64(-20.0, 0.0).log_softmax(-1)
    assert logit_gradient(logp, logq).abs().max().item() == pytest.approx(0.99, abs=1e-6)
    assert logit_gradient(logp, logq, direction="reverse").abs().max() < 1e-7


def test_reverse_pushes_an_entry_that_already_matches():
    logp, logq = f64(0.2, 0.3, 0.5).log(), f64(0.2, 0.5, 0.3).log()
    R = 0.5 * math.log(5 / 3) + 0.3 * math.log(3 / 5)
    assert logit_gradient(logp, logq)[0] == 0
    reverse = logit_gradient(logp, logq, direction="reverse")
    assert reverse[0].item() == pytest.approx(-0.2 * R, rel=1e-13)


# -------------------------------------------------------------------------- hand-written backward


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_functions_have_the_value_and_both_gradients_of_the_textbook_sum(direction):
    a, z = logits(4, 2, 3, 5).requires_grad_(), logits(5, 2, 3, 5).requires_grad_()
    weight = logits(6, 2, 3)
    got = kl_from_logits(a.log_softmax(-1), z, direction=direction)
    want = textbook(a.log_softmax(-1), z, direction)
    assert got.shape == (2, 3)
    np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-12)
    for g, w in zip(
        torch.autograd.grad((weight * got).sum(), (a, z)),
        torch.autograd.grad((weight * want).sum(), (a, z)),
    ):
        np.testing.assert_allclose(g, w, atol=5e-15)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradcheck_and_gradgradcheck(direction):
    a, z = logits(7, 2, 4).requires_grad_(), logits(8, 2, 4).requires_grad_()

    def composed(a, z):
        return kl_from_logits(a.log_softmax(-1), z, direction=direction)

    assert gradcheck(composed, (a, z), check_batched_grad=True)
    assert gradgradcheck(composed, (a, z))


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_second_derivatives_of_the_functions_are_the_closed_hessian(direction):
    logp, z = logits(9, 5).log_softmax(-1), logits(10, 5)
    got = torch.autograd.functional.hessian(
        lambda x: kl_from_logits(logp, x, direction=direction), z
    )
    want = logit_hessian(logp, z.log_softmax(-1), direction=direction)
    np.testing.assert_allclose(got, want, atol=1e-15)


def test_the_backward_pass_is_the_hand_written_one():
    logp, z = logits(11, 4).log_softmax(-1), logits(12, 4).requires_grad_()
    for direction, cls in (("forward", ForwardKL), ("reverse", ReverseKL)):
        d = kl_from_logits(logp, z, direction=direction)
        assert type(d.grad_fn).__name__ == cls.__name__ + "Backward"
        (got,) = torch.autograd.grad(d, z)
        want = logit_gradient(logp, z.detach().log_softmax(-1), direction=direction)
        np.testing.assert_allclose(got, want, atol=1e-16)


def test_module_backward_is_never_called_but_function_backward_is():
    calls = []

    class Loss(torch.nn.Module):  # as in a popular article
        def forward(self, logp, z):
            return textbook(logp, z, "forward")

        def backward(self, grad):
            calls.append("module")

    class Own(ForwardKL):
        @staticmethod
        def backward(ctx, g):
            calls.append("function")
            return ForwardKL.backward(ctx, g)

    logp, z = logits(13, 4).log_softmax(-1), logits(14, 4).requires_grad_()
    Loss()(logp, z).backward()
    assert calls == []
    right = z.grad.clone()
    z.grad = None
    Own.apply(logp, z).backward()
    assert calls == ["function"]
    np.testing.assert_allclose(z.grad, right, atol=1e-15)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_gradient_is_computed_for_fixed_data(direction):
    logp, z = logits(15, 4).log_softmax(-1), logits(16, 4).requires_grad_()
    kl_from_logits(logp, z, direction=direction).backward()
    assert logp.grad is None and z.grad is not None


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_vmap(direction):
    logp, z = logits(17, 3, 4).log_softmax(-1), logits(18, 3, 4)

    def one(a, b):
        return kl_from_logits(a, b, direction=direction, check=False)

    np.testing.assert_allclose(
        torch.func.vmap(one)(logp, z), textbook(logp, z, direction), rtol=1e-12
    )
    np.testing.assert_allclose(
        torch.func.vmap(torch.func.grad(one, argnums=1))(logp, z),
        logit_gradient(logp, z.log_softmax(-1), direction=direction),
        atol=1e-15,
    )


# ---------------------------------------------------------------------------------------- masking


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_masked_vocabulary_on_both_sides(direction):
    a, z = logits(19, 2, 6), logits(20, 2, 6)
    a[:, 4:], z[:, 4:] = -INF, -INF
    short = z[:, :4].clone().requires_grad_()
    want = textbook(a[:, :4].log_softmax(-1), short, direction)
    (want_z,) = torch.autograd.grad(want.sum(), short, create_graph=True)
    z, logp = z.requires_grad_(), a.log_softmax(-1).requires_grad_()
    got = kl_from_logits(logp, z, direction=direction)
    np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-12)
    got_p, got_z = torch.autograd.grad(got.sum(), (logp, z), create_graph=True)
    assert got_p.isfinite().all() and got_z.isfinite().all()
    np.testing.assert_allclose(got_z[:, :4].detach(), want_z.detach(), atol=1e-14)
    assert (got_z[:, 4:] == 0).all() and (got_p[:, 4:] == 0).all()
    (second,) = torch.autograd.grad(got_z[:, 0].sum(), z)
    (want2,) = torch.autograd.grad(want_z[:, 0].sum(), short)
    np.testing.assert_allclose(second[:, :4], want2, atol=1e-14)
    assert (second[:, 4:] == 0).all()
    closed = logit_gradient(logp.detach(), z.detach().log_softmax(-1), direction=direction)
    np.testing.assert_allclose(closed, got_z.detach(), atol=1e-15)
    hessian = logit_hessian(logp.detach(), z.detach().log_softmax(-1), direction=direction)
    np.testing.assert_allclose(hessian[:, 0, :4], want2, atol=1e-14)
    assert (hessian[:, 4:] == 0).all() and (hessian[:, :, 4:] == 0).all()


def test_data_with_zeros_under_a_model_without():
    logp, z = f64(0.5, 0.5, 0).log(), f64(0.1, 0.2, 0.3).requires_grad_()
    d = kl_from_logits(logp, z)
    d.backward()
    np.testing.assert_allclose(z.grad, z.detach().softmax(-1) - logp.exp(), atol=1e-16)
    (gp,) = torch.autograd.grad(kl_from_logits(leaf := logp.clone().requires_grad_(), z), leaf)
    assert gp.isfinite().all()


def test_an_infinite_reverse_row_has_no_gradient_and_spoils_no_other():
    logp = f64(0.5, 0.5, 0, 0.25, 0.25, 0.5).view(2, 3).log()
    z = logits(21, 2, 3).requires_grad_()
    d = kl_from_logits(logp, z, direction="reverse")
    assert d[0] == INF and d[1].isfinite()
    d.sum().backward()
    assert z.grad[0].isnan().any() and z.grad[1].isfinite().all()


# ----------------------------------------------------------------------------- precision and words


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_half_precision_logits_give_a_float32_value_and_half_gradients(dtype, direction):
    logp = f64(0.5, 0.25, 0.125, 0.125).log().float()
    z = logits(22, 4).to(dtype).requires_grad_()
    d = kl_from_logits(logp, z, direction=direction)
    assert d.dtype == torch.float32
    want = textbook(logp.double(), z.detach().double(), direction).item()
    assert d.item() == pytest.approx(want, rel=1e-6)
    d.backward()
    assert z.grad.dtype == dtype and z.grad.isfinite().all()


def test_large_logits_do_not_overflow():
    logp = torch.tensor([0.0, -200.0]).log_softmax(-1)
    z = torch.tensor([-1e4, 1e4]).requires_grad_()
    for direction in DIRECTIONS:
        d = kl_from_logits(logp, z, direction=direction)
        (g,) = torch.autograd.grad(d, z)
        assert d.isfinite() and g.isfinite().all()
    assert kl_from_logits(logp, z).item() == pytest.approx(2e4, rel=1e-6)
    assert kl_from_logits(logp, z, direction="reverse").item() == pytest.approx(200, rel=1e-6)


@pytest.mark.parametrize("call", [kl_from_logits, logit_gradient, logit_hessian])
def test_unknown_direction_lists_the_choices(call):
    p = f64(0.5, 0.5).log()
    for bad in ("backward", "kl", None, 1):
        with pytest.raises(ValueError, match=r"direction: expected .*'forward', 'reverse'.*got "):
            call(p, p, direction=bad)
    with pytest.raises(TypeError):
        call(p, p, "forward")  # by name only


def test_bad_arguments_are_refused_by_name():
    p, z = f64(0.5, 0.5).log(), f64(1.0, 2.0)
    cases = [
        ((p, z[:1]), ValueError, r"logits: expected shape \(2,\) as logp, got \(1,\)"),
        ((p, z.float()), TypeError, r"logits: expected torch.float64 as logp, got torch.float32"),
        ((p, z.to("meta")), ValueError, r"logits: expected device cpu as logp, got meta"),
        ((p, torch.tensor([1, 2])), TypeError, r"logits: .*floating-point.*torch.int64"),
        ((p, [1.0, 2.0]), TypeError, r"logits: .*floating-point tensor, got list"),
        ((p.exp(), z), ValueError, r"logp: expected log-probabilities, got 0.5 > 0"),
        ((p - 1, z), ValueError, r"logp: .*sum to 1, got 0.367"),
        ((p, f64(math.nan, 1)), ValueError, r"logits: expected rows with a finite maximum"),
        ((p, f64(INF, 1)), ValueError, r"logits: expected rows with a finite maximum"),
        ((p, f64(-INF, -INF)), ValueError, r"logits: expected rows with a finite maximum"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            kl_from_logits(*arguments)
    for f in (logit_gradient, logit_hessian):
        with pytest.raises(ValueError, match=r"logq: .*sum to 1"):
            f(p, f64(-1, -2))
        f(p, f64(-1, -2), check=False)
        with pytest.raises(ValueError, match="logq: expected shape"):
            f(p, f64(0.25, 0.25, 0.5).log())
    assert kl_from_logits(p, f64(math.nan, 1), check=False).isnan()


def test_label_smoothing_is_a_forward_divergence_plus_a_constant():
    z, label, e = logits(23, 5), 2, 0.1
    target = torch.full((5,), e / 5, dtype=torch.float64)
    target[label] += 1 - e
    want = F.cross_entropy(z, torch.tensor(label), label_smoothing=e).item()
    entropy = -math.fsum(t * math.log(t) for t in target.tolist())
    assert kl_from_logits(target.log(), z).item() + entropy == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("T", [1.0, 2.0, 16.0])
def test_temperature_divides_the_gradient(T):
    teacher, z = logits(24, 6), logits(25, 6).requires_grad_()
    kl_from_logits((teacher / T).log_softmax(-1), z / T).backward()
    want = ((z.detach() / T).softmax(-1) - (teacher / T).softmax(-1)) / T
    np.testing.assert_allclose(z.grad, want, atol=1e-15)
