"""What a training would do on this machine, network by network, without doing it."""

from collections.abc import Mapping, Sequence

from bus.series import BarSeries
from models import features
from models.catalogue import check, check_installed
from models.contract import demands_of
from models.defaults import ARCHITECTURES
from models.learning import DEFAULT, Learning
from models.nets import architectures, known
from models.space import Value
from models.train.data import split
from models.train.engine.choices import Choice
from models.train.fit import problem_of


def plans(
    train: BarSeries,
    calibrate: BarSeries,
    *,
    horizons: Sequence[int],
    seed: int,
    names: Sequence[str] = ARCHITECTURES,
    learning: Learning = DEFAULT,
    parameters: Mapping[str, Mapping[str, Value]] | None = None,
) -> dict[str, list[Choice]]:
    """By name, the plan of each network, every choice with its reason. Arguments and errors as `fit_defaults`.

    A step of every network that is trained with torch is made for its time; nothing is kept of it.
    """
    check(names)
    check_installed(names)
    made: dict[str, list[Choice]] = {}
    for name, net in architectures([name for name in names if name in known()]).items():
        if not hasattr(net, "plan"):
            made[name] = [Choice(what="training", runs="one thread of the processor", why="there is nothing to choose")]
            continue
        demands = demands_of(net)
        chosen = demands.feature_names or features.DEFAULT
        parts = split(train, calibrate, tuple(horizons), names=chosen, window=demands.window)
        from models.train.engine.planning import told  # torch: where a network needs it

        given = (parameters or {}).get(name, {})
        prepared = net.plan(problem_of(parts, seed=seed, learning=learning, parameters=given)[1])  # pyright: ignore[reportAttributeAccessIssue]
        made[name] = told(prepared, learning)
    return made
