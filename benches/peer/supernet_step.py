"""`supernet-step` and `supernet-step-bf16`: one step of a Task-MoE supernet with four tasks.

Each site (attention with its norm, FFN with its norm, final norm) has a shared expert and one a task.
A router of two logits per (task, site) draws a hard straight-through Gumbel choice (arXiv 1611.01144)
for the whole batch; both experts run and are combined as `sum_k p_k F_k(x)`, as in the original.
"""

import torch
import torch.nn.functional as F
from torch import nn

import training
from vit import SIZES, Attention, Linear, Mlp, Stem, layer_norm

TASKS = 4
CLASSES = 10
BATCH = 16
TAU = 5.0


def attention_expert(size):
    return nn.Sequential(layer_norm(size), Attention(size))


def ffn_expert(size):
    return nn.Sequential(layer_norm(size), Mlp(size))


class Experts(nn.Module):
    """Everything that one owner brings to the sites: blocks of two branches, then the final norm."""

    def __init__(self, size):
        super().__init__()
        branches = [kind(size) for _ in range(size.depth) for kind in (attention_expert, ffn_expert)]
        self.branches = nn.ModuleList(branches)
        self.norm = layer_norm(size)


class Task(nn.Module):
    """What a task owns: stem, experts, head and router logits, `(sites, 2)`."""

    def __init__(self, size, shared):
        super().__init__()
        self.stem = Stem(size)
        self.experts = Experts(size)
        self.experts.load_state_dict(shared.state_dict())
        self.head = Linear(size.dim, CLASSES)
        self.router = nn.Parameter(torch.zeros(2 * size.depth + 1, 2))


class Supernet(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.shared = Experts(size)
        self.tasks = nn.ModuleList([Task(size, self.shared) for _ in range(TASKS)])

    def forward(self, images, index):
        """Logits of task `index`, along a fresh draw of its paths."""
        task = self.tasks[index]
        routes = straight_through(task.router)
        x = task.stem(images)
        branches = zip(routes, self.shared.branches, task.experts.branches)
        for (share, own), shared_branch, own_branch in branches:
            x = x + (share * shared_branch(x) + own * own_branch(x))
        share, own = routes[-1]
        x = share * self.shared.norm(x) + own * task.experts.norm(x)
        return task.head(x[:, 0])


def straight_through(logits):
    """One-hot rows with the gradient of `softmax((logits + noise) / tau)`."""
    noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-5, 0.9999)))
    soft = torch.softmax((logits + noise) / TAU, dim=-1)
    hard = F.one_hot(soft.argmax(dim=-1), 2).to(soft.dtype)
    return (hard - soft.detach() + soft).unbind(0)


def prepare(name, threads):
    training.start(threads)
    dtype = "bf16" if name.endswith("bf16") else "f32"
    size = SIZES["S"]
    model = Supernet(size)
    optimizer = training.adamw(model.parameters())
    images = torch.randn(TASKS, BATCH, 3, size.image, size.image)
    labels = torch.randint(CLASSES, (TASKS, BATCH))
    last = {}

    def step():
        total = 0.0
        for index in range(TASKS):
            with training.autocast(dtype):
                loss = F.cross_entropy(model(images[index], index), labels[index])
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        last["loss"] = total

    def facts():
        more = {"dtype": dtype, "tasks": TASKS, "batch": BATCH, "optimizer": "AdamW fused"}
        return training.facts(model, last["loss"], **more)

    return step, facts
