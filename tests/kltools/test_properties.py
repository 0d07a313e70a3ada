"""Theorems as property tests: hypothesis looks for distributions, with zeros, that break them."""

import math

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kltools.backprop import MLP
from kltools.closed_form import kl_bernoulli, kl_normal
from kltools.divergences import cross_entropy, entropy, gjs, kl, tv
from kltools.estimators import k1, k2, k3
from kltools.gradients import kl_from_logits, logit_gradient, logit_hessian
from kltools.reduce import Mean, masked_sum

ROUNDING = 1e-12
weights = st.one_of(
    st.just(0.0),  # outside the support
    st.integers(1, 9).map(float),
    st.floats(1e-6, 1.0),
    st.floats(1e-300, 1e-6),
)


@st.composite
def distributions(draw, n=2, low=2, high=7):
    """``n`` distributions over one support size, zeros included."""
    size = draw(st.integers(low, high))
    rows = [draw(st.lists(weights, min_size=size, max_size=size)) for _ in range(n)]
    assume(all(sum(row) > 1e-6 for row in rows))
    return [np.array(row) / math.fsum(row) for row in rows]


def log(p):
    return torch.tensor(np.asarray(p)).log()


def D(p, q):
    return kl(log(p), log(q)).item()


def enumerated(p, q):
    """Σ p log p/q with Python's floats: independent of torch and of the Bregman form."""
    if any(a > 0 and b == 0 for a, b in zip(p, q)):
        return math.inf
    return math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q) if a > 0)


def agree(a, b, tolerance=ROUNDING):
    return a == b or abs(a - b) <= tolerance * max(1.0, abs(b))


@given(distributions())
def test_value(pq):
    p, q = pq
    assert agree(D(p, q), enumerated(p, q))


@given(distributions())
def test_gibbs_nonnegative_and_zero_only_at_equality(pq):
    p, q = pq
    assert D(p, q) >= 0
    assert D(p, p) == 0
    if np.abs(p - q).max() > 1e-7:
        assert D(p, q) > 0


@given(distributions())
def test_infinite_exactly_where_the_support_is_left(pq):
    p, q = pq
    assert math.isinf(D(p, q)) == bool(((p > 0) & (q == 0)).any())


@given(distributions())
def test_cross_entropy_is_entropy_plus_divergence(pq):
    p, q = pq
    h, ce = entropy(log(p)).item(), cross_entropy(log(p), log(q)).item()
    assert agree(ce, h + D(p, q))
    assert -ROUNDING <= h <= math.log(len(p)) + ROUNDING
    uniform = np.full(len(p), 1 / len(p))
    assert agree(h, math.log(len(p)) - enumerated(p, uniform))


@given(distributions(n=4), st.floats(0, 1))
def test_joint_convexity(four, t):
    p1, q1, p2, q2 = four
    left = D(t * p1 + (1 - t) * p2, t * q1 + (1 - t) * q2)
    parts = [w * D(a, b) for w, a, b in ((t, p1, q1), (1 - t, p2, q2)) if w > 0]
    assert left <= math.fsum(parts) + ROUNDING


@given(distributions(low=6, high=6))
def test_chain_rule(pq):
    P, Q = (x.reshape(2, 3) for x in pq)
    p, q = P.sum(1), Q.sum(1)
    rest = 0.0
    for x in range(2):
        if p[x] > 0:
            rest += p[x] * (D(P[x] / p[x], Q[x] / q[x]) if q[x] > 0 else math.inf)
    assert agree(D(P.ravel(), Q.ravel()), D(p, q) + rest)


@given(distributions(low=3, high=3), distributions(n=3, low=2, high=4))
def test_data_processing(pq, channel):
    p, q = pq
    M = np.stack(channel)
    assert D(p @ M, q @ M) <= D(p, q) + ROUNDING
    assert tv(log(p @ M), log(q @ M)) <= tv(log(p), log(q)) + ROUNDING


@given(distributions(low=3), st.integers(1, 5))
def test_merging_the_tail_never_raises_the_divergence(pq, k):
    p, q = pq
    k = min(k, len(p) - 1)
    short = [np.append(x[:k], x[k:].sum()) for x in (p, q)]
    assert D(*short) <= D(p, q) + ROUNDING


@given(distributions())
def test_pinsker_and_bretagnolle_huber(pq):
    p, q = pq
    d, v = D(p, q), tv(log(p), log(q)).item()
    assert d >= 2 * v * v - ROUNDING
    assert v <= math.sqrt(-math.expm1(-d)) + ROUNDING


@given(distributions(n=3))
def test_total_variation_is_a_metric_between_0_and_1(three):
    p, q, r = map(log, three)
    assert 0 <= tv(p, q) <= 1 + ROUNDING
    assert tv(p, q) == tv(q, p) and tv(p, p) == 0
    assert tv(p, r) <= tv(p, q) + tv(q, r) + ROUNDING


@given(distributions(3), st.floats(0.01, 0.99))
def test_jensen_shannon_is_bounded_and_its_root_is_a_metric(three, beta):
    p, q, r = map(log, three)
    coin = -beta * math.log(beta) - (1 - beta) * math.log(1 - beta)
    assert -ROUNDING <= gjs(p, q, beta).item() <= coin + ROUNDING
    pq, qr, pr = (math.sqrt(gjs(*pair).item()) for pair in ((p, q), (q, r), (p, r)))
    assert pr <= pq + qr + 1e-7  # the root of rounding


@given(distributions())
def test_estimators_are_right_on_average_and_k3_misses_what_q_excludes(pq):
    """All outcomes, weighted with q: k1 and k3 + 1 - Σ p (where q > 0) give D(q‖p)."""
    p, q = pq
    seen = q > 0
    assume(np.all(p[seen] > 0))
    weight, logq, logp = torch.tensor(q[seen]), log(q[seen]), log(p[seen])
    want = enumerated(q, p)
    assert agree((weight * k1(logq, logp)).sum().item(), want)
    assert agree((weight * k3(logq, logp)).sum().item(), want + p[seen].sum() - 1)
    assert (k2(logq, logp) >= 0).all() and (k3(logq, logp) >= 0).all()


@given(distributions(), st.randoms(use_true_random=False))
def test_the_order_of_the_outcomes_does_not_matter(pq, random):
    p, q = pq
    order = list(range(len(p)))
    random.shuffle(order)
    assert agree(D(p[order], q[order]), D(p, q))


@given(distributions())
def test_independent_pairs_add(pq):
    both = [(log(x)[:, None] + log(x)).flatten() for x in pq]
    assert agree(kl(*both).item(), 2 * D(*pq), 1e-11)


@given(distributions())
def test_gradients_are_finite_where_the_divergence_is(pq):
    logp, logq = (log(x).requires_grad_() for x in pq)
    d = kl(logp, logq)
    assume(d.isfinite())
    for g in torch.autograd.grad(d, (logp, logq)):
        assert g.isfinite().all()


finite_logits = st.lists(st.floats(-30, 30), min_size=4, max_size=4)


@given(distributions(n=1, low=4, high=4), finite_logits, st.floats(-20, 20))
def test_logit_gradient_sums_to_zero_and_ignores_a_shift(one, z, shift):
    logp, z = log(one[0]), torch.tensor(z, dtype=torch.float64)
    g = logit_gradient(logp, z.log_softmax(-1))
    assert abs(g.sum().item()) < ROUNDING and (g.abs() <= 1 + ROUNDING).all()
    shifted = logit_gradient(logp, (z + shift).log_softmax(-1))
    assert (g - shifted).abs().max() < ROUNDING
    H = logit_hessian(logp, z.log_softmax(-1))
    assert np.linalg.eigvalsh(H.numpy()).min() > -ROUNDING


@given(distributions(n=1, low=4, high=4), finite_logits, finite_logits, st.floats(0.001, 0.999))
def test_forward_divergence_is_convex_in_logits(one, y, z, t):
    logp = log(one[0])
    y, z = (torch.tensor(v, dtype=torch.float64) for v in (y, z))

    def f(v):
        return kl_from_logits(logp, v).item()

    assert f(t * y + (1 - t) * z) <= t * f(y) + (1 - t) * f(z) + 1e-10


probability = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))


@given(probability, probability)
def test_bernoulli_is_the_two_outcome_divergence(p, q):
    assert kl_bernoulli(p, q) >= 0
    assert agree(kl_bernoulli(p, q).item(), enumerated((1 - p, p), (1 - q, q)))


@given(*[st.floats(-50, 50), st.floats(1e-3, 1e3)] * 2)
def test_normal_is_nonnegative_and_scale_free(m1, s1, m2, s2):
    d = kl_normal(m1, s1, m2, s2).item()
    assert d >= 0 and kl_normal(m1, s1, m1, s1) == 0
    scaled = kl_normal(2 * m1 + 4, 2 * s1, 2 * m2 + 4, 2 * s2).item()  # any invertible map
    assert math.isclose(scaled, d, rel_tol=1e-9, abs_tol=1e-12)


@given(st.lists(st.lists(st.floats(-10, 10), min_size=1, max_size=6), min_size=1, max_size=8))
def test_mean_is_that_of_all_items_however_they_are_batched(batches):
    mean = Mean()
    for batch in batches:
        x = torch.tensor([*batch, math.nan], dtype=torch.float64)  # one padded position
        mean.add(*masked_sum(x, torch.tensor([True] * len(batch) + [False])))
    everything = [v for batch in batches for v in batch]
    assert math.isclose(mean.value, math.fsum(everything) / len(everything), abs_tol=1e-12)


@given(st.integers(0, 100), st.sampled_from(["sigmoid", "tanh"]), st.integers(1, 5))
@settings(max_examples=30)
def test_backward_equals_differences_for_any_net(seed, activation, m):
    rng = np.random.default_rng(seed)
    net = MLP([2, 3, 2], activation, "softmax", seed=seed)
    X, Y = rng.normal(size=(m, 2)), np.eye(2)[rng.integers(0, 2, m)]
    gradients = net.backward(net.forward(X)[1], Y), net.numeric_gradient(X, Y)
    for got, want in zip(*(dW + db for dW, db in gradients)):
        assert np.abs(got - want).max() < 1e-8
