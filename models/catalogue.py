"""What can be trained, by name: networks, ensembles of them, and states of a market. Light: no learning library.

A choice of names is checked here once, for the configuration and for `models.train` alike.
"""

import difflib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import msgspec

from bus.errors import ConfigError, ModelError
from models.contract import space_of
from models.defaults import ARCHITECTURES
from models.ensembles import ensembles
from models.nets import architectures, known
from models.space import Value, check_parameters
from models.states import states

LEAST_MEMBERS = 2


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can be trained.

    Attributes:
        name: what `models.architectures` calls it.
        task: `forecast`, `reconstruct` (windows of candles), `combine` (the forecasters trained with it), `regimes`
            or `anomaly`.
        needs: packages that training imports, by the name they are imported by.
        missing: those of them that are not installed.
        default: whether it is trained where nothing else is asked for.
        about: one sentence.
    """

    name: str
    task: str
    needs: tuple[str, ...]
    missing: tuple[str, ...]
    default: bool
    about: str


def catalogue() -> tuple[Entry, ...]:
    """Everything that can be trained: networks, ensembles, states of a market, each in the order of names."""
    everything = [*architectures(known()).values(), *ensembles().values(), *states().values()]
    return tuple(
        Entry(
            name=one.name,
            task=one.task,
            needs=one.needs,
            missing=tuple(package for package in one.needs if find_spec(package) is None),
            default=one.name in ARCHITECTURES,
            about=" ".join((type(one).__doc__ or "").partition("\n\n")[0].split()),
        )
        for one in everything
    )


def check(names: Sequence[str]) -> None:
    """Refuse a choice that cannot be trained on any machine.

    Raises:
        ConfigError: a name that is not known or stands twice, no forecaster, or an ensemble of fewer than two. The
            message begins with `architectures`.
    """
    tasks = {entry.name: entry.task for entry in catalogue()}
    given = f"architectures = {list(names)}"
    for name in names:
        if name not in tasks:
            close = difflib.get_close_matches(name, tasks, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise ConfigError(f"{given}: {name!r} is not known; {hint}there are {', '.join(tasks)}")
    if len(set(names)) != len(names):
        raise ConfigError(f"{given}; write each once")
    forecasters = sum(tasks[name] == "forecast" for name in names)
    if not forecasters:
        raise ConfigError(f"{given}: nothing there forecasts; add one, such as ridge")
    combined = [name for name in names if tasks[name] == "combine"]
    if combined and forecasters < LEAST_MEMBERS:
        raise ConfigError(f"{given}: {combined[0]} combines the forecasters beside it; name {LEAST_MEMBERS} or more")


def check_space(name: str, given: Mapping[str, Value]) -> None:
    """Refuse parameters that a network does not have, and values that they may not have.

    Raises:
        ConfigError: the message begins with `parameters`.
    """
    if name not in known():
        close = difflib.get_close_matches(name, known(), n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise ConfigError(f"parameters.{name}: no network is called so; {hint}there are {', '.join(known())}")
    check_parameters(name, space_of(architectures([name])[name]), given)


def check_installed(names: Sequence[str]) -> None:
    """Refuse to train what this machine has not the packages for. What was trained may need none of them.

    Raises:
        ModelError: a package is not installed.
    """
    for entry in catalogue():
        if entry.name in names and entry.missing:
            lacks = ", ".join(entry.missing)
            raise ModelError(
                f"{entry.name} is trained with {lacks}, which is not installed; install it or leave it out"
            )
