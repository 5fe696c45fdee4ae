"""What the functions of anybit return: frozen records, each with its parts.

``print(record)`` is for people, its fields are for programs; the command line prints the same ones with ``--json``.
"""

from anybit.analysis.cost.cost import BitOperations, Cost, Figures, FormatCost, OtherNodes, PartCost
from anybit.analysis.quantized_tensors import LeftOut
from anybit.analysis.ranges import (
    AccumulatorBound,
    AccumulatorRange,
    Channels,
    IntegerRange,
    Ranges,
    TensorRange,
    UnfollowedNode,
)
from anybit.analysis.roles import Role
from anybit.analysis.statistics import Histogram, TensorStatistics
from anybit.analysis.summary import QuantizerCount, Summary, TensorSummary
from anybit.analysis.types import Spread, TensorType
from anybit.analysis.values.accumulator import Accumulator, Bound, Interval
from anybit.analysis.values.interpreter import Values
from anybit.analysis.values.tensor_values import IntegerGrid, TensorValues
from anybit.benchmarking.bench import Bench, PeerAgreement, Timing
from anybit.budget import Limits
from anybit.engines.prepare import TensorInfo
from anybit.evaluation.evaluate import Evaluation
from anybit.evaluation.statistics import Statistics
from anybit.exact.certificate import Assumption, Certificate, CounterExample, TensorProof, Verdict
from anybit.formats.capability import CarriedShare, DialectCapability
from anybit.formats.dialect import Approximation, Conversion, Note, Remedy, Substitution
from anybit.frontends.agreement import Agreement, AgreementVerdict, Imported, Scatter
from anybit.frontends.comparison.lockstep import TensorAgreement
from anybit.io.repair.normalize import Repair
from anybit.io.save import HoldsModel
from anybit.passes.apply import Applied, AppliedPass
from anybit.records import Record, Records
from anybit.runtime.compare import Comparison, Difference
from anybit.targets.handover import Handover, Rewrite
from anybit.targets.hls4ml.handover import Hls4mlHandover
from anybit.targets.hls4ml.project.configure import Hls4mlConfiguration, Hls4mlLayer
from anybit.targets.hls4ml.project.fixed_type import FixedType
from anybit.targets.hls4ml.project.reuse import HlsStrategy
from anybit.targets.project import Project

__all__ = [
    "Accumulator",
    "AccumulatorBound",
    "AccumulatorRange",
    "Agreement",
    "AgreementVerdict",
    "Applied",
    "AppliedPass",
    "Approximation",
    "Assumption",
    "Bench",
    "BitOperations",
    "Bound",
    "CarriedShare",
    "Certificate",
    "Channels",
    "Comparison",
    "Conversion",
    "Cost",
    "CounterExample",
    "DialectCapability",
    "Difference",
    "Evaluation",
    "Figures",
    "FixedType",
    "FormatCost",
    "Handover",
    "Histogram",
    "Hls4mlConfiguration",
    "Hls4mlHandover",
    "Hls4mlLayer",
    "HlsStrategy",
    "HoldsModel",
    "Imported",
    "IntegerGrid",
    "IntegerRange",
    "Interval",
    "LeftOut",
    "Limits",
    "Note",
    "OtherNodes",
    "PartCost",
    "PeerAgreement",
    "Project",
    "QuantizerCount",
    "Ranges",
    "Record",
    "Records",
    "Remedy",
    "Repair",
    "Rewrite",
    "Role",
    "Scatter",
    "Spread",
    "Statistics",
    "Substitution",
    "Summary",
    "TensorAgreement",
    "TensorInfo",
    "TensorProof",
    "TensorRange",
    "TensorStatistics",
    "TensorSummary",
    "TensorType",
    "TensorValues",
    "Timing",
    "UnfollowedNode",
    "Values",
    "Verdict",
]
