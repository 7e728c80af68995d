//! Editing files of the workspace.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use serde_json::{Value, json};

use crate::harness::Harness;

fn edit(path: &str, old: &str, new: &str) -> Value {
    json!({"path": path, "old": old, "new": new})
}

#[tokio::test]
async fn a_file_is_edited_as_a_whole_or_not_at_all() {
    let mut harness = Harness::new();
    let file = harness.path().join("main.rs");
    fs::write(&file, "fn main() {\n    old();\n}\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let outcome = harness
        .call(
            "edit_file",
            edit("./main.rs", "    old();\n", "    new();\n    more();\n"),
        )
        .await
        .unwrap();
    let expected = "fn main() {\n    new();\n    more();\n}\n";
    assert_eq!(
        outcome.output,
        json!({"path": "main.rs", "replaced": 1, "line": 2, "bytes": expected.len()})
    );
    let (delta, content) = &outcome.files[0];
    assert_eq!(delta.path, "main.rs");
    assert_eq!(content.as_deref(), Some(expected.as_bytes()));
    assert_eq!(fs::read_to_string(&file).unwrap(), expected);
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o640
    );

    for (old, new, code) in [
        ("    old();\n", "x", "text_not_found"),
        ("(", "[", "text_not_unique"),
        ("main", "main", "nothing_to_change"),
        ("", "x", "invalid_arguments"),
    ] {
        assert_eq!(
            harness.code("edit_file", edit("main.rs", old, new)).await,
            code
        );
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            expected,
            "nothing changed"
        );
    }
    let mut all = edit("main.rs", "(", "[");
    all["all"] = true.into();
    let result = harness.ok("edit_file", all).await;
    assert_eq!(
        (&result["replaced"], &result["line"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(
        fs::read_dir(harness.path()).unwrap().count(),
        1,
        "nothing is left"
    );
}

#[tokio::test]
async fn what_is_no_text_file_is_not_edited() {
    let mut harness = Harness::new();
    fs::write(harness.path().join("image"), b"PNG\x89a").unwrap();
    fs::create_dir(harness.path().join("folder")).unwrap();
    let large = fs::File::create(harness.path().join("large")).unwrap();
    large.set_len(17 << 20).unwrap();
    for (path, code) in [
        ("image", "not_text"),
        ("folder", "is_a_folder"),
        ("none", "not_found"),
        ("large", "file_too_large"),
        ("../outside", "invalid_path"),
        ("/etc/hostname", "invalid_path"),
    ] {
        assert_eq!(
            harness.code("edit_file", edit(path, "a", "b")).await,
            code,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_link_stays_and_none_leads_outside() {
    let mut harness = Harness::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    fs::write(harness.path().join("real"), "old").unwrap();
    symlink("real", harness.path().join("link")).unwrap();
    symlink(outside.path().join("secret"), harness.path().join("out")).unwrap();
    let outcome = harness
        .call("edit_file", edit("link", "old", "new"))
        .await
        .unwrap();
    assert_eq!(
        outcome.files[0].0.path, "real",
        "the record names the real place"
    );
    assert_eq!(
        fs::read_to_string(harness.path().join("real")).unwrap(),
        "new"
    );
    assert!(
        fs::symlink_metadata(harness.path().join("link"))
            .unwrap()
            .is_symlink()
    );
    let code = harness.code("edit_file", edit("out", "secret", "x")).await;
    assert_eq!(code, "outside_workspace");
    assert_eq!(
        fs::read_to_string(outside.path().join("secret")).unwrap(),
        "secret"
    );
}

/// tools/T12: a file of Windows keeps its line ends.
#[tokio::test]
async fn a_file_keeps_its_line_ends() {
    let mut harness = Harness::new();
    let file = harness.path().join("a.ini");
    fs::write(&file, "[a]\r\nx=1\r\ny=2\r\n").unwrap();
    let result = harness
        .ok("edit_file", edit("a.ini", "[a]\nx=1", "[a]\nx=3\nz=4"))
        .await;
    assert_eq!(result["line_ends"], "CRLF");
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        "[a]\r\nx=3\r\nz=4\r\ny=2\r\n"
    );
    let error = harness
        .call("edit_file", edit("a.ini", "y = 2", "y=5"))
        .await
        .unwrap_err();
    assert!(
        error
            .message
            .contains("at line 4 it stands with other white space, as \"y=2\""),
        "{}",
        error.message
    );
}
