//! The options of what a teacher says, and what a student starts from.

use super::*;
use std::path::Path as File;

#[test]
fn the_teachers_classifier_gives_the_teachers_own_loss_on_the_teachers_features() {
    for head in ["linear", "embedding"] {
        let case = case(head, "resnet18", &["distill.classifier=1"]);
        let (teacher, config) = (case.teacher(), &case.config);
        let said = teacher.look(&case.batch.images, false).unwrap();
        let rows = |values: &[f32]| -> Tensor<2> {
            let size = [IMAGES, values.len() / IMAGES];
            from_values(values.to_vec(), size, &burn_tensor::Device::flex()).autodiff()
        };
        let task = &config.tasks[0];
        let terms = taught::Taught {
            distill: config.distill.as_ref().unwrap(),
            task,
            batch: &case.batch,
            classifier: teacher.classifier(),
        };
        let (got, expected) = if case.is_linear() {
            let own = logits_loss(rows(&said.outputs), task, &case.batch).loss;
            (terms.classified(rows(&said.features)), own)
        } else {
            // Cosines by hand, in double precision.
            let Head::Embedding(own) = &case.supernet.tasks[0].head else { panic!("it is one") };
            let ([width, _], weight) =
                (own.classes.weight_io.dims(), values(&own.classes.weight_io));
            let length = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
            let mut cosines = Vec::new();
            for row in said.outputs.chunks_exact(width) {
                let row: Vec<f64> = row.iter().map(|v| f64::from(*v)).collect();
                for class in 0..CLASSES {
                    let column = weight.iter().skip(class).step_by(CLASSES);
                    let column: Vec<f64> = column.map(|v| f64::from(*v)).collect();
                    let dot: f64 = row.iter().zip(&column).map(|(a, b)| a * b).sum();
                    cosines.push((dot / length(&row) / length(&column)) as f32);
                }
            }
            let own = identity_loss(rows(&cosines), task, &case.batch);
            (terms.classified(rows(&said.outputs)), own)
        };
        let [got, expected] = [got, expected].map(|loss| values(&loss)[0]);
        assert!((got - expected).abs() < 1e-4 * expected, "{head}: {got} {expected}");
    }
}

#[test]
fn a_students_map_is_led_to_the_teachers_tokens() {
    let only = ["distill.task_loss=0", "distill.logits=0", "distill.features=0"];
    for student in ["mobilenet_v3_small", "resnet18", "vit_tiny"] {
        let sets = [&only[..], &["distill.relation=0", "distill.maps=1"]].concat();
        let case = case("linear", student, &sets);
        let gap = |pupil: &Pupil| {
            let said = case.teacher().look(&case.batch.images, true).unwrap().tokens.unwrap();
            let images =
                from_values(case.batch.images.clone(), case.batch.size, &pupil.student.device());
            let own =
                pupil.student.train(images, &mut stream(0, Purpose::Init, &[])).tokens.unwrap();
            // A token for each of the 4x4 patches of the teacher.
            assert_eq!(own.dims(), [IMAGES * 16, 24]);
            let said = from_values(said, own.dims(), &pupil.student.device());
            values(&ufo_model::losses::cosine_gap(own.autodiff(), said))[0]
        };
        let (fresh, trained) = (gap(&case.pupil()), gap(&case.trained(20)));
        assert!(trained < 0.7 * fresh, "{student}: {trained} {fresh}");
        let pupil = case.trained(1);
        assert!(case.step(&pupil, 1).grads.contains_key("aligner.weight"));
        assert!(!pupil.student.state().keys().any(|name| name.starts_with("aligner")));
    }
}

#[test]
fn unlabeled_images_count_for_what_the_teacher_says_and_not_for_the_labels() {
    for head in ["linear", "embedding"] {
        // A transformer has no norms over a batch, by which images would change each other.
        let case = case(head, "vit_tiny", &["distill.features=0", "distill.classifier=1"]);
        let pupil = case.pupil();
        let mut more = case.batch.clone();
        more.images.reverse();
        more.labels = vec![9; IMAGES];
        let step = |more: Option<&Batch>| {
            distill_step(&case.config, &pupil, (&case.batch, more), (0, 0.5)).unwrap()
        };
        let (with, without) = (step(Some(&more)), step(None));
        let name = "patch_embed.proj.weight";
        assert_ne!(with.grads[name], without.grads[name], "{head}");
        if head == "linear" {
            assert_eq!(with.losses, without.losses);
        }
        // Without weights of the teacher's they change nothing.
        let mut config = case.config.clone();
        let distill = config.distill.take().unwrap();
        config.distill = Some(DistillConfig { classifier: 1.0, ..distill.without_teacher() });
        let of = |more| distill_step(&config, &pupil, (&case.batch, more), (0, 0.5)).unwrap();
        if head == "linear" {
            assert_close(&of(Some(&more)).grads[name], &of(None).grads[name]);
        }
    }
    let alone = ["logits", "features", "relation"].map(|key| format!("distill.{key}=0"));
    let images = ["distill.unlabeled.path=x".to_string(), "distill.unlabeled.batch=4".to_string()];
    let refused = |sets: &[String]| {
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        std::panic::catch_unwind(|| case("linear", "resnet18", &sets)).is_err()
    };
    assert!(refused(&[&alone[..], &images].concat()) && !refused(&images));
}

fn assert_close(got: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-4 * largest));
}

#[test]
fn an_embedding_of_another_width_is_compared_through_a_projector() {
    let narrow = ["task.a.head.dim=12", "distill.relation=0", "distill.task_loss=0"];
    let wide = case("embedding", "resnet18", &["distill.relation=0", "distill.task_loss=0"]);
    let mut narrow = case("embedding", "resnet18", &narrow);
    narrow.supernet = wide.supernet.clone();
    assert!(wide.pupil().student.projector.is_none());
    let folder = tempfile::tempdir().unwrap();
    let task = narrow.task(folder.path(), &classes());
    let distill = narrow.config.distill.as_ref().unwrap();
    let pupil = pupil(&narrow.config, distill, &task, wide.teacher()).unwrap();
    let projector = pupil.student.projector.as_ref().unwrap();
    assert_eq!(projector.weight_io.dims(), [12, 24]);
    let grads = narrow.step(&pupil, 0).grads;
    for name in ["projector.weight", "layer1.0.conv1.weight"] {
        assert!(grads[name].iter().any(|g| *g != 0.0), "{name}");
    }
}

#[test]
fn a_student_starts_from_torchvisions_weights_but_for_the_classifier() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.safetensors");
    let device = burn_tensor::Device::flex();
    let mut given = ufo_model::cnn::Cnn::init(
        ufo_model::cnn::CnnKind::ResNet18,
        1000,
        &mut stream(9, Purpose::Init, &[]),
        &device,
    );
    let state = ufo_model::state_of(&mut given, "");
    std::fs::write(&file, ufo_weights::to_bytes(&state, &[]).unwrap()).unwrap();
    for head in ["linear", "embedding"] {
        let mut case = case(head, "resnet18", &[]);
        case.config.init = Some(file.clone());
        let got = case.pupil().student.state();
        for (name, tensor) in got.iter().filter(|(name, _)| !name.starts_with("head")) {
            assert_eq!(*tensor == state[name], !name.starts_with("fc."), "{head} {name}");
        }
    }
    let refused = |student: &str, file: &File| {
        let mut case = case("linear", student, &[]);
        case.config.init = Some(file.to_path_buf());
        let inner = tempfile::tempdir().unwrap();
        let task = case.task(inner.path(), &classes());
        let distill = case.config.distill.as_ref().unwrap();
        format!("{:#}", pupil(&case.config, distill, &task, case.teacher()).unwrap_err())
    };
    assert!(refused("resnet50", &file).contains("layer1.0.conv1.weight"));
    assert!(refused("vit_tiny", &file).contains("starts anew"));
    assert!(refused("resnet18", File::new("nothing.safetensors")).contains("nothing.safetensors"));
}
