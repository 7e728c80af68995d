//! Searching the files of the workspace.

use std::{fs, os::unix::fs::symlink};

use serde_json::{Value, json};

use crate::harness::Harness;

#[tokio::test]
async fn lines_that_match_are_shown_with_their_place() {
    let mut harness = Harness::new();
    let write = |name: &str, content: &[u8]| {
        let path = harness.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    write("b.txt", b"no\nneedle one needle\r\nno\n\nlast needle");
    write("a/deep/c.txt", b"needle\n");
    write("a.txt", b"Needle\n");
    write("binary", b"needle\0needle\n");
    write("latin", b"gr\xfcne needle\n");
    write(".opspawn-unfinished-call_9-00", b"needle\n");
    let all = json!({"pattern": "needle"});
    assert_eq!(
        harness.ok("search_files", all).await,
        json!({
            "count": 4,
            "files_searched": 4,
            "matches": [
                {"path": "a/deep/c.txt", "line": 1, "text": "needle"},
                {"path": "b.txt", "line": 2, "text": "needle one needle"},
                {"path": "b.txt", "line": 5, "text": "last needle"},
                {"path": "latin", "line": 1, "text": "grüne needle"},
            ],
            "encodings": [
                {"path": "latin", "encoding": "windows-1252, assumed as it is not UTF-8"},
            ],
            "skipped": [{"path": "binary", "why": "is not text"}],
        })
    );
    for (arguments, places) in [
        (
            json!({"pattern": "^needle$", "ignore_case": true}),
            vec![("a/deep/c.txt", 1), ("a.txt", 1)],
        ),
        (
            json!({"pattern": "needle$", "path": "b.txt"}),
            vec![("b.txt", 2), ("b.txt", 5)],
        ),
        (
            json!({"pattern": "^$", "path": "b.txt"}),
            vec![("b.txt", 4)],
        ),
        (
            json!({"pattern": "needle", "path": "a"}),
            vec![("a/deep/c.txt", 1)],
        ),
        (
            json!({"pattern": "(?s)no.*last", "path": "b.txt"}),
            vec![("b.txt", 1)],
        ),
        (
            json!({"pattern": "x*", "path": "a.txt"}),
            vec![("a.txt", 1)],
        ),
        (json!({"pattern": "absent"}), vec![]),
    ] {
        let result = harness.ok("search_files", arguments.clone()).await;
        let found: Vec<_> = result["matches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| {
                (
                    found["path"].as_str().unwrap(),
                    found["line"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, places, "{arguments}");
    }
}

#[tokio::test]
async fn searching_has_bounds() {
    let mut harness = Harness::new();
    fs::write(harness.path().join("many"), "x\n".repeat(5000)).unwrap();
    let long = format!("{}needle{}", "a".repeat(50_000), "b".repeat(50_000));
    fs::write(harness.path().join("long"), long).unwrap();
    fs::File::create(harness.path().join("huge"))
        .unwrap()
        .set_len(17 << 20)
        .unwrap();
    let result = harness.ok("search_files", json!({"pattern": "^x"})).await;
    assert_eq!(result["count"], 100);
    assert_eq!(result["cut"], "there are more than 100 matches");
    let result = harness
        .ok(
            "search_files",
            json!({"pattern": "^x", "path": "many", "max_matches": 1}),
        )
        .await;
    assert_eq!(result["count"], 1);
    let result = harness
        .ok("search_files", json!({"pattern": "needle"}))
        .await;
    let text = result["matches"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with("...aaa") && text.ends_with("bbb...") && text.len() < 400,
        "{text}"
    );
    assert_eq!(result["skipped"][0]["path"], "huge");
    assert_eq!(
        harness
            .code("search_files", json!({"pattern": "x", "path": "huge"}))
            .await,
        "file_too_large"
    );
    for pattern in [
        "(",
        "(?=x)",
        r"(a)\1",
        "a{1000}{1000}{1000}",
        &"x".repeat(5000),
        &"(".repeat(4000),
    ] {
        let error = harness
            .call("search_files", json!({"pattern": pattern}))
            .await
            .unwrap_err();
        assert_eq!(error.code, "invalid_pattern", "{}", error.message);
    }
    for (arguments, code) in [
        (json!({"pattern": ""}), "invalid_arguments"),
        (
            json!({"pattern": "x", "max_matches": 1001}),
            "invalid_arguments",
        ),
        (json!({"pattern": "x", "path": "none"}), "not_found"),
        (json!({"pattern": "x", "path": "../"}), "invalid_path"),
    ] {
        assert_eq!(harness.code("search_files", arguments).await, code);
    }
}

#[tokio::test]
async fn links_are_not_followed_and_none_leads_outside() {
    let mut harness = Harness::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "needle").unwrap();
    symlink(outside.path(), harness.path().join("folder")).unwrap();
    symlink(outside.path().join("secret"), harness.path().join("file")).unwrap();
    symlink(".", harness.path().join("loop")).unwrap();
    let fifo = harness.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let result = harness
        .ok("search_files", json!({"pattern": "needle"}))
        .await;
    assert_eq!(
        (&result["count"], &result["files_searched"]),
        (&json!(0), &json!(0))
    );
    for (path, code) in [
        ("folder", "outside_workspace"),
        ("file", "outside_workspace"),
        ("folder/secret", "outside_workspace"),
        ("pipe", "not_a_file"),
    ] {
        let arguments = json!({"pattern": "needle", "path": path});
        assert_eq!(
            harness.code("search_files", arguments).await,
            code,
            "{path}"
        );
    }
    assert_eq!(result.get("skipped"), None::<&Value>);
}

/// security/S6: a rule on a path binds the tools that read folders, and those whose path is left out.
#[tokio::test]
async fn a_rule_on_a_path_binds_every_tool_that_reads_it() {
    for rule in [
        "[[rule]]\naction = \"deny\"\nwhen = { touches.path = \"secret/*\" }",
        "[[rule]]\ntool = \"*\"\naction = \"deny\"\nwhen = { path = \"secret/*\" }",
    ] {
        let mut harness = Harness::new().under(rule);
        for folder in ["secret", "open"] {
            std::fs::create_dir(harness.path().join(folder)).unwrap();
            std::fs::write(harness.path().join(folder).join("a.json"), "{\"k\": 1}").unwrap();
        }
        for (name, arguments) in [
            ("read_file", json!({"path": "secret/a.json"})),
            (
                "write_file",
                json!({"path": "./secret//new", "content": ""}),
            ),
            (
                "edit_file",
                json!({"path": "secret/a.json", "old": "1", "new": "2"}),
            ),
            ("json_query", json!({"query": "$", "path": "secret/a.json"})),
            ("search_files", json!({"pattern": "k"})),
            ("search_files", json!({"pattern": "k", "path": "."})),
            ("search_files", json!({"pattern": "k", "path": "secret"})),
            ("list_files", json!({"recursive": true})),
            ("list_files", json!({"path": "secret"})),
            (
                "http_fetch",
                json!({"url": "https://example.com/", "save_as": "secret/a"}),
            ),
        ] {
            let code = harness.code(name, arguments.clone()).await;
            assert_eq!(code, "denied", "{rule}: {name} {arguments}");
        }
        for (name, arguments) in [
            ("read_file", json!({"path": "open/a.json"})),
            ("json_query", json!({"query": "$", "path": "open/a.json"})),
            ("json_query", json!({"query": "$", "json": {"secret/a": 1}})),
            ("search_files", json!({"pattern": "k", "path": "open"})),
            ("list_files", json!({})),
            ("calculator", json!({"expression": "1"})),
        ] {
            harness.ok(name, arguments).await;
        }
    }
}

/// tools/T13: a search is narrowed by globs and by a cap for each file, and goes on where it ended.
#[tokio::test]
async fn searches_are_narrowed_and_paged() {
    let mut harness = Harness::new();
    for (path, content) in [
        (".git/log", "hit\n"),
        ("node_modules/x/i.js", "hit\n"),
        ("a/one.rs", "hit 1\nhit 2\nhit 3\n"),
        ("a/two.md", "hit 4\n"),
        ("a.rs", "hit 5\n"),
        ("b:c.rs", "hit 6\nhit 7\n"),
    ] {
        let path = harness.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let texts = |result: &Value| -> Vec<String> {
        let matches = result["matches"].as_array().unwrap();
        let text = |found: &Value| found["text"].as_str().unwrap().replace("hit ", "");
        matches.iter().map(text).collect()
    };
    let result = harness.ok("search_files", json!({"pattern": "hit"})).await;
    assert_eq!(texts(&result), ["1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(result["left_out"], json!([".git", "node_modules"]));
    for (arguments, expected) in [
        (json!({"pattern": "hit", "include": ["*.md"]}), vec!["4"]),
        (
            json!({"pattern": "hit", "include": ["a/*"], "exclude": ["*.md"]}),
            vec!["1", "2", "3"],
        ),
        (
            json!({"pattern": "hit", "include": ["*.js"], "everything": true}),
            vec!["hit"],
        ),
        (
            json!({"pattern": "hit", "path": "node_modules"}),
            vec!["hit"],
        ),
    ] {
        let result = harness.ok("search_files", arguments.clone()).await;
        assert_eq!(texts(&result), expected, "{arguments}");
    }
    let arguments = json!({"pattern": "hit", "max_per_file": 1});
    let result = harness.ok("search_files", arguments).await;
    assert_eq!(texts(&result), ["1", "4", "5", "6"]);
    assert_eq!(result["capped"], json!(["a/one.rs", "b:c.rs"]));
    // Page by page, each of two lines.
    let mut arguments = json!({"pattern": "hit", "max_matches": 2});
    let mut all = Vec::new();
    loop {
        let result = harness.ok("search_files", arguments.clone()).await;
        all.extend(texts(&result));
        match result.get("next") {
            Some(next) => arguments["after"] = next.clone(),
            None => break,
        }
    }
    assert_eq!(all, ["1", "2", "3", "4", "5", "6", "7"]);
    for (after, code) in [("a.rs", "invalid_arguments"), ("../a:1", "invalid_path")] {
        let arguments = json!({"pattern": "hit", "after": after});
        assert_eq!(harness.code("search_files", arguments).await, code);
    }
}

/// tools/T2: more files than are named are counted.
#[tokio::test]
async fn skipped_files_are_counted() {
    let mut harness = Harness::new();
    for number in 0..25 {
        fs::write(harness.path().join(format!("{number:02}")), b"x\0y").unwrap();
    }
    let result = harness.ok("search_files", json!({"pattern": "x"})).await;
    assert_eq!(result["skipped"].as_array().unwrap().len(), 20);
    assert_eq!(result["skipped_count"], 25);
}
