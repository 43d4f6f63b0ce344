#!/usr/bin/env python3
"""openvino_peer.py - OpenVINO in FP32 and BF16; a peer of compare (see peer.py)

One stream of all threads, or a stream a thread that draws batches: whichever is faster.
"""
import threading

import onnx_export
import peer


def load(wanted):
    import openvino
    workers = wanted.setting["workers"]
    core = openvino.Core()
    model = core.compile_model(str(onnx_export.export(wanted)), "CPU", {
        "INFERENCE_PRECISION_HINT": wanted.dtype,
        "PERFORMANCE_HINT": "THROUGHPUT" if workers > 1 else "LATENCY",
        "NUM_STREAMS": str(workers), "INFERENCE_NUM_THREADS": wanted.threads})
    of_thread = threading.local()

    def run(ids):
        if not hasattr(of_thread, "request"):
            of_thread.request = model.create_infer_request()
        batch, mask = peer.padded(ids)
        return of_thread.request.infer({"input_ids": batch, "attention_mask": mask})[0].copy()

    run([[0]])  # alone: two threads that are OpenVINO's first callers at a time wait for each other forever
    embed = peer.embed_by_length(peer.tokenizer_of(wanted.model), run, wanted.setting["batch"], workers)
    return embed, {"version": openvino.__version__.split("-")[0], "isa": ""}


if __name__ == "__main__":
    peer.main(load, peer.SETTINGS, onnx_export.export)
