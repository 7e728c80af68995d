//! Stores of long-term memory for agentkit, measured by the labelled retrieval set in `tests/retrieval`.
