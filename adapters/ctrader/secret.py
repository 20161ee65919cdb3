"""Text that is never shown: tokens, client secrets, authorisation codes."""

import hmac
from typing import Any, NoReturn, Self, final


@final
class Secret:
    """A text that shows itself only when asked to by name.

    ``repr``, ``str`` and formatting give ``***``, pickling and JSON refuse, so that it cannot slip into a log line, an
    exception, a journal or a message by accident. `reveal` is the only way to the text; call it where the text leaves
    for the broker or for the sealed store, and nowhere else.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is not pickled")
