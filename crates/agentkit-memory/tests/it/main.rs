//! Tests of long-term memory.

mod conformance;
mod embedded;
mod fault;
mod harness;
mod http;
mod retrieval;
