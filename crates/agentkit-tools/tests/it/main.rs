//! The built-in tools as an agent reaches them: through the gate.

#[cfg(test)]
mod files;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod jail;
#[cfg(test)]
mod results;
#[cfg(test)]
mod schemas;
