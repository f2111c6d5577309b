"""What a writer is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.exported import MAX_BATCH, PRECISIONS, Exported, file_hash
from mobilenets.tasks.base import Task
from mobilenets.tasks.classification.task import Classification

if TYPE_CHECKING:
    from mobilenets.models.distance import Space
    from mobilenets.models.network import Network

# Formats whose int8 is that of our own graph, and not a converter's.
OWN_GRAPH = ("onnx", "openvino", "web")


@dataclass(frozen=True)
class Options:
    """One export.

    ``pixels`` puts the numbers of the preprocessing into the graph: the file then takes uint8 N×S×S×3 as decoding,
    resizing and cropping give it. ``camera`` puts the geometry there too: the file takes one upright picture a run,
    uint8 1×H×W×3 for any H and W. ``probabilities`` ends it in a softmax, ``nms`` a detector's in finished boxes
    (``mobilenets.exports.graph.suppression``). ``batch`` fixes the number of pictures a run,
    None leaves it open. ``per_tensor`` gives each weight one scale in int8, and leaves no block in float.
    ``web_runtime`` is the folder of onnxruntime-web, for the format ``web``.
    """

    format: str
    precision: str = "float32"
    pixels: bool = False
    probabilities: bool = False
    batch: int | None = None
    web_runtime: Path | None = None
    camera: bool = False
    nms: bool = False
    per_tensor: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"precision {self.precision!r}: choose {', '.join(PRECISIONS)}")
        if self.batch is not None and not 1 <= self.batch <= MAX_BATCH:
            raise InputError(f"batch {self.batch}: give a number from 1 to {MAX_BATCH}")
        if self.per_tensor and self.format not in OWN_GRAPH:
            raise InputError(f"--per-tensor only works with --format {', '.join(OWN_GRAPH)}")
        if self.web_runtime is not None and self.format != "web":
            raise InputError("--web-runtime only works with --format web")
        if self.camera:
            if self.batch not in (None, 1):
                raise InputError(f"batch {self.batch}: a file exported with --camera takes one picture at a time")
            # What the quantizers see is the graph of ``pixels``, for any number of pictures.
            object.__setattr__(self, "pixels", True)
            object.__setattr__(self, "batch", None)


@dataclass(frozen=True, eq=False)
class Job:
    """Write ``network``, in evaluation mode on the CPU, into ``folder`` as ``options`` say.

    ``calibration`` holds training pictures, uint8 N×S×S×3 after the geometry of the preprocessing; only int8 has them.
    ``task`` is what the network was trained for. ``space`` has the arrays of its distance, if any.
    """

    network: Network
    preprocessing: Preprocessing
    options: Options
    folder: Path
    calibration: npt.NDArray[np.uint8] | None = None
    task: Task = field(default_factory=Classification)
    space: Space | None = None

    def describe(self, files: Sequence[str], layout: str, batch: int | None, about: dict[str, Any]) -> Exported:
        """Describe the finished export; of its ``files`` the first is the one to open."""
        options = self.options
        return Exported(
            files[0],
            options.format,
            options.precision,
            {name: file_hash(self.folder / name) for name in files},
            "uint8" if options.pixels else "float32",
            layout,
            "boxes" if options.nms else "probabilities" if options.probabilities else "logits",
            batch,
            about=about,
            geometry="inside" if options.camera else "outside",
        )

    def describe_onnx(self, files: Sequence[str], about: dict[str, Any]) -> Exported:
        """Describe an export whose input is that of our ONNX graph."""
        options = self.options
        layout, batch = "NHWC" if options.pixels else "NCHW", 1 if options.camera else options.batch
        return self.describe(files, layout, batch, about)
