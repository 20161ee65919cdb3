"""An auditor who trusts nobody: folds a journal by itself and lists what must never happen.

It calls neither the book nor the gate nor the halts; it keeps positions, money, exposure, bars and halts of its own,
from the inputs alone, and holds what the core said against them, record by record.

One file past 400 lines, because it is one fold over one journal.
"""

from hashlib import blake2b

from bus.calendar import market_open, trading_day
from bus.codec import decode
from bus.messages import (
    AccountSnapshot,
    Bar,
    CalibratedForecast,
    CancelOrder,
    ClockTick,
    Forecast,
    ForecastResolved,
    HaltLatched,
    HaltLifted,
    HaltTrading,
    Intent,
    IntentRefused,
    OrderAccepted,
    OrderCancelled,
    OrderExpired,
    OrderFilled,
    OrderRejected,
    ProtectionChanged,
    Quote,
    ReconcileFound,
    ResumeTrading,
    RunEnded,
    SubmitOrder,
    SwapCharged,
)
from bus.values import NS_PER_HOUR, NS_PER_S, OrderType, default_instrument, divide_half_away

MONEY = 100 * 100_000  # volume_e2 * price_e5 of one unit of the quote asset
GRACE_QUOTES = 40


def records_of(folder, problems):
    """Records by a reader of its own, with the chain checked on the way."""
    out, digest, expected = [], bytes(16), 1
    for path in sorted(folder.glob("*.seg")):
        data = path.read_bytes()
        at = data.index(b"\n") + 1
        if bytes.fromhex(data[:at].split()[2].decode()) != digest:
            problems.append(f"{path.name} does not continue the chain")
        while at < len(data):
            length = int.from_bytes(data[at : at + 4], "little")
            end = at + 4 + length
            digest = blake2b(digest + data[at:end], digest_size=16).digest()
            if digest != data[end : end + 16] or int.from_bytes(data[at + 5 : at + 13], "little") != expected:
                problems.append(f"the chain breaks at record {expected}")
                return out
            out.append((expected, data[at + 4], decode(data[at + 13 : end])))
            at, expected = end + 16, expected + 1
    return out


class Held:
    """A position as the deals tell it."""

    def __init__(self, fact):
        self.symbol, self.side = fact.symbol, fact.side
        self.volume = self.cost = self.commission = self.swap = self.stop = 0
        self.opened_ns = fact.ts_event_ns


class Auditor:
    """See the module. `problems` is empty where all is well."""

    def __init__(self, scenario, balance, deadline_ns=None):
        self.scenario, self.policy = scenario, scenario.settings.risk
        self.deadline_ns = deadline_ns or scenario.settings.forecast_deadline_ns
        self.problems = []
        self.specs = {symbol: default_instrument(symbol) for symbol in scenario.symbols}
        self.start = self.balance = balance
        self.now = 0
        self.quotes, self.suspect, self.held, self.deals = {}, set(), {}, set()
        self.working, self.intents, self.answered, self.order_ids = {}, {}, set(), set()
        self.sent_ns, self.level, self.latched, self.wanted = [], 0, set(), {}
        self.commissions = self.booked_commissions = self.swaps = self.booked_swaps = 0
        self.swap_keys, self.early_stops, self.early_swaps = set(), {}, {}
        self.bars, self.closes, self.asked, self.resolved = {}, {s: {} for s in scenario.symbols}, {}, set()
        self.peak, self.day, self.day_start = balance, None, balance
        self.exits, self.flat_quotes, self.ended, self.cancelled = {}, {}, False, {}
        self.group, self.input = [], None
        self.issued, self.due = {}, {}
        self.bar_seen, self.cancels, self.core_exits = set(), set(), {}
        self.seq = 0

    def say(self, text):
        self.problems.append(f"record {self.seq}: {text}")

    def audit(self, records):
        """Go through a journal: each input with what the core said to it."""
        for seq, kind, message in records:
            if kind == 0:
                self._settle()
                self.input, self.group = message, []
                self.seq = seq
                self._enter(message)
            else:
                self.seq = seq
                self.group.append(message)
                self._said(message)
        self._settle()
        for intent_id in self.intents:
            if intent_id not in self.answered:
                self.say(f"intent {intent_id} was never answered")
        return self

    # --- inputs ------------------------------------------------------------------------------------------------

    def _enter(self, message):
        if not isinstance(message, Bar):
            self.now = max(self.now, message.ts_init_ns)
        if isinstance(message, Quote | SwapCharged | OrderFilled | ProtectionChanged | OrderAccepted):
            day = trading_day(message.ts_init_ns)
            if self.day is None or day > self.day:
                self.day, self.day_start = day, self.equity()
        if isinstance(message, Quote):
            self._quote(message)
        elif isinstance(message, OrderFilled):
            self._filled(message)
        elif isinstance(message, ProtectionChanged):
            if message.position_id in self.held:
                self.held[message.position_id].stop = message.stop_loss_e5
            else:
                self.early_stops[message.position_id] = message.stop_loss_e5
        elif isinstance(message, SwapCharged):
            self._swap(message)
        elif isinstance(message, OrderAccepted):
            if message.client_order_id in self.working:
                self.working[message.client_order_id]["rests"] = True
        elif isinstance(message, OrderRejected | OrderExpired | OrderCancelled):
            self._order_over(message)
        elif isinstance(message, HaltTrading):
            self.wanted[message.source] = max(message.level, self.wanted.get(message.source, 0))
            self.level = max(self.level, message.level)
        elif isinstance(message, ResumeTrading):
            if self.level or self.latched:
                self.peak = self.day_start = self.equity()
            self.level = 0
            self.wanted.clear()
            self.latched.clear()
        elif isinstance(message, AccountSnapshot):
            self._compare(message.balance, message.positions, "snapshot")
        elif isinstance(message, RunEnded) and message.flatten:
            self.ended = True

    def _quote(self, quote):
        symbol = quote.symbol
        if not 0 < quote.bid_e5 <= quote.ask_e5 < 10**13:
            self.suspect.add(symbol)
            return
        self.suspect.discard(symbol)
        self.quotes[symbol] = quote
        open_ns = quote.ts_event_ns // NS_PER_HOUR * NS_PER_HOUR
        bar = self.bars.get(symbol)
        if bar is not None and open_ns > bar[0]:
            self.due[symbol] = bar  # must be said now, with the quote that opens the next
            bar = None
        if bar is None and (symbol, open_ns) not in self.bar_seen:
            self.bars[symbol] = [open_ns, quote.bid_e5, quote.bid_e5, quote.bid_e5, quote.bid_e5]
        elif bar is not None and open_ns == bar[0]:
            bar[2], bar[3], bar[4] = max(bar[2], quote.bid_e5), min(bar[3], quote.bid_e5), quote.bid_e5
        for position_id in list(self.flat_quotes):
            if self.held.get(position_id) and self.held[position_id].symbol == symbol:
                self.flat_quotes[position_id] += 1
        self.peak = max(self.peak, self.equity())

    def _filled(self, fact):
        if fact.deal_id in self.deals:
            return
        self.deals.add(fact.deal_id)
        self.commissions += fact.commission
        self.booked_commissions += fact.booked_commission
        self.booked_swaps += fact.booked_swap
        order = self.working.get(fact.client_order_id)
        if order is not None and fact.cause == "order":
            order["left"] -= fact.volume_e2
            if order["left"] <= 0 or fact.order_done:
                del self.working[fact.client_order_id]
        if fact.closing:
            self.core_exits.pop(fact.position_id, None)  # it works: what is left may be closed at once
            held = self.held.get(fact.position_id)
            if held is None or fact.volume_e2 > held.volume:
                self.say(f"deal {fact.deal_id} closes more of {fact.position_id} than there is")
                return
            self.balance += fact.gross_profit + fact.booked_commission + fact.booked_swap + fact.conversion_fee
            if fact.volume_e2 == held.volume:
                del self.held[fact.position_id]
                self.flat_quotes.pop(fact.position_id, None)
                return
            held.cost -= divide_half_away(held.cost * fact.volume_e2, held.volume)
            held.volume -= fact.volume_e2
            held.commission -= fact.booked_commission - fact.commission
            held.swap -= fact.booked_swap
            return
        held = self.held.setdefault(fact.position_id, Held(fact))
        held.volume += fact.volume_e2
        held.cost += fact.volume_e2 * fact.price_e5
        held.commission += fact.commission
        held.stop = self.early_stops.pop(fact.position_id, held.stop)
        held.swap += self.early_swaps.pop(fact.position_id, 0)

    def _swap(self, fact):
        key = (fact.position_id, fact.ts_event_ns)
        if key in self.swap_keys:
            return
        self.swap_keys.add(key)
        self.swaps += fact.amount
        if fact.position_id in self.held:
            self.held[fact.position_id].swap += fact.amount
        else:
            self.early_swaps[fact.position_id] = self.early_swaps.get(fact.position_id, 0) + fact.amount

    def _order_over(self, fact):
        order = self.working.get(fact.client_order_id)
        if order is None:
            return
        if isinstance(fact, OrderRejected) and fact.code == "ORDER_NOT_FOUND":
            return
        if isinstance(fact, OrderRejected) and order["closes"]:
            self.exits[order["closes"]] = order["sent_ns"]
            if order["core"]:
                self.core_exits[order["closes"]] = order["sent_ns"]
        del self.working[fact.client_order_id]

    # --- what the core said ------------------------------------------------------------------------------------

    def _said(self, message):
        if isinstance(message, Intent):
            if message.intent_id in self.intents:
                self.say(f"intent {message.intent_id} was said twice")
            self.intents[message.intent_id] = message
        elif isinstance(message, SubmitOrder):
            self._order(message)
        elif isinstance(message, IntentRefused):
            self._answer(message.intent_id)
        elif isinstance(message, Bar):
            self._bar(message)
        elif isinstance(message, CalibratedForecast):
            self._forecast(message)
        elif isinstance(message, ForecastResolved):
            self._label(message)
        elif isinstance(message, HaltLatched):
            self.latched.add(message.rule)
            self.level = max(self.level, message.level)
        elif isinstance(message, HaltLifted):
            if not isinstance(self.input, ResumeTrading):
                self.say("a halt was lifted by nobody")
            self.level = 0
        elif isinstance(message, CancelOrder):
            self.cancels.add(message.client_order_id)
        elif isinstance(message, ReconcileFound):
            self.say(f"book and venue disagree: {message}")

    def _answer(self, intent_id):
        if intent_id not in self.intents:
            self.say(f"an answer to intent {intent_id}, which nobody had")
        if intent_id in self.answered:
            self.say(f"intent {intent_id} was answered twice")
        self.answered.add(intent_id)

    def _order(self, order):
        self._answer(order.intent_id)
        if order.client_order_id in self.order_ids:
            self.say(f"order id {order.client_order_id} was used twice")
        self.order_ids.add(order.client_order_id)
        if order.position_id:
            self._exit_order(order)
        else:
            self._entry_order(order)
        self.sent_ns.append(self.now)
        self.working[order.client_order_id] = {
            "symbol": order.symbol, "side": order.side, "left": order.volume_e2, "closes": order.position_id,
            "rests": False, "kind": order.order_type, "sent_ns": self.now, "core": self._by_core(order),
        }  # fmt: skip

    def _exit_order(self, order):
        held = self.held.get(order.position_id)
        if held is None or held.symbol != order.symbol:
            self.say(f"{order.client_order_id} closes {order.position_id}, which is not open")
        elif held.side == order.side or order.volume_e2 > held.volume:
            self.say(f"{order.client_order_id} closes {order.volume_e2} of {held.volume}")
        if any(each["closes"] == order.position_id for each in self.working.values()):
            self.say(f"a second close of {order.position_id} while one is at work")
        if self._by_core(order) and self.now - self.core_exits.get(order.position_id, -(10**18)) < NS_PER_S:
            self.say(f"the close of {order.position_id} was repeated without a pause")

    def _by_core(self, order):
        intent = self.intents.get(order.intent_id)
        return intent is not None and intent.reason not in {"beat", "held", "expired", "opposite signal"}

    def _entry_order(self, order):
        policy, spec, quote = self.policy, self.specs[order.symbol], self.quotes.get(order.symbol)
        side, volume = order.side, order.volume_e2
        if self.level or self.ended:
            self.say(f"entry {order.client_order_id} under halt {self.level}")
        if quote is None or order.symbol in self.suspect:
            self.say(f"entry {order.client_order_id} without a possible quote")
            return
        if policy.max_quote_age_s and self.now - quote.ts_init_ns > policy.max_quote_age_s * NS_PER_S:
            self.say(f"entry {order.client_order_id} on an old quote")
        if policy.max_spread_pips_e1 and (quote.ask_e5 - quote.bid_e5) * 10 > policy.max_spread_pips_e1 * spec.pip_e5:
            self.say(f"entry {order.client_order_id} at a wide spread")
        recent = sum(sent > self.now - 60 * NS_PER_S for sent in self.sent_ns)
        if policy.max_orders_per_minute and recent >= policy.max_orders_per_minute:
            self.say(f"entry {order.client_order_id} is one of {recent + 1} orders in a minute")
        market = order.order_type is OrderType.MARKET
        price = (quote.bid_e5 if side > 0 else quote.ask_e5) if market else (order.limit_e5 or order.trigger_e5)
        if order.stop_loss_e5 <= 0 or (price - order.stop_loss_e5) * side <= 0:
            self.say(f"entry {order.client_order_id} with stop {order.stop_loss_e5} at {price}")
        lots = policy.max_order_lots_e2
        if volume < spec.min_volume_e2 or volume % spec.step_volume_e2 or (lots and volume * 100 > lots * spec.lot_e2):
            self.say(f"entry {order.client_order_id} of volume {volume}")
        self._sized(order, volume, spec)
        self._exposure(order)

    def _sized(self, order, volume, spec):
        """Never more than was asked for: percent at risk and a fixed size are easy to work out again."""
        sizing = self.scenario.settings.sizing
        if sizing.method == "fixed" and volume * 100 > sizing.fixed_lots_e2 * spec.lot_e2:
            self.say(f"entry {order.client_order_id} of {volume} is above the fixed size")
        rate = self._rate(order.symbol)
        if sizing.method in {"percent", "kelly"} and rate:
            quote = self.quotes[order.symbol]
            price = quote.ask_e5 if order.side > 0 else quote.bid_e5
            if order.order_type is not OrderType.MARKET:
                price = order.limit_e5 or order.trigger_e5
            risked = volume * abs(price - order.stop_loss_e5) * rate * 100 / MONEY
            if risked > self.equity() * sizing.risk_pct_e2 / 10_000 + 1e-6:
                self.say(f"entry {order.client_order_id} risks {risked:.2f} of {self.equity()}")

    def _exposure(self, order):
        sides = {}
        for held in self.held.values():
            sides.setdefault(held.symbol, {1: 0, -1: 0})[held.side] += held.volume
        for each in self.working.values():
            if not each["closes"]:
                sides.setdefault(each["symbol"], {1: 0, -1: 0})[each["side"]] += each["left"]
        sides.setdefault(order.symbol, {1: 0, -1: 0})[order.side] += order.volume_e2
        gross = larger = 0.0
        for symbol, both in sides.items():
            rate, quote = self._rate(symbol), self.quotes.get(symbol)
            if rate is None or quote is None:
                self.say(f"entry {order.client_order_id} while {symbol} cannot be valued")
                return
            unit = (quote.bid_e5 + quote.ask_e5) / 2 * rate * 100 / MONEY
            gross += (both[1] + both[-1]) * unit
            larger += max(both[1], both[-1]) * unit
            if symbol == order.symbol:
                own = both[order.side] * unit
        policy, equity = self.policy, self.equity()
        for what, value, limit in (("position", own, policy.max_position_pct_equity),
                                   ("exposure", gross, policy.max_exposure_pct_equity),
                                   ("leverage", larger, policy.max_leverage_pct)):  # fmt: skip
            if limit and value * 100 > equity * limit * 1.0005 + 200:
                self.say(f"entry {order.client_order_id} makes {what} {value * 100 / equity:.1f} % of {limit} %")
        free = equity - larger / 30
        if policy.min_free_margin_pct and free * 100 < equity * policy.min_free_margin_pct * 0.9995 - 200:
            self.say(f"entry {order.client_order_id} leaves {free:.0f} of {equity} free of margin")

    # --- bars and forecasts ------------------------------------------------------------------------------------

    def _bar(self, bar):
        ours = self.closes[bar.symbol].get(bar.ts_open_ns)
        if ours is not None:
            self.say(f"bar {bar.symbol} {bar.ts_open_ns} was said twice")
        expected = self.due.pop(bar.symbol, None)
        if expected is None:
            expected, self.bars[bar.symbol] = self.bars.get(bar.symbol), None
        if expected is None or expected != [bar.ts_open_ns, bar.open_e5, bar.high_e5, bar.low_e5, bar.close_e5]:
            self.say(f"bar {bar} is not what the quotes made: {expected}")
        if self.now < bar.ts_close_ns:
            self.say(f"bar {bar.symbol} closed before its time")
        self.closes[bar.symbol][bar.ts_open_ns] = bar.close_e5
        self.bar_seen.add((bar.symbol, bar.ts_open_ns))
        self.asked[bar.symbol, bar.ts_close_ns] = (self.now, len(self.closes[bar.symbol]))

    def _forecast(self, forecast):
        asked = self.asked.get((forecast.symbol, forecast.as_of_ns))
        if asked is None or self.now > asked[0] + self.deadline_ns:
            self.say(f"forecast {forecast.request_id} was used after its deadline")
        elif not isinstance(self.input, Forecast) or self.input.request_id != forecast.request_id:
            self.say(f"forecast {forecast.request_id} came from nowhere")
        if (forecast.request_id, forecast.model_id) in self.issued:
            self.say(f"forecast {forecast.request_id} of {forecast.model_id} counts twice")
        self.issued[forecast.request_id, forecast.model_id] = forecast
        for view in forecast.horizons:
            if not (0 < view.point_e5 < 2 * 10**13 and 0 < view.sigma_e5 < 2 * 10**13):
                self.say(f"forecast {forecast.request_id} promises {view.point_e5} +- {view.sigma_e5}")

    def _label(self, label):
        asked = self.asked.get((label.symbol, label.as_of_ns))
        closes = list(self.closes[label.symbol].values())
        if asked is None or len(closes) != asked[1] + label.horizon:
            self.say(f"the truth of {label.as_of_ns}+{label.horizon} was told at bar {len(closes)}, not when it came")
        elif label.actual_e5 != closes[-1]:
            self.say(f"the truth of {label.as_of_ns}+{label.horizon} is {closes[-1]}, not {label.actual_e5}")
        key = (label.symbol, label.model_id, label.as_of_ns, label.horizon)
        if key in self.resolved:
            self.say(f"{key} was learnt twice")
        self.resolved.add(key)

    # --- after each input --------------------------------------------------------------------------------------

    def _settle(self):
        message = self.input
        if message is None:
            return
        self._bars_said(message)
        if isinstance(message, HaltTrading) and not any(
            isinstance(each, HaltLatched) and each.level >= message.level for each in self.group
        ):
            self.say("an operator's halt was not latched")
        if isinstance(message, Quote | OrderFilled | ClockTick) and self.held:
            self._losses()
            self._protected(message)
        if isinstance(message, OrderAccepted | ClockTick) and (self.level >= 2 or self.ended):
            self._no_resting()

    def _bars_said(self, message):
        for symbol in self.due:
            self.say(f"bar {symbol} {self.due[symbol][0]} was not closed by the next quote")
        self.due.clear()
        for symbol, bar in self.bars.items():
            if bar is None:
                continue
            mine = isinstance(message, ClockTick) or (isinstance(message, Quote) and message.symbol == symbol)
            stamp = message.ts_init_ns if isinstance(message, ClockTick) else getattr(message, "ts_event_ns", 0)
            if mine and stamp >= bar[0] + NS_PER_HOUR:
                self.say(f"bar {symbol} {bar[0]} should have closed at {stamp}")

    def _losses(self):
        policy, equity = self.policy, self.equity()
        for rule, reference, limit in (("daily_loss", self.day_start, policy.daily_loss_pct_e2),
                                       ("trailing_drawdown", self.peak, policy.trailing_drawdown_pct_e2)):  # fmt: skip
            both = {"daily_loss", "trailing_drawdown"} & self.latched
            if limit and (reference - equity) * 10_000 > reference * limit + 20_000 and not both:
                self.say(f"{rule}: equity {equity} against {reference} and no halt")

    def _protected(self, message):
        for position_id, held in self.held.items():
            flatten = self.ended or self.level >= 3
            if flatten:
                count = self.flat_quotes.setdefault(position_id, 0)
                if count > GRACE_QUOTES and self.scenario.model.reject_pct == 0 and self._deep(held):
                    self.say(f"position {position_id} is still open {count} quotes after everything was to be closed")
                    self.flat_quotes[position_id] = -(10**9)
                closing = any(each["closes"] == position_id for each in self.working.values())
                pause = self.now - self.exits.get(position_id, -(10**18)) < 61 * NS_PER_S
                if not closing and not pause and market_open(self.now, "fx") and position_id not in self.cancelled:
                    self.cancelled[position_id] = self.now
                elif closing:
                    self.cancelled.pop(position_id, None)
                if self.now - self.cancelled.get(position_id, self.now) > 61 * NS_PER_S and isinstance(message, Quote):
                    self.say(f"position {position_id} is not being closed")
            else:
                self.flat_quotes.pop(position_id, None)
                self.cancelled.pop(position_id, None)
            overdue = self.now - held.opened_ns > (self.policy.protect_within_s + 61) * NS_PER_S
            closing = any(each["closes"] == position_id for each in self.working.values())
            tried = self.now - self.exits.get(position_id, 0) <= 61 * NS_PER_S
            if held.stop == 0 and overdue and not closing and not tried and market_open(self.now, "fx"):
                self.say(f"position {position_id} has no stop and is not being closed")

    def _deep(self, held):
        model = self.scenario.model
        return model.liquidity_e2 == 0 or model.liquidity_e2 * model.depth_levels * 10 > held.volume

    def _no_resting(self):
        for name, order in self.working.items():
            waits = order["rests"] and not order["closes"] and order["kind"] is not OrderType.MARKET
            if waits and name not in self.cancels:
                self.say(f"entry {name} rests while entries are to be cancelled")

    # --- figures -----------------------------------------------------------------------------------------------

    def _rate(self, symbol):
        """Dollars for one unit of the quote asset, by the mids."""
        asset = symbol[3:]
        if asset == "USD":
            return 1.0
        quote = self.quotes.get(f"USD{asset}")
        return 2 * 100_000 / (quote.bid_e5 + quote.ask_e5) if quote else None

    def equity(self):
        total = float(self.balance)
        for held in self.held.values():
            total += held.commission + held.swap
            quote, rate = self.quotes.get(held.symbol), self._rate(held.symbol)
            if quote is not None and rate is not None:
                price = quote.bid_e5 if held.side > 0 else quote.ask_e5
                total += held.side * (held.volume * price - held.cost) * rate * 100 / MONEY
        return total

    def _compare(self, balance, positions, what):
        theirs = {p.position_id: (p.symbol, p.side, p.volume_e2) for p in positions}
        ours = {name: (held.symbol, held.side, held.volume) for name, held in self.held.items()}
        if balance != self.balance or theirs != ours:
            self.say(f"{what}: {balance} {theirs} against {self.balance} {ours} of the journal")

    def at_rest(self, venue, book, *, finished):
        """Hold the end of it against the exchange and the core's book."""
        self._compare(venue.balance, venue.positions, "exchange")
        ours = {name: (held.symbol, held.side, held.volume) for name, held in self.held.items()}
        theirs = {p.position_id: (p.symbol, p.side, p.volume_e2) for p in book.positions.values()}
        if book.balance != self.balance or ours != theirs:
            self.say(f"book: {book.balance} {theirs} against {self.balance} {ours} of the journal")
        for held in book.positions.values():
            mine = self.held.get(held.position_id)
            if mine is not None and (mine.swap, mine.commission) != (held.swap, held.commission):
                self.say(f"book: charges of {held.position_id} are {held.swap} {held.commission}")
        if abs(book.equity - self.equity()) > 2 + len(self.held):
            self.say(f"book: equity {book.equity} against {self.equity():.2f}")
        open_now = market_open(self.now, "fx")
        if finished and open_now and self.scenario.model.reject_pct < 50 and self.held:
            self.say(f"the day ended with {len(self.held)} positions open")
        if finished and self.working:
            self.say(f"the day ended with orders at work: {self.working}")
        if not self.held:
            if self.commissions != self.booked_commissions:
                self.say(f"commission {self.commissions} was charged, {self.booked_commissions} booked")
            if self.swaps != self.booked_swaps:
                self.say(f"swap {self.swaps} was charged, {self.booked_swaps} booked")
        return self
