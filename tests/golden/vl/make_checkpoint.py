#!/usr/bin/env python3
"""Write a small synthetic Sa2VA checkpoint of a newer family, bit-identical on every machine.

    python make_checkpoint.py --variant qwen3_vl --out /some/dir [--seed 0] [--dtype fp32|bf16]
    python make_checkpoint.py --variant qwen2_5_vl --out /some/dir --procedure sa2va-i

Variants: qwen3_vl (Sa2VA-Qwen3-VL-4B), qwen2_5_vl (Sa2VA-Qwen2_5-VL-3B/7B), internvl3 (Sa2VA-InternVL3-2B/8B/14B).
`--procedure sa2va` (default) is what the public repository releases: one mask decoder, the finetuned one.
`--procedure sa2va-i` holds two, as the Sa2VA-i converter would leave it: the original one under the plain name, the
finetuned one as `sam_mask_decoder_modified`.  `--sam2-pt` writes the original SAM2 weights alone, in Meta's layout.

Everything is tiny, SAM2 too: `grounding_config` in config.json tells its dimensions (no released file has that entry).
Needs numpy, torch, safetensors and ../make_checkpoint.py (random numbers, base vocabulary).
All values lie on the bf16 grid, so both dtypes hold the same numbers; released files of these families are float32.
"""
import argparse, hashlib, importlib.util, json, math, os, sys
import numpy as np
import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
OLD = os.environ.get("GOLDEN_DIR", os.path.join(HERE, ".."))
_spec = importlib.util.spec_from_file_location("golden_make_checkpoint", os.path.join(OLD, "make_checkpoint.py"))
gm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gm)
unit, to_bf16_grid, Maker = gm.unit, gm.to_bf16_grid, gm.Maker
BASE = os.path.join(OLD, "assets", "qwen2")
ASSETS = os.path.join(HERE, "assets")

GROUNDING = dict(image_size=256, trunk_embed_dim=24, trunk_num_heads=2, trunk_stages=[1, 2, 3, 1],
                 trunk_global_attention_blocks=[4], trunk_window_spec=[8, 4, 8, 4],
                 trunk_position_background_size=[7, 7], d_model=64, memory_dim=16, memory_attention_layers=2,
                 memory_attention_feedforward=256)

# ---------------------------------------------------------------- tokenizer
NBASE = 450                       # byte-level BPE vocabulary of ../assets/qwen2
SPECIAL_QWEN = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
                "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
                "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"]
PLAIN_25 = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
            "<|repo_name|>", "<|file_sep|>"]
PLAIN_3 = PLAIN_25 + ["<tool_response>", "</tool_response>", "<think>", "</think>"]
INTERNVL = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"]
SA2VA = ["[SEG]", "<p>", "</p>", "<vp>", "</vp>"]
# (content, special) in id order; ids start at NBASE.  In the real ones they start at 151643.
ADDED = {
    "qwen2_5_vl": [(t, True) for t in SPECIAL_QWEN] + [(t, False) for t in PLAIN_25] + [(t, True) for t in SA2VA],
    "qwen3_vl": [(t, True) for t in SPECIAL_QWEN] + [(t, False) for t in PLAIN_3] + [(t, True) for t in SA2VA],
    "internvl3": [(t, True) for t in SPECIAL_QWEN] + [(t, False) for t in PLAIN_25] + [(t, True) for t in INTERNVL + SA2VA],
}


def token_ids(variant):
    return {t: NBASE + i for i, (t, _) in enumerate(ADDED[variant])}


# chat templates: own text, same output as the published ones for the messages that occur here
_IMG = "<|vision_start|><|image_pad|><|vision_end|>"
_BODY = ("<|im_start|>{{ message['role'] }}\n"
         "{% if message['content'] is string %}{{ message['content'] }}"
         "{% else %}{% for part in message['content'] %}"
         "{% if part['type'] == 'image' or 'image' in part %}" + _IMG +
         "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n")
_TAIL = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEMPLATE = {
    # Qwen2.5-VL: a default system message when the first message is not one
    "qwen2_5_vl": "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\n"
                  "You are a helpful assistant.<|im_end|>\n{% endif %}" + _BODY + "{% endfor %}" + _TAIL,
    # Qwen3-VL: no default system message
    "qwen3_vl": "{% for message in messages %}" + _BODY + "{% endfor %}" + _TAIL,
    # InternVL3: present in the released directory, not used by the inference code (config.template is)
    "internvl3": "{% for message in messages %}" + _BODY.replace(_IMG, "<image>\n") + "{% endfor %}" + _TAIL,
}


def write_tokenizer(variant, out):
    tok = json.load(open(os.path.join(BASE, "tokenizer.json"), encoding="utf-8"))
    vocab = tok["model"]["vocab"]
    assert len(vocab) == NBASE
    tok["added_tokens"] = [dict(id=NBASE + i, content=t, single_word=False, lstrip=False, rstrip=False,
                                normalized=False, special=s) for i, (t, s) in enumerate(ADDED[variant])]
    dump(tok, out, "tokenizer.json", ensure_ascii=False)
    dump({t: NBASE + i for i, (t, _) in enumerate(ADDED[variant])}, out, "added_tokens.json")
    dump(vocab, out, "vocab.json", ensure_ascii=False)
    with open(os.path.join(BASE, "merges.txt"), encoding="utf-8") as f, \
            open(os.path.join(out, "merges.txt"), "w", encoding="utf-8") as g:
        g.write(f.read())
    one = lambda t: dict(content=t, lstrip=False, normalized=False, rstrip=False, single_word=False)
    qwen = variant != "internvl3"
    extra = SA2VA if qwen else INTERNVL + SA2VA
    dump(dict(additional_special_tokens=(SPECIAL_QWEN[1:] if not qwen else []) + extra,
              eos_token=one("<|im_end|>"), pad_token=one("<|endoftext|>")), out, "special_tokens_map.json")
    cfg = dict(add_bos_token=False, add_prefix_space=False,
               added_tokens_decoder={str(NBASE + i): dict(one(t), special=s) for i, (t, s) in enumerate(ADDED[variant])},
               additional_special_tokens=(SPECIAL_QWEN[1:] if not qwen else []) + extra, bos_token=None,
               clean_up_tokenization_spaces=False, eos_token="<|im_end|>", errors="replace", extra_special_tokens={},
               model_max_length=131072 if qwen else 12288, pad_token="<|endoftext|>", split_special_tokens=False,
               tokenizer_class="Qwen2Tokenizer", unk_token=None)
    if qwen:
        cfg["processor_class"] = PROC[variant]
    dump(cfg, out, "tokenizer_config.json")
    with open(os.path.join(out, "chat_template.jinja"), "w", encoding="utf-8") as f:
        f.write(TEMPLATE[variant])


PROC = {"qwen2_5_vl": "Qwen2_5_VLProcessor", "qwen3_vl": "Qwen3VLProcessor"}


def write_processor(variant, out):
    if variant not in PROC:
        return
    q3 = variant == "qwen3_vl"
    mean = [0.5] * 3 if q3 else [0.48145466, 0.4578275, 0.40821073]
    std = [0.5] * 3 if q3 else [0.26862954, 0.26130258, 0.27577711]
    common = dict(do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True, image_mean=mean,
                  image_std=std, merge_size=2, patch_size=16 if q3 else 14, processor_class=PROC[variant], resample=3,
                  rescale_factor=1 / 255, temporal_patch_size=2)
    size = dict(longest_edge=16777216, shortest_edge=65536) if q3 else dict(longest_edge=12845056, shortest_edge=3136)
    dump(dict(common, size=size, image_processor_type="Qwen2VLImageProcessorFast"), out, "preprocessor_config.json")
    vsize = dict(longest_edge=25165824, shortest_edge=4096) if q3 else size
    dump(dict(common, size=vsize, fps=2, max_frames=768, min_frames=4, do_sample_frames=q3,
              video_processor_type="Qwen3VLVideoProcessor" if q3 else "Qwen2VLVideoProcessor"),
         out, "video_preprocessor_config.json")


# ---------------------------------------------------------------- language model
# Residual-stream layout (hidden 64) as in ../make_checkpoint.py: 0..31 identity, 32..55 effect, 56 "is text",
# 57..59 trigger words, 60..62 modes, 63 "is a word that starts with a blank".
IDENT, CONTENT, TEXT, TRIG, MODE, WORD = gm.IDENT, gm.CONTENT, gm.TEXT, gm.TRIG, gm.MODE, gm.WORD


def chain_for(variant):
    c = json.load(open(os.path.join(BASE, "lm_chain.json")))
    ids = token_ids(variant)
    move = {462: ids["[SEG]"], 452: ids["<|im_end|>"]}
    f = lambda t: move.get(t, t)
    assert all(t < NBASE or t in move for row in c["chains"]["chatml"] for t in row[:2])
    c["_chain"] = [(f(a), f(b), m) for a, b, m in c["chains"]["chatml"]]
    c["vocab_size"] = NBASE + len(ids)
    return c


def make_lm(mk, c, chain, names, norm_qk):
    """c: text config; names: prefix of the decoder and name of the output head."""
    V, d, L = c["vocab_size"], c["hidden_size"], c["num_hidden_layers"]
    nh, nkv, ff = c["num_attention_heads"], c["num_key_value_heads"], c["intermediate_size"]
    hd = c.get("head_dim") or d // nh
    gq, qd, kd = nh // nkv, nh * hd, nkv * hd
    p, head = names
    r = lambda k, *s: unit(mk.seed, k, int(np.prod(s))).reshape(s)
    put = lambda k, x: mk.sd.__setitem__(k, to_bf16_grid(x).reshape(x.shape))
    e = mk.put(p + "embed_tokens.weight", (V, d), 1.0)
    e[:, CONTENT:] = 0.0
    e[:, TEXT] = 4.0
    e[chain["words"], WORD] = 4.0
    for j, name in enumerate(("trigger_A", "trigger_B", "trigger_C")):
        for t in chain[name]:
            e[t, TRIG + j] = 8.0
    for i in range(L):
        q = f"{p}layers.{i}."
        wq, wk = r(q + "Wq", qd, d) * np.float32(1.5 / 8), r(q + "Wk", kd, d) * np.float32(1.5 / 8)
        wv, wo = r(q + "Wv", kd, d) * np.float32(1.4 / 8), r(q + "Wo", d, qd) * np.float32(1.0 / math.sqrt(qd))
        wo[:, hd:2 * hd] *= np.float32(2.0)              # the word-leaning head speaks louder
        bq, bk, bv = r(q + "bq", qd) * np.float32(0.02), r(q + "bk", kd) * np.float32(0.02), r(q + "bv", kd) * np.float32(0.02)
        wq[:, CONTENT:], wk[:, CONTENT:], wv[:, CONTENT:] = 0, 0, 0
        wo[CONTENT:, :] = 0
        wo[:IDENT] *= np.float32(0.125)
        s0, s1 = hd // 2 - 1, hd - 1                     # slowest rotary pair of a head
        slow_q = [h * hd + s for h in range(nh) for s in (s0, s1)]
        slow_k = [h * hd + s for h in range(nkv) for s in (s0, s1)]
        wq[slow_q], wk[slow_k], bq[slow_q], bk[slow_k] = 0, 0, 0, 0
        wq[hd + s0, TEXT] = 1.8                          # query head 1 (kv head 0) leans towards words
        wk[s0, WORD] = 1.8
        if i == L - 1:                                   # last query head copies trigger flags into the mode dims
            a, kv = (nh - 1) * hd, (nkv - 1) * hd
            wq[a:a + hd], bq[a:a + hd] = 0, 0
            wq[a + s0, TEXT] = 1.9
            if norm_qk:                                  # normalised keys: nothing else may speak in that head
                wk[kv:kv + hd] = 0
            wk[kv + s0, TRIG:TRIG + 3] = 1.9
            wv[kv:kv + 3], bv[kv:kv + 3] = 0, 0
            for j in range(3):
                wv[kv + j, TRIG + j] = 1.0
            wo[:, a:a + hd] = 0
            for h in range(nh - gq, nh):
                wo[:, h * hd:h * hd + 3] = 0
            for j in range(3):
                wo[MODE + j, a + j] = 2.2 if norm_qk else 1.6
        for n, w, b in (("q", wq, bq), ("k", wk, bk), ("v", wv, bv)):
            put(f"{q}self_attn.{n}_proj.weight", w)
            if not norm_qk:                              # Qwen2.5: bias, no norm; Qwen3: norm, no bias
                put(f"{q}self_attn.{n}_proj.bias", b)
        if norm_qk:
            for n in ("q_norm", "k_norm"):
                w = mk.put(f"{q}self_attn.{n}.weight", (hd,), 0.1, 1.3)
                w[s0] = 1.75
        put(q + "self_attn.o_proj.weight", wo)
        for n in ("gate_proj", "up_proj"):
            mk.put(f"{q}mlp.{n}.weight", (ff, d), 1.0 / 8)[:, CONTENT:] = 0
        w = mk.put(f"{q}mlp.down_proj.weight", (d, ff), 0.8 / math.sqrt(ff))
        w[CONTENT:] = 0
        w[:IDENT] = to_bf16_grid(w[:IDENT] * np.float32(0.125)).reshape(IDENT, ff)
        for n in ("input_layernorm", "post_attention_layernorm"):
            mk.put(f"{q}{n}.weight", (d,), 0.05, 1.0)
    mk.put(p + "norm.weight", (d,), 0.05, 1.0)
    W = mk.put(head, (V, d), 0.02)
    W[:, CONTENT:] = 0
    done = set()
    for prev, nxt, mode in chain["_chain"]:
        if nxt not in done:
            W[nxt] = 0
            done.add(nxt)
        W[nxt, :IDENT] += np.float32(1.5) * e[prev, :IDENT]
        if mode == "A":
            W[nxt, MODE] += 2.2
        if mode == "B":
            W[nxt, MODE + 1] += 2.2
            W[nxt, MODE + 2] -= 8.0
        if mode:
            W[nxt, TEXT] -= 1.8
    W[:] = to_bf16_grid(W).reshape(W.shape)


# ---------------------------------------------------------------- vision towers of the Qwen families
def content_only(mk, key):
    mk.sd[key + ".weight"][CONTENT:] = 0
    mk.sd[key + ".bias"][CONTENT:] = 0


def make_qwen3_visual(mk, v, p):
    h, ff, out, ps = v["hidden_size"], v["intermediate_size"], v["out_hidden_size"], v["patch_size"]
    m = h * v["spatial_merge_size"] ** 2
    mk.put(p + "patch_embed.proj.weight", (h, 3, v["temporal_patch_size"], ps, ps), 1.5 / math.sqrt(3 * 2 * ps * ps))
    mk.put(p + "patch_embed.proj.bias", (h,), 0.05)
    mk.put(p + "pos_embed.weight", (v["num_position_embeddings"], h), 0.5)
    for i in range(v["depth"]):
        q = f"{p}blocks.{i}."
        mk.norm(q + "norm1", h)
        mk.norm(q + "norm2", h)
        mk.linear(q + "attn.qkv", 3 * h, h, 1.2)
        mk.linear(q + "attn.proj", h, h)
        mk.linear(q + "mlp.linear_fc1", ff, h, 1.4)
        mk.linear(q + "mlp.linear_fc2", h, ff)
    for q, n, g in [(p + "merger.", h, 1.6)] + [(f"{p}deepstack_merger_list.{j}.", m, 0.6)
                                                for j in range(len(v["deepstack_visual_indexes"]))]:
        mk.norm(q + "norm", n)                           # merger: before the 2x2 merge; deepstack: after it
        mk.linear(q + "linear_fc1", m, m, 1.4)
        mk.linear(q + "linear_fc2", out, m, g)
        content_only(mk, q + "linear_fc2")


def make_qwen25_visual(mk, v, p):
    h, ff, out, ps = v["hidden_size"], v["intermediate_size"], v["out_hidden_size"], v["patch_size"]
    m = h * v["spatial_merge_size"] ** 2
    mk.put(p + "patch_embed.proj.weight", (h, 3, v["temporal_patch_size"], ps, ps), 1.5 / math.sqrt(3 * 2 * ps * ps))
    for i in range(v["depth"]):
        q = f"{p}blocks.{i}."
        mk.norm(q + "norm1", h, bias=False)
        mk.norm(q + "norm2", h, bias=False)
        mk.linear(q + "attn.qkv", 3 * h, h, 1.2)
        mk.linear(q + "attn.proj", h, h)
        mk.linear(q + "mlp.gate_proj", ff, h, 1.2)
        mk.linear(q + "mlp.up_proj", ff, h)
        mk.linear(q + "mlp.down_proj", h, ff)
    mk.norm(p + "merger.ln_q", h, bias=False)
    mk.linear(p + "merger.mlp.0", m, m, 1.4)
    mk.linear(p + "merger.mlp.2", out, m, 1.6)
    content_only(mk, p + "merger.mlp.2")


# ---------------------------------------------------------------- configs
def config_qwen3(V, ids):
    text = dict(attention_bias=False, attention_dropout=0.0, bos_token_id=ids["<|endoftext|>"], dtype="float32",
                eos_token_id=ids["<|im_end|>"], head_dim=32, hidden_act="silu", hidden_size=64, initializer_range=0.02,
                intermediate_size=160, max_position_embeddings=262144, model_type="qwen3_vl_text",
                num_attention_heads=4, num_hidden_layers=4, num_key_value_heads=2, rms_norm_eps=1e-6,
                rope_scaling=dict(mrope_interleaved=True, mrope_section=[6, 5, 5], rope_type="default"),
                rope_theta=5000000, tie_word_embeddings=False, use_cache=True, vocab_size=V)
    vis = dict(deepstack_visual_indexes=[0, 1, 2], depth=4, dtype="float32", hidden_act="gelu_pytorch_tanh",
               hidden_size=64, in_channels=3, initializer_range=0.02, intermediate_size=160, model_type="qwen3_vl",
               num_heads=4, num_position_embeddings=2304, out_hidden_size=64, patch_size=16, spatial_merge_size=2,
               temporal_patch_size=2)
    return text, vis, {}


def config_qwen25(V, ids):
    text = dict(attention_dropout=0.0, bos_token_id=ids["<|endoftext|>"], dtype="float32",
                eos_token_id=ids["<|im_end|>"], hidden_act="silu", hidden_size=64, initializer_range=0.02,
                intermediate_size=160, layer_types=["full_attention"] * 3, max_position_embeddings=128000,
                max_window_layers=70, model_type="qwen2_5_vl_text", num_attention_heads=4, num_hidden_layers=3,
                num_key_value_heads=2, rms_norm_eps=1e-6,
                rope_scaling=dict(mrope_section=[2, 3, 3], rope_type="default", type="default"), rope_theta=1000000.0,
                sliding_window=None, tie_word_embeddings=False, use_cache=True, use_sliding_window=False, vocab_size=V)
    vis = dict(depth=4, dtype="float32", fullatt_block_indexes=[1, 3], hidden_act="silu", hidden_size=64,
               in_channels=3, in_chans=3, initializer_range=0.02, intermediate_size=160, model_type="qwen2_5_vl",
               num_heads=4, out_hidden_size=64, patch_size=14, spatial_merge_size=2, spatial_patch_size=14,
               temporal_patch_size=2, tokens_per_second=2, window_size=112)
    return text, vis, dict(attention_dropout=0.0, bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"])


def build(variant, seed):
    chain, ids = chain_for(variant), token_ids(variant)
    V, mk = chain["vocab_size"], Maker(seed)
    if variant == "internvl3":
        vc, lc = gm.vit_cfg("300m"), gm.llm_cfg("qwen2", V, None)
        vc.pop("use_bfloat16"), lc.pop("use_bfloat16")
        lc.update(bos_token_id=ids["<|endoftext|>"], eos_token_id=ids["<|im_end|>"], rms_norm_eps=1e-6,
                  rope_scaling=dict(factor=2.0, rope_type="dynamic", type="dynamic"), num_hidden_layers=3)
        lc["architectures"] = ["Qwen2ForCausalLM"]
        cfg = dict(architectures=["Sa2VAChatModel"],
                   auto_map={"AutoConfig": "configuration_sa2va_chat.Sa2VAChatConfig",
                             "AutoModel": "modeling_sa2va_chat.Sa2VAChatModel",
                             "AutoModelForCausalLM": "modeling_sa2va_chat.Sa2VAChatModel"},
                   downsample_ratio=0.5, dynamic_image_size=True, force_image_size=448, hidden_size=64, llm_config=lc,
                   max_dynamic_patch=12, min_dynamic_patch=1, model_type="sa2va_chat", pad2square=False,
                   ps_version="v2", select_layer=-1, template="qwen_chat", tie_word_embeddings=False,
                   torch_dtype="float32", use_backbone_lora=0, use_llm_lora=0, use_thumbnail=True, vision_config=vc)
        gm.make_vit(mk, vc)
        make_lm(mk, lc, chain, ("language_model.model.", "language_model.lm_head.weight"), False)
        vh = vc["hidden_size"] * 4
        mk.norm("mlp1.0", vh)
        mk.linear("mlp1.1", 64, vh)
        mk.linear("mlp1.3", 64, 64, 1.6)
        content_only(mk, "mlp1.3")
    else:
        q3 = variant == "qwen3_vl"
        text, vis, more = (config_qwen3 if q3 else config_qwen25)(V, ids)
        cfg = dict(architectures=["Sa2VAChatModelQwen"],
                   auto_map={"AutoConfig": "configuration_sa2va_chat.Sa2VAChatConfigQwen",
                             "AutoModel": "modeling_sa2va_qwen.Sa2VAChatModelQwen",
                             "AutoModelForCausalLM": "modeling_sa2va_qwen.Sa2VAChatModelQwen"},
                   dtype="float32", image_token_id=ids["<|image_pad|>"], model_type="sa2va_chat", template="qwen_chat",
                   text_config=text, tie_word_embeddings=False, video_token_id=ids["<|video_pad|>"],
                   vision_config=vis, vision_end_token_id=ids["<|vision_end|>"],
                   vision_start_token_id=ids["<|vision_start|>"], **more)
        (make_qwen3_visual if q3 else make_qwen25_visual)(mk, vis, "model.model.visual.")
        make_lm(mk, text, chain, ("model.model.language_model.", "model.lm_head.weight"), q3)
    cfg["grounding_config"] = dict(GROUNDING)
    mk.linear("text_hidden_fcs.0", 64, 64, 1.4)
    mk.linear("text_hidden_fcs.2", GROUNDING["d_model"], 64, 1.4)
    keep, gm.ASSETS = gm.ASSETS, ASSETS                  # names and shapes of the small SAM2
    gm.make_sam2(mk, 4.0, 4.0)
    gm.ASSETS = keep
    return mk.sd, cfg


def write(sd, cfg, variant, out, dtype):
    os.makedirs(out, exist_ok=True)
    ts = {k: torch.from_numpy(np.array(v, dtype=np.float32, order="C", copy=True)) for k, v in sd.items()}
    if dtype == "bf16":
        ts = {k: t.to(torch.bfloat16) for k, t in ts.items()}
    names, groups = list(ts), [[], []]                   # two shards and an index, as in the released directories
    total, acc = sum(t.numel() for t in ts.values()), 0
    for k in names:
        groups[min(1, 2 * acc // total)].append(k)
        acc += ts[k].numel()
    wm = {}
    for i, g in enumerate(groups):
        f = f"model-{i + 1:05d}-of-00002.safetensors"
        save_file({k: ts[k] for k in g}, os.path.join(out, f), metadata={"format": "pt"})
        wm.update({k: f for k in g})
    size = sum(t.numel() * t.element_size() for t in ts.values())
    dump({"metadata": {"total_parameters": total, "total_size": size}, "weight_map": dict(sorted(wm.items()))}, out,
         "model.safetensors.index.json")
    dump(cfg, out, "config.json")
    write_tokenizer(variant, out)
    write_processor(variant, out)


def dump(x, out, name, **kw):
    with open(os.path.join(out, name), "w", encoding="utf-8") as f:
        json.dump(x, f, indent=2, **kw)
        f.write("\n")


def check(name, sd):
    dg = gm.digest(sd)
    print(name, "tensors", len(sd), "values", sum(v.size for v in sd.values()), "sha256", dg)
    known = os.path.join(HERE, "checkpoint_digests.json")
    if os.path.isfile(known):
        want = json.load(open(known)).get(name)
        if want and want != dg:
            sys.exit(f"digest differs from the recorded {want}: do not use these weights")
    return dg


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--variant", choices=("qwen3_vl", "qwen2_5_vl", "internvl3"), required=True)
    ap.add_argument("--out")
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    ap.add_argument("--procedure", choices=("sa2va", "sa2va-i"), default="sa2va")
    ap.add_argument("--sam2-pt", metavar="FILE", help="also write the original SAM2 weights, {'model': {...}}")
    ap.add_argument("--digest-only", action="store_true")
    a = ap.parse_args()
    if not (a.out or a.sam2_pt or a.digest_only):
        ap.error("nothing to do: give --out, --sam2-pt or --digest-only")
    sd, cfg = build(a.variant, a.seed)
    if a.sam2_pt:
        torch.save({"model": gm.sam2_state(sd)}, a.sam2_pt)
    if a.procedure == "sa2va":
        sd = gm.to_sa2va(sd)
    check(f"{a.variant}/{a.seed}/{a.procedure}", sd)
    if a.out and not a.digest_only:
        write(sd, cfg, a.variant, a.out, a.dtype)


if __name__ == "__main__":
    main()
