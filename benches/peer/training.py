"""What the training workloads share: the optimizer, the precision, and the facts they report."""

import contextlib
import math
import os

import torch


def start(threads):
    torch.manual_seed(0)
    torch.set_num_threads(threads)


def adamw(parameters):
    """PyTorch's fastest AdamW on a CPU: one pass over a tensor where `foreach` makes about ten."""
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, fused=True)


def autocast(dtype):
    if dtype == "f32":
        return contextlib.nullcontext()
    return torch.autocast("cpu", torch.bfloat16)


def facts(model, loss, **others):
    """Facts of a workload after its warm-up; a loss that is not finite measures nothing."""
    if not math.isfinite(loss):
        raise ArithmeticError(f"the loss is {loss}")
    return {
        "version": f"torch {torch.__version__}",
        "device": "cpu",
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "simd": torch.backends.cpu.get_cpu_capability(),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss": round(loss, 4),
        **others,
    }
