use super::*;
use crate::{fresh_supernet, task_step};
use ufo_data::{Bounds, Purpose, stream};
use ufo_model::{Head, Supernet, TaskSpec};
use ufo_nas::Slice;

const TEXT: &str = r#"preset = "demo"
image_size = 16
[arch]
dim = 12
heads = 3
head_dim = 8
ffn = 24
depth = 2
stem = { kind = "patch", size = 4, stride = 4 }
[train]
precision = "f32"
[[task]]
name = "a"
batch = 3
head = { kind = "detection", channels = 6 }
data = { format = "coco", train = "-", test = "-" }
"#;

fn annotation(bounds: [f32; 4], class: u32, crowd: bool) -> Annotation {
    let bounds = Bounds::new(bounds);
    Annotation { bounds, class, crowd, area: bounds.area() as f32 }
}

/// A small supernet of one detection task of two classes, and a batch of noise.
fn case() -> (RunConfig, Supernet, Batch) {
    let config = RunConfig::parse(TEXT, &[]).unwrap();
    let spec = TaskSpec { name: "a".into(), head: config.tasks[0].head, classes: 2 };
    let supernet = fresh_supernet(&config, &[spec]).unwrap();
    let mut rng = stream(3, Purpose::Init, &[]);
    let size = [3, 3, 16, 16];
    let images =
        (0..size.iter().product()).map(|_| rand::RngExt::random::<f32>(&mut rng)).collect();
    let boxes = vec![
        vec![
            annotation([1.0, 2.0, 9.0, 8.0], 0, false),
            annotation([6.0, 5.0, 15.0, 15.0], 1, false),
        ],
        Vec::new(),
        vec![annotation([0.0, 0.0, 8.0, 16.0], 0, true)],
    ];
    let (labels, indices) = (vec![0; 3], (0..3).collect());
    let (masks, boxes, soft) = (None, Some(boxes), None);
    let batch = Batch { step: 0, size, images, labels, masks, boxes, soft, indices, skipped: 0 };
    (config, supernet, batch)
}

#[test]
fn places_belong_to_the_smallest_box_around_them_near_its_middle() {
    // Places 4 pixels apart, the first at 2.
    let map = Map { size: [4, 4], image: [16, 16], classes: 2, radius: 0.0 };
    let large = annotation([0.0, 0.0, 16.0, 12.0], 0, false);
    let small = annotation([4.0, 4.0, 12.0, 8.0], 1, false);
    let crowd = annotation([0.0, 11.0, 8.0, 16.0], 0, true);
    let told = places(&[vec![large, small, crowd], Vec::new()], &map);
    let class_of = |place: usize| match told.classes[2 * place..][..2] {
        [1.0, 0.0] => '0',
        [0.0, 1.0] => '1',
        _ if told.counted[place] == 0.0 => '-',
        _ => '.',
    };
    let shown: String = (0..32).map(class_of).collect();
    assert_eq!(shown, format!("0000{}0000--..{}", "0110", ".".repeat(16)));
    // The place at 6, 6 of the small box.
    let inside = told.inside.iter().find(|inside| inside.place == 5).unwrap();
    assert_eq!(inside.sides.map(f32::to_bits), [0.5_f32, 0.5, 1.5, 0.5].map(f32::to_bits));
    assert!((inside.center - (1.0_f32 / 3.0).sqrt()).abs() < 1e-6);
    assert_eq!(told.inside.len(), 12);
    // Within one distance of the middle at 8, 6 lie two places each way and three rows.
    let near = places(&[vec![large]], &Map { radius: 1.0, ..map });
    let rows: Vec<usize> = near.inside.iter().map(|inside| inside.place).collect();
    assert_eq!(rows, [1, 2, 5, 6, 9, 10]);
}

#[test]
fn a_step_trains_the_head_and_measures_its_maps() {
    let (config, supernet, batch) = case();
    let step = task_step(&config, &supernet, 0, &batch, (0, 0.0));
    for name in ["stages.0.conv.weight", "stages.1.bn.bias", "outputs.weight", "outputs.bias"] {
        let grad = &step.grads[&format!("tasks.a.head.{name}")];
        assert!(grad.iter().any(|g| *g != 0.0), "{name}");
    }
    let Some(HeadStatistics::Maps(moments)) = step.measured else { panic!("it has maps") };
    assert_eq!(moments.len(), 2);
    assert!(step.loss.is_finite() && step.loss > 0.0);
}

/// A head that learned two boxes by heart finds them: targets, loss, decoding and suppression fit together.
#[test]
fn boxes_that_are_learned_by_heart_are_found() {
    let (config, mut supernet, mut batch) = case();
    let boxes = batch.boxes.as_mut().unwrap();
    boxes[2] = vec![annotation([4.0, 3.0, 12.0, 13.0], 1, false)];
    let mut optimizer = crate::Optimizer::default();
    let path = supernet.path(0);
    for _ in 0..400 {
        let told = crate::path_step(&config, &supernet, 0, &path, &batch).unwrap();
        let rates = crate::Rates {
            rule: crate::Rule::AdamW,
            momentum: 0.9,
            lr: 1e-2,
            router_lr: 0.0,
            weight_decay: 0.0,
            clip: 0.0,
            task_scales: &[],
        };
        optimizer.step(&mut supernet, &told.grads, &rates);
        if let Some(statistics) = &told.measured {
            supernet.tasks[0].head.absorb(statistics);
        }
    }
    let vit = supernet.subnet(0, &path, &Slice::full(&supernet.arch)).unwrap();
    let images = from_values(batch.images.clone(), batch.size, &vit.device());
    let Head::Detection(head) = &supernet.tasks[0].head else { panic!("it is one") };
    let outputs = values(&head.forward(&vit.tokens(images, None, &[]), vit.mode));
    let finding = Finding { classes: 2, overlap: 0.0, nms: 0.5, most: 10 };
    for (truth, outputs) in batch.boxes.unwrap().iter().zip(outputs.chunks(outputs.len() / 3)) {
        let found = ufo_data::found(outputs, &finding, [16, 16]);
        let sure: Vec<_> = found.iter().filter(|found| found.score > 0.4).collect();
        assert_eq!(sure.len(), truth.len(), "{found:?}");
        for truth in truth {
            let same = |found: &&&Detection| {
                found.class == truth.class && found.bounds.iou(&truth.bounds) > 0.7
            };
            assert!(sure.iter().find(same).is_some(), "{truth:?} {found:?}");
        }
    }
}

#[test]
fn what_does_not_fit_a_detection_is_named() {
    let refused = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        format!("{:#}", RunConfig::parse(TEXT, &sets).expect_err("it is wrong"))
    };
    for (sets, words) in [
        (&["task.a.data.format=idx"][..], vec!["task `a`", "head, data.format", "`coco`"]),
        (&["task.a.augment.mixup=0.2"], vec!["augment: mixup", "flip, random_scale and color"]),
        (&["task.a.label_smoothing=0.1"], vec!["label_smoothing"]),
        (&["task.a.head.channels=0"], vec!["channels = 0", "1 to 4096"]),
        (&["task.a.head.convolutions=9"], vec!["convolutions = 9", "1 to 8"]),
        (&["task.a.head.doublings=2"], vec!["doublings = 2", "below head.convolutions = 2"]),
        (
            &["task.a.head.doublings=3", "task.a.head.convolutions=4"],
            vec!["head.doublings = 3", "4x4 patches", "16x16"],
        ),
        (&["task.a.head.radius=-1"], vec!["head.radius = -1"]),
        (&["task.a.head.lr_scale=0"], vec!["head.lr_scale = 0"]),
        (&["task.a.eval.kind=segmentation"], vec!["eval", "a detection by `detection`"]),
        (&["task.a.eval.kind=detection", "task.a.eval.nms=2"], vec!["nms = 2"]),
        (&["task.a.head={ kind = \"linear\" }"], vec!["head, data.format", "`detection` head"]),
        (
            &["distill.teacher=runs/x", "distill.student=resnet18"],
            vec!["task `a`", "not masks or boxes"],
        ),
    ] {
        let message = refused(sets);
        for word in words {
            assert!(message.contains(word), "`{word}` is not in: {message}");
        }
    }
}
