//! The head that gives boxes, on slices: its maps, its ONNX file and its statistics.

use crate::segmentation::{assert_close, run_onnx_of};
use crate::slices::{random_arch, random_path, random_slice};
use crate::{images, rng, supernet};
use ufo_model::{DetectionHead, Head, HeadStatistics, Mode, Supernet, values};
use ufo_nas::{Expert, Layout, Path, Slice};

const TASK: usize = 3;

fn head_of(net: &Supernet) -> &DetectionHead {
    let Head::Detection(head) = &net.tasks[TASK].head else {
        panic!("the fourth task is a detection")
    };
    head
}

#[test]
fn its_onnx_file_gives_the_outputs_of_its_forward() {
    for seed in 0..12 {
        let mut rng = rng(seed);
        let arch = random_arch(&mut rng);
        let (path, slice) = (random_path(&arch, &mut rng), random_slice(&arch, &mut rng));
        let mut net = supernet(&arch, seed);
        // Statistics other than the first.
        let full = net.subnet(TASK, &path, &Slice::full(&arch)).unwrap();
        let tokens = full.tokens(images(3, &arch, seed + 1), None, &[]);
        let measured = head_of(&net).train(&tokens, Mode::default()).moments;
        net.tasks[TASK].head.absorb(&HeadStatistics::Maps(measured));
        let vit = net.subnet(TASK, &path, &slice).unwrap();
        let x = images(3, &arch, seed);
        let head = &net.tasks[TASK].head;
        let expected = values(&head.run(&vit, x.clone()));
        let [rows, columns] = head_of(&net).map_size(arch.grid());
        assert_eq!(expected.len(), 3 * 7 * rows * columns);
        let sizes = head.output_sizes(arch.image_size, arch.grid());
        assert_eq!(sizes, [7, rows, columns]);
        let got = run_onnx_of(head, &vit, (&arch, [7, rows, columns]), (3, &values(&x)));
        assert_close(&got, &expected);
    }
}

#[test]
fn training_gives_rows_of_places_and_its_statistics_take_the_place_of_running_ones() {
    let arch = crate::arch(Layout::B);
    let mut net = supernet(&arch, 3);
    let path = Path::uniform(&arch, Expert::Task);
    let vit = net.subnet(TASK, &path, &Slice::full(&arch)).unwrap();
    let tokens = vit.tokens(images(4, &arch, 3), None, &[]);
    let given = head_of(&net).train(&tokens, Mode::default());
    // A grid of 2x2 patches, doubled once.
    assert_eq!((given.map, given.outputs.dims()), ([4, 4], [4 * 16, 7]));
    assert_eq!(given.moments.len(), 3);
    let Head::Detection(head) = &mut net.tasks[TASK].head else { panic!("it is one") };
    let before = values(&head.stages[1].norm.running_mean);
    head.update(&given.moments);
    let tenth: Vec<f32> = before
        .iter()
        .zip(&given.moments[1].mean)
        .map(|(before, mean)| 0.9 * before + 0.1 * mean)
        .collect();
    assert_close(&values(&head.stages[1].norm.running_mean), &tenth);
    head.replace(&[given.moments]);
    let evaluated = values(&head.forward(&tokens, Mode::default()));
    let trained = values(&given.outputs);
    let largest = trained.iter().fold(0.0_f32, |most, v| most.max(v.abs()));
    for (row, want) in trained.iter().enumerate() {
        let (place, output) = (row / 7, row % 7);
        let got = evaluated[(place / 16 * 7 + output) * 16 + place % 16];
        // The running variance is the unbiased one.
        assert!((got - want).abs() < 0.2 * largest, "{got} {want} {largest}");
    }
}
