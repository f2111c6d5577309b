"""The command line: one command is one function of ``mobilenets.verbs``."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mobilenets.cli.notes import show_notes
from mobilenets.cli.streams import OUTPUT, steady_streams
from mobilenets.cli.text import printable
from mobilenets.errors import InputError, MobilenetsError

INTERRUPTED = 130
_PATHS = ("data", "out", "model", "pictures", "models", "files")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 fault found, 2 unusable input, 130 interrupted."""
    try:
        with steady_streams():
            show_notes()
            status = _guarded(lambda: _run(sys.argv[1:] if arguments is None else arguments))
            if arguments is None:
                # The process ends: Python would first look through all that PyTorch and Matplotlib hold, for a second.
                gc.freeze()
            # Here, and not when Python ends, is where a reader that has gone is met.
            return _guarded(sys.stdout.flush) or status
    except KeyboardInterrupt:  # once more, while the first was being said
        return INTERRUPTED


def _guarded(step: Callable[[], int | None]) -> int:
    """Take a step; what goes wrong in it is said in one line and becomes the exit status."""
    try:
        return step() or 0
    except SystemExit as end:  # the help, or SIGTERM
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", INTERRUPTED)
    except Exception as error:
        return _explain(error)


def _run(arguments: Sequence[str]) -> int:
    from mobilenets.cli.parser import unknown_word
    from mobilenets.cli.verbs import build_parser

    try:
        Path.cwd()
    except FileNotFoundError:
        # PyTorch's libraries would end the process, with words that nobody understands.
        raise InputError("the current folder is no longer there: change to one that is (cd)") from None
    parser = build_parser(everything="--help-all" in arguments)
    options, unknown = parser.parse_known_args(_as_meant(arguments))
    if unknown:
        raise InputError(unknown_word(unknown[0], options.flags, options.verb, arguments, options.example))
    for name in _PATHS:
        value = getattr(options, name, None)
        if value == "" or (isinstance(value, list) and "" in value):
            raise InputError(f"{name} is empty: give a path (is a variable of the shell not set?)")
    return int(options.run(options))


def _as_meant(arguments: Sequence[str]) -> list[str]:
    """Understand ``help``, ``help VERB`` and ``version``, as other tools do; no words ask for help too."""
    first, *rest = arguments or ["--help"]
    if first in ("help", "-h", "--help", "--help-all"):
        return [*rest[:1], first if rest and first == "--help-all" else "--help"]
    return ["--version"] if first in ("version", "-V") and not rest else [first, *rest]


def _explain(error: Exception) -> int:
    """Say in one line what went wrong, where the user can mend it; a fault of the program is raised again."""
    from mobilenets.base.extras import EXTRAS, how_to_install
    from mobilenets.base.files import no_room

    if isinstance(error, MobilenetsError):
        return _fail(str(error), error.exit_status)
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or "").split(".")[0]
        if missing in EXTRAS:
            return _fail(f"{missing} is not installed: {how_to_install(EXTRAS[missing])}", 2)
    if isinstance(error, BrokenPipeError) and error.filename == OUTPUT:
        return 0  # whoever read our output has gone, as `| head` does; nothing is wrong
    if isinstance(error, OSError):
        named = isinstance(error.filename, (str, bytes, os.PathLike))
        where = f"{os.fsdecode(error.filename)}: " if named else ""
        return _fail(f"{where}{error.strerror or error}", 2)
    if _out_of_memory(error):
        return _fail("not enough memory: try a smaller --batch, --size or --width, or --device cpu", 2)
    reason = no_room(error)
    if reason is not None:
        return _fail(f"{reason}: free some space, then run the same command again", 2)
    raise error


def _fail(message: str, status: int) -> int:
    print(f"mobilenets: {printable(message)}", file=sys.stderr)
    return status


def _out_of_memory(error: Exception) -> bool:
    """Say whether memory ran out: Python's, or PyTorch's on a GPU or (a plain RuntimeError) on the CPU."""
    if isinstance(error, MemoryError):
        return True
    words = ("not enough memory", "can't allocate memory")
    named = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, RuntimeError) and (named or any(word in str(error) for word in words))
