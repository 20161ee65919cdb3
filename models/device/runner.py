# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""A module on a device: buffers that stay where they are, and on CUDA a graph for each size of batch.

Theory of operation. Rows go through in buckets of 1, 2, 4, 8 ... rows, the smallest that holds them; what a bucket has
more is zeros. Each bucket has four buffers for as long as it lives: pinned memory on the host and memory on the device,
for inputs and for outputs, so that copies need no staging and nothing is allocated while answering. On CUDA the whole
forward pass of a bucket, a diffusion's every step among it, is captured in one graph after a warm-up and replayed; the
copies before and behind it are enqueued on the same stream. Every runner has a stream of its own, so that models which
are begun one behind the other run side by side. `begin` enqueues and returns; `Pending.ready` looks without waiting.

On another device (the processor, in tests) the same buffers are used and the pass runs at once when it is begun.
Nothing here falls back or counts: what goes wrong is raised.
"""

import contextlib
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.device.rebuilt import Rebuilt

Precision = Literal["float32", "bfloat16"]
Singles = NDArray[np.float32]

LARGEST = 8
"""Rows of the largest bucket in service, where a model is asked for more than one row only when requests have piled up;
more rows go through in turns."""

_WARM_UPS = 3
"""Passes before a graph is captured: libraries choose their algorithms and allocate their workspaces in the first."""


@contextlib.contextmanager
def exact() -> Generator[None]:
    """Single precision as it is written: CUDA would otherwise round products to TF32 (10 bits) of its own accord."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.no_grad():
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@dataclass(slots=True, kw_only=True)
class _Bucket:
    """Buffers of one size of batch, and what fills the last of them."""

    given: Tensor
    inputs: Tensor
    outputs: Tensor
    taken: Tensor
    graph: "torch.cuda.CUDAGraph | None" = None
    done: "torch.cuda.Event | None" = None


class Pending:
    """Rows under way. The next `begin` of the same runner makes them void, so take them before it."""

    def __init__(self, runner: "Runner", bucket: _Bucket, rows: int, before: list[Singles]) -> None:
        self._runner, self._bucket, self._rows, self._before = runner, bucket, rows, before
        self._told: tuple[Singles, Singles | None] | None = None
        self.void = False

    def ready(self) -> bool:
        """Whether `result` would not wait. Raises what the device raises."""
        return self._told is not None or self._bucket.done is None or self._bucket.done.query()

    def result(self) -> tuple[Singles, Singles | None]:
        """Points, and deviations where the form tells them, each (n, m); waits for them. Raises like `ready`."""
        if self._told is None:
            if self.void:
                raise RuntimeError("these rows were not taken before others were begun")
            rows = np.concatenate((*self._before, self._runner.collect(self._bucket, self._rows)))
            m = self._runner.outputs
            self._told = rows[:, :m], rows[:, m:] if self._runner.tells else None
        return self._told


class Runner:
    """See the module's theory of operation. May be asked by one thread only.

    Args:
        rebuilt: the form; it is moved to the device.
        inputs: k, numbers in a row.
        device: a name that torch knows, such as `cuda` or `cpu`.
        precision: of products and convolutions. Everything else, the steps of a diffusion among it, is float32.
        largest: rows of the largest bucket, a power of two.
    """

    def __init__(
        self, rebuilt: Rebuilt, inputs: int, device: str, *, precision: Precision = "float32", largest: int = LARGEST
    ) -> None:
        self.outputs, self.tells = rebuilt.outputs, rebuilt.tells
        self._device = torch.device(device)
        self._module = rebuilt.module.to(self._device)
        self._inputs = inputs
        self._precision = precision
        self._largest = largest
        cuda = self._device.type == "cuda"
        self._stream = torch.cuda.Stream(self._device) if cuda else None
        self._buckets: dict[int, _Bucket] = {}
        self._last: Pending | None = None

    def warm(self) -> None:
        """Make every bucket, so that none is made while somebody waits. Raises what the device raises."""
        rows = 1
        while rows <= self._largest:
            self._bucket(rows)
            rows *= 2

    def begin(self, inputs: NDArray[np.float64]) -> Pending:
        """Begin to answer rows of shape (n, k), n at least 1; those before the last bucket's are waited for.

        Raises:
            RuntimeError: the device fails, or is still at work on what was begun before.
        """
        if self._last is not None:
            if not self._last.ready():
                raise RuntimeError("the device is still at work on the rows before")
            self._last.void = True
        rows = np.asarray(inputs, np.float32)
        before: list[Singles] = []
        while len(rows) > self._largest:
            bucket = self._launch(rows[: self._largest])
            before.append(self.collect(bucket, self._largest))
            rows = rows[self._largest :]
        self._last = Pending(self, self._launch(rows), len(rows), before)
        return self._last

    def collect(self, bucket: _Bucket, rows: int) -> Singles:
        """A copy of the first rows of a bucket's outputs, when they are there."""
        if bucket.done is not None:
            bucket.done.synchronize()
        return bucket.taken[:rows].numpy().copy()

    def _launch(self, rows: Singles) -> _Bucket:
        bucket = self._bucket(1 << (len(rows) - 1).bit_length())
        with exact():
            bucket.given[: len(rows)] = torch.from_numpy(np.ascontiguousarray(rows))
            bucket.given[len(rows) :] = 0.0
            if bucket.graph is None or bucket.done is None:
                bucket.inputs.copy_(bucket.given)
                bucket.taken.copy_(self._forward(bucket.inputs))
                return bucket
            with torch.cuda.stream(self._stream):
                bucket.inputs.copy_(bucket.given, non_blocking=True)
                bucket.graph.replay()
                bucket.taken.copy_(bucket.outputs, non_blocking=True)
                bucket.done.record(self._stream)
        return bucket

    def _forward(self, inputs: Tensor) -> Tensor:
        if self._precision == "float32":
            return self._module(inputs)
        # no cache of rounded weights: it would be filled while a graph is captured, and belong to that graph alone
        with torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False):
            return self._module(inputs).float()

    def _bucket(self, rows: int) -> _Bucket:
        bucket = self._buckets.get(rows)
        if bucket is None:
            with exact(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of how torch lays out weights: the numbers are checked
                bucket = self._captured(rows) if self._stream is not None else self._plain(rows)
            self._buckets[rows] = bucket
        return bucket

    def _plain(self, rows: int, *, pinned: bool = False) -> _Bucket:
        width = self.outputs * (2 if self.tells else 1)
        return _Bucket(
            given=torch.zeros(rows, self._inputs, pin_memory=pinned),
            inputs=torch.zeros(rows, self._inputs, device=self._device),
            outputs=torch.zeros(rows, width, device=self._device),
            taken=torch.zeros(rows, width, pin_memory=pinned),
        )

    def _captured(self, rows: int) -> _Bucket:
        bucket = self._plain(rows, pinned=True)
        assert self._stream is not None
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UPS):
                self._forward(bucket.inputs)
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            bucket.outputs = self._forward(bucket.inputs)  # in the graph's own memory, where each replay writes it
        self._stream.synchronize()
        bucket.graph, bucket.done = graph, torch.cuda.Event()
        return bucket
