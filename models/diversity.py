"""How differently the members of an ensemble see things: what an ensemble lives on. Numpy alone."""

import msgspec
import numpy as np

from models.columns import Floats


class Diversity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Members of an ensemble against each other at one horizon, in units of sigma sqrt(horizon).

    By Krogh and Vedelsby (1995) the ensemble's squared error is the members' mean less their ambiguity, all three
    weighted alike: an ensemble gains what its members disagree by. The random walk is a member by the weight the others
    leave.

    Attributes:
        horizon: bars ahead.
        weights: of the members, in their order.
        member_error: weighted mean of the members' mean squared errors.
        ambiguity: weighted mean squared distance of the members from the ensemble.
        error: mean squared error of the ensemble: `member_error` - `ambiguity`.
        disagreement: mean over rows of the standard deviation between members, each counted once.
        forecast_correlation: mean correlation of two members' forecasts; None where one of each pair never moves.
        error_correlation: mean correlation of two members' errors. Near 1 where the truth is mostly noise, which all
            miss by the same.
    """

    horizon: int
    weights: tuple[float, ...]
    member_error: float
    ambiguity: float
    error: float
    disagreement: float
    forecast_correlation: float | None
    error_correlation: float | None


class Membership(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is in an ensemble, and how its members differ on the calibration split. For people: nothing is chosen by it.

    Attributes:
        members: names, in the order of the weights.
        families: of the members.
        diversity: a horizon.
    """

    members: tuple[str, ...]
    families: tuple[str, ...]
    diversity: tuple[Diversity, ...]


def diversity(opinions: Floats, weights: Floats, truth: Floats, horizon: int) -> Diversity:
    """Measure one horizon.

    Args:
        opinions: shape (members, n).
        weights: shape (members,), none negative, at most 1 together.
        truth: shape (n,).
        horizon: bars ahead.
    """
    still = np.zeros((1, opinions.shape[1]))
    everyone, shares = np.concatenate((opinions, still)), np.append(weights, 1.0 - weights.sum())
    together = shares @ everyone
    return Diversity(
        horizon=horizon,
        weights=tuple(_rounded(weight) for weight in weights.tolist()),
        member_error=_rounded(shares @ ((everyone - truth) ** 2).mean(axis=1)),
        ambiguity=_rounded(shares @ ((everyone - together) ** 2).mean(axis=1)),
        error=_rounded(((together - truth) ** 2).mean()),
        disagreement=_rounded(opinions.std(axis=0).mean()),
        forecast_correlation=_pairs(opinions),
        error_correlation=_pairs(opinions - truth),
    )


def _pairs(rows: Floats) -> float | None:
    """Mean correlation of two different rows that move."""
    moving = rows[rows.std(axis=1) > 1e-12]
    if len(moving) < 2:
        return None
    upper = np.triu_indices(len(moving), 1)
    return _rounded(np.asarray(np.corrcoef(moving))[upper].mean())


def _rounded(value: float) -> float:
    return round(float(value), 8)
