# pyright: basic, reportMissingImports=false
# (torch is an extra: without it every name of it is unknown, which strict mode does not take)
"""What a network says of its own training."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

EPOCHS_WITHOUT_GAIN = 8
BATCH = 128

Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Of a network on a batch of inputs (n, window * k) and targets (n, m), in training or in evaluation mode: the mean
over the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network learns, where the settings (`models.learning`) leave it the choice.

    Attributes:
        name: told to `problem.progress`.
        loss: what falls.
        learning_rate: of AdamW at a batch of `batch` rows.
        batch: rows a step.
        penalty: weight decay, times the problem's `regularise`.
        average: share that the average of the weights keeps at each step; 0 = the weights themselves are taken.
        passes: of the validation part at each look; more where its loss is random.
        patience: epochs without gain on the validation part after which training ends.
    """

    name: str
    loss: Loss
    learning_rate: float = 2e-3
    batch: int = BATCH
    penalty: float = 0.1
    average: float = 0.0
    passes: int = 1
    patience: int = EPOCHS_WITHOUT_GAIN
