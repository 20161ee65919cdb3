"""What of a network may be chosen: by name, its bounds and its default. Declared beside the network, in `space`.

A dimension belongs to one of two places of the configuration. `parameters` are the network's own, and stand in
`[models.parameters.NAME]`; `training` are fields of `Learning`, and stand in `[training]`. Bounds are those of what may
be written and of what is searched alike, and the default, written out, gives what a network gives that is told nothing.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from bus.errors import ConfigError

Value = bool | int | float | str
Section = Literal["parameters", "training"]


class Real(msgspec.Struct, frozen=True, kw_only=True, tag="real", tag_field="kind"):
    """A number between two bounds, both allowed.

    Attributes:
        log: whether its logarithm is what is spread evenly.
        section: where it stands in the configuration.
        about: a few words.
    """

    name: str
    low: float
    high: float
    default: float
    log: bool = False
    section: Section = "parameters"
    about: str = ""

    def of(self, given: Mapping[str, Value]) -> float:
        """What was given, or the default. Raises ConfigError where it is none of the values."""
        return float(self.check(given.get(self.name, self.default)))

    def check(self, value: Value) -> float:
        """The value as one of this dimension.

        Raises:
            ConfigError: it is none.
        """
        if isinstance(value, bool | str) or not self.low <= value <= self.high:
            raise ConfigError(f"{self.name} = {value!r}: write {self.words}")
        return float(value)

    @property
    def words(self) -> str:
        """What may be written."""
        return f"a number from {self.low:g} to {self.high:g}"

    def grid(self, points: int) -> tuple[float, ...]:
        """So many values from the lowest to the highest."""
        return tuple(_between(self.low, self.high, points, log=self.log))


class Whole(msgspec.Struct, frozen=True, kw_only=True, tag="whole", tag_field="kind"):
    """A whole number between two bounds, both allowed; attributes as for `Real`.

    Attributes:
        step: from one value to the next, starting at `low`; 1 where `log` is set.
    """

    name: str
    low: int
    high: int
    default: int
    step: int = 1
    log: bool = False
    section: Section = "parameters"
    about: str = ""

    def of(self, given: Mapping[str, Value]) -> int:
        """What was given, or the default. Raises ConfigError where it is none of the values."""
        return self.check(given.get(self.name, self.default))

    def check(self, value: Value) -> int:
        """The value as one of this dimension.

        Raises:
            ConfigError: it is none.
        """
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not self.low <= value <= self.high
            or (value - self.low) % self.step
        ):
            raise ConfigError(f"{self.name} = {value!r}: write {self.words}")
        return value

    @property
    def words(self) -> str:
        """What may be written."""
        return f"a whole number from {self.low} to {self.high}{f' in steps of {self.step}' if self.step > 1 else ''}"

    def grid(self, points: int) -> tuple[int, ...]:
        """At most so many values from the lowest to the highest."""
        even = _between(self.low, self.high, points, log=self.log)
        return tuple(dict.fromkeys(self.low + round((value - self.low) / self.step) * self.step for value in even))


class Word(msgspec.Struct, frozen=True, kw_only=True, tag="word", tag_field="kind"):
    """One of some words; attributes as for `Real`."""

    name: str
    choices: tuple[str, ...]
    default: str
    section: Section = "parameters"
    about: str = ""

    def of(self, given: Mapping[str, Value]) -> str:
        """What was given, or the default. Raises ConfigError where it is none of the values."""
        return self.check(given.get(self.name, self.default))

    def check(self, value: Value) -> str:
        """The value as one of this dimension.

        Raises:
            ConfigError: it is none.
        """
        if not isinstance(value, str) or value not in self.choices:
            raise ConfigError(f"{self.name} = {value!r}: write {self.words}")
        return value

    @property
    def words(self) -> str:
        """What may be written."""
        return f"one of {', '.join(self.choices)}"

    def grid(self, points: int) -> tuple[str, ...]:
        """All of them, whatever the number of points."""
        del points
        return self.choices


Dimension = Real | Whole | Word
Space = tuple[Dimension, ...]


def divided(space: Sequence[Dimension], values: Mapping[str, Value]) -> tuple[dict[str, Value], dict[str, Value]]:
    """Values of a space by where they stand in the configuration: the network's own, and those of `[training]`."""
    at = {dimension.name: dimension.section for dimension in space}
    own = {name: value for name, value in values.items() if at[name] == "parameters"}
    return own, {name: value for name, value in values.items() if at[name] == "training"}


def check_parameters(name: str, space: Sequence[Dimension], given: Mapping[str, Value]) -> None:
    """Refuse what a network does not know.

    Raises:
        ConfigError: a parameter that is not the network's own, or a value that it may not have. The message begins with
            `parameters`.
    """
    own = {dimension.name: dimension for dimension in space if dimension.section == "parameters"}
    elsewhere = {dimension.name for dimension in space} - set(own)
    for key, value in given.items():
        if key in elsewhere:
            raise ConfigError(f"parameters.{name}.{key} stands in [training]; write it there")
        if key not in own:
            knows = f"it has {', '.join(own)}" if own else "it has none"
            raise ConfigError(f"parameters.{name}.{key} is no parameter of {name}; {knows}")
        try:
            own[key].check(value)
        except ConfigError as error:
            raise ConfigError(f"parameters.{name}.{error}") from None


def _between(low: float, high: float, points: int, *, log: bool) -> list[float]:
    """So many numbers, evenly spread, the ends among them; the middle where there is but one."""
    if points == 1:
        return [math.sqrt(low * high) if log else (low + high) / 2.0]
    ratio, places = high / low if log else 1.0, [place / (points - 1) for place in range(1, points - 1)]
    inner = [low * ratio**place if log else low + (high - low) * place for place in places]
    return [low, *inner, high]  # the ends as they were written
