"""XML as elements that know their line, from files of strangers: nothing is expanded, fetched or nested without end."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from mobilenets.datasets.boxes.entries import Faulty

DEEPEST = 32
MOST = 200_000  # elements
LONGEST = 100_000  # letters in one element
_NAMED = re.compile(rb"""\s*<\?xml\s[^>]*?encoding\s*=\s*["']([\w.:-]+)""")
_OWN = ("utf-8", "utf-16")  # encodings that expat reads itself


@dataclass
class Node:
    """An element: its name, the line it begins in, its text without blanks around, and the elements in it."""

    name: str
    line: int
    text: str = ""
    inside: list[Node] = field(default_factory=list)

    def find(self, name: str) -> Node | None:
        """Give the first element of a name right in this one."""
        return next((one for one in self.inside if one.name == name), None)

    def all(self, name: str) -> list[Node]:
        """Give all elements of a name right in this one."""
        return [one for one in self.inside if one.name == name]


def parse(content: bytes) -> Node:
    """Parse a file's bytes to its outermost element.

    A document type, which is where entities are declared, is refused: annotations have none, and an entity can name a
    file of this machine or grow to gigabytes. Raises ``Faulty``, or expat's own error where it is not well-formed.
    """
    parser = expat.ParserCreate()
    named = _NAMED.match(content)
    if named and (encoding := named[1].decode("ascii", "replace").lower()) not in _OWN:
        content, parser = _in_utf8(content, encoding), expat.ParserCreate("utf-8")
    parser.buffer_text = True
    top = Node("", 0)
    open_: list[Node] = [top]
    count = 0

    def start(name: str, _: Any) -> None:
        nonlocal count
        count += 1
        if len(open_) > DEEPEST or count > MOST:
            raise Faulty("too many elements, or too deep in one another", parser.CurrentLineNumber)
        open_.append(Node(name, parser.CurrentLineNumber))
        open_[-2].inside.append(open_[-1])

    def end(_: str) -> None:
        node = open_.pop()
        node.text = node.text.strip()

    def text(data: str) -> None:
        open_[-1].text += data
        if len(open_[-1].text) > LONGEST:
            raise Faulty("an element with too much text", parser.CurrentLineNumber)

    def refuse(*_: Any) -> None:
        raise Faulty("it declares a document type or entities: not read; remove that line", parser.CurrentLineNumber)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    parser.Parse(content, True)
    return top.inside[0]


def _in_utf8(content: bytes, encoding: str) -> bytes:
    """Bring a file to UTF-8: of other encodings expat knows only those of one byte a letter."""
    try:
        # GB18030 holds all of the older two, which files name that are not quite in them.
        return content.decode("gb18030" if encoding in ("gb2312", "gbk") else encoding).encode()
    except (LookupError, ValueError) as error:
        raise Faulty(f"it is not in {encoding}, as its first line says: save it as UTF-8", 1) from error
