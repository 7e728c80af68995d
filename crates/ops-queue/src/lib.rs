//! Queues that wake workers and live hints that wake readers.
