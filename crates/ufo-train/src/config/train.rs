//! The training loop's part of a configuration.

use super::Compute;
use crate::Rule;
use serde::{Deserialize, Serialize};
use ufo_kernels::Level;
use ufo_model::Mode;

/// The training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimizer steps, every task contributing to each; 0 only writes the first checkpoint.
    pub steps: u64,
    /// `adamw` or `sgd`.
    pub optimizer: Rule,
    /// Momentum of SGD, 0 to below 1.
    pub momentum: f32,
    /// Peak learning rate.
    pub lr: f32,
    /// Learning rate of the router's logits.
    pub router_lr: f32,
    /// Share of the steps spent warming up, 0 to 1.
    pub warmup: f64,
    /// Final learning rate as a share of the peak.
    pub final_lr: f64,
    /// Weight decay, decoupled in AdamW; norms, biases, tokens and the router have none.
    pub weight_decay: f32,
    /// Largest global gradient norm; 0 is no clip.
    pub clip: f32,
    /// Stochastic depth of the last block, 0 to below 1.
    pub drop_path: f32,
    /// Decay of the moving average of the weights, 0 to below 1; 0 keeps none.
    pub ema: f32,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: Compute,
    /// Numbers that linear layers and convolutions multiply in; sums and weights are f32 in all.
    pub precision: Precision,
    /// Compute again in the backward pass what blocks would keep from the forward one: the same bits for
    /// less memory and more time.
    pub recompute: bool,
    /// Threads that compute, sharing a step's tasks; 0 is one a core. Results do not depend on it.
    pub threads: usize,
    /// Loader threads a task, at least 1.
    pub workers: usize,
    /// Steps between log lines.
    pub log_every: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Evaluations during training, evenly spread, on at most 500 held-out images a task.
    pub evaluations: u32,
}

/// Numbers that training multiplies in. Evaluation and extraction are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// bf16, as rounded floats where the CPU multiplies no bf16 faster: no gain, the same results but for last bits.
    Bf16,
    /// bf16 where the CPU multiplies it faster than floats (AMX, AMD's AVX-512-BF16), else f32.
    Auto,
}

impl Precision {
    /// The instructions and precision of kernels on this machine.
    pub fn level(self) -> Level {
        let level = Level::detect();
        match self {
            Self::Auto if level.has_fast_bf16() => level.bf16(),
            Self::Bf16 => level.bf16(),
            Self::F32 | Self::Auto => level,
        }
    }

    /// What products are computed in on this machine: `f32` or `bf16`.
    pub fn products(self) -> &'static str {
        match self.level().precision() {
            ufo_kernels::Precision::F32 => "f32",
            ufo_kernels::Precision::Bf16 => "bf16",
        }
    }

    /// What [`Precision::level`] comes to, in words.
    pub fn describe(self) -> String {
        let (level, products) = (self.level(), self.products());
        let fast = products == "f32" || level.has_fast_bf16();
        let how =
            if fast { "" } else { ", as rounded floats (this CPU multiplies no bf16 faster)" };
        format!("{:?}, products in {products}{how}", level.vectors())
    }
}

impl TrainConfig {
    /// How fused operations compute.
    pub fn mode(&self) -> Mode {
        Mode { level: self.precision.level(), recompute: self.recompute }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            optimizer: Rule::AdamW,
            momentum: 0.9,
            lr: 1e-3,
            router_lr: 2e-2,
            warmup: 0.1,
            final_lr: 0.02,
            weight_decay: 0.05,
            clip: 5.0,
            drop_path: 0.0,
            ema: 0.0,
            device: Compute::Cpu,
            precision: Precision::Auto,
            recompute: false,
            threads: 0,
            workers: 1,
            log_every: 20,
            checkpoint_every: 500,
            evaluations: 10,
        }
    }
}
