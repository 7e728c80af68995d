//! Pages of lists.

use std::ops::Deref;

/// A page of a list: the readable entries, and names of the unreadable entries. An unreadable entry takes
/// no place: a page that is shorter than its limit is the last page, or large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// The entries.
    pub found: Vec<T>,
    /// Ids or names of entries that are damaged, as far as these can be read.
    pub damaged: Vec<String>,
}

impl<T> Listed<T> {
    /// Adds a later page.
    pub fn append(&mut self, mut other: Self) {
        self.found.append(&mut other.found);
        self.damaged.append(&mut other.damaged);
    }
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl<T> From<Vec<T>> for Listed<T> {
    fn from(found: Vec<T>) -> Self {
        Self {
            found,
            damaged: Vec::new(),
        }
    }
}

impl<T> Deref for Listed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.found
    }
}

impl<T> IntoIterator for Listed<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Listed<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.found.iter()
    }
}
