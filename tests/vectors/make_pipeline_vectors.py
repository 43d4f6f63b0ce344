#!/usr/bin/env python3
r"""Makes pipeline/: what sentence-transformers does around the transformer of tiny-bert.

    pip install -r tests/vectors/requirements.txt
    python tests/vectors/make_pipeline_vectors.py

pipeline/CASE/ has the files in which a folder differs from tiny-bert, whose own of the same names
they replace; where CASE has modules.json, nothing else of tiny-bert's modules is used. CASE.f32 are
the rows of lines.txt as sentence-transformers gives them for such a folder, CASE-query.f32 those
with the prompt "query". Float32, little-endian, row after row.
"""
import json
import os
import pathlib
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import safetensors.torch
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

HERE = pathlib.Path(__file__).resolve().parent
TINY, OUT = HERE / "tiny-bert", HERE / "pipeline"
WIDTH = 64
PROMPT = "represent this for the query: "

# Of tiny-lines.txt (from 0); all lengths, an empty one, one that is cut. And what is said to begin as
# the prompt ends: no token spans the border.
LINES = [0, 3, 7, 10, 14, 22, 33, 46, 58, 61]


def lines():
    all_lines = [line.decode() for line in (HERE / "tiny-lines.txt").read_bytes().split(b"\n")]
    return [all_lines[i] for i in LINES] + ["word " * 100, "a"]


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_modules(folder, kinds, prefix="sentence_transformers.models."):
    write_json(folder / "modules.json",
               [{"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "",
                 "type": prefix + kind} for i, kind in enumerate(["Transformer"] + kinds)])


def dense(inputs, outputs, seed, bias=True, activation=None, dtype=torch.float32):
    """Large enough that an activation bends."""
    random = np.random.RandomState(seed)
    weight = torch.tensor(random.standard_normal((outputs, inputs)) * 2 / inputs ** 0.5)
    shift = torch.tensor(random.standard_normal(outputs) * 0.5)
    module = Dense(inputs, outputs, bias=bias, activation_function=activation or torch.nn.Tanh(),
                   init_weight=weight.to(dtype).float(), init_bias=shift.to(dtype).float())
    module.stored = dtype
    return module


def write_dense(folder, module):
    tensors = {"linear.weight": module.linear.weight}
    if module.bias:
        tensors["linear.bias"] = module.linear.bias
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(
        {name: tensor.detach().to(module.stored).contiguous() for name, tensor in tensors.items()},
        folder / "model.safetensors")
    activation = type(module.activation_function)
    write_json(folder / "config.json",
               {"in_features": module.in_features, "out_features": module.out_features,
                "bias": module.bias,
                "activation_function": f"{activation.__module__}.{activation.__name__}"})


def old_pooling(folder, *modes, **more):
    names = ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens",
             "weightedmean_tokens", "lasttoken"]
    write_json(folder / "1_Pooling" / "config.json",
               {"word_embedding_dimension": WIDTH} |
               {"pooling_mode_" + name: name in modes for name in names} | more)


# ---- the cases: files as older sentence-transformers wrote them -------------------------------

def all_modes(folder):
    """Six rows side by side; the largest limit that is in no file but the transformer's own."""
    write_modules(folder, ["Pooling"])
    old_pooling(folder, "cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens",
                "weightedmean_tokens", "lasttoken")


def no_mode(folder):
    """None is true: the mean."""
    write_modules(folder, ["Pooling"])
    old_pooling(folder)


def no_prompt(folder):
    write_modules(folder, ["Pooling"])
    old_pooling(folder, "cls_token", "mean_tokens", "weightedmean_tokens", "lasttoken",
                include_prompt=False)
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": PROMPT}})


def cut_prompt(folder):
    """The limit is within the prompt: all but the last token are its."""
    no_prompt(folder)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 7, "do_lower_case": False})


def dense_tanh(folder):
    """As the models of the distiluse family, with Normalize, whose folder is not there."""
    write_modules(folder, ["Pooling", "Dense", "Normalize"])
    old_pooling(folder, "mean_tokens")
    write_dense(folder / "2_Dense", dense(WIDTH, 49, 1))


def dense_twice(folder):
    """Normalize first, then two Dense, of which one is wider than all else, and the first has no
    bias; weights in F16 and BF16. Dropout does nothing."""
    write_modules(folder, ["Pooling", "Normalize", "Dense", "Dropout", "Dense", "Normalize"])
    old_pooling(folder, "cls_token", "mean_tokens")
    write_dense(folder / "3_Dense", dense(2 * WIDTH, 150, 2, False, torch.nn.GELU(), torch.float16))
    write_dense(folder / "5_Dense", dense(150, 33, 3, True, torch.nn.Identity(), torch.bfloat16))
    write_json(folder / "4_Dropout" / "config.json", {"dropout": 0.2})


def lowercase(folder):
    """A tokenizer that keeps capitals, but is told not to; the limit from another file's name, and
    more of it than the tokenizer's own."""
    write_modules(folder, ["Pooling", "Normalize"])
    old_pooling(folder, "mean_tokens")
    tokenizer = json.loads((TINY / "tokenizer.json").read_text())
    tokenizer["normalizer"] |= {"lowercase": False, "strip_accents": False}
    # Baked in by whoever used it last; no part of the model.
    tokenizer["truncation"] = {"direction": "Right", "max_length": 6, "strategy": "LongestFirst",
                               "stride": 0}
    tokenizer["padding"] = {"strategy": {"Fixed": 24}, "direction": "Right",
                            "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
                            "pad_token": "[PAD]"}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer) + "\n")
    write_json(folder / "tokenizer_config.json",
               json.loads((TINY / "tokenizer_config.json").read_text()) |
               {"do_lower_case": False, "strip_accents": False, "model_max_length": 8})
    write_json(folder / "sentence_roberta_config.json",
               {"max_seq_length": 20, "do_lower_case": True})


# ---- the cases: files as sentence-transformers writes them itself -----------------------------

def new_files(folder):
    """Modes in the order of the list, prompts, truncate_dim after Normalize, no max_seq_length."""
    transformer = SentenceTransformer(str(TINY), device="cpu")[0]
    transformer.max_seq_length = 30
    model = SentenceTransformer(
        modules=[transformer, Pooling(WIDTH, ["lasttoken", "cls"], include_prompt=False),
                 dense(2 * WIDTH, 40, 4, activation=torch.nn.ReLU()), Normalize()],
        prompts={"query": PROMPT, "nothing": ""}, default_prompt_name="query", truncate_dim=24,
        device="cpu")
    with tempfile.TemporaryDirectory() as saved:
        model.save(saved, create_model_card=False)
        for path in pathlib.Path(saved).rglob("*"):
            name = path.relative_to(saved)
            unwanted = name.name in ("config.json", "model.safetensors", "tokenizer.json") \
                and len(name.parts) == 1
            if path.is_file() and not unwanted:
                (folder / name.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / name)


CASES = [all_modes, no_mode, no_prompt, cut_prompt, dense_tanh, dense_twice, lowercase, new_files]


def compose(case, folder):
    """tiny-bert's transformer and tokenizer under the case's files, as the tests do."""
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                 "special_tokens_map.json"):
        shutil.copyfile(TINY / name, folder / name)
    shutil.copytree(case, folder, dirs_exist_ok=True)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    texts = lines()
    (OUT / "lines.txt").write_text("".join(text + "\n" for text in texts))
    for make in CASES:
        name = make.__name__.replace("_", "-")
        make(OUT / name)
        with tempfile.TemporaryDirectory() as folder:
            compose(OUT / name, pathlib.Path(folder))
            model = SentenceTransformer(folder, device="cpu").eval()
            said = f"{name}: {model.max_seq_length} tokens"
            for prompt, suffix in [("", ""), ("query", "-query")]:
                if prompt and not model.prompts.get(prompt):
                    continue
                options = {"prompt_name": prompt} if prompt else {"prompt": ""}
                rows = model.encode(texts, show_progress_bar=False, **options)
                alone = model.encode(texts, show_progress_bar=False, batch_size=1, **options)
                (OUT / f"{name}{suffix}.f32").write_bytes(rows.astype("<f4").tobytes())
                said += f", {rows.shape[0]} x {rows.shape[1]}, alone {abs(rows - alone).max():.1e}"
            print(said)


if __name__ == "__main__":
    main()
