"""A plausible synthetic run as (seq, message) pairs: random prices, honest intervals, trades with every money part.

Deterministic in its arguments. Two models (a ridge that trades and the random walk), hourly bars from quotes, entries
when the point forecast is far enough from the close, exits by stop, target or after a few bars, swap at every rollover,
refusals, rejections, missed forecasts, a halt. Money is kept by the rules of `OrderFilled`, so it is conserved.
"""

import random

from bus import messages as m
from bus.calendar import market_open, next_rollover_ns
from bus.values import NS_PER_HOUR, NS_PER_MS, RATE_SCALE, OrderType, Side, default_instrument, money

PERIOD_NS = NS_PER_HOUR
HORIZONS = (1, 4, 24)
LEVELS = (900_000, 500_000)
START_NS = 1_525_132_800 * 10**9  # 2018-05-01T00:00:00Z, a Tuesday
MODEL, WALK = "ridge-2f9c1a", "random-walk"
SYMBOL = "EURUSD"
INSTRUMENT = default_instrument(SYMBOL)
SIGMA_E5 = 55
Z90, Z50 = 1.645, 0.674
START_BALANCE = 1_000_000


class Scenario:
    """Makes the journal; `skill` is the share of the next move that the ridge knows (0 = none)."""

    def __init__(self, bars, seed, skill):
        self.source = random.Random(seed)
        self.bars, self.skill = bars, skill
        self.out = []
        self.balance = START_BALANCE
        self.position = None
        self.closes, self.ids = [], 0
        self.due = []

    def say(self, message):
        self.out.append((len(self.out) + 1, message))

    def number(self):
        self.ids += 1
        return self.ids

    def run(self):
        self.opening()
        self.path = self.make_path()
        for index, (ts_open, prices) in enumerate(self.path):
            self.one_bar(index, ts_open, prices)
        self.close_out()
        return self.out

    def opening(self):
        self.say(m.RunStarted(
            run_id="r1", schema=1, mode="paper", currency="USD", money_digits=2, leverage=30, hedged=True,
            period_ns=PERIOD_NS, horizons=HORIZONS, levels_ppm=LEVELS, instruments=(INSTRUMENT,),
            config_json='{"risk":{"max_spread_e5":30,"max_daily_loss_pct":2.0},"sizing":{"mode":"percent"}}',
            ts_init_ns=START_NS,
        ))  # fmt: skip
        for model, kind, active in ((MODEL, "ridge", True), (WALK, "random_walk", False)):
            self.say(m.ModelAdmitted(
                model_id=model, kind=kind, symbol=SYMBOL, active=active, horizons=HORIZONS,
                scores=((0.5, 1.0),) * 3, ts_init_ns=START_NS,
            ))  # fmt: skip
        for back in range(5, 0, -1):
            self.bar(START_NS - back * PERIOD_NS, 119_980, 120_010, 119_960, 120_000)
        self.say(m.AccountSnapshot(
            account_id="paper", currency="USD", money_digits=2, hedged=True, leverage=30, balance=self.balance,
            positions=(), orders=(), ts_event_ns=START_NS, ts_init_ns=START_NS,
        ))  # fmt: skip

    def make_path(self):
        """Bar opening times while the market is open, and four bid prices a bar."""
        price, ts, path = 120_000, START_NS, []
        while len(path) < self.bars + max(HORIZONS):
            if market_open(ts, "fx"):
                steps = [price]
                for _ in range(3):
                    steps.append(steps[-1] + round(self.source.gauss(0, SIGMA_E5 / 2)))
                path.append((ts, steps))
                price = steps[-1] + round(self.source.gauss(0, SIGMA_E5 / 2))
            ts += PERIOD_NS
        self.truth = [steps[-1] for _, steps in path]
        return path[: self.bars]

    def bar(self, ts_open, open_e5, high_e5, low_e5, close_e5, spread_e5=9):
        self.say(m.Bar(
            symbol=SYMBOL, period_ns=PERIOD_NS, ts_open_ns=ts_open, ts_close_ns=ts_open + PERIOD_NS, open_e5=open_e5,
            high_e5=high_e5, low_e5=low_e5, close_e5=close_e5, spread_e5=spread_e5, quotes=4,
        ))  # fmt: skip

    def one_bar(self, index, ts_open, prices):
        for step, bid in enumerate(prices):
            ts = ts_open + step * PERIOD_NS // 4
            spread = 8 + (self.source.random() < 0.2) * self.source.randint(1, 8)
            self.quote = m.Quote(
                symbol=SYMBOL, bid_e5=bid, ask_e5=bid + spread, ts_event_ns=ts, ts_init_ns=ts + NS_PER_MS
            )
            self.say(self.quote)
            self.protect(ts)
        end = ts_open + PERIOD_NS
        self.say(m.ClockTick(ts_init_ns=end))
        self.bar(ts_open, prices[0], max(prices), min(prices), prices[-1], spread)
        self.closes.append(prices[-1])
        self.resolve(index, end)
        if self.position:
            self.night(ts_open, end)
        self.forecast(index, end)

    def bands(self, point, sigma):
        return tuple(
            m.Band(level_ppm=level, lower_e5=point - round(z * sigma), upper_e5=point + round(z * sigma), bounded=True)
            for level, z in zip(LEVELS, (Z90, Z50), strict=True)
        )

    def forecast(self, index, end):
        request = f"{SYMBOL}-{end // 10**9}"
        arrival = end + 20 * NS_PER_MS
        if self.source.random() < 0.006:
            self.say(m.ForecastMissed(request_id=request, symbol=SYMBOL, model_id=MODEL, reason="late",
                                      detail="1204 ms after the deadline", ts_init_ns=arrival))  # fmt: skip
            return
        close = self.closes[-1]
        for model in (MODEL, WALK):
            views = []
            for horizon in HORIZONS:
                sigma = round(SIGMA_E5 * horizon**0.5)
                point = close
                if model == MODEL:
                    known = self.skill * (self.truth[index + horizon] - close)
                    point = close + round(known + self.source.gauss(0, 0.18 * sigma))
                views.append(m.CalibratedHorizon(horizon=horizon, point_e5=point, sigma_e5=sigma,
                                                 bands=self.bands(point, sigma)))  # fmt: skip
                self.due.append((index + horizon, model, end, close, views[-1]))
            self.say(m.CalibratedForecast(
                request_id=request, symbol=SYMBOL, model_id=model, active=model == MODEL, as_of_ns=end,
                expires_ns=end + PERIOD_NS, close_e5=close, horizons=tuple(views), ts_init_ns=arrival,
            ))  # fmt: skip
            if model == MODEL:
                self.decide(request, views[1], arrival)
        if self.source.random() < 0.03:
            self.say(m.PatternSeen(
                request_id=request, symbol=SYMBOL, pattern="unusual", model_id="autoencoder-1", as_of_ns=end,
                error_ppm=91_000, threshold_ppm=80_000, percentile=99.4, candles=(0, 3), ts_init_ns=arrival,
            ))  # fmt: skip
            self.say(m.PatternSeen(
                request_id=request, symbol=SYMBOL, pattern="double_top", model_id="pattern-rules", as_of_ns=end,
                error_ppm=0, threshold_ppm=0, percentile=0.0, candles=(0, 3, 9, 20), ts_init_ns=arrival,
                confidence_ppm=630_000, direction=-1,
            ))  # fmt: skip

    def resolve(self, index, now):
        later = []
        for entry in self.due:
            due, model, as_of, close, view = entry
            if due != index:
                later.append(entry)
                continue
            actual = self.closes[-1]
            self.say(m.ForecastResolved(
                symbol=SYMBOL, model_id=model, active=model == MODEL, horizon=view.horizon, as_of_ns=as_of,
                close_e5=close, point_e5=view.point_e5, sigma_e5=view.sigma_e5, actual_e5=actual, bands=view.bands,
                covered=tuple(band.lower_e5 <= actual <= band.upper_e5 for band in view.bands), ts_init_ns=now,
            ))  # fmt: skip
        self.due = later

    # --- trading -----------------------------------------------------------------------------------------------

    def decide(self, request, view, now):
        if self.position:
            self.position["bars"] += 1
            if self.position["bars"] >= 4:
                self.exit_by_order(now, "expired")
            return
        distance = view.point_e5 - self.closes[-1]
        if abs(distance) < 18:
            return
        side = Side.BUY if distance > 0 else Side.SELL
        reference = self.quote.ask_e5 if side > 0 else self.quote.bid_e5
        intent = m.Intent(
            intent_id=f"r1-{self.number()}-1", strategy="interval", symbol=SYMBOL, action="enter", side=side,
            reason="interval clears the cost", reference_e5=reference, ts_init_ns=now,
            stop_loss_e5=reference - side * 140, take_profit_e5=reference + side * 110, horizon=4,
            point_e5=view.point_e5, edge_e5=abs(distance) - 14, scale_e5=view.sigma_e5, model_id=MODEL,
            request_id=request,
        )  # fmt: skip
        self.say(intent)
        luck = self.source.random()
        if luck < 0.42:
            rule, limit, value = self.source.choices(
                [("spread", "1.2 pips", "1.6 pips"), ("exposure", "30000 USD", "41200 USD"),
                 ("orders_per_minute", "2", "3"), ("daily_loss", "2.0 %", "2.1 %"), ("stale_quote", "5 s", "9.1 s")],
                [10, 6, 2, 1, 3],
            )[0]  # fmt: skip
            self.say(m.IntentRefused(
                intent_id=intent.intent_id, strategy="interval", symbol=SYMBOL, rule=rule, limit=limit, value=value,
                would_pass=f"{limit} or less", ts_init_ns=now,
            ))  # fmt: skip
            return
        self.enter(intent, now, rejected=luck > 0.985)

    def enter(self, intent, now, *, rejected):
        volume = self.source.choice([1_000_000, 1_500_000, 2_000_000])
        order = m.SubmitOrder(
            client_order_id=intent.intent_id, intent_id=intent.intent_id, strategy="interval", symbol=SYMBOL,
            side=intent.side, order_type=OrderType.MARKET, volume_e2=volume, reference_e5=intent.reference_e5,
            stop_loss_e5=intent.stop_loss_e5, take_profit_e5=intent.take_profit_e5, reason=intent.reason,
            expected_profit=self.worth(volume, intent.edge_e5), ts_init_ns=now,
        )  # fmt: skip
        self.say(order)
        event, back = now + 50 * NS_PER_MS, now + (75 + self.source.randint(0, 30)) * NS_PER_MS
        if rejected:
            self.say(m.OrderRejected(client_order_id=order.client_order_id, symbol=SYMBOL, code="NOT_ENOUGH_MONEY",
                                     text="margin 0.00", ts_event_ns=event, ts_init_ns=back))  # fmt: skip
            return
        self.say(m.OrderAccepted(client_order_id=order.client_order_id, order_id=f"o{self.number()}", symbol=SYMBOL,
                                 ts_event_ns=event, ts_init_ns=back))  # fmt: skip
        filled = volume - (self.source.random() < 0.08) * 100_000
        price = intent.reference_e5 + intent.side * self.slip()
        name = f"p{self.number()}"
        commission = -self.charge(filled, price)
        self.position = {"id": name, "side": intent.side, "volume": filled, "price": price, "swap": 0, "bars": 0,
                         "commission": commission, "stop": intent.stop_loss_e5,
                         "target": intent.take_profit_e5}  # fmt: skip
        self.deal(order.client_order_id, intent.side, filled, price, event, back, commission=commission)
        self.say(m.ProtectionChanged(
            position_id=name, symbol=SYMBOL, stop_loss_e5=intent.stop_loss_e5, take_profit_e5=intent.take_profit_e5,
            trailing_e5=0, ts_event_ns=event, ts_init_ns=back + 5 * NS_PER_MS,
        ))  # fmt: skip

    def slip(self):
        return self.source.choices([-1, 0, 1, 2, 3, 5], [1, 10, 6, 4, 2, 1])[0]

    def charge(self, volume, price):
        return max(1, round(volume / 100 * price / 1e5 * 30 / 1e6 * 100))

    def worth(self, volume, difference):
        return money(volume, difference, RATE_SCALE, 2)

    def deal(self, order_id, side, volume, price, event, back, *, commission, closing=None, cause="order", level=0):
        position = self.position
        booked = {"gross_profit": 0, "booked_commission": 0, "booked_swap": 0, "conversion_fee": 0}
        remaining = position["volume"]
        if closing:
            remaining = position["volume"] - volume
            booked["gross_profit"] = self.worth(volume, (price - position["price"]) * position["side"])
            share = position["commission"] if not remaining else position["commission"] * volume // position["volume"]
            swap = position["swap"] if not remaining else 0
            booked["booked_commission"], booked["booked_swap"] = share + commission, swap
            position["commission"] -= share
            position["swap"] -= swap
            position["volume"] = remaining
            self.balance += sum(booked.values())
        bid, ask = (price - self.quote.ask_e5 + self.quote.bid_e5, price) if side > 0 else (
            price, price + self.quote.ask_e5 - self.quote.bid_e5)  # fmt: skip
        fill = m.OrderFilled(
            deal_id=f"d{self.number()}", client_order_id=order_id, order_id=f"o-{order_id}",
            position_id=position["id"], symbol=SYMBOL, side=side, volume_e2=volume, price_e5=price,
            closing=bool(closing), cause=cause, remaining_e2=remaining, commission=commission, balance=self.balance,
            bid_e5=bid, ask_e5=ask, ts_event_ns=event, ts_init_ns=back, level_e5=level, **booked,
        )  # fmt: skip
        self.say(fill)
        if self.source.random() < 0.05:
            self.say(fill)  # told twice

    def protect(self, ts):
        if not self.position:
            return
        position, side = self.position, self.position["side"]
        price = self.quote.bid_e5 if side > 0 else self.quote.ask_e5
        if (price - position["stop"]) * side <= 0:
            self.close(ts, price, "stop_loss", position["stop"])
        elif (price - position["target"]) * side >= 0:
            self.close(ts, position["target"], "take_profit", position["target"])

    def close(self, ts, price, cause, level=0, order_id="", share=1.0):
        position = self.position
        volume = position["volume"] if share == 1.0 else int(position["volume"] * share) // 100_000 * 100_000
        side = Side(-position["side"])
        self.deal(order_id, side, volume, price, ts, ts + 25 * NS_PER_MS, commission=-self.charge(volume, price),
                  closing=True, cause=cause, level=level)  # fmt: skip
        if not position["volume"]:
            self.position = None

    def exit_by_order(self, now, reason):
        position, side = self.position, Side(-self.position["side"])
        reference = self.quote.bid_e5 if side < 0 else self.quote.ask_e5
        parts = (0.5, 1.0) if self.source.random() < 0.2 and position["volume"] >= 1_000_000 else (1.0,)
        for share in parts:
            name = f"r1-{self.number()}-1"
            self.say(m.Intent(intent_id=name, strategy="interval", symbol=SYMBOL, action="exit", side=side,
                              reason=reason, reference_e5=reference, position_id=position["id"],
                              ts_init_ns=now))  # fmt: skip
            self.say(m.SubmitOrder(
                client_order_id=name, intent_id=name, strategy="interval", symbol=SYMBOL, side=side,
                order_type=OrderType.MARKET, volume_e2=position["volume"], reference_e5=reference,
                position_id=position["id"], reason=reason, ts_init_ns=now,
            ))  # fmt: skip
            self.close(now + 50 * NS_PER_MS, reference + side * self.slip(), "order", order_id=name, share=share)

    def night(self, ts_open, end):
        rollover = next_rollover_ns(ts_open - 1)
        if rollover >= end:
            return
        rate = -700 if self.position["side"] > 0 else 100
        amount = round(self.worth(self.position["volume"], rate * INSTRUMENT.pip_e5) / 1000)
        self.position["swap"] += amount
        self.say(m.SwapCharged(position_id=self.position["id"], symbol=SYMBOL, amount=amount, nights=1,
                               ts_event_ns=rollover, ts_init_ns=end))  # fmt: skip

    def close_out(self):
        now = self.path[-1][0] + PERIOD_NS + 30 * NS_PER_MS
        self.say(m.HaltLatched(level=m.HaltLevel.NO_NEW_RISK, rule="drawdown", limit="5.0 %", value="5.1 %",
                               reason="trailing drawdown on floating equity", ts_init_ns=now))  # fmt: skip
        self.say(m.RunEnded(reason="end of data", flatten=True, ts_init_ns=now))
        if self.position:
            self.exit_by_order(now, "flatten")


def synthetic_run(bars=1000, *, seed=7, skill=0.0):
    """A whole journal as a list of (seq, message)."""
    return Scenario(bars, seed, skill).run()
