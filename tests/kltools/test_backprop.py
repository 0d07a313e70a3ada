"""backprop: tensor by tensor against torch autograd, against differences, and by hand."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch

from kltools.backprop import MLP, Cache, sigmoid, softmax

ACTIVATIONS = ["sigmoid", "tanh", "relu"]
OUTPUTS = ["identity", "sigmoid", "softmax"]
SIZES = [[3, 2], [3, 5, 4], [4, 6, 5, 3], [2, 3, 3, 3, 2]]


def problem(sizes, activation="sigmoid", output="identity", m=8, seed=0):
    """A net with nonzero biases, inputs and soft targets that suit the output."""
    net = MLP(sizes, activation, output, seed=seed)
    rng = np.random.default_rng(seed + 1)
    for b in net.b:
        b += rng.normal(size=b.shape)
    X, Y = rng.normal(size=(m, sizes[0])), rng.normal(size=(m, sizes[-1]))
    if output == "sigmoid":
        Y = 1 / (1 + np.exp(-2 * Y))
    if output == "softmax":
        Y = np.exp(2 * Y) / np.exp(2 * Y).sum(1, keepdims=True)
    return net, X, Y


def torch_twin(net, X, Y):
    """The same loss written with torch's own layers and losses, and autograd's gradients."""
    W = [torch.tensor(w, requires_grad=True) for w in net.W]
    b = [torch.tensor(v, requires_grad=True) for v in net.b]
    f = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}[net.activation]
    a, y, m = torch.tensor(X), torch.tensor(Y), len(X)
    z = []
    for l, (w, v) in enumerate(zip(W, b)):
        z.append(torch.nn.functional.linear(a, w, v))
        z[-1].retain_grad()
        a = f(z[-1]) if l < len(W) - 1 else z[-1]
    loss = {
        "identity": lambda: 0.5 * torch.nn.functional.mse_loss(a, y, reduction="sum") / m,
        "sigmoid": lambda: (
            torch.nn.functional.binary_cross_entropy_with_logits(a, y, reduction="sum") / m
        ),
        "softmax": lambda: torch.nn.functional.cross_entropy(a, y),
    }[net.output]()
    loss.backward()
    return loss.item(), [w.grad for w in W], [v.grad for v in b], [m * t.grad for t in z]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_tensor_equals_autograd(activation, output, sizes):
    net, X, Y = problem(sizes, activation, output)
    A, cache = net.forward(X)
    loss, W, b, delta = torch_twin(net, X, Y)
    assert net.loss(A, Y) == pytest.approx(loss, rel=1e-12)
    dW, db = net.backward(cache, Y)
    assert [g.shape for g in dW] == [w.shape for w in net.W]
    for got, want in zip(dW + db + net.deltas(cache, Y), W + b + delta):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numeric_gradient_agrees_and_leaves_the_parameters_alone(activation, output):
    net, X, Y = problem([3, 4, 2], activation, output)
    kept = [p.copy() for p in net.W + net.b]
    dW, db = net.backward(net.forward(X)[1], Y)
    nW, nb = net.numeric_gradient(X, Y)
    for got, want in zip(dW + db, nW + nb):
        np.testing.assert_allclose(got, want, atol=1e-8)
    for p, k in zip(net.W + net.b, kept):
        assert np.array_equal(p, k)


@pytest.mark.parametrize("output", OUTPUTS)
def test_central_differences_converge_with_order_two(output):
    net, X, Y = problem([3, 4, 2], "tanh", output)
    dW, _ = net.backward(net.forward(X)[1], Y)
    error = []
    for step in (1e-1, 1e-2, 1e-3):
        nW, _ = net.numeric_gradient(X, Y, step=step)
        error.append(max(abs(n - d).max() for n, d in zip(nW, dW)))
    for coarse, fine in itertools.pairwise(error):  # a tenth of the step, a hundredth of the error
        assert 80 < coarse / fine < 120


def test_one_neuron_by_hand():
    net = MLP([1, 1], output="sigmoid")
    net.W[0][:], net.b[0][:] = 2.0, -1.0
    A, cache = net.forward(np.array([[0.5], [1.0]]))  # z = 0 and 1
    s = 1 / (1 + math.exp(-1))
    np.testing.assert_allclose(A, [[0.5], [s]], rtol=1e-15)
    Y = np.array([[1.0], [0.0]])
    want = (math.log(2) - math.log(1 - s)) / 2
    assert net.loss(A, Y) == pytest.approx(want, rel=1e-14)
    dW, db = net.backward(cache, Y)
    np.testing.assert_allclose(dW[0], [[(-0.5 * 0.5 + s * 1.0) / 2]], rtol=1e-14)
    np.testing.assert_allclose(db[0], [(-0.5 + s) / 2], rtol=1e-14)


def test_losses_by_enumeration():
    Y, A = np.array([[0.9, 0.1], [0.0, 1.0]]), np.array([[0.7, 0.3], [0.4, 0.6]])
    square = sum((a - y) ** 2 / 2 for a, y in zip(A.flat, Y.flat)) / 2
    coins = -sum(y * math.log(a) + (1 - y) * math.log(1 - a) for a, y in zip(A.flat, Y.flat)) / 2
    classes = -sum(y * math.log(a) for a, y in zip(A.flat, Y.flat)) / 2
    for output, want in (("identity", square), ("sigmoid", coins), ("softmax", classes)):
        assert MLP([1, 2], output=output).loss(A, Y) == pytest.approx(want, rel=1e-14)


def test_cache_shapes_are_those_of_the_formulas():
    net, X, Y = problem([4, 6, 5, 3], output="softmax", m=7)
    A, cache = net.forward(X)
    assert isinstance(cache, Cache)
    assert [a.shape for a in cache.a] == [(7, 4), (7, 6), (7, 5), (7, 3)]
    assert [z.shape for z in cache.z] == [(7, 6), (7, 5), (7, 3)]
    assert [w.shape for w in net.W] == [(6, 4), (5, 6), (3, 5)]
    assert [d.shape for d in net.deltas(cache, Y)] == [(7, 6), (7, 5), (7, 3)]
    np.testing.assert_array_equal(cache.a[0], X)
    np.testing.assert_array_equal(cache.a[-1], A)
    np.testing.assert_allclose(cache.z[0][2], net.W[0] @ X[2] + net.b[0], rtol=1e-13)


def test_gradient_of_a_batch_is_the_mean_of_the_gradients_of_its_samples():
    net, X, Y = problem([3, 5, 4, 2], output="softmax")
    dW, db = net.backward(net.forward(X)[1], Y)
    each = [net.backward(net.forward(X[i : i + 1])[1], Y[i : i + 1]) for i in range(len(X))]
    for l in range(3):
        np.testing.assert_allclose(dW[l], np.mean([w[l] for w, _ in each], axis=0), atol=1e-15)
        np.testing.assert_allclose(db[l], np.mean([b[l] for _, b in each], axis=0), atol=1e-15)


def averaged(net, cache, Y, state):
    """The popular pseudo-code: average δ⁽ᴸ⁾ over the batch, then propagate that one vector.

    ``state`` picks what stands in for z and a: their batch means, or the last sample's.
    """
    pick = {"mean": lambda x: x.mean(axis=0), "last": lambda x: x[-1]}[state]
    delta = (cache.a[-1] - Y).mean(axis=0)
    dW = []
    for l in range(len(net.W) - 1, -1, -1):
        dW.insert(0, np.outer(delta, pick(cache.a[l])))
        if l:
            s = 1 / (1 + np.exp(-pick(cache.z[l - 1])))
            delta = (net.W[l].T @ delta) * s * (1 - s)
    return dW


@pytest.mark.parametrize("state", ["mean", "last"])
@pytest.mark.parametrize("seed", range(5))
def test_one_delta_averaged_over_the_batch_is_another_vector(state, seed):
    net, X, Y = problem([4, 6, 5, 3], output="softmax", seed=seed)
    cache = net.forward(X)[1]
    right, _ = net.backward(cache, Y)
    wrong = averaged(net, cache, Y, state)
    off = [np.linalg.norm(w - r) / np.linalg.norm(r) for w, r in zip(wrong, right)]
    assert off[0] > 0.3  # 30 % and more in the first layer, with every seed
    one = net.forward(X[:1])[1]  # with one sample the two are the same
    for w, r in zip(averaged(net, one, Y[:1], state), net.backward(one, Y[:1])[0]):
        np.testing.assert_allclose(w, r, atol=1e-16)


def test_an_averaged_delta_can_be_zero_where_the_gradient_is_not():
    net = MLP([1, 2], output="softmax")
    net.W[0][:] = 0
    X, Y = np.array([[1.0], [-1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    cache = net.forward(X)[1]
    np.testing.assert_allclose(net.backward(cache, Y)[0][0], [[-0.5], [0.5]], atol=1e-16)
    np.testing.assert_array_equal(averaged(net, cache, Y, "mean")[0], [[0], [0]])


def test_the_elementwise_rule_is_wrong_for_softmax():
    net, X, Y = problem([3, 4], output="softmax", m=1)
    Y[:] = [[0, 1, 0, 0]]
    A, cache = net.forward(X)
    elementwise = -Y / A * (A * (1 - A))  # ∂L/∂a ⊙ σ′ as if each a depended on its own z alone
    jacobian = np.diag(A[0]) - np.outer(A[0], A[0])
    full = (-Y / A) @ jacobian
    np.testing.assert_allclose(net.deltas(cache, Y)[-1], full, atol=1e-15)
    assert (elementwise[0, [0, 2, 3]] == 0).all() and (abs(full) > 0.01).all()


def test_saturated_values_neither_overflow_nor_warn():
    z = np.array([[-1000.0, 0.0, 1000.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(sigmoid(z), [[0, 0.5, 1]])
        np.testing.assert_array_equal(softmax(z), [[0, 0, 1]])
        assert sigmoid(np.array(-40.0)) == pytest.approx(math.exp(-40), rel=1e-12)
        for activation, output in itertools.product(ACTIVATIONS, OUTPUTS):
            net, X, Y = problem([3, 4, 2], activation, output)
            A, cache = net.forward(1e4 * X)
            for g in itertools.chain(*net.backward(cache, Y)):
                assert np.isfinite(g).all()
            assert not np.isnan(net.loss(A, Y))
        sure = np.array([[1.0, 0.0]])
        for output in ("sigmoid", "softmax"):
            net = MLP([1, 2], output=output)
            assert net.loss(sure, sure) == 0  # 0 log 0 = 0
            assert net.loss(sure, 1 - sure) == math.inf


def test_initial_weights_are_scaled_by_the_width_and_repeat_with_the_seed():
    for activation, gain in (("sigmoid", 1), ("tanh", 1), ("relu", 2)):
        net = MLP([400, 300], activation)
        assert net.W[0].var() == pytest.approx(gain / 400, rel=0.02)
        assert (net.b[0] == 0).all()
    for same, seed in ((True, 3), (False, 4)):
        assert np.array_equal(MLP([2, 3], seed=3).W[0], MLP([2, 3], seed=seed).W[0]) is same


def test_gradient_descent_with_these_gradients_learns_xor():
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    Y = np.array([[0], [1], [1], [0]])
    learned = 0
    for seed in range(5):
        net = MLP([2, 8, 1], "tanh", "sigmoid", seed=seed)
        for _ in range(1000):
            dW, db = net.backward(net.forward(X)[1], Y)
            for p, g in zip(net.W + net.b, dW + db):
                p -= g
        learned += net.loss(net.forward(X)[0], Y) < 0.05
    assert learned == 5


def test_bad_arguments_are_refused_by_name():
    net, X, Y = problem([3, 4, 2])
    A, cache = net.forward(X)
    cases = [
        (lambda: MLP([3]), r"sizes: expected two or more positive sizes, got \[3\]"),
        (lambda: MLP([3, 0, 2]), r"sizes: expected .* got \[3, 0, 2\]"),
        (lambda: MLP([3, 2], "gelu"), r"activation: expected .*'sigmoid'.* got 'gelu'"),
        (lambda: MLP([3, 2], output="tanh"), r"output: expected .*'identity'.* got 'tanh'"),
        (lambda: net.forward(X[:, :2]), r"X: expected shape \[m, 3\].* got \[8, 2\]"),
        (lambda: net.forward(X[0]), r"X: expected shape \[m, 3\].* got \[3\]"),
        (lambda: net.forward(X[:0]), r"X: expected shape \[m, 3\] with m ≥ 1, got \[0, 3\]"),
        (lambda: net.loss(A.T, Y), r"A: expected shape \[m, 2\].* got \[2, 8\]"),
        (lambda: net.loss(A, Y[:, :1]), r"Y: expected shape \[m, 2\].* got \[8, 1\]"),
        (lambda: net.loss(A, Y[:3]), r"Y: expected 8 rows as the outputs, got 3"),
        (lambda: net.backward(cache, Y[0]), r"Y: expected shape \[m, 2\].* got \[2\]"),
        (lambda: net.backward(cache, Y[:1]), r"Y: expected 8 rows as the outputs, got 1"),
        (lambda: net.numeric_gradient(X, Y[:1]), r"Y: expected 8 rows as the outputs, got 1"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
    coins, classes = (problem([3, 2], output=o)[0] for o in ("sigmoid", "softmax"))
    with pytest.raises(ValueError, match=r"Y: expected values in \[0, 1\], got -1 to 2"):
        coins.loss(coins.forward(X)[0], np.array([[-1, 2]] * 8))
    with pytest.raises(ValueError, match="Y: expected rows that sum to 1"):
        classes.backward(classes.forward(X)[1], np.ones((8, 2)))
