"""Every command, wrongly used, gives one line on standard error and exit status 2."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobilenets.runtime.bundle import classes_hash

DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda run: os.truncate(run / "model.safetensors", 5000),
    "short": lambda run: os.truncate(run / "model.safetensors", 5),
    "noise": lambda run: (run / "model.safetensors").write_bytes(bytes(range(256)) * 9),
    "weightless": lambda run: (run / "model.safetensors").unlink(),
    "garbage": lambda run: (run / "model.json").write_text("{nope"),
    "binary": lambda run: (run / "model.json").write_bytes(b"\xff\xfe\x00"),
    "deep": lambda run: (run / "model.json").write_text("[" * 100_000),
    "list": lambda run: (run / "model.json").write_text("[1]"),
    "undescribed": lambda run: (run / "model.json").unlink(),
    "newer": lambda run: edit(run, version=2),
    "renamed": lambda run: edit(run, classes=["dog", "cat", "owl"]),
    "shrunk": lambda run: edit(run, classes=["cat", "dog"], classes_sha256=classes_hash(("cat", "dog"))),
    "shapeless": lambda run: edit(run, architecture={}),
    "unprepared": lambda run: edit(run, preprocessing={"size": 32}),
    "unrecorded": lambda run: (run / "recipe.json").write_text("{"),
}
# A run answers by model.onnx and its description; these lack what else it holds.
ANSWERING = ("unrecorded", "weightless", "shapeless")
TABLES: dict[str, Any] = {"three": [[1, 2, 3]], "object": {}, "negative": [[1, -1, "a", None]], "number": 5, "none": []}


def edit(run: Path, **changes: Any) -> None:
    path = run / "model.json"
    value = json.loads(path.read_text()) | changes
    del value["contract_sha256"]  # as an earlier release wrote it: an edit of what decides is refused by that
    path.write_text(json.dumps(value))


@pytest.fixture(scope="module")
def place(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a good run, good pictures, and everything that can be wrong with either."""
    place = tmp_path_factory.mktemp("wrong")
    (place / "run").symlink_to(trained.run)
    (place / "data").symlink_to(trained.data)
    (place / "file").write_text("no model, no recipe, no archive")
    for folder in ("empty", "textual/cat", "textual/dog", "one/cat", "strangers/cat", "strangers/ox", "bad/cat"):
        (place / folder).mkdir(parents=True)
    (place / "textual/cat/notes.txt").write_text("no picture")
    for folder in ("one/cat", "strangers/cat", "strangers/ox"):
        shutil.copy(trained.data / "cat/000.png", place / folder)
    (place / "bad/cat/broken.jpg").write_text("no picture")
    for name, damage in DAMAGE.items():
        shutil.copytree(trained.run, place / name)
        damage(place / name)
    for name, table in TABLES.items():
        (place / f"{name}.json").write_text(json.dumps(table))
    return place


TRAIN = "train data --out new --weights none"
WRONG = {
    "paint": "unknown verb 'paint': choose train, predict, export",
    "trian": "unknown verb 'trian': did you mean train? (see mobilenets --help)",
    "exprot run": "did you mean export?",
    "--json": "give a VERB, as in: mobilenets train photos (see mobilenets --help)",
    "--json predict run data": "'--json': put it behind the verb, as in mobilenets predict … --json",
    "data": "unknown verb 'data': put a verb before it, as in mobilenets train data",
    "help paint": "unknown verb 'paint'",
    # train: the words
    "train": "give DATA, as in: mobilenets train photos",
    "train --out new": "DATA",
    f"{TRAIN} more": "unknown argument 'more' (see mobilenets train --help)",
    "train data new": "unknown argument 'new': to write there, give --out new (see mobilenets train --help)",
    "train data -new": "unknown argument '-new' (see mobilenets train --help)",
    "train ''": "data is empty: give a path",
    "train data --out ''": "out is empty: give a path",
    "predict '' data": "model is empty: give a path",
    "predict run data ''": "pictures is empty: give a path",
    "predict run": "give IMAGE|FOLDER|-, as in: mobilenets predict run photo.jpg",
    "predict data run": "the model comes first: mobilenets predict run data",
    "evaluate data run": "the model comes first: mobilenets evaluate run data",
    "prune data run": "the model comes first: mobilenets prune run data",
    "shrink data --data run": "the model comes first: mobilenets shrink run --data data",
    "quantize run --data data": "unknown argument '--data': data is given without a flag, as in: mobilenets quantize",
    "train --width 0.5 --teacher run data": "give DATA before --teacher, which takes all that stands behind it",
    "train run --weights none --out new": "run is a model: give the folder of labelled pictures in its place",
    "evaluate": "give MODEL, DATA, as in: mobilenets evaluate run photos",
    f"{TRAIN} --epoch 3": "unknown argument '--epoch': did you mean --epochs? (see mobilenets train --help)",
    f"{TRAIN} --learning-rate 3": "unknown argument '--learning-rate': did you mean --lr? (see mobilenets train",
    # what other tools call it
    "fit data": "unknown verb 'fit': did you mean train?",
    "val run data": "did you mean evaluate?",
    "train --data data": "'--data': data is given without a flag, as in: mobilenets train photos",
    "predict --model run --source data": "'--model': model is given without a flag, as in: mobilenets predict run",
    "train data data=data epochs=3": "'data=data': data is given without a flag",
    "train data epochs=3": "write --epochs 3 (",
    "train data --head_epochs 3": "write --head-epochs (",
    f"{TRAIN} --image-size 96": "did you mean --size?",
    f"{TRAIN} --class-weights x": "did you mean --balance sampling?",
    f"{TRAIN} --no-pretrained": "did you mean --weights none?",
    f"{TRAIN} --verbose": "progress and notes go to standard error",
    "train data -o new": "did you mean --out?",
    "predict run data --topk 3": "did you mean --top?",
    "predict run data --imgsz 3": "unknown argument '--imgsz' (see",
    "export run --quantize": "did you mean --int8?",
    "export run --out new --format tflite": "did you mean litert? choose onnx",
    f"{TRAIN} --batchsize=3": "unknown argument '--batchsize=3': did you mean --batch?",
    f"{TRAIN} --epochs": "--epochs: expected one argument",
    f"{TRAIN} --epochs x": "--epochs 'x': give a whole number",
    f"{TRAIN} --size 1.5": "--size '1.5': give a whole number",
    f"{TRAIN} --width wide": "--width 'wide': give a number",
    # train: the pictures
    "train nowhere --out new": "nowhere",
    "train file --out new": "file is a file",
    "train empty --out new": "no class folders",
    "train one --out new --weights none": "only one class, cat: at least two are needed",
    "train textual --out new --weights none": "no pictures",
    "train data/cat --out new": "pictures, but no class folders",
    # train: the settings
    f"{TRAIN} --model mobilenet_v9": "unknown model 'mobilenet_v9'",
    f"{TRAIN} --width 0": "width 0",
    f"{TRAIN} --width nan": "width nan",
    f"{TRAIN} --width inf": "width inf",
    f"{TRAIN} --width -1": "width -1",
    f"{TRAIN} --size 0": "size 0",
    f"{TRAIN} --size 99999": "size 99999",
    f"{TRAIN} --epochs -3": "epochs -3",
    f"{TRAIN} --epochs 0": "epochs 0",
    f"{TRAIN} --batch 0": "batch 0",
    f"{TRAIN} --seed -1": "seed -1",
    f"{TRAIN} --lr nan": "lr nan",
    f"{TRAIN} --dropout 1": "dropout 1",
    f"{TRAIN} --validation-share 1": "validation",
    f"{TRAIN} --threads 0": "threads 0",
    f"{TRAIN} --optimizer lion": "optimizer 'lion': choose sgd",
    f"{TRAIN} --precision int4": "precision 'int4'",
    f"{TRAIN} --precision int8": "use mobilenets quantize RUN DATA",
    f"{TRAIN} --augment rain": "unknown augmentation 'rain'; choose",
    f"{TRAIN} --recipe soup": "unknown recipe 'soup': choose photos",
    f"{TRAIN} --recipe file": "file: not JSON",
    f"{TRAIN} --recipe data": "unknown recipe 'data'",
    f"{TRAIN} --nesterov": "nesterov",
    f"{TRAIN} --freeze -1": "freeze '-1'",
    f"{TRAIN} --freeze much --weights run": "freeze 'much'",
    f"{TRAIN} --freeze 99 --weights run": "freeze 99: this network has",
    f"{TRAIN} --device toaster": "device 'toaster'",
    f"{TRAIN} --device ''": "device ''",
    f"{TRAIN} --weights nowhere": "weights nowhere: no such file; use auto, none, imagenet",
    f"{TRAIN} --weights imagenet --width 0.6": "no ImageNet weights are published for mobilenet_v2 at width 0.6",
    f"{TRAIN} --weights imagenet --model mobilenet_v1_cifar": "no ImageNet weights are published",
    f"{TRAIN} --weights cut": "cut/model.safetensors: is damaged",
    f"{TRAIN} --weights run --width 0.5": "do not fit",
    f"{TRAIN} --table nowhere": "nowhere: cannot be read: No such file",
    f"{TRAIN} --table file": "file: not JSON",
    f"{TRAIN} --table three.json": "row 1 is [1, 2, 3]",
    f"{TRAIN} --table object.json": "body must be a list",
    # train: the place
    "train data --out run": "run is not empty",
    "train data --out file": "file",
    "train data --out file/new --weights none": "file/new",
    "train data --out unrecorded --resume": "unrecorded/recipe.json: damaged",
    "train data --out run --resume --epochs 9": "leave --epochs out",
    "train nowhere --out run --resume": "nowhere",
    # evaluate
    "evaluate run": "DATA",
    "evaluate nowhere data": "nowhere: no such model",
    "evaluate file data": "file: no model.json there",
    "evaluate data data": "data: no model.json there",
    "evaluate run/curves.png data": "no file of a model; give the folder run",
    "evaluate run nowhere": "nowhere",
    "evaluate run file": "file is a file",
    "evaluate run empty": "no class folders",
    "evaluate run textual": "no pictures",
    "evaluate run strangers": "the model does not know: ox",
    "evaluate run data --device toaster": "device 'toaster'",
    "evaluate run data --out file": "file: no folder can be written there (File exists); use another --out",
    "evaluate run data --out file/x": "file/x: no folder can be written there",
    "evaluate run data --top 3": "unknown argument '--top' (see mobilenets evaluate --help)",
    # predict
    "predict": "MODEL, IMAGE",
    "predict nowhere data": "nowhere: no such model",
    "predict run empty": "empty has no pictures",
    "predict run textual": "textual has no pictures",
    "predict run data --top 0": "top 0: give a number of at least 1",
    "predict run data --top x": "--top 'x': give a whole number",
    "predict run data --format xml": "invalid choice: 'xml'",
    "predict run data --device toaster": "device 'toaster'",
    "predict run data --runtime litert": "runtime 'litert' does not run onnx: choose onnxruntime",
    "predict run data --threads 0": "threads 0",
    # export
    "export run --out new --format caffe": "choose onnx",
    "export run --out new --int8": "add --data DATA",
    "export run --out new --data nowhere": "nowhere",
    "export run --out data": "use another --out",
    "export run --out new --tolerance -1": "give points of top-1",
    "export run --out new --batch 0": "give a number",
    "export nowhere --out new": "nowhere: no such model",
    "predict garbage data --format csv": "garbage/model.json: damaged",
    "predict garbage data --json": "garbage/model.json: damaged",
    # summary
    "summary": "NAME",
    "summary mobilenet_v9": "unknown model 'mobilenet_v9'",
    "summary mobilenet_v2 --width 0": "width 0",
    "summary mobilenet_v2 --width nan": "width nan",
    "summary mobilenet_v2 --width x": "--width 'x': give a number",
    "summary mobilenet_v2 --size 0": "size 0",
    "summary mobilenet_v2 --size 5000": "size 5000",
    "summary mobilenet_v2 --classes -1": "classes -1",
    "summary mobilenet_v2 --classes 99999999999": "classes 99999999999",
    "summary mobilenet_v2 --diagram v2.bmp": "v2.bmp: give a file that ends in .png or .svg",
    "summary mobilenet_v2 --diagram v2": "ends in .png or .svg",
    "summary mobilenet_v2 --diagram file/v2.png": "file",
    "summary mobilenet_v2 --table nowhere": "nowhere: cannot be read",
    "summary mobilenet_v2 --table file": "file: not JSON",
    **{f"summary mobilenet_v2 --table {name}.json": "table: " for name in TABLES},
    # fetch
    "fetch": "NAME, DIR",
    "fetch digits": "DIR",
    "fetch mnist64 new": "unknown data set 'mnist64'; known are cifar10",
    "fetch digits data": "not empty",
    "fetch digits file": "not empty",
    "fetch digits new --size 0": "size 0",
    "fetch digits new --size x": "--size 'x': give a whole number",
    "fetch digits new --archive file": "leave --archive out",
    "fetch cifar10 new --archive nowhere": "nowhere: no such file",
    "fetch cifar10 new --archive file": "not a .tar.gz archive",
    "fetch fashion_mnist new --archive empty": "has no train-images",
    # demo
    "demo new": "unknown argument 'new'",
    "demo --fast": "unknown argument '--fast' (see mobilenets demo --help)",
    "demo --resum": "did you mean --resume?",
    "demo --out": "--out: expected one argument",
    "demo --out data": "data is not empty: continue it with --resume",
    "demo --out file": "file is a file",
    "demo --out file --resume": "file is a file",
    # benchmark
    "benchmark": "no model to measure: give a run folder",
    "benchmark nowhere": "nowhere: no such model",
    "benchmark file": "file: no model.json there",
    "benchmark run --threads 0": "threads 0",
    "benchmark run --threads x": "--threads 'x': give a whole number",
    "benchmark run --batch 0": "batch 0",
    "benchmark run --batch 5000": "batch 5000: give a number from 1 to 4096",
    "benchmark run --seconds 0": "seconds 0",
    "benchmark run --seconds nan": "seconds nan",
    "benchmark run --runtime abacus": "runtime 'abacus': choose executorch",
    "benchmark run --runtime openvino": "runs in torch, not in openvino",
    "benchmark run --out file": "file: no folder can be written there (File exists); use another --out",
    "benchmark cut": "cut/model.safetensors: is damaged",
    "benchmark --device-script bench.sh": "bench.sh: give a file that ends in .py",
    "benchmark --device-script data": "data: give a file that ends in .py",
    # compare
    "compare vgg16": "unknown network 'vgg16': choose mobilenet_v1",
    "compare plain --size 0": "size 0",
    "compare resnet18 --size 5000": "size 5000",
    "compare resnet18 --classes 0": "classes 0",
    "compare mobilenet_v2 --width 0": "width 0",
    "compare mobilenet_v2 --width x": "--width 'x': give a number",
    "compare plain --threads 0": "threads 0",
    "compare plain --seconds inf": "seconds inf",
    "compare plain --out file/x": "file/x: no folder can be written there",
    "compare --run nowhere": "nowhere: no such model",
    "compare --run cut": "cut/model.safetensors: is damaged",
    # audit
    "audit": "MODEL",
    "audit nowhere": "nowhere: no such model",
    "audit cut": "cut/model.safetensors: is damaged",
    "audit run --data nowhere": "nowhere",
    "audit run --data strangers": "the model does not know: ox",
    "audit run --out file": "file: no folder can be written there",
    # check
    "check": "give DATA, as in: mobilenets check photos",
    "check nowhere": "there is no folder nowhere",
    "check file": "file is a file: give the folder that holds the class folders",
    "check data --out file": "file: no folder can be written there",
    "check data --out data/found": "data/found is inside the picture folder data: choose an --out outside it",
    "check data --workers x": "--workers 'x': give a whole number",
    "check data --workers 0": "workers 0: give a number from 1 to 256",
    # fixes and groups
    "train data --fixes nowhere": "nowhere: cannot be read: No such file or directory",
    "train data --fixes file": "file: row 1 lacks the column action",
    "train data --groups nowhere.csv": "there is no file nowhere.csv",
    "train data --groups x": "put round brackets around the one part of the path",
    "train data --groups (": "no regular expression",
    # a model that is no good, whatever is to be done with it
    **{f"{verb} {name} data": name for verb in ("evaluate", "predict") for name in DAMAGE if name not in ANSWERING},
    "export weightless --out new": "weightless/model.safetensors: is missing",
    "export shapeless --out new": "shapeless/model.json: architecture",
}


@pytest.mark.parametrize("words", WRONG, ids=lambda words: words or "nothing")
def test_one_line_and_exit_2(words: str, place: Path, monkeypatch: pytest.MonkeyPatch, command: Any) -> None:
    monkeypatch.chdir(place)
    before = sorted(path.name for path in place.iterdir())
    status, out, err = command(*shlex.split(words))
    assert (status, out) == (2, "")
    assert err.startswith("mobilenets: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert WRONG[words] in err
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize("name", ANSWERING)
def test_a_run_answers_without_what_only_training_needs(name: str, place: Path, command: Any) -> None:
    status, out, err = command("predict", place / name, place / "data/cat/000.png", "--top", 1)
    assert (status, out.count("\n"), err) == (0, 1, "")


@pytest.mark.parametrize("way", [(), ("--json",)])
def test_nothing_to_measure(way: tuple[str, ...], place: Path, command: Any) -> None:
    status, out, err = command("evaluate", place / "run", place / "bad", *way)
    assert (status, out) == (2, "")
    assert err.splitlines()[-1] == f"mobilenets: {place / 'bad'}: no readable picture to measure on"
    assert "broken.jpg" in err
