"""Forecasters of every form that a device may run, hardly trained but sealed; and devices that fail in a stated way."""

from functools import lru_cache

import msgspec
import numpy as np

from models import artifact, features
from models.contract import Problem, demands_of
from models.forms.dense import Dense
from models.forms.ensemble import Ensemble, Member, Mixture
from models.forward import Pipeline
from models.nets import architectures
from models.scalers import Scaler
from tests.harness.markets import HORIZONS
from tests.harness.trained import trained

SEQUENCES = ("tcn", "gru", "temporal_unet")
M = len(HORIZONS)


def ones(k):
    return Scaler(centre=np.full(k, 0.1), gain=np.full(k, 0.7))


def sealed(name, net, names, window, *, symbol="EURUSD", seed=0):
    """An artifact of a network that looks at these features; its golden inputs are drawn."""
    template = next(each for each in trained().artifacts if each.manifest.name == "ridge")
    manifest = msgspec.structs.replace(
        template.manifest,
        name=name,
        seed=seed,
        symbol=symbol,
        feature_names=tuple(names),
        feature_hash=features.schema_hash(tuple(names)),
    )
    pipeline = Pipeline(scaler=ones(len(names)), net=net, window=window)
    golden = np.random.default_rng(seed).standard_normal((8, net.inputs))
    return artifact.seal(manifest, pipeline, {}, golden)


def dense(seed=0, activation="tanh", size=0.1):
    random = np.random.default_rng(seed)
    shapes = ((len(features.DEFAULT), 16), (16, M))
    return Dense(
        weights=tuple(size * random.standard_normal(shape) for shape in shapes),
        biases=tuple(size * random.standard_normal(shape[1]) for shape in shapes),
        activation=activation,
    )


@lru_cache(maxsize=8)
def sequence(name):
    """A network of torch after an epoch or two. Needs torch and onnx."""
    net = architectures([name])[name]
    demands = demands_of(net)
    random = np.random.default_rng(3)
    inputs = random.standard_normal((160, demands.window, len(demands.feature_names)))
    targets = inputs[:, -1, :M] + 0.3 * random.standard_normal((160, M))
    problem = Problem(
        inputs=inputs[40:], targets=targets[40:], validation_inputs=inputs[:40], validation_targets=targets[:40],
        seed=1, epochs=4, regularise=0.0,
    )  # fmt: skip
    return net.fit(problem)


def of_sequence(name, *, symbol="EURUSD"):
    demands = demands_of(architectures([name])[name])
    return sealed(name, sequence(name), demands.feature_names, demands.window, symbol=symbol)


def five(kind=Ensemble):
    """The network of an ensemble of all five kinds, and the features that it looks at."""
    own = demands_of(architectures(["tcn"])["tcn"])
    names = tuple(dict.fromkeys((*features.DEFAULT, *own.feature_names)))

    def member(name, net, wanted, window):
        columns = tuple(names.index(each) for each in wanted)
        return Member(name=name, columns=columns, window=window, scaler=ones(len(columns)), net=net)

    ridge = Dense(weights=(dense(7).weights[0][:, :M],), biases=(np.zeros(M),))
    members = (
        member("ridge", ridge, features.DEFAULT, 1),
        member("mlp", dense(8), features.DEFAULT, 1),
        *(member(name, sequence(name), own.feature_names, own.window) for name in SEQUENCES),
    )
    weights = np.full((5, M), 0.18)
    if kind is Ensemble:
        return Ensemble(members=members, weights=weights, features=len(names), window=own.window), names
    variances = np.linspace(0.5, 1.5, 6 * M).reshape(6, M)
    made = Mixture(members=members, weights=weights, features=len(names), window=own.window, variances=variances)
    return made, names


def of_five(kind=Ensemble):
    net, names = five(kind)
    return sealed("ensemble_mean", net, names, net.window)


class Stub:
    """A way onto a device that answers as the artifact does, but for what `fault` makes of it.

    Args:
        fault: `""`, `begin` (raises at once), `result` (raises later), `nan`, `hang` (is never ready), `wrong`,
            `one_nan` (the first row is no number), `warm` (raises when it is warmed).
    """

    def __init__(self, net, fault=""):
        self.net, self.fault, self.asked = net, fault, []

    def warm(self):
        if self.fault == "warm":
            raise RuntimeError("CUDA out of memory")

    def begin(self, inputs):
        self.asked.append(len(inputs))
        if self.fault == "begin":
            raise RuntimeError("CUDA error: an illegal memory access\nwith much to say")
        return StubAhead(self, inputs)


class StubAhead:
    def __init__(self, stub, inputs):
        self.stub, self.inputs = stub, inputs

    def ready(self):
        return self.stub.fault != "hang"

    def result(self):
        fault = self.stub.fault
        if fault == "result":
            raise RuntimeError("CUDA error: unspecified launch failure")
        told = self.stub.net.measured(self.inputs) if hasattr(self.stub.net, "measured") else None
        points, spreads = told or (self.stub.net(self.inputs), None)
        points = points.astype(np.float32) + (0.1 if fault == "wrong" else 0.0)
        if fault == "nan":
            points[:] = np.nan
        if fault == "one_nan":
            points[0] = np.nan
        return points, spreads
