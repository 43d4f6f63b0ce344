"""texts.py - the lines that every engine of compare embeds"""
import json
import math
import os
import subprocess
import sys

PASSAGE_TOKENS = 250  # about


def token_counts(wanted, lines):
    config = wanted.model / "sentence_bert_config.json"
    most = json.loads(config.read_text())["max_seq_length"] if config.exists() else 512
    said = subprocess.run([f"{wanted.build}/embed", "tokenize", "-m", wanted.model, "--max-tokens", str(most)],
                          input="".join(line + "\n" for line in lines).encode(), check=True,
                          stdout=subprocess.PIPE).stdout
    return [len(ids.split()) for ids in said.splitlines()]


def passages_of(lines, counts):
    """Consecutive lines joined until one more would be over PASSAGE_TOKENS; [CLS] and [SEP] count once."""
    made, passage, tokens = [], [], 2
    for line, count in zip(lines, counts):
        if passage and tokens + count - 2 > PASSAGE_TOKENS:
            made.append(" ".join(passage))
            passage, tokens = [], 2
        passage.append(line)
        tokens += count - 2
    return made


def write(wanted):
    """The path of the lines that every engine reads, their number and their tokens."""
    with open(wanted.text, encoding="utf-8", errors="replace", newline="\n") as file:
        lines = [line for line in file.read().split("\n") if line.strip()]
    counts = token_counts(wanted, lines) if wanted.passages or wanted.latency else []
    if wanted.passages:
        lines = passages_of(lines, counts)
    if wanted.latency:
        lines = [line for line, count in zip(lines, counts) if count == wanted.latency]
    if not lines:
        sys.exit(f"compare: {wanted.text} has no such line")
    if wanted.lines:
        lines *= math.ceil(wanted.lines / len(lines))
        lines = [lines[i * len(lines) // wanted.lines] for i in range(wanted.lines)]
    path = wanted.work / f"lines-{os.getpid()}.txt"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")
    return path, len(lines), sum(token_counts(wanted, lines))
