# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""Measures what a row of a batch keeps in memory for the backward pass, and what a step takes."""

import copy
import time

import torch
from torch import Tensor, nn

from models.train.engine.recipe import Recipe

_FEW, _MORE = 4, 12


def row_bytes(module: nn.Module, recipe: Recipe, inputs: Tensor, targets: Tensor) -> int:
    """Bytes that the backward pass of one row keeps, in single precision: the slope between two small batches.

    Args:
        module: left as it was.
        recipe: has the loss.
        inputs: shape (n, window * k), at least one row.
        targets: shape (n, m).
    """
    kept = [_kept(module, recipe, _repeated(inputs, n), _repeated(targets, n)) for n in (_FEW, _MORE)]
    return max(1, (kept[1] - kept[0]) // (_MORE - _FEW))


def step_seconds(
    module: nn.Module, recipe: Recipe, inputs: Tensor, targets: Tensor, *, device: torch.device, times: int = 3
) -> float:
    """Seconds of a forward and backward pass of these rows on a device, the quickest of a few; on a copy."""
    copied = copy.deepcopy(module).to(device).train()
    taken: list[float] = []
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
        for _ in range(times + 1):
            begin = time.perf_counter()
            recipe.loss(copied, inputs, targets).backward()
            if inputs.device.type == "cuda":
                torch.cuda.synchronize(inputs.device)
            taken.append(time.perf_counter() - begin)
    return min(taken[1:])


def _repeated(tensor: Tensor, n: int) -> Tensor:
    return tensor[torch.arange(n, device=tensor.device) % len(tensor)]


def _kept(module: nn.Module, recipe: Recipe, inputs: Tensor, targets: Tensor) -> int:
    """Bytes of everything saved for the backward pass, memory that is shared counted once, weights not at all."""
    own = {each.untyped_storage().data_ptr() for each in module.state_dict().values()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    training = module.training
    with torch.random.fork_rng(devices=[inputs.device] if inputs.device.type == "cuda" else []):
        module.train()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = recipe.loss(module, inputs, targets)
        module.train(training)
    del loss
    return sum(seen.values())
