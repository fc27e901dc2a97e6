use super::*;
use crate::{Optimizer, Rates, Rule, Workers, fresh_supernet, path_step};
use std::collections::BTreeSet;
use std::sync::Arc;
use ufo_data::Dataset;
use ufo_model::TaskSpec;

const CLASSES: usize = 5;
const IMAGES: usize = 6;

/// A small chip supernet's configuration and weights, and a batch of noise.
fn case(head: &str, set: &[&str]) -> (RunConfig, Supernet, Batch) {
    let (format, more) = match head {
        "segmentation" => ("masks", ", channels = 5, doublings = 2"),
        "detection" => ("coco", ", channels = 5"),
        _ => ("idx", ""),
    };
    let text = format!(
        "preset = \"demo\"\nimage_size = 16\n[arch]\ndim = 12\nheads = 3\nhead_dim = 8\nffn = 24\ndepth = 4\nstem = {{ kind = \"patch\", size = 8, stride = 8 }}\n[train]\n[chip]\nfrom = \"-\"\nspace = {{ depths = [2, 3, 4], heads = [1, 3], ffn = [6, 24] }}\n[[task]]\nname = \"a\"\nbatch = {IMAGES}\nhead = {{ kind = \"{head}\"{more} }}\ndata = {{ format = \"{format}\", train = \"-\", test = \"-\" }}\n"
    );
    let sets: Vec<String> = set.iter().map(ToString::to_string).collect();
    let config = RunConfig::parse(&text, &sets).unwrap();
    let spec = TaskSpec { name: "a".into(), head: config.tasks[0].head, classes: CLASSES };
    let supernet = fresh_supernet(&config, &[spec]).unwrap();
    let mut rng = stream(3, Purpose::Init, &[]);
    let size = [IMAGES, 3, 16, 16];
    let images =
        (0..size.iter().product()).map(|_| rand::RngExt::random::<f32>(&mut rng)).collect();
    let labels = (0..IMAGES as u32).map(|image| image % CLASSES as u32).collect();
    let indices = (0..IMAGES).collect();
    let ids = (0..IMAGES * 16 * 16).map(|pixel| (pixel % (CLASSES + 1)) as u8);
    let ids = ids.map(|id| if usize::from(id) == CLASSES { ufo_data::IGNORE } else { id });
    let masks = (format == "masks").then(|| ids.collect());
    let square = |image: usize| {
        let (from, class) = (image as f32, (image % CLASSES) as u32);
        let bounds = ufo_data::Bounds::new([from, 2.0, from + 9.0, 11.0]);
        vec![ufo_data::Annotation { bounds, class, crowd: false, area: 81.0 }]
    };
    let boxes = (format == "coco").then(|| (0..IMAGES).map(square).collect());
    let batch =
        Batch { images, size, labels, masks, boxes, soft: None, indices, skipped: 0, step: 0 };
    (config, supernet, batch)
}

fn step((config, supernet, batch): &(RunConfig, Supernet, Batch), at: u64) -> Step {
    let chip = config.chip.as_ref().unwrap();
    chip_step(config, chip, supernet, batch, (at, 0.5)).unwrap()
}

#[test]
fn the_largest_slice_alone_learns_as_the_whole_path() {
    for head in ["linear", "embedding", "segmentation", "detection"] {
        let case = case(head, &["chip.random=0", "chip.smallest=false"]);
        let (config, supernet, batch) = &case;
        let got = step(&case, 7);
        let path = supernet.path(0);
        let expected = path_step(config, supernet, 0, &path, batch).unwrap();
        assert_eq!(got.losses, [expected.loss]);
        assert_eq!(got.grads, expected.grads);
        assert_eq!(got.heads.len(), usize::from(head != "linear"));
        assert_eq!(got.gradient_cosine, None);
    }
}

#[test]
fn gradients_are_the_mean_over_slices_and_left_out_blocks_get_their_share_only() {
    let alone = case("linear", &["chip.random=0", "chip.smallest=false"]);
    // Without distillation the smallest learns the task's loss as a network of its own would.
    let both = case("linear", &["chip.random=0", "chip.distill=0", "chip.task_loss=1"]);
    let (largest, mean) = (step(&alone, 0), step(&both, 0));
    let last = "tasks.a.blocks.3.mlp.fc1.weight";
    let shared = "shared.blocks.3.mlp.fc1.weight";
    let key = if largest.grads.contains_key(last) { last } else { shared };
    let halves = largest.grads[key].iter().zip(&mean.grads[key]);
    // Block 3 is beyond the smallest slice's depth.
    assert!(halves.into_iter().all(|(whole, half)| (whole / 2.0 - half).abs() <= 1e-7));
    let stem = "tasks.a.patch_embed.proj.weight";
    assert_ne!(largest.grads[stem], mean.grads[stem]);
    assert!(mean.gradient_cosine.is_some_and(|cosine| cosine.abs() <= 1.0));
}

#[test]
fn smaller_slices_are_drawn_anew_each_step_and_the_same_for_a_step() {
    let case = case("linear", &[]);
    let (config, supernet, _) = &case;
    let chip = config.chip.as_ref().unwrap();
    let drawn = |step: u64| draw(config, chip, supernet, (step, 0.0));
    assert_eq!(drawn(4), drawn(4));
    assert!((0..20).any(|step| drawn(step) != drawn(step + 1)));
    for slice in (0..20).flat_map(drawn) {
        assert!(chip.space.contains(&supernet.arch, &slice), "{slice}");
    }
}

#[test]
fn progressive_shrinking_draws_from_the_space_of_its_time() {
    let case = case("linear", &["chip.progressive=true", "chip.random=20", "chip.smallest=false"]);
    let (config, supernet, _) = &case;
    let chip = config.chip.as_ref().unwrap();
    let drawn = |progress: f64| {
        let slices = draw(config, chip, supernet, (3, progress));
        let all = |of: fn(&ufo_nas::BlockSlice) -> usize| -> BTreeSet<usize> {
            slices.iter().flat_map(|slice| &slice.blocks).map(of).collect()
        };
        let depths: BTreeSet<usize> = slices.iter().map(|slice| slice.blocks.len()).collect();
        [depths, all(|kept| kept.heads), all(|kept| kept.ffn)].map(Vec::from_iter)
    };
    let [depths, heads, ffn] = [vec![2, 3, 4], vec![1, 3], vec![6, 24]];
    assert_eq!(drawn(0.1), [depths.clone(), vec![3], vec![24]]);
    assert_eq!(drawn(0.5), [depths.clone(), heads.clone(), vec![24]]);
    assert_eq!(drawn(0.9), [depths, heads, ffn]);
}

/// A folder of pictures of noise, in two classes.
fn pictures(folder: &std::path::Path) -> Arc<Dataset> {
    let mut rng = stream(5, Purpose::Init, &[]);
    for image in 0..10 {
        let place = folder.join((image % 2).to_string());
        std::fs::create_dir_all(&place).unwrap();
        let color = [(); 3].map(|()| rand::RngExt::random::<u8>(&mut rng));
        let bytes = ufo_data::encode_png(&ufo_data::Image::filled(16, 16, color)).unwrap();
        std::fs::write(place.join(format!("{image}.png")), bytes).unwrap();
    }
    Arc::new(Dataset::open(ufo_data::Format::ImageFolder, folder).unwrap())
}

#[test]
fn the_neck_of_a_slice_normalizes_by_the_mean_and_variance_of_its_own_features() {
    let (mut config, supernet, _) = case("embedding", &[]);
    let folder = tempfile::tempdir().unwrap();
    let images = pictures(folder.path());
    let task = Task {
        config: config.tasks[0].clone(),
        train: Arc::clone(&images),
        validation: None,
        test: Arc::clone(&images),
    };
    let (space, whole) = (config.chip.as_ref().unwrap().space.clone(), &supernet.tasks[0].head);
    let neck = |config: &RunConfig, vit: &Vit| match calibrated(config, vit, whole, &task).unwrap()
    {
        Head::Embedding(head) => [values(&head.neck.running_mean), values(&head.neck.running_var)],
        _ => panic!("an embedding's head"),
    };
    let mut means = Vec::new();
    for slice in [space.smallest(&supernet.arch), space.largest(&supernet.arch)] {
        let vit = supernet.subnet(0, &supernet.path(0), &slice).unwrap();
        let features = eval_features(&vit, &images, &config.preprocess()).unwrap();
        let dim = features.len() / images.len();
        let Head::Embedding(head) = whole else { panic!("an embedding's head") };
        let features = from_values(features, [images.len(), dim], &vit.device());
        let projected = values(&head.project(features));
        let [mean, var] = neck(&config, &vit);
        let dim = projected.len() / images.len();
        for column in 0..dim {
            let of: Vec<f64> =
                projected.iter().skip(column).step_by(dim).map(|v| f64::from(*v)).collect();
            let average = of.iter().sum::<f64>() / of.len() as f64;
            let square = of.iter().map(|v| (v - average).powi(2)).sum::<f64>();
            let unbiased = square / (of.len() - 1) as f64;
            assert!((f64::from(mean[column]) - average).abs() < 1e-5, "{average}");
            assert!((f64::from(var[column]) - unbiased).abs() < 1e-4 * unbiased.max(0.1));
        }
        means.push(mean);
        config.chip.as_mut().unwrap().recalibrate = false;
        let unchanged = [values(&head.neck.running_mean), values(&head.neck.running_var)];
        assert_eq!(neck(&config, &vit), unchanged);
        config.chip.as_mut().unwrap().recalibrate = true;
    }
    assert!(means[0].iter().zip(&means[1]).any(|(small, large)| (small - large).abs() > 1e-2));
}

#[test]
fn the_bits_do_not_depend_on_the_number_of_threads() {
    let case = case("embedding", &[]);
    let run = |threads: usize| {
        let workers = Workers::new(threads, 1).unwrap();
        workers.map(1, |_| step(&case, 2)).pop().unwrap().grads
    };
    assert_eq!(run(1), run(3));
}

/// The distance between the outputs of the smallest and the largest slice.
fn gap((config, supernet, batch): &(RunConfig, Supernet, Batch)) -> f32 {
    let space = &config.chip.as_ref().unwrap().space;
    let pass = Pass { config, supernet, batch };
    let outputs = |slice| pass.learn(&slice, None, |scored| scored.loss).unwrap().outputs;
    let [small, large] =
        [space.smallest(&supernet.arch), space.largest(&supernet.arch)].map(outputs);
    let distance = |student: Tensor<2>| {
        let distance = match pass.head() {
            Head::Linear(_) | Head::Segmentation(_) => distill_logits,
            Head::Detection(_) => distill_boxes,
            Head::Embedding(_) => distill_embeddings,
        };
        values(&distance(student.autodiff(), large.clone()))[0]
    };
    distance(small) - distance(large.clone())
}

#[test]
fn distillation_keeps_the_smallest_near_the_largest() {
    let trained = |head: &str, set: &[&str]| {
        let mut case = case(head, &[&["chip.random=0"], set].concat());
        let mut optimizer = Optimizer::default();
        for at in 0..40 {
            let step = step(&case, at);
            let rates = Rates {
                rule: Rule::AdamW,
                momentum: 0.0,
                lr: 0.01,
                router_lr: 0.0,
                weight_decay: 0.0,
                clip: 0.0,
                task_scales: &[],
            };
            optimizer.step(&mut case.1, &step.grads, &rates);
        }
        gap(&case)
    };
    for head in ["linear", "embedding", "detection"] {
        let taught = trained(head, &["chip.task_loss=0"]);
        let untaught = trained(head, &["chip.distill=0", "chip.task_loss=0.001"]);
        assert!(taught < 0.7 * untaught, "{head}: {taught} {untaught}");
    }
}

#[test]
fn projection_leaves_nothing_against_the_smaller_slices() {
    let grads = |values: &[f32]| Grads::from([("w".to_string(), values.to_vec())]);
    let mut a = grads(&[1.0, 1.0]);
    project(&mut a, &grads(&[-2.0, 0.0]));
    assert_eq!(a, grads(&[0.0, 1.0]));
    let mut agreeing = grads(&[1.0, -1.0]);
    project(&mut agreeing, &grads(&[1.0, 0.5]));
    assert_eq!(agreeing, grads(&[1.0, -1.0]));
    assert_eq!(cosine(&grads(&[1.0, 0.0]), &grads(&[-3.0, 0.0])), Some(-1.0));
    assert_eq!(cosine(&grads(&[0.0]), &grads(&[1.0])), None);
}
