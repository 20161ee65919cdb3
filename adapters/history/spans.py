"""Which stretches of time are known: half-open spans, and what is missing of a wish. Pure arithmetic on integers."""

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """From a moment (included) to another (excluded), UTC nanoseconds."""

    start_ns: int
    end_ns: int

    @property
    def length_ns(self) -> int:
        """How long it is; 0 or less = nothing is in it."""
        return self.end_ns - self.start_ns

    def within(self, other: "Span") -> "Span":
        """The part of it that lies in another; perhaps empty."""
        return Span(max(self.start_ns, other.start_ns), min(self.end_ns, other.end_ns))


def union(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The same moments as spans that neither touch nor overlap, oldest first; empty ones are left out."""
    found: list[Span] = []
    for span in sorted(each for each in spans if each.length_ns > 0):
        if found and span.start_ns <= found[-1].end_ns:
            found[-1] = Span(found[-1].start_ns, max(found[-1].end_ns, span.end_ns))
        else:
            found.append(span)
    return tuple(found)


def missing(wanted: Span, known: Iterable[Span]) -> tuple[Span, ...]:
    """What of a wish is not known yet, oldest first."""
    found: list[Span] = []
    start_ns = wanted.start_ns
    for span in union(each.within(wanted) for each in known):
        found.append(Span(start_ns, span.start_ns))
        start_ns = span.end_ns
    found.append(Span(start_ns, wanted.end_ns))
    return union(found)
