"""A float graph in int8: several quantizers are tried on training pictures, and the one closest to float is taken.

On x86 processors without VNNI instructions ONNX Runtime adds products of int8 in 16 bits, which can overflow: what was
measured on a processor with them does not hold there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
import onnx

from mobilenets.base.progress import Progress, progress
from mobilenets.errors import InputError
from mobilenets.exports.graph.build import onnx_model
from mobilenets.exports.graph.session import open_session
from mobilenets.exports.int8.bias import corrected_biases
from mobilenets.exports.int8.observe import RANGE_RULES, observe
from mobilenets.exports.int8.qdq import Scheme, block_of, in_int8, weight_steps
from mobilenets.exports.int8.selection import ENOUGH, HELD_BACK
from mobilenets.exports.int8.trained import learned
from mobilenets.exports.job import OWN_GRAPH, Job
from mobilenets.models.detection.detector import Detector
from mobilenets.models.int8 import Rounding
from mobilenets.runtime.engines import Array, laid_out

# Pixels that the bias correction runs at once, which bounds its memory: 16 pictures at 224. More changed nothing.
CORRECTED_PIXELS = 16 * 224 * 224
# A block in float pays where it takes away this share of the divergence, and all that stay in float together hold no
# more than that share of the weights.
PAYS = 0.1
FLOAT_WEIGHTS = 0.05
# So many of the first blocks are tried in float, because all that follow carry on what is rounded there ...
FIRST_BLOCKS = 4
# ... and so many of the others, the most sensitive ones.
OTHER_BLOCKS = 2
RUN_BY_ONNX_RUNTIME = ("onnx", "web")
# Below this divergence, in nats, none is tried: it is rounding of all layers, and no one of them.
SMALL = 1e-3
# The block of a detector's heads, which stays in float: 8 bits do not hold a box's codes and a thousand logits at once.
HEADS = "heads"


@dataclass(frozen=True, eq=False)
class Candidate:
    """A quantizer with what it gave on the pictures held back.

    ``divergence`` and ``agreement`` are those of ``Task.divergence``.
    """

    activations: str
    weights: str
    scheme: Scheme
    divergence: float = np.inf
    agreement: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return what the report shows."""
        return {
            "activations": self.activations,
            "weights": self.weights,
            "bias_correction": bool(self.scheme.biases),
            "float_blocks": sorted(self.scheme.left),
            "divergence": float(f"{self.divergence:.4g}"),
            "agreement": round(self.agreement, 4),
        }


def quantize(model: onnx.ModelProto, job: Job) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Return a float graph in int8, and what was tried as JSON values; see ``search``."""
    scheme, tried = search(model, job)
    quantized = in_int8(model, scheme)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized, tried


def find_scheme(job: Job) -> tuple[Scheme, dict[str, Any]]:
    """Search for a network that another converter takes to int8; see ``search``."""
    trained = job.network.int8
    if trained is not None and trained.one and job.options.format not in OWN_GRAPH:
        raise InputError(
            f"{job.options.format}: the model was trained for int8 with one scale per weight tensor, and this format "
            "has one per channel; choose onnx, openvino or web"
        )
    options = replace(job.options, format="onnx", precision="float32", camera=False, batch=None)
    return search(onnx_model(job.network, job.preprocessing, options), job)


def search(model: onnx.ModelProto, job: Job) -> tuple[Scheme, dict[str, Any]]:
    """Choose how a float graph becomes int8; returns the scheme, and what was tried as JSON values.

    ``job.calibration`` has the pictures, uint8 N×S×S×3; nothing else is looked at. Ranges of the activations, steps of
    the weights, bias correction and blocks left in float are chosen one after the other, each where it brings the
    probabilities closer to those of float. The same pictures give the same scheme. Of a network that was trained for
    int8 it is what was learned, and nothing is chosen.
    """
    assert job.calibration is not None and len(job.calibration)
    images: Array = job.calibration
    if not job.options.pixels:
        images = laid_out(job.preprocessing.normalise(job.calibration), "NCHW")
    found = _Search(_of_any_batch(model), images, job)
    best = found.best() if job.network.int8 is None else found.learned(job.network.int8)
    return best.scheme, {
        "weights": f"int8, one scale per {'tensor' if best.scheme.one else 'output channel'}",
        "activations": "uint8, one scale per tensor",
        "pictures": len(images),
        "pictures_held_back": len(found.judged) if found.split else 0,
        "candidates": [one.to_json() for one in found.tried],
        "chosen": best.to_json(),
    }


class _Search:
    def __init__(self, model: onnx.ModelProto, images: Array, job: Job) -> None:
        self._model, self._images, self._job = model, images, job
        places = range(len(images))
        self.split = len(images) >= ENOUGH
        self.judged = [place for place in places if not self.split or place % HELD_BACK == 0]
        self._fitted = [place for place in places if not self.split or place % HELD_BACK]
        self._float = observe(model, images)
        self._wanted = self._float.outputs[self.judged]
        self._always = frozenset({HEADS}) if isinstance(job.network, Detector) else frozenset[str]()
        self.tried: list[Candidate] = []

    def learned(self, rounding: Rounding) -> Candidate:
        """Try what was learned, to say how far it is from float."""
        scheme = learned(self._model, rounding, self._job.options.format in RUN_BY_ONNX_RUNTIME)
        if self._job.options.per_tensor and not scheme.one:
            raise InputError("--per-tensor: the model was trained for int8 with one scale per channel; leave it out")
        with progress("int8: trying what was learned", None, "candidates") as shown:
            return self._try(Candidate("learned", "learned", scheme), shown)

    def best(self) -> Candidate:
        """Try step by step; a later candidate wins only by being better."""
        one = self._job.options.per_tensor
        with progress("int8: trying quantizers", None, "candidates") as shown:
            largest, least = (weight_steps(self._model, rule, one) for rule in ("largest", "least squares"))
            split = self._job.options.format in RUN_BY_ONNX_RUNTIME
            for rule in RANGE_RULES:
                ranges = self._float.ranges(rule, self._fitted)
                plain = Candidate(rule, "largest", Scheme(ranges, largest, left=self._always, split=split, one=one))
                self._try(plain, shown)
                self._try(self._corrected(plain), shown)
            best = min(self.tried, key=attrgetter("divergence"))
            finer = replace(best, weights="least squares", scheme=replace(best.scheme, steps=least))
            self._try(self._corrected(finer) if best.scheme.biases else finer, shown)
            best = min(self.tried, key=attrgetter("divergence"))
            # Chips that know one scale for a weight know nothing but integers.
            return best if one else self._partly_float(best, shown)

    def _partly_float(self, best: Candidate, shown: Progress) -> Candidate:
        """Leave the first blocks in float, then the most sensitive of the others, as far as it pays."""
        if best.divergence < SMALL:
            return best
        weights = _weights_of_blocks(self._model)
        for block in self._always:
            del weights[block]
        allowed = FLOAT_WEIGHTS * sum(weights.values())

        def small(blocks: Iterable[str]) -> bool:
            return sum(weights[block] for block in blocks if block not in self._always) <= allowed

        first = list(weights)[:FIRST_BLOCKS]
        leading = [first[: count + 1] for count in range(len(first)) if small(first[: count + 1])]
        best = min([best, *(self._try(self._left(best, blocks), shown) for blocks in leading)], key=_worth)
        others = [block for block in weights if block not in best.scheme.left and small({*best.scheme.left, block})]
        # Each with the biases as they are, which is quick; then the best with their own.
        alone = {block: self._try(_with_float(best, [block]), shown) for block in others}
        for block in sorted(alone, key=lambda one: alone[one].divergence)[:OTHER_BLOCKS]:
            if small({*best.scheme.left, block}):
                best = min(best, alone[block], self._try(self._left(best, [block]), shown), key=_worth)
        return best

    def _left(self, best: Candidate, blocks: Iterable[str]) -> Candidate:
        found = _with_float(best, blocks)
        return self._corrected(found) if best.scheme.biases else found

    def _corrected(self, candidate: Candidate) -> Candidate:
        scheme = replace(candidate.scheme, biases={})
        size = self._job.preprocessing.size
        count = min(len(self._fitted), max(1, CORRECTED_PIXELS // size**2))
        places = [self._fitted[int(place)] for place in np.linspace(0, len(self._fitted) - 1, count).round()]
        means = {name: rows[places].mean(axis=0, dtype=np.float64) for name, rows in self._float.means.items()}
        biases = corrected_biases(in_int8(self._model, scheme), self._images[places], means)
        return replace(candidate, scheme=replace(scheme, biases=biases))

    def _try(self, candidate: Candidate, shown: Progress) -> Candidate:
        session = open_session(in_int8(self._model, candidate.scheme))
        entry = session.get_inputs()[0].name
        answers = np.concatenate(
            [session.run(None, {entry: self._images[place : place + 1]})[0] for place in self.judged]
        )
        job = self._job
        divergence, agreement = job.task.divergence(self._wanted, answers, job.options.probabilities)
        self.tried.append(replace(candidate, divergence=divergence, agreement=agreement))
        shown.advance(1, divergence=f"{divergence:.2g}")
        return self.tried[-1]


def _worth(candidate: Candidate) -> float:
    """Weigh the divergence against the blocks in float, each of which costs time: the less, the better."""
    return candidate.divergence / (1 - PAYS) ** len(candidate.scheme.left)


def _with_float(candidate: Candidate, blocks: Iterable[str]) -> Candidate:
    return replace(candidate, scheme=replace(candidate.scheme, left=candidate.scheme.left.union(blocks)))


def _of_any_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    for value in (*copied.graph.input, *copied.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return copied


def _weights_of_blocks(model: onnx.ModelProto) -> Counter[str]:
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    found: Counter[str] = Counter()
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            found[block_of(node)] += sizes[node.input[1]]
    return found
