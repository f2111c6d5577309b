from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from mobilenets.errors import InputError
from mobilenets.models.catalog import CATALOG
from mobilenets.models.network import Network
from mobilenets.models.rows import Conv, Inverted, PooledHead, Separable, stage
from mobilenets.models.tables import Table
from mobilenets.verbs.models import create_model
from mobilenets.weights.layers import Foreign, conv
from mobilenets.weights.recognise import recognise

ForeignOf = Callable[[Network], Foreign]

WIDTHS = (0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 2.0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2"])
def test_every_width_is_read_off_the_shapes(name: str, width: float, foreign_of: ForeignOf) -> None:
    network = create_model(name, 0, width)
    found = recognise(foreign_of(network))
    assert found.name == name
    assert (found.variant, found.size, found.table) == ("standard", 224, CATALOG[name].table)
    # Widths that round to the same channels are one network.
    assert [p.shape for p in create_model(name, 0, found.width).parameters()] == [p.shape for p in network.parameters()]
    assert found.width == width or width == 0.1


def test_the_light_v1_is_told_by_its_classifier(foreign_of: ForeignOf) -> None:
    network = create_model("mobilenet_v1_cifar", 10, 0.5)
    found = recognise(foreign_of(network))
    assert (found.name, found.width, found.size) == ("mobilenet_v1_cifar", 0.5, 32)


def test_padding_epsilon_and_size_are_the_files(foreign_of: ForeignOf) -> None:
    foreign = dataclasses.replace(
        foreign_of(create_model("mobilenet_v1", 3, 0.25)), padding="keras", epsilon=1e-5, size=160
    )
    found = recognise(foreign)
    assert (found.table.padding, found.table.norm_epsilon, found.size) == ("keras", 1e-5, 160)
    assert recognise(foreign, size=97).size == 97


def test_strides_tell_the_variant(foreign_of: ForeignOf) -> None:
    small = create_model("mobilenet_v2", 3, 0.35, size=32)
    assert small.architecture.variant == "small"
    foreign = foreign_of(small)
    assert recognise(foreign).variant == "standard"
    assert recognise(foreign, variant="small").table == small.architecture.table
    strides = tuple(r.stride for r in small.architecture.table.body[:-1])
    assert recognise(dataclasses.replace(foreign, strides=strides)).variant == "small"
    ours = (1, *strides[1:-1], 2)
    found = recognise(dataclasses.replace(foreign, strides=ours))
    assert found.variant == "custom"
    assert tuple(row.stride for row in found.table.body) == (*ours, 1)


def test_channels_of_ones_own_and_an_expansion_by_one(foreign_of: ForeignOf) -> None:
    table = Table(
        body=(
            Conv(16, stride=2),
            Inverted(8, expand=1, always_expand=True),
            *stage(Inverted(13, stride=2, always_expand=True), 2),
            Inverted(13, expand=3, kernel=5, always_expand=True),
            Conv(100, kernel=1),
        ),
        head=PooledHead(),
        rounding="exact",
    )
    network = create_model("mobilenet_v2", 7, table=table)
    foreign = foreign_of(network)
    with pytest.raises(InputError, match="kernels of 5×5 but MobileNetV1 and V2 have 3×3"):
        recognise(foreign)
    found = recognise(dataclasses.replace(foreign, strides=(2, 1, 2, 1, 1)))
    assert (found.name, found.variant, found.table) == ("mobilenet_v2", "custom", table)


def test_a_v1_of_ones_own(foreign_of: ForeignOf) -> None:
    table = Table((Conv(9, stride=2), Separable(11), Separable(21, stride=2)), PooledHead(), "exact")
    foreign = foreign_of(create_model("mobilenet_v1", 7, table=table))
    assert recognise(dataclasses.replace(foreign, strides=(2, 1, 2))).table == table


def test_what_is_no_mobilenet_is_refused(foreign_of: ForeignOf) -> None:
    foreign = foreign_of(create_model("mobilenet_v2", 3, 0.35))
    with pytest.raises(InputError, match="unlike any MobileNet"):
        recognise(dataclasses.replace(foreign, layers=()))
    with pytest.raises(InputError, match=r"does not take the 3 channels \(RGB\)"):
        recognise(dataclasses.replace(foreign, layers=foreign.layers[1:]))
    # A layer out of its place.
    odd = conv("odd", np.ones((24, 24, 3, 3), np.float32))
    with pytest.raises(InputError, match="do not follow one another"):
        recognise(dataclasses.replace(foreign, layers=(*foreign.layers[:2], odd, *foreign.layers[2:])))
