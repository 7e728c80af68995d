//! Tests of the crate through its public interface.

mod events;
mod openai;
mod scripted;
