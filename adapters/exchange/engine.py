"""The matching engine: paper, backtest and the simulated cTrader server all stand on it. No I/O, no clock.

Theory of operation. Three things happen to an exchange: a quote comes, time passes, a command arrives. Each call
returns the facts it caused, in order, stamped with the moment they happened; equal inputs give equal facts. A quote is
taken in this order: what time brought before it (expiries, swap), stop losses and take profits of open positions,
trailing, resting orders in order of arrival, levels of positions these opened, stop-out.

A buy order looks at the ask, a sell at the bid; a long position's levels at the bid, a short one's at the ask. Where a
quote meets both stop and target, the stop wins. A stop fills at the first price beyond its level, less slippage, and
so never at a level that the market jumped over; a resting limit or target that was jumped over gets the better price
(see `ExecutionModel.pass_on_gaps`). Limits never slip. Protective deals carry the client order id of the order that
opened the position, and their `cause`.

A resting order that cannot be afforded when its price comes is rejected then (cancelled, where a part was filled).
Stop-out is looked at when a quote comes for a symbol with open positions, not when only a conversion rate moves.
Outside a symbol's session prices are noted, nothing is matched. The account may fall below zero.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from adapters.exchange.ledger import Ledger, Position
from adapters.exchange.matching import Facts, Matcher, rejected
from adapters.exchange.model import ExecutionModel, widened_ask_e5
from adapters.exchange.rules import (
    Order,
    Refusal,
    levels_refusal,
    order_of,
    price_refusal,
    stops_refusal,
    volume_refusal,
)
from bus.calendar import market_open, next_rollover_ns, trading_day
from bus.errors import DataError
from bus.messages import (
    AccountSnapshot,
    AmendProtection,
    CancelOrder,
    OrderAccepted,
    OrderExpired,
    OrderState,
    PositionState,
    Quote,
    SubmitOrder,
    SwapCharged,
    VenueCommand,
    VenueFact,
)
from bus.values import LARGEST, NS_PER_HOUR, NS_PER_S, Instrument, OrderType, TimeInForce

_NEVER_NS = 2**63 - 1

REMEMBERED = 20_000
"""Client order ids that are known again: the newest. A repetition comes within minutes, not after so many orders."""


class Exchange:
    """One simulated account at one simulated venue."""

    def __init__(
        self,
        *,
        account_id: str,
        currency: str,
        money_digits: int,
        leverage: int,
        hedged: bool,
        balance: int,
        instruments: Sequence[Instrument],
        model: ExecutionModel,
    ) -> None:
        """Open an account.

        Args:
            account_id: any name.
            currency: of the account.
            money_digits: decimals of its smallest unit.
            leverage: units of value a unit of margin carries, where the symbol allows no less.
            hedged: every opening order makes a position of its own; otherwise one position a symbol.
            balance: in smallest units.
            instruments: what can be traded, and what only converts.
            model: how orders are executed.

        Raises:
            DataError: leverage below 1, negative money digits, or a symbol given twice.
        """
        symbols = [instrument.symbol for instrument in instruments]
        if leverage < 1 or money_digits < 0 or len(set(symbols)) < len(symbols):
            raise DataError(f"no account: leverage {leverage}, money digits {money_digits}, symbols {symbols}")
        self._account_id = account_id
        self._hedged = hedged
        self._model = model
        self._ledger = self._new_ledger(
            currency=currency,
            money_digits=money_digits,
            leverage=leverage,
            balance=balance,
            conversion_fee_bp=model.conversion_fee_bp,
            instruments=tuple(instruments),
        )
        self._matcher = Matcher(self._ledger, model, hedged=hedged)
        self._markets = self._matcher.markets
        self._quotes = self._ledger.quotes
        self._seen: dict[str, None] = {}
        self._cancelled: dict[str, None] = {}
        self._due_ns = 0
        self._rollover_ns = 0
        self._widens = model.spread_multiplier_pct > 100 or model.spread_min_e5 > 0
        self._rollover_width_ns = model.rollover_minutes * 60 * NS_PER_S if model.rollover_spread_pct > 100 else 0
        self._wide_until_ns = 0
        self._wide_from_ns = _NEVER_NS

    def _new_ledger(self, **fields: Any) -> Ledger:
        """A venue with rules of its own gives another."""
        return Ledger(**fields)

    # --- what happens ------------------------------------------------------------------------------------------

    def on_quote(self, quote: Quote) -> list[VenueFact]:
        """Take a new price, widen its spread, and do what it triggers. Time is the quote's `ts_init_ns`.

        Raises:
            DataError: a symbol this account does not have, a bid that is not positive, or an ask below the bid.
        """
        symbol, bid_e5, ask_e5, now_ns = quote.symbol, quote.bid_e5, quote.ask_e5, quote.ts_init_ns
        market = self._markets.get(symbol)
        if market is None or bid_e5 <= 0 or ask_e5 < bid_e5 or ask_e5 > LARGEST:
            raise DataError(
                f"impossible quote {symbol} {bid_e5}/{ask_e5} at {now_ns}; this account has {[*self._markets]}"
            )
        facts: Facts = self._pass_time(now_ns) if now_ns >= self._due_ns else []
        if self._widens or now_ns < self._wide_until_ns or now_ns >= self._wide_from_ns:
            quote = self._widened(quote, market.instrument)
        self._quotes[symbol] = quote
        market.bought_e2 = market.sold_e2 = 0
        if (market.positions or market.orders) and not market.closed and market_open(now_ns, market.instrument.session):
            matcher = self._matcher
            matcher.protect(market, now_ns, facts)
            if market.orders and not market.frozen:
                before = len(facts)
                matcher.match_resting(market, now_ns, facts)
                if len(facts) > before:
                    matcher.protect(market, now_ns, facts)
            matcher.stop_out(now_ns, facts)
        return facts

    def advance(self, now_ns: int) -> list[VenueFact]:
        """Do what time alone brings up to a moment, in order of time: expiries and, at 17:00 New York, swap."""
        return self._pass_time(now_ns) if now_ns >= self._due_ns else []

    def execute(self, command: VenueCommand, now_ns: int) -> list[VenueFact]:
        """Carry out a command that arrives now. Refusals are facts.

        An order whose `client_order_id` came before (among the last REMEMBERED) changes nothing and returns nothing;
        so does a cancel of what was cancelled, and an amendment equal to the one before it.
        """
        facts = self.advance(now_ns)
        if isinstance(command, SubmitOrder):
            self._submit(command, now_ns, facts)
        elif isinstance(command, CancelOrder):
            self._cancel(command, now_ns, facts)
        else:
            self._amend(command, now_ns, facts)
        return facts

    # --- what is -----------------------------------------------------------------------------------------------

    @property
    def balance(self) -> int:
        """Closed money, in smallest units."""
        return self._ledger.balance

    @property
    def equity(self) -> int:
        """Balance plus floating results, opening commission and swap (as cTrader's server counts them)."""
        return self._ledger.equity()

    @property
    def used_margin(self) -> int:
        """Margin in use; of two sides of one symbol the larger."""
        return self._ledger.used_margin()

    @property
    def positions(self) -> tuple[PositionState, ...]:
        """Open positions in order of opening."""
        return tuple(position.state() for position in self._ledger.positions.values())

    @property
    def orders(self) -> tuple[OrderState, ...]:
        """Resting orders, symbol by symbol in order of arrival. Protective levels are no orders of their own."""
        return tuple(order.state() for market in self._markets.values() for order in market.orders.values())

    def quote(self, symbol: str) -> Quote | None:
        """The newest effective quote (spread widened), or None before the first."""
        return self._quotes.get(symbol)

    def snapshot(self, now_ns: int) -> AccountSnapshot:
        """All that the account holds."""
        return AccountSnapshot(
            account_id=self._account_id,
            currency=self._ledger.currency,
            money_digits=self._ledger.money_digits,
            hedged=self._hedged,
            leverage=self._ledger.leverage,
            balance=self._ledger.balance,
            positions=self.positions,
            orders=self.orders,
            ts_event_ns=now_ns,
            ts_init_ns=now_ns,
        )

    # --- time --------------------------------------------------------------------------------------------------

    def _pass_time(self, now_ns: int) -> Facts:
        facts: Facts = []
        if self._rollover_ns == 0:
            self._start_time(now_ns)
        while (due_ns := min(self._rollover_ns, self._next_expiry_ns())) <= now_ns:
            self._expire(due_ns, facts)
            if due_ns == self._rollover_ns:
                self._charge_swaps(due_ns, facts)
                self._set_rollovers(due_ns, next_rollover_ns(due_ns))
        self._due_ns = due_ns
        return facts

    def _start_time(self, now_ns: int) -> None:
        last_ns = next_rollover_ns(now_ns - 26 * NS_PER_HOUR)  # no day is longer than 25 hours
        while (following_ns := next_rollover_ns(last_ns)) <= now_ns:
            last_ns = following_ns
        self._set_rollovers(last_ns, following_ns)

    def _set_rollovers(self, last_ns: int, next_ns: int) -> None:
        self._rollover_ns = next_ns
        if self._rollover_width_ns:
            self._wide_until_ns = last_ns + self._rollover_width_ns
            self._wide_from_ns = next_ns - self._rollover_width_ns

    def _next_expiry_ns(self) -> int:
        return min(
            (o.expires_ns for market in self._markets.values() for o in market.orders.values() if o.expires_ns),
            default=_NEVER_NS,
        )

    def _expire(self, due_ns: int, facts: Facts) -> None:
        for market in self._markets.values():
            for order in [o for o in market.orders.values() if 0 < o.expires_ns <= due_ns]:
                del market.orders[order.client_order_id]
                facts.append(
                    OrderExpired(
                        client_order_id=order.client_order_id,
                        symbol=market.instrument.symbol,
                        filled_e2=order.filled_e2,
                        ts_event_ns=due_ns,
                        ts_init_ns=due_ns,
                    )
                )

    def _charge_swaps(self, rollover_ns: int, facts: Facts) -> None:
        """One night for every position, three on the triple day, none at the two rollovers of a weekend."""
        weekday = (trading_day(rollover_ns - 1) - 1) % 7  # of the day that ends; Monday = 0
        if weekday > 4:
            return
        for position in self._ledger.positions.values():
            nights = 3 if weekday == position.instrument.swap_triple_weekday else 1
            amount = self._ledger.charge_swap(position, nights)
            if amount:
                facts.append(
                    SwapCharged(
                        position_id=position.position_id,
                        symbol=position.instrument.symbol,
                        amount=amount,
                        nights=nights,
                        ts_event_ns=rollover_ns,
                        ts_init_ns=rollover_ns,
                    )
                )

    def _widened(self, quote: Quote, instrument: Instrument) -> Quote:
        now_ns = quote.ts_init_ns
        rollover = now_ns < self._wide_until_ns or now_ns >= self._wide_from_ns
        ask_e5 = widened_ask_e5(self._model, instrument, quote.bid_e5, quote.ask_e5, rollover=rollover)
        return msgspec.structs.replace(quote, ask_e5=ask_e5)

    # --- commands ----------------------------------------------------------------------------------------------

    def _submit(self, command: SubmitOrder, now_ns: int, facts: Facts) -> None:
        if command.client_order_id in self._seen:
            return
        _remember(self._seen, command.client_order_id)
        refusal = self._refusal(command, now_ns)
        if refusal is not None:
            code, text = refusal
            facts.append(rejected(command.client_order_id, command.symbol, code, text, now_ns))
            return
        market = self._markets[command.symbol]
        order = order_of(command, market.instrument, self._matcher.next_order_id())
        facts.append(
            OrderAccepted(
                client_order_id=order.client_order_id,
                order_id=order.order_id,
                symbol=command.symbol,
                ts_event_ns=now_ns,
                ts_init_ns=now_ns,
            )
        )
        if order.order_type in {OrderType.MARKET, OrderType.LIMIT}:
            self._matcher.take(order, now_ns, facts)
        if order.filled_e2 == order.volume_e2 or (order.closes and order.closes not in market.positions):
            return
        if order.order_type is OrderType.MARKET or order.time_in_force in {TimeInForce.IOC, TimeInForce.FOK}:
            self._matcher.cancel(order, f"{order.time_in_force} remainder: no more volume in reach", now_ns, facts)
            return
        market.orders[order.client_order_id] = order
        if order.expires_ns:
            self._due_ns = min(self._due_ns, order.expires_ns)

    def _refusal(self, command: SubmitOrder, now_ns: int) -> Refusal | None:
        """The first rule that the order breaks, in a fixed order."""
        market = self._markets.get(command.symbol)
        if market is None:
            return "SYMBOL_NOT_FOUND", f"{command.symbol!r} is none of {[*self._markets]}"
        instrument = market.instrument
        closes: Position | None = None
        if command.position_id:
            closes = market.positions.get(command.position_id)
            if closes is None:
                return "POSITION_NOT_FOUND", f"no open position {command.position_id} in {command.symbol}"
            if closes.side == command.side:
                return "INVALID_REQUEST", f"{command.side.name} does not close position {command.position_id}"
        quote = self._quotes.get(command.symbol)
        refusal = volume_refusal(command, instrument, closes)
        if refusal is None and not market_open(now_ns, instrument.session):
            refusal = "MARKET_CLOSED", f"{command.symbol} trades from Sunday to Friday 17:00 New York"
        if refusal is not None:
            return refusal
        if quote is None:
            return "NO_QUOTES", f"no price of {command.symbol} yet"
        refusal = price_refusal(command, instrument, quote, now_ns)
        if refusal is None and closes is None:
            refusal = levels_refusal(command, instrument, quote)
        if refusal is None:
            refusal = self._matcher.money_refusal(order_of(command, instrument, ""))
        if refusal is None and self._matcher.refuses_by_chance():
            refusal = "REJECTED", "the simulated liquidity provider declined"
        return refusal

    def _cancel(self, command: CancelOrder, now_ns: int, facts: Facts) -> None:
        market = self._markets.get(command.symbol)
        order: Order | None = market.orders.get(command.client_order_id) if market else None
        if order is not None:
            _remember(self._cancelled, command.client_order_id)
            self._matcher.cancel(order, command.reason, now_ns, facts)
        elif command.client_order_id not in self._cancelled:
            text = "no such resting order; it was filled, ended, or never arrived"
            facts.append(rejected(command.client_order_id, command.symbol, "ORDER_NOT_FOUND", text, now_ns))

    def _amend(self, command: AmendProtection, now_ns: int, facts: Facts) -> None:
        market = self._markets.get(command.symbol)
        position = market.positions.get(command.position_id) if market else None
        if position is not None and position.last_amend == command:
            return
        refusal = self._amend_refusal(command, position)
        if refusal is not None:
            facts.append(rejected("", command.symbol, refusal[0], f"{command.position_id}: {refusal[1]}", now_ns))
        elif position is not None:
            position.last_amend = command
            stop_e5, target_e5 = command.stop_loss_e5, command.take_profit_e5
            self._matcher.set_levels(position, stop_e5, target_e5, command.trailing_e5, now_ns, facts)

    def _amend_refusal(self, command: AmendProtection, position: Position | None) -> Refusal | None:
        if position is None:
            return "POSITION_NOT_FOUND", f"no open position in {command.symbol}"
        levels = (command.stop_loss_e5, command.take_profit_e5, command.trailing_e5)
        if not any(levels) and not (position.stop_loss_e5 or position.take_profit_e5):
            return "INVALID_REQUEST", "nothing to amend"
        quote = self._quotes[command.symbol]
        closing_e5 = quote.bid_e5 if position.side > 0 else quote.ask_e5
        return stops_refusal(position.instrument, position.side, closing_e5, closing_e5, *levels)


def _remember(names: dict[str, None], name: str) -> None:
    """Keep a name and, beyond the limit, drop the oldest."""
    names[name] = None
    if len(names) > REMEMBERED:
        del names[next(iter(names))]
