"""The commands of a page, as a reader would type them: the fenced blocks marked ``sh`` and ``python``, in order.

``python tests/docs/commands.py README.md`` prints them as one shell script, to be run on a bare machine.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each block that is to be run."""
    for language, text in _FENCE.findall(page.read_text("utf-8")):
        if language in ("sh", "python"):
            yield language, text


def commands(text: str) -> Iterator[str]:
    """Yield the commands of a block for the shell, without comments; a line that ends in a backslash goes on."""
    for line in text.replace("\\\n", " ").splitlines():
        command = re.sub(r"\s+#\s.*$", "", line).strip()
        if command and not command.startswith("#"):
            yield command


def script(page: Path) -> str:
    """Write everything as one script that stops at the first failure and says what it runs."""
    lines = ["set -e"]
    for language, text in blocks(page):
        if language == "python":
            lines += ["python - <<'END'", text.rstrip(), "END"]
            continue
        for command in commands(text):
            lines.append(f"printf '\\n$ %s\\n' {_quoted(command)}")
            if command.startswith("mobilenets serve"):
                # Until it answers; it would go on until Ctrl-C.
                lines.append(
                    f"{command} & for second in $(seq 60); do sleep 1; "
                    "python -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:8000/ready')\" 2>/dev/null "
                    "&& break; done; kill -INT $!; wait $! || true"
                )
            elif "--format web" in command:
                lines.append(f"if command -v npm >/dev/null; then {command}; else echo 'not run: no npm here'; fi")
            else:
                lines.append(command)
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


if __name__ == "__main__":
    print(script(Path(sys.argv[1])), end="")
