"""Writes kernels.json: small inputs, outputs and gradients of PyTorch in float64.

    python -m venv .venv && .venv/bin/pip install torch && .venv/bin/python kernels.py

The test `tests/it/pytorch.rs` runs the kernels on the inputs and compares. Weights are stored
`[in, out]`, the transpose of torch's `nn.Linear`. Attention and feed-forward weights belong to a
larger network: the case names the sizes of the slice, and gradients are those of the slice.
"""

import json
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(2023)
torch.set_default_dtype(torch.float64)


def single(*shape, scale=1.0):
    """Random values that f32 holds exactly."""
    return (torch.randn(*shape) * scale).float().double()


def leaf(tensor):
    return tensor.clone().requires_grad_()


def flat(tensor):
    return [float(v) for v in tensor.detach().reshape(-1)]


def packed(tensors):
    """f32 inputs as their shortest decimals, float64 results with 10 digits."""
    return {name: [float(f"{v:.10g}") for v in flat(t)] for name, t in tensors.items()}


def case(sizes, inputs, outputs):
    return {"sizes": sizes, "inputs": packed(inputs), "outputs": packed(outputs)}


def gradients(loss_terms, leaves):
    """Gradients of sum(output * dy) for every named leaf, named d_<leaf>."""
    output, dy = loss_terms
    grads = torch.autograd.grad((output * dy).sum(), list(leaves.values()))
    return {f"d_{name}": grad for name, grad in zip(leaves, grads)}


def layer_norm():
    m, d = 5, 21
    inputs = {"x": single(m, d), "weight": 1 + single(d, scale=0.3), "bias": single(d, scale=0.3)}
    inputs = {name: t.float().double() for name, t in inputs.items()}
    dy = single(m, d)
    leaves = {name: leaf(t) for name, t in inputs.items()}
    y = F.layer_norm(leaves["x"], (d,), leaves["weight"], leaves["bias"], eps=1e-6)
    return case({"rows": m, "dim": d}, inputs | {"dy": dy}, {"y": y} | gradients((y, dy), leaves))


def cross_entropy(soft):
    m, classes, smoothing = 6, 11, 0.1
    logits = single(m, classes, scale=3.0)
    if soft:
        targets = torch.softmax(single(m, classes), 1).float().double()
    else:
        targets = torch.randint(0, classes, (m,))
    leaves = {"logits": leaf(logits)}
    loss = F.cross_entropy(leaves["logits"], targets, label_smoothing=smoothing)
    (grad,) = torch.autograd.grad(loss, [leaves["logits"]])
    inputs = {"logits": logits, "targets": targets}
    return case({"rows": m, "classes": classes}, inputs, {"loss": loss, "d_logits": grad})


def optimizer(make):
    n, steps, factor = 19, 12, 0.25
    start, grads = single(n), single(steps, n)
    param = torch.nn.Parameter(start.clone())
    chosen = make([param])
    for grad in grads:
        param.grad = grad * factor
        chosen.step()
    return case({"len": n, "steps": steps}, {"param": start, "grads": grads}, {"param": param})



def ffn():
    m, d, hidden, full_d, full_hidden = 7, 12, 20, 15, 24
    inputs = {
        "x": single(m, d),
        "norm_weight": (1 + single(d, scale=0.3)).float().double(),
        "norm_bias": single(d, scale=0.3),
        "fc1": single(full_d, full_hidden, scale=0.3),
        "fc1_bias": single(full_hidden, scale=0.3),
        "fc2": single(full_hidden, full_d, scale=0.3),
        "fc2_bias": single(full_d, scale=0.3),
    }
    dy = single(m, d)
    leaves = {name: leaf(t) for name, t in inputs.items()}
    norm = F.layer_norm(leaves["x"], (d,), leaves["norm_weight"], leaves["norm_bias"], eps=1e-6)
    act = F.gelu(norm @ leaves["fc1"][:d, :hidden] + leaves["fc1_bias"][:hidden])
    y = leaves["x"] + act @ leaves["fc2"][:hidden, :d] + leaves["fc2_bias"][:d]
    grads = gradients((y, dy), leaves)
    grads["d_fc1"] = grads["d_fc1"][:d, :hidden]
    grads["d_fc1_bias"] = grads["d_fc1_bias"][:hidden]
    grads["d_fc2"] = grads["d_fc2"][:hidden, :d]
    grads["d_fc2_bias"] = grads["d_fc2_bias"][:d]
    sizes = {"rows": m, "dim": d, "hidden": hidden, "full_dim": full_d, "full_hidden": full_hidden}
    return case(sizes, inputs | {"dy": dy}, {"y": y} | grads)


def attention():
    batch, tokens, d, heads, head_dim = 2, 5, 12, 2, 6
    full_d, full_heads = 15, 3
    e, full_e = heads * head_dim, full_heads * head_dim
    inputs = {
        "x": single(batch * tokens, d),
        "norm_weight": (1 + single(d, scale=0.3)).float().double(),
        "norm_bias": single(d, scale=0.3),
        "qkv": single(full_d, 3 * full_e, scale=0.4),
        "qkv_bias": single(3 * full_e, scale=0.4),
        "proj": single(full_e, full_d, scale=0.4),
        "proj_bias": single(full_d, scale=0.4),
    }
    dy = single(batch * tokens, d)
    leaves = {name: leaf(t) for name, t in inputs.items()}
    norm = F.layer_norm(leaves["x"], (d,), leaves["norm_weight"], leaves["norm_bias"], eps=1e-6)

    def project(part):
        columns = slice(part * full_e, part * full_e + e)
        rows = norm @ leaves["qkv"][:d, columns] + leaves["qkv_bias"][columns]
        return rows.reshape(batch, tokens, heads, head_dim).transpose(1, 2)

    mixed = F.scaled_dot_product_attention(project(0), project(1), project(2))
    mixed = mixed.transpose(1, 2).reshape(batch * tokens, e)
    y = leaves["x"] + mixed @ leaves["proj"][:e, :d] + leaves["proj_bias"][:d]
    grads = gradients((y, dy), leaves)
    grads["d_proj"] = grads["d_proj"][:e, :d]
    grads["d_proj_bias"] = grads["d_proj_bias"][:d]
    sizes = {
        "batch": batch, "tokens": tokens, "dim": d, "heads": heads, "head_dim": head_dim,
        "full_dim": full_d, "full_heads": full_heads,
    }
    return case(sizes, inputs | {"dy": dy}, {"y": y} | grads)


def main():
    cases = {
        "layer_norm": layer_norm(),
        "cross_entropy": cross_entropy(soft=False),
        "cross_entropy_soft": cross_entropy(soft=True),
        "adamw": optimizer(lambda p: torch.optim.AdamW(
            p, lr=0.05, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)),
        "sgd": optimizer(lambda p: torch.optim.SGD(
            p, lr=0.05, momentum=0.9, weight_decay=0.1)),
        "ffn": ffn(),
        "attention": attention(),
    }
    document = {"torch": torch.__version__, "cases": cases}
    path = pathlib.Path(__file__).with_name("kernels.json")
    path.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
