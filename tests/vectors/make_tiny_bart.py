#!/usr/bin/env python3
"""Makes tiny-bart and tiny-bart-uneven in this folder: two BARTs with their tokenizers, trained on
the stories of bart_stories.py until their summaries are words. README.md describes both.

    pip install -r tests/vectors/requirements.txt
    python tests/vectors/make_tiny_bart.py [NAME] [--steps N]

About four minutes each on one core. Training gives other weights on another processor, and
make_bart_vectors.py other summaries then; it works with the models that are here.
"""
import argparse
import json
import os
import pathlib
import random
import shutil
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import safetensors.torch
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers import trainers
from transformers import BartConfig, BartForConditionalGeneration

from bart_stories import article

HERE = pathlib.Path(__file__).resolve().parent
FIRST = ["<s>", "<pad>", "</s>", "<unk>"]

# As facebook/bart-large-cnn: the model has one id less than the tokenizer, which is <mask>'s.
EVEN = dict(vocab_size=639, d_model=64, encoder_layers=2, decoder_layers=2,
            encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=96,
            decoder_ffn_dim=96, max_position_embeddings=128)
UNEVEN = dict(vocab_size=480, d_model=48, encoder_layers=3, decoder_layers=1,
              encoder_attention_heads=3, decoder_attention_heads=4, encoder_ffn_dim=40,
              decoder_ffn_dim=144, max_position_embeddings=96, scale_embedding=True)
EVEN_GENERATION = dict(num_beams=4, length_penalty=2.0, max_length=48, min_length=16,
                       no_repeat_ngram_size=3, early_stopping=True, forced_bos_token_id=0,
                       forced_eos_token_id=2)
UNEVEN_GENERATION = dict(num_beams=2, length_penalty=0.5, max_length=40, no_repeat_ngram_size=3)


# ---- tokenizers ------------------------------------------------------------------------------

def trained_bpe(size):
    """A byte-level BPE of `size` ids, laid out as BART's; the trainer breaks ties by chance."""
    rng = random.Random(1)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size - 1, special_tokens=FIRST, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([text for _ in range(3000) for text in article(rng)], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    model["vocab"]["<mask>"] = len(model["vocab"])
    return model


def bart_tokenizer(model):
    tokenizer = Tokenizer(models.BPE(model["vocab"], [tuple(pair) for pair in model["merges"]],
                                     continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in FIRST] +
                                 [AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer


def write_json(path, value, **options):
    path.write_text(json.dumps(value, **options) + "\n")


def save_tokenizer_json(folder, model, positions):
    document = json.loads(bart_tokenizer(model).to_str())
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    write_json(folder / "tokenizer.json", document, ensure_ascii=False, separators=(",", ":"))
    write_json(folder / "tokenizer_config.json",
               {"model_max_length": positions, "tokenizer_class": "BartTokenizer"}, indent=2)


def save_vocab_json(folder, model, positions):
    """vocab.json and merges.txt, and what goes with them."""
    write_json(folder / "vocab.json", model["vocab"], separators=(",", ":"))
    lines = ["#version: 0.2"] + [" ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    write_json(folder / "tokenizer_config.json",
               {"add_prefix_space": False, "model_max_length": positions,
                "tokenizer_class": "BartTokenizer"}, indent=2)
    write_json(folder / "special_tokens_map.json",
               {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>",
                "mask_token": {"content": "<mask>", "single_word": False, "lstrip": True,
                               "rstrip": False, "normalized": False}}, indent=2)


# ---- training --------------------------------------------------------------------------------

def padded(rows, value):
    width = max(map(len, rows))
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


def batch_of(rng, tokenizer, positions, size):
    pairs = [article(rng) for _ in range(size)]
    tokenizer.enable_truncation(positions)
    sources = padded([tokenizer.encode(text).ids for text, _ in pairs], 1)
    labels = padded([tokenizer.encode(summary).ids for _, summary in pairs], -100)
    return {"input_ids": sources, "attention_mask": (sources != 1).long(), "labels": labels}


def train(model, tokenizer, positions, steps, seed):
    rng, began = random.Random(seed), time.time()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98),
                                  weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps, pct_start=0.1)
    model.train()
    for step in range(steps):
        loss = model(**batch_of(rng, tokenizer, positions, 32)).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 199:
            print(f"  step {step + 1}: loss {loss.item():.3f}, {time.time() - began:.0f} s",
                  flush=True)
    return model.eval()


def make(name, sizes, seed, steps, bias):
    """The trained model, and the tokenizer as vocabulary and merges."""
    torch.manual_seed(seed)
    bpe = trained_bpe(sizes["vocab_size"] + (1 if name == "tiny-bart" else 0))
    model = BartForConditionalGeneration(BartConfig(dropout=0.0, **sizes))
    if bias:
        model.final_logits_bias.normal_(std=0.5)
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters")
    train(model, bart_tokenizer(bpe), sizes["max_position_embeddings"], steps, seed)
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder, model, bpe


# ---- the two models --------------------------------------------------------------------------

def make_even(steps):
    """F16, tokenizer.json, generation_config.json, final_logits_bias: as transformers 5 writes."""
    folder, model, bpe = make("tiny-bart", EVEN, 1, steps, bias=True)
    model.half()
    for key, value in EVEN_GENERATION.items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(folder)
    save_tokenizer_json(folder, bpe, EVEN["max_position_embeddings"])


def make_uneven(steps):
    """F32, vocab.json and merges.txt, what to generate in config.json, no final_logits_bias."""
    folder, model, bpe = make("tiny-bart-uneven", UNEVEN, 2, steps, bias=False)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()
               if key not in ("final_logits_bias", "lm_head.weight",
                              "model.encoder.embed_tokens.weight",
                              "model.decoder.embed_tokens.weight")}
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = json.loads(model.config.to_json_string())
    config |= UNEVEN_GENERATION | {"architectures": ["BartForConditionalGeneration"],
                                   "model_type": "bart", "forced_eos_token_id": 2}
    write_json(folder / "config.json", config, indent=2, sort_keys=True)
    save_vocab_json(folder, bpe, UNEVEN["max_position_embeddings"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", choices=["tiny-bart", "tiny-bart-uneven"])
    parser.add_argument("--steps", type=int, default=2500)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if wanted.name != "tiny-bart-uneven":
        make_even(wanted.steps)
    if wanted.name != "tiny-bart":
        make_uneven(wanted.steps)


if __name__ == "__main__":
    main()
