"""What is fuzzed: readers of files that strangers write. Each may refuse its input in its own way, and nothing else."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Target = Callable[[bytes], None]

ROWS = [
    {"video_id": "a", "video": "a.mp4", "expression_id": "0", "expression": "the dog", "frames": ["0", "1"]},
    {"video_id": "a", "video": "a.mp4", "expression_id": "1", "expression": "é\u2028", "frames": ["0", "1"]},
    {"video_id": "b", "video": "s3://b/c", "expression_id": "0", "expression": "x", "frames": None},
]
META = {"videos": {"v": {"frames": ["0", "1"], "expressions": {"0": {"exp": "the dog"}, "1": {"exp": "x"}}}}}


@dataclass(frozen=True)
class Fuzzed:
    """A target made for a folder, and inputs to start from."""

    run: Target
    seeds: list[bytes]


def manifest(folder: Path, suffix: str) -> Fuzzed:
    """`read_manifest` on a file of one format."""
    from tests.manifest.test_manifest_fuzz import reads_or_refuses

    (folder / "JPEGImages" / "v").mkdir(parents=True, exist_ok=True)
    path = folder / f"manifest{suffix}"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        reads_or_refuses(path)

    return Fuzzed(run, _manifest_seeds(folder)[suffix])


def _manifest_seeds(folder: Path) -> dict[str, list[bytes]]:
    parquet = []
    for options in ({}, {"compression": "none", "use_dictionary": False}, {"compression": "zstd"}):
        pq.write_table(pa.Table.from_pylist(ROWS), folder / "seed.parquet", **options)
        parquet.append((folder / "seed.parquet").read_bytes())
    cells = "\n".join(f'{r["video_id"]},{r["video"]},{r["expression_id"]},"{r["expression"]}",0 1' for r in ROWS)
    return {
        ".jsonl": ["".join(json.dumps(row) + "\n" for row in ROWS).encode(), b'{"video_id": 7}\n'],
        ".csv": [f"video_id,video,expression_id,expression,frames\n{cells}\n".encode()],
        ".parquet": parquet,
        ".json": [json.dumps(META).encode()],
    }


def rle(folder: Path) -> Fuzzed:
    """`validate_rle`, and decoding whatever it lets pass."""
    import numpy as np

    from pipeline.masks import areas_and_bboxes, decode_mask, encode_masks, validate_rle

    def run(data: bytes) -> None:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            # no JSON: height, width, and a string of runs
            value = {"size": [*data[:2]], "counts": data[2:].decode("latin-1")}
        try:
            validate_rle(value)
        except ValueError:
            return
        if value["size"][0] * value["size"][1] > 2**22:
            return  # right, and only slow
        mask = decode_mask(value)
        assert list(mask.shape) == list(value["size"])
        assert areas_and_bboxes([value])[0] == [int(mask.sum())]

    masks = np.random.default_rng(0).random((3, 24, 36)) > 0.7
    found = [one for one in encode_masks(masks) if one is not None]
    raw = [bytes(one["size"]) + one["counts"].encode() for one in found]
    return Fuzzed(run, [json.dumps(found[0]).encode(), b"\x02\x0306", *raw])


def submission(folder: Path, format_name: str, suffix: str) -> Fuzzed:
    """`check` on a submission in one format."""
    from pipeline.errors import PipelineError
    from pipeline.export import check

    meta = folder / "meta_expressions.json"
    meta.write_text(json.dumps(META))
    (folder / "JPEGImages" / "v").mkdir(parents=True, exist_ok=True)
    path = folder / f"submission{suffix}"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            faults = check(str(path), str(meta), format_name)
        except PipelineError as error:
            assert "\n" not in str(error)  # noqa: PT017
        else:
            assert all(isinstance(fault, str) for fault in faults)

    return Fuzzed(run, _submission_seeds(folder, format_name))


def _submission_seeds(folder: Path, format_name: str) -> list[bytes]:
    """What the exporter writes of a tiny dataset."""
    import numpy as np

    from pipeline.dataset import DatasetWriter, areas_and_bboxes, encode_masks
    from pipeline.export import export
    from pipeline.schema import MaskRow

    (folder / "dataset" / "masks").mkdir(parents=True, exist_ok=True)
    masks = encode_masks(np.random.default_rng(1).random((2, 8, 6)) > 0.5)
    areas, boxes = areas_and_bboxes(masks)
    rows = [
        MaskRow(
            video_id="v",
            expression_id=key,
            expression=value["exp"],
            status="ok",
            height=8,
            width=6,
            frames=["0", "1"],
            masks=masks,
            areas=areas,
            bboxes=boxes,
            scores=[1.0, 1.0],
            score=1.0,
        )
        for key, value in META["videos"]["v"]["expressions"].items()
    ]
    DatasetWriter(str(folder / "dataset")).commit(rows)
    seed = folder / f"seed-{format_name}{'.json' if format_name in ('coco', 'youtube-vis') else '.zip'}"
    export(str(folder / "dataset"), str(folder / "meta_expressions.json"), format_name, str(seed))
    return [seed.read_bytes()]


TARGETS: dict[str, Callable[[Path], Fuzzed]] = {
    "manifest.jsonl": lambda folder: manifest(folder, ".jsonl"),
    "manifest.csv": lambda folder: manifest(folder, ".csv"),
    "manifest.parquet": lambda folder: manifest(folder, ".parquet"),
    "meta_expressions.json": lambda folder: manifest(folder, ".json"),
    "rle": rle,
    "check mevis": lambda folder: submission(folder, "mevis", ".zip"),
    "check youtube-vis": lambda folder: submission(folder, "youtube-vis", ".json"),
    "check coco": lambda folder: submission(folder, "coco", ".json"),
}


def mutated(seeds: list[bytes], chance: random.Random) -> bytes:
    """A seed with a few random changes, where no coverage-guided fuzzer is installed."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        elif kind == 1:
            del data[at : at + chance.randint(1, 16)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randint(1, 8))
        elif kind == 3:
            data[at:at] = data[chance.randrange(len(data) + 1) :][: chance.randint(1, 32)]
        elif data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
    return bytes(data)
