//! Commands and loops over the ports of ops-core.
