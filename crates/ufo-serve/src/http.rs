//! What each address does.

pub(crate) mod about;
pub(crate) mod body;
pub(crate) mod compare;
pub(crate) mod images;
pub(crate) mod page;
pub(crate) mod pair;
mod parts;
mod patience;
pub(crate) mod predict;
pub(crate) mod search;
pub(crate) mod server;
pub(crate) mod similar;
pub(crate) mod studio;
pub(crate) mod tensors;
pub(crate) mod update;
pub(crate) mod v2;
