"""Opinions. One file a strategy; `STRATEGIES` lists them, `load` builds one by name.

To add one: write `strategies/<name>.py` with a params struct (frozen, `forbid_unknown_fields`, impossible values
refused in `__post_init__`) and a class that takes it, then give it a line in `STRATEGIES`. The contract suite finds it.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bus.errors import ConfigError
from strategies.contract import Strategy
from strategies.interval import Interval, IntervalParams
from strategies.metronome import Metronome, MetronomeParams

STRATEGIES: dict[str, tuple[type[msgspec.Struct], Callable[[Any], Strategy]]] = {
    "interval": (IntervalParams, Interval),
    "metronome": (MetronomeParams, Metronome),
}
"""Name to the struct of its parameters and the class that takes them."""


def load(name: str, params: Mapping[str, object]) -> Strategy:
    """Build a strategy.

    Args:
        name: a key of `STRATEGIES`.
        params: fields of its params struct; what is left out has its default.

    Raises:
        ConfigError: an unknown name or parameter (with the nearest known one), a wrong type, an impossible value.
    """
    entry = STRATEGIES.get(name)
    if entry is None:
        raise ConfigError(f"strategy {name!r}: no such strategy{_meant(name, tuple(STRATEGIES))}")
    struct, make = entry
    known = struct.__struct_fields__
    for key in params:
        if key not in known:
            raise ConfigError(f"strategy {name}: no parameter {key!r}{_meant(key, known)}")
    try:
        return make(msgspec.convert(dict(params), struct))
    except msgspec.ValidationError as error:
        raise ConfigError(f"strategy {name}: {error}") from None


def _meant(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    listed = f"; there are {', '.join(known)}"
    return f"; did you mean {close[0]!r}?" if close else listed
