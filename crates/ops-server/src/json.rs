//! Reading and writing JSON at the edge.
//!
//! A body is checked once as a whole ([`check`]); after that its parts are taken as text, so that
//! a large input is never built into a tree. Answers are views ([`view!`]).

mod check;
mod declared;
mod object;
mod shown;
mod write;

pub(crate) use self::{
    check::check,
    declared::{
        Member, Schemas, declared, extend, in_document, key, named, nullable, reference, settle,
        view, words, words_of,
    },
    object::{Fields, object, pick},
    shown::{Optional, Raw, Shown, View, Written, plain, text},
    write::{ObjectWriter, to_vec},
};
