//! Tests of the crate through its public interface.

#[cfg(test)]
mod events;
#[cfg(test)]
mod openai;
#[cfg(test)]
mod scripted;
