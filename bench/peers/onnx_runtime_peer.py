#!/usr/bin/env python3
"""onnx_runtime_peer.py - ONNX Runtime in FP32 and INT8; a peer of compare (see peer.py)

The graph is the one that ONNX Runtime's own optimizer for BERT leaves (fused attention, GELU and
LayerNorm); INT8 is its dynamic quantization.
"""
import onnx_export
import peer


def optimized(wanted):
    def write(path):
        from onnxruntime.transformers import optimizer
        config = peer.json_of(wanted.model / "config.json")
        graph = optimizer.optimize_model(str(onnx_export.export(wanted)), model_type="bert", opt_level=1,
                                         num_heads=config["num_attention_heads"],
                                         hidden_size=config["hidden_size"])
        graph.save_model_to_file(str(path))
        peer.note(f"ONNX Runtime fused {graph.get_fused_operator_statistics()}")
    return peer.make_once(wanted.work / "optimized.onnx", write)


def quantized(wanted):
    def write(path):
        from onnx import TensorProto
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(str(optimized(wanted)), str(path), weight_type=QuantType.QInt8,
                         extra_options={"DefaultTensorType": TensorProto.FLOAT})  # outputs of fused operations have no type
    return peer.make_once(wanted.work / "int8.onnx", write)


GRAPHS = {"f32": optimized, "int8": quantized}


def load(wanted):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    workers = wanted.setting["workers"]
    options.intra_op_num_threads = max(1, wanted.threads // workers)
    session = onnxruntime.InferenceSession(str(GRAPHS[wanted.dtype](wanted)), options,
                                           providers=["CPUExecutionProvider"])

    def run(ids):
        batch, mask = peer.padded(ids)
        return session.run(None, {"input_ids": batch, "attention_mask": mask})[0]

    embed = peer.embed_by_length(peer.tokenizer_of(wanted.model), run, wanted.setting["batch"], workers)
    return embed, {"version": onnxruntime.__version__, "isa": ""}


def prepare(wanted):
    GRAPHS[wanted.dtype](wanted)


if __name__ == "__main__":
    peer.main(load, peer.SETTINGS, prepare)
