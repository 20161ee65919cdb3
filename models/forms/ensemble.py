"""Several models as one: each looks at its own part of the features, and their answers are weighed and added.

Theory of operation. At rest the members stand side by side in one file, each array and setting under `member_N.`, with
the scaler it was trained with and the columns it looks at. So an ensemble is verified, published, calibrated and served
as any model, and no member can be exchanged under it. The random walk, whose answer is 0, is a silent member: it has
whatever weight the others leave.

An ensemble with `variances` knows how far it may be wrong: it is a mixture whose parts have a mean f_i and a variance
v_i, and by the law of total variance the mixture's is sum w_i v_i + sum w_i (f_i - f)^2, what the parts expect to miss
by and how far they disagree.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import numpy as np

from bus.errors import ModelError
from models.forms import Floats, Form, Measured, Settings, Tensor, Traits, restore
from models.scalers import AnyScaler, from_json, to_json

TRAITS = Traits(dtypes=("float64", "float32", "uint8"), tolerance=1e-3)
"""Those of any member."""

MOST_MEMBERS = 64
_ONE = 1.0 + 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model of an ensemble.

    Attributes:
        name: its architecture's.
        columns: which of the ensemble's features it looks at, in the order of its own inputs.
        window: bars of them, oldest first: the newest of the ensemble's.
        scaler: of those features.
        net: what answers.
    """

    name: str
    columns: tuple[int, ...]
    window: int
    scaler: AnyScaler
    net: Form

    def answer(self, bars: Floats) -> tuple[Floats, Floats | None]:
        """Outputs for bars of shape (n, window of the ensemble, features), and their deviations where it tells them."""
        n, width = len(bars), len(self.columns)
        # in rows of their own, as training laid them out: sums come out otherwise in another order
        own = bars[:, bars.shape[1] - self.window :].take(self.columns, axis=2).reshape(n * self.window, width)
        scaled = self.scaler(own).reshape(n, self.window * width)
        return self.net.measured(scaled) if isinstance(self.net, Measured) else (self.net(scaled), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """A weighted sum of members.

    Attributes:
        members: at least one.
        weights: shape (members, outputs), none negative, at most 1 together; what is left is the random walk's.
        features: numbers of one bar.
        window: bars in a row of inputs, oldest first.
        variances: shape (members + 1, outputs), squared error that each member is expected to make where it does not
            tell its own, the random walk's last; shape (0, outputs) = the ensemble does not tell its deviation.

    Raises:
        ModelError: members and weights that do not fit each other.
    """

    members: tuple[Member, ...]
    weights: Floats
    features: int
    window: int

    def __post_init__(self) -> None:
        """Check that all fits."""
        if not 1 <= len(self.members) <= MOST_MEMBERS or self.features < 1 or self.window < 1:
            raise ModelError(f"an ensemble of {len(self.members)} members; train the model again")
        if self.weights.ndim != 2 or len(self.weights) != len(self.members):
            raise ModelError("an ensemble needs a weight a member and output; train the model again")
        if (self.weights < 0.0).any() or not (self.weights.sum(axis=0) <= _ONE).all():
            raise ModelError("weights of an ensemble are parts of 1; train the model again")
        for member in self.members:
            fits = 1 <= member.window <= self.window and all(0 <= at < self.features for at in member.columns)
            if not fits or len(member.scaler) != len(member.columns):
                raise ModelError(f"{member.name} looks at what its ensemble is not given; train the model again")
            if (member.net.inputs, member.net.outputs) != (len(member.columns) * member.window, self.outputs):
                raise ModelError(f"{member.name} does not fit its ensemble; train the model again")

    @property
    def form(self) -> str:
        """This file's name."""
        return "ensemble"

    @property
    def inputs(self) -> int:
        """Numbers in a row of inputs."""
        return self.features * self.window

    @property
    def outputs(self) -> int:
        """Numbers in a row of outputs."""
        return self.weights.shape[1]

    def __call__(self, inputs: Floats) -> Floats:
        """Outputs of shape (n, m) for inputs of shape (n, window * k)."""
        return self._mixed(self.opinions(inputs), inputs)

    def opinions(self, inputs: Floats) -> Floats:
        """What each member says, shape (members, n, m)."""
        bars = inputs.reshape(len(inputs), self.window, self.features)
        return np.stack([member.answer(bars)[0] for member in self.members])

    def _mixed(self, opinions: Floats, inputs: Floats) -> Floats:
        total = np.zeros(opinions.shape[1:])
        for weight, opinion in zip(self.weights, opinions, strict=True):
            total += weight * opinion
        # a member may not look at what is missing, yet an answer is one of all
        total[np.isnan(inputs).any(axis=1)] = np.nan
        return total

    def tensors(self) -> dict[str, Tensor]:
        """The arrays of all members by name, and the weights."""
        named: dict[str, Tensor] = {"ensemble_weights": self.weights}
        for position, member in enumerate(self.members):
            named |= {f"member_{position}.{name}": tensor for name, tensor in member.net.tensors().items()}
        return named

    def settings(self) -> Settings:
        """What each member is."""
        named: Settings = {"features": self.features, "window": self.window, "members": len(self.members)}
        for position, member in enumerate(self.members):
            at = f"member_{position}"
            named |= {
                f"{at}|name": member.name,
                f"{at}|form": member.net.form,
                f"{at}|window": member.window,
                f"{at}|columns": " ".join(map(str, member.columns)),
                f"{at}|scaler": to_json(member.scaler).decode(),
            }
            named |= {f"{at}.{name}": value for name, value in member.net.settings().items()}
        return named


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture(Ensemble):
    """An ensemble that tells how far it may be wrong.

    Attributes:
        variances: shape (members + 1, outputs), positive: the squared error that each member is expected to make where
            it tells no deviation of its own, the random walk's last.
    """

    variances: Floats

    def __post_init__(self) -> None:
        """Check that all fits."""
        Ensemble.__post_init__(self)
        if self.variances.shape != (len(self.members) + 1, self.outputs) or not (self.variances > 0.0).all():
            raise ModelError("an ensemble needs a positive variance a member, and the random walk's; train again")

    def measured(self, inputs: Floats) -> tuple[Floats, Floats]:
        """Outputs, and the standard deviation of each by the law of total variance, both of shape (n, m)."""
        bars = inputs.reshape(len(inputs), self.window, self.features)
        answers = [member.answer(bars) for member in self.members]
        means = self._mixed(np.stack([mean for mean, _ in answers]), inputs)
        left = 1.0 - self.weights.sum(axis=0)
        total = left * (self.variances[-1] + means**2)
        for weight, variance, (mean, deviation) in zip(self.weights, self.variances, answers, strict=False):
            own = variance if deviation is None else deviation**2
            total += weight * (own + (mean - means) ** 2)
        return means, np.sqrt(total)

    def tensors(self) -> dict[str, Tensor]:
        """The arrays of all members by name, the weights and the variances."""
        return Ensemble.tensors(self) | {"ensemble_variances": self.variances}


def _restore(tensors: Mapping[str, Tensor], settings: Settings) -> Ensemble:
    """The ensemble that `tensors` and `settings` described.

    Raises:
        ModelError: something is missing, or does not fit.
    """
    count, features, window = settings.get("members"), settings.get("features"), settings.get("window")
    weights, variances = tensors.get("ensemble_weights"), tensors.get("ensemble_variances")
    if weights is None or not (isinstance(count, int) and isinstance(features, int) and isinstance(window, int)):
        raise ModelError("an ensemble without weights or members; train the model again")
    if not 1 <= count <= MOST_MEMBERS:
        raise ModelError(f"an ensemble of {count} members; train the model again")
    members = tuple(_member(position, tensors, settings) for position in range(count))
    if variances is None:
        return Ensemble(members=members, weights=weights, features=features, window=window)
    return Mixture(members=members, weights=weights, features=features, window=window, variances=variances)


FORM = _restore


def _member(position: int, tensors: Mapping[str, Tensor], settings: Settings) -> Member:
    at = f"member_{position}"
    name, form, columns, scaler = (settings.get(f"{at}|{what}") for what in ("name", "form", "columns", "scaler"))
    window = settings.get(f"{at}|window")
    texts = (name, form, columns, scaler)
    if not (all(isinstance(each, str) for each in texts) and isinstance(window, int)) or form == "ensemble":
        raise ModelError(f"member {position} of an ensemble is not described; train the model again")
    own = {key.removeprefix(f"{at}."): value for key, value in settings.items() if key.startswith(f"{at}.")}
    arrays = {key.removeprefix(f"{at}."): value for key, value in tensors.items() if key.startswith(f"{at}.")}
    try:
        places = msgspec.json.decode(f"[{str(columns).replace(' ', ',')}]", type=tuple[int, ...])
    except msgspec.MsgspecError as error:
        raise ModelError(f"member {position} of an ensemble: columns {columns!r}; train the model again") from error
    return Member(
        name=str(name),
        columns=places,
        window=window,
        scaler=from_json(str(scaler).encode()),
        net=restore(str(form), arrays, own),
    )
