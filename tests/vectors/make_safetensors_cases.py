"""make_safetensors_cases.py - writes safetensors_cases.txt

Small files that are right or wrong in one way, with the verdict of the reference implementation
(the safetensors wheel of requirements.txt) and ours beside it. Ours is the reference's, except
for the cases of STRICTER, each with its reason.

    python3 -m venv venv && venv/bin/pip install -r tests/vectors/requirements.txt
    venv/bin/python tests/vectors/make_safetensors_cases.py >tests/vectors/safetensors_cases.txt

One case a line, five fields between tabs: the reference's verdict, ours, the case, the reason why
ours differs (or -), the bytes of the file. Bytes are written as themselves where they are printable
ASCII, else as \\xHH; \\\\ is a backslash; \\R3(ab) is ababab.
"""

import re
import struct
from importlib.metadata import version

from safetensors import deserialize


class Repeated:
    """A string, some bytes of which are a pattern repeated: written short."""

    def __init__(self, *parts):
        self.parts = parts  # text, or (text, count)

    def encode(self):
        return b"".join(
            part.encode() if isinstance(part, str) else part[0].encode() * part[1]
            for part in self.parts
        )


def escape(data):
    text = "".join(
        "\\\\" if byte == 0x5C else chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
        for byte in data
    )
    # Runs of one byte (padding, data) are written short.
    run = re.compile(r"(\\x..|[^\\()])\1{15,}")
    return run.sub(lambda m: f"\\R{len(m[0]) // len(m[1])}({m[1]})", text)


def escape_parts(content):
    if isinstance(content, Repeated):
        return "".join(
            escape(part.encode())
            if isinstance(part, str)
            else f"\\R{part[1]}({escape(part[0].encode())})"
            for part in content.parts
        )
    return escape(content)


def whole(header, data=b"", n=None):
    """(bytes of the file, the same escaped)"""
    raw = header.encode() if isinstance(header, (str, Repeated)) else header
    length = struct.pack("<Q", len(raw) if n is None else n)
    shown = escape_parts(header if isinstance(header, Repeated) else raw)
    return length + raw + data, escape(length) + shown + escape(data)


def info(dtype='"F32"', shape="[2]", offsets="[0,8]", more=""):
    return f'{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}{more}}}'


def one(name="a", **fields):
    return f'{{"{name}":{info(**fields)}}}'


PLAIN = one()
D8 = bytes(8)
PAIR = '"data_offsets":[0,8]'


def shape(text, data=D8, offsets="[0,8]"):
    return whole(one(shape=text, offsets=offsets), data)


def offsets(text, data=D8, shape="[2]"):
    return whole(one(offsets=text, shape=shape), data)


def two(first, second, data, name="b"):
    return whole(f'{{"a":{info(**first)},"{name}":{info(**second)}}}', data)


def metadata(text, key="__metadata__"):
    return whole(f'{{"{key}":{text},"a":{info()}}}', D8)


def raw_name(name):
    return whole(b'{"' + name + b'":' + info().encode() + b"}", D8)


def nested(depth):
    return whole(Repeated(PLAIN[:-2] + ',"x":', ("[", depth), ("]", depth), "}}"), D8)


CASES = {
    # length
    "valid": whole(PLAIN, D8),
    "empty file": (b"", ""),
    "7 bytes": (bytes(7), "\\R7(\\x00)"),
    "n = 0": whole(""),
    "n = 0, then data": whole("", D8),
    "n = 2, {}": whole("{}"),
    "n > file": whole(PLAIN, D8, n=1000),
    "n = 2^63": whole(PLAIN, D8, n=1 << 63),
    "n = 2^64 - 1": whole(PLAIN, D8, n=(1 << 64) - 1),
    "n = 100000001": whole(PLAIN, D8, n=100_000_001),
    "n one too small": whole(PLAIN, D8, n=len(PLAIN) - 1),
    "n one too large": whole(PLAIN, D8, n=len(PLAIN) + 1),
    "header no multiple of 8": whole(PLAIN + " ", D8),
    "header of 17 MiB": whole(Repeated(PLAIN, (" ", 17 << 20)), D8),
    # around the object
    "leading spaces": whole("  " + PLAIN, D8),
    "leading white space of all kinds": whole(" \t\r\n" + PLAIN, D8),
    "leading BOM": whole("\ufeff" + PLAIN, D8),
    "trailing spaces": whole(PLAIN + "   ", D8),
    "trailing NUL": whole(PLAIN + "\0\0", D8),
    "trailing letter": whole(PLAIN + "x", D8),
    "two objects": whole(PLAIN + "{}", D8),
    "top level array": whole("[]"),
    "top level null": whole("null"),
    "top level string": whole('"a"'),
    "top level number": whole("1"),
    # names
    "name: byte 0xFF": raw_name(b"\xff"),
    "name: overlong UTF-8": raw_name(b"\xc0\xaf"),
    "name: surrogate in UTF-8": raw_name(b"\xed\xa0\x80"),
    "name: UTF-8": raw_name("e\u0301\U0001f600".encode()),
    "name: escaped lone surrogate": raw_name(b"\\ud800"),
    "name: escaped pair": raw_name(b"\\ud83d\\ude00"),
    "name: raw control character": raw_name(b"a\x01"),
    "name: escaped NUL": raw_name(b"a\\u0000"),
    "name: escaped line feed": raw_name(b"a\\nb"),
    "name: U+0085": raw_name("a\u0085".encode()),
    "name: DEL": raw_name(b"a\x7f"),
    "name: empty": raw_name(b""),
    "name: 512 bytes": whole(Repeated('{"', ("n", 512), '":' + info() + "}"), D8),
    "name: 513 bytes": whole(Repeated('{"', ("n", 513), '":' + info() + "}"), D8),
    "name: unknown escape": raw_name(b"a\\q"),
    # keys twice
    "tensor twice, same place": two({}, {}, D8, name="a"),
    "tensor twice, one after the other": two({}, {"offsets": "[8,16]"}, D8 * 2, name="a"),
    "tensor twice, once escaped": two({}, {"offsets": "[8,16]"}, D8 * 2, name="\\u0061"),
    "field twice": whole(f'{{"a":{{"dtype":"F32","dtype":"F32","shape":[2],{PAIR}}}}}', D8),
    "unknown field twice": whole(one(more=',"x":1,"x":2'), D8),
    "metadata twice": whole(f'{{"__metadata__":{{}},"__metadata__":{{}},"a":{info()}}}', D8),
    "metadata twice, once escaped": whole(
        f'{{"__metadata__":{{}},"\\u005f_metadata__":{{}},"a":{info()}}}', D8
    ),
    "metadata key twice": metadata('{"x":"1","x":"2"}'),
    # metadata
    "metadata": metadata('{"format":"pt","":"\\u0000"}'),
    "metadata null": metadata("null"),
    "metadata with a number": metadata('{"x":1}'),
    "metadata array": metadata("[]"),
    "metadata as a tensor": whole(f'{{"__metadata__":{info()}}}', D8),
    "metadata of 2 MiB": whole(
        Repeated('{"__metadata__":{"x":"', ("y", 2 << 20), '"},"a":' + info() + "}"), D8
    ),
    # the fields of a tensor
    "unknown field": whole(one(more=',"x":1'), D8),
    "unknown field, one level deep": whole(one(more=',"x":[{}]'), D8),
    "unknown field, two levels deep": whole(one(more=',"x":[[1,"",null]]'), D8),
    "unknown field, three levels deep": nested(3),
    "unknown field, 120 levels deep": nested(120),
    "unknown field, 100000 levels deep": nested(100_000),
    "tensor 100000 levels deep": whole(
        Repeated('{"a":', ('{"b":', 100_000), "1", ("}", 100_000), "}"), D8
    ),
    "no dtype": whole('{"a":{"shape":[2],"data_offsets":[0,8]}}', D8),
    "no shape": whole('{"a":{"dtype":"F32","data_offsets":[0,8]}}', D8),
    "no offsets": whole('{"a":{"dtype":"F32","shape":[2]}}', D8),
    "tensor as an array": whole('{"a":["F32",[2],[0,8]]}', D8),
    "tensor null": whole('{"a":null}', D8),
    "dtype in lower case": whole(one(dtype='"f32"'), D8),
    "dtype unknown": whole(one(dtype='"F128"'), D8),
    "dtype number": whole(one(dtype="1"), D8),
    "dtype as an object": whole(one(dtype='{"F32":null}'), D8),
    "shape null": shape("null"),
    "shape scalar": shape("2"),
    "shape 2.0": shape("[2.0]"),
    "shape 2e0": shape("[2e0]"),
    "shape -2": shape("[-2]"),
    "shape -0": shape("[-0]", b"", "[0,0]"),
    "shape 02": shape("[02]"),
    "shape string": shape('["2"]'),
    "shape 2^64": shape("[18446744073709551616]"),
    "shape 2^32 x 2^32": shape("[4294967296,4294967296]", b"", "[0,0]"),
    "shape 0 x 2^48": shape("[0,281474976710656]", b"", "[0,0]"),
    "shape 0 x (2^48 + 1)": shape("[0,281474976710657]", b"", "[0,0]"),
    "shape 0 x 2^63 x 2^63": shape("[0,9223372036854775808,9223372036854775808]", b"", "[0,0]"),
    "shape 2^63 x 2^63 x 0": shape("[9223372036854775808,9223372036854775808,0]", b"", "[0,0]"),
    "shape of bits 2^64": shape("[140737488355328,4096]", b"", "[0,0]"),
    "rank 0": shape("[]", bytes(4), "[0,4]"),
    "rank 8": shape("[1,1,1,1,1,1,1,2]"),
    "rank 9": shape("[1,1,1,1,1,1,1,1,2]"),
    "rank 10001": whole(
        Repeated('{"a":{"dtype":"F32","shape":[', ("1,", 10_000), '2],"data_offsets":[0,8]}}'), D8
    ),
    "offsets: none": offsets("[]"),
    "offsets: one": offsets("[0]"),
    "offsets: three": offsets("[0,8,9]"),
    "offsets: negative": offsets("[-8,0]"),
    "offsets: reversed": offsets("[8,0]"),
    "offsets: begin at 8": offsets("[8,16]", D8 * 2),
    "offsets: end behind the file": offsets("[0,16]", shape="[4]"),
    "offsets: not the shape's size": offsets("[0,8]", shape="[3]"),
    # the tensors together
    "hole": two({}, {"offsets": "[16,24]"}, D8 * 3),
    "overlap": two({}, {"offsets": "[4,12]"}, D8 * 2),
    "same range": two({}, {}, D8),
    "not in the order of their places": two({"offsets": "[8,16]"}, {}, D8 * 2),
    "empty tensor at the end": two({}, {"shape": "[0]", "offsets": "[8,8]"}, D8),
    "empty tensors at the beginning": two(
        {"shape": "[0]", "offsets": "[0,0]"}, {"shape": "[3,0]", "offsets": "[0,0]"}, b""
    ),
    "empty tensor inside another": two({}, {"shape": "[0]", "offsets": "[4,4]"}, D8),
    "one byte more": whole(PLAIN, D8 + b"x"),
    "one byte less": whole(PLAIN, D8[:-1]),
    "no tensor, but data": whole("{}", D8),
    # dtypes and data
    "F4, odd": whole(one(dtype='"F4"', shape="[3]", offsets="[0,2]"), bytes(2)),
    "F4, even": whole(one(dtype='"F4"', shape="[4]", offsets="[0,2]"), bytes(2)),
    "F32 at an odd address": two(
        {"dtype": '"BOOL"', "shape": "[1]", "offsets": "[0,1]"},
        {"shape": "[1]", "offsets": "[1,5]"},
        bytes(5),
    ),
    "BOOL of value 2": whole(one(dtype='"BOOL"', shape="[1]", offsets="[0,1]"), b"\x02"),
    "NaN and infinity in the data": whole(PLAIN, struct.pack("<ff", float("nan"), float("inf"))),
    # JSON
    "NaN in the JSON": shape("[NaN]"),
    "comment": whole("{/*x*/" + PLAIN[1:], D8),
    "trailing comma in an array": shape("[2,]"),
    "trailing comma in an object": whole(PLAIN[:-1] + ",}", D8),
    "single quotes": whole(PLAIN.replace('"', "'"), D8),
    "header {": whole("{"),
}

NAMES = "names must be shown in messages and looked up as C strings"
TWICE = "of two equal keys the reference silently takes the last"
LIMIT = "beyond any real file; a limit keeps memory and arithmetic safe"
FORM = "only the object form of the format's description is read"

STRICTER = {
    "header of 17 MiB": LIMIT,
    "name: escaped NUL": NAMES,
    "name: escaped line feed": NAMES,
    "name: U+0085": NAMES,
    "name: DEL": NAMES,
    "name: empty": NAMES,
    "name: 513 bytes": LIMIT,
    "tensor twice, same place": TWICE,
    "unknown field twice": TWICE,
    "metadata key twice": TWICE,
    "metadata null": FORM,
    "metadata of 2 MiB": LIMIT,
    "unknown field, three levels deep": LIMIT,
    "unknown field, 120 levels deep": LIMIT,
    "tensor as an array": FORM,
    "dtype as an object": FORM,
    "shape 0 x (2^48 + 1)": LIMIT,
    "shape 0 x 2^63 x 2^63": LIMIT,
    "rank 9": LIMIT,
    "rank 10001": LIMIT,
}


def verdict(data):
    try:
        deserialize(data)
        return "accept"
    except Exception:  # SafetensorError
        return "reject"


def main():
    print(f"# written by make_safetensors_cases.py with safetensors {version('safetensors')}")
    for name, (data, escaped) in CASES.items():
        theirs = verdict(data)
        if name in STRICTER and theirs != "accept":
            raise SystemExit(f"{name}: not stricter than the reference, which rejects it too")
        ours = "reject" if name in STRICTER else theirs
        print(theirs, ours, name, STRICTER.get(name, "-"), escaped, sep="\t")


main()
