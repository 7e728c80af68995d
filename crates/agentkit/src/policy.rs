//! The security manager: which calls are allowed.
