"""Classify pictures with an exported model, using NumPy, Pillow and the file's runtime, without the package mobilenets.

python predict.py photo.jpg ...
python predict.py --check               # a picture drawn here
python predict.py --test FOLDER         # the golden pictures named in model.json
"""

import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Array = np.ndarray[Any, Any]


def decode(path: Path) -> Image.Image:
    """Return a picture upright, in RGB, on white. Only the package converts colour profiles and 16-bit grey."""
    image = ImageOps.exif_transpose(Image.open(path))
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def fit(image: Image.Image, how: dict[str, Any]) -> Array:
    """Resize, and crop or pad, to shape (size, size, 3): uint8, or float32 where it is not rounded to levels."""
    size, sides = how["size"], image.size
    wanted, middle = (size, size), {"corner": 0.0, "linear": 0.5}.get(how["interpolation"])
    kind = Image.Resampling.NEAREST if middle is not None else Image.Resampling[how["interpolation"].upper()]
    starts, ends = (0.0, 0.0), (float(sides[0]), float(sides[1]))
    if how["resize"] == "pad":
        wanted = tuple(max(1, round(size * side / max(sides))) for side in sides)
    if how["resize"] == "crop":
        scaled = [round(size / how["crop_fraction"]) * side // min(sides) for side in sides]
        offsets = [round((side - size) / 2) for side in scaled]
        starts = tuple(side * at / whole for side, at, whole in zip(sides, offsets, scaled, strict=True))
        ends = tuple(side * (at + size) / whole for side, at, whole in zip(sides, offsets, scaled, strict=True))
    # Rows first, then columns: Pillow's own order depends on its version.
    if kind != Image.Resampling.NEAREST:
        image = image.resize((wanted[0], sides[1]), kind, box=(starts[0], 0, ends[0], sides[1]))
        starts, ends = (0.0, starts[1]), (float(wanted[0]), ends[1])
    box = (*starts, *ends)
    fitted = image.resize(wanted, kind, box=box) if middle is None else unfiltered(image, wanted, middle, box)
    canvas = np.empty((size, size, 3), np.uint8 if middle is None else np.float32)
    canvas[:] = how["fill"]
    left, upper = ((size - side) // 2 for side in wanted)
    canvas[upper : upper + wanted[1], left : left + wanted[0]] = fitted
    return canvas


def levels(pixels: Array) -> Array:
    """Round to whole levels, which have a hash on every machine."""
    return pixels if pixels.dtype == np.uint8 else np.floor(pixels + np.float32(0.5)).astype(np.uint8)


def unfiltered(image: Image.Image, size: tuple[int, int], middle: float, box: tuple[float, ...]) -> Array:
    """Resize by TensorFlow 1's (``middle`` 0) or PyTorch's (0.5) bilinear rule, without antialiasing."""
    pixels, spots = np.asarray(image), []
    for axis, side in ((1, image.height), (0, image.width)):
        begin, end = np.array([box[axis], box[axis + 2]], np.float32).tolist()
        at = (np.arange(size[axis], dtype=np.float32) + np.float32(middle)) * np.float32((end - begin) / size[axis])
        at = np.maximum(at + np.float32(begin - middle), np.float32(0))
        low = np.minimum(at.astype(int), side - 1)
        spots.append((low, np.minimum(low + 1, side - 1), at - low.astype(np.float32)))
    (*lines, down), (*columns, across) = spots
    rows = []
    for line in lines:
        here, beside = (pixels[line[:, None], column].astype(np.float32) for column in columns)
        rows.append(here + (beside - here) * across[:, None])
    return np.asarray(rows[0] + (rows[1] - rows[0]) * down[:, None, None])


def numbers(pixels: Array, how: dict[str, Any], export: dict[str, Any]) -> Array:
    """Return the file's input: pixels as they are, or normalised; the picture is repeated to fill a batch."""
    if export["input"] == "float32":
        pixels = pixels.astype(np.float32) * np.float32(how["scale"])
        pixels = (pixels - np.array(how["mean"], np.float32)) / np.array(how["std"], np.float32)
    batch = np.repeat(pixels[None], export["batch"] or 1, axis=0)
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if export["layout"] == "NCHW" else batch)


def open_file(path: Path, form: str) -> Callable[[Array], list[Array]]:
    """Open the file in its runtime; the result takes a batch and returns the scores, and the distances if any."""
    if form == "openvino":
        import openvino

        exact = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(path, "CPU", exact)
        return lambda batch: by_shape(compiled(batch).values())
    if form == "litert":
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_content=path.read_bytes(), num_threads=2)
        interpreter.allocate_tensors()
        entry, leaves = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()

        def run(batch: Array) -> list[Array]:
            interpreter.set_tensor(entry, batch)
            interpreter.invoke()
            return by_shape(interpreter.get_tensor(leave["index"]) for leave in leaves)

        return run
    if form == "executorch":
        import torch
        from executorch.runtime import Runtime

        method = Runtime.get().load_program(path).load_method("forward")
        return lambda batch: by_shape(one.numpy() for one in method.execute([torch.from_numpy(batch)]))
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it reports its use to its maker
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # not its warning of the input that asks where a class shows
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda batch: by_shape(session.run(None, {session.get_inputs()[0].name: batch}))


def by_shape(outputs: Iterable[Array]) -> list[Array]:
    """Return the scores, N x classes, and the distances, N, where the file gives them; of a detector the first."""
    arrays = [np.array(one) for one in outputs]
    return sorted((one for one in arrays if one.ndim < 3), key=lambda one: -one.ndim) or arrays[:1]


class Model:
    """An exported file with the model.json beside it."""

    def __init__(self, folder: Path) -> None:
        about = json.loads((folder / "model.json").read_text("utf-8"))
        self.about, self.classes = about, about["classes"]
        self.how, self.export = about["preprocessing"], about["export"]
        known = about.get("none_of_these")
        self.bar = known["bar"] if known and self.export["distance"] else None
        self._run = open_file(folder / self.export["file"], self.export["format"])

    def pixels(self, image: Image.Image) -> Array:
        """Return the pixels that the file is given of an upright RGB picture."""
        return np.asarray(image) if self.export["geometry"] == "inside" else fit(image, self.how)

    def outputs(self, pixels: Array) -> Array:
        """Run the file on one picture's pixels."""
        return np.array(self._run(numbers(pixels, self.how, self.export))[0][0], np.float32)

    def answer(self, image: Image.Image) -> tuple[Array, bool | None]:
        """Return the probability of each class; and False for none of these, or None where the file cannot tell."""
        given = self._run(numbers(self.pixels(image), self.how, self.export))
        known = None if self.bar is None else bool(given[1][0] <= self.bar)
        scores = given[0][0].astype(np.float32)
        if self.export["output"] == "probabilities":
            return scores, known
        powers = np.exp(scores - scores.max())
        return powers / powers.sum(), known

    def right(self, name: str, image: Image.Image, same: bool, expected: list[float]) -> bool:
        """Print and return whether pixels and outputs match those of the export."""
        off = float(np.abs(self.outputs(self.pixels(image)) - expected).max())
        # int8 rounds differently on other processors.
        good = same and off <= (0.1 if self.export["precision"] == "int8" else 0.01) * np.abs(expected).max()
        pixels_are = "same pixels" if same else "PIXELS DIFFER"
        print("OK    " if good else "FAILED", name, pixels_are, f"largest difference {off:.2g}")
        return good


def drawn(width: int, height: int) -> Image.Image:
    """Draw waves from wide to narrow."""
    y, x, channel = np.ogrid[:height, :width, :3]
    return Image.fromarray(((x * x * (channel + 1) + 3 * y * (x + 5 * channel)) >> 5 & 255).astype(np.uint8))


def check(model: Model) -> bool:
    """Check pixels and outputs of the drawn picture against the export's."""
    about = model.export["drawn"]
    image = drawn(about["width"], about["height"])
    same = zlib.crc32(levels(model.pixels(image)).tobytes()) == about["pixels_crc32"]
    return model.right("drawn", image, same, about["outputs"])


def test(model: Model, folder: Path) -> bool:
    """Check pixels and outputs of the golden pictures against the export's."""
    found = []
    for one in model.export["golden"]:
        image = decode(folder / one["picture"])
        same = hashlib.sha256(levels(model.pixels(image)).tobytes()).hexdigest() == one["pixels_sha256"]
        found.append(model.right(one["picture"], image, same, one["outputs"]))
    return all(found)


def main() -> int:
    """Run the command line."""
    if sys.argv[1:] in ([], ["--test"]):
        print("give pictures, --check, or --test FOLDER", file=sys.stderr)
        return 2
    here = Path(__file__).resolve().parent
    model = Model(here if (here / "model.json").is_file() else here.parent)
    if sys.argv[1:] == ["--check"]:
        return 0 if check(model) else 1
    if sys.argv[1:2] == ["--test"]:
        return 0 if test(model, Path(sys.argv[2])) else 1
    for path in sys.argv[1:]:
        found, known = model.answer(decode(Path(path)))
        best = np.argsort(-found, kind="stable")[:3]
        unknown = "none of these; nearest: " if known is False else ""
        print(path, unknown + ", ".join(f"{model.classes[place]} {found[place]:.1%}" for place in best))
    return 0


if __name__ == "__main__":
    sys.exit(main())
