"""sources: the models of the table: corpus, zoo, models that ship, and the one-feature generators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from tests.hardware.features import FEATURES
from tests.hardware.random_nets import random_net
from tests.integration.corpus import NOT_EXECUTABLE, corpus_files, zoo_files
from tests.models import PROJECT
from tests.targets.finn.nets import NETS
from tests.targets.hls4ml.features_forks import FORKS
from tests.targets.hls4ml.features_images import IMAGES
from tests.targets.hls4ml.features_layers import LAYERS
from tests.targets.hls4ml.nets import Net


@dataclass(frozen=True)
class Source:
    """One model.

    Attributes:
        group: Where it comes from: corpus, zoo, shipped, feature, random.
        name: In its group.
        load: The model, as `anybit` takes it.
    """

    group: str
    name: str
    load: Callable[[], Path | onnx.ModelProto]


def sources() -> Iterator[Source]:
    """All of them."""
    for case in corpus_files():
        if case.name not in NOT_EXECUTABLE:
            yield Source("corpus", case.name, lambda p=case.path: p)
    for path in zoo_files():
        yield Source("zoo", path.stem, lambda p=path: p)
    for path in sorted((PROJECT / "src/anybit/zoo/models").glob("*/model.onnx")):
        yield Source("shipped", path.parent.name, lambda p=path: p)
    for feature in (*LAYERS, *FORKS, *IMAGES):
        yield Source("feature", feature.name, lambda f=feature: _proto(f.make()))
    for name, case in NETS.items():
        yield Source("feature", f"finn: {name}", lambda c=case: _proto(c.make()))
    for name, make in FEATURES.items():
        yield Source("feature", f"any: {name}", make)


def random_sources(seeds: str) -> Iterator[Source]:
    """The random nets of FIRST:END."""
    first, end = map(int, seeds.split(":"))
    for seed in range(first, end):
        yield Source("random", f"seed {seed}", lambda s=seed: random_net(s))


def _proto(net: Net) -> onnx.ModelProto:
    return net.proto(*net.outputs)
