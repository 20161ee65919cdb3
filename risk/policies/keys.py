"""What one setting of a limit is: its bounds, its unit, what 0 means, which way is tighter, and why it is there."""

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import msgspec

from bus.errors import ConfigError


class Key(NamedTuple):
    """One whole number that can be set.

    Attributes:
        lowest: that may be written.
        highest: that may be written.
        zero: what 0 means; empty = 0 is a value like any other, or not possible.
        example: a sensible value, for error messages.
        unit: in words, for people.
        why: what it limits, in a sentence.
        tighter: whether a ``lower`` or a ``higher`` value allows less; empty = neither. Where 0 is off it is the
            loosest.
    """

    lowest: int
    highest: int
    zero: str
    example: int
    unit: str
    why: str
    tighter: Literal["lower", "higher", ""] = "lower"


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a group of settings. Every whole number in it has a `Key`, and is checked against it.

    Attributes:
        SECTION: its table in the configuration, for instance ``risk.losses``; empty where it stands under many names.
        KEYS: by field name. What is no whole number (a name, a switch) is checked by the group itself.
        WORDS: what such a setting is, in a sentence, by field name.
    """

    SECTION: ClassVar[str] = ""
    KEYS: ClassVar[Mapping[str, Key]] = {}
    WORDS: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        """Refuse impossible values at construction and at decoding alike."""
        check_keys(self, self.SECTION, self.KEYS)


def tightest(key: Key, first: int, second: int) -> int:
    """The one of two values that allows less; 0 is off where the key says so."""
    if key.zero and (first == 0 or second == 0):
        return first or second
    return min(first, second) if key.tighter == "lower" else max(first, second)


def check_keys(settings: msgspec.Struct, section: str, keys: Mapping[str, Key]) -> None:
    """Refuse a setting that is not a whole number within its key's bounds.

    Raises:
        ConfigError: naming the key, the reason, and what to write instead.
    """
    check_bounds(settings, section, {name: key[:4] for name, key in keys.items()})


def check_bounds(settings: msgspec.Struct, section: str, bounds: Mapping[str, tuple[int, int, str, int]]) -> None:
    """Refuse a setting that is not an integer within its bounds.

    Args:
        settings: has every key of `bounds`.
        section: of the configuration, for the message.
        bounds: key to (lowest, highest, what 0 means, a value to suggest).

    Raises:
        ConfigError: naming the key, the reason, and what to write instead.
    """
    place = f"{section}." if section else ""
    for key, (lowest, highest, zero, suggestion) in bounds.items():
        value: object = getattr(settings, key)
        if type(value) is not int:
            raise ConfigError(f"{place}{key} = {value!r}: must be a whole number; write for instance {suggestion}")
        if not lowest <= value <= highest:
            meaning = f" (0 = {zero})" if zero else ""
            raise ConfigError(
                f"{place}{key} = {value}: must lie between {lowest} and {highest}{meaning}; "
                f"write for instance {suggestion}"
            )
