"""What bars were like: equal live and offline, true of known markets, carried by artifacts."""

import msgspec
import numpy as np
import pytest

from bus.errors import ModelError
from bus.messages import Histogram
from models import artifact
from models.client import admitted_as
from models.summary import CELLS, OCTAVES, BarMeasures, Measures, check
from models.train.data import volatilities
from models.train.summary import summarise
from models.volatility import SeasonalVolatility
from tests.harness.artifacts import forecaster, forged
from tests.harness.markets import HORIZONS, bar_at, made_up_bars, replaced_after, simulated

BARS = made_up_bars(1_200, 31)


def live(bars, start=0, volatility=None):
    """Measured as the core does: bar by bar, beside a volatility that learns after it."""
    volatility, measures, found = volatility or SeasonalVolatility(bars.period_ns), BarMeasures(), []
    for row in range(start, len(bars)):
        bar = bar_at(bars, row)
        found.append(measures.take(bar, volatility))
        volatility.update(bar.ts_open_ns, bar.high_e5, bar.low_e5, bar.close_e5)
    return found


def offline(bars):
    scales, _ = volatilities(bars, horizons=(1,))
    measures, before, found = Measures(), 0, []
    for row, scale in enumerate(scales[:, 0].tolist()):
        bar = bar_at(bars, row)
        found.append(measures.update(bar.high_e5, bar.low_e5, bar.close_e5, before))
        before = scale
    return found


def test_bars_measure_the_same_live_and_offline():
    assert live(BARS) == offline(BARS)
    assert sum(each is not None for each in live(BARS)) == len(BARS) - 2


def test_nothing_after_a_bar_changes_what_it_measures():
    other = live(replaced_after(BARS, 800, 5))
    assert other[:801] == live(BARS)[:801]
    assert other[801:] != live(BARS)[801:]


def test_a_volatility_that_knows_later_bars_measures_nothing():
    _, learnt = volatilities(BARS, horizons=(1,))
    assert live(BARS.slice(0, 900), volatility=learnt) == [None] * 900


def test_a_bar_told_twice_is_measured_once():
    volatility, measures = SeasonalVolatility(BARS.period_ns), BarMeasures()
    for row in range(50):
        bar = bar_at(BARS, row)
        measures.take(bar, volatility)
        volatility.update(bar.ts_open_ns, bar.high_e5, bar.low_e5, bar.close_e5)
        assert measures.take(bar, volatility) is None


def test_returns_and_ranges_are_in_units_of_the_scale():
    measures = Measures()
    assert measures.update(1_010, 990, 1_000, 0) is None
    told = measures.update(1_030, 995, 1_020, 10)
    assert (told.return_ppm, told.range_ppm, told.octaves) == (2_000_000, 3_500_000, None)
    fallen = measures.update(1_010, 900, 900, 10)
    assert (fallen.return_ppm, fallen.range_ppm) == (-8_000_000, 8_000_000)


def test_the_power_by_octave_is_that_of_haar_wavelets():
    steps = np.random.default_rng(3).integers(-500, 500, 80).tolist()
    measures, price = Measures(), 100_000
    measures.update(price, price, price, 1_000)
    for count, step in enumerate(steps, 1):
        price += step
        told = measures.update(price, price, price, 1_000_000)
        assert (told.octaves is None) == (count < 2**OCTAVES)
    for level in range(1, OCTAVES + 1):
        half = 2 ** (level - 1)
        detail = (sum(steps[-half:]) - sum(steps[-2 * half : -half])) / 2**level
        assert told.octaves[level - 1] == pytest.approx(detail**2 * 4**OCTAVES, abs=1e-6)


def test_deciles_hold_a_tenth_and_white_returns_have_half_of_their_power_in_the_first_octave():
    summary = summarise(simulated(6_000, 7))
    assert len(summary.returns.edges) == len(summary.ranges.edges) == CELLS - 1
    assert all(abs(share - 100_000) < 2_000 for share in summary.returns.shares_ppm)
    assert [share / 1e6 for share in summary.octaves_ppm] == pytest.approx(
        [0.516, 0.258, 0.129, 0.065, 0.032], abs=0.03
    )
    check(summary)


def test_runs_of_bars_behind_each_other_are_summarised_as_one():
    assert summarise(BARS.slice(0, 700), BARS.slice(700, 1_200)) == summarise(BARS)


def test_too_few_bars_and_bars_that_do_not_move_say_nothing():
    assert summarise(BARS.slice(0, 200)) is None
    still = np.full(1_000, 100_000)
    bars = made_up_bars(1_000, 1)
    flat = type(bars)(symbol="EURUSD", period_ns=bars.period_ns, ts_open_ns=bars.ts_open_ns, open_e5=still,
                      high_e5=still, low_e5=still, close_e5=still, quotes=bars.quotes)  # fmt: skip
    assert summarise(flat) is None


def test_training_puts_a_summary_into_the_artifact_and_admission_hands_it_on():
    model = forecaster(3)
    reference = model.manifest.reference
    assert reference is not None
    check(reference)
    assert admitted_as(model, release=1, verdict="", ts_init_ns=0).reference == reference


def test_an_artifact_of_before_there_were_summaries_still_loads():
    old = forged(forecaster(3), lambda manifest: manifest.pop("reference"), key=None)
    read = artifact.parse(old.model_id, old.manifest_bytes, old.weights_bytes, "here")
    assert read.manifest.reference is None
    assert read.manifest.horizons == HORIZONS
    assert admitted_as(read, release=1, verdict="", ts_init_ns=0).reference is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"bars": 3},
        {"octaves_ppm": (1_000_000,)},
        {"octaves_ppm": (500_000, 500_000, 500_000, 0, 0)},
        {"octaves_ppm": (-100_000, 1_100_000, 0, 0, 0)},
        {"returns": Histogram(edges=(2, 1), shares_ppm=(500_000, 250_000, 250_000))},
        {"returns": Histogram(edges=(1, 2), shares_ppm=(500_000, 500_000))},
        {"ranges": Histogram(edges=(1,), shares_ppm=(400_000, 500_000))},
        {"ranges": Histogram(edges=(1,), shares_ppm=(-1, 1_000_001))},
    ],
)
def test_a_summary_that_is_none_is_refused(wrong):
    sound = summarise(BARS)
    with pytest.raises(ModelError, match="summary of training"):
        check(msgspec.structs.replace(sound, **wrong))


def test_an_artifact_with_a_summary_that_is_none_is_refused():
    def spoil(manifest):
        manifest["reference"]["octaves_ppm"] = [1, 2, 3]

    bad = forged(forecaster(3), spoil, key=None)
    with pytest.raises(ModelError, match="spectrum is none"):
        artifact.parse(bad.model_id, bad.manifest_bytes, bad.weights_bytes, "here")
