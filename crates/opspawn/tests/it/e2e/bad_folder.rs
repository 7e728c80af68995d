//! Data folders that cannot be used: each is told with its path, and ends with code 5.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    time::Duration,
};

use super::{
    full_disk::Tmpfs,
    tasks,
    test_dir::{TestDir, assert_calm},
};

/// A folder that a server has used and left in good order.
async fn used() -> TestDir {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    tasks::run(server.http(), "hello").await;
    assert!(
        server
            .stop(Duration::from_secs(10))
            .await
            .unwrap()
            .success()
    );
    test_dir
}

/// Every way to open the folder ends with this.
async fn refuses(test_dir: &TestDir, says: &[&str]) {
    for args in [
        &["dev", "--listen", "127.0.0.1:0"][..],
        &["run", "x"],
        &["task", "ls"],
    ] {
        let ran = test_dir.cli(args).run().await.ends(5);
        assert_eq!(ran.says(says).stdout, "");
    }
}

/// What doctor says of the folder, failing.
async fn doctor_says(test_dir: &TestDir, words: &[&str]) {
    let ran = test_dir
        .cli(&["doctor"])
        .env("OPSPAWN_LISTEN", "127.0.0.1:0")
        .run()
        .await
        .ends(1);
    let line = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("FAIL data"));
    let line = line.unwrap_or_else(|| panic!("{ran:#?}"));
    for word in words {
        assert!(line.contains(word), "no `{word}` in {line}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database() {
    let test_dir = used().await;
    fs::write(
        test_dir.data().join("opspawn.db"),
        "these are not the bytes of a database".repeat(500),
    )
    .unwrap();
    refuses(
        &test_dir,
        &[
            "opspawn.db is damaged or not a database",
            "restore it from a backup",
        ],
    )
    .await;
    doctor_says(&test_dir, &["is damaged or not a database"]).await;
}

#[tokio::test]
async fn a_database_with_damaged_pages() {
    let test_dir = used().await;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(test_dir.data().join("opspawn.db"))
        .unwrap();
    let pages = file.metadata().unwrap().len() - 4_096;
    file.write_all_at(&vec![0xab; usize::try_from(pages).unwrap()], 4_096)
        .unwrap();
    refuses(&test_dir, &["damaged", "backup"]).await;
    doctor_says(&test_dir, &["damaged"]).await;
}

#[tokio::test]
async fn a_database_of_a_newer_release() {
    let test_dir = used().await;
    // `user_version`, a big-endian number at byte 60 (https://www.sqlite.org/fileformat2.html).
    let file = fs::OpenOptions::new()
        .write(true)
        .open(test_dir.data().join("opspawn.db"))
        .unwrap();
    file.write_all_at(&99_u32.to_be_bytes(), 60).unwrap();
    refuses(
        &test_dir,
        &["has schema version 99", "versions up to", "newer release"],
    )
    .await;
    doctor_says(&test_dir, &["schema 99 of", "newer release"]).await;
    let own = ops_store::sqlite::SCHEMA_VERSION;
    file.write_all_at(&own.to_be_bytes(), 60).unwrap();
    let page = test_dir
        .cli(&["task", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(page["total"], 1, "nothing was changed");
}

#[tokio::test]
async fn a_folder_that_another_process_has() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let url = server.http().base();
    let pid = server.process().id().to_string();
    let ran = test_dir
        .cli(&["dev", "--listen", "127.0.0.1:0"])
        .run()
        .await
        .ends(5);
    ran.says(&["is in use by another process", &pid, &url, "opspawn stop"]);
    let ran = test_dir.cli(&["run", "hello"]).run().await.ends(0);
    assert!(
        ran.stdout.contains("hello"),
        "other commands use the server: {ran:#?}"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written() {
    let test_dir = TestDir::new();
    // Permissions do not bind root; a file system that is mounted read-only does.
    let _mounted = if rustix::process::geteuid().is_root() {
        let Some(mounted) = Tmpfs::mount(&test_dir.data(), "size=64k,ro") else {
            return;
        };
        Some(mounted)
    } else {
        fs::create_dir(test_dir.data()).unwrap();
        fs::set_permissions(test_dir.data(), fs::Permissions::from_mode(0o555)).unwrap();
        None
    };
    refuses(
        &test_dir,
        &["opspawn.lock cannot be written", "use another data folder"],
    )
    .await;
    let ran = test_dir.cli(&["doctor"]).run().await.ends(1);
    assert!(ran.stdout.contains("FAIL"), "{ran:#?}");
}

#[tokio::test]
async fn a_folder_that_is_a_file() {
    let test_dir = TestDir::new();
    fs::write(test_dir.data(), "").unwrap();
    refuses(&test_dir, &["data is a file", "name a folder"]).await;
}
