"""Puts trained forecasters together: weights from the validation part, and how the members differ on the calibration.

The members' penalties, epochs and damping were chosen on the validation part too, so weights learnt there are a little
surer of the members than they should be; what the ensemble is worth is told by the calibration part, which nothing was
chosen by.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models import ensembles
from models.columns import Floats
from models.contract import Demands
from models.diversity import Membership, diversity
from models.ensembles import Opinions
from models.forms.ensemble import Ensemble, Member, Mixture
from models.forward import Pipeline
from models.scalers import Scaler
from models.train.data import LABEL_LIMIT, Rows, Split

_UNBOUNDED = 1e300
_CHUNK = 4096
"""Rows asked at a time: the inputs of windows are many times as large as the bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A trained forecaster that may be a member; `names` are the features it looks at."""

    name: str
    names: tuple[str, ...]
    pipeline: Pipeline


def demands_together(members: Sequence[Candidate]) -> Demands:
    """What an ensemble of these wants to see: every feature that one of them does, and the longest window."""
    names = dict.fromkeys(name for member in members for name in member.names)
    return Demands(window=max(member.pipeline.window for member in members), feature_names=tuple(names))


def combine(
    way: ensembles.Ensemble,
    members: Sequence[Candidate],
    names: Sequence[str],
    parts: Split,
    horizons: tuple[int, ...],
) -> tuple[Pipeline, Membership]:
    """The ensemble of these members, and how they differ.

    Args:
        way: how to weigh.
        members: two or more, which stay as they are.
        names: the features of `parts`: every member's among them.
        parts: of the features and window of `demands_together`.
        horizons: of the outputs.
    """
    width, window = len(names), parts.fit.window
    inside = tuple(
        Member(
            name=each.name,
            columns=tuple(names.index(name) for name in each.names),
            window=each.pipeline.window,
            scaler=each.pipeline.scaler,
            net=each.pipeline.net,
        )
        for each in members
    )
    alike = Ensemble(
        members=inside, weights=np.full((len(inside), len(horizons)), 1.0 / len(inside)), features=width, window=window
    )
    families = tuple(ensembles.family(member.net) for member in inside)
    weighting = way.combine(
        Opinions(
            forecasts=_opinions(alike, parts.validation),
            targets=np.clip(parts.validation.labels, -LABEL_LIMIT, LABEL_LIMIT),
            horizons=horizons,
            families=families,
        )
    )
    net = Ensemble(members=inside, weights=weighting.weights, features=width, window=window)
    if weighting.variances is not None:
        net = Mixture(
            members=inside,
            weights=weighting.weights,
            features=width,
            window=window,
            variances=weighting.variances,
        )
    said, truth = _opinions(alike, parts.calibration), parts.calibration.labels
    membership = Membership(
        members=tuple(member.name for member in inside),
        families=families,
        diversity=tuple(
            diversity(said[:, :, column], weighting.weights[:, column], truth[:, column], horizon)
            for column, horizon in enumerate(horizons)
        ),
    )
    # each member scales for itself
    open_scaler = Scaler(centre=np.zeros(width), gain=np.ones(width), limit=_UNBOUNDED)
    return Pipeline(scaler=open_scaler, net=net, window=window), membership


def _opinions(ensemble: Ensemble, rows: Rows) -> Floats:
    """What each member says of rows, shape (members, n, m)."""
    starts = range(0, len(rows), _CHUNK)
    return np.concatenate([ensemble.opinions(rows.inputs(start, start + _CHUNK)) for start in starts], axis=1)
