"""divergences: against enumeration in exact arithmetic, SciPy, torch.distributions and autograd."""

import inspect
import itertools
import math
import warnings
from fractions import Fraction

import numpy as np
import pytest
import scipy.spatial
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from kltools.divergences import assert_normalized, cross_entropy, entropy, gjs, kl, tv

INF = math.inf
PAIRS = [kl, cross_entropy, tv, gjs]


def f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def logits(seed, *shape, scale=1.0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=g, dtype=torch.float64)).to(dtype)


def logs(seed, *shape, scale=1.0):
    return logits(seed, *shape, scale=scale).log_softmax(-1)


def enumerated(p, q):
    """H(p), H(p, q), D(p‖q) and TV of two lists of fractions, by a sum in the order of the book."""
    h = -math.fsum(float(a) * math.log(a) for a in p if a)
    ce = INF if any(a and not b for a, b in zip(p, q)) else None
    ce = ce or -math.fsum(float(a) * math.log(b) for a, b in zip(p, q) if a)
    d = INF if ce == INF else math.fsum(float(a) * math.log(a / b) for a, b in zip(p, q) if a)
    return h, ce, d, float(sum(abs(a - b) for a, b in zip(p, q)) / 2)


# ------------------------------------------------------------------------------- values, float64

TABLES = {
    "coins": ("1/2 1/2", "9/10 1/10"),
    "dyadic": ("1/2 1/4 1/8 1/8", "1/8 1/8 1/4 1/2"),
    "zero in p": ("1/2 0 1/2", "1/4 1/4 1/2"),
    "zero in q": ("1/2 1/4 1/4", "1/2 0 1/2"),
    "zero in both": ("1/3 0 2/3", "3/4 0 1/4"),
    "one outcome": ("0 1 0", "1/7 2/7 4/7"),
    "disjoint": ("1 0", "0 1"),
    "tiny": ("1/1000000000000 999999999999/1000000000000", "1/2 1/2"),
}


@pytest.mark.parametrize("name", TABLES)
def test_agrees_with_enumeration(name):
    p, q = ([Fraction(x) for x in row.split()] for row in TABLES[name])
    logp, logq = (
        torch.tensor([float(x) for x in row], dtype=torch.float64).log() for row in (p, q)
    )
    got = (entropy(logp), cross_entropy(logp, logq), kl(logp, logq), tv(logp, logq))
    for g, want in zip(got, enumerated(p, q)):
        assert g.dtype == torch.float64 and g.shape == ()
        assert float(g) == pytest.approx(want, rel=1e-13, abs=1e-15)


def test_agrees_with_scipy_and_torch_distributions():
    for seed, scale in itertools.product(range(5), (0.01, 1.0, 10.0)):
        a, b = logits(seed, 6, 50, scale=scale), logits(seed + 100, 6, 50, scale=scale)
        logp, logq = a.log_softmax(-1), b.log_softmax(-1)
        p, q = logp.exp().numpy(), logq.exp().numpy()
        want = torch.distributions.kl_divergence(
            torch.distributions.Categorical(logits=a), torch.distributions.Categorical(logits=b)
        )
        np.testing.assert_allclose(kl(logp, logq), want, rtol=1e-10)
        np.testing.assert_allclose(kl(logp, logq), scipy.special.rel_entr(p, q).sum(-1), rtol=1e-10)
        np.testing.assert_allclose(kl(logp, logq), scipy.stats.entropy(p, q, axis=-1), rtol=1e-10)
        np.testing.assert_allclose(entropy(logp), scipy.stats.entropy(p, axis=-1), rtol=1e-10)
        np.testing.assert_allclose(tv(logp, logq), abs(p - q).sum(-1) / 2, rtol=1e-12)
        np.testing.assert_allclose(cross_entropy(logp, logq), -(p * np.log(q)).sum(-1), rtol=1e-12)


def test_the_first_argument_is_the_data():
    p, q = f64(0.7, 0.2, 0.1).log(), f64(0.1, 0.3, 0.6).log()
    want = 0.7 * math.log(7) + 0.2 * math.log(2 / 3) + 0.1 * math.log(1 / 6)
    back = 0.1 * math.log(1 / 7) + 0.3 * math.log(3 / 2) + 0.6 * math.log(6)
    assert float(kl(p, q)) == pytest.approx(want, rel=1e-13)
    assert float(kl(q, p)) == pytest.approx(back, rel=1e-13)
    assert abs(want - back) > 0.05


def test_one_hot_data_gives_the_negative_log_likelihood_and_the_other_direction_is_infinite():
    model, label = f64(0.7, 0.2, 0.1).log(), f64(1, 0, 0).log()
    assert float(kl(label, model)) == pytest.approx(0.356674943938732, rel=1e-13)  # -ln 0.7
    assert float(cross_entropy(label, model)) == pytest.approx(-math.log(0.7), rel=1e-13)
    assert float(kl(model, label)) == INF


def test_total_variation_is_the_largest_difference_over_all_events():
    logp, logq = logs(3, 6, scale=2), logs(4, 6, scale=2)
    p, q = logp.exp().tolist(), logq.exp().tolist()
    events = itertools.chain.from_iterable(itertools.combinations(range(6), k) for k in range(7))
    best = max(abs(sum(p[i] for i in e) - sum(q[i] for i in e)) for e in events)
    assert float(tv(logp, logq)) == pytest.approx(best, rel=1e-13)
    assert float(tv(logp, logq)) == float(tv(logq, logp))


def test_entropy_of_uniform_is_log_V_and_of_one_outcome_is_zero():
    assert float(entropy(torch.zeros(1000, dtype=torch.float64).log_softmax(-1))) == pytest.approx(
        math.log(1000), rel=1e-13
    )
    assert float(entropy(f64(0, 1, 0).log())) == 0.0


def test_dim_and_shapes():
    a, b = logits(0, 2, 5, 3), logits(1, 2, 5, 3)
    last = kl(a.log_softmax(-1), b.log_softmax(-1))
    assert last.shape == (2, 5)
    for dim in (0, 1, -3, -2):
        a1, b1 = a.movedim(-1, dim), b.movedim(-1, dim)
        got = kl(a1.log_softmax(dim), b1.log_softmax(dim), dim=dim)
        np.testing.assert_allclose(got, last, rtol=1e-13)
        np.testing.assert_allclose(
            entropy(a1.log_softmax(dim), dim=dim), entropy(a.log_softmax(-1)), rtol=1e-13
        )
        np.testing.assert_allclose(
            tv(a1.log_softmax(dim), b1.log_softmax(dim), dim=dim),
            tv(a.log_softmax(-1), b.log_softmax(-1)),
            rtol=1e-13,
        )
    assert kl(torch.zeros(0, 3), torch.zeros(0, 3)).shape == (0,)  # no rows: nothing to complain of


def test_arguments_are_left_as_they_were():
    a, b = f64(0.5, 0.5, 0).log(), f64(0.25, 0.5, 0.25).log()
    kept = a.clone(), b.clone()
    for f in PAIRS:
        f(a, b)
    assert torch.equal(a, kept[0]) and torch.equal(b, kept[1])


# ------------------------------------------------------------------------ masked entries, support


def masked_pair(requires_grad=True):
    """Two distributions over 6 entries of which two are masked in both."""
    z, w = logits(5, 2, 6), logits(6, 2, 6)
    z[:, 4:], w[:, 4:] = -INF, -INF
    return z.requires_grad_(requires_grad), w.requires_grad_(requires_grad)


def test_masked_vocabulary_value_and_gradients_equal_those_without_the_masked_entries():
    z, w = masked_pair()
    short_z, short_w = (x[:, :4].detach().clone().requires_grad_() for x in (z, w))
    for f in PAIRS:
        got = f(z.log_softmax(-1), w.log_softmax(-1))
        want = f(short_z.log_softmax(-1), short_w.log_softmax(-1))
        np.testing.assert_allclose(got.detach(), want.detach(), rtol=1e-13)
        gz, gw = torch.autograd.grad(got.sum(), (z, w))
        sz, sw = torch.autograd.grad(want.sum(), (short_z, short_w))
        for g, s in ((gz, sz), (gw, sw)):
            assert g.isfinite().all()
            np.testing.assert_allclose(g[:, :4], s, rtol=1e-12, atol=1e-15)
            assert (g[:, 4:] == 0).all()


def test_equal_masked_distributions_have_zero_value_and_zero_gradients():
    p = f64(0.25, 0, 0.75, 0).log().requires_grad_()
    q = p.detach().clone().requires_grad_()
    d = kl(p, q)
    assert d.item() == 0.0
    d.backward()
    assert (p.grad == 0).all() and (q.grad == 0).all()


def test_masked_gradients_of_the_leaves_are_finite():
    p, q = (
        f64(0.5, 0.5, 0, 0).log().requires_grad_(),
        f64(0.25, 0.5, 0.25, 0).log().requires_grad_(),
    )
    for f in PAIRS:
        for g in torch.autograd.grad(f(p, q), (p, q)):
            assert g.isfinite().all(), f
    (g,) = torch.autograd.grad(entropy(p), p)
    assert g.isfinite().all()


def test_F_kl_div_returns_nan_for_a_masked_vocabulary_where_kl_does_not():
    p, q = f64(0.5, 0.5, 0).log(), f64(0.25, 0.75, 0).log()
    want = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert F.kl_div(q, p.exp(), reduction="sum").isnan()  # input -inf, target 0
    assert F.kl_div(q, p, reduction="sum", log_target=True).isnan()  # target -inf
    assert float(kl(p, q)) == pytest.approx(want, rel=1e-13)


def test_F_kl_div_has_a_nan_target_gradient_at_zero_where_kl_does_not():
    p = f64(0.5, 0.5, 0).requires_grad_()
    q = f64(0.25, 0.5, 0.25).log()
    F.kl_div(q, p, reduction="sum").backward()
    assert p.grad[2].isnan()
    logp = p.detach().log().requires_grad_()
    kl(logp, q).backward()
    assert logp.grad.isfinite().all()


def test_support_mismatch_is_infinite_and_says_so_even_if_p_underflows():
    p = torch.tensor([0.0, -200.0])  # exp(-200) is 0 in float32, the probability is not
    q = torch.tensor([0.0, -INF])
    assert float(kl(p, q)) == INF and float(cross_entropy(p, q)) == INF
    assert 0 <= float(kl(q, p)) < 1e-30  # p = 0 < q adds q
    assert float(tv(f64(1, 0).log(), f64(0, 1).log())) == 1.0


def test_an_infinite_row_leaves_the_other_rows_alone():
    p = f64(0.5, 0.5, 0.5, 0.5).view(2, 2).log()
    q = f64(1, 0, 0.25, 0.75).view(2, 2).log().requires_grad_()
    d = kl(p, q)
    assert d[0] == INF and float(d[1].detach()) == pytest.approx(0.5 * math.log(4 / 3), rel=1e-12)
    d.sum().backward()
    np.testing.assert_allclose(q.grad, q.detach().exp() - p.exp(), atol=1e-15)


# ------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("f", PAIRS)
def test_gradcheck_and_gradgradcheck(f):
    z, w = logits(7, 2, 5).requires_grad_(), logits(8, 2, 5).requires_grad_()

    def composed(z, w):
        return f(z.log_softmax(-1), w.log_softmax(-1))

    assert gradcheck(composed, (z, w), check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(composed, (z, w))
    if f is not tv:  # kl's own arguments, free of the constraint
        assert gradcheck(lambda a, b: f(a, b, check=False), (z, w))
        assert gradgradcheck(lambda a, b: f(a, b, check=False), (z, w))


@pytest.mark.parametrize("gap", [0.0, 1e-3, 0.49, 0.5, 0.51, 3.0])
def test_gradcheck_on_both_branches_and_at_their_border(gap):
    z = logits(9, 1, 4).requires_grad_()
    w = (z.detach() + gap * f64(1, -1, 1, -1)).requires_grad_()

    def composed(z, w):
        return kl(z.log_softmax(-1), w.log_softmax(-1))

    assert gradcheck(composed, (z, w))
    assert gradgradcheck(composed, (z, w))


def test_gradcheck_entropy():
    z = logits(10, 3, 4).requires_grad_()
    assert gradcheck(lambda z: entropy(z.log_softmax(-1)), z)
    assert gradgradcheck(lambda z: entropy(z.log_softmax(-1)), z)


def test_gradient_in_logits_equals_central_differences_of_enumeration():
    z, w = [0.3, -1.2, 0.8, 2.0], [1.0, 0.1, -0.7, 0.4]

    def softmax(x):
        s = math.fsum(map(math.exp, x))
        return [math.exp(a) / s for a in x]

    def divergence(x, y):
        return enumerated(softmax(x), softmax(y))[2]

    step, numeric = 1e-5, []
    for which in (0, 1):
        for i in range(4):
            up, down = ([list(z), list(w)] for _ in range(2))
            up[which][i] += step
            down[which][i] -= step
            numeric.append((divergence(*up) - divergence(*down)) / (2 * step))
    tz, tw = (f64(*x).requires_grad_() for x in (z, w))
    got = torch.autograd.grad(kl(tz.log_softmax(-1), tw.log_softmax(-1)), (tz, tw))
    np.testing.assert_allclose(torch.cat(got), numeric, rtol=1e-8, atol=1e-10)


def test_gradients_of_free_arguments_are_those_of_the_bregman_sum():
    p, q = [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]
    logp, logq = f64(*p).log().requires_grad_(), f64(*q).log().requires_grad_()
    gp, gq = torch.autograd.grad(kl(logp, logq), (logp, logq))
    np.testing.assert_allclose(gq, [b - a for a, b in zip(p, q)], rtol=1e-13)
    np.testing.assert_allclose(gp, [a * math.log(a / b) for a, b in zip(p, q)], rtol=1e-13)


def test_functional_transforms():
    logp, z = logs(11, 4), logits(12, 4)
    q = z.softmax(-1).numpy()
    hessian = torch.func.hessian(lambda z: kl(logp, z.log_softmax(-1)))(z)
    np.testing.assert_allclose(hessian, np.diag(q) - np.outer(q, q), atol=1e-15)
    a, b = logs(13, 3, 4), logs(14, 3, 4)
    batched = torch.func.vmap(lambda x, y: kl(x, y, check=False))(a, b)
    np.testing.assert_allclose(batched, kl(a, b), rtol=1e-14)


# ------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("spread", [0.01, 0.03, 0.1])  # true KL about 5e-5, 4.5e-4, 5e-3
def test_float32_accuracy_near_equality_is_far_better_than_F_kl_div(spread):
    z = logits(15, 8, 32000, dtype=torch.float32)
    w = z + logits(16, 8, 32000, scale=spread, dtype=torch.float32)
    p64, q64 = z.double().log_softmax(-1), w.double().log_softmax(-1)
    want = (p64.exp() * (p64 - q64)).sum(-1)  # the usual form; float64 has digits to spare
    assert want.min() > 3e-5 and want.max() < 1e-2
    logp, logq = z.log_softmax(-1), w.log_softmax(-1)
    ours = ((kl(logp, logq).double() - want) / want).abs().median()
    usual = F.kl_div(logq, logp, reduction="none", log_target=True).sum(-1)
    theirs = ((usual.double() - want) / want).abs().median()
    assert ours < 5e-6
    assert theirs > 30 * ours


def test_float32_gradients_near_equality():
    z = logits(17, 4, 1000, dtype=torch.float32).requires_grad_()
    w = (z.detach() + logits(18, 4, 1000, scale=1e-3, dtype=torch.float32)).requires_grad_()
    kl(z.log_softmax(-1), w.log_softmax(-1)).sum().backward()
    z64, w64 = (x.detach().double().requires_grad_() for x in (z, w))
    p, q = z64.log_softmax(-1), w64.log_softmax(-1)
    (p.exp() * (p - q)).sum().backward()
    for got, want in ((z.grad, z64.grad), (w.grad, w64.grad)):
        assert (got - want).norm() < 2e-3 * want.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_never_negative_however_close(dtype):
    for k, spread in itertools.product(range(3), (0.0, 1e-8, 1e-7, 1e-6, 1e-4, 1e-2, 1.0)):
        z = logits(20 + k, 64, 300, scale=3, dtype=dtype)
        w = z + logits(40 + k, 64, 300, scale=spread, dtype=dtype)
        d = kl(z.log_softmax(-1), w.log_softmax(-1))
        assert (d >= 0).all()
        if spread == 0:
            assert (d == 0).all()


def test_F_kl_div_goes_negative_in_float32_where_kl_does_not():
    z = logits(21, 64, 3000, dtype=torch.float32)
    w = z + logits(22, 64, 3000, scale=1e-4, dtype=torch.float32)
    logp, logq = z.log_softmax(-1), w.log_softmax(-1)
    assert (F.kl_div(logq, logp, reduction="none", log_target=True).sum(-1) < 0).any()
    assert (kl(logp, logq) > 0).all()


def test_no_overflow_for_large_log_ratios():
    p = torch.tensor([-200.0, 0.0]).log_softmax(-1).requires_grad_()
    q = torch.tensor([0.0, -200.0]).log_softmax(-1).requires_grad_()
    d = kl(p, q)  # e^200 is inf in float32
    assert float(d.detach()) == pytest.approx(200, rel=1e-6)
    for g in torch.autograd.grad(d, (p, q)):
        assert g.isfinite().all()


def test_the_series_and_the_difference_agree_with_many_digits_at_their_border():
    import mpmath

    for d in (1e-9, 1e-4, 0.1, 0.4999, 0.5, 0.5001, 1.0, -1e-9, -0.4999, -0.5001, -5.0):
        p = 0.25
        q = float(mpmath.mpf(p) * mpmath.exp(d))
        logp, logq = f64(math.log(p)), f64(math.log(p) + d)
        with mpmath.workdps(40):
            a, b = mpmath.mpf(float(logp)), mpmath.mpf(float(logq))
            want = mpmath.exp(b) - mpmath.exp(a) - mpmath.exp(a) * (b - a)
        assert float(kl(logp, logq, check=False)) == pytest.approx(float(want), rel=2e-14), (d, q)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_float32(dtype):
    z, w = logits(23, 4, 8, dtype=dtype), logits(24, 4, 8, dtype=dtype)
    logp, logq = (x.float().log_softmax(-1).to(dtype).requires_grad_() for x in (z, w))
    for f in PAIRS:
        d = f(logp, logq, check=False)
        assert d.dtype == torch.float32
        want = f(logp.detach().double(), logq.detach().double(), check=False)
        np.testing.assert_allclose(d.detach(), want, rtol=1e-5)
        for g in torch.autograd.grad(d.sum(), (logp, logq)):
            assert g.dtype == dtype and g.isfinite().all()
    assert entropy(logp, check=False).dtype == torch.float32
    assert (kl(logp, logp.detach(), check=False) == 0).all()


def test_bfloat16_all_the_way_is_useless_where_float32_logits_are_right():
    z = logits(25, 16, 32000, dtype=torch.bfloat16)
    w = (z + logits(26, 16, 32000, scale=0.1, dtype=torch.bfloat16)).to(torch.bfloat16)
    p64, q64 = z.double().log_softmax(-1), w.double().log_softmax(-1)
    want = (p64.exp() * (p64 - q64)).sum(-1)
    naive = F.kl_div(w.log_softmax(-1), z.log_softmax(-1), reduction="none", log_target=True)
    off = ((naive.sum(-1).double() - want) / want).abs()
    right = kl(z.float().log_softmax(-1), w.float().log_softmax(-1))
    assert off.median() > 0.3  # 30 % and more
    assert ((right.double() - want) / want).abs().max() < 1e-5
    with pytest.raises(ValueError, match=r"logp: expected exp to sum to 1.*float\(\)"):
        kl(z.log_softmax(-1), w.log_softmax(-1))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_default_tolerance_accepts_float32_over_a_large_vocabulary(scale):
    z = logits(27, 4, 131072, scale=scale, dtype=torch.float32)
    assert_normalized(z.log_softmax(-1), atol=1e-5)
    assert_normalized(z.log_softmax(-1))


# ------------------------------------------------------------------- what is refused, and in words

GOOD = f64(0.25, 0.25, 0.5).log()
BAD = {
    "shape": (f64(0.5, 0.5).log(), ValueError, r"logq: expected shape \(3,\) as logp, got \(2,\)"),
    "broadcast": (
        GOOD.view(1, 3),
        ValueError,
        r"logq: expected shape \(3,\) as logp, got \(1, 3\)",
    ),
    "dtype": (GOOD.float(), TypeError, r"logq: expected torch.float64 as logp, got torch.float32"),
    "device": (GOOD.to("meta"), ValueError, r"logq: expected device cpu as logp, got meta"),
    "integers": (torch.tensor([0, -1, -2]), TypeError, r"logq: .*floating-point.*torch.int64"),
    "a list": ([-1.0, -1.0, -1.0], TypeError, r"logq: .*floating-point tensor, got list"),
    "an array": (GOOD.numpy(), TypeError, r"logq: .*floating-point tensor, got ndarray"),
    "probabilities": (GOOD.exp(), ValueError, r"logq: .*log-probabilities, got 0.5 > 0"),
    "logits": (f64(-1, -2, -3), ValueError, r"logq: .*sum to 1, got 0.553.*log_softmax"),
    "NaN": (f64(math.nan, -1, -1), ValueError, r"logq: expected log-probabilities, got NaN"),
    "+inf": (f64(INF, -1, -1), ValueError, r"logq: expected log-probabilities, got inf"),
    "no mass": (f64(-INF, -INF, -INF), ValueError, r"logq: .*sum to 1, got 0 "),
    "a number": (torch.tensor(-1.0), ValueError, r"logq: expected a dimension -1, got shape \(\)"),
}


@pytest.mark.parametrize("f", PAIRS)
@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_by_name(f, case):
    bad, error, message = BAD[case]
    with pytest.raises(error, match=message):
        f(GOOD, bad)
    if case in ("integers", "a list", "an array", "probabilities", "logits", "NaN", "+inf"):
        with pytest.raises(error, match=message.replace("logq", "logp", 1)):
            f(bad, GOOD)
        with pytest.raises(error, match=message.replace("logq", "logp", 1)):
            entropy(bad)


def test_check_false_skips_the_values_but_not_the_shapes():
    for f in PAIRS:
        f(GOOD, f64(-1, -2, -3), check=False)
        with pytest.raises(ValueError, match="shape"):
            f(GOOD, f64(-1, -2), check=False)
        with pytest.raises(TypeError, match="expected torch"):
            f(GOOD, GOOD.float(), check=False)
        assert f(GOOD, f64(math.nan, -1, -1), check=False).isnan()
        meta = GOOD.to("meta")
        assert f(meta, meta, check=False).shape == ()
        with pytest.raises(ValueError, match="device meta"):
            f(meta, meta)


def test_a_missing_dimension_is_named():
    with pytest.raises(ValueError, match=r"logp: expected a dimension 1, got shape \(3,\)"):
        kl(GOOD, GOOD, dim=1)


def test_without_normalization_the_generalized_divergence_comes_out():
    p, q = f64(0.5, 0.7), f64(0.4, 1.3)
    want = sum(a * math.log(a / b) - a + b for a, b in zip(p.tolist(), q.tolist()))
    assert float(kl(p.log(), q.log(), check=False)) == pytest.approx(want, rel=1e-13)
    assert want > 0


def test_assert_normalized():
    assert assert_normalized(GOOD) is None
    with pytest.raises(ValueError, match=r"teacher: expected exp to sum to 1, got 1\.6 "):
        assert_normalized(f64(*[0.1] * 9, 0.7).log(), name="teacher")
    with pytest.raises(ValueError, match=r"got 1\.002 "):
        assert_normalized(f64(0.5, 0.502).log())
    assert_normalized(f64(0.5, 0.502).log(), atol=0.01)
    assert_normalized(f64(0.5, 0.5005).log())
    with pytest.raises(ValueError, match=r"got 0\.5 "):  # the row at fault is the one that is named
        assert_normalized(f64(0.5, 0.5, 0.25, 0.25).view(2, 2).log())
    assert_normalized(f64(0.5, 0.25, 0.5, 0.75).view(2, 2).log(), dim=0)
    almost = torch.tensor([1e-7, -20.0])  # rounding may leave a log-probability just above 0
    assert_normalized(almost)


# ------------------------------------------------- popular code, on which these functions improve


def test_the_articles_unnormalized_example_is_negative_by_the_formula_and_refused_here():
    p, q = [0.1] * 10, [0.1] * 9 + [0.7]
    assert sum(q) == pytest.approx(1.6)
    popular = sum(a * math.log(a / (b + 1e-10)) for a, b in zip(p, q))
    assert popular == pytest.approx(-0.194591, abs=1e-6)
    with pytest.raises(ValueError, match=r"logq: .*got 1.6"):
        kl(f64(*p).log(), f64(*q).log())
    normalized = f64(*q) / sum(q)
    assert float(kl(f64(*p).log(), normalized.log())) == pytest.approx(0.275413, abs=1e-6)
    silent = torch.distributions.kl_divergence(
        torch.distributions.Categorical(f64(*p)), torch.distributions.Categorical(f64(*q))
    )
    assert float(silent) == pytest.approx(0.275413, abs=1e-6)  # renormalized without a word


def test_there_is_no_eps():
    for f in (*PAIRS, entropy, assert_normalized):
        assert "eps" not in inspect.signature(f).parameters


def test_an_eps_in_the_logarithm_is_wrong_in_three_ways():
    def with_eps(p, q, eps):
        return (p * (p / (q + eps)).log()).sum()

    half = f64(0.5, 0.5)  # negative for equal distributions
    assert float(with_eps(half, half, 1e-3)) == pytest.approx(-math.log(1.002), rel=1e-9)
    assert float(kl(half.log(), half.log())) == 0
    assert with_eps(f64(0.0, 1.0), half, 1e-10).isnan()  # nan where the value is log 2
    assert float(kl(f64(0.0, 1.0).log(), half.log())) == pytest.approx(math.log(2), rel=1e-13)
    shown = [float(with_eps(half, f64(1.0, 0.0), e)) for e in (1e-6, 1e-10, 1e-12)]
    np.testing.assert_allclose(shown, [6.21, 10.82, 13.12], atol=0.01)  # eps is the answer
    assert float(kl(half.log(), f64(1.0, 0.0).log())) == INF


def test_an_eps_in_the_logarithm_kills_the_gradient_that_kl_keeps():
    logp = f64(0.5, 0.5).log()
    z = f64(0.0, -30.0).requires_grad_()
    (logp.exp() * (logp - (z.softmax(-1) + 1e-10).log())).sum().backward()
    assert abs(float(z.grad[1])) < 1e-3
    z.grad = None
    kl(logp, z.log_softmax(-1)).backward()
    assert float(z.grad[1]) == pytest.approx(-0.5, rel=1e-9)


def test_F_kl_div_takes_its_arguments_in_the_other_order():
    logp, logq = logs(30, 4), logs(31, 4)
    assert float(F.kl_div(logq, logp.exp(), reduction="sum")) == pytest.approx(
        float(kl(logp, logq)), rel=1e-12
    )
    assert float(F.kl_div(logq, logp.exp(), reduction="sum")) != pytest.approx(
        float(kl(logq, logp)), rel=1e-3
    )


def test_batchmean_and_mean_are_not_the_mean_over_tokens():
    B, L, V = 3, 7, 11
    logp, logq = logs(32, B, L, V), logs(33, B, L, V)
    tokens = kl(logp, logq)
    assert tokens.shape == (B, L)
    batchmean = F.kl_div(logq, logp.exp(), reduction="batchmean")
    assert float(batchmean / tokens.mean()) == pytest.approx(L, rel=1e-10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean = F.kl_div(logq, logp.exp(), reduction="mean")
    assert float(tokens.mean() / mean) == pytest.approx(V, rel=1e-10)


def test_class_indices_and_silent_broadcasts_are_refused():
    B = V = 4  # as many samples as classes: indices as floats broadcast in F.kl_div
    logq, index = logs(34, B, V), torch.tensor([0, 1, 2, 3])
    silent = F.kl_div(logq, index.double(), reduction="batchmean")
    right = cross_entropy(F.one_hot(index, V).double().log(), logq).mean()
    assert float(right) == pytest.approx(float(F.nll_loss(logq, index)), rel=1e-12)
    assert abs(float(silent - right)) > 1
    with pytest.raises(TypeError, match=r"logp: .*torch\.int64"):
        kl(index, logq)
    with pytest.raises(ValueError, match="logq: expected shape"):
        kl(index.double(), logq)
    one = logq[:1]
    assert float(F.kl_div(one, logq.exp(), reduction="batchmean")) > 0  # broadcast, no complaint
    with pytest.raises(ValueError, match=r"logq: expected shape \(4, 4\) as logp, got \(1, 4\)"):
        kl(logq, one)


def test_probabilities_or_logits_give_F_kl_div_nonsense_and_are_refused_here():
    z, w = logits(35, 5), logits(36, 5)
    logp, logq = z.log_softmax(-1), w.log_softmax(-1)
    assert float(F.kl_div(logq.exp(), logp.exp(), reduction="sum")) < 0
    with pytest.raises(ValueError, match="logq"):
        kl(logp, logq.exp())
    with pytest.raises(ValueError, match="logq"):
        kl(logp, w)
    with pytest.raises(ValueError, match="logp"):
        kl(logp.exp(), logq)


def test_cross_entropy_has_the_gradient_of_kl_and_is_not_zero_at_equality():
    logp = logs(37, 5)
    z = logits(38, 5).requires_grad_()
    (a,) = torch.autograd.grad(kl(logp, z.log_softmax(-1)), z)
    (b,) = torch.autograd.grad(cross_entropy(logp, z.log_softmax(-1)), z)
    np.testing.assert_allclose(a, b, atol=1e-15)
    assert float(cross_entropy(logp, logp)) == pytest.approx(float(entropy(logp)), rel=1e-14)
    assert float(entropy(logp)) > 1


def test_shards_of_a_vocabulary_add_up_only_if_normalized_together():
    z, w = logits(39, 12, scale=2), logits(40, 12, scale=2)
    logp, logq = z.log_softmax(-1), w.log_softmax(-1)
    halves = [slice(0, 5), slice(5, 12)]
    whole = float(kl(logp, logq))
    together = sum(float(kl(logp[s], logq[s], check=False)) for s in halves)
    apart = sum(float(kl(z[s].log_softmax(-1), w[s].log_softmax(-1))) for s in halves)
    assert together == pytest.approx(whole, rel=1e-12)
    assert abs(apart - whole) > 0.1
    with pytest.raises(ValueError, match="sum to 1"):
        kl(logp[:5], logq[:5])


def test_a_triangle_that_is_violated():
    p, q, r = (f64(*x).log() for x in ((0.5, 0.5), (0.9, 0.1), (0.99, 0.01)))
    assert float(kl(p, r)) == pytest.approx(1.614, abs=1e-3)
    assert float(kl(p, q) + kl(q, r)) == pytest.approx(0.655, abs=1e-3)
    assert tv(p, r) <= tv(p, q) + tv(q, r)


@pytest.mark.parametrize("beta", [1e-3, 0.1, 0.5, 0.9])
def test_jensen_shannon_is_what_the_entropies_of_the_mixture_leave(beta):
    """H(m) - β H(p) - (1 - β) H(q), by enumeration, and SciPy's distance for β = ½."""
    rng = np.random.default_rng(3)
    for p, q in rng.dirichlet(np.full(6, 0.4), (50, 2)):
        p[:2], q[1:3] = 0, 0  # only p, only q, neither
        p, q = p / p.sum(), q / q.sum()
        h = [math.fsum(-x * math.log(x) for x in a if x) for a in (beta * p + (1 - beta) * q, p, q)]
        got = gjs(torch.tensor(p).log(), torch.tensor(q).log(), beta).item()
        assert got == pytest.approx(h[0] - beta * h[1] - (1 - beta) * h[2], rel=1e-9, abs=1e-14)
        if beta == 0.5:
            assert got == pytest.approx(scipy.spatial.distance.jensenshannon(p, q) ** 2, rel=1e-9)


def test_jensen_shannon_of_masked_and_of_disjoint_distributions():
    a, b = f64(0.3, 0.7, 0, 0).log(), f64(0, 0, 1, 0).log()
    for beta in (0.2, 0.5):
        coin = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
        assert gjs(a, b, beta).item() == pytest.approx(coin, rel=1e-12)
    assert 0 <= gjs(a, a).item() < 1e-30
    x, y = (logits(s, 5).requires_grad_() for s in (1, 2))
    mask = torch.tensor([False, False, True, False, True])
    value = gjs(*(z.masked_fill(mask, -INF).log_softmax(-1) for z in (x, y)))
    value.backward()
    kept = [z.detach()[~mask].requires_grad_() for z in (x, y)]
    small = gjs(*(z.log_softmax(-1) for z in kept))
    small.backward()
    assert value.item() == pytest.approx(small.item(), rel=1e-12)
    for z, k in zip((x, y), kept):
        assert torch.allclose(z.grad[~mask], k.grad, rtol=1e-12) and not z.grad[mask].any()


def test_jensen_shannon_over_its_weight_goes_to_both_directions():
    a, b = logs(5, 7), logs(6, 7)
    for beta in (1e-3, 1e-6):
        assert gjs(a, b, beta).item() / beta == pytest.approx(kl(a, b).item(), rel=10 * beta)
        assert gjs(a, b, 1 - beta).item() / beta == pytest.approx(kl(b, a).item(), rel=10 * beta)


@pytest.mark.parametrize("beta", [0, 1, -0.1, math.nan])
def test_jensen_shannon_refuses_a_weight_at_the_ends(beta):
    with pytest.raises(ValueError, match=r"beta: expected a number inside \(0, 1\), got"):
        gjs(logs(1, 3), logs(2, 3), beta)
