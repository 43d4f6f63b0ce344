#!/usr/bin/env python3
"""embed_encode_peer.py - `embed encode` as a whole process; a peer of compare (see peer.py)

Each time, loading the model and checking its INT8 weights included: what a user of the shell waits for.
"""
import array
import pathlib
import resource
import subprocess

import peer


def load(wanted):
    program = pathlib.Path(wanted.build) / "embed"
    command = [program, "encode", "-m", wanted.model, "--device", wanted.device, "--dtype", wanted.dtype,
               "--threads", str(wanted.threads), "--format", "f32"]

    def embed(texts):
        out = subprocess.run(command, input="".join(text + "\n" for text in texts).encode(),
                             stdout=subprocess.PIPE, check=True).stdout
        return array.array("f", out)

    said = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return embed, {"version": said.split()[-1], "isa": ""}


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


if __name__ == "__main__":
    peer.main(load, [{}], peak=peak_bytes)
