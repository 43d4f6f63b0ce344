#!/usr/bin/env python3
"""Makes the tiny models of further families, and of the embedders people use, and their vectors.

    pip install -r tests/vectors/requirements.txt
    python tests/vectors/make_family_vectors.py

Reads tiny-lines.txt, tiny-mpnet-padded.txt and tokenizer/roberta; README.md describes each file.
Each folder is laid out as those of the real models that its function names.
"""
import json
import shutil

import numpy as np
import safetensors.torch
import tokenizers
import torch
import transformers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from transformers import BertConfig, DistilBertConfig, RobertaConfig

from make_vectors import (HERE, SPECIAL, Weights, check_ids, encode, load, make_tokenizer,
                          make_weights, read_lines, token_ids, write_ids, write_json, write_modules,
                          write_rows)

ROBERTA_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# What sentence-transformers 2.3 to 5.3 wrote.
POOLING_MODES = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens",
                 "weightedmean_tokens", "lasttoken"]
# What some program was last told; no limit of the model.
TRUNCATION = {"direction": "Right", "max_length": 12, "strategy": "LongestFirst", "stride": 0}
PADDING = {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None,
           "pad_id": 1, "pad_type_id": 0, "pad_token": "<pad>"}


def start(name, config, architecture):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config.architectures = [architecture]
    config.save_pretrained(folder)
    return folder


def tensors(weights, dtype):
    return {name: torch.from_numpy(value).to(DTYPES[dtype]) for name, value in weights.items()}


def write_weights(folder, named, shards=1):
    """One file, or shards and their index."""
    if shards == 1:
        safetensors.torch.save_file(named, folder / "model.safetensors", {"format": "pt"})
        return
    names, where = sorted(named), {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = names[i * len(names) // shards:(i + 1) * len(names) // shards]
        safetensors.torch.save_file({name: named[name] for name in part}, folder / file,
                                    {"format": "pt"})
        where |= {name: file for name in part}
    size = sum(value.numel() * value.element_size() for value in named.values())
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": size}, "weight_map": where})


def write_pooling(folder, width, mode):
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width} | {
        "pooling_mode_" + key: key == mode for key in POOLING_MODES} | {"include_prompt": True})


def write_bert_tokenizer(folder, tokenizer, vocabulary, config):
    special = {token.strip("[]").lower() + "_token": token for token in SPECIAL}
    if tokenizer:
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in vocabulary))
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", special | {
        "clean_up_tokenization_spaces": True, "do_lower_case": True, "strip_accents": None,
        "tokenize_chinese_chars": True} | config)


def make_vectors(name, texts, max_tokens, ids=None, prompts=(None,)):
    """NAME.ids and NAME.f32; NAME-PROMPT.f32 for each prompt."""
    model = load(HERE / name)
    assert model.max_seq_length == max_tokens, model.max_seq_length
    ids = ids or token_ids(HERE / name, texts, max_tokens)
    check_ids(model, ids, texts)
    write_ids(name + ".ids", ids)
    for prompt in prompts:
        suffix = f"-{prompt}" if prompt else ""
        rows = encode(model, texts, **({"prompt_name": prompt} if prompt else {}))
        write_rows(f"{name}{suffix}.f32", rows)
    return model


def make_odd_ids(name, texts_file):
    """tokenizer/NAME.ids: of texts that tokenizers get wrong, not cut."""
    folder = HERE / "tokenizer"
    config = json.loads((HERE / name / "tokenizer_config.json").read_text())
    tokenizer = getattr(transformers, config["tokenizer_class"]).from_pretrained(HERE / name)
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    texts = [bytes.fromhex(line) for line in (folder / texts_file).read_text().split("\n")[:-1]]
    write_ids(f"tokenizer/{name}.ids", [
        tokenizer.backend_tokenizer.encode(text.decode(errors="replace")).ids for text in texts])


# ---- RoBERTa ---------------------------------------------------------------------------------

def roberta_tokenizer(size):
    """The first tokens and merges of tokenizer/roberta, with ids as RoBERTa has them."""
    source = HERE / "tokenizer" / "roberta"
    vocabulary = json.loads((source / "vocab.json").read_text())
    words = sorted(vocabulary, key=vocabulary.get)[:size - 1] + ["<mask>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    merges = [tuple(line.split(" ")) for line in (source / "merges.txt").read_text().split("\n")
              if line and not line.startswith("#version")]
    merges = [pair for pair in merges if "".join(pair) in vocabulary]
    tokenizer = tokenizers.Tokenizer(models.BPE(vocabulary, merges, continuing_subword_prefix="",
                                                end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    tokenizer.add_special_tokens([AddedToken(text, normalized=True) for text in ROBERTA_SPECIAL] +
                                 [AddedToken("<mask>", lstrip=True, normalized=False)])
    return tokenizer, vocabulary, merges


def write_roberta_tokenizer(folder, tokenizer, vocabulary, merges):
    document = json.loads(tokenizer.to_str()) | {"truncation": TRUNCATION, "padding": PADDING}
    document["model"]["merges"] = [" ".join(pair) for pair in merges]
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(
        " ".join(pair) + "\n" for pair in merges))
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
               "pad_token": "<pad>", "cls_token": "<s>"}
    mask = {"content": "<mask>", "single_word": False, "lstrip": True, "rstrip": False,
            "normalized": False}
    write_json(folder / "special_tokens_map.json", special | {"mask_token": mask})
    write_json(folder / "tokenizer_config.json", special | {
        "errors": "replace", "mask_token": "<mask>", "add_prefix_space": False,
        "trim_offsets": True, "model_max_length": 512, "special_tokens_map_file": None,
        "name_or_path": "distilroberta-base", "tokenizer_class": "RobertaTokenizer"})


def make_tiny_roberta(lines):
    """all-distilroberta-v1, all-roberta-large-v1: mean pooling and Normalize, files as older
    sentence-transformers wrote them. BF16, `roberta.` before the names, a head for masks."""
    tokenizer, vocabulary, merges = roberta_tokenizer(800)
    config = RobertaConfig(vocab_size=len(vocabulary), hidden_size=48, num_hidden_layers=2,
                           num_attention_heads=3, intermediate_size=96,
                           max_position_embeddings=66, type_vocab_size=1, layer_norm_eps=1e-5,
                           pad_token_id=1, dtype="bfloat16")
    folder = start("tiny-roberta", config, "RobertaForMaskedLM")
    named = {"roberta." + name: value for name, value in
             tensors(make_weights(config, 11, 0.3), "bfloat16").items() if "pooler" not in name}
    named["roberta.embeddings.position_ids"] = torch.arange(66)[None]
    head = Weights(12, 0.3)
    head.linear("lm_head.dense", 48, 48)
    head.layer_norm("lm_head.layer_norm", 48)
    head.draw("lm_head.bias", len(vocabulary))
    write_weights(folder, named | tensors(head, "bfloat16"))
    write_roberta_tokenizer(folder, tokenizer, vocabulary, merges)
    write_modules(folder, 48, 60)
    make_vectors("tiny-roberta", lines, 60)
    padded = read_lines(HERE / "tiny-mpnet-padded.txt")
    model = load(folder)
    ids = token_ids(folder, padded, 60)
    check_ids(model, ids, padded)
    assert sum(1 in row for row in ids) > 9
    write_ids("tiny-roberta-padded.ids", ids)
    write_rows("tiny-roberta-padded.f32", encode(model, padded))


# ---- DistilBERT ------------------------------------------------------------------------------

def distilbert_weights(config, seed, spread):
    C, F, weights = config.dim, config.hidden_dim, Weights(seed, spread)
    weights.draw("embeddings.word_embeddings.weight", config.vocab_size, C)
    weights.draw("embeddings.position_embeddings.weight", config.max_position_embeddings, C)
    weights.layer_norm("embeddings.LayerNorm", C)
    for i in range(config.n_layers):
        layer = f"transformer.layer.{i}."
        for name in ("q_lin", "k_lin", "v_lin", "out_lin"):
            weights.linear(layer + "attention." + name, C, C)
        weights.layer_norm(layer + "sa_layer_norm", C)
        weights.linear(layer + "ffn.lin1", F, C)
        weights.linear(layer + "ffn.lin2", C, F)
        weights.layer_norm(layer + "output_layer_norm", C)
    return weights


def make_tiny_distilbert(lines, tiny_lines):
    """distilbert-base-uncased and what was made of it with transformers alone: no modules.json, so
    mean pooling and no Normalize; no tokenizer.json; a tokenizer for 512 tokens where there are 50
    positions. F32 in three shards."""
    tokenizer, vocabulary = make_tokenizer(lines, 900, lowercase=True)
    config = DistilBertConfig(vocab_size=len(vocabulary), dim=40, n_layers=2, n_heads=5,
                              hidden_dim=72, max_position_embeddings=50,
                              sinusoidal_pos_embds=True, tie_weights_=True)
    folder = start("tiny-distilbert", config, "DistilBertModel")
    write_weights(folder, tensors(distilbert_weights(config, 13, 0.25), "float32"), shards=3)
    write_bert_tokenizer(folder, None, vocabulary, {
        "model_max_length": 512, "tokenizer_class": "DistilBertTokenizer"})
    tokenizer.enable_truncation(50)
    ids = [tokenizer.encode(line).ids for line in tiny_lines]
    make_vectors("tiny-distilbert", tiny_lines, 50, ids)


# ---- BERT as the embedders of today have it --------------------------------------------------

def make_tiny_e5(lines, tiny_lines):
    """e5-small-v2 and its like, gte, multi-qa: mean pooling, Normalize, prompts before queries and
    passages, no default among them; no pooler. F16 in two shards, LayerNorm's old names."""
    tokenizer, vocabulary = make_tokenizer(lines, 700, lowercase=True)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=2,
                        num_attention_heads=2, intermediate_size=96, max_position_embeddings=64,
                        layer_norm_eps=1e-12, dtype="float16")
    folder = start("tiny-e5", config, "BertModel")
    named = {name.replace("LayerNorm.weight", "LayerNorm.gamma")
                 .replace("LayerNorm.bias", "LayerNorm.beta"): value
             for name, value in tensors(make_weights(config, 14, 0.2), "float16").items()
             if "pooler" not in name}
    named["embeddings.position_ids"] = torch.arange(64)[None]
    write_weights(folder, named, shards=2)
    write_bert_tokenizer(folder, tokenizer, vocabulary, {
        "model_max_length": 64, "tokenizer_class": "BertTokenizer"})
    write_modules(folder, 64, 64)
    write_pooling(folder, 64, "mean_tokens")
    write_json(folder / "config_sentence_transformers.json", {
        "__version__": {"sentence_transformers": "2.7.0", "transformers": "4.39.3",
                        "pytorch": "2.1.0"},
        "prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": None})
    make_vectors("tiny-e5", tiny_lines, 64, prompts=(None, "query", "passage"))


def make_tiny_arctic(lines, tiny_lines):
    """snowflake-arctic-embed, bge-*-en-v1.5, mxbai-embed-large-v1, UAE-Large-V1: CLS pooling,
    Normalize, a prompt for queries alone, one head size of 64; files as sentence-transformers 5.4
    and later write them. BF16."""
    tokenizer, vocabulary = make_tokenizer(lines, 500, lowercase=True)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=128, num_hidden_layers=1,
                        num_attention_heads=2, intermediate_size=136, max_position_embeddings=48,
                        layer_norm_eps=1e-12, dtype="bfloat16")
    folder = start("tiny-arctic", config, "BertModel")
    write_weights(folder, tensors(make_weights(config, 15, 0.2), "bfloat16"))
    write_bert_tokenizer(folder, tokenizer, vocabulary, {
        "model_max_length": 48, "tokenizer_class": "BertTokenizer"})
    base = "sentence_transformers.base.modules."
    kind = "sentence_transformers.sentence_transformer."
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": base + "transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind + "modules.pooling.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize",
         "type": kind + "modules.normalize.Normalize"}])
    write_json(folder / "1_Pooling" / "config.json",
               {"embedding_dimension": 128, "pooling_mode": "cls", "include_prompt": True})
    write_json(folder / "sentence_bert_config.json", {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward",
                                     "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings"})
    write_json(folder / "config_sentence_transformers.json", {
        "__version__": {"sentence_transformers": "6.2.0", "transformers": "5.23.0",
                        "pytorch": "2.15.0"},
        "model_type": "SentenceTransformer",
        "prompts": {"query": "Represent this sentence for searching relevant passages: ",
                    "document": ""},
        "default_prompt_name": None, "similarity_fn_name": "cosine"})
    make_vectors("tiny-arctic", tiny_lines, 48, prompts=(None, "query"))


def main():
    torch.set_num_threads(1)
    lines, tiny_lines = read_lines(HERE / "lines.txt"), read_lines(HERE / "tiny-lines.txt")
    make_tiny_roberta(tiny_lines)
    make_tiny_distilbert(lines, tiny_lines)
    make_tiny_e5(lines, tiny_lines)
    make_tiny_arctic(lines, tiny_lines)
    make_odd_ids("tiny-roberta", "bpe-texts.hex")
    for name in "tiny-distilbert", "tiny-e5", "tiny-arctic":
        make_odd_ids(name, "texts.hex")


if __name__ == "__main__":
    main()
