//! Memory of a running module.

use wasmtime::{ResourceLimiter, Result};

/// The most elements of all tables.
const MAX_ELEMENTS: usize = 1 << 20;
/// The most memories, tables and instances, each.
const MAX_PARTS: usize = 1_000;

/// Counts the memory of a module against its limit.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes left.
    bytes: usize,
    /// Elements of tables left.
    elements: usize,
    /// Whether the module was refused memory or elements.
    pub(super) refused: bool,
}

impl Room {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            elements: MAX_ELEMENTS,
            refused: false,
        }
    }
}

/// Takes a growth out of the rest; `false` for a growth above the rest.
fn take(left: &mut usize, current: usize, desired: usize, refused: &mut bool) -> bool {
    match left.checked_sub(desired.saturating_sub(current)) {
        Some(rest) => {
            *left = rest;
            true
        }
        None => {
            *refused = true;
            false
        }
    }
}

impl ResourceLimiter for Room {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(take(&mut self.bytes, current, desired, &mut self.refused))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> Result<bool> {
        Ok(take(
            &mut self.elements,
            current,
            desired,
            &mut self.refused,
        ))
    }

    fn instances(&self) -> usize {
        MAX_PARTS
    }

    fn tables(&self) -> usize {
        MAX_PARTS
    }

    fn memories(&self) -> usize {
        MAX_PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_share_one_limit() {
        let mut room = Room::new(100);
        assert!(room.memory_growing(0, 60, None).unwrap());
        assert!(room.memory_growing(0, 30, Some(1_000)).unwrap());
        assert!(!room.refused);
        assert!(!room.memory_growing(60, 90, None).unwrap());
        assert!(room.refused);
        assert!(room.memory_growing(60, 70, None).unwrap());
        assert!(!room.table_growing(0, usize::MAX, None).unwrap());
    }
}
