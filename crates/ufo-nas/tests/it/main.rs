//! Predictors against figures of independent programs (`tests/reference/gp_reference.py`).

mod benchmark;
mod reference_estimator;
