"""make: trains a recipe's network, exports it, compares it with the network, and writes model, data and card."""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import nn

import anybit
from anybit.evaluation.evaluate import evaluate
from anybit.frontends.agreement import compared
from anybit.frontends.brevitas import from_brevitas
from anybit.frontends.comparison.lockstep import Recording
from anybit.io.files.whole import write_whole
from anybit.zoo.card import Card, CardCost, Claim, File, Judging, Quantization, Role, Source
from anybit.zoo.catalogue import CARD_FILE, encoded_card
from training.data import Array, Data

MODELS = Path(__file__).resolve().parents[1] / "src" / "anybit" / "zoo" / "models"
_EXAMPLES = 2


@dataclass(frozen=True)
class Recipe:
    """A model of the zoo.

    Attributes:
        name: Its name in the catalogue; the folder and the script have it as well.
        summary: What a reader of the catalogue wants to know.
        data: Makes its data.
        network: Makes the network to train, of Brevitas layers.
        epochs: How often all samples are gone through.
        batch: Samples a step.
        rate: Largest learning rate.
        note: Number formats beside the dominant ones.
    """

    name: str
    summary: str
    data: Callable[[], Data]
    network: Callable[[], nn.Module]
    epochs: int
    batch: int = 64
    rate: float = 0.01
    note: str = ""


def make(recipe: Recipe, arguments: Sequence[str] | None = None) -> None:
    """Writes ``model.onnx``, ``test.npz`` and ``card.json``: a command line of one option, ``--out DIR``.

    Raises:
        FrontEndError: The exported model departs from the network on the held-out samples.
    """
    parser = argparse.ArgumentParser(description=recipe.summary)
    parser.add_argument("--out", type=Path, default=MODELS / recipe.name, help="directory to write to")
    out: Path = parser.parse_args(arguments).out
    start = time.perf_counter()
    data = recipe.data()
    network = train(recipe, data)
    model = exported(network, data)
    content = anybit.to_proto(model).SerializeToString(deterministic=True)
    files = {"model.onnx": content, "test.npz": _archive({data.input: data.test, "labels": data.test_labels})}
    card = described(recipe, data, model, files)
    out.mkdir(parents=True, exist_ok=True)
    for name, file in {**files, CARD_FILE: encoded_card(card)}.items():
        write_whole(out / name, file)
    seconds = time.perf_counter() - start
    print(f"{recipe.name}: {card.claim}, {len(content):,} bytes, {seconds:.0f} s, written to {out}")


def train(recipe: Recipe, data: Data) -> nn.Module:
    """The network after training, in evaluation mode: AdamW, a learning rate that rises, then falls to zero.

    One thread, fixed seeds and deterministic operators: on one kind of processor the same weights each time.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    network = recipe.network().train()
    inputs, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_labels)
    loss = nn.functional.mse_loss if data.regression else nn.functional.cross_entropy
    steps = recipe.epochs * (len(inputs) // recipe.batch)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, total_steps=steps)
    for _ in range(recipe.epochs):
        for chosen in torch.randperm(len(inputs)).split(recipe.batch):
            if len(chosen) < recipe.batch:
                continue
            optimizer.zero_grad()
            loss(network(inputs[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def exported(network: nn.Module, data: Data) -> ir.Model:
    """The network as a clean QONNX model with packed weights, which gives its numbers on all held-out samples."""
    hub = from_brevitas(network, torch.from_numpy(data.test[:_EXAMPLES]), quiet=True).model
    hub.graph.inputs[0].name, hub.graph.outputs[0].name = data.input, data.output
    model = anybit.convert(hub, "qonnx", pack=True).model

    def framework(feeds: Mapping[str, Array]) -> tuple[Recording, list[Array]]:
        with torch.no_grad():
            result: Any = network(torch.from_numpy(feeds[data.input]))
        return Recording({}), [getattr(result, "value", result).numpy()]

    compared(model, framework, [{data.input: data.test}])
    return model


def described(recipe: Recipe, data: Data, model: ir.Model, files: Mapping[str, bytes]) -> Card:
    """The card, with what was measured on the files."""
    labels = data.test_labels
    metric = "squared-error" if data.regression else "accuracy"
    result = evaluate(anybit.Session(model), {data.input: data.test}, labels, metric=metric)
    cost = anybit.cost(model).dense
    most = cost.formats[0]
    return Card(
        name=recipe.name,
        task=data.task,
        data_set=data.source,
        source=Source(name=f"anybit, training.{recipe.name}"),
        licence="Apache-2.0",
        input=data.prepared,
        framework=f"Brevitas {version('brevitas')}",
        quantization=Quantization(weights=str(most.weight), activations=str(most.activation), note=recipe.note),
        files=tuple(
            File(
                name=name,
                role=role,
                urls=(name,),
                sha256=hashlib.sha256(files[name]).hexdigest(),
                size=len(files[name]),
            )
            for name, role in (("model.onnx", Role.MODEL), ("test.npz", Role.DATA))
        ),
        summary=recipe.summary,
        claim=Claim(metric=metric, value=result.score, samples=result.samples, correct=result.correct, verified=True),
        cost=CardCost(macs=cost.macs, bit_operations=cost.bit_operations, weight_bits=cost.weight_bits, verified=True),
        judging=Judging(labels="labels", metric=metric),
    )


def _archive(arrays: Mapping[str, Array]) -> bytes:
    # Reproducible because numpy dates the members of an archive 1980, not now.
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    return file.getvalue()
