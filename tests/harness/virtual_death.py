"""Letting the dead go: a suspended coroutine that is freed must not run its `finally` blocks.

The interpreter closes a suspended coroutine, or generator, when it is freed, which runs its `finally` blocks; a killed
process never does that (one of them might write to the journal of its successor). But it runs the finalizer of an
object only once, and notes that it has in the lowest bit of the word before the object. Setting that bit frees the
frame in silence. Where the interpreter is not one on which this is known to be so, the dead are kept for ever instead.
"""

import contextlib
import ctypes
import gc
import sys
import types
from collections import deque

_LONGEST_LIST = 1_000
_SUSPENDED = types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType
_CONTAINERS = tuple, list, deque, dict
_HOLDING = (types.MethodType, contextlib._GeneratorContextManagerBase, contextlib._BaseExitStack)
_BIT_IS_KNOWN = (
    sys.implementation.name == "cpython"
    and (3, 11) <= sys.version_info < (3, 14)
    and getattr(sys, "_is_gil_enabled", lambda: True)()
)
_kept = []


def silence(root):
    """Let a coroutine, and whatever is suspended in its frames, be freed without running any of it."""
    stack, seen = [root], set()
    while stack:
        each = stack.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, _SUSPENDED):
            _mark(each)
            stack += gc.get_referents(each)
        elif isinstance(each, _CONTAINERS):
            stack += gc.get_referents(each) if len(each) <= _LONGEST_LIST else ()
        elif isinstance(each, _HOLDING) or type(each).__name__.startswith("async_generator_"):
            stack += gc.get_referents(each)


def _mark(suspended):
    if _BIT_IS_KNOWN and gc.is_tracked(suspended):
        word = ctypes.c_size_t.from_address(id(suspended) - ctypes.sizeof(ctypes.c_size_t))
        word.value |= 1
    if not gc.is_finalized(suspended):
        _kept.append(suspended)
