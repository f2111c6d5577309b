"""One picture through MobileNetV2 1.0 at 224, by every runtime that is installed, side by side in one process.

    KERAS_BACKEND=torch python benchmarks/runtimes.py --threads 2 --seconds 10
    python benchmarks/runtimes.py --detector   (SSDLite, 80 classes at 320: our `Predictor` is timed to the boxes)
    python benchmarks/runtimes.py --threads 1 --processor   (on a busy machine: processor time, not the clock's)

Weights are random but of ordinary size (BatchNorm is set by noise), and the same in all but Keras, which has its own
network of the same layers. Our `Predictor` gets the picture as `prepare` gave it, and is timed to the five best
classes: stacking, layout, run, softmax and ranking; the bare loops get the finished array and are timed for the run
alone. All take turns in rounds of an order drawn anew, every turn beginning with a run that is not counted. Prints the
machine, versions and a table in markdown.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from report import arguments, heads, load, machine, row, versions

SIZE, CLASSES, DETECTOR = 224, 1000, False  # with --detector 320, 80, True
PACKAGES = ("mobilenets", "numpy", "torch", "onnxruntime", "openvino", "keras", "ai-edge-litert")
BARE = "ONNX Runtime, bare loop"
OURS = "mobilenets Predictor (ONNX Runtime)"

Runs = dict[str, Callable[[], Any]]


def settled() -> Any:
    """Build the network, its BatchNorm set by noise, so that no number vanishes on its way."""
    import torch

    from mobilenets import create_model
    from mobilenets.models.detection.detector import create_detector

    torch.manual_seed(0)
    network = create_detector("mobilenet_v2", classes=CLASSES) if DETECTOR else create_model("mobilenet_v2", CLASSES)
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(8, 3, SIZE, SIZE))
        for head in network.heads if DETECTOR else ():
            # Some dozens of boxes come near being shown, as in a picture.
            head["scores"].predict.conv.bias[:: CLASSES + 1] += 6
    return network.eval()


def export(network: Any, folder: Path, form: str, nms: bool = False) -> bool:
    """Write the network as `export` does, its description beside it; False where the writer is not installed."""
    from mobilenets.errors import InputError
    from mobilenets.exports.catalog import find_format
    from mobilenets.exports.formats import write
    from mobilenets.exports.job import Job, Options
    from mobilenets.pictures.preprocess import Preprocessing
    from mobilenets.runtime.bundle import Bundle, write_bundle
    from mobilenets.tasks.registry import find_task

    try:
        find_format(form, "float32", nms=nms)
    except InputError as error:
        print(f"left out: {error}")
        return False
    folder.mkdir()
    names = tuple(f"class {number}" for number in range(CLASSES))
    how, about = Preprocessing(SIZE, "stretch" if DETECTOR else "crop"), network.architecture.to_json()
    task = "detection" if DETECTOR else "classification"
    exported = write(Job(network, how, Options(form, nms=nms), folder, task=find_task(task)))
    detection = network.detection if DETECTOR else None
    write_bundle(folder, Bundle(about, names, how, export=exported, task=task, detection=detection))
    return True


def predictors(network: Any, place: Path, threads: int) -> Runs:
    """Our `Predictor` in each runtime."""
    from mobilenets import Predictor
    from mobilenets.runtime.engines import present

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8))
    runs: Runs = {}
    for form in ("onnx", "litert"):
        if not export(network, place / form, form):
            continue
        for runtime in present(form):
            predictor = Predictor(place / form, runtime=runtime, threads=threads)
            name = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "litert": "LiteRT"}.get(runtime, runtime)
            runs[f"mobilenets Predictor ({name})"] = partial(predictor.batch, [predictor.prepare(image)], 5)
    if DETECTOR and export(network, place / "nms", "onnx", nms=True):
        for runtime, name in (("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO")):
            if runtime in present("onnx"):
                predictor = Predictor(place / "nms", runtime=runtime, threads=threads)
                run = partial(predictor.batch, [predictor.prepare(image)], 5)
                runs[f"mobilenets Predictor ({name}, suppression inside)"] = run
    return runs


def bare(place: Path, threads: int) -> Runs:
    """The runtimes' own loops, on the same files."""
    picture = np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE), np.float32)
    runs: Runs = {}
    if (place / "onnx").is_dir():
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(place / "onnx/model.onnx", options, providers=["CPUExecutionProvider"])
        runs[BARE] = partial(session.run, None, {session.get_inputs()[0].name: picture})
        if importlib.util.find_spec("openvino"):
            import openvino

            settings = {
                "INFERENCE_NUM_THREADS": threads,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "f32",
            }
            compiled = openvino.Core().compile_model(place / "onnx/model.onnx", "CPU", settings)
            request = compiled.create_infer_request()
            runs["OpenVINO, bare loop"] = partial(request.infer, [picture], share_inputs=True)
    files = list((place / "litert").glob("*.tflite"))
    if files:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(files[0]), num_threads=threads)
        [source] = interpreter.get_input_details()
        shape = [1, *map(int, source["shape"][1:])]
        interpreter.resize_tensor_input(source["index"], shape)
        interpreter.allocate_tensors()
        own = np.ascontiguousarray(picture.transpose(0, 2, 3, 1)) if shape[-1] == 3 else picture
        [result] = interpreter.get_output_details()

        def litert() -> Any:
            interpreter.set_tensor(source["index"], own)
            interpreter.invoke()
            return interpreter.get_tensor(result["index"])

        runs["LiteRT, bare loop"] = litert
    return runs


def frameworks(network: Any) -> Runs:
    """PyTorch as it is, and Keras."""
    import torch

    from mobilenets.pictures.preprocess import Preprocessing
    from mobilenets.runtime.detections import decode

    picture = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, SIZE, SIZE), np.float32))

    def eager(model: Any, x: Any) -> Any:
        with torch.inference_mode():
            return model(x).numpy()

    last = network.to(memory_format=torch.channels_last)
    runs: Runs = {
        "PyTorch eager, channels last": partial(eager, last, picture.to(memory_format=torch.channels_last)),
        "PyTorch eager": partial(eager, settled(), picture),
    }
    if DETECTOR:
        how, detection = Preprocessing(SIZE, "stretch"), network.detection

        def boxes(model: Any, x: Any) -> Any:
            return decode(eager(model, x)[0], detection, SIZE, SIZE, how)

        runs["PyTorch eager, channels last, and our boxes"] = partial(
            boxes, last, picture.to(memory_format=torch.channels_last)
        )
    elif importlib.util.find_spec("keras"):
        import keras

        model = keras.applications.MobileNetV2(weights=None, classes=CLASSES)
        # Keras' torch backend keeps its pictures channels last.
        image = np.ascontiguousarray(picture.numpy().transpose(0, 2, 3, 1))
        runs[f"Keras predict ({keras.backend.backend()})"] = partial(model.predict, image, verbose=0)
    return runs


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="for each runtime")
    parser.add_argument("--detector", action="store_true", help="SSDLite for 80 classes at 320")
    parser.add_argument("--processor", action="store_true", help="measure processor time, of all threads together")
    options = parser.parse_args()
    if options.detector:
        global SIZE, CLASSES, DETECTOR
        SIZE, CLASSES, DETECTOR = 320, 80, True
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import torch

    from mobilenets.bench.latency import bursts, in_turns

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        place, network = Path(folder), settled()
        runs = predictors(network, place, options.threads) | bare(place, options.threads) | frameworks(network)
        before = load()
        clock = time.process_time if options.processor else time.perf_counter
        times = in_turns([partial(bursts, run, clock=clock) for run in runs.values()], options.seconds)
    medians = {name: float(np.median(ms)) for name, ms in zip(runs, times, strict=True)}
    print(machine())
    print(f"load average when it began: {before:.1f}")
    print(versions(*PACKAGES))
    kind = "SSDLite on MobileNetV2" if DETECTOR else "MobileNetV2"
    print(f"\n{kind} 1.0, one picture at {SIZE}, threads: {options.threads}, float32\n")
    print("Processor time.\n" if options.processor else "Time by the clock.\n")
    head = ("", "median ms", "p95 ms", "runs", "beside the bare ONNX Runtime", "beside our Predictor")
    print(heads(*head, numbers=5))
    for (name, ms), all_of_it in sorted(zip(medians.items(), times, strict=True), key=lambda pair: pair[0][1]):
        p95 = float(np.percentile(all_of_it, 95))
        ratios = (f"{ms / medians[other]:.2f}" if other in medians else "–" for other in (BARE, OURS))
        print(row(name, f"{ms:.2f}", f"{p95:.2f}", len(all_of_it), *ratios))


if __name__ == "__main__":
    main()
