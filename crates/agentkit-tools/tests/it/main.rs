//! The built-in tools as an agent reaches them: through the gate.

#[cfg(test)]
mod edits;
#[cfg(test)]
mod files;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http;
#[cfg(test)]
mod jail;
#[cfg(test)]
mod order;
#[cfg(test)]
mod query;
#[cfg(test)]
mod results;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod search;
