"""estimators: means and gradients by enumeration, Schulman's Gaussian table by closed form."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from kltools.estimators import k1, k2, k3, surrogate

INF = math.inf
ALL = [k1, k2, k3]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def toy():
    """Logits of q, and log-probabilities of the reference p and of an older q, mu."""
    z = f64(0.3, -0.8, 1.1, 0.0, -0.4, 0.6).requires_grad_()
    return z, f64(0.1, 0.3, 0.05, 0.2, 0.25, 0.1).log(), f64(0.2, 0.2, 0.1, 0.1, 0.3, 0.1).log()


def exact_gradients(z, logp):
    """Of D(q‖p) and D(p‖q) in the logits, by autograd of sums that use no estimator."""
    q = z.softmax(-1)
    reverse = (q * (q.log() - logp)).sum()
    forward = (logp.exp() * (logp - q.log())).sum()
    return [torch.autograd.grad(f, z, retain_graph=True)[0] for f in (reverse, forward)]


def mean_gradient(loss, weight, z):
    """The expectation of a sample's gradient: the weights carry none."""
    return torch.autograd.grad((weight.detach() * loss).sum(), z)[0]


def test_formulas():
    logq, logp = f64(0.5, 0.2).log(), f64(0.25, 0.4).log()
    assert k1(logq, logp).tolist() == pytest.approx([math.log(2), -math.log(2)])
    assert k2(logq, logp).tolist() == pytest.approx([math.log(2) ** 2 / 2] * 2)
    assert k3(logq, logp).tolist() == pytest.approx([math.log(2) - 0.5, 1 - math.log(2)])


@pytest.mark.parametrize("m", [0.1, 1.0])
def test_moments_between_two_normals_are_those_of_the_closed_form(m):
    """Gauss-Hermite quadrature for q = N(0, 1), p = N(m, 1): the setting of Schulman (2020)."""
    x, w = np.polynomial.hermite_e.hermegauss(80)
    w = torch.tensor(w / math.sqrt(2 * math.pi))
    logq, logp = torch.tensor(-(x**2) / 2), torch.tensor(-((x - m) ** 2) / 2)
    true, u = m * m / 2, m * m
    want = {
        k1: (true, 2 / m),
        k2: (true * (1 + u / 4), math.sqrt(2 + u)),
        k3: (true, math.sqrt(math.exp(u) - 1 - u) / true),
    }
    for k, (mean, relative) in want.items():
        value = k(logq, logp)
        got = (w * value).sum().item()
        sd = math.sqrt((w * value**2).sum().item() - got**2)
        assert got == pytest.approx(mean, rel=1e-9) and sd / true == pytest.approx(
            relative, rel=1e-6
        )


def test_as_losses_k2_has_the_reverse_gradient_k3_the_forward_and_k1_none(toy):
    z, logp, _ = toy
    logq = z.log_softmax(-1)
    reverse, forward = exact_gradients(z, logp)
    for k, want in ((k1, torch.zeros(6)), (k2, reverse), (k3, forward)):
        got = mean_gradient(k(logq, logp), logq.exp(), z)
        assert torch.allclose(got, want.double(), rtol=1e-12, atol=1e-15), k.__name__
        z.grad, logq = None, z.log_softmax(-1)


@pytest.mark.parametrize("value", ["k1", "k2", "k3"])
@pytest.mark.parametrize("off_policy", [False, True])
def test_surrogate_shows_the_value_and_has_the_reverse_gradient(toy, value, off_policy):
    z, logp, logmu = toy
    logq = z.log_softmax(-1)
    drawn = logmu if off_policy else logq.detach()
    got = surrogate(logq, logp, value=value, logmu=logmu if off_policy else None)
    q, r = logq.exp().detach(), (logp - logq).exp().detach()
    shown = {"k1": -r.log(), "k2": r.log() ** 2 / 2, "k3": r - 1 - r.log()}[value]
    assert torch.allclose(got, shown * q / drawn.exp(), rtol=1e-12)
    gradient = mean_gradient(got, drawn.exp(), z)
    assert torch.allclose(gradient, exact_gradients(z, logp)[0], rtol=1e-12, atol=1e-15)


def test_surrogate_gives_the_reference_no_gradient(toy):
    z, logp, _ = toy
    reference = logp.clone().requires_grad_()
    surrogate(z.log_softmax(-1), reference).sum().backward()
    assert reference.grad is None and z.grad is not None


@pytest.mark.parametrize("k", ALL)
def test_gradcheck(k):
    logq, logp = f64(-1.0, -2.0, -0.3), f64(-1.2, -1.0, -0.3001)
    assert gradcheck(k, [logq.requires_grad_(), logp.requires_grad_()])


def test_k3_keeps_its_digits_near_equality():
    logq = torch.tensor([-10.0, -3.0], dtype=torch.float32)
    d = torch.tensor([2**-12, -(2**-14)], dtype=torch.float32)
    want = [float(x) ** 2 / 2 + float(x) ** 3 / 6 for x in d]
    assert k3(logq, logq + d).tolist() == pytest.approx(want, rel=1e-6)
    naive = d.exp() - 1 - d
    assert abs(naive[0].item() / want[0] - 1) > 1e-2  # what the series avoids


def test_a_sample_that_the_reference_excludes_costs_infinitely_much():
    logq, logp = f64(0.5, 0.5).log(), f64(1, 0).log()
    for k in ALL:
        assert k(logq, logp)[1].item() == INF and k(logq, logp)[0].isfinite()
    for value in ("k1", "k2", "k3"):
        assert surrogate(logq, logp, value=value)[1].item() == INF


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype):
    logq, logp = f64(-1, -2).to(dtype), f64(-2, -1).to(dtype)
    for k in ALL:
        assert k(logq, logp).dtype == torch.float32


@pytest.mark.parametrize("f", [*ALL, surrogate])
def test_bad_arguments_are_refused_by_name(f):
    good = f64(-1, -2)
    for bad, error, message in [
        ((good, f64(-1)), ValueError, r"logp: expected shape \(2,\) as logq, got \(1,\)"),
        ((good, good.float()), TypeError, r"logp: expected torch.float64 as logq, got"),
        ((good, [-1, -2]), TypeError, r"logp: expected a floating-point tensor, got list"),
        ((f64(-1, -INF), good), ValueError, r"logq: expected finite log-probabilities"),
        ((f64(-1, math.nan), good), ValueError, r"logq: expected finite log-probabilities"),
    ]:
        with pytest.raises(error, match=message):
            f(*bad)


def test_surrogate_refuses_an_unknown_value_and_a_foreign_logmu():
    good = f64(-1, -2)
    with pytest.raises(ValueError, match=r"value: expected one of \['k1', 'k2', 'k3'\], got 'k4'"):
        surrogate(good, good, value="k4")
    with pytest.raises(ValueError, match=r"logmu: expected shape \(2,\) as logq, got \(1,\)"):
        surrogate(good, good, logmu=f64(-1))
    with pytest.raises(TypeError, match=r"logmu: expected a floating-point tensor, got list"):
        surrogate(good, good, logmu=[-1, -2])
