"""Words of commands that are printed to be copied, as the shell of this system takes them."""

from __future__ import annotations

import os
import re
import shlex


def quote(word: str) -> str:
    """Quote a word where the shell would not take it as it is: in double quotes on Windows, which has no others."""
    word = re.sub(r"^([a-z][a-z0-9+]+):/(?=[^/])", r"\1://", word)  # an address that was a path
    if os.name != "nt":
        return shlex.quote(word)
    plain = re.fullmatch(r"[\w.:\\/=+@-]+", word)
    return word if plain else '"' + word.replace('"', r"\"") + '"'
