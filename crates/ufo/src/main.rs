//! The `ufo` command.
fn main() {}
