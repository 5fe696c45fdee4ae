"""Which operators there are, and how packages add theirs."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from anybit.errors import UsageError
from anybit.ops import registry
from anybit.ops.operator import DOMAIN, Input, Operator
from anybit.ops.quant import QUANT
from anybit.ops.registry import find_operator, operators, register
from anybit.ops.trunc import TRUNC, TRUNC_1


@pytest.fixture(autouse=True)
def _unchanged_registry() -> Iterator[None]:
    before = {key: list(versions) for key, versions in registry._operators.items()}
    yield
    registry._operators.clear()
    registry._operators.update(before)
    registry._load_entry_points.cache_clear()


def _double(x):
    return 2 * x


DOUBLE = Operator(name="Double", domain="test", aliases=("Twice",), inputs=(Input("X"),), reference=_double)


def test_the_built_in_operators() -> None:
    known = {(o.name, o.since) for o in operators() if o.domain == DOMAIN}
    assert known >= {
        ("Quant", 1), ("BipolarQuant", 1), ("Trunc", 1), ("Trunc", 2), ("FloatQuant", 1), ("MultiThreshold", 1)
    }  # fmt: skip
    assert len(operators()) == len(set(map(id, operators())))


@pytest.mark.parametrize("version", [1, 2, 7])
def test_quant_has_two_names_in_every_version(version: int) -> None:
    assert find_operator(DOMAIN, "Quant", version) is QUANT
    assert find_operator(DOMAIN, "IntQuant", version) is QUANT


def test_the_domain_version_decides_what_trunc_means() -> None:
    assert find_operator(DOMAIN, "Trunc", 1) is TRUNC_1
    assert find_operator(DOMAIN, "Trunc", 2) is TRUNC
    assert find_operator(DOMAIN, "Trunc", 3) is TRUNC


@pytest.mark.parametrize(("domain", "name", "version"), [("", "Quant", 1), (DOMAIN, "quant", 1), (DOMAIN, "Quant", 0)])
def test_what_is_not_known(domain: str, name: str, version: int) -> None:
    assert find_operator(domain, name, version) is None


def test_registering_again_changes_nothing() -> None:
    before = operators()
    for operator in before:
        register(operator)
        register(replace(operator))
    assert operators() == before


def test_a_new_operator_is_found_by_all_its_names() -> None:
    register(DOUBLE)
    assert find_operator("test", "Double", 1) is find_operator("test", "Twice", 1) is DOUBLE
    assert [o.name for o in operators()].count("Double") == 1


@pytest.mark.parametrize("order", [(1, 5), (5, 1)])
def test_a_later_version_replaces_an_earlier_one_from_there_on(order: tuple[int, int]) -> None:
    for since in order:
        register(replace(DOUBLE, since=since))
    assert [find_operator("test", "Twice", v).since for v in (1, 4, 5, 6)] == [1, 1, 5, 5]


def test_another_meaning_for_a_known_name_is_refused() -> None:
    with pytest.raises(UsageError, match="Quant version 1"):
        register(replace(QUANT, doc="something else"))
    assert find_operator(DOMAIN, "Quant", 1) is QUANT


def test_a_refused_operator_leaves_nothing_behind() -> None:
    with pytest.raises(UsageError, match="IntQuant version 1"):
        register(replace(DOUBLE, domain=DOMAIN, aliases=("IntQuant",)))
    assert find_operator(DOMAIN, "Double", 1) is None


@pytest.mark.parametrize(
    ("name", "version", "defaults"),
    [
        ("Quant", 1, {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}),
        ("Trunc", 1, {"rounding_mode": "FLOOR"}),
        ("Trunc", 2, {"rounding_mode": "FLOOR", "signed": 1, "narrow": 0}),
        ("FloatQuant", 1, {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1, "rounding_mode": "ROUND"}),
        ("MultiThreshold", 1, {"out_dtype": "", "out_scale": 1.0, "out_bias": 0.0, "data_layout": "NCHW"}),
        ("Im2Col", 1, {"input_shape": "", "pad_amount": (0,) * 4, "pad_value": 0, "depthwise": 0, "dilations": (1, 1)}),
        ("QuantAvgPool2d", 1, {"data_layout": "NCHW"}),
        ("BipolarQuant", 1, {}),
    ],
)
def test_defaults_are_those_of_qonnx(name: str, version: int, defaults: dict[str, object]) -> None:
    """As the qonnx package lists them by operator; what is not in the list has to be given."""
    operator = find_operator(DOMAIN, name, version)
    assert operator is not None
    assert {a.name: a.default for a in operator.attributes if a.default is not None} == defaults


def test_attributes_left_out_take_their_defaults() -> None:
    assert QUANT.evaluate([np.float32([9.0]), 1.0, 0.0, 3], {}).item() == 3
    assert QUANT.evaluate([np.float32([9.0]), 1.0, 0.0, 3], {"signed": 0}).item() == 7


def _declare(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    class Point(EntryPoint):
        def load(self) -> object:
            if isinstance(value, Exception):
                raise value
            return value

    point = Point(name="mine", value="mine:OPERATOR", group=registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == point.group else [])
    registry._load_entry_points.cache_clear()


def test_an_installed_package_declares_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    _declare(monkeypatch, DOUBLE)
    assert find_operator("test", "Twice", 1) is DOUBLE
    assert DOUBLE in operators()


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ("not an operator", "'mine': .* got str"),
        (replace(QUANT, doc="something else"), "registered already"),
        (replace(DOUBLE, inputs=(Input("X"), Input("X"))), "cannot work"),
        (ImportError("no module of this name"), "'mine': .*no module of this name"),
        (ZeroDivisionError("when it is imported"), "'mine': .*when it is imported"),
    ],
    ids=["no operator", "built in", "unusable", "absent", "broken"],
)
def test_an_entry_point_that_cannot_work_is_left_out_with_one_warning(monkeypatch, declared, reason) -> None:
    _declare(monkeypatch, declared)
    with pytest.warns(registry.OperatorWarning, match=reason) as warned:
        assert find_operator(DOMAIN, "Quant", 1) is QUANT
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_operator("test", "Double", 1) is None
        assert QUANT in operators()


def test_a_package_on_disk_declares_an_operator(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from anybit.ops.operator import Input, Operator\n"
        "OPERATOR = Operator(name='Double', domain='test', inputs=(Input('X'),), reference=lambda x: 2 * x)\n"
    )
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anybit.operators]\ndouble = mine:OPERATOR\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from anybit.ops.registry import find_operator\n"
        "assert 'mine' not in sys.modules\n"
        "print(find_operator('test', 'Double', 1).evaluate([21], {}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == "42\n", done.stderr
