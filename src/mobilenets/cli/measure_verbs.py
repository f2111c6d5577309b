"""The words of the verbs that measure: benchmark, compare and audit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, TypeAlias

from mobilenets.cli import commands
from mobilenets.models.catalog import NAMES

# The parent, name, function, help and example of a verb; gives its parser.
NewVerb: TypeAlias = Callable[[Any, str, Any, str, str], argparse.ArgumentParser]


def add(verbs: Any, new: NewVerb, model_help: str) -> None:
    """Add the verbs, each made by ``new``."""
    _benchmark(verbs, new, model_help)
    _compare(verbs, new)
    _audit(verbs, new)


def _benchmark(verbs: Any, new: NewVerb, model_help: str) -> None:
    verb = new(
        verbs,
        "benchmark",
        commands.benchmark,
        "measure latency, throughput and memory on this machine, by runtime, threads and batch size",
        "mobilenets benchmark run exported --threads 1 2 --out figures",
    )
    verb.add_argument("models", metavar="MODEL", nargs="*", help=model_help)
    verb.add_argument(
        "--runtime",
        dest="runtimes",
        action="extend",
        nargs="+",
        metavar="NAME",
        help="torch, onnxruntime, openvino, … (default: every installed one)",
    )
    several: Any = {"type": int, "action": "extend", "nargs": "+", "metavar": "N"}
    verb.add_argument("--threads", **several, help="threads (default: one per core)")
    verb.add_argument("--batch", dest="batches", **several, help="pictures per batch (default: 1 8 32)")
    verb.add_argument("--seconds", type=float, default=2.0, metavar="S", help="seconds per measurement (default: 2)")
    verb.add_argument("--out", metavar="DIR", help="also write benchmark.json and benchmark.png there")
    verb.add_argument(
        "--device-script",
        metavar="FILE.py",
        help="write a script that runs the same measurement on another device (needs Python, NumPy and a runtime)",
    )


def _compare(verbs: Any, new: NewVerb) -> None:
    verb = new(
        verbs,
        "compare",
        commands.compare,
        "compare networks: parameters, multiply-accumulates, size, latency on this machine, accuracy of runs",
        "mobilenets compare mobilenet_v1 mobilenet_v2 resnet18 --width 0.5 1 --out figures",
    )
    verb.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help=f"{NAMES}, resnet18, resnet50, plain (default: mobilenet_v1, mobilenet_v2 and the last three, or none if "
        "--runs is set)",
    )
    verb.add_argument("--size", type=int, default=224, metavar="S", help="input size in pixels per side (default: 224)")
    verb.add_argument(
        "--width",
        dest="widths",
        type=float,
        action="extend",
        nargs="+",
        metavar="W",
        help="width multipliers of the MobileNets (default: 1)",
    )
    verb.add_argument("--classes", type=int, default=1000, metavar="K", help="classes (default: 1000)")
    verb.add_argument(
        "--run",
        dest="runs",
        action="extend",
        nargs="+",
        default=[],
        metavar="RUN",
        help="run folders to add, with their accuracy",
    )
    verb.add_argument("--threads", type=int, metavar="N", help="threads (default: one per core)")
    verb.add_argument("--seconds", type=float, default=2.0, metavar="S", help="seconds per measurement (default: 2)")
    verb.add_argument("--out", metavar="DIR", help="also write compare.json, compare.png and blocks.png there")


def _audit(verbs: Any, new: NewVerb) -> None:
    verb = new(
        verbs,
        "audit",
        commands.audit,
        "find dead kernels and channels of a trained model, and the error that int8 adds in each layer",
        "mobilenets audit run --data photos --out figures",
    )
    verb.add_argument("model", metavar="MODEL", help="run folder")
    verb.add_argument(
        "--data",
        metavar="DATA",
        help="pictures, to find channels that never change and the error that int8 adds to the outputs",
    )
    verb.add_argument("--out", metavar="DIR", help="also write audit.json and audit.png there")
