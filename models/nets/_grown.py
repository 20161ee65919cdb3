"""Trees of learning libraries as `models.forms.trees`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.contract import Floats
from models.forms.trees import Trees

ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """One tree, its root first and each child after its parent. Shapes (nodes,); -1 in `feature` marks a leaf."""

    output: int
    feature: Floats
    threshold: Floats
    left: Floats
    right: Floats
    value: Floats


def planted(grown: Sequence[Grown], *, inputs: int, outputs: int) -> Trees:
    """The form of these trees together."""
    sizes = [len(tree.feature) for tree in grown]
    begins = np.concatenate(([0.0], np.cumsum(sizes, dtype=np.float64)))[: len(grown)]

    def joined(name: str) -> Floats:
        return np.concatenate([np.zeros(0), *(getattr(tree, name) for tree in grown)])

    shift = np.repeat(begins, sizes)
    inner = joined("feature") >= 0
    return Trees(
        feature=joined("feature"),
        threshold=np.where(inner, joined("threshold"), 0.0),
        left=np.where(inner, joined("left") + shift, 0.0),
        right=np.where(inner, joined("right") + shift, 0.0),
        value=np.where(inner, 0.0, joined("value")),
        offset=begins,
        output=np.array([tree.output for tree in grown], np.float64),
        inputs=inputs,
        outputs=outputs,
    )


def from_sklearn(tree: Any, *, output: int, value: Floats) -> Grown:
    """A fitted `sklearn.tree` estimator's tree (its `tree_`).

    scikit-learn compares inputs rounded to single precision; thresholds are moved so that the comparison comes out the
    same for the inputs themselves.

    Args:
        tree: not fitted on missing values.
        output: that it adds to.
        value: shape (nodes,), what each node adds where it is a leaf.
    """
    return Grown(
        output=output,
        feature=np.where(tree.children_left < 0, -1, tree.feature).astype(np.float64),
        threshold=as_double(np.array(tree.threshold, np.float64)),
        left=np.array(tree.children_left, np.float64),
        right=np.array(tree.children_right, np.float64),
        value=value,
    )


def as_double(threshold: Floats) -> Floats:
    """The largest x that rounds to a single-precision number <= threshold, so that x <= it says what float32(x) does.

    That is halfway to the next single-precision number, itself included where halves round down, to an even mantissa.
    """
    with np.errstate(over="ignore"):
        below = threshold.astype(np.float32)
    below = np.where(below.astype(np.float64) > threshold, np.nextafter(below, np.float32(-np.inf)), below)
    above = np.nextafter(below, np.float32(np.inf))
    halfway = (below.astype(np.float64) + above.astype(np.float64)) / 2.0
    even = (below.view(np.uint32) & 1) == 0
    return np.where(even, halfway, np.nextafter(halfway, -np.inf))


def from_lightgbm(tree: Mapping[str, Any], *, output: int) -> Grown:
    """One tree of `Booster.dump_model()`, trained without missing values, categories and linear leaves.

    LightGBM takes inputs within +-ZERO for 0; thresholds there are moved so that the comparison comes out the same for
    the inputs themselves.
    """
    rows: list[tuple[float, float, float, float, float]] = []
    waiting: list[tuple[Mapping[str, Any], int, int]] = [(tree, -1, 0)]
    lefts: dict[int, int] = {}
    rights: dict[int, int] = {}
    while waiting:
        node, parent, side = waiting.pop()
        position = len(rows)
        if parent >= 0:
            (rights if side else lefts)[parent] = position
        if "split_feature" in node:
            assert node["decision_type"] == "<="
            assert node["missing_type"] == "None"
            rows.append((float(node["split_feature"]), float(node["threshold"]), 0.0, 0.0, 0.0))
            waiting += [(node["right_child"], position, 1), (node["left_child"], position, 0)]
        else:
            rows.append((-1.0, 0.0, 0.0, 0.0, float(node["leaf_value"])))
    table = np.array(rows)
    for children, column in ((lefts, 2), (rights, 3)):
        table[list(children), column] = list(children.values())
    feature, threshold, left, right, value = (np.ascontiguousarray(column) for column in table.T)
    below = np.where((threshold >= -ZERO) & (threshold < 0.0), np.nextafter(-ZERO, -1.0), threshold)
    threshold = np.where((below >= 0.0) & (below < ZERO), ZERO, below)
    return Grown(output=output, feature=feature, threshold=threshold, left=left, right=right, value=value)
