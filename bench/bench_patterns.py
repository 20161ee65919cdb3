"""What the patterns cost a bar: the whole answer with and without them, and their parts."""

import time

from bench.common import percentiles, report
from models import patterns
from models.chart import Chart
from models.columns import from_request
from models.serve import Service
from tests.harness.markets import request_at, simulated
from tests.harness.trained import trained

BARS = 400
ROUNDS = 5
HISTORY = 256


def timed(function, arguments):
    """Durations in ns of the fastest of ROUNDS calls for each argument: noise of other processes stays out."""
    best = [1 << 62] * len(arguments)
    for _ in range(ROUNDS):
        for index, argument in enumerate(arguments):
            begin = time.perf_counter_ns()
            function(argument)
            best[index] = min(best[index], time.perf_counter_ns() - begin)
    return best


def main():
    bars = simulated(HISTORY + BARS, 3)
    requests = [request_at(bars, row) for row in range(HISTORY, HISTORY + BARS)]
    columns = [from_request(request) for request in requests]
    service = Service(trained().artifacts)
    whole = timed(service.answer, requests)
    look, patterns.look = patterns.look, lambda _request, _columns: []
    without = timed(service.answer, requests)
    patterns.look = look
    service.close()
    told = sum(len(patterns.named(one)) for one in columns)
    report(
        "patterns",
        answer_us=percentiles(whole),
        answer_without_named_patterns_us=percentiles(without),
        named_patterns_us=percentiles(timed(patterns.named, columns)),
        of_which_bars_and_swings_us=percentiles(timed(Chart.of, columns)),
        told_a_bar=round(told / BARS, 2),
    )


if __name__ == "__main__":
    main()
