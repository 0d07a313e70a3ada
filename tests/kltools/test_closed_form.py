"""closed_form: against quadrature, torch.distributions, mpmath and finite differences."""

import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.autograd import gradcheck, gradgradcheck

from kltools.closed_form import kl_bernoulli, kl_normal

INF = math.inf
NORMALS = [(0, 1, 0, 2), (0, 2, 0, 1), (1, 1, -2, 0.5), (-3, 0.1, 0.2, 3), (5, 2, 5, 2.2)]


@pytest.mark.parametrize("m1, s1, m2, s2", NORMALS)
def test_kl_normal_equals_quadrature(m1, s1, m2, s2):
    p, q = scipy.stats.norm(m1, s1), scipy.stats.norm(m2, s2)
    want, _ = scipy.integrate.quad(
        lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), m1 - 40 * s1, m1 + 40 * s1,
        points=[m1], limit=500, epsabs=1e-13, epsrel=1e-12,
    )  # fmt: skip
    assert kl_normal(m1, s1, m2, s2).item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("m1, s1, m2, s2", NORMALS)
def test_kl_normal_equals_torch_distributions(m1, s1, m2, s2):
    normal = torch.distributions.Normal
    m1, s1, m2, s2 = (torch.tensor(float(x), dtype=torch.float64) for x in (m1, s1, m2, s2))
    want = torch.distributions.kl_divergence(normal(m1, s1), normal(m2, s2))
    assert kl_normal(m1, s1, m2, s2).item() == pytest.approx(want.item(), rel=1e-12)


def test_kl_normal_by_hand():
    assert kl_normal(0, 1, 1, 1).item() == 0.5  # m²/2
    assert kl_normal(3, 2, 3, 2).item() == 0.0
    assert kl_normal(0, 1, 0, 2).item() == pytest.approx(math.log(2) - 3 / 8, rel=1e-14)
    assert kl_normal(0, 2, 0, 1).item() == pytest.approx(3 / 2 - math.log(2), rel=1e-14)


@pytest.mark.parametrize("h", [1e-1, 1e-3, 1e-5, 1e-7])
def test_kl_normal_keeps_its_digits_near_equality(h):
    with mpmath.workdps(50):
        s = mpmath.mpf(1 + h)
        want = float(mpmath.log(s) + 1 / (2 * s * s) - mpmath.mpf(1) / 2)
    assert kl_normal(0, 1, 0, 1 + h).item() == pytest.approx(want, rel=1e-7)
    assert kl_normal(0, 1, 0, 1 + h).item() > 0


def test_kl_normal_shapes_dtypes_and_kinds():
    m = torch.linspace(-1, 1, 5)
    d = kl_normal(m[:, None], 1.0, m, 2.0)
    assert d.shape == (5, 5) and d.dtype == torch.float32
    for i, j in itertools.product(range(5), range(5)):
        want = kl_normal(m[i].item(), 1, m[j].item(), 2).item()
        assert d[i, j].item() == pytest.approx(want, rel=1e-6)
    a = kl_normal(np.array([0.0, 1.0]), np.float64(1), [0, 0], 2)
    assert a.shape == (2,) and a.dtype == torch.float64
    assert kl_normal(0, 1, 0, 1).dtype == torch.float64
    assert kl_normal(torch.tensor(0), torch.tensor(1), 0, 2).dtype == torch.float64


def test_kl_normal_gradients():
    x = [torch.tensor([v, v + 0.3], dtype=torch.float64).requires_grad_() for v in (0.2, 1, -1, 2)]
    assert gradcheck(kl_normal, x)
    assert gradgradcheck(kl_normal, x)
    m1, s1, m2, s2 = (t[0].item() for t in x)
    got = [g[0].item() for g in torch.autograd.grad(kl_normal(*x).sum(), x)]
    want = [
        (m1 - m2) / s2**2,
        s1 / s2**2 - 1 / s1,
        (m2 - m1) / s2**2,
        1 / s2 - (s1**2 + (m1 - m2) ** 2) / s2**3,
    ]
    assert got == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("bad", [0, -1, math.nan, INF, "one", None])
@pytest.mark.parametrize("name", ["s1", "s2"])
def test_kl_normal_refuses_a_bad_standard_deviation(name, bad):
    arguments = {"m1": 0.0, "s1": 1.0, "m2": 0.0, "s2": 1.0, name: bad}
    kind = ValueError if isinstance(bad, float | int) else TypeError
    with pytest.raises(kind, match=f"{name}: expected a"):
        kl_normal(**arguments)
    if kind is ValueError:
        with pytest.raises(ValueError, match=f"{name}: .*positive.* got {bad:g}"):
            kl_normal(**{**arguments, name: torch.tensor([1.0, bad])})


@pytest.mark.parametrize("bad", [math.nan, INF])
@pytest.mark.parametrize("name", ["m1", "m2"])
def test_kl_normal_refuses_a_mean_that_is_not_finite(name, bad):
    with pytest.raises(ValueError, match=f"{name}: expected a finite mean, got {bad:g}"):
        kl_normal(**{"m1": 0.0, "s1": 1.0, "m2": 0.0, "s2": 1.0, name: bad})


INSIDE = [0.01, 0.2, 0.5, 0.9, 0.999]


@pytest.mark.parametrize("p, q", itertools.product(INSIDE, INSIDE))
def test_kl_bernoulli_equals_the_sum_and_torch_distributions(p, q):
    want = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    assert kl_bernoulli(p, q).item() == pytest.approx(want, rel=1e-12, abs=1e-17)
    coin = torch.distributions.Bernoulli
    a, b = (torch.tensor(x, dtype=torch.float64) for x in (p, q))
    want = torch.distributions.kl_divergence(coin(a), coin(b)).item()
    assert kl_bernoulli(a, b).item() == pytest.approx(want, rel=1e-9, abs=1e-15)


def test_kl_bernoulli_limits():
    table = {
        (0, 0): 0,
        (1, 1): 0,
        (0, 1): INF,
        (1, 0): INF,
        (0.5, 0): INF,
        (0.5, 1): INF,
        (0, 0.25): -math.log(0.75),
        (1, 0.25): -math.log(0.25),
        (1e-300, 1): INF,
    }
    for (p, q), want in table.items():
        assert kl_bernoulli(p, q).item() == pytest.approx(want, rel=1e-14), (p, q)
    both = torch.tensor(list(table), dtype=torch.float64)
    assert kl_bernoulli(both[:, 0], both[:, 1]).tolist() == pytest.approx(list(table.values()))
    for p in (0.0, 1.0):  # the limit is reached continuously
        near = abs(p - 1e-12)
        assert kl_bernoulli(near, 0.3).item() == pytest.approx(
            kl_bernoulli(p, 0.3).item(), rel=1e-10
        )


def test_kl_bernoulli_gradients():
    p, q = (torch.tensor(x, dtype=torch.float64).requires_grad_() for x in (INSIDE, INSIDE[::-1]))
    assert gradcheck(kl_bernoulli, (p, q))
    assert gradgradcheck(kl_bernoulli, (p, q), atol=1e-3, rtol=1e-4)
    gp, gq = torch.autograd.grad(kl_bernoulli(p, q).sum(), (p, q))
    for i, (a, b) in enumerate(zip(INSIDE, INSIDE[::-1])):
        want = math.log(a / b) - math.log((1 - a) / (1 - b))
        assert gp[i].item() == pytest.approx(want, rel=1e-10, abs=1e-13)
        assert gq[i].item() == pytest.approx((b - a) / (b * (1 - b)), rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("p, q, want", [(0, 0, 1), (0, 0.25, 4 / 3), (1, 0.25, -4), (1, 1, -1)])
def test_kl_bernoulli_gradient_in_q_at_certain_data(p, q, want):
    q = torch.tensor(q, dtype=torch.float64).requires_grad_()
    kl_bernoulli(float(p), q).backward()
    assert q.grad.item() == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("h", [1e-2, 1e-4, 1e-6])
def test_kl_bernoulli_keeps_its_digits_near_equality(h):
    with mpmath.workdps(50):
        p, q = mpmath.mpf(0.3), mpmath.mpf(0.3 + h)
        want = float(p * mpmath.log(p / q) + (1 - p) * mpmath.log((1 - p) / (1 - q)))
    assert kl_bernoulli(0.3, 0.3 + h).item() == pytest.approx(want, rel=1e-8)
    assert kl_bernoulli(0.3, 0.3).item() == 0


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, INF])
@pytest.mark.parametrize("name", ["p", "q"])
def test_kl_bernoulli_refuses(name, bad):
    with pytest.raises(ValueError, match=rf"{name}: expected a probability in \[0, 1\], got {bad}"):
        kl_bernoulli(**{"p": 0.5, "q": 0.5, name: bad})
    with pytest.raises(TypeError, match=f"{name}: expected a number"):
        kl_bernoulli(**{"p": 0.5, "q": 0.5, name: "half"})
