"""One folder in a data set: which half its name tells, and where its class folders lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from mobilenets.base.files import nfc
from mobilenets.datasets.listing import folders, has_pictures
from mobilenets.errors import InputError

HALVES = {
    "train": "train training trainset trainval trn learn 训练 訓練 学習 훈련 학습 entrenamiento entraînement "
    "entrainement apprentissage addestramento treino treinamento обучение",
    "validation": "validation val valid validate valset validset dev devset development 验证 驗證 検証 검증 "
    "validierung validación validacion validação validacao validazione convalida валидация",
    "test": "test testing testset tst eval evaluation evaluate holdout heldout unseen 测试 測試 テスト 評価 "
    "테스트 시험 prueba pruebas teste testes тест",
}
_HALF = {word: half for half, words in HALVES.items() for word in words.split()}
# Words that say nothing: training_set, images_train, test1, Train Data.
FILLERS = frozenset(
    (
        *("set", "sets", "data", "dataset", "image", "images", "imgs", "img", "picture", "pictures", "pics"),
        *("photo", "photos", "jpg", "jpeg", "png", "jpegimages", "files", "split", "part", "folder", "samples"),
        *("raw", "all", "original", "originals", "class", "classes"),
    )
)
BESIDE = frozenset(("mask", "masks", "label", "labels", "annotation", "annotations", "trimaps", "segmentations", "xml"))
USUAL = frozenset(("train", "validation", "val", "valid", "test"))


@dataclass(frozen=True)
class Part:
    """A folder in DATA: the half that its name tells, and the folder of its class folders, None where there are none.

    ``plain`` where the name says nothing but the half.
    """

    path: Path
    half: str | None
    plain: bool
    classes: Path | None
    inside: tuple[str, ...]


def half_of(name: str) -> tuple[str | None, bool]:
    """Say which half a folder's name tells, ``train``, ``validation``, ``test`` or None, and whether it says only that.

    >>> half_of("Training"), half_of("seg_test"), half_of("training_set")
    (('train', True), ('test', False), ('train', True))
    """
    half, rest = half_and_rest(name)
    return half, half is not None and not rest


def half_and_rest(name: str) -> tuple[str | None, str]:
    """Say which half a folder's name tells, and what else it says: ``train`` and ``cat`` of ``train_cat``."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", nfc(name)).lower()
    spaced = re.sub(r"hold[ _-]?out", "holdout", spaced)
    told = {word: _HALF.get(word) or _HALF.get(_bare(word)) for word in re.findall(r"[^\W\d_]+", spaced)}
    halves = set(filter(None, told.values()))
    if len(halves) != 1:
        return None, name
    return halves.pop(), " ".join(word for word, half in told.items() if half is None and word not in FILLERS)


def _bare(word: str) -> str:
    """Take a filler from the end of a word: ``traindata``, ``testimages``, ``训练集``."""
    return re.sub(r"(set|data|dataset|images|imgs|photos|pictures|集|数据|数据集|データ|데이터|세트)$", "", word)


def part_of(path: Path) -> Part:
    """Look into a folder, and through folders in it that hold nothing but one folder with everything."""
    half, plain = half_of(path.name)
    top, inside = path, holding_in(path)
    # train/train/<class>: the one folder in it that holds everything.
    while len(inside) == 1 and not has_pictures(top) and (below := holding_in(top / inside[0])):
        if has_pictures(top / inside[0]) or (len(below) == 1 and not _is_wrapper(inside[0], path, half)):
            break
        top, inside = top / inside[0], below
    flat = all(_is_wrapper(name, path, half) or name.lower() in BESIDE for name in inside)
    if has_pictures(path) or (flat and not any(holding_in(top / name) for name in inside)):
        return Part(path, half, plain, None, tuple(inside))
    return Part(path, half, plain, top, tuple(inside))


def _is_wrapper(name: str, path: Path, half: str | None) -> bool:
    """Whether a folder's name says nothing beyond the name of the one that it lies in: no class is called so."""
    return name.lower() in {*FILLERS, path.name.lower()} or (half is not None and half_of(name)[0] == half)


def holding_in(folder: Path) -> list[str]:
    """The folders in a folder that hold pictures at any depth; none in one that cannot be listed."""
    try:
        below = folders(folder)
    except InputError:
        return []
    return [entry.name for entry in below if has_pictures(Path(entry.path), deep=True)]


def has_halves(part: Part) -> bool:
    """Whether a folder holds a training half and another."""
    halves = {half for half, plain in map(half_of, part.inside) if plain}
    return "train" in halves and len(halves) > 1


def share(part: Part, other: Part) -> bool:
    """Whether two parts hold a folder of the same name, by case and Unicode form aside."""
    one, two = ({nfc(name).casefold() for name in both.inside} for both in (part, other))
    return bool(one & two)
