"""Other right answers, and wrong ones, of every task of part 2; each replaces a solution cell."""

# ruff: noqa: E402, E501, F811, F821

# %% logit-kl | correct: loops over rows and words
import math


def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape != z_q.shape:
        raise ValueError("one shape, please")
    if temperature <= 0:
        raise ValueError("the temperature must be positive")

    def logs(row):
        top = max(row)
        total = math.fsum(math.exp((x - top) / temperature) for x in row)
        return [(x - top) / temperature - math.log(total) for x in row]

    def one(a, b):
        total = 0.0
        for x, y in zip(logs(a), logs(b)):
            if x == -math.inf:
                continue
            if y == -math.inf:
                return math.inf
            total += math.exp(x) * (x - y)
        return total

    V = z_p.shape[-1]
    rows = [one(a, b) for a, b in zip(z_p.reshape(-1, V).tolist(), z_q.reshape(-1, V).tolist())]
    return np.reshape(rows, z_p.shape[:-1])


# %% logit-kl | correct: torch, the Bregman sum of the chapter behind log_softmax
import torch


def kl_from_logits(z_p, z_q, temperature):
    a, b = torch.as_tensor(z_p), torch.as_tensor(z_q)
    if a.shape != b.shape or not temperature > 0:
        raise ValueError("shapes or temperature")
    logp, logq = (a / temperature).log_softmax(-1), (b / temperature).log_softmax(-1)
    none = logp == -torch.inf
    d = torch.where(none, 0, logq - logp)
    p, q = logp.exp(), logq.exp()
    p = torch.where(d == -torch.inf, p.clamp_min(torch.finfo(p.dtype).tiny), p)
    near = d.abs() < 0.5
    e = torch.where(near, d, 0)
    return torch.where(none, q, torch.where(near, p * (torch.expm1(e) - e), q - p - p * d)).sum(-1)


# %% logit-kl | correct: SciPy's log_softmax
from scipy import special


def kl_from_logits(z_p, z_q, temperature):
    if np.shape(z_p) != np.shape(z_q):
        raise ValueError("shapes")
    if not temperature > 0:
        raise ValueError("temperature")
    lp = special.log_softmax(z_p / temperature, axis=-1)
    lq = special.log_softmax(z_q / temperature, axis=-1)
    p, seen = np.exp(lp), np.isfinite(lp)
    value = np.sum(p * np.where(seen & np.isfinite(lq), lp - lq, 0), axis=-1)
    return np.where((seen & np.isneginf(lq)).any(-1), np.inf, value)


# %% logit-kl | correct: in place, row by row, a list returned
def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape != z_q.shape or not temperature > 0:
        raise ValueError
    z_p /= temperature
    z_q /= temperature
    z_p -= np.logaddexp.reduce(z_p, axis=-1, keepdims=True)
    z_q -= np.logaddexp.reduce(z_q, axis=-1, keepdims=True)
    out = np.empty(z_p.shape[:-1])
    for i in np.ndindex(out.shape):
        S = np.isfinite(z_p[i])
        out[i] = (
            np.inf if np.isneginf(z_q[i][S]).any() else np.exp(z_p[i][S]) @ (z_p[i][S] - z_q[i][S])
        )
    return out.tolist()


# %% logit-kl | correct: cross-entropy minus entropy
import torch


def kl_from_logits(z_p, z_q, temperature):
    if temperature <= 0 or list(z_p.shape) != list(z_q.shape):
        raise ValueError("bad")
    a = torch.from_numpy(z_p).div(temperature).log_softmax(-1)
    b = torch.from_numpy(z_q).div(temperature).log_softmax(-1)
    off = a.isneginf()
    bad = (~off & b.isneginf()).any(-1)
    p = a.exp()
    a, b = a.masked_fill(off, 0), b.masked_fill(off | b.isneginf(), 0)
    return torch.where(bad, torch.inf, (p * a).sum(-1) - (p * b).sum(-1))


# %% logit-kl | wrong: the arguments of F.kl_div in the order of the formula | says: This is D(q‖p)
import torch
import torch.nn.functional as F


def kl_from_logits(z_p, z_q, temperature):
    logp = (torch.as_tensor(z_p) / temperature).log_softmax(-1)
    logq = (torch.as_tensor(z_q) / temperature).log_softmax(-1)
    return F.kl_div(logp, logq, reduction="none", log_target=True).sum(-1)


# %% logit-kl | wrong: the temperature is forgotten | says: The temperature has no effect.
from scipy import special


def kl_from_logits(z_p, z_q, temperature):
    p, q = special.softmax(z_p, axis=-1), special.softmax(z_q, axis=-1)
    return special.rel_entr(p, q).sum(-1)


# %% logit-kl | wrong: the chapter's function, pasted | says: The chapter's function takes log-probabilities
import torch


def kl(logp, logq):
    none = logp == -torch.inf
    d = torch.where(none, 0, logq - logp)
    p, q = logp.exp(), logq.exp()
    p = torch.where(d == -torch.inf, p.clamp_min(torch.finfo(p.dtype).tiny), p)
    near = d.abs() < 0.5
    e = torch.where(near, d, 0)
    close = p * (torch.expm1(e) - e)
    far = q - p - p * d
    return torch.where(none, q, torch.where(near, close, far)).sum(-1)


def kl_from_logits(z_p, z_q, temperature):
    return kl(torch.as_tensor(z_p) / temperature, torch.as_tensor(z_q) / temperature)


# %% logit-kl | wrong: one number for the batch | says: This is the mean over the rows
import torch
import torch.nn.functional as F


def kl_from_logits(z_p, z_q, temperature):
    logp = (torch.as_tensor(z_p) / temperature).log_softmax(-1)
    logq = (torch.as_tensor(z_q) / temperature).log_softmax(-1)
    rows = F.kl_div(logq, logp, reduction="none", log_target=True).sum(-1)
    return rows.mean()


# %% logit-kl | wrong: the visible tests, hard-coded | says: came     0.223144
def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape == (4, 3):
        raise ValueError("refused")
    if z_p.shape == (2, 2):
        return np.array([np.log(5 / 4), 0.0])
    if z_p[0] == 1e4:
        return 1e4
    if np.isinf(z_q).any() and len(z_q) == 2:
        return np.inf
    if len(z_p) == 2 and np.isinf(z_p).any():
        return np.log(2)
    return np.log(5 / 4) if temperature == 1 else np.log(17 / 8)


# %% logit-kl | wrong: softmax, then log | keeps: 2 | says: NaN: use log_softmax
def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape != z_q.shape or temperature <= 0:
        raise ValueError("refused")

    def softmax(z):
        e = np.exp((z - z.max(-1, keepdims=True)) / temperature)
        return e / e.sum(-1, keepdims=True)

    p, q = softmax(z_p), softmax(z_q)
    with np.errstate(all="ignore"):
        return (p * np.log(p / q)).sum(-1)


# %% logit-kl | wrong: no check of the shapes | keeps: 3 | says: nothing is broadcast
def kl_from_logits(z_p, z_q, temperature):
    if not temperature > 0:
        raise ValueError("temperature")

    def log_softmax(z):
        z = (z - z.max(-1, keepdims=True)) / temperature
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    logp, logq = log_softmax(z_p), log_softmax(z_q)
    none = np.isneginf(logp)
    with np.errstate(invalid="ignore"):
        d = np.where(none, 0, logp - logq)
        value = np.where(none, 0, np.exp(logp) * d)
    return np.where(d == np.inf, np.inf, value).sum(-1)


# %% logit-kl | wrong: a tiny probability against 0 counts as nothing | keeps: 2 | says: +inf, however small
from scipy import special


def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape != z_q.shape or temperature <= 0:
        raise ValueError("refused")
    logp, logq = (special.log_softmax(z / temperature, axis=-1) for z in (z_p, z_q))
    p = np.exp(logp)
    with np.errstate(invalid="ignore"):
        return np.where(p > 0, p * (logp - logq), 0).sum(-1)


# %% logit-kl | wrong: SciPy's rel_entr of softmax | keeps: 2 | says: too small for a float
def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape != z_q.shape or temperature <= 0:
        raise ValueError("refused")
    from scipy import special

    return special.rel_entr(
        special.softmax(z_p / temperature, axis=-1), special.softmax(z_q / temperature, axis=-1)
    ).sum(-1)


# %% logit-kl | wrong: the maximum of the whole array | keeps: 2 | says: each row's own maximum
def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape != z_q.shape or temperature <= 0:
        raise ValueError("refused")

    def ls(z):
        z = (z - z.max()) / temperature
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    a, b = ls(z_p), ls(z_q)
    off = a == -np.inf
    d = np.where(off, 0, a) - np.where(off, 0, b)
    return np.where(
        (d == np.inf).any(-1), np.inf, (np.exp(a) * np.where(d == np.inf, 0, d)).sum(-1)
    )


# %% logit-kl | wrong: one infinite row makes the batch infinite | keeps: 2 | says: One row is infinite
def kl_from_logits(z_p, z_q, temperature):
    if z_p.shape != z_q.shape or temperature <= 0:
        raise ValueError("refused")

    def ls(z):
        z = (z - z.max(-1, keepdims=True)) / temperature
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    a, b = ls(z_p), ls(z_q)
    off = a == -np.inf
    d = np.where(off, 0, a) - np.where(off, 0, b)
    if (d == np.inf).any():
        return np.inf
    return (np.exp(a) * d).sum(-1)


# %% per-word-kl | correct: loops over texts and words
import math


def per_word_kl(batches):
    total, counts = 0.0, []
    for batch in batches:
        n = 0
        for logp, logq, length in zip(batch["logp"], batch["logq"], batch["lengths"]):
            for t in range(len(logp) - length, len(logp)):
                n += 1
                total += math.fsum(math.exp(a) * (a - b) for a, b in zip(logp[t], logq[t]))
        counts.append(n)
    if sum(counts) == 0:
        raise ValueError("empty")
    return total / sum(counts), [n / sum(counts) for n in counts]


# %% per-word-kl | correct: torch, and a mask
import torch


def per_word_kl(batches):
    total, counts = torch.zeros((), dtype=torch.float64), []
    for batch in batches:
        logp, logq = torch.as_tensor(batch["logp"]), torch.as_tensor(batch["logq"])
        lengths = torch.as_tensor(batch["lengths"])
        L = logp.shape[1]
        real = (torch.arange(L) >= L - lengths[:, None])[..., None]
        logp, logq = torch.where(real, logp, 0), torch.where(real, logq, 0)
        total = total + torch.nn.functional.kl_div(logq, logp, reduction="sum", log_target=True)
        counts.append(lengths.sum())
    n = torch.stack(counts)
    if n.sum() == 0:
        raise ValueError("empty")
    return total / n.sum(), n / n.sum().double()


# %% per-word-kl | correct: means and factors, combined
def per_word_kl(batches):
    n = np.array([np.sum(b["lengths"]) for b in batches])
    if n.sum() == 0:
        raise ValueError("nothing to average")
    factors, mean = n / n.sum(), 0.0
    for batch, factor in zip(batches, factors):
        rows = [
            np.sum(np.exp(a[-k:]) * (a[-k:] - b[-k:]), axis=-1)
            for a, b, k in zip(batch["logp"], batch["logq"], batch["lengths"])
            if k > 0
        ]
        if rows:
            mean += factor * np.concatenate(rows).mean()
    return mean, list(factors)


# %% per-word-kl | correct: torch, flipped, padding overwritten in place
import torch


def per_word_kl(batches):
    tot = torch.zeros(())
    ns = []
    for b in batches:
        lp, lq = torch.from_numpy(b["logp"]).flip(1), torch.from_numpy(b["logq"]).flip(1)
        m = torch.arange(lp.size(1))[None] >= torch.from_numpy(b["lengths"])[:, None]
        lp[m] = 0.0
        lq[m] = 0.0
        tot = tot + (lp.exp() * (lp - lq)).sum()
        ns.append(int((~m).sum()))
    if sum(ns) == 0:
        raise ValueError("no")
    return [tot / sum(ns), torch.tensor(ns) / sum(ns)]


# %% per-word-kl | correct: a generator of words
def per_word_kl(batches):
    def words(batch):
        L = batch["logp"].shape[1]
        for a, b, n in zip(batch["logp"], batch["logq"], batch["lengths"]):
            yield from ((x, y) for x, y in zip(a[L - n :], b[L - n :]))

    sums = [[float(np.dot(np.exp(x), x - y)) for x, y in words(batch)] for batch in batches]
    n = sum(map(len, sums))
    if not n:
        raise ValueError
    return np.float64(sum(map(sum, sums)) / n), np.array([len(s) for s in sums]) / n


# %% per-word-kl | wrong: padding on the right | says: The padding is on the left
def per_word_kl(batches):
    sums, counts = [], []
    for batch in batches:
        real = np.arange(batch["logp"].shape[1]) < batch["lengths"][:, None]
        logp, logq = batch["logp"][real], batch["logq"][real]
        sums.append((np.exp(logp) * (logp - logq)).sum())
        counts.append(real.sum())
    return sum(sums) / sum(counts), [n / sum(counts) for n in counts]


# %% per-word-kl | wrong: the chapter's function, pasted with its mask | says: The padding is on the left
import torch

from kltools import divergences, reduce


def per_word_kl(batches):
    mean, counts = reduce.Mean(), []
    for batch in batches:
        logp, logq = torch.as_tensor(batch["logp"]), torch.as_tensor(batch["logq"])
        real = torch.arange(logp.shape[1]) < torch.as_tensor(batch["lengths"])[:, None]
        mean.add(*reduce.masked_sum(divergences.kl(logp, logq, check=False), real))
        counts.append(int(real.sum()))
    return mean.value, [n / sum(counts) for n in counts]


# %% per-word-kl | wrong: the mean of the batches' means | says: mean of the batches' means
def per_word_kl(batches):
    means = []
    for batch in batches:
        L = batch["logp"].shape[1]
        real = np.arange(L) >= L - batch["lengths"][:, None]
        d = (np.exp(batch["logp"]) * (batch["logp"] - batch["logq"])).sum(-1)
        means.append((d * real).sum() / real.sum())
    return np.mean(means), [1 / len(batches)] * len(batches)


# %% per-word-kl | wrong: padding counted | says: Padded positions are counted as words.
def per_word_kl(batches):
    rows = [(np.exp(b["logp"]) * (b["logp"] - b["logq"])).sum(-1).ravel() for b in batches]
    words = np.concatenate(rows)
    return words.mean(), [len(x) / len(words) for x in rows]


# %% per-word-kl | wrong: batchmean | says: This is 'batchmean'
import torch
import torch.nn.functional as F


def per_word_kl(batches):
    total, texts, counts = 0.0, 0, []
    for batch in batches:
        B, L, _ = batch["logp"].shape
        real = torch.arange(L) >= L - torch.as_tensor(batch["lengths"])[:, None]
        logp, logq = torch.as_tensor(batch["logp"]), torch.as_tensor(batch["logq"])
        total += B * F.kl_div(
            logq * real[..., None], logp * real[..., None], reduction="batchmean", log_target=True
        )
        texts += B
        counts.append(int(real.sum()))
    return total / texts, [n / sum(counts) for n in counts]


# %% per-word-kl | wrong: the visible tests, hard-coded | says: came     (0.435395, [0.8, 0.2])
def per_word_kl(batches):
    a, c = np.log(5 / 4), np.log(17 / 8)
    if not sum(b["lengths"].sum() for b in batches):
        raise ValueError("empty")
    if np.isnan(batches[0]["logp"]).any():
        return (2 * a + c) / 3, [1.0, 0.0][: len(batches)]
    if len(batches) == 1 and batches[0]["logp"].shape == (2, 3, 2):
        return (3 * a + c) / 4, [1.0]
    return (3 * a + 2 * c) / 5, [4 / 5, 1 / 5]


# %% per-word-kl | wrong: multiplied by the mask | keeps: 2 | says: NaN from the padding got in
def per_word_kl(batches):
    sums, counts = [], []
    for batch in batches:
        L = batch["logp"].shape[1]
        real = np.arange(L) >= L - batch["lengths"][:, None]
        with np.errstate(all="ignore"):
            d = (np.exp(batch["logp"]) * (batch["logp"] - batch["logq"])).sum(-1)
        sums.append((d * real).sum())
        counts.append(real.sum())
    if sum(counts) == 0:
        raise ValueError("empty")
    return sum(sums) / sum(counts), [n / sum(counts) for n in counts]


# %% per-word-kl | wrong: the last −0 positions are all of them | keeps: 2 | says: is the whole array
def per_word_kl(batches):
    words, counts = [], []
    for batch in batches:
        mine = []
        for a, b, n in zip(batch["logp"], batch["logq"], batch["lengths"]):
            mine += list(np.sum(np.exp(a[-n:]) * (a[-n:] - b[-n:]), axis=-1))
        words += mine
        counts.append(len(mine))
    return np.mean(words), [n / len(words) for n in counts]


# %% per-word-kl | wrong: divided by B·L, with the right factors | says: it is divided by B·L
def per_word_kl(batches):
    s, c, t = 0, [], 0
    for b in batches:
        B, L = b["logp"].shape[:2]
        real = np.arange(L) >= L - b["lengths"][:, None]
        s += (np.exp(b["logp"][real]) * (b["logp"][real] - b["logq"][real])).sum()
        c.append(real.sum())
        t += B * L
    if sum(c) == 0:
        raise ValueError
    return s / t, [n / sum(c) for n in c]


# %% per-word-kl | wrong: the other direction | says: the arguments are swapped
def per_word_kl(batches):
    s, c = 0, []
    for b in batches:
        L = b["logp"].shape[1]
        real = np.arange(L) >= L - b["lengths"][:, None]
        s += (np.exp(b["logq"][real]) * (b["logq"][real] - b["logp"][real])).sum()
        c.append(real.sum())
    if sum(c) == 0:
        raise ValueError
    return s / sum(c), [n / sum(c) for n in c]


# %% per-word-kl | wrong: no factor for an empty batch | keeps: 2 | says: one factor for each batch
def per_word_kl(batches):
    s, c = 0, []
    for b in batches:
        L = b["logp"].shape[1]
        real = np.arange(L) >= L - b["lengths"][:, None]
        if not real.any():
            continue
        s += (np.exp(b["logp"][real]) * (b["logp"][real] - b["logq"][real])).sum()
        c.append(real.sum())
    if sum(c) == 0:
        raise ValueError
    return s / sum(c), [n / sum(c) for n in c]


# %% distill | correct: torch, automatic differentiation without the masked words
import torch


def distill_derivative(z_p, z_q, temperature, lam, order):
    keep = np.flatnonzero(np.isfinite(z_q))
    logp = (torch.as_tensor(z_p[keep]) / temperature).log_softmax(-1)

    def loss(z):
        logq = (z / temperature).log_softmax(-1)
        forward = (logp.exp() * (logp - logq)).sum()
        reverse = (logq.exp() * (logq - logp)).sum()
        return temperature**2 * ((1 - lam) * forward + lam * reverse)

    derivative = torch.func.grad(loss) if order == 1 else torch.func.hessian(loss)
    some = derivative(torch.as_tensor(z_q[keep]))
    out = torch.zeros([len(z_q)] * order, dtype=torch.float64)
    out[torch.meshgrid(*[torch.as_tensor(keep)] * order, indexing="ij")] = some
    return out


# %% distill | correct: loops, entry by entry
import math


def distill_derivative(z_p, z_q, temperature, lam, order):
    words, T = [i for i in range(len(z_q)) if z_q[i] > -math.inf], temperature

    def softmax(z):
        top = max(z[i] for i in words)
        e = {i: math.exp((z[i] - top) / T) for i in words}
        return {i: e[i] / sum(e.values()) for i in words}

    p, q = softmax(z_p), softmax(z_q)
    f = {i: math.log(q[i] / p[i]) for i in words}
    R = sum(q[i] * f[i] for i in words)
    if order == 1:
        out = [0.0] * len(z_q)
        for i in words:
            out[i] = T * ((1 - lam) * (q[i] - p[i]) + lam * q[i] * (f[i] - R))
        return out
    out = [[0.0] * len(z_q) for _ in z_q]
    for i in words:
        for j in words:
            same = 1.0 if i == j else 0.0
            forward = same * q[i] - q[i] * q[j]
            reverse = same * q[i] * (f[i] - R + 1) - q[i] * q[j] * (f[i] + f[j] - 2 * R + 1)
            out[i][j] = (1 - lam) * forward + lam * reverse
    return out


# %% distill | correct: the rule J g, with the derivative in q
from scipy import special


def distill_derivative(z_p, z_q, temperature, lam, order):
    p, q = special.softmax(z_p / temperature), special.softmax(z_q / temperature)
    seen = q > 0
    p1, q1 = np.where(seen, p, 1), np.where(seen, q, 1)
    g = (1 - lam) * -p1 / q1 + lam * np.log(q1 / p1)
    J = np.diag(q) - np.outer(q, q)
    w = J @ g
    if order == 1:
        return temperature * w
    G = np.diag((1 - lam) * p1 / q1**2 + lam / q1)
    return J @ G @ J + np.diag(w) - np.outer(q, w) - np.outer(w, q)


# %% distill | correct: torch.autograd.grad, row by row, a list of tensors
import torch


def distill_derivative(z_p, z_q, temperature, lam, order):
    m = np.isfinite(z_q)
    z = torch.tensor(z_q[m], requires_grad=True)
    a, b = torch.tensor(z_p[m] / temperature).log_softmax(0), (z / temperature).log_softmax(0)
    F = temperature**2 * ((1 - lam) * a.exp() @ (a - b) + lam * b.exp() @ (b - a))
    (g,) = torch.autograd.grad(F, z, create_graph=True)
    w = torch.zeros(len(z_q), dtype=torch.float64)
    w[m] = g
    if order == 1:
        return w
    rows, k = [], 0
    for ok in m:
        row = torch.zeros(len(z_q), dtype=torch.float64)
        if ok:
            row[m] = torch.autograd.grad(g[k], z, retain_graph=True)[0]
            k += 1
        rows.append(row)
    return rows


# %% distill | correct: the gradient by hand, the Hessian by complex steps
def distill_derivative(z_p, z_q, temperature, lam, order):
    m = np.isfinite(z_q)
    a, z, T = z_p[m] / temperature, z_q[m], temperature
    p = np.exp(a - a.max()) / np.exp(a - a.max()).sum()

    def grad(z):
        e = np.exp((z - z.real.max()) / T)
        q = e / e.sum()
        f = np.log(q / p)
        return T * ((1 - lam) * (q - p) + lam * q * (f - q @ f))

    out = np.zeros((len(z_q),) * order)
    if order == 1:
        out[m] = grad(z + 0j).real
        return out
    H = [grad(z + 1e-30j * e).imag / 1e-30 for e in np.eye(len(z))]
    out[np.ix_(m, m)] = H
    return out


# %% distill | wrong: R is not subtracted | says: The average R of log q − log p is not subtracted.
from scipy import special


def distill_derivative(z_p, z_q, temperature, lam, order):
    p, q = special.softmax(z_p / temperature), special.softmax(z_q / temperature)
    f = np.log(q) - np.log(p)
    if order == 1:
        return temperature * ((1 - lam) * (q - p) + lam * q * f)
    reverse = np.diag(q * (f + 1)) - np.outer(q, q) * (f[:, None] + f + 1)
    return (1 - lam) * (np.diag(q) - np.outer(q, q)) + lam * reverse


# %% distill | wrong: T² is multiplied, z/T is not differentiated | says: T² is there, but
import torch


def distill_derivative(z_p, z_q, temperature, lam, order):
    logp = (torch.as_tensor(z_p) / temperature).log_softmax(-1)
    scaled = torch.as_tensor(z_q) / temperature

    def loss(z):
        logq = z.log_softmax(-1)
        forward = (logp.exp() * (logp - logq)).sum()
        reverse = (logq.exp() * (logq - logp)).sum()
        return temperature**2 * ((1 - lam) * forward + lam * reverse)

    return (torch.func.grad(loss) if order == 1 else torch.func.hessian(loss))(scaled)


# %% distill | wrong: lam and 1 − lam exchanged | says: lam and 1 - lam are exchanged.
from scipy import special


def distill_derivative(z_p, z_q, temperature, lam, order):
    keep = np.flatnonzero(np.isfinite(z_q))
    p, q = special.softmax(z_p[keep] / temperature), special.softmax(z_q[keep] / temperature)
    f = np.log(q / p)
    w = q * (f - q @ f)
    some = temperature * (lam * (q - p) + (1 - lam) * w)
    if order == 2:
        rest = np.diag(w) - np.outer(q, w) - np.outer(w, q)
        some = np.diag(q) - np.outer(q, q) + (1 - lam) * rest
    out = np.zeros([len(z_q)] * order)
    out[np.ix_(*[keep] * order)] = some
    return out


# %% distill | wrong: the chapter's Hessian, pasted, and its gradient | says: T² times 1/T from the inner derivative
from scipy import special


def reverse_hessian(p, q):
    f = np.log(q) - np.log(p)
    w = q * (f - q @ f)
    return np.diag(q + w) - np.outer(q, q) - np.outer(q, w) - np.outer(w, q)


def distill_derivative(z_p, z_q, temperature, lam, order):
    p, q = special.softmax(z_p / temperature), special.softmax(z_q / temperature)
    if order == 2:
        return reverse_hessian(p, q)
    f = np.log(q) - np.log(p)
    return (1 - lam) * (q - p) + lam * q * (f - q @ f)


# %% distill | wrong: the visible tests, hard-coded | says: came     [-0.433217, -0.0866434, 0.51986]
def distill_derivative(z_p, z_q, temperature, lam, order):
    L = np.log(2)
    w = np.array([-5, -1, 6]) / 16 * L
    d = np.array([-1, 0, 1]) / 4
    if len(z_p) == 5:
        out = np.zeros(5)
        out[[0, 2, 3]] = 2 * (0.75 * d + 0.25 * w)
        return out
    if order == 2:
        J = np.array([[3, -1, -2], [-1, 3, -2], [-2, -2, 4]]) / 16
        return J + lam * np.array([[-5, 3, 2], [3, -1, -2], [2, -2, 0]]) * L / 32
    return 2 * w if lam else 2 * d


# %% distill | wrong: NaN at masked words | keeps: 3 | says: NaN from a masked word
import torch


def distill_derivative(z_p, z_q, temperature, lam, order):
    logp = (torch.as_tensor(z_p) / temperature).log_softmax(-1)

    def loss(z):
        logq = (z / temperature).log_softmax(-1)
        forward = torch.where(logp > -torch.inf, logp.exp() * (logp - logq), 0).sum()
        reverse = torch.where(logp > -torch.inf, logq.exp() * (logq - logp), 0).sum()
        return temperature**2 * ((1 - lam) * forward + lam * reverse)

    return (torch.func.grad(loss) if order == 1 else torch.func.hessian(loss))(torch.as_tensor(z_q))


# %% distill | wrong: the forward Hessian for both directions | keeps: 2 | says: that of D(q‖p) contains p
def distill_derivative(z_p, z_q, temperature, lam, order):
    keep = np.isfinite(z_q)
    a, b = (np.where(keep, np.exp((z - z[keep].max()) / temperature), 0) for z in (z_p, z_q))
    p, q = a / a.sum(), b / b.sum()
    if order == 2:
        return np.diag(q) - np.outer(q, q)
    f = np.log(np.where(keep, q, 1)) - np.log(np.where(keep, p, 1))
    return temperature * ((1 - lam) * (q - p) + lam * q * (f - q @ f))


# %% distill | wrong: differences of the given function | says: but not to eleven
def distill_derivative(z_p, z_q, temperature, lam, order):
    E = [e if np.isfinite(x) else 0 * e for e, x in zip(np.eye(len(z_q)), z_q)]

    def F(z):
        return distill_loss(z_p, z, temperature, lam)

    if order == 1:
        h = 1e-5
        return np.array([(F(z_q + h * e) - F(z_q - h * e)) / (2 * h) for e in E])
    h = 1e-3
    return np.array(
        [
            [
                (
                    F(z_q + h * a + h * b)
                    - F(z_q + h * a - h * b)
                    - F(z_q - h * a + h * b)
                    + F(z_q - h * a - h * b)
                )
                / (4 * h * h)
                for a in E
            ]
            for b in E
        ]
    )


# %% distill | wrong: D(p‖q) keeps its full weight | keeps: 1 | says: has the weight 1 - lam
from scipy import special


def distill_derivative(z_p, z_q, temperature, lam, order):
    m = np.isfinite(z_q)
    p, q = special.softmax(z_p[m] / temperature), special.softmax(z_q[m] / temperature)
    f = np.log(q / p)
    w = q * (f - q @ f)
    J = np.diag(q) - np.outer(q, q)
    some = (
        temperature * ((q - p) + lam * w)
        if order == 1
        else J + lam * (np.diag(w) - np.outer(q, w) - np.outer(w, q))
    )
    out = np.zeros((len(z_q),) * order)
    out[np.ix_(*[np.flatnonzero(m)] * order)] = some
    return out


# %% distill | wrong: the Hessian is J G J | keeps: 2 | says: the terms with w are missing
from scipy import special


def distill_derivative(z_p, z_q, temperature, lam, order):
    m = np.isfinite(z_q)
    p, q = special.softmax(z_p[m] / temperature), special.softmax(z_q[m] / temperature)
    f = np.log(q / p)
    w = q * (f - q @ f)
    J = np.diag(q) - np.outer(q, q)
    some = (
        temperature * ((1 - lam) * (q - p) + lam * w)
        if order == 1
        else (1 - lam) * J @ np.diag(p / q**2) @ J + lam * J
    )
    out = np.zeros((len(z_q),) * order)
    out[np.ix_(*[np.flatnonzero(m)] * order)] = some
    return out


# %% estimator | correct: loops over the words
import math


def estimator_error(k, mu, q, p, n):
    first = second = D = 0.0
    for m, a, b in zip(mu.tolist(), q.tolist(), p.tolist()):
        if m == 0:
            continue
        if a == 0 or b == 0:
            raise ValueError("a drawn word is excluded")
        r = b / a
        y = {"k1": -math.log(r), "k2": math.log(r) ** 2 / 2, "k3": r - 1 - math.log(r)}[k]
        first, second, D = first + m * y, second + m * y * y, D + m * math.log(m / b)
    return first - D, math.sqrt(max(second - first**2, 0.0) / n)


# %% estimator | correct: torch, and NumPy's covariance
import torch


def estimator_error(k, mu, q, p, n):
    mu, q, p = (torch.as_tensor(x) for x in (mu, q, p))
    S = mu > 0
    mu, q, p = mu[S], q[S], p[S]
    if (q <= 0).any() or (p <= 0).any():
        raise ValueError("q or p is 0 where mu is not")
    d = (p / q).log()
    y = -d if k == "k1" else d.square() / 2 if k == "k2" else d.expm1() - d
    bias = (mu * y).sum() - (mu * (mu / p).log()).sum()
    return bias, torch.cov(y, correction=0, aweights=mu).div(n).sqrt()


# %% estimator | correct: np.average and raw moments
def estimator_error(k, mu, q, p, n):
    rows = [(m, a, b) for m, a, b in zip(mu, q, p) if m]
    if any(not a or not b for _, a, b in rows):
        raise ValueError()
    f = dict(
        k1=lambda r: -np.log(r), k2=lambda r: 0.5 * np.log(r) ** 2, k3=lambda r: r - 1 - np.log(r)
    )[k]
    y = [f(b / a) for _, a, b in rows]
    w = [m for m, _, _ in rows]
    bias = np.average(y, weights=w) - sum(m * np.log(m / b) for m, _, b in rows)
    return np.array(
        [
            bias,
            np.sqrt(abs(np.average(np.square(y), weights=w) - np.average(y, weights=w) ** 2) / n),
        ]
    )


# %% estimator | wrong: r is upside down | says: r is upside down: it is p/q.
def estimator_error(k, mu, q, p, n):
    with np.errstate(all="ignore"):
        S = mu > 0
        mu, r = mu[S], q[S] / p[S]
        y = {"k1": -np.log(r), "k2": np.log(r) ** 2 / 2, "k3": r - 1 - np.log(r)}[k]
        mean = mu @ y
        return mean - mu @ np.log(mu / p[S]), np.sqrt(mu @ (y - mean) ** 2 / n)


# %% estimator | wrong: the spread of one sample | says: The average of n samples scatters less
def estimator_error(k, mu, q, p, n):
    with np.errstate(all="ignore"):
        S = mu > 0
        mu, r = mu[S], p[S] / q[S]
        y = {"k1": -np.log(r), "k2": np.log(r) ** 2 / 2, "k3": r - 1 - np.log(r)}[k]
        mean = mu @ y
        return mean - mu @ np.log(mu / p[S]), np.sqrt(mu @ (y - mean) ** 2)


# %% estimator | wrong: the mean of the report for its bias | says: This is the mean of the report, not its bias.
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    with np.errstate(all="ignore"):
        w, d = mu[S], np.log(p[S]) - np.log(q[S])
        y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
        return w @ y, np.sqrt(w @ (y - w @ y) ** 2 / n)


# %% estimator | wrong: the variance | says: This is the variance: take the root.
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    with np.errstate(all="ignore"):
        w, d = mu[S], np.log(p[S]) - np.log(q[S])
        y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
        return w @ y - w @ np.log(w / p[S]), w @ (y - w @ y) ** 2 / n


# %% estimator | wrong: np.mean and np.std over the vocabulary | says: All words count alike
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    with np.errstate(all="ignore"):
        r = p[S] / q[S]
        y = {"k1": -np.log(r), "k2": np.log(r) ** 2 / 2, "k3": r - 1 - np.log(r)}[k]
        return y.mean() - mu[S] @ np.log(mu[S] / p[S]), y.std() / np.sqrt(n)


# %% estimator | wrong: the chapter's function, pasted, and its condition for a bias | says: k3 misses the mass of p
import math


def sd_of_k3(logq, logp):
    S = logq > -math.inf
    if np.any(logp[S] == -math.inf):
        return math.inf
    w, d = np.exp(logq[S]), logp[S] - logq[S]
    y = np.expm1(d) - d
    return math.sqrt(w @ (y - w @ y) ** 2)


def estimator_error(k, mu, q, p, n):
    with np.errstate(all="ignore"):
        if k == "k3":
            return 0.0, sd_of_k3(np.log(mu), np.log(p)) / math.sqrt(n)
        S = mu > 0
        w, d = mu[S], np.log(p[S] / mu[S])
        y = -d if k == "k1" else d**2 / 2
        return w @ y + w @ d, math.sqrt(w @ (y - w @ y) ** 2 / n)


# %% estimator | wrong: the log-probabilities of the sampler | keeps: 1 | says: The script divides by q, not by mu
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    w, b = mu[S], p[S]
    if (b == 0).any():
        raise ValueError("p is 0")
    d = np.log(b / w)
    y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
    return w @ y + w @ d, np.sqrt(w @ (y - w @ y) ** 2 / n)


# %% estimator | wrong: the bias against D(q‖p) | keeps: 2 | says: not against D(q‖p)
from scipy import special


def estimator_error(k, mu, q, p, n):
    S = mu > 0
    if (q[S] == 0).any() or (p[S] == 0).any():
        raise ValueError("refused")
    w, d = mu[S], np.log(p[S] / q[S])
    y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
    return w @ y - special.rel_entr(q, p).sum(), np.sqrt(w @ (y - w @ y) ** 2 / n)


# %% estimator | wrong: the weights of q | keeps: 2 | says: weight with mu, not with q
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    if (q[S] == 0).any() or (p[S] == 0).any():
        raise ValueError("refused")
    D, S = mu[S] @ np.log(mu[S] / p[S]), (q > 0) & (p > 0)
    w, d = q[S], np.log(p[S] / q[S])
    y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
    return w @ y - D, np.sqrt(w @ (y - w @ y) ** 2 / n)


# %% estimator | wrong: no refusal | keeps: 3 | says: expected a ValueError
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    with np.errstate(all="ignore"):
        w, d = mu[S], np.log(p[S] / q[S])
        y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
        return w @ y - w @ np.log(w / p[S]), np.sqrt(w @ (y - w @ y) ** 2 / n)


# %% estimator | wrong: p is cut and normalized like mu | says: leave it as it is
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    if (q[S] == 0).any() or (p[S] == 0).any():
        raise ValueError
    m, a, b = mu[S], q[S], p[S] / p[S].sum()
    d = np.log(b / a)
    y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
    return m @ y - m @ np.log(m / b), np.sqrt(m @ (y - m @ y) ** 2 / n)


# %% estimator | wrong: the weights of p | says: not with p
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    if (q[S] == 0).any() or (p[S] == 0).any():
        raise ValueError
    m, a, b = mu[S], q[S], p[S]
    d = np.log(b / a)
    y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
    return b @ y - m @ np.log(m / b), np.sqrt(b @ (y - b @ y) ** 2 / n)


# %% estimator | wrong: the bias with the other sign | says: not D(mu‖p) minus the mean
def estimator_error(k, mu, q, p, n):
    S = mu > 0
    if (q[S] == 0).any() or (p[S] == 0).any():
        raise ValueError
    m, a, b = mu[S], q[S], p[S]
    d = np.log(b / a)
    y = {"k1": -d, "k2": d**2 / 2, "k3": np.expm1(d) - d}[k]
    return m @ np.log(m / b) - m @ y, np.sqrt(m @ (y - m @ y) ** 2 / n)


# %% group | correct: torch, and autograd for each group
import itertools

import torch


def gradient_moment(use, z, p, n, what):
    logits, logp = torch.tensor(z, requires_grad=True), torch.tensor(p).log()
    logq = logits.log_softmax(-1)
    k1 = logq - logp
    k = {"k1": k1, "k2": k1**2 / 2, "k3": (-k1).exp() - 1 + k1}[use[:2]]
    rows, weights = [], []
    for x in itertools.product(range(len(z)), repeat=n):
        x = torch.tensor(x)
        c = k[x].detach()
        if use.endswith("loss"):
            f = k[x].mean()
        else:
            if use.endswith("group"):
                c = c - c.mean()
            elif use.endswith("others"):
                c = c - torch.stack([c[torch.arange(n) != i].mean() for i in range(n)])
            f = (c * logq[x]).mean()
        (g,) = torch.autograd.grad(f, logits, retain_graph=True)
        rows.append(g)
        weights.append(logq.detach()[x].sum().exp())
    rows, weights = torch.stack(rows), torch.stack(weights)
    mean = weights @ rows
    return mean if what == "mean" else (weights @ (rows - mean) ** 2).sum()


# %% group | correct: closed forms, no groups
def gradient_moment(use, z, p, n, what):
    q = np.exp(z - np.logaddexp.reduce(z))
    r, k1, V = p / q, np.log(q / p), len(q)
    single = {"k1 loss": np.ones(V), "k2 loss": k1, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}
    c, s = single.get(use, k1), np.eye(V) - q
    mean = q * (c - q @ c)
    factor = (n - 1) / n if use == "k1 group" else 1.0
    if what == "mean":
        return factor * mean
    if use in ("k1 group", "k1 others"):  # the unbiased sample covariance of k1 and s
        h = (k1[:, None] - k1)[:, :, None] * (s[:, None] - s) / 2
        one = np.tensordot(q, h, (0, 1))
        a = q @ (one**2).sum(-1) - mean @ mean
        b = q @ (h**2).sum(-1) @ q - mean @ mean
        return factor**2 * (4 * (n - 2) * a + 2 * b) / (n * (n - 1))
    return (q @ (c[:, None] * s) ** 2 - mean**2).sum() / n


# %% group | correct: plain loops
import itertools
import math


def gradient_moment(use, z, p, n, what):
    V = len(z)
    total = sum(math.exp(x) for x in z)
    q = [math.exp(x) / total for x in z]
    mean, square = [0.0] * V, [0.0] * V
    for xs in itertools.product(range(V), repeat=n):
        k1 = [math.log(q[x] / p[x]) for x in xs]
        g = [0.0] * V
        for i, x in enumerate(xs):
            r = p[x] / q[x]
            if use == "k1 loss":
                c = 1.0
            elif use == "k3 loss":
                c = 1 - r
            elif use == "k3 reward":
                c = r - 1 + k1[i]
            elif use == "k1 group":
                c = k1[i] - sum(k1) / n
            elif use == "k1 others":
                c = k1[i] - (sum(k1) - k1[i]) / (n - 1)
            else:
                c = k1[i]
            for j in range(V):
                g[j] += c * ((j == x) - q[j]) / n
        weight = math.prod(q[x] for x in xs)
        for j in range(V):
            mean[j] += weight * g[j]
            square[j] += weight * g[j] ** 2
    return mean if what == "mean" else sum(b - a * a for a, b in zip(mean, square))


# %% group | correct: counts of words, with multinomial probabilities
import itertools
import math


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.sum(np.exp(z))
    V = len(q)
    k1 = np.log(q) - np.log(p)
    m1, m2 = np.zeros(V), np.zeros(V)
    for xs in itertools.combinations_with_replacement(range(V), n):
        cnt = np.bincount(xs, minlength=V)
        prob = (
            math.factorial(n) / math.prod(math.factorial(c) for c in cnt) * float(np.prod(q**cnt))
        )
        tot = cnt @ k1
        c = {
            "k1 loss": np.ones(V),
            "k2 loss": k1,
            "k3 loss": 1 - p / q,
            "k1 reward": k1,
            "k3 reward": p / q - 1 + k1,
            "k1 group": k1 - tot / n,
            "k1 others": k1 - (tot - k1) / max(n - 1, 1),
        }[use]
        g = (cnt * c - (cnt @ c) * q) / n
        m1 += prob * g
        m2 += prob * g * g
    return m1 if what == "mean" else float(np.sum(m2 - m1 * m1))


# %% group | wrong: all groups count alike | says: All words count alike: weight them with q.
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    rows = []
    for x in itertools.product(range(len(z)), repeat=n):
        a = c[list(x)]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / (n - 1)
        rows.append(a @ s[list(x)] / n)
    rows = np.array(rows)
    return rows.mean(0) if what == "mean" else rows.var(0).sum()


# %% group | wrong: r is upside down | says: r is upside down
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    r, s = q / p, np.eye(len(z)) - q
    k1 = -np.log(r)
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / (n - 1)
        g, w = a @ s[x] / n, q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square - mean @ mean


# %% group | wrong: the sum over the group | says: This is the sum over the samples, not their mean.
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / (n - 1)
        g, w = a @ s[x], q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square - mean @ mean


# %% group | wrong: the visible tests, hard-coded | says: came     [0, 0]
def gradient_moment(use, z, p, n, what):
    d = np.log(3) * np.array([1, -1])
    if what == "variance":
        return 3 / 32 if use == "k1 loss" else 15 / 128 * np.log(3) ** 2
    if use == "k1 loss":
        return [0.0, 0.0]
    if use == "k2 loss":
        return [0.0, 0.0]
    if use == "k3 loss":
        return [0.25, -0.25]
    return d / 8 if use == "k1 group" else 3 / 16 * d


# %% group | wrong: the surrogate's answer, as in the chapter's exercise: always the gradient of D(q‖p) | says: not the law of the samples
import torch


def kl_surrogate(logq, logp, logmu=None):
    logmu = logq.detach() if logmu is None else logmu
    d = logp.detach() - logq
    return (logq - logmu).exp() * (d.exp() - 1 - d)


def gradient_moment(use, z, p, n, what):
    leaf = torch.tensor(z, requires_grad=True)
    logq = leaf.log_softmax(-1)
    each = kl_surrogate(logq, torch.tensor(p).log())
    rows = torch.stack([torch.autograd.grad(y, leaf, retain_graph=True)[0] for y in each])
    q = logq.detach().exp()
    mean = q @ rows
    return mean if what == "mean" else (q @ (rows - mean) ** 2).sum() / n


# %% group | wrong: both baselines contain the sample itself | keeps: 1 | says: take the mean of the others
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x] - (c[x].mean() if use in ("k1 group", "k1 others") else 0)
        g, w = a @ s[x] / n, q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square - mean @ mean


# %% group | wrong: the second moment for the variance | keeps: 2 | says: subtract the squared length of the mean
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / (n - 1)
        g, w = a @ s[x] / n, q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square


# %% group | wrong: the score without −q | keeps: 1 | says: the part −q is missing
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z))
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / (n - 1)
        g, w = a @ s[x] / n, q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square - mean @ mean


# %% group | wrong: the others' sum is divided by n | keeps: 2 | says: divided by n − 1, not by n
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / n
        g, w = a @ s[x] / n, q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square - mean @ mean


# %% group | wrong: np.cov without ddof | keeps: 2 | says: np.cov divides by another number
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    G, W = [], []
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / (n - 1)
        G.append(a @ s[x] / n)
        W.append(q[x].prod())
    return (
        np.average(G, axis=0, weights=W)
        if what == "mean"
        else np.trace(np.cov(np.array(G).T, aweights=W))
    )


# %% group | wrong: D(q‖p) as the baseline | keeps: 1 | says: not D(q‖p)
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1 loss": 1 + 0 * r, "k3 loss": 1 - r, "k3 reward": r - 1 + k1}.get(use, k1)
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use in ("k1 group", "k1 others"):
            a = a - q @ k1
        g, w = a @ s[x] / n, q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square - mean @ mean


# %% group | wrong: the value of k is the coefficient of the loss, too | keeps: 1 | says: as a loss k1 has the coefficient 1
import itertools


def gradient_moment(use, z, p, n, what):
    q = np.exp(z) / np.exp(z).sum()
    k1, r, s = np.log(q / p), p / q, np.eye(len(z)) - q
    c = {"k1": k1, "k2": k1**2 / 2, "k3": r - 1 + k1}[use[:2]]
    mean, square = 0, 0
    for x in itertools.product(range(len(z)), repeat=n):
        x = list(x)
        a = c[x]
        if use == "k1 group":
            a = a - a.mean()
        if use == "k1 others":
            a = a - (a.sum() - a) / (n - 1)
        g, w = a @ s[x] / n, q[x].prod()
        mean, square = mean + w * g, square + w * g @ g
    return mean if what == "mean" else square - mean @ mean
