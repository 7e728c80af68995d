//! Tests of long-term memory.

mod retrieval;
