"""Measures exported models on any device that has Python, NumPy and a runtime: python FILE.py MODEL.onnx

Latency, throughput, peak memory, load time and file size of .onnx files (onnxruntime) and .tflite files
(ai_edge_litert or tflite_runtime), by threads and batch; prints JSON with the keys of `mobilenets benchmark --json`.
This one file is all that is needed; `mobilenets benchmark` itself measures by it.

Every model has, for each number of threads, a process of its own. The peak memory of a batch size is what the process
needed until the first such batch was done, smaller ones coming first; `load_ms` is what it took to import the runtime
and open the file. The processes then take turns, in an order drawn anew each round, so that whatever else the machine
does hits all alike. A turn begins with a run that is not counted. A latency is that of a whole batch, in milliseconds.
Files made by `mobilenets export --camera` take pictures of any size, and get 480 × 640.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

ROUNDS = 10
CAMERA = (480, 640, 3)
RUNS_FOR_P99 = 100  # from so many on there is one beyond the 99th percentile
PROFILED = 50

Run = Callable[[], object]
# Runs a batch of that many pictures again and again for this many seconds; gives the milliseconds of each run.
Burst = Callable[[int, float], "list[float]"]


class Unusable(Exception):
    """A model that cannot be measured; the message says why in one line."""


class Subject:
    """A model in a process of its own, which waits to be asked. ``about`` is what it said of itself when ready."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        # To a file: a pipe that nobody empties would stop the process once it is full.
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        ends: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._complaints}
        self._process = subprocess.Popen(list(command), encoding="utf-8", env=environment, **ends)
        try:
            self.about = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, batch: int, seconds: float) -> dict[str, Any]:
        """Let it run for so long; gives ``ms``, the latency of each run, and ``peak_rss_mb`` so far."""
        return self.told(json.dumps({"batch": batch, "seconds": seconds}))

    def told(self, line: str) -> dict[str, Any]:
        """Give what it answers to a line."""
        assert self._process.stdin is not None
        with suppress(OSError):  # it has ended, and why is found below
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._complaints.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            self._complaints.seek(0)
            last = self._complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            memory = " (out of memory?)" if status == -9 else ""
            raise Unusable(f"the measuring process ended with status {status}{memory}: {''.join(last)}")
        answer: dict[str, Any] = json.loads(line)
        if "unusable" in answer:
            raise Unusable(answer["unusable"])
        return answer


def answer_questions(load: Callable[[], tuple[dict[str, Any], Burst]]) -> None:
    """Be such a process: load, then answer on standard output until standard input ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)  # what a runtime prints is no answer
        start = time.perf_counter()
        try:
            about, burst = load()
        except Unusable as error:
            about, burst = {"unusable": str(error)}, lambda batch, seconds: []
        about["load_ms"] = 1e3 * (time.perf_counter() - start)
        print(json.dumps(about), file=out, flush=True)
        for line in sys.stdin:
            question = json.loads(line)
            ms = burst(question["batch"], question["seconds"])
            print(json.dumps({"ms": ms, "peak_rss_mb": peak_mb()}), file=out, flush=True)


def bursts(run: Run, seconds: float, clock: Callable[[], float] | None = None) -> list[float]:
    """Run once uncounted, then for this many seconds, at least once; gives milliseconds of each run by ``clock``."""
    clock = clock or time.perf_counter
    run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = clock()
        run()
        times.append(1e3 * (clock() - start))
    return times


def in_turns(subjects: Sequence[Callable[[float], list[float]]], seconds: float) -> list[list[float]]:
    """Give every subject its share of ``seconds`` in each of ``ROUNDS`` rounds; returns all latencies of each."""
    times: list[list[float]] = [[] for _ in subjects]
    for number in range(ROUNDS):
        for index in random.Random(number).sample(range(len(subjects)), len(subjects)):
            times[index] += subjects[index](seconds / ROUNDS)
    return times


def measure(
    subjects: Sequence[Subject], batches: Sequence[int], seconds: float, done: Callable[[int], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Measure every subject at every batch, ``seconds`` each; gives a row each, ``done`` hears of every turn taken."""
    pairs = [(subject, batch) for subject in subjects for batch in sorted(set(batches))]

    def ask(subject: Subject, batch: int, key: str, share: float) -> Any:
        found = subject.ask(batch, share)[key]
        done(1)
        return found

    peaks = [ask(*pair, "peak_rss_mb", 0.0) for pair in pairs]
    machine = describe_machine()
    times = in_turns([partial(ask, *pair, "ms") for pair in pairs], seconds)
    return [
        {**subject.about, "batch": batch, **figures(ms, batch), "peak_rss_mb": peak, "machine": machine}
        for (subject, batch), ms, peak in zip(pairs, times, peaks)  # noqa: B905
    ]


def figures(ms: Sequence[float], batch: int) -> dict[str, Any]:
    """Sum latencies up; ``p99_ms`` is None where there are fewer than 100."""
    p50, p95, p99 = (float(value) for value in np.percentile(ms, (50, 95, 99)))
    return {
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99 if len(ms) >= RUNS_FOR_P99 else None,
        "images_per_second": 1e3 * batch * len(ms) / sum(ms),
        "runs": len(ms),
    }


def peak_mb() -> float:
    """Tell how much memory this process has held at most, in MB of 10⁶ bytes, Python and libraries included."""
    with suppress(OSError):
        # Not ru_maxrss: Linux lets a process begin with the peak of the one that started it.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    if os.name != "nt":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return _windows_peak_mb()


def _windows_peak_mb() -> float:
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = [("size", ctypes.c_ulong), ("faults", ctypes.c_ulong), ("peak", ctypes.c_size_t)] + [
            (f"other{number}", ctypes.c_size_t) for number in range(7)
        ]

    counters, system = Counters(), ctypes.windll.kernel32  # type: ignore[attr-defined]
    counters.size = ctypes.sizeof(counters)
    system.GetCurrentProcess.restype = ctypes.c_void_p
    process = ctypes.c_void_p(system.GetCurrentProcess())
    system.K32GetProcessMemoryInfo(process, ctypes.byref(counters), counters.size)
    return float(counters.peak) / 1e6


def describe_machine() -> dict[str, Any]:
    """Name the processor, the cores that this process may use, the memory in GiB and the system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, Any] = {"processor": _processor(), "cores": cores, "system": platform.platform(terse=True)}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    return found


def _processor() -> str:
    known: dict[str, str] = {}
    with suppress(OSError):
        for line in reversed(Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()):
            known[line.partition(":")[0].strip()] = line.partition(":")[2].strip()
    # "Model" is what a Raspberry Pi says, "Hardware" what phones say.
    named = (known.get(key, "") for key in ("model name", "Model", "Hardware"))
    return next(filter(None, named), platform.processor() or platform.machine())


def session_of(path: Path, threads: int, **settings: Any) -> Any:
    """Open an ONNX file; ``settings`` are further ones of ONNX Runtime's session."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it reports its use to its maker
    import onnxruntime

    options = onnxruntime.SessionOptions()
    for name, value in {"intra_op_num_threads": threads, "log_severity_level": 3, **settings}.items():
        setattr(options, name, value)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def burst_of(session: Any, path: Path) -> Burst:
    """Give what runs a session on noise; raises ``Unusable`` for one that takes no pictures."""
    [source] = session.get_inputs()
    kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8}
    if source.type not in kinds:
        raise Unusable(f"{path}: takes {source.type}, not float32 or uint8 pictures")
    fixed = source.shape[0] if isinstance(source.shape[0], int) else None
    sides = [side if isinstance(side, int) else usual for side, usual in zip(source.shape[1:], CAMERA)]  # noqa: B905

    def burst(batch: int, seconds: float) -> list[float]:
        images = noise([fixed or batch, *sides], kinds[source.type])
        return bursts(repeated(lambda: session.run(None, {source.name: images}), batch, fixed), seconds)

    return burst


def _open_onnx(path: Path, threads: int) -> tuple[dict[str, Any], Burst]:
    burst = burst_of(session_of(path, threads), path)
    return {"runtime": "onnxruntime", "runtime_version": sys.modules["onnxruntime"].__version__}, burst


def layers(path: Path, threads: int, **settings: Any) -> dict[str, float]:
    """Give the milliseconds of each layer of an ONNX file for one picture, by its name, as ONNX Runtime times it.

    An activation that was joined to a layer is part of it. ``settings`` are further ones of the session. Raises
    ``OSError`` or ``ValueError`` where the runtime cannot write down what it timed.
    """
    with tempfile.TemporaryDirectory() as folder:
        profile = {"enable_profiling": True, "profile_file_prefix": str(Path(folder) / "profile")}
        session = session_of(path, threads, **profile, **settings)
        burst = burst_of(session, path)
        for _ in range(PROFILED):
            burst(1, 0.0)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    times: dict[str, list[int]] = {}
    for event in events:
        name, kernel, _ = event["name"].partition("_kernel_time")
        if event.get("cat") == "Node" and kernel:
            times.setdefault(name.partition("_nchwc")[0], []).append(event["dur"])
    # The mean of the middle half: of whole microseconds, of which small layers take few, the median would be one too.
    middle = {name: sorted(found)[len(found) // 4 : len(found) - len(found) // 4] for name, found in times.items()}
    return {name: float(np.mean(found)) / 1e3 for name, found in middle.items()}


def _open_tflite(path: Path, threads: int) -> tuple[dict[str, Any], Burst]:
    package = "ai_edge_litert" if importlib.util.find_spec("ai_edge_litert") else "tflite_runtime"
    interpreter = importlib.import_module(f"{package}.interpreter").Interpreter(str(path), num_threads=threads)
    [source], [result] = interpreter.get_input_details(), interpreter.get_output_details()
    fixed = int(source["shape"][0]) if source["shape_signature"][0] > 0 else None

    def run(images: Any) -> None:
        interpreter.set_tensor(source["index"], images)
        interpreter.invoke()
        interpreter.get_tensor(result["index"])

    def burst(batch: int, seconds: float) -> list[float]:
        shape = [fixed or batch, *map(int, source["shape"][1:])]
        interpreter.resize_tensor_input(source["index"], shape)
        interpreter.allocate_tensors()
        images = noise(shape, source["dtype"])
        return bursts(repeated(lambda: run(images), batch, fixed), seconds)

    return {"runtime": "litert", "runtime_version": importlib.metadata.version(package.replace("_", "-"))}, burst


def repeated(run: Run, batch: int, fixed: int | None) -> Run:
    """Do a batch by a file whose own batch is ``fixed``: in as many runs as it takes."""
    count = -(-batch // fixed) if fixed else 1
    return run if count == 1 else lambda: [run() for _ in range(count)]


def noise(shape: Sequence[int], kind: Any) -> Any:
    """Draw pictures of noise: whole numbers from 0 to 255, or of mean 0 and deviation 1."""
    rng = np.random.default_rng(0)
    if np.dtype(kind) == np.float32:
        return rng.standard_normal(tuple(shape), np.float32)
    return rng.integers(0, 256, tuple(shape)).astype(kind)


OPENERS = {".onnx": _open_onnx, ".tflite": _open_tflite}


def _load(path: Path, threads: int) -> tuple[dict[str, Any], Burst]:
    if not path.is_file():
        raise Unusable(f"{path}: there is no such file")
    if path.suffix not in OPENERS:
        raise Unusable(f"{path}: give a file that ends in {' or '.join(OPENERS)}")
    try:
        opened, burst = OPENERS[path.suffix](path, threads)
    except ImportError as error:
        raise Unusable(f"{path}: {error}: install onnxruntime, or ai-edge-litert for .tflite") from error
    except Unusable:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise Unusable(f"{path}: cannot be opened: {reason}") from error
    try:
        precision = json.loads(path.with_name("model.json").read_bytes())["export"]["precision"]
    except (OSError, ValueError, LookupError, TypeError):
        precision = None
    size = path.stat().st_size
    return {"model": str(path), **opened, "precision": precision, "threads": threads, "bytes": size}, burst


def _expanded(names: Sequence[str]) -> list[str]:
    """Replace patterns such as ``*.onnx``, which Windows leaves to the program, by the files."""
    found = ((name, [] if Path(name).exists() else Path(name).parent.glob(Path(name).name)) for name in names)
    return [path for name, files in found for path in (sorted(map(str, files)) or [name])]


def main() -> int:
    """Measure what the command line names and print it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", metavar="MODEL", nargs="+", help="files that end in .onnx or .tflite")
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1], metavar="N")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], metavar="N")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S", help="for each figure (default: 3)")
    parser.add_argument("--layers", action="store_true", help="of .onnx files also the milliseconds of each layer")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if min(*options.threads, *options.batch) < 1 or not options.seconds > 0:
        parser.error("threads and batch must be at least 1, and seconds above 0")
    if options.layers and 1 not in options.batch:
        parser.error("--layers times single pictures: give --batch 1 too")
    if options.child:
        answer_questions(lambda: _load(Path(options.models[0]), options.threads[0]))
        return 0
    subjects: list[Subject] = []
    try:
        for model in _expanded(options.models):
            for threads in options.threads:
                subjects.append(Subject([sys.executable, __file__, model, "--threads", str(threads), "--child"]))
        seconds = len(subjects) * len(set(options.batch)) * options.seconds
        count = f"{len(subjects)} model{'s' * (len(subjects) != 1)}"
        print(f"{count} to measure, at least {seconds:.0f} s", file=sys.stderr)
        rows, status = measure(subjects, options.batch, options.seconds), 0
        for row in rows:
            if options.layers and row["batch"] == 1 and row["runtime"] == "onnxruntime":
                try:
                    row["layers"] = layers(Path(row["model"]), row["threads"])
                except (OSError, ValueError) as error:  # what was measured before is kept
                    words = f"its layers cannot be timed: {error}; set TMPDIR to a folder with free space"
                    print(f"{row['model']}: {words}", file=sys.stderr)
                    status = 1
        print(json.dumps(rows, indent=1))
        return status
    except Unusable as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        for subject in subjects:
            subject.close()


if __name__ == "__main__":
    sys.exit(main())
