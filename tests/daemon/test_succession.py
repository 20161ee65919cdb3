"""Who trades a symbol: promotions and rollbacks by rule and by command, and one model a decision."""

import json
import random

import msgspec
import pytest

from bus.messages import (
    Band,
    CalibratedForecast,
    Forecast,
    ForecastMissed,
    ForecastResolved,
    HorizonForecast,
    Intent,
    ModelAdmitted,
    ModelPromoted,
    ModelRetired,
    ModelRolledBack,
    PromoteModel,
    Quote,
    RollBackModel,
    SwapRefused,
)
from bus.values import NS_PER_HOUR
from daemon.core import Core, CoreSettings, StrategySettings
from daemon.succession import BEFORE_KEPT, Succession
from risk.promotion import SwapPolicy
from tests.harness.paper import HORIZONS, MODEL, START_NS, exchange, opening

QUICK = SwapPolicy(min_pairs=16, misses=3, coverage_pct_e2=10_000)


def admitted(model_id, *, release=1, active=False, candidate=False, kind="ridge", horizons=(1,), ts=0):
    return ModelAdmitted(
        model_id=model_id, kind=kind, symbol="EURUSD", active=active, horizons=horizons,
        scores=((1.0,) * 300,) * len(horizons), ts_init_ns=ts, release=release, candidate=candidate,
    )  # fmt: skip


def promote(model_id="b", at=5):
    return PromoteModel(symbol="EURUSD", model_id=model_id, operator="mo", reason="drill", ts_init_ns=at)


def roll_back(model_id="", at=6):
    return RollBackModel(symbol="EURUSD", model_id=model_id, operator="mo", reason="drill", ts_init_ns=at)


def succession(policy=QUICK):
    made = Succession("EURUSD", policy, 900_000)
    made.admit(admitted("random-walk", kind="random_walk", release=0))
    made.admit(admitted("a", active=True))
    return made


def feed(made, halves, count=4_000, seed=1, since=0):
    """Truths of a walk for models with bands of these half widths; gives what was said on the way."""
    said = []
    source = random.Random(seed)
    for bar in range(since, since + count):
        actual = round(source.gauss(0, 100))
        for model_id, half in halves.items():
            band = Band(level_ppm=900_000, lower_e5=-half, upper_e5=half, bounded=True)
            one = made.resolved(model_id, bar, 1, band, actual, 100, bar)
            if one is not None:
                said.append(one)
    return said


def test_a_candidate_as_good_as_the_model_in_force_is_promoted_once_and_the_other_stays_behind_it():
    made = succession()
    made.admit(admitted("b", release=2, candidate=True))
    (said,) = feed(made, {"a": 164, "b": 164})
    assert isinstance(said, ModelPromoted)
    assert (said.model_id, said.replaced, said.rule) == ("b", "a", "comparison")
    assert "requests" in said.reason
    assert (made.in_force, made.before, made.candidate) == ("b", ["a"], "")


def test_a_worse_candidate_a_candidate_out_of_bounds_and_one_that_only_a_command_may_promote_stay_in_shadow():
    made = succession()
    made.admit(admitted("b", release=2, candidate=True))
    assert feed(made, {"a": 164, "b": 400}) == []
    bounded = succession(SwapPolicy(min_pairs=16, coverage_pct_e2=500))
    bounded.admit(admitted("b", release=2, candidate=True))
    assert feed(bounded, {"a": 400, "b": 300}) == []  # sharper, and covers 99.7 % where 90 % are promised
    told = succession(SwapPolicy(min_pairs=16, promote="command"))
    told.admit(admitted("b", release=2, candidate=True))
    assert feed(told, {"a": 164, "b": 164}) == []
    assert told.in_force == "a"


def test_a_promoted_model_that_turns_out_worse_is_rolled_back_by_rule_and_never_comes_again_by_rule():
    made = succession()
    made.admit(admitted("b", release=2, candidate=True))
    assert isinstance(made.promote(promote(), 5), ModelPromoted)
    (said,) = feed(made, {"a": 164, "b": 400}, since=10)
    assert isinstance(said, ModelRolledBack)
    assert (said.model_id, said.replaced, said.rule) == ("a", "b", "comparison")
    assert (made.in_force, made.before) == ("a", [])
    made.admit(admitted("b", release=2, candidate=True, ts=10_000))
    assert feed(made, {"a": 400, "b": 164}, since=10_000) == []
    assert isinstance(made.promote(promote(), 20_000), ModelPromoted)  # but by command it does


def test_a_model_that_owes_forecasts_which_the_one_before_gives_is_rolled_back_at_once():
    made = succession()
    made.admit(admitted("b", release=2, candidate=True))
    made.promote(promote(), 5)
    assert [made.missed("b", 10), made.missed("b", 11)] == [None, None]
    made.answered("b")
    assert [made.missed("b", 12), made.missed("b", 13)] == [None, None]
    said = made.missed("b", 14)
    assert isinstance(said, ModelRolledBack)
    assert (said.model_id, said.rule, said.ts_init_ns) == ("a", "misses", 14)
    assert made.missed("a", 15) is None


def test_where_inference_as_a_whole_is_ill_nobody_is_rolled_back():
    made = succession()
    made.admit(admitted("b", release=2, candidate=True))
    made.promote(promote(), 5)
    assert not any(made.missed(model_id, 10 + n) for n in range(20) for model_id in ("a", "b"))
    calm = succession(SwapPolicy(misses=0))
    calm.admit(admitted("b", release=2, candidate=True))
    calm.promote(promote(), 5)
    assert not any(calm.missed("b", 10 + n) for n in range(20))


def test_commands_that_make_no_sense_are_refused_and_change_nothing():
    made = succession()
    for said, says in (
        (made.promote(promote("a"), 5), "trades already"),
        (made.promote(promote("x"), 5), "not admitted; there are random-walk, a"),
        (made.roll_back(roll_back(), 5), "no model traded before"),
        (made.roll_back(roll_back("x"), 5), "not admitted"),
    ):
        assert isinstance(said, SwapRefused)
        assert says in said.reason
    assert (made.in_force, made.before) == ("a", [])


def test_rollbacks_go_back_step_by_step_or_to_the_one_that_is_named():
    made = succession()
    names = ["a"]
    for number in range(2, 9):
        names.append(f"m{number}")
        made.admit(admitted(names[-1], release=number, candidate=True))
        made.promote(promote(names[-1]), number)
    assert made.before == names[-1 - BEFORE_KEPT : -1]
    assert made.roll_back(roll_back(), 50).model_id == "m7"
    assert made.roll_back(roll_back("m5"), 50).model_id == "m5"
    assert (made.in_force, made.before) == ("m5", ["m4"])
    assert "random-walk" in made.members


def test_what_is_asked_stays_bounded_however_many_releases_come():
    made = succession()
    retired = []
    for number in range(2, 60):
        retired += made.admit(admitted(f"c{number}", release=number))
        retired += made.admit(admitted(f"m{number}", release=number, candidate=True))
        if number % 3 == 0:
            made.promote(promote(f"m{number}"), number)
        assert len(made.members) <= BEFORE_KEPT + 6
    assert all(isinstance(each, ModelRetired) for each in retired)
    assert not {each.model_id for each in retired} & set(made.members)


def test_any_order_of_events_leaves_exactly_one_member_in_force():
    for seed in range(200):
        source = random.Random(seed)
        made = succession(SwapPolicy(min_pairs=1, misses=2))
        for step in range(120):
            names = [f"m{n}" for n in range(12)] + ["a", "random-walk"]
            name = source.choice(names)
            match source.randrange(6):
                case 0:
                    made.admit(admitted(name, release=step // 8 + 2, candidate=source.random() < 0.7, ts=step))
                case 1:
                    made.promote(promote(name), step)
                case 2:
                    made.roll_back(roll_back(source.choice([name, ""])), step)
                case 3:
                    made.missed(name, step)
                case 4:
                    made.answered(name)
                case _:
                    feed(made, {each: source.choice([120, 164, 300]) for each in made.members}, count=30, since=step)
            assert made.in_force in made.members
            assert made.in_force not in made.before
            assert made.candidate != made.in_force
            assert set(made.before) <= set(made.members)
            assert len(made.before) == len(set(made.before)) <= BEFORE_KEPT


# --- through the core ------------------------------------------------------------------------------------------


class Bench:
    """The core between a clock of hours and two models that answer as a test wants."""

    def __init__(self, policy=QUICK):
        strategies = (StrategySettings(name="interval", params={"level_ppm": 200_000}),)
        self.core, self.seq, self.said = Core(), 0, []
        for message in opening(CoreSettings(strategies=strategies, swap=policy)):
            self.step(message)
        self.step(exchange().snapshot(START_NS))
        scores = tuple(abs(random.Random(n).gauss(0, 1)) for n in range(300))
        self.step(ModelAdmitted(model_id="new", kind="mlp", symbol="EURUSD", active=False, horizons=HORIZONS,
                                scores=(scores,) * 3, ts_init_ns=START_NS, release=2, candidate=True))  # fmt: skip
        self.hour = 0

    def step(self, message):
        self.seq += 1
        out = self.core.process(self.seq, message)
        self.said += out
        return out

    def bar(self, bid_e5=120_000):
        """An hour passes; gives the request that its end asks."""
        for moment in (0, 1):
            at = START_NS + (self.hour + moment) * NS_PER_HOUR
            out = self.step(Quote(symbol="EURUSD", bid_e5=bid_e5, ask_e5=bid_e5 + 8, ts_event_ns=at, ts_init_ns=at))
        self.hour += 1
        return out[-1]

    def answer(self, request, model_id, up=2_000):
        close = request.close_e5[-1]
        return self.step(
            Forecast(
                request_id=request.request_id, symbol="EURUSD", model_id=model_id, as_of_ns=request.as_of_ns,
                expires_ns=request.deadline_ns, ts_init_ns=self.core.now_ns,
                horizons=tuple(HorizonForecast(horizon=h, point_e5=close + up, sigma_e5=50) for h in HORIZONS),
            )
        )  # fmt: skip


def kinds(messages, *wanted):
    return [each for each in messages if isinstance(each, wanted)]


@pytest.mark.parametrize("order", [("old", "swap", "new"), ("new", "swap", "old"), ("swap", "new", "old")])
def test_a_request_is_decided_by_one_model_whenever_the_swap_comes(order):
    bench = Bench()
    request = bench.bar()
    said = []
    for what in order:
        said += bench.step(promote("new", at=bench.core.now_ns)) if what == "swap" else bench.answer(
            request, MODEL if what == "old" else "new"
        )  # fmt: skip
    decided = [each.model_id for each in kinds(said, CalibratedForecast) if each.active]
    assert decided == {"old": [MODEL], "new": [], "swap": ["new"]}[order[0]]
    assert {each.model_id for each in kinds(said, Intent)} == set(decided)
    request = bench.bar()
    said = [*bench.answer(request, MODEL), *bench.answer(request, "new")]
    assert [(each.model_id, each.active) for each in kinds(said, CalibratedForecast)] == [(MODEL, False), ("new", True)]


def test_a_shadow_model_is_journalled_calibrated_and_resolved_and_trades_nothing():
    bench = Bench()
    for _ in range(30):
        request = bench.bar()
        bench.answer(request, MODEL, up=0)
        bench.answer(request, "new", up=3_000)
    assert not kinds(bench.said, Intent)
    resolved = [each for each in kinds(bench.said, ForecastResolved) if each.model_id == "new"]
    assert len(resolved) > 29
    assert not any(each.active for each in resolved)


def test_a_late_or_missed_forecast_is_owed_and_the_core_goes_back():
    bench = Bench()
    bench.step(promote("new", at=bench.core.now_ns))
    for number in range(3):
        request = bench.bar()
        bench.answer(request, MODEL)
        said = bench.step(
            ForecastMissed(request_id=request.request_id, symbol="EURUSD", model_id="new", reason="error", detail="",
                           ts_init_ns=bench.core.now_ns)
        )  # fmt: skip
        assert bool(kinds(said, ModelRolledBack)) == (number == 2)
    assert bench.core.successions["EURUSD"].in_force == MODEL


def test_settings_travel_in_the_journals_first_message():
    settings = CoreSettings(swap=SwapPolicy(min_pairs=77))
    started = opening(settings)[0]
    assert json.loads(started.config_json)["swap"]["min_pairs"] == 77
    assert msgspec.json.decode(b"{}", type=CoreSettings).swap == SwapPolicy()
