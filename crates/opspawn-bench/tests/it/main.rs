//! The bench, tried on a binary that plays the product and on the product itself.

#[cfg(test)]
mod measured;
