"""TrueFX ticks: ``EUR/USD,20130101 22:00:00.295,bid,ask``, no header, UTC. The pair stands in every line."""

import re

import numpy as np

from adapters.history import names
from adapters.history.columns import Rows, ticks_piece
from adapters.history.contract import Head, Options, Piece, Source
from adapters.history.text import Block, numbers, table
from adapters.history.times import timestamps
from bus.series import Column

_LINE = re.compile(r"([A-Z]{3}/[A-Z]{3}),\d{8} \d\d:\d\d:\d\d(?:\.\d+)?,[^,]+,[^,]+")


class TrueFx:
    """Monthly tick files."""

    name = "TrueFX ticks"

    def recognise(self, head: Head) -> bool:
        """By its first line."""
        return bool(head.lines) and bool(_LINE.fullmatch(head.lines[0].strip()))

    def symbol(self, head: Head) -> str | None:
        """The pair in the first line."""
        found = _LINE.fullmatch(head.lines[0].strip()) if head.lines else None
        return found[1].replace("/", "") if found else names.symbol_of(head)

    def read(self, source: Source, options: Options) -> Piece:
        """Quotes of one pair; a file that mixes pairs is refused."""
        pair = np.frombuffer(source.head.lines[0].strip()[:7].encode("ascii"), np.uint8)

        def parse(block: Block) -> tuple[Column, ...]:
            start = block.start[:, 0]
            same = block.stop[:, 0] - start == len(pair)
            for place, letter in enumerate(pair):
                same &= block.bytes[start + place] == letter
            bad = np.flatnonzero(~same)
            if len(bad):
                raise block.error(int(bad[0]), f"pair {block.text(int(bad[0]), 0)!r} in a file of {options.symbol}")
            return timestamps(block, 1)[0], numbers(block, 2, "bid"), numbers(block, 3, "ask")

        line, time, bid, ask = table(source, ",", 4, parse)
        return ticks_piece(Rows(source=source, number=line, time_ns=time), options, "utc", bid, ask)
