"""The benchmarks' protocols, one module each, and the table that names them."""

from pipeline.errors import UsageError
from pipeline.evaluation.protocols import (
    four_annotator,
    long_rvos,
    mevis,
    mevis_v2,
    ref_davis17,
    ref_sav,
    ref_youtube_vos,
    revos,
    saco_veval,
    votsr,
)
from pipeline.evaluation.protocols.common import BenchmarkProtocol, Line

__all__ = ["BENCHMARKS", "PROTOCOLS", "BenchmarkProtocol", "Line", "protocol_of"]

PROTOCOLS = (
    mevis.PROTOCOL,
    mevis_v2.PROTOCOL,
    ref_youtube_vos.PROTOCOL,
    ref_davis17.PROTOCOL,  # a benchmark's first is its default; Sa2VA's scorer is this one
    four_annotator.PROTOCOL,
    revos.PROTOCOL,
    long_rvos.PROTOCOL,
    ref_sav.PROTOCOL,
    votsr.PROTOCOL,
    saco_veval.PROTOCOL,
)
BENCHMARKS = tuple(dict.fromkeys(protocol.benchmark for protocol in PROTOCOLS))


def protocol_of(benchmark: str, name: str | None = None) -> BenchmarkProtocol:
    """The protocol of a benchmark: the one called ``name``, else the benchmark's first. Raises UsageError."""
    offered = [protocol for protocol in PROTOCOLS if protocol.benchmark == benchmark]
    if not offered:
        raise UsageError(f"unknown benchmark {benchmark!r}; choose from {', '.join(BENCHMARKS)}")
    if name is None:
        return offered[0]
    for protocol in offered:
        if protocol.name == name:
            return protocol
    raise UsageError(
        f"{benchmark} has no protocol {name!r}; choose from {', '.join(protocol.name for protocol in offered)}"
    )
