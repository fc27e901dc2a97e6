use super::*;
use crate::matrix::testing::random;

#[test]
fn a_line_is_learned_exactly() {
    let x = random(20, 3, 1);
    let y: Vec<f64> = (0..20).map(|i| 2.0 * x.row(i)[0] - x.row(i)[2] + 0.5).collect();
    for kernel in [GpNasKernel::Square, GpNasKernel::Distance] {
        for update in [Update::Gain, Update::Information] {
            let mut model = GpNas::new(kernel, update, &x, &y).unwrap();
            model.observe(&x, &y).unwrap();
            let joint = model.predict_joint(&x, &x, &y).unwrap();
            for (i, expected) in y.iter().enumerate() {
                assert!((model.predict(&x)[i] - expected).abs() < 1e-4);
                assert!((joint[i] - expected).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn bad_targets_are_named() {
    let x = random(2, 1, 1);
    let error =
        |y: &[f64]| GpNas::new(GpNasKernel::Square, Update::Gain, &x, y).unwrap_err().to_string();
    assert_eq!(error(&[1.0]), "targets = 1: must be 2, at least 1");
    assert_eq!(error(&[1.0, f64::INFINITY]), "targets = inf: must be finite");
}
