//! A student that learns from the labels and from a teacher (spec 8).
//!
//! ```text
//! loss = task_loss  * L_task
//!      + logits     * T^2 KL(teacher's softmax at T || student's)        classification
//!      + features   * mean(1 - cos(P f_student, f_teacher))            P is a projector, or the head's own
//!      + relation   * mean((cos_student(i, j) - cos_teacher(i, j))^2)
//!      + classifier * L_task(the teacher's classifier of P f_student)   labeled images alone
//!      + maps       * mean(1 - cos(A m_student, t_teacher))            A a 1x1 convolution, a patch's token t
//! ```
//! Of a classifier f are the features before the head, of an embedding the embeddings behind the neck; m is the
//! last map of features that is at least as fine as the teacher's patches, resized to them.
//! Both see the same augmented images; the teacher is in evaluation mode. Of unlabeled images, which come
//! with the labeled ones in one batch, the student learns what the teacher says.

use crate::evaluate::{self, TaskResult};
use crate::learner::Learner;
use crate::step::{Step, TakeGrads, Training, identity_loss, logits_loss};
use crate::teacher::Teacher;
use crate::train::start_loaders;
use crate::{DistillConfig, RunConfig, Task, Unlabeled};
use anyhow::{Context, Result, bail};
use burn_tensor::Tensor;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use taught::{Own, Taught, first};
use ufo_data::{
    Augment, Batch, Dataset, Loader, LoaderConfig, Purpose, Sampler, SamplerConfig, eval_batches,
    stream,
};
use ufo_model::losses::triplet;
use ufo_model::{
    Body, Embedded, Head, HeadConfig, HeadStatistics, Student, StudentShape, Visit, Visitor,
    from_values, require_grad, values,
};
use ufo_nas::HeadShape;

/// Training images that statistics are measured on.
const MEASURED: usize = 1024;
/// In the place of a task's number in the random streams of unlabeled images.
const OTHERS: u64 = 1 << 32;

/// A student with its teacher; without one it learns from the labels alone.
#[derive(Debug, Clone)]
pub struct Pupil {
    /// The network.
    pub student: Student,
    /// Whom it learns from.
    pub teacher: Option<Arc<Teacher>>,
    /// Images without labels that it sees, too.
    pub unlabeled: Option<Arc<Dataset>>,
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
            HeadConfig::Embedding { dim: teacher.compared(), scale, margin }
        }
        head => head,
    };
    // An embedding as wide as the teacher's is compared as it is.
    let differs = !matches!(head, HeadConfig::Embedding { dim, .. } if dim == teacher.compared());
    let projected = differs && distill.features + distill.classifier > 0.0;
    let aligned = distill.maps > 0.0;
    let arch = &teacher.described().arch;
    let [side, _] = config.preprocess().size;
    let shape = StudentShape {
        head,
        classes: task.train.classes().len(),
        side,
        teacher: projected.then(|| teacher.compared()),
        tokens: aligned.then(|| (arch.grid(), arch.dim)),
    };
    let mut rng = stream(config.seed, Purpose::Init, &[]);
    let device = config.train.device.device()?;
    let mut student = Student::init(distill.student, shape, &mut rng, &device)
        .with_context(|| format!("distill.student = {}", distill.student))?;
    if let Some(file) = &config.init {
        begin_from(file, &mut student)?;
    }
    let open = |unlabeled: &Unlabeled| Dataset::unlabeled(&unlabeled.path).map(Arc::new);
    let unlabeled = distill.unlabeled.as_ref().map(open).transpose();
    let unlabeled = unlabeled.context("distill.unlabeled")?;
    Ok(Pupil { student, teacher: (!distill.is_alone()).then(|| Arc::new(teacher)), unlabeled })
}

/// Puts torchvision's weights before the classifier.
fn begin_from(file: &Path, student: &mut Student) -> Result<()> {
    let from = file.display().to_string();
    let Body::Cnn(net) = &mut student.body else {
        bail!("init = {from}: a transformer as a student starts anew; remove it");
    };
    let bytes = fs::read(file).with_context(|| format!("init: reading {from}"))?;
    let state = ufo_weights::from_bytes(&bytes, &from).context("init")?;
    net.load_features(&state, &from).context("init")
}

/// Refuses a teacher of something else.
fn suits(config: &RunConfig, task: &Task, teacher: &Teacher) -> Result<()> {
    let (told, name) = (teacher.task(), &task.config.name);
    let place = config.distill.as_ref().map_or(String::new(), |d| d.teacher.display().to_string());
    let wanted = task.config.head.shape(task.train.classes().len());
    if std::mem::discriminant(&wanted) != std::mem::discriminant(&told.head) {
        bail!("distill.teacher {place}: its head for `{name}` is of another kind than the task's");
    }
    if let Some(classifier) = config.distill.as_ref().map(|distill| distill.classifier)
        && classifier > 0.0
        && told.head.classes() != wanted.classes()
    {
        bail!(
            "distill.classifier = {classifier}: {place} knows {} classes or identities of `{name}`, the task has {}",
            told.head.classes(),
            wanted.classes()
        );
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

    fn loaders(&self, config: &RunConfig, tasks: &[Task], first_step: u64) -> Result<Vec<Loader>> {
        let mut loaders = start_loaders(config, tasks, first_step)?;
        let told = config.distill.as_ref().and_then(|distill| distill.unlabeled.as_ref());
        if let (Some(images), Some(told)) = (&self.unlabeled, told) {
            let c = &tasks[0].config;
            let (seed, labels) = (config.seed_of(0), images.shared_labels());
            let sampler = || {
                Sampler::new(
                    Arc::clone(&labels),
                    SamplerConfig::default(),
                    told.batch,
                    seed,
                    OTHERS,
                )
            };
            let loader = LoaderConfig {
                workers: config.train.workers,
                queue: 2,
                seed,
                task: OTHERS,
                first_step,
                max_broken: c.data.max_broken,
            };
            // Mixed images have mixed labels; these have none.
            let augment = Augment { mixup: 0.0, cutmix: 0.0, ..c.augment };
            let more = Loader::train(images, sampler, augment, &config.preprocess(), loader);
            loaders.push(more.context("distill.unlabeled")?);
        }
        Ok(loaders)
    }

    fn step(
        &self,
        training: &Training<'_>,
        loaders: &mut [Loader],
        at: (u64, f64),
    ) -> Result<Step> {
        let [loader, more @ ..] = loaders else { bail!("a student has one task") };
        let task = &training.tasks[0].config;
        let batch = loader.next_batch().with_context(|| format!("task `{}`", task.name))?;
        let more = more.first_mut().map(Loader::next_batch).transpose();
        let more = more.context("distill.unlabeled")?;
        let batches = (&batch, more.as_ref());
        let mut steps =
            training.workers.map(1, |_| distill_step(training.config, self, batches, at));
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

/// Forward and backward of a student on a batch, and unlabeled images with it, at `(step, progress)`.
///
/// # Errors
/// Images that the teacher does not take.
pub fn distill_step(
    config: &RunConfig,
    pupil: &Pupil,
    (batch, more): (&Batch, Option<&Batch>),
    (step, _): (u64, f64),
) -> Result<Step> {
    let distill = config.distill.as_ref().context("a student's run has [distill]")?;
    let task = &config.tasks[0];
    let (mut images, mut size) = (batch.images.clone(), batch.size);
    if let Some(more) = more {
        images.extend_from_slice(&more.images);
        size[0] += more.size[0];
    }
    let look = |teacher: &Arc<Teacher>| teacher.look(&images, distill.maps > 0.0);
    let said = pupil.teacher.as_ref().map(look).transpose()?;
    let mut leaves = pupil.student.clone();
    require_grad(&mut leaves);
    let device = leaves.device();
    let mut rng = stream(config.seed_of(0), Purpose::DropPath, &[0, step]);
    let trained = leaves.train(from_values(images, size, &device).autodiff(), &mut rng);
    let labeled = |rows: Tensor<2>| first(rows, batch.size[0]);
    let (loss, outputs, measured) = match (&leaves.head, trained.logits) {
        (Some(Head::Embedding(head)), _) => {
            let Embedded { before, after, cosines, statistics } =
                head.train(trained.features.clone());
            let mut loss = identity_loss(labeled(cosines), task, batch);
            if let Some(form) = task.triplet {
                loss = loss + triplet(labeled(before), &batch.labels, form);
            }
            (loss, after, Some(HeadStatistics::Neck(statistics)))
        }
        (head, logits) => {
            let logits = match (head, logits) {
                (Some(head), _) => head.forward(trained.features.clone()),
                (None, Some(logits)) => logits,
                (None, None) => bail!("a student without a head classifies by itself"),
            };
            (logits_loss(labeled(logits.clone()), task, batch).loss, logits, None)
        }
    };
    let value = values(&loss)[0];
    let mut total = loss * distill.task_loss;
    if let (Some(said), Some(teacher)) = (&said, &pupil.teacher) {
        let own = Own { features: trained.features, outputs, tokens: trained.tokens };
        let terms = Taught { distill, task, batch, classifier: teacher.classifier() };
        total = terms.of(&leaves, own, said).into_iter().fold(total, |sum, term| sum + term);
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

mod taught;
#[cfg(test)]
mod tests;
