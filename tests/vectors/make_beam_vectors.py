#!/usr/bin/env python3
"""Makes beam-search.txt: sequences and scores of transformers' generate() under random settings.

    pip install -r tests/vectors/requirements.txt
    python tests/vectors/make_beam_vectors.py

Ten minutes. The model is BART without a network: its logits are a hash of the tokens so far (`logits`
below, and again in tests/test_beam_search.c, bit for bit), over so few tokens that bans, forced tokens
and ends happen all the time. What a search does is a matter of comparisons, and some are closer than
float32 tells: settings under which log-probabilities moved by some 1e-6, or another order of equal
scores, give another result are left out, so that all that is left must be met exactly.
"""
import math
import os
import pathlib
import random
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils import logging

OUTPUT = pathlib.Path(__file__).resolve().parent / "beam-search.txt"
VECTORS = 700
NOISE = 4e-6  # more than float32 log-softmax of two libraries differ by
NEVER_CHOSEN = -1e9
HEADER = """\
# Made by make_beam_vectors.py: settings and result of one generate() a line.
# vocabulary beams min_length max_length ngram length_penalty early start end forced_first forced_end \
seed memory end_bonus : score tokens, or "impossible"
"""


# ---- the model -------------------------------------------------------------------------------

def mix(h):
    """The finalizer of MurmurHash3, of a uint32 or an array of them."""
    h = np.asarray(h, np.uint32)
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def logits(settings, prefix):
    """From 0 to 8 by the last `memory` tokens, and end_bonus / 4 more for the end token. Multiples
    of 2^-17, so that float32 has them exactly."""
    h = mix(settings["seed"])
    for token in prefix[-settings["memory"]:]:
        h = mix(h + np.uint32(token + 1))
    tokens = np.arange(1, settings["vocabulary"] + 1, dtype=np.uint32)
    row = (mix(h + tokens * np.uint32(0x9E3779B9)) >> np.uint32(12)).astype(np.float32) / 131072
    row[settings["end"]] += np.float32(settings["end_bonus"] / 4)
    return row


class HashModel(BartForConditionalGeneration):
    def forward(self, decoder_input_ids=None, encoder_outputs=None, **_):
        rows = [logits(self.settings, prefix) for prefix in decoder_input_ids.tolist()]
        return Seq2SeqLMOutput(logits=torch.tensor(np.stack(rows))[:, None, :],
                               encoder_last_hidden_state=encoder_outputs[0])


def model(settings):
    config = BartConfig(vocab_size=settings["vocabulary"], d_model=4, encoder_layers=1,
                        decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1,
                        encoder_ffn_dim=4, decoder_ffn_dim=4, max_position_embeddings=8,
                        pad_token_id=0, bos_token_id=0, eos_token_id=settings["end"],
                        decoder_start_token_id=settings["start"], forced_eos_token_id=None)
    made = HashModel(config).eval()
    made.settings = settings
    return made


# ---- settings --------------------------------------------------------------------------------

def random_settings(rng):
    # Few tokens and many bans: at some steps fewer beams are possible than wanted, or none.
    starved = rng.random() < 0.3
    vocabulary = rng.choice([2, 3, 4, 5, 6] if starved else [5, 7, 7, 8, 10, 13, 20, 33, 50, 50])
    token = lambda: rng.randrange(vocabulary)
    end = token()
    max_length = rng.choice([2, 3, 4, 6, 8, 12, 12, 18, 25, 40])
    return {
        "vocabulary": vocabulary,
        "beams": rng.choice([1, 2, 2, 3, 3, 4, 4, 4, 4, 5, 5, 6, 6, 16]),
        "min_length": rng.choice([0, 0, 1, 2, 3, 5, max_length // 2, max_length - 1, max_length,
                                  max_length + 1]),
        "max_length": max_length,
        "ngram": rng.choice([1, 2, 2, 2] if starved else [0, 0, 1, 2, 2, 3, 3]),
        "length_penalty": rng.choice([-1.0, -0.5, 0.0, 0.0, 0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.0, 0.75,
                                      rng.randrange(-64, 129) / 64,
                                      rng.choice([-12.0, -12.0, 8.0])]),
        "early": rng.choice([False, False, True, True, "never", "never"]),
        "start": rng.choice([end, end, token()]),
        "end": end,
        "forced_first": rng.choice([-1, -1, token()]),
        "forced_end": rng.choice([-1, end, end, end, token()]),
        "seed": rng.randrange(1 << 31),
        "memory": rng.choice([1, 1, 2, 100]),
        "end_bonus": rng.choice([-8, 0, 0, 4, 8, 12, 16]),
    }


# ---- the reference ---------------------------------------------------------------------------

true_log_softmax, true_topk = torch.nn.functional.log_softmax, torch.topk


def noisy_log_softmax(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda x, dim: true_log_softmax(x, dim=dim) + NOISE * (
        2 * torch.rand(x.shape, generator=generator) - 1)


def stable_topk(x, k, dim=-1):
    """Of equal ones the lower index first, which torch.topk does not promise."""
    values, indices = torch.sort(x, dim=dim, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


def greedy_score(settings, sequence):
    """transformers gives greedy search no score: here it is that of beam search, log-probabilities
    by length^length_penalty, of which a forced token has 0."""
    total = np.float32(0)
    for length in range(1, len(sequence)):
        forced = length + 1 == settings["max_length"] and settings["forced_end"] >= 0 \
            or length == 1 and settings["forced_first"] >= 0
        if not forced:
            row = torch.tensor(logits(settings, sequence[:length]))
            total += np.float32(true_log_softmax(row, dim=-1)[sequence[length]])
    return float(total) / (len(sequence) - 1) ** settings["length_penalty"]


def generate(settings, log_softmax, topk):
    """(sequence, score); None where the search ended without a hypothesis, or greedy search came to
    where nothing is possible. What transformers returns then is what its sort of equal scores
    leaves."""
    token = lambda name: settings[name] if settings[name] >= 0 else None
    torch.nn.functional.log_softmax, torch.topk = log_softmax, topk
    try:
        result = model(settings).generate(
            torch.tensor([[0, 1]]), num_beams=settings["beams"], min_length=settings["min_length"],
            max_length=settings["max_length"], no_repeat_ngram_size=settings["ngram"],
            length_penalty=settings["length_penalty"], early_stopping=settings["early"],
            forced_bos_token_id=token("forced_first"), forced_eos_token_id=token("forced_end"),
            eos_token_id=settings["end"], pad_token_id=0, do_sample=False, use_cache=False,
            decoder_start_token_id=settings["start"], return_dict_in_generate=True,
            output_scores=True)
    finally:
        torch.nn.functional.log_softmax, torch.topk = true_log_softmax, true_topk
    sequence = result.sequences[0].tolist()
    if settings["beams"] == 1:
        if any(float(scores.max()) == -math.inf for scores in result.scores):
            return None
        return sequence, greedy_score(settings, sequence)
    score = float(result.sequences_scores[0])
    return (sequence, score) if score > NEVER_CHOSEN else None


def agreed(settings):
    """The result, and whether it hangs neither on the last bits nor on the order of equal ones."""
    plain = generate(settings, true_log_softmax, true_topk)
    for other in [generate(settings, true_log_softmax, stable_topk)] + \
            [generate(settings, noisy_log_softmax(i), stable_topk) for i in range(3)]:
        if (other is None) != (plain is None) or \
                other is not None and other[0] != plain[0]:
            return None, False
    return plain, True


def line(settings, result):
    early = {False: 0, True: 1, "never": 2}[settings["early"]]
    names = ["vocabulary", "beams", "min_length", "max_length", "ngram", "length_penalty", "early",
             "start", "end", "forced_first", "forced_end", "seed", "memory", "end_bonus"]
    numbers = " ".join(str(early if name == "early" else settings[name]) for name in names)
    if result is None:
        return f"{numbers} : impossible\n"
    sequence, score = result
    return f"{numbers} : {score:.9g} {' '.join(map(str, sequence))}\n"


def main():
    warnings.filterwarnings("ignore")
    logging.set_verbosity_error()
    np.seterr(over="ignore")
    rng = random.Random(20260102)
    lines, left_out, impossible = [], 0, 0
    while len(lines) < VECTORS:
        settings = random_settings(rng)
        result, certain = agreed(settings)
        if not certain:
            left_out += 1
            continue
        impossible += result is None
        lines.append(line(settings, result))
    OUTPUT.write_text(HEADER + "".join(lines))
    print(f"{OUTPUT.name}: {len(lines)} results, {impossible} of them impossible; "
          f"{left_out} settings left out")


if __name__ == "__main__":
    main()
