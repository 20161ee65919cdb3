"""One forecast on one core: each model's form alone, and through the service, features and prices included.

Networks that are trained with torch are left out where it is missing. The diffusion model draws 100 samples in 10
steps. Rows through the service hold one model each; the random walk and the chart patterns, which every answer carries,
are timed by themselves (`empty_service`). `ensemble_five` is all five as one model. `together` is what ten markets gain
whose bars close at once, when their networks are put into one product. `gpu` rows are of a GPU where torch finds one.
"""

import dataclasses
import gc
import time

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from bench.common import percentiles, report
from models import artifact, features
from models.forms.ensemble import Ensemble, Member
from models.forward import Pipeline
from models.nets import absent, architectures
from models.scalers import Scaler
from models.serve import Service
from models.train import fit_defaults
from tests.harness.markets import HORIZONS, made_up_bars, request_at

NAMES = ("ridge", "mlp", "gru", "tcn", "temporal_unet")
BARS = made_up_bars(2400, 21)
TRAIN, CALIBRATE = BARS.slice(0, 1500), BARS.slice(1500, 2100)
TIMES = {"temporal_unet": 40, "ensemble_five": 40}
MANY = 500
MARKETS = 10
LARGEST = 4096
"""Rows of the largest batch on a GPU."""


def timed(step, times, clock=time.perf_counter_ns):
    """Microseconds of a call, the caches warm."""
    for _ in range(max(3, times // 10)):
        step()
    taken = []
    gc.disable()
    for _ in range(times):
        begin = clock()
        step()
        taken.append(clock() - begin)
    gc.enable()
    return percentiles(taken)


def through_service(artifacts, times):
    service = Service(artifacts)
    request = request_at(BARS, 2399, horizons=HORIZONS)
    figures = timed(lambda: service.answer(request), times)
    service.close()
    return figures


def per_s(count, figures):
    return round(count / figures["p50"] * 1e6)


def measure(name, model, **more):
    times = TIMES.get(name, MANY)
    inputs = model.tensors["golden_inputs"]
    one, many = inputs[:1].copy(), np.tile(inputs, (128 if times == MANY else 1, 1))
    with threadpool_limits(limits=1):
        form = timed(lambda: model.pipeline.measured(one), times)
        batch = timed(lambda: model.pipeline.measured(many), max(10, times // 20))
    service = through_service((model,), times)
    report(
        "models",
        model=name,
        form_us=form,
        service_us=service,
        service_forecasts_per_s=per_s(1, service),
        batch_rows=len(many),
        batch_rows_per_s=per_s(len(many), batch),
        window=model.manifest.window,
        features=len(model.manifest.feature_names),
        horizons=len(HORIZONS),
        weights_bytes=len(model.weights_bytes),
        **more,
    )


def five(models):
    """All five as one model, alike; sealed as training would."""
    names = tuple(dict.fromkeys(name for model in models for name in model.manifest.feature_names))
    members = tuple(
        Member(
            name=model.manifest.name,
            columns=tuple(names.index(name) for name in model.manifest.feature_names),
            window=model.manifest.window,
            scaler=model.pipeline.scaler,
            net=model.pipeline.net,
        )
        for model in models
    )
    window = max(member.window for member in members)
    weights = np.full((len(members), len(HORIZONS)), 1.0 / len(members))
    net = Ensemble(members=members, weights=weights, features=len(names), window=window)
    scaler = Scaler(centre=np.zeros(len(names)), gain=np.ones(len(names)), limit=1e300)
    manifest = msgspec.structs.replace(
        models[0].manifest, name="ensemble_mean", feature_names=names, feature_hash=features.schema_hash(names)
    )
    golden = np.random.default_rng(0).standard_normal((8, net.inputs))
    return artifact.seal(manifest, Pipeline(scaler=scaler, net=net, window=window), {}, golden)


# ---- ten markets at once


def stacked_dense(nets, rows):
    """Networks of one shape as one product a layer: networks and rows, shape (g, 1, k), to (g, 1, m)."""
    weights = [np.stack(layers) for layers in zip(*(net.weights for net in nets), strict=True)]
    biases = [np.stack(layers)[:, None, :] for layers in zip(*(net.biases for net in nets), strict=True)]

    def step():
        values = rows
        for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            values = values @ weight + bias
            if index < len(weights) - 1:
                values = np.tanh(values)
        return values

    return step


def stacked_torch(models, rows):
    """Networks of one architecture as one, by `torch.func.vmap`."""
    import torch

    from models.device.rebuilt import rebuild

    torch.set_num_threads(1)
    modules = [rebuild(model.manifest.name, model.pipeline.net, model.pipeline.window).module for model in models]
    weights, buffers = torch.func.stack_module_state(modules)
    call = torch.func.vmap(lambda w, b, row: torch.func.functional_call(modules[0], (w, b), (row,)))
    given = torch.from_numpy(rows.astype(np.float32))

    def step():
        with torch.no_grad():
            return call(weights, buffers, given)

    return step


def together(name, model):
    """Ten models of one kind, a market each: their networks one at a time and as one, beside all of their answers.

    In processor time, which is what is compared here and which other processes disturb least.
    """
    markets = [f"MKT{chr(65 + at)}{chr(65 + at)}{chr(65 + at)}" for at in range(MARKETS)]
    models = [
        dataclasses.replace(model, model_id=f"{name}-{market}",
                            manifest=msgspec.structs.replace(model.manifest, symbol=market))
        for market in markets
    ]  # fmt: skip
    requests = [request_at(dataclasses.replace(BARS, symbol=market), 2399, horizons=HORIZONS) for market in markets]
    times = 10 if name == "temporal_unet" else MANY // 5
    service = Service(models)
    answers = timed(lambda: list(service.answer_all(requests)), times, time.thread_time_ns)
    service.close()
    row = model.pipeline.scaled(model.tensors["golden_inputs"][:1])
    rows = np.stack([row] * MARKETS)
    net = model.pipeline.net
    ask = net.measured if hasattr(net, "measured") else net
    with threadpool_limits(limits=1):
        alone = timed(lambda: [ask(row) for _ in models], times, time.thread_time_ns)
        try:
            nets = [one.pipeline.net for one in models]
            step = stacked_dense(nets, rows) if net.form == "dense" else stacked_torch(models, rows)
            as_one = timed(step, times, time.thread_time_ns)
        except (RuntimeError, ImportError) as error:  # a recurrent network has no such product; torch may be missing
            as_one = str(error).partition("\n")[0][:80]
    report(
        "models",
        model="together",
        of=name,
        markets=MARKETS,
        answers_us=answers,
        forecasts_per_s=per_s(MARKETS, answers),
        networks_us=alone,
        networks_as_one_us=as_one,
        networks_share=round(alone["p50"] / answers["p50"], 4),
    )


# ---- a GPU


def no_gpu():
    """Why there are no figures of a GPU; empty = there are."""
    try:
        import torch
    except ImportError:
        return "torch is not installed (`make torch`)"
    return "" if torch.cuda.is_available() else "torch finds no GPU on this machine"


def on_gpu(models, device="cuda"):
    """Through pinned buffers and back: one row, rows in batches, and ten models side by side."""
    from models.device.figures import Figures
    from models.device.rebuilt import rebuild
    from models.device.runner import Runner

    card = Figures(device).name
    for name, model in models.items():
        for precision in ("float32", "bfloat16"):
            pipeline = model.pipeline

            def runner(largest, *, pipeline=pipeline, model=model, precision=precision):
                rebuilt = rebuild(model.manifest.name, pipeline.net, pipeline.window)
                return Runner(rebuilt, pipeline.net.inputs, device, precision=precision, largest=largest)

            times = 10 if device == "cpu" else MANY
            inputs = pipeline.scaled(model.tensors["golden_inputs"])
            many = np.tile(inputs, (LARGEST // len(inputs), 1)) if name not in TIMES else inputs
            small, large = runner(1), runner(len(many))
            small.warm()
            one = timed(lambda: small.begin(inputs[:1]).result(), times)  # noqa: B023
            batch = timed(lambda: large.begin(many).result(), max(10, times // 10))  # noqa: B023
            several = [runner(1) for _ in range(MARKETS)]
            for each in several:
                each.warm()

            def side_by_side(several=several, row=inputs[:1]):
                for ahead in [each.begin(row) for each in several]:
                    ahead.result()

            report(
                "models",
                model="gpu",
                of=name,
                card=card,
                precision=precision,
                row_us=one,
                batch_rows=len(many),
                batch_rows_per_s=per_s(len(many), batch),
                markets=MARKETS,
                side_by_side_us=timed(side_by_side, max(10, times // 10)),
            )


def main():
    report("models", model="empty_service", service_us=through_service((), MANY), horizons=len(HORIZONS))
    models = {}
    for name in NAMES:
        net = architectures([name])[name]
        if absent(net):
            report("models", model=name, skipped=f"needs {', '.join(absent(net))}")
            continue
        begin = time.perf_counter()
        (models[name],) = fit_defaults(TRAIN, CALIBRATE, horizons=HORIZONS, seed=7, names=(name,)).artifacts
        measure(name, models[name], training_s=round(time.perf_counter() - begin, 1))
    if len(models) == len(NAMES):
        models["ensemble_five"] = five(list(models.values()))
        measure("ensemble_five", models["ensemble_five"])
    else:
        report("models", model="ensemble_five", skipped="not all five are here")
    for name in NAMES:
        if name in models:
            together(name, models[name])
    why = no_gpu()
    if why:
        report("models", model="gpu", skipped=why)
    else:
        on_gpu(models)


if __name__ == "__main__":
    main()
