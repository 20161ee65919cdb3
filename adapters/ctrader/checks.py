"""Whether what the broker says of an account can be, looked at before anything of it is remembered. Pure.

An event is taken as a whole or not at all: an order whose stop is no price must not leave its volume behind.
"""

from typing import Any

from adapters.ctrader.money import rate_of
from adapters.ctrader.wire import LARGEST_MONEY, digits_of, money_of, optional_price_e5, price_e5_of, time_of, volume_of
from bus.errors import DataError


def check_position(position: Any, money_digits: int) -> None:
    """Look at a `ProtoOAPosition`.

    Raises:
        DataError: an id, volume, price, level, time or sum that cannot be.
    """
    _check_id("positionId", position.positionId)
    data = position.tradeData
    time_of(position, "utcLastUpdateTimestamp")
    time_of(data, "openTimestamp")
    if volume_of(data, "volume"):
        price_e5_of(position.price)
    for level in ("stopLoss", "takeProfit"):
        optional_price_e5(position, level)
    for name in ("swap", "commission", "usedMargin"):
        money_of(position, name, money_digits)
    if position.marginRate > 0:
        rate_of(position.marginRate)


def check_order(order: Any) -> None:
    """Look at a `ProtoOAOrder`.

    Raises:
        DataError: an id, volume, price or time that cannot be.
    """
    _check_id("orderId", order.orderId)
    if order.positionId:
        _check_id("positionId", order.positionId)
    volume_of(order.tradeData, "volume")
    volume_of(order, "executedVolume")
    time_of(order, "utcLastUpdateTimestamp")
    for price in ("stopPrice", "limitPrice"):
        optional_price_e5(order, price)


def check_trader(trader: Any, money_digits: int) -> None:
    """Look at a `ProtoOATrader`.

    Raises:
        DataError: a sum or a counter that cannot be.
    """
    digits_of(trader)
    money_of(trader, "balance", money_digits)
    check_version(trader.balanceVersion)


def check_cash(cash: Any, money_digits: int) -> int:
    """Look at a `ProtoOADepositWithdraw`; gives its time in UTC milliseconds.

    Raises:
        DataError: a sum, time or counter that cannot be.
    """
    for name in ("balance", "delta"):
        money_of(cash, name, money_digits)
    check_version(cash.balanceVersion)
    return time_of(cash, "changeBalanceTimestamp")


def check_version(version: int) -> None:
    """Look at the counter of balance changes; one that is too large would make every later one look old.

    Raises:
        DataError: below 0, or more changes than there can have been.
    """
    if not 0 <= version <= LARGEST_MONEY:
        raise DataError(f"balanceVersion {version} counts no changes")


def _check_id(name: str, number: int) -> None:
    if number <= 0:
        raise DataError(f"{name} {number} is no id")
