"""figures_tables.py - the tables of figures, each from one CSV of bench/results"""
import csv
import decimal
import pathlib

RESULTS = pathlib.Path("bench/results")
DTYPES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16", "int8": "INT8"}
OURS = ("libembed", "embed encode")


class Wrong(Exception):
    pass


def read(name):
    """The comment lines and the rows of a CSV."""
    path = RESULTS / f"{name}.csv"
    if not path.exists():
        raise Wrong(f"there is no {path}")
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line[2:] for line in lines if line.startswith("# ")]
    return comments, list(csv.DictReader(line for line in lines if not line.startswith("#")))


def fixed(number, digits):
    """With so many digits after the point, halves up."""
    step = decimal.Decimal(1).scaleb(-digits)
    return f"{decimal.Decimal(number).quantize(step, decimal.ROUND_HALF_UP):,}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n".replace("|  |", "| |") for line in lines)


def source(name, comments):
    """Where it was measured, and how to do it again, as the CSV's first lines say."""
    if not comments:
        return f"\n`bench/results/{name}.csv`\n"
    command = next((f"; `{comment}`" for comment in comments if comment.startswith("bench/")), "")
    return f"\n`bench/results/{name}.csv`: {comments[0]}{command}\n"


# ---- bench/peers/compare -----------------------------------------------------------------------

def engine_of(row):
    name = f"{row['engine']} {row['version']}"
    return f"**{name}**" if row["engine"] in OURS else name


def texts_of(row):
    return f"{int(row['texts']):,} texts of {int(row['tokens']) / int(row['texts']):.0f} tokens, " \
           f"{row['threads']} threads"


def rate(row):
    return fixed(row["texts_per_s"], 0 if float(row["texts_per_s"]) >= 100 else 1)


def overview(name):
    """An engine a line, a dtype a column; sentences/s, with the worst cosine where it is not FP32."""
    comments, rows = read(name)
    dtypes = [dtype for dtype in DTYPES if any(row["dtype"] == dtype for row in rows)]
    lines = {}
    for row in rows:
        cell = f"**{rate(row)}**" if row["engine"] in OURS else rate(row)
        if row["dtype"] != "f32":
            cell += f" ({float(row['worst_cosine']):.4f})"
        lines.setdefault(engine_of(row), {})[row["dtype"]] = cell
    body = [[engine] + [cells.get(dtype, "") for dtype in dtypes] for engine, cells in lines.items()]
    return table([f"sentences/s; {texts_of(rows[0])}"] + [DTYPES[dtype] for dtype in dtypes], body) + \
        source(name, comments)


def rates(name):
    """Every number of a run that a reader might ask for, and its plot."""
    comments, rows = read(name)
    head = [texts_of(rows[0]), "", "sentences/s", "tokens/s", "ratio", "worst cosine", "peak MiB"]
    body = [[engine_of(row) + (f" ({row['instruction_set']} to AVX2)" if "held" in row["instruction_set"] else ""),
             DTYPES[row["dtype"]], rate(row), f"{int(row['tokens_per_s']):,}", row["ratio"],
             row["worst_cosine"], row["peak_mib"]] for row in rows]
    return f"![sentences/s](results/{name}.svg)\n\n" + table(head, body) + source(name, comments)


def latencies(name):
    comments, rows = read(name)
    head = [f"one text of {rows[0]['tokens']} tokens at a time, {rows[0]['threads']} threads", "", "median ms",
            "p99 ms", "ratio", "process start to first embedding, s", "peak MiB"]
    body = [[engine_of(row), DTYPES[row["dtype"]], fixed(row["median_ms"], 2),
             fixed(row["p99_ms"], 2), row["ratio"], fixed(row["cold_start_s"], 2),
             row["peak_mib"]] for row in rows]
    return table(head, body) + source(name, comments)


def groups(name):
    """The rows of a plot: a dtype a group, the fastest last."""
    _, rows = read(name)
    made = []
    for dtype, heading in DTYPES.items():
        of_dtype = sorted((row for row in rows if row["dtype"] == dtype), key=lambda row: float(row["texts_per_s"]))
        if of_dtype:
            made.append((heading, [(row["engine"], float(row["texts_per_s"]), row["engine"] in OURS, note_of(row))
                                   for row in of_dtype]))
    return texts_of(rows[0]), made


def note_of(row):
    cosine = float(row["worst_cosine"])
    return f"worst cosine {cosine:.3f}" if cosine < 0.999 else ""


# ---- embed-bench -------------------------------------------------------------------------------

def pool(name):
    comments, rows = read(name)
    body = []
    for row in rows:
        texts = f"{row['texts_per_request']} text{'' if row['texts_per_request'] == '1' else 's'}"
        way = {"one call": "one call with all texts", "pool": f"pool, requests of {texts}",
               "models": f"eight processes with a model each, {texts}"}[row["way"]]
        latency = "" if row["way"] == "one call" else fixed(row["p50_ms"], 0)
        body.append([way, fixed(row["sentences_per_s"], 0), fixed(row["share_of_one_call"], 2),
                     latency, f"{int(row['resident_kb']) * 1024 / 1e6:.0f} MB"])
    return table(["", "sentences/s", "of one large call", "median ms", "memory"], body) + source(name, comments)


def summaries(name):
    comments, rows = read(name)
    engines = list(dict.fromkeys(row["engine"] for row in rows))
    counts = sorted({int(row["documents"]) for row in rows})
    body = []
    for engine in engines:
        of = {int(row["documents"]): row for row in rows if row["engine"] == engine}
        label, _, dtype = engine.rpartition("-")
        label = {"torch": "transformers on PyTorch", "ctranslate2": "CTranslate2", "libembed": "**libembed**"}[label]
        cells = [cell for count in counts for cell in
                 (fixed(of[count]["seconds"], 2), fixed(of[count]["step_ms"], 0))]
        body.append([f"{label} {DTYPES[dtype]}", *cells, ", ".join(of[count]["times_torch"] for count in counts)])
    head = [f"{rows[0]['threads']} threads"]
    for count in counts:
        head += [f"{count} document{'' if count == 1 else 's'}, s", "ms a step"]
    return table([*head, "ratio to the first"], body) + source(name, comments)


def instances(name):
    comments, rows = read(name)
    rows = [row for row in rows if not row["documents"]]
    models = list(dict.fromkeys(row["model"] for row in rows))
    at = {(row["model"], int(row["device_gib"])): row for row in rows}
    sizes = sorted({int(row["device_gib"]) for row in rows})
    head = ["GPU memory"] + [f"{model}, {float(at[model, sizes[0]]['instance_mib']):.0f} MiB each" for model in models]
    body = [[f"{size} GiB"] + [at[model, size]["instances"] for model in models] +
            [at[models[0], size]["rule_of_a_model_in_each"]] for size in sizes]
    return table([*head, "that rule"], body) + source(name, comments)


def instances_of_bart(name):
    comments, rows = read(name)
    rows = [row for row in rows if row["documents"] in ("1", "4", "16")]
    sizes = sorted({int(row["device_gib"]) for row in rows})
    at = {(int(row["documents"]), int(row["device_gib"])): row for row in rows}
    body = [[f"{size} GiB"] + [at[count, size]["instances"] for count in (1, 4, 16)] +
            [at[1, size]["documents_of_one"], at[1, size]["rule_of_a_model_in_each"]] for size in sizes]
    return table(["GPU memory", "instances of 1 document", "of 4", "of 16", "documents of one instance",
                  "that rule"], body) + source(name, comments)
