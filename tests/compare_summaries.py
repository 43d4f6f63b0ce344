#!/usr/bin/env python3
"""Compares build/embed with transformers in FP32: the summary of every line of a file. Exit status
1 where one differs.

    pip install -r tests/vectors/requirements.txt
    python tests/compare_summaries.py -m FOLDER [--limit N] [FILE] [-- SUMMARIZE OPTIONS]

Options behind -- go to embed; those of generation, as --num-beams 2, to transformers too.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from compare_reference import ROOT, read_lines

SCORE_TOLERANCE = 1e-3


def generation_options(options):
    """What transformers calls those of them that it has, too."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--num-beams", "--min-length", "--max-length", "--no-repeat-ngram-size"):
        parser.add_argument(name, type=int)
    parser.add_argument("--length-penalty", type=float)
    parser.add_argument("--early-stopping", type=lambda text: json.loads(text)
                        if text in ("true", "false") else text)
    parser.add_argument("--max-tokens", type=int)
    known, _ = parser.parse_known_args(options)
    return {key: value for key, value in vars(known).items() if value is not None}


def our_summaries(embed, folder, lines, options):
    """The objects that embed writes, one for each line."""
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", newline="\n") as file:
        file.writelines(json.dumps({"text": line}) + "\n" for line in lines)
        file.flush()
        output = subprocess.run([embed, "summarize", "-m", folder, "--jsonl", "text", *options,
                                 file.name], check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in output.decode().split("\n")[:-1]]


class Reference:
    def __init__(self, folder, options):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.max_tokens = options.pop("max_tokens", self.model.config.max_position_embeddings)
        self.options = options

    @torch.no_grad()
    def __call__(self, text):
        """The text, the number of tokens, and the score, which one beam does not have."""
        source = self.tokenizer(text, truncation=True, max_length=self.max_tokens,
                                return_tensors="pt")
        out = self.model.generate(source.input_ids, attention_mask=source.attention_mask,
                                  do_sample=False, return_dict_in_generate=True,
                                  output_scores=True, **self.options)
        score = out.get("sequences_scores")
        summary = self.tokenizer.decode(out.sequences[0], skip_special_tokens=True,
                                        clean_up_tokenization_spaces=False)
        return summary, len(out.sequences[0]), None if score is None else score.item()


def compare(ours, lines, reference):
    """Prints the first summaries that differ; returns how many do."""
    different, worst = 0, 0.0
    for number, (line, item) in enumerate(zip(lines, ours), 1):
        text, tokens, score = reference(line)
        error = 0.0 if score is None else abs(item["score"] - score)
        if item["summary"] == text and item["tokens"] == tokens and error <= SCORE_TOLERANCE:
            worst = max(worst, error)
            continue
        different += 1
        if different <= 10:
            print(f"  line {number}: {line[:60]!r}\n    {item['tokens']} tokens, score "
                  f"{item['score']}: {item['summary']!r}\n    {tokens} tokens, score {score}, "
                  f"expected: {text!r}")
    print(f"summaries: {different} of {len(lines)} differ; scores of the others differ by "
          f"{worst:.1e} at most")
    return different


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, options = arguments[:at], arguments[at + 1:]
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", type=pathlib.Path, required=True)
    parser.add_argument("--embed", default=str(ROOT / "build" / "embed"))
    parser.add_argument("--limit", type=int, help="only the first N lines")
    parser.add_argument("file", nargs="?", type=pathlib.Path,
                        default=ROOT / "tests" / "vectors" / "bart-documents.txt")
    wanted = parser.parse_args(arguments)

    lines = read_lines(wanted.file)[:wanted.limit]
    if "--dtype" not in options and "--device" not in options:
        options = ["--device", "cpu", "--dtype", "f32", *options]
    ours = our_summaries(wanted.embed, wanted.model, lines, options)
    if len(ours) != len(lines):
        sys.exit(f"{len(ours)} summaries, expected {len(lines)}")
    return 1 if compare(ours, lines, Reference(wanted.model, generation_options(options))) else 0


if __name__ == "__main__":
    sys.exit(main())
