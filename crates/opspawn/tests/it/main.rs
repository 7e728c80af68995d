//! The built binary, as its users meet it.

#[cfg(test)]
mod e2e;
#[cfg(test)]
#[cfg(feature = "failpoints")]
mod fault;
#[cfg(test)]
mod provider;
