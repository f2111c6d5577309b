"""Names of classes: ImageNet's, COCO's, and those in a file as tools write them.

That is one per line, numbered, in JSON by place or by name, or in YAML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from mobilenets.base.files import nfc, read_json, read_text
from mobilenets.base.notes import log
from mobilenets.datasets.boxes.yolo import read_yaml
from mobilenets.errors import InputError

_BEFORE = re.compile(r"(\d+)(?:\s*[:,;.)\t]\s*|\s+)(\S.*)")  # "0 apple", "0: apple", "0,apple"
_AFTER = re.compile(r"(\S.*?)\s*[,;:\t]\s*(\d+)")  # "apple,0"
# Where JSON holds the names: data of other tools, Hugging Face's config.json, our own model.json.
_KEYS = ("names", "classes", "class_names", "labels", "id2label", "label2id", "class_to_idx", "class_indices")
BACKGROUND = "background"
"""The class that TensorFlow's slim has before the others, 1,001 in all."""
COCO_OUTPUTS = 90
# By their numbers from 1 on, as in instances_train2017.json; - where the data set has no class of a number.
_COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,-,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,-,backpack,umbrella,-,-,handbag,tie,suitcase,"
    "frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,-,"
    "wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,"
    "couch,potted plant,bed,-,dining table,-,-,toilet,-,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,"
    "toaster,sink,refrigerator,-,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)


@cache
def imagenet_classes() -> tuple[str, ...]:
    """Give ImageNet's 1,000 classes (ILSVRC 2012) in the order of every network that was trained on it.

    These are short English names, each different from all others, also when case does not count.
    """
    text = resources.files("mobilenets.weights").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


def coco_classes() -> tuple[str, ...]:
    """Return the 90 names of COCO in order, 80 of them classes and the others ``unused 12`` and the like."""
    return tuple(f"unused {number}" if name == "-" else name for number, name in enumerate(_COCO.split(","), start=1))


def read_classes(source: str | Path) -> tuple[str, ...]:
    """Read class names in order, in Unicode's form NFC.

    A text file has one per line, perhaps numbered as by Teachable Machine or TensorFlow. JSON is a list, names by place
    (Keras's ``{"0": [id, name], …}``), places by name (``class_indices``), or an object that holds one of these as
    ``names``, ``id2label`` and the like. YAML is Ultralytics' ``names:``.

    Raises InputError in one line that begins with the path.
    """
    path = Path(source)
    if path.suffix.lower() == ".json":
        found = names_in(read_json(path, "give a list of class names"))
    elif path.suffix.lower() in (".yaml", ".yml"):
        found = _of_yaml(path)
    else:
        found = _of_lines(path)
    if not found:
        raise InputError(
            f'{path}: not a list of class names; give a file with one per line, or JSON such as ["a", "b"]'
        )
    return tuple(nfc(name) for name in found)


def names_in(value: Any) -> list[str] | None:
    """Find the names in order: in a list, or an object by place or by name. None where there are none."""
    if isinstance(value, list):
        if all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in value):
            value = [one["name"] for one in sorted(value, key=lambda one: str(one.get("id", "")).zfill(9))]
        return value if all(isinstance(name, str) for name in value) else None
    if not isinstance(value, dict):
        return None
    named = {str(key): one[-1] if isinstance(one, list) and one else one for key, one in value.items()}
    if all(isinstance(one, str) and key.isdecimal() for key, one in named.items()):
        return _placed({int(key): one for key, one in named.items()})
    if all(isinstance(one, int) and not isinstance(one, bool) for one in value.values()):
        places = {place: name for name, place in value.items()}
        return _placed(places) if len(places) == len(value) and 0 in places else None
    return next((found for key in _KEYS if key in value and (found := names_in(value[key]))), None)


def _placed(names: Mapping[int, str]) -> list[str] | None:
    """Put names in order of their places, which count from 0 or from 1 without a gap."""
    first = min(names, default=0)
    whole = first in (0, 1) and sorted(names) == list(range(first, first + len(names)))
    return [names[place] for place in sorted(names)] if whole else None


def _of_lines(path: Path) -> list[str]:
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    for pattern, number, name in ((_BEFORE, 1, 2), (_AFTER, 2, 1)):
        matches = [pattern.fullmatch(line) for line in lines]
        placed = {int(match[number]): match[name] for match in matches if match}
        if len(lines) > 1 and len(placed) == len(lines) and (names := _placed(placed)):
            log.info("%s: the numbers in it were read as class indices, not as part of the names", path)
            return names
    return lines


def _of_yaml(path: Path) -> list[str] | None:
    """Read the ``names:`` of an Ultralytics data.yaml: a list, or names by number. Numbers may be names there."""
    names = read_yaml(path).get("names")
    named = names.items() if isinstance(names, dict) else enumerate(names if isinstance(names, list) else ())
    return names_in({key: str(name) if type(name) in (int, float) else name for key, name in named}) or None


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Return names in NFC; raises ``InputError`` where one is given twice."""
    forms = tuple(nfc(name) for name in names)
    if len(set(forms)) != len(forms):
        twice = next(name for name in forms if forms.count(name) > 1)
        raise InputError(f"the class name {twice!r} occurs twice; give every class a different name")
    return forms
