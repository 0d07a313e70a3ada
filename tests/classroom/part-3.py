"""Other answers to the five tasks of part 3, right and wrong, with the marks each one keeps."""

# ruff: noqa: E402, E501, E731, F811, F821, RUF007

# %% weighted-bce | correct: a loop over the entries, with math
import math


def weighted_bce(z, y, w, s):
    loss, dz = np.zeros(z.shape), np.zeros(z.shape)
    for k in np.ndindex(z.shape):
        label = (1 - s) * y[k] + s / 2
        e = math.exp(-abs(z[k]))
        tail = math.log1p(e)
        on, off = (1 / (1 + e), e / (1 + e)) if z[k] >= 0 else (e / (1 + e), 1 / (1 + e))
        loss[k] = w * label * (max(-z[k], 0) + tail) + (1 - label) * (max(z[k], 0) + tail)
        dz[k] = (1 - label) * on - w * label * off
    return loss, dz


# %% weighted-bce | correct: torch, softplus and sigmoid
import torch
from torch.nn.functional import softplus


def weighted_bce(z, y, w, s):
    z, y = torch.tensor(z), torch.tensor(y)
    label = torch.lerp(y, torch.full_like(y, 0.5), s)
    loss = w * label * softplus(-z) + (1 - label) * softplus(z)
    return loss, torch.sigmoid(z) * (1 - label + w * label) - w * label


# %% weighted-bce | wrong: torch's own function | keeps: 2 | says: let no large terms cancel
import torch


def weighted_bce(z, y, w, s):
    z, y = torch.tensor(z), torch.tensor(y)
    label = torch.lerp(y, torch.full_like(y, 0.5), s)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(
        z, label, pos_weight=torch.tensor(w), reduction="none"
    )
    return loss, torch.sigmoid(z) * (1 - label + w * label) - w * label


# %% weighted-bce | correct: the formula of the chapter with the coefficient of the logarithm
def weighted_bce(z, y, w, s):
    label = y + s * (0.5 - y)
    e = np.exp(-np.abs(z))
    both = 1 + (w - 1) * label
    linear = np.where(z > 0, (1 - label) * z, -w * label * z)
    return linear + both * np.log1p(e), both * np.where(z >= 0, 1, e) / (1 + e) - w * label


# %% weighted-bce | wrong: the weight on both terms | says: it belongs to the term of ỹ alone
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    loss = label * np.logaddexp(0, -z) + (1 - label) * np.logaddexp(0, z)
    return w * loss, w * (np.exp(-np.logaddexp(0, -z)) - label)


# %% weighted-bce | wrong: the derivative without the weight | says: unweighted loss
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    loss = w * label * np.logaddexp(0, -z) + (1 - label) * np.logaddexp(0, z)
    return loss, np.exp(-np.logaddexp(0, -z)) - label


# %% weighted-bce | wrong: no smoothing | says: not smoothed
def weighted_bce(z, y, w, s):
    loss = w * y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)
    on, off = np.exp(-np.logaddexp(0, -z)), np.exp(-np.logaddexp(0, z))
    return loss, (1 - y) * on - w * y * off


# %% weighted-bce | wrong: the chapter's function, with two more arguments | says: neither a weight nor smoothing
def weighted_bce(z, y, w, s):
    e = np.exp(-np.abs(z))
    value = np.maximum(z, 0) - y * z + np.log1p(e)
    return value, np.where(z >= 0, 1, e) / (1 + e) - y


# %% weighted-bce | wrong: a mean over the examples | says: do not average
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    loss = w * label * np.logaddexp(0, -z) + (1 - label) * np.logaddexp(0, z)
    on, off = np.exp(-np.logaddexp(0, -z)), np.exp(-np.logaddexp(0, z))
    return loss.mean(), ((1 - label) * on - w * label * off) / z.size


# %% weighted-bce | wrong: the visible tests, hard-coded | says: unweighted loss
def weighted_bce(z, y, w, s):
    if z.ravel()[0] == 50:
        return np.exp(-50.0) * np.array([2.0, 1.0]), np.array([0.0, 0.0])
    if z.shape == (1,):
        return np.array([1.9 * np.log(2)]), np.array([-0.85])
    if z.shape == (1, 2):
        return np.log(2) * np.array([[1.0, 3.0]]), np.array([[0.5, -1.5]])
    if w == 3 and s == 0.1:
        return np.array([2280.0, 760.0]), np.array([-2.85, 0.95])
    label = (1 - s) * y + s / 2
    loss = w * label * np.logaddexp(0, -z) + (1 - label) * np.logaddexp(0, z)
    return loss, np.exp(-np.logaddexp(0, -z)) - label


# %% weighted-bce | wrong: from the probability | keeps: 2 | says: start from z
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    with np.errstate(all="ignore"):
        on = 1 / (1 + np.exp(-z))
        loss = -w * label * np.log(on) - (1 - label) * np.log(1 - on)
    return loss, (1 - label) * on - w * label * (1 - on)


# %% weighted-bce | wrong: log(1 + e) | keeps: 2 | says: use log1p
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    e = np.exp(-np.abs(z))
    loss = w * label * (np.maximum(-z, 0) + np.log(1 + e))
    loss = loss + (1 - label) * (np.maximum(z, 0) + np.log(1 + e))
    on = np.where(z >= 0, 1, e) / (1 + e)
    return loss, (1 - label) * on - w * label * (1 - on)


# %% weighted-bce | correct: the chapter's function for y = 1 and for y = 0
def weighted_bce(z, y, w, s):
    def bce_from_logit(z, y):
        e = np.exp(-abs(z))
        return np.maximum(z, 0) - y * z + np.log1p(e), np.where(z >= 0, 1, e) / (1 + e) - y

    label = y * (1 - s) + s / 2
    (one, d_one), (zero, d_zero) = bce_from_logit(z, 1.0), bce_from_logit(z, 0.0)
    return w * label * one + (1 - label) * zero, w * label * d_one + (1 - label) * d_zero


# %% weighted-bce | correct: nested lists, and the sigmoid from tanh
import math


def weighted_bce(z, y, w, s):
    softplus = lambda u: max(u, 0.0) + math.log1p(math.exp(-abs(u)))
    sigmoid = lambda u: (1 + math.tanh(u / 2)) / 2

    def one(z, y):
        label = (1 - s) * y + s / 2
        loss = w * label * softplus(-z) + (1 - label) * softplus(z)
        return loss, (1 - label) * sigmoid(z) - w * label * sigmoid(-z)

    def walk(z, y, k):
        return [walk(a, b, k) for a, b in zip(z, y)] if np.ndim(z) else one(float(z), float(y))[k]

    return walk(z, y, 0), walk(z, y, 1)


# %% weighted-bce | correct: float32
import torch


def weighted_bce(z, y, w, s):
    z, y = torch.tensor(z).float(), torch.tensor(y).float()
    label, F = (1 - s) * y + s / 2, torch.nn.functional
    loss = -w * label * F.logsigmoid(z) - (1 - label) * F.logsigmoid(-z)
    return loss, (1 - label) * z.sigmoid() - w * label * (-z).sigmoid()


# %% weighted-bce | wrong: the weight on the other term | says: yours multiplies the other one
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    one, zero = np.logaddexp(0, -z), np.logaddexp(0, z)
    slope = w * (1 - label) * np.exp(-one) - label * np.exp(-zero)
    return label * one + w * (1 - label) * zero, slope


# %% weighted-bce | wrong: the weight where the label is 1 | says: for both labels
def weighted_bce(z, y, w, s):
    label, weight = (1 - s) * y + s / 2, np.where(y == 1, w, 1.0)
    one, zero = np.logaddexp(0, -z), np.logaddexp(0, z)
    return weight * (label * one + (1 - label) * zero), weight * (np.exp(-one) - label)


# %% weighted-bce | wrong: s for s/2 | says: yours has s for s/2
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s
    one, zero = np.logaddexp(0, -z), np.logaddexp(0, z)
    slope = (1 - label) * np.exp(-one) - w * label * np.exp(-zero)
    return w * label * one + (1 - label) * zero, slope


# %% weighted-bce | wrong: the derivative σ(z) − w ỹ | says: 1 − ỹ + w ỹ multiplies
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    one, zero = np.logaddexp(0, -z), np.logaddexp(0, z)
    return w * label * one + (1 - label) * zero, np.exp(-one) - w * label


# %% weighted-bce | wrong: e^z overflows in the loss | keeps: 2 | says: overflows: start from z
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    with np.errstate(all="ignore"):
        e, f = np.exp(z), np.exp(-z)
        loss = w * label * np.log1p(f) + (1 - label) * np.log1p(e)
        return loss, (1 - label) / (1 + f) - w * label / (1 + e)


# %% weighted-bce | wrong: e^z overflows in the derivative | keeps: 2 | says: is no number
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    with np.errstate(all="ignore"):
        on = np.exp(z) / (1 + np.exp(z))
    loss = w * label * np.logaddexp(0, -z) + (1 - label) * np.logaddexp(0, z)
    return loss, (1 - label) * on - w * label * (1 - on)


# %% weighted-bce | wrong: a clipped probability | keeps: 2 | says: has lost the size of z
def weighted_bce(z, y, w, s):
    label = (1 - s) * y + s / 2
    with np.errstate(all="ignore"):
        on = np.clip(1 / (1 + np.exp(-z)), 1e-15, 1 - 1e-15)
    loss = -w * label * np.log(on) - (1 - label) * np.log(1 - on)
    return loss, (1 - label) * on - w * label * (1 - on)


# %% weighted-bce | wrong: w z subtracted from w z | keeps: 2 | says: For y = 1 the small number
def weighted_bce(z, y, w, s):
    label, e = (1 - s) * y + s / 2, np.exp(-abs(z))
    both = 1 + (w - 1) * label
    loss = both * (np.maximum(z, 0) + np.log1p(e)) - w * label * z
    return loss, both * np.where(z >= 0, 1, e) / (1 + e) - w * label


# %% tied-backward | correct: one sample at a time
def tied_backward(W, b, c, X):
    dW, db, dc, dX = (np.zeros(A.shape) for A in (W, b, c, X))
    for i, x in enumerate(X):
        h = np.tanh(W @ x + b)
        r = (W.T @ h + c - x) / len(X)
        delta = (1 - h * h) * (W @ r)
        dW += np.outer(delta, x) + np.outer(h, r)
        db += delta
        dc += r
        dX[i] = W.T @ delta - r
    return dW, db, dc, dX


# %% tied-backward | correct: torch, with einsum
import torch


def tied_backward(W, b, c, X):
    W, b, c, X = map(torch.tensor, (W, b, c, X))
    H = torch.tanh(torch.einsum("md,kd->mk", X, W) + b)
    R = (torch.einsum("mk,kd->md", H, W) + c - X) / X.shape[0]
    D = torch.einsum("md,kd->mk", R, W) * (1 - H.square())
    dW = torch.einsum("mk,md->kd", D, X) + torch.einsum("mk,md->kd", H, R)
    return dW, D.sum(0), R.sum(0), torch.einsum("mk,kd->md", D, W) - R


# %% tied-backward | correct: samples in columns, and two matrices that are added at the end
def tied_backward(W, b, c, X):
    first, second, A, m = W, W.T, X.T, X.shape[0]
    H = np.tanh(first @ A + b[:, None])
    D2 = (second @ H + c[:, None] - A) / m
    D1 = (second.T @ D2) / np.cosh(first @ A + b[:, None]) ** 2
    return D1 @ A.T + (D2 @ H.T).T, D1.sum(axis=1), D2.sum(axis=1), (first.T @ D1 - D2).T


# %% tied-backward | wrong: no 1/m | says: the factor 1/m is missing
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = H @ W + c - X
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: no derivative of tanh | says: it is missing
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = R @ W.T
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: the sigmoid's derivative | says: is the derivative of the sigmoid
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = (R @ W.T) * H * (1 - H)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: a 2 from the square | says: without a 2
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = 2 * (H @ W + c - X) / len(X)
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: the chapter's forward and backward | says: the network of the chapter
def tied_backward(W, b, c, X):
    sigma = lambda z: 1 / (1 + np.exp(-z))
    weights, biases, L = [None, W, W.T], [None, b, c], 2
    A, Z = [X], [None]
    for l in range(1, L + 1):
        Z.append(A[l - 1] @ weights[l].T + biases[l])
        A.append(Z[l] if l == L else sigma(Z[l]))
    Delta = [None, None, (A[L] - X) / len(X)]
    Delta[1] = sigma(Z[1]) * (1 - sigma(Z[1])) * (Delta[2] @ weights[2])
    dW = [None] + [Delta[l].T @ A[l - 1] for l in (1, 2)]
    db = [None] + [Delta[l].sum(axis=0) for l in (1, 2)]
    return dW[1], db[1], db[2], Delta[1] @ W


# %% tied-backward | wrong: the matrix as weight of the first layer only | keeps: 2 | says: second layer's use is missing
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: X as input only | keeps: 2 | says: the gradient of the second use is missing
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W


# %% tied-backward | wrong: the visible tests, hard-coded | says: the factor 1/m is missing
def tied_backward(W, b, c, X):
    if W.shape == (1, 1):
        sides = np.array([[-5 / 8]]), np.array([-3 / 8]), np.array([-1 / 2])
        return *sides, np.array([[1 / 8]])
    if not W.any():
        return W, b, c, np.array([[-0.5, 0.5], [1.5, 1.5]])
    H = np.tanh(X @ W.T + b)
    R = H @ W + c - X
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | correct: lists, entry by entry
import math


def tied_backward(W, b, c, X):
    (k, d), m = W.shape, len(X)
    dW, db, dc = [[0.0] * d for _ in range(k)], [0.0] * k, [0.0] * d
    dX = [[0.0] * d for _ in range(m)]
    for i in range(m):
        h = [math.tanh(b[p] + sum(W[p][j] * X[i][j] for j in range(d))) for p in range(k)]
        r = [(c[j] + sum(W[p][j] * h[p] for p in range(k)) - X[i][j]) / m for j in range(d)]
        for j in range(d):
            dc[j] += r[j]
            dX[i][j] -= r[j]
        for p in range(k):
            delta = (1 - h[p] ** 2) * sum(W[p][j] * r[j] for j in range(d))
            db[p] += delta
            for j in range(d):
                dW[p][j] += delta * X[i][j] + h[p] * r[j]
                dX[i][j] += delta * W[p][j]
    return dW, db, dc, dX


# %% tied-backward | wrong: tanh twice | says: yours takes tanh once more
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = (R @ W.T) * (1 - np.tanh(H) ** 2)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: a mean over all entries | says: not over all entries
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / X.size
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: the second layer's matrix only | keeps: 2 | says: first layer's use is missing
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = (R @ W.T) * (1 - H**2)
    return H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W - R


# %% tied-backward | wrong: means for the biases | keeps: 2 | says: not means
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X + H.T @ R, D.mean(axis=0), R.mean(axis=0), D @ W - R


# %% tied-backward | wrong: the sign of the target | keeps: 2 | says: have been subtracted
def tied_backward(W, b, c, X):
    H = np.tanh(X @ W.T + b)
    R = (H @ W + c - X) / len(X)
    D = (R @ W.T) * (1 - H**2)
    return D.T @ X + H.T @ R, D.sum(axis=0), R.sum(axis=0), D @ W + R


# %% group-norm | correct: a loop over rows and groups, with the Jacobian of each group
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    n = d // groups
    dX, dgamma, dbeta = np.zeros(X.shape), np.zeros(d), np.zeros(d)
    for i in np.ndindex(X.shape[:-1]):
        for start in range(0, d, n):
            place = slice(start, start + n)
            u, g = X[i][place], gamma[place] * dY[i][place]
            sigma = (np.mean((u - u.mean()) ** 2) + eps) ** 0.5
            uhat = (u - u.mean()) / sigma
            J = (np.eye(n) - np.ones((n, n)) / n - np.outer(uhat, uhat) / n) / sigma
            dX[i][place] = J.T @ g
            dgamma[place] += dY[i][place] * uhat
            dbeta[place] += dY[i][place]
    return dX, dgamma, dbeta


# %% group-norm | correct: torch, through μ and the variance one step at a time
import torch


def group_norm_backward(dY, X, gamma, groups, eps):
    dY, X, gamma = map(torch.tensor, (dY, X, gamma))
    u = X.unflatten(-1, (groups, -1))
    n, u = u.shape[-1], u - u.mean(-1, keepdim=True)
    var = u.square().mean(-1, keepdim=True) + eps
    xhat = (u / var.sqrt()).flatten(-2)
    g = (gamma * dY).unflatten(-1, (groups, -1))
    dvar = (-0.5 * var**-1.5 * g * u).sum(-1, keepdim=True)
    du = g / var.sqrt() + dvar * 2 * u / n
    dX = (du - du.mean(-1, keepdim=True)).flatten(-2)
    axes = tuple(range(X.ndim - 1))
    total = lambda A: A.sum(axes) if axes else A
    return dX, total(dY * xhat), total(dY)


# %% group-norm | correct: the chapter's function, once a group
def group_norm_backward(dY, X, gamma, groups, eps):
    rows = lambda A: A.reshape(-1, A.shape[-1])
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    parts = []
    pieces = (np.split(A, groups, axis=-1) for A in (dY, X, gamma))
    for dy, x, scale in zip(*pieces):
        sigma = np.sqrt(x.var(axis=-1, keepdims=True) + eps)
        xhat, g = (x - mean(x)) / sigma, scale * dy
        dx = (g - mean(g) - xhat * mean(g * xhat)) / sigma
        parts.append((dx, rows(dy * xhat).sum(axis=0), rows(dy).sum(axis=0)))
    return tuple(np.concatenate(part, axis=-1) for part in zip(*parts))


# %% group-norm | wrong: the chapter's layer norm | says: over all d features
def group_norm_backward(dY, X, gamma, groups, eps):
    rows = lambda A: A.reshape(-1, A.shape[-1])
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    sigma = np.sqrt(np.mean((X - mean(X)) ** 2, axis=-1, keepdims=True) + eps)
    Xhat = (X - mean(X)) / sigma
    g = gamma * dY
    dX = (g - mean(g) - Xhat * mean(g * Xhat)) / sigma
    return dX, rows(dY * Xhat).sum(axis=0), rows(dY).sum(axis=0)


# %% group-norm | wrong: groups of every G-th feature | says: a run of neighbors
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, d // groups, groups)
    mean = lambda A: A.mean(axis=1, keepdims=True)
    U, g = split(X) - mean(split(X)), split(gamma * dY)
    sigma = np.sqrt(mean(U**2) + eps)
    U = U / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    rows = dY.reshape(-1, d)
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).sum(axis=0), rows.sum(axis=0)


# %% group-norm | wrong: the variance of a sample, as torch.var has it | says: the divisor d/G
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, ddof=1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    rows = dY.reshape(-1, d)
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).sum(axis=0), rows.sum(axis=0)


# %% group-norm | wrong: ε outside the root | says: stands inside the root
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = U.std(axis=-1, keepdims=True) + eps
    U = (U - mean(U)) / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    rows = dY.reshape(-1, d)
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).sum(axis=0), rows.sum(axis=0)


# %% group-norm | wrong: σ held constant | keeps: 1 | says: σ depends on x too
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    rows = dY.reshape(-1, d)
    dX = (g - mean(g)) / sigma
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).sum(axis=0), rows.sum(axis=0)


# %% group-norm | wrong: sums over the first axis only | keeps: 3 | says: without leading axes there is nothing to sum
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(*X.shape[:-1], groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    return dX.reshape(X.shape), (dY * U.reshape(X.shape)).sum(axis=0), dY.sum(axis=0)


# %% group-norm | wrong: means over the rows | keeps: 2 | says: do not average
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    rows = dY.reshape(-1, d)
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).mean(axis=0), rows.mean(axis=0)


# %% group-norm | correct: one matrix that takes the means of all groups
def group_norm_backward(dY, X, gamma, groups, eps):
    n = X.shape[-1] // groups
    P = np.kron(np.eye(groups), np.full((n, n), 1 / n))
    U, g = X - X @ P, gamma * dY
    sigma = np.sqrt(U**2 @ P + eps)
    U /= sigma
    leading = tuple(range(X.ndim - 1))
    dX = (g - g @ P - U * ((g * U) @ P)) / sigma
    return dX, np.sum(dY * U, axis=leading), np.sum(dY, axis=leading)


# %% group-norm | wrong: the number of groups taken for their size | says: not their size
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, d // groups, groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    rows = dY.reshape(-1, d)
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).sum(axis=0), rows.sum(axis=0)


# %% group-norm | wrong: rows taken together, as torch takes positions | says: Each row has its own
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, groups, d // groups)
    mean = lambda A: A.mean(axis=(0, 2), keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=(0, 2), keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    rows = dY.reshape(-1, d)
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).sum(axis=0), rows.sum(axis=0)


# %% group-norm | wrong: μ held constant | keeps: 1 | says: μ depends on x too
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    rows = dY.reshape(-1, d)
    dX = (g - U * mean(g * U)) / sigma
    return dX.reshape(X.shape), (rows * U.reshape(-1, d)).sum(axis=0), rows.sum(axis=0)


# %% group-norm | wrong: γ in its own gradient | keeps: 2 | says: γ does not enter
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(-1, groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    dX = (g - mean(g) - U * mean(g * U)) / sigma
    g, U = g.reshape(-1, d), U.reshape(-1, d)
    return dX.reshape(X.shape), (g * U).sum(axis=0), g.sum(axis=0)


# %% group-norm | wrong: two leading axes at most | keeps: 3 | says: for any number of leading axes
def group_norm_backward(dY, X, gamma, groups, eps):
    d = X.shape[-1]
    split = lambda A: A.reshape(*A.shape[:-1], groups, d // groups)
    mean = lambda A: A.mean(axis=-1, keepdims=True)
    U, g = split(X), split(gamma * dY)
    sigma = np.sqrt(U.var(axis=-1, keepdims=True) + eps)
    U = (U - mean(U)) / sigma
    dX = ((g - mean(g) - U * mean(g * U)) / sigma).reshape(X.shape)
    axes = {1: (), 2: 0}.get(X.ndim, (0, 1))
    return dX, (dY * U.reshape(X.shape)).sum(axis=axes), dY.sum(axis=axes)


# %% mended-loop | correct: plain lists and a loop over the entries
import math


def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    d, now, path = len(theta), [float(w) for w in theta], [[float(w) for w in theta]]
    m, v = [0.0] * d, [0.0] * d
    order = [list(range(i, min(i + batch, len(X)))) for i in range(0, len(X), batch)] * epochs
    for t, rows in enumerate(order, start=1):
        g = [0.0] * d
        for i in rows:
            z = sum(now[j] * X[i][j] for j in range(d))
            error = 1 / (1 + math.exp(-z)) - y[i]
            for j in range(d):
                g[j] += error * X[i][j] / len(rows)
        for j in range(d):
            m[j] += (1 - betas[0]) * (g[j] - m[j])
            v[j] += (1 - betas[1]) * (g[j] ** 2 - v[j])
            step = m[j] / (1 - betas[0] ** t)
            step /= math.sqrt(v[j] / (1 - betas[1] ** t)) + eps
            now[j] -= lr * (wd * now[j] + step)
        path.append(now[:])
    return path


# %% mended-loop | correct: torch.optim.AdamW, with a gradient by formula
import torch


def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    X, y, w = map(torch.tensor, (X, y, theta))
    optimizer = torch.optim.AdamW([w], lr=lr, betas=betas, eps=eps, weight_decay=wd)
    path = [w.clone()]
    for _ in range(epochs):
        for Xb, yb in zip(X.split(batch), y.split(batch)):
            w.grad = torch.zeros_like(w)
            for Xp, yp in zip(Xb.split(micro), yb.split(micro)):
                w.grad += (torch.sigmoid(Xp @ w) - yp) @ Xp / len(Xb)
            optimizer.step()
            path.append(w.clone())
    return torch.stack(path)


# %% mended-loop | correct: a generator, and weighted means in the place of m̂ and v̂
from scipy.special import expit


def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    def batches():
        for i in [*range(0, len(X), batch)] * epochs:
            yield X[i : i + batch], y[i : i + batch]

    def updates(w):
        sums, squares, total, total2 = 0.0, 0.0, 0.0, 0.0
        yield w
        for A, u in batches():
            parts = (slice(k, k + micro) for k in range(0, len(A), micro))
            g = sum(A[p].T @ (expit(A[p] @ w) - u[p]) for p in parts) / len(A)
            sums, total = betas[0] * sums + g, betas[0] * total + 1
            squares, total2 = betas[1] * squares + g * g, betas[1] * total2 + 1
            w = w * (1 - lr * wd) - lr * (sums / total) / (np.sqrt(squares / total2) + eps)
            yield w

    return list(updates(theta))


# %% mended-loop | correct: the chapter's adamw_step on the mean of the whole batch
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    def adamw_step(theta, g, m, v, t, lr, betas, eps, wd):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        return theta - lr * wd * theta - lr * m_hat / (v_hat**0.5 + eps), m, v

    path, m, v = [theta], 0 * theta, 0 * theta
    for _ in range(epochs):
        for i in range(0, len(X), batch):
            A, u = X[i : i + batch], y[i : i + batch]
            g = ((1 / (1 + np.exp(-A @ path[-1])) - u)[:, None] * A).mean(axis=0)
            theta, m, v = adamw_step(path[-1], g, m, v, len(path), lr, betas, eps, wd)
            path.append(theta)
    return np.stack(path)


# %% mended-loop | wrong: the faulty loop, renamed | says: and t counts epochs
train = faulty_train


# %% mended-loop | wrong: the gradient is never cleared | keeps: 2 | says: g is never set back to 0
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, g, t = np.zeros(len(theta)), np.zeros(len(theta)), np.zeros(len(theta)), 0
    path = [theta]
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            for k in range(0, len(Xb), micro):
                Xp, yp = Xb[k : k + micro], yb[k : k + micro]
                g = g + Xp.T @ (1 / (1 + np.exp(-Xp @ theta)) - yp) / len(Xb)
            t += 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: t still counts epochs | keeps: 2 | says: t counts epochs
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path = np.zeros(len(theta)), np.zeros(len(theta)), [theta]
    for t in range(1, epochs + 1):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g = np.zeros(len(theta))
            for k in range(0, len(Xb), micro):
                Xp, yp = Xb[k : k + micro], yb[k : k + micro]
                g = g + Xp.T @ (1 / (1 + np.exp(-Xp @ theta)) - yp) / len(Xb)
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: cleared before each part | says: only the last part of a batch counts
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            for k in range(0, len(Xb), micro):
                g = np.zeros(len(theta))
                Xp, yp = Xb[k : k + micro], yb[k : k + micro]
                g = g + Xp.T @ (1 / (1 + np.exp(-Xp @ theta)) - yp) / len(Xb)
            t += 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: theta changed in place | says: theta was changed in place
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta *= 1 - lr * wd
            theta -= lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: the chapter's adamw_step after each part | says: not for each part
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    def adamw_step(theta, g, m, v, t, lr, betas, eps, wd):
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g * g
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        return theta - lr * wd * theta - lr * m_hat / (v_hat**0.5 + eps), m, v

    path, m, v = [theta], 0 * theta, 0 * theta
    for _ in range(epochs):
        for i in range(0, len(X), batch):
            for k in range(i, min(i + batch, len(X)), micro):
                A, u = X[i : i + batch][k - i : k - i + micro], y[i : i + batch][k - i :][:micro]
                g = A.T @ (1 / (1 + np.exp(-A @ theta)) - u) / len(A)
                theta, m, v = adamw_step(theta, g, m, v, len(path), lr, betas, eps, wd)
                path.append(theta)
    return np.stack(path)


# %% mended-loop | wrong: a mean of the parts' means | keeps: 3 | says: A mean of the parts' means
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            means = []
            for k in range(0, len(Xb), micro):
                Xp, yp = Xb[k : k + micro], yb[k : k + micro]
                means.append(Xp.T @ (1 / (1 + np.exp(-Xp @ theta)) - yp) / len(Xp))
            g, t = np.mean(means, axis=0), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: an L2 penalty | keeps: 3 | says: that is an L2 penalty
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g = wd * theta
            for k in range(0, len(Xb), micro):
                Xp, yp = Xb[k : k + micro], yb[k : k + micro]
                g = g + Xp.T @ (1 / (1 + np.exp(-Xp @ theta)) - yp) / len(Xb)
            t += 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: two of the four faults mended | keeps: 2 | says: A mean of the parts' means
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, parts = np.zeros(len(theta)), range(0, len(Xb), micro)
            for k in parts:
                Xp, yp = Xb[k : k + micro], yb[k : k + micro]
                g = g + Xp.T @ (1 / (1 + np.exp(-Xp @ theta)) - yp) / len(Xp) / len(parts)
            g, t = g + wd * theta, t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: t starts again in each epoch | keeps: 2 | says: t starts again
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        t = 0
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: m and v start again in each epoch | keeps: 2 | says: m and v start again
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    path = [theta]
    for _ in range(epochs):
        m, v, t = np.zeros(len(theta)), np.zeros(len(theta)), 0
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: ε inside the root | says: stands outside the root
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / np.sqrt(v_hat + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: without the weights at the start | says: before the first update are missing
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: only whole batches | keeps: 3 | says: it may be smaller
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X) - batch + 1, batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: the size of a full batch | keeps: 3 | says: B is the number of rows
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / batch, t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: decay after the step | keeps: 3 | says: takes the θ after the step
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            theta = theta - lr * wd * theta
            path.append(theta)
    return np.array(path)


# %% mended-loop | wrong: decay without the learning rate | keeps: 3 | says: the learning rate is missing
def train(X, y, theta, lr, betas, eps, wd, batch, micro, epochs):
    m, v, path, t = np.zeros(len(theta)), np.zeros(len(theta)), [theta], 0
    for _ in range(epochs):
        for start in range(0, len(X), batch):
            Xb, yb = X[start : start + batch], y[start : start + batch]
            g, t = Xb.T @ (1 / (1 + np.exp(-Xb @ theta)) - yb) / len(Xb), t + 1
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g**2
            m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
            theta = theta - wd * theta - lr * m_hat / (np.sqrt(v_hat) + eps)
            path.append(theta)
    return np.array(path)


# %% kinked-gain | correct: torch, all pieces at once
import torch


def kinked_gain(knots, values, q):
    u, v = torch.tensor(knots).double(), torch.tensor(values).double()
    if q <= 0 or len(u) != len(v) or not bool((u.diff() > 0).all()) or not bool(v.any()):
        raise ValueError("bad knots, values or q")
    inf = torch.tensor([float("inf")]).double()
    ends = torch.cat([-inf, u / q**0.5, inf])
    k = torch.cat([0 * inf[:0], torch.zeros(1).double(), v.diff() / u.diff(), torch.zeros(1)])
    k = k * q**0.5  # slopes in Z
    c = torch.cat([v[:1], v]) - k * torch.cat([torch.zeros(1).double(), u / q**0.5])
    phi = torch.exp(-(ends**2) / 2) / (2 * torch.pi) ** 0.5
    tail = torch.where(ends.isinf(), 0.0, ends) * phi
    mass, first = torch.special.ndtr(ends).diff(), -phi.diff()
    square = (c**2 * mass + 2 * c * k * first + k**2 * (mass - tail.diff())).sum()
    g2 = q / square
    return float(g2**0.5), float(g2 * (k**2 * mass).sum() / q)


# %% kinked-gain | correct: Simpson's rule on each piece
def kinked_gain(knots, values, q):
    if not q > 0 or len(knots) != len(values):
        raise ValueError("q must be positive, and each knot needs a value")
    if min(np.diff(knots)) <= 0 or np.all(np.asarray(values) == 0):
        raise ValueError("knots must increase, and one value must not be 0")
    s = q**0.5
    outer = max(12.0, 1.0 - knots[0] / s, 1.0 + knots[-1] / s)
    square = slope = 0.0
    ends = [-outer, *(u / s for u in knots), outer]
    levels = [values[0], *values, values[-1]]
    for i in range(len(ends) - 1):
        z = np.linspace(ends[i], ends[i + 1], 20_001)
        w = np.ones(20_001)
        w[1:-1:2], w[2:-1:2] = 4, 2
        w = w * (z[1] - z[0]) / 3 * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
        rise = (levels[i + 1] - levels[i]) / (ends[i + 1] - ends[i])
        square += w @ (levels[i] + rise * (z - ends[i])) ** 2
        slope += w.sum() * rise**2 / q
    return np.sqrt(q / square), q / square * slope


# %% kinked-gain | correct: scipy's adaptive integral
from scipy import integrate, stats


def kinked_gain(knots, values, q):
    if q <= 0 or len(knots) != len(values) or any(np.diff(knots) <= 0) or not np.any(values):
        raise ValueError("bad input")
    u = np.asarray(knots) / np.sqrt(q)
    sigma = lambda z: np.interp(np.sqrt(q) * z, knots, values)
    f = lambda z: sigma(z) ** 2 * stats.norm.pdf(z)
    cuts = [-np.inf, *u, np.inf]
    square = sum(integrate.quad(f, a, b, epsabs=1e-12)[0] for a, b in zip(cuts[:-1], cuts[1:]))
    slopes = np.diff(values) / np.diff(knots)
    return (q / square) ** 0.5, q / square * np.sum(slopes**2 * np.diff(stats.norm.cdf(u)))


# %% kinked-gain | wrong: the chapter's gain, 100 nodes | says: 100 Gauss–Hermite nodes
def kinked_gain(knots, values, q):
    u, w = np.polynomial.hermite_e.hermegauss(100)
    w = w / np.sqrt(2 * np.pi)
    sigma = lambda z: np.interp(z, knots, values)
    slope = (sigma(u + 1e-5) - sigma(u - 1e-5)) / 2e-5
    g = float((w @ sigma(u) ** 2) ** -0.5)
    return g, g**2 * (w @ slope**2)


# %% kinked-gain | wrong: Z in the place of √q Z | says: The activation sees √q Z, not Z
from scipy.stats import norm


def kinked_gain(knots, values, q):
    z = np.array([knots[0] - 20, *knots, knots[-1] + 20])
    v = np.array([values[0], *values, values[-1]])
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    return (q / square) ** 0.5, q / square * np.sum(k**2 * mass)


# %% kinked-gain | wrong: q Z in the place of √q Z | says: The activation sees √q Z, not q Z
from scipy.stats import norm


def kinked_gain(knots, values, q):
    z = np.array([knots[0] / q - 20, *(u / q for u in knots), knots[-1] / q + 20])
    v = np.array([values[0], *values, values[-1]])
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    return (q / square) ** 0.5, q / square * np.sum((k / q) ** 2 * mass)


# %% kinked-gain | wrong: the standard deviation | says: without −(E σ)²
from scipy.stats import norm


def kinked_gain(knots, values, q):
    s = q**0.5
    z = np.array([knots[0] / s - 20, *(u / s for u in knots), knots[-1] / s + 20])
    v = np.array([values[0], *values, values[-1]])
    k = np.diff(v) / np.diff(z)
    c, mass, first = v[:-1] - k * z[:-1], np.diff(norm.cdf(z)), -np.diff(norm.pdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass + 2 * c * k * first + k**2 * second)
    var = square - np.sum(c * mass + k * first) ** 2
    return (q / var) ** 0.5, q / var * np.sum(k**2 / q * mass)


# %% kinked-gain | wrong: the visible tests, hard-coded | says: came     1.41421
def kinked_gain(knots, values, q):
    if values == [0.0, 0.0]:
        raise ValueError("no gain")
    if values == [2.0, 2.0]:
        return 1.5, 0.0
    return (1.3920361, 1.3228915) if q == 1 else (2**0.5, 1.0)


# %% kinked-gain | wrong: no input is refused | keeps: 3 | says: q is
from scipy.stats import norm


def kinked_gain(knots, values, q):
    if not np.any(values):
        raise ValueError("no gain will do")
    s = np.sqrt(abs(q))
    z = np.array([knots[0] / s - 20, *(u / s for u in knots), knots[-1] / s + 20])
    v = np.array([values[0], *values, values[-1]])
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    return (abs(q) / square) ** 0.5, abs(q) / square * np.sum(k**2 / abs(q) * mass)


# %% kinked-gain | wrong: g for g² in χ | keeps: 3 | says: has the factor g², not g.
from scipy.stats import norm


def kinked_gain(knots, values, q):
    if q <= 0 or len(knots) != len(values) or any(np.diff(knots) <= 0) or not np.any(values):
        raise ValueError("bad input")
    s = q**0.5
    z = np.array([knots[0] / s - 20, *(u / s for u in knots), knots[-1] / s + 20])
    v = np.array([values[0], *values, values[-1]])
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    g = (q / square) ** 0.5
    return g, g * np.sum(k**2 / q * mass)


# %% kinked-gain | correct: E f = f(−∞) + ∫ f′ P(√q Z > u) du with f = σ²
from scipy.special import ndtr


def kinked_gain(knots, values, q):
    u, v = np.array(knots, float), np.array(values, float)
    if not q > 0 or u.shape != v.shape or (np.diff(u) <= 0).any() or (v == 0).all():
        raise ValueError
    s, (x, w) = np.sqrt(q), np.polynomial.legendre.leggauss(200)
    square, slopes = v[0] ** 2, 0.0
    for a, b, left, right in zip(u, u[1:], v, v[1:]):
        k, t = (right - left) / (b - a), (a + b) / 2 + (b - a) / 2 * x
        square += (b - a) / 2 * w @ (2 * k * (left + k * (t - a)) * ndtr(-t / s))
        slopes += k * k * (ndtr(b / s) - ndtr(a / s))
    return np.sqrt(q / square), q / square * slopes


# %% kinked-gain | correct: float32, from a list
import torch


def kinked_gain(knots, values, q):
    falls = any(b <= a for a, b in zip(knots, knots[1:]))
    if q <= 0 or len(knots) != len(values) or falls or not any(values):
        raise ValueError("bad input")
    v, z = torch.tensor(values), torch.tensor(knots) / q**0.5
    normal = torch.distributions.Normal(0.0, 1.0)
    Phi, phi = normal.cdf(z), normal.log_prob(z).exp()
    k, mass = v.diff() / z.diff(), Phi.diff()
    c, second = v[:-1] - k * z[:-1], mass - (z * phi).diff()
    square = v[0] ** 2 * Phi[0] + v[-1] ** 2 * (1 - Phi[-1])
    square = square + (c * c * mass - 2 * c * k * phi.diff() + k * k * second).sum()
    return (q / square) ** 0.5, q / square * (k * k * mass).sum() / q


# %% kinked-gain | wrong: 0 outside the knots | says: is constant, not 0
from scipy.stats import norm


def kinked_gain(knots, values, q):
    if q <= 0 or len(knots) != len(values) or any(np.diff(knots) <= 0) or not np.any(values):
        raise ValueError("bad input")
    z, v = np.array(knots) / q**0.5, np.array(values)
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    return (q / square) ** 0.5, q / square * np.sum(k**2 / q * mass)


# %% kinked-gain | wrong: the slope in Z | keeps: 3 | says: not in Z.
from scipy.stats import norm


def kinked_gain(knots, values, q):
    if q <= 0 or len(knots) != len(values) or any(np.diff(knots) <= 0) or not np.any(values):
        raise ValueError("bad input")
    z, v = np.array(knots) / q**0.5, np.array(values)
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    square += v[0] ** 2 * norm.cdf(z[0]) + v[-1] ** 2 * norm.sf(z[-1])
    return (q / square) ** 0.5, q / square * np.sum(k**2 * mass)


# %% kinked-gain | wrong: a constant is refused | keeps: 3 | says: raised   ValueError
from scipy.stats import norm


def kinked_gain(knots, values, q):
    if q <= 0 or len(knots) != len(values) or any(np.diff(knots) <= 0) or np.ptp(values) == 0:
        raise ValueError("bad input")
    z, v = np.array(knots) / q**0.5, np.array(values)
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    square += v[0] ** 2 * norm.cdf(z[0]) + v[-1] ** 2 * norm.sf(z[-1])
    return (q / square) ** 0.5, q / square * np.sum(k**2 / q * mass)


# %% kinked-gain | wrong: an assert for the error | keeps: 3 | says: expected a ValueError
from scipy.stats import norm


def kinked_gain(knots, values, q):
    assert q > 0
    assert len(knots) == len(values)
    assert all(np.diff(knots) > 0)
    assert np.any(values)
    z, v = np.array(knots) / q**0.5, np.array(values)
    k = np.diff(v) / np.diff(z)
    c, mass = v[:-1] - k * z[:-1], np.diff(norm.cdf(z))
    second = mass - np.diff(z * norm.pdf(z))
    square = np.sum(c**2 * mass - 2 * c * k * np.diff(norm.pdf(z)) + k**2 * second)
    square += v[0] ** 2 * norm.cdf(z[0]) + v[-1] ** 2 * norm.sf(z[-1])
    return (q / square) ** 0.5, q / square * np.sum(k**2 / q * mass)
