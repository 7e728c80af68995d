//! Tests of the crate through its public interface.

#[cfg(test)]
mod budget;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod chat;
#[cfg(test)]
mod claimed;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod effects;
#[cfg(test)]
mod events;
#[cfg(test)]
mod face;
#[cfg(test)]
mod library;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod live;
#[cfg(test)]
mod long_term;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod models;
#[cfg(test)]
mod odd;
#[cfg(test)]
mod prompts;
#[cfg(test)]
mod scripted;
#[cfg(test)]
mod spans;
#[cfg(test)]
mod walk;
