#!/usr/bin/env python3
"""sentence_transformers_peer.py - sentence-transformers on PyTorch in FP32 and BF16, on a GPU FP16; a
peer of compare (see peer.py)

It sorts texts by length and turns gradients off itself.
"""
import peer

TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
SETTINGS = [{"batch": 32}, {"batch": 16}, {"batch": 64}]
SETTINGS_GPU = [{"batch": 32}, {"batch": 256}, {"batch": 2048}, {"batch": 2048, "compile": True}]


def load(wanted):
    import numpy
    import torch
    from sentence_transformers import SentenceTransformer, __version__
    torch.set_num_threads(wanted.threads)
    model = SentenceTransformer(str(wanted.model), device=wanted.device,
                                model_kwargs={"dtype": getattr(torch, TYPES[wanted.dtype])})
    if wanted.setting.get("compile"):  # called by every version; from 6 on, replacing auto_model has no effect
        model[0].auto_model.forward = torch.compile(model[0].auto_model.forward, dynamic=True)

    def embed(texts):
        rows = model.encode(texts, batch_size=wanted.setting["batch"], convert_to_tensor=True,
                            normalize_embeddings=True, show_progress_bar=False)
        return numpy.ascontiguousarray(rows.float().cpu().numpy())

    isa = torch.backends.cpu.get_cpu_capability() if wanted.device == "cpu" else ""
    return embed, {"version": f"{__version__} on torch {torch.__version__.split('+')[0]}", "isa": isa}


if __name__ == "__main__":
    peer.main(load, SETTINGS, settings_gpu=SETTINGS_GPU)
