//! Training, evaluation and extraction of supernets.

mod checkpoint;
pub mod chip;
mod config;
pub mod detect;
pub mod distill;
pub mod effect;
mod ema;
pub mod evaluate;
pub mod events;
pub mod expand;
pub mod extract;
pub mod latency;
mod learner;
mod log;
pub mod memory;
mod onnx;
mod optimizer;
pub mod segment;
mod shards;
mod step;
mod student;
mod task;
mod teacher;
mod train;
mod workers;

pub use checkpoint::{Progress, load_latest, save, write_atomic};
pub use config::{
    ChipConfig, Compute, DistillConfig, ExpandConfig, Precision, RunConfig, TaskConfig,
    TrainConfig, Unlabeled, Update, set_value,
};
pub use ema::Ema;
pub use learner::Learner;
pub use onnx::Onnx;
pub use optimizer::{Grads, Optimizer, Rates, Rule, global_norm};
pub use step::{Step, TaskStep, Training, one_step, path_step, step_on, task_step};
pub use student::{StudentStep, fresh_student, student_step};
pub use task::{Identity, Task, fresh_supernet, identity, init_from, new_supernet, open_tasks};
pub use teacher::{Classifier, Said, Teacher};
pub use train::{Limits, Summary, schedule, train};
pub use workers::Workers;
