//! The ports of the store, as callers see them.

mod agents;
mod budgets;
mod mcp;
mod retention;
mod runs;
mod schedules;
mod tasks;
mod upkeep;

use ops_core::ports::StoreError;
use sha2::{Digest as _, Sha256};

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

fn there<T>(found: Option<T>) -> Result<T, StoreError> {
    found.ok_or(StoreError::NotFound)
}
