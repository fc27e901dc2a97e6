//! Predictors against figures of independent programs (`tests/reference/gp_reference.py`).

#![allow(clippy::unwrap_used, reason = "a test that cannot read its fixture must fail")]

mod benchmark;
mod gaussian_process;
mod reference_estimator;
