# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
# ruff: noqa: SLF001 (torch's own optimisers stand on its _foreach functions, which have no other name)
"""The optimisers: torch's own with the kernels that were chosen, and LAMB over all weights at once."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.learning import Learning

_torch: Any = torch
"""The same; its types leave out what begins with an underscore, which its own optimisers stand on."""

MOMENTUM = 0.9
"""Of SGD."""


class Lamb(Optimizer):
    """LAMB: Adam whose step of each tensor is as long as a share of the tensor itself (You et al. 2020, algorithm 2).

    m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2, both divided by their bias corrections; r = m / (sqrt(v) + eps);
    u = r + decay w; w <- w - rate * phi(|w|) / |u| * u, with phi the identity and the ratio 1 where |w| or |u| is 0.
    Every temporary is made before anything is written, so that a step which runs out of memory has done nothing.

    Args:
        params: what learns.
        lr: the rate.
        betas: b1 and b2.
        eps: keeps r finite.
        weight_decay: decay.
        foreach: all tensors in a few calls, or one after another; the same numbers but for the order of sums.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        foreach: bool = True,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step along the gradients that are there."""
        assert closure is None
        for group in self.param_groups:
            weights = [each for each in group["params"] if each.grad is not None]
            for weight in weights:
                if not self.state[weight]:
                    self.state[weight] = {
                        # on the device: a captured graph must count by itself
                        "step": torch.zeros((), device=weight.device),
                        "exp_avg": torch.zeros_like(weight),
                        "exp_avg_sq": torch.zeros_like(weight),
                    }
            if not group["foreach"]:
                for weight in weights:
                    self._together([weight], group)
            elif weights:
                self._together(weights, group)

    def _together(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        gradients = [weight.grad for weight in weights]
        states = [self.state[weight] for weight in weights]
        first, second = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        counts = _torch._foreach_add([state["step"] for state in states], 1.0)
        new_first = _torch._foreach_lerp(first, gradients, 1.0 - beta1)
        new_second = _torch._foreach_mul(second, beta2)
        _torch._foreach_addcmul_(new_second, gradients, gradients, 1.0 - beta2)
        corrections = [(1.0 - beta1**count, 1.0 - beta2**count) for count in counts]
        below = _torch._foreach_sqrt(_torch._foreach_div(new_second, [each for _, each in corrections]))
        _torch._foreach_add_(below, group["eps"])
        updates = _torch._foreach_div(_torch._foreach_div(new_first, [each for each, _ in corrections]), below)
        if group["weight_decay"]:
            _torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
        lengths = _torch._foreach_norm(weights)
        strides = _torch._foreach_norm(updates)
        rates = [
            group["lr"] * torch.where((length > 0) & (stride > 0), length / stride, torch.ones_like(length))
            for length, stride in zip(lengths, strides, strict=True)
        ]
        _torch._foreach_mul_(updates, rates)
        _torch._foreach_copy_([state["step"] for state in states], counts)
        _torch._foreach_copy_(first, new_first)
        _torch._foreach_copy_(second, new_second)
        _torch._foreach_sub_(weights, updates)


def optimizer_of(
    learning: Learning, kernels: str, module: nn.Module, rate: float, penalty: float, *, captured: bool
) -> Optimizer:
    """The optimiser that was chosen.

    Args:
        learning: names it.
        kernels: fused, foreach or plain.
        module: what learns.
        rate: the highest learning rate.
        penalty: weight decay.
        captured: whether steps become part of a CUDA graph; the rate is then a tensor on the device.
    """
    weights = list(module.parameters())
    device = weights[0].device
    lr: Any = torch.tensor(rate, device=device) if captured else rate
    if learning.optimizer == "lamb":
        return Lamb(weights, lr=lr, weight_decay=penalty, foreach=kernels != "plain")
    how: dict[str, Any] = {"fused": kernels == "fused", "foreach": kernels == "foreach"}
    if learning.optimizer == "sgd":
        return torch.optim.SGD(weights, lr=lr, momentum=MOMENTUM, weight_decay=penalty, **how)
    kind = torch.optim.AdamW if learning.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, lr=lr, weight_decay=penalty, capturable=captured, **how)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Change the learning rate, in place where it is a tensor: a graph has captured where it lies."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def flattened(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimiser keeps, by weight and name; numbers as tensors of one element."""
    kept: dict[str, Tensor] = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if value is not None:  # SGD has nothing before its first step
                kept[f"{index}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return kept


def restore(optimizer: Optimizer, kept: dict[str, Tensor]) -> None:
    """Give back what `flattened` took."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in kept.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
