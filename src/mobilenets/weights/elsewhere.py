"""Files that hold a network in a form made for running it: named, with what to import instead."""

from __future__ import annotations

from pathlib import Path

_MADE_FOR = "a format for running a network; import the file it was converted from (.keras, .h5, .pth or a SavedModel)"
_BY_ENDING = {
    ".ort": "ONNX Runtime's own form; give the .onnx file that it was made from",
    ".mlmodel": f"Core ML, {_MADE_FOR}",
    ".mlpackage": f"Core ML, {_MADE_FOR}",
    ".mlmodelc": f"Core ML, {_MADE_FOR}",
    ".pte": f"ExecuTorch, {_MADE_FOR}",
    ".ptl": f"PyTorch Lite, {_MADE_FOR}",
    ".engine": f"TensorRT, {_MADE_FOR}",
    ".param": f"ncnn, {_MADE_FOR}",
    ".tflite": f"TensorFlow Lite, {_MADE_FOR}",
    ".caffemodel": "Caffe, which is not read; give weights from Keras, TensorFlow, MindSpore or PyTorch",
    ".meta": "the graph of a TensorFlow checkpoint; give the .index beside it",
    ".pbtxt": "a graph as text; save it in binary: tf.io.write_graph(graph, '.', 'model.pb', as_text=False)",
}


def explain(path: Path, head: bytes) -> str | None:
    """Say what a file or folder is that no reader takes, and what to do; None where it is not known.

    ``head``: its first bytes; none of a folder.
    """
    if head[4:8] == b"TFL3":
        return _BY_ENDING[".tflite"]
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; get the file with git lfs pull"
    if head.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
        return "a web page, not a file of weights; download the file itself"
    if b"<net" in head:
        return f"OpenVINO, {_MADE_FOR}"
    if head.lstrip()[:1] == b"{" and _is_tensorflow_js(path):
        return (
            "TensorFlow.js; convert it to a Keras file: pip install tensorflowjs, then tensorflowjs_converter "
            f"--input_format=tfjs_layers_model --output_format=keras {path.name} model.h5"
        )
    if path.name == "checkpoint" and head.startswith(b"model_checkpoint_path"):
        return "only a list of TensorFlow checkpoints; give one of the .index files beside it"
    if path.is_dir():
        return _BY_ENDING.get(path.suffix.lower()) or _inside(path)
    return _BY_ENDING.get(path.suffix.lower())


def _is_tensorflow_js(path: Path) -> bool:
    if path.suffix != ".json" or path.stat().st_size > 64 << 20:
        return False
    text = path.read_bytes()
    return b'"modelTopology"' in text or b'"weightsManifest"' in text


def _inside(folder: Path) -> str | None:
    """Name what a folder holds that can be given instead."""
    if next(folder.glob("*.index.json"), None) is not None:
        return (
            "its weights are split into several files; save them in one: model.save_pretrained(F, max_shard_size='9GB')"
        )
    endings = (".keras", ".h5", ".safetensors", ".pth", ".pt", ".index", ".pb", ".ckpt")
    found = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in endings and entry.is_file())
    return f"a folder; give a file in it: {', '.join(found[:3])}{', …' * (len(found) > 3)}" if found else None
