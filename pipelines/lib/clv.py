"""Customer value by BG/NBD and Gamma-Gamma: who is still a customer, and what she will spend.

Pure functions of arrays, one element a customer (or a group of ``weights`` alike). ``frequency`` x
counts the times a customer came back, ``recency`` t_x is the time from the first purchase to the
last, ``age`` T from the first purchase to now, all in one unit of time. Sources: P. Fader,
B. Hardie and K. Lee, "Counting Your Customers" the Easy Way (2005); P. Fader and B. Hardie, The
Gamma-Gamma Model of Monetary Value (2013).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

#: Below this many customers who came back a fit says more about chance than about them.
FEWEST = 20


@dataclass(frozen=True, slots=True)
class BgNbd:
    """Purchases come at a gamma (``r``, ``alpha``) rate; customers leave at a beta (a, b) one."""

    r: float
    alpha: float
    a: float
    b: float
    log_likelihood: float

    def alive(self, frequency: Array, recency: Array, age: Array) -> Array:
        """Return the probability that each is still a customer; 1 by construction for x = 0."""
        returned = np.maximum(frequency, 1)
        odds = self.a / (self.b + returned - 1)
        waited = (self.alpha + age) / (self.alpha + recency)
        gone = np.exp(np.log(odds) + (self.r + frequency) * np.log(waited))
        return np.where(frequency > 0, 1 / (1 + gone), 1.0)

    def expected(self, frequency: Array, recency: Array, age: Array, ahead: float) -> Array:
        """Return the purchases to expect of each in ``ahead`` units of time from now."""
        from scipy.special import hyp2f1

        # The dear part is the same for all who came as often and are as old: a few thousand pairs.
        pairs, mine = np.unique(frequency + 1j * age, return_inverse=True)
        times, old = pairs.real, pairs.imag
        f, b = self.r + times, self.b + times
        c = self.a + b - 1
        z = ahead / (self.alpha + old + ahead)
        shrink = ((self.alpha + old) / (self.alpha + old + ahead)) ** f
        # Smooth through a = 1, where the formula divides nothing by nothing.
        past = self.a - 1 if abs(self.a - 1) > 1e-6 else 1e-6
        grown: Array = (c / past * (1 - shrink * hyp2f1(f, b, c, z)))[mine]
        return grown * self.alive(frequency, recency, age)


@dataclass(frozen=True, slots=True)
class GammaGamma:
    """A purchase is worth gamma (``p``), whose rate is gamma (``q``, ``v``) among customers."""

    p: float
    q: float
    v: float

    def expected(self, frequency: Array, value: Array) -> Array:
        """Return the worth of a purchase to expect of each whose mean worth so far is ``value``."""
        known: Array = self.p * (self.v + frequency * value) / (self.p * frequency + self.q - 1)
        return known


def fit_bg_nbd(
    frequency: Array, recency: Array, age: Array, weights: Array | None = None
) -> BgNbd | None:
    """Fit by maximum likelihood; None where too few came back, or no maximum is found."""
    weights = np.ones_like(age) if weights is None else weights
    if weights[frequency > 0].sum() < FEWEST:
        return None
    # Times near 1 suit the search; alpha is the only parameter that has a unit.
    scale = float(age.max())
    recency, age = recency / scale, age / scale
    best = _search(
        lambda logs: -_bg_nbd(np.exp(logs), frequency, recency, age, weights),
        [(0.0, 0.0, 0.0, 0.0), (-1.5, -2.0, -0.5, 1.0)],
    )
    if best is None:
        return None
    r, alpha, a, b = np.exp(best)
    # A density in time changes with its unit, once for every purchase.
    likelihood = _bg_nbd(np.exp(best), frequency, recency, age, weights)
    likelihood -= float((weights * frequency).sum() * np.log(scale))
    return BgNbd(float(r), float(alpha * scale), float(a), float(b), likelihood)


def fit_gamma_gamma(
    frequency: Array, value: Array, weights: Array | None = None
) -> GammaGamma | None:
    """Fit to those who came back and spent; None where they are too few or no maximum is found."""
    chosen = (frequency > 0) & (value > 0)
    frequency, value = frequency[chosen], value[chosen]
    weights = np.ones_like(value) if weights is None else weights[chosen]
    if weights.sum() < FEWEST:
        return None
    scale = float(value.mean())
    value = value / scale
    times = np.unique(frequency, return_inverse=True)

    def cost(logs: Array) -> tuple[float, Array]:
        parameters = np.exp(logs)
        likelihood, slope = _gamma_gamma(parameters, frequency, value, weights, times)
        return -likelihood, -slope * parameters

    best = _search(cost, [(1.0, 1.0, 1.0), (2.0, 1.5, 0.0)], jac=True)
    if best is None:
        return None
    p, q, v = np.exp(best)
    # The mean of all customers is p v / (q - 1), and there is none for q up to 1.
    return GammaGamma(float(p), float(q), float(v * scale)) if q > 1 else None


def _bg_nbd(
    parameters: Array, frequency: Array, recency: Array, age: Array, weights: Array
) -> float:
    from scipy.special import betaln, gammaln

    r, alpha, a, b = parameters
    stays = -(r + frequency) * np.log(alpha + age)
    returned = np.maximum(frequency, 1)
    leaves = np.log(a) - np.log(b + returned - 1) - (r + frequency) * np.log(alpha + recency)
    terms = (
        gammaln(r + frequency)
        - gammaln(r)
        + r * np.log(alpha)
        + betaln(a, b + frequency)
        - betaln(a, b)
        + np.where(frequency > 0, np.logaddexp(stays, leaves), stays)
    )
    return float((weights * terms).sum())


def _gamma_gamma(
    parameters: Array,
    frequency: Array,
    value: Array,
    weights: Array,
    times: tuple[Array, npt.NDArray[np.intp]],
) -> tuple[float, Array]:
    """Return the log likelihood, and how it grows with each of the parameters.

    ``times`` are the frequencies that there are, and which of them each one has: what needs gamma
    functions is the same for all who came as often.
    """
    from scipy.special import digamma, gammaln

    p, q, v = parameters
    counts, mine = times
    whole, spent = p * frequency, frequency * value
    within = np.log(spent + v)
    above = digamma(p * counts + q)
    terms = (
        (gammaln(p * counts + q) - gammaln(p * counts))[mine]
        - gammaln(q)
        + q * np.log(v)
        - np.log(value)
        + whole * np.log(spent)
        - (whole + q) * within
    )
    slopes = (
        frequency * ((above - digamma(p * counts))[mine] + np.log(spent) - within),
        above[mine] - digamma(q) + np.log(v) - within,
        q / v - (whole + q) / (spent + v),
    )
    return float((weights * terms).sum()), np.array([(weights * each).sum() for each in slopes])


def _search(cost: Any, starts: list[tuple[float, ...]], *, jac: bool = False) -> Array | None:
    """Return the logarithms of the parameters of the least cost, from the first start that ends.

    With ``jac`` the cost comes with its slope by each of them.
    """
    from scipy.optimize import minimize

    first = cost(np.array(starts[0]))
    size = float(max(1.0, abs(first[0] if jac else first)))

    def sized(logs: Array) -> Any:
        found = cost(logs)
        return (found[0] / size, found[1] / size) if jac else found / size

    for start in starts:
        found = minimize(
            sized, start, method="L-BFGS-B", jac=jac,
            bounds=[(-12.0, 12.0)] * len(start), options={"ftol": 1e-13, "gtol": 1e-8},
        )  # fmt: skip
        if found.success and np.isfinite(found.fun):
            best: Array = found.x
            return best
    return None
