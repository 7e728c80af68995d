//! The engine's only SQL.
