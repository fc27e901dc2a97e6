use super::*;
use crate::{fresh_supernet, task_step};
use ufo_data::{Purpose, stream};
use ufo_model::{Head, Supernet, TaskSpec};
use ufo_nas::Slice;

const TEXT: &str = r#"preset = "demo"
image_size = 16
[arch]
dim = 12
heads = 3
head_dim = 8
ffn = 24
depth = 4
stem = { kind = "patch", size = 8, stride = 8 }
[train]
[[task]]
name = "a"
batch = 4
head = { kind = "segmentation", channels = 5, doublings = 2 }
data = { format = "masks", train = "-", test = "-" }
"#;

/// A small supernet of one segmentation task, and a batch of noise with classes 0 to 2.
fn case() -> (RunConfig, Supernet, Batch) {
    let config = RunConfig::parse(TEXT, &[]).unwrap();
    let spec = TaskSpec { name: "a".into(), head: config.tasks[0].head, classes: 3 };
    let supernet = fresh_supernet(&config, &[spec]).unwrap();
    let mut rng = stream(3, Purpose::Init, &[]);
    let size = [4, 3, 16, 16];
    let images =
        (0..size.iter().product()).map(|_| rand::RngExt::random::<f32>(&mut rng)).collect();
    let masks = Some((0..4 * 256).map(|pixel| (pixel / 5 % 3) as u8).collect());
    let (labels, indices) = (vec![0; 4], (0..4).collect());
    let batch = Batch {
        step: 0,
        size,
        images,
        labels,
        masks,
        boxes: None,
        soft: None,
        indices,
        skipped: 0,
    };
    (config, supernet, batch)
}

/// The training pass of the largest network on the batch.
fn scored(
    config: &RunConfig,
    supernet: &Supernet,
    batch: &Batch,
    taps: &[usize],
) -> (f32, Vec<f32>) {
    let vit = supernet.subnet(0, &supernet.path(0), &Slice::full(&supernet.arch)).unwrap();
    let images = from_values(batch.images.clone(), batch.size, &vit.device());
    let tokens = vit.tokens(images, None, taps);
    let Head::Segmentation(head) = &supernet.tasks[0].head else { panic!("it is one") };
    let scored = loss(head, &tokens, (&config.tasks[0], batch), vit.mode);
    (values(&scored.loss)[0], values(&scored.outputs))
}

#[test]
fn the_loss_is_the_mean_over_the_pixels_that_count() {
    let (config, supernet, mut batch) = case();
    let masks = batch.masks.as_mut().unwrap();
    masks[100..900].fill(IGNORE);
    let (got, logits) = scored(&config, &supernet, &batch, &[]);
    let masks = batch.masks.as_ref().unwrap();
    let each =
        logits.chunks_exact(3).zip(masks).filter(|(_, id)| **id != IGNORE).map(|(row, id)| {
            let sum: f64 = row.iter().map(|logit| f64::from(*logit).exp()).sum();
            sum.ln() - f64::from(row[usize::from(*id)])
        });
    let each: Vec<f64> = each.collect();
    assert_eq!(each.len(), 4 * 256 - 800);
    let expected = each.iter().sum::<f64>() / each.len() as f64;
    assert!((f64::from(got) - expected).abs() < 1e-5, "{got} {expected}");
    // Auxiliary heads add their losses; nothing that counts is no loss.
    let (more, _) = scored(&config, &supernet, &batch, &[0, 3]);
    assert!(more > got + 0.4, "{more} {got}");
    batch.masks.as_mut().unwrap().fill(IGNORE);
    assert!(scored(&config, &supernet, &batch, &[0]).0 == 0.0);
    let step = task_step(&config, &supernet, 0, &batch, (0, 0.0));
    assert!(step.grads.values().flatten().all(|g| *g == 0.0));
}

#[test]
fn a_step_trains_the_head_and_its_auxiliary_and_measures_their_maps() {
    let (config, supernet, batch) = case();
    let step = task_step(&config, &supernet, 0, &batch, (0, 0.0));
    for name in
        ["stages.0.conv.weight", "stages.2.bn.bias", "classes.weight", "auxiliary.conv.weight"]
    {
        let grad = &step.grads[&format!("tasks.a.head.{name}")];
        assert!(grad.iter().any(|g| *g != 0.0), "{name}");
    }
    // Three stages and four taps, all of the four blocks.
    let Some(HeadStatistics::Maps(moments)) = step.measured else { panic!("it has maps") };
    assert_eq!(moments.len(), 3 + 4);
}

#[test]
fn what_does_not_fit_a_segmentation_is_named() {
    let refused = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        format!("{:#}", RunConfig::parse(TEXT, &sets).expect_err("it is wrong"))
    };
    for (sets, words) in [
        (&["task.a.data.format=idx"][..], vec!["task `a`", "head, data.format", "`masks`"]),
        (&["task.a.augment.mixup=0.2"], vec!["augment: mixup", "flip, random_scale and color"]),
        (
            &["task.a.augment.random_scale.range=[2.0, 1.0]"],
            vec!["random_scale.range", "[2.0, 1.0]"],
        ),
        (&["task.a.label_smoothing=0.1"], vec!["label_smoothing"]),
        (&["task.a.head.doublings=4"], vec!["head.doublings = 4", "2x2 patches", "16x16"]),
        (&["task.a.head.detail=true"], vec!["head.detail = true", "16x16, not 8x8"]),
        (&["task.a.head.taps=[0, 1, 2, 4]"], vec!["head.taps = [0, 1, 2, 4]", "below 4"]),
        (&["task.a.head.auxiliary=-1"], vec!["head.auxiliary = -1"]),
        (&["task.a.head.channels=0"], vec!["channels = 0", "1 to 4096"]),
        (&["task.a.head.lr_scale=0"], vec!["head.lr_scale = 0"]),
        (&["task.a.eval.kind=classification"], vec!["eval", "a segmentation by `segmentation`"]),
        (&["task.a.eval.kind=segmentation", "task.a.eval.overlap=1.5"], vec!["overlap = 1.5"]),
        (
            &[
                "task.a.head={ kind = \"linear\" }",
                "task.a.data.format=idx",
                "task.a.augment.color=0.4",
            ],
            vec!["augment: color", "only a segmentation or detection task"],
        ),
        (&["distill.teacher=runs/x", "distill.student=resnet18"], vec!["task `a`", "not masks"]),
    ] {
        let message = refused(sets);
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }
}

#[test]
fn patches_take_the_class_of_most_of_their_pixels() {
    assert_eq!(most_frequent([1, 2, 2, 0].iter()), Some(2));
    assert_eq!(most_frequent([1, 1, 0, 0].iter()), Some(0));
    assert_eq!(most_frequent([IGNORE, IGNORE, 0].iter()), None);
}
