//! Data folders that cannot be used: each is told with its path, and ends with code 5.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    time::Duration,
};

use super::{
    full_disk::Tmpfs,
    place::{Place, assert_calm},
    tasks,
};

/// A folder that a server has used and left in good order.
async fn used() -> Place {
    let place = Place::new();
    let mut server = place.server().await;
    tasks::run(server.http(), "hello").await;
    assert!(
        server
            .stop(Duration::from_secs(10))
            .await
            .unwrap()
            .success()
    );
    place
}

/// Every way to open the folder ends with this.
async fn refuses(place: &Place, says: &[&str]) {
    for args in [
        &["dev", "--listen", "127.0.0.1:0"][..],
        &["run", "x"],
        &["task", "ls"],
    ] {
        let ran = place.cli(args).run().await.ends(5);
        assert_eq!(ran.says(says).stdout, "");
    }
}

/// What doctor says of the folder, failing.
async fn doctor_says(place: &Place, words: &[&str]) {
    let ran = place
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
    let place = used().await;
    fs::write(
        place.data().join("opspawn.db"),
        "these are not the bytes of a database".repeat(500),
    )
    .unwrap();
    refuses(
        &place,
        &[
            "opspawn.db is damaged or not a database",
            "restore it from a backup",
        ],
    )
    .await;
    doctor_says(&place, &["is damaged or not a database"]).await;
}

#[tokio::test]
async fn a_database_with_damaged_pages() {
    let place = used().await;
    let file = fs::OpenOptions::new()
        .write(true)
        .open(place.data().join("opspawn.db"))
        .unwrap();
    let pages = file.metadata().unwrap().len() - 4_096;
    file.write_all_at(&vec![0xab; usize::try_from(pages).unwrap()], 4_096)
        .unwrap();
    refuses(&place, &["damaged", "backup"]).await;
    doctor_says(&place, &["damaged"]).await;
}

#[tokio::test]
async fn a_database_of_a_newer_release() {
    let place = used().await;
    // `user_version`, a big-endian number at byte 60 (https://www.sqlite.org/fileformat2.html).
    let file = fs::OpenOptions::new()
        .write(true)
        .open(place.data().join("opspawn.db"))
        .unwrap();
    file.write_all_at(&99_u32.to_be_bytes(), 60).unwrap();
    refuses(
        &place,
        &["has schema version 99", "versions up to", "newer release"],
    )
    .await;
    doctor_says(&place, &["schema 99 of", "newer release"]).await;
    let own = ops_store::sqlite::SCHEMA_VERSION;
    file.write_all_at(&own.to_be_bytes(), 60).unwrap();
    let page = place
        .cli(&["task", "ls", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(page["total"], 1, "nothing was changed");
}

#[tokio::test]
async fn a_folder_that_another_process_has() {
    let place = Place::new();
    let mut server = place.server().await;
    let url = server.http().base();
    let pid = server.process().id().to_string();
    let ran = place
        .cli(&["dev", "--listen", "127.0.0.1:0"])
        .run()
        .await
        .ends(5);
    ran.says(&["is in use by another process", &pid, &url, "opspawn stop"]);
    let ran = place.cli(&["run", "hello"]).run().await.ends(0);
    assert!(
        ran.stdout.contains("hello"),
        "other commands use the server: {ran:#?}"
    );
    assert_calm(&server);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written() {
    let place = Place::new();
    // Permissions do not bind root; a file system that is mounted read-only does.
    let _mounted = if rustix::process::geteuid().is_root() {
        let Some(mounted) = Tmpfs::mount(&place.data(), "size=64k,ro") else {
            return;
        };
        Some(mounted)
    } else {
        fs::create_dir(place.data()).unwrap();
        fs::set_permissions(place.data(), fs::Permissions::from_mode(0o555)).unwrap();
        None
    };
    refuses(
        &place,
        &["opspawn.lock cannot be written", "use another data folder"],
    )
    .await;
    let ran = place.cli(&["doctor"]).run().await.ends(1);
    assert!(ran.stdout.contains("FAIL"), "{ran:#?}");
}

#[tokio::test]
async fn a_folder_that_is_a_file() {
    let place = Place::new();
    fs::write(place.data(), "").unwrap();
    refuses(&place, &["data", "use another data folder"]).await;
}
