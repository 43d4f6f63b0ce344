#!/usr/bin/env python3
"""ctranslate2_peer.py - CTranslate2 in FP32 and INT8, on a GPU FP16; a peer of compare (see peer.py)

It runs BERT, not MPNet.
"""
import peer

TYPES = {"f32": "float32", "f16": "float16", "int8": "int8"}


def converted(wanted):
    def write(path):
        from ctranslate2.converters import TransformersConverter
        TransformersConverter(str(wanted.model)).convert(str(path), quantization=TYPES[wanted.dtype], force=True)
    return peer.make_once(wanted.work / f"ctranslate2-{wanted.dtype}", write)


def load(wanted):
    import ctranslate2
    import numpy
    workers = wanted.setting["workers"]
    encoder = ctranslate2.Encoder(str(converted(wanted)), device=wanted.device,
                                  compute_type=TYPES[wanted.dtype], inter_threads=workers,
                                  intra_threads=max(1, wanted.threads // workers))
    first_token = peer.pools_first_token(wanted.model)

    def run(ids):
        hidden = encoder.forward_batch(ids).last_hidden_state
        if wanted.device != "cpu":
            hidden = hidden.to_device(ctranslate2.Device.cpu)
        return peer.pooled(numpy.array(hidden, numpy.float32), peer.padded(ids)[1], first_token)

    embed = peer.embed_by_length(peer.tokenizer_of(wanted.model), run, wanted.setting["batch"], workers)
    return embed, {"version": ctranslate2.__version__, "isa": ""}


if __name__ == "__main__":
    peer.main(load, peer.SETTINGS, converted)
