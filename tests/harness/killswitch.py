"""The kill switch from every state by every trigger: one run of the whole live daemon in virtual time, timed.

Theory of operation. `Deck` is the sea (core, journal, live shell, cTrader adapter, venue) in calm weather. A scripted
strategy, `Helm`, brings the daemon into one of STATES; when it is there, one of TRIGGERS fires. From then on the venue
is looked at from outside, LOOK_S apart: has an order left that opens risk, is a cancel out for whatever rests, is
anything of ours open. The process is killed, at once after the halt or when all is done, the machine may lose power,
and the next process must hold what the journal says. All the while, from EAGER_S on, the strategy wants in on every
quote. Nothing in it draws from the product.

One file past 400 lines, since states, triggers and what is asserted of both are one table.

What is asserted, for a halt of level L that should come at `due`:

    entries   no order that opens risk leaves later than BLOCKED_S after `due`, in this life or the next
    cancels   L >= CANCEL_ENTRIES: a resting entry has a cancel out within CANCELLED_S of being known, link up
    flat      L >= FLATTEN: nothing of ours is open FLAT_S after the later of `due` and the link being up
    latch     the level holds until the end, through kill and recovery, and the journal replays to the same
"""

import asyncio
import errno
import zlib
from collections.abc import Sequence
from random import Random

import msgspec

import adapters.ctrader.orders
import strategies
from adapters.ctrader.live import State as Link
from adapters.ctrader.messages import openapi
from adapters.ctrader.prices import Prices
from adapters.ctrader.venue.faults import Plan
from adapters.ctrader.venue.specs import AccountSpec, Delays
from adapters.exchange import ExecutionModel
from bus.errors import TradingError
from bus.messages import HaltLatched, HaltLevel, HaltTrading, Intent, IntentRefused, PromoteModel, SubmitOrder
from bus.values import NS_PER_S, OrderType, Side
from daemon.control import SIGNALS, Control
from daemon.core import CoreSettings, StrategySettings
from daemon.journal import Journal, read, verify
from daemon.replay import replay
from daemon.state import State
from risk.marks import Marks
from risk.orders import OrderStatus
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.sea import Sea
from tests.harness.sea_weather import ACCOUNT, LABEL
from tests.harness.virtual_net import Latency, Network, endpoint_of

STATES = ("idle", "protected", "unprotected", "resting", "in_flight", "unknown", "closing", "partial", "link_down",
          "reconnecting", "hung_swap", "halted_lower", "valuation_raises")  # fmt: skip
"""Where the daemon is when the trigger fires. The last is one more than twelve: every figure of money raises."""
TRIGGERS = ("operator", "file", "signal", "loss", "drawdown", "reconcile", "journal")
"""What halts. The last is one more than six: the journal cannot be written."""

OWN = frozenset({"loss", "drawdown", "journal"})
"""What the daemon halts on by itself, as far as `risk.loss_halt_level` says."""

BLOCKED_S, CANCELLED_S, FLAT_S = 0.1, 1.0, 5.0
LOOK_S = 0.02
ACT_S = 2.0
EAGER_S = 7.0
HUNG_AT_S = 40.0
"""The first bar closes."""
FALL_E5 = 120


class HelmParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do at which moment (UTC ns; 0 = never): enter once so, exit, and want in on every quote."""

    kind: str = ""
    enter_ns: int = 0
    rest_ns: int = 0
    exit_ns: int = 0
    eager_ns: int = 0


class Helm:
    """A function of the quotes alone, like every strategy."""

    name = "helm"
    wants_quotes = True

    def __init__(self, params):
        self.params = params
        self._entered = self._rested = False

    def on_forecast(self, forecast, view):
        return ()

    def on_bar(self, bar, view):
        return ()

    def on_quote(self, quote, view):
        p, now = self.params, view.now_ns
        if quote.symbol != "EURUSD":
            return ()
        if p.enter_ns and now >= p.enter_ns and not self._entered:
            self._entered = True
            return [self._entry(quote, view, p.kind)]
        if p.rest_ns and now >= p.rest_ns and not self._rested:
            self._rested = True
            return [self._entry(quote, view, "limit")]
        if p.exit_ns and now >= p.exit_ns and not view.has_pending(self.name, "EURUSD"):
            held = view.positions(self.name, "EURUSD")
            if held:
                return [strategies.contract.exit_intent(held[0], view, "held")]
        return [self._entry(quote, view, "market")] if p.eager_ns and now >= p.eager_ns else ()

    def _entry(self, quote, view, kind):
        at_e5 = {"limit": quote.bid_e5 - 60, "marketable": quote.ask_e5 + 20}.get(kind, 0)
        return Intent(
            intent_id="", strategy=self.name, symbol="EURUSD", action="enter", side=Side.BUY, reason="helm",
            reference_e5=quote.ask_e5, ts_init_ns=view.now_ns, stop_loss_e5=quote.bid_e5 - 900,
            order_type=OrderType.LIMIT if at_e5 else OrderType.MARKET, price_e5=at_e5, scale_e5=900, edge_e5=5,
        )  # fmt: skip


class Deck(Sea):
    """One run. `run` gives what went wrong; `took` says how long what took, in seconds (None = there was nothing).

    Args:
        state: one of STATES.
        trigger: one of TRIGGERS.
        seed: of everything else.
        folder: empty.
        patch: pytest's `monkeypatch`.
    """

    def __init__(self, state, trigger, seed, folder, patch):
        self.state, self.trigger = state, trigger
        self._draw = draw = Random(f"{state} {trigger} {seed}")
        self.level = self._level(draw)
        self.early = draw.random() < 0.4
        self.base, self._patch = State(folder / "state"), patch
        self.falls = self.hung = self.full = False
        self.due, self.fallen_e5 = None, 0
        self.entries, self.flat_from, self.unanswered = [], None, {}
        self.took = {"blocked": None, "cancelled": None, "flat": None, "flat_again": None}
        patch.setitem(strategies.STRATEGIES, "helm", (HelmParams, Helm))
        super().__init__(zlib.crc32(f"{state} {trigger} {seed}".encode()), folder / "journal", patch)
        self.deaths, self.others_moved = [], True
        if state == "unprotected":
            patch.setattr(adapters.ctrader.orders, "_set_levels", lambda *_: None)
        self._full_disk(patch)
        self._hear_the_fall(patch)

    def _level(self, draw):
        """How far the halt goes: mostly all the way. A mismatch goes as far as it goes."""
        if self.trigger == "reconcile":
            return HaltLevel.NO_NEW_RISK
        if self.trigger in OWN:
            return HaltLevel.FLATTEN if self.state == "valuation_raises" else HaltLevel(draw.choice((3, 3, 3, 3, 2)))
        level = draw.choice((3, 3, 3, 3, 2, 1))
        return HaltLevel(2 if self.trigger == "signal" and level == 1 else level)

    # --- what a run is made of ------------------------------------------------------------------------------------

    def _settings(self, r):
        r.random()
        own = self.level if self.trigger in OWN else HaltLevel.NO_NEW_RISK  # then who flattens is the trigger
        policy = Policy(
            max_position_pct_equity=100_000, max_exposure_pct_equity=100_000, max_leverage_pct=100_000,
            daily_loss_pct_e2=100 if self.trigger == "loss" else 0,
            trailing_drawdown_pct_e2=100 if self.trigger == "drawdown" else 0, loss_halt_level=int(own),
            max_orders_per_minute=10_000, max_spread_pips_e1=100, max_quote_age_s=30,
            protect_within_s=30 if self.state == "unprotected" else 2, price_collar_pips_e1=200, min_free_margin_pct=0,
        )  # fmt: skip
        start_ns = self.world.utc_ns
        at = lambda seconds: start_ns + int(seconds * NS_PER_S)  # noqa: E731
        kind = {"idle": "", "resting": "limit", "partial": "marketable"}.get(self.state, "market")
        late = self.state == "hung_swap"
        self.eager_ns = at(HUNG_AT_S + 4 if late else EAGER_S)
        params = HelmParams(
            kind=kind, enter_ns=at(ACT_S) if kind else 0, rest_ns=at(ACT_S + 1) if self.state == "halted_lower" else 0,
            exit_ns=at(ACT_S + 1.5) if self.state == "closing" else 0, eager_ns=self.eager_ns,
        )  # fmt: skip
        return CoreSettings(
            risk=policy, sizing=SizingSettings(method="fixed", fixed_lots_e2=500 if self.state == "partial" else 10),
            strategies=(StrategySettings(name="helm", params=msgspec.structs.asdict(params)),), data="deck",
        )  # fmt: skip

    def _venue(self, r):
        r.random()
        self.symbols = ("EURUSD", "GBPUSD")
        draw = self._draw
        slow = self.state in {"in_flight", "unknown", "closing"}
        self.execution = ExecutionModel(
            slippage_points=0, slippage_jitter_points=0, reject_pct=0, rollover_minutes=0, conversion_fee_bp=0,
            liquidity_e2=20_000_000 if self.state == "partial" else 0, depth_levels=1, seed=self.seed,
        )  # fmt: skip
        delays = Delays(accept_ms=draw.choice((40, 120)) if slow else draw.choice((0, 40)),
                        fill_ms=draw.choice((300, 700)) if slow else draw.choice((0, 60)), server_ms=0)  # fmt: skip
        endpoint = endpoint_of(
            self.world, *self.symbols, plan=Plan(), model=self.execution,
            accounts=(AccountSpec(account_id=ACCOUNT, hedged=self.hedged, leverage=100),), delays=delays,
        )  # fmt: skip
        network = Network(self.world, endpoint, up=Latency(slow_pct=0.0), down=Latency(slow_pct=0.0))
        self.jump_e5 = dict.fromkeys(self.symbols, 0)
        self._history(endpoint.venue, minutes=10)
        return network

    def _unleash(self, r, *, calm):
        if self.trigger in {"loss", "drawdown"}:  # somebody's position, by which every state has something to lose
            self.network.loop.call_later(0.05, self._stranger, 0.05, 2, 20_000_000)

    def _quotes(self):
        dice, at_ns, prices, fallen = self._draw, self.world.utc_ns, dict(self._start_e5), False
        symbol = self.symbols[0]
        while True:
            at_ns += dice.randrange(NS_PER_S // 12, NS_PER_S // 3)
            symbol = self.symbols[symbol == self.symbols[0]]  # in turn
            prices[symbol] += round(dice.gauss(0, 1))
            if self.falls and not fallen:
                fallen, symbol = True, "GBPUSD"  # in which somebody holds what every state can lose by
                prices = {each: price - FALL_E5 for each, price in prices.items()}
                self.fallen_e5 = prices["GBPUSD"] + 10
            yield self._quote(symbol, prices[symbol], at_ns)

    async def _ask(self, request):
        if self.state == "hung_swap":
            self.hung = True
            await asyncio.get_running_loop().create_future()  # never comes
        return await super()._ask(request)

    def _clock_offset_ns(self):
        return 0  # moments are what the strategy goes by

    def _around(self, shell):
        told = self.base.halted()
        control = Control(shell.tell, self.base, told, clock_s=lambda: self.world.now)
        for number in SIGNALS:
            self.process.add_signal_handler(number, control.signalled, number)
        shell.on_breath = lambda *, waiting: control.poll()  # noqa: PLW0108 (it takes no argument)
        shell.on_adrift = self.base.spring
        self.base.create()
        return [] if told is None else [msgspec.structs.replace(told, ts_init_ns=self.clock.now_ns())]

    def _full_disk(self, patch):
        """Of the journal, once it is full."""
        real = Journal.append

        def append(journal, kind, message):
            if self.full:
                self.due = self.due or self.world.now
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(journal, kind, message)

        patch.setattr(Journal, "append", append)

    def _hear_the_fall(self, patch):
        """A loss is due when the price that makes it is heard, on a link that is up."""
        real = Prices.hear

        def hear(prices, message):
            quote = real(prices, message)
            fallen = quote is not None and quote.symbol == "GBPUSD" and quote.bid_e5 <= self.fallen_e5
            if fallen and self.due is None and self.venue.state is Link.UP:
                self.due = self.world.now
            return quote

        patch.setattr(Prices, "hear", hear)

    def _money_raises(self):
        """From now on: of every price that is newer, so that a recovery meets the same at the same record."""
        since_ns, real = self.clock.now_ns(), Marks.scale_of

        def scale_of(marks, symbol):
            quote = marks.quotes.get(symbol)
            if quote is not None and quote.ts_init_ns > since_ns:
                raise ZeroDivisionError("planted in the valuation")
            return real(marks, symbol)

        self._patch.setattr(Marks, "scale_of", scale_of)

    # --- into the state -------------------------------------------------------------------------------------------

    @property
    def book(self):
        return self.engine.core.book

    def _there(self):
        """Whether the state is reached."""
        if self.venue is None or self.shell is None or self.world.now - self._began < ACT_S:
            return False
        book, up = self.book, self.venue.state is Link.UP
        resting = [o for o in book.orders.values() if o.status is OrderStatus.ACCEPTED and not o.position_id]
        sent = [o for o in book.orders.values() if o.status is OrderStatus.SENT]
        held = [p for p in book.positions.values() if self.state == "unprotected" or p.stop_loss_e5]
        calm = up and held and not book.orders
        match self.state:
            case "idle":
                return up and not book.orders
            case "resting":
                return up and resting
            case "in_flight":
                return any(not o.position_id for o in sent)
            case "unknown":
                return bool(book.table.unknown)
            case "closing":
                return any(o.position_id for o in sent)
            case "partial":
                return any(0 < o.filled_e2 < o.volume_e2 for o in resting)
            case "halted_lower":
                return up and held and resting and self.engine.core.halts.level
            case "link_down":
                return held and self.venue.state is Link.DOWN
            case "reconnecting":
                return held and self.venue.state is Link.RECOVERING
            case "hung_swap":
                return calm and self.hung
            case "valuation_raises":
                return self.engine.core.halts.level
            case _:
                return calm

    def _steer(self):
        """What the state needs of the outside, done once, when it can be done."""
        book = self.book
        held = any(p.stop_loss_e5 for p in book.positions.values()) and not any(
            o.position_id for o in book.orders.values()
        )
        match self.state:
            case "unknown" if any(o.status is OrderStatus.SENT for o in book.orders.values()):
                # Before the order can have come there, or when it has and nobody has said so.
                self.network.loop.call_later(self._draw.choice((0.0, 0.035)), self.network.reset)
            case "link_down" if held and not book.orders:
                self.network.go_down(self._draw.uniform(0.5, 2.5), refuses=self._draw.random() < 0.5)
            case "reconnecting" if held and not book.orders:
                self.network.reset()
            case "halted_lower" if held and book.orders:
                self._in_daemon(HaltTrading(level=HaltLevel.NO_NEW_RISK, source="file", operator="mo", reason="first",
                                            ts_init_ns=0))  # fmt: skip
            case "valuation_raises" if held and not book.orders:
                self._money_raises()
            case _:
                return False
        return True

    # --- the run --------------------------------------------------------------------------------------------------

    def run(self):
        try:
            with self.world as world:
                self._began = world.now
                self.network.feed(self._quotes())
                self._start()
                self._reach(world)
                if not self.problems:
                    self._fire(world)
                    self._watch_halt(world)
                    self._live_again(world)
            if not self.problems:
                self._journal_says()
        except (TradingError, AssertionError, ArithmeticError, LookupError) as error:
            self.problems.append(f"{type(error).__name__}: {error}"[:500])
        return self.problems

    def _reach(self, world):
        steered, until = False, world.now + (HUNG_AT_S + 3 if self.state == "hung_swap" else EAGER_S - 0.2)
        fine = {"unknown", "in_flight", "closing", "partial", "link_down", "reconnecting"}
        while not self._there():
            if world.now > until:
                self.problems.append(f"state {self.state} was not reached")
                return
            if self.venue is not None and self.shell is not None and not steered:
                steered = self._steer()
            # A moment that passes quickly is looked for closely, once it may come.
            close = self.state in fine and world.now - self._began > ACT_S - 0.1
            world.sleep(0.004 if close else 0.1)
        if self.state not in fine:
            world.sleep(self._draw.uniform(0, 0.3))

    def _fire(self, world):
        self.due = world.now
        match self.trigger:
            case "operator":
                self._in_daemon(
                    HaltTrading(level=self.level, source="web", operator="mo", reason="drill", ts_init_ns=0)
                )
            case "file":
                self.base.halt(self.level, "mo", "drill")
            case "signal":
                number = next(each for each, level in SIGNALS.items() if level == self.level)
                self.process.signal(number)
            case "loss" | "drawdown":
                self.falls, self.due = True, None
            case "reconcile":
                self.network.endpoint.venue.accounts[ACCOUNT].broker._ledger.balance -= 777
                self.process.call_soon(self.venue._settle)
                self.due = None
            case "journal":
                self.full, self.due = True, None
        if self.state == "hung_swap":
            self._in_daemon(PromoteModel(symbol="EURUSD", model_id="scripted-1", operator="mo", reason="drill",
                                         ts_init_ns=0))  # fmt: skip
        self.fired = world.now

    def leaves(self, message):
        """What leaves, and when; the sea's own checks but where there is no journal to hold it against."""
        if isinstance(message, openapi.ProtoOANewOrderReq):
            self.entries.append(self.world.now)
        if not self.full:
            super().leaves(message)

    def _level_now(self):
        return self.engine.core.halts.level if self.engine is not None and not self.process.ended else None

    def _watch_halt(self, world):
        """Look until everything is done, or until there was time enough for it twice."""
        raised = self.trigger != "reconcile" or self._draw.random() < 0.5
        latched, last_up, end = None, world.now, world.now + 25
        while world.now < end:
            level = self._level_now()
            if level is None:  # adrift until all was closed, and then over
                if self.trigger == "journal" and self._ours_at_rest():
                    self.took["flat"] = self.took["flat"] or 0.0
                break
            up = self.venue.state is Link.UP
            if not up:
                last_up = None
            elif last_up is None:
                last_up = world.now
            if latched is None and self._in_force(level):
                latched = world.now
                if self.due is None:  # what the market or the venue sets off is due when the core can know of it
                    self.due = latched
                self.took["blocked"] = latched - self.due
                if self.early and self.trigger != "reconcile":
                    return
            if latched is not None:
                if not raised and world.now - latched > 0.5:
                    raised, self.level = True, HaltLevel.FLATTEN
                    latched = self.due = world.now
                    self._in_daemon(HaltTrading(level=self.level, source="web", operator="mo", reason="raised",
                                                ts_init_ns=0))  # fmt: skip
                self._time_cancels(world, up=up)
                since = None if last_up is None else max(latched, last_up, self._evidence(world))
                if self._done(world, since, "flat") and world.now - latched > 1.2:
                    break
            world.sleep(LOOK_S)
        if latched is None and self.trigger != "journal":
            self.problems.append(f"no halt {world.now - self.fired:.1f} s after the trigger")
        elif self.level >= HaltLevel.FLATTEN and self.took["flat"] is None:
            self.problems.append(f"not flat {world.now - (latched or self.fired):.1f} s after the halt")

    def _in_force(self, level):
        if self.state == "halted_lower" and self.level == HaltLevel.NO_NEW_RISK:
            return any(rule != "file" or self.trigger == "file" for rule in self.engine.core.halts.latched)
        return level >= self.level

    def _evidence(self, world):
        """The broker has not answered while the outcome of anything is unknown."""
        if self.book.table.unknown:
            self._doubt = world.now
        return getattr(self, "_doubt", 0.0)

    def _time_cancels(self, world, *, up):
        """How long a resting entry is known, under a halt that cancels, before its cancel is out."""
        if self.level < HaltLevel.CANCEL_ENTRIES or not up:
            self.unanswered.clear()
            return
        waiting = {o.client_order_id for o in self.book.resting_entries()}
        for name in waiting:
            self.unanswered.setdefault(name, world.now)
        longest = max((world.now - since for since in self.unanswered.values()), default=0.0)
        self.took["cancelled"] = max(self.took["cancelled"] or 0.0, longest)
        self.unanswered = {name: since for name, since in self.unanswered.items() if name in waiting}

    def _resting(self):
        """Entries of ours that rest at the venue."""
        account = self.network.endpoint.venue.accounts[ACCOUNT]
        return [
            order
            for order in account.orders.values()
            if order.label.startswith(f"{LABEL}/")
            and account.broker.resting(str(order.order_id), order.symbol.instrument.symbol)
        ]

    def _ours_at_rest(self):
        """Whether the venue holds nothing of ours."""
        return not self._resting() and not any(p.label.startswith(f"{LABEL}/") for p in self._positions())

    def _done(self, world, since, what):
        """Whether nothing is open or resting that should not be; notes how long it took."""
        at_work = [o for o in self.book.orders.values() if not o.position_id and o.status is OrderStatus.SENT]
        if self.level < HaltLevel.FLATTEN:
            return not (self.level >= HaltLevel.CANCEL_ENTRIES and (at_work or self._resting()))
        if at_work or self.book.positions or not self._ours_at_rest():
            self.flat_from = None
            return False
        if self.flat_from is None:
            self.flat_from = world.now
            self.took[what] = max(0.0, world.now - (since if since is not None else world.now))
        return True

    def _live_again(self, world):
        """Killed, and started again: the halt is in force, and what is still open is closed."""
        self.falls, self.full = False, False
        if self.early:
            world.sleep(self._draw.choice((0.0, self._draw.uniform(0, 0.4))))
        if self.problems:
            return
        if not self.process.ended:
            self.process.kill()
        if self._draw.random() < 0.3 and self.trigger != "journal":
            self.disk.lose_power(self.folder, self.dice)
        before = len(self.entries)
        self._start()
        up_since, end, flat = None, world.now + 30, False
        self.flat_from = None
        while world.now < end:
            world.sleep(0.05)
            if self.process.ended:
                self.process.result()
                self._start()
                up_since = None
                continue
            if self.venue is None or self.shell is None or self.venue.state is not Link.UP:
                up_since = None
                continue
            up_since = up_since or world.now
            level = self.engine.core.halts.level
            if level < self.level:
                self.problems.append(f"level {int(level)} after a restart, {int(self.level)} was latched")
                return
            since = max(up_since, self._evidence(world))
            flat = self._done(world, since, "flat_again")
            if flat and self.engine.core.now_ns > self.eager_ns + 2 * NS_PER_S and world.now > up_since + 1:
                break
        if not flat:
            self.problems.append(f"not done {world.now - (up_since or world.now):.1f} s after a restart")
        late = [at - self.due for at in self.entries if self.due is not None and at > self.due + BLOCKED_S]
        if late or len(self.entries) > before:
            self.problems.append(f"entries left {[f'{each:.3f}' for each in late]} s after the halt was due")
        for what, limit in (
            ("blocked", BLOCKED_S),
            ("cancelled", CANCELLED_S),
            ("flat", FLAT_S),
            ("flat_again", FLAT_S),
        ):
            took = self.took[what]
            if took is not None and took > limit:
                self.problems.append(f"{what} after {took:.2f} s")
        if not self.problems:
            self.process.call_soon(self.shell.stop, "SIGTERM")
            world.run(self.process, within_s=120)

    # --- afterwards -----------------------------------------------------------------------------------------------

    def _journal_says(self):
        if not verify(self.folder).intact:
            self.problems.append("the journal's chain is broken")
        if not (again := replay(self.folder)).identical:
            self.problems.append(f"replay differs: {again.difference}")
        halted, refused = HaltLevel.NONE, 0
        for record in read(self.folder):
            match record.message:
                case HaltLatched():
                    halted = max(halted, record.message.level)
                case SubmitOrder() if halted and not record.message.position_id:
                    self.problems.append(f"order {record.message.client_order_id} opens risk under a halt")
                case IntentRefused() if halted and record.message.rule in {"halt", "valuation"}:
                    refused += 1
                case _:
                    pass
        if not refused:
            self.problems.append("nobody wanted in while the halt was in force: nothing was shown")


def cell(state, trigger, seed, folder, patch) -> tuple[Sequence[str], dict]:
    """One run: what went wrong, and how long what took."""
    deck = Deck(state, trigger, seed, folder, patch)
    return deck.run(), deck.took
