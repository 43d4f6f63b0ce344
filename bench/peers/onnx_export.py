"""onnx_export.py - a model folder as ONNX, with pooling and normalizing in the graph"""
import peer


def export(wanted):
    """The path of the FP32 graph: input_ids and attention_mask to normalized rows. Made once."""
    return peer.make_once(wanted.work / "model.onnx", lambda path: write_graph(wanted, path))


def write_graph(wanted, path):
    import torch
    from transformers import AutoModel
    model = AutoModel.from_pretrained(wanted.model, attn_implementation="eager", dtype=torch.float32).eval()
    first_token = peer.pools_first_token(wanted.model)

    class Embedder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask):
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if first_token:
                rows = hidden[:, 0]
            else:
                rows = (hidden * attention_mask[:, :, None]).sum(1)  # no division by the count: rows are normalized
            return rows / rows.pow(2).sum(1, keepdim=True).sqrt()

    ids = torch.arange(1000, 1014).reshape(2, 7)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    names = ["input_ids", "attention_mask"]
    torch.onnx.export(Embedder(), (ids, mask), str(path), input_names=names, output_names=["rows"],
                      opset_version=17, dynamo=False,
                      dynamic_axes={**{name: {0: "batch", 1: "length"} for name in names},
                                    "rows": {0: "batch"}})
