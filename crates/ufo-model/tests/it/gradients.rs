//! Whose parameters a task's loss reaches (spec claim 18), and the router's gradient (claim 17).

use crate::{arch, images, rng, supernet};
use burn_tensor::{Device, Tensor};
use std::collections::BTreeMap;
use ufo_model::{
    Draw, Head, LayerNorm, Mode, RouterConfig, Site, Supernet, Visit, Visitor, from_values, router,
    values,
};
use ufo_nas::Layout;

/// Largest absolute gradient of every parameter that has one.
fn gradients(
    supernet: &Supernet,
    index: usize,
    config: &RouterConfig,
    seed: u64,
) -> BTreeMap<String, f32> {
    struct Largest(burn_tensor::Gradients, BTreeMap<String, f32>);
    impl Visitor for Largest {
        fn tensor<const D: usize>(&mut self, name: &str, tensor: &mut Tensor<D>) {
            if !tensor.is_require_grad() {
                return;
            }
            if let Some(grad) = tensor.grad(&self.0) {
                let largest = values(&grad).iter().fold(0.0_f32, |most, g| most.max(g.abs()));
                self.1.insert(name.to_string(), largest);
            }
        }
        fn buffer<const D: usize>(&mut self, _: &str, _: &mut Tensor<D>) {}
    }
    let mut leaves = supernet.clone();
    ufo_model::require_grad(&mut leaves);
    let draw = Draw::new(&leaves.tasks[index].router, config, 1.0, 4, &mut rng(seed));
    let x = images(4, &leaves.arch, seed).autodiff();
    let vit = leaves.routed(index, &draw);
    let outputs = match &leaves.tasks[index].head {
        Head::Linear(linear) => vec![linear.forward(vit.forward(x, None))],
        Head::Embedding(head) => vec![head.train(vit.forward(x, None)).cosines],
        Head::Segmentation(head) => {
            let given = head.train(&vit.tokens(x, None, &[0, 2]), Mode::default());
            [vec![given.logits], given.auxiliary].concat()
        }
        Head::Detection(head) => {
            vec![head.train(&vit.tokens(x, None, &[]), Mode::default()).outputs]
        }
    };
    // A sum of squares, so that no gradient vanishes by symmetry.
    let squares = outputs.into_iter().map(|out| (out.clone() * out).sum());
    let grads = squares.reduce(|sum, square| sum + square).unwrap().backward();
    let mut largest = Largest(grads, BTreeMap::new());
    leaves.visit("", &mut largest);
    largest.1
}

#[test]
fn a_loss_reaches_shared_and_own_experts_and_nothing_of_other_tasks() {
    for layout in [Layout::A, Layout::B] {
        let supernet = supernet(&arch(layout), 1);
        let all = ["tasks.first.", "tasks.second.", "tasks.third.", "tasks.fourth."];
        for (index, own) in all.into_iter().enumerate() {
            let used = |name: &str| name.starts_with("shared.") || name.starts_with(own);
            let mut reached = BTreeMap::new();
            for seed in 0..12 {
                let grads = gradients(&supernet, index, &RouterConfig::default(), seed);
                assert!(grads.keys().all(|name| used(name)), "{layout:?} {own}");
                for block in 0..3 {
                    let [shared, task] = ["shared.", own].map(|owner| {
                        grads.contains_key(&format!("{owner}blocks.{block}.mlp.fc1.weight"))
                    });
                    assert!(shared != task, "one FFN expert a block and step is trained");
                }
                for (name, largest) in grads {
                    let most: &mut f32 = reached.entry(name).or_default();
                    *most = most.max(largest);
                }
            }
            let mut all = supernet.clone();
            let expected = ufo_model::state_of(&mut all, "");
            for name in expected.keys().filter(|name| used(name)) {
                let frozen = ["neck.bias", "running_mean", "running_var"];
                if frozen.iter().any(|end| name.ends_with(end)) {
                    assert!(!reached.contains_key(name), "{name} is never trained");
                    continue;
                }
                // A key's bias moves every score of a query alike: softmax takes it out.
                let largest = reached.get(name).copied().unwrap_or(0.0);
                assert!(largest > 0.0, "{layout:?} task {index}: {name} is not reached");
            }
        }
    }
}

#[test]
fn drawing_per_image_trains_both_experts_of_a_site() {
    let supernet = supernet(&arch(Layout::B), 2);
    let config = RouterConfig { per_image: true, ..RouterConfig::default() };
    let grads = gradients(&supernet, 0, &config, 5);
    for owner in ["shared", "tasks.first"] {
        assert!(grads.get(&format!("{owner}.blocks.1.mlp.fc1.weight")).is_some_and(|g| *g > 0.0));
    }
}

/// The straight-through gradient, averaged over draws, against finite differences of the expected
/// loss `P L(shared) + (1 - P) L(task)`, `P = sigmoid(a_shared - a_task)`. They agree for a loss that
/// is linear in the site's output and a small temperature.
#[test]
fn the_router_gradient_is_that_of_the_expected_loss() {
    let device = Device::flex();
    let norm = |scale: f32| LayerNorm {
        weight: Tensor::ones([4], &device) * scale,
        bias: Tensor::zeros([4], &device),
    };
    let (shared, task) = (norm(1.0), norm(-0.5));
    let x: Tensor<3> = from_values(vec![0.3, -1.0, 0.8, 2.0], [1, 1, 4], &device);
    let direction: Tensor<3> = from_values(vec![1.0, 0.5, -2.0, 0.7], [1, 1, 4], &device);
    let loss = |site: &Site<LayerNorm>, x: Tensor<3>, direction: Tensor<3>| {
        (site.forward(x, None, Mode::default()) * direction).sum()
    };
    let alone = |norm: &LayerNorm| {
        values(&loss(&Site::Fixed(norm.clone()), x.clone(), direction.clone()))[0]
    };
    let (loss_shared, loss_task) = (alone(&shared), alone(&task));
    let logits = [0.4_f32, -0.3];
    let expected_loss = |a: [f32; 2]| {
        let share = router::share_probabilities(&from_values(a.to_vec(), [1, 2], &device))[0];
        f64::from(share) * f64::from(loss_shared) + f64::from(1.0 - share) * f64::from(loss_task)
    };
    let step = 1e-2;
    let finite = [[step, 0.0], [0.0, step]].map(|[s, t]| {
        let (up, down) = ([logits[0] + s, logits[1] + t], [logits[0] - s, logits[1] - t]);
        (expected_loss(up) - expected_loss(down)) / f64::from(2.0 * step)
    });
    let draws = 20_000;
    let mut rng = rng(7);
    let mut mean = [0.0_f64; 2];
    for _ in 0..draws {
        let leaf: Tensor<2> =
            from_values::<2>(logits.to_vec(), [1, 2], &device).autodiff().require_grad();
        let draw = Draw::new(&leaf, &RouterConfig::default(), 0.1, 1, &mut rng);
        let site = draw.site(0, &shared, &task);
        let mut grads = loss(&site, x.clone().autodiff(), direction.clone().autodiff()).backward();
        let grad = values(&leaf.grad_remove(&mut grads).unwrap());
        for (mean, grad) in mean.iter_mut().zip(grad) {
            *mean += f64::from(grad) / f64::from(draws);
        }
    }
    for (got, want) in mean.iter().zip(finite) {
        assert!((got - want).abs() < 0.06 * want.abs(), "{mean:?} {finite:?}");
    }
}

/// What the other expert would have done is measured on some of the images only: unbiased when the
/// images are alike.
#[test]
fn a_fraction_of_the_images_gives_the_same_router_gradient_for_equal_images() {
    let supernet = supernet(&arch(Layout::B), 3);
    let one = images(1, &supernet.arch, 4);
    let same = Tensor::cat(vec![one; 4], 0);
    let gradient = |fraction: f32| {
        let mut leaves = supernet.clone();
        ufo_model::require_grad(&mut leaves);
        let config = RouterConfig { other_fraction: fraction, ..RouterConfig::default() };
        let draw = Draw::new(&leaves.tasks[0].router, &config, 1.0, 4, &mut rng(9));
        let features = leaves.routed(0, &draw).forward(same.clone().autodiff(), None);
        let mut grads = features.sum().backward();
        values(&leaves.tasks[0].router.grad_remove(&mut grads).unwrap())
    };
    for (whole, part) in gradient(1.0).iter().zip(gradient(0.25)) {
        assert!((whole - part).abs() < 1e-4 * whole.abs().max(1e-2), "{whole} {part}");
    }
}
