"""The network that a run begins with: fresh, or with given weights, its head replaced where the classes differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mobilenets.base.notes import log
from mobilenets.datasets.box_loader import BoxLoader
from mobilenets.datasets.loader import Loader
from mobilenets.errors import InputError
from mobilenets.models.architecture import Architecture
from mobilenets.models.catalog import IMAGENET_CLASSES, describe, load_table
from mobilenets.models.int8 import float_part
from mobilenets.models.network import Network, head_names
from mobilenets.models.saved import SavedModel
from mobilenets.pictures.preprocess import UNFILTERED, Preprocessing
from mobilenets.runtime.bundle import Bundle
from mobilenets.tasks.registry import find_task
from mobilenets.training import checkpoint
from mobilenets.training.int8 import Int8Network
from mobilenets.training.norms import measure_norms
from mobilenets.training.recipe import AUTO, Recipe
from mobilenets.training.refused import INT8

# Pictures from which BatchNorm takes its statistics in frozen blocks that nobody trained.
SETTLING = 512


def follow(recipe: Recipe, saved: SavedModel, given: set[str]) -> Recipe:
    """Fill the settings that come with the weights: the network, its width and table, and the picture's way in.

    ``given`` names the settings that the user gave, which stand; a network that the weights do not fit is refused
    by ``fresh_network``.
    """
    architecture = saved.bundle.architecture
    preprocessing = saved.bundle.preprocessing
    table = architecture["table"] if architecture["variant"] == "custom" else None
    unfiltered = preprocessing.interpolation in UNFILTERED
    if unfiltered and "interpolation" not in given:
        log.info(
            "the weights resize without antialiasing (%s); training resizes by Pillow's bilinear filter, which has it, "
            "and so will the model that comes of it (--interpolation takes another)",
            preprocessing.interpolation,
        )
    carried = {
        "model": architecture["name"],
        "width": architecture["width"],
        "table": table,
        "size": architecture["size"],
        "resize": preprocessing.resize,
        "crop_fraction": preprocessing.crop_fraction,
        # Augmentation resamples by Pillow's filters, and so the network learns by one.
        "interpolation": "bilinear" if unfiltered else preprocessing.interpolation,
    }
    if "size" not in given and "variant" not in given and table is None:
        carried["variant"] = architecture["variant"]
    return recipe.replace(**{name: value for name, value in carried.items() if name not in given})


def preprocessing_of(recipe: Recipe, saved: SavedModel | None) -> Preprocessing:
    """Return the preprocessing of the run; mean, deviation and scale stay those of the weights."""
    settings = {
        "size": recipe.size,
        "resize": recipe.resize,
        "crop_fraction": recipe.crop_fraction,
        "interpolation": recipe.interpolation,
    }
    base = saved.bundle.preprocessing.to_json() if saved is not None else {}
    return Preprocessing.from_json(base | settings) if base else Preprocessing(**settings)  # type: ignore[arg-type]


def architecture_of(recipe: Recipe, saved: SavedModel | None) -> Architecture:
    """Describe the network of a run, with the padding and BatchNorm epsilon that its weights were trained with."""
    table = load_table(recipe.table) if recipe.table is not None else None
    architecture = describe(
        recipe.model, recipe.width, recipe.size, variant=recipe.variant, dropout=recipe.dropout, table=table
    )
    return architecture if table is not None else as_trained(architecture, saved)


def as_trained(architecture: Architecture, saved: SavedModel | None) -> Architecture:
    """Give a network the padding and BatchNorm epsilon that its weights were trained with."""
    if saved is None:
        return architecture
    trained = saved.network.architecture.table
    own = replace(architecture.table, padding=trained.padding, norm_epsilon=trained.norm_epsilon)
    return replace(architecture, table=own)


def refuse_other_weights(
    recipe: Recipe, saved: SavedModel, names: Iterable[str], expected: Mapping[str, Tensor]
) -> None:
    """Raise ``InputError`` where the tensors of these names are not in the weights as the network expects them."""
    given = saved.network.state_dict()
    for name in sorted(names):
        if name not in expected or name not in given or expected[name].shape != given[name].shape:
            raise InputError(
                f"the weights are for {saved.bundle.architecture['name']} at width "
                f"{saved.bundle.architecture['width']:g} and do not fit {recipe.model} at width {recipe.width:g} "
                f"({name}); leave --model and --width out to use theirs"
            )


def fresh_network(
    recipe: Recipe,
    architecture: Architecture,
    classes: tuple[str, ...],
    saved: SavedModel | None,
    renamed: Mapping[str, str] | None = None,
) -> tuple[Network, dict[str, Any]]:
    """Build the network with the weights it begins with; also says where they came from, for ``model.json``.

    The head's rows of the classes that the weights know are kept, by name, or by that which ``renamed`` gives.
    ``head`` in what is said is then ``kept`` where all are known, ``extended`` where some are, else ``replaced``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        kind = Int8Network if recipe.precision == INT8 else Network
        network = kind(architecture, find_task(recipe.task).outputs(classes))
    if saved is None:
        return network, {"weights": "random"}
    given = dict(saved.network.state_dict())
    if recipe.precision != INT8:
        given = float_part(given)
    elif saved.network.int8 is None:
        raise InputError(f"precision int8: {recipe.weights} has no steps for it: use mobilenets quantize RUN DATA")
    expected = network.state_dict()
    if saved.bundle.detection is not None:
        raise InputError(f"{recipe.weights}: a detector's weights; for whole pictures give those of a classifier")
    head = head_names(network, given)
    rows = _known_rows(saved.bundle, recipe.task, classes, renamed or {}) if head <= given.keys() else {}
    refuse_other_weights(recipe, saved, (expected.keys() | given.keys()) - head, expected)
    network.load_state_dict({name: value for name, value in given.items() if name not in head}, strict=False)
    with torch.no_grad():
        for name in sorted(head) if rows else ():
            expected[name][list(rows)] = given[name][list(rows.values())]
    kept = "kept" if len(rows) == network.classes else "extended" if rows else "replaced"
    origin = {"weights": recipe.weights, "head": kept}
    return network, origin | {"before": dict(saved.bundle.origin)}


def _known_rows(saved: Bundle, task: str, now: Sequence[str], renamed: Mapping[str, str]) -> dict[int, int]:
    """Give, for the rows of the new head whose class is known, the row in the old one; none for another task."""
    if saved.task != task:
        return {}
    if saved.outputs is not None:  # rows that are no classes
        return {row: row for row in range(saved.outputs)} if saved.outputs == find_task(task).outputs(now) else {}
    before = saved.classes
    places = {name: row for row, name in enumerate(before)}
    known = [renamed.get(name, name) for name in now]
    rows = {row: places[name] for row, name in enumerate(known) if name in places}
    # One "banana" among ImageNet's thousand does not make it the same task.
    return rows if len(before) < IMAGENET_CLASSES or 2 * len(rows) >= len(now) else {}


def say_what_was_kept(saved: SavedModel, network: Network, origin: dict[str, Any]) -> None:
    """Note what became of the weights that a run begins with."""
    if (network.architecture.variant, saved.network.architecture.variant) == ("small", "standard"):
        log.info(
            "at %d pixels the variant for small pictures is used: its first two strides are 1, but the weights were "
            "trained with 2; --variant standard keeps 2",
            network.architecture.size,
        )
    if origin["head"] == "kept":
        log.info("the weights were trained on these classes: all tensors kept, the classifier too")
        return
    if origin["head"] == "extended":
        log.info("classifier extended to %d classes: the rows of the known ones kept", network.classes)
        return
    log.info(
        "classifier %s %d; everything else kept (%d tensors)",
        f"replaced: {saved.network.classes} classes became" if saved.network.classes else "new, classes:",
        network.classes,
        len(network.body.state_dict()),
    )


def settle_norms(parts: Sequence[nn.Module], pictures: Loader | BoxLoader, device: torch.device) -> None:
    """Let the BatchNorm of frozen parts that nobody trained see up to 512 of the pictures, unaugmented.

    Fresh BatchNorm takes its input for one of mean 0 and deviation 1, which it is not: the features of MobileNetV2 at
    96 pixels came out at 1e-9, from which no classifier learns. Afterwards it holds the mean and variance of what it
    gets. The weights stay random.
    """
    log.warning(
        "the frozen blocks have random, untrained weights: for better features set --weights imagenet or MODEL, or "
        "leave --freeze out"
    )
    frozen = nn.Sequential(*parts).eval()
    norms = [module for module in frozen.modules() if isinstance(module, nn.BatchNorm2d)]
    measure_norms(frozen, norms, pictures, pictures.seed, device, SETTLING)


def frozen_parts(network: Network, freeze: str) -> tuple[nn.Module, ...]:
    """Return the modules that ``--freeze`` keeps as they are; N counts the blocks of the body from the input."""
    count = frozen_blocks(network, freeze)
    if count > len(network.body):
        raise InputError(
            f"freeze {freeze}: this network has {len(network.body)} blocks; choose at most that, or backbone"
        )
    return tuple(list(network.body.children())[:count])


def frozen_blocks(network: Network, freeze: str) -> int:
    """Count the blocks of the body that ``--freeze`` keeps as they are; none while it is left to auto."""
    if freeze in (AUTO, "none", "backbone"):
        return len(network.body) if freeze == "backbone" else 0
    return int(freeze[:9])  # Python refuses numbers of thousands of digits


def refuse_lone_pictures(recipe: Recipe, network: Network, pictures: int, processes: int = 1) -> None:
    """Refuse a batch of one picture where BatchNorm would see a single value a channel, which has no deviation.

    Where it is not synchronised over ``processes``, each has to have two pictures of every batch.
    """
    smallest = pictures // -(-pictures // recipe.batch)
    if not recipe.sync_bn and recipe.freeze != "backbone" and smallest // processes < 2 <= processes:
        raise InputError(
            f"no-sync-bn: batches of {smallest} pictures leave one of {processes} processes fewer than two, and "
            "BatchNorm learns nothing from one; use a larger --batch, fewer processes, or leave --no-sync-bn out"
        )
    if smallest > 1 or recipe.freeze == "backbone":
        return
    size = network.architecture.size
    with torch.device("meta"):
        try:
            Network(network.architecture, network.classes)(torch.empty(1, 3, size, size))
        except ValueError as error:
            raise InputError(
                f"batch {recipe.batch}: a step would see a single picture, and BatchNorm cannot learn from a last "
                "map of one pixel; use a larger --batch or --size"
            ) from error


def place_network(network: Network, run: Path, recipe: Recipe, train: Loader | BoxLoader, device: torch.device) -> None:
    """Bring the network of a run, or of one of its folds, to its device, with the statistics that frozen blocks need.

    ``recipe`` is that of the first stage. A begun run has these statistics in its checkpoint.
    """
    begun = checkpoint.exists(run)
    frozen = frozen_parts(network, recipe.freeze)
    if frozen and begun:
        checkpoint.restore_network(run, network)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if frozen and recipe.weights == "none" and not begun:
        settle_norms(frozen, train, device)
