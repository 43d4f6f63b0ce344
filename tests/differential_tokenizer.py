#!/usr/bin/env python3
"""Compares libembed's token ids with those of Hugging Face tokenizers, text by text.

Of a model, by libembed.so; or of a folder that has only the files of a tokenizer, by
build/tests/tokenize_texts, which decodes the ids of byte-level BPE too. A folder without
tokenizer.json is compared with transformers; any is with --transformers.

    pip install tokenizers==0.23.3
    make all
    python3 tests/differential_tokenizer.py weights/all-MiniLM-L6-v2
    python3 tests/differential_tokenizer.py weights/all-MiniLM-L6-v2 --texts 10000000 --seed 7
    python3 tests/differential_tokenizer.py weights/all-MiniLM-L6-v2 --lines some/text.txt
    make build/tests/tokenize_texts
    python3 tests/differential_tokenizer.py --alone tests/vectors/tokenizer/bart

Generates nasty texts (and takes the lines of a file, where one is given), runs both on them,
and prints how many differ and the first ones that do. Exit status 1 where any differs.
"""
import argparse
import ctypes
import json
import os
import random
import struct
import subprocess
import sys

import tokenizers

VERSION = "0.23.3"
BATCH = 1000
LONG = 0.005  # of the texts are long

FRAGMENTS = [
    "[SEP]", "[CLS]", "[MASK]", "[PAD]", "[UNK]", "[sep]", "[", "]", "SEP]", "[[SEP]]", "[SEP",
    "<s>", "</s>", "<mask>", "<", ">", "[unused0]", "##", "##ing", "###", "\u0130", "\u0131",
    "\u00df", "\u1e9e", "\u03a3", "\u03c2", "\ufb01", "\u01c5", "\u0149", "e\u0301", "\u00e9",
    "\u1ebf", "\u0344", "\uac00", "\uac01", "\u1100\u1161\u11a8", "\uff21", "\u65e5\u672c",
    "\uf900", "\u2f800", "\U0002f800", "\u30cf\u3099", "\uff8a\uff9e", "\u200d", "\ufeff",
    "\u00ad", "\ufffd", "\0", "\r\n", "\n", "\t", "\u2028", "\u0085", "\x0b", "\x0c", "\u3000",
    "\u00a0", "\u180e", "\u200b", "\u2060", " ", "  ", "don't", "U.S.A.", "3.14", "running",
    "embeddings", "HELLO", "na\u00efve", "\u00c5ngstr\u00f6m", "\u2603", "\u2260",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3",
    "a" * 99, "a" * 100, "a" * 101, "\u00e9" * 100, "\U0001d518" * 101, "unaffable" * 12,
    "\u0345\u0301\u0300", "a\u0315\u0300\u05aeb", "\u08d4\u302e\u0301\U0001d165\ua953\u1b44",
    "\u1b44\u034f\u302e\ua953", "\U0001d15e\U0001d16d\U0001d15f\U0001d164",
    "\u1734\u1714\u08e2", "\u0915\u094d\u0937\u093f", "\u0e01\u0e33", "\u0645\u0640\u064e",
    "Yesterday", "new york", "New  York", "foo", "F\u00d3O", "bar", "<a>", "<a><b>", "<C>",
    "<c",
]

# Blocks of code points that random characters come from; ASCII several times.
BLOCKS = [(0x20, 0x7F)] * 8 + [
    (0x00, 0x20), (0x7F, 0xA1), (0xA1, 0x250), (0x2B0, 0x370), (0x300, 0x370), (0x370, 0x530),
    (0x590, 0x700), (0x8A0, 0x980), (0x8D0, 0x8E4), (0x900, 0xE00), (0xE00, 0x1000),
    (0x1100, 0x1200), (0x1700, 0x1800), (0x1AB0, 0x1B50), (0x1DC0, 0x2070), (0x2000, 0x2070),
    (0x20A0, 0x2100), (0x2E00, 0x2E80), (0x3000, 0x3100), (0x4E00, 0x4F00), (0xA950, 0xA9D0),
    (0xAC00, 0xAD00), (0xE000, 0xE010), (0xF900, 0xFB00), (0xFE00, 0x10000), (0xFFF0, 0x10000),
    (0x10A00, 0x11D00), (0x13430, 0x13460), (0x16E90, 0x16EE0), (0x1D160, 0x1D1C0),
    (0x1E000, 0x1E030), (0x1E000, 0x1F000), (0x1E940, 0x1E950), (0x1F300, 0x1FA00),
    (0x20000, 0x20100), (0x2B810, 0x2B930), (0x2CEA0, 0x2CEC0), (0x2F800, 0x2FA20),
    (0xE0000, 0xE0200), (0xF0000, 0xF0010), (0x10FFF0, 0x110000),
]


def nasty_text(rng):
    """Bytes: 2% of the texts are not UTF-8."""
    parts = []
    for _ in range(rng.randrange(14)):
        if rng.random() < 0.35:
            parts.append(rng.choice(FRAGMENTS))
        elif rng.random() < 0.03:
            code = rng.randrange(0x110000 - 0x800)
            parts.append(chr(code if code < 0xD800 else code + 0x800))
        else:
            first, end = rng.choice(BLOCKS)
            parts += [chr(rng.randrange(first, end)) for _ in range(rng.randrange(1, 5))]
        if rng.random() < 0.2:
            parts.append(" ")
    text = "".join(parts).encode()
    if rng.random() < 0.02:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + bytes(rng.randrange(256) for _ in range(3)) + text[at + 1:]
    return text


BPE_FRAGMENTS = [
    "<mask>", " <mask>", "<mask> ", "<R>", "<LR>", "<N>", "one", "one ", "\u00e9t\u00e9", "<on",
    "'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'r", "'l", "'", "''", "'S", "  ", "   ", " \n",
    "\n ", "\n\n", "\t", "\u00a0", "\u3000 ", " \u2028", "the", " the", "a" * 40, "=" * 35,
    "1", " 12", "\u0120", "\u010a", "\u0143", "\u0660", "\u00bd", "<", "</s>", "<s>", "ing",
]


def nasty_bpe_text(rng):
    """As nasty_text, with what byte-level BPE may get wrong; some are longer than 4 KiB."""
    parts = [nasty_text(rng)]
    if rng.random() < LONG:
        run = rng.choice(BPE_FRAGMENTS).encode()
        parts.append(run * ((4080 + rng.randrange(20)) // len(run)))
        parts.append(rng.choice(["  ", "x", "\u3000", "="]).encode() * rng.randrange(5000))
    for _ in range(rng.randrange(8)):
        parts.append(rng.choice(BPE_FRAGMENTS).encode())
        if rng.random() < 0.3:
            parts.append(nasty_text(rng)[:rng.randrange(12)])
    rng.shuffle(parts)
    return b"".join(parts)


def transformers_reference(folder):
    """The tokenizer of a folder as transformers makes it, of whatever files there are."""
    import transformers
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
        name = json.load(file)["tokenizer_class"]
    return getattr(transformers, name).from_pretrained(folder).backend_tokenizer


def bpe_reference(folder):
    """The tokenizer of a folder, with or without tokenizer.json."""
    path = os.path.join(folder, "tokenizer.json")
    if os.path.exists(path):
        return tokenizers.Tokenizer.from_file(path)
    return transformers_reference(folder)


class Alone:
    """A tokenizer's folder, opened by tokenize_texts."""

    def __init__(self, program, folder):
        self.process = subprocess.Popen([program, folder], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def read_text(self):
        length, = struct.unpack("Q", self.process.stdout.read(8))
        return None if length == 2**64 - 1 else self.process.stdout.read(length).decode()

    def run(self, text, max_tokens):
        """The ids, and what they are decoded to without and with special tokens."""
        self.process.stdin.write(struct.pack("QQ", max_tokens, len(text)) + text)
        self.process.stdin.flush()
        header = self.process.stdout.read(8)
        if len(header) < 8:
            sys.exit(f"tokenize_texts ended at {text!r}")
        count, = struct.unpack("Q", header)
        ids = list(struct.unpack(f"{count}i", self.process.stdout.read(4 * count)))
        return ids, self.read_text(), self.read_text()


def differences_alone(alone, reference, texts, max_tokens):
    """As `differences`, of (ids, decoded, decoded with special tokens)."""
    if max_tokens:
        reference.enable_truncation(max_tokens)
    else:
        reference.no_truncation()
    for text in texts:
        ours = alone.run(text, max_tokens)
        ids = reference.encode(text.decode(errors="replace")).ids
        theirs = (ids, reference.decode(ids), reference.decode(ids, skip_special_tokens=False))
        if ours[1] is None:
            theirs = (ids, None, None)
        if ours != theirs:
            yield text, ours, theirs


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("ids", ctypes.c_void_p),
                ("length", ctypes.c_size_t)]


class TokenizeOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("max_tokens", ctypes.c_size_t)]


class Tokens(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("ids", ctypes.POINTER(ctypes.c_int32)),
                ("offsets", ctypes.POINTER(ctypes.c_size_t)), ("count", ctypes.c_size_t)]


class Model:
    """A model folder, opened by libembed.so."""

    def __init__(self, library, folder):
        self.library = ctypes.CDLL(library)
        self.library.embed_error_message.restype = ctypes.c_char_p
        self.model = ctypes.c_void_p()
        status = self.library.embed_model_open(ctypes.byref(self.model), folder.encode(), None)
        self.check(status)

    def check(self, status):
        if status != 0:
            sys.exit(self.library.embed_error_message().decode(errors="replace"))

    def tokenize(self, texts, max_tokens):
        array = (Text * len(texts))(*[Text(text, None, len(text)) for text in texts])
        options = TokenizeOptions(ctypes.sizeof(TokenizeOptions), max_tokens)
        out = Tokens(size=ctypes.sizeof(Tokens))
        self.check(self.library.embed_tokenize(self.model, array, ctypes.c_size_t(len(texts)),
                                               ctypes.byref(options), ctypes.byref(out)))
        ids = [out.ids[out.offsets[i]:out.offsets[i + 1]] for i in range(len(texts))]
        self.library.embed_tokens_free(ctypes.byref(out))
        return ids


def differences(model, reference, texts, max_tokens):
    """Yields (text, ours, theirs) for each text whose ids differ."""
    if max_tokens:
        reference.enable_truncation(max_tokens)
    else:
        reference.no_truncation()
    ours = model.tokenize(texts, max_tokens)
    theirs = reference.encode_batch([text.decode(errors="replace") for text in texts])
    for text, a, b in zip(texts, ours, theirs):
        if a != b.ids:
            yield text, a, b.ids


def batches(arguments):
    rng = random.Random(arguments.seed)
    if arguments.sweep:
        codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
        for i in range(0, len(codes), BATCH):
            yield ["a{0}1 {0}{0}  {0}!{0} <mask>{0} <mask>".format(chr(code)).encode()
                   for code in codes[i:i + BATCH]]
    make = nasty_bpe_text if arguments.alone else nasty_text
    for done in range(0, arguments.texts, BATCH):
        yield [make(rng) for _ in range(min(BATCH, arguments.texts - done))]
    if arguments.lines:
        with open(arguments.lines, "rb") as file:
            while lines := file.readlines(1 << 18):
                yield [line.rstrip(b"\n") for line in lines]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="model folder with tokenizer.json")
    parser.add_argument("--library", default="build/libembed.so")
    parser.add_argument("--alone", action="store_true", help="the folder has no model")
    parser.add_argument("--transformers", action="store_true",
                        help="compare with what transformers makes of the folder")
    parser.add_argument("--program", default="build/tests/tokenize_texts")
    parser.add_argument("--texts", type=int, default=100000, help="generated texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sweep", action="store_true", help="every code point, too")
    parser.add_argument("--lines", help="a file whose lines are texts, too")
    arguments = parser.parse_args()
    if tokenizers.__version__ != VERSION:
        sys.exit(f"needs tokenizers=={VERSION}, this is {tokenizers.__version__}")

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    choose = transformers_reference if arguments.transformers else bpe_reference
    reference = choose(arguments.folder)
    reference.no_padding()
    if arguments.alone:
        model, compare = Alone(arguments.program, arguments.folder), differences_alone
    else:
        model, compare = Model(arguments.library, arguments.folder), differences
    texts = different = 0
    for batch in batches(arguments):
        # Every tenth batch is cut, where all reading stops early.
        max_tokens = 16 if texts // BATCH % 10 == 9 else 0
        for text, ours, theirs in compare(model, reference, batch, max_tokens):
            different += 1
            if different <= 5:
                print(f"differs (max_tokens {max_tokens}): {text!r}")
                print(f"  ours   {ours}\n  theirs {theirs}")
        texts += len(batch)
    print(f"{arguments.folder}: {texts} texts, {different} differ from tokenizers {VERSION}")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
