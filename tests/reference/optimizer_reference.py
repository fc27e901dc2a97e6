"""Prints the weights after two steps of torch.optim.AdamW and SGD, for ufo-train's optimizer test.

Run: .venv/bin/python tests/reference/optimizer_reference.py (after scripts/python-env.sh torch)
"""

import torch

for name, make in [
    ("AdamW", lambda w: torch.optim.AdamW([w], lr=0.1, weight_decay=0.01)),
    ("SGD", lambda w: torch.optim.SGD([w], lr=0.1, momentum=0.9, weight_decay=0.01)),
]:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = make(weight)
    for grad in ([0.5, 0.1], [-0.3, 0.2]):
        weight.grad = torch.tensor(grad)
        optimizer.step()
    print(name, [f"{value:.7f}" for value in weight.tolist()])
