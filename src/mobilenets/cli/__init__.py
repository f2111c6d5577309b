"""The command line: one command is one function of ``mobilenets.verbs``."""

from __future__ import annotations

import argparse
import difflib
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mobilenets.base.shell import quote
from mobilenets.cli import colour
from mobilenets.cli.streams import OUTPUT, steady_streams
from mobilenets.errors import InputError, MobilenetsError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 fault found, 2 unusable input, 130 interrupted."""
    with steady_streams():
        _speak()
        status = _guarded(lambda: _run(sys.argv[1:] if arguments is None else arguments))
        # Here, and not when Python ends, is where a reader that has gone is met.
        return _guarded(sys.stdout.flush) or status


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
    from mobilenets.cli.parser import build_parser

    try:
        Path.cwd()
    except FileNotFoundError:
        # PyTorch's libraries would end the process, with words that nobody understands.
        raise InputError("the current folder is no longer there: change to one that is (cd)") from None
    parser = build_parser(everything="--help-all" in arguments)
    options, unknown = parser.parse_known_args(_as_meant(arguments))
    if unknown:
        raise InputError(unknown_word(unknown[0], options.flags, options.verb, arguments))
    for name, value in vars(options).items():
        if name in ("data", "out", "model", "pictures", "models", "files") and "" in (value, *_several(value)):
            raise InputError(f"{name} is empty: give a path (is a variable of the shell not set?)")
    return int(options.run(options))


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _as_meant(arguments: Sequence[str]) -> list[str]:
    """Understand ``help``, ``help VERB`` and ``version``, as other tools do; no words ask for help too."""
    first, *rest = arguments or ["--help"]
    if first in ("help", "-h", "--help"):
        return [*rest[:1], "--help"]
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
    from mobilenets.cli.show import printable

    print(f"mobilenets: {printable(message)}", file=sys.stderr)
    return status


def _out_of_memory(error: Exception) -> bool:
    """Say whether memory ran out: Python's, or PyTorch's on a GPU or (a plain RuntimeError) on the CPU."""
    if isinstance(error, MemoryError):
        return True
    words = ("not enough memory", "can't allocate memory")
    named = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, RuntimeError) and (named or any(word in str(error) for word in words))


class _Lines(logging.Handler):
    """Notes, one per line, on standard error, without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from mobilenets.cli.show import printable

        line = colour.paint(printable(self.format(record)), getattr(record, "style", record.levelname), sys.stderr)
        bars = sys.modules.get("tqdm")
        if bars is not None and sys.stderr.isatty():
            bars.tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


def _speak() -> None:
    log = logging.getLogger("mobilenets")
    if not any(isinstance(handler, _Lines) for handler in log.handlers):
        log.addHandler(_Lines())
    log.setLevel(logging.INFO)
    log.propagate = False


def unknown_word(word: str, flags: Sequence[str], verb: str, arguments: Sequence[str] = ()) -> str:
    """Say that nothing goes by that word, and which flag was perhaps meant."""
    name = word.partition("=")[0]
    close = difflib.get_close_matches(name, flags, n=1, cutoff=0.7) if name.startswith("-") else []
    hint = f": did you mean {close[0]}?" if close else ""
    if name in flags:
        hint = f": put it behind the verb, as in mobilenets {verb} … {word}"
    elif os.path.lexists(word) and word.startswith("-"):
        hint = f": give the file as {quote(f'.{os.sep}{word}')}"
    elif not word.startswith("-") and "--out" in flags and not any(one.startswith("--out") for one in arguments):
        hint = f": to write there, give --out {quote(word)}"
    return f"unknown argument {word!r}{hint} (see mobilenets {verb} --help)"


_KINDS = {"int": "a whole number", "float": "a number"}


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line that says what fits, or names the help."""

    def error(self, message: str) -> NoReturn:
        """Raise what ``main`` prints."""
        value = re.fullmatch(r"argument ([^:]*): invalid (\w+) value: (.*)", message, re.DOTALL)
        if value:
            raise InputError(f"{value[1]} {value[3]}: give {_KINDS.get(value[2], value[2])}")
        wrong = re.fullmatch(r"argument VERB: invalid choice: (.*) \(choose from (.*)\)", message)
        if wrong:
            verbs = re.findall(r"[\w-]+", wrong[2])
            close = difflib.get_close_matches(wrong[1].strip("'"), verbs, n=1, cutoff=0.65)
            hint = f"did you mean {close[0]}?" if close else f"choose {', '.join(verbs)}"
            if not close and Path(word := wrong[1].strip("'")).is_dir():
                hint = f"put a verb before it, as in mobilenets train {quote(word)}"
            raise InputError(f"unknown verb {wrong[1]}: {hint} (see {self.prog} --help)")
        missing = re.fullmatch(r"the following arguments are required: (.*)", message)
        if missing and self.epilog and "\n" not in self.epilog:
            example = self.epilog.removeprefix("example: ")
            raise InputError(f"give {missing[1]}, as in: {example} (see {self.prog} --help)")
        raise InputError(f"{message} (see {self.prog} --help)")
