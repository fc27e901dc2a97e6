//! Draws and paths.

use crate::{arch, images, rng, supernet};
use burn_tensor::{Device, Tensor};
use ufo_model::{Draw, RouterConfig, from_values, router, values};
use ufo_nas::{Expert, Layout, Path, Slice};

/// Spec A6: P(share) is the sigmoid of the logits' difference.
#[test]
fn draws_share_with_the_sigmoid_of_the_logits() {
    let draws = 20_000;
    for (logits, expected) in [([0.0, 0.0], 0.5), ([1.0, 0.0], 0.731), ([-0.5, 1.0], 0.182_4)] {
        let logits: Tensor<2> = from_values(logits.to_vec(), [1, 2], &Device::flex());
        let config = RouterConfig { per_image: true, ..RouterConfig::default() };
        let draw = Draw::new(&logits, &config, 5.0, draws, &mut rng(1));
        let shared = draw.shares(0).iter().sum::<f32>() / draws as f32;
        let deviation = (expected * (1.0 - expected) / draws as f32).sqrt();
        assert!((shared - expected).abs() < 4.0 * deviation, "{shared} {expected}");
        assert!((router::share_probabilities(&logits)[0] - expected).abs() < 1e-3);
    }
}

#[test]
fn a_fresh_router_is_a_tie_and_evaluates_as_the_tasks_own_path() {
    let net = supernet(&arch(Layout::B), 1);
    assert_eq!(net.path(0), Path::uniform(&net.arch, Expert::Task));
}

#[test]
fn tau_goes_from_start_to_end() {
    let config = RouterConfig::default();
    assert_eq!((config.tau(0.0), config.tau(1.0)), (5.0, 0.5));
    let constant = RouterConfig { tau_end: 5.0, ..config };
    assert!((constant.tau(0.3) - 5.0).abs() < 1e-6);
}

/// A drawn network computes what the network of the same fixed path computes, and a draw per image
/// gives each image its own path.
#[test]
fn a_draw_computes_its_path() {
    for layout in [Layout::A, Layout::B] {
        let mut net = supernet(&arch(layout), 6);
        let sites = net.arch.routed_sites();
        let x = images(3, &net.arch, 2);
        let slice = Slice::full(&net.arch);
        for (seed, per_image) in [(1, false), (2, false), (3, true)] {
            let config = RouterConfig { per_image, ..RouterConfig::default() };
            net.tasks[0].router =
                Tensor::<2>::zeros([sites, 2], &Device::flex()).autodiff().require_grad();
            let draw = Draw::new(&net.tasks[0].router, &config, 1.0, 3, &mut rng(seed));
            let got = values(&net.routed(0, &draw).forward(x.clone().autodiff(), None));
            for image in 0..3 {
                let expert = |site| {
                    let shares = draw.shares(site);
                    let share = shares[if per_image { image } else { 0 }];
                    if share > 0.5 { Expert::Shared } else { Expert::Task }
                };
                let experts: Vec<Expert> = (0..sites).map(expert).collect();
                let path = Path::from_sites(&net.arch, &experts).unwrap();
                let one = x.clone().slice([image..image + 1]);
                let vit = net.subnet(0, &path, &slice).unwrap();
                let want = values(&vit.forward(one, None));
                let row = &got[image * want.len()..][..want.len()];
                for (got, want) in row.iter().zip(&want) {
                    assert!((got - want).abs() < 1e-5, "{layout:?} {seed} {got} {want}");
                }
            }
        }
    }
}
