#!/usr/bin/env python3
"""Writes bert_unicode_tables.h: what BERT's tokenizer takes each code point for.

    pip install tokenizers==0.23.3
    python3 lib/description/make_bert_unicode_tables.py > lib/description/bert_unicode_tables.h

Hugging Face tokenizers mixes several versions of Unicode (8 for categories, 9 for
decompositions, 17 for lower case, ...), so no Unicode library gives its results. This program
therefore asks the library itself, for every code point there is. It takes a minute at most.
"""
import sys

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

VERSION = "0.23.3"
CODES = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def bert(**chosen):
    options = ["clean_text", "handle_chinese_chars", "strip_accents", "lowercase"]
    chosen = {**dict.fromkeys(options, False), **chosen}
    return normalizers.BertNormalizer(**chosen).normalize_str


def sweep():
    """Property name -> code points, lower case, decompositions."""
    clean, cjk = bert(clean_text=True), bert(handle_chinese_chars=True)
    strip, lower = bert(strip_accents=True), bert(lowercase=True)
    nfd = normalizers.NFD().normalize_str
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    names = "removed cleaned_to_space whitespace punctuation cjk mark word".split()
    found, lowers, decompositions = {name: [] for name in names}, {}, {}
    for code in CODES:
        c = chr(code)
        cleaned = clean("a" + c + "b")
        if cleaned == "ab":
            found["removed"].append(code)
        elif cleaned == "a b":
            found["cleaned_to_space"].append(code)
        elif cleaned != "a" + c + "b":
            sys.exit(f"clean_text does something new to U+{code:04X}")
        if cjk(c) != c:
            assert cjk(c) == " " + c + " "
            found["cjk"].append(code)
        pieces = [piece for piece, _ in split("a" + c + "b")]
        if pieces == ["a", "b"]:
            found["whitespace"].append(code)
        elif pieces == ["a", c, "b"]:
            found["punctuation"].append(code)
        elif pieces != ["a" + c + "b"]:
            sys.exit(f"BertPreTokenizer does something new to U+{code:04X}")
        if lower(c) != c:
            lowers[code] = [ord(x) for x in lower(c)]
        if nfd(c) != c:
            decompositions[code] = [ord(x) for x in nfd(c)]
        elif strip("a" + c) == "a":
            found["mark"].append(code)
    found["word"] = sweep_word()
    return found, lowers, decompositions


def sweep_word():
    """Next to which code points is an added token with single_word not matched? (\\w)"""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.add_tokens([AddedToken("@@", single_word=True, normalized=False)])
    word = []
    for code in CODES:
        before = 1 in tokenizer.encode(chr(code) + "@@").ids
        if (1 in tokenizer.encode("@@" + chr(code)).ids) != before:
            sys.exit(f"U+{code:04X} is a word character on one side only")
        if not before:
            word.append(code)
    return word


def combining_classes(codes):
    """Code point -> rank of its canonical combining class, where that is not 0."""
    nfd = normalizers.NFD().normalize_str
    overlay, ypogegrammeni = "\u0334", "\u0345"  # the least and the greatest class

    def is_above(a, b):  # NFD puts b before a where 0 < class(b) < class(a)
        return a != b and nfd(a + b) == b + a

    nonstarters = [c for c in map(chr, codes)
                   if is_above(ypogegrammeni, c) or is_above(c, overlay)]
    ranked = []  # one code point of each class, ascending
    for c in nonstarters:
        rank = sum(is_above(c, other) for other in ranked)
        if rank == len(ranked) or is_above(ranked[rank], c):
            ranked.insert(rank, c)
    return {ord(c): 1 + sum(is_above(c, other) for other in ranked) for c in nonstarters}


def ranges(codes):
    out = []
    for code in sorted(codes):
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


def lower_runs(lowers):
    """[first, last, stride, lower - code]: alphabets alternate capital and small letters."""
    out = []
    for code in sorted(lowers):
        if len(lowers[code]) != 1:
            continue
        distance = lowers[code][0] - code
        if out and out[-1][3] == distance:
            first, last, stride, _ = out[-1]
            if code - last == stride or (first == last and code - last == 2):
                out[-1][1:3] = code, code - last
                continue
        out.append([code, code, 1, distance])
    return out


def checksum(decompositions):
    """64-bit FNV-1a over (code, its decomposition) as 32-bit little-endian numbers."""
    state = 0xCBF29CE484222325
    for code in sorted(decompositions):
        for number in [code, *decompositions[code]]:
            for byte in number.to_bytes(4, "little"):
                state = ((state ^ byte) * 0x100000001B3) % 2**64
    return state


def emit(name, type_name, comment, rows, formats):
    print(f"\n/* {comment} */\nstatic const struct {type_name} {name}[] = {{")
    line = "   "
    for row in rows:
        item = " {" + ", ".join(f % v for f, v in zip(formats, row)) + "},"
        if len(line + item) > 96:
            print(line)
            line = "   "
        line += item
    print(line + "\n};")


def main():
    if tokenizers.__version__ != VERSION:
        sys.exit(f"needs tokenizers=={VERSION}, this is {tokenizers.__version__}")
    found, lowers, decompositions = sweep()
    multiple = {code: to for code, to in lowers.items() if len(to) > 1}
    if multiple != {0x130: [0x69, 0x307]}:
        sys.exit("lower case: U+0130 is no longer the only one with two code points")
    stable = [c for c in CODES if c not in decompositions]
    classes = combining_classes(stable)
    marks = set(found["mark"])
    survivors = set(classes) - marks
    if not survivors <= set(found["word"]):
        sys.exit("a combining character that is no word character: tokenizer.c relies on that")
    ranked = sorted([first, last, rank] for rank in set(classes.values())
                    for first, last in ranges(c for c in survivors if classes[c] == rank))

    hexadecimal = "0x%04X"
    both = [hexadecimal] * 2

    def emit_ranges(name, comment, codes):
        emit(name, "code_range", comment, ranges(codes), both)

    print("/* bert_unicode_tables.h - made by make_bert_unicode_tables.py"
          f" from tokenizers {VERSION}\n"
          " *\n * Do not edit. Ranges of code points, both ends included, ascending.\n */\n"
          "/* clang-format off */")
    emit_ranges("removed_ranges", "BertNormalizer, clean_text: dropped.", found["removed"])
    emit_ranges("cleaned_to_space_ranges", "BertNormalizer, clean_text: becomes a space.",
                found["cleaned_to_space"])
    emit_ranges("cjk_ranges", "BertNormalizer, handle_chinese_chars: gets spaces around it.",
                found["cjk"])
    emit_ranges("whitespace_ranges", "BertPreTokenizer: dropped, ends a word.",
                found["whitespace"])
    emit_ranges("punctuation_ranges", "BertPreTokenizer: a word of its own.",
                found["punctuation"])
    emit_ranges("starter_mark_ranges", "Category Mn, combining class 0.", marks - set(classes))
    emit_ranges("nonstarter_mark_ranges", "Category Mn, other combining classes.",
                marks & set(classes))
    emit("nonstarter_ranges", "nonstarter_range",
         "Not Mn, though its combining class is not 0; with the rank of that class.",
         ranked, both + ["%d"])
    emit_ranges("decomposed_ranges", "Has a canonical decomposition.", decompositions)
    emit("lower_runs", "lower_run",
         "first, last, stride, distance to the lower case. U+0130 is not among them.",
         lower_runs(lowers), both + ["%d", "%d"])
    emit_ranges("word_ranges", "\\w: an added token with single_word does not match beside it.",
                found["word"])
    print("\n/* 64-bit FNV-1a over each code point that decomposes and its decomposition. */\n"
          f"#define DECOMPOSITIONS_CHECKSUM UINT64_C(0x{checksum(decompositions):016X})")


if __name__ == "__main__":
    main()
