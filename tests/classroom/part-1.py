"""Assignment part-1: other right answers, and wrong ones with what they are told.

A block replaces the solution cell of its task: "task | correct: how" earns all points,
"task | wrong: mistake | says: a part of the message" loses them, except for "keeps: points".
"""
# ruff: noqa: E402, F811, F821

# %% count-kl | correct: loops
import math


def count_kl(counts, q, base):
    if len(counts) != len(q):
        raise ValueError("lengths differ")
    if not all(N >= 0 for N in counts) or not sum(counts) > 0:
        raise ValueError("counts must be at least 0, and not all 0")
    if not all(v >= 0 for v in q) or not abs(math.fsum(q) - 1) <= 1e-6:
        raise ValueError("q must be probabilities of sum 1")
    n, total = sum(counts), 0.0
    for N, v in zip(counts, q):
        if N == 0:
            continue
        if v == 0:
            return math.inf
        total += N / n * (math.log(N / n, base) - math.log(v, base))
    return total


# %% count-kl | correct: torch
import math

import torch


def count_kl(counts, q, base):
    N = torch.tensor(counts, dtype=torch.float64)
    v = torch.tensor(q, dtype=torch.float64)
    if N.shape != v.shape:
        raise ValueError("the shapes differ")
    if not ((N >= 0).all() and N.sum() > 0 and (v >= 0).all()):
        raise ValueError("negative, NaN or nothing")
    if not torch.isclose(v.sum(), torch.ones_like(v.sum()), rtol=0, atol=1e-6):
        raise ValueError(f"q sums to {v.sum().item()}")
    p = N / N.sum()
    return (torch.xlogy(p, p) - torch.xlogy(p, v)).sum() / math.log(base)


# %% count-kl | correct: SciPy
import scipy.special


def count_kl(counts, q, base):
    if len(counts) != len(q):
        raise ValueError(f"{len(counts)} counts and {len(q)} probabilities")
    for v in (counts, q):
        if not min(v) >= 0 or np.isnan(v).any():
            raise ValueError(f"negative or NaN: {v}")
    if sum(counts) == 0 or abs(sum(q) - 1) > 1e-6:
        raise ValueError("no data, or q is not normalized")
    p = np.array(counts) / np.sum(counts)
    entropy = scipy.special.entr(p).sum()
    return (-scipy.special.xlogy(p, q).sum() - entropy) / np.log(base)


# %% count-kl | correct: exact fractions and a generator
import math
from fractions import Fraction


def count_kl(counts, q, base):
    if len(counts) != len(q) or any(not v >= 0 for v in [*counts, *q]):
        raise ValueError("two lists of one length, of numbers >= 0")
    n = sum(map(Fraction, counts))
    if n == 0 or not abs(sum(map(Fraction, q)) - 1) <= Fraction(1, 10**6):
        raise ValueError("no data, or a wrong sum")
    used = [(Fraction(N) / n, v) for N, v in zip(counts, q) if N]
    if any(v == 0 for _, v in used):
        return np.inf
    return sum(float(p) * (math.log(p) - math.log(v)) for p, v in used) / math.log(base)


# %% count-kl | wrong: arguments exchanged | says: The arguments are exchanged: this is D(q‖p̂).
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q)
    if p.shape != q.shape or not (p >= 0).all() or not (q >= 0).all():
        raise ValueError("bad input")
    if p.sum() == 0 or abs(q.sum() - 1) > 1e-6:
        raise ValueError("bad input")
    p /= p.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(q > 0, q * (np.log(q) - np.log(p)), 0).sum() / np.log(base)


# %% count-kl | wrong: always in nats | says: This is in nats, whatever the base is.
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q)
    if p.shape != q.shape or not (p >= 0).all() or not (q >= 0).all():
        raise ValueError("bad input")
    if p.sum() == 0 or abs(q.sum() - 1) > 1e-6:
        raise ValueError("bad input")
    p /= p.sum()
    with np.errstate(divide="ignore"):
        return float(p[p > 0] @ (np.log(p[p > 0]) - np.log(q[p > 0])))


# %% count-kl | wrong: cross-entropy | says: This is the cross-entropy H(p̂, q)
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q)
    if p.shape != q.shape or not (p >= 0).all() or not (q >= 0).all():
        raise ValueError("bad input")
    if p.sum() == 0 or abs(q.sum() - 1) > 1e-6:
        raise ValueError("bad input")
    p /= p.sum()
    with np.errstate(divide="ignore"):
        return float(-p[p > 0] @ np.log(q[p > 0]) / np.log(base))


# %% count-kl | wrong: counts as weights | says: The sum has the weights N, not N/n.
def count_kl(counts, q, base):
    if len(counts) != len(q) or min(counts) < 0 or min(q) < 0 or np.isnan(q).any():
        raise ValueError("bad input")
    if np.isnan(counts).any() or sum(counts) == 0 or abs(sum(q) - 1) > 1e-6:
        raise ValueError("bad input")
    n, total = sum(counts), 0
    for N, v in zip(counts, q):
        if N > 0:
            total += N * (np.log(N / n) - np.log(v)) if v > 0 else np.inf
    return total / np.log(base)


# %% count-kl | wrong: the chapter's safe_kl | says: p: expected probabilities, got [4.0,
def count_kl(p, q, base):
    a, b = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if a.shape != b.shape or a.ndim != 1:
        shapes = f"{a.shape} and {b.shape}"
        raise ValueError(f"p, q: expected two lists of one length, got {shapes}")
    for name, v in (("p", a), ("q", b)):
        if not (np.all(v >= 0) and abs(v.sum() - 1) <= 1e-6):
            raise ValueError(f"{name}: expected probabilities, got {v.tolist()}")
    s = a > 0
    with np.errstate(divide="ignore"):
        return float(np.sum(a[s] * (np.log(a[s]) - np.log(b[s]))))


# %% count-kl | wrong: the visible tests, hard-coded | says: a ValueError: the lengths differ
def count_kl(counts, q, base):
    if (len(counts), len(q)) == (3, 2) or sum(counts) < 2 or not q[-1] <= 0.6 or q[-1] == 0.49999:
        raise ValueError
    known = {(4, 2, 1, 1): 0.625, (40, 20, 10, 10): 0.625 * np.log(2), (4, 2, 2, 0): 1.0}
    known |= {(1, 1): np.inf, (1, 3): 0.188722}
    return known.get(tuple(counts), 0.5)


# %% count-kl | wrong: SciPy normalizes in silence | keeps: 2 | says: q has the sum 1.2
import scipy.stats


def count_kl(counts, q, base):
    if len(counts) != len(q):
        raise ValueError("lengths differ")
    return scipy.stats.entropy(counts, q, base=base)


# %% count-kl | wrong: asks for what is wrong, so NaN passes | keeps: 2 | says: q has a NaN
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q, dtype=float)
    if p.shape != q.shape or (p < 0).any() or (q < 0).any() or p.sum() == 0:
        raise ValueError("bad input")
    if abs(q.sum() - 1) > 1e-6:
        raise ValueError("bad sum")
    p /= p.sum()
    with np.errstate(divide="ignore"):
        return float(p[p > 0] @ (np.log(p[p > 0]) - np.log(q[p > 0])) / np.log(base))


# %% count-kl | wrong: np.isclose has a relative tolerance too | keeps: 2 | says: the sum 0.99999
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q, dtype=float)
    if p.shape != q.shape or not (p >= 0).all() or not (q >= 0).all() or p.sum() == 0:
        raise ValueError("bad input")
    if not np.isclose(q.sum(), 1, atol=1e-6):
        raise ValueError("bad sum")
    p /= p.sum()
    with np.errstate(divide="ignore"):
        return float(p[p > 0] @ (np.log(p[p > 0]) - np.log(q[p > 0])) / np.log(base))


# %% count-kl | wrong: the common support alone | keeps: 3 | says: costs +inf; here it was left out
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q, dtype=float)
    if p.shape != q.shape or not (p >= 0).all() or not (q >= 0).all() or p.sum() == 0:
        raise ValueError("bad input")
    if abs(q.sum() - 1) > 1e-6:
        raise ValueError("bad sum")
    p /= p.sum()
    s = (p > 0) & (q > 0)
    return float(p[s] @ (np.log(p[s]) - np.log(q[s])) / np.log(base))


# %% count-kl | wrong: a small number in the logarithm | keeps: 3 | says: a small number added to q
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q, dtype=float)
    if p.shape != q.shape or not (p >= 0).all() or not (q >= 0).all():
        raise ValueError("bad input")
    if p.sum() == 0 or abs(q.sum() - 1) > 1e-6:
        raise ValueError("bad input")
    p /= p.sum()
    s = p > 0
    return float(np.sum(p[s] * np.log(p[s] / (q[s] + 1e-10))) / np.log(base))


# %% count-kl | wrong: p/q overflows | keeps: 3 | says: The quotient p/q overflows
def count_kl(counts, q, base):
    p, q = np.array(counts, dtype=float), np.array(q, dtype=float)
    if p.shape != q.shape or not (p >= 0).all() or not (q >= 0).all():
        raise ValueError("bad input")
    if p.sum() == 0 or abs(q.sum() - 1) > 1e-6:
        raise ValueError("bad input")
    p /= p.sum()
    s = p > 0
    with np.errstate(divide="ignore", over="ignore"):
        return float(np.sum(p[s] * np.log(p[s] / q[s])) / np.log(base))


# %% disagreement | correct: random search
def disagreement(p):
    rng = np.random.default_rng(0)
    q = np.maximum(rng.dirichlet(np.ones(len(p)), (2, 50_000)), 1e-12)
    q /= q.sum(-1, keepdims=True)
    forward = (np.array(p) * np.log(np.array(p) / q)).sum(-1)
    reverse = (q * np.log(q / np.array(p))).sum(-1)
    for k in np.flatnonzero(np.minimum(forward[1] - forward[0], reverse[0] - reverse[1]) > 2e-4):
        return q[0, k].tolist(), q[1, k].tolist()
    return None


# %% disagreement | correct: loops over two coins inside p
import math


def disagreement(p):
    rare = min(range(len(p)), key=lambda i: p[i])

    def model(x):
        return [x if i == rare else (1 - x) * v / (1 - p[rare]) for i, v in enumerate(p)]

    def D(a, b):
        return sum(v * math.log(v / w) for v, w in zip(a, b))

    tried = [(x, D(p, model(x)), D(model(x), p)) for x in (k / 200 for k in range(1, 200))]
    tried.append((1e-250, D(p, model(1e-250)), D(model(1e-250), p)))
    for x, forward, reverse in tried:
        for x2, forward2, reverse2 in tried:
            if forward < forward2 - 2e-4 and reverse > reverse2 + 2e-4:
                return [model(x), model(x2)]


# %% disagreement | correct: torch, a plateau of the reverse KL
import torch


def disagreement(p):
    p = torch.tensor(p, dtype=torch.float64)
    if len(p) == 2 and p[0] == p[1]:
        return None
    k = int(p.argmin())
    far, near = p.log(), p.log()
    far[k] = -300.0
    far = far.softmax(0)
    target = (far * (far.log() - p.log())).sum() + 2e-3
    shift = torch.zeros(len(p), dtype=torch.float64)
    shift[k] = 1.0
    low, high = 0.0, 50.0  # of the logit's shift: the reverse KL grows with it
    for _ in range(100):
        mid = (low + high) / 2
        near = (p.log() + mid * shift).softmax(0)
        low, high = (mid, high) if (near * (near / p).log()).sum() < target else (low, mid)
    near = (p.log() + high * shift).softmax(0)
    return near, far


# %% disagreement | wrong: believes the claim | says: for this p such a pair exists
def disagreement(p):
    return None


# %% disagreement | wrong: the pair in the other order | says: q1 and q2 are exchanged
def disagreement(p):
    if list(p) == [0.5, 0.5]:
        return None
    k, others = int(np.argmin(p)), np.array(p) / (1 - min(p))
    others[k] = 0
    word = np.eye(len(p))[k]
    lost = 1e-200 * word + others
    for x in np.linspace(0, 1, 2001)[1:-1]:
        kept = x * word + (1 - x) * others
        if np.sum(kept * np.log(kept / p)) > np.sum(lost * np.log(lost / p)) + 1e-3 and x > p[k]:
            return lost, kept


# %% disagreement | wrong: a model with a zero | says: q2 has an entry that is not above 0
def disagreement(p):
    if list(p) == [0.5, 0.5]:
        return None
    k, others = int(np.argmin(p)), np.array(p) / (1 - min(p))
    others[k] = 0
    word = np.eye(len(p))[k]
    for x in np.linspace(0, 1, 2001)[1:-1]:
        kept = x * word + (1 - x) * others
        if np.sum(kept * np.log(kept / p)) > 1e-3 - np.log(1 - p[k]) and x > p[k]:
            return kept, others


# %% disagreement | wrong: models not normalized | says: has the sum
def disagreement(p):
    if list(p) == [0.5, 0.5]:
        return None
    q1, q2 = np.array(p), np.array(p)
    q1[np.argmin(p)] *= 3
    q2[np.argmin(p)] = 1e-30
    return q1, q2


# %% disagreement | wrong: loses the most frequent word | says: expected q1 to win forward and q2
def disagreement(p):
    if len(p) == 2 and p[0] == p[1]:
        return None
    p, k = np.array(p), int(np.argmax(p))
    others, word = p / (1 - p[k]), np.eye(len(p))[k]
    others[k] = 0
    lost = 1e-300 * word + others
    for x in np.linspace(p[k], 1, 2001)[1:-1]:
        kept = x * word + (1 - x) * others
        if both_ways(p, kept)[1] > both_ways(p, lost)[1] + 1e-3:
            break
    return kept, lost


# %% disagreement | wrong: the chapter's find_detour | says: expected two lists of probabilities
def disagreement(factor):
    def D(p, q):
        return np.sum(np.array(p) * np.log(np.array(p) / np.array(q)))

    L = 4.0
    while L < 700:
        p, x, r = [0.5, 0.5], [1 - 1 / L, 1 / L], [1 - np.exp(-L), np.exp(-L)]
        if D(p, r) > 2 * (D(p, x) + D(x, r)):
            break
        L *= 1.5
    return p, x, r


# %% disagreement | wrong: the visible tests, hard-coded | says: expected a pair
def disagreement(p):
    pairs = {
        (0.7, 0.2, 0.1): ([0.4, 0.2, 0.4], [0.78, 0.219, 0.001]),
        (0.25, 0.25, 0.5): ([0.7, 0.1, 0.2], [1e-100, 1 / 3, 2 / 3]),
        (0.4, 0.3, 0.2, 0.1): ([0.2, 0.2, 0.2, 0.4], [0.44, 0.34, 0.22 - 1e-6, 1e-6]),
        (0.6, 0.4): ([0.01, 0.99], [1 - 1e-200, 1e-200]),
        (0.2, 0.8): ([0.8, 0.2], [1e-200, 1.0]),
    }
    return pairs.get(tuple(p))


# %% disagreement | wrong: None for every uniform p | keeps: 2 | says: for this p such a pair exists
def disagreement(p):
    if max(p) - min(p) < 1e-12:
        return None
    rng = np.random.default_rng(0)
    while True:
        q1, q2 = np.maximum(rng.dirichlet(np.ones(len(p)), 2), 1e-12)
        (f1, r1), (f2, r2) = both_ways(p, q1), both_ways(p, q2)
        if f1 < f2 - 2e-4 and r1 > r2 + 2e-4:
            return q1, q2


# %% disagreement | wrong: None for all two words | keeps: 2 | says: for this p such a pair exists
def disagreement(p):
    if len(p) == 2:
        return None
    rng = np.random.default_rng(0)
    while True:
        q1, q2 = np.maximum(rng.dirichlet(np.ones(len(p)), 2), 1e-12)
        (f1, r1), (f2, r2) = both_ways(p, q1), both_ways(p, q2)
        if f1 < f2 - 2e-4 and r1 > r2 + 2e-4:
            return q1, q2


# %% disagreement | wrong: None near a fair coin | keeps: 2 | says: for this p such a pair exists
def disagreement(p):
    if len(p) == 2 and abs(p[0] - 0.5) < 0.04:
        return None
    rng = np.random.default_rng(0)
    while True:
        q1, q2 = np.maximum(rng.dirichlet(np.ones(len(p)), 2), 1e-12)
        (f1, r1), (f2, r2) = both_ways(p, q1), both_ways(p, q2)
        if f1 < f2 - 2e-4 and r1 > r2 + 2e-4:
            return q1, q2


# %% disagreement | wrong: None if a word has half | keeps: 2 | says: for this p such a pair exists
def disagreement(p):
    if p[0] == 0.5:
        return None
    rng = np.random.default_rng(0)
    while True:
        q1, q2 = np.maximum(rng.dirichlet(np.ones(len(p)), 2), 1e-12)
        (f1, r1), (f2, r2) = both_ways(p, q1), both_ways(p, q2)
        if f1 < f2 - 2e-4 and r1 > r2 + 2e-4:
            return q1, q2


# %% disagreement | wrong: a pair for the fair coin too | keeps: 2 | says: expected None
def disagreement(p):
    rng = np.random.default_rng(0)
    for _ in range(5000):
        q1, q2 = np.maximum(rng.dirichlet(np.ones(len(p)), 2), 1e-12)
        (f1, r1), (f2, r2) = both_ways(p, q1), both_ways(p, q2)
        if f1 < f2 - 2e-4 and r1 > r2 + 2e-4:
            break
    return q1, q2


# %% text-kl | correct: loops
import math


def text_kl(start_p, step_p, start_q, step_q, n):
    V = len(start_p)

    def cost(a, b):
        total = 0.0
        for v, w in zip(a, b):
            if v > 0:
                if w == 0:
                    return math.inf
                total += v * math.log(v / w)
        return total

    row_costs = [cost(step_p[i], step_q[i]) for i in range(V)]
    here, total = list(start_p), cost(start_p, start_q)
    for _ in range(n - 1):
        for i in range(V):
            if here[i] > 0:
                total += here[i] * row_costs[i]
        here = [sum(here[i] * step_p[i][j] for i in range(V)) for j in range(V)]
    return total


# %% text-kl | correct: torch, a recursion from the end of the text
import torch


def text_kl(start_p, step_p, start_q, step_q, n):
    p, A, q, B = (
        torch.tensor(np.array(v), dtype=torch.float64) for v in (start_p, step_p, start_q, step_q)
    )

    def average(weights, values):
        return torch.where(weights > 0, weights * values, torch.zeros_like(weights)).sum(-1)

    rest = torch.zeros(len(p), dtype=torch.float64)  # what follows costs, given the word
    for _ in range(n - 1):
        rest = average(A, A.log() - B.log() + rest)
    return average(p, p.log() - q.log() + rest)


# %% text-kl | correct: the joint of two neighbors, NumPy
def text_kl(start_p, step_p, start_q, step_q, n):
    A, B = np.array(step_p, dtype=float), np.array(step_q, dtype=float)
    here, visits = np.array(start_p, dtype=float), np.zeros(len(start_p))
    for _ in range(n - 1):
        visits = visits + here
        here = here @ A
    pairs = visits[:, None] * A  # how often i is followed by j, on average
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(pairs > 0, pairs * (np.log(A) - np.log(B)), 0)
        p, q = np.array(start_p, dtype=float), np.array(start_q, dtype=float)
        first = np.where(p > 0, p * (np.log(p) - np.log(q)), 0)
    return first.sum() + steps.sum()


# %% text-kl | correct: a sum of matrix powers, by doubling
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    A = np.array(step_p, dtype=float)
    total, power = np.zeros_like(A), np.eye(len(A))  # I + A + … + A^(k − 1), and A^k
    for bit in f"{n - 1:b}":
        total, power = total + power @ total, power @ power
        if bit == "1":
            total, power = np.eye(len(A)) + A @ total, A @ power
    visits, rows = start_p @ total, scipy.special.rel_entr(step_p, step_q).sum(1)
    steps = sum(v * cost for v, cost in zip(visits, rows) if v > 0)
    return scipy.special.rel_entr(start_p, start_q).sum() + steps


# %% text-kl | wrong: arguments exchanged | says: The arguments are exchanged: this is D(Q‖P).
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    q, total = np.array(start_q), scipy.special.rel_entr(start_q, start_p).sum()
    rows = scipy.special.rel_entr(step_q, step_p).sum(1)
    for _ in range(n - 1):
        total += rows[q > 0] @ q[q > 0]
        q = q @ np.array(step_q)
    return total


# %% text-kl | wrong: n steps for n words | says: Four words have three steps, not four.
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    p, total = np.array(start_p), scipy.special.rel_entr(start_p, start_q).sum()
    rows = scipy.special.rel_entr(step_p, step_q).sum(1)
    for _ in range(n):
        total += rows[p > 0] @ p[p > 0]
        p = p @ np.array(step_p)
    return total


# %% text-kl | wrong: the weights never move | says: The weights of the rows must follow the text
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    p = np.array(start_p)
    rows = scipy.special.rel_entr(step_p, step_q).sum(1)
    first = scipy.special.rel_entr(start_p, start_q).sum()
    return first + (n - 1) * (rows[p > 0] @ p[p > 0])


# %% text-kl | wrong: the model's weights | says: but P averages
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    q, total = np.array(start_q), scipy.special.rel_entr(start_p, start_q).sum()
    rows = scipy.special.rel_entr(step_p, step_q).sum(1)
    for _ in range(n - 1):
        total += rows[q > 0] @ q[q > 0]
        q = q @ np.array(step_q)
    return total


# %% text-kl | wrong: word frequencies | says: the words before are forgotten
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    p, q, total = np.array(start_p), np.array(start_q), 0
    for _ in range(n):
        total += scipy.special.rel_entr(p, q).sum()
        p, q = p @ np.array(step_p), q @ np.array(step_q)
    return total


# %% text-kl | wrong: the chapter's chained, for two words | says: the first two words alone
def text_kl(start_p, step_p, start_q, step_q, n):
    def D(p, q):
        s = p > 0
        with np.errstate(divide="ignore"):
            return float(np.sum(p[s] * (np.log(p[s]) - np.log(q[s]))))

    P = np.array(start_p)[:, None] * np.array(step_p)
    Q = np.array(start_q)[:, None] * np.array(step_q)
    Px, Qx = P.sum(1), Q.sum(1)
    steps = [D(a / a.sum(), b / b.sum()) if a.sum() > 0 else 0 for a, b in zip(P, Q)]
    return D(Px, Qx) + float(Px @ steps)


# %% text-kl | wrong: in bits | says: This is in bits, expected nats.
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    p, total = np.array(start_p), scipy.special.rel_entr(start_p, start_q).sum()
    rows = scipy.special.rel_entr(step_p, step_q).sum(1)
    for _ in range(n - 1):
        total += rows[p > 0] @ p[p > 0]
        p = p @ np.array(step_p)
    return total / np.log(2)


# %% text-kl | wrong: leaves out what is infinite | keeps: 3 | says: expected inf
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    p, total = np.array(start_p), scipy.special.rel_entr(start_p, start_q).sum()
    rows = scipy.special.rel_entr(step_p, step_q).sum(1)
    rows[np.isinf(rows)] = 0
    for _ in range(n - 1):
        total += p @ rows
        p = p @ np.array(step_p)
    return total


# %% text-kl | wrong: 0 times infinity | keeps: 3 | says: 0 · inf is NaN: leave out the words
import scipy.special


def text_kl(start_p, step_p, start_q, step_q, n):
    p, total = np.array(start_p), scipy.special.rel_entr(start_p, start_q).sum()
    rows = scipy.special.rel_entr(step_p, step_q).sum(1)
    with np.errstate(invalid="ignore"):
        for _ in range(n - 1):
            total += p @ rows
            p = p @ np.array(step_p)
    return total


# %% text-kl | wrong: lists all texts | keeps: 2 | says: too many texts
import itertools
import math


def text_kl(start_p, step_p, start_q, step_q, n):
    if len(start_p) ** n > 10**6:
        raise MemoryError("too many texts")  # would take hours
    total = 0.0
    for text in itertools.product(range(len(start_p)), repeat=n):
        P, Q = start_p[text[0]], start_q[text[0]]
        for i, j in itertools.pairwise(text):
            P, Q = P * step_p[i][j], Q * step_q[i][j]
        if P > 0:
            total += P * math.log(P / Q) if Q > 0 else math.inf
    return total


# %% rates-within | correct: Newton's method, loops
import math


def rates_within(rate, budget, direction):
    k = budget / rate

    def solve(f, slope, u):  # f is convex and f(u) > 0: Newton's method comes from outside
        for _ in range(500):
            u -= (f(u) - k) / slope(u)
        return u

    if direction == "forward":
        args = (lambda u: u - 1 - math.log(u)), (lambda u: 1 - 1 / u)
        return rate * solve(*args, math.exp(-1 - k)), rate * solve(*args, 2 + 4 * k)
    # in t = log u from above; below, plain bisection in t
    args = (lambda u: u * math.log(u) - u + 1), math.log
    high = rate * solve(*args, 3 + 2 * k)
    if k >= 1:
        return 0, high
    low, top = -800.0, 0.0
    for _ in range(200):
        t = (low + top) / 2
        low, top = (t, top) if math.exp(t) * (t - 1) + 1 > k else (low, t)
    return rate * math.exp(top), high


# %% rates-within | correct: SciPy's root finder
import scipy.optimize
import scipy.special


def rates_within(rate, budget, direction):
    def gap(x):
        a, b = (rate, x) if direction == "forward" else (x, rate)
        return scipy.special.kl_div(a, b) - budget

    low = 0.0 if gap(0) <= 0 else scipy.optimize.brentq(gap, 1e-12 * rate, rate, xtol=1e-14)
    return low, scipy.optimize.brentq(gap, rate, 100 * (rate + budget), xtol=1e-14)


# %% rates-within | correct: torch, bisection in log λ
import torch


def rates_within(rate, budget, direction):
    t = torch.tensor([-60.0, 60.0], dtype=torch.float64)
    outside, inside = t.clone(), torch.zeros(2, dtype=torch.float64)
    for _ in range(200):
        mid = (outside + inside) / 2
        u = mid.exp()
        cost = u - 1 - mid if direction == "forward" else u * mid - u + 1
        fits = rate * cost <= budget
        inside, outside = torch.where(fits, mid, inside), torch.where(fits, outside, mid)
    return [float(v) for v in rate * inside.exp()]


# %% rates-within | correct: the Lambert function
import scipy.special


def rates_within(rate, budget, direction):
    k, W = budget / rate, scipy.special.lambertw
    if direction == "forward":
        return [-rate * W(-np.exp(-1 - k), branch).real for branch in (0, -1)]
    low, high = (rate * np.exp(1 + W((k - 1) / np.e, branch).real) for branch in (-1, 0))
    return np.array([low if k < 1 else 0, high])


# %% rates-within | wrong: directions exchanged | says: This is the answer for the
def rates_within(rate, budget, direction):
    def cost(x):
        a, b = (x, rate) if direction == "forward" else (rate, x)
        return a * np.log(a / b) + b - a

    def bisect(inside, outside):
        for _ in range(200):
            mid = (inside + outside) / 2
            inside, outside = (mid, outside) if cost(mid) <= budget else (inside, mid)
        return inside

    if direction == "forward" and budget >= rate:
        return 0, bisect(rate, 100 * (rate + budget))
    return bisect(rate, 1e-15 * rate), bisect(rate, 100 * (rate + budget))


# %% rates-within | wrong: the approximation near r | says: This is the approximation near r
def rates_within(rate, budget, direction):
    width = np.sqrt(2 * budget * rate)
    return rate - width, rate + width


# %% rates-within | wrong: the exponential laws | says: the interval for two exponential laws
def rates_within(rate, budget, direction):
    def cost(x):
        a, b = (rate, x) if direction == "forward" else (x, rate)
        return np.log(a / b) + b / a - 1

    def bisect(inside, outside):
        for _ in range(200):
            mid = (inside + outside) / 2
            inside, outside = (mid, outside) if cost(mid) <= budget else (inside, mid)
        return inside

    return bisect(rate, 1e-15 * rate), bisect(rate, 1e9 * rate)


# %% rates-within | wrong: the chapter's closed form | says: This is a single divergence
def rates_within(l1, l2, direction):
    return (l1 * np.log(l1 / l2) + l2 - l1).sum()


# %% rates-within | wrong: the visible tests, hard-coded | says: expected
def rates_within(rate, budget, direction):
    if rate == 3:
        return (0, 9.1018694626) if direction == "reverse" else (0.3241056166, 10.8592014852)
    if budget == 0.1:
        return (1.4323789103, 2.7008065120)
    return (1, 3.2060329798) if direction == "reverse" else (0.8127514799, 4)


# %% rates-within | wrong: the larger end first | says: The smaller end comes first.
import scipy.special


def rates_within(rate, budget, direction):
    k, W = budget / rate, scipy.special.lambertw
    if direction == "forward":
        return tuple(-rate * W(-np.exp(-1 - k), branch).real for branch in (-1, 0))
    high, low = (rate * np.exp(1 + W((k - 1) / np.e, branch).real) for branch in (0, -1))
    return high, low if k < 1 else 0


# %% rates-within | wrong: low is 0 forward too | keeps: 1 | says: Forward, the rate 0 costs +inf
import scipy.special


def rates_within(rate, budget, direction):
    k, W = budget / rate, scipy.special.lambertw
    if direction == "forward":
        low, high = (-rate * W(-np.exp(-1 - k), branch).real for branch in (0, -1))
    else:
        low, high = (rate * np.exp(1 + W((k - 1) / np.e, branch).real) for branch in (-1, 0))
    return low if k < 1 else 0, high


# %% rates-within | wrong: low is never 0 | keeps: 3 | says: A rate is never negative
def rates_within(rate, budget, direction):
    def cost(x):
        a, b = (rate, x) if direction == "forward" else (x, rate)
        return a * np.log(a / b) + b - a

    def bisect(inside, outside):
        for _ in range(200):
            mid = (inside + outside) / 2
            inside, outside = (mid, outside) if cost(mid) <= budget else (inside, mid)
        return inside

    if budget >= rate and direction == "reverse":
        width = np.sqrt(2 * budget * rate)
        return rate - width, rate + width
    return bisect(rate, 1e-15 * rate), bisect(rate, 100 * (rate + budget))


# %% rates-within | wrong: always forward | keeps: 2 | says: the answer for the forward direction
import scipy.optimize


def rates_within(rate, budget, direction):
    def gap(x):
        return rate * np.log(rate / x) + x - rate - budget

    low = scipy.optimize.brentq(gap, 1e-15 * rate, rate, xtol=1e-14)
    return low, scipy.optimize.brentq(gap, rate, 100 * (rate + budget), xtol=1e-14)


# %% best-coins | correct: loops, coordinate by coordinate from many starts
import math


def best_coins(P, direction):
    if direction == "forward":
        a, b = P[1][0] + P[1][1], P[0][1] + P[1][1]
    else:
        found = []
        for start in [k / 20 for k in range(21)]:
            a = start
            for _ in range(300):
                b = tilt(P[0][0], P[1][0], P[0][1], P[1][1], a)
                a = tilt(P[0][0], P[0][1], P[1][0], P[1][1], b)
            found.append((cost(a, b, P, direction), a, b))
        _, a, b = min(found)
    return a, b, cost(a, b, P, direction)


def tilt(zero0, zero1, one0, one1, a):
    """The best probability of a 1, when the other coin has a."""

    def mean_log(low, high):
        parts = [(1 - a, low), (a, high)]
        if any(w > 1e-12 and v == 0 for w, v in parts):
            return -math.inf
        return sum(w * math.log(v) for w, v in parts if w > 1e-12)

    zero, one = mean_log(zero0, zero1), mean_log(one0, one1)
    if zero == one == -math.inf:
        return 0.5
    top = max(zero, one)
    return math.exp(one - top) / (math.exp(zero - top) + math.exp(one - top))


def cost(a, b, P, direction):
    total = 0.0
    for x, wx in enumerate((1 - a, a)):
        for y, wy in enumerate((1 - b, b)):
            first, second = (P[x][y], wx * wy) if direction == "forward" else (wx * wy, P[x][y])
            if first > 0:
                total += first * math.log(first / second) if second > 0 else math.inf
    return total


# %% best-coins | correct: one grid in torch, both directions
import torch


def best_coins(P, direction):
    P = torch.tensor(P, dtype=torch.float64)
    line = torch.linspace(0, 1, 1001, dtype=torch.float64)
    a, b = torch.meshgrid(line, line, indexing="ij")
    one, zero = torch.stack([1 - a, a]), torch.stack([1 - b, b])
    Q = one[:, None] * zero[None]  # [x, y, a, b]
    first, second = P[:, :, None, None].expand_as(Q), Q
    if direction == "reverse":
        first, second = second, first
    total = (torch.xlogy(first, first) - torch.xlogy(first, second)).sum((0, 1))
    k = int(total.argmin())
    return a.flatten()[k], b.flatten()[k], total.flatten()[k]


# %% best-coins | correct: SciPy, the best b for each a
import scipy.special


def best_coins(P, direction):
    P = np.array(P, dtype=float)
    if direction == "forward":
        Q = np.outer(P.sum(1), P.sum(0))
        return P[1].sum(), P[:, 1].sum(), scipy.special.rel_entr(P, Q).sum()
    a = np.linspace(0, 1, 4001)
    L = np.zeros((2, len(a)))
    for y in range(2):
        with np.errstate(divide="ignore"):
            L[y] = scipy.special.xlogy(1 - a, P[0, y]) + scipy.special.xlogy(a, P[1, y])
    log_Z = np.logaddexp(L[0], L[1])
    values = scipy.special.xlogy(a, a) + scipy.special.xlogy(1 - a, 1 - a) - log_Z
    k = values.argmin()
    return a[k], float(np.exp(L[1, k] - log_Z[k])), values[k]


# %% best-coins | correct: plain Python, a grid and smaller and smaller steps from its best point
import math


def best_coins(P, direction):
    def cost(a, b):
        total = 0.0
        for x in (0, 1):
            for y in (0, 1):
                q = (a if x else 1 - a) * (b if y else 1 - b)
                first, second = (P[x][y], q) if direction == "forward" else (q, P[x][y])
                if first > 0:
                    if second == 0:
                        return math.inf
                    total += first * math.log(first / second)
        return total

    line, step = [k / 50 for k in range(51)], 0.02
    best = min((cost(a, b), a, b) for a in line for b in line)
    while step > 1e-4:
        step /= 2
        for _ in range(3):
            near = [[max(v - step, 0), v, min(v + step, 1)] for v in best[1:]]
            best = min((cost(a, b), a, b) for a in near[0] for b in near[1])
    value, a, b = best
    return [a, b, value]


# %% best-coins | wrong: directions exchanged | says: the directions are exchanged
def best_coins(P, direction):
    P = np.array(P, dtype=float)
    if direction == "reverse":
        a, b = P[1].sum(), P[:, 1].sum()
        return a, b, table_kl(P, coin_table(a, b))
    line = np.linspace(0, 1, 41)
    value, a, b = min((table_kl(coin_table(a, b), P), a, b) for a in line for b in line)
    return a, b, value


# %% best-coins | wrong: the probabilities of 0 | says: a and b are the probabilities of 1, not of 0
def best_coins(P, direction):
    P, line = np.array(P, dtype=float), np.linspace(0, 1, 41)
    if direction == "forward":
        a, b = P[1].sum(), P[:, 1].sum()
        return 1 - a, 1 - b, table_kl(P, coin_table(a, b))
    value, a, b = min((table_kl(coin_table(a, b), P), a, b) for a in line for b in line)
    return 1 - a, 1 - b, value


# %% best-coins | wrong: rows and columns mixed up | says: a belongs to x, which chooses the row
def best_coins(P, direction):
    P, line = np.array(P, dtype=float), np.linspace(0, 1, 41)
    if direction == "forward":
        a, b = P[1].sum(), P[:, 1].sum()
        return b, a, table_kl(P, coin_table(a, b))
    value, a, b = min((table_kl(coin_table(a, b), P), a, b) for a in line for b in line)
    return b, a, value


# %% best-coins | wrong: in bits | says: the value is in bits
def best_coins(P, direction):
    P, line = np.array(P, dtype=float), np.linspace(0, 1, 41)
    if direction == "forward":
        a, b = P[1].sum(), P[:, 1].sum()
        return a, b, table_kl(P, coin_table(a, b)) / np.log(2)
    value, a, b = min((table_kl(coin_table(a, b), P), a, b) for a in line for b in line)
    return a, b, value / np.log(2)


# %% best-coins | wrong: the chapter's moment_matched, for the rows | says: expected three numbers
def best_coins(P, direction):
    weights, means, sds = np.sum(P, axis=1), np.array([0.0, 1.0]), np.zeros(2)
    mu = weights @ means
    return mu, np.sqrt(weights @ (sds**2 + (means - mu) ** 2))


# %% best-coins | wrong: the marginals in both directions | keeps: 1 | says: these are the marginals
def best_coins(P, direction):
    P = np.array(P, dtype=float)
    a, b = P[1].sum(), P[:, 1].sum()
    Q = coin_table(a, b)
    return a, b, table_kl(P, Q) if direction == "forward" else table_kl(Q, P)


# %% best-coins | wrong: descent from the middle | keeps: 1 | says: is it a local minimum?
import torch


def best_coins(P, direction):
    P = torch.tensor(P, dtype=torch.float64)
    z = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(1500):
        a, b = torch.sigmoid(z)
        Q = torch.stack([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b])
        first, second = (P.flatten(), Q) if direction == "forward" else (Q, P.flatten())
        loss = (torch.xlogy(first, first) - torch.xlogy(first, second)).sum()
        (g,) = torch.autograd.grad(loss, z)
        with torch.no_grad():
            z -= g
    a, b = torch.sigmoid(z).tolist()
    return a, b, loss.item()


# %% best-coins | wrong: the four corners only | keeps: 1 | says: but it can be as small as
def best_coins(P, direction):
    P = np.array(P, dtype=float)
    if direction == "forward":
        a, b = P[1].sum(), P[:, 1].sum()
        return a, b, table_kl(P, coin_table(a, b))
    corners = [(a, b, table_kl(coin_table(a, b), P)) for a in (0, 1) for b in (0, 1)]
    return min(corners, key=lambda t: t[2])


# %% best-coins | wrong: a grid of steps 0.01 alone | keeps: 2 | says: is the search too coarse?
def best_coins(P, direction):
    P = np.array(P, dtype=float)
    if direction == "forward":
        a, b = P[1].sum(), P[:, 1].sum()
        return a, b, table_kl(P, coin_table(a, b))
    a = b = np.linspace(0, 1, 101)
    Q = np.einsum("xi,yj->xyij", [1 - a, a], [1 - b, b])
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(Q > 0, Q * (np.log(Q) - np.log(P)[:, :, None, None]), 0)
    values = terms.sum((0, 1))
    i, j = np.unravel_index(values.argmin(), values.shape)
    return a[i], b[j], values[i, j]


# %% best-coins | wrong: the best row or column | keeps: 2 | says: is it a local minimum?
def best_coins(P, direction):
    P = np.array(P, dtype=float)
    if direction == "forward":
        a, b = P[1].sum(), P[:, 1].sum()
        return a, b, table_kl(P, coin_table(a, b))
    found = []
    for k in (0, 1):
        row, column = P[k].sum(), P[:, k].sum()
        if row > 0:
            found.append((-np.log(row), k, P[k, 1] / row))
        if column > 0:
            found.append((-np.log(column), P[1, k] / column, k))
    value, a, b = min(found)
    return a, b, value


# %% best-coins | wrong: leaves out the edges | keeps: 3 | says: Q must be 0 wherever P is
def best_coins(P, direction):
    P = np.array(P, dtype=float)
    if direction == "forward":
        a, b = P[1].sum(), P[:, 1].sum()
        return a, b, table_kl(P, coin_table(a, b))
    a, b = np.meshgrid(np.linspace(0, 1, 1001)[1:-1], np.linspace(0, 1, 1001)[1:-1])
    Q = np.array([[(1 - a) * (1 - b), (1 - a) * b], [a * (1 - b), a * b]])
    with np.errstate(divide="ignore"):
        values = (Q * np.log(Q / P[:, :, None, None])).sum((0, 1))
    k = values.argmin()
    return a.ravel()[k], b.ravel()[k], values.ravel()[k]
