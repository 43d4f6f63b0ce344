"""peer.py - what all peers share: the protocol that bench/peers/compare speaks, lines, batches, pooling

A peer is a program that embeds the lines of one file with one engine in one dtype:

    X_peer.py --model FOLDER --text FILE --dtype DTYPE --threads N --device cpu|cuda --work FOLDER

It loads, then answers each line of standard input with one line on standard output:

    (when loaded)   READY {"version": ..., "isa": ..., "load_s": ...}
    WARM            embeds a sample of the lines; seconds
    RUN             embeds all lines once; seconds, from texts to rows
    LATENCY N       embeds N lines one by one, the file again from its start after its last; a list of
                    milliseconds, shorter where that takes long
    ROWS FILE       writes the rows of all lines as plain float32; their number
    MEMORY          peak resident bytes

and ends with standard input. With --prepare it converts the model into --work where its engine needs
that; with --try it prints the fastest of its settings on a sample, as JSON that --setting takes.
A package that is not there: MISSING and the reason, exit status 77.
"""
import argparse
import ctypes
import gc
import json
import os
import pathlib
import signal
import sys
import time

MISSING = 77  # exit status
PATIENCE = 5  # seconds for the calls of a LATENCY request
SAMPLE = 128  # lines for warm-up and for choosing a setting, spread evenly over the file


def parse(settings, settings_gpu):
    parser = argparse.ArgumentParser(description="a peer of bench/peers/compare; see peer.py")
    parser.add_argument("--model", required=True)
    parser.add_argument("--text", required=True)
    parser.add_argument("--dtype", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--work", required=True, help="where converted models are")
    parser.add_argument("--build", default="build", help="where libembed is")
    parser.add_argument("--setting", type=json.loads)
    parser.add_argument("--prepare", action="store_true")
    parser.add_argument("--try", action="store_true", dest="try_settings")
    wanted = parser.parse_args()
    wanted.model = pathlib.Path(wanted.model)
    wanted.work = pathlib.Path(wanted.work)
    wanted.settings = settings_gpu if wanted.device == "cuda" and settings_gpu else settings
    wanted.setting = wanted.setting or wanted.settings[0]
    return wanted


def read_lines(path):
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        return file.read().split("\n")[:-1]


def spread(lines, count):
    """`count` of the lines, evenly."""
    return lines[::max(1, len(lines) // count)][:count]


def timed(embed, texts):
    start = time.perf_counter()
    embed(texts)
    return time.perf_counter() - start


def latencies(embed, lines, calls):
    """Milliseconds of each call, of fewer where these take longer than PATIENCE."""
    made, end = [], time.perf_counter() + PATIENCE
    while len(made) < calls and (not made or time.perf_counter() < end):
        made.append(1e3 * timed(embed, [lines[len(made) % len(lines)]]))
    return made


def peak_bytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def time_setting(load, wanted, sample):
    embed, _ = load(wanted)
    embed(sample)
    return timed(embed, sample)


def fastest_setting(load, wanted, lines):
    """Of those that work: torch.compile needs a C compiler, say."""
    settings = wanted.settings
    if len(settings) == 1:
        return settings[0]
    largest = max([setting.get("batch", 0) * setting.get("workers", 1) for setting in settings])
    sample, best, failure = spread(lines, max(SAMPLE, largest)), None, None
    for setting in settings:
        wanted.setting = setting
        try:
            seconds = time_setting(load, wanted, sample)
            note(f"{setting}: {len(sample) / seconds:.1f} texts/s")
            if not best or seconds < best[0]:
                best = seconds, setting
        except ImportError:
            raise
        except Exception as error:  # engines raise all kinds
            note(f"{setting}: left out: {error}")
            failure = error
        gc.collect()
    if not best:
        raise failure
    return best[1]


def answer(request, embed, lines):
    word, _, rest = request.strip().partition(" ")
    if word == "WARM":
        return timed(embed, spread(lines, SAMPLE))
    if word == "RUN":
        return timed(embed, lines)
    if word == "LATENCY":
        return latencies(embed, lines, int(rest))
    if word == "ROWS":
        rows = embed(lines)
        pathlib.Path(rest).write_bytes(memoryview(rows).cast("B"))
        return len(lines)
    if word == "MEMORY":
        return peak_bytes()
    raise ValueError(request)


def main(load, settings, prepare=None, peak=None, settings_gpu=None):
    """load(wanted) gives (embed, facts): embed(texts) gives their rows as float32, which offer the
    buffer protocol, and facts are the version and the instruction set as the engine names it."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps output of libraries out of the answers
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: even a stopped peer ends with compare
    wanted = parse(settings, settings_gpu)
    os.environ.update(OMP_NUM_THREADS=str(wanted.threads), RAYON_NUM_THREADS=str(wanted.threads),
                      TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1")

    def say(*words):
        print(*words, file=out, flush=True)

    try:
        if prepare and wanted.prepare:
            prepare(wanted)
        if wanted.prepare:
            return
        lines = read_lines(wanted.text)
        if wanted.try_settings:
            return say(json.dumps(fastest_setting(load, wanted, lines)))
        start = time.perf_counter()
        embed, facts = load(wanted)
        say("READY", json.dumps({**facts, "load_s": time.perf_counter() - start}))
    except ImportError as missing:
        say("MISSING", missing)
        sys.exit(MISSING)
    for request in sys.stdin:
        say(json.dumps(peak() if peak and request.strip() == "MEMORY" else answer(request, embed, lines)))


# ---- engines that take batches of token ids ----------------------------------------------------

def make_once(path, write):
    """`path`, which write(some path) makes where it is not there: whole, or not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
        write(partial)
        partial.rename(path)
    return path


def json_of(path):
    return json.loads(path.read_text()) if path.exists() else {}


def max_tokens(model):
    return json_of(model / "sentence_bert_config.json").get("max_seq_length", 512)


def pools_first_token(model):
    return json_of(model / "1_Pooling" / "config.json").get("pooling_mode_cls_token", False)


def tokenizer_of(model):
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens(model))
    return tokenizer


def padded(ids):
    """An array of token ids and its attention mask. All models here are padded with zeros under the
    mask: what the id is does not matter."""
    import numpy
    length = max(map(len, ids))
    batch = numpy.zeros((len(ids), length), numpy.int64)
    mask = numpy.zeros((len(ids), length), numpy.int64)
    for row, one in enumerate(ids):
        batch[row, :len(one)] = one
        mask[row, :len(one)] = 1
    return batch, mask


def embed_by_length(tokenizer, run, batch, workers):
    """An embed() that sorts texts by their tokens, so that little is padded, and has `workers` threads
    draw batches. run(list of ids) gives normalized rows."""
    import concurrent.futures
    import numpy
    pool = concurrent.futures.ThreadPoolExecutor(workers) if workers > 1 else None

    def embed(texts):
        ids = [one.ids for one in tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        parts = [order[i:i + batch] for i in range(0, len(order), batch)]
        batches = [[ids[i] for i in part] for part in parts]
        made = list((pool.map if pool else map)(run, batches))
        rows = numpy.empty((len(ids), made[0].shape[1]), numpy.float32)
        for part, some in zip(parts, made):
            rows[part] = some
        return rows
    return embed


def pooled(hidden, mask, first_token):
    """Normalized rows of last hidden states, for engines that do not pool."""
    import numpy
    if first_token:
        rows = hidden[:, 0]
    else:
        rows = numpy.einsum("bsw,bs->bw", hidden, mask.astype(numpy.float32))
    return rows / numpy.linalg.norm(rows, axis=1, keepdims=True)


# The first is the default, used for latency: all threads work on one batch.
SETTINGS = [{"batch": 32, "workers": 1}, {"batch": 16, "workers": 1}, {"batch": 16, "workers": 2},
            {"batch": 32, "workers": 2}]


def note(*words):
    print(*words, file=sys.stderr)
