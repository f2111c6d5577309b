"""The notebooks: clean as committed, and executed from the first cell to the last."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = ("photos", "networks")
EPOCHS = 8  # of the 12 that someone who reads it trains for


def cells(name: str, kind: str) -> list[dict[str, Any]]:
    notebook = json.loads((EXAMPLES / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_is_committed_without_outputs(name: str) -> None:
    assert cells(name, "code")
    for cell in cells(name, "code"):
        assert cell["outputs"] == [] and cell["execution_count"] is None and cell["metadata"] == {}, cell["id"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_its_links_lead_somewhere(name: str) -> None:
    text = "\n".join("".join(cell["source"]) for cell in cells(name, "markdown"))
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("https://")]
    assert links
    for link in links:
        assert (EXAMPLES / link).is_file(), link


class Executed:
    """A notebook after its last cell."""

    def __init__(self, name: str, folder: Path, expression: str) -> None:
        reason = "needs nbclient and ipykernel: pip install -e '.[dev]' -c constraints.txt"
        nbclient = pytest.importorskip("nbclient", reason=reason)
        pytest.importorskip("ipykernel", reason=reason)
        import nbformat

        notebook = nbformat.read(EXAMPLES / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            cell.source = cell.source.replace('"epochs": 12', f'"epochs": {EPOCHS}')
        shown = f"import json\n\nprint(json.dumps({expression}, default=str))"
        notebook.cells.append(nbformat.v4.new_code_cell(shown))
        resources = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
        self.outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        self.values = json.loads(notebook.cells[-1].outputs[0].text)

    def stream(self, name: str) -> str:
        streams = [output for output in self.outputs if output.output_type == "stream" and output.name == name]
        return "".join(output.text for output in streams)

    @property
    def pictures(self) -> int:
        return sum("image/png" in output.get("data", {}) for output in self.outputs)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty folder to work in, with Jupyter's own files kept out of the user's home."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    work = tmp_path / "work"
    work.mkdir()
    return work


def test_from_photos_to_an_updated_model(folder: Path) -> None:
    done = Executed(
        "photos",
        folder,
        "{'result': result, 'measured': measured, 'wrong': len(wrong), 'updated': updated, 'again': again,"
        " 'bytes': [exported['bytes'], small['bytes']], 'passed': [exported['passed'], small['passed']],"
        " 'same': from_export(picture)[0].label == predictor(picture)[0].label}",
    )
    result, measured, updated = (done.values[name] for name in ("result", "measured", "updated"))
    assert result["top1"] > 0.8 > result["baseline_top1"] == 0.1
    assert result["top1_interval"][0] < result["top1"] < result["top1_interval"][1] or result["top1"] == 1
    assert measured["images"] == 359 and measured["top1"] > 0.8
    assert done.values["wrong"] == round(359 * (1 - measured["top1"]))
    assert done.values["passed"] == [True, True]
    # What says "none of these" stays in float, and is a third of so small a file.
    assert done.values["bytes"][1] < done.values["bytes"][0] * 0.65
    assert done.values["same"]
    assert (updated["images"], updated["before"]["images"]) == (160, 160)
    assert updated["before"]["top1_now"] == updated["top1"] >= updated["before"]["top1"] - 0.05
    assert done.values["again"]["top1"] > 0.8
    for name in ("report.html", "exported-onnx/USE.md", "exported-onnx-int8/model.onnx"):
        assert (folder / result["run"] / name).is_file(), name
    assert done.pictures == 5

    # What someone sees who waits for a cell: progress, the result, and what was wrong with the pictures.
    said, printed = done.stream("stderr"), done.stream("stdout")
    assert re.search(r"^epoch +train loss .* time left$", said, re.MULTILINE)
    assert len(re.findall(rf"^ *\d+/{EPOCHS} ", said, re.MULTILINE)) == 2 * EPOCHS
    assert re.search(r"^top-1 [\d.]+ % \(95 % interval", said, re.MULTILINE)
    assert "damaged.jpg" in said
    note = next(note for note in result["notes"] if "1 of 401 pictures cannot be read" in note)
    assert note in said and f"note: {note}\n" in printed
    assert "Warning" not in said


def test_the_networks(folder: Path) -> None:
    done = Executed(
        "networks",
        folder,
        "{'ratio': ratio, 'difference': difference, 'v1': v1, 'v2': v2, 'shares': shares, 'compared': compared,"
        " 'errors': errors, 'result': result, 'audit': audit, 'stages': [list(maps.shape) for _, maps in stages]}",
    )
    values = done.values
    assert values["ratio"] == pytest.approx(1 / 128 + 1 / 9)
    assert values["difference"] < 1e-4
    # Table 8 of the paper on V1 (4.2 M, 569 M) and table 4 of the one on V2 (3.4 M, 300 M); docs/networks.md.
    assert (values["v1"]["parameters"], values["v1"]["macs"]) == (4_231_976, 568_740_352)
    assert (values["v2"]["parameters"], values["v2"]["macs"]) == (3_504_872, 300_774_272)
    # Table 2 of the paper on V1.
    assert values["shares"]["pointwise 1 × 1"] == pytest.approx([0.9486, 0.7459], abs=2e-3)
    assert values["shares"]["classifier"] == pytest.approx([0.0018, 0.2433], abs=2e-3)
    assert [sum(shares) for shares in zip(*values["shares"].values(), strict=True)] == pytest.approx([1, 1])
    plain = values["compared"]["networks"][-1]
    assert plain["name"] == "plain" and plain["macs"] > 8 * values["compared"]["networks"][0]["macs"]
    assert values["errors"]["2"] > values["errors"]["5"] > values["errors"]["15"] > values["errors"]["30"]
    assert values["result"]["top1"] > 0.8
    assert values["stages"][0] == [1, 3, 32, 32] and values["stages"][-1] == [1, 256, 2, 2]
    assert values["audit"]["depthwise"]["kernels"] == 32 + 64 + 128 + 128
    assert done.pictures == 8
    assert "time left" in done.stream("stderr") and "Warning" not in done.stream("stderr")
