#!/usr/bin/env python3
"""Write a checkpoint for the long cases: `qwen2` of .. with a small SAM 2 whose object score moves.

    python make_checkpoint.py --variant long_o0.5_f1.0 --out DIR [--seed 0] [--procedure sa2va-i|sa2va] [--dtype bf16|fp32]

A variant's name carries two numbers: the bias of the object score of the original (`o`) and of the finetuned (`f`)
mask decoder; they put the scores of one clip on both sides of zero.  Language side, tokenizer and file layout are those
of ..'s `qwen2` (its `make_checkpoint.py` and assets are used; GOLDEN_DIR overrides where they are looked for).
SAM 2's dimensions are those of .._vl (`grounding_config` in config.json).
"""
import argparse, importlib.util, json, math, os, re, sys
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
OLD = os.environ.get("GOLDEN_DIR", os.path.join(HERE, ".."))
_spec = importlib.util.spec_from_file_location("golden_make_checkpoint", os.path.join(OLD, "make_checkpoint.py"))
gm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gm)
G = gm.G

GROUNDING = dict(image_size=256, trunk_embed_dim=24, trunk_num_heads=2, trunk_stages=[1, 2, 3, 1],
                 trunk_global_attention_blocks=[4], trunk_window_spec=[8, 4, 8, 4],
                 trunk_position_background_size=[7, 7], d_model=64, memory_dim=16, memory_attention_layers=2,
                 memory_attention_feedforward=256)
NAME = re.compile(r"long_o(-?[0-9.]+)_f(-?[0-9.]+)")
SCORE_GAIN = 6.0       # last layer of both object-score heads: scores swing by some units over a clip
POINTER_GAIN = 2.0     # projection of object pointers (and no_obj_ptr): attention listens to them
ATTENTION_GAIN = 1.4   # queries and keys of the memory attention: it selects instead of averaging
EMBED_GAIN = 2.5       # prompt vectors


def scale(sd, key, factor):
    sd[key][...] = gm.to_bf16_grid(sd[key] * np.float32(factor)).reshape(sd[key].shape)


def build(variant, seed):
    match = NAME.fullmatch(variant)
    if not match:
        sys.exit(f"variant {variant!r}: expected long_oNUMBER_fNUMBER")
    original, finetuned = (float(x) for x in match.groups())
    chain = json.load(open(os.path.join(gm.ASSETS, "qwen2", "lm_chain.json")))
    chain["_chain"] = chain["chains"]["chatml"]
    vc, lc = gm.vit_cfg("300m"), gm.llm_cfg("qwen2", chain["vocab_size"], None)
    cfg = dict(architectures=["Sa2VAChatModel"],
               auto_map={"AutoConfig": "configuration_sa2va_chat.Sa2VAChatConfig",
                         "AutoModel": "modeling_sa2va_chat.Sa2VAChatModel",
                         "AutoModelForCausalLM": "modeling_sa2va_chat.Sa2VAChatModel"},
               downsample_ratio=0.5, dynamic_image_size=True, force_image_size=448, hidden_size=lc["hidden_size"],
               llm_config=lc, max_dynamic_patch=12, min_dynamic_patch=1, model_type="sa2va_chat", pad2square=False,
               ps_version="v2", select_layer=-1, template="qwen_chat", tie_word_embeddings=False,
               torch_dtype="bfloat16", use_backbone_lora=0, use_llm_lora=0, use_thumbnail=True, vision_config=vc,
               grounding_config=dict(GROUNDING))
    mk = gm.Maker(seed)
    gm.make_vit(mk, vc)
    gm.make_lm(mk, lc, chain, "qwen2")
    vh, d = vc["hidden_size"] * 4, lc["hidden_size"]
    mk.norm("mlp1.0", vh)
    mk.linear("mlp1.1", d, vh)
    mk.linear("mlp1.3", d, d, 1.6)
    mk.sd["mlp1.3.weight"][gm.CONTENT:] = 0
    mk.sd["mlp1.3.bias"][gm.CONTENT:] = 0
    mk.linear("text_hidden_fcs.0", d, d, 1.4)
    mk.linear("text_hidden_fcs.2", GROUNDING["d_model"], d, 1.4 * EMBED_GAIN)
    assets, gm.ASSETS = gm.ASSETS, os.path.join(HERE, "assets")
    gm.make_sam2(mk, original, finetuned)
    gm.ASSETS = assets
    sd = mk.sd
    for decoder in ("sam_mask_decoder", "sam_mask_decoder_modified"):
        scale(sd, f"{G}{decoder}.pred_obj_score_head.layers.2.weight", SCORE_GAIN)
    scale(sd, f"{G}obj_ptr_proj.layers.2.weight", POINTER_GAIN)
    scale(sd, f"{G}no_obj_ptr", POINTER_GAIN)
    for key in sd:
        if "memory_attention" in key and "cross_attn" in key and (".q_proj.weight" in key or ".k_proj.weight" in key):
            scale(sd, key, ATTENTION_GAIN)
    return sd, cfg


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--variant", required=True)
    ap.add_argument("--out", help="checkpoint directory to write")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    ap.add_argument("--procedure", choices=("sa2va-i", "sa2va"), default="sa2va-i")
    ap.add_argument("--digest-only", action="store_true", help="print the sha256 over all values and stop")
    a = ap.parse_args()
    if not (a.out or a.digest_only):
        ap.error("nothing to do: give --out or --digest-only")
    sd, cfg = build(a.variant, a.seed)
    if a.procedure == "sa2va":
        sd = gm.to_sa2va(sd)
    digest, name = gm.digest(sd), f"{a.variant}/{a.seed}/{a.procedure}"
    print(name, "tensors", len(sd), "values", sum(v.size for v in sd.values()), "sha256", digest)
    known = os.path.join(HERE, "checkpoint_digests.json")
    want = json.load(open(known)).get(name) if os.path.isfile(known) else None
    if want and want != digest:
        sys.exit(f"digest differs from the recorded {want}: do not use these weights")
    if a.out and not a.digest_only:
        gm.write(sd, cfg, "qwen2", 1, a.out, a.dtype)


if __name__ == "__main__":
    main()
