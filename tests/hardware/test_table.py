"""The table: small models in it, and that no row of theirs is ready and not right."""

from __future__ import annotations

from tests.hardware.__main__ import TARGETS, chosen, line, rows_of
from tests.hardware.row import Row

WORDS = ("finn: mlp", "feature/gemm", "feature/Selu", "scale by row")


def test_every_target_has_rows_for_a_model():
    for source in chosen(WORDS):
        rows = [r for target in TARGETS for r in rows_of(source, target)]
        assert {(r.target, r.form) for r in rows} >= {
            ("finn", "dialect"), ("finn", "qonnx"), ("hls4ml", "qonnx"), ("c", "c99"), ("da4ml", "circuit"),
        }  # fmt: skip
        assert {r.io for r in rows if r.target == "hls4ml"} == {"parallel", "stream"}
        assert not [line(r) for r in rows if r.is_bad]
        assert all(r.widths for r in rows if r.target == "finn" and r.form == "dialect" and r.verdict == "ready")


def test_a_row_that_is_ready_and_not_right_is_bad():
    assert Row("m", "finn", "dialect", ran="WRONG").is_bad
    assert Row("m", "finn", "dialect", equal=False).is_bad
    assert not Row("m", "finn", "dialect", verdict="group", ran="FAILED").is_bad
    assert not Row("m", "finn", "dialect", equal=True, ran="right").is_bad
