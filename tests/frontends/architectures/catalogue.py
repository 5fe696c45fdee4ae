"""catalogue: more than 40 architectures of brevitas_examples, torchvision, timm and transformers, and their flows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.frontends.architectures import flows
from tests.frontends.architectures.flows import images, signals, tokens


@dataclass(frozen=True)
class Architecture:
    """A net and the flow that it goes through.

    Attributes:
        name: As its package calls it.
        exporter: The flow.
        make: The quantised net, and its arguments.
        brevitas: Whether `from_brevitas` exports it; else `from_torch`.
        dynamic_batch: Whether it takes any batch.
        small: Whether it is one of those that are tested with each change.
    """

    name: str
    exporter: str
    make: Callable[[], tuple[Any, tuple[Any, ...]]]
    brevitas: bool = False
    dynamic_batch: bool = True
    small: bool = False


def _vision(name: str, **options: Any) -> Any:
    from torchvision import models

    return models.get_model(name, weights=None, **options)


def _quantizable(name: str) -> Any:
    import torchvision.models.quantization as models

    options = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    return getattr(models, name)(weights=None, quantize=False, **options)


def _mobilenet() -> Any:
    """MobileNetV2 with two stages, the second with a residual, as torchvision makes it for eager mode."""
    from torchvision.models.quantization import mobilenet_v2

    stages = [[1, 16, 1, 1], [4, 32, 2, 2]]
    return mobilenet_v2(weights=None, quantize=False, num_classes=10, width_mult=0.25, inverted_residual_setting=stages)


def _efficientnet() -> Any:
    """EfficientNet with two stages; its graph, traced in training, draws numbers where blocks may be left out."""
    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    stages = [MBConvConfig(1, 3, 1, 16, 8, 1), MBConvConfig(4, 3, 2, 8, 16, 2)]
    return EfficientNet(stages, dropout=0.2, stochastic_depth_prob=0.0, last_channel=32, num_classes=10)


def _convnext() -> Any:
    """ConvNeXt with two stages of one block each."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(32, 64, 1), CNBlockConfig(64, None, 1)], num_classes=10)


def _swin() -> Any:
    """Swin with one stage of two blocks, the second with shifted windows."""
    from torchvision.models.swin_transformer import SwinTransformer

    return SwinTransformer([4, 4], embed_dim=16, depths=[2], num_heads=[2], window_size=[4, 4], num_classes=10)


def _own(name: str) -> Any:
    """A net that is written here, as packages have none of its kind that is small."""
    from tests.frontends.architectures import nets

    return getattr(nets, name)()


def _encoder(kind: str) -> Any:
    """The encoder of a small T5 or Whisper."""
    import transformers
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if kind == "T5":
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
        return transformers.T5EncoderModel(transformers.T5Config(vocab_size=64, use_cache=False, **sizes))
    sizes = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64}
    config = transformers.WhisperConfig(num_mel_bins=20, max_source_positions=50, **sizes)
    config._attn_implementation = "eager"
    return WhisperEncoder(config)


def _timm(name: str) -> Any:
    import timm

    return timm.create_model(name, pretrained=False, num_classes=10)


_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def _transformer(kind: str, **options: Any) -> Any:
    """A model of a small configuration; attention is written out, and no keys are kept."""
    import transformers

    config = getattr(transformers, f"{kind}Config")(**options)
    config._attn_implementation = "eager"
    config.use_cache = False
    return getattr(transformers, f"{kind}Model")(config)


_FEW = {"vocab_size": 64}
_LLAMA = {**_TINY, **_FEW, "num_key_value_heads": 2, "max_position_embeddings": 64}
_TRANSFORMERS: Mapping[str, Mapping[str, Any]] = {
    "Bert": {**_TINY, **_FEW},
    "Roberta": {**_TINY, **_FEW},
    "Electra": {**_TINY, **_FEW, "embedding_size": 32},
    "Albert": {**_TINY, **_FEW, "embedding_size": 32},
    "DistilBert": {**_FEW, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "MobileBert": {
        **_FEW,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "intra_bottleneck_size": 32,
        "embedding_size": 32,
        "true_hidden_size": 32,
    },
    "GPT2": {**_FEW, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "OPT": {
        **_FEW,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 64,
        "word_embed_proj_dim": 32,
        "max_position_embeddings": 64,
    },
    "Llama": _LLAMA,
    "Mistral": _LLAMA,
    "Qwen2": _LLAMA,
}
_SMALL = frozenset(
    {
        ("tfc_1w1a", "brevitas_examples"),
        ("cnv_2w2a", "brevitas_examples"),
        ("mobilenet of 2 stages", "eager qat"),
        ("efficientnet of 2 stages", "fx qat"),
        ("mobilenet of 2 stages", "fx reference"),
        ("mobilenet of 2 stages", "pt2e xnnpack"),
        ("mobilenet of 2 stages", "brevitas graph"),
        ("swin of 1 stage", "brevitas layerwise"),
        ("Llama", "brevitas layerwise"),
        ("convnext of 2 stages", "torchao weights"),
        ("Bert", "torchao weights"),
        ("GPT2", "torchao weights"),
    }
)


def architectures() -> list[Architecture]:
    """All, in the order of the table."""
    return [
        *_few_layers(),
        *_examples(),
        *_eager(),
        *_fx(),
        *_layerwise(),
        *_weight_only(),
        *_segmentation_and_detection(),
        *_sequences(),
    ]


def _entry(name: str, exporter: str, make: Callable[[], Any], **options: Any) -> Architecture:
    return Architecture(name, exporter, make, small=(name, exporter) in _SMALL, **options)


def _few_layers() -> list[Architecture]:
    """torchvision's classes with few layers, one for each flow."""
    return [
        _entry("mobilenet of 2 stages", "eager qat", lambda: flows.eager_qat(_mobilenet(), images(32))),
        _entry("efficientnet of 2 stages", "fx qat", lambda: flows.fx_qat(_efficientnet(), images(32))),
        _entry("mobilenet of 2 stages", "fx reference", lambda: flows.fx_reference(_mobilenet(), images(32))),
        _entry(
            "mobilenet of 2 stages",
            "pt2e xnnpack",
            lambda: flows.pt2e(_mobilenet(), images(32)),
            dynamic_batch=False,  # its flow captures the batch of the example
        ),
        _entry(
            "mobilenet of 2 stages",
            "brevitas graph",
            lambda: flows.brevitas_graph(_mobilenet(), images(32)),
            brevitas=True,
        ),
        _entry(
            "swin of 1 stage", "brevitas layerwise", lambda: flows.brevitas_layers(_swin(), images(32)), brevitas=True
        ),
        _entry("convnext of 2 stages", "torchao weights", lambda: flows.weights_of_4_bits(_convnext(), images(32))),
    ]


def _examples() -> list[Architecture]:
    shapes = {"fc": (1, 28), "cnv": (3, 32), "resnet": (3, 32)}
    names = "tfc_1w1a tfc_1w2a tfc_2w2a sfc_1w1a sfc_2w2a lfc_1w1a lfc_1w2a cnv_1w1a cnv_1w2a cnv_2w2a resnet18_4w4a"
    return [
        _entry(
            name,
            "brevitas_examples",
            lambda name=name, shape=shape: flows.brevitas_example(name, *shape),
            brevitas=True,
        )
        for name in names.split()
        for kind, shape in shapes.items()
        if kind in name
    ]


def _eager() -> list[Architecture]:
    names = "resnet18 resnet50 mobilenet_v2 mobilenet_v3_large shufflenet_v2_x0_5 googlenet"
    return [
        _entry(name, "eager qat", lambda name=name: flows.eager_qat(_quantizable(name), images(64)))
        for name in names.split()
    ]


def _fx() -> list[Architecture]:
    qat = "alexnet vgg11 resnet18 densenet121 mnasnet0_5 regnet_y_400mf efficientnet_b0"
    reference = "squeezenet1_1 vgg11_bn resnet18 mobilenet_v2"
    options = {"efficientnet_b0": {"stochastic_depth_prob": 0.0}}  # else its graph, traced in training, draws numbers
    return [
        *(
            _entry(n, "fx qat", lambda n=n: flows.fx_qat(_vision(n, **options.get(n, {})), images(64)))
            for n in qat.split()
        ),
        *(_entry(n, "fx reference", lambda n=n: flows.fx_reference(_vision(n), images(64))) for n in reference.split()),
        _entry("ghostnet_050", "fx reference", lambda: flows.fx_reference(_timm("ghostnet_050"), images(96))),
    ]


def _layerwise() -> list[Architecture]:
    nets = "test_vit test_resnet test_byobnet test_efficientnet test_convnext test_vit2 convnext_atto mobilevitv2_050"
    return [
        *(
            _entry(
                n, "brevitas layerwise", lambda n=n: flows.brevitas_layers(_timm(n), images(_size(n))), brevitas=True
            )
            for n in nets.split()
        ),
        *(
            _entry(
                n,
                "brevitas layerwise",
                lambda n=n: flows.brevitas_layers(_transformer(n, **_TRANSFORMERS[n]), tokens()),
                brevitas=True,
            )
            for n in ("Bert", "DistilBert", "Electra", "OPT", "Llama")
        ),
    ]


def _weight_only() -> list[Architecture]:
    nets = "test_byobnet test_convnext test_vit vit_tiny_patch16_224 mixer_s32_224 levit_128s mobilevit_xxs"
    return [
        *(
            _entry(n, "torchao weights", lambda n=n: flows.weights_of_4_bits(_timm(n), images(_size(n))))
            for n in nets.split()
        ),
        *(
            _entry(
                n,
                "torchao weights",
                lambda n=n: flows.weights_of_4_bits(_transformer(n, **_TRANSFORMERS[n]), tokens()),
            )
            for n in _TRANSFORMERS
        ),
    ]


def _segmentation_and_detection() -> list[Architecture]:
    return [
        _entry("UNet", "fx qat", lambda: flows.fx_qat(_own("UNet"), images(32))),
        _entry("detection heads", "fx qat", lambda: flows.fx_qat(_own("Heads"), images(32))),
        _entry("detection heads", "pt2e xnnpack", lambda: flows.pt2e(_own("Heads"), images(32)), dynamic_batch=False),
        _entry(
            "shufflenet_v2_x0_5", "fx reference", lambda: flows.fx_reference(_vision("shufflenet_v2_x0_5"), images(64))
        ),
    ]


def _sequences() -> list[Architecture]:
    """1-D convolutions, taggers, encoders of text and sound, state spaces; transformers with 8-bit weights."""
    vit = {**_TINY, "image_size": 32, "patch_size": 8}
    albert = {**_TRANSFORMERS["Albert"]}
    return [
        _entry("1-D convolutions", "pt2e xnnpack", lambda: flows.pt2e(_own("Conv1d"), signals()), dynamic_batch=False),
        _entry("1-D convolutions", "fx reference", lambda: flows.fx_reference(_own("Conv1d"), signals())),
        _entry(
            "1-D convolutions",
            "brevitas graph",
            lambda: flows.brevitas_graph(_own("Conv1d"), signals()),
            brevitas=True,
        ),
        _entry("GRU tagger", "torchao weights", lambda: flows.weights_of_4_bits(_own("GruTagger"), tokens())),
        _entry(
            "LSTM tagger",
            "brevitas layerwise",
            lambda: flows.brevitas_layers(_own("LstmTagger"), tokens()),
            brevitas=True,
        ),
        _entry(
            "ViT",
            "brevitas layerwise",
            lambda: flows.brevitas_layers(_transformer("ViT", **vit), images(32)),
            brevitas=True,
        ),
        _entry("DeiT", "torchao int8", lambda: flows.weights_of_8_bits(_transformer("DeiT", **vit), images(32))),
        _entry(
            "Albert",
            "brevitas layerwise",
            lambda: flows.brevitas_layers(_transformer("Albert", **albert), tokens()),
            brevitas=True,
        ),
        _entry(
            "T5 encoder", "brevitas layerwise", lambda: flows.brevitas_layers(_encoder("T5"), tokens()), brevitas=True
        ),
        _entry("T5 encoder", "torchao int8", lambda: flows.weights_of_8_bits(_encoder("T5"), tokens())),
        _entry(
            "Whisper encoder",
            "brevitas layerwise",
            lambda: flows.brevitas_layers(_encoder("Whisper"), signals(20, 100)),
            brevitas=True,
        ),
        _entry(
            "Mamba",
            "torchao weights",
            lambda: flows.weights_of_4_bits(
                _transformer("Mamba", **_FEW, hidden_size=32, num_hidden_layers=2, state_size=4), tokens()
            ),
        ),
        _entry(
            "GPT2",
            "torchao int8",
            lambda: flows.weights_of_8_bits(_transformer("GPT2", **_TRANSFORMERS["GPT2"]), tokens()),
        ),
    ]


def _size(name: str) -> int:
    if name.startswith("test_"):
        return 160 if "vit" in name else 96
    return 224 if name.endswith(("224", "128s")) else 96
