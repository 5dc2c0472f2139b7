"""A small vision-language checkpoint of random weights whose every answer is yes or no, for servers to load."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

PICTURE, PATCH = 32, 8
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<user>' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)


def write_random_vlm(folder: Path, seed: int = 4) -> Path:
    """Write it in the Hugging Face layout."""
    torch.manual_seed(seed)
    special = ["<pad>", "<eos>", "<user>", "<assistant>", "<image>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, "\u0120yes", "\u0120no", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=["<user>", "<assistant>", "<image>"],
        chat_template=CHAT_TEMPLATE,
    )
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=PICTURE, patch_size=PATCH, **size),
        text_config=LlamaConfig(vocab_size=len(vocabulary), max_position_embeddings=2048, eos_token_id=1, **size),
        image_token_index=vocabulary["<image>"],
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.4)  # large, so that answers depend on pictures and words
        # a direction says yes, its opposite no, and nothing says anything else
        direction = torch.randn(32)
        model.lm_head.weight.zero_()
        model.lm_head.weight[vocabulary["\u0120yes"]] = direction
        model.lm_head.weight[vocabulary["\u0120no"]] = -direction
    model.save_pretrained(folder)
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": PICTURE}, crop_size={"height": PICTURE, "width": PICTURE}
        ),
        tokenizer=fast,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    processor.save_pretrained(folder)
    return folder
