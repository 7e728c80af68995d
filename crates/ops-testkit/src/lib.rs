//! Processes and helpers for tests: a model stub, an effect ledger, a kill driver.
