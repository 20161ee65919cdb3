"""What a hostile peer may send, decided by a string of bytes: messages of any type, and bytes with accidents.

The same bytes make the same messages, so that hypothesis can shrink them, a coverage-guided fuzzer can mutate them, and
a failing case is one line in a test. Where the bytes end, every decision is the plain one.
"""

from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field

TODAY_MS = 1_750_000_000_000

_INTEGERS = {
    Field.TYPE_INT32: (-(2**31), 2**31 - 1),
    Field.TYPE_INT64: (-(2**63), 2**63 - 1),
    Field.TYPE_UINT32: (0, 2**32 - 1),
    Field.TYPE_UINT64: (0, 2**64 - 1),
}
_DOUBLES = (0.0, -0.0, 1e-320, 1e-9, -1.12569, 1e9, 1e15, 1e300, float("inf"), float("-inf"), float("nan"))
_TEXTS = ("", "x", "\x00", "é" * 40, "plimsoll/", "plimsoll/run-1", "A/B", "../../etc/passwd", "x" * 5_000)
_USUAL = frozenset(
    {
        "price", "executionPrice", "utcLastUpdateTimestamp", "positionId", "order", "low", "bid", "ask",
        "clientOrderId", "utcTimestampInMinutes", "lotSize", "minVolume", "stepVolume", "maxVolume", "baseAssetId",
        "quoteAssetId", "symbolName", "enabled", "balanceVersion",
    }
)  # fmt: skip
_RARE = frozenset({"depositWithdraw", "bonusDepositWithdraw", "isStopOut", "archivedSymbol"})
_PLAIN: dict[str, Any] = {
    "moneyDigits": (2, 2, 2, 8),
    "balanceVersion": (1, 2, 3, 4, 5),
    "balance": (1_000_000, 999_900, 1_000_129),
    "commission": (0, -25, -13),
    "swap": (0, -11),
    "digits": (5, 3, 2),
    "pipPosition": (4, 2, 0),
    "lotSize": (10_000_000, 10_000),
    "leverageInCents": (10_000,),
    "errorCode": ("INVALID_REQUEST", "NOT_ENOUGH_MONEY", "ACCOUNT_NOT_AUTHORIZED", "TIMEOUT_ERROR", "NEW_CODE"),
    "scheduleTimeZone": ("UTC", "Europe/Moscow", "America/New_York", "America", "Nowhere/Land"),
    "symbolName": ("EURUSD", "EUR/USD", "US100.cash", "GBPUSD"),
    "low": (112_500, 112_600),
    "utcTimestampInMinutes": (29_166_666, 29_166_667, 29_166_668),
    "tick": (112_569, 3, -2),
    "period": (1, 5, 9),
}


class Choices:
    """Decisions read off bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def spent(self) -> bool:
        """Whether nothing is left to decide by."""
        return self._at >= len(self._data)

    def below(self, bound: int) -> int:
        """0 to bound - 1."""
        value, size = 0, max(1, ((bound - 1).bit_length() + 7) // 8)
        for byte in self.raw(size):
            value = value << 8 | byte
        return value % bound

    def of(self, options: Any) -> Any:
        """One of several."""
        return options[self.below(len(options))]

    def raw(self, size: int) -> bytes:
        """So many bytes, fewer at the end."""
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece


def message_of(choices: Choices, kind: Any, known: dict[str, Any]) -> Any:
    """A message of a type, its fields as a server would send them, some missing, some out of this world.

    Three of four are drawn from three bytes, so that a few hundred bytes make a long conversation; the fourth is spelt
    out, so that a fuzzer can change one field of it.

    Args:
        choices: decide.
        kind: message class.
        known: plausible values by field name; ids from a few make messages speak of the same things.
    """
    if choices.below(4):
        choices = Choices(Random(choices.raw(3)).randbytes(4_000))
    return _made(choices, kind, known, 0, choices.of((0, 1, 2, 4, 8, 40)))


def _made(choices: Choices, kind: Any, known: dict[str, Any], depth: int, heat: int) -> Any:
    """So many fields of 256 (heat) are out of this world; what is rare on the wire is so here."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.name == "payloadType":
            continue
        dice = choices.below(256)
        rarely = heat // 8 if field.is_required or field.name in _USUAL else 230 if field.name in _RARE else 100
        wild, absent = dice >= 256 - heat, dice < rarely
        if absent or (depth > 4 and not field.is_required):
            continue
        times = 1
        if field.is_repeated:
            times = choices.of((0, 1, 1, 2, 2, 3, 3, 40)) if depth < 2 else choices.below(3)
        for _ in range(times):
            _set(choices, message, field, known, depth, heat, wild=wild)
    return message


def _set(
    choices: Choices, message: Any, field: Any, known: dict[str, Any], depth: int, heat: int, *, wild: bool
) -> None:
    if field.type == Field.TYPE_MESSAGE:
        made = _made(choices, field.message_type._concrete_class, known, depth + 1, heat)
        getattr(message, field.name).MergeFrom([made] if field.is_repeated else made)
    elif field.type == Field.TYPE_ENUM and wild:
        number = choices.of((0, 7, 63, 2**31 - 1))
        message.MergeFromString(_varint(field.number << 3) + _varint(number))
    else:
        value = _wild(choices, field) if wild else _plain(choices, field, known)
        if field.is_repeated:
            getattr(message, field.name).append(value)
        else:
            setattr(message, field.name, value)


def _plain(choices: Choices, field: Any, known: dict[str, Any]) -> Any:
    options = known.get(field.name) or _PLAIN.get(field.name)
    if field.type == Field.TYPE_ENUM:
        numbers = [each.number for each in field.enum_type.values]
        return choices.of([n for n in options if n in numbers] if options else numbers)
    if options:
        return choices.of(options)
    if field.type == Field.TYPE_STRING:
        return choices.of(_TEXTS)
    if field.type == Field.TYPE_BOOL:
        return choices.below(2) == 1
    if field.type == Field.TYPE_DOUBLE:
        return (112_000 + choices.below(1_000)) / 100_000
    if field.type == Field.TYPE_BYTES:
        return choices.raw(choices.below(20))
    if field.name.endswith("imestamp"):
        return TODAY_MS + choices.below(1_000)
    if "olume" in field.name:
        return 100_000 * (1 + choices.below(20))
    return choices.below(130_000)


def _wild(choices: Choices, field: Any) -> Any:
    if field.type == Field.TYPE_STRING:
        return choices.of(_TEXTS)
    if field.type == Field.TYPE_BOOL:
        return choices.below(2) == 1
    if field.type == Field.TYPE_DOUBLE:
        return choices.of(_DOUBLES)
    if field.type == Field.TYPE_BYTES:
        return choices.raw(choices.below(200))
    lowest, highest = _INTEGERS[field.type]
    edges = (0, 1, 2, 9, 18, 400, 10**9, 10**14, 10**18, highest, highest - 1, lowest, lowest + 1, -1, -100_000)
    return min(max(choices.of(edges), lowest), highest)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def with_accidents(choices: Choices, data: bytes) -> bytes:
    """Bytes in which a few are flipped, missing, added or doubled, or the rest is cut off."""
    mutant = bytearray(data)
    for _ in range(1 + choices.below(4)):
        at, how = choices.below(len(mutant) + 1), choices.below(6)
        if how == 0 and at < len(mutant):
            mutant[at] = choices.below(256)
        elif how == 1 and at < len(mutant):
            mutant[at] ^= 1 << choices.below(8)
        elif how == 2:
            del mutant[at : at + 1 + choices.below(5)]
        elif how == 3:
            mutant[at:at] = choices.raw(1 + choices.below(5))
        elif how == 4:
            mutant[at:at] = mutant[at : at + 1 + choices.below(40)]
        else:
            del mutant[at:]
    return bytes(mutant)
