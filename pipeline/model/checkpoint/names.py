"""Where each published tensor lives in our two modules, and back.

A published name maps to one of our names, or (fused projections) to several together with the way to cut the tensor.
The table works in both directions, so what is loaded can also be written. SAM 2's part is the same for every family.
"""

import re
from collections.abc import Iterable, Sequence

from pipeline.model.families.base import ModelConfig
from pipeline.model.families.mapping import TensorMapping

SAM2_PREFIX = "grounding_encoder.sam2_model."


def grounder_mappings(keys: Iterable[str], config: ModelConfig) -> dict[str, TensorMapping]:
    """Of published names, those that go into :class:`~pipeline.model.grounder.Grounder`, and where."""
    found: dict[str, TensorMapping] = {}
    for key in keys:
        own = key.startswith("text_hidden_fcs.")
        mapping = TensorMapping((key,)) if own else config.family.map_tensor(key, config)
        if mapping is not None:
            found[key] = mapping
    return found


def segmenter_mappings(keys: Iterable[str]) -> dict[str, TensorMapping]:
    """Of published names, those that go into :class:`~pipeline.model.sam2.segmenter.Segmenter`, and where."""
    return {key: _map_sam2(key) for key in keys if key.startswith(SAM2_PREFIX)}


def published_names(config: ModelConfig, grounder: Sequence[str], segmenter: Sequence[str]) -> dict[str, TensorMapping]:
    """The inverse: every published name whose tensors are the given parameters of our two modules."""
    keys = [_publish(name, config) for name in grounder]
    found = grounder_mappings(keys, config)
    assert set(keys) == set(found), "a family publishes a name that it does not map back"
    plain = [name.removeprefix("sam2.") for name in segmenter]
    sam2 = [SAM2_PREFIX + re.sub(r"(fuser\.layers\.\d+\.)gamma$", r"\1g_weight", name) for name in plain]
    return {**found, **segmenter_mappings(sam2)}


def _publish(name: str, config: ModelConfig) -> str:
    return name if name.startswith("text_hidden_fcs.") else config.family.published_name(name, config)


def _map_sam2(key: str) -> TensorMapping:
    name = key.removeprefix(SAM2_PREFIX)
    if name.startswith("sam_mask_decoder_modified."):
        return TensorMapping((name,))
    # the published file renames the layer scale of the memory fuser
    return TensorMapping(("sam2." + name.replace(".g_weight", ".gamma"),))
