//! `sql_query`: a question of an agent to a database that the configuration grants.
//!
//! A call is one statement that only reads. A SQLite file is opened read-only, and an authorizer refuses every action
//! but reading. A PostgreSQL server gets the statement by the extended protocol in one transaction that is READ ONLY
//! and is always rolled back, for a role that the database restrains. Rows, bytes and time are bounded.

mod answer;
mod apart;
mod definition;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;
mod tool;

pub use self::{
    apart::helper,
    definition::{Definition, Mistake},
    tool::{Base, Declared, SqlQuery},
};
