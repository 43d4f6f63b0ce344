"""cases.py - writes malformed model files, one behind another, to standard output

    python3 tests/malformed/cases.py             more than 50,000 safetensors files, and more than
                                                 5,000 configurations, tokenizers and indexes
    python3 tests/malformed/cases.py --sample    every 25th and every 10th of them

`make malformed` hands them to test_malformed, which says what must hold of each. The same at every
run: what is random has a seed. A case is a line

    READER FILE VERDICT LENGTH LABEL

and LENGTH bytes, to be written as FILE: in the folder that READER reads then. "keep" reads nothing.
VERDICT is accept, reject, or any where only soundness counts. That of safetensors files is of the
rules as safetensors_rules.py has them, another implementation than the library's.
"""

import json
import random
import struct
import sys

from safetensors_rules import BITS, is_accepted

SAMPLE = "--sample" in sys.argv
counts = {}


def put(reader, file, verdict, data, label):
    if isinstance(data, str):
        data = data.encode()
    group = "safetensors" if reader == "safetensors" else "other"
    if reader != "keep":
        counts[group] = counts.get(group, 0) + 1
        if SAMPLE and counts[group] % (25 if group == "safetensors" else 10) != 1:
            return
    line = f"{reader} {file} {verdict} {len(data)} {label}\n"
    sys.stdout.buffer.write(line.encode())
    sys.stdout.buffer.write(data)


# ---- safetensors ---------------------------------------------------------------------------------

BOUNDARIES = [
    "0", "1", "2", "3", "4", "7", "8", "9", "12", "16", "24", "127", "128", "255", "256", "65535",
    "65536", "2147483647", "2147483648", "2147483649", "4294967295", "4294967296", "4294967297",
    "281474976710655", "281474976710656", "281474976710657", "9007199254740993",
    "2305843009213693952", "4611686018427387904", "9223372036854775807", "9223372036854775808",
    "9223372036854775809", "18446744073709551608", "18446744073709551615", "18446744073709551616",
    "36893488147419103232", "9" * 40, "9" * 400, "-1", "-8", "-0", "-9223372036854775808", "0.0",
    "2.0", "8.5", "1e0", "8e0", "8E+0", "80e-1", "1E400", "00", "02", "+2", "0x8", ".5", "5.", "",
    " ", "null", "true", '"8"', "[8]", "{}", "NaN", "Infinity", "8 8", "8,8",
]
PIECES = [
    "{", "}", "[", "]", ":", ",", '"', "\\", "{}", "[]", "0", "-1", "8", "1e9", "null", "true",
    '"a"', '"dtype"', '"shape"', '"data_offsets"', '"__metadata__"', "\\u0000", "\\ud800", "\ufeff",
    "\0", " ", "\n", "//", "/**/", "'", "\x7f", "\u0085", "\\u0061", "NaN",
]


def tensor(dtype="F32", shape="[2]", offsets="[0,8]", more=""):
    return f'{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}{more}}}'


def whole(header, data_bytes, n=None):
    raw = header if isinstance(header, bytes) else header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", (len(raw) if n is None else n) % 2**64) + raw + bytes(data_bytes)


# Headers that are right, with the bytes of their data.
SOUND = [
    ('{"a":' + tensor() + "}", 8),
    ('{"__metadata__":{"format":"pt"},"w.weight":'
     + tensor("F16", "[3,2]", "[0,12]") + ',"b":' + tensor("I64", "[]", "[12,20]") + "}  ", 20),
    ('{"b":' + tensor("BF16", "[4]", "[8,16]") + ',"a":' + tensor() + ',"z":'
     + tensor("U8", "[0,7]", "[16,16]", ',"x":[1]') + "}", 16),
]


def safetensors(data, label, accepted=None):
    accepted = is_accepted(data) if accepted is None else accepted
    put("safetensors", "model.safetensors", "accept" if accepted else "reject", data, label)


def truncated():
    for i, (header, size) in enumerate(SOUND):
        data = whole(header, size)
        for length in range(len(data) + 1):
            safetensors(data[:length], f"file {i} cut at {length}")
        for more in range(1, 9):
            safetensors(data + bytes(more), f"file {i} and {more} bytes")
        for length in range(len(header)):  # the header cut, its length right
            safetensors(whole(header[:length], size), f"header {i} cut at {length}")


def lengths_that_lie():
    for i, (header, size) in enumerate(SOUND):
        right = len(header)
        wrong = {right + d for d in range(-40, 41)}
        wrong |= {2**b + d for b in range(65) for d in (-1, 0, 1)}
        for n in sorted(wrong):
            safetensors(whole(header, size, n), f"header {i} of {n} bytes")


def bits_flipped():
    for i, (header, size) in enumerate(SOUND):
        data = bytearray(whole(header, size))
        for bit in range(8 * (8 + len(header))):
            data[bit // 8] ^= 1 << bit % 8
            safetensors(bytes(data), f"file {i} with bit {bit} flipped")
            data[bit // 8] ^= 1 << bit % 8


def pieces_put_in():
    for i, (header, size) in enumerate(SOUND):
        for at in range(len(header) + 1):
            for k, piece in enumerate(PIECES):
                longer = header[:at] + piece + header[at:]
                safetensors(whole(longer, size), f"header {i}: {k} at {at}")
                if at < len(header):
                    changed = header[:at] + piece + header[at + 1 :]
                    safetensors(whole(changed, size), f"header {i}: {k} in place of {at}")


def numbers():
    right = ["1", "2", "0", "8", "8", "16"]
    form = ('{{"a":{{"dtype":"F32","shape":[{},{}],"data_offsets":[{},{}]}},'
            '"b":{{"dtype":"I64","shape":[],"data_offsets":[{},{}]}}}}')
    for field in range(6):
        for value in BOUNDARIES:
            values = right[:field] + [value] + right[field + 1 :]
            safetensors(whole(form.format(*values), 16), f"number {field}")
    pick = random.Random(11)
    for i in range(9000):
        values = [pick.choice(BOUNDARIES) if pick.random() < 0.4 else v for v in right]
        safetensors(whole(form.format(*values), pick.choice([16, 16, 0, 8, 24])), f"numbers {i}")


def random_layout(pick):
    """Tensors that fill the data, and perhaps one thing that is wrong about them."""
    tensors, end = [], 0
    for i in range(pick.randrange(5)):
        dtype = pick.choice(list(BITS))
        shape = [pick.randrange(4) for _ in range(pick.randrange(4))]
        size = BITS[dtype]
        for d in shape:
            size *= d
        tensors.append([f"t{i}", dtype, shape, end, end + size // 8])
        end += size // 8
    if tensors and pick.random() < 0.8:
        t = pick.choice(tensors)
        what = pick.randrange(9)
        if what == 0:
            t[3] += pick.choice([-1, 1, 8, 2**63, 2**64 - 1])
        elif what == 1:
            t[4] += pick.choice([-1, 1, 8, -8, 2**63, 2**64 - 1])
        elif what == 2:
            t[2].append(pick.choice([0, 1, 2, 2**31, 2**32, 2**48, 2**63, 2**64 - 1, 2**64]))
        elif what == 3:
            t[1] = pick.choice(["F128", "f32", "", "F8", "I4", "FP16", *BITS])
        elif what == 4:
            t[0] = pick.choice(["", "t0", "t1", "__metadata__", "n" * 513, "a\\u0000", "\\u00740"])
        elif what == 5:
            t[3], t[4] = t[4], t[3]
        elif what == 6:
            t[2] = [1] * pick.choice([8, 9, 100]) + t[2]
        elif what == 7:
            tensors.append(list(t))
        else:
            t[3], t[4] = t[3] + 4, t[4] + 4
    pick.shuffle(tensors)
    body = ",".join(
        f'"{name}":' + tensor(dtype, json.dumps(shape, separators=(",", ":")), f"[{begin},{stop}]")
        for name, dtype, shape, begin, stop in tensors
    )
    return "{" + body + "}", end


def random_layouts():
    pick = random.Random(12)
    for i in range(15000):
        header, size = random_layout(pick)
        if pick.random() < 0.1:
            size += pick.choice([-1, 1, 8])
        safetensors(whole(header, max(size, 0)), f"layout {i}")


def garbage():
    pick = random.Random(13)
    for i in range(1500):
        raw = bytes(pick.randrange(256) for _ in range(pick.randrange(64)))
        safetensors(raw, f"garbage {i}")
        safetensors(whole(raw, 8), f"garbage {i} with its length")


def large():
    """Few and large: these must take neither long nor memory."""
    one, none = tensor("U8", "[1]", "[0,1]"), tensor("U8", "[0]", "[0,0]")
    many = ",".join(f'"{i}":{one}' for i in range(100_000))
    cases = {
        "100000 tensors in one place": whole("{" + many + "}", 1),
        "100000 names that are the same": whole("{" + ",".join(['"a":' + one] * 100_000) + "}", 1),
        "100000 empty tensors": whole(
            "{" + ",".join(f'"{i}":{none}' for i in range(100_000)) + "}", 0),
        "a million keys": whole(
            '{"a":{' + ",".join(f'"{i}":0' for i in range(1_000_000)) + "}}", 8),
        "a million strings in the metadata": whole(
            '{"__metadata__":{' + ",".join(f'"{i}":""' for i in range(1_000_000)) + "}}", 0),
        "deeply nested": whole("[" * 1_000_000, 0),
        "deeply nested objects": whole('{"a":' * 1_000_000, 0),
        "a shape of a million": whole(
            '{"a":' + tensor("U8", "[" + "1," * 1_000_000 + "1]", "[0,1]") + "}", 1),
        "a name of 15 MB": whole('{"' + "n" * 15_000_000 + '":' + one + "}", 1),
        "15 MB of spaces": whole('{"a":' + one + "}" + " " * 15_000_000, 1),
        "17 MB of spaces": whole('{"a":' + one + "}" + " " * 17_000_000, 1),
        "a number of 15 MB": whole('{"a":' + tensor("U8", "[" + "9" * 15_000_000 + "]") + "}", 8),
    }
    for label, data in cases.items():
        safetensors(data, label, label in ("100000 empty tensors", "15 MB of spaces"))


# ---- configurations ------------------------------------------------------------------------------

CONFIG = {
    "model_type": "bert", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "vocab_size": 500, "max_position_embeddings": 64, "type_vocab_size": 2,
    "layer_norm_eps": 1e-12, "hidden_act": "gelu", "position_embedding_type": "absolute",
}
BART = {
    "model_type": "bart", "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": 64,
    "vocab_size": 500, "max_position_embeddings": 64, "activation_function": "gelu",
    "decoder_start_token_id": 2, "eos_token_id": 2, "forced_bos_token_id": 0, "num_beams": 4,
    "max_length": 40, "min_length": 5, "no_repeat_ngram_size": 3, "length_penalty": 2.0,
    "early_stopping": True,
}
# No size, count or id may be one of these, whatever it is of.
WRONG = [
    -1, -8, 0.5, 2.5, 1e30, 2**31, 2**32, 2**32 + 32, 2**63, 2**64, 2**64 + 32, 10**30, True, "32",
    "", [], [[32]], {}, {"a": 1}, [32, 32],
]
# As they stand in the file: no JSON, or numbers that are written as none of ours.
WRONG_TEXTS = ["NaN", "Infinity", "-Infinity", "032", "+32", "0x20", "32.", ".5", "3e", "32 32", "",
               "'32'", "32.0", "3.2e1", "-0", "1e400", "1" * 300]
SIZES = {
    "config": [key for key, value in CONFIG.items() if isinstance(value, int)],
    "bart": [key for key in BART if key.endswith(("_layers", "_heads", "_dim", "d_model"))]
    + ["vocab_size", "max_position_embeddings"],
}


def with_text(config, key, text):
    """The file, with `text` as the value of `key`, be it JSON or not."""
    whole_file = json.dumps({**config, key: "@@"})
    return whole_file.replace('"@@"', text)


def configurations():
    for name, base in (("config", CONFIG), ("bart", BART)):
        put("config", "config.json", "accept", json.dumps(base), f"{name} as it should be")
        for key in base:
            sizes = key in SIZES[name]
            for value in WRONG:
                put("config", "config.json", "reject" if sizes and value != [] else "any",
                    json.dumps({**base, key: value}), f"{name}: {key} as something else")
            for i, text in enumerate(WRONG_TEXTS):
                put("config", "config.json", "reject" if sizes else "any",
                    with_text(base, key, text), f"{name}: {key} as text {i}")
            put("config", "config.json", "reject", json.dumps(base)[:-1] + f', "{key}": 1}}',
                f"{name}: {key} twice")
            required = key in SIZES[name] and key != "type_vocab_size"
            without = {k: v for k, v in base.items() if k != key}
            put("config", "config.json", "reject" if required else "any", json.dumps(without),
                f"{name}: without {key}")
        text = json.dumps(base)
        for length in range(len(text)):
            put("config", "config.json", "reject", text[:length], f"{name} cut at {length}")
        for at in range(0, len(text), 3):
            for k, piece in enumerate(PIECES[::3]):
                put("config", "config.json", "any", (text[:at] + piece + text[at:]).encode(
                    "utf-8", "surrogatepass"), f"{name}: {k} at {at}")
    put("config", "config.json", "reject", "[" * 1_000_000, "deeply nested")
    put("config", "config.json", "any", "[" + "1," * 3_900_000 + "1]", "many numbers")
    put("config", "config.json", "any", "[" + "[]," * 2_600_000 + "[]]", "many arrays")
    put("config", "config.json", "reject", " " * 9_000_000 + json.dumps(CONFIG), "too large")


MODULES = [
    {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
    for i, (path, name) in enumerate(
        [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")])
]
# Those that lead to what is there first: nothing but the rule refuses them.
PATHS = ["./a.safetensors", "1_Pooling/../a.safetensors", "./1_Pooling", "1_Pooling/../1_Pooling",
         "1_Pooling/", "..", ".", "/", "/etc", "../..", "a/b", "a/../..", "../model", "1_Pooling/..",
         "a\0b", "x" * 300, "x" * 5000, "~", "\n", "1_pooling "]


def pipelines():
    put("keep", "1_Pooling/config.json", "any", '{"pooling_mode_mean_tokens":true}', "-")
    put("pipeline", "modules.json", "accept", json.dumps(MODULES), "modules as they should be")
    for i in range(3):
        for k, path in enumerate(PATHS):
            modules = [dict(m) for m in MODULES]
            modules[i]["path"] = path
            leaves = i < 2 and ("/" in path or path in ("..", "."))
            put("pipeline", "modules.json", "reject" if leaves else "any", json.dumps(modules),
                f"module {i} with path {k}")
        for key in ("path", "type"):
            for value in WRONG:
                modules = [dict(m) for m in MODULES]
                modules[i][key] = value
                put("pipeline", "modules.json", "any" if isinstance(value, str) else "reject",
                    json.dumps(modules), f"module {i}: {key} as something else")
    for value in WRONG[:-1] + [None, [1], [None], [[]], [MODULES], MODULES * 3, MODULES[::-1]]:
        put("pipeline", "modules.json", "reject", json.dumps(value), "modules as something else")
    text = json.dumps(MODULES)
    for length in range(len(text)):
        put("pipeline", "modules.json", "reject", text[:length], f"modules cut at {length}")
    put("keep", "modules.json", "any", json.dumps(MODULES), "-")
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False,
               "pooling_mode_mean_tokens": True, "include_prompt": True}
    for key in pooling:
        for value in WRONG:
            put("pipeline", "1_Pooling/config.json", "any", json.dumps({**pooling, key: value}),
                f"pooling: {key} as something else")
    put("keep", "1_Pooling/config.json", "any", json.dumps(pooling), "-")
    prompts = {"prompts": {"query": "query: "}, "default_prompt_name": "query",
               "truncate_dim": None}
    for key in prompts:
        for value in WRONG:
            bad = key != "truncate_dim" and value not in ([], {}) and not isinstance(value, dict)
            put("pipeline", "config_sentence_transformers.json",
                "reject" if bad and value != "" else "any", json.dumps({**prompts, key: value}),
                f"prompts: {key} as something else")
    put("keep", "config_sentence_transformers.json", "any", "{}", "-")
    for value in WRONG + [0, None, 2**20, 2**20 + 1]:
        put("pipeline", "sentence_bert_config.json", "any", json.dumps({"max_seq_length": value}),
            "max_seq_length as something else")


# ---- tokenizers ----------------------------------------------------------------------------------

WORDPIECE = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [{"id": 4, "content": "[MASK]", "single_word": False, "lstrip": True,
                      "rstrip": False, "normalized": False, "special": True}],
    "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                   "strip_accents": None, "lowercase": True},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}}], "pair": [], "special_tokens": {
            "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
            "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100, "vocab": {
                  "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "##b": 6,
                  "\u00e9": 7, ".": 8}},
}
BYTE_BPE = {
    "version": "1.0", "truncation": None, "padding": None,
    "added_tokens": [{"id": 0, "content": "<s>", "single_word": False, "lstrip": False,
                      "rstrip": False, "normalized": False, "special": True}],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                      "use_regex": True},
    "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0],
                       "trim_offsets": True, "add_prefix_space": False},
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                "use_regex": True},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
              "end_of_word_suffix": "", "fuse_unk": False, "vocab": {
                  "<s>": 0, "</s>": 1, "a": 2, "b": 3, "ab": 4, "\u0120": 5, "aba": 6},
              "merges": ["a b", ["ab", "a"]]},
}
VALUES = [None, True, 0, -1, 1.5, 2**31, 2**32, 2**63, 2**64, "", "x", "a" * 5000, "\0", "\ufffd",
          [], [None], [[]], {}, {"": 0}, {"type": "Sequence"}, {"type": None},
          {"type": "Split", "pattern": {"Regex": "(a+)+$"}}]


def places(value, path=()):
    """Every place in a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) \
        if isinstance(value, list) else ()
    for key, below in items:
        yield from places(below, path + (key,))


def changed(document, path, value):
    """A copy, with another value in a place; ... takes the place away."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    if len(path) == 1 and value is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


def tokenizers():
    for name, base in (("wordpiece", WORDPIECE), ("bpe", BYTE_BPE)):
        put("tokenizer", "tokenizer.json", "accept", json.dumps(base), f"{name} as it should be")
        for path in places(base):
            where = "/".join(map(str, path)).replace("\n", "?")
            for i, value in enumerate(VALUES):
                put("tokenizer", "tokenizer.json", "any", json.dumps(changed(base, path, value)),
                    f"{name}: {where} as value {i}")
            if path:
                put("tokenizer", "tokenizer.json", "any", json.dumps(changed(base, path, ...)),
                    f"{name}: without {where}")
        text = json.dumps(base)
        for length in range(0, len(text), 2):
            put("tokenizer", "tokenizer.json", "reject", text[:length], f"{name} cut at {length}")
    ids = [2**31, 2**32 - 1, 2**32, 2**64, -1, 1.0, 1e9, "7", None, [7], True]
    for id_ in ids:
        for path in (("model", "vocab", "a"),
                     ("post_processor", "special_tokens", "[CLS]", "ids", 0)):
            put("tokenizer", "tokenizer.json", "reject", json.dumps(changed(WORDPIECE, path, id_)),
                "an id that is none")
    for id_ in [2**31 - 1, 2**22 - 1, 2**22, 10**6, 65536]:
        put("tokenizer", "tokenizer.json", "any",
            json.dumps(changed(BYTE_BPE, ("model", "vocab", "b"), id_)), "an id that is large")
        put("tokenizer", "tokenizer.json", "any",
            json.dumps(changed(WORDPIECE, ("model", "vocab", "a"), id_)), "an id that is large")
    many = {f"t{i}": i + 9 for i in range(300_000)}
    many |= WORDPIECE["model"]["vocab"]
    put("tokenizer", "tokenizer.json", "any",
        json.dumps(changed(WORDPIECE, ("model", "vocab"), many)), "300000 tokens")
    added = [{"id": i, "content": f"<{i}>", "normalized": bool(i % 2)} for i in range(100_000)]
    put("tokenizer", "tokenizer.json", "any",
        json.dumps(changed(WORDPIECE, ("added_tokens",), added)), "100000 added tokens")
    lengths = [{"id": i, "content": "<" * (i + 1), "normalized": False} for i in range(4000)]
    put("tokenizer", "tokenizer.json", "any",
        json.dumps(changed(WORDPIECE, ("added_tokens",), lengths)), "added tokens of 4000 lengths")
    merges = ["a b"] * 1_000_000
    put("tokenizer", "tokenizer.json", "any",
        json.dumps(changed(BYTE_BPE, ("model", "merges"), merges)), "a million merges")


def indexes():
    shard = whole('{"x":' + tensor("U8", "[2]", "[0,2]") + "}", 2)
    put("keep", "a.safetensors", "any", shard, "-")
    right = {"metadata": {"total_size": 2}, "weight_map": {"x": "a.safetensors"}}
    file = "model.safetensors.index.json"
    put("index", file, "accept", json.dumps(right), "index as it should be")
    paths = PATHS + ["", "b.safetensors", "..\\a", "a.safetensors/", "A.SAFETENSORS"]
    for k, path in enumerate(paths):
        put("index", file, "reject", json.dumps(changed(right, ("weight_map", "x"), path)),
            f"index with path {k}")
    for i, value in enumerate(VALUES):
        for path in (("weight_map",), ("weight_map", "x"), ()):
            put("index", file, "reject", json.dumps(changed(right, path, value)),
                f"index as value {i}")
    text = json.dumps(right)
    for length in range(len(text)):
        put("index", file, "reject", text[:length], f"index cut at {length}")


for group in (truncated, lengths_that_lie, bits_flipped, pieces_put_in, numbers, random_layouts,
              garbage, large, configurations, pipelines, tokenizers, indexes):
    group()
print(f"{counts['safetensors']} safetensors files, {counts['other']} others", file=sys.stderr)
