//! The store on PostgreSQL: the same suite on each release, directly and behind a pooler that has one
//! connection for each database. `cargo xtask test` starts the servers and says where they are.

mod backup;
mod claims;
mod configurations;
mod import;
mod lost;
mod others;
mod text;

use std::sync::Arc;

use ops_store::postgres::{Options, PostgresStore, Time};
use ops_testkit::postgres::{Database, Server};

use crate::world::{Seen, TestClock, World};

/// A store in a database of its own, with a clock that the test moves.
pub(crate) fn open_on(server: Server, set: impl FnOnce(&mut Options)) -> World {
    let database = Database::create(server);
    let (world, _) = open_in(&database, set);
    World {
        _keep: Box::new(database),
        ..world
    }
}

/// A store in a database that is there.
pub(crate) fn open_in(
    database: &Database,
    set: impl FnOnce(&mut Options),
) -> (World, Arc<PostgresStore>) {
    let (clock, seen) = (TestClock::new(), Arc::new(Seen::default()));
    let mut options = Options::new(database.url().parse().unwrap());
    options.time = Time::Given(clock.clone());
    options.observer = seen.clone();
    options.max_value_bytes = crate::conformance::log::CAP;
    set(&mut options);
    let store = Arc::new(PostgresStore::open(options).unwrap());
    let world = World {
        store: store.clone(),
        clock,
        seen,
        _keep: Box::new(()),
    };
    (world, store)
}

/// The suite, and equal histories, on a server.
macro_rules! on {
    ($module:ident, $server:ident) => {
        mod $module {
            use super::{Server, World, open_on};

            fn open() -> World {
                open_on(Server::$server, |_| {})
            }

            crate::conformance::conformance! {
                [#[ignore = "needs PostgreSQL: run by cargo xtask test --install"]]
                crate::postgres::$module::open
            }

            #[test]
            #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
            fn postgres_and_memory_give_equal_histories() {
                crate::alike::compare_histories(16, 1, || {
                    open_on(Server::$server, |options| {
                        options.max_tree_tasks = crate::alike::TREE;
                    })
                });
            }
        }
    };
}

on!(postgres_15, Postgres15);
on!(postgres_18, Postgres18);
on!(pgbouncer_15, PgBouncer15);
on!(pgbouncer_18, PgBouncer18);
