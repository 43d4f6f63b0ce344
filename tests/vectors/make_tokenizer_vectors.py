#!/usr/bin/env python3
"""Makes tests/vectors/tokenizer: nasty texts, small tokenizers, and the ids these give.

    pip install tokenizers==0.23.3
    python3 tests/vectors/make_tokenizer_vectors.py --model weights/all-MiniLM-L6-v2

Without --model, minilm.ids stays as it is. A tokenizer that is there is not trained again:
training breaks ties by chance. README.md in that folder describes the files.
"""
import argparse
import json
import pathlib
import random
import sys

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from differential_tokenizer import VERSION, nasty_text  # noqa: E402

OUT = HERE / "tokenizer"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
RANDOM_TEXTS = 400

TEXTS = [
    "", "   ", "\x00", "a\x00b", "\ufffd", "a\ufffdb", "\ufeffabc", "ab\ufeffc", "a\r\nb",
    "a\x0bb\x0cc\x85d", "a\u2028b\u2029c\u3000d\xa0e", "a\u180eb\u200bc\u2060d",
    "soft\xadhyphen", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea",
    "1\ufe0f\u20e3", "\u2764\ufe0f", "\U0001f3f4\U000e0067\U000e0062\U000e007f",
    "\U0001f44d\U0001f3fd", "\ue000a\uf8ffb", "\U000f0000", "\U0010fffd", "\ufffea", "\ufdd0",
    "\U0001ffff", "\u0378", "\u0130 \u0131 I i", "\u0130stanbul", "Stra\xdfe STRASSE \u1e9e",
    "\u039f\u0394\u039f\u03a3 \u03bf\u03b4\u03cc\u03c2", "\u01c5 \u01c4 \u01c6", "\u0149",
    "\ufb01ne \ufb03", "\u2460\u24b6", "\uff21\uff48\uff11", "\uff8a\uff9e",
    "\u30cf\u3099 \u30d0", "na\xefve nai\u0308ve NAIVE",
    "Vi\u1ec7t Nam Vie\u0323\u0302t Vi\xea\u0323t", "a\u0315\u0300\u05ae", "\u0344", "\u1734",
    "\u08e2", "\u08d4\u08e1", "\u302e\u302f", "\U0001d165", "\U0001d15e\U0001d15f\U0001d164",
    "a\u302e\u1b44\u08d4b", "a\u302e\u034f\u1b44b", "\u1b44\u1b44\ua953", "\uac00\uac01\ud7a3",
    "\u1112\u1161\u11ab", "\uffa1", "\u9fff\ua000",
    "\U0002b81f\U0002b820\U0002b91f\U0002b920\U0002ceaf", "\uf900\ufaff",
    "\U0002f800\U0002fa1f", "\u65e5\u672c\u8a9e", "a\u65e5b", "\u3042\u30a2",
    "\u2e43\u061d\u166d", "\u2260\u226e\u2000\u037e", 'a!b"c#d$e%f&g\'h(i)j*k+l,m-n.o/p',
    ":;<=>?@ [\\]^_` {}~", "\xa9\xac\u20ac", "\xa1\xbf\xab\xbb", "[SEP]", "[sep]", "a[MASK]b",
    " [SEP] ", "[SEP", "[[SEP]]", "[SEP][SEP]", "SEP]", "<mask>", "  <mask>  x", "<s></s>",
    "##ing", "##", "[unused0]", "don't 'S", "''s", "a  b", "a \n b", "trailing   ", "\t\ttabs",
    "\xbd \u2167 \uff11\uff12", "a|b", "3.14159 1,000 1e-5", "\u0915\u094d\u0937\u093f",
    "\u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22", "\u0645\u0640\u064f\u062d",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\u200fa\u202eb\u202c",
    "Z\u0351\u036b\u0343a\u0325\u033b\u030alg\u0321o", "Yesterday yesterday YESTERDAY",
    "New York new\tyork newyork", "foo foobar xfoo f\xf3o foo_ foo\u0301x \u24b6foo",
    "bar bars (bar)", "<a><b><a>b", "<A><B>", "<\x00a>", "<\u0338c>",
    "\u65e5\u672c \u65e5 \u672c", "https://example.org/a_b?c=d&e=%20", "x@y.z",
    "The quick brown fox jumps over the lazy dog.", "In the beginning was the Word",
    "U.S.A. e.g. i.e.", "C3PO R2-D2 B52s",
]

# Bytes that are not UTF-8: ours are compared with what Python's errors="replace" makes of them.
INVALID = [
    b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xe2\x82", b"\x80", b"a\x80b\xffc",
    b"\xf0\x9f\x98", b"\xe2\x28\xa1", b"\xf0\x28\x8c\xbc", b"[SE\xffP]", b"\xe2[SEP]\x80",
]


def texts():
    out = TEXTS + [("word" * 25)[:n] for n in (99, 100)]
    out += [c * n for c in ("a", "\xe9", "e\u0301", "\U0001d518") for n in (100, 101)]
    out += [f"a{chr(c)}b" for c in range(0x20, 0x80) if not chr(c).isalnum()]
    rng = random.Random(2026)
    return [text.encode() for text in out] + INVALID + [nasty_text(rng)
                                                        for _ in range(RANDOM_TEXTS)]


def trained(size, **options):
    """A WordPiece tokenizer for the texts of lines.txt."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    lines = (HERE / "lines.txt").read_bytes().decode().split("\n")
    trainer = trainers.WordPieceTrainer(vocab_size=size, limit_alphabet=size // 3,
                                        special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def with_added_tokens(tokenizer):
    """As MPNet has them, and of every other kind."""
    tokenizer.add_special_tokens(["<s>", "</s>", AddedToken("<mask>", lstrip=True)])
    tokenizer.add_tokens([
        AddedToken("<pad>", normalized=True), AddedToken("Yesterday"), AddedToken("new york"),
        AddedToken("foo", single_word=True),
        AddedToken("bar", single_word=True, normalized=False),
        AddedToken("<a>", normalized=False), AddedToken("<a><b>", normalized=False),
        AddedToken("<c>", rstrip=True), AddedToken("\u65e5\u672c"), AddedToken("na\u00efve")])
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B:1 </s>:1", special_tokens=ids)
    return tokenizer


TOKENIZERS = {
    "uncased": lambda: trained(2000, lowercase=True),
    "cased": lambda: trained(2000, lowercase=False),
    "added": lambda: with_added_tokens(trained(800, lowercase=True)),
    "unclean": lambda: trained(800, clean_text=False, handle_chinese_chars=False,
                               strip_accents=True, lowercase=False),
}


def save(name, tokenizer):
    (OUT / name).mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (OUT / name / "tokenizer.json").write_text(text + "\n")


def save_vocabulary(name, tokenizer, lowercase):
    """The same as vocab.txt and tokenizer_config.json."""
    (OUT / name).mkdir(parents=True, exist_ok=True)
    tokens = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    (OUT / name / "vocab.txt").write_text("".join(token + "\n" for token, _ in tokens))
    config = {"do_lower_case": lowercase, "strip_accents": None, "tokenize_chinese_chars": True,
              "unk_token": "[UNK]", "mask_token": {"content": "[MASK]", "lstrip": False},
              "tokenizer_class": "BertTokenizer"}
    (OUT / name / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_ids(name, tokenizer, all_texts):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rows = [tokenizer.encode(text.decode(errors="replace")).ids for text in all_texts]
    (OUT / f"{name}.ids").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, help="folder of all-MiniLM-L6-v2")
    arguments = parser.parse_args()
    if tokenizers.__version__ != VERSION:
        sys.exit(f"needs tokenizers=={VERSION}, this is {tokenizers.__version__}")

    OUT.mkdir(exist_ok=True)
    all_texts = texts()
    (OUT / "texts.hex").write_text("".join(text.hex() + "\n" for text in all_texts))

    for name, train in TOKENIZERS.items():
        if not (OUT / name).exists():
            save(name, train())
        tokenizer = Tokenizer.from_file(str(OUT / name / "tokenizer.json"))
        save_ids(name, tokenizer, all_texts)
        if name in ("uncased", "cased"):
            save_vocabulary(name + "-vocab", tokenizer, name == "uncased")
    if arguments.model:
        model = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
        save_ids("minilm", model, all_texts)
    print(f"{len(all_texts)} texts")


if __name__ == "__main__":
    main()
