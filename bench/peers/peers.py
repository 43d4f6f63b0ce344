#!/usr/bin/env python3
"""Time the peers on one corpus, on this machine, so the project's own figure can be set beside them.

usage: peers.py MODEL_DIR TEXT_FILE [--lines N] [--threads T] [--batch B] [--only NAME,..] [--repeat R]
                [--ours 'COMMAND that reads TEXT_FILE lines on stdin'] [--csv FILE]

Each peer embeds the same N lines (drawn with a fixed seed), best batch order of its own, T threads.
Peers run in turn, R rounds, and the median is printed as sentences/s and tokens/s (real tokens, padding
not counted), with the cosine to the float32 reference (mean and worst).
Needs: torch sentence-transformers onnx onnxruntime openvino ctranslate2 (all from PyPI), in any mix;
one that is missing is left out and named.
"""
import argparse, os, random, subprocess, sys, tempfile, time
os.environ.setdefault("HF_HUB_OFFLINE", "1"); os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
ap = argparse.ArgumentParser()
ap.add_argument("model"); ap.add_argument("text")
ap.add_argument("--lines", type=int, default=1024); ap.add_argument("--threads", type=int, default=os.cpu_count())
ap.add_argument("--batch", type=int, default=32); ap.add_argument("--only", default="")
ap.add_argument("--repeat", type=int, default=3); ap.add_argument("--ours", default=""); ap.add_argument("--csv", default="")
a = ap.parse_args()
os.environ["OMP_NUM_THREADS"] = str(a.threads); os.environ["RAYON_NUM_THREADS"] = str(a.threads)
import numpy as np
lines = [l.rstrip("\n") for l in open(a.text, encoding="utf-8") if l.strip()]
random.Random(7).shuffle(lines); lines = lines[: a.lines]
import torch; torch.set_num_threads(a.threads)
from transformers import AutoTokenizer, AutoModel
tok = AutoTokenizer.from_pretrained(a.model)
maxlen = 128 if "mpnet" not in a.model else 384
try:
    import json; maxlen = json.load(open(os.path.join(a.model, "sentence_bert_config.json")))["max_seq_length"]
except Exception: pass
cls = False
try: cls = json.load(open(os.path.join(a.model, "1_Pooling/config.json"))).get("pooling_mode_cls_token", False)
except Exception: pass
ntok = sum(len(x) for x in tok(lines, truncation=True, max_length=maxlen)["input_ids"])
print(f"# {len(lines)} lines, {ntok} tokens ({ntok/len(lines):.1f} per line), threads {a.threads}, batch {a.batch}, max_len {maxlen}")

def order(): return sorted(range(len(lines)), key=lambda i: -len(lines[i]))
def pooled(h, mask):
    h = np.asarray(h, dtype=np.float32); m = np.asarray(mask)[..., None]
    v = h[:, 0] if cls else (h * m).sum(1) / m.sum(1)
    return v / np.linalg.norm(v, axis=1, keepdims=True)
def batched(run):
    out = [None] * len(lines); idx = order()
    for s in range(0, len(idx), a.batch):
        ids = idx[s:s + a.batch]
        enc = tok([lines[i] for i in ids], padding=True, truncation=True, max_length=maxlen, return_tensors="np")
        for i, v in zip(ids, run(enc)): out[i] = v
    return np.stack(out)

def make_st(dtype):
    from sentence_transformers import SentenceTransformer
    m = SentenceTransformer(a.model, device="cpu", model_kwargs={"torch_dtype": dtype})
    return lambda: m.encode(lines, batch_size=a.batch, normalize_embeddings=True, convert_to_numpy=True).astype(np.float32)
tmp = tempfile.mkdtemp()
def onnx_path():
    p = os.path.join(tmp, "m.onnx")
    if not os.path.exists(p):
        m = AutoModel.from_pretrained(a.model, attn_implementation="eager").eval()
        enc = tok(["a b c", "d"], padding=True, return_tensors="pt")
        names = [k for k in ("input_ids", "attention_mask", "token_type_ids") if k in enc]
        class W(torch.nn.Module):
            def __init__(s): super().__init__(); s.m = m
            def forward(s, *xs): return s.m(**dict(zip(names, xs))).last_hidden_state
        torch.onnx.export(W(), tuple(enc[k] for k in names), p, input_names=names, output_names=["h"], opset_version=17,
                          dynamo=False, dynamic_axes={**{k: {0: "b", 1: "s"} for k in names}, "h": {0: "b", 1: "s"}})
    return p
def make_ort(int8):
    import onnxruntime as ort
    p = onnx_path()
    if int8:
        from onnxruntime.quantization import quantize_dynamic, QuantType
        q = os.path.join(tmp, "q.onnx"); quantize_dynamic(p, q, weight_type=QuantType.QInt8); p = q
    so = ort.SessionOptions(); so.intra_op_num_threads = a.threads
    s = ort.InferenceSession(p, so, providers=["CPUExecutionProvider"]); names = [i.name for i in s.get_inputs()]
    return lambda: batched(lambda e: pooled(s.run(None, {k: e[k].astype(np.int64) for k in names})[0], e["attention_mask"]))
def make_ov(prec):
    import openvino as ov
    core = ov.Core(); m = core.read_model(onnx_path())
    c = core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": prec, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": a.threads})
    names = [i.get_any_name() for i in m.inputs]
    return lambda: batched(lambda e: pooled(c({k: e[k].astype(np.int64) for k in names})[0], e["attention_mask"]))
def make_ct2(ctype):
    import ctranslate2
    d = os.path.join(tmp, "ct2-" + ctype)
    ctranslate2.converters.TransformersConverter(a.model).convert(d, quantization=ctype, force=True)
    e = ctranslate2.Encoder(d, device="cpu", compute_type=ctype, intra_threads=a.threads)
    def run():
        out = [None] * len(lines); idx = order()
        for s in range(0, len(idx), a.batch):
            ids = idx[s:s + a.batch]
            t = tok([lines[i] for i in ids], truncation=True, max_length=maxlen)["input_ids"]
            h = np.array(e.forward_batch(t).last_hidden_state)
            mask = np.zeros(h.shape[:2], np.float32)
            for r, x in enumerate(t): mask[r, :len(x)] = 1
            for i, v in zip(ids, pooled(h, mask)): out[i] = v
        return np.stack(out)
    return run
def make_ours():
    inp = "\n".join(lines).encode() + b"\n"
    def run():
        o = subprocess.run(a.ours, shell=True, input=inp, stdout=subprocess.PIPE, check=True).stdout
        return np.array([[float(x) for x in l.split()] for l in o.decode().splitlines()], np.float32)
    return run
peers = {"torch-f32": lambda: make_st(torch.float32), "torch-bf16": lambda: make_st(torch.bfloat16),
         "ort-f32": lambda: make_ort(False), "ort-int8": lambda: make_ort(True),
         "openvino-f32": lambda: make_ov("f32"), "openvino-bf16": lambda: make_ov("bf16"),
         "ct2-f32": lambda: make_ct2("float32"), "ct2-int8": lambda: make_ct2("int8")}
if a.ours: peers["ours (whole process)"] = make_ours
only = [x for x in a.only.split(",") if x]
ready = {}
for n, mk in peers.items():
    if only and n not in only: continue
    try: ready[n] = mk(); ready[n]()                      # build, then one warm-up
    except Exception as e: print(f"# {n}: left out ({type(e).__name__}: {str(e)[:160]})", file=sys.stderr)
ref = None; times = {n: [] for n in ready}; outs = {}
for _ in range(a.repeat):
    for n, f in ready.items():
        t = time.perf_counter(); outs[n] = f(); times[n].append(time.perf_counter() - t)
ref = outs.get("torch-f32"); rows = []
for n in ready:
    t = sorted(times[n])[len(times[n]) // 2]
    cos = "" if ref is None else (lambda c: f"  cos mean {c.mean():.6f} worst {c.min():.6f}")((outs[n] * ref).sum(1) / np.linalg.norm(outs[n], axis=1))
    rows.append(f"{n},{a.threads},{len(lines)},{ntok},{a.repeat},{len(lines)/t:.1f},{ntok/t:.0f},{cos.split()[-1] if cos else ''}")
    print(f"{n:22s} {len(lines)/t:9.1f} sentences/s {ntok/t:10.0f} tokens/s{cos}")
if a.csv:
    with open(a.csv, "w") as f:
        f.write("\n".join(["engine,threads,texts,tokens,rounds,texts_per_s,tokens_per_s,worst_cosine"] + rows) + "\n")
