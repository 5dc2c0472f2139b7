"""One golden case through the library, with every intermediate quantity the golden data names."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from pipeline.masks import encode_masks
from pipeline.model.procedure import keyframes_of, procedure_named
from pipeline.model.sa2va import Sa2VA
from pipeline.model.sam2.frame import FrameFeatures
from pipeline.model.sam2.propagation import FrameMasks
from pipeline.model.sam2.segmenter import Segmenter, masks_at
from pipeline.model.sam2.stream import MaskStream
from pipeline.video.frames import FrameSource
from pipeline.video.source import open_video
from tests.golden.recording import Sampling, record_pictures, sampling_of, stats


@dataclass(frozen=True)
class GoldenCase:
    """A folder with ``golden.json``, ``golden.npz`` and ``frames/``."""

    folder: Path
    golden: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def variant(self) -> str:
        return self.golden["variant"]

    @property
    def seed(self) -> int:
        return self.golden["checkpoint_seed"]

    @property
    def procedure(self) -> str:
        return self.golden.get("procedure", "sa2va-i")

    @property
    def is_image(self) -> bool:
        return self.golden.get("mode") == "image"


def golden_cases(folder: Path, names: list[str] | None = None) -> list[GoldenCase]:
    """Cases under ``folder`` in order of name."""
    found = [GoldenCase(p.parent, json.loads(p.read_text())) for p in sorted(folder.glob("*/golden.json"))]
    return [case for case in found if names is None or case.name in names]


class EncoderCache:
    """Stands in front of a segmenter's image encoder: seed-0 variants share its weights, and cases share frames."""

    features: ClassVar[dict[str, FrameFeatures]] = {}

    def __init__(self, segmenter: Segmenter) -> None:
        self.encode = segmenter.encode
        weights = hashlib.sha256()
        for name, parameter in segmenter.sam2.image_encoder.named_parameters():
            weights.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes()[:4096])
        self.weights = weights.hexdigest()

    def __call__(self, frames: torch.Tensor) -> list[FrameFeatures]:
        result = []
        for frame in frames:
            key = self.weights + hashlib.sha256(frame.numpy().tobytes()).hexdigest()
            if key not in self.features:
                self.features[key] = self.encode(frame[None])[0]
            result.append(self.features[key])
        return result


def run_case(
    case: GoldenCase, checkpoint: Path, *, device: str = "auto", dtype: str = "float32"
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Run a case; returns the arrays of result.npz and the record of result.json."""
    model = Sa2VA.from_checkpoint(checkpoint, device=device, dtype=dtype)
    model.segmenter.encode = EncoderCache(model.segmenter)
    frames = case.folder / "frames"
    location = frames / case.golden["frames"][0] if case.is_image else frames
    with open_video(str(location)) as source:
        return _run(model, case, source)


def _run(model: Sa2VA, case: GoldenCase, source: FrameSource) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    procedure, count = procedure_named(case.procedure), case.golden["sample_num_frames"]
    sampled = [0] if case.is_image else procedure.sample(len(source), count)
    keyframes = sorted(set(sampled))
    arrays: dict[str, np.ndarray] = {}
    config = model.grounder.config
    pictures = config.family.read_pictures(source, keyframes, config)
    sampling = sampling_of(case.variant)
    _record_frames(arrays, model, source, sampling)
    images = model.grounder.tower.look(pictures)
    arrays |= record_pictures(model.grounder, pictures, images, sampling.tile)
    expressions = [entry["expression"] for entry in case.golden["expressions"]]
    groundings = model.grounder.ground_tokens(images, expressions, question_form=procedure.question_form)
    record: dict[str, Any] = {"sample_idx": sampled, "unique_keyframes": keyframes, "expressions": []}
    segs = [(j, i) for j, grounding in enumerate(groundings) for i in range(len(grounding.prompts))]
    tracks: dict[tuple[int, int], dict[str, Any]] = {}
    if segs:
        vectors = np.concatenate([grounding.prompts for grounding in groundings])
        tracks = _segment(model, source, vectors, case, arrays, segs)
    prompts = model.grounder.replies.prompts
    if pictures.grids is not None:
        ids, image_id = groundings[0].prompt_ids, prompts.tokenizer.image_id
        arrays["position_ids"] = config.family.prefix_positions(ids, images, image_id).numpy()
    # the golden files hold the prompt as rendered: with a token per frame where those are expanded later
    blocks = images.tokens if pictures.grids is None else [1] * len(images.tokens)
    for j, grounding in enumerate(groundings):
        arrays[f"e{j}_input_ids"] = np.array(grounding.prompt_ids)
        arrays[f"e{j}_gen_ids"] = np.array(grounding.reply_ids)
        arrays[f"e{j}_seg_hidden"] = grounding.seg_hidden
        arrays[f"e{j}_seg_embed"] = grounding.prompts
        record["expressions"].append(
            {
                "expression": expressions[j],
                "prompt": prompts.text(expressions[j], blocks, question_form=procedure.question_form)[0],
                "prediction": grounding.answer,
                "num_seg": len(grounding.prompts),
                "segs": [tracks[j, i] for i in range(len(grounding.prompts))],
            }
        )
    return arrays, record


def _record_frames(arrays: dict[str, np.ndarray], model: Sa2VA, source: FrameSource, sampling: Sampling) -> None:
    samples, sums = [], []
    for index, frame in enumerate(source.read(range(len(source)), side=model.segmenter.config.image_size)):
        frame = torch.from_numpy(frame[None])
        square = model.segmenter.normalise(frame)
        samples.append(square[:, :, sampling.frame, sampling.frame].cpu().numpy())
        sums.append(stats(square))
        if index == 0:
            for level, features in enumerate(model.segmenter.encode(frame)[0].levels):
                picked = features[0, ::8, 3 :: 32 >> level, 5 :: 32 >> level]
                arrays[f"fpn{level}_frame0_sample"] = picked.float().cpu().numpy()
    arrays["sam_pixels_sample"], arrays["sam_pixels_stats"] = np.concatenate(samples), np.concatenate(sums)


def _segment(
    model: Sa2VA,
    source: FrameSource,
    prompts: np.ndarray,
    case: GoldenCase,
    arrays: dict[str, np.ndarray],
    segs: list[tuple[int, int]],
) -> dict[tuple[int, int], dict[str, Any]]:
    procedure = procedure_named(case.procedure)
    keyframes = keyframes_of(source, procedure, case.golden["sample_num_frames"])
    stream = MaskStream(model.segmenter, source, prompts, procedure, keyframes)
    frames = list(stream.logits())
    firsts = [stream.propagation.first_masks(index) for index in keyframes]
    height, width, side = source.height, source.width, model.segmenter.config.image_size
    final = [masks_at(frame.logits, height, width, through=side).cpu().numpy() for frame in frames]
    first = [masks_at(masks.logits, height, width).cpu().numpy() for masks in firsts]
    tracks = {}
    for row, (j, i) in enumerate(segs):
        key = f"e{j}_s{i}_"
        arrays[key + "key_lowres"] = np.stack([masks.logits[row].cpu().numpy() for masks in firsts])
        arrays[key + "key_ious"] = np.stack([masks.ious[row].cpu().numpy() for masks in firsts])
        arrays |= {key + name: value for name, value in _memory(frames, row, case.variant).items()}
        tracks[j, i] = {"final_masks": _rles([masks[row] for masks in final])}
        if procedure.handover == "masks":
            tracks[j, i]["keyframe_masks"] = _rles([masks[row] for masks in first])
    return tracks


def _memory(frames: list[FrameMasks], row: int, variant: str) -> dict[str, np.ndarray]:
    channels, rows, columns = sampling_of(variant).memory
    features = [frame.entry.features[row, channels, rows, columns] for frame in frames]
    return {
        "prop_lowres": np.stack([frame.logits[row].cpu().numpy() for frame in frames]),
        "obj_ptr": np.stack([frame.entry.pointer[row].cpu().numpy() for frame in frames]),
        "obj_score": np.stack([frame.object_score[row].cpu().numpy() for frame in frames]),
        "mem_sample": np.stack([one.float().cpu().numpy() for one in features]),
    }


def _rles(masks: list[np.ndarray]) -> list[Any]:
    height, width = masks[0].shape
    empty = {"size": [height, width], "counts": _empty_counts(height * width)}
    return [rle or empty for rle in encode_masks(np.stack(masks))]


def _empty_counts(pixels: int) -> str:
    from pycocotools import mask as coco

    return coco.encode(np.zeros((pixels, 1, 1), np.uint8, order="F"))[0]["counts"].decode()


def write_result(folder: Path, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
    """Write ``result.npz`` and ``result.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "result.npz", **arrays)
    (folder / "result.json").write_text(json.dumps(record))
