from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.labels import Group, Label, Labels, doubts, read_labels
from mobilenets.runtime.predictor import EnginePredictor

LABELS = Labels(
    {
        "00_00": Label({"zh": "塑料瓶", "en": "plastic bottle"}, "recyclable"),
        "00_01": Label({"zh": "易拉罐"}, "recyclable"),
        "01_00": Label({"en": "eggshell"}, "kitchen"),
    },
    {
        "kitchen": Group({"zh": "湿垃圾"}, "#4a7c2c"),
        "recyclable": Group({"zh": "可回收物", "en": "recyclable"}, "#1b6fb5"),
        "hazardous": Group(),
    },
)
CLASSES = ("00_00", "00_01", "01_00")


def test_names_fall_back_to_what_the_file_calls_them() -> None:
    assert LABELS.languages == ("en", "zh")
    assert [LABELS.name(name, "zh") for name in CLASSES] == ["塑料瓶", "易拉罐", "01_00"]
    assert LABELS.name("00_00", None) == "00_00"
    assert LABELS.name("strange", "zh") == "strange"
    assert LABELS.group("strange") is None
    assert [LABELS.group_name(group, "en") for group in LABELS.groups] == ["kitchen", "recyclable", "hazardous"]


def test_shown_in_all_languages_at_once() -> None:
    assert LABELS.shown((*CLASSES, "strange")) == ("塑料瓶 plastic bottle", "易拉罐", "eggshell", "strange")
    assert LABELS.shown_groups(("recyclable", "hazardous")) == ("可回收物 recyclable", "hazardous")
    # Where Chinese cannot be drawn.
    assert LABELS.shown(CLASSES, str.isascii) == ("plastic bottle", "00_01", "eggshell")
    assert LABELS.shown_groups(("kitchen",), str.isascii) == ("kitchen",)


def test_no_two_are_shown_alike() -> None:
    can = Label({"en": "can", "de": "can"})
    labels = Labels({"a": can, "b": can, "c": Label({"en": "d"}), "e": Label({"en": "e"})})
    assert labels.shown(("a", "b", "c", "d", "e")) == ("can a", "can b", "d c", "d", "e")


def test_members() -> None:
    names, of = LABELS.members(CLASSES) or ((), np.empty(0))
    assert names == ("kitchen", "recyclable")
    assert of.tolist() == [1, 1, 0]
    assert LABELS.members((*CLASSES, "strange")) is None
    assert LABELS.members(()) is None


def test_round_trip() -> None:
    assert Labels.from_json(json.loads(json.dumps(LABELS.to_json()))) == LABELS


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "must be an object"),
        ({"klasses": {}}, "unknown key 'klasses'; use classes and groups"),
        ({"classes": {"a": {"name": "x"}}}, "class 'a': unknown key 'name'; use names and group"),
        ({"classes": {"a": {"names": "x"}}}, "class 'a': names must be an object"),
        ({"classes": {"a": {"names": {"chinese": "x"}}}}, "give names by language"),
        ({"classes": {"a": {"names": {"zh": " "}}}}, "give names by language"),
        ({"classes": {"a": {"group": 3}}}, "class 'a': group 3 is not usable"),
        ({"classes": {"a": {"group": "b"}}}, "class 'a' belongs to group 'b', which is not among the groups"),
        ({"groups": {"b": {"color": "red"}}}, "group 'b': color 'red' is not usable; give it as #rrggbb"),
        ({"classes": {"a": {"names": {"en": "a\nb"}}}}, r"class 'a': 'a\nb' has a character that cannot be shown"),
        ({"classes": {"a": {"names": {"en": "\x1b[2J"}}}}, r"'\x1b[2J' has a character that cannot be shown"),
        ({"classes": {"a": {"names": {"en": "\ud800"}}}}, r"'\ud800' has a character that cannot be shown"),
        ({"classes": {"a\n": {}}}, r"classes: 'a\n' has a character that cannot be shown"),
        ({"groups": {"\u2028": {}}}, r"groups: '\u2028' has a character that cannot be shown"),
    ],
)
def test_malformed(value: object, said: str, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(json.dumps(value))
    with pytest.raises(InputError) as caught:
        read_labels(tmp_path, ("a",))
    assert str(caught.value).startswith(f"{tmp_path / 'classes.json'}: ")
    assert said in str(caught.value)


def test_a_file_beside_the_data(tmp_path: Path) -> None:
    assert read_labels(tmp_path, CLASSES) is None
    (tmp_path / "classes.json").write_text(json.dumps(LABELS.to_json()), encoding="utf-8")
    found = read_labels(tmp_path, ("00_00", "new"))
    assert found is not None
    assert set(found.classes) == {"00_00"}
    named = read_labels(tmp_path, ("塑料瓶", "Eggshell"))
    assert named is not None
    assert [named.group("塑料瓶"), named.group("Eggshell")] == ["recyclable", "kitchen"]
    with pytest.raises(InputError, match="names none of the class folders"):
        read_labels(tmp_path, ("a", "b"))


def write(folder: Path, labels: Labels) -> Path:
    (folder / "classes.json").write_text(json.dumps(labels.to_json()), encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["Plastic_Bottle", " plastic-bottle ", "00-00", "塑料瓶 ", "CAFÉ", "cafe\u0301"])
def test_folders_are_matched_loosely(name: str, tmp_path: Path) -> None:
    assert find_in({"00_00": ("plastic bottle", "塑料瓶", "café"), "01": ("plastic",)}, name, tmp_path) == "00_00"


def find_in(names: dict[str, tuple[str, ...]], folder: str, place: Path) -> str | None:
    """Say which class the folder is taken for, told by a group of the class's own name."""
    languages = ("en", "zh", "fr")
    classes = {key: Label(dict(zip(languages, own, strict=False)), key) for key, own in names.items()}
    labels = read_labels(write(place, Labels(classes, {key: Group() for key in names})), (folder,))
    return None if labels is None else labels.group(folder)


def test_a_name_that_two_classes_bear(tmp_path: Path) -> None:
    names = {"a": ("can",), "b": ("tin", "Can"), "c": ("b",)}
    with pytest.raises(InputError, match=r"classes\.json: the class folder 'CAN' could be 'a' or 'b'"):
        find_in(names, "CAN", tmp_path)
    # Only where it is needed; and what a class is called comes before any name.
    assert [find_in(names, folder, tmp_path) for folder in ("a", "b", "tin")] == ["a", "b", "b"]
    assert find_in({"a": ("can", "CAN")}, "Can", tmp_path) == "a"


def test_two_folders_of_one_class(tmp_path: Path) -> None:
    write(tmp_path, LABELS)
    with pytest.raises(InputError, match="'00_00' and 'Plastic Bottle' are one class, '00_00': put them in one folder"):
        read_labels(tmp_path, ("00_00", "01_00", "Plastic Bottle"))


@pytest.mark.parametrize(
    "text",
    [
        '{"classes": {"a": {}, "b": {}, "a": {"group": "x"}}, "groups": {"x": {}}}',
        '{"classes": {"b": {"names": {"a": "1", "a": "2"}}}}',
        '{"a": {}, "a": {}}',
    ],
)
def test_a_key_given_twice(text: str, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text(text)
    with pytest.raises(InputError, match=r"classes\.json: 'a' is given twice"):
        read_labels(tmp_path, ("a", "b"))


def test_what_is_no_file_is_not_absent(tmp_path: Path) -> None:
    path = tmp_path / "classes.json"
    path.mkdir()
    with pytest.raises(InputError, match=r"classes\.json: a folder, or a link that points nowhere"):
        read_labels(tmp_path, CLASSES)
    path.rmdir()
    path.symlink_to(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"classes\.json: a folder, or a link that points nowhere"):
        read_labels(tmp_path, CLASSES)


def test_classes_without_a_group_are_told() -> None:
    assert doubts(None, CLASSES) == doubts(LABELS, CLASSES) == []
    [said] = doubts(LABELS, (*CLASSES, "new"))
    assert said.startswith("no group for 'new': there are no scores or answers by group; give every class a group")
    [said] = doubts(LABELS, (*CLASSES, *"abcdefg"))
    assert said.startswith("no group for 'a', 'b', 'c', 'd', 'e' and 2 more: ")
    # Names alone promise no scores by group.
    assert doubts(Labels({"a": Label({"en": "can"})}), ("a", "b")) == []


def test_other_labels_beside_the_pictures_are_told(tmp_path: Path) -> None:
    assert doubts(LABELS, CLASSES, tmp_path) == []
    assert doubts(LABELS, CLASSES, write(tmp_path, LABELS)) == []
    other = Labels(LABELS.classes | {"00_01": Label({"zh": "易拉罐"}, "kitchen")}, LABELS.groups)
    [said] = doubts(LABELS, CLASSES, write(tmp_path, other))
    assert said.startswith(f"{tmp_path / 'classes.json'} differs from what the model has: the model keeps")
    assert doubts(None, CLASSES, tmp_path) == [said]
    (tmp_path / "classes.json").write_text("{")
    [said] = doubts(LABELS, CLASSES, tmp_path)
    assert "not JSON" in said
    assert said.endswith("(the model keeps what it was trained with; train again to change it)")


def answer(threshold: float | None = None, labels: Labels | None = LABELS, **settings: Any) -> dict[str, Any]:
    logits = np.log(np.array([[0.3, 0.25, 0.45]], np.float32))
    bundle = Bundle({}, CLASSES, Preprocessing(4), labels=labels, threshold=threshold)
    return EnginePredictor(bundle, lambda images: logits).answers([np.zeros((4, 4, 3), np.float32)], **settings)[0]


def test_answers_have_names_and_groups() -> None:
    found = answer(language="zh", top=2)
    assert [(e["label"], e["name"], e["group"]) for e in found["predictions"]] == [
        ("01_00", "01_00", "kitchen"),
        ("00_00", "塑料瓶", "recyclable"),
    ]
    # The most probable kind is of one bin, the most probable bin is the other.
    assert [(e["label"], e["name"]) for e in found["groups"]] == [("recyclable", "可回收物"), ("kitchen", "湿垃圾")]
    assert [e["probability"] for e in found["groups"]] == pytest.approx([0.55, 0.45], abs=1e-6)
    assert "sure" not in found


def test_sure_or_not() -> None:
    assert answer(0.4)["sure"] is True
    assert answer(0.5)["sure"] is False
    assert set(answer(labels=None)) == {"predictions"}
    assert set(answer(labels=None)["predictions"][0]) == {"label", "probability"}
