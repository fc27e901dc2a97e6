//! What each address does.

pub(crate) mod about;
pub(crate) mod body;
pub(crate) mod images;
pub(crate) mod predict;
pub(crate) mod search;
pub(crate) mod server;
pub(crate) mod tensors;
pub(crate) mod v2;
