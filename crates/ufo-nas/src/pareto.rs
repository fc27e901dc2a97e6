//! Fronts of two objectives that are both minimized, such as error and latency.

use crate::Error;

/// Indices of the points that no other is better than in one objective and as good in the other, by
/// ascending first objective; of equal points the first.
///
/// # Errors
/// A coordinate that is not finite.
pub fn pareto_front(points: &[[f64; 2]]) -> Result<Vec<usize>, Error> {
    finite(points)?;
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&i, &j| {
        let [a, b] = [points[i], points[j]];
        a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])).then(i.cmp(&j))
    });
    let mut least = f64::INFINITY;
    order.retain(|&i| {
        let better = points[i][1] < least;
        least = least.min(points[i][1]);
        better
    });
    Ok(order)
}

/// Area that is at least as bad as some point and better than `reference` in both objectives.
///
/// # Errors
/// A coordinate that is not finite.
pub fn hypervolume(points: &[[f64; 2]], reference: [f64; 2]) -> Result<f64, Error> {
    finite(&[reference])?;
    let mut top = reference[1];
    let mut area = 0.0;
    for i in pareto_front(points)? {
        let [x, y] = points[i];
        if x < reference[0] && y < top {
            area += (reference[0] - x) * (top - y);
            top = y;
        }
    }
    Ok(area)
}

fn finite(points: &[[f64; 2]]) -> Result<(), Error> {
    match points.iter().flatten().find(|x| !x.is_finite()) {
        Some(bad) => Err(Error::value("objective", bad, "must be finite")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_front_by_hand() {
        let points = [[2.0, 2.0], [1.0, 4.0], [3.0, 1.0], [3.0, 3.0], [2.0, 2.0], [1.0, 5.0]];
        assert_eq!(pareto_front(&points).unwrap(), [1, 0, 2]);
        // Columns of the staircase below and left of (4, 5).
        let area = hypervolume(&points, [4.0, 5.0]).unwrap();
        assert!((area - (1.0 + 3.0 + 4.0)).abs() < 1e-12, "{area}");
        assert!(hypervolume(&points, [1.0, 1.0]).unwrap().abs() < 1e-12);
        let error = pareto_front(&[[f64::NAN, 1.0]]).unwrap_err().to_string();
        assert_eq!(error, "objective = NaN: must be finite");
    }

    proptest! {
        #[test]
        fn nothing_dominates_the_front_and_the_rest_is_dominated(
            points in proptest::collection::vec([0_i8..9, 0_i8..9], 1..40),
        ) {
            let points: Vec<[f64; 2]> = points.iter().map(|p| p.map(f64::from)).collect();
            let front = pareto_front(&points).unwrap();
            let dominates = |a: [f64; 2], b: [f64; 2]| a[0] <= b[0] && a[1] <= b[1] && (a[0] < b[0] || a[1] < b[1]);
            for (i, &point) in points.iter().enumerate() {
                let dominated = points.iter().any(|&other| dominates(other, point));
                let earlier = points[..i].contains(&point);
                prop_assert_eq!(front.contains(&i), !dominated && !earlier);
            }
            let all = hypervolume(&points, [9.0, 9.0]).unwrap();
            let kept: Vec<[f64; 2]> = front.iter().map(|&i| points[i]).collect();
            prop_assert!((all - hypervolume(&kept, [9.0, 9.0]).unwrap()).abs() < 1e-9);
        }
    }
}
