#!/usr/bin/env python3
"""Compares build/embed with sentence-transformers in FP32: the ids and the embedding of every
line of a file. Exit status 1 where an id differs or a cosine is below the tolerance.

    pip install -r tests/vectors/requirements.txt
    python tests/compare_reference.py -m weights/all-MiniLM-L6-v2 [FILE] [-- ENCODE OPTIONS]
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import tokenizers
import torch
from sentence_transformers import SentenceTransformer

ROOT = pathlib.Path(__file__).resolve().parent.parent


def read_lines(path):
    """Only \\n ends a line. What is not UTF-8 becomes U+FFFD, as in embed."""
    parts = path.read_bytes().split(b"\n")
    if not parts[-1]:
        parts.pop()
    return [part.decode("utf-8", errors="replace") for part in parts]


def reference_ids(folder, lines):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return [tokenizer.encode(line).ids for line in lines]


def compare_ids(embed, folder, path, lines):
    """Prints the first lines whose ids differ; returns how many there are."""
    output = subprocess.run([embed, "tokenize", "-m", folder, path], check=True,
                            stdout=subprocess.PIPE).stdout.decode()
    ours = [[int(word) for word in line.split()] for line in output.split("\n")[:-1]]
    theirs = reference_ids(folder, lines)
    if len(ours) != len(theirs):
        sys.exit(f"ids: {len(ours)} lines, expected {len(theirs)}")
    different = [i for i in range(len(lines)) if ours[i] != theirs[i]]
    for i in different[:10]:
        at = next((k for k, pair in enumerate(zip(ours[i], theirs[i])) if pair[0] != pair[1]),
                  min(len(ours[i]), len(theirs[i])))
        print(f"  line {i + 1}: from id {at}: {ours[i][at:at + 6]}, expected "
              f"{theirs[i][at:at + 6]}: {lines[i][:60]!r}")
    print(f"ids: {sum(map(len, theirs))} in {len(lines)} lines, {len(different)} lines differ")
    return len(different)


def compare_rows(embed, folder, path, lines, options, tolerance):
    """Prints mean and worst cosine; returns how many lines are below the tolerance."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "rows.f32")
        subprocess.run([embed, "encode", "-m", folder, "--format", "f32", "-o", out, *options,
                        path], check=True)
        ours = np.fromfile(out, "<f4").astype(np.float64)
    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    theirs = model.encode(lines, show_progress_bar=False).astype(np.float64)
    if ours.size != theirs.size:
        sys.exit(f"rows: {ours.size} floats, expected {theirs.shape[0]} x {theirs.shape[1]}")
    ours = ours.reshape(theirs.shape)
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = np.nan_to_num((ours * theirs).sum(1) / norms, nan=-1.0)
    below = np.flatnonzero(cosine < tolerance)
    for i in below[np.argsort(cosine[below])][:10]:
        print(f"  line {i + 1}: cosine {cosine[i]:.9f}: {lines[i][:60]!r}")
    print(f"rows: cosine mean {cosine.mean():.9f}, worst {cosine.min():.9f} (line "
          f"{cosine.argmin() + 1}), largest difference {np.abs(ours - theirs).max():.2e}, "
          f"{below.size} of {len(lines)} lines below {tolerance}")
    return below.size


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=pathlib.Path, required=True)
    parser.add_argument("--embed", default=str(ROOT / "build" / "embed"))
    parser.add_argument("--tolerance", type=float, default=0.999999)
    parser.add_argument("file", nargs="?", type=pathlib.Path,
                        default=ROOT / "tests" / "vectors" / "lines.txt")
    wanted = parser.parse_args(arguments)

    lines = read_lines(wanted.file)
    bad = compare_ids(wanted.embed, wanted.model, wanted.file, lines)
    bad += compare_rows(wanted.embed, wanted.model, wanted.file, lines,
                        options or ["--device", "cpu", "--dtype", "f32"], wanted.tolerance)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
