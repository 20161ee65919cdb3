# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Several processes that train one network together, as torchrun starts them: one a GPU, or several on a processor.

Theory of operation. Every process holds the whole network and the same data, draws the same order of rows, and works
through its own part of each step's rows. After the last piece the gradients meet in one sum over one flat buffer, with
three numbers behind them: the loss, whether anyone ran out of memory, and what the first process was asked to do. So
all take the same decision after the same step, and none is left waiting for one that has to repeat. That is why the
gradients are summed here and not by `DistributedDataParallel`, whose buckets go out while the backward pass still runs:
overlapping them gains little for networks of a few million weights, and a process that runs out of memory half-way
would leave the others waiting for the rest.
"""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn

from bus.errors import ModelError

_distributed: Any = torch.distributed
"""The same; its types leave out what it hands on."""

_PATIENCE = timedelta(hours=24)
"""A paused run must not fall apart. A process that dies is noticed at once, by its closed connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who we are among those that train together.

    Attributes:
        rank: 0 writes checkpoints, logs and artifacts; the others only compute.
        world: how many.
        local_rank: which of this machine's devices is ours.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """Our part of a step's rows."""
        return rows if self.world == 1 else rows.tensor_split(self.world)[self.rank]

    def agree(self, module: nn.Module) -> None:
        """Take the first process's weights."""
        if self.world > 1:
            for tensor in module.state_dict().values():
                self._together(torch.distributed.broadcast, tensor, src=0)

    def sum(self, *tensors: Tensor) -> None:
        """Sum each over all processes, in place, in one message. All of one type, all on one device."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._together(torch.distributed.all_reduce, flat)
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.reshape(tensor.shape))

    def told(self, word: int, device: torch.device) -> int:
        """A number that the first process says to all."""
        if self.world == 1:
            return word
        said = torch.tensor(word, device=device)
        self._together(torch.distributed.broadcast, said, src=0)
        return int(said)

    def gathered(self, tensor: Tensor) -> list[Tensor]:
        """Everybody's, by rank."""
        if self.world == 1:
            return [tensor]
        each = [torch.empty_like(tensor) for _ in range(self.world)]
        self._together(torch.distributed.all_gather, each, tensor)
        return each

    def _together(self, what, *arguments, **options) -> None:  # noqa: ANN001, ANN002, ANN003
        try:
            what(*arguments, **options)
        except RuntimeError as error:
            raise ModelError(
                f"process {self.rank} of {self.world} has lost the others ({str(error).splitlines()[0][:120]}); the "
                "same command goes on from the last checkpoint, with as many processes as there are then"
            ) from error


def expected() -> Workers:
    """What torchrun says of this process; alone where nothing does."""
    rank, world, local = (int(os.environ.get(name, default)) for name, default in
                          (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0")))  # fmt: skip
    return Workers(rank=rank, world=world, local_rank=local)


def join(device: torch.device) -> Workers:
    """Meet the others, once a process: NCCL where each has a GPU, gloo otherwise.

    Raises:
        ModelError: they cannot be met.
    """
    here = expected()
    if here.world > 1 and not torch.distributed.is_initialized():
        backend = "nccl" if device.type == "cuda" and torch.cuda.device_count() >= here.world else "gloo"
        try:
            store, rank, world = next(_distributed.rendezvous("env://", here.rank, here.world, timeout=_PATIENCE))
            # torchrun keeps one store for all attempts, and addresses of processes that are gone lie in it
            store = _distributed.PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
            torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the {here.world} processes cannot meet: {error}; start them with torchrun") from error
    return here


def leave() -> None:
    """Say good-bye, where there is somebody."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
