# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Rows where they are learnt from. No loader, no worker processes: a batch is one gather.

Theory of operation. A problem's windows share memory (bars of features, each window a view). The bars go to the device
once, in single precision; a batch of windows is gathered there by `index_select` over a view whose rows overlap. What
was handed in as rows of its own is kept as such. Where it all does not fit, `Streamed` keeps it on the host and a
thread gathers the windows of coming steps into a pinned buffer while the device works on the present ones; the numbers
are the same, to the bit. Values are converted once, in the order in which the network always saw them.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Queue
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from models.contract import Floats

CHUNK_STEPS = 16
"""Steps whose windows lie in a buffer together. Two buffers: one learnt from, one being filled."""


def bars_of(inputs: Floats) -> tuple[np.ndarray, int]:
    """The bars (n + window - 1, k) that windows (n, window, k) are views of, and the window.

    Inputs of shape (n, k), and windows that share nothing, are given as rows of numbers with a window of 1.
    """
    if inputs.ndim == 3 and len(inputs) > 1 and inputs.strides[0] == inputs.strides[1] != 0:
        return np.concatenate((inputs[0], inputs[1:, -1])), inputs.shape[1]
    return inputs.reshape(len(inputs), -1), 1


def size_of(inputs: Floats, targets: Floats) -> int:
    """Bytes of inputs and targets in single precision, shared memory counted once."""
    window = inputs.shape[1] if inputs.ndim == 3 and len(inputs) > 1 and inputs.strides[0] == inputs.strides[1] else 1
    bars = len(inputs) + window - 1
    return 4 * (bars * (inputs[0].size // window) + targets.size)


class Rows:
    """Inputs and targets on one device.

    Args:
        inputs: shape (n, k) or (n, window, k).
        targets: shape (n, m).
        device: where they lie and are gathered.
    """

    def __init__(self, inputs: Floats, targets: Floats, device: torch.device) -> None:
        bars, self.window = bars_of(inputs)
        self.bars = torch.from_numpy(np.ascontiguousarray(bars, dtype=np.float32)).to(device)
        self.targets = torch.from_numpy(targets.astype(np.float32)).to(device)
        self.device = device
        width = self.bars.shape[1]
        # windows as rows that overlap in memory: only ever read
        self._windows = self.bars.as_strided((len(targets), self.window * width), (width, 1))

    def __len__(self) -> int:
        """How many rows."""
        return len(self.targets)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (n, window * k) and targets (n, m) of some rows."""
        return self._windows.index_select(0, rows), self.targets.index_select(0, rows)

    def part(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """The same of rows that follow each other."""
        return self._windows[start:stop].contiguous(), self.targets[start:stop]


class Step(Protocol):
    """The rows of one step of the optimiser."""

    @property
    def rows(self) -> Tensor:
        """Their numbers."""
        ...

    def take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of some of them, on the device that learns."""
        ...


@dataclass(frozen=True, slots=True)
class _Numbered:
    rows: Tensor
    source: Rows

    def take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return self.source.take(self.rows[start:stop])


@dataclass(frozen=True, slots=True)
class _Gathered:
    rows: Tensor
    inputs: Tensor
    targets: Tensor
    device: torch.device

    def take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        inputs, targets = self.inputs[start:stop], self.targets[start:stop]
        return inputs.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)


class Resident:
    """Everything lies on the device, and is gathered there."""

    def __init__(self, inputs: Floats, targets: Floats, device: torch.device) -> None:
        self.rows = Rows(inputs, targets, device)

    def steps(self, batches: Sequence[Tensor]) -> Iterator[Step]:
        """Each batch of row numbers, ready to be gathered."""
        for rows in batches:
            yield _Numbered(rows.to(self.rows.device, non_blocking=True), self.rows)


class Streamed:
    """Everything lies on the host; a thread gathers coming steps into pinned buffers.

    Args:
        inputs: as those of `Rows`.
        targets: likewise.
        device: that learns.
    """

    def __init__(self, inputs: Floats, targets: Floats, device: torch.device) -> None:
        self.rows = Rows(inputs, targets, torch.device("cpu"))
        self.device = device
        self._pinned = device.type == "cuda"

    def steps(self, batches: Sequence[Tensor]) -> Iterator[Step]:
        """As `Resident.steps`. Leaving off in between ends the thread."""
        ready: Queue[Sequence[Step] | BaseException | None] = Queue(maxsize=1)
        free = threading.Semaphore(2)
        done = threading.Event()

        def fill() -> None:
            try:
                for start in range(0, len(batches), CHUNK_STEPS):
                    free.acquire()
                    if done.is_set():
                        return
                    ready.put([self._gathered(rows) for rows in batches[start : start + CHUNK_STEPS]])
                ready.put(None)
            except BaseException as error:  # noqa: BLE001 (it is raised again where somebody waits)
                ready.put(error)

        worker = threading.Thread(target=fill, name="plimsoll-rows", daemon=True)
        worker.start()
        try:
            while (chunk := ready.get()) is not None:
                if isinstance(chunk, BaseException):
                    raise chunk
                yield from chunk
                if self._pinned:
                    torch.cuda.current_stream().synchronize()  # the buffers may be filled again
                free.release()
        finally:
            done.set()
            free.release()
            while worker.is_alive():  # it may wait for room in the queue
                while not ready.empty():
                    ready.get_nowait()
                worker.join(timeout=0.01)

    def _gathered(self, rows: Tensor) -> Step:
        inputs, targets = self.rows.take(rows)
        if self._pinned:
            inputs, targets = inputs.pin_memory(), targets.pin_memory()
        return _Gathered(rows, inputs, targets, self.device)
