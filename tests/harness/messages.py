"""Any message of the union, as hypothesis strategies made from the types themselves."""

import enum
import types
import typing

import msgspec
from hypothesis import strategies as st

from bus.messages import AnyMessage
from bus.values import Instrument, default_instrument

KINDS = typing.get_args(AnyMessage)
_INT64 = 2**63

_texts = st.text(st.characters(codec="utf-8"), max_size=12)
_numbers = st.integers(-_INT64, _INT64 - 1) | st.integers(-1_000, 1_000_000)
_floats = st.floats(allow_nan=False, width=64)


def value_of(annotation):
    """A strategy for one field's type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        return st.lists(value_of(arguments[0]), max_size=3).map(tuple)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([value_of(each) for each in arguments])
    simple = {int: _numbers, str: _texts, float: _floats, bool: st.booleans(), types.NoneType: st.none()}
    if annotation in simple:
        return simple[annotation]
    if issubclass(annotation, enum.Enum):
        return st.sampled_from(list(annotation))
    if annotation is Instrument:
        return st.sampled_from(["EURUSD", "USDJPY", "XAUUSD"]).map(default_instrument)
    return struct_of(annotation)


def struct_of(kind):
    """A strategy for one message type, or for a struct inside one; every field varies."""
    hints = typing.get_type_hints(kind)
    fields = {field.name: value_of(hints[field.name]) for field in msgspec.structs.fields(kind)}
    return st.builds(kind, **fields)


def any_message():
    """A strategy for every type of the union."""
    return st.one_of([struct_of(kind) for kind in KINDS])
