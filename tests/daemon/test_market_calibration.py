"""What a symbol's intervals rest on: the volatility when they were asked for, their own model's scores, late labels."""

import msgspec
import pytest

from bus.errors import DataError
from bus.messages import Bar, CalibratedForecast, Forecast, HorizonForecast, ModelAdmitted
from bus.values import NS_PER_HOUR, NS_PER_S, default_instrument
from daemon.market import Counters, Market
from models.train.data import volatilities
from tests.harness.markets import bar_at, made_up_bars

BARS = made_up_bars(1500, 17)
WARM = 700
LEVELS = (900_000, 500_000)


def learnt(upto=WARM):
    return volatilities(BARS.slice(0, upto), horizons=(1,))[1]


def admitted(model_id="ridge-1", *, volatility=None, scores=(1.0,) * 40, horizons=(1, 4)):
    return ModelAdmitted(
        model_id=model_id, kind="ridge", symbol="EURUSD", active=True, horizons=horizons,
        scores=(scores,) * len(horizons), ts_init_ns=0, volatility=volatility,
    )  # fmt: skip


class Bench:
    """A market and its bars from WARM on."""

    def __init__(self, *models):
        self.market = Market(default_instrument("EURUSD"), NS_PER_HOUR, Counters())
        for model in models:
            self.market.admit(model, LEVELS)
        self.row = WARM

    def close(self, bar=None):
        """The next bar closes; gives what was resolved and the new request."""
        bar = bar or bar_at(BARS, self.row)
        self.row += 1
        self.market.close(bar)
        resolved = self.market.resolve(bar, bar.ts_close_ns)
        return resolved, self.market.ask(bar, (1, 4), bar.ts_close_ns + 3600 * NS_PER_S)

    def answer(self, request, *, sigma=500, model_id="ridge-1", horizons=(1, 4)):
        close = request.close_e5[-1]
        answer = self.market.answer(
            Forecast(
                request_id=request.request_id, symbol="EURUSD", model_id=model_id, as_of_ns=request.as_of_ns,
                expires_ns=request.deadline_ns, ts_init_ns=request.as_of_ns,
                horizons=tuple(HorizonForecast(horizon=h, point_e5=close, sigma_e5=sigma) for h in horizons),
            ),
            request.as_of_ns,
        )  # fmt: skip
        assert isinstance(answer, CalibratedForecast)
        return answer.horizons

    def wild(self):
        """A bar that moves thirty times as far as usual."""
        bar = bar_at(BARS, self.row)
        return msgspec.structs.replace(bar, high_e5=bar.high_e5 + 3000, low_e5=bar.low_e5 - 3000)


def half_of(view, level=0):
    return view.bands[level].upper_e5 - view.point_e5


def test_the_width_is_the_markets_volatility_and_not_the_forecasts_sigma():
    bench = Bench(admitted(volatility=learnt().state()))
    _, request = bench.close()
    expected = learnt(WARM + 1)
    for view in bench.answer(request, sigma=9_999):
        assert view.sigma_e5 == 9_999
        assert half_of(view) == expected.scale_e5(request.close_e5[-1], view.horizon)


def test_a_model_with_scores_in_its_own_sigma_keeps_it():
    bench = Bench(admitted("plain"), admitted(volatility=learnt().state()))
    _, request = bench.close()
    assert [half_of(view) for view in bench.answer(request, sigma=321, model_id="plain")] == [321, 321]
    assert 321 not in [half_of(view) for view in bench.answer(request, sigma=321)]


def test_an_answer_that_comes_late_is_as_wide_as_the_market_was_when_asked():
    prompt, late = Bench(admitted(volatility=learnt().state())), Bench(admitted(volatility=learnt().state()))
    _, request = prompt.close()
    at_once = {view.horizon: view for view in prompt.answer(request)}
    late.close()
    late.close(late.wild())
    (view,) = late.answer(request)  # the bar one ahead has closed
    assert view == at_once[4]
    _, request = late.close()
    calm = learnt(WARM + 3).scale_e5(request.close_e5[-1], 1)
    assert half_of(late.answer(request)[0]) > 1.3 * calm


def test_labels_teach_when_they_come_and_not_before():
    bench = Bench(admitted(volatility=learnt().state(), scores=(1.0,) * 400))
    widths = []
    for _ in range(6):
        _, request = bench.close()
        scale = bench.market.volatility.scale_e5(request.close_e5[-1], 4)
        widths.append(half_of(bench.answer(request)[1]) / scale)
    # the first truth four bars ahead came with the fifth bar
    assert widths[0] == pytest.approx(widths[3], abs=0.02)
    assert widths[4] != pytest.approx(widths[3], abs=1e-3)


def test_a_model_admitted_anew_starts_afresh_and_learns_nothing_from_what_its_old_self_issued():
    bench, fresh = (Bench(admitted(volatility=learnt().state())) for _ in range(2))
    _, request = bench.close()
    bench.answer(request, horizons=(1,))
    fresh.close()
    for each in (bench, fresh):
        each.market.admit(admitted(volatility=learnt().state(), scores=(0.5,) * 40), LEVELS)
    resolved, request = bench.close(bench.wild())
    assert [fact.covered for fact in resolved] == [(True, True)] or not resolved[0].covered[1]
    _, same = fresh.close(fresh.wild())
    assert bench.answer(request) == fresh.answer(same)


def test_an_older_volatility_does_not_undo_what_was_learnt_since_and_a_newer_one_is_taken():
    bench = Bench(admitted(volatility=learnt().state()))
    for _ in range(50):
        bench.close()
    bench.market.admit(admitted("ridge-2", volatility=learnt().state()), LEVELS)
    assert bench.market.volatility.state() == learnt(WARM + 50).state()
    bench.market.admit(admitted("ridge-3", volatility=learnt(WARM + 200).state()), LEVELS)
    assert bench.market.volatility.state() == learnt(WARM + 200).state()


def test_history_up_to_the_start_of_trading_continues_the_artifacts_volatility():
    bench = Bench(admitted(volatility=learnt().state()))
    for row in range(WARM - 100, WARM + 30):  # overlaps what the artifact has seen
        bench.market.look_back(bar_at(BARS, row))
    assert bench.market.volatility.state() == learnt(WARM + 30).state()
    nonsense = Bar(
        symbol="EURUSD", period_ns=NS_PER_HOUR, ts_open_ns=int(BARS.ts_open_ns[WARM + 30]),
        ts_close_ns=int(BARS.ts_open_ns[WARM + 31]), open_e5=0, high_e5=0, low_e5=0, close_e5=0, spread_e5=0, quotes=0,
    )  # fmt: skip
    bench.market.look_back(nonsense)
    assert bench.market.volatility.state() == learnt(WARM + 30).state()


def test_a_volatility_of_other_bars_is_refused():
    with pytest.raises(DataError, match="train the model again"):
        Bench(admitted(volatility=msgspec.structs.replace(learnt().state(), period_ns=60 * NS_PER_S)))
