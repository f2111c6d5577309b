"""Text of others, such as names of files and classes, made fit for a line that people read."""

from __future__ import annotations

import re

# Blanks other than the usual one, and what joins letters of Persian or Hindi and the people of an emoji.
_SHOWN = "\u00a0\u2002\u2003\u2009\u202f\u3000\u200c\u200d"
# Of what JSON lets stand as it is: DEL, the C1 controls of terminals, line ends, and what turns the reading direction.
_UNSEEN = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Write what no terminal shows, or what would break or command it, as its escape: a name may hold any byte."""
    return "".join(c if c.isprintable() or c in _SHOWN else ascii(c)[1:-1] for c in text)


def printable_lines(text: str) -> str:
    """Do the same for text of several lines, which stay apart."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(text: str) -> str:
    """Write what commands a terminal as JSON's own escape: it means the same."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def percent(fraction: float, digits: int = 2) -> str:
    """Write a fraction as a percentage."""
    return f"{100 * fraction:.{digits}f} %"


def counted(number: int, noun: str) -> str:
    """Write how many there are of something: ``1 part``, ``2,000 parts``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def say_boxes(number: int) -> str:
    """Write a number of boxes: ``1 box``, ``2 boxes``."""
    return f"{number} box{'es' * (number != 1)}"
