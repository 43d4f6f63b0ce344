#!/usr/bin/env python3
"""llama_cpp_peer.py - llama.cpp in FP32, BF16 and Q8_0 (as int8); a peer of compare (see peer.py)

LLAMA_CPP names llama.cpp's source, whose convert_hf_to_gguf.py makes the model's file: a clone, or
vendor/llama.cpp in the source archive of llama-cpp-python. It runs BERT, not MPNet. It tokenizes itself.
"""
import os
import pathlib
import subprocess
import sys

import peer

TYPES = {"f32": "f32", "bf16": "bf16", "int8": "q8_0"}
SETTINGS = [{"tokens": 512}, {"tokens": 256}, {"tokens": 1024}]  # of a batch, at least the model's limit


def converted(wanted):
    def write(path):
        if "LLAMA_CPP" not in os.environ:
            raise ImportError("LLAMA_CPP does not name llama.cpp's source, which has convert_hf_to_gguf.py")
        script = pathlib.Path(os.environ["LLAMA_CPP"]) / "convert_hf_to_gguf.py"
        subprocess.run([sys.executable, script, wanted.model, "--outtype", TYPES[wanted.dtype],
                        "--outfile", path], check=True)
    return peer.make_once(wanted.work / f"{TYPES[wanted.dtype]}.gguf", write)


def prepare(wanted):
    import llama_cpp  # noqa: F401: if it is missing, report that rather than a failed conversion
    converted(wanted)


def load(wanted):
    import llama_cpp
    import numpy
    tokens = max(wanted.setting["tokens"], peer.max_tokens(wanted.model))
    model = llama_cpp.Llama(str(converted(wanted)), embedding=True, n_ctx=tokens, n_batch=tokens,
                            n_ubatch=tokens, n_threads=wanted.threads, n_threads_batch=wanted.threads,
                            flash_attn=True, verbose=False)

    def embed(texts):
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        made = model.embed([texts[i] for i in order], normalize=True)
        rows = numpy.empty((len(texts), len(made[0])), numpy.float32)
        rows[order] = made
        return rows
    return embed, {"version": llama_cpp.__version__, "isa": ""}


if __name__ == "__main__":
    peer.main(load, SETTINGS, prepare)
