#!/usr/bin/env python3
"""libembed_peer.py - libembed in the process, by ctypes on embed.h; a peer of compare (see peer.py)

Loading is outside of what is timed, as it is for every peer. Texts are encoded to UTF-8 within.
"""
import ctypes
import pathlib

import peer

DEVICES = {"cpu": 1, "cuda": 2}
DTYPES = {"f32": 1, "bf16": 2, "f16": 3, "int8": 4}


# The structs of include/embed.h; the first field is the struct's size.
class ModelOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("device", ctypes.c_int), ("device_index", ctypes.c_int),
                ("dtype", ctypes.c_int), ("threads", ctypes.c_uint)]


class ModelInfo(ctypes.Structure):  # only the fields up to the last one used here
    _fields_ = [("size", ctypes.c_size_t), ("family", ctypes.c_char * 16), ("device", ctypes.c_int),
                ("device_index", ctypes.c_int), ("device_name", ctypes.c_char * 128),
                ("instruction_set", ctypes.c_char * 16), ("dtype", ctypes.c_int),
                ("threads", ctypes.c_uint), ("width", ctypes.c_size_t)]


class Text(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("ids", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def open_library(folder):
    library = ctypes.CDLL(str(pathlib.Path(folder).resolve() / "libembed.so"))
    library.embed_error_message.restype = library.embed_version.restype = ctypes.c_char_p
    library.embed_instance_encode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p,
                                              ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    return library


def load(wanted):
    library = open_library(wanted.build)

    def check(status):
        if status:
            raise SystemExit(library.embed_error_message().decode())

    model, instance = ctypes.c_void_p(), ctypes.c_void_p()
    options = ModelOptions(ctypes.sizeof(ModelOptions), DEVICES[wanted.device], 0, DTYPES[wanted.dtype],
                           wanted.threads)
    info = ModelInfo(ctypes.sizeof(ModelInfo))
    check(library.embed_model_open(ctypes.byref(model), str(wanted.model).encode(), ctypes.byref(options)))
    check(library.embed_instance_create(ctypes.byref(instance), model, None))
    check(library.embed_model_get_info(model, ctypes.byref(info)))

    def embed(texts):
        encoded = [text.encode() for text in texts]
        array = (Text * len(texts))(*((text, None, len(text)) for text in encoded))
        rows = (ctypes.c_float * (info.width * len(texts)))()
        check(library.embed_instance_encode(instance, array, len(texts), None, rows, len(rows), None))
        return rows

    return embed, {"version": library.embed_version().decode(), "isa": info.instruction_set.decode()}


if __name__ == "__main__":
    peer.main(load, [{}])
