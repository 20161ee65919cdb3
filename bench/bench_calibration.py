"""The calibrators: an update and an interval of each method, and the volatility that they stand on."""

import gc
import random
import time

from bench.common import percentiles, report
from bus.values import NS_PER_HOUR
from models.conformal import Aci, Calibrator, DtAci, Fixed, JointCalibrator, Pid, calibrator, score
from models.volatility import SeasonalVolatility

STEPS = 20_000
LEVELS = (900_000, 500_000)
SUNDAY_NS = 1_515_362_400 * 1_000_000_000  # 2018-01-07 22:00 UTC, a week's first bar


def normals(count, seed):
    source = random.Random(seed)
    return [abs(source.gauss(0.0, 1.0)) for _ in range(count)]


def timed(step):
    """Nanoseconds of each of many steps."""
    taken = []
    gc.disable()
    for number in range(STEPS):
        begin = time.perf_counter_ns()
        step(number)
        taken.append(time.perf_counter_ns() - begin)
    gc.enable()
    return taken


def update_and_interval(online):
    """What a bar costs a calibrator: a truth comes (with its ticket), a band is issued."""
    draws = normals(STEPS, 1)
    scale = 80
    held = {"bands": online.interval(110_000, scale), "ticket": online.ticket()}

    def step(number):
        actual = 110_000 + round(draws[number] * scale)
        covered = tuple(band.lower_e5 <= actual <= band.upper_e5 for band in held["bands"])
        online.update(score(actual, 110_000, scale), covered, held["ticket"])
        held["bands"] = online.interval(110_000, scale)
        held["ticket"] = online.ticket()

    return percentiles(timed(step))


def joint():
    draws = [normals(STEPS, seed) for seed in (2, 3, 4)]
    known = [max(each) for each in zip(*(normals(1000, seed) for seed in (5, 6, 7)), strict=True)]
    online = JointCalibrator((900_000,), (1.6, 1.6, 1.6), [each / 1.6 for each in known])

    def step(number):
        online.update([draw[number] for draw in draws], (draws[0][number] < 2.0,))
        online.bands((110_000,) * 3, (80, 160, 400))

    return percentiles(timed(step))


def volatility():
    """A bar, and the scale of three horizons."""
    source = random.Random(8)
    market = SeasonalVolatility(NS_PER_HOUR)
    bars = []
    close = 110_000
    for number in range(STEPS):
        hour = number + 48 * (number // 120)
        close = max(50_000, close + round(source.gauss(0, 80)))
        bars.append((SUNDAY_NS + hour * NS_PER_HOUR, close + 50, close - 50, close))
    market.update(*bars[0])
    market.update(*bars[1])

    def step(number):
        market.update(*bars[number])
        for horizon in (1, 4, 24):
            market.scale_e5(bars[number][3], horizon)

    return percentiles(timed(step))


def main() -> None:
    known = normals(1000, 0)
    methods = {
        "split": Fixed,
        "aci": lambda target: Aci(target, 0.01),
        "dtaci": DtAci,
        "pid": lambda target: Pid(target, 0.05),
    }
    figures = {
        f"{name}_us": update_and_interval(Calibrator((900_000,), known, method=method))
        for name, method in methods.items()
    }
    report(
        "calibration",
        **figures,
        default_two_levels_us=update_and_interval(calibrator(LEVELS, 1, known)),
        joint_three_horizons_us=joint(),
        volatility_three_horizons_us=volatility(),
        scores=len(known),
    )


if __name__ == "__main__":
    main()
