from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from mobilenets.errors import InputError
from mobilenets.models.catalog import describe
from mobilenets.pictures.preprocess import Preprocessing
from mobilenets.weights.class_names import BACKGROUND, imagenet_classes
from mobilenets.weights.published import PUBLISHED, Published, choose

COSTS = Path(__file__).parents[1] / "models" / "published_costs.csv"


@pytest.mark.parametrize(
    "entry", PUBLISHED, ids=lambda entry: f"{entry.network}-{entry.width}-{entry.size}-{entry.source}"
)
def test_every_entry_is_whole(entry: Published) -> None:
    architecture = describe(entry.network, entry.width, entry.size)
    assert architecture.variant == "standard"
    preprocessing = Preprocessing(size=entry.size, **entry.preprocessing)
    assert 40 < entry.top1 < 84
    assert entry.licence == "Apache-2.0"
    if entry.source == "timm":
        kind = r"mobilenetv[123]_\w+|tf_mobilenetv3_\w+|mobilenetv4_conv_\w+"
        assert re.fullmatch(rf"timm/({kind})\.\w+", entry.repository)
        assert re.fullmatch(r"[0-9a-f]{40}|main", str(entry.revision))
        # Whoever is pinned is pinned wholly.
        pinned = [entry.revision != "main", entry.bytes is not None, entry.sha256 is not None]
        assert len(set(pinned)) == 1
        from_tensorflow = entry.repository.startswith("timm/tf_")
        bilinear = from_tensorflow or "miil" in entry.repository
        assert preprocessing.interpolation == ("bilinear" if bilinear else "bicubic")
        assert entry.habits == ({"padding": "same", "epsilon": 1e-3} if from_tensorflow else {})
    else:
        assert re.search(rf"_{entry.size}(_tf|_{entry.width}_float)?\.h5$", entry.url)
        assert preprocessing.mean == (0.5, 0.5, 0.5)
    plain = json.loads(json.dumps(entry.to_json(), allow_nan=False))
    assert plain["url"] == entry.url
    assert Preprocessing(size=entry.size, **plain["preprocessing"]) == preprocessing


def test_bytes_hold_the_parameters() -> None:
    # 4 bytes a value: the parameters, two statistics for each of BatchNorm's channels, and 10 to 35 kB of names.
    with COSTS.open(newline="") as file:
        parameters = {(row["model"], float(row["width"])): int(row["parameters"]) for row in csv.DictReader(file)}
    sized = [entry for entry in PUBLISHED if entry.bytes is not None and (entry.network, entry.width) in parameters]
    assert len(sized) == 3
    for entry in sized:
        assert entry.bytes is not None
        assert 0 < entry.bytes - 4 * parameters[entry.network, entry.width] < 400_000


def test_each_file_stands_once() -> None:
    assert max(Counter(entry.url for entry in PUBLISHED).values()) == 1
    assert Counter((entry.source, entry.network) for entry in PUBLISHED) == {
        ("timm", "mobilenet_v1"): 2,
        ("timm", "mobilenet_v2"): 3,
        ("timm", "mobilenet_v3_large"): 5,
        ("timm", "mobilenet_v3_small"): 5,
        ("timm", "mobilenet_v3_large_minimalistic"): 1,
        ("timm", "mobilenet_v3_small_minimalistic"): 1,
        ("timm", "mobilenet_v4_conv_small"): 4,
        ("timm", "mobilenet_v4_conv_medium"): 3,
        ("timm", "mobilenet_v4_conv_large"): 2,
        ("Keras", "mobilenet_v1"): 16,
        ("Keras", "mobilenet_v2"): 22,
        ("Keras", "mobilenet_v3_large"): 2,
        ("Keras", "mobilenet_v3_small"): 2,
        ("Keras", "mobilenet_v3_large_minimalistic"): 1,
        ("Keras", "mobilenet_v3_small_minimalistic"): 1,
    }


def test_v3_and_v4_each_with_their_own_pixels() -> None:
    """The figures and settings of timm's default_cfgs and results-imagenet.csv, 2026-08."""
    by_name = {entry.repository.removeprefix("timm/"): entry for entry in PUBLISHED if entry.source == "timm"}
    for name, size, top1, mean, crop in (
        ("mobilenetv3_large_100.miil_in21k_ft_in1k", 224, 77.92, 0.0, 0.875),
        ("mobilenetv3_large_100.ra4_e3600_r224_in1k", 224, 76.31, 0.5, 0.95),
        ("tf_mobilenetv3_large_100.in1k", 224, 75.51, 0.5, 0.875),
        ("tf_mobilenetv3_large_minimal_100.in1k", 224, 72.27, 0.5, 0.875),
        ("tf_mobilenetv3_small_100.in1k", 224, 67.922, 0.5, 0.875),
        ("mobilenetv3_small_100.lamb_in1k", 224, 67.636, 0.485, 0.875),
        ("tf_mobilenetv3_small_minimal_100.in1k", 224, 62.892, 0.5, 0.875),
        ("mobilenetv4_conv_small.e2400_r224_in1k", 224, 73.756, 0.485, 0.875),
        ("mobilenetv4_conv_small.e3600_r256_in1k", 256, 74.534, 0.5, 0.95),
        ("mobilenetv4_conv_medium.e500_r224_in1k", 224, 79.092, 0.485, 0.95),
        ("mobilenetv4_conv_medium.e500_r256_in1k", 256, 79.916, 0.485, 0.95),
        ("mobilenetv4_conv_large.e600_r384_in1k", 384, 82.974, 0.485, 0.95),
    ):
        entry, pixels = by_name[name], by_name[name].preprocessing
        assert (entry.size, entry.top1, pixels["mean"][0], pixels["crop_fraction"]) == (size, top1, mean, crop)


def test_top1_of_v2_is_slims() -> None:
    with COSTS.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "mobilenet_v2" and row["published_top1"]]
    theirs = {(float(row["width"]), int(row["size"])): float(row["published_top1"]) for row in rows}
    ours = {(entry.width, entry.size): entry.top1 for entry in PUBLISHED if entry.repository == "mobilenet_v2"}
    assert ours == theirs


def test_larger_and_wider_is_better() -> None:
    entries = [entry for entry in PUBLISHED if entry.source == "Keras"]
    for one in entries:
        for other in entries:
            if one.network == other.network and one.width <= other.width and one.size <= other.size and one != other:
                assert one.top1 < other.top1


@pytest.mark.parametrize(
    ("network", "width", "size", "expected"),
    [
        ("mobilenet_v1", 1.0, 224, "timm/mobilenetv1_100.ra4_e3600_r224_in1k"),
        ("mobilenet_v1", 1.25, 192, "timm/mobilenetv1_125.ra4_e3600_r224_in1k"),
        ("mobilenet_v2", 0.5, 96, "timm/mobilenetv2_050.lamb_in1k"),
        ("mobilenet_v2", 1.0, 96, "timm/mobilenetv2_100.ra_in1k"),
        ("mobilenet_v2", 1.4, 224, "timm/mobilenetv2_140.ra_in1k"),
        ("mobilenet_v3_large", 1.0, 224, "timm/mobilenetv3_large_100.miil_in21k_ft_in1k"),
        ("mobilenet_v3_small", 1.0, 96, "timm/tf_mobilenetv3_small_100.in1k"),
        ("mobilenet_v4_conv_small", 1.0, 224, "timm/mobilenetv4_conv_small.e2400_r224_in1k"),
        ("mobilenet_v4_conv_small", 1.0, 256, "timm/mobilenetv4_conv_small.e3600_r256_in1k"),
        ("mobilenet_v4_conv_large", 1.0, 384, "timm/mobilenetv4_conv_large.e600_r384_in1k"),
        ("mobilenet_v1", 0.25, 224, "mobilenet_2_5_224_tf.h5"),
        ("mobilenet_v1", 0.75, 32, "mobilenet_7_5_128_tf.h5"),
        ("mobilenet_v1", 0.5, 150, "mobilenet_5_0_160_tf.h5"),
        ("mobilenet_v1", 0.5, 176, "mobilenet_5_0_192_tf.h5"),  # both 16 away
        ("mobilenet_v2", 0.35, 96, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_96.h5"),
        ("mobilenet_v2", 0.75, 512, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.75_224.h5"),
        ("mobilenet_v2", 1.3, 96, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.3_224.h5"),
    ],
)
def test_choice(network: str, width: float, size: int, expected: str) -> None:
    chosen = choose(network, width, size)
    assert expected in (chosen.repository, chosen.file)
    assert (chosen.network, chosen.width) == (network, width)


def test_width_from_arithmetic() -> None:
    assert choose("mobilenet_v2", 0.1 + 0.25, 224).width == 0.35


@pytest.mark.parametrize(
    ("network", "width", "words"),
    [
        ("mobilenet_v1", 0.6, "only at 0.25, 0.5, 0.75, 1, 1.25"),
        ("mobilenet_v2", 2.0, "only at 0.35, 0.5, 0.75, 1, 1.3, 1.4"),
        ("mobilenet_v1_cifar", 1.0, "only for mobilenet_v1, mobilenet_v2, mobilenet_v3_large"),
        ("mobilenet_v3_small", 0.35, "only at 0.5, 0.75, 1"),
    ],
)
def test_what_is_not_published(network: str, width: float, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        choose(network, width, 224)
    assert "\n" not in str(caught.value)
    assert "--weights none" in str(caught.value)


def test_class_names() -> None:
    names = imagenet_classes()
    assert len(names) == 1000
    assert len({name.casefold() for name in (*names, BACKGROUND)}) == 1001
    # Places that every list agrees on: keras.applications' class index and timm's imagenet_synsets.txt.
    known = {
        0: "tench",
        1: "goldfish",
        207: "golden retriever",
        281: "tabby",
        386: "African elephant",
        388: "giant panda",
    }
    known |= {134: "crane (bird)", 517: "crane (machine)", 282: "tiger cat", 340: "zebra", 954: "banana"}
    known |= {970: "alp", 999: "toilet tissue"}
    assert {index: names[index] for index in known} == known
    assert all(name == name.strip() and name.isascii() and "/" not in name for name in names)
