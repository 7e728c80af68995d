//! SQLite files: what is read, what is refused, and the bounds.

use std::{path::Path, sync::Arc};

use rusqlite::Connection;
use serde_json::json;
use tempfile::TempDir;

use crate::harness::{Known, call, called, declared, tool};

const ROWS: i64 = 2_000;

/// A folder with a database of orders, in write-ahead mode.
fn shop() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("shop.db")).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL, seal BLOB);
             INSERT INTO orders WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
                SELECT i, 'customer ' || i, i / 2.0, x'00ff' FROM n;
             CREATE VIRTUAL TABLE words USING fts5(word);
             INSERT INTO words VALUES ('red apples'), ('green pears');
             CREATE VIEW large AS SELECT * FROM orders WHERE total > 990;"
        ))
        .unwrap();
    folder
}

async fn ask(
    folder: &Path,
    fields: serde_json::Value,
    arguments: serde_json::Value,
) -> Result<serde_json::Value, agentkit::event::Failure> {
    let mut whole = json!({"file": "shop.db"});
    for (field, value) in fields.as_object().unwrap() {
        whole[field] = value.clone();
    }
    let made = tool(
        folder,
        Known::default(),
        Vec::new(),
        &[declared("shop", whole)],
    );
    let mut asked = json!({"database": "shop"});
    for (field, value) in arguments.as_object().unwrap() {
        asked[field] = value.clone();
    }
    call(made.unwrap(), asked).await
}

#[tokio::test]
async fn a_query_gives_a_table_or_json() {
    let shop = shop();
    let query = "SELECT id, customer, total, seal, NULL AS empty, 1 AS id FROM orders ORDER BY id LIMIT 2; -- all";
    let table = ask(shop.path(), json!({}), json!({"query": query}))
        .await
        .unwrap();
    let expected = "| id | customer | total | seal | empty | id |\n| --- | --- | --- | --- | --- | --- |\n\
                    | 1 | customer 1 | 0.5 | x'00ff' | NULL | 1 |\n| 2 | customer 2 | 1.0 | x'00ff' | NULL | 1 |\n2 rows";
    assert_eq!(table, expected);
    let asked = json!({"query": "SELECT max(id), count(*) FROM large", "format": "json"});
    let found = ask(shop.path(), json!({}), asked).await.unwrap();
    let expected = json!({"columns": ["max(id)", "count(*)"], "rows": [[2_000, 20]], "row_count": 1, "truncated": false});
    assert_eq!(found, expected);
    let asked =
        json!({"query": "SELECT word FROM words WHERE words MATCH 'pears'", "format": "json"});
    let found = ask(shop.path(), json!({}), asked).await.unwrap();
    assert_eq!(found["rows"], json!([["green pears"]]));
    let asked =
        json!({"query": "SELECT name FROM sqlite_schema WHERE type = 'view'", "format": "json"});
    let found = ask(shop.path(), json!({}), asked).await.unwrap();
    assert_eq!(found["rows"], json!([["large"]]));
}

#[tokio::test]
async fn only_one_statement_that_reads_is_run() {
    let shop = shop();
    let other = shop.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE secrets (x)")
        .unwrap();
    let other = other.display();
    for (query, says) in [
        (
            "INSERT INTO orders (id) VALUES (9999)".to_owned(),
            "would write",
        ),
        ("UPDATE orders SET total = 0".to_owned(), "would write"),
        ("DELETE FROM orders".to_owned(), "would write"),
        (
            "INSERT INTO orders (id) VALUES (9999) RETURNING id".to_owned(),
            "would write",
        ),
        (
            "WITH x AS (SELECT 1) DELETE FROM orders".to_owned(),
            "would write",
        ),
        ("CREATE TABLE t (x)".to_owned(), "would write"),
        ("CREATE TEMP TABLE t (x)".to_owned(), "would write"),
        ("DROP TABLE orders".to_owned(), "would write"),
        ("ALTER TABLE orders ADD x".to_owned(), "would write"),
        (
            "CREATE VIRTUAL TABLE t USING fts5(x)".to_owned(),
            "would write",
        ),
        (
            "INSERT INTO words(words) VALUES ('optimize')".to_owned(),
            "would write",
        ),
        ("ANALYZE".to_owned(), "would write"),
        ("REINDEX".to_owned(), "would write"),
        ("VACUUM".to_owned(), "would write"),
        (format!("VACUUM INTO '{other}.copy'"), "would write"),
        (format!("ATTACH '{other}' AS o"), "cannot be attached"),
        ("DETACH main".to_owned(), "cannot be attached"),
        (
            "PRAGMA query_only = off".to_owned(),
            "PRAGMA query_only cannot be used",
        ),
        (
            "PRAGMA table_info(orders)".to_owned(),
            "PRAGMA table_info cannot be used",
        ),
        (
            "SELECT * FROM pragma_table_info('orders')".to_owned(),
            "cannot be used",
        ),
        (
            "PRAGMA writable_schema = on".to_owned(),
            "PRAGMA writable_schema",
        ),
        (
            "SELECT load_extension('/tmp/x.so')".to_owned(),
            "load_extension",
        ),
        ("BEGIN".to_owned(), "a transaction of its own"),
        ("SAVEPOINT s".to_owned(), "a transaction of its own"),
        ("SELECT 1; SELECT 2".to_owned(), "more than one statement"),
        ("SELECT 1; DELETE FROM orders".to_owned(), ""),
        ("SELECT ?1".to_owned(), "has parameters"),
        ("-- nothing".to_owned(), "gives no rows"),
    ] {
        let error = ask(shop.path(), json!({}), json!({"query": query}))
            .await
            .unwrap_err();
        assert_eq!(error.code, "query_refused", "{query}: {error:?}");
        assert!(error.message.contains(says), "{query}: {error:?}");
    }
    let found = json!({"query": "SELECT count(*), sum(total) FROM orders", "format": "json"});
    let found = ask(shop.path(), json!({}), found).await.unwrap();
    assert_eq!(found["rows"], json!([[ROWS, 1_000_500.0]]));
    assert!(!shop.path().join("other.db.copy").exists());
}

#[tokio::test]
async fn a_mistake_of_a_query_is_told_with_its_place() {
    let shop = shop();
    for (query, says) in [
        ("SELEC 1", "near \"SELEC\": syntax error at byte 0"),
        ("SELECT * FROM order_s", "no such table: order_s"),
        ("SELECT abs(-9223372036854775808)", "integer overflow"),
    ] {
        let error = ask(shop.path(), json!({}), json!({"query": query}))
            .await
            .unwrap_err();
        assert_eq!(error.code, "query_failed", "{query}: {error:?}");
        assert!(error.message.contains(says), "{query}: {error:?}");
    }
}

#[tokio::test]
async fn rows_bytes_and_time_are_bounded() {
    let shop = shop();
    let all = json!({"query": "SELECT * FROM orders", "format": "json"});
    let found = ask(shop.path(), json!({}), all.clone()).await.unwrap();
    assert_eq!(
        (&found["row_count"], &found["truncated"]),
        (&json!(1_000), &json!(true))
    );
    let found = ask(shop.path(), json!({"rows": 7}), all.clone())
        .await
        .unwrap();
    assert_eq!(found["row_count"], 7);
    let mut fewer = all.clone();
    fewer["max_rows"] = json!(3);
    let found = ask(shop.path(), json!({}), fewer).await.unwrap();
    assert_eq!(found["row_count"], 3);
    let found = ask(shop.path(), json!({"bytes": "4KiB"}), all)
        .await
        .unwrap();
    assert_eq!(found["truncated"], true);
    assert!(found["row_count"].as_u64().unwrap() < 150, "{found}");
    let wide = json!({"query": "SELECT replace(hex(zeroblob(1000)), '0', 'x')"});
    let error = ask(shop.path(), json!({"bytes": "1KiB"}), wide)
        .await
        .unwrap_err();
    assert_eq!(error.code, "row_too_large");
    let large = json!({"query": "SELECT length(randomblob(100000000))"});
    let error = ask(shop.path(), json!({}), large).await.unwrap_err();
    assert!(error.message.contains("too big"), "{error:?}");
    for endless in [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "SELECT count(*) FROM orders a, orders b, orders c, orders d WHERE a.total + b.total = c.total - d.total",
    ] {
        let error = ask(
            shop.path(),
            json!({"timeout": "200ms"}),
            json!({"query": endless}),
        )
        .await;
        assert_eq!(error.unwrap_err().code, "query_timeout", "{endless}");
    }
}

/// A call that is given up frees the tool: the thread of its query stops by itself.
#[tokio::test]
async fn an_abandoned_query_ends() {
    let shop = shop();
    let fields = json!({"file": "shop.db", "concurrency": 1, "timeout": "1h"});
    let made = tool(
        shop.path(),
        Known::default(),
        Vec::new(),
        &[declared("shop", fields)],
    );
    let made = Arc::new(made.unwrap());
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let endless = json!({"database": "shop", "query": endless});
    let abandoned = tokio::time::timeout(
        std::time::Duration::from_millis(300),
        called(&made, endless),
    );
    assert!(abandoned.await.is_err(), "the query has no end of its own");
    let next = json!({"database": "shop", "query": "SELECT 1"});
    let next = tokio::time::timeout(std::time::Duration::from_secs(60), called(&made, next));
    next.await.expect("the only place is free again").unwrap();
}

#[tokio::test]
async fn a_file_that_cannot_be_granted_refuses_to_start() {
    let shop = shop();
    std::fs::write(
        shop.path().join("text.db"),
        "no database, but long enough to have had a header",
    )
    .unwrap();
    let own = vec![shop.path().join("shop.db")];
    std::os::unix::fs::symlink(shop.path().join("shop.db"), shop.path().join("link.db")).unwrap();
    for (file, says) in [
        ("absent.db", "which cannot be used"),
        (".", "which is no file"),
        ("link.db", "the server's own database"),
    ] {
        let database = declared("shop", json!({"file": file}));
        let error = tool(shop.path(), Known::default(), own.clone(), &[database])
            .err()
            .unwrap();
        assert!(error.to_string().contains(says), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("file, line 1: database `shop`: "),
            "{error}"
        );
    }
    let text = declared("shop", json!({"file": "text.db"}));
    let made = tool(shop.path(), Known::default(), Vec::new(), &[text]).unwrap();
    let error = call(
        made,
        json!({"database": "shop", "query": "SELECT 1 FROM sqlite_schema"}),
    )
    .await
    .unwrap_err();
    assert_eq!(error.code, "database_unavailable", "{error:?}");
    // A link that takes the place of the granted file later is not followed.
    let granted = shop.path().join("granted.db");
    std::fs::copy(shop.path().join("shop.db"), &granted).unwrap();
    let made = tool(
        shop.path(),
        Known::default(),
        Vec::new(),
        &[declared("shop", json!({"file": "granted.db"}))],
    );
    std::fs::remove_file(&granted).unwrap();
    std::os::unix::fs::symlink(shop.path().join("shop.db"), &granted).unwrap();
    let error = call(
        made.unwrap(),
        json!({"database": "shop", "query": "SELECT 1"}),
    )
    .await
    .unwrap_err();
    assert_eq!(error.code, "database_unavailable", "{error:?}");
}

#[tokio::test]
async fn a_call_names_its_database() {
    use agentkit::{
        Tool as _,
        tool::{Resource, Resources},
    };
    let shop = shop();
    let databases = [
        declared("shop", json!({"file": "shop.db"})),
        declared("copy", json!({"file": "shop.db", "rows": 5})),
    ];
    let made = tool(shop.path(), Known::default(), Vec::new(), &databases).unwrap();
    let touched = made.resources(&json!({"database": "copy", "query": "SELECT 1"}));
    assert_eq!(
        touched,
        Resources::reads([Resource::service("database copy")])
    );
    let about = &made.spec().description;
    assert!(about.contains("shop (SQLite; `SELECT name, sql FROM sqlite_schema` shows its tables): Orders of the shop;"), "{about}");
    assert!(made.check().await.iter().all(|(_, answer)| answer.is_ok()));
    let error = call(made, json!({"database": "shp", "query": "SELECT 1"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "invalid_arguments", "{error:?}");
}
