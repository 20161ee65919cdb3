"""Features: what one live bar costs, all of them and the default set, and how many bars a second offline."""

import gc
import time
from collections.abc import Callable

from bench.common import percentiles, report
from models import features
from models.columns import from_request
from models.features import ALL, DEFAULT, LONGEST
from tests.harness.markets import made_up_bars, request_at
from tests.harness.sources import made_up

LIVE = 400
OFFLINE_BARS = 20_000


def live(step: Callable[[], object]) -> list[int]:
    """Nanoseconds a call, the caches warm."""
    for _ in range(20):
        step()
    taken: list[int] = []
    gc.disable()
    for _ in range(LIVE):
        begin = time.perf_counter_ns()
        step()
        taken.append(time.perf_counter_ns() - begin)
    gc.enable()
    return taken


def offline(inputs: features.Inputs, names: tuple[str, ...]) -> float:
    """Bars a second of one vectorised pass."""
    features.compute(inputs.rows(0, 2000), names)
    begin = time.perf_counter()
    features.compute(inputs, names)
    return len(inputs) / (time.perf_counter() - begin)


def main() -> None:
    names = tuple(ALL)
    inputs = made_up(OFFLINE_BARS).inputs()
    newest = inputs.tail(LONGEST)
    request = request_at(made_up_bars(600, 3), 599)
    alone = live(lambda: features.latest(newest, names))
    default = live(lambda: features.latest(from_request(request)))
    every, few = offline(inputs, names), offline(inputs, DEFAULT)
    report(
        "features",
        features=len(names),
        live_bar_us=percentiles(alone),
        live_bar_default_set_us=percentiles(default),
        offline_bars_per_s=round(every),
        offline_bars_per_s_default_set=round(few),
        offline_over_live=round(every * percentiles(alone)["p50"] / 1e6),
        offline_over_live_default_set=round(few * percentiles(default)["p50"] / 1e6),
    )


if __name__ == "__main__":
    main()
