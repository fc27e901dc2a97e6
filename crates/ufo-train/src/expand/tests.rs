use super::*;
use crate::{Optimizer, Rates, Rule, Update, evaluate, fresh_supernet};
use ufo_model::{TaskSpec, values};

const CLASSES: usize = 4;
const IMAGES: usize = 5;

/// Configuration and weights of a supernet of one old task and a new one, and a batch of noise.
fn case(layout: &str, head: &str, update: &str) -> (RunConfig, Supernet, Batch) {
    let task = |name: &str| {
        format!(
            "[[task]]\nname = \"{name}\"\nbatch = {IMAGES}\nhead = {{ kind = \"{head}\" }}\ndata = {{ format = \"idx\", train = \"-\", test = \"-\" }}\n"
        )
    };
    let text = format!(
        "preset = \"demo\"\nlayout = \"{layout}\"\nimage_size = 16\n[arch]\ndim = 12\nheads = 3\nhead_dim = 8\nffn = 24\ndepth = 3\nstem = {{ kind = \"conv\", widths = [4], patch = 4 }}\n[train]\n[expand]\nfrom = \"-\"\nupdate = \"{update}\"\n{}{}",
        task("old"),
        task("new")
    );
    let config = RunConfig::parse(&text, &[]).unwrap();
    let spec =
        |name: &str| TaskSpec { name: name.into(), head: config.tasks[0].head, classes: CLASSES };
    let mut rng = stream(3, Purpose::Init, &[]);
    let mut supernet = fresh_supernet(&config, &[spec("old")]).unwrap();
    let stem = supernet.tasks[0].stem.clone();
    supernet.add_task(&spec("new"), stem, &mut rng);
    let experts = config.expand.as_ref().unwrap().update.experts(&supernet.arch);
    let device = supernet.tasks[1].router.device();
    supernet.tasks[1].router = router::logits_for(&experts, &device);
    let size = [IMAGES, 3, 16, 16];
    let images =
        (0..size.iter().product()).map(|_| rand::RngExt::random::<f32>(&mut rng)).collect();
    let labels = (0..IMAGES as u32).map(|image| image % CLASSES as u32).collect();
    let indices = (0..IMAGES).collect();
    let (masks, boxes, soft) = (None, None, None);
    let batch = Batch { images, size, labels, masks, boxes, soft, indices, skipped: 0, step: 0 };
    (config, supernet, batch)
}

fn step((config, supernet, batch): &(RunConfig, Supernet, Batch), at: u64) -> Step {
    expand_step(config, config.expand.as_ref().unwrap(), supernet, batch, (at, 0.5))
}

/// Takes steps until each site of a router has been drawn both ways; gives the last gradients and losses.
fn train(case: &mut (RunConfig, Supernet, Batch)) -> (Vec<String>, Vec<f32>) {
    let rates = Rates {
        rule: Rule::AdamW,
        momentum: 0.0,
        lr: 0.01,
        router_lr: 0.1,
        weight_decay: 0.1,
        clip: 1.0,
        task_scales: &[],
    };
    let mut optimizer = Optimizer::default();
    let (mut names, mut losses) = (std::collections::BTreeSet::new(), Vec::new());
    for at in 0..12 {
        let step = step(case, at);
        optimizer.step(&mut case.1, &step.grads, &rates);
        names.extend(step.grads.keys().cloned());
        losses.extend(step.losses);
    }
    let moved = optimizer
        .state()
        .into_keys()
        .filter_map(|key| Some(key.strip_suffix(".updates")?.to_string()));
    assert!(moved.eq(names.iter().cloned()), "optimizer state of what is trained alone");
    (names.into_iter().collect(), losses)
}

fn outputs(supernet: &Supernet, index: usize, batch: &Batch) -> Vec<u32> {
    let path = supernet.path(index);
    let vit = supernet.subnet(index, &path, &Slice::full(&supernet.arch)).unwrap();
    let head = &supernet.tasks[index].head;
    let rows = evaluate::run(&vit, head, batch.images.clone(), batch.size);
    rows.into_iter().map(f32::to_bits).collect()
}

#[test]
fn old_tasks_keep_their_bits_and_the_new_one_learns() {
    for layout in ["a", "b"] {
        for update in ["head", "expert", "expert+router", "norms", "last-1", "all"] {
            let mut case = case(layout, "linear", update);
            let parsed: Update = update.parse().unwrap();
            let before = (outputs(&case.1, 0, &case.2), hash_of_others(&case.1, 1).unwrap());
            let new = outputs(&case.1, 1, &case.2);
            let (_, losses) = train(&mut case);
            let after = (outputs(&case.1, 0, &case.2), hash_of_others(&case.1, 1).unwrap());
            let kept = parsed.keeps_others(case.1.arch.layout);
            assert_eq!(after == before, kept, "{layout} {update}");
            assert_ne!(outputs(&case.1, 1, &case.2), new, "{layout} {update}");
            assert!(losses[11] < losses[0], "{layout} {update}: {losses:?}");
        }
    }
}

#[test]
fn gradients_reach_the_named_parameters_and_no_others() {
    for head in ["linear", "embedding"] {
        for update in ["head", "expert", "expert+router", "norms", "last-2", "all"] {
            let mut case = case("b", head, update);
            let expand = case.0.expand.clone().unwrap();
            let (names, _) = train(&mut case);
            let mut expected: Vec<String> = state_of(&mut case.1.clone(), "")
                .into_keys()
                .filter(|name| expand.update.trains(&case.1.arch, "new", name))
                .filter(|name| !name.contains("running_") && !name.ends_with("neck.bias"))
                .collect();
            expected.sort();
            assert_eq!(names, expected, "{head} {update}");
            let counted = parameters(&expand, &case.1, 1);
            let state = state_of(&mut case.1, "");
            let values: usize = names.iter().map(|name| state[name].values.len()).sum();
            assert_eq!(counted.trained, values as u64, "{head} {update}");
        }
    }
}

#[test]
fn what_is_trained_gets_the_gradient_that_full_training_gives_it() {
    // Along the same path, so that all else is equal.
    let whole = case("b", "linear", "all");
    let full = step(&whole, 0);
    for update in ["norms", "head", "last-1"] {
        let mut some = case("b", "linear", update);
        some.1 = whole.1.clone();
        let experts = Update::All.experts(&some.1.arch);
        let fixed: Vec<(usize, Expert)> = experts.into_iter().flatten().enumerate().collect();
        let parsed: Update = update.parse().unwrap();
        let leaves = some.1.leaves_where(1, |name| parsed.trains(&whole.1.arch, "new", name));
        let part = routed_step(&some.0, leaves, (1, &fixed), &some.2, (0, 0.5));
        assert!(!part.grads.is_empty() && part.grads.len() < full.grads.len());
        for (name, grad) in &part.grads {
            assert_eq!(grad, &full.grads[name], "{update} {name}");
        }
    }
}

#[test]
fn the_new_task_starts_as_the_shared_branch() {
    for update in ["head", "expert", "norms", "last-1", "all"] {
        let (_, supernet, batch) = case("b", "linear", update);
        let features = |path: &Path| {
            let vit = supernet.subnet(1, path, &Slice::full(&supernet.arch)).unwrap();
            let images = ufo_model::from_values(batch.images.clone(), batch.size, &vit.device());
            values(&vit.forward(images, None))
        };
        let shared = Path::uniform(&supernet.arch, Expert::Shared);
        assert_eq!(features(&supernet.path(1)), features(&shared), "{update}");
    }
}

#[test]
fn the_nearest_mean_leaves_each_row_out_of_its_own_class() {
    // Class 0 along x, class 1 along y but for its last row, which lies with class 0; class 2 has one row.
    let rows = [1.0, 0.1, 2.0, 0.0, 0.0, 3.0, 0.1, 1.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.5];
    let accuracy = nearest_mean(&rows, &[0, 0, 1, 1, 1, 1, 2], 3);
    assert!((accuracy - 5.0 / 6.0).abs() < 1e-12, "{accuracy}");
    assert!(nearest_mean(&[1.0, 2.0], &[0, 1], 2).is_nan());
}
