use super::*;
use crate::extract::student::{Graduate, write};
use crate::extract::{Entry, Probe};
use crate::{Optimizer, Rates, Rule, Workers, fresh_supernet, student_step};
use ufo_data::Dataset;
use ufo_model::losses::{distill_soft, relation_gap};
use ufo_model::{Body, Supernet, TaskSpec};
use ufo_nas::{Expert, Path, Slice};
use ufo_runtime::DescribedTask;

const CLASSES: usize = 4;
const IMAGES: usize = 8;
const SIDE: usize = 16;

struct Case {
    config: RunConfig,
    supernet: Supernet,
    batch: Batch,
}

/// A teacher of random weights, a student's configuration and a batch of noise.
fn case(head: &str, student: &str, set: &[&str]) -> Case {
    let text = format!(
        "preset = \"demo\"\nimage_size = {SIDE}\n[arch]\ndim = 24\nheads = 3\nhead_dim = 8\nffn = 24\ndepth = 2\nstem = {{ kind = \"patch\", size = 4, stride = 4 }}\n[train]\n[distill]\nteacher = \"-\"\nstudent = \"{student}\"\n[[task]]\nname = \"a\"\nbatch = {IMAGES}\nhead = {{ kind = \"{head}\" }}\ndata = {{ format = \"idx\", train = \"-\", test = \"-\" }}\n"
    );
    let sets: Vec<String> = set.iter().map(ToString::to_string).collect();
    let config = RunConfig::parse(&text, &sets).unwrap();
    let spec = TaskSpec { name: "a".into(), head: config.tasks[0].head, classes: CLASSES };
    let supernet = fresh_supernet(&config, &[spec]).unwrap();
    let mut rng = stream(3, Purpose::Init, &[]);
    let size = [IMAGES, 3, SIDE, SIDE];
    let images =
        (0..size.iter().product()).map(|_| rand::RngExt::random::<f32>(&mut rng)).collect();
    let labels = (0..IMAGES as u32).map(|image| image % CLASSES as u32).collect();
    let indices = (0..IMAGES).collect();
    let (masks, boxes, soft) = (None, None, None);
    let batch = Batch { images, size, labels, masks, boxes, soft, indices, skipped: 0, step: 0 };
    Case { config, supernet, batch }
}

fn classes() -> Vec<String> {
    (0..CLASSES).map(|class| class.to_string()).collect()
}

impl Case {
    fn teacher(&self) -> Teacher {
        let probe = Probe { images: self.batch.images.clone(), size: self.batch.size };
        let classes = if self.is_linear() { classes() } else { Vec::new() };
        let entry = Entry {
            supernet: &self.supernet,
            task: 0,
            name: "a".into(),
            path: self.supernet.path(0),
            slice: Slice::full(&self.supernet.arch),
            head: self.supernet.tasks[0].head.clone(),
            classes,
            probe,
        };
        Teacher::of_supernet(&entry, &self.config.preprocess()).unwrap()
    }

    fn is_linear(&self) -> bool {
        self.config.tasks[0].head == HeadConfig::Linear
    }

    /// The task with a folder of images of `names` as its data.
    fn task(&self, folder: &std::path::Path, names: &[String]) -> Task {
        for name in names {
            let place = folder.join(name);
            std::fs::create_dir_all(&place).unwrap();
            let image = ufo_data::encode_png(&ufo_data::Image::filled(4, 4, [7; 3])).unwrap();
            std::fs::write(place.join("0.png"), image).unwrap();
        }
        let images = Arc::new(Dataset::open(ufo_data::Format::ImageFolder, folder).unwrap());
        let config = self.config.tasks[0].clone();
        Task { config, train: Arc::clone(&images), validation: None, test: images }
    }

    fn pupil(&self) -> Pupil {
        let folder = tempfile::tempdir().unwrap();
        let distill = self.config.distill.as_ref().unwrap();
        let task = self.task(folder.path(), &classes());
        pupil(&self.config, distill, &task, self.teacher()).unwrap()
    }

    fn step(&self, pupil: &Pupil, at: u64) -> Step {
        distill_step(&self.config, pupil, (&self.batch, None), (at, 0.5)).unwrap()
    }

    fn trained(&self, steps: u64) -> Pupil {
        let mut pupil = self.pupil();
        let mut optimizer = Optimizer::default();
        let rates = Rates {
            rule: Rule::AdamW,
            momentum: 0.0,
            lr: 0.005,
            router_lr: 0.0,
            weight_decay: 0.0,
            clip: 5.0,
            task_scales: &[],
        };
        for at in 0..steps {
            let step = self.step(&pupil, at);
            optimizer.step(&mut pupil, &step.grads, &rates);
            pupil.absorb(&step);
        }
        pupil
    }

    /// How far the student's training outputs are from the teacher's, without dropout.
    fn gap(&self, pupil: &Pupil) -> f32 {
        let said = self.teacher().look(&self.batch.images, false).unwrap();
        let device = pupil.student.device();
        let images = from_values(self.batch.images.clone(), self.batch.size, &device);
        let outputs = said.outputs.len() / IMAGES;
        let teacher: Tensor<2> = from_values(said.outputs, [IMAGES, outputs], &device);
        let gap = match (&pupil.student.body, &pupil.student.head) {
            (Body::Cnn(net), None) => {
                let own = net.classify(net.train(images).0, None);
                distill_soft(own.autodiff(), teacher, (ufo_model::losses::Divergence::Kl, 1.0))
            }
            (Body::Cnn(net), Some(Head::Embedding(head))) => {
                relation_gap(head.train(net.train(images).0).after.autodiff(), teacher)
            }
            _ => panic!("a convolutional student"),
        };
        values(&gap)[0]
    }
}

#[test]
fn without_a_teacher_a_step_is_that_of_the_labels() {
    let none = ["distill.logits=0", "distill.features=0", "distill.relation=0"];
    let case = case("linear", "mobilenet_v3_small", &none);
    let pupil = case.pupil();
    assert!(pupil.teacher.is_none() && pupil.student.projector.is_none());
    let Body::Cnn(net) = &pupil.student.body else { panic!("a convolutional student") };
    let expected = student_step(net, &case.batch, case.config.seed);
    let got = case.step(&pupil, 0);
    assert_eq!(got.losses.len(), 1);
    assert_eq!(got.moments, expected.moments);
    assert!(got.grads.keys().eq(expected.grads.keys()));
}

#[test]
fn a_teacher_brings_the_student_near_it() {
    for head in ["linear", "embedding"] {
        let alone = ["distill.logits=0", "distill.features=0", "distill.relation=0"];
        let [untaught, taught] = [&alone[..], &["distill.task_loss=0"]].map(|set| {
            let case = case(head, "mobilenet_v3_small", set);
            case.gap(&case.trained(40))
        });
        assert!(taught < 0.5 * untaught, "{head}: {taught} {untaught}");
    }
}

#[test]
fn every_weight_changes_the_gradient_and_the_projector_learns() {
    for head in ["linear", "embedding"] {
        let first = |set: &[&str]| {
            let case = case(head, "mobilenet_v3_small", set);
            case.step(&case.pupil(), 0).grads
        };
        let all = first(&[]);
        assert_eq!(all.contains_key("projector.weight"), head == "linear");
        for without in
            ["task_loss", "logits", "features", "relation", "temperature", "classifier", "maps"]
        {
            // These are 0, 4 and 0 unless set.
            let other = ["temperature", "classifier", "maps"].contains(&without);
            let set = format!("distill.{without}={}", i32::from(other));
            let name = "features.0.0.weight";
            let same = first(&[&set])[name] == all[name];
            // An embedding has no probabilities.
            let unused = head == "embedding" && ["logits", "temperature"].contains(&without);
            assert_eq!(same, unused, "{head} {without}");
        }
    }
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let case = case("linear", "mobilenet_v3_small", &[]);
    let pupil = case.pupil();
    let run = |threads: usize| {
        let workers = Workers::new(threads, 1).unwrap();
        workers.map(1, |_| case.step(&pupil, 2)).pop().unwrap().grads
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn folders_of_every_student_hold_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    for (student, head) in [
        ("mobilenet_v3_small", "linear"),
        ("mobilenet_v3_large", "embedding"),
        ("resnet18", "embedding"),
        ("resnet50", "linear"),
        ("vit_tiny", "linear"),
        ("vit_tiny", "embedding"),
    ] {
        let case = case(head, student, &[]);
        let mut pupil = case.pupil();
        // Statistics other than those of fresh norms.
        let step = case.step(&pupil, 0);
        pupil.absorb(&step);
        let told = DescribedTask {
            name: "a".into(),
            task: None,
            slice: Slice { blocks: Vec::new() },
            head: pupil.head_shape(CLASSES),
            classes: if case.is_linear() { classes() } else { Vec::new() },
            path: Path { attn: Vec::new(), ffn: Vec::new(), norm: Expert::Shared },
        };
        let probe = Probe { images: case.batch.images.clone(), size: case.batch.size };
        let graduate = Graduate {
            student: &pupil.student,
            kind: case.config.distill.as_ref().unwrap().student,
            task: &told,
            preprocess: &case.config.preprocess(),
            probe: &probe,
            teacher_params: 1_000_000,
            int8: true,
        };
        let out = folder.path().join(format!("{student}-{head}"));
        // It checks the copies itself.
        let written = write(graduate, &out).unwrap();
        assert!(written.onnx_max_rel_err < 1e-5, "{student} {head} {written:?}");
        let int8 = written.int8_max_rel_err.unwrap();
        assert!(int8 > 1e-5 && int8 < 0.1, "{student} {head} {written:?}");
        let [bytes, floats] = ["model.int8.onnx", "model.onnx"]
            .map(|file| std::fs::metadata(out.join(file)).unwrap().len());
        assert!(3 * bytes < floats, "{student} {head}: {bytes} of {floats}");
        let state = pupil.student.state();
        let trained = state
            .iter()
            .filter(|(name, _)| !name.contains("running_") && !name.ends_with("neck.bias"));
        let counted: usize = trained.map(|(_, tensor)| tensor.values.len()).sum();
        assert_eq!(written.params, counted as u64, "{student} {head}");
        assert!(!state.keys().any(|name| name.starts_with("projector")));
    }
}

#[test]
fn a_teacher_of_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let case = case("linear", "resnet18", &[]);
    let said = |config: &RunConfig, names: &[String]| {
        let inner = tempfile::tempdir_in(folder.path()).unwrap();
        let task = case.task(inner.path(), names);
        let distill = config.distill.as_ref().unwrap();
        format!("{:#}", pupil(config, distill, &task, case.teacher()).unwrap_err())
    };
    let other: Vec<String> = ["x", "y", "z", "w"].map(String::from).to_vec();
    let message = said(&case.config, &other);
    assert!(message.contains("classes 0, 1, 2, 3") && message.contains("w, x, y, z"), "{message}");
    let dark = RunConfig { mean: [0.1; 3], ..case.config.clone() };
    assert!(said(&dark, &classes()).contains("mean [0.5, 0.5, 0.5]"));
}

#[test]
fn a_settled_student_evaluates_as_it_trains() {
    let folder = tempfile::tempdir().unwrap();
    let alone = ["distill.logits=0", "distill.features=0", "distill.relation=0", "task.a.batch=64"];
    let case = case("linear", "mobilenet_v3_small", &alone);
    let mut rng = stream(5, Purpose::Subset, &[]);
    for (class, image) in (0..64).map(|image| (image % CLASSES, image)) {
        let mut noise = ufo_data::Image::filled(SIDE, SIDE, [0; 3]);
        noise.rgb.fill_with(|| rand::RngExt::random(&mut rng));
        let place = folder.path().join(class.to_string());
        std::fs::create_dir_all(&place).unwrap();
        let png = ufo_data::encode_png(&noise).unwrap();
        std::fs::write(place.join(format!("noise-{image}.png")), png).unwrap();
    }
    let task = case.task(folder.path(), &classes());
    let pupil = case.pupil();
    let settled = pupil.settled(&case.config, &task).unwrap();
    let images = task.train.select(&(0..task.train.len()).collect::<Vec<_>>());
    let batch = eval_batches(&images, &case.config.preprocess(), 64).next().unwrap().unwrap();
    let images = || from_values(batch.images.clone(), batch.size, &pupil.student.device());
    let Body::Cnn(net) = &pupil.student.body else { panic!("a convolutional student") };
    let trained = values(&net.classify(net.train(images()).0, None));
    let size: f32 = trained.iter().map(|v| v.abs()).sum();
    let [before, after] = [&pupil, &settled].map(|pupil| {
        let outputs = values(&pupil.student.outputs(images()));
        outputs.iter().zip(&trained).map(|(a, b)| (a - b).abs()).sum::<f32>() / size
    });
    // Fresh running variances let nothing through; measured ones are unbiased, those of a batch are not.
    assert!(after < 0.4 && before > 0.8, "{before} {after}");
}

mod teaching;
