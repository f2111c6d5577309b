"""What a frozen trunk gives for each picture, computed once: training then runs the blocks after it alone.

It is kept in a cache on the disk, by a key that holds all that it follows from but the picture: the trunk's weights and
architecture, preprocessing, augmentation and seed. Of several views of a picture the first is the picture as it is, so
that it needs not be computed again when the trained model is asked about its own pictures.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from mobilenets.base.notes import log
from mobilenets.base.progress import progress
from mobilenets.datasets.folder import Sample, content_hashes
from mobilenets.datasets.loader import Batch, Loader, Share, Targets, in_order
from mobilenets.models.architecture import table_to_json
from mobilenets.models.engine import to_tensor
from mobilenets.models.network import Network
from mobilenets.pictures.augment.transforms import Fit
from mobilenets.pictures.stream import checked, grouped, stream
from mobilenets.runtime.engines import TOGETHER
from mobilenets.training.feature_cache import FeatureCache, count_entries, is_kept, look_up, prune
from mobilenets.training.recipe import Recipe

Floats = npt.NDArray[np.float32]
# What runs the frozen blocks: float32 N×S×S×3 in, N×H×W×C out. And what opens one that computes on the thread that
# calls it, in several at once, or None where it is not there.
Trunk: TypeAlias = Callable[[npt.NDArray[Any]], Floats]
TrunkOpener: TypeAlias = Callable[[Network, int], Trunk | None]

VERSION = 6
COMPUTED_TOGETHER = 32
MOST_AT_ONCE = 2 << 30  # bytes of memory


@dataclass(frozen=True)
class FeatureLoader:
    """Batches of cached features in place of pictures: ``values`` is float32 pictures×views×H×W×C.

    Which view of a picture a batch holds follows from ``seed``, the epoch and the picture's place in it. ``share`` is
    that of ``Loader``. ``taught``, float32 pictures×views×numbers, has what its teacher says of each view.
    """

    samples: Sequence[Sample]
    outputs: int
    values: Floats
    task: Targets
    seed: int = 0
    share: Share | None = None
    taught: Floats | None = None

    def batches(self, plan: Sequence[Sequence[int]], epoch: int = 0, skip: int = 0) -> Generator[Batch]:
        """Yield the batches of ``plan`` in order, leaving out the first ``skip``; of each what ``share`` names."""
        starts = list(accumulate(map(len, plan), initial=0))
        # One draw for the whole epoch: a generator for each picture took as long as the step.
        views = np.random.default_rng((self.seed, 3, epoch)).integers(self.values.shape[1], size=starts[-1])
        for indices, start in zip(plan[skip:], starts[skip:-1], strict=True):
            part = slice(0, len(indices)) if self.share is None else self.share(len(indices))
            some, chosen = list(indices[part]), views[start : start + len(indices)][part]
            targets = self.task.targets([self.samples[index] for index in some], self.outputs)
            if self.taught is not None:
                targets[:, -self.taught.shape[2] :] = self.taught[some, chosen]
            yield Batch(self.values[some, chosen], targets, len(indices), part.start)


def cached_features(
    network: Network,
    recipe: Recipe,
    blocks: int,
    train: Loader,
    validation: Loader,
    device: torch.device,
    opener: TrunkOpener | None = None,
) -> tuple[FeatureLoader, FeatureLoader] | None:
    """Give what the first ``blocks`` blocks of ``network`` make of both sets, from the cache where it is there.

    None where that cannot stand in for the pictures: no frozen block, ``--views 0``, Mixup or CutMix (which blend
    pictures before the network), or more features than memory should hold; all but the first are said. On the CPU
    ``opener`` opens what computes them in place of PyTorch; its numbers differ by rounding, so their entries are its
    own.
    """
    if blocks == 0:
        return None
    shape = shape_behind(network, blocks)
    reason = _why_not(recipe, shape, train, validation)
    if reason is not None:
        log.info("the outputs of the frozen blocks are not cached but computed in every epoch: %s", reason)
        return None
    found = []
    trunk, in_torch = open_trunk(network, blocks, device, opener)
    for loader, count in ((train, _views(recipe, train)), (validation, 1)):
        values, marks = np.empty((len(loader.samples), count, *shape), np.float32), _marks(loader)
        for part, views in _parts(loader, count):
            key = _key(network, blocks, part, recipe.seed, in_torch)
            with closing(FeatureCache(key, marks, values[:, views])) as cache:
                _compute(cache, trunk, in_torch, part, marks)
        taught = None if loader.teacher is None else _taught(loader, count, marks)
        found.append(FeatureLoader(loader.samples, loader.outputs, values, loader.task, recipe.seed, taught=taught))
    prune()
    return found[0], found[1]


def pooled_features(
    features: tuple[FeatureLoader, FeatureLoader], network: Network, start: int, device: torch.device
) -> tuple[FeatureLoader, FeatureLoader]:
    """Run the blocks from ``start`` on, untrained, over cached features: what the whole body gives for each view."""
    network.eval()
    found = []
    for loader in features:
        maps = loader.values.reshape(-1, *loader.values.shape[2:])
        with torch.inference_mode():
            parts = [
                network.trunk(to_tensor(maps[at : at + COMPUTED_TOGETHER], device), len(network.body), start)
                for at in range(0, len(maps), COMPUTED_TOGETHER)
            ]
            values = torch.cat(parts).float().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        found.append(replace(loader, values=values.reshape(*loader.values.shape[:2], *values.shape[1:])))
    return found[0], found[1]


def still_to_compute(
    network: Network,
    recipe: Recipe,
    blocks: int,
    train: Loader,
    validation: Loader,
    in_torch: bool,
) -> int | None:
    """Count the outputs that ``cached_features`` would have to compute, or None where it would give none."""
    if blocks == 0 or _why_not(recipe, shape_behind(network, blocks), train, validation) is not None:
        return None
    count = 0
    for loader, views in ((train, _views(recipe, train)), (validation, 1)):
        marks = _marks(loader)
        for part, some in _parts(loader, views):
            key, these = _key(network, blocks, part, recipe.seed, in_torch), some.stop - some.start
            count += len(marks) * these - count_entries(key, marks, these)
    return count


def still_to_ask(recipe: Recipe, train: Loader) -> int:
    """Count the views of which ``cached_features`` would have to ask the teacher."""
    count, marks, views = 0, _marks(train), _views(recipe, train)
    for part, some in _parts(train, views):
        these = some.stop - some.start
        count += len(marks) * these - count_entries(_teacher_key(part), marks, these)
    return count


def _taught(loader: Loader, count: int, marks: Sequence[str]) -> Floats:
    """Give what the teacher says of ``count`` views of each picture, from the cache where it is there."""
    assert loader.teacher is not None
    values = np.empty((len(loader.samples), count, 1, 1, loader.outputs + loader.teacher.features), np.float32)
    for part, views in _parts(loader, count):

        def ask(images: npt.NDArray[Any], part: Loader = part) -> Floats:
            assert part.teacher is not None
            return part.teacher(images, part.preprocessing)[:, None, None]

        with closing(FeatureCache(_teacher_key(part), marks, values[:, views])) as cache:
            _compute(cache, ask, False, part, marks, "teacher")
    return values[:, :, 0, 0]


def _marks(loader: Loader) -> list[str]:
    """Give the hash of each picture's content, by which its entries are found."""
    paths = [sample.path for sample in loader.samples]
    found = loader.contents or content_hashes(paths, loader.workers)
    return [found[path] for path in paths]


def _views(recipe: Recipe, train: Loader) -> int:
    """Count the views of each training picture: one where nothing about them is drawn at random."""
    return 1 if _still(train) else recipe.views


def _still(loader: Loader) -> bool:
    return loader.augment is None or all(isinstance(part, Fit) for part in loader.augment.transforms)


def _parts(loader: Loader, views: int) -> list[tuple[Loader, slice]]:
    """Say what makes which views of each picture: of several the first is the picture as it is."""
    if views == 1 and not _still(loader):
        return [(loader, slice(0, 1))]
    plain = (replace(loader, augment=None), slice(0, 1))
    return [plain] if views == 1 else [plain, (loader, slice(1, views))]


def _why_not(recipe: Recipe, shape: tuple[int, ...], train: Loader, validation: Loader) -> str | None:
    """Say why cached features cannot stand in for the pictures, or None."""
    room = len(train.samples) * _views(recipe, train) + len(validation.samples)
    size = 4 * room * math.prod(shape)
    if recipe.views == 0:
        return "--views 0"
    if recipe.mixup or recipe.cutmix:
        return "Mixup and CutMix blend the pictures first"
    return f"the cache would take {size / 2**30:.1f} GiB" if size > MOST_AT_ONCE else None


def shape_behind(network: Network, blocks: int) -> tuple[int, ...]:
    """Give the shape of what ``blocks`` blocks give for one picture, H×W×C."""
    channels, *sides = network.plan.kept(blocks).shape
    return (*(sides or (1, 1)), channels)


def open_trunk(network: Network, blocks: int, device: torch.device, opener: TrunkOpener | None) -> tuple[Trunk, bool]:
    """Give what computes the first ``blocks`` blocks, and whether that is PyTorch."""
    opened = opener(network, blocks) if opener is not None and device.type == "cpu" else None
    if opened is not None:
        return opened, False

    def run(images: npt.NDArray[Any]) -> Floats:
        # Always as many: else the last bits of a picture would depend on how many others were missing with it.
        parts = []
        for at in range(0, len(images), COMPUTED_TOGETHER):
            part = images[at : at + COMPUTED_TOGETHER]
            padded = np.zeros((COMPUTED_TOGETHER, *part.shape[1:]), part.dtype)
            padded[: len(part)] = part
            with torch.inference_mode():
                given = network.eval().trunk(to_tensor(padded, device), blocks)[: len(part)]
                parts.append(given.float().permute(0, 2, 3, 1).contiguous().cpu().numpy())
        found: Floats = np.concatenate(parts)
        return found

    return run, True


def _key(network: Network, blocks: int, loader: Loader, seed: int, in_torch: bool) -> str:
    """Hash all that features follow from, but the pictures."""
    digest = hashlib.sha256()
    table = table_to_json(network.architecture.table)
    table["body"] = table["body"][:blocks]
    augment = None if loader.augment is None else [loader.augment.to_json(), seed]
    about = [VERSION, blocks, table, network.architecture.width, loader.preprocessing.to_json(), augment]
    # Other versions, and in PyTorch other numbers of threads, give other last bits.
    if in_torch:
        about += ["torch", torch.__version__, torch.get_num_threads()]
    else:
        import onnxruntime  # which is what opened them

        about += ["onnxruntime", onnxruntime.__version__]
    digest.update(json.dumps(about, sort_keys=True).encode())
    frozen = {name: value for index in range(blocks) for name, value in _block(network, index).items()}
    for name, value in sorted(frozen.items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _teacher_key(loader: Loader) -> str:
    """Hash all that a teacher's answers follow from, but the pictures."""
    assert loader.teacher is not None
    augment = None if loader.augment is None else [loader.augment.to_json(), loader.seed]
    about = [VERSION, loader.teacher.mark, loader.preprocessing.to_json(), augment]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _block(network: Network, index: int) -> dict[str, torch.Tensor]:
    state = network.body[index].state_dict()
    # How many batches a BatchNorm has seen changes nothing that it computes.
    return {f"{index}.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _compute(
    cache: FeatureCache,
    trunk: Trunk,
    in_torch: bool,
    loader: Loader,
    marks: Sequence[str],
    what: str = "frozen blocks",
) -> None:
    total, missing = cache.values.shape[0] * cache.values.shape[1], cache.missing
    if len(missing) < total:
        log.info("outputs of the %s: %d of %d found in the cache", what, total - len(missing), total)
    if not missing:
        return

    def made(group: Sequence[tuple[int, int]]) -> Floats:
        pixels = _pixels(loader, marks, group)
        # PyTorch has threads of its own. Any other computes where the pictures were decoded: each core does both, and
        # none waits for another.
        return loader.preprocessing.normalise(pixels) if in_torch else trunk(loader.preprocessing.planes(pixels))

    even = 1 if in_torch else TOGETHER  # so that no run of the runtime is filled up with nothing
    groups = _groups(missing, even * max(1, COMPUTED_TOGETHER // even // cache.values.shape[1]))
    with (
        closing(stream(made, groups, workers=loader.workers)) as results,
        progress(what, len(missing), "pictures") as shown,
    ):
        for group, found in zip(groups, checked(results), strict=True):
            cache.add(group, trunk(found) if in_torch else found)
            shown.advance(len(group))


def _groups(entries: Sequence[tuple[int, int]], pictures: int) -> list[list[tuple[int, int]]]:
    """Divide places and views into groups of up to so many pictures, all views of a picture in one group."""
    return [
        [entry for _, views in group for entry in views]
        for group in grouped(((key, list(views)) for key, views in groupby(entries, itemgetter(0))), pictures)
    ]


def _pixels(loader: Loader, marks: Sequence[str], group: Sequence[tuple[int, int]]) -> npt.NDArray[np.uint8]:
    """Give the views that ``group`` names by place and view, N×S×S×3; each picture is decoded once for all of its."""
    size = loader.preprocessing.size
    pixels = np.empty((len(group), size, size, 3), np.uint8)
    rows = iter(pixels)
    for place, entries in groupby(group, itemgetter(0)):
        # By content, and not by place: a view stays what it is when pictures come and go around it.
        content = int(marks[place][:15], 16)
        rngs = [np.random.default_rng((loader.seed, 4, view, content)) for _, view in entries]
        for view in loader.views(loader.samples[place], rngs):
            next(rows)[:] = np.asarray(view)
    return pixels


def pooled(
    network: Network, loader: Loader, device: torch.device, opener: TrunkOpener | None = None
) -> Generator[Floats]:
    """Yield what the whole body of ``network`` makes of each picture as it is, in order, N×1×1×features at a time.

    What a training with a frozen body left in the cache is taken from there, and none is filled. ``loader`` has no
    augmentation, and ``opener`` is that of ``cached_features``.
    """
    blocks = len(network.body)
    trunk, in_torch = open_trunk(network, blocks, device, opener)
    key, shape = _key(network, blocks, loader, 0, in_torch), shape_behind(network, blocks)
    marks = _marks(loader) if is_kept(key) else None
    unused = np.random.default_rng(0)

    def made(group: Sequence[int]) -> tuple[Floats, list[int], npt.NDArray[Any] | None]:
        values, missing = np.empty((len(group), *shape), np.float32), list(range(len(group)))
        if marks is not None:
            missing = look_up(key, [marks[place] for place in group], values)
        if not missing:
            return values, missing, None
        samples = [loader.samples[group[row]] for row in missing]
        pixels = np.stack([np.asarray(loader.view(loader.decoded(sample), unused)) for sample in samples])
        if in_torch:
            return values, missing, loader.preprocessing.normalise(pixels)
        values[missing] = trunk(loader.preprocessing.planes(pixels))
        return values, missing, None

    groups = in_order(len(loader.samples), COMPUTED_TOGETHER)
    with closing(stream(made, groups, workers=loader.workers)) as results:
        for values, missing, images in checked(results):
            if images is not None:
                values[missing] = trunk(images)
            yield values
