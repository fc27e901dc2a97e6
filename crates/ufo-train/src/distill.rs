//! A student that learns from the labels and from a teacher (spec 8).
//!
//! ```text
//! loss = task_loss * L_task
//!      + logits * T^2 KL(teacher's softmax at T || student's)        classification
//!      + features * mean(1 - cos(P f_student, f_teacher))            P is a projector, or the head's own
//!      + relation * mean((cos_student(i, j) - cos_teacher(i, j))^2)
//! ```
//! Of a classifier f are the features before the head, of an embedding the embeddings behind the neck.
//! Both see the same augmented images; the teacher is in evaluation mode.

use crate::evaluate::{self, TaskResult};
use crate::learner::Learner;
use crate::step::{Scored, Step, TakeGrads, Training, logits_loss, task_loss};
use crate::teacher::{Said, Teacher};
use crate::{DistillConfig, RunConfig, Task, TaskConfig};
use anyhow::{Context, Result, bail};
use burn_tensor::Tensor;
use std::sync::Arc;
use ufo_data::{Batch, Loader, Purpose, eval_batches, stream};
use ufo_model::losses::{cosine_gap, distill_soft, relation_gap};
use ufo_model::{
    Head, HeadConfig, Student, StudentShape, Visit, Visitor, from_values, require_grad, values,
};
use ufo_nas::HeadShape;

/// Training images that statistics are measured on.
const MEASURED: usize = 1024;

/// A student with its teacher; without one it learns from the labels alone.
#[derive(Debug, Clone)]
pub struct Pupil {
    /// The network.
    pub student: Student,
    /// Whom it learns from.
    pub teacher: Option<Arc<Teacher>>,
}

impl Visit for Pupil {
    fn visit(&mut self, prefix: &str, visitor: &mut impl Visitor) {
        self.student.visit(prefix, visitor);
    }
}

/// A fresh student of the one task of `config`, with a head as the teacher's.
///
/// # Errors
/// When the teacher has another kind of head, other classes or other images than the task, or the
/// architecture is not valid.
pub fn pupil(
    config: &RunConfig,
    distill: &DistillConfig,
    task: &Task,
    teacher: Teacher,
) -> Result<Pupil> {
    suits(config, task, &teacher)?;
    let head = match task.config.head {
        HeadConfig::Linear => HeadConfig::Linear,
        // As wide as what it is compared with.
        HeadConfig::Embedding { dim: 0, scale, margin } => {
            HeadConfig::Embedding { dim: teacher.width(), scale, margin }
        }
        head => head,
    };
    let projected = head == HeadConfig::Linear && distill.features > 0.0;
    let [side, _] = config.preprocess().size;
    let shape = StudentShape {
        head,
        classes: task.train.classes().len(),
        side,
        teacher: projected.then(|| teacher.width()),
    };
    let mut rng = stream(config.seed, Purpose::Init, &[]);
    let device = config.train.device.device()?;
    let student = Student::init(distill.student, shape, &mut rng, &device)
        .with_context(|| format!("distill.student = {}", distill.student))?;
    Ok(Pupil { student, teacher: (!distill.is_alone()).then(|| Arc::new(teacher)) })
}

/// Refuses a teacher of something else.
fn suits(config: &RunConfig, task: &Task, teacher: &Teacher) -> Result<()> {
    let (told, name) = (teacher.task(), &task.config.name);
    let place = config.distill.as_ref().map_or(String::new(), |d| d.teacher.display().to_string());
    let wanted = task.config.head.shape(task.train.classes().len());
    if std::mem::discriminant(&wanted) != std::mem::discriminant(&told.head) {
        bail!("distill.teacher {place}: its head for `{name}` is of another kind than the task's");
    }
    if task.config.head == HeadConfig::Linear && told.classes != task.classes() {
        bail!(
            "distill.teacher {place}: its `{name}` has the classes {}; the task has {}",
            some_of(&told.classes),
            some_of(task.classes())
        );
    }
    let (got, expected) = (&teacher.described().preprocess, config.preprocess());
    if *got != expected {
        bail!(
            "distill.teacher {place}: it takes images of {:?} with mean {:?} and deviation {:?}; the run's are of {:?} with {:?} and {:?}",
            got.size,
            got.mean,
            got.std,
            expected.size,
            expected.mean,
            expected.std
        );
    }
    Ok(())
}

fn some_of(names: &[String]) -> String {
    let few: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
    format!("{} ({} in all)", few.join(", "), names.len())
}

impl Learner for Pupil {
    const FILE: &'static str = "student.safetensors";

    fn step(
        &self,
        training: &Training<'_>,
        loaders: &mut [Loader],
        at: (u64, f64),
    ) -> Result<Step> {
        let [loader] = loaders else { bail!("a student has one task") };
        let task = &training.tasks[0].config;
        let batch = loader.next_batch().with_context(|| format!("task `{}`", task.name))?;
        let mut steps =
            training.workers.map(1, |_| distill_step(training.config, self, &batch, at));
        steps.pop().context("one step was asked for")?
    }

    fn absorb(&mut self, step: &Step) {
        self.student.update(&step.moments);
        for (_, statistics) in &step.heads {
            if let Some(head) = &mut self.student.head {
                head.absorb(statistics);
            }
        }
    }

    fn shares(&self, _: &Training<'_>) -> Vec<Vec<f32>> {
        vec![Vec::new()]
    }

    fn glimpse(&self, training: &Training<'_>) -> Result<Vec<TaskResult>> {
        let task = &training.tasks[0];
        let whole = task.validation.as_deref().unwrap_or(&task.test);
        let part = whole.select(&evaluate::few(task, whole));
        let rows = self.settled(training.config, task)?.rows(training.config, &part)?;
        Ok(vec![evaluate::judge(task, &part, &rows)?])
    }
}

impl Pupil {
    /// Shape of the head, for a model folder.
    pub fn head_shape(&self, classes: usize) -> HeadShape {
        match &self.student.head {
            Some(Head::Embedding(head)) => {
                HeadShape::Embedding { dim: head.neck.weight.dims()[0], classes }
            }
            _ => HeadShape::Linear { classes },
        }
    }

    /// The same network with its batch norms' statistics measured on up to 1,024 training images, in the
    /// place of running ones, which lag behind in short trainings.
    ///
    /// # Errors
    /// A broken image.
    pub fn settled(&self, config: &RunConfig, task: &Task) -> Result<Self> {
        let len = task.train.len();
        let kept = len.min(MEASURED);
        let images = task.train.select(&(0..kept).map(|i| i * len / kept).collect::<Vec<_>>());
        let whole = config.tasks[0].batch.min(kept);
        let mut all = Vec::new();
        for batch in eval_batches(&images, &config.preprocess(), whole) {
            let batch = batch?;
            // The last, short one would count as much as the others.
            if batch.labels.len() == whole {
                let images = from_values(batch.images, batch.size, &self.student.device());
                all.extend(self.student.moments(images));
            }
        }
        let mut settled = self.clone();
        settled.student.replace(&all);
        Ok(settled)
    }

    /// Outputs for every image of a split, row-major.
    ///
    /// # Errors
    /// A broken image.
    pub fn rows(&self, config: &RunConfig, split: &ufo_data::Dataset) -> Result<Vec<f32>> {
        evaluate::rows(split, &config.preprocess(), |batch| {
            Ok(run(&self.student, batch.images, batch.size))
        })
    }
}

/// Outputs of a student for one batch of images.
pub fn run(student: &Student, images: Vec<f32>, size: [usize; 4]) -> Vec<f32> {
    values(&student.outputs(from_values(images, size, &student.device())))
}

/// Forward and backward of a student on a batch at `(step, progress)`.
///
/// # Errors
/// Images that the teacher does not take.
pub fn distill_step(
    config: &RunConfig,
    pupil: &Pupil,
    batch: &Batch,
    (step, _): (u64, f64),
) -> Result<Step> {
    let distill = config.distill.as_ref().context("a student's run has [distill]")?;
    let task = &config.tasks[0];
    let said = pupil.teacher.as_ref().map(|teacher| teacher.look(&batch.images)).transpose()?;
    let mut leaves = pupil.student.clone();
    require_grad(&mut leaves);
    let device = leaves.device();
    let images = from_values(batch.images.clone(), batch.size, &device).autodiff();
    let mut rng = stream(config.seed_of(0), Purpose::DropPath, &[0, step]);
    let trained = leaves.train(images, &mut rng);
    let Scored { loss, outputs, measured } = match (&leaves.head, trained.logits) {
        (Some(head), _) => task_loss(head, trained.features.clone(), task, batch),
        (None, Some(logits)) => logits_loss(logits, task, batch),
        (None, None) => bail!("a student without a head classifies by itself"),
    };
    let value = values(&loss)[0];
    let mut total = loss * distill.task_loss;
    if let Some(said) = said {
        let own = Own { features: trained.features, outputs };
        total = total + taught(distill, task, (&leaves, own), &said);
    }
    let mut take = TakeGrads::new((total * task.loss_weight).backward());
    leaves.visit("", &mut take);
    Ok(Step {
        losses: vec![value],
        grads: take.found,
        heads: measured.map(|statistics| (0, statistics)).into_iter().collect(),
        gradient_cosine: None,
        moments: trained.moments,
    })
}

/// A student's features and outputs of a batch.
struct Own {
    features: Tensor<2>,
    outputs: Tensor<2>,
}

/// What the teacher adds to the loss.
fn taught(
    distill: &DistillConfig,
    task: &TaskConfig,
    (student, own): (&Student, Own),
    said: &Said,
) -> Tensor<1> {
    let [b, _] = own.outputs.dims();
    let device = own.outputs.device().inner();
    let width = said.features.len() / b;
    let features = || from_values(said.features.clone(), [b, width], &device);
    let answers = said.outputs.len() / b;
    let answers: Tensor<2> = from_values(said.outputs.clone(), [b, answers], &device);
    let mut terms = Vec::new();
    let (compared, target) = match task.head {
        HeadConfig::Linear | HeadConfig::Segmentation { .. } | HeadConfig::Detection { .. } => {
            if distill.logits > 0.0 {
                let form = (distill.divergence, distill.temperature);
                terms.push(distill_soft(own.outputs, answers, form) * distill.logits);
            }
            (own.features, features())
        }
        HeadConfig::Embedding { .. } => (own.outputs, answers),
    };
    if distill.features > 0.0 {
        let projected = match &student.projector {
            Some(projector) => projector.forward(compared.clone()),
            None => compared.clone(),
        };
        // An embedding of another width has relations alone.
        if projected.dims() == target.dims() {
            terms.push(cosine_gap(projected, target.clone()) * distill.features);
        }
    }
    if distill.relation > 0.0 {
        terms.push(relation_gap(compared, target) * distill.relation);
    }
    terms.into_iter().reduce(|sum, term| sum + term).unwrap_or_else(|| Tensor::zeros([1], &device))
}

#[cfg(test)]
mod tests;
