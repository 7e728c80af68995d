//! Reading and writing JSON at the edge.
//!
//! A body is checked once as a whole ([`check`]); after that its parts are taken as text, so that
//! a large input is never built into a tree.

mod check;
mod object;
mod write;

pub(crate) use self::{
    check::check,
    object::{Fields, object, pick},
    write::{ObjectWriter, to_vec},
};
