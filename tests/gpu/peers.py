#!/usr/bin/env python3
"""peers.py - sentence-transformers beside libembed on the same GPU, with the same lines, in one run

usage: peers.py EMBED_BENCH EMBED MODEL FILE DEVICE COPIES ROUNDS

Prints CSV with a header: all lines of FILE, COPIES times over, in turn by each engine, ROUNDS times;
medians. Sentence-transformers sorts by length itself; it is given FP16 weights on a GPU, the batch
sizes that its users try, and torch.compile. Ours is embed-bench throughput, tokenizing included, as
theirs is. Exit status 77 where a package is not there.
"""
import csv, io, statistics, subprocess, sys, tempfile, time

try:
    import numpy
    import torch
    from sentence_transformers import SentenceTransformer
except ImportError as missing:
    print(missing)
    sys.exit(77)

embed_bench, embed, folder, path, device, copies, rounds = sys.argv[1:]
copies, rounds = int(copies), int(rounds)
on_gpu = device == "cuda"
one = open(path, encoding="utf-8", errors="replace", newline="\n").read().split("\n")[:-1]
lines = one * copies
with tempfile.NamedTemporaryFile("w", encoding="utf-8", newline="\n", delete=False) as many:
    many.write("".join(line + "\n" for line in lines))


def load():
    model = SentenceTransformer(folder, device=device)
    return model.half() if on_gpu else model


def time_reference(model, batch, texts):
    start = time.perf_counter()
    rows = model.encode(texts, batch_size=batch, convert_to_numpy=True, show_progress_bar=False)
    return time.perf_counter() - start, rows


def time_ours():
    said = subprocess.run([embed_bench, "throughput", "-m", folder, "--device", device, "--rounds", "1",
                           many.name], check=True, capture_output=True, text=True).stdout
    row = list(csv.reader(io.StringIO(said)))[-1]
    return len(lines) / float(row[-2])


plain = load()
engines = {}
for batch in (32, 256, 2048) if on_gpu else (32,):
    engines[f"sentence-transformers,{batch}"] = (
        lambda batch=batch: time_reference(plain, batch, lines)[0])
if on_gpu:
    compiled = load()
    compiled[0].auto_model = torch.compile(compiled[0].auto_model, dynamic=True)
    engines["sentence-transformers torch.compile,2048"] = (
        lambda: time_reference(compiled, 2048, lines)[0])
engines["libembed,"] = time_ours

seconds = {name: [] for name in engines}
for name, run in engines.items():
    run()  # not counted: kernels are loaded and compiled
for _ in range(rounds):
    for name, run in engines.items():
        seconds[name].append(run())

ours = numpy.frombuffer(subprocess.run([embed, "encode", "-m", folder, "--device", device, "--format",
                                        "f32", path], check=True, capture_output=True).stdout,
                        dtype=numpy.float32).reshape(len(one), -1)
theirs = time_reference(plain, 32, one)[1].astype(numpy.float64)
cosine = numpy.min((ours * theirs).sum(1) / numpy.linalg.norm(ours, axis=1) /
                   numpy.linalg.norm(theirs, axis=1))

print("engine,batch,lines,rounds,sentences_per_s,libembed_is_faster_by,worst_cosine_to_libembed")
for name in engines:
    rate = len(lines) / statistics.median(seconds[name])
    mine = len(lines) / statistics.median(seconds["libembed,"])
    print(f"{name},{len(lines)},{rounds},{rate:.1f},{mine / rate:.2f},{cosine:.6f}")
