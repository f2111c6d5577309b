"""What ``--weights`` names, as a model to start from: a mobilenets model, a foreign file, or ImageNet's by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilenets.base.notes import log
from mobilenets.errors import InputError
from mobilenets.models.catalog import IMAGENET_CLASSES
from mobilenets.models.saved import SavedModel, load_model
from mobilenets.runtime.bundle import DESCRIPTION, WEIGHTS

if TYPE_CHECKING:
    from mobilenets.weights.published import Published

NAMED = ("none", "imagenet", "imagenet:timm", "imagenet:keras")
"""What ``open_weights`` takes by name; anything else is a path."""


def open_weights(name: str, network: str, width: float, size: int) -> SavedModel | None:
    """Load ``imagenet`` (for that network, width and size), a run folder or bundle, or a foreign file; or ``none``.

    ``imagenet:timm`` and ``imagenet:keras`` take that source's alone. Raises ``InputError`` for what cannot be found or
    read.
    """
    if name == "none":
        return None
    if name in NAMED:
        from mobilenets.weights import published

        return load_published(published.choose(network, width, size, name.partition(":")[2] or None))
    path = Path(name)
    if not path.exists() and not path.with_name(f"{path.name}.index").is_file():
        raise InputError(f"weights {name}: no such file; use auto, none, imagenet, a run folder, or a weights file")
    hub = path.is_dir() and not (path / DESCRIPTION).exists() and (path / "config.json").is_file()
    if (path.is_dir() and not hub) or (path.name in (WEIGHTS, DESCRIPTION) and (path.parent / DESCRIPTION).is_file()):
        return load_model(path)
    # The readers are imported where there is something to read.
    from mobilenets.weights.convert import convert

    return convert(path).model


def load_published(chosen: Published) -> SavedModel:
    """Get one published file, from the cache or the network, as a model; raises ``InputError`` as ``hub.fetch``."""
    from mobilenets.weights import hub
    from mobilenets.weights.convert import convert

    fetched = hub.fetch(chosen)
    origin: dict[str, Any] = {
        "weights": "imagenet",
        "url": chosen.url,
        "revision": fetched.revision,
        "licence": chosen.licence,
        "published_top1": chosen.top1,
    }
    model = convert(
        fetched.path,
        size=chosen.size,
        preprocessing=chosen.preprocessing,
        origin=origin,
        habits=chosen.habits,
        quiet=True,
    ).model
    found = model.network.architecture
    if (found.name, found.width, model.network.classes) != (chosen.network, chosen.width, IMAGENET_CLASSES):
        raise InputError(
            f"{fetched.path}: not {chosen.url}, but {found.name} at width {found.width:g} with {model.network.classes} "
            "classes; remove it to download it again"
        )
    log.info(
        "weights: %s at width %g trained on ImageNet, by %s (top-1 %.1f %% there), %s",
        chosen.network,
        chosen.width,
        chosen.source,
        chosen.top1,
        chosen.licence,
    )
    return model
