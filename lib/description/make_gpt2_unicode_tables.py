#!/usr/bin/env python3
"""Writes gpt2_unicode_tables.h: what GPT-2's pattern takes each code point for.

    pip install tokenizers==0.23.3
    python3 lib/description/make_gpt2_unicode_tables.py > lib/description/gpt2_unicode_tables.h

The classes are those of the version of Unicode that Hugging Face tokenizers was built with: this
program asks the library itself, for every code point there is. It takes a minute at most.
"""
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from make_bert_unicode_tables import CODES, VERSION, emit, ranges

CLASSES = {"letter": r"\p{L}", "number": r"\p{N}", "space": r"\s"}


def sweep(pattern):
    """The code points that the pattern matches."""
    split = pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str
    return [code for code in CODES if not split(chr(code))]


def sweep_stripped():
    """What a token with lstrip and rstrip swallows beside it: another regex library's \\s."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.add_tokens([AddedToken("@@", lstrip=True, rstrip=True, normalized=False)])
    stripped = []
    for code in CODES:
        before = len(tokenizer.encode(chr(code) + "@@").ids) == 1
        if (len(tokenizer.encode("@@" + chr(code)).ids) == 1) != before:
            sys.exit(f"U+{code:04X} is stripped on one side only")
        if before:
            stripped.append(code)
    return stripped


def main():
    if tokenizers.__version__ != VERSION:
        sys.exit(f"needs tokenizers=={VERSION}, this is {tokenizers.__version__}")
    found = {name: sweep(pattern) for name, pattern in CLASSES.items()}
    if sum(map(len, found.values())) != len(set().union(*found.values())):
        sys.exit("a code point is in two classes")
    if sweep_stripped() != found["space"]:
        sys.exit("lstrip and rstrip swallow other code points than \\s")

    print("/* gpt2_unicode_tables.h - made by make_gpt2_unicode_tables.py"
          f" from tokenizers {VERSION}\n"
          " *\n * Do not edit. Ranges of code points, both ends included, ascending.\n */\n"
          "/* clang-format off */")
    for name, pattern in CLASSES.items():
        emit(f"{name}_ranges", "code_range", f"{pattern}: {len(found[name])} code points.",
             ranges(found[name]), ["0x%04X"] * 2)


if __name__ == "__main__":
    main()
