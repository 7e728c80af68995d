//! The surfaces over a real port, with the engine and SQLite behind them.

#[cfg(test)]
mod agents;
mod batches;
#[cfg(test)]
mod bodies;
mod budgets;
#[cfg(test)]
mod client;
#[cfg(test)]
mod export;
#[cfg(test)]
mod followers;
#[cfg(test)]
mod front_door;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod idempotency;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod logs;
#[cfg(test)]
mod mcp;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod reconciliations;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod server;
mod shorthand;
#[cfg(test)]
mod stream;
#[cfg(test)]
mod version_one;
