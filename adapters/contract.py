"""What every broker adapter must do and publish. `tests/contracts/test_venue_contract.py` holds each of them to it.

A venue takes three commands (`SubmitOrder`, `CancelOrder`, `AmendProtection`) and publishes three kinds of messages:
quotes, facts about orders and positions, and snapshots of the account. It decides nothing and retries nothing.

Orders
    Every `SubmitOrder` is answered once: `OrderAccepted`, `OrderRejected`, or `OrderUnknown` where it was written and
    no answer came. What is unknown stays so until a fact or a snapshot gives evidence; it is never turned into a
    rejection by a timeout. Acceptance comes before every fill, fills before the cancellation or expiry of the rest.
    A second `SubmitOrder` with the same `client_order_id` does nothing and says nothing.
    `order_done` is True on the last deal of an order and False before; an order that ends otherwise ends with
    `OrderCancelled` or `OrderExpired` and what was filled of it, or, resting, with `OrderRejected`.
    An order with a `position_id` closes that position and never more than it holds: asked for more, it closes what is
    there, with `order_done` True. When a position is gone, orders that were to close it are cancelled.
Refusals
    `OrderRejected.code` is in capitals, cTrader's name where it has one: TRADING_BAD_VOLUME, TRADING_BAD_STOPS,
    TRADING_BAD_PRICES, TRADING_BAD_EXPIRATION_DATE, MARKET_CLOSED, NO_QUOTES, NO_CONVERSION, NOT_ENOUGH_MONEY,
    POSITION_NOT_FOUND, ORDER_NOT_FOUND, SYMBOL_NOT_FOUND, INVALID_REQUEST, REJECTED; where a broker has such terms
    also TRADING_DISABLED, SYMBOL_HAS_HOLIDAY, SHORT_SELLING_NOT_ALLOWED, MAX_EXPOSURE_REACHED and
    PROTECTION_IS_TOO_CLOSE_TO_MARKET. Terms that keep new risk out never keep an exit back.
    A refused cancel carries the order's id and ORDER_NOT_FOUND; it says that nothing rests under that id, not how the
    order ended. A refused amendment carries an empty `client_order_id` and names the position at the start of `text`.
Prices
    Prices and levels are positive multiples of the instrument's point; volumes lie between minimum and maximum in
    steps. An adapter refuses others; it does not repair them.
Positions and deals
    `deal_id` never repeats. A closing deal's `gross_profit`, `booked_commission`, `booked_swap` and `conversion_fee`
    add up exactly to the change of `balance`; an opening deal leaves it as it was. Deals of a position's stop, target,
    trailing stop and stop-out carry the `client_order_id` of the order that opened the position, and say so in `cause`;
    on a netted account that is the order that opened it first.
    After an opening deal whose order brought levels comes one `ProtectionChanged` with the levels in force; another
    after every amendment and every step of a trailing stop. A closed position's levels end with it, without a word.
    An amendment replaces both levels; 0 removes one.
Links, snapshots and quotes
    An adapter whose way to the venue can be lost says so: `LinkChanged(up=False)`, and `up=True` once it is reconciled
    and subscribed again; before the first of these it counts as up. Bars that the loss missed come before that, the
    one in the making last.
    What is not ours is told as `ForeignChanged`, and what moves the balance besides our deals as `BalanceMoved`.
    The first message after `connect` is an `AccountSnapshot`; another follows every reconnect and every request.
    Facts that a snapshot already contains may be told before or after it: readers fold a deal once, by its id.
    Quotes always carry both sides, bid positive, ask at least the bid.
"""

from collections.abc import Callable
from typing import Protocol

from bus.messages import AccountSnapshot, Bar, LinkChanged, Quote, VenueCommand, VenueFact

Publish = Callable[[Quote | VenueFact | AccountSnapshot | Bar | LinkChanged], None]
"""Takes one message from an adapter, in the order in which the venue told it. Must not block."""


class Venue(Protocol):
    """A broker connection as its shell drives it. No call blocks, none returns an outcome: outcomes are published."""

    def connect(self, publish: Publish, now_ns: int) -> None:
        """Begin: publish an `AccountSnapshot`, then whatever happens.

        Args:
            publish: where every message goes from now on.
            now_ns: UTC nanoseconds.
        """
        ...

    def send(self, command: VenueCommand, now_ns: int) -> None:
        """Pass a command on. It is already durable in the journal.

        Raises:
            NotSent: not connected; nothing left this machine, and nothing was or will be published about it.
        """
        ...

    def request_snapshot(self, now_ns: int) -> None:
        """Ask for an `AccountSnapshot`; it is published when it comes.

        Raises:
            NotSent: not connected.
        """
        ...

    def disconnect(self) -> None:
        """End: nothing is published afterwards. Orders and positions stay with the venue. Safe to call twice."""
        ...
