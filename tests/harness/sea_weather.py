"""What a seed of the sea draws: market, account, policy, network, faults, and what others do on the account."""

from adapters.ctrader.frames import encode_envelope, encode_frame
from adapters.ctrader.messages import model, openapi
from adapters.ctrader.venue.faults import Fault, Plan
from adapters.ctrader.venue.specs import AccountSpec, Delays
from adapters.exchange import ExecutionModel
from bus.messages import (
    HaltLevel,
    HaltTrading,
    Quote,
    ResumeTrading,
)
from bus.values import NS_PER_S, default_instrument
from daemon.core import CoreSettings, StrategySettings
from risk.policy import Policy
from risk.sizing import SizingSettings
from tests.harness.storm import strike
from tests.harness.virtual_net import Latency, Network, endpoint_of

ACCOUNT = 7
LABEL = "plimsoll"
PERIOD_NS = 60 * NS_PER_S
HORIZONS = (1, 3)
LASTS_S = 360
STORM_S = 600
BASE_E5 = {"EURUSD": 112_000, "GBPUSD": 128_000, "USDJPY": 14_900_000}
LOUD = ("half_open_up", "half_open_both", "silence", "hold", "refused", "unreachable", "close", "break_tls",
        "fail_tls", "reset")  # fmt: skip
BREAKING = ("reset", "close", "break_tls", "fail_tls", "refused")
MESSAGES = ("lose", "late", "double", "reorder", "silent_after", "deaf", "reset_before", "reset_within", "reset_after",
            "half_open", "garbage", "truncated", "wrong_type", "unknown_type", "unknown_field", "borrowed_id",
            "short")  # fmt: skip
TIMED = ("silent_feed", "token_invalidated", "account_disconnect", "silent_logout", "client_disconnect",
         "maintenance", "throttle", "refused", "token_expired")  # fmt: skip
TARGETS = ("execution", "accepted", "filled", "answer", "spot", "order_error", "cancelled", "request", "ReconcileRes",
           "DealListRes", "TraderRes", "GetTrendbarsRes", "NewOrderReq", "ClosePositionReq", "CancelOrderReq",
           "any")  # fmt: skip


class Weather:
    """The part of `tests.harness.sea.Sea` that draws, and that strikes."""

    # --- what a seed draws ----------------------------------------------------------------------------------------

    def _settings(self, r):
        policy = Policy(
            max_position_pct_equity=r.choice([200, 500]), max_exposure_pct_equity=r.choice([500, 2_000]),
            max_leverage_pct=r.choice([500, 1_000]), daily_loss_pct_e2=r.choice([10, 40, 300]),
            trailing_drawdown_pct_e2=r.choice([15, 60, 1_000]), loss_halt_level=r.choice([1, 2, 3, 3]),
            max_orders_per_minute=r.choice([2, 10, 30]), max_spread_pips_e1=100, max_quote_age_s=r.choice([5, 30]),
            protect_within_s=2, price_collar_pips_e1=r.choice([30, 200]),
        )  # fmt: skip
        metronome = StrategySettings(
            name="metronome",
            params={"every_quotes": r.choice([3, 7, 15]), "stop_pips_e1": r.choice([40, 150]),
                    "target_pips_e1": r.choice([30, 300])},
        )  # fmt: skip
        interval = StrategySettings(name="interval", params={"horizon": r.choice(HORIZONS), "max_positions": 2,
                                                             "level_ppm": 200_000})  # fmt: skip
        resting = StrategySettings(name="resting", params={"every_quotes": r.choice([4, 9]), "away_pips_e1": 15,
                                                           "stop_pips_e1": 120})  # fmt: skip
        return CoreSettings(
            risk=policy,
            sizing=SizingSettings(method=r.choice(["fixed", "percent"]), fixed_lots_e2=r.choice([1, 10])),
            strategies=r.choice([(metronome,), (interval, metronome), (resting,), (resting, metronome)]),
            forecast_deadline_ns=r.choice([1, 5]) * NS_PER_S, data="sea", swap=self.rivals.policy(),
        )  # fmt: skip

    def _venue(self, r):
        slippage = r.choice([0, 2])
        self.execution = ExecutionModel(
            slippage_points=slippage, slippage_jitter_points=slippage // 2, reject_pct=0,
            liquidity_e2=r.choice([0, 50_000_000, 400_000]), depth_levels=r.choice([1, 3]), rollover_minutes=0,
            conversion_fee_bp=r.choice([0, 50]), seed=self.seed,
        )  # fmt: skip
        endpoint = endpoint_of(
            self.world, *self.symbols, plan=Plan() if self.losses else self._plan(r), model=self.execution,
            accounts=(AccountSpec(account_id=ACCOUNT, hedged=self.hedged, leverage=r.choice([30, 100])),),
            delays=Delays(accept_ms=r.choice([0, 40]), fill_ms=r.choice([0, 60, 900]), server_ms=r.choice([0, 30])),
        )  # fmt: skip
        slow = r.choice([0.0, 1.0, 5.0])
        network = Network(self.world, endpoint, up=Latency(slow_pct=slow), down=Latency(slow_pct=slow, slow_s=2.0))
        self.jump_e5 = dict.fromkeys(self.symbols, 0)
        self._history(endpoint.venue)
        return network

    def _plan(self, r):
        count = r.choice((0, 2, 5, 9))
        faults = [
            Fault(
                kind=r.choice(MESSAGES), on=r.choice(TARGETS), nth=r.randrange(1, 6), times=r.randrange(1, 3),
                at_s=r.uniform(3, LASTS_S), min_ms=r.randrange(500), max_ms=500 + r.randrange(6_000),
            )
            for _ in range(count)
        ]  # fmt: skip
        faults += [
            Fault(kind=r.choice(TIMED), at_s=r.uniform(5, LASTS_S), for_s=r.uniform(1, 30))
            for _ in range(r.choice((0, 1, 3)))
        ]
        return Plan(faults=tuple(faults), seed=self.seed)

    def _history(self, venue, minutes=300):
        """Minutes before the market opens, and its last price."""
        dice = self.world.dice("history")
        start = self.world.utc_ns - minutes * PERIOD_NS
        self._start_e5 = {}
        for symbol in self.symbols:
            price, tape = BASE_E5[symbol], venue.market.tapes[venue.catalogue.by_name(symbol).symbol_id]
            for part in range(minutes * 4 - 1):
                price += round(dice.gauss(0, 4 * BASE_E5[symbol] / 112_000))
                tape.append(self._quote(symbol, price, start + part * PERIOD_NS // 4))
            self._start_e5[symbol] = price
        for symbol, price in self._start_e5.items():
            venue.on_quote(self._quote(symbol, price, self.world.utc_ns), 0)

    def _quote(self, symbol, bid_e5, at_ns):
        spec = default_instrument(symbol)
        bid_e5 = max(1_000, spec.round_price_e5(bid_e5))
        return Quote(symbol=symbol, bid_e5=bid_e5, ask_e5=bid_e5 + spec.pip_e5, ts_event_ns=at_ns, ts_init_ns=at_ns)

    def _quotes(self):
        dice = self.world.dice("market")
        at_ns, prices = self.world.utc_ns, dict(self._start_e5)
        wild = dice.choice([3, 8, 25])
        while True:
            at_ns += dice.randrange(NS_PER_S // 5, 3 * NS_PER_S)
            symbol = dice.choice(self.symbols)
            move = dice.gauss(0, wild * BASE_E5[symbol] / 112_000) * (
                dice.choice((5, 20)) if dice.random() < 0.01 else 1
            )
            before = prices[symbol]
            prices[symbol] = max(BASE_E5[symbol] // 2, round(before + move))
            self.jump_e5[symbol] = max(self.jump_e5[symbol], abs(prices[symbol] - before) + 30)
            yield self._quote(symbol, prices[symbol], at_ns)

    def _unleash(self, r, *, calm):
        loop = self.network.loop
        if self.losses:
            for number in range(self.losses):
                at = 5 + (STORM_S - 10) * (number + r.random()) / self.losses
                loop.call_later(at, self._strike, r.choice(BREAKING))
            return
        if calm:
            return
        for _ in range(r.choice((0, 1, 3, 6))):
            loop.call_later(r.uniform(3, LASTS_S), self._strike, r.choice(LOUD))
        for _ in range(r.choice((0, 0, 2))):
            loop.call_later(r.uniform(3, LASTS_S), self._pay, r.choice((-5_000, 20_000)))
        for _ in range(r.choice((0, 0, 4))):
            loop.call_later(r.uniform(3, LASTS_S), self._stranger, r.random())
        for _ in range(r.choice((0, 0, 1, 2))):
            loop.call_later(r.uniform(10, LASTS_S), self._operator, HaltLevel(r.randrange(1, 4)), r.random() < 0.5)
        self._swap_models(self.world.dice("swaps"))

    def _swap_models(self, r):
        """Models come, operators swap them; now and then the process dies within moments of it."""
        loop = self.network.loop
        for name in self.rivals.names:
            for symbol in self.symbols:
                loop.call_later(r.uniform(3, LASTS_S / 4), self._admit, name, symbol, r)
                for _ in range(r.choice((2, 4, 6))):
                    # Half of them while the answers to a closed bar are on their way.
                    bar_s = PERIOD_NS * r.randrange(1, 6) / NS_PER_S - self.world.utc_ns % PERIOD_NS / NS_PER_S
                    at_s = bar_s + r.uniform(0, 3) if r.random() < 0.5 else r.uniform(20, LASTS_S)
                    loop.call_later(at_s, self._swap, symbol, r)

    def _admit(self, name, symbol, r):
        first = next((each for each in self.admitted if each.symbol == symbol), None)
        if not self.over and first is not None:
            self._in_daemon(self.rivals.admission(name, symbol, first))
            self._die_soon(r)

    def _swap(self, symbol, r):
        if not self.over:
            self._in_daemon(self.rivals.wish(symbol))
            self._die_soon(r)

    def _die_soon(self, r):
        process = self.process
        if process is not None and not process.ended and r.random() < 0.1:
            process.watch(process.points + r.randrange(1, 60))

    def _strike(self, kind):
        if not self.over:
            longest_s = 2 if self.losses else 12
            again = lambda: self._strike(kind)  # noqa: E731
            strike(self.network, self.dice, kind, again, longest_down_s=longest_s, holds_s=(0.3, 2, 20))

    # --- others on the account ------------------------------------------------------------------------------------

    def _pay(self, amount):
        self.others_moved = True
        venue = self.network.endpoint.venue
        self.network.write(self.network.endpoint.send(venue.pay(ACCOUNT, amount, self.world.now_ns), self.world.now_ns))

    def _stranger(self, draw, symbol_id=1, volume=200_000):
        """Somebody by hand: opens, or closes what somebody by hand has opened."""
        if self.over:
            return
        self.others_moved = True
        endpoint, now_ns = self.network.endpoint, self.world.now_ns
        venue = endpoint.venue
        number = endpoint.connect(now_ns)
        theirs = [p for p in self._positions() if not p.label.startswith(f"{LABEL}/")]
        tokens = venue.tokens
        access = tokens.issue(now_ns).access
        requests = [
            openapi.ProtoOAApplicationAuthReq(clientId=tokens.client_id, clientSecret=tokens.client_secret),
            openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=ACCOUNT, accessToken=access),
        ]
        if theirs and draw < 0.5:
            held = theirs[int(draw * 100) % len(theirs)]
            volume = self._exchange_position(held).volume_e2
            requests.append(
                openapi.ProtoOAClosePositionReq(ctidTraderAccountId=ACCOUNT, positionId=held.position_id, volume=volume)
            )
        else:
            requests.append(
                openapi.ProtoOANewOrderReq(
                    ctidTraderAccountId=ACCOUNT,
                    symbolId=symbol_id,
                    orderType=model.MARKET,
                    volume=volume,
                    tradeSide=model.BUY if draw * 10 % 2 < 1 else model.SELL,
                    label="by hand",
                )
            )
        for row, request in enumerate(requests):
            frame = encode_frame(encode_envelope(request, f"hand-{number}-{row}"))
            self.network.write(endpoint.data(number, frame, now_ns))
        endpoint.disconnect(number)

    def _operator(self, level, lifts):
        if self.over or self.shell is None:
            return
        self._in_daemon(HaltTrading(level=level, source="web", operator="mo", reason="drill", ts_init_ns=0))
        if lifts:
            self.others_moved = True
            resume = ResumeTrading(operator="mo", reason="checked", ts_init_ns=0)
            self.network.loop.call_later(self.dice.uniform(5, 60), self._in_daemon, resume)

    def _in_daemon(self, command):
        shell, process = self.shell, self.process
        if shell is not None and process is not None and not process.ended:
            process.call_soon(shell.tell, command)
