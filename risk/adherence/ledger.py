"""Orders, deals and positions, followed from the intent to the last penny.

Theory of operation. Deals are folded once each, by `deal_id`. A position collects what its opening deals cost in
spread and slippage; a closing deal takes its share of that (by volume, the last one takes the rest) together with what
the venue books, as one `Money`. That same `Money` goes to the trade, its day, week, month, strategy, symbol and model,
so every table sums to the same total and the total is the change of balance.

It is one fold over one state, and therefore one file, though past 400 lines.
"""

from collections.abc import Iterable, Mapping

import msgspec

from bus.calendar import trading_day
from bus.messages import (
    AccountSnapshot,
    BalanceMoved,
    Bar,
    CalibratedForecast,
    Intent,
    OrderAccepted,
    OrderFilled,
    OrderRejected,
    PositionState,
    ProtectionChanged,
    Quote,
    RunStarted,
    SubmitOrder,
    SwapCharged,
)
from bus.values import RATE_SCALE, divide_half_away, money, quote_to_account_rate_e8
from risk.adherence.levels import MISSED_AFTER_NS, LevelHit, LevelOwner, executed_level, missed_level
from risk.adherence.numbers import period_keys
from risk.adherence.records import FillPoint, Group, Money, Trade
from risk.adherence.tracks import OrderTrack, Position, reference_of, trade_of


class _Sums(msgspec.Struct):
    trades: int = 0
    wins: int = 0
    money: Money = Money()


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """What one closing deal booked, and to whose account. `last` = it ended its trade, `won` = with a profit."""

    ts_ns: int
    strategy: str
    symbol: str
    model_id: str
    money: Money
    last: bool
    won: bool


class _Away(msgspec.Struct, frozen=True):
    """How far from its reference a deal was made, in 1/100000 and in money; `delay` is a part of `slippage`."""

    spread_e5: int
    slippage_e5: int
    delay_e5: int
    spread: int
    slippage: int
    delay: int


class Ledger:
    """Folds orders and deals; see the module's theory of operation."""

    def __init__(self, carried: Mapping[str, Position] | None = None) -> None:
        """Open empty books.

        Args:
            carried: positions that an earlier journal of the same account left open, by id: where the first snapshot
                holds them, their trades go on with what is known of them.
        """
        self._carried = carried or {}
        self.taken_over: set[str] = set()
        self.bookings: list[Booking] = []
        self.hits: list[LevelHit] = []
        self.moves: list[BalanceMoved] = []
        self.run: RunStarted | None = None
        self.quotes: dict[str, Quote] = {}
        self.bar_counts: dict[str, int] = {}
        self.orders: dict[str, OrderTrack] = {}
        self.at_work: dict[str, OrderTrack] = {}
        self.intents: dict[str, Intent] = {}
        self.signals: dict[tuple[str, str], int] = {}
        self.positions: dict[str, Position] = {}
        self.trades: list[Trade] = []
        self.fills: list[FillPoint] = []
        self.groups: dict[str, dict[str, _Sums]] = {
            name: {} for name in ("day", "week", "month", "strategy", "symbol", "model")
        }
        self.total = Money()
        self.balance_start: int | None = None
        self.balance_told = 0
        self.booked = 0
        self.moved = 0
        self.commission_told = 0
        self.swap_told = 0
        self.repeated = 0
        self.balance_breaks: list[str] = []
        self.strangers: list[str] = []
        self.unpriced: set[str] = set()
        self._deals: set[str] = set()
        self._nights: set[tuple[str, int]] = set()
        self._moves: set[str] = set()
        self._early_stops: dict[str, int] = {}
        self._opened = 0

    # --- prices to money ---------------------------------------------------------------------------------------

    def worth(self, symbol: str, volume_e2: int, difference_e5: int) -> int:
        """A price difference on a volume, in the account's smallest unit at the last mid prices; 0 where no rate is."""
        run = self.run
        if run is None or not difference_e5:
            return 0
        rate_e8 = self.rate_e8(symbol)
        return 0 if rate_e8 is None else money(volume_e2, difference_e5, rate_e8, run.money_digits)

    def rate_e8(self, symbol: str) -> int | None:
        """Account units for one of the symbol's quote asset at the last mid prices, times 10**8; None = no chain."""
        run = self.run
        if run is None:
            return None
        instrument = next((entry for entry in run.instruments if entry.symbol == symbol), None)
        quote_asset = instrument.quote if instrument else symbol[3:]
        if quote_asset == run.currency:
            return RATE_SCALE
        mids = {name: (quote.bid_e5 + quote.ask_e5) // 2 for name, quote in self.quotes.items()}
        rate_e8 = quote_to_account_rate_e8(quote_asset, run.currency, run.instruments, mids)
        if rate_e8 is None:
            self.unpriced.add(symbol)
        return rate_e8

    @property
    def balance(self) -> int:
        """The first balance told, everything booked since, and what moved it besides (cash, other people's deals)."""
        return (self.balance_start or 0) + self.booked + self.moved

    def equity(self) -> int:
        """Balance, plus open positions at the last quotes, plus commission and swap they have run up."""
        total = self.balance
        for position in self.positions.values():
            quote = self.quotes.get(position.symbol)
            total += position.commission + position.swap
            if quote is not None and position.volume_e2:
                exit_e5 = quote.bid_e5 if position.side > 0 else quote.ask_e5
                difference = exit_e5 * position.volume_e2 - position.value
                total += self.worth(position.symbol, 1, position.side * difference)
        return total

    # --- account -----------------------------------------------------------------------------------------------

    def on_snapshot(self, snapshot: AccountSnapshot) -> None:
        """The first one opens the books, later ones are held against them."""
        if self.balance_start is None:
            self.balance_start = self.balance_told = snapshot.balance
            for state in snapshot.positions:
                self._inherit(state, snapshot.ts_init_ns)
        elif snapshot.balance != self.balance:
            self.balance_breaks.append(f"snapshot says {snapshot.balance}, the deals say {self.balance}")

    def _inherit(self, state: PositionState, ts_ns: int) -> None:
        """A position from before this journal: its trade goes on, or starts with what the venue tells."""
        known = self._carried.get(state.position_id)
        if known is not None:
            known.bar_open = self.bar_counts.get(state.symbol, 0)
            known.volume_e2 = state.volume_e2
            known.value = state.volume_e2 * state.price_e5
            known.commission, known.swap = state.commission, state.swap
            known.protect(state.stop_loss_e5, state.take_profit_e5)
            self.taken_over.add(state.position_id)
            self._opened += 1
            known.number = self._opened
            self.positions[state.position_id] = known
            self.commission_told += state.commission
            self.swap_told += state.swap
            return
        position = self._open(state.position_id, state.symbol, int(state.side), None, state.ts_open_ns or ts_ns, ts_ns)
        position.volume_e2 = position.filled_e2 = state.volume_e2
        position.value = position.filled_value = state.volume_e2 * state.price_e5
        position.commission, position.swap = state.commission, state.swap
        position.protect(state.stop_loss_e5, state.take_profit_e5)
        position.protect_ns = 0 if state.stop_loss_e5 else None
        self.commission_told += state.commission
        self.swap_told += state.swap

    def on_swap(self, swap: SwapCharged) -> None:
        """A night's charge, once each."""
        night = (swap.position_id, swap.ts_event_ns)
        if night in self._nights:
            self.repeated += 1
            return
        self._nights.add(night)
        self.swap_told += swap.amount
        position = self.positions.get(swap.position_id)
        if position is not None:
            position.swap += swap.amount

    def on_moved(self, move: BalanceMoved) -> None:
        """Money that came or went without a deal of ours, once each."""
        if move.move_id in self._moves:
            self.repeated += 1
            return
        self._moves.add(move.move_id)
        self.moves.append(move)
        self.moved += move.delta
        self.balance_told = move.balance
        if self.balance != move.balance:
            self.balance_breaks.append(f"{move.move_id} left {move.balance}, the deals say {self.balance}")

    # --- decisions ---------------------------------------------------------------------------------------------

    def on_bar(self, bar: Bar) -> None:
        """Count a closed bar; one before the symbol's first quote is history."""
        if bar.symbol in self.quotes:
            self.bar_counts[bar.symbol] = self.bar_counts.get(bar.symbol, 0) + 1

    def on_signal(self, forecast: CalibratedForecast) -> None:
        """Remember when the bar of a forecast closed: decision delays are counted from there."""
        self.signals[forecast.request_id, forecast.model_id] = forecast.as_of_ns

    def on_order(self, order: SubmitOrder) -> None:
        """An order was decided."""
        if order.client_order_id not in self.orders:
            intent = self.intents.get(order.intent_id)
            track = OrderTrack(order=order, intent=intent, model_id=intent.model_id if intent else "")
            closes = self.positions.get(order.position_id)
            if closes is not None and closes.entry is not None:
                track.model_id = closes.entry.model_id  # who led in is answerable for the way out
            self.orders[order.client_order_id] = self.at_work[order.client_order_id] = track

    def on_accepted(self, fact: OrderAccepted) -> None:
        """The venue took an order."""
        track = self.orders.get(fact.client_order_id)
        if track is not None and not track.ts_accepted_ns:
            track.ts_accepted_ns = fact.ts_init_ns
            track.ts_sent_ns = fact.ts_sent_ns
            if track.state in {"sent", "unknown"}:
                track.state = "accepted"

    def on_end(self, client_order_id: str, state: str, code: str = "") -> None:
        """An order ended, or its outcome is unknown."""
        if state != "unknown":
            self.at_work.pop(client_order_id, None)
        track = self.orders.get(client_order_id)
        if track is not None:
            track.code = track.code or code
            if track.state != "filled":
                track.state = state

    def on_rejected(self, fact: OrderRejected) -> None:
        """The venue refused an order."""
        self.on_end(fact.client_order_id, "rejected", fact.code)
        track = self.orders.get(fact.client_order_id)
        if track is not None and not track.ts_accepted_ns:
            track.ts_accepted_ns, track.ts_sent_ns = fact.ts_init_ns, fact.ts_sent_ns

    def on_protection(self, fact: ProtectionChanged) -> None:
        """The venue holds a stop; it may say so before it tells the deal."""
        position = self.positions.get(fact.position_id)
        if position is None:
            if fact.stop_loss_e5:
                self._early_stops.setdefault(fact.position_id, fact.ts_init_ns)
            return
        position.protect(fact.stop_loss_e5, fact.take_profit_e5)
        if fact.stop_loss_e5 and position.protect_ns is None:
            position.protect_ns = max(0, fact.ts_init_ns - position.ts_init_ns)

    # --- deals -------------------------------------------------------------------------------------------------

    def on_filled(self, fill: OrderFilled) -> None:
        """One deal, once."""
        if fill.deal_id in self._deals:
            self.repeated += 1
            return
        self._deals.add(fill.deal_id)
        track = self.orders.get(fill.client_order_id) if fill.cause == "order" else None
        if track is not None:
            track.filled_e2 += fill.volume_e2
            track.ts_filled_ns = track.ts_filled_ns or fill.ts_init_ns
            track.state = "filled"
            if fill.order_done:
                self.at_work.pop(fill.client_order_id, None)
        away = self._away(fill, reference_of(fill, track))
        if track is not None:
            track.deals += 1
            track.position_id = fill.position_id
            track.closing = fill.closing
            track.value += fill.volume_e2 * fill.price_e5
            track.slippage += fill.volume_e2 * away.slippage_e5
            track.delay += fill.volume_e2 * away.delay_e5
            track.spread += fill.volume_e2 * away.spread_e5
            track.money += away.slippage
        self.commission_told += fill.commission
        net = 0
        if fill.closing:
            net = self._close(fill, track, away)
        else:
            self._add(fill, track, away)
        self.balance_told = fill.balance
        if self.balance_start is None:
            self.balance_start = fill.balance - net
        if fill.balance != self.balance:
            self.balance_breaks.append(f"deal {fill.deal_id} says {fill.balance}, the deals add up to {self.balance}")
        self.fills.append(
            FillPoint(
                ts_ns=fill.ts_event_ns,
                symbol=fill.symbol,
                price_e5=fill.price_e5,
                side=int(fill.side),
                closing=fill.closing,
                cause=fill.cause,
                slippage_e5=away.slippage_e5,
                profit=net,
            )
        )

    def _away(self, fill: OrderFilled, reference_e5: int) -> _Away:
        touch_e5 = fill.ask_e5 if fill.side > 0 else fill.bid_e5
        slippage_e5 = (reference_e5 - fill.price_e5) * fill.side if reference_e5 else 0
        delay_e5 = (reference_e5 - touch_e5) * fill.side if reference_e5 and touch_e5 else 0
        spread_e5 = max(0, fill.ask_e5 - fill.bid_e5)
        return _Away(
            spread_e5,
            slippage_e5,
            delay_e5,
            spread=-divide_half_away(self.worth(fill.symbol, fill.volume_e2, spread_e5), 2),
            slippage=self.worth(fill.symbol, fill.volume_e2, slippage_e5),
            delay=self.worth(fill.symbol, fill.volume_e2, delay_e5),
        )

    def _open(
        self, position_id: str, symbol: str, side: int, track: OrderTrack | None, ts_open_ns: int, ts_init_ns: int
    ) -> Position:
        self._opened += 1
        position = Position(
            number=self._opened,
            position_id=position_id,
            symbol=symbol,
            side=side,
            entry=track,
            ts_open_ns=ts_open_ns,
            ts_init_ns=ts_init_ns,
            bar_open=self.bar_counts.get(symbol, 0),
        )
        self.positions[position_id] = position
        return position

    def _add(self, fill: OrderFilled, track: OrderTrack | None, away: _Away) -> None:
        position = self.positions.get(fill.position_id)
        if position is None:
            position = self._open(
                fill.position_id, fill.symbol, int(fill.side), track, fill.ts_event_ns, fill.ts_init_ns
            )
            if self._early_stops.pop(fill.position_id, None) is not None:
                position.protect_ns = 0
            if track is not None:
                position.protect(track.order.stop_loss_e5, track.order.take_profit_e5)
        position.volume_e2 += fill.volume_e2
        position.value += fill.volume_e2 * fill.price_e5
        position.filled_e2 += fill.volume_e2
        position.filled_value += fill.volume_e2 * fill.price_e5
        position.commission += fill.commission
        position.spread_left += away.spread
        position.slippage_left += away.slippage
        position.delay_left += away.delay
        position.entry_spread += away.spread_e5 * fill.volume_e2
        position.entry_slippage += away.slippage_e5 * fill.volume_e2

    def _close(self, fill: OrderFilled, track: OrderTrack | None, away: _Away) -> int:
        """Book a closing deal with its share of the entry's costs. Returns its net."""
        position = self.positions.get(fill.position_id)
        if position is None:
            self.strangers.append(fill.position_id)
            position = self._open(
                fill.position_id, fill.symbol, -int(fill.side), None, fill.ts_event_ns, fill.ts_init_ns
            )
            position.volume_e2 = position.filled_e2 = fill.volume_e2 + fill.remaining_e2
        held = max(position.volume_e2, fill.volume_e2)
        last = fill.remaining_e2 == 0

        def share(left: int) -> int:
            return left if last else divide_half_away(left * fill.volume_e2, held)

        entry_spread, entry_slippage = share(position.spread_left), share(position.slippage_left)
        entry_delay = share(position.delay_left)
        position.spread_left -= entry_spread
        position.slippage_left -= entry_slippage
        position.delay_left -= entry_delay
        # The venue books both sides' commission and the swap with the closing deal: what is left stays run up.
        position.commission -= share(position.commission)
        position.swap -= fill.booked_swap
        position.value -= divide_half_away(position.value * fill.volume_e2, held)
        position.volume_e2 = fill.remaining_e2
        position.closed_e2 += fill.volume_e2
        position.closed_value += fill.volume_e2 * fill.price_e5
        position.exit_spread += away.spread_e5 * fill.volume_e2
        position.exit_slippage += away.slippage_e5 * fill.volume_e2
        spread, slippage = away.spread + entry_spread, away.slippage + entry_slippage
        part = Money(
            before_costs=fill.gross_profit - spread - slippage,
            spread=spread,
            slippage=slippage,
            delay=away.delay + entry_delay,
            impact=slippage - away.delay - entry_delay,
            gross=fill.gross_profit,
            commission=fill.booked_commission,
            swap=fill.booked_swap,
            conversion_fee=fill.conversion_fee,
            net=fill.gross_profit + fill.booked_commission + fill.booked_swap + fill.conversion_fee,
        )
        self.booked += part.net
        position.money = position.money.plus(part)
        self.total = self.total.plus(part)
        self._book(position, fill, part, last=last)
        self._hit(position, fill, away, last=last)
        if last:
            del self.positions[fill.position_id]
            self.trades.append(self.trade(position, fill, track))
        return part.net

    def _book(self, position: Position, fill: OrderFilled, part: Money, *, last: bool) -> None:
        day, week, month = period_keys(trading_day(fill.ts_event_ns))
        intent = position.entry.intent if position.entry else None
        keys = {
            "day": day,
            "week": week,
            "month": month,
            "strategy": position.entry.order.strategy if position.entry else "",
            "symbol": position.symbol,
            "model": intent.model_id if intent else "",
        }
        self.bookings.append(
            Booking(
                ts_ns=fill.ts_event_ns,
                strategy=keys["strategy"],
                symbol=keys["symbol"],
                model_id=keys["model"],
                money=part,
                last=last,
                won=last and position.money.net > 0,
            )
        )
        for name, key in keys.items():
            sums = self.groups[name].setdefault(key or "(none)", _Sums())
            sums.money = sums.money.plus(part)
            sums.trades += last
            sums.wins += last and position.money.net > 0

    def _hit(self, position: Position, fill: OrderFilled, away: _Away, *, last: bool) -> None:
        """Note the level that a deal executed, and at the end those that prices had reached in vain."""
        whose = _owner(position)
        executed = None
        if fill.cause != "order" and fill.level_e5:
            executed = position.target if fill.cause == "take_profit" else position.stop
            self.hits.append(
                executed_level(
                    whose, fill, executed, delay_e5=away.delay_e5, spread_e5=away.spread_e5, slippage=away.slippage
                )
            )
        for touch, cause in ((position.stop, "stop_loss"), (position.target, "take_profit")):
            late_ns = fill.ts_event_ns - touch.ts_ns
            if last and touch.ts_ns and touch is not executed and late_ns > MISSED_AFTER_NS:
                self.hits.append(missed_level(whose, touch, cause, fill.ts_event_ns, fill.price_e5, position.side))

    def vain(self, now_ns: int, positions: Iterable[Position]) -> list[LevelHit]:
        """Levels of positions still open that prices have reached, and that nothing has executed for too long."""
        found: list[LevelHit] = []
        for position in positions:
            quote = self.quotes.get(position.symbol)
            for touch, cause in ((position.stop, "stop_loss"), (position.target, "take_profit")):
                if quote is not None and touch.ts_ns and now_ns - touch.ts_ns > MISSED_AFTER_NS:
                    price_e5 = quote.bid_e5 if position.side > 0 else quote.ask_e5
                    found.append(missed_level(_owner(position), touch, cause, now_ns, price_e5, position.side))
        return found

    def group(self, name: str) -> tuple[Group, ...]:
        """One table, sorted by key."""
        rows = self.groups[name]
        return tuple(Group(key=key, trades=r.trades, wins=r.wins, money=r.money) for key, r in sorted(rows.items()))

    def trade(self, position: Position, fill: OrderFilled | None = None, closing: OrderTrack | None = None) -> Trade:
        """The record of a position; see `tracks.trade_of`."""
        intent = position.entry.intent if position.entry else None
        signal_ns = self.signals.get((intent.request_id, intent.model_id), 0) if intent else 0
        bars = self.bar_counts.get(position.symbol, 0) - position.bar_open
        return trade_of(position, signal_ns, bars, fill, closing)


def _owner(position: Position) -> LevelOwner:
    track = position.entry
    return LevelOwner(
        position_id=position.position_id,
        symbol=position.symbol,
        strategy=track.order.strategy if track else "",
        model_id=track.intent.model_id if track and track.intent else "",
        volume_e2=position.filled_e2,
    )
