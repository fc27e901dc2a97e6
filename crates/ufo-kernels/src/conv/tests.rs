use proptest::prelude::*;

use super::*;
use crate::{
    Vectors,
    testing::{
        assert_bf16_is_close, assert_close, assert_same_for_any_threads, assert_within,
        differences, doubles, fixed_cases, values,
    },
};

/// A plain convolution in double precision.
struct Reference<'a> {
    shape: &'a Shape,
    activation: Activation,
}

fn erf(x: f64) -> f64 {
    // The series, exact for the small arguments that the tests use.
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn normal(x: f64) -> f64 {
    0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

impl Reference<'_> {
    /// Calls `f` with the places in output, input and weight of every product of the sums.
    fn products(&self, mut f: impl FnMut(usize, usize, usize)) {
        let Shape { images, channels, outputs, size, kernel, stride, padding, .. } = *self.shape;
        let out = self.shape.out_size();
        let depthwise = self.shape.groups == Groups::Depthwise;
        for n in 0..images {
            for (oy, ox) in (0..out[0]).flat_map(|y| (0..out[1]).map(move |x| (y, x))) {
                for (ky, kx) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
                    let (y, x) = (oy * stride[0] + ky, ox * stride[1] + kx);
                    let (Some(y), Some(x)) = (y.checked_sub(padding[0]), x.checked_sub(padding[1]))
                    else {
                        continue;
                    };
                    if y >= size[0] || x >= size[1] {
                        continue;
                    }
                    for o in 0..outputs {
                        for c in 0..channels {
                            if depthwise && c != o {
                                continue;
                            }
                            let output = ((n * out[0] + oy) * out[1] + ox) * outputs + o;
                            let input = match self.shape.layout {
                                Layout::Nhwc => ((n * size[0] + y) * size[1] + x) * channels + c,
                                Layout::Nchw => ((n * channels + c) * size[0] + y) * size[1] + x,
                            };
                            let inputs = if depthwise { 1 } else { channels };
                            let c = if depthwise { 0 } else { c };
                            let weight = ((o * inputs + c) * kernel[0] + ky) * kernel[1] + kx;
                            f(output, input, weight);
                        }
                    }
                }
            }
        }
    }

    fn pre(&self, input: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
        let outputs = self.shape.outputs;
        let mut pre: Vec<f64> =
            (0..self.shape.output_len()).map(|i| bias.map_or(0.0, |b| b[i % outputs])).collect();
        self.products(|o, i, w| pre[o] += input[i] * weight[w]);
        pre
    }

    fn out(&self, input: &[f64], weight: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
        let pre = self.pre(input, weight, bias);
        match self.activation {
            Activation::None => pre,
            Activation::Gelu => pre.into_iter().map(|x| x * normal(x)).collect(),
        }
    }

    /// The gradients of input, weight and bias.
    fn gradients(&self, input: &[f64], weight: &[f64], pre: &[f64], dy: &[f64]) -> [Vec<f64>; 3] {
        let g: Vec<f64> = match self.activation {
            Activation::None => dy.to_vec(),
            Activation::Gelu => {
                let derivative = |x: f64| normal(x) + x * density(x);
                pre.iter().zip(dy).map(|(&x, dy)| dy * derivative(x)).collect()
            }
        };
        let (mut dx, mut dweight) = (vec![0.0; input.len()], vec![0.0; weight.len()]);
        self.products(|o, i, w| {
            dx[i] += g[o] * weight[w];
            dweight[w] += g[o] * input[i];
        });
        let mut dbias = vec![0.0; self.shape.outputs];
        g.iter().enumerate().for_each(|(i, g)| dbias[i % self.shape.outputs] += g);
        [dx, dweight, dbias]
    }
}

/// Input, parameters and output gradient of a shape.
struct Case {
    shape: Shape,
    activation: Activation,
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    input: Vec<f32>,
    dy: Vec<f32>,
}

struct Results {
    out: Vec<f32>,
    pre: Vec<f32>,
    dx: Vec<f32>,
    dweight: Vec<f32>,
    dbias: Vec<f32>,
}

impl Case {
    fn new(shape: Shape, activation: Activation, with_bias: bool) -> Self {
        let scale = 1.0 / (shape.window_len() as f32).sqrt();
        // Seeds that are close give the same values at another place.
        let values = |seed: u64, len: usize| values(seed << 32, len);
        Self {
            shape,
            activation,
            weight: values(2, shape.weight_len()).iter().map(|w| w * scale).collect(),
            bias: with_bias.then(|| values(3, shape.outputs)),
            input: values(1, shape.input_len()),
            dy: values(4, shape.output_len()),
        }
    }

    fn conv(&self) -> Conv<'_> {
        let Self { shape, activation, ref weight, ref bias, .. } = *self;
        Conv { weight, bias: bias.as_deref(), shape, activation }
    }

    fn run(&self, level: Level) -> Results {
        let conv = self.conv();
        let mut scratch = Scratch::new();
        // What an earlier call left behind must not matter.
        scratch.lend([4096], 0).0[0].fill(f32::NAN);
        let nan = |len: usize| vec![f32::NAN; len];
        let mut plain = nan(self.dy.len());
        forward(level, &conv, &self.input, &mut plain, &mut scratch);
        let kept = if self.activation == Activation::Gelu { self.dy.len() } else { 0 };
        let mut results = Results {
            out: nan(self.dy.len()),
            pre: nan(kept),
            dx: nan(self.input.len()),
            dweight: nan(self.weight.len()),
            dbias: nan(self.shape.outputs),
        };
        let Results { out, pre, dx, dweight, dbias } = &mut results;
        forward_saving(level, &conv, &self.input, Saving { out, pre }, &mut scratch);
        assert_eq!(plain, *out);
        let given = Backward { input: &self.input, pre, dy: &self.dy };
        let grads = Grads { dx: Some(dx), dweight, dbias: Some(dbias) };
        backward(level, &conv, &given, grads, &mut scratch);
        let mut again = nan(dweight.len());
        let grads = Grads { dx: None, dweight: &mut again, dbias: None };
        backward(level, &conv, &given, grads, &mut scratch);
        assert_eq!(again, *dweight);
        results
    }

    fn check(&self) {
        let reference = Reference { shape: &self.shape, activation: self.activation };
        let [input, weight, dy] = [&self.input, &self.weight, &self.dy].map(|v| doubles(v));
        let bias = self.bias.as_ref().map(|bias| doubles(bias));
        let pre = reference.pre(&input, &weight, bias.as_deref());
        let out = reference.out(&input, &weight, bias.as_deref());
        let [dx, dweight, dbias] = reference.gradients(&input, &weight, &pre, &dy);
        for level in Level::available() {
            let got = self.run(level);
            if self.activation == Activation::Gelu {
                assert_within("pre", &got.pre, &pre, 3e-6);
            }
            assert_within("out", &got.out, &out, 4e-6);
            assert_within("dx", &got.dx, &dx, 1e-5);
            // Sums over pixels that may cancel.
            let pixels = (self.shape.output_len() / self.shape.outputs) as f64;
            assert_within("dweight", &got.dweight, &dweight, 2e-6 * (1.0 + pixels.sqrt()));
            assert_within("dbias", &got.dbias, &dbias, 2e-6 * (1.0 + pixels.sqrt()));
        }
    }
}

/// 32 channels of a small image, to be changed by struct update.
fn plain() -> Shape {
    Shape {
        images: 2,
        channels: 5,
        outputs: 6,
        size: [6, 7],
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        layout: Layout::Nhwc,
        groups: Groups::One,
    }
}

prop_compose! {
    /// One direction: size, kernel, stride, padding.
    fn axis()(
        size in 1_usize..14,
        kernel in prop::sample::select(vec![1_usize, 2, 3, 5, 7]),
        stride in 1_usize..4,
        padding in 0_usize..4,
    ) -> [usize; 4] {
        // An image smaller than the window is padded or, if that does not do, enlarged.
        [size.max(kernel.saturating_sub(2 * padding)), kernel, stride, padding]
    }
}

fn channels() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![1_usize, 2, 3, 5, 17, 32])
}

fn shape([a, b]: [[usize; 4]; 2], images: usize, channels: usize, outputs: usize) -> Shape {
    let [size, kernel, stride, padding] = [0, 1, 2, 3].map(|i| [a[i], b[i]]);
    Shape { images, channels, outputs, size, kernel, stride, padding, ..plain() }
}

proptest! {
    #![proptest_config(fixed_cases(150))]

    #[test]
    fn a_full_convolution_equals_the_formula(
        (a, b, images) in (axis(), axis(), 1_usize..4),
        (inputs, outputs) in (channels(), channels()),
        (planar, gelu, bias) in any::<(bool, bool, bool)>(),
    ) {
        let layout = if planar { Layout::Nchw } else { Layout::Nhwc };
        let activation = if gelu { Activation::Gelu } else { Activation::None };
        let shape = Shape { layout, ..shape([a, b], images, inputs, outputs) };
        Case::new(shape, activation, bias).check();
    }

    #[test]
    fn a_depthwise_convolution_equals_the_formula(
        (a, b, images, channels) in (axis(), axis(), 1_usize..4, channels()),
        (gelu, bias) in any::<(bool, bool)>(),
    ) {
        let activation = if gelu { Activation::Gelu } else { Activation::None };
        let shape = shape([a, b], images, channels, channels);
        Case::new(Shape { groups: Groups::Depthwise, ..shape }, activation, bias).check();
    }
}

#[test]
fn convolutions_of_networks_equal_the_formula() {
    let square = |size: usize, kernel: usize, stride: usize, padding: usize| Shape {
        size: [size; 2],
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        ..plain()
    };
    let stem = Shape { channels: 3, outputs: 32, layout: Layout::Nchw, ..square(32, 3, 2, 1) };
    let patches = Shape { layout: Layout::Nchw, channels: 3, outputs: 20, ..square(16, 8, 8, 0) };
    let one = Shape { channels: 40, outputs: 33, images: 3, ..square(16, 1, 1, 0) };
    let wide = Shape { channels: 64, outputs: 48, ..square(9, 3, 1, 1) };
    let depthwise =
        Shape { groups: Groups::Depthwise, channels: 40, outputs: 40, ..square(16, 5, 1, 2) };
    for shape in [stem, patches, one, wide, depthwise, Shape { layout: Layout::Nchw, ..one }] {
        for activation in [Activation::None, Activation::Gelu] {
            Case::new(shape, activation, true).check();
        }
    }
}

#[test]
fn several_images_a_partial_sum_and_blocks_across_images_change_nothing() {
    let full = Shape { images: 35, channels: 3, outputs: 3, size: [20, 20], ..plain() };
    assert!(full.images_a_partial() == 2 && full.output_len() / 3 > 35 * 384);
    for groups in [Groups::One, Groups::Depthwise] {
        Case::new(Shape { groups, ..full }, Activation::Gelu, true).check();
    }
    let large = Shape { images: 1, channels: 4, size: [41, 40], ..plain() };
    Case::new(large, Activation::None, true).check();
}

#[test]
fn the_formulas_of_the_gradients_agree_with_differences() {
    let full = Shape { channels: 2, outputs: 3, size: [4, 3], stride: [2, 1], ..plain() };
    let depthwise = Shape { groups: Groups::Depthwise, channels: 3, ..full };
    let planar = Shape { layout: Layout::Nchw, kernel: [2, 3], ..full };
    for (shape, activation) in [
        (full, Activation::None),
        (full, Activation::Gelu),
        (planar, Activation::Gelu),
        (depthwise, Activation::Gelu),
    ] {
        let case = Case::new(shape, activation, true);
        let [x, weight, bias, dy] =
            [&case.input, &case.weight, case.bias.as_ref().unwrap(), &case.dy].map(|v| doubles(v));
        let reference = Reference { shape: &shape, activation };
        let dot = |y: Vec<f64>| y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>();
        let pre = reference.pre(&x, &weight, Some(&bias));
        let [dx, dweight, dbias] = reference.gradients(&x, &weight, &pre, &dy);
        let pairs = [
            (dx, differences(&x, |x| dot(reference.out(x, &weight, Some(&bias))))),
            (dweight, differences(&weight, |w| dot(reference.out(&x, w, Some(&bias))))),
            (dbias, differences(&bias, |bias| dot(reference.out(&x, &weight, Some(bias))))),
        ];
        for (formula, difference) in pairs {
            assert!(!formula.is_empty());
            for (a, b) in formula.iter().zip(difference) {
                assert!((a - b).abs() < 1e-7, "{a} {b}");
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let full = Shape { images: 7, channels: 17, outputs: 33, size: [19, 18], ..plain() };
    let depthwise =
        Shape { groups: Groups::Depthwise, channels: 50, outputs: 50, kernel: [5, 5], ..full };
    let one = Shape { kernel: [1, 1], padding: [0, 0], channels: 64, outputs: 70, ..full };
    for shape in [full, Shape { layout: Layout::Nchw, ..full }, depthwise, one] {
        let case = Case::new(shape, Activation::Gelu, true);
        assert_same_for_any_threads(|level| {
            let Results { out, pre, dx, dweight, dbias } = case.run(level);
            [out, pre, dx, dweight, dbias].concat()
        });
    }
}

#[test]
fn products_in_bf16_are_close_to_those_in_f32() {
    let full = Shape { images: 3, channels: 17, outputs: 33, size: [19, 18], ..plain() };
    let one = Shape { kernel: [1, 1], padding: [0, 0], channels: 64, ..full };
    for shape in [full, Shape { layout: Layout::Nchw, ..full }, one] {
        let case = Case::new(shape, Activation::Gelu, true);
        assert_bf16_is_close(|level| {
            let Results { out, pre, dx, dweight, dbias } = case.run(level);
            vec![out, pre, dx, dweight, dbias]
        });
    }
}

#[test]
fn without_images_the_gradients_are_zero() {
    for groups in [Groups::One, Groups::Depthwise] {
        let case =
            Case::new(Shape { images: 0, outputs: 5, groups, ..plain() }, Activation::Gelu, true);
        let got = case.run(Vectors::Portable.into());
        assert!(got.dweight.iter().chain(&got.dbias).all(|v| v.to_bits() == 0));
    }
}

#[test]
fn a_nan_reaches_its_windows_only() {
    for groups in [Groups::One, Groups::Depthwise] {
        let shape = Shape { size: [9, 9], images: 1, outputs: 5, groups, ..plain() };
        let mut case = Case::new(shape, Activation::Gelu, false);
        case.input[0] = f32::NAN;
        for level in Level::available() {
            let mut out = vec![0.0; shape.output_len()];
            forward(level, &case.conv(), &case.input, &mut out, &mut Scratch::new());
            let nan = |y: usize, x: usize| out[(y * 9 + x) * 5].is_nan();
            assert!(nan(0, 0) && nan(1, 1) && !nan(0, 2) && !nan(2, 0), "{level:?}");
        }
    }
}

/// Runs a case after `change` has spoiled it.
fn spoiled(change: impl FnOnce(&mut Case)) {
    let mut case = Case::new(plain(), Activation::Gelu, true);
    change(&mut case);
    case.run(Vectors::Portable.into());
}

#[test]
#[should_panic(expected = "weight: 269 values, expected 270")]
fn the_weight_must_fit() {
    spoiled(|case| case.weight.truncate(269));
}

#[test]
#[should_panic(expected = "bias: 5 values")]
fn the_bias_must_fit() {
    spoiled(|case| case.bias.as_mut().unwrap().truncate(5));
}

#[test]
#[should_panic(expected = "input: 419 values, expected 420")]
fn the_input_must_fit() {
    spoiled(|case| case.input.truncate(419));
}

#[test]
#[should_panic(expected = "out, dy: 503 values, expected 504")]
fn the_output_must_fit() {
    spoiled(|case| case.dy.truncate(503));
}

#[test]
#[should_panic(expected = "is smaller than the kernel")]
fn the_window_must_fit() {
    spoiled(|case| case.shape.kernel = [3, 10]);
}

#[test]
#[should_panic(expected = "layout: a depthwise")]
fn a_depthwise_input_has_its_channels_last() {
    spoiled(|case| {
        let channels = case.shape.channels;
        case.shape = Shape {
            outputs: channels,
            groups: Groups::Depthwise,
            layout: Layout::Nchw,
            ..case.shape
        };
    });
}

/// Runs the backward pass with gradients of the given lengths, and `pre` of a given one.
fn backward_with([pre, dx, dweight, dbias]: [usize; 4]) {
    let case = Case::new(plain(), Activation::Gelu, true);
    let pre = vec![0.0; pre];
    let [mut dx, mut dweight, mut dbias] = [dx, dweight, dbias].map(|len| vec![0.0; len]);
    let given = Backward { input: &case.input, pre: &pre, dy: &case.dy };
    let grads = Grads { dx: Some(&mut dx), dweight: &mut dweight, dbias: Some(&mut dbias) };
    backward(Vectors::Portable.into(), &case.conv(), &given, grads, &mut Scratch::new());
}

#[test]
fn gradients_of_their_lengths_are_taken() {
    backward_with([504, 420, 270, 6]);
}

#[test]
#[should_panic(expected = "pre: 0 values, expected 504")]
fn the_pre_activation_must_fit() {
    backward_with([0, 420, 270, 6]);
}

#[test]
#[should_panic(expected = "dx: 421 values, expected 420")]
fn dx_must_fit() {
    backward_with([504, 421, 270, 6]);
}

#[test]
#[should_panic(expected = "dweight: 1 values, expected 270")]
fn dweight_must_fit() {
    backward_with([504, 420, 1, 6]);
}

#[test]
#[should_panic(expected = "dbias: 7 values, expected 6")]
fn dbias_must_fit() {
    backward_with([504, 420, 270, 7]);
}

#[test]
fn a_sum_of_ones_is_the_number_of_taps_on_the_image() {
    let shape = Shape { images: 1, channels: 1, outputs: 1, size: [3, 3], ..plain() };
    let conv = Conv { weight: &[1.0; 9], bias: Some(&[0.5]), shape, activation: Activation::None };
    for level in Level::available() {
        let mut out = [0.0; 9];
        forward(level, &conv, &[1.0; 9], &mut out, &mut Scratch::new());
        let expected = [4.5, 6.5, 4.5, 6.5, 9.5, 6.5, 4.5, 6.5, 4.5];
        assert_close("out", &out, &expected, 0.0);
    }
}
