#!/usr/bin/env python3
r"""Makes a file for `embed verify`: what each stage of a model gives for a few texts.

    pip install -r tests/vectors/requirements.txt
    python tests/vectors/make_golden.py FOLDER >reference.json
    embed verify -m FOLDER --reference reference.json

FOLDER is one that sentence-transformers opens. Computed in float64. With --embed PROGRAM the file
also has the fingerprint of the weights, as `PROGRAM info` tells it, by which `embed verify` finds
the files that are built into it: tools/golden/NAME.json.

A stage's values are too many to keep. Kept are their norm and eight sums of all of them, each value
with a sign of its own: the differences of these sums tell the norm of the difference of all values
(Achlioptas, "Database-friendly random projections", 2003), wherever in the stage it is.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer

SUMS = 8

# Of different lengths and scripts; an empty one; the names of special tokens; words of many pieces.
TEXTS = [
    "",
    "A cat sits on the mat.",
    "Naïve café-goers paid 3,141.59 € on 2024-02-29 — 50% off! (See https://example.org/?q=1.)",
    "Привет, мир. 你好，世界。 こんにちは مرحبا नमस्ते Ελλάδα 🙂",
    "[CLS] is a token, so are [MASK], <s> and </s>;\tantidisestablishmentarianism is not.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age "
    "of foolishness, it was the epoch of belief, it was the epoch of incredulity, it was the season "
    "of Light, it was the season of Darkness, it was the spring of hope, it was the winter of "
    "despair.",
]


def signs(count):
    """(SUMS, count) of 1 and -1, by a hash of the value's place."""
    with np.errstate(over="ignore"):
        h = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        h = (h ^ h >> np.uint64(32)) * np.uint64(0xBB67AE8584CAA73B)
    bits = h >> np.uint64(56)
    return np.array([1.0 - 2.0 * (bits >> np.uint64(k) & np.uint64(1)) for k in range(SUMS)])


def sketch(values):
    """The norm and the sums, to seven digits."""
    flat = values.detach().double().numpy().reshape(-1)
    return [float(f"{x:.7g}") for x in [np.sqrt(flat @ flat), *(signs(flat.size) @ flat)]]


def stages_of(model, text):
    """The ids of a text, [(name, values)] of each stage, and the row."""
    prompt = model.prompts.get(model.default_prompt_name) or ""
    transformer = model[0]
    features = model.preprocess([text], prompt=prompt or None)
    inputs = {name: features[name] for name in ("input_ids", "attention_mask", "token_type_ids")
              if name in features}
    out = transformer.auto_model(**inputs, output_hidden_states=True, return_dict=True)
    stages = [("embeddings", out.hidden_states[0])]
    stages += [(f"layer {i}", values) for i, values in enumerate(out.hidden_states[1:])]
    features["token_embeddings"] = out.hidden_states[-1]
    # What changes nothing is no stage; a Normalize at the end is a part of the row, where that is
    # not cut after it.
    modules = [module for module in list(model)[1:] if type(module).__name__ != "Dropout"]
    while type(modules[-1]).__name__ == "Normalize" and model.truncate_dim is None:
        modules.pop()
    for i, module in enumerate(modules):
        features = module(features)
        stages.append(("pooling" if i == 0 else f"module {i - 1}", features["sentence_embedding"]))
    row = torch.tensor(model.encode([text], show_progress_bar=False))
    rest = torch.nn.functional.normalize(features["sentence_embedding"][:, :row.shape[1]])
    assert torch.allclose(torch.nn.functional.normalize(row).double(), rest.double(), atol=1e-6), \
        "the stages do not lead to the row"
    return inputs["input_ids"][0].tolist(), stages + [("row", row)]


def weights_fingerprint(program, folder):
    info = subprocess.run([program, "info", "-m", folder, "--device", "cpu", "--json"], check=True,
                          capture_output=True, text=True).stdout
    return json.loads(info)["weights_fingerprint"]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder")
    arguments.add_argument("--embed", metavar="PROGRAM")
    arguments = arguments.parse_args()
    torch.manual_seed(0)
    model = SentenceTransformer(arguments.folder, device="cpu").double().eval()
    config = model[0].auto_model.config
    golden = {
        "embed golden": 1,
        "model": pathlib.Path(arguments.folder).resolve().name,
        "weights_fingerprint": arguments.embed and weights_fingerprint(arguments.embed,
                                                                       arguments.folder),
        "made_by": f"sentence-transformers {sentence_transformers.__version__}, transformers "
                   f"{transformers.__version__}, torch {torch.__version__.split('+')[0]}",
        "max_tokens": model.max_seq_length,
        "texts": [],
    }
    with torch.no_grad():
        for text in TEXTS:
            ids, stages = stages_of(model, text)
            golden["texts"].append({"text": text, "ids": ids,
                                    "stages": [[name, *sketch(values)] for name, values in stages]})
    # A line a text and a line a stage: for people who compare two.
    out = json.dumps(golden, ensure_ascii=False, separators=(",", ":"))
    out = out.replace('{"text"', '\n{"text"').replace(',["', ',\n["').replace(']]}', ']]}')
    sys.stdout.write(out + "\n")


if __name__ == "__main__":
    main()
