# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""A whole step of the optimiser as one CUDA graph: gather, forward, backward, clip, update, launched at once.

Theory of operation. The first steps of a run are made as usual, on a stream of their own, so that every lazily made
thing is there; no step is made for warming up alone, so none has to be taken back. Then the same work is captured with
the row numbers in a buffer that stays where it is. A replay copies new row numbers there and launches. Shapes that
differ (the last batch of an epoch) are made as usual. The learning rate and the optimiser's counts are tensors on the
device, and torch's default generator is registered with every capture, so that dropout and noise go on as they would.
Out of memory while capturing halves the pieces like any other step, and the next step captures anew.
"""

import torch
from torch import Tensor

from models.train.engine.data import Rows, Step
from models.train.engine.step import Note, Stepper

WARM_STEPS = 3


class _Static:
    """A step whose row numbers stay in one place."""

    def __init__(self, rows: Tensor, source: Rows) -> None:
        self.rows, self._source = rows, source

    def take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return self._source.take(self.rows[start:stop])


class Captured:
    """A stepper whose steps of one shape are replayed.

    Args:
        stepper: makes steps; alone, not in fp16.
        source: the rows on the device.
        batch: rows of the steps that are captured.
        note: told one line where capturing fails; steps then go on one kernel at a time.
    """

    def __init__(self, stepper: Stepper, source: Rows, batch: int, note: Note) -> None:
        self._stepper, self._note = stepper, note
        self._static = _Static(torch.zeros(batch, dtype=torch.long, device=stepper.device), source)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss: Tensor | None = None
        self._pieces = stepper.pieces
        self._made, self._off = 0, False
        self._stream = torch.cuda.Stream(stepper.device)

    def step(self, batch: Step, word: int = 0) -> tuple[Tensor, int]:
        """As `Stepper.step`."""
        if self._off or len(batch.rows) != len(self._static.rows):
            return self._stepper.step(batch, word)
        if self._pieces != self._stepper.pieces:  # memory ran out since: other pieces, another graph
            self._graph, self._pieces, self._made = None, self._stepper.pieces, 0
        if self._made < WARM_STEPS:
            self._made += 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                made = self._stepper.step(batch, word)
            torch.cuda.current_stream().wait_stream(self._stream)
            return made
        self._static.rows.copy_(batch.rows)
        if self._graph is None and not self._capture():
            return self._stepper.step(batch, word)
        assert self._graph is not None
        assert self._loss is not None
        self._graph.replay()
        return self._loss.clone(), word

    def _capture(self) -> bool:
        """Record a step; capturing runs nothing, so nothing has been learnt when it fails."""
        graph = torch.cuda.CUDAGraph()
        failed = ""
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._loss = self._stepper.gradients(self._static)
                self._stepper.apply()
        except torch.OutOfMemoryError:
            failed = "memory"
        except RuntimeError as error:
            failed = str(error).splitlines()[0][:200]
        if not failed:
            self._graph = graph
            return True
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        if failed != "memory":
            self._off = True
            self._note(f"cuda graph: off (capturing failed: {failed})")
        return False
