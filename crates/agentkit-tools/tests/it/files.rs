//! Reading, listing and writing in the workspace.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};

use crate::harness::Harness;

#[tokio::test]
async fn what_is_written_is_read_and_listed() {
    let mut harness = Harness::new();
    let arguments = json!({"path": "./notes//deep/plan.txt", "content": "Grüße\n"});
    let outcome = harness.call("write_file", arguments).await.unwrap();
    assert_eq!(
        outcome.output,
        json!({"path": "notes/deep/plan.txt", "bytes": 8})
    );
    let (delta, content) = &outcome.files[0];
    assert_eq!(
        (delta.path.as_str(), delta.bytes),
        ("notes/deep/plan.txt", 8)
    );
    assert_eq!(
        delta.digest,
        Some(agentkit::tool::digest_hex("Grüße\n".as_bytes()))
    );
    assert_eq!(content.as_deref(), Some("Grüße\n".as_bytes()));

    assert_eq!(
        harness
            .ok("read_file", json!({"path": "notes/deep/plan.txt"}))
            .await,
        json!({"text": "Grüße\n", "offset": 0, "next_offset": null, "total_bytes": 8})
    );
    harness
        .ok("write_file", json!({"path": "a.txt", "content": ""}))
        .await;
    assert_eq!(
        harness.ok("list_files", json!({})).await,
        json!({"count": 2, "entries": [
            {"path": "a.txt", "type": "file", "bytes": 0},
            {"path": "notes", "type": "folder"},
        ]})
    );
    assert_eq!(
        harness
            .ok("list_files", json!({"path": "notes", "recursive": true}))
            .await,
        json!({"count": 2, "entries": [
            {"path": "notes/deep", "type": "folder"},
            {"path": "notes/deep/plan.txt", "type": "file", "bytes": 8},
        ]})
    );
}

#[tokio::test]
async fn a_second_write_replaces_the_content_and_keeps_the_mode() {
    let mut harness = Harness::new();
    let file = harness.path().join("run.sh");
    fs::write(&file, "old and longer").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o750)).unwrap();
    for _ in 0..2 {
        harness
            .ok("write_file", json!({"path": "run.sh", "content": "new"}))
            .await;
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o750
        );
    }
    assert_eq!(
        fs::read_dir(harness.path()).unwrap().count(),
        1,
        "nothing else is left"
    );
}

#[tokio::test]
async fn long_files_are_read_in_pages() {
    let mut harness = Harness::new();
    let text = "0123456789äöü\n".repeat(4_000);
    fs::write(harness.path().join("long.txt"), &text).unwrap();
    let (mut whole, mut offset, mut pages) = (String::new(), Some(0), 0);
    while let Some(at) = offset {
        let arguments = json!({"path": "long.txt", "offset": at});
        let outcome = harness.call("read_file", arguments).await.unwrap();
        assert_eq!(outcome.handle, None, "a page is shown whole");
        whole += outcome.output["text"].as_str().unwrap();
        offset = outcome.output["next_offset"].as_u64();
        pages += 1;
    }
    assert_eq!(whole, text);
    assert_eq!(pages, 5);
    let arguments = json!({"path": "long.txt", "offset": 4, "limit": 8});
    let page = harness.ok("read_file", arguments).await;
    assert_eq!(
        (&page["text"], &page["next_offset"]),
        (&json!("456789ä"), &json!(12))
    );
    let past = harness
        .ok("read_file", json!({"path": "long.txt", "offset": u64::MAX}))
        .await;
    assert_eq!(
        (&past["text"], &past["next_offset"]),
        (&json!(""), &Value::Null)
    );
}

#[tokio::test]
async fn an_image_is_shown_as_one() {
    use agentkit::event::ContentPart;
    let mut harness = Harness::new();
    for (begin, kind) in [
        (&b"\x89PNG\r\n\x1a\nrest"[..], "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPrest", "image/webp"),
    ] {
        fs::write(harness.path().join("picture"), begin).unwrap();
        let outcome = harness
            .call("read_file", json!({"path": "picture"}))
            .await
            .unwrap();
        let size = begin.len();
        assert_eq!(outcome.output, json!({"media_type": kind, "bytes": size}));
        let [ContentPart::Image { media }] = &outcome.parts[..] else {
            panic!("{:?}", outcome.parts)
        };
        assert_eq!((&*media.media_type, media.bytes), (kind, size as u64));
        assert_eq!(
            outcome.blobs,
            [(media.digest.clone(), begin.to_vec().into())]
        );
    }
    // A recording begins like a WebP, and who names an encoding wants text.
    fs::write(harness.path().join("sound"), b"RIFF\0\0\0\0WAVEfmt ").unwrap();
    assert_eq!(
        harness.code("read_file", json!({"path": "sound"})).await,
        "not_text"
    );
    fs::write(harness.path().join("page"), b"GIF89a is a format").unwrap();
    let read = json!({"path": "page", "encoding": "utf-8"});
    assert_eq!(
        harness.ok("read_file", read).await["text"],
        "GIF89a is a format"
    );
}

#[tokio::test]
async fn what_is_no_text_file_is_refused() {
    let mut harness = Harness::new();
    fs::write(harness.path().join("image"), b"PNG\x89\x00").unwrap();
    fs::create_dir(harness.path().join("folder")).unwrap();
    let error = harness
        .call("read_file", json!({"path": "image"}))
        .await
        .unwrap_err();
    assert_eq!(error.code, "not_text");
    assert!(error.message.contains("`image` is not text"));
    assert_eq!(
        harness.code("read_file", json!({"path": "folder"})).await,
        "is_a_folder"
    );
    assert_eq!(
        harness.code("read_file", json!({"path": "none"})).await,
        "not_found"
    );
    assert_eq!(
        harness.code("read_file", json!({"path": "image/x"})).await,
        "not_a_folder"
    );
    assert_eq!(
        harness.code("list_files", json!({"path": "image"})).await,
        "not_a_folder"
    );
    assert_eq!(
        harness.code("list_files", json!({"path": "none"})).await,
        "not_found"
    );
    let content = |path: &str| json!({"path": path, "content": "x"});
    assert_eq!(
        harness.code("write_file", content("folder")).await,
        "is_a_folder"
    );
    assert_eq!(
        harness.code("write_file", content("image/x")).await,
        "not_a_folder"
    );
    assert_eq!(
        harness.code("write_file", content("image/x/y")).await,
        "not_a_folder"
    );
    assert_eq!(
        fs::read(harness.path().join("image")).unwrap(),
        b"PNG\x89\x00"
    );
}

#[tokio::test]
async fn special_files_do_not_hang() {
    let mut harness = Harness::new();
    let fifo = harness.path().join("pipe");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(harness.path().join("socket")).unwrap();
    for name in ["pipe", "socket"] {
        assert_eq!(
            harness.code("read_file", json!({"path": name})).await,
            "not_a_file",
            "{name}"
        );
    }
    let listed = harness.ok("list_files", json!({"recursive": true})).await;
    assert_eq!(
        listed["entries"][0],
        json!({"path": "pipe", "type": "special"})
    );
    // Writing replaces it; it opens nothing but its own new file.
    harness
        .ok("write_file", json!({"path": "pipe", "content": "text"}))
        .await;
    assert_eq!(fs::read_to_string(&fifo).unwrap(), "text");
}

#[tokio::test]
async fn long_listings_are_cut() {
    let mut harness = Harness::new();
    for number in 0..10_003 {
        fs::write(harness.path().join(format!("{number:05}")), "").unwrap();
    }
    let outcome = harness.call("list_files", json!({})).await.unwrap();
    let (_, bytes) = outcome.handle.unwrap();
    let listed: Value = serde_json::from_slice(&bytes).unwrap();
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &listed["count"]), (10_000, &json!(10_003)));
    assert_eq!(entries[9_999]["path"], "09999");
    assert_eq!(listed["cut"], "these are the first 10000 of 10003");
    assert_eq!(listed["next"], "09999");
    let rest = harness
        .ok("list_files", json!({"after": listed["next"]}))
        .await;
    let last = |name| json!({"path": name, "type": "file", "bytes": 0});
    assert_eq!(
        rest,
        json!({"count": 3, "entries": [last("10000"), last("10001"), last("10002")]})
    );
    assert!(
        outcome.output["preview"]
            .as_str()
            .unwrap()
            .starts_with(r#"{"count":10003,"cut":"#)
    );
}

#[tokio::test]
async fn unfinished_writes_are_hidden_and_cleared_away() {
    let mut harness = Harness::new();
    let mine = harness
        .path()
        .join(".opspawn-unfinished-call_2-00000000deadbeef");
    let other = harness
        .path()
        .join(".opspawn-unfinished-call_22-00000000deadbeef");
    for left in [&mine, &other] {
        fs::write(left, "half").unwrap();
    }
    let listed = harness.ok("list_files", json!({"recursive": true})).await;
    assert_eq!(listed, json!({"count": 0, "entries": []}));
    // This is call_2, made again after a crash.
    harness
        .ok("write_file", json!({"path": "a.txt", "content": "whole"}))
        .await;
    assert!(!mine.exists() && other.exists());
    let name = ".opspawn-unfinished-call_22-00000000deadbeef";
    assert_eq!(
        harness.code("read_file", json!({"path": name})).await,
        "invalid_path"
    );
    let arguments = json!({"path": name, "content": ""});
    assert_eq!(harness.code("write_file", arguments).await, "invalid_path");
}

#[test]
fn a_call_that_was_cancelled_writes_nothing() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let harness = Harness::new();
        fs::write(harness.path().join("a.txt"), "old").unwrap();
        // The one thread for blocking work is held until the call is over.
        let (release, held) = std::sync::mpsc::channel::<()>();
        let holder = tokio::task::spawn_blocking(move || held.recv());
        let context = harness.context();
        let input = json!({"path": "a.txt", "content": "new"});
        let call = harness.gate().run("write_file", input, context.clone());
        let (result, ()) = tokio::join!(call, async { context.cancel.cancel() });
        assert_eq!(result.unwrap_err().code, "cancelled");
        release.send(()).unwrap();
        holder.await.unwrap().unwrap();
        // What is queued behind the work of the call runs after it.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert_eq!(
            fs::read_to_string(harness.path().join("a.txt")).unwrap(),
            "old"
        );
        assert_eq!(
            fs::read_dir(harness.path()).unwrap().count(),
            1,
            "nothing is left"
        );
    });
}

#[tokio::test]
async fn a_workspace_that_is_not_there_is_said_to_be() {
    let harness = Harness::new();
    let mut context = harness.context();
    context.workspace = harness.path().join("gone");
    let error = harness
        .gate()
        .run("list_files", json!({}), context)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("workspace_unavailable", true)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_a_part() {
    let mut harness = Harness::new();
    let file = harness.path().join("state");
    let content = |letter: char| letter.to_string().repeat(300_000);
    harness
        .ok(
            "write_file",
            json!({"path": "state", "content": content('a')}),
        )
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let reads = Arc::new(AtomicU32::new(0));
    let reader = std::thread::spawn({
        let (done, reads) = (Arc::clone(&done), Arc::clone(&reads));
        move || {
            while !done.load(Ordering::SeqCst) {
                let bytes = fs::read(&file).unwrap();
                assert_eq!(bytes.len(), 300_000);
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "a mixture");
                reads.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let mut writes = 0_u32;
    while writes < 40 || reads.load(Ordering::SeqCst) < 40 {
        assert!(writes < 10_000, "the reader reads meanwhile");
        let letter = char::from(b'a' + (writes % 26) as u8);
        let arguments = json!({"path": "state", "content": content(letter)});
        harness.ok("write_file", arguments).await;
        writes += 1;
    }
    done.store(true, Ordering::SeqCst);
    reader.join().unwrap();
}

/// tools/T13: from the line of a match to what is around it.
#[tokio::test]
async fn lines_are_read_by_their_numbers() {
    let mut harness = Harness::new();
    let text: String = (1..=200).map(|line| format!("line {line}\n")).collect();
    fs::write(harness.path().join("a.txt"), &text).unwrap();
    fs::write(harness.path().join("open.txt"), "one\ntwo").unwrap();
    let found = harness
        .ok("search_files", json!({"pattern": "^line 120$"}))
        .await;
    let line = found["matches"][0]["line"].as_u64().unwrap();
    let arguments = json!({"path": "a.txt", "line": line - 1, "lines": 3});
    assert_eq!(
        harness.ok("read_file", arguments).await,
        json!({
            "text": "line 119\nline 120\nline 121\n",
            "line": 119, "lines": 3, "total_lines": 200,
            "offset": text.find("line 119").unwrap(),
            "next_offset": text.find("line 122").unwrap(),
            "total_bytes": text.len(),
        })
    );
    for (arguments, text, lines, next) in [
        (
            json!({"path": "open.txt", "lines": 1}),
            "one\n",
            1,
            json!(4),
        ),
        (
            json!({"path": "open.txt", "line": 2}),
            "two",
            1,
            json!(null),
        ),
        (json!({"path": "open.txt", "line": 3}), "", 0, json!(null)),
        (
            json!({"path": "open.txt", "line": u64::MAX, "lines": u64::MAX}),
            "",
            0,
            json!(null),
        ),
    ] {
        let page = harness.ok("read_file", arguments.clone()).await;
        assert_eq!(
            (&page["text"], &page["lines"], &page["next_offset"]),
            (&json!(text), &json!(lines), &next),
            "{arguments}"
        );
    }
    for arguments in [
        json!({"path": "a.txt", "line": 1, "offset": 0}),
        json!({"path": "a.txt", "line": 0}),
        json!({"path": "a.txt", "lines": 0}),
    ] {
        assert_eq!(
            harness.code("read_file", arguments).await,
            "invalid_arguments"
        );
    }
    // A file that is too large to be read whole has lines as well.
    let large: String = (1..=2_000_000)
        .map(|line| format!("line {line}\n"))
        .collect();
    fs::write(harness.path().join("large.txt"), format!("\u{feff}{large}")).unwrap();
    let arguments = json!({"path": "large.txt", "line": 1_999_999, "lines": 1});
    let page = harness.ok("read_file", arguments).await;
    assert_eq!(
        (&page["text"], &page["line"], &page["lines"]),
        (&json!("line 1999999\n"), &json!(1_999_999), &json!(1))
    );
    let page = harness
        .ok("read_file", json!({"path": "large.txt", "limit": 10}))
        .await;
    assert_eq!(
        (&page["text"], &page["offset"], &page["next_offset"]),
        (&json!("line 1\n"), &json!(3), &json!(10))
    );
    let arguments = json!({"path": "large.txt", "line": 3_000_000});
    assert_eq!(harness.ok("read_file", arguments).await["text"], "");
}

/// tools/T9: what spreadsheets and Windows write is read, and what was assumed is told.
#[tokio::test]
async fn files_are_read_in_the_encoding_that_they_have() {
    let mut harness = Harness::new();
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let table = "id;Name\r\n1;Müller\r\n";
    let ansi: Vec<u8> = table.chars().map(|c| c as u8).collect();
    for (name, bytes, told) in [
        ("plain.csv", table.as_bytes().to_vec(), None),
        ("bom.csv", format!("\u{feff}{table}").into_bytes(), None),
        (
            "ansi.csv",
            ansi,
            Some("windows-1252, assumed as it is not UTF-8"),
        ),
        (
            "excel.txt",
            wide(&format!("\u{feff}{table}")),
            Some("UTF-16LE, as its byte order mark says"),
        ),
        (
            "unmarked.txt",
            wide(table),
            Some("UTF-16LE, assumed as it is not UTF-8"),
        ),
    ] {
        fs::write(harness.path().join(name), bytes).unwrap();
        let page = harness.ok("read_file", json!({"path": name})).await;
        assert_eq!(page["text"], table, "{name}");
        assert_eq!(page.get("encoding").and_then(Value::as_str), told, "{name}");
        // Pages of it fit together.
        let page = harness
            .ok("read_file", json!({"path": name, "offset": 11, "limit": 7}))
            .await;
        assert_eq!(page["text"], "Müller", "{name}");
        for pattern in ["^id;", "Müller"] {
            let arguments = json!({"pattern": pattern, "path": name});
            let found = harness.ok("search_files", arguments).await;
            assert_eq!(found["count"], 1, "{name} {pattern}");
            let assumed = &found["encodings"][0]["encoding"];
            assert_eq!(assumed.as_str(), told, "{name}");
        }
    }
    fs::write(harness.path().join("ru.txt"), b"\xcf\xf0\xe8").unwrap();
    let page = harness
        .ok(
            "read_file",
            json!({"path": "ru.txt", "encoding": "windows-1251"}),
        )
        .await;
    assert_eq!(
        (&page["text"], &page["encoding"]),
        (&json!("При"), &json!("windows-1251, as asked for"))
    );
    let arguments = json!({"pattern": "При", "path": "ru.txt", "encoding": "windows-1251"});
    assert_eq!(harness.ok("search_files", arguments).await["count"], 1);
    let arguments = json!({"path": "ru.txt", "encoding": "utf-99"});
    assert_eq!(
        harness.code("read_file", arguments).await,
        "unknown_encoding"
    );
}

/// tools/T13: globs choose, and what others wrote is left out.
#[tokio::test]
async fn listings_are_narrowed_and_paged() {
    let mut harness = Harness::new();
    for path in [
        ".git/config",
        "node_modules/a/index.js",
        "src/lib.rs",
        "src/deep/mod.rs",
        "src/notes.md",
        "web/node_modules/b.js",
        "README.md",
    ] {
        let path = harness.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    for (arguments, paths, left_out) in [
        (
            json!({"recursive": true}),
            vec![
                ".git",
                "README.md",
                "node_modules",
                "src",
                "src/deep",
                "src/deep/mod.rs",
                "src/lib.rs",
                "src/notes.md",
                "web",
                "web/node_modules",
            ],
            3,
        ),
        (
            json!({"recursive": true, "include": ["*.rs"]}),
            vec!["src/deep/mod.rs", "src/lib.rs"],
            3,
        ),
        (
            json!({"recursive": true, "include": ["*.js", "config"], "everything": true}),
            vec![
                ".git/config",
                "node_modules/a/index.js",
                "web/node_modules/b.js",
            ],
            0,
        ),
        (
            json!({"recursive": true, "exclude": ["src/deep", "web", ".git", "node_modules"]}),
            vec!["README.md", "src", "src/lib.rs", "src/notes.md"],
            0,
        ),
        (
            json!({"path": "node_modules", "recursive": true, "include": ["*.js"]}),
            vec!["node_modules/a/index.js"],
            0,
        ),
        (
            json!({"path": "src", "recursive": true, "max_entries": 2}),
            vec!["src/deep", "src/deep/mod.rs"],
            0,
        ),
        (
            json!({"path": "src", "recursive": true, "after": "src/deep/mod.rs"}),
            vec!["src/lib.rs", "src/notes.md"],
            0,
        ),
    ] {
        let listed = harness.ok("list_files", arguments.clone()).await;
        let entries = listed["entries"].as_array().unwrap();
        let found: Vec<_> = entries
            .iter()
            .map(|entry| entry["path"].as_str().unwrap())
            .collect();
        assert_eq!(found, paths, "{arguments}");
        let told = listed.get("left_out").and_then(Value::as_array);
        assert_eq!(told.map_or(0, Vec::len), left_out, "{arguments}");
    }
    let arguments = json!({"include": ["["]});
    assert_eq!(harness.code("list_files", arguments).await, "invalid_glob");
}
