"""The command line: one command is one function of ``mobilenets.api``."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Sequence

from mobilenets.errors import InputError, MobilenetsError

INTERRUPTED = 130
# Packages that are not part of the bare install, and the extra that brings them.
EXTRA = (
    dict.fromkeys(("torch", "safetensors", "matplotlib", "jinja2", "sklearn", "h5py", "huggingface_hub"), "train")
    | dict.fromkeys(("fastapi", "starlette", "uvicorn", "h11", "python_multipart", "prometheus_client"), "serve")
    | {"onnx": "train", "openvino": "openvino"}
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 fault found, 2 unusable input, 130 interrupted."""
    _speak()
    try:
        try:
            return _run(arguments)
        finally:
            # Here, and not when Python ends, is where a reader that has gone is met.
            if sys.stdout is not None:
                sys.stdout.flush()
    except MobilenetsError as error:
        return _fail(str(error), error.exit_status)
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "interrupted", INTERRUPTED)
    except ModuleNotFoundError as error:
        extra = EXTRA.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        return _fail(f"{error.name} is not installed: pip install 'mobilenets[{extra}]'", 2)
    except BrokenPipeError:
        # Whoever read our output has gone, as `| head` does; nothing is wrong.
        _discard_output()
        return 0
    except OSError as error:
        if error.filename is None:
            _discard_output()
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
        return _fail(f"{where}{error.strerror or error}", 2)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        return _fail("not enough memory: try a smaller --batch, --size or --width, or --device cpu", 2)


def _run(arguments: Sequence[str] | None) -> int:
    from mobilenets.cli.parser import build_parser

    options, unknown = build_parser().parse_known_args(arguments)
    if unknown:
        raise InputError(f"unknown argument {unknown[0]!r} (see mobilenets {options.verb} --help)")
    return int(options.run(options))


def _fail(message: str, status: int) -> int:
    from mobilenets.cli.show import printable

    print(f"mobilenets: {printable(message)}", file=sys.stderr)
    return status


def _discard_output() -> None:
    """Let what is still to be written go nowhere, so that Python does not complain of it when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _out_of_memory(error: Exception) -> bool:
    """Say whether memory ran out: Python's, or PyTorch's on a GPU or (a plain RuntimeError) on the CPU."""
    words = ("not enough memory", "can't allocate memory")
    named = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or named or any(word in str(error) for word in words)


class _Lines(logging.Handler):
    """Notes, one a line, on standard error, without tearing a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from mobilenets.cli.show import printable

        line = printable(self.format(record))
        bars = sys.modules.get("tqdm")
        if bars is not None and sys.stderr.isatty():
            bars.tqdm.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


def _speak() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name may hold what the output's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    log = logging.getLogger("mobilenets")
    if not any(isinstance(handler, _Lines) for handler in log.handlers):
        log.addHandler(_Lines())
    log.setLevel(logging.INFO)
    log.propagate = False


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line that names the help."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise what ``main`` prints."""
        raise InputError(f"{message} (see {self.prog} --help)")
