#!/usr/bin/env python3
r"""Makes the reference data in this folder from lines.txt; README.md describes each file.

    pip install -r tests/vectors/requirements.txt
    python tests/vectors/make_vectors.py --model weights/all-MiniLM-L6-v2 \
        --mpnet weights/all-mpnet-base-v2

Without --model and --mpnet, only the tiny models and their vectors are made.
"""
import argparse
import collections
import json
import os
import pathlib
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import safetensors.numpy
import safetensors.torch
import tokenizers
import torch
from sentence_transformers import SentenceTransformer
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, MPNetConfig

HERE = pathlib.Path(__file__).resolve().parent
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MPNET_SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]

# Lines of lines.txt (from 0) for the tiny models: every 17th, and some that are empty or long.
TINY_LINES = sorted({*range(0, 1000, 17), 770, 771, 792, 812, 981})
# Lines of tiny-lines.txt whose intermediate results are kept: empty, short, middling.
STAGE_LINES = [46, 10, 7]
# Lines of lines.txt for all-mpnet-base-v2: every 4th, more of the empty ones, all with names of
# special tokens, all long ones.
MPNET_LINES = sorted({*range(0, 1000, 4), *range(770, 783), *range(812, 842), *range(976, 1000)})
# Texts for tiny-mpnet with its special tokens in them. Padding within a text has no position.
PADDED_LINES = [
    "<pad>", "<pad><pad> <pad>", "<mask>", "</s>", "<s> <s>", "<unk>", "[UNK]", "a <unk> <UNK> b",
    "one <pad> two", "one<pad>two", "<pad> at the beginning", "at the end <pad>",
    "one <mask> two", "one   <mask>   two", "one\t\u3000<mask>two", "one<mask>two <mask><mask>",
    "<mask> <pad> <mask> <pad> <mask>", "a <PAD> in capitals, a < pad >, a <pad >",
    "[PAD] [MASK] [CLS] [SEP]", "one </s> two <s> three <pad> four <mask> five",
    "<pad> ".join("every word is followed by one that is not there".split()),
    " ".join(f"{i} <pad>" for i in range(60)), "word " * 100 + "<pad> " * 20 + "word " * 60,
    "<pad> " * 130 + "the end of a long text", "<pad>" * 200, "the same word " * 60,
    "distance " * 91 + "<mask>", "".join(chr(ord("a") + i * 7 % 26) + " " for i in range(146)),
]


def read_lines(path):
    """Only \\n ends a line: \\r, \\v, U+2028 and the like are part of it."""
    return [line.decode("utf-8") for line in path.read_bytes().split(b"\n")[:-1]]


def write_lines(name, lines):
    (HERE / name).write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_rows(name, rows):
    """Raw little-endian float32, row after row."""
    (HERE / name).write_bytes(np.ascontiguousarray(rows, dtype="<f4").tobytes())


def write_ids(name, rows):
    """The ids of one text a line, separated by one space, as `embed tokenize` prints them."""
    (HERE / name).write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def token_ids(folder, lines, max_tokens=None):
    """By the tokenizers library itself, whose tokenizer.json says what the ids are."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if max_tokens:
        tokenizer.enable_truncation(max_tokens)
    return [tokenizer.encode(line).ids for line in lines]


def load(folder, dtype=torch.float32):
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": dtype})
    return model.eval()


def encode(model, lines, **options):
    return model.encode(lines, show_progress_bar=False, convert_to_numpy=True, **options)


def worst_cosine(a, b):
    a, b = a.astype(np.float64), b.astype(np.float64)
    return ((a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)).min()


def check_ids(model, ids, lines):
    """The sentence-transformers model must have seen the very ids we write."""
    encoded = model.tokenizer(lines, truncation=True, max_length=model.max_seq_length)
    assert encoded["input_ids"] == ids


def report_agreement(rows, others):
    for name, other in others.items():
        print(f"  reference against itself in {name}: worst cosine 1 - "
              f"{1 - worst_cosine(rows, other):.1e}, largest difference "
              f"{np.abs(rows - other).max():.1e}")


# ---- all-MiniLM-L6-v2 ------------------------------------------------------------------------

def make_minilm(folder):
    lines = read_lines(HERE / "lines.txt")
    model = load(folder)
    ids = token_ids(folder, lines, model.max_seq_length)
    check_ids(model, ids, lines)
    write_ids("minilm.ids", ids)
    write_ids("minilm-untruncated.ids", token_ids(folder, lines))

    rows = encode(model, lines)
    write_rows("minilm.f32", rows)
    print(f"minilm: {rows.shape[0]} x {rows.shape[1]}, "
          f"{sum(len(row) == model.max_seq_length for row in ids)} lines of the full "
          f"{model.max_seq_length} tokens")
    report_agreement(rows, {"batches of 1": encode(model, lines, batch_size=1),
                            "float64": encode(load(folder, torch.float64), lines)})


# ---- all-mpnet-base-v2 -----------------------------------------------------------------------

def make_mpnet(folder):
    lines = read_lines(HERE / "lines.txt")
    lines = [lines[i] for i in MPNET_LINES]
    write_lines("mpnet-lines.txt", lines)
    model = load(folder)
    assert model.max_seq_length == 384
    ids = token_ids(folder, lines, model.max_seq_length)
    check_ids(model, ids, lines)
    write_ids("mpnet.ids", ids)
    rows = encode(model, lines)
    write_rows("mpnet.f32", rows)
    print(f"mpnet: {rows.shape[0]} x {rows.shape[1]}, {sum(len(row) == 384 for row in ids)} lines "
          f"of the full 384 tokens")
    report_agreement(rows, {"batches of 1": encode(model, lines, batch_size=1),
                            "float64": encode(load(folder, torch.float64), lines)})


# ---- three tiny models with random weights ---------------------------------------------------

def common_pieces(lines, normalizer, splitter):
    """Characters and, from the commonest on, pieces of words; the library's trainer gives
    another vocabulary on every run."""
    characters, pieces = collections.Counter(), collections.Counter()
    for line in lines:
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(line)):
            for start in range(min(len(word), 40)):
                prefix = "##" if start else ""
                characters[prefix + word[start]] += 1
                for end in range(start + 2, min(start + 12, len(word)) + 1):
                    pieces[prefix + word[start:end]] += end - start - 1
    alphabet = sorted(c for c, n in characters.items() if n >= 5)
    return alphabet + sorted(pieces, key=lambda piece: (-pieces[piece], piece))


def make_tokenizer(lines, size, lowercase):
    """A WordPiece tokenizer as BERT's."""
    normalizer = normalizers.BertNormalizer(lowercase=lowercase,
                                            strip_accents=None if lowercase else False)
    splitter = pre_tokenizers.BertPreTokenizer()
    vocabulary = (SPECIAL + common_pieces(lines, normalizer, splitter))[:size]
    tokenizer = tokenizers.Tokenizer(models.WordPiece(
        {piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, vocabulary


def make_mpnet_tokenizer(lines, size):
    """As that of all-mpnet-base-v2: RoBERTa's special tokens around BERT's WordPiece, with its
    unknown token; <mask> is the last of the vocabulary and swallows the white space before it."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    pieces = common_pieces(lines, normalizer, splitter)
    vocabulary = MPNET_SPECIAL[:4] + ["[PAD]", "[UNK]"] + pieces[:size - 7] + ["<mask>"]

    tokenizer = tokenizers.Tokenizer(models.WordPiece(
        {piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens([
        tokenizers.AddedToken(token, special=True, normalized=token == "<unk>",
                              lstrip=token == "<mask>") for token in MPNET_SPECIAL])
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer, vocabulary


class Weights(dict):
    """Ten times the usual spread and LayerNorms that do something, so that mistakes show.
    RandomState draws the same numbers in every version of numpy."""

    def __init__(self, seed, spread):
        super().__init__()
        self.random, self.spread = np.random.RandomState(seed), spread

    def draw(self, name, *shape, mean=0.0, std=None):
        values = mean + (std or self.spread) * self.random.standard_normal(shape)
        self[name] = values.astype(np.float32)

    def linear(self, name, outputs, inputs):
        self.draw(name + ".weight", outputs, inputs)
        self.draw(name + ".bias", outputs)

    def layer_norm(self, name, width):
        self.draw(name + ".weight", width, mean=1.0, std=0.3)
        self.draw(name + ".bias", width, std=0.3)


def make_weights(config, seed, spread):
    C, F, weights = config.hidden_size, config.intermediate_size, Weights(seed, spread)
    weights.draw("embeddings.word_embeddings.weight", config.vocab_size, C)
    weights.draw("embeddings.position_embeddings.weight", config.max_position_embeddings, C)
    weights.draw("embeddings.token_type_embeddings.weight", config.type_vocab_size, C)
    weights.layer_norm("embeddings.LayerNorm", C)
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}."
        for name in ("query", "key", "value"):
            weights.linear(layer + "attention.self." + name, C, C)
        weights.linear(layer + "attention.output.dense", C, C)
        weights.layer_norm(layer + "attention.output.LayerNorm", C)
        weights.linear(layer + "intermediate.dense", F, C)
        weights.linear(layer + "output.dense", C, F)
        weights.layer_norm(layer + "output.LayerNorm", C)
    weights.linear("pooler.dense", C, C)  # in the files of most models, used by none of ours
    return weights


def make_mpnet_weights(config, seed, spread):
    C, F, weights = config.hidden_size, config.intermediate_size, Weights(seed, spread)
    weights.draw("embeddings.word_embeddings.weight", config.vocab_size, C)
    weights.draw("embeddings.position_embeddings.weight", config.max_position_embeddings, C)
    weights.layer_norm("embeddings.LayerNorm", C)
    # As large as the scores it is added to.
    weights.draw("encoder.relative_attention_bias.weight", config.relative_attention_num_buckets,
                 config.num_attention_heads, std=3.0)
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}."
        for name in "qkvo":
            weights.linear(layer + "attention.attn." + name, C, C)
        weights.layer_norm(layer + "attention.LayerNorm", C)
        weights.linear(layer + "intermediate.dense", F, C)
        weights.linear(layer + "output.dense", C, F)
        weights.layer_norm(layer + "output.LayerNorm", C)
    weights.linear("pooler.dense", C, C)
    return weights


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_model(folder, config, architecture, tokenizer, vocabulary):
    """What all models have: the sizes and the tokenizer."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config.architectures = [architecture]
    config.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "vocab.txt").write_text("".join(piece + "\n" for piece in vocabulary))


def write_folder(folder, config, weights, tokenizer, vocabulary, lowercase):
    """What both BERTs have: the transformer and its tokenizer."""
    write_model(folder, config, "BertModel", tokenizer, vocabulary)
    safetensors.numpy.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    special = {token.strip("[]").lower() + "_token": token for token in SPECIAL}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", special | {
        "do_lower_case": lowercase, "strip_accents": None if lowercase else False,
        "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer",
        "model_max_length": config.max_position_embeddings})


def write_modules(folder, width, max_tokens):
    """Mean pooling and Normalize, as older sentence-transformers wrote them."""
    kinds = ["Transformer", "Pooling", "Normalize"]
    write_json(folder / "modules.json",
               [{"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "",
                 "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)])
    write_json(folder / "1_Pooling" / "config.json",
               {"word_embedding_dimension": width, "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False})
    write_json(folder / "sentence_bert_config.json",
               {"max_seq_length": max_tokens, "do_lower_case": False})
    write_json(folder / "config_sentence_transformers.json",
               {"__version__": {"sentence_transformers": "2.0.0", "transformers": "4.6.1",
                                "pytorch": "1.8.1"}})


def make_tiny_bert(lines, tiny_lines):
    """Mean pooling and Normalize, F32, files as older sentence-transformers wrote them."""
    folder = HERE / "tiny-bert"
    tokenizer, vocabulary = make_tokenizer(lines, 1200, lowercase=True)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=64, num_hidden_layers=3,
                        num_attention_heads=2, intermediate_size=112,
                        max_position_embeddings=64, layer_norm_eps=1e-12)
    write_folder(folder, config, make_weights(config, 1, 0.2), tokenizer, vocabulary, True)
    write_modules(folder, 64, 48)

    model = load(folder)
    assert model.max_seq_length == 48
    ids = token_ids(folder, tiny_lines, 48)
    check_ids(model, ids, tiny_lines)
    write_ids("tiny-bert.ids", ids)
    write_rows("tiny-bert.f32", encode(model, tiny_lines))
    write_stages(model, ids)


def write_stages(model, ids):
    """The tensor after every step, for three of the texts."""
    bert, values, manifest, floats = model[0].auto_model, [], [], 0
    for line in STAGE_LINES:
        stages = {}

        def keep(name):
            def hook(module, inputs, output):
                stages[name] = (output[0] if isinstance(output, tuple) else output)[0]
            return hook

        hooks = [bert.embeddings.register_forward_hook(keep("embeddings"))]
        for i, layer in enumerate(bert.encoder.layer):
            hooks.append(layer.attention.register_forward_hook(keep(f"layer.{i}.attention")))
            hooks.append(layer.register_forward_hook(keep(f"layer.{i}")))
        with torch.no_grad():
            hidden = bert(torch.tensor([ids[line]])).last_hidden_state[0]
        for hook in hooks:
            hook.remove()
        stages["pooled"] = hidden.mean(0, keepdim=True)
        stages["normalized"] = torch.nn.functional.normalize(stages["pooled"])
        for name, value in stages.items():
            manifest.append(f"{line} {name} {value.shape[0]} {value.shape[1]} {floats}\n")
            values.append(value.numpy().ravel())
            floats += value.numel()
    (HERE / "tiny-bert-stages.txt").write_text("".join(manifest))
    write_rows("tiny-bert-stages.f32", np.concatenate(values))


def make_tiny_bert_cls(lines, tiny_lines):
    """CLS pooling, no Normalize, F16, `bert.` before the names, cased, a default prompt, files
    as sentence-transformers 6 writes them."""
    folder = HERE / "tiny-bert-cls"
    tokenizer, vocabulary = make_tokenizer(lines, 1000, lowercase=False)
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=36, num_hidden_layers=2,
                        num_attention_heads=3, intermediate_size=50,
                        max_position_embeddings=40, layer_norm_eps=1e-6, hidden_act="gelu",
                        dtype="float16")
    weights = {"bert." + name: value.astype(np.float16)
               for name, value in make_weights(config, 2, 0.4).items()}
    weights["bert.embeddings.position_ids"] = np.arange(40, dtype=np.int64)[None]
    weights["cls.predictions.bias"] = np.zeros(len(vocabulary), np.float16)
    write_folder(folder, config, weights, tokenizer, vocabulary, False)
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "",
         "type": "sentence_transformers.base.modules.transformer.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling",
         "type": "sentence_transformers.sentence_transformer.modules.pooling.Pooling"}])
    write_json(folder / "1_Pooling" / "config.json",
               {"embedding_dimension": 36, "pooling_mode": "cls", "include_prompt": True})
    write_json(folder / "sentence_bert_config.json", {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward",
                                     "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings"})
    write_json(folder / "config_sentence_transformers.json", {
        "__version__": {"sentence_transformers": "6.2.0", "transformers": "5.23.0",
                        "pytorch": "2.15.0"},
        "model_type": "SentenceTransformer",
        "prompts": {"query": "Represent this: ", "document": "", "title": "title | "},
        "default_prompt_name": "query", "similarity_fn_name": "cosine"})

    model = load(folder)
    assert model.max_seq_length == 40
    ids = token_ids(folder, tiny_lines, 40)
    check_ids(model, ids, tiny_lines)
    write_ids("tiny-bert-cls.ids", ids)
    write_rows("tiny-bert-cls.f32", encode(model, tiny_lines))
    write_rows("tiny-bert-cls-title.f32", encode(model, tiny_lines, prompt_name="title"))
    write_rows("tiny-bert-cls-no-prompt.f32", encode(model, tiny_lines, prompt_name="document"))


def make_tiny_mpnet(lines, tiny_lines):
    """Attention bias by distance, RoBERTa's special tokens, positions from 2 on; BF16."""
    folder = HERE / "tiny-mpnet"
    tokenizer, vocabulary = make_mpnet_tokenizer(lines, 900)
    config = MPNetConfig(vocab_size=len(vocabulary), hidden_size=48, num_hidden_layers=2,
                         num_attention_heads=4, intermediate_size=80,
                         max_position_embeddings=150, layer_norm_eps=1e-5,
                         relative_attention_num_buckets=32, dtype="bfloat16")
    write_model(folder, config, "MPNetForMaskedLM", tokenizer, vocabulary)
    weights = {name: torch.from_numpy(value).to(torch.bfloat16)
               for name, value in make_mpnet_weights(config, 3, 0.3).items()}
    weights["embeddings.position_ids"] = torch.arange(150)[None]
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    mask = {"content": "<mask>", "single_word": False, "lstrip": True, "rstrip": False,
            "normalized": False}
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "[UNK]",
               "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>"}
    write_json(folder / "special_tokens_map.json", special | {"mask_token": mask})
    write_json(folder / "tokenizer_config.json", special | {
        "mask_token": "<mask>", "do_lower_case": True, "strip_accents": None,
        "tokenize_chinese_chars": True, "tokenizer_class": "MPNetTokenizer",
        "model_max_length": 148})
    write_modules(folder, 48, 148)

    model = load(folder)
    assert model.max_seq_length == 148
    write_lines("tiny-mpnet-padded.txt", PADDED_LINES)
    for name, texts in ("tiny-mpnet", tiny_lines), ("tiny-mpnet-padded", PADDED_LINES):
        ids = token_ids(folder, texts, 148)
        check_ids(model, ids, texts)
        write_ids(name + ".ids", ids)
        write_rows(name + ".f32", encode(model, texts))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=pathlib.Path, help="folder of all-MiniLM-L6-v2")
    parser.add_argument("--mpnet", type=pathlib.Path, help="folder of all-mpnet-base-v2")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    lines = read_lines(HERE / "lines.txt")
    tiny_lines = [lines[i] for i in TINY_LINES]
    write_lines("tiny-lines.txt", tiny_lines)
    make_tiny_bert(lines, tiny_lines)
    make_tiny_bert_cls(lines, tiny_lines)
    make_tiny_mpnet(lines, tiny_lines)
    if arguments.model:
        make_minilm(arguments.model)
    if arguments.mpnet:
        make_mpnet(arguments.mpnet)


if __name__ == "__main__":
    main()
