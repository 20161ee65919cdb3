"""Training: the engine against the loop that everybody writes first, in one run, on the same rows and the same steps.

The naive loop is single precision without compiling, a `DataLoader` that takes a sample at a time, an optimiser that
goes from weight to weight, `zero_grad` to zeros, and `.item()` at every step. Both make as many steps over the same
rows, each in its own order; how much sooner the engine is at the naive loop's last validation loss, within 0.2 %, is
told too. Rows of JSON, one a network; the GPU's part runs where there is a GPU, and says so where there is none.
Seconds are those of the processor where it alone works, on one thread: other work on the machine counts for little.
"""

import sys
import threading
import time
from dataclasses import replace

import numpy as np

from bench.common import report

try:
    import torch
except ImportError:
    report("train", skipped="torch is not installed (`make torch`)")
    sys.exit(0)

from torch.utils.data import DataLoader, Dataset

from models.contract import Problem
from models.diffusion import schedule_of
from models.learning import Learning, Unattended
from models.nets import _denoise, _torch, gru, tcn
from models.nets._torch import repeatable
from models.nets._unet import Diffuser, TemporalUnet
from models.nets.temporal_unet import WIDTH, encoder
from models.train.engine.callbacks import Callback
from models.train.engine.data import Rows
from models.train.engine.loop import learn
from models.train.engine.recipe import BATCH

CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time
WITHIN = 0.002
CHOICES = ("precision", "compile", "cuda graph", "attention", "channels last")
LARGE = (192, 384)
"""Channels of the U-Net of about four million weights."""
ROWS, HELD, WINDOW, FEATURES, OUTPUTS = 6_000, 1_500, 32, 12, 3


def problem(epochs, rows=ROWS, **learning):
    random = np.random.default_rng(0)
    bars = random.standard_normal((rows + HELD + WINDOW - 1, FEATURES))
    windows = np.lib.stride_tricks.sliding_window_view(bars, WINDOW, axis=0).transpose(0, 2, 1)
    targets = 0.4 * windows[:, -1, :OUTPUTS] - 0.3 * windows[:, -5, :OUTPUTS]
    targets = targets + 0.8 * random.standard_normal((rows + HELD, OUTPUTS))
    return Problem(
        inputs=windows[:rows], targets=targets[:rows], validation_inputs=windows[rows:],
        validation_targets=targets[rows:], seed=0, epochs=epochs, learning=Learning(**learning),
    )  # fmt: skip


class Samples(Dataset):
    """One sample at a time."""

    def __init__(self, task):
        self.inputs, self.targets = task.inputs, task.targets

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, row):
        return (
            torch.tensor(self.inputs[row].reshape(-1), dtype=torch.float32),
            torch.tensor(self.targets[row], dtype=torch.float32),
        )


def naive(module, task, recipe, device, batch):
    """Seconds an epoch, seconds of them waiting for rows, and the validation loss after each."""
    module.to(device)
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=recipe.learning_rate, weight_decay=recipe.penalty, foreach=False
    )
    held = Rows(task.validation_inputs, task.validation_targets, device).part(0, HELD)
    epochs, waited, found = [], 0.0, []
    for _ in range(task.epochs):
        module.train()
        begin = asked = CLOCK()
        for inputs, targets in DataLoader(Samples(task), batch_size=batch, shuffle=True):
            inputs, targets = inputs.to(device), targets.to(device)  # noqa: PLW2901
            waited += CLOCK() - asked
            optimizer.zero_grad(set_to_none=False)
            loss = recipe.loss(module, inputs, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0, foreach=False)
            optimizer.step()
            loss.item()
            asked = CLOCK()
        epochs.append(CLOCK() - begin)
        found.append(judged(module, recipe, held))
    return epochs, waited / sum(epochs), found


def judged(module, recipe, held):
    module.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        return float(recipe.loss(module, *held))


class Clock(Callback):
    """When each epoch's steps ended, and what it was worth."""

    def __init__(self):
        self.begin = self.last = None
        self.epochs, self.found = [], []

    def step(self, state, look):  # noqa: ARG002 (the contract has it)
        if self.begin is None or state.at == 1:
            self.begin = self.begin or CLOCK()
        self.last = CLOCK()

    def epoch(self, state):
        self.epochs.append(CLOCK() - self.begin)  # the validation part included
        self.found.append(state.found)
        self.begin = CLOCK()


def gathering_share(task, device, batch, step_s):
    """Seconds of one gather, as a share of a step."""
    rows = Rows(task.inputs, task.targets, device)
    chosen = torch.randint(len(rows), (batch,), device=device)
    rows.take(chosen)
    begin = CLOCK()
    for _ in range(200):
        rows.take(chosen)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (CLOCK() - begin) / 200 / step_s


class Busy:
    """Utilisation of the GPU in percent, as NVML tells it, asked every tenth of a second within the block."""

    def __init__(self, device):
        self.found, self._device, self._over = [], device, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        if self._device.type == "cuda":
            self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self):
        while not self._over.wait(0.1):
            self.found.append(torch.cuda.utilization(self._device))

    def typical(self):
        """Of the later half, when everything is compiled and captured; None = nobody was asked."""
        later = sorted(self.found[len(self.found) // 2 :])
        return later[len(later) // 2] if later else None


class Told(Unattended):
    """A job that remembers what the engine says of its choices."""

    def __init__(self):
        self.lines = []

    def note(self, line):
        self.lines.append(line)

    def chosen(self):
        """Choices by name, of those that make a difference here."""
        told = [line.partition(": ")[2].partition(": ") for line in self.lines]
        return {name: what.partition(" (")[0] for name, _, what in told if name in CHOICES}


def compare(name, make, recipe, device, epochs, batch=BATCH, rows=ROWS, **learning):
    cuda = device.type == "cuda"
    with repeatable(0):
        plain = make()
    with repeatable(0):
        slow, waited, slow_found = naive(plain, problem(epochs, rows), recipe, device, batch)
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    clock, task = Clock(), problem(epochs, rows, batch=batch, device=device.type, **learning)
    job = Told()
    task = replace(task, job=job)
    with repeatable(0), Busy(device) as busy:
        module = make()
        weights = sum(each.numel() for each in module.parameters())
        learn(module, task, replace(recipe, patience=epochs), more=(clock,))
    # first epochs pay for what is made once
    naive_s, tuned_s = min(slow[1:] or slow), min(clock.epochs[1:] or clock.epochs)
    reached = next((i for i, loss in enumerate(clock.found) if loss <= slow_found[-1] * (1.0 + WITHIN)), None)
    report(
        "train", network=name, device=device.type, weights=weights, rows=rows, batch=batch, epochs=epochs,
        naive_samples_per_s=round(rows / naive_s), tuned_samples_per_s=round(rows / tuned_s),
        ratio=round(naive_s / tuned_s, 2), naive_loader_share=round(waited, 3),
        tuned_loader_share=round(gathering_share(task, device, batch, tuned_s / (rows / batch)), 4),
        naive_loss=round(slow_found[-1], 5), tuned_loss=round(clock.found[-1], 5),
        ratio_to_same_loss=None if reached is None else round(sum(slow) / sum(clock.epochs[: reached + 1]), 2),
        utilisation_pct=busy.typical(),
        peak_memory_mb=round(torch.cuda.max_memory_allocated() / 2**20) if cuda else None,
        **job.chosen(),
    )  # fmt: skip


def linear():
    """What a loader costs beside a network that costs next to nothing."""
    from torch import nn

    from models.nets import _blocks

    return nn.Sequential(_blocks.Windows(WINDOW, FEATURES), _blocks.Transposed(), _blocks.Newest(),
                         _blocks.Head(FEATURES, OUTPUTS))  # fmt: skip


def unet():
    return _denoise.diffuser(encoder(FEATURES, 0.0), OUTPUTS, WIDTH.default)


def large_unet():
    return Diffuser(encoder(FEATURES, 0.0), TemporalUnet(OUTPUTS, WIDTH.default, LARGE),
                    schedule_of(_denoise.SHAPE, _denoise.TRAINED_STEPS))  # fmt: skip


NETWORKS = {
    "linear": (linear, _torch.gaussian("linear")),
    "tcn": (lambda: tcn.build(FEATURES, OUTPUTS, 0.0), _torch.gaussian("tcn")),
    "gru": (lambda: gru.build(FEATURES, OUTPUTS, 0.0), _torch.gaussian("gru")),
    "temporal_unet": (unet, _denoise.denoising("temporal_unet")),
}


def main():
    for name, (make, recipe) in NETWORKS.items():
        compare(name, make, recipe, torch.device("cpu"), epochs=3)
    if not torch.cuda.is_available():
        report("train", device="cuda", skipped="no CUDA device: nothing of the GPU's part has run")
        return
    cuda = torch.device("cuda")
    for name, (make, recipe) in NETWORKS.items():
        for batch, rows in ((BATCH, 60_000), (8_192, 300_000)):
            compare(name, make, recipe, cuda, 3, batch, rows=rows, strategy="fast")
    recipe = NETWORKS["temporal_unet"][1]  # as in a long run, which earns back what compiling takes
    compare("temporal_unet", unet, recipe, cuda, 3, 8_192, rows=300_000, strategy="fast", compile="on")
    compare("temporal_unet", large_unet, recipe, cuda, 8, 8_192, rows=200_000, strategy="fast", compile="on",
            learning_rate=recipe.learning_rate)  # fmt: skip


if __name__ == "__main__":
    main()
