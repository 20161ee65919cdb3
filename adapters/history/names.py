"""What a file's name gives away: symbol, price side, date. Content decides first; names fill the gaps."""

import re
from collections.abc import Iterable

from adapters.history.contract import Head, SideName
from bus.values import NS_PER_DAY, NS_PER_S

_CODES = (
    "EUR|USD|GBP|JPY|CHF|AUD|NZD|CAD|SEK|NOK|DKK|PLN|HUF|CZK|RON|TRY|ZAR|MXN|SGD|HKD|CNH|CNY|ILS|THB|INR|KRW|BRL|RUB"
    "|XAU|XAG|XPT|XPD"
)
# A pair that stands alone first; then one with a broker's suffix (EURUSDm, EURUSD.pro, EURUSDpro).
_PAIR_ALONE = re.compile(rf"(?<![A-Z])({_CODES})[/_\-]?({_CODES})(?![A-Z])")
_PAIR_LEADING = re.compile(rf"(?<![A-Z])({_CODES})({_CODES})")
_SIDE = re.compile(r"(?<![A-Z])(BID|ASK)S?(?![A-Z])")
_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})([01]\d)([0-3]\d)(?!\d)")
_PERIOD = re.compile(r"(?<![A-Z0-9])(M|H|D|W)(\d{1,2})(?!\d)")
_UNIT_NS = {"M": 60 * NS_PER_S, "H": 3_600 * NS_PER_S, "D": NS_PER_DAY, "W": 7 * NS_PER_DAY}


def symbol_in(names: Iterable[str]) -> str | None:
    """The first currency pair or metal named, for instance ``EURUSD`` in ``DAT_ASCII_EURUSD_M1_2018.csv``."""
    upper = [name.upper() for name in names]
    for pattern in (_PAIR_ALONE, _PAIR_LEADING):
        for name in upper:
            found = pattern.search(name)
            if found and found[1] != found[2]:
                return found[1] + found[2]
    return None


def symbol_of(head: Head) -> str | None:
    """The symbol in the member's or the file's name. Folders say nothing here: anybody may call them anything."""
    return symbol_in(head.names[: 2 if head.member else 1])


def symbol_with_folders(head: Head) -> str | None:
    """The symbol in the member, file or folder names, for formats whose folders are part of the format."""
    return symbol_in(head.names)


def side_of(head: Head) -> SideName:
    """``ask`` where the file name says so and does not say bid as well, else ``bid``."""
    for name in head.names[: 2 if head.member else 1]:
        sides = {found[1] for found in _SIDE.finditer(name.upper())}
        if sides == {"ASK"}:
            return "ask"
        if sides:
            return "bid"
    return "bid"


def date_in(names: Iterable[str]) -> tuple[int, int, int] | None:
    """The first YYYYMMDD in the names, as year, month, day; not yet checked against the calendar."""
    for name in names:
        found = _DATE.search(name)
        if found:
            return int(found[1]), int(found[2]), int(found[3])
    return None


def period_in(name: str) -> int | None:
    """The period that a granularity such as ``M15`` or ``H1`` means, in nanoseconds."""
    found = _PERIOD.search(name.upper())
    return int(found[2]) * _UNIT_NS[found[1]] or None if found else None
