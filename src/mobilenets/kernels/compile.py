"""How our kernels are compiled, where the machine code is kept, and whether that works here."""

from __future__ import annotations

import functools
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from mobilenets.base.cache import cache_folder
from mobilenets.base.notes import log

SWITCH = "MOBILENETS_KERNELS"
SWITCHES = {"none": "off", "long runs": "auto", "all runs": "on"}
_taking: ContextVar[str] = ContextVar("mobilenets_kernels", default="")
# Sums may be taken in any order and products fused into them; what is not finite stays so, so that a loss that
# diverges is seen.
FASTMATH = frozenset({"contract", "reassoc", "nsz", "arcp"})
SECONDS = 30  # what a network's kernels take to compile on one core of a laptop

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

_ours: set[int] = set()
_functions: list[Any] = []  # compiled code lives as long as what made it


@functools.cache
def _importable() -> bool:
    try:
        import numba  # noqa: F401
    except Exception:  # also what Numba raises where NumPy is too new for it, or a library does not load
        return False
    return True


def available() -> bool:
    """Say whether kernels can be compiled here: Numba is there and ``MOBILENETS_KERNELS`` is not ``off``."""
    if _switch() in ("off", "0", "no"):
        return False
    return sys.modules.get("numba", _ours) is not None and _importable()


def wished() -> bool:
    """Say whether ``MOBILENETS_KERNELS`` is ``on``: for short runs too."""
    return _switch() in ("on", "1", "yes")


def taken_for() -> str:
    """Say for which runs kernels are taken here: a key of ``SWITCHES``."""
    return "none" if not available() else "all runs" if wished() else "long runs"


@contextmanager
def taking(runs: str | None) -> Iterator[None]:
    """Take kernels for the runs that ``taken_for`` named, as far as ``MOBILENETS_KERNELS`` does not say otherwise."""
    token = _taking.set(SWITCHES.get(runs or "", ""))
    try:
        yield
    finally:
        _taking.reset(token)


def _switch() -> str:
    return os.environ.get(SWITCH, "").strip().lower() or _taking.get()


def kernel(function: Kernel) -> Kernel:
    """Compile a function with Numba when it is first called, without the interpreter's lock while it runs.

    It takes arrays and numbers, and may read constants of the function around it, but call only kernels of a module:
    one of the function around it would be another in each process, and what calls it compiled anew. The machine code is
    kept on disk for this processor, and used again by later processes.
    """
    return _kernel(function)


def inlined(function: Kernel) -> Kernel:
    """Compile a function into every kernel that calls it, so that constants given to it are constants there."""
    return _kernel(function, forceinline=True)


def _kernel(function: Kernel, **more: bool) -> Kernel:
    import numba

    compiled: Any = numba.njit(**_options(), **more)(function)
    _keep(compiled)
    _listen()
    _ours.add(id(compiled))
    made: Kernel = compiled
    return made


def function_of(function: Callable[..., Any], signature: Any) -> int:
    """Compile a function for one signature of Numba's, and give the address at which other kernels call it."""
    from numba.core.ccallback import CFunc

    compiled: Any = CFunc(function, (signature.args, signature.return_type), {}, _options())
    _keep(compiled)
    compiled.compile()
    _functions.append(compiled)
    address: int = compiled.address
    return address


def _options() -> dict[str, Any]:
    return {"nogil": True, "fastmath": set(FASTMATH), "error_model": "numpy", "boundscheck": False}


class _Forgiving:
    """Numba's cache of a kernel, where what cannot be read or written costs only the time to compile."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target: Any) -> Any:
        """Give what is kept, or None; what a crash or a full disk cut short is dropped, to be made anew."""
        try:
            return self._cache.load_overload(signature, target)
        except Exception as error:  # unpickling cut bytes raises almost anything
            log.debug("a kept kernel cannot be read and is compiled again: %s", error)
            with suppress(OSError):
                self._cache.flush()
            return None

    def save_overload(self, signature: Any, made: Any) -> None:
        """Keep what was made where that is possible."""
        try:
            self._cache.save_overload(signature, made)
        except Exception as error:  # a full disk, a folder that was removed or made read-only meanwhile
            log.debug("a kernel is not kept: %s", error)


def _keep(compiled: Any) -> None:
    """Have the machine code kept in a folder of ours, unless the user chose one of Numba's own."""
    from numba.core import config as numbas

    config: Any = numbas
    chosen = config.CACHE_DIR
    folder = chosen or _folder()
    if not folder:
        return
    try:
        config.CACHE_DIR = folder
        compiled.enable_caching()
        compiled._cache = _Forgiving(compiled._cache)
    except (RuntimeError, OSError):  # nowhere to write: it is compiled in each process
        log.debug("kernels are not kept: %s cannot be written", folder)
    finally:
        config.CACHE_DIR = chosen


@functools.cache
def _folder() -> str | None:
    """Make the folder for these sources; None where it cannot be made or others may write there.

    What lies in it is run, so it has to be the user's own. Numba knows a change of one file only, and kernels are made
    of several, so that all of them name the folder. It writes whole files, and a lost one costs only time.
    """
    digest = hashlib.sha256(sys.version.encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    folder = cache_folder() / "kernels" / digest.hexdigest()[:16]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        log.warning("kernels are not kept: %s belongs to others; remove it", folder)
        return None
    return str(folder)


@functools.cache
def _listen() -> None:
    """Have it said when a kernel of ours is compiled for the first time."""
    from numba.core import event

    class Said(event.Listener):  # type: ignore[misc]
        said = False

        def on_start(self, what: Any) -> None:
            if not Said.said and id(what.data.get("dispatcher")) in _ours:
                Said.said = True
                log.info("preparing kernels for this processor, once: about %d s", SECONDS)

        def on_end(self, what: Any) -> None:
            """Nothing to say."""

    event.register("numba:compile", Said())
