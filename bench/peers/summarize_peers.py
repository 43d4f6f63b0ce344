#!/usr/bin/env python3
"""summarize_peers.py - transformers, CTranslate2 and libembed summarize the same documents, in one run

usage: summarize_peers.py MODEL EMBED_BENCH [--device cpu|cuda] [--tokens N] [--new-tokens N]
                          [--beams N] [--batches N,N] [--threads N] [--rounds N]
                          [--only NAME,NAME] [--csv FILE]

MODEL is a BART's folder, as bench/make_bart writes one; EMBED_BENCH is build/embed-bench. Documents
are random ids, the same for all; a summary has exactly so many new tokens, whatever the weights are.
Engines take turns, each in a process of its own, so that one's memory is free when the next begins;
medians over the rounds. In each round an engine summarizes once to get warm, once to 8 tokens and once
to all: the difference is what steps take, and the rest is the encoder with the first look at it.
Needs torch, transformers and ctranslate2; an engine whose package is missing is left out and named.
Exit status 1 where none is left.
"""
import argparse
import csv
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

FEW_TOKENS = 8  # as in bench/embed_bench_summarize.c
SECONDS = 1800  # time limit of a process

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"


def documents_of(vocabulary, count, tokens):
    """The ids that embed-bench takes."""
    random, ids = 1, []
    for _ in range(count * tokens):
        random = (random * 1664525 + 1013904223) & 0xFFFFFFFF
        ids.append(4 + (random >> 8) % (vocabulary - 64))
    documents = [ids[d * tokens:(d + 1) * tokens] for d in range(count)]
    for document in documents:
        document[0], document[-1] = 0, 2
    return documents


# ---- engines: each returns a function (documents, new tokens) -> (lengths, scores) ------------

def make_torch(wanted, dtype):
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(wanted.threads)
    model = transformers.BartForConditionalGeneration.from_pretrained(
        wanted.model, dtype=getattr(torch, dtype)).eval().to(wanted.device)

    def summarize(documents, new_tokens):
        few = new_tokens <= FEW_TOKENS  # not for many steps: the scores of each take 12 MB
        with torch.inference_mode():
            made = model.generate(
                torch.tensor(documents, device=wanted.device), num_beams=wanted.beams, min_length=new_tokens + 1,
                max_length=new_tokens + 1, return_dict_in_generate=True, output_scores=few)
        lengths = [len(row) - 1 for row in made.sequences.tolist()]  # waits for a GPU
        return lengths, made.sequences_scores.float().tolist() if few else [0.0]
    return summarize


def converted(wanted, dtype):
    return pathlib.Path(wanted.work) / f"ctranslate2-{dtype}"


def make_ctranslate2(wanted, dtype):
    import ctranslate2
    import transformers
    tokenizer = transformers.AutoTokenizer.from_pretrained(wanted.model)
    settings = json.loads((pathlib.Path(wanted.model) / "generation_config.json").read_text())
    translator = ctranslate2.Translator(str(converted(wanted, dtype)), device=wanted.device,
                                        compute_type=dtype, inter_threads=1,
                                        intra_threads=wanted.threads)

    def summarize(documents, new_tokens):
        made = translator.translate_batch(
            [tokenizer.convert_ids_to_tokens(ids) for ids in documents],
            max_batch_size=0, beam_size=wanted.beams, return_scores=True,
            min_decoding_length=new_tokens, max_decoding_length=new_tokens,
            length_penalty=settings.get("length_penalty", 1.0),
            no_repeat_ngram_size=settings.get("no_repeat_ngram_size", 0))
        return [len(one.hypotheses[0]) for one in made], [one.scores[0] for one in made]
    return summarize


def convert(wanted, dtype):
    """MODEL as CTranslate2 wants it, once for all rounds."""
    from ctranslate2.converters import TransformersConverter
    TransformersConverter(wanted.model).convert(str(converted(wanted, dtype)), quantization=dtype)


PEERS = {
    "cpu": {
        "torch-f32": (make_torch, "float32"),
        "torch-bf16": (make_torch, "bfloat16"),
        "ctranslate2-f32": (make_ctranslate2, "float32"),
        "ctranslate2-int8": (make_ctranslate2, "int8"),
    },
    "cuda": {
        "torch-f16": (make_torch, "float16"),
        "ctranslate2-f16": (make_ctranslate2, "float16"),
    },
}
OURS = {"cpu": {"libembed-f32": "f32", "libembed-bf16": "bf16"}, "cuda": {"libembed-f16": "f16"}}


# ---- within an engine's process --------------------------------------------------------------

def timed(summarize, documents, new_tokens):
    start = time.perf_counter()
    lengths, scores = summarize(documents, new_tokens)
    seconds = time.perf_counter() - start
    if lengths != [new_tokens] * len(documents):
        sys.exit(f"summaries of {lengths} tokens, {new_tokens} were asked for")
    if not all(math.isfinite(score) for score in scores):
        sys.exit(f"scores {scores}: the model does not compute")
    return seconds


def engine_process(wanted):
    make, dtype = PEERS[wanted.device][wanted.engine]
    if wanted.convert:
        return convert(wanted, dtype)
    summarize = make(wanted, dtype)
    vocabulary = json.loads((pathlib.Path(wanted.model) / "config.json").read_text())["vocab_size"]
    made = {}
    for batch in wanted.batches:
        documents = documents_of(vocabulary, batch, wanted.tokens)
        timed(summarize, documents, FEW_TOKENS)
        few = timed(summarize, documents, FEW_TOKENS)
        made[batch] = [few, timed(summarize, documents, wanted.new_tokens)]
    print(json.dumps(made))


# ---- all of them, in turn --------------------------------------------------------------------

def run(engine, command):
    """What it says, or None after the last line of its complaint."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode == 0:
        return done.stdout
    complaint = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
    print(f"# {engine}: left out: {complaint}", file=sys.stderr)
    return None


def run_engine(wanted, work, engine, *more):
    return run(engine, [
        sys.executable, __file__, wanted.model, wanted.embed_bench, "--device", wanted.device,
        "--tokens", str(wanted.tokens), "--new-tokens", str(wanted.new_tokens),
        "--beams", str(wanted.beams), "--threads", str(wanted.threads),
        "--batches", ",".join(map(str, wanted.batches)), "--work", work, "--engine", engine, *more])


def measure_peer(wanted, work, engine):
    """{batch: {"seconds", "step_ms", "encoder_s"}}, or None."""
    said = run_engine(wanted, work, engine)
    if said is None:
        return None
    found = {}
    for batch, (few, full) in json.loads(said.splitlines()[-1]).items():
        step = (full - few) / (wanted.new_tokens - FEW_TOKENS)
        found[int(batch)] = {"seconds": full, "step_ms": 1e3 * step,
                             "encoder_s": full - wanted.new_tokens * step}
    return found


def measure_ours(wanted, engine):
    found = {}
    for batch in wanted.batches:
        said = run(engine, [
            wanted.embed_bench, "summarize", "-m", wanted.model, "--device", wanted.device,
            "--dtype", OURS[wanted.device][engine], "--threads", str(wanted.threads),
            "--texts", str(batch), "--tokens", str(wanted.tokens),
            "--new-tokens", str(wanted.new_tokens), "--beams", str(wanted.beams), "--rounds", "1"])
        if said is None:
            return None
        rows = [line for line in said.splitlines() if not line.startswith("#")]
        row = next(csv.DictReader(rows))
        found[batch] = {key: float(row[key]) for key in
                        ("seconds", "step_ms", "encoder_s", "read_gb_per_s", "step_floor_ms")
                        if row[key]}
    return found


def measure(wanted, work):
    """{engine: {batch: [what each round gave]}}; an engine that fails once is left out."""
    results = {}
    for engine in wanted.engines:
        if engine.startswith("ctranslate2") and run_engine(wanted, work, engine, "--convert") is None:
            continue
        results[engine] = {batch: [] for batch in wanted.batches}
    for number in range(wanted.rounds):
        for engine in list(results):
            found = (measure_ours(wanted, engine) if engine in OURS[wanted.device]
                     else measure_peer(wanted, work, engine))
            if found is None:
                del results[engine]
                continue
            for batch, values in found.items():
                results[engine][batch].append(values)
                print(f"# round {number + 1}, {engine}, {batch} documents: "
                      f"{values['seconds']:.2f} s", file=sys.stderr)
    return results


def median(rounds, key):
    return statistics.median(values[key] for values in rounds)


def rows_of(wanted, results):
    yield ["engine", "threads", "documents", "source_tokens", "new_tokens", "beams", "rounds",
           "seconds", "encoder_s", "step_ms", "documents_per_s", "tokens_per_s", "times_torch",
           "read_gb_per_s", "share_of_floor"]
    # The floor assumes the fastest read of all rounds, as within one run of embed-bench.
    fastest = max((values.get("read_gb_per_s", 0) for batches in results.values()
                   for rounds in batches.values() for values in rounds), default=0)
    torch = next(iter(PEERS[wanted.device]))
    for batch in wanted.batches:
        reference = results.get(torch, {}).get(batch)
        for engine, batches in results.items():
            rounds = batches[batch]
            seconds, step = median(rounds, "seconds"), median(rounds, "step_ms")
            ratio = f"{median(reference, 'seconds') / seconds:.2f}" if reference else ""
            row = [engine, wanted.threads, batch, wanted.tokens, wanted.new_tokens, wanted.beams,
                   len(rounds), f"{seconds:.3f}", f"{median(rounds, 'encoder_s'):.3f}", f"{step:.2f}",
                   f"{batch / seconds:.3f}", f"{batch * wanted.new_tokens / seconds:.1f}", ratio]
            if "step_floor_ms" in rounds[0]:
                gigabytes = rounds[0]["step_floor_ms"] * rounds[0]["read_gb_per_s"]
                row += [f"{fastest:.1f}", f"{gigabytes / fastest / step:.3f}"]
            else:
                row += ["", ""]
            yield row


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("embed_bench")
    parser.add_argument("--device", choices=PEERS, default="cpu")
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=60)
    parser.add_argument("--beams", type=int, default=4)
    parser.add_argument("--batches", type=lambda text: [int(n) for n in text.split(",")],
                        default=[1, 4])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--csv")
    parser.add_argument("--engine", help=argparse.SUPPRESS)  # for the processes that this one starts
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--convert", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    engines = [*PEERS[wanted.device], *OURS[wanted.device]]
    wanted.engines = wanted.only.split(",") if wanted.only else engines
    if not set(wanted.engines) <= set(engines):
        parser.error(f"--only takes of {', '.join(engines)}")
    if wanted.new_tokens <= FEW_TOKENS:
        parser.error(f"--new-tokens must be more than {FEW_TOKENS}")
    return wanted


def main():
    wanted = parse()
    os.environ["OMP_NUM_THREADS"] = str(wanted.threads)
    if wanted.engine:
        return engine_process(wanted)
    with tempfile.TemporaryDirectory() as work:
        results = measure(wanted, work)
    rows = list(rows_of(wanted, results))
    csv.writer(sys.stdout, lineterminator="\n").writerows(rows)
    if wanted.csv:
        with open(wanted.csv, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    return 0 if results else 1


if __name__ == "__main__":
    sys.exit(main())
