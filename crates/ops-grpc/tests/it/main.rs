//! The messages as their users read them.

#[cfg(test)]
mod reference;
