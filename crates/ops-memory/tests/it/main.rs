//! Deterministic simulation of the rules and the store's semantics: see `simulation`.

#[cfg(test)]
mod simulation;
