#!/usr/bin/env python3
"""Makes the vectors of byte-level BPE in tests/vectors/tokenizer: small tokenizers, their ids.

    pip install tokenizers==0.23.3 transformers==5.23.0
    python3 tests/vectors/make_bpe_vectors.py

A tokenizer that is there is not trained again: training breaks ties by chance. README.md in that
folder describes the files.
"""
import json
import os
import random
import sys

os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from tokenizers import trainers

from make_tokenizer_vectors import HERE, INVALID, OUT, TEXTS
from differential_tokenizer import VERSION, bpe_reference, nasty_bpe_text

RANDOM_TEXTS = 100
RANDOM_IDS = 100
FIRST = ["<s>", "<pad>", "</s>", "<unk>"]

BPE_TEXTS = [
    "'s't're've'm'll'd", "'S'T'RE", "it's we're I've I'm you'll he'd", "''s 's", "'", "'r", "'l",
    " '", "a'", "x'r", "x're", " 's", "'\u00e9", "a  b", "a   b", "   a", "a   ", "a \n b",
    "a\n\nb", "a\n \nb", "\n", "\n\n", " \n", "\ta", "\t a", "a\u00a0b", "a \u00a0b",
    "a\u00a0 b", "a\u2003\u3000 b", "\u3000\u3000", "a1b2", "1a", "12 34", " 12", "1.5", "!?",
    " !?", "a! b?", "e\u0301", "\u0915\u094d\u0937\u093f", "\u2460\u00bd\u2167", "\U0001d518 x",
    "<mask>", "a <mask> b", "a  <mask>  b", "a\n<mask>", "<mask><mask>", "<mask> <mask>",
    " <mask>", "x<mask>'s", "<s>a</s>", " <s> a </s> ", "<s", "<pad><unk>", "<<mask>>",
    "Hello world", " Hello world", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "thethethethethethethethethethethethethethethe", "=" * 100, " " * 100, "-" * 31, "-" * 33,
    "In the beginning God created the heaven and the earth.", "\u0120\u010a", "\u00ad\u0100",
    "<R>  a", "<R>\n<mask>", "a <LR> b", "<LR><LR>", " <LR> <LR> ", "<N> a<N>", "a  <N>", "one",
    "bone one ones", "one'", "<one>", "\u00e9t\u00e9",
    "\u00e9t\u00e9  x", "\u00e9t\u00e9s", "a\u65e5b", "x \u65e5  y", "<N><mask><N>",
]


def texts():
    rng = random.Random(2026)
    return ([text.encode() for text in BPE_TEXTS + TEXTS] + INVALID +
            [b"\xff" * 40, b"\xe2\x82 a", b"a \xff b", b" \xff", b"\xff<mask>", b" \x80<mask>",
             b"\xf0\x9f\x98 \xf0\x9f\x98\x80"] +
            [nasty_bpe_text(rng) for _ in range(RANDOM_TEXTS)])


def trained(size):
    """Byte-level BPE for the texts of lines.txt, with ids as BART has them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    lines = (HERE / "lines.txt").read_bytes().decode().split("\n")
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, special_tokens=FIRST, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    model["vocab"]["<mask>"] = len(model["vocab"])
    return model


def assembled(model, add_prefix_space, post_processor, more=()):
    """tokenizer.json as BART has it: the merges are written as "left right"."""
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, continuing_subword_prefix="",
                                     end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = post_processor
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False) for text in FIRST] +
        [AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.add_tokens(list(more))
    return tokenizer


def save_json(name, tokenizer):
    (OUT / name).mkdir(parents=True)
    document = json.loads(tokenizer.to_str())
    if name == "bart":
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    (OUT / name / "tokenizer.json").write_text(text + "\n")


def save_files(name, model):
    """The same model as vocab.json and merges.txt, as RoBERTa has them, with a prefix space."""
    (OUT / name).mkdir(parents=True)
    text = json.dumps(model["vocab"], separators=(",", ":"))
    (OUT / name / "vocab.json").write_text(text)
    lines = ["#version: 0.2"] + [" ".join(pair) for pair in model["merges"]]
    (OUT / name / "merges.txt").write_text("\n".join(lines) + "\n")
    config = {"add_prefix_space": True, "tokenizer_class": "RobertaTokenizer",
              "model_max_length": 512, "mask_token": "<mask>"}
    (OUT / name / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
               "sep_token": "</s>", "pad_token": "<pad>", "cls_token": "<s>",
               "mask_token": {"content": "<mask>", "single_word": False, "lstrip": True,
                              "rstrip": False, "normalized": False}}
    (OUT / name / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def make_tokenizers():
    if not (OUT / "bart").exists():
        model = trained(1500)
        roberta = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
        save_json("bart", assembled(model, False, roberta))
        save_files("roberta", model)
    if not (OUT / "bpe-added").exists():
        template = processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B",
                                                 special_tokens=[("<s>", 0), ("</s>", 2)])
        save_json("bpe-added", assembled(trained(500), True, template, [
            AddedToken("<R>", rstrip=True, normalized=False),
            AddedToken("<LR>", lstrip=True, rstrip=True, normalized=False, special=True),
            AddedToken("<N>", lstrip=True, normalized=True, special=True),
            AddedToken("one", single_word=True),
            AddedToken("\u00e9t\u00e9", single_word=True, rstrip=True),
            AddedToken("\u65e5", rstrip=True, normalized=True),
            AddedToken("<on", normalized=False, single_word=True)]))


def save_lines(name, lines):
    (OUT / name).write_text("".join(line + "\n" for line in lines))


def main():
    if tokenizers.__version__ != VERSION:
        sys.exit(f"needs tokenizers=={VERSION}, this is {tokenizers.__version__}")
    make_tokenizers()
    all_texts = texts()
    save_lines("bpe-texts.hex", [text.hex() for text in all_texts])
    # A character of a word stands for a byte.
    split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    save_lines("bpe-texts.words", [
        " ".join(str(len(word)) for word, _ in split(text.decode(errors="replace")))
        for text in all_texts])
    rng = random.Random(7)
    for name in "bart", "roberta", "bpe-added":
        reference = bpe_reference(OUT / name)
        rows = [reference.encode(text.decode(errors="replace")).ids for text in all_texts]
        save_lines(f"{name}.ids", [" ".join(map(str, row)) for row in rows])
        rows += [[rng.randrange(reference.get_vocab_size() + 2)
                  for _ in range(rng.randrange(20))] for _ in range(RANDOM_IDS)]
        save_lines(f"{name}-random.ids",
                   [" ".join(map(str, row)) for row in rows[len(all_texts):]])
        # Even lines without the special tokens, odd ones with them.
        save_lines(f"{name}.decoded", [
            reference.decode(row, skip_special_tokens=i % 2 == 0).encode().hex()
            for i, row in enumerate(rows)])
    print(f"{len(all_texts)} texts")


if __name__ == "__main__":
    main()
