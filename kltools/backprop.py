r"""A multilayer perceptron in NumPy, forward and backward, with the symbols of the formulas.

For each sample, with $a^{(0)} = x$ and l = 1 … L:

$$z^{(l)} = W^{(l)} a^{(l-1)} + b^{(l)}, \qquad a^{(l)} = \sigma(z^{(l)}),$$
$$\delta^{(L)} = a^{(L)} - y, \qquad
\delta^{(l)} = (W^{(l+1)\top} \delta^{(l+1)}) \odot \sigma'(z^{(l)}),$$
$$\nabla_{W^{(l)}} = \frac1m \sum_i \delta^{(l)}_i a^{(l-1)\top}_i, \qquad
\nabla_{b^{(l)}} = \frac1m \sum_i \delta^{(l)}_i .$$

The first error $\delta^{(L)}$ is so simple because each output has its own loss: squared error for
the identity, cross-entropy for sigmoid and softmax. Source: Rumelhart, Hinton and Williams (1986).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy import ndarray


def sigmoid(z: ndarray) -> ndarray:
    """1 / (1 + e^-z) without overflow."""
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, e) / (1 + e)


def softmax(z: ndarray) -> ndarray:
    """e^z / Σ e^z along the last axis, without overflow."""
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


# name: (σ, σ′), both functions of z
ACTIVATIONS: dict[str, tuple[Callable[[ndarray], ndarray], Callable[[ndarray], ndarray]]] = {
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(float)),
}
OUTPUTS: dict[str, Callable[[ndarray], ndarray]] = {
    "identity": lambda z: z,
    "sigmoid": sigmoid,
    "softmax": softmax,
}


class Cache(NamedTuple):
    """What the forward pass leaves for the backward pass, one row a sample."""

    z: list[ndarray]  # z[l-1] is z⁽ˡ⁾ [m, d_l], l = 1 … L
    a: list[ndarray]  # a[l] is a⁽ˡ⁾ [m, d_l], l = 0 … L, a[0] = X


class MLP:
    """A perceptron with the layer sizes d_0 … d_L.

    Args:
        sizes: d_0 (inputs), hidden sizes, d_L (outputs).
        activation: of the hidden layers: "sigmoid", "tanh" or "relu".
        output: "identity", "sigmoid" (d_L separate coins) or "softmax" (one of d_L classes).
        seed: of the normal initial weights with variance 1/d_in (2/d_in for relu); biases are 0.

    Attributes:
        W: L matrices; W[l-1] is W⁽ˡ⁾ of shape [d_l, d_{l-1}].
        b: L vectors; b[l-1] is b⁽ˡ⁾ of shape [d_l].

    Raises:
        ValueError: an unknown name, or fewer than two sizes, or a size below 1.
    """

    def __init__(
        self,
        sizes: list[int] | tuple[int, ...],
        activation: str = "sigmoid",
        output: str = "identity",
        seed: int = 0,
    ) -> None:
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes: expected two or more positive sizes, got {list(sizes)}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: expected one of {list(ACTIVATIONS)}, got {activation!r}")
        if output not in OUTPUTS:
            raise ValueError(f"output: expected one of {list(OUTPUTS)}, got {output!r}")
        self.sizes, self.activation, self.output = tuple(sizes), activation, output
        rng = np.random.default_rng(seed)
        gain = 2.0 if activation == "relu" else 1.0
        self.W = [rng.normal(size=(d, n)) * np.sqrt(gain / n) for n, d in pairwise(sizes)]
        self.b = [np.zeros(d) for d in sizes[1:]]

    def forward(self, X: ndarray) -> tuple[ndarray, Cache]:
        """The output a⁽ᴸ⁾ ``[m, d_L]`` for the samples X ``[m, d_0]``, and every z and a.

        Raises:
            ValueError: X has another shape, or no row.
        """
        X = _rows(X, "X", self.sizes[0])
        sigma, _ = ACTIVATIONS[self.activation]
        z: list[ndarray] = []
        a = [X]
        for W, b in zip(self.W, self.b):
            z.append(a[-1] @ W.T + b)
            a.append(OUTPUTS[self.output](z[-1]) if len(z) == len(self.W) else sigma(z[-1]))
        return a[-1], Cache(z, a)

    def loss(self, A: ndarray, Y: ndarray) -> float:
        """The mean over the batch of the loss that belongs to the output.

        Identity: ½‖a - y‖². Sigmoid: -Σ y log a + (1 - y) log(1 - a), in nats. Softmax:
        -Σ y log a, in nats. +inf where a label has probability 0.

        Args:
            A: outputs ``[m, d_L]``.
            Y: targets ``[m, d_L]``: numbers, probabilities of the coins, or rows that sum to 1.

        Raises:
            ValueError: the shapes differ, or Y is no such target.
        """
        A = _rows(A, "A", self.sizes[-1])
        Y = self._targets(Y, len(A))
        if self.output == "identity":
            each = (A - Y) ** 2 / 2
        elif self.output == "sigmoid":
            each = -_xlogy(Y, A) - _xlogy(1 - Y, 1 - A)
        else:
            each = -_xlogy(Y, A)
        return float(each.sum(axis=1).mean())

    def deltas(self, cache: Cache, Y: ndarray) -> list[ndarray]:
        """The errors δ⁽¹⁾ … δ⁽ᴸ⁾ of *each* sample, ``[m, d_l]`` (list index l-1)."""
        z, a = cache
        _, dsigma = ACTIVATIONS[self.activation]
        delta = [a[-1] - self._targets(Y, len(a[-1]))]
        for l in range(len(self.W) - 1, 0, -1):
            delta.insert(0, (delta[0] @ self.W[l]) * dsigma(z[l - 1]))
        return delta

    def backward(self, cache: Cache, Y: ndarray) -> tuple[list[ndarray], list[ndarray]]:
        """The gradients of the mean loss: (dW, db), lists like ``W`` and ``b``.

        Raises:
            ValueError: Y has another shape than the outputs, or is no target.
        """
        delta = self.deltas(cache, Y)
        m = len(cache.a[0])
        dW = [d.T @ a / m for d, a in zip(delta, cache.a)]
        db = [d.mean(axis=0) for d in delta]
        return dW, db

    def numeric_gradient(
        self, X: ndarray, Y: ndarray, step: float = 1e-6
    ) -> tuple[list[ndarray], list[ndarray]]:
        """The same gradients by central differences of the loss, one parameter at a time."""

        def differences(theta: ndarray) -> ndarray:
            g = np.empty_like(theta)
            for i in np.ndindex(theta.shape):
                kept = theta[i]
                theta[i] = kept + step
                up = self.loss(self.forward(X)[0], Y)
                theta[i] = kept - step
                down = self.loss(self.forward(X)[0], Y)
                theta[i] = kept
                g[i] = (up - down) / (2 * step)
            return g

        return [differences(W) for W in self.W], [differences(b) for b in self.b]

    def _targets(self, Y: ndarray, m: int) -> ndarray:
        Y = _rows(Y, "Y", self.sizes[-1])
        if len(Y) != m:
            raise ValueError(f"Y: expected {m} rows as the outputs, got {len(Y)}")
        if self.output != "identity" and (Y.min() < 0 or Y.max() > 1):
            raise ValueError(f"Y: expected values in [0, 1], got {Y.min():g} to {Y.max():g}")
        if self.output == "softmax" and np.abs(Y.sum(axis=1) - 1).max() > 1e-6:
            raise ValueError(f"Y: expected rows that sum to 1, got {Y.sum(axis=1)}")
        return Y


def _rows(x: ndarray, name: str, d: int) -> ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != d or len(x) == 0:
        raise ValueError(f"{name}: expected shape [m, {d}] with m ≥ 1, got {list(x.shape)}")
    return x


def _xlogy(x: ndarray, y: ndarray) -> ndarray:
    """X log y, which is 0 for x = 0."""
    with np.errstate(divide="ignore"):
        return np.where(x == 0, 0, x * np.log(np.where(x == 0, 1, y)))
