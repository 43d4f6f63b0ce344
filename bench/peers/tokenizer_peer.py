#!/usr/bin/env python3
"""The speed of Hugging Face tokenizers beside libembed's, on one thread, in one run.

    pip install tokenizers==0.23.3
    make all
    bench/peers/tokenizer_peer.py weights/all-MiniLM-L6-v2 bible.txt --csv OUT.csv

Measures FILE (English, one text a line) and mixed scripts: the lines of tests/vectors that are not
ASCII; and, where this machine has them, translated manual pages, which have many more words.
Engines take turns; the best of the rounds counts. Every line's ids are compared, too.
"""
import argparse
import csv
import glob
import gzip
import os
import random
import re
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers

VERSION = "0.23.3"
LANGUAGES = "de fr es tr pl ru uk ja ko zh_CN zh_TW".split()
MANUAL_BYTES = 250000  # of each language


def mixed_lines():
    """From tests/vectors, repeated to make a megabyte and a half."""
    with open("tests/vectors/lines.txt", "rb") as file:
        lines = [line for line in file.read().split(b"\n") if not line.isascii()]
    with open("tests/vectors/tokenizer/texts.hex", encoding="ascii") as file:
        lines += [bytes.fromhex(line.strip()).replace(b"\n", b" ") for line in file]
    return lines * 20


def manual_lines(language):
    """Sentences of the manual pages in /usr/share/man, without their markup."""
    lines, size = [], 0
    for path in sorted(glob.glob(f"/usr/share/man/{language}/**/*.gz", recursive=True)):
        with gzip.open(path) as file:
            text = file.read().decode(errors="replace")
        for line in text.split("\n"):
            line = re.sub(r"\\f.|\\-|\\&|\\", "", line)
            if size < MANUAL_BYTES and len(line) > 20 and line[0] not in ".'":
                lines.append(line.encode())
                size += len(lines[-1])
    return lines


def write_corpora(folder, file):
    """Paths of what is measured, by name."""
    manuals = [line for language in LANGUAGES for line in manual_lines(language)]
    corpora = {"english": file}
    for name, lines in (("mixed", mixed_lines()), ("manuals", manuals)):
        if not lines:
            continue
        random.Random(1).shuffle(lines)
        corpora[name] = os.path.join(folder, name + ".txt")
        with open(corpora[name], "wb") as out:
            out.write(b"\n".join(lines) + b"\n")
    return corpora


def read_lines(path):
    with open(path, "rb") as file:
        return file.read().rstrip(b"\n").split(b"\n")


def our_rate(build, model, path):
    command = [os.path.join(build, "embed-bench"), "tokenizer", "-m", model, "--rounds", "10", path]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [line for line in out.splitlines() if not line.startswith("#")]
    return float(list(csv.DictReader(rows))[0]["mb_per_s"])


def reference_rate(reference, lines):
    texts = [line.decode(errors="replace") for line in lines]
    start = time.perf_counter()
    reference.encode_batch_fast(texts)
    return sum(map(len, lines)) / (time.perf_counter() - start) / 1e6


def count_differences(build, model, path, reference, lines):
    command = [os.path.join(build, "embed"), "tokenize", "-m", model, path]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ours = [[int(i) for i in line.split()] for line in out.splitlines()]
    theirs = reference.encode_batch_fast([line.decode(errors="replace") for line in lines])
    if len(ours) != len(theirs):
        sys.exit(f"{path}: {len(ours)} lines, not {len(theirs)}")
    return sum(a != b.ids for a, b in zip(ours, theirs))


def measure(arguments, reference, name, path):
    lines = read_lines(path)
    ours = theirs = 0
    for _ in range(arguments.rounds):
        ours = max(ours, our_rate(arguments.build, arguments.model, path))
        theirs = max(theirs, reference_rate(reference, lines))
    differ = count_differences(arguments.build, arguments.model, path, reference, lines)
    return [{"corpus": name, "lines": len(lines), "bytes": sum(map(len, lines)), "engine": engine,
             "mb_per_s": f"{rate:.1f}", "lines_that_differ": differ}
            for engine, rate in ((f"tokenizers {VERSION}", theirs), ("libembed", ours))]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="folder with tokenizer.json")
    parser.add_argument("file", help="English, one text a line")
    parser.add_argument("--build", default="build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", required=True)
    arguments = parser.parse_args()
    if tokenizers.__version__ != VERSION:
        sys.exit(f"needs tokenizers=={VERSION}, this is {tokenizers.__version__}")
    reference = tokenizers.Tokenizer.from_file(os.path.join(arguments.model, "tokenizer.json"))
    reference.no_padding()
    reference.no_truncation()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path in write_corpora(folder, arguments.file).items():
            rows += measure(arguments, reference, name, path)
    with open(arguments.csv, "w", encoding="ascii", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
