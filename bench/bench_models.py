"""One forecast on one core: each model's form alone, and through the service, features and prices included.

Networks that are trained with torch are left out where it is missing. The diffusion model draws 100 samples in 10
steps. Rows through the service hold one model each; the random walk and the chart patterns, which every answer carries,
are timed by themselves (`empty_service`).
"""

import gc
import time

import numpy as np
from threadpoolctl import threadpool_limits

from bench.common import percentiles, report
from models.contract import demands_of
from models.nets import absent, architectures
from models.serve import Service
from models.train import fit_defaults
from tests.harness.markets import HORIZONS, made_up_bars, request_at

NAMES = ("ridge", "mlp", "gru", "tcn", "temporal_unet")
BARS = made_up_bars(2400, 21)
TRAIN, CALIBRATE = BARS.slice(0, 1500), BARS.slice(1500, 2100)
TIMES = {"temporal_unet": 40}
MANY = 500


def timed(step, times):
    """Nanoseconds of each call, the caches warm."""
    for _ in range(max(3, times // 10)):
        step()
    taken = []
    gc.disable()
    for _ in range(times):
        begin = time.perf_counter_ns()
        step()
        taken.append(time.perf_counter_ns() - begin)
    gc.enable()
    return percentiles(taken)


def through_service(artifacts, times):
    service = Service(artifacts)
    request = request_at(BARS, 2399, horizons=HORIZONS)
    figures = timed(lambda: service.answer(request), times)
    service.close()
    return figures


def main():
    report("models", model="empty_service", service_us=through_service((), MANY), horizons=len(HORIZONS))
    for name in NAMES:
        net = architectures([name])[name]
        if absent(net):
            report("models", model=name, skipped=f"needs {', '.join(absent(net))}")
            continue
        begin = time.perf_counter()
        (model,) = fit_defaults(TRAIN, CALIBRATE, horizons=HORIZONS, seed=7, names=(name,)).artifacts
        took_s = time.perf_counter() - begin
        times = TIMES.get(name, MANY)
        inputs = model.tensors["golden_inputs"]
        one, many = inputs[:1].copy(), np.tile(inputs, (128 if times == MANY else 1, 1))
        with threadpool_limits(limits=1):
            form = timed(lambda: model.pipeline.measured(one), times)  # noqa: B023
            batch = timed(lambda: model.pipeline.measured(many), max(10, times // 20))  # noqa: B023
        report(
            "models",
            model=name,
            form_us=form,
            service_us=through_service((model,), times),
            batch_rows=len(many),
            batch_rows_per_s=round(len(many) / batch["p50"] * 1e6),
            window=demands_of(net).window,
            features=len(model.manifest.feature_names),
            horizons=len(HORIZONS),
            weights_bytes=len(model.weights_bytes),
            training_s=round(took_s, 1),
        )


if __name__ == "__main__":
    main()
