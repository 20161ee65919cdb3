"""Sums of regression trees, in numpy: all trees and all rows move down one level at a time.

Theory of operation. At rest, nodes of all trees stand in flat arrays, each tree's together, its root first. An inner
node sends a row left where its feature is <= its threshold, and right otherwise; a leaf (feature -1) adds its value to
the output of its tree. Children come after their parent, so there is no way round in a circle.

In service the nodes are renumbered so that a right child follows its left one: a step down is then
`left + (x[feature] > threshold)`, with leaves that lead to themselves, and D steps bring every row of every tree to its
leaf, D being the depth of the deepest. The values are added up tree by tree in a fixed order, whatever the number of
rows.

What is at rest may have been altered, so `restore` lets in nothing but trees: every node but the roots is the child of
exactly one node before it in the same tree, features are inputs, numbers of nodes and levels are bounded. So no array
can make a step lead astray, or go on for ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bus.errors import ModelError
from models.forms import Floats, Settings, Tensor

MOST_LEVELS = 64
"""Deeper trees are refused: a step costs the same for every tree, so one deep tree would slow all."""

MOST_NODES = 4_000_000
_CELLS = 1 << 16
"""Rows times trees under way at a time: what fits a processor's cache."""

Indices = NDArray[np.intp]
_PARTS = ("feature", "threshold", "left", "right", "value", "offset", "output")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Walk:
    """The same trees as they are walked. Shapes (nodes,) and (trees,)."""

    feature: Indices
    threshold: Floats
    left: Indices
    value: Floats
    roots: Indices
    levels: int
    starts: Indices
    present: Indices


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Regression trees, each adding to one output. An output without trees is 0.

    Attributes:
        feature: shape (nodes,), the input that a node looks at; -1 = a leaf.
        threshold: shape (nodes,), `<=` goes left; 0 at leaves.
        left: shape (nodes,), position of the left child among all nodes; 0 at leaves.
        right: likewise.
        value: shape (nodes,), what a leaf adds; 0 at inner nodes.
        offset: shape (trees,), position of each root, ascending from 0.
        output: shape (trees,), which output a tree adds to.
        inputs: numbers in a row of inputs.
        outputs: numbers in a row of outputs.

    Raises:
        ModelError: these are no trees.
    """

    feature: Floats
    threshold: Floats
    left: Floats
    right: Floats
    value: Floats
    offset: Floats
    output: Floats
    inputs: int
    outputs: int
    _walk: _Walk = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check, and lay out for walking."""
        object.__setattr__(self, "_walk", _laid_out(self))

    @property
    def form(self) -> str:
        """This file's name."""
        return "trees"

    def __call__(self, inputs: Floats) -> Floats:
        """Outputs of shape (n, m) for inputs of shape (n, k)."""
        walk = self._walk
        out = np.zeros((len(inputs), self.outputs))
        rows = max(1, _CELLS // max(1, len(walk.roots)))
        for start in range(0, len(inputs) if len(walk.roots) else 0, rows):
            part = np.ascontiguousarray(inputs[start : start + rows])
            out[start : start + rows, walk.present] = np.add.reduceat(self._leaves(part), walk.starts, axis=1)
        out[np.isnan(inputs).any(axis=1)] = np.nan
        return out

    def _leaves(self, inputs: Floats) -> Floats:
        """What each tree says of each row, shape (n, trees), trees in the order of their outputs."""
        walk = self._walk
        if len(inputs) == 1:
            row, at = inputs[0], walk.roots
            for _ in range(walk.levels):
                at = walk.left.take(at) + (row.take(walk.feature.take(at)) > walk.threshold.take(at))
            return walk.value.take(at)[None, :]
        flat = inputs.reshape(-1)
        begins = np.arange(len(inputs), dtype=np.intp)[:, None] * self.inputs
        at = np.broadcast_to(walk.roots, (len(inputs), len(walk.roots)))
        for _ in range(walk.levels):
            seen = flat.take(begins + walk.feature.take(at))
            at = walk.left.take(at) + (seen > walk.threshold.take(at))
        return walk.value.take(at)

    def tensors(self) -> dict[str, Floats]:
        """The arrays by name, for an artifact."""
        return {name: getattr(self, name) for name in _PARTS}

    def settings(self) -> Settings:
        """Widths of a row."""
        return {"inputs": self.inputs, "outputs": self.outputs}

    def damped(self, factors: Floats) -> "Trees":
        """The same trees with each output multiplied by a factor, shape (m,)."""
        sizes = np.diff(np.append(self.offset, len(self.feature))).astype(np.intp)
        scale = np.repeat(factors[self.output.astype(np.intp)], sizes)
        return Trees(**{**self.tensors(), "value": self.value * scale}, inputs=self.inputs, outputs=self.outputs)


def restore(tensors: Mapping[str, Tensor], settings: Settings) -> Trees:
    """The trees that `Trees.tensors` and `Trees.settings` described.

    Raises:
        ModelError: an array is missing, or they are no trees.
    """
    missing = [name for name in _PARTS if name not in tensors]
    if missing:
        raise ModelError(f"no array {', '.join(missing)} among the trees; train the model again")
    inputs, outputs = settings.get("inputs"), settings.get("outputs")
    if not isinstance(inputs, int) or not isinstance(outputs, int):
        raise ModelError(f"trees of {inputs!r} inputs and {outputs!r} outputs; train the model again")
    return Trees(**{name: tensors[name] for name in _PARTS}, inputs=inputs, outputs=outputs)


FORM = restore


def _laid_out(trees: Trees) -> _Walk:
    """Check what is at rest and renumber it level by level.

    Raises:
        ModelError: see `Trees`.
    """
    nodes = len(trees.feature) if trees.feature.ndim == 1 else -1
    per_node = (trees.feature, trees.threshold, trees.left, trees.right, trees.value)
    if nodes < 0 or any(part.shape != (nodes,) for part in per_node) or nodes > MOST_NODES:
        raise ModelError(f"tree arrays of different lengths, or of more than {MOST_NODES} nodes; train again")
    if trees.offset.ndim != 1 or trees.output.shape != trees.offset.shape or trees.inputs < 1 or trees.outputs < 1:
        raise ModelError("every tree needs its place and its output; train the model again")
    if not all(np.isfinite(part).all() for part in (*per_node, trees.offset, trees.output)):
        raise ModelError("a tree holds a number that is not finite; train the model again")
    feature = _whole(trees.feature, -1, trees.inputs, "feature")
    output = _whole(trees.output, 0, trees.outputs, "output")
    roots = _whole(trees.offset, 0, nodes, "offset")
    inner = np.flatnonzero(feature >= 0)
    left, right = np.zeros(nodes, np.intp), np.zeros(nodes, np.intp)
    left[inner] = _whole(trees.left[inner], 0, nodes, "left child")
    right[inner] = _whole(trees.right[inner], 0, nodes, "right child")
    children = np.concatenate((left[inner], right[inner]))
    seen = np.bincount(np.concatenate((roots, children)), minlength=nodes)
    owner = np.cumsum(np.bincount(roots, minlength=nodes))
    if (
        (np.concatenate((inner, inner)) >= children).any()
        or (seen != 1).any()
        or (owner[children] != np.concatenate((owner[inner], owner[inner]))).any()
        or (np.diff(roots) <= 0).any()
    ):
        raise ModelError("nodes that are no trees: a node needs one parent, before it in its own tree; train again")
    return _renumbered(trees, feature, left, right, roots, output)


def _renumbered(
    trees: Trees, feature: Indices, left: Indices, right: Indices, roots: Indices, output: Indices
) -> _Walk:
    """Level by level, so that a right child follows its left one; trees in the order of their outputs."""
    order = np.argsort(output, kind="stable")
    level, levels = roots[order], [roots[order]]
    while True:
        inner = level[feature[level] >= 0]
        if not len(inner):
            break
        if len(levels) > MOST_LEVELS:
            raise ModelError(f"a tree of more than {MOST_LEVELS} levels; train the model again")
        level = np.stack((left[inner], right[inner]), axis=1).reshape(-1)
        levels.append(level)
    old = np.concatenate(levels)
    new = np.empty(len(old), np.intp)
    new[old] = np.arange(len(old))
    leaf = feature[old] < 0
    # a leaf leads to itself: nothing is greater than infinity
    present, starts = np.unique(output[order], return_index=True)
    return _Walk(
        feature=np.where(leaf, 0, feature[old]),
        threshold=np.where(leaf, np.inf, trees.threshold[old]),
        left=np.where(leaf, np.arange(len(old)), new[left[old]]),
        value=np.where(leaf, trees.value[old], 0.0),
        roots=new[roots[order]],
        levels=len(levels) - 1,
        starts=starts.astype(np.intp),
        present=present.astype(np.intp),
    )


def _whole(numbers: Floats, low: int, stop: int, what: str) -> Indices:
    """Whole numbers from low up to but without stop."""
    # compared as floats first: a cast of 1e300 means nothing
    if ((numbers < low) | (numbers >= stop) | (numbers != np.floor(numbers))).any():
        raise ModelError(f"a tree with a {what} that is not a whole number of {low} to {stop - 1}; train again")
    return numbers.astype(np.intp)
