"""safetensors_rules.py - is a file one that lib/formats/safetensors.h accepts?

The rules of the format as the library has them, written a second time and as plainly as Python
allows, for test_malformed to compare the library with.
"""

import json
import struct

BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}


class Refused(Exception):
    pass


class Number(str):
    """As it is written."""


class Object(list):
    """Pairs of keys and values: keys may come twice."""


def refuse_if(wrong):
    if wrong:
        raise Refused


def refuse(_):
    raise Refused


def parse(text):
    try:
        return json.loads(text, object_pairs_hook=Object, parse_int=Number, parse_float=Number,
                          parse_constant=refuse)
    except (ValueError, RecursionError):
        raise Refused from None


def check_value(value, depth):
    """Nesting and strings: surrogates stand for no character."""
    if isinstance(value, list):
        refuse_if(depth == 4)
        for item in value:
            for part in item if isinstance(value, Object) else (item,):
                check_value(part, depth + 1)
    elif isinstance(value, str):
        refuse_if(any(0xD800 <= ord(c) <= 0xDFFF for c in value))


def unsigned(value):
    refuse_if(not isinstance(value, Number) or not value.isdigit() or len(value) > 20)
    refuse_if(int(value) >= 2**64)
    return int(value)


def is_text(value):
    return isinstance(value, str) and not isinstance(value, Number)


def check_metadata(value):
    refuse_if(not isinstance(value, Object))
    refuse_if(not all(is_text(v) for _, v in value))
    refuse_if(len({k for k, _ in value}) != len(value))


def read_tensor(name, value, data_bytes):
    refuse_if(not name or len(name.encode()) > 512)
    refuse_if(any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F for c in name))
    refuse_if(not isinstance(value, Object))
    fields = dict(value)
    refuse_if(len(fields) != len(value) or not {"dtype", "shape", "data_offsets"} <= set(fields))
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    refuse_if(not is_text(dtype) or dtype not in BITS)
    for numbers in (shape, offsets):
        refuse_if(not isinstance(numbers, list) or isinstance(numbers, Object))
    refuse_if(len(shape) > 8 or len(offsets) != 2)
    elements = 1
    for dimension in map(unsigned, shape):
        refuse_if(dimension > 2**48)
        elements *= dimension
        refuse_if(elements >= 2**64)
    bits = elements * BITS[dtype]
    refuse_if(bits >= 2**64 or bits % 8 != 0)
    begin, end = map(unsigned, offsets)
    refuse_if(begin > end or end > data_bytes or end - begin != bits // 8)
    return begin, end, name


def check(data):
    refuse_if(len(data) < 8)
    (n,) = struct.unpack("<Q", data[:8])
    refuse_if(n > 16 << 20 or n > len(data) - 8)
    try:
        text = data[8 : 8 + n].decode()
    except UnicodeDecodeError:
        raise Refused from None
    header = parse(text)
    refuse_if(not isinstance(header, Object))
    check_value(header, 0)
    data_bytes = len(data) - 8 - n
    tensors = []
    for name, value in header:
        if name == "__metadata__":
            check_metadata(value)
        else:
            tensors.append(read_tensor(name, value, data_bytes))
    refuse_if(len({name for name, _ in header}) != len(header))
    end = 0
    for begin, stop, _ in sorted(tensors):
        refuse_if(begin != end)
        end = stop
    refuse_if(end != data_bytes)


def is_accepted(data):
    try:
        check(data)
    except Refused:
        return False
    return True
