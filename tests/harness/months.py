"""A month of trading as a journal, with the truth beside it: every delay, slippage and cost part is known.

Deterministic in its arguments. Signals come evenly over the trading hours of a month; most are refused, some are
ordered, filled, protected and closed again, in two symbols of which one converts. Money follows the rules of
`OrderFilled`. `Month.messages` makes the journal; afterwards `Month.truth` says what is in it.
"""

import random
from types import SimpleNamespace

from bus import messages as m
from bus.calendar import market_open, trading_day
from bus.values import NS_PER_HOUR, NS_PER_MS, NS_PER_S, OrderType, Side, default_instrument, divide_half_away

START_NS = 1_525_122_000 * 10**9  # 2018-04-30T21:00:00Z, the first moment of the trading day of 1 May
MONTH_NS = 31 * 24 * NS_PER_HOUR
SYMBOLS = ("EURUSD", "USDJPY")
PRICES = {"EURUSD": 120_000, "USDJPY": 10_900_000}
SPREADS = {"EURUSD": 8, "USDJPY": 1_000}
RULES = ("spread", "exposure", "stale_quote", "daily_loss", "order_rate")
MODEL, STRATEGY = "ridge-1", "interval"
BALANCE = 100_000_000
SLIPPAGE_PIPS_E1 = (-2, -1, 0, 0, 1, 2, 3, 5)  # worse than the reference, in 1/10 pip: a mean of 1.0
DELAY_MS = (20, 250)  # from the order's leaving to its deal, uniform
VOLUMES_E2 = (1_000_000, 2_500_000, 10_000_000)
FEE_BP = 10


def money_of(symbol, volume_e2, difference_e5, mid_e5):
    """In cents: dollars where the quote asset is the dollar, otherwise through the mid, to eight decimals."""
    rate_e8 = 10**8 if symbol.endswith("USD") else divide_half_away(10**8 * 10**5, mid_e5)
    return divide_half_away(volume_e2 * difference_e5 * rate_e8 * 100, 100 * 10**5 * 10**8)


class Month:
    """See the module."""

    def __init__(self, *, signals=1_000, trades=100, seed=1, start_ns=START_NS, length_ns=MONTH_NS, run_id="m1"):
        self.random = random.Random(seed)
        self.signals, self.trades, self.run_id = signals, trades, run_id
        self.start_ns, self.length_ns = start_ns, length_ns
        self.balance = BALANCE
        self.mids = dict(PRICES)
        self.numbers = 0
        self.truth = SimpleNamespace(
            slippage_pips=[], send_ns=[], fill_ns=[], protect_ns=[], refused=[], by_day={}, nets=[], mid_moves=[],
            signals=0, deals=0, swaps=0, commissions=0, fees=0, spread=0, slippage=0, delay=0,
        )  # fmt: skip

    def messages(self):
        """The journal, message by message."""
        yield self.started()
        yield m.AccountSnapshot(
            account_id="acc", currency="USD", money_digits=2, hedged=True, leverage=30, balance=self.balance,
            positions=(), orders=(), ts_event_ns=self.start_ns, ts_init_ns=self.start_ns,
        )  # fmt: skip
        for symbol in SYMBOLS:
            yield self.quote(symbol, self.start_ns)
        each_ns = self.length_ns * 5 // 7 // max(1, self.signals)
        now, every = self.start_ns + NS_PER_S, max(1, self.signals // max(1, self.trades))
        for number in range(self.signals):
            while not (market_open(now, "fx") and market_open(now + NS_PER_HOUR // 2, "fx")):
                now += NS_PER_HOUR
            yield from self.signal(number, now, traded=number % every == 0 and number // every < self.trades)
            now += each_ns

    def journal(self):
        """The whole journal as (sequence number, message) pairs."""
        return list(enumerate(self.messages(), start=1))

    def started(self):
        return m.RunStarted(
            run_id=self.run_id, schema=1, mode="demo", currency="USD", money_digits=2, leverage=30, hedged=True,
            period_ns=NS_PER_HOUR, horizons=(1,), levels_ppm=(900_000,),
            instruments=tuple(default_instrument(symbol) for symbol in SYMBOLS),
            config_json='{"risk":{"max_exposure_pct_equity":2000,"daily_loss_pct_e2":300,"max_spread_pips_e1":50}}',
            ts_init_ns=self.start_ns,
        )  # fmt: skip

    def quote(self, symbol, ts):
        pip = default_instrument(symbol).pip_e5
        mid = self.mids[symbol] = self.mids[symbol] + round(self.random.gauss(0, 2 * pip))
        half = SPREADS[symbol] // 2
        return m.Quote(symbol=symbol, bid_e5=mid - half, ask_e5=mid + half, ts_event_ns=ts, ts_init_ns=ts)

    def next(self):
        self.numbers += 1
        return self.numbers

    # --- one signal --------------------------------------------------------------------------------------------

    def signal(self, number, now, *, traded):
        symbol = self.random.choice(SYMBOLS)
        quote = self.quote(symbol, now)
        yield quote
        request = f"{self.run_id}-q{number}"
        self.truth.signals += 1
        yield m.CalibratedForecast(
            request_id=request, symbol=symbol, model_id=MODEL, active=True, as_of_ns=now - 30 * NS_PER_MS,
            expires_ns=now + NS_PER_HOUR, close_e5=quote.bid_e5, horizons=(), ts_init_ns=now,
        )  # fmt: skip
        side = Side.BUY if self.random.random() < 0.5 else Side.SELL
        reference = quote.ask_e5 if side > 0 else quote.bid_e5
        pip = default_instrument(symbol).pip_e5
        intent = m.Intent(
            intent_id=f"{self.run_id}-{self.next()}", strategy=STRATEGY, symbol=symbol, action="enter", side=side,
            reason="r", reference_e5=reference, ts_init_ns=now, stop_loss_e5=reference - side * 50 * pip,
            take_profit_e5=reference + side * 50 * pip, horizon=1, edge_e5=pip, model_id=MODEL, request_id=request,
        )  # fmt: skip
        yield intent
        if traded:
            yield from self.trade(intent, quote, now)
            return
        rule = self.random.choice(RULES)
        self.truth.refused.append(rule)
        yield m.IntentRefused(intent_id=intent.intent_id, strategy=STRATEGY, symbol=symbol, rule=rule, limit="1",
                              value="2", would_pass="1", ts_init_ns=now)  # fmt: skip

    def order(self, intent, volume, now, position_id="", expected=0):
        return m.SubmitOrder(
            client_order_id=intent.intent_id, intent_id=intent.intent_id, strategy=STRATEGY, symbol=intent.symbol,
            side=intent.side, order_type=OrderType.MARKET, volume_e2=volume, reference_e5=intent.reference_e5,
            ts_init_ns=now, stop_loss_e5=intent.stop_loss_e5, take_profit_e5=intent.take_profit_e5,
            position_id=position_id, expected_profit=expected,
        )  # fmt: skip

    def executed(self, order, quote):
        """How an order leaves and is executed: moments, price, and what the market's move is of the slippage."""
        truth = self.truth
        left = order.ts_init_ns + self.random.randint(100, 900) * 1_000
        wait = self.random.randint(DELAY_MS[0] * NS_PER_MS, DELAY_MS[1] * NS_PER_MS)
        pips_e1 = self.random.choice(SLIPPAGE_PIPS_E1)
        pip = default_instrument(order.symbol).pip_e5
        price = order.reference_e5 + order.side * pips_e1 * pip // 10
        moved = self.random.choice((0, pips_e1)) * pip // 10 * order.side
        bid, ask = quote.bid_e5 + moved, quote.ask_e5 + moved
        truth.slippage_pips.append(-pips_e1 / 10)
        truth.send_ns.append(left - order.ts_init_ns)
        truth.fill_ns.append(wait)
        mid = self.mids[order.symbol]
        truth.spread -= divide_half_away(money_of(order.symbol, order.volume_e2, ask - bid, mid), 2)
        truth.slippage += money_of(order.symbol, order.volume_e2, (order.reference_e5 - price) * order.side, mid)
        touch = ask if order.side > 0 else bid
        truth.delay += money_of(order.symbol, order.volume_e2, (order.reference_e5 - touch) * order.side, mid)
        return left, left + wait, price, bid, ask

    def accepted(self, order, left, told):
        return m.OrderAccepted(client_order_id=order.client_order_id, order_id=f"o{self.next()}", symbol=order.symbol,
                               ts_event_ns=told, ts_init_ns=told, ts_sent_ns=left)  # fmt: skip

    def deal(self, order, position_id, told, price, bid, ask, *, closing, remaining, **money):
        values = {"gross_profit": 0, "booked_commission": 0, "booked_swap": 0, "conversion_fee": 0} | money
        self.truth.deals += 1
        return m.OrderFilled(
            deal_id=f"{self.run_id}-d{self.next()}", client_order_id=order.client_order_id, order_id="o",
            position_id=position_id, symbol=order.symbol, side=order.side, volume_e2=order.volume_e2, price_e5=price,
            closing=closing, cause="order", remaining_e2=remaining, balance=self.balance, bid_e5=bid, ask_e5=ask,
            ts_event_ns=told, ts_init_ns=told, **values,
        )  # fmt: skip

    def trade(self, intent, quote, now):
        truth, symbol = self.truth, intent.symbol
        volume = self.random.choice(VOLUMES_E2)
        order = self.order(intent, volume, now, expected=money_of(symbol, volume, intent.edge_e5, self.mids[symbol]))
        yield order
        left, told, price, bid, ask = self.executed(order, quote)
        yield self.accepted(order, left, told)
        position_id = f"{self.run_id}-p{self.next()}"
        fee = -self.random.randint(5, 40)
        yield self.deal(order, position_id, told, price, bid, ask, closing=False, remaining=volume, commission=fee)
        protect = self.random.randint(1, 80) * NS_PER_MS
        truth.protect_ns.append(protect)
        yield m.ProtectionChanged(
            position_id=position_id, symbol=symbol, stop_loss_e5=intent.stop_loss_e5,
            take_profit_e5=intent.take_profit_e5, trailing_e5=0, ts_event_ns=told, ts_init_ns=told + protect,
        )  # fmt: skip
        yield from self.leave(intent, order, position_id, price, fee, told + protect)

    def leave(self, intent, entry, position_id, entry_price, opening_fee, now):
        truth, symbol, side = self.truth, intent.symbol, entry.side
        swap = 0
        if self.random.random() < 0.2:
            swap = -self.random.randint(1, 90)
            yield m.SwapCharged(position_id=position_id, symbol=symbol, amount=swap, nights=1, ts_event_ns=now,
                                ts_init_ns=now)  # fmt: skip
        quote = self.quote(symbol, now + NS_PER_S)
        yield quote
        reference = quote.bid_e5 if side > 0 else quote.ask_e5
        wish = m.Intent(
            intent_id=f"{self.run_id}-{self.next()}", strategy=STRATEGY, symbol=symbol, action="exit",
            side=side.opposite, reason="over", reference_e5=reference, ts_init_ns=quote.ts_init_ns,
            position_id=position_id,
        )  # fmt: skip
        yield wish
        exit_order = self.order(wish, entry.volume_e2, quote.ts_init_ns, position_id)
        yield exit_order
        left, told, price, bid, ask = self.executed(exit_order, quote)
        yield self.accepted(exit_order, left, told)
        mid = self.mids[symbol]
        gross = money_of(symbol, entry.volume_e2, (price - entry_price) * side, mid)
        closing_fee = -self.random.randint(5, 40)
        fee = -divide_half_away(abs(gross) * FEE_BP, 10_000) if not symbol.endswith("USD") else 0
        net = gross + opening_fee + closing_fee + swap + fee
        self.balance += net
        truth.swaps += swap
        truth.commissions += opening_fee + closing_fee
        truth.fees += fee
        truth.nets.append(net)
        day = trading_day(told)
        truth.by_day[day] = truth.by_day.get(day, 0) + net
        yield self.deal(exit_order, position_id, told, price, bid, ask, closing=True, remaining=0,
                        commission=closing_fee, gross_profit=gross, booked_commission=opening_fee + closing_fee,
                        booked_swap=swap, conversion_fee=fee)  # fmt: skip
