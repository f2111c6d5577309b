"""From a foreign file to a model that predicts and to a run that goes on from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobilenets
from mobilenets.cli import main
from mobilenets.errors import InputError
from mobilenets.models.saved import load_model
from mobilenets.verbs.models import create_model

SMALL: dict[str, Any] = {"device": "cpu", "threads": 1, "workers": 1, "epochs": 1, "batch": 8, "augment": "none"}
TENSORFLOW = Path(__file__).parents[1] / "fixtures" / "tensorflow"
pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give weights of a V1 as anyone saves them from PyTorch."""
    path = tmp_path_factory.mktemp("foreign") / "weights.pth"
    torch.manual_seed(0)
    torch.save({"state_dict": create_model("mobilenet_v1", 5, 0.25).state_dict(), "epoch": 3}, path)
    return path


def test_a_model_of_ours(foreign: Path, tmp_path: Path, photos: Path) -> None:
    names = ("a", "b", "c", "d", "e")
    result = mobilenets.import_weights(foreign, tmp_path / "model", size=32, classes=names)
    assert (result["name"], result["width"], result["size"], result["classes"]) == ("mobilenet_v1", 0.25, 32, 5)
    assert result["surplus"] == []
    model = load_model(tmp_path / "model")
    assert model.bundle.classes == names
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.json", "model.onnx", "model.safetensors"}
    answer = next(mobilenets.predict(tmp_path / "model", photos / "red/000.png"))
    assert sorted(entry["label"] for entry in answer["predictions"]) == list(names)


def test_nothing_is_written_over(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        mobilenets.import_weights(foreign, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_file_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "odd.h5").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"odd\.h5"):
        mobilenets.import_weights(tmp_path / "odd.h5", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_backbone_says_what_it_is_for(tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(create_model("mobilenet_v1", 0, 0.25).state_dict(), tmp_path / "body.pt")
    assert main(["import", str(tmp_path / "body.pt"), "--out", str(tmp_path / "body")]) == 0
    assert "no classes" in capsys.readouterr().out
    for verb in (["predict", str(tmp_path / "body"), str(photos)], ["evaluate", str(tmp_path / "body"), str(photos)]):
        assert main(verb) == 2
        assert "it has no classifier; train it: mobilenets train DATA --weights" in capsys.readouterr().err
    result = mobilenets.train(photos, tmp_path / "run", weights=str(tmp_path / "body"), size=32, **SMALL)
    assert list(result["classes"]) == ["blue", "green", "red"]


def test_fine_tuning_keeps_all_but_the_head(foreign: Path, tmp_path: Path, photos: Path) -> None:
    settings = SMALL | {"weights": str(foreign), "size": 40, "freeze": "backbone", "variant": "standard"}
    mobilenets.train(photos, tmp_path / "run", **settings)
    ours, theirs = load_model(tmp_path / "run"), torch.load(foreign, weights_only=True)["state_dict"]
    assert ours.bundle.classes == ("blue", "green", "red")
    assert ours.bundle.preprocessing.size == 40
    assert ours.bundle.origin["head"] == "replaced"
    assert ours.bundle.origin["before"]["files"] == ["weights.pth"]
    for name, value in ours.network.body.state_dict().items():
        assert torch.equal(value, theirs[f"body.{name}"]) or name.endswith("num_batches_tracked"), name


def test_a_folder_called_none_is_no_weights(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.chdir(tmp_path)
    mobilenets.train(photos, tmp_path / "run", model="mobilenet_v1", width=0.25, size=32, weights="none", **SMALL)
    assert load_model(tmp_path / "run").bundle.origin == {"weights": "random"}


def test_other_weights_than_the_run_began_with(foreign: Path, tmp_path: Path, photos: Path) -> None:
    run, weights = tmp_path / "run", tmp_path / "weights.pth"
    shutil.copy(foreign, weights)
    mobilenets.train(photos, run, weights=str(weights), size=32, **SMALL)
    # As if it had been killed before its first checkpoint.
    shutil.rmtree(run / "checkpoint")
    torch.save(create_model("mobilenet_v1", 5, 0.25).state_dict(), weights)
    with pytest.raises(InputError, match="not the weights that this run started from"):
        mobilenets.train(photos, run, resume=True)
    shutil.copy(foreign, weights)
    mobilenets.train(photos, run, resume=True)


def test_tensorflows_padding_stays_with_the_weights(tmp_path: Path, photos: Path) -> None:
    file = TENSORFLOW / "v1_average.ckpt.index"
    shutil.copytree(TENSORFLOW, tmp_path / "tf")
    run = tmp_path / "run"
    metrics = mobilenets.train(
        photos, run, weights=str(tmp_path / "tf" / file.name), size=33, **SMALL | {"keep": "last"}
    )
    architecture = load_model(run).network.architecture
    assert (architecture.table.padding, architecture.table.norm_epsilon) == ("same", 1e-3)
    shutil.rmtree(tmp_path / "tf")
    # The checkpoint and model.json hold all that a run needs to go on.
    again = mobilenets.train(photos, run, resume=True)
    assert again["top1"] == metrics["top1"]


def test_what_was_assumed_is_said_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = Path(__file__).parents[1] / "fixtures" / "saved_model" / "saved"
    assert main(["import", str(saved), "--out", str(tmp_path / "m")]) == 0
    said = capsys.readouterr()
    notes = json.loads((tmp_path / "m" / "model.json").read_bytes())["origin"]["notes"]
    assert said.out.splitlines()[-len(notes) :] == [f"Note: {note}" for note in notes]
    assert any("stretched" in note for note in notes)
    assert "Note" not in said.err
    assert "stretched" not in said.err
    assert main(["import", str(saved), "--out", str(tmp_path / "c"), "--resize", "crop", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert not any("stretched" in note for note in result["notes"])
    assert load_model(tmp_path / "c").bundle.preprocessing.resize == "crop"


def test_json(foreign: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(foreign), "--out", str(tmp_path / "m"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["layers"]["classifier"] == ["classifier"]
    assert main(["weights", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["weights"]
    assert {"network", "width", "size", "top1", "source", "licence", "preprocessing"} <= listed[0].keys()
    assert listed == json.loads(json.dumps(mobilenets.published_weights()))
    assert main(["weights"]) == 0
    assert "mobilenet_v2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["import", "absent.h5"], "absent.h5: cannot be read: No such file"),
        (["import", "{photos}"], "no file; give a file of weights"),
        (["import", "."], "a folder; give a file of weights"),
        (["import", "/dev/null"], "no file; give a file of weights"),
        (["import", "{foreign}", "--size", "0"], "give an input size"),
        (["import", "{foreign}", "--classes", "absent.txt"], "absent.txt"),
        (["import", "{foreign}", "--preprocessing", "caffe"], "choose tensorflow, torch"),
        (["import", "{foreign}", "--variant", "tiny"], "invalid choice"),
        (["import", "{foreign}", "{foreign}"], "do not follow one another"),
    ],
)
def test_wrong_use(
    words: list[str], said: str, foreign: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [word.format(photos=photos, foreign=foreign) for word in words]
    assert main([*arguments, "--out", str(tmp_path / "m")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.strip().splitlines()[-1].startswith("mobilenets: ")
    assert not (tmp_path / "m").exists()


def test_logits_of_an_import_are_those_of_the_file(foreign: Path, tmp_path: Path) -> None:
    mobilenets.import_weights(foreign, tmp_path / "m", size=64)
    network = create_model("mobilenet_v1", 5, 0.25).eval()
    network.load_state_dict(torch.load(foreign, weights_only=True)["state_dict"])
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected, found = network(images).numpy(), load_model(tmp_path / "m").network(images).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.ptp(expected))


def test_one_of_several_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = str(TENSORFLOW / "v1_retrained.pb")
    assert main(["import", graph, "--out", str(tmp_path / "new")]) == 0
    said = capsys.readouterr().out
    assert (
        "Assumed: the output is final_result (4), the last one in the graph; choose another with --output NAME" in said
    )
    name = "MobilenetV1/Predictions/Reshape"
    assert main(["import", graph, "--output", name, "--out", str(tmp_path / "old")]) == 0
    assert "Assumed" not in capsys.readouterr().out
    assert len(load_model(tmp_path / "old").bundle.classes) == 7
    with pytest.raises(InputError, match="choose one of: MobilenetV1"):
        mobilenets.import_weights(graph, tmp_path / "none", output="nothing")
    with pytest.raises(InputError, match="--output works with an ONNX file, a frozen graph or a PyTorch file"):
        mobilenets.import_weights(TENSORFLOW / "v2.ckpt.index", tmp_path / "none", output="nothing")


def test_what_is_assumed_stands_in_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[1] / "fixtures" / "torch" / "timm_v2_005.pth"
    assert main(["import", str(file), "--out", str(tmp_path / "m"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assumed = [
        "ReLU6, the paper's strides, symmetric padding, BatchNorm epsilon 1e-05, average pooling, one linear layer and "
        "softmax as its head: weights alone do not tell"
    ]
    assert result["assumed"] == assumed
    assert json.loads((tmp_path / "m" / "model.json").read_bytes())["origin"]["assumed"] == assumed
