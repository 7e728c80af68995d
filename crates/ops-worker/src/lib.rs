//! Claims tasks, drives agent runs and appends what happened.
