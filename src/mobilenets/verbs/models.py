"""Networks for your own PyTorch code: fresh, with published weights, or from a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from mobilenets.errors import InputError
from mobilenets.models import catalog, saved
from mobilenets.models.catalog import TableLike
from mobilenets.models.detection.detector import Detector
from mobilenets.models.device import pick_device
from mobilenets.models.engine import to_tensor
from mobilenets.models.int8 import float_part
from mobilenets.models.network import Network, head_names
from mobilenets.pictures.decode import decode
from mobilenets.pictures.inputs import source_of
from mobilenets.runtime.bundle import Bundle
from mobilenets.runtime.predictor import naming
from mobilenets.weights.start import open_weights


class LoadedModel(Network):
    """A trained network with what its ``model.json`` says: a ``torch.nn.Module`` in evaluation mode.

    Attributes
    ----------
    class_names:
        Names of the classes, in the order of the logits.
    bundle:
        All of ``model.json``; ``bundle.preprocessing`` is how a picture becomes numbers, ``bundle.origin`` where the
        weights came from.

    """

    bundle: Bundle
    class_names: tuple[str, ...]

    def prepare(self, *pictures: str | Path | bytes | Image.Image) -> Tensor:
        """Decode and preprocess pictures into a batch for this model, float32 N×3×S×S on its device."""
        own, images = self.bundle.preprocessing, []
        for picture in pictures:
            with naming(picture):
                images.append(own(decode(source_of(picture), own.surplus)))
        return to_tensor(np.stack(images), next(self.parameters()).device)


class LoadedDetector(LoadedModel, Detector):
    """The same of a detector, which gives N × anchors × (4 + 1 + classes)."""


def load_model(model: str | Path, device: str = "cpu") -> LoadedModel:
    """Load a run folder or a bundle as a ``torch.nn.Module``, in evaluation mode.

    Parameters
    ----------
    model:
        A run folder, a bundle, or a file in one.
    device:
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    The network takes float N×3×S×S, preprocessed as its ``prepare`` does it, and gives N×classes logits, a detector
    what ``mobilenets.runtime.detection`` says; ``class_names`` has the names in their order. Raises ``InputError`` for
    a model that is missing or damaged.

    >>> model = mobilenets.load_model("run")
    >>> logits = model(model.prepare("photo.jpg"))
    >>> logits.shape, model.class_names
    (torch.Size([1, 3]), ('cat', 'dog', 'owl'))

    """
    found = saved.load_model(Path(model))
    network = found.network
    network.__class__ = LoadedDetector if isinstance(network, Detector) else LoadedModel
    assert isinstance(network, LoadedModel)
    network.bundle, network.class_names = found.bundle, found.bundle.classes
    return network.to(pick_device(device))


def create_model(
    name: str,
    classes: int = 1000,
    width: float = 1.0,
    *,
    weights: str | Path = "none",
    size: int | None = None,
    variant: str = "auto",
    dropout: float | None = None,
    table: TableLike | None = None,
) -> Network:
    """Build a network: a plain ``torch.nn.Module``, N×3×H×W in, N×classes logits out.

    Parameters
    ----------
    name:
        A name of ``mobilenets.models.catalog.CATALOG``, such as ``mobilenet_v3_small``.
    classes:
        Number of classes; 0 leaves the classifier off and gives N×features.
    width:
        Width multiplier, above 0.
    weights:
        ``none`` for fresh weights, ``imagenet`` for published ones (from the cache or the network), or a run folder,
        bundle or foreign weights file. The classifier is fresh where the weights have another number of classes.
        What they expect of pictures: ``load_model`` of a run, or docs/weights.md for published ones.
    size:
        Input size in pixels per side; by default the network's usual one.
    variant:
        ``auto`` takes the variant for small pictures up to 64 pixels; ``standard`` and ``small`` insist.
    dropout:
        Share of the features dropped before the classifier.
    table:
        Your own table instead of the named one's: rows of V2's ``(t, c, n, s)``, a whole table (docs/networks.md), or a
        JSON file that holds either.

    Raises ``InputError`` for what cannot be built, or weights that cannot be had or do not fit.

    >>> mobilenets.create_model("mobilenet_v2", classes=10, width=0.5).classifier
    Linear(in_features=1280, out_features=10, bias=True)

    """
    architecture = catalog.describe(name, width, size, variant=variant, dropout=dropout, table=table)
    given = open_weights(str(weights), name, width, architecture.size)
    if given is None:
        return Network(architecture, classes)
    own = given.network.architecture
    if (own.name, own.width) != (architecture.name, architecture.width):
        raise InputError(
            f"{weights}: these are weights of {own.name} at width {own.width:g}, not of {name} at width {width:g}"
        )
    if table is None:
        # The padding, BatchNorm epsilon and activation that the weights were trained with.
        habits = {key: getattr(own.table, key) for key in ("padding", "norm_epsilon", "activation")}
        architecture = replace(architecture, table=replace(architecture.table, **habits))
    network = Network(architecture, classes)
    state = float_part(given.network.state_dict())
    head = head_names(network, state)
    if given.network.classes != classes or not head <= state.keys():
        state = {key: value for key, value in state.items() if key not in head}
    try:
        left = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"{weights}: the weights belong to another layer table and do not fit this one") from error
    wrong = sorted({*left.missing_keys, *left.unexpected_keys} - head)
    if wrong:
        raise InputError(f"{weights}: the weights belong to another layer table and do not fit this one ({wrong[0]})")
    return network
