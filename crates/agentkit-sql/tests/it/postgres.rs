//! PostgreSQL servers: roles, the transaction, types and bounds.

use std::sync::Arc;

use agentkit::event::Failure;
use ops_testkit::postgres::{Database, Server};
use serde_json::{Value, json};

use crate::harness::{Known, OWN, call, declared, tool};

/// A database with orders, and the users of a test.
struct Shop {
    database: Database,
    server: Server,
    users: Vec<String>,
}

impl Shop {
    fn new(server: Server) -> Self {
        let database = Database::create(server);
        for statement in [
            "CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric(10,2), made timestamptz, tags text[], more jsonb)",
            "INSERT INTO orders SELECT i, 'customer ' || i, i / 2.0, '2026-01-02T03:04:05Z', '{a,b}', '{\"k\": [1]}' FROM generate_series(1, 2000) i",
            "CREATE SEQUENCE numbers",
            "CREATE TYPE mood AS ENUM ('calm')",
        ] {
            database.query(statement);
        }
        Self {
            database,
            server,
            users: Vec::new(),
        }
    }

    /// A user with rights.
    fn user(&mut self, with: &str, grants: &[&str]) -> String {
        let name = format!("{}_u{}", self.database.name, self.users.len());
        self.database
            .query(&format!("CREATE ROLE {name} LOGIN PASSWORD 'p@ss' {with}"));
        for grant in grants {
            self.database.query(&grant.replace("USER", &name));
        }
        self.users.push(name.clone());
        let url = self.server.url();
        let (_, place) = url.rsplit_once('@').unwrap();
        let (place, _) = place.rsplit_once('/').unwrap();
        format!("postgres://{name}:p%40ss@{place}/{}", self.database.name)
    }

    fn reader(&mut self) -> String {
        self.user(
            "",
            &[
                "GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO USER",
                "GRANT USAGE ON SEQUENCE numbers TO USER",
            ],
        )
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for user in &self.users {
            self.database.query(&format!("DROP OWNED BY {user}"));
            self.database.query(&format!("DROP ROLE {user}"));
        }
    }
}

async fn ask(url: &str, fields: Value, query: &str) -> Result<Value, Failure> {
    let mut whole = json!({"url_secret": "SHOP_URL"});
    for (field, value) in fields.as_object().unwrap() {
        whole[field] = value.clone();
    }
    let secrets = Known([("SHOP_URL".to_owned(), url.to_owned())].into());
    let made = tool(
        &std::env::temp_dir(),
        secrets,
        Vec::new(),
        &[declared("shop", whole)],
    );
    let asked = json!({"database": "shop", "query": query, "format": "json"});
    call(made.unwrap(), asked).await
}

async fn reads(server: Server) {
    let mut shop = Shop::new(server);
    let url = shop.reader();
    let found = ask(
        &url,
        json!({}),
        "SELECT *, 'calm'::mood AS id, NULL FROM orders WHERE id = 3;",
    )
    .await
    .unwrap();
    let expected = json!({
        "columns": ["id", "customer", "total", "made", "tags", "more", "id", "?column?"],
        "rows": [[3, "customer 3", "1.50", "2026-01-02 03:04:05+00", "{a,b}", {"k": [1]}, "calm", null]],
        "row_count": 1,
        "truncated": false,
    });
    assert_eq!(found, expected);
    for (query, rows) in [
        (
            "WITH x AS (SELECT true AS a, 1.5::float8) SELECT * FROM x -- done",
            json!([[true, 1.5]]),
        ),
        (
            "(VALUES (1, 'x'), (2, NULL)) ORDER BY 1 DESC",
            json!([[2, null], [1, "x"]]),
        ),
        ("SELECT ROW(1, 2), pg_sleep(0)", json!([["(1,2)", ""]])),
        ("SHOW transaction_read_only", json!([["on"]])),
        (
            "/* who */ select current_setting('application_name')",
            json!([["opspawn sql_query"]]),
        ),
    ] {
        let found = ask(&url, json!({}), query).await;
        assert_eq!(found.unwrap()["rows"], rows, "{query}");
    }
    let plan = ask(
        &url,
        json!({}),
        "EXPLAIN (FORMAT JSON) SELECT count(*) FROM orders",
    )
    .await
    .unwrap();
    assert!(plan["rows"][0][0][0]["Plan"].is_object(), "{plan}");
    let found = ask(
        &url,
        json!({"rows": 10}),
        "SELECT id FROM orders ORDER BY id DESC",
    )
    .await
    .unwrap();
    assert_eq!(
        (&found["row_count"], &found["truncated"], &found["rows"][9]),
        (&json!(10), &json!(true), &json!([1_991]))
    );
    let found = ask(
        &url,
        json!({"bytes": "2KiB"}),
        "SELECT customer FROM orders",
    )
    .await
    .unwrap();
    assert!(
        found["row_count"].as_u64().unwrap() < 200 && found["truncated"] == true,
        "{found}"
    );
    let found = ask(&url, json!({}), "SELECT repeat('x', 50000000)")
        .await
        .unwrap();
    assert!(
        found["rows"][0][0]
            .as_str()
            .unwrap()
            .ends_with("[cut after 65536 bytes]")
    );
}

async fn refuses(server: Server) {
    let mut shop = Shop::new(server);
    let url = shop.reader();
    for (query, code, says) in [
        ("INSERT INTO orders (id) VALUES (9999)", "query_refused", ""),
        (
            "INSERT INTO orders (id) VALUES (9999) RETURNING id",
            "query_refused",
            "only SELECT",
        ),
        (
            "WITH x AS (DELETE FROM orders RETURNING id) SELECT * FROM x",
            "query_refused",
            "",
        ),
        (
            "EXPLAIN ANALYZE DELETE FROM orders",
            "query_refused",
            "read-only",
        ),
        (
            "SELECT * FROM orders FOR UPDATE",
            "query_refused",
            "read-only",
        ),
        (
            "SELECT nextval('numbers')",
            "query_refused",
            "`pg_catalog.nextval`",
        ),
        ("CREATE TABLE t (x int)", "query_refused", "gives no rows"),
        (
            "SET transaction_read_only = off",
            "query_refused",
            "gives no rows",
        ),
        ("COMMIT", "query_refused", "gives no rows"),
        ("COPY orders TO STDOUT", "query_refused", ""),
        (
            "SELECT 1; SELECT 2",
            "query_refused",
            "more than one statement",
        ),
        (
            "SELECT 1; COMMIT; DELETE FROM orders",
            "query_refused",
            "more than one statement",
        ),
        ("SELECT $1::int", "query_refused", "has parameters"),
        // What READ ONLY does not keep from happening.
        (
            "SELECT pg_logical_emit_message(false, 'a', repeat('x', 1000000))",
            "query_refused",
            "`pg_logical_`",
        ),
        (
            "SELECT LO_FROM_BYTEA(0, 'x')",
            "query_refused",
            "`lo_from_bytea`",
        ),
        (
            "SELECT pg_catalog.\"pg_advisory_lock\"(1)",
            "query_refused",
            "`pg_advisory_`",
        ),
        (
            "SELECT U&\"pg_advisory!005flock\" UESCAPE '!' (1)",
            "query_refused",
            "`U&`",
        ),
        (
            "SELECT query_to_xml('SELECT pg_adv' || 'isory_lock(1)', true, true, '')",
            "query_refused",
            "`query_to_xml`",
        ),
        (
            "EXPLAIN (VERBOSE, FORMAT JSON) SELECT repeat('x', 50000000)",
            "row_too_large",
            "more than 1048576 bytes",
        ),
        ("SELECT id INTO t FROM orders", "query_refused", ""),
        (
            "SELECT 1) AS q(c0); DELETE FROM orders; SELECT (1",
            "query_failed",
            "syntax error",
        ),
        (
            "SELECT set_config('transaction_read_only', 'off', false)",
            "query_refused",
            "`pg_catalog.set_config`",
        ),
        ("SELECT * FROM orderz", "query_failed", "orderz"),
        (
            "SELECT * FROM pg_authid",
            "query_failed",
            "permission denied",
        ),
    ] {
        let error = ask(&url, json!({}), query).await.expect_err(query);
        assert_eq!(error.code, code, "{query}: {error:?}");
        assert!(error.message.contains(says), "{query}: {error:?}");
    }
    let error = ask(&url, json!({"timeout": "300ms"}), "SELECT pg_sleep(600)")
        .await
        .unwrap_err();
    assert_eq!(error.code, "query_timeout", "{error:?}");
    let count = shop.database.query("SELECT count(*) FROM orders");
    assert_eq!(count[0].get::<_, i64>(0), 2_000);
    // Words that only contain such a name.
    let found = ask(&url, json!({}), "SELECT 1 AS events_status, 2 AS hello_put").await;
    assert_eq!(found.unwrap()["rows"], json!([[1, 2]]));
    let own = OWN
        .replace("+asyncpg", "")
        .replace("opspawn:other", "reader:x");
    let error = ask(&own, json!({}), "SELECT 1").await.unwrap_err();
    assert!(error.message.contains("own database"), "{error:?}");
}

/// A view or a function of the operator's own may call what no statement names.
async fn follows_views_and_functions(server: Server) {
    let mut shop = Shop::new(server);
    for statement in [
        "CREATE VIEW plain AS SELECT id, customer FROM orders",
        "CREATE VIEW locks AS SELECT pg_advisory_xact_lock(1) IS NULL AS x, id FROM orders",
        "CREATE VIEW behind AS SELECT id FROM locks",
        "CREATE VIEW hidden AS SELECT x FROM (VALUES (1, pg_notify('a', 'b') IS NULL), (2, pg_notify('a', 'b') IS NULL)) v (x, y)",
        "CREATE FUNCTION volatile_total() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM orders'",
        "CREATE FUNCTION stable_total() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM orders'",
        "CREATE FUNCTION said_stable() RETURNS void LANGUAGE sql STABLE AS 'SELECT pg_advisory_xact_lock(1)'",
        "CREATE FUNCTION standard() RETURNS bigint LANGUAGE sql STABLE RETURN (SELECT count(*) FROM behind)",
        "CREATE FUNCTION runs(text) RETURNS void LANGUAGE plpgsql STABLE AS 'BEGIN EXECUTE $1; END'",
        "CREATE FUNCTION of_row(orders) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'",
        "CREATE FUNCTION loud(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'",
        "CREATE OPERATOR #># (FUNCTION = loud, LEFTARG = int, RIGHTARG = int)",
        "CREATE TABLE guarded (id int)",
        "ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY p ON guarded USING (pg_try_advisory_xact_lock(id))",
    ] {
        shop.database.query(statement);
    }
    let url = shop.user("", &["GRANT SELECT ON ALL TABLES IN SCHEMA public TO USER"]);
    for query in [
        "SELECT count(*) FROM plain",
        "SELECT stable_total()",
        "SELECT random() < 2, now() IS NOT NULL, clock_timestamp() IS NOT NULL, pg_relation_size('orders') > 0",
        "SELECT customer, o.id FROM orders o JOIN plain USING (customer) LIMIT 1",
        "SELECT count(*) FROM pg_locks",
        "SELECT count(*) FROM pg_stat_activity",
        "SELECT count(*) FROM information_schema.columns",
        "EXPLAIN (VERBOSE) SELECT * FROM plain",
    ] {
        let found = ask(&url, json!({}), query).await;
        assert!(found.is_ok(), "{query}: {found:?}");
    }
    for (query, says) in [
        ("SELECT id FROM locks", "pg_advisory_xact_lock"),
        ("SELECT id FROM \"locks\"", "pg_advisory_xact_lock"),
        ("SELECT id FROM behind", "pg_advisory_xact_lock"),
        ("TABLE hidden", "pg_notify"),
        ("EXPLAIN SELECT id FROM behind", "pg_advisory_xact_lock"),
        (
            "SELECT volatile_total()",
            "`public.volatile_total` is VOLATILE",
        ),
        ("SELECT said_stable()", "pg_advisory_"),
        ("SELECT standard()", "pg_advisory_xact_lock"),
        ("SELECT runs('SELECT 1')", "EXECUTE"),
        (
            "SELECT o.of_row FROM orders o",
            "`public.of_row` is VOLATILE",
        ),
        ("SELECT 1 #># 2", "`public.loud` is VOLATILE"),
        ("SELECT * FROM guarded", "pg_try_advisory_xact_lock"),
        (
            "SELECT ts_rewrite('a', 'SELECT 1')",
            "`pg_catalog.ts_rewrite`",
        ),
    ] {
        let error = ask(&url, json!({}), query).await.expect_err(query);
        assert_eq!(error.code, "query_refused", "{query}: {error:?}");
        assert!(error.message.contains(says), "{query}: {error:?}");
    }
}

/// However large a row, a plan or a flood of notices is: it is not read to its end.
async fn reads_so_many_bytes_and_no_more(server: Server) {
    let mut shop = Shop::new(server);
    shop.database.query(
        "CREATE FUNCTION shouts() RETURNS int LANGUAGE plpgsql STABLE AS \
         'BEGIN FOR i IN 1..400000 LOOP RAISE NOTICE ''%'', repeat(''x'', 1000); END LOOP; RETURN 1; END'",
    );
    let url = shop.reader();
    let wide: Vec<String> = (0..500)
        .map(|at| format!("repeat('x', 60000) AS c{at}"))
        .collect();
    for query in [
        format!("SELECT {}", wide.join(", ")),
        "EXPLAIN (VERBOSE, FORMAT JSON) SELECT repeat('x', 50000000)".to_owned(),
        "SELECT shouts()".to_owned(),
    ] {
        let begun = std::time::Instant::now();
        let error = ask(&url, json!({}), &query).await.expect_err(&query);
        let query: String = query.chars().take(60).collect();
        assert_eq!(error.code, "row_too_large", "{query}: {error:?}");
        assert!(
            begun.elapsed().as_secs() < 20,
            "{query}: {:?}",
            begun.elapsed()
        );
    }
    // Rows before the large one are a result.
    let query = format!(
        "SELECT CASE WHEN id > 3 THEN repeat('x', 60000) END, {} FROM orders ORDER BY id",
        (0..100)
            .map(|at| format!("CASE WHEN id > 3 THEN repeat('y', 60000) END AS d{at}"))
            .collect::<Vec<_>>()
            .join(", ")
    );
    let found = ask(&url, json!({}), &query).await.unwrap();
    assert_eq!(
        (&found["row_count"], &found["truncated"]),
        (&json!(3), &json!(true))
    );
}

async fn refuses_roles(server: Server) {
    let mut shop = Shop::new(server);
    let group = shop.user("BYPASSRLS", &[]);
    let group = group
        .split("//")
        .nth(1)
        .unwrap()
        .split(':')
        .next()
        .unwrap()
        .to_owned();
    let cases = [
        (shop.database.url(), "is a superuser"),
        (shop.user("SUPERUSER", &[]), "is a superuser"),
        (shop.user("BYPASSRLS", &[]), "passes over row security"),
        (shop.user("REPLICATION", &[]), "may replicate"),
        (
            shop.user("NOINHERIT", &[&format!("GRANT {group} TO USER")]),
            "passes over row security",
        ),
        (
            shop.user("", &["GRANT pg_write_server_files TO USER"]),
            "reaches files",
        ),
        (
            shop.user("", &["GRANT pg_execute_server_program TO USER"]),
            "reaches files",
        ),
        (
            shop.user("", &["GRANT pg_signal_backend TO USER"]),
            "reaches files",
        ),
    ];
    for (url, says) in cases {
        let error = ask(&url, json!({}), "SELECT 1").await.expect_err(says);
        assert_eq!(error.code, "role_refused", "{error:?}");
        assert!(error.message.contains(says), "{says}: {error:?}");
    }
}

async fn holds_no_statement_of_a_lost_caller(server: Server) {
    let mut shop = Shop::new(server);
    let url = shop.reader();
    let asked = ask(&url, json!({"timeout": "1h"}), "SELECT pg_sleep(3000)");
    let shop = Arc::new(shop);
    let running = |shop: Arc<Shop>| async move {
        tokio::task::spawn_blocking(move || {
            let query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3000)%' AND state = 'active' AND pid <> pg_backend_pid()";
            shop.database.query(query)[0].get::<_, i64>(0)
        })
        .await
        .unwrap()
    };
    let patience = std::time::Duration::from_secs(60);
    let began = ops_testkit::wait_until("the query runs", patience, || async {
        (running(Arc::clone(&shop)).await == 1).then_some(())
    });
    tokio::select! {
        answer = asked => panic!("the query has no end of its own: {answer:?}"),
        began = began => began.unwrap(),
    }
    let cancelled = ops_testkit::wait_until("the query is cancelled", patience, || async {
        (running(Arc::clone(&shop)).await == 0).then_some(())
    });
    cancelled.await.unwrap();
}

macro_rules! on_each_server {
    ($($test:ident)*) => {
        $(mod $test {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
            async fn postgres_15() {
                super::$test(Server::Postgres15).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs PostgreSQL: run by cargo xtask test --install"]
            async fn postgres_18() {
                super::$test(Server::Postgres18).await;
            }
        })*
    };
}

on_each_server!(
    reads refuses refuses_roles follows_views_and_functions reads_so_many_bytes_and_no_more
    holds_no_statement_of_a_lost_caller
);

#[tokio::test]
async fn a_server_that_is_not_there_or_a_secret_that_is_none_is_told() {
    let error = ask(
        "postgres://u:hunter2secret@127.0.0.1:1/d",
        json!({}),
        "SELECT 1",
    )
    .await
    .unwrap_err();
    assert_eq!(error.code, "database_unavailable", "{error:?}");
    assert!(!error.message.contains("hunter2secret"), "{error:?}");
    let made = tool(
        &std::env::temp_dir(),
        Known::default(),
        Vec::new(),
        &[declared("shop", json!({"url_secret": "SHOP_URL"}))],
    );
    let error = call(
        made.unwrap(),
        json!({"database": "shop", "query": "SELECT 1"}),
    )
    .await
    .unwrap_err();
    assert_eq!(error.code, "secret_missing", "{error:?}");
}
