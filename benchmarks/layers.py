"""Pruning for another device: by the times of its layers, and by those here.

    python benchmarks/layers.py RUN DATA

The device is ONNX Runtime on this machine with another layout of the data (``ORT_ENABLE_EXTENDED``), in which depthwise
layers take several times as long. RUN is pruned to 70 and 50 % of its time both ways, and what comes out is timed on
both, in turns.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from report import arguments, heads, machine, row, versions

from mobilenets.bench.channels import milliseconds
from mobilenets.bench.latency import burst_of, in_turns, layers, session_of
from mobilenets.bench.networks import onnx_bytes
from mobilenets.models.network import Network
from mobilenets.models.prune import groups
from mobilenets.models.saved import load_classifier
from mobilenets.shrinking.device import Layers
from mobilenets.verbs.prune import narrowed, narrowed_there

LEVEL = {"graph_optimization_level": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED}
SECONDS = 3.0


def written(network: Network, folder: Path, name: str) -> Path:
    """Write a network as ONNX."""
    file = folder / f"{name}.onnx"
    file.write_bytes(onnx_bytes(network))
    return file


def there(files: list[Path]) -> list[float]:
    """Time files on the device, in turns."""
    runs = [burst_of(session_of(file, 1, **LEVEL), file) for file in files]
    return [float(np.median(times)) for times in in_turns([partial(run, 1) for run in runs], SECONDS)]


def main() -> None:
    """Read the command line, prune both ways, and print what each takes."""
    parser = arguments(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    saved = load_classifier(asked.run)
    network, found = saved.network, groups(saved.network.architecture, saved.network.plan)
    print(f"{machine()}; one thread; {versions('mobilenets', 'onnxruntime')}")
    print(heads("asked for", "pruned by", "expected", "there", "here", "MMACs"))
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        whole = written(network, folder, "whole")
        [ms], parts = there([whole]), layers(whole, 1, **LEVEL)
        known = Layers(ms, {name: own / sum(parts.values()) * ms for name, own in parts.items()})
        for to in (0.7, 0.5):
            ways = {
                "layers there": narrowed_there(saved, asked.run, asked.data, to, known).network,
                "times here": narrowed(saved, asked.run, saved, asked.data, to, 1).network,
            }
            taken = there([whole, *(written(one, folder, f"{name}{to}") for name, one in ways.items())])
            here = milliseconds([network, *ways.values()], 1, SECONDS)
            for place, (name, one) in enumerate(ways.items(), 1):
                left = {group.name: group.channels for group in groups(one.architecture, one.plan)}
                own = here[place] / here[0]
                expected = known.without(found, left) / ms if name == "layers there" else own
                shares = [f"{share:.0%}" for share in (expected, taken[place] / taken[0], own)]
                print(row(f"{to:.0%}", name, *shares, f"{one.plan.macs / 1e6:.1f}"))


if __name__ == "__main__":
    main()
