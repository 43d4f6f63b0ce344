#!/usr/bin/env python3
"""openvino_peer.py - OpenVINO in FP32, BF16 and INT8; a peer of compare (see peer.py)

One stream of all threads, or a stream a thread that draws batches: whichever is faster.
"""
import threading

import onnx_export
import peer


def quantized(wanted):
    """NNCF's static quantization for transformers (weights, activations, SmoothQuant), calibrated on the
    text itself."""
    def write(path):
        import nncf
        import openvino
        lines = peer.spread(peer.read_lines(wanted.text), 300)
        tokenizer = peer.tokenizer_of(wanted.model)

        def inputs(line):
            batch, mask = peer.padded([tokenizer.encode(line).ids])
            return {"input_ids": batch, "attention_mask": mask}

        model = openvino.Core().read_model(str(onnx_export.export(wanted)))
        model = nncf.quantize(model, nncf.Dataset(lines, inputs), subset_size=len(lines),
                              model_type=nncf.ModelType.TRANSFORMER)
        path.mkdir()
        openvino.save_model(model, path / "model.xml")
    return peer.make_once(wanted.work / "openvino-int8", write) / "model.xml"


GRAPHS = {"f32": onnx_export.export, "bf16": onnx_export.export, "int8": quantized}
# The precision of operations that are not quantized. BF16 becomes FP32 on a processor without it.
OTHERS = {"f32": "f32", "bf16": "bf16", "int8": "bf16"}


def load(wanted):
    import openvino
    workers = wanted.setting["workers"]
    core = openvino.Core()
    model = core.compile_model(str(GRAPHS[wanted.dtype](wanted)), "CPU", {
        "INFERENCE_PRECISION_HINT": OTHERS[wanted.dtype],
        "PERFORMANCE_HINT": "THROUGHPUT" if workers > 1 else "LATENCY",
        "NUM_STREAMS": str(workers), "INFERENCE_NUM_THREADS": wanted.threads})
    of_thread = threading.local()

    def run(ids):
        if not hasattr(of_thread, "request"):
            of_thread.request = model.create_infer_request()
        batch, mask = peer.padded(ids)
        return of_thread.request.infer({"input_ids": batch, "attention_mask": mask})[0].copy()

    run([[0]])  # on one thread: if OpenVINO's first calls come from two threads at once, they deadlock
    embed = peer.embed_by_length(peer.tokenizer_of(wanted.model), run, wanted.setting["batch"], workers)
    return embed, {"version": openvino.__version__.split("-")[0], "isa": ""}


def prepare(wanted):
    GRAPHS[wanted.dtype](wanted)


if __name__ == "__main__":
    peer.main(load, peer.SETTINGS, prepare)
