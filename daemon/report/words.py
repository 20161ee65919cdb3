"""Figures as a reader wants them: true minus signs, thousands apart, units said."""

import re

from bus.calendar import to_datetime
from bus.values import PRICE_SCALE

MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
NO_BREAK = "\N{NO-BREAK SPACE}"


def number(value: float, decimals: int = 0, *, signed: bool = False) -> str:
    """A number with thousands apart. What rounds to zero has no sign."""
    text = f"{abs(value):,.{decimals}f}"
    if not any(digit in "123456789" for digit in text):
        return text
    return (MINUS if value < 0 else "+" if signed else "") + text


def amount(units: float, digits: int, *, signed: bool = False) -> str:
    """Money in the account's smallest unit as a decimal amount."""
    return number(units / 10**digits, digits, signed=signed)


def price(price_e5: float, digits: int = 5) -> str:
    """A price; a dash for 0."""
    return f"{price_e5 / PRICE_SCALE:.{digits}f}" if price_e5 else NONE


def percent(share: float, decimals: int = 1) -> str:
    """A share of 1."""
    return f"{number(100.0 * share, decimals)}{NO_BREAK}%"


def moment(ts_ns: int) -> str:
    """UTC, to the minute; a dash for 0."""
    return f"{to_datetime(ts_ns):%Y-%m-%d %H:%M}" if ts_ns else NONE


def duration(ns: float | None) -> str:
    """In the unit that suits it; a dash for None."""
    if ns is None:
        return NONE
    for size, unit, decimals in ((86_400e9, "d", 1), (3_600e9, "h", 1), (60e9, "min", 1), (1e9, "s", 1)):
        if ns >= size:
            return f"{ns / size:.{decimals}f} {unit}"
    return f"{ns / 1e6:.0f} ms"


def t_value(t: float | None) -> str:
    """A t-statistic; a dash where there is none."""
    return NONE if t is None else number(t, 1, signed=True)


def bars(count: int) -> str:
    """1 bar, 4 bars."""
    return f"{count}{NO_BREAK}bar" if count == 1 else f"{count}{NO_BREAK}bars"


def typeset(text: str) -> str:
    """Plain text from the journal with true minus signs before numbers."""
    return re.sub(r"(?<![\w.-])-(?=\d)", MINUS, text)


def rule_name(rule: str) -> str:
    """`orders_per_minute` as words; venue codes in capitals likewise."""
    return rule.replace("_", " ").lower() if rule else "(none)"
