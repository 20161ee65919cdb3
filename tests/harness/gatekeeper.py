"""A driver that takes the gate through a history of 200 steps, and a witness that recomputes every limit by itself.

The driver plays market, strategies, venue and clock, all drawn from one source of randomness. The witness shares
nothing with `risk`: it keeps its own lists of what was ordered, filled, cancelled, lost, and works each limit out from
them with fractions. After every accepted entry it says what that entry broke.
"""

from fractions import Fraction

import msgspec

from bus import messages as m
from bus.values import NS_PER_S, OrderType, Side, default_instrument
from risk.book import Book
from risk.gate import review
from risk.policies.losses import Losses
from risk.policies.orders import Orders
from risk.policies.scopes import CurrencyLimits, StrategyLimits, SymbolLimits
from risk.policies.sizes import Sizes
from risk.policies.streaks import Streaks
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.books import NOW_NS, PRICES, SYMBOLS, account, cancelled

STRATEGIES = ("alpha", "beta")
MINUTE_NS = 60 * NS_PER_S
INSTRUMENTS = tuple(default_instrument(symbol) for symbol in SYMBOLS)
STEPS = 200
SIZES = [SizingSettings(method="fixed", fixed_lots_e2=lots) for lots in (1, 3, 8, 15)]


def drawn_policy(r):
    """Limits tight enough that most histories meet several of them."""
    pick = lambda *values: r.choice(values)  # noqa: E731
    scope = {
        "max_exposure_pct_equity": pick(0, 150, 300), "max_position_pct_equity": pick(0, 120, 250),
        "max_leverage_pct": pick(0, 100, 300), "max_margin_use_pct": pick(0, 4, 10),
        "max_open_positions": pick(0, 2, 4), "max_consecutive_losses": pick(0, 2),
        "max_orders_per_minute": pick(0, 2, 5), "max_cancels_per_minute": pick(0, 1, 3),
        "slippage_budget_pct_e2": pick(0, 1, 5), "daily_loss_pct_e2": pick(0, 5, 50),
        "max_order_lots_e2": pick(0, 8, 20),
    }  # fmt: skip
    return Policy(
        max_order_lots_e2=pick(0, 12, 10_000), max_position_pct_equity=pick(0, 150, 400),
        max_exposure_pct_equity=pick(0, 500, 900), max_leverage_pct=pick(0, 300, 700),
        daily_loss_pct_e2=pick(0, 0, 20, 200), trailing_drawdown_pct_e2=pick(0, 30, 300),
        max_orders_per_minute=pick(0, 3, 9),
        price_collar_pips_e1=pick(0, 20, 100), resting_collar_pips_e1=pick(0, 100, 400),
        max_stop_distance_pct_e2=pick(0, 20, 100), max_spread_pips_e1=pick(0, 9, 50), max_quote_age_s=pick(5, 30),
        min_free_margin_pct=pick(0, 75, 90),
        sizes=Sizes(max_currency_pct_equity=pick(0, 300, 600), max_margin_use_pct=pick(0, 10, 25),
                    min_free_margin=pick(0, 7_500), max_open_positions=pick(0, 3, 8)),
        orders=Orders(max_cancels_per_minute=pick(0, 2, 4), slippage_budget_pct_e2=pick(0, 2, 10)),
        losses=Losses(static_drawdown_pct_e2=pick(0, 25), day_end_drawdown_pct_e2=pick(0, 80),
                      intraday_drawdown_pct_e2=pick(0, 60), weekly_loss_pct_e2=pick(0, 0, 90)),
        streaks=Streaks(max_consecutive_losses=pick(0, 2, 4), cool_down_s=pick(30, 600)),
        symbols={"EURUSD": SymbolLimits(**scope, max_spread_pips_e1=pick(0, 8))} if r.random() < 0.5 else {},
        strategies={"alpha": StrategyLimits(**scope)} if r.random() < 0.5 else {},
        currencies={"USD": CurrencyLimits(max_currency_pct_equity=pick(200, 400))} if r.random() < 0.5 else {},
    )  # fmt: skip


class Held(msgspec.Struct):
    """What the witness knows of one order or position. Volumes in units, profits worked out when asked."""

    symbol: str
    side: int
    volume_e2: int
    strategy: str
    price_e5: int
    order: m.SubmitOrder | None = None
    booked: Fraction = Fraction(0)


class Driver:
    """One history. `step` does one thing and gives what is wrong, empty where nothing is."""

    def __init__(self, r):
        self.r = r
        self.policy = drawn_policy(r)
        self.tight = [tighter(self.policy, self.r) for _ in range(6)]
        self.now_ns = NOW_NS
        self.book = Book(currency="USD", money_digits=2, leverage=30, hedged=True, instruments=INSTRUMENTS,
                         policy=self.policy)  # fmt: skip
        self.balance = 1_000_000
        self.book.apply_snapshot(account(self.balance, ts=NOW_NS))
        self.prices, self.asks, self.seen_ns = {}, {}, {}
        self.positions, self.entries = {}, {}
        self.orders, self.cancels, self.losses = [], [], []
        self.spent = []
        self.count = 0
        self.accepted = self.refused = 0
        self.rules = {}
        self.peak = self.opening = self.balance
        for symbol in SYMBOLS:
            self._quote(symbol, PRICES[symbol])

    # --- the witness ------------------------------------------------------------------------------------------------

    def rate(self, quote):
        """Dollars for one unit of a currency, by the last mid prices."""
        if quote == "USD":
            return Fraction(1)
        symbol = {"JPY": "USDJPY", "GBP": "GBPUSD"}[quote]
        mid = (self.prices[symbol] + self.asks[symbol]) // 2
        return Fraction(100_000, mid) if symbol.startswith("USD") else Fraction(mid, 100_000)

    def worth(self, held, price_e5=None):
        mid = (self.prices[held.symbol] + self.asks[held.symbol]) // 2 if price_e5 is None else price_e5
        return Fraction(held.volume_e2 * mid, 100_000) * self.rate(held.symbol[3:])  # in cents: 1/100 units times price

    def floating(self, held):
        close_e5 = self.prices[held.symbol] if held.side > 0 else self.asks[held.symbol]
        return Fraction(held.side * held.volume_e2 * (close_e5 - held.price_e5), 100_000) * self.rate(held.symbol[3:])

    def equity(self):
        return self.balance + sum(self.floating(held) for held in self.positions.values())

    def wrong_with(self, order, intent, policy):
        """What an accepted entry breaks, in words; one cent for each thing valued is for rounding."""
        everything = [*self.positions.values(), *self.entries.values()]
        equity, slack = self.equity(), len(everything) + 2
        wrong = []

        def at_most(what, value, limit):
            if value > limit + slack:
                wrong.append(f"{what}: {float(value):.1f} above {float(limit):.1f}")

        def fewer(what, count, limit):
            if limit and count > limit:
                wrong.append(f"{what}: {count} with a limit of {limit}")

        def in_scope(limits, name, mine):
            held = [each for each in everything if mine(each)]
            sides = {}
            for each in held:
                sides.setdefault(each.symbol, {1: Fraction(0), -1: Fraction(0)})[each.side] += self.worth(each)
            net = sum(max(pair.values()) for pair in sides.values())
            for what, value, key in (
                ("position", sides[order.symbol][order.side], "max_position_pct_equity"),
                ("exposure", sum(sum(pair.values()) for pair in sides.values()), "max_exposure_pct_equity"),
                ("leverage", net, "max_leverage_pct"),
                ("margin", net / 30, "max_margin_use_pct"),
            ):
                limit_pct = limits(key)
                if limit_pct:
                    at_most(f"{what} of {name}", value, equity * limit_pct / 100)
            fewer(f"positions of {name}", len(held), limits("max_open_positions"))
            minute = [s for ns, s, t in self.orders if ns > self.now_ns - MINUTE_NS and mine(Held(s, 0, 0, t, 0))]
            fewer(f"orders of {name}", len(minute), limits("max_orders_per_minute"))
            minute = [s for ns, s, t in self.cancels if ns > self.now_ns - MINUTE_NS and mine(Held(s, 0, 0, t, 0))]
            fewer(f"cancels of {name}", len(minute) + 1, limits("max_cancels_per_minute"))
            budget = limits("slippage_budget_pct_e2")
            spent = sum(value for value, s, t in self.spent if mine(Held(s, 0, 0, t, 0)))
            if budget and spent - len(self.spent) - 1 > Fraction(self.opening * budget, 10_000):
                wrong.append(f"slippage of {name}: {float(spent):.0f}")
            most, row, last_ns = limits("max_consecutive_losses"), 0, 0
            for ns, result, s, t in self.losses:
                if mine(Held(s, 0, 0, t, 0)) and result:
                    row, last_ns = (row + 1, ns) if result < 0 else (0, last_ns)
            if most and row >= most and self.now_ns < last_ns + policy.streaks.cool_down_s * NS_PER_S:
                wrong.append(f"{row} losses in a row of {name}")

        nested = {**dict.fromkeys(("max_margin_use_pct", "max_open_positions"), policy.sizes),
                  **dict.fromkeys(("max_cancels_per_minute", "slippage_budget_pct_e2"), policy.orders),
                  "max_consecutive_losses": policy.streaks}  # fmt: skip
        in_scope(lambda key: getattr(nested.get(key, policy), key), "the account", lambda _: True)
        symbol, strategy = policy.symbols.get(order.symbol), policy.strategies.get(order.strategy)
        if symbol:
            in_scope(lambda key: getattr(symbol, key), order.symbol, lambda each: each.symbol == order.symbol)
        if strategy:
            in_scope(lambda key: getattr(strategy, key), order.strategy, lambda each: each.strategy == order.strategy)
        for currency in (order.symbol[:3], order.symbol[3:]):
            bought = sum(self.worth(each) for each in everything if self._buys(each, currency) > 0)
            sold = sum(self.worth(each) for each in everything if self._buys(each, currency) < 0)
            own = policy.currencies.get(currency)
            for limit in (policy.sizes.max_currency_pct_equity, own.max_currency_pct_equity if own else 0):
                if limit:
                    at_most(f"leg of {currency}", max(bought, sold), equity * limit / 100)
        sides = {}
        for each in everything:
            sides.setdefault(each.symbol, {1: 0, -1: 0})[each.side] += self.worth(each)
        free = equity - sum(max(pair.values()) for pair in sides.values()) / 30
        if policy.min_free_margin_pct and free + slack < equity * policy.min_free_margin_pct / 100:
            wrong.append("free margin in percent")
        if policy.sizes.min_free_margin and free + slack < policy.sizes.min_free_margin * 100:
            wrong.append("free margin as an amount")
        wrong += self._order_itself(order, intent, policy)
        wrong += self._losses_of(policy, equity, slack)
        return wrong

    def _buys(self, each, currency):
        return each.side if each.symbol[:3] == currency else -each.side if each.symbol[3:] == currency else 0

    def _order_itself(self, order, intent, policy):
        symbol, strategy = policy.symbols.get(order.symbol), policy.strategies.get(order.strategy)
        pip = 1_000 if order.symbol.endswith("JPY") else 10
        width = self.asks[order.symbol] - self.prices[order.symbol]
        touch = self.asks[order.symbol] if order.side > 0 else self.prices[order.symbol]
        resting = order.order_type is not OrderType.MARKET
        at = (order.limit_e5 or order.trigger_e5) if resting else touch
        wrong = []
        widest = [each for each in (policy.max_spread_pips_e1, symbol.max_spread_pips_e1 if symbol else 0) if each]
        if widest and width * 10 > min(widest) * pip:
            wrong.append(f"spread {width}")
        lots = [
            each for each in (policy.max_order_lots_e2, *(s.max_order_lots_e2 for s in (symbol, strategy) if s)) if each
        ]
        if lots and order.volume_e2 > min(lots) * 100_000:
            wrong.append(f"volume {order.volume_e2}")
        if order.stop_loss_e5 <= 0 or (at - order.stop_loss_e5) * order.side <= 0:
            wrong.append("stop")
        away_e5 = abs(at - order.stop_loss_e5)
        if policy.max_stop_distance_pct_e2 and away_e5 * 10_000 > at * policy.max_stop_distance_pct_e2:
            wrong.append("stop distance")
        if policy.price_collar_pips_e1 and abs(intent.reference_e5 - touch) * 10 > policy.price_collar_pips_e1 * pip:
            wrong.append("price collar")
        if resting and policy.resting_collar_pips_e1 and abs(at - touch) * 10 > policy.resting_collar_pips_e1 * pip:
            wrong.append("resting collar")
        if self.now_ns - self.seen_ns[order.symbol] > policy.max_quote_age_s * NS_PER_S:
            wrong.append("old quote")
        return wrong

    def _losses_of(self, policy, equity, slack):
        losses, opening = policy.losses, self.opening
        wrong = []
        for name, mark, base, limit in (
            ("day", opening, opening, policy.daily_loss_pct_e2),
            ("week", opening, opening, losses.weekly_loss_pct_e2),
            ("peak", self.peak, self.peak, policy.trailing_drawdown_pct_e2),
            ("static", opening, opening, losses.static_drawdown_pct_e2),
            ("day end", opening, opening, losses.day_end_drawdown_pct_e2),
            ("intraday", self.peak, opening, losses.intraday_drawdown_pct_e2),
        ):
            if limit and mark - equity > Fraction(base * limit, 10_000) + slack:
                wrong.append(f"loss since {name}")
        return wrong

    # --- the world --------------------------------------------------------------------------------------------------

    def step(self):
        """One thing happens. What an accepted entry broke, and what should have been refused and was not."""
        r = self.r
        self.now_ns += r.choice([0, NS_PER_S // 2, NS_PER_S, 4 * NS_PER_S, 20 * NS_PER_S])
        what = r.random()
        if what < 0.30:
            symbol = r.choice(SYMBOLS)
            self._quote(symbol, self.prices[symbol] + r.randint(-120, 120) * max(1, PRICES[symbol] // 120_000))
        elif what < 0.42 and self.entries:
            self._fill(r.choice(list(self.entries)))
        elif what < 0.47 and self.entries:
            self._cancel(r.choice(list(self.entries)))
        elif what < 0.57 and self.positions:
            self._close(r.choice(list(self.positions)))
        elif what < 0.64:
            return self._nonsense()
        else:
            return self._enter()
        return []

    def _quote(self, symbol, bid_e5):
        spread = self.r.choice([5, 8, 8, 12]) * (100 if symbol.endswith("JPY") else 1)
        self.prices[symbol], self.asks[symbol], self.seen_ns[symbol] = bid_e5, bid_e5 + spread, self.now_ns
        self.book.mark(m.Quote(symbol=symbol, bid_e5=bid_e5, ask_e5=bid_e5 + spread, ts_event_ns=self.now_ns,
                               ts_init_ns=self.now_ns))  # fmt: skip
        self.peak = max(self.peak, self.equity())

    def intent(self, symbol):
        r, side = self.r, self.r.choice((Side.BUY, Side.SELL))
        scale = max(1, PRICES[symbol] // 120_000)
        reference = (self.asks if side > 0 else self.prices)[symbol] + r.choice([0, 0, 0, 15, -40]) * scale
        kind = r.choice([OrderType.MARKET, OrderType.MARKET, OrderType.LIMIT, OrderType.STOP])
        price = reference + side * (-30 if kind is OrderType.LIMIT else 30) * scale
        price = 0 if kind is OrderType.MARKET else price
        away = r.choice([60, 150, 400, 1_500]) * scale
        return m.Intent(
            intent_id="i", strategy=r.choice(STRATEGIES), symbol=symbol, action="enter", side=side, reason="",
            reference_e5=reference, ts_init_ns=self.now_ns, stop_loss_e5=(price or reference) - side * away,
            order_type=kind, price_e5=price, scale_e5=150, edge_e5=10,
        )  # fmt: skip

    def ask(self, intent, policy=None, now_ns=None, sizing=None, **more):
        now_ns = self.now_ns if now_ns is None else now_ns
        return review(intent, self.book, policy or self.policy, sizing or SIZES[0], now_ns,
                      client_order_id=f"c{self.count}", **more)  # fmt: skip

    def _enter(self):
        symbol = self.r.choice(SYMBOLS)
        if self.r.random() < 0.9:
            self._quote(symbol, self.prices[symbol])
        intent = self.intent(symbol)
        sizing = self.r.choice(SIZES)
        answer = self.ask(intent, sizing=sizing)
        if isinstance(answer, m.IntentRefused):
            self.refused += 1
            self.rules[answer.rule] = self.rules.get(answer.rule, 0) + 1
            if not (answer.limit and answer.value and answer.would_pass):
                return [f"{answer.rule} explains nothing"]
            allowed = isinstance(self.ask(intent, self.r.choice(self.tight), sizing=sizing), m.SubmitOrder)
            return [f"a tighter policy allows what {answer.rule} refuses"] if allowed else []
        self.count += 1
        self.accepted += 1
        self.book.sent(answer, self.now_ns)
        self.orders.append((self.now_ns, answer.symbol, answer.strategy))
        name, side = answer.client_order_id, int(answer.side)
        self.entries[name] = Held(answer.symbol, side, answer.volume_e2, answer.strategy, 0, answer)
        return self.wrong_with(answer, intent, self.policy)

    def _fill(self, name):
        held = self.entries.pop(name)
        order = held.order
        touch = (self.asks if held.side > 0 else self.prices)[held.symbol]
        worse = self.r.choice([0, 0, 2, 9]) * (100 if held.symbol.endswith("JPY") else 1)
        price = touch + held.side * worse
        meant = order.limit_e5 or order.trigger_e5 or order.reference_e5
        self._spend(held, price - meant, held.side)
        self.book.fold(self._deal(f"D{name}", name, f"P{name}", held, held.side, price, closing=False))
        held.price_e5 = price
        self.positions[f"P{name}"] = held
        self.peak = max(self.peak, self.equity())

    def _spend(self, held, away_e5, side):
        if away_e5 * side > 0:
            value = Fraction(held.volume_e2 * away_e5 * side, 100_000) * self.rate(held.symbol[3:])
            self.spent.append((value, held.symbol, held.strategy))

    def _cancel(self, name):
        held = self.entries[name]
        self.cancels.append((self.now_ns, held.symbol, held.strategy))
        self.book.sent(m.CancelOrder(client_order_id=name, symbol=held.symbol, reason="", ts_init_ns=self.now_ns),
                       self.now_ns)  # fmt: skip
        self.book.fold(cancelled(name, symbol=held.symbol))
        del self.entries[name]

    def _close(self, name):
        held = self.positions.pop(name)
        level = self.prices[held.symbol] if held.side > 0 else self.asks[held.symbol]
        price = level - held.side * self.r.choice([0, 0, 4]) * (100 if held.symbol.endswith("JPY") else 1)
        self._spend(held, price - level, -held.side)
        profit = Fraction(held.side * held.volume_e2 * (price - held.price_e5), 100_000) * self.rate(held.symbol[3:])
        profit = round(profit)
        self.balance += profit
        self.losses.append((self.now_ns, profit, held.symbol, held.strategy))
        fact = self._deal(f"X{name}", name[1:], name, held, -held.side, price, closing=True)
        self.book.fold(msgspec.structs.replace(fact, gross_profit=profit, cause="stop_loss", level_e5=level))
        self.peak = max(self.peak, self.equity())

    def _deal(self, deal, order, position, held, side, price, *, closing):
        return m.OrderFilled(
            deal_id=deal, client_order_id=order, order_id="o", position_id=position, symbol=held.symbol,
            side=Side(side), volume_e2=held.volume_e2, price_e5=price, closing=closing, cause="order",
            remaining_e2=0 if closing else held.volume_e2, commission=0, gross_profit=0, booked_commission=0,
            booked_swap=0, conversion_fee=0, balance=0, bid_e5=price, ask_e5=price, ts_event_ns=self.now_ns,
            ts_init_ns=self.now_ns,
        )  # fmt: skip

    def _nonsense(self):
        """Something that no policy may let through."""
        r, intent = self.r, self.intent(self.r.choice(SYMBOLS))
        bad = r.choice([float("nan"), float("inf"), float("-inf"), 10**400, 2**63, -1, None, "1", True, 1.5])
        field = r.choice(["reference_e5", "stop_loss_e5", "take_profit_e5", "trailing_e5", "price_e5", "scale_e5",
                          "point_e5", "horizon", "valid_until_ns"])  # fmt: skip
        what = r.randrange(5)
        if what == 0:
            answer = self.ask(msgspec.structs.replace(intent, **{field: bad}))
        elif what == 1:
            answer = self.ask(msgspec.structs.replace(intent, symbol=r.choice(["EURXXX", "USDEUR", "", "eurusd"])))
        elif what == 2:
            answer = self.ask(intent, now_ns=self.now_ns - r.choice([1, NS_PER_S, 10**18]) - MINUTE_NS)
        elif what == 3:
            answer = self.ask(intent, now_ns=self.now_ns + r.choice([40 * NS_PER_S, 10**15, 2**62]))
        else:
            answer = self.ask(intent, size_multiplier_ppm=bad)
        return [f"nonsense {what} was accepted"] if isinstance(answer, m.SubmitOrder) else []


def tighter(policy, r):
    """The policy with one limit tighter: a plain one, one of a group, or one of a scope."""
    field = r.choice([*policy.KEYS, "sizes", "orders", "losses", "streaks", "symbols", "strategies"])
    value = getattr(policy, field)
    if isinstance(value, dict):
        if not value:
            return policy
        name = r.choice(list(value))
        return msgspec.structs.replace(policy, **{field: {**value, name: _tighter_group(value[name], r)}})
    if field in policy.KEYS:
        changed = _tighter_value(policy.KEYS[field], value)
        more = {"max_exposure_pct_equity": 0} if field == "max_position_pct_equity" else {}
        more = {"max_position_pct_equity": 0} if field == "max_exposure_pct_equity" else more
        if more and not all(getattr(policy, name) == 0 for name in more):
            return policy  # one would have to be loosened for the other
        return msgspec.structs.replace(policy, **{field: changed})
    return msgspec.structs.replace(policy, **{field: _tighter_group(value, r)})


def _tighter_group(group, r):
    keys = [name for name, key in group.KEYS.items() if key.tighter and name not in {"high_water", "cool_down_s"}]
    name = r.choice(keys)
    return msgspec.structs.replace(group, **{name: _tighter_value(group.KEYS[name], getattr(group, name))})


def _tighter_value(key, value):
    if key.tighter == "higher":
        return min(key.highest, value * 2 + 1)
    if value == 0 and key.zero:
        return key.example
    return max(key.lowest, 1 if key.zero else 0, value // 2)
