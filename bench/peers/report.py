"""report.py - what compare measured: cosines, the table, the CSV"""
import array
import csv
import datetime
import math
import os
import pathlib
import shlex
import statistics
import subprocess
import sys

import engines

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8", "amx_bf16")


# ---- rows and memory, requested at the end -----------------------------------------------------

def rows_of(wanted, engine, lines):
    path = wanted.work / f"rows-{os.getpid()}.f32"
    try:
        engine.ask(f"ROWS {path}")
        numbers = array.array("f", path.read_bytes())
    finally:
        path.unlink(missing_ok=True)
    width = len(numbers) // lines
    return [numbers[i * width:(i + 1) * width] for i in range(lines)]


def dot(x, y):
    return math.fsum(map(float.__mul__, x, y))


def cosine(x, y):
    return dot(x, y) / math.sqrt(dot(x, x) * dot(y, y))


def measure_rows(wanted, ready, lines):
    """Sets every engine's cosines to the reference, which is sentence-transformers in FP32, or the first
    in FP32 that runs, or the first; and its peak memory, before the rows are asked for."""
    for engine in ready:
        engine.peak_bytes = engine.ask("MEMORY")
    reference = next((engine for engine in ready if engine.dtype == "f32"), ready[0])
    print(f"# cosines are to {reference.label()}", file=sys.stderr)
    expected = rows_of(wanted, reference, lines)
    for engine in ready:
        rows = rows_of(wanted, engine, lines)
        engine.cosines = [cosine(x, y) for x, y in zip(rows, expected)]


# ---- the table ---------------------------------------------------------------------------------

def baseline_of(wanted, ready):
    for engine in ready:
        if engine.label() == wanted.baseline:
            return engine
    if wanted.baseline:
        print(f"# no {wanted.baseline}: ratios are to {ready[0].label()}", file=sys.stderr)
    return ready[0]


def instruction_set(wanted, engine):
    """As the engine names it, else as it was held to; nothing where neither is known."""
    held = engines.NOT_HELD.get(engine.name, wanted.isa) if wanted.isa else ""
    return engine.facts["isa"] or held


def common(wanted, engine):
    return {"engine": engine.name, "version": engine.facts["version"], "dtype": engine.dtype,
            "instruction_set": instruction_set(wanted, engine), "threads": wanted.threads}


def quality(engine):
    return {"mean_cosine": f"{statistics.fmean(engine.cosines):.6f}",
            "worst_cosine": f"{min(engine.cosines):.6f}",
            "peak_mib": f"{engine.peak_bytes / 2**20:.0f}"}


def throughput(wanted, ready, lines, tokens):
    base = statistics.median(baseline_of(wanted, ready).seconds)
    rows = []
    for engine in ready:
        seconds = statistics.median(engine.seconds)
        rows.append({**common(wanted, engine), "texts": lines, "tokens": tokens, "rounds": wanted.rounds,
                     "texts_per_s": f"{lines / seconds:.1f}", "tokens_per_s": f"{tokens / seconds:.0f}",
                     "slowest": f"{lines / max(engine.seconds):.1f}",
                     "fastest": f"{lines / min(engine.seconds):.1f}", "ratio": f"{base / seconds:.2f}",
                     **quality(engine), "load_s": f"{engine.facts['load_s']:.2f}"})
    return rows


def latency(wanted, ready, lines, tokens):
    base = statistics.median(baseline_of(wanted, ready).milliseconds)
    rows = []
    for engine in ready:
        calls = sorted(engine.milliseconds)
        rows.append({**common(wanted, engine), "tokens": tokens // lines, "calls": len(calls),
                     "median_ms": f"{statistics.median(calls):.3f}", "fastest_ms": f"{calls[0]:.3f}",
                     "p99_ms": f"{calls[math.ceil(0.99 * len(calls)) - 1]:.3f}",
                     "ratio": f"{base / statistics.median(calls):.2f}", **quality(engine),
                     "cold_start_s": f"{statistics.median(engine.cold_seconds):.3f}"})
    return rows


def show(rows):
    names = list(rows[0])
    table = [names] + [[str(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table)]
    for line in table:
        cells = [cell.ljust(width) if number < 4 else cell.rjust(width)
                 for number, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())


# ---- the CSV -----------------------------------------------------------------------------------

def said(*command):
    """What a command prints; "" where there is none or it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def machine(wanted):
    """A line about where it was measured."""
    cpu, flags = "", set()
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        cpu = cpu or (value.strip() if name.strip() == "model name" else "")
        flags = flags or (set(value.split()) if name.strip() == "flags" else set())
    sets = " ".join(one for one in INSTRUCTION_SETS if one in flags)
    gpu = said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader") \
        if wanted.device == "cuda" else ""
    version = said(f"{wanted.build}/embed", "--version").split()[-1]
    commit = said("git", "describe", "--always", "--dirty") or \
        (pathlib.Path("COMMIT").read_text().strip() if pathlib.Path("COMMIT").exists() else "unknown")
    return f"# {cpu}, {len(os.sched_getaffinity(0))} cores, {sets}; {gpu + '; ' if gpu else ''}" \
           f"libembed {version}, commit {commit}; {datetime.date.today()}"


def command():
    """The command line, without what is the machine's own: folders of the build and the text, the CSV."""
    kept, arguments = ["bench/peers/compare"], iter(sys.argv[1:])
    for argument in arguments:
        if argument in ("--csv", "--build", "--work"):
            next(arguments)
        elif argument == "--text":
            kept += [argument, pathlib.Path(next(arguments)).name]
        else:
            kept.append(argument)
    return shlex.join(kept)


def write(wanted, rows):
    with open(wanted.csv, "w", encoding="utf-8", newline="") as file:
        file.write(f"{machine(wanted)}\n# {command()}\n")
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
