"""Statistics with standard errors and confidence intervals that treat the problem as the unit.

The samples of one problem are not independent: problems are drawn, and all of a problem's samples come with
it. Every statistic here keeps what each problem contributes to its error (its influence function), so that
two statistics of the same problems are subtracted with their covariance. Results keep its `estimate` alone.
P is the number of problems, N that of responses; `problems_N` says which problem a response belongs to.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from budgetrl.metrics.estimates import Estimate

CONFIDENCE = 0.95
"""Coverage of every interval."""
_BOOTSTRAP_DRAWS = 200  # puts the error of the standard error itself at 1 / sqrt(400) = 5 %


@dataclass(frozen=True)
class Statistic:
    """A number computed from the responses to problems, and what each problem contributes to its error."""

    value: float
    influence: np.ndarray
    """[P]. Sums to 0 over problems; 0 for a problem with no response that counts."""
    problems: int
    """Problems with a response that counts."""

    def error(self) -> float | None:
        """The standard error, or None if fewer than two problems count."""
        if self.problems < 2:
            return None
        return math.sqrt(self.problems / (self.problems - 1) * float(self.influence @ self.influence))

    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % interval by Student's t with one degree of freedom less than problems, or None."""
        error = self.error()
        if error is None:
            return None
        return t_interval(self.value, error, self.problems)

    def estimate(self, with_interval: bool = False) -> Estimate:
        """The number with its error, as results have it."""
        return Estimate(self.value, self.error(), self.interval() if with_interval else None)


@dataclass(frozen=True)
class Reduction(Statistic):
    """1 - after / before, on the same problems; its interval is Fieller's."""

    before: Statistic
    after: Statistic

    def interval(self) -> tuple[float, float] | None:
        """Ends of the 95 % interval, or None: for fewer than two problems, or a `before` not clearly above 0.

        Fieller's: the shares k for which after - k before could be 0 by Student's t. The standard error hangs on the
        number of long answers drawn, so that value ± t errors is too short where lengths are skewed.
        """
        if self.problems < 2:
            return None
        # The ends are the roots of a k^2 - 2 b k + c = 0. With a <= 0, where `before` itself could be 0, the possible
        # shares have no bound.
        x, y = self.before.value, self.after.value
        reach = _t_quantile(self.problems - 1) ** 2 * self.problems / (self.problems - 1)
        (xx, xy), (_, yy) = (reach * _products(self.before.influence, self.after.influence)).tolist()
        a, b, c = x * x - xx, x * y - xy, y * y - yy
        if a <= 0:
            return None
        root = math.sqrt(max(b * b - a * c, 0.0))
        return 1 - (b + root) / a, 1 - (b - root) / a


def t_interval(value: float, error: float, count: int) -> tuple[float, float]:
    """Ends of the 95 % interval of a mean of `count` independent numbers with this standard error, by Student's t."""
    reach = _t_quantile(count - 1) * error
    return value - reach, value + reach


def _t_quantile(degrees: int) -> float:
    """How many standard errors either way an interval reaches, by Student's t."""
    from scipy.special import stdtrit  # a fifth of a second to import, which only intervals need

    return float(stdtrit(degrees, (1 + CONFIDENCE) / 2))


def ratio(totals_P: np.ndarray, counts_P: np.ndarray, problems: int | None = None) -> Statistic | None:
    """Sum over sum, such as tokens over responses; None where the denominators add up to nothing.

    With the same denominator for every problem its error is that of the mean over problem means; else that
    of a ratio by the delta method. `problems` is the number that count, where it is not those with a denominator.
    """
    if not counts_P.sum():
        return None
    value = float(totals_P.sum() / counts_P.sum())
    influence_P = (totals_P - value * counts_P) / counts_P.sum()
    return Statistic(value, influence_P, int(np.count_nonzero(counts_P)) if problems is None else problems)


def mean_of_problems(values: Mapping[int, float], count: int) -> Statistic | None:
    """The mean of one number per problem, by its place among `count` problems; each weighs the same."""
    totals_P, counts_P = np.zeros(count), np.zeros(count)
    for problem, value in values.items():
        totals_P[problem], counts_P[problem] = value, 1
    return ratio(totals_P, counts_P)


def standard_deviation(values_N: np.ndarray, problems_N: np.ndarray, count: int) -> Statistic | None:
    """The standard deviation over responses (divided by N); its error by the delta method."""
    if not len(values_N):
        return None
    # sqrt has the derivative 1 / (2 sqrt): what a response adds to the variance changes the spread by that much.
    squares_N = (values_N - values_N.mean()) ** 2
    value = float(np.sqrt(squares_N.mean()))
    terms_N = (squares_N - value**2) / (2 * value * len(values_N)) if value else np.zeros(len(values_N))
    return _over_problems(value, terms_N, problems_N, count)


def slope(x_N: np.ndarray, y_N: np.ndarray, problems_N: np.ndarray, count: int) -> Statistic | None:
    """The slope of the least-squares line of y on x, with an intercept; None if x is constant.

    Its error is robust to clusters, which are the problems.
    """
    if not len(x_N) or np.ptp(x_N) == 0:
        return None
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    value = float(x_N @ y_N / (x_N @ x_N))
    residuals_N = y_N - value * x_N
    return _over_problems(value, x_N * residuals_N / (x_N @ x_N), problems_N, count)


def difference(before: Statistic, after: Statistic) -> Statistic:
    """after - before, on the same problems."""
    return Statistic(after.value - before.value, after.influence - before.influence, _both(before, after))


def reduction(before: Statistic, after: Statistic) -> Reduction:
    """1 - after / before, on the same problems."""
    kept = after.value / before.value
    # The derivative of 1 - y / x is (y / x dx - dy) / x.
    influence = (kept * before.influence - after.influence) / before.value
    return Reduction(1 - kept, influence, _both(before, after), before, after)


def jackknife(statistic: Callable[[np.ndarray], float], count: int) -> Statistic:
    """A statistic of weighted problems, for those without an influence function of their own.

    `statistic` takes a weight for each problem. Each is left out once; what that changes is its influence.
    """
    value = statistic(np.ones(count))
    if count < 2:
        return Statistic(value, np.zeros(count), count)
    without_P = np.empty(count)
    for left_out in range(count):
        weights_P = np.ones(count)
        weights_P[left_out] = 0.0
        without_P[left_out] = statistic(weights_P)
    # (P - 1) / P times the sum of squares around their mean is the jackknife's variance.
    return Statistic(value, (without_P.mean() - without_P) * (count - 1) / count, count)


@dataclass(frozen=True)
class RankPairs:
    """Two fields of N outcomes, kept as places among their distinct values, for Spearman's rho.

    Weights stand for repeated rows: redrawing problems is then a bincount, and nothing is sorted again.
    """

    places: np.ndarray
    """[2, N]."""
    problems: np.ndarray
    """[N], which problem a row belongs to, numbered without gaps."""

    @staticmethod
    def of(x_N: np.ndarray, y_N: np.ndarray, problems_N: np.ndarray) -> "RankPairs":
        """The pairs of two fields of N outcomes; `problems_N` may have gaps in its numbers."""
        places_3N = np.array([np.unique(column, return_inverse=True)[1] for column in (x_N, y_N, problems_N)])
        return RankPairs(places_3N[:2], places_3N[2])

    @property
    def value(self) -> float | None:
        """Spearman's rho; None where a field is constant: equal ranks correlate with nothing."""
        return self._rho(np.ones(len(self.problems)))

    def estimate(self) -> Estimate | None:
        """Rho with its error, as results have it; None where there is no rho."""
        value = self.value
        return None if value is None else Estimate(value, self.error())

    def error(self) -> float | None:
        """The spread of rho over redrawn problems; None for a single problem or if no two redraws have a rho."""
        count = len(np.unique(self.problems))
        if count < 2:
            return None
        generator = np.random.default_rng(0)  # the same rows have the same error
        rhos: list[float] = []
        for _ in range(_BOOTSTRAP_DRAWS):
            drawn = generator.integers(count, size=count)
            times_P = np.bincount(drawn, minlength=count)
            rho = self._rho(times_P[self.problems])
            if rho is not None:
                rhos.append(rho)
        return float(np.std(rhos, ddof=1)) if len(rhos) > 1 else None

    def _rho(self, weights_N: np.ndarray) -> float | None:
        """Pearson's correlation of the ranks, each row standing there `weight` times."""
        if not weights_N.sum():
            return None
        ranks_2N = np.array([_middle_ranks(places, weights_N) for places in self.places])
        deviations_2N = ranks_2N - np.average(ranks_2N, axis=1, weights=weights_N)[:, None]
        covariance = (weights_N * deviations_2N) @ deviations_2N.T
        scale = math.sqrt(covariance[0, 0] * covariance[1, 1])
        return float(covariance[0, 1] / scale) if scale > 0 else None


def _over_problems(value: float, terms_N: np.ndarray, problems_N: np.ndarray, count: int) -> Statistic:
    """A statistic whose influence is a sum over each problem's responses."""
    influence_P = np.bincount(problems_N, terms_N, minlength=count)
    return Statistic(value, influence_P, len(np.unique(problems_N)))


def _products(*influences: np.ndarray) -> np.ndarray:
    """The sums over problems of the products of each two, [n, n]."""
    return np.array(influences) @ np.array(influences).T


def _both(before: Statistic, after: Statistic) -> int:
    """The number of problems that count in both, of which no more can be than in either."""
    return min(before.problems, after.problems)


def _middle_ranks(places_N: np.ndarray, weights_N: np.ndarray) -> np.ndarray:
    """Ranks of rows that each stand `weight` times, ties sharing the middle of theirs (up to a constant)."""
    counts = np.bincount(places_N, weights_N)
    return (np.cumsum(counts) - counts / 2)[places_N]
