"""How the dollar and the euro do against the others, and which of them moves first. Needs the bars of other pairs.

A basket's return b_t is the mean, over the other pairs that have the currency on one side, of their log returns, each
signed so that it rises when the currency does. This pair itself is left out, so that a basket says what this pair's
own bars do not. A pair without a bar counts as unchanged (`models.features.align`). Metals and indices are no
currencies, and are in no basket.
"""

import math

import numpy as np

from bus.errors import DataError
from models.columns import Floats
from models.features._market import Market, in_sigmas, root_mean, shared
from models.features._registry import feature
from models.features._windows import ratio, shift, total

CURRENCIES = frozenset(("AUD", "CAD", "CHF", "CNH", "DKK", "EUR", "GBP", "HKD", "JPY", "MXN", "NOK", "NZD", "PLN",
                        "SEK", "SGD", "TRY", "USD", "ZAR"))  # fmt: skip
_SIDES = ("USD", "EUR")


@shared
def _basket(m: Market, currency: str) -> Floats:
    """b_t of a currency, shape (n,)."""
    panel = m.panel
    parts: list[Floats] = []
    for symbol, returns in panel.returns.items():
        base, quote = symbol[:3], symbol[3:]
        if symbol == panel.symbol or not {base, quote} <= CURRENCIES or currency not in {base, quote}:
            continue
        parts.append(returns if base == currency else -returns)
    if not parts:
        raise DataError(f"no other pair of {currency} beside {panel.symbol}; give one, or leave its basket out")
    # one after the other in the order of names: the same sum for any number of rows
    return sum(parts[1:], parts[0]) / len(parts)


@shared
def _sigma(m: Market, currency: str) -> Floats:
    return root_mean(_basket(m, currency))


def _strength(m: Market, currency: str, lag: int) -> Floats:
    return total(_basket(m, currency), lag) / (_sigma(m, currency) * math.sqrt(lag))


@feature("dollar_strength_{}", each=(1, 4, 24), startup=lambda lag: in_sigmas(lag + 1), needs="cross")
def dollar_strength(m: Market, lag: int) -> Floats:
    """Sum of the dollar basket's returns over k bars / (its own sigma sqrt k)."""
    return _strength(m, "USD", lag)


@feature("euro_strength_{}", each=(1, 4, 24), startup=lambda lag: in_sigmas(lag + 1), needs="cross")
def euro_strength(m: Market, lag: int) -> Floats:
    """Sum of the euro basket's returns over k bars / (its own sigma sqrt k)."""
    return _strength(m, "EUR", lag)


def _correlation(first: Floats, second: Floats, width: int) -> Floats:
    both = total(first * first, width) * total(second * second, width)
    return ratio(total(first * second, width), np.sqrt(both))


@feature("dollar_correlation_{}", each=(64,), startup=lambda width: width + 1, needs="cross")
def dollar_correlation(m: Market, width: int) -> Floats:
    """Correlation about 0 of this pair's r_t and the dollar basket's b_t over w bars."""
    return _correlation(m.returns, _basket(m, "USD"), width)


@feature("euro_correlation_{}", each=(64,), startup=lambda width: width + 1, needs="cross")
def euro_correlation(m: Market, width: int) -> Floats:
    """Correlation about 0 of this pair's r_t and the euro basket's b_t over w bars."""
    return _correlation(m.returns, _basket(m, "EUR"), width)


@feature("dollar_lead_{}", each=(64,), startup=lambda width: width + 2, needs="cross")
def dollar_lead(m: Market, width: int) -> Floats:
    """|correlation of r_t and b_(t-1)| - |correlation of r_(t-1) and b_t|, about 0, over w bars: > 0 = it leads."""
    return _lead(m, "USD", width)


@feature("euro_lead_{}", each=(64,), startup=lambda width: width + 2, needs="cross")
def euro_lead(m: Market, width: int) -> Floats:
    """|correlation of r_t and b_(t-1)| - |correlation of r_(t-1) and b_t|, about 0, over w bars: > 0 = it leads."""
    return _lead(m, "EUR", width)


def _lead(m: Market, currency: str, width: int) -> Floats:
    basket = _basket(m, currency)
    leads = _correlation(m.returns, shift(basket, 1), width)
    follows = _correlation(shift(m.returns, 1), basket, width)
    return np.abs(leads) - np.abs(follows)


@feature("behind_baskets", startup=in_sigmas(2), needs="cross")
def behind_baskets(m: Market) -> Floats:
    """(Base less quote currency's basket, as far as they are baskets - r_t) / sigma: what this pair has not followed.

    Baskets are those of the dollar and the euro; a side that is neither counts as 0.
    """
    symbol = m.panel.symbol
    implied = 0.0 * m.returns
    for currency in _SIDES:
        if currency in {symbol[:3], symbol[3:]}:
            implied = implied + (1.0 if symbol[:3] == currency else -1.0) * _basket(m, currency)
    return (implied - m.returns) / m.sigma
