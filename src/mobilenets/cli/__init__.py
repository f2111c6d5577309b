"""The command line: one command is one function of ``mobilenets.api``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from mobilenets.errors import MobilenetsError

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 fault found, 2 unusable input, 130 interrupted."""
    from mobilenets.cli.parser import build_parser

    _speak()
    try:
        options = build_parser().parse_args(arguments)
        return int(options.run(options))
    except MobilenetsError as error:
        return _fail(str(error), error.exit_status)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", INTERRUPTED)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in (
            "torch",
            "safetensors",
            "matplotlib",
            "jinja2",
            "sklearn",
        ):
            raise
        return _fail(f"{error.name} is not installed: pip install 'mobilenets[train]'", 2)
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does; nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", 2)


def _fail(message: str, status: int) -> int:
    print(f"mobilenets: {' '.join(message.split())}", file=sys.stderr)
    return status


class _Lines(logging.Handler):
    """Notes, one a line, on standard error, without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if sys.stderr.isatty() and "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


def _speak() -> None:
    log = logging.getLogger("mobilenets")
    if not any(isinstance(handler, _Lines) for handler in log.handlers):
        log.addHandler(_Lines())
    log.setLevel(logging.INFO)
    log.propagate = False


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line that names the help."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise what ``main`` prints."""
        from mobilenets.errors import InputError

        raise InputError(f"{message} (see {self.prog} --help)")
