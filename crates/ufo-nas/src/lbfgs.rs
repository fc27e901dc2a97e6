//! Minimization with limited memory: L-BFGS (Nocedal and Wright, Numerical Optimization, algorithms 7.4
//! and 7.5) with a backtracking line search.

use std::collections::VecDeque;

/// Pairs of steps and changes of the gradient that are kept.
const MEMORY: usize = 10;
/// Share of the linear decrease that a step must reach.
const DECREASE: f64 = 1e-4;
/// Halvings of a step before the search ends.
const HALVINGS: usize = 30;
/// Largest change of a coordinate in one step.
const LONGEST: f64 = 2.0;

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    curvature: f64,
}

/// Minimizes `function`, which gives value and gradient, from `start`: at most `iterations` steps, ends
/// when one lowers the value by less than `tolerance`. An infinite value marks a point out of bounds.
pub(crate) fn minimize(
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
    start: Vec<f64>,
    iterations: usize,
    tolerance: f64,
) -> Vec<f64> {
    let mut at = start;
    let (mut value, mut gradient) = function(&at);
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    for _ in 0..iterations {
        let direction = direction(&pairs, &gradient);
        let slope = dot(&direction, &gradient);
        let longest = direction.iter().fold(0.0_f64, |most, d| most.max(d.abs()));
        if slope.is_nan() || slope >= 0.0 || longest == 0.0 {
            break;
        }
        let mut length = if pairs.is_empty() { 0.5 / longest } else { 1.0 };
        length = f64::min(length, LONGEST / longest);
        let found = (0..HALVINGS).find_map(|_| {
            let next: Vec<f64> = at.iter().zip(&direction).map(|(x, d)| x + length * d).collect();
            let (next_value, next_gradient) = function(&next);
            let enough = next_value <= value + DECREASE * length * slope;
            length *= 0.5;
            enough.then_some((next, next_value, next_gradient))
        });
        let Some((next, next_value, next_gradient)) = found else { break };
        remember(&mut pairs, minus(&next, &at), minus(&next_gradient, &gradient));
        let gain = value - next_value;
        (at, value, gradient) = (next, next_value, next_gradient);
        if gain < tolerance {
            break;
        }
    }
    at
}

/// Minus the inverse Hessian, as the pairs tell it, times the gradient.
fn direction(pairs: &VecDeque<Pair>, gradient: &[f64]) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let share = dot(&pair.step, &direction) / pair.curvature;
        add(&mut direction, -share, &pair.change);
        shares.push(share);
    }
    if let Some(last) = pairs.back() {
        let scale = last.curvature / dot(&last.change, &last.change);
        for d in &mut direction {
            *d *= scale;
        }
    }
    for (pair, share) in pairs.iter().zip(shares.iter().rev()) {
        let back = dot(&pair.change, &direction) / pair.curvature;
        add(&mut direction, share - back, &pair.step);
    }
    direction
}

/// Keeps a pair if the function curves upward along it.
fn remember(pairs: &mut VecDeque<Pair>, step: Vec<f64>, change: Vec<f64>) {
    let curvature = dot(&step, &change);
    if curvature <= 1e-10 * dot(&change, &change) {
        return;
    }
    if pairs.len() == MEMORY {
        pairs.pop_front();
    }
    pairs.push_back(Pair { step, change, curvature });
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}

fn add(to: &mut [f64], scale: f64, vector: &[f64]) {
    to.iter_mut().zip(vector).for_each(|(x, y)| *x += scale * y);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bottom_of_rosenbrocks_valley() {
        let rosenbrock = |x: &[f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
        };
        let found = minimize(rosenbrock, vec![-1.2, 1.0], 200, 0.0);
        assert!(found.iter().all(|x| (x - 1.0).abs() < 1e-5), "{found:?}");
    }

    #[test]
    fn stays_within_bounds_told_by_infinity() {
        let bounded = |x: &[f64]| {
            let value = if x[0] > 0.0 { x[0] - x[0].ln() } else { f64::INFINITY };
            (value, vec![1.0 - 1.0 / x[0]])
        };
        let found = minimize(bounded, vec![0.01], 100, 0.0);
        assert!((found[0] - 1.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn ends_where_there_is_no_slope() {
        let flat = |_: &[f64]| (1.0, vec![0.0, 0.0]);
        assert_eq!(minimize(flat, vec![3.0, 4.0], 10, 0.0), [3.0, 4.0]);
    }
}
