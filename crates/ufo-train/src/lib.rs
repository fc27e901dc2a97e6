//! Training, evaluation and extraction of supernets.

mod checkpoint;
mod config;
pub mod evaluate;
pub mod extract;
mod optimizer;
mod train;

pub use checkpoint::{load_latest, save, write_atomic};
pub use config::{RunConfig, TaskConfig, TrainConfig};
pub use optimizer::{AdamW, Grads, Rates, global_norm};
pub use train::{
    Limits, Summary, Task, add_grads, fingerprint, new_supernet, open_tasks, schedule, task_loss,
    train,
};
