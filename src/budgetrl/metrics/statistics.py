"""Statistics whose standard errors and confidence intervals treat problems, not responses, as the independent units.

The samples of one problem are not independent: a problem is drawn, and all of its samples come with it. So every
statistic keeps the influence of each problem on its value: to first order, a statistic T is its true value plus a sum
of independent terms d_p, one per problem, and its variance is the sum of the d_p squared. This has two advantages over
keeping only a standard error. It covers ratios, slopes and standard deviations alike (the delta method), and the
difference of two statistics on the same problems has the difference of their influences, which accounts for their
covariance. Results store only the `estimate`.

In variable names, P is the number of problems and N the number of responses. `problems_N` holds the index of the
problem of each response.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from budgetrl.metrics.estimates import Estimate

CONFIDENCE = 0.95
"""Confidence level of all intervals."""
# The relative error of a standard error estimated from n bootstrap draws is about 1 / sqrt(2 n): 5 % for 200.
_BOOTSTRAP_DRAWS = 200


@dataclass(frozen=True)
class Statistic:
    """A number computed from responses, with the influence of each problem on it."""

    value: float
    influence: np.ndarray
    """The influence d_p of each problem, [P]. Sums to 0; 0 for a problem without responses that count."""
    problems: int
    """Number of problems with responses that count."""

    def error(self) -> float | None:
        """Return the standard error, or None if fewer than two problems count."""
        if self.problems < 2:
            return None
        # sqrt(P / (P - 1) * sum of d_p^2). For a mean, this is the usual standard deviation / sqrt(P).
        return math.sqrt(self.problems / (self.problems - 1) * float(self.influence @ self.influence))

    def interval(self) -> tuple[float, float] | None:
        """Return the ends of the 95 % confidence interval (Student's t, P - 1 degrees of freedom), or None."""
        error = self.error()
        if error is None:
            return None
        return t_interval(self.value, error, self.problems)

    def estimate(self, with_interval: bool = False) -> Estimate:
        """Return the value with its standard error and, if asked for, its interval."""
        return Estimate(self.value, self.error(), self.interval() if with_interval else None)


@dataclass(frozen=True)
class Reduction(Statistic):
    """The statistic 1 - after / before on the same problems. Its interval is Fieller's."""

    before: Statistic
    after: Statistic

    def interval(self) -> tuple[float, float] | None:
        """Return the ends of the 95 % confidence interval.

        None for fewer than two problems, or if `before` is not significantly greater than 0.
        """
        if self.problems < 2:
            return None
        # With x = before and y = after, Fieller's interval for the ratio r = y / x is the set of all r for which
        # y - r x is not significantly different from 0:
        #     (y - r x)^2 <= t^2 Var(y - r x) = t^2 (Var(y) - 2 r Cov(x, y) + r^2 Var(x)).
        # As a quadratic in r: a r^2 - 2 b r + c <= 0, with
        #     a = x^2 - t^2 Var(x),   b = x y - t^2 Cov(x, y),   c = y^2 - t^2 Var(y).
        # The simpler value ± t * standard error is too short for skewed lengths: its standard error depends on how many
        # long responses happen to be in the sample.
        x, y = self.before.value, self.after.value
        factor = _t_quantile(self.problems - 1) ** 2 * self.problems / (self.problems - 1)
        covariances = factor * _inner_products(self.before.influence, self.after.influence)
        (var_x, cov), (_, var_y) = covariances.tolist()  # these include the factor t^2
        a, b, c = x * x - var_x, x * y - cov, y * y - var_y
        if a <= 0:  # x itself is not significantly different from 0, so the interval is unbounded
            return None
        root = math.sqrt(max(b * b - a * c, 0.0))  # never negative except for rounding
        return 1 - (b + root) / a, 1 - (b - root) / a


def t_interval(value: float, error: float, count: int) -> tuple[float, float]:
    """Return the ends of the 95 % confidence interval of a mean of `count` independent numbers, by Student's t."""
    half_width = _t_quantile(count - 1) * error
    return value - half_width, value + half_width


def _t_quantile(degrees: int) -> float:
    """The two-sided quantile of Student's t: half the width of an interval in standard errors."""
    from scipy.special import stdtrit  # takes 0.2 seconds to import, and only intervals need it

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def ratio(totals_P: np.ndarray, counts_P: np.ndarray, problems: int | None = None) -> Statistic | None:
    """Return the sum of `totals_P` divided by the sum of `counts_P`, such as tokens / responses; None for a sum of 0.

    The standard error is by the delta method. If all counts are equal, it is that of the mean over the problems' means.
    `problems` is the number of problems that count; by default those with a count other than 0.
    """
    if not counts_P.sum():
        return None
    # For r = sum(t) / sum(c), the derivative gives problem p the influence (t_p - r c_p) / sum(c).
    value = float(totals_P.sum() / counts_P.sum())
    influence_P = (totals_P - value * counts_P) / counts_P.sum()
    if problems is None:
        problems = int(np.count_nonzero(counts_P))
    return Statistic(value, influence_P, problems)


def mean_of_problems(values: Mapping[int, float], count: int) -> Statistic | None:
    """Return the mean of one number per problem, by index among `count` problems. Each problem has the same weight."""
    totals_P, counts_P = np.zeros(count), np.zeros(count)
    for problem, value in values.items():
        totals_P[problem], counts_P[problem] = value, 1
    return ratio(totals_P, counts_P)


def standard_deviation(values_N: np.ndarray, problems_N: np.ndarray, count: int) -> Statistic | None:
    """Return the standard deviation over responses (with divisor N); its standard error is by the delta method."""
    if not len(values_N):
        return None
    squares_N = (values_N - values_N.mean()) ** 2
    value = float(np.sqrt(squares_N.mean()))
    # The variance s^2 is a mean, in which response i has the influence ((v_i - mean)^2 - s^2) / N. For its square root,
    # ds = d(s^2) / (2 s). If all values are equal, s and all influences are 0.
    terms_N = (squares_N - value**2) / (2 * value * len(values_N)) if value else np.zeros(len(values_N))
    return _sum_influences(value, terms_N, problems_N, count)


def slope(x_N: np.ndarray, y_N: np.ndarray, problems_N: np.ndarray, count: int) -> Statistic | None:
    """Return the slope of the least-squares line of y on x, with intercept; None if x is constant.

    The standard error is cluster-robust, with problems as clusters (the "sandwich" estimator).
    """
    if not len(x_N) or np.ptp(x_N) == 0:
        return None
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()  # centering replaces the intercept
    value = float(x_N @ y_N / (x_N @ x_N))
    residuals_N = y_N - value * x_N
    # The influence of response i on the slope is x_i e_i / sum(x^2), with residual e_i.
    return _sum_influences(value, x_N * residuals_N / (x_N @ x_N), problems_N, count)


def difference(before: Statistic, after: Statistic) -> Statistic:
    """Return after - before on the same problems."""
    # Subtracting influences subtracts 2 Cov(before, after) from the variance: this is the paired standard error.
    problems = min(before.problems, after.problems)
    return Statistic(after.value - before.value, after.influence - before.influence, problems)


def reduction(before: Statistic, after: Statistic) -> Reduction:
    """Return 1 - after / before on the same problems."""
    # For f = 1 - y / x, df = (y / x dx - dy) / x.
    ratio_kept = after.value / before.value
    influence = (ratio_kept * before.influence - after.influence) / before.value
    problems = min(before.problems, after.problems)
    return Reduction(1 - ratio_kept, influence, problems, before, after)


def jackknife(statistic: Callable[[np.ndarray], float], count: int) -> Statistic:
    """Return a statistic with jackknife influences, for statistics without a simple derivative.

    `statistic` takes the weights of the `count` problems, [P]. Each problem is left out once.
    """
    value = statistic(np.ones(count))
    if count < 2:
        return Statistic(value, np.zeros(count), count)
    without_P = np.empty(count)
    for left_out in range(count):
        weights_P = np.ones(count)
        weights_P[left_out] = 0.0
        without_P[left_out] = statistic(weights_P)
    # The jackknife variance is (P - 1) / P * sum((T_p - mean T)^2), with T_p the value without problem p. The influence
    # (mean T - T_p) (P - 1) / P gives exactly that, as `error` multiplies the sum of squares with P / (P - 1).
    return Statistic(value, (without_P.mean() - without_P) * (count - 1) / count, count)


@dataclass(frozen=True)
class RankPairs:
    """Two fields of N outcomes, for Spearman's rank correlation rho and its bootstrap error.

    Each value is stored as its index among the sorted distinct values of its field. A bootstrap sample is then a weight
    per row, and ranks follow from a cumulative sum of weights, so that nothing has to be sorted again.
    """

    places: np.ndarray
    """Index of each value among the sorted distinct values, [2, N]."""
    problems: np.ndarray
    """Problem of each row, [N], numbered from 0 without gaps."""

    @staticmethod
    def of(x_N: np.ndarray, y_N: np.ndarray, problems_N: np.ndarray) -> "RankPairs":
        """Build pairs from two fields of N outcomes. The numbers in `problems_N` may have gaps."""
        x_places = np.unique(x_N, return_inverse=True)[1]
        y_places = np.unique(y_N, return_inverse=True)[1]
        problems = np.unique(problems_N, return_inverse=True)[1]
        return RankPairs(np.array([x_places, y_places]), problems)

    @property
    def value(self) -> float | None:
        """Spearman's rho; None if a field is constant, because the correlation is then undefined."""
        return self._rho(np.ones(len(self.problems)))

    def estimate(self) -> Estimate | None:
        """Return rho with its standard error; None if rho is undefined."""
        value = self.value
        return None if value is None else Estimate(value, self.error())

    def error(self) -> float | None:
        """Return the bootstrap standard error: the standard deviation of rho over resampled problems.

        None for fewer than two problems, or if rho is undefined in nearly all resamples.
        """
        count = len(np.unique(self.problems))
        if count < 2:
            return None
        generator = np.random.default_rng(0)  # a fixed seed: the same rows always give the same error
        rhos: list[float] = []
        for _ in range(_BOOTSTRAP_DRAWS):
            drawn = generator.integers(count, size=count)
            times_P = np.bincount(drawn, minlength=count)  # how often each problem was drawn
            rho = self._rho(times_P[self.problems])  # its rows get that weight
            if rho is not None:
                rhos.append(rho)
        return float(np.std(rhos, ddof=1)) if len(rhos) > 1 else None

    def _rho(self, weights_N: np.ndarray) -> float | None:
        """Pearson's correlation of the ranks, with each row repeated `weight` times."""
        if not weights_N.sum():
            return None
        x_places, y_places = self.places
        ranks_2N = np.array([_weighted_ranks(x_places, weights_N), _weighted_ranks(y_places, weights_N)])
        deviations_2N = ranks_2N - np.average(ranks_2N, axis=1, weights=weights_N)[:, None]
        covariance = (weights_N * deviations_2N) @ deviations_2N.T
        scale = math.sqrt(covariance[0, 0] * covariance[1, 1])
        return float(covariance[0, 1] / scale) if scale > 0 else None


def _sum_influences(value: float, terms_N: np.ndarray, problems_N: np.ndarray, count: int) -> Statistic:
    """A statistic, given the influence of each response. The influence of a problem is the sum over its responses."""
    influence_P = np.bincount(problems_N, terms_N, minlength=count)
    return Statistic(value, influence_P, len(np.unique(problems_N)))


def _inner_products(*influences: np.ndarray) -> np.ndarray:
    """All inner products of n influences, [n, n]."""
    return np.array(influences) @ np.array(influences).T


def _weighted_ranks(places_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
    """Ranks of rows that are each repeated `weight` times, up to a constant. Ties get the mean of their ranks."""
    counts = np.bincount(places_N, weights_N)
    # All rows before a value, plus half of the rows with that value.
    return (np.cumsum(counts) - counts / 2)[places_N]
