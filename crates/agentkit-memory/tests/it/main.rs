//! Tests of long-term memory.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod embedded;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http;
#[cfg(test)]
mod retrieval;
