//! The engine and the server on small folders of random weights.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod archive;
mod client;
mod dense;
mod engine;
mod folder;
mod hostile;
mod http;
mod load;
mod log;
mod pair;
mod search;
mod studio;
mod studio_work;
mod update;
