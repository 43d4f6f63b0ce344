#!/usr/bin/env python3
"""Makes the vectors of generation: summaries of bart-documents.txt by tiny-bart and
tiny-bart-uneven under bart-settings.txt, and what stands within the models on the way.

    pip install -r tests/vectors/requirements.txt
    python tests/vectors/make_bart_vectors.py [--documents]

Every summary is transformers' generate in FP32, one document at a time; the plain search of
beam_search_bart.py must find the same one, without a cache, and gives its margin. README.md
describes the files. --documents makes bart-documents.txt anew first.
"""
import dataclasses
import os
import pathlib
import random
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch
from transformers import AutoTokenizer, BartForConditionalGeneration

from bart_stories import FILLERS, article
from beam_search_bart import LIMIT, Settings, search

HERE = pathlib.Path(__file__).resolve().parent
MODELS = ["tiny-bart", "tiny-bart-uneven"]
# A word, a story, and a text longer than the models read.
STAGE_DOCUMENTS = [1, 6, 3]
# Two whose summaries lie within 1e-4 of others, where arithmetic in another order may choose those.
TOO_CLOSE = {75, 186}


# ---- documents -------------------------------------------------------------------------------

def documents():
    rng = random.Random(20260101)
    story = lambda most=2: article(rng, most)[0]
    long_one = " ".join(story() for _ in range(12))
    texts = ["", "Storm", " ", long_one, "x", "...", story(1), story(1) + " ", "  " + story(1),
             "\t" + story(1), story(1).replace(" ", "  "), story(1).upper(), story(1).lower(),
             story(1).replace(" ", ""), story(1)[:-1], story(1).replace(".", "!"),
             story(1).replace(".", ""), " ".join(FILLERS), " ".join(FILLERS * 5), "Rovers " * 200,
             "beat United 3-1 " * 20, "goal by Silva, " * 30, "9" * 300, "Mayor Mayor Mayor",
             "</s>", "Marlow </s> Denby", "<s><pad>", story(1) + "</s>" + story(1),
             "Zürich votes to close the old bridge. Mayor Müller said it would cost 4.2 million.",
             "Rövers beat Únited 2-0 on Sunday evening after a goal by Żak, a goal by Nuñez.",
             "Профит Norvik rose by 12 percent last year.", "東京で火曜日に大雪が降り、230人が避難した。",
             "🌊 A flood reached Tolm on Friday 🌊, and 77 people had to leave their homes. 🏠🏠",
             "قال رئيس البلدية إن الجسر القديم سيغلق.", "e\u0301t\u00e9 \u200b\u00a0 \u2003x"]
    lines = (HERE / "lines.txt").read_bytes().decode().split("\n")
    texts += [lines[i] for i in (3, 40, 99, 130, 180, 300, 340, 360, 400, 450, 500, 560, 610, 660,
                                 730, 890, 930, 960, 980, 995)]
    foreign = {"Marlow": "Quibblethwaite", "Harris": "Xavier-Jones", "Rovers": "FC Nowhere",
               "Silva": "Oyelaran", "Acme": "Zyx Holdings", "Tolm": "Ulaanbaatar",
               "percent": "per cent", "Mayor": "Provost"}
    for _ in range(20):
        text = story()
        for known, unknown in foreign.items():
            text = text.replace(known, unknown)
        texts.append(text)
    for _ in range(15):
        words = story().split()
        rng.shuffle(words)
        texts.append(" ".join(words))
    texts += [story(most) for most in [1, 2, 3] * 40]
    return [text for i, text in enumerate(texts) if i not in TOO_CLOSE]


# ---- the reference ---------------------------------------------------------------------------

class Reference:
    """A model with its tokenizer."""

    def __init__(self, name):
        folder = HERE / name
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = BartForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()
        self.forced_bos = self.model.generation_config.forced_bos_token_id
        self.forced_eos = self.model.generation_config.forced_eos_token_id

    def ids(self, text):
        limit = self.model.config.max_position_embeddings
        return self.tokenizer(text, truncation=True, max_length=limit).input_ids

    def encoded(self, ids):
        return self.model.get_encoder()(torch.tensor([ids]))

    def logits(self, encoded, prefixes):
        """(prefixes, length, vocabulary): of whole prefixes of one length, without a cache."""
        states = encoded.last_hidden_state.expand(len(prefixes), -1, -1)
        return self.model(encoder_outputs=(states,), decoder_input_ids=torch.tensor(prefixes),
                          use_cache=False).logits

    def generate(self, ids, **options):
        """All tokens are attended to, as those of one text always are; without a mask, a <pad> in
        the text would not be."""
        source = torch.tensor([ids])
        return self.model.generate(source, attention_mask=torch.ones_like(source), do_sample=False,
                                   use_cache=True, return_dict_in_generate=True,
                                   output_scores=True, **options)


class LogProbabilities:
    """Of the token after a prefix, for one document; what was asked once is kept."""

    def __init__(self, reference, encoded):
        self.reference, self.encoded, self.known = reference, encoded, {}

    def __call__(self, prefixes):
        new = sorted({prefix for prefix in prefixes if prefix not in self.known})
        if new:
            logits = self.reference.logits(self.encoded, new)[:, -1]
            rows = torch.log_softmax(logits, -1).numpy()
            self.known.update(zip(new, rows))
        return np.stack([self.known[prefix] for prefix in prefixes])


def read_settings():
    """NUM_BEAMS LENGTH_PENALTY MIN_LENGTH MAX_LENGTH NO_REPEAT_NGRAM_SIZE EARLY_STOPPING"""
    early = {"true": True, "false": False, "never": "never"}
    rows = [line.split() for line in (HERE / "bart-settings.txt").read_text().splitlines()]
    return [Settings(int(r[0]), float(r[1]), int(r[2]), int(r[3]), int(r[4]), early[r[5]])
            for r in rows]


# ---- the files -------------------------------------------------------------------------------

def summaries(reference, texts, settings):
    """For each of the settings and each text: (sequence, score, margin, smallest gap)."""
    result = [[] for _ in settings]
    for number, text in enumerate(texts):
        ids = reference.ids(text)
        log_probs = LogProbabilities(reference, reference.encoded(ids))
        for rows, s in zip(result, settings):
            out = reference.generate(ids, **dataclasses.asdict(s))
            sequence = tuple(out.sequences[0].tolist())
            score = out.sequences_scores.item() if s.num_beams > 1 else 0.0
            found = search(s, log_probs, reference.forced_bos, reference.forced_eos)
            if found[0] != sequence or not abs(found[1] - score) <= 1e-4:
                print(f"  document {number}, {s}: the plain search differs, margin {found[2]:.1e}\n"
                      f"    {sequence} {score}\n    {found[0]} {found[1]}")
            rows.append((sequence, score) + found[2:])
    return result


def write_summaries(name, result):
    with open(HERE / f"{name}.summaries", "w") as ids, open(HERE / f"{name}.scores", "w") as scores:
        for rows in result:
            for sequence, score, margin, gap in rows:
                ids.write(" ".join(map(str, sequence)) + "\n")
                scores.write(f"{score:.7g} {margin:.3g} {gap:.3g}\n")


def write_texts(name, reference, texts):
    """The summaries that the folder's own settings give, as text."""
    with open(HERE / f"{name}.texts", "w", newline="\n") as file:
        for text in texts:
            sequence = reference.generate(reference.ids(text)).sequences[0]
            summary = reference.tokenizer.decode(sequence, skip_special_tokens=True,
                                                 clean_up_tokenization_spaces=False)
            assert "\n" not in summary
            file.write(summary + "\n")


def write_stages(name, reference, texts, rows):
    """For three documents: the encoder's output, and the logits after every token of a summary."""
    values, manifest, floats = [], [], 0
    for number in STAGE_DOCUMENTS:
        encoded = reference.encoded(reference.ids(texts[number]))
        prefix = rows[number][0][:16]
        for stage, value in (("encoder", encoded.last_hidden_state[0]),
                             ("logits", reference.logits(encoded, [prefix])[0])):
            manifest.append(f"{number} {stage} {value.shape[0]} {value.shape[1]} {floats}")
            values.append(value.numpy().astype("<f4").tobytes())
            floats += value.numel()
    (HERE / f"{name}-stages.f32").write_bytes(b"".join(values))
    (HERE / f"{name}-stages.txt").write_text("".join(line + "\n" for line in manifest))


def report(result, settings):
    for s, rows in zip(settings, result):
        lengths = [len(row[0]) for row in rows]
        ended = sum(row[0][-1] == 2 and len(row[0]) < s.max_length for row in rows)
        margins = sorted(row[2] for row in rows)
        print(f"  {s.num_beams} {s.length_penalty} {s.min_length} {s.max_length} "
              f"{s.no_repeat_ngram_size} {s.early_stopping}: {sum(lengths) / len(lengths):.1f} "
              f"tokens, {ended} end before the limit, margin at least {margins[0]:.1e}, "
              f"{sum(m < 0.01 for m in margins)} below 0.01, "
              f"{sum(m >= LIMIT for m in margins)} at {LIMIT} or more")


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    path = HERE / "bart-documents.txt"
    if "--documents" in sys.argv[1:]:
        path.write_bytes("".join(text + "\n" for text in documents()).encode())
    texts = path.read_bytes().decode().split("\n")[:-1]
    settings = read_settings()
    for name in MODELS:
        reference = Reference(name)
        result = summaries(reference, texts, settings)
        write_summaries(name, result)
        write_texts(name, reference, texts)
        write_stages(name, reference, texts, result[0])
        print(f"{name}: {len(texts)} documents, {len(settings)} settings")
        report(result, settings)


if __name__ == "__main__":
    main()
