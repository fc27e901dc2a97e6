//! The runtime without burn gives the bits of the network that it was extracted from.

use crate::slices::{random_arch, random_path, random_slice};
use crate::{images, rng, supernet};
use ufo_data::Preprocess;
use ufo_model::{Head, Named, Supernet, state_of, values};
use ufo_nas::{Path, Slice};
use ufo_runtime::{Described, DescribedTask, Model, Precision};
use ufo_weights::State;

/// Tasks of a supernet along their paths, described and as named tensors.
fn folder(net: &Supernet, slice: &Slice, chosen: &[(usize, Path)]) -> (Described, State) {
    let tasks = chosen.iter().map(|(index, path)| {
        let spec = &net.tasks[*index].spec;
        DescribedTask {
            name: spec.name.clone(),
            task: None,
            slice: slice.clone(),
            head: spec.head.shape(spec.classes).extracted(),
            classes: (0..spec.classes).map(|class| class.to_string()).collect(),
            path: path.clone(),
        }
    });
    let described = Described {
        arch: net.arch.clone(),
        apart: false,
        preprocess: Preprocess { size: net.arch.image_size, ..Preprocess::default() },
        tasks: tasks.collect(),
    };
    let mut state = State::new();
    for (position, (index, path)) in chosen.iter().enumerate() {
        let (keys, head) = described.keys(position);
        let mut vit = net.subnet(*index, path, slice).unwrap();
        state.extend(state_of(&mut Named { vit: &mut vit, keys: &keys }, ""));
        state.extend(state_of(&mut net.tasks[*index].head.extracted(), &head));
    }
    (described, state)
}

#[test]
fn outputs_and_features_are_the_networks_bit_for_bit_on_any_number_of_threads() {
    for seed in 0..24 {
        let mut rng = rng(seed);
        let arch = random_arch(&mut rng);
        let slice = random_slice(&arch, &mut rng);
        let net = supernet(&arch, seed);
        let paths = [0, 1, 2, 3].map(|index| (index, random_path(&arch, &mut rng)));
        for chosen in [&paths[..1], &paths[1..2], &paths[2..3], &paths[3..], &paths[..]] {
            let (described, state) = folder(&net, &slice, chosen);
            let model = Model::new(described, &state, "memory", Precision::F32).unwrap();
            for (position, (index, path)) in chosen.iter().enumerate() {
                let vit = net.subnet(*index, path, &slice).unwrap();
                for count in [1, 2, 7] {
                    let x = images(count, &arch, seed);
                    let head = &net.tasks[*index].head;
                    let outputs = values(&head.run(&vit, x.clone()));
                    let features = match head {
                        Head::Segmentation(_) | Head::Detection(_) => {
                            values(&vit.tokens(x.clone(), None, &[]).last)
                        }
                        _ => values(&vit.forward(x.clone(), None)),
                    };
                    let x = values(&x);
                    for threads in [1, 2, 3] {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
                        let (got_features, got) = pool.build().unwrap().install(|| {
                            (model.features(position, &x), model.outputs(position, &x))
                        });
                        assert_eq!(got_features.unwrap(), features, "seed {seed}");
                        assert_eq!(got.unwrap(), outputs, "seed {seed}, {threads} threads");
                    }
                }
            }
        }
    }
}

#[test]
fn lower_precisions_stay_near_and_do_not_depend_on_threads() {
    for seed in 0..8 {
        let mut rng = rng(seed);
        let arch = random_arch(&mut rng);
        let (net, slice) = (supernet(&arch, seed), Slice::full(&arch));
        let chosen = [0, 1, 2, 3].map(|index| (index, random_path(&arch, &mut rng)));
        let x = values(&images(9, &arch, seed));
        let outputs = |precision: Precision, threads: usize| {
            let (described, state) = folder(&net, &slice, &chosen);
            let model = Model::new(described, &state, "memory", precision).unwrap();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| [0, 1, 2, 3].map(|task| model.outputs(task, &x).unwrap()).concat())
        };
        let exact = outputs(Precision::F32, 1);
        let largest = exact.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
        for (precision, allowed) in [(Precision::Bf16, 0.05), (Precision::Int8, 0.1)] {
            let rounded = outputs(precision, 1);
            let gaps = rounded.iter().zip(&exact).map(|(a, b)| (a - b).abs() / largest);
            let worst = gaps.fold(0.0_f32, f32::max);
            assert!(worst > 1e-5 && worst < allowed, "seed {seed}, {precision:?}: {worst}");
            assert_eq!(outputs(precision, 3), rounded, "seed {seed}, {precision:?}");
        }
    }
}

#[test]
fn tensors_and_images_that_do_not_fit_are_named() {
    let mut rng = rng(1);
    let arch = random_arch(&mut rng);
    let net = supernet(&arch, 1);
    let (slice, path) = (Slice::full(&arch), random_path(&arch, &mut rng));
    let (described, state) = folder(&net, &slice, &[(0, path)]);
    let refused = |state: &State| {
        Model::new(described.clone(), state, "here", Precision::F32)
            .expect_err("it does not fit")
            .to_string()
    };
    let name = "blocks.1.mlp.fc2.weight";
    let without: State = state.clone().into_iter().filter(|(key, _)| key != name).collect();
    assert_eq!(refused(&without), format!("here: no tensor `{name}`"));
    let mut other = state.clone();
    other.get_mut(name).unwrap().shape.reverse();
    assert!(refused(&other).contains(&format!("tensor `{name}` has shape")));
    let mut more = state.clone();
    more.insert("extra".to_string(), state[name].clone());
    assert_eq!(refused(&more), "here: unexpected tensor `extra`");
    let model = Model::new(described, &state, "here", Precision::F32).unwrap();
    let said = model.outputs(0, &[0.0; 100]).unwrap_err().to_string();
    assert!(said.contains("100 values are no whole images of [3, 8, 8]"), "{said}");
    assert!(model.outputs(0, &[]).unwrap().is_empty());
}
