"""The nano model's dimensions, as the config.json of its checkpoint says them."""

from typing import Any

IMAGE_SIZE = 128
"""Side in pixels of what SAM 2 and the vision tower see."""

GROUNDING: dict[str, Any] = {
    "image_size": IMAGE_SIZE,
    "trunk_embed_dim": 24,
    "trunk_num_heads": 2,
    "trunk_stages": [1, 2, 3, 1],
    # At this size the windows already cover the coarse maps, and a global block may not open a stage.
    "trunk_global_attention_blocks": [],
    "trunk_window_spec": [8, 4, 8, 4],
    "trunk_position_background_size": [4, 4],
    "d_model": 64,
    "memory_dim": 16,
    "memory_attention_layers": 2,
    "memory_attention_feedforward": 256,
}

VISION: dict[str, Any] = {
    "architectures": ["InternVisionModel"],
    "model_type": "intern_vit_6b",
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "image_size": IMAGE_SIZE,
    "patch_size": 16,
    "num_channels": 3,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "norm_type": "layer_norm",
    "qk_normalization": False,
    "qkv_bias": True,
}

LANGUAGE: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "hidden_act": "silu",
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-6,
    # Sequences are a few hundred tokens long; the usual million would leave most of the rotary dimensions constant.
    "rope_theta": 1000.0,
    "rope_scaling": None,
    "sliding_window": None,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "use_cache": True,
}


def config_json(vocabulary_size: int) -> dict[str, Any]:
    """The contents of config.json."""
    return {
        "architectures": ["Sa2VAChatModel"],
        "model_type": "sa2va_chat",
        "template": "qwen_chat",
        "select_layer": -1,
        "ps_version": "v2",
        "downsample_ratio": 0.5,
        "force_image_size": IMAGE_SIZE,
        "dynamic_image_size": True,
        "min_dynamic_patch": 1,
        # An image is one keyframe: tiles were never trained.
        "max_dynamic_patch": 1,
        "use_thumbnail": True,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "hidden_size": LANGUAGE["hidden_size"],
        "vision_config": VISION,
        "llm_config": {**LANGUAGE, "vocab_size": vocabulary_size},
        "grounding_config": GROUNDING,
    }
