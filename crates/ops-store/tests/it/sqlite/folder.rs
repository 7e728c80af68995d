//! What may be wrong with a data folder, and what is said about it.

use std::{
    fs,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

use ops_store::{
    OpenError,
    sqlite::{
        DATABASE_FILE, Guest, LOCK_FILE, LockInfo, SCHEMA_VERSION, Serves, doctor, running_server,
        without_guests,
    },
};
use rusqlite::Connection;

use super::open_in;

/// Why the folder does not open; the message must name the remedy.
fn refusal(dir: &Path, remedy: &str) -> OpenError {
    let Err(error) = open_in(dir, |_| {}) else {
        panic!("it opened")
    };
    let message = error.to_string();
    assert!(message.contains(remedy), "{message}");
    error
}

/// Waits until no process has the folder. A process that another test of this one is about to start has the lock for a
/// moment, between its fork and its program.
fn unlocked(dir: &Path) {
    let end = Instant::now() + Duration::from_secs(30);
    while let Some(holder) = running_server(dir) {
        assert!(Instant::now() < end, "{holder:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn database(dir: &Path) -> Connection {
    Connection::open(dir.join(DATABASE_FILE)).unwrap()
}

#[tokio::test]
async fn an_empty_folder_gets_the_newest_schema() {
    let dir = tempfile::tempdir().unwrap();
    let nested = dir.path().join("a/b");
    assert!(doctor::inspect(&nested).unwrap().is_none());
    let (world, store) = open_in(&nested, |_| {}).unwrap();
    let id = world.submit().await;
    store
        .publish(Some("http://127.0.0.1:1"), Serves::Server)
        .unwrap();
    for file in ["", "-wal", "-shm"] {
        let file = nested.join(format!("{DATABASE_FILE}{file}"));
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "for its owner alone");
    }

    let report = doctor::inspect(&nested).unwrap().unwrap();
    assert_eq!(report.schema_version, SCHEMA_VERSION);
    assert_eq!(
        (report.journal_mode.as_str(), report.problems),
        ("wal", Vec::new())
    );
    assert!(report.wal_bytes > 0 && report.free_bytes.unwrap() > 0);
    assert_eq!(
        report.server.unwrap().url.as_deref(),
        Some("http://127.0.0.1:1")
    );

    store.close();
    drop((world, store));
    let report = doctor::inspect(&nested).unwrap().unwrap();
    assert_eq!((report.wal_bytes, report.server), (0, None));
    assert!(report.database_bytes > 4_096);
    let (world, _) = open_in(&nested, |_| {}).unwrap();
    assert_eq!(world.task(id).await.task.id, id);
}

#[tokio::test]
async fn one_process_owns_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(running_server(dir.path()), None);
    let (_world, store) = open_in(dir.path(), |_| {}).unwrap();
    let pid = std::process::id();
    assert_eq!(
        running_server(dir.path()),
        Some(LockInfo {
            pid,
            url: None,
            serves: Serves::Server
        })
    );
    let error = refusal(dir.path(), "use its server, or another folder");
    assert!(matches!(error, OpenError::Locked { pid: Some(found), url: None, .. } if found == pid));

    store
        .publish(Some("http://127.0.0.1:8080"), Serves::Server)
        .unwrap();
    store
        .publish(Some("http://[::1]:80"), Serves::Server)
        .unwrap();
    let url = Some("http://[::1]:80".to_owned());
    assert_eq!(
        running_server(dir.path()),
        Some(LockInfo {
            pid,
            url: url.clone(),
            serves: Serves::Server
        })
    );
    let error = refusal(dir.path(), "serves http://[::1]:80");
    assert!(matches!(error, OpenError::Locked { url: found, .. } if found == url));

    // What the lock file says counts nothing once nobody holds it.
    store.close();
    assert!(
        fs::read_to_string(dir.path().join(LOCK_FILE))
            .unwrap()
            .contains("::1")
    );
    unlocked(dir.path());
    open_in(dir.path(), |_| {}).unwrap();
}

#[tokio::test]
async fn an_owner_says_what_it_is_there_for_and_when_it_serves_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (_world, store) = open_in(dir.path(), |_| {}).unwrap();
    for serves in [Serves::Run, Serves::Command, Serves::Server] {
        store.publish(Some("http://127.0.0.1:1"), serves).unwrap();
        let owner = running_server(dir.path()).unwrap();
        assert_eq!((owner.serves, owner.url.is_some()), (serves, true));
    }
    store.publish(None, Serves::Run).unwrap();
    let owner = running_server(dir.path()).unwrap();
    assert_eq!((owner.serves, owner.url), (Serves::Run, None));
    // What a release without these words wrote is a server's.
    let old: LockInfo = serde_json::from_str(r#"{"pid":7,"url":"http://x"}"#).unwrap();
    assert_eq!(old.serves, Serves::Server);
}

#[test]
fn guests_and_an_owner_that_is_alone_exclude_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let first = Guest::enter(dir.path()).unwrap().unwrap();
    let second = Guest::enter(dir.path()).unwrap().unwrap();
    assert!(without_guests(dir.path()).unwrap().is_none());
    drop(first);
    assert!(without_guests(dir.path()).unwrap().is_none());
    drop(second);
    let alone = without_guests(dir.path()).unwrap().unwrap();
    assert!(Guest::enter(dir.path()).unwrap().is_none());
    drop(alone);
    assert!(Guest::enter(dir.path()).unwrap().is_some());
    assert!(Guest::enter(&dir.path().join("none")).is_err());
}

#[test]
fn a_newer_schema_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_in(dir.path(), |_| {}).unwrap());
    database(dir.path())
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let error = refusal(dir.path(), "use the newer release");
    assert!(error.to_string().contains("version 99"), "{error}");
    let known = SCHEMA_VERSION;
    assert!(
        error.to_string().contains(&format!("up to {known}")),
        "{error}"
    );
    assert!(matches!(error, OpenError::NewerSchema { found: 99, .. }));
    // The folder is not left locked by the refusal.
    unlocked(dir.path());
    database(dir.path())
        .pragma_update(None, "user_version", SCHEMA_VERSION)
        .unwrap();
    open_in(dir.path(), |_| {}).unwrap();
}

#[test]
fn a_damaged_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    drop(open_in(dir.path(), |_| {}).unwrap());
    let path = dir.path().join(DATABASE_FILE);
    let whole = fs::read(&path).unwrap();

    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0x5a; 100], 0).unwrap();
    let error = refusal(dir.path(), "restore it from a backup");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains(&path.display().to_string()));

    fs::write(&path, &whole).unwrap();
    file.write_all_at(&[0x5a; 1_000], 100).unwrap();
    assert!(matches!(
        refusal(dir.path(), "backup"),
        OpenError::Damaged { .. }
    ));

    fs::write(
        &path,
        b"this is no database, but a text that somebody put here by mistake",
    )
    .unwrap();
    assert!(matches!(
        refusal(dir.path(), "backup"),
        OpenError::Damaged { .. }
    ));

    fs::write(&path, &whole).unwrap();
    open_in(dir.path(), |_| {}).unwrap();
}

#[tokio::test]
async fn damage_behind_the_first_page_is_found_by_the_doctor() {
    let dir = tempfile::tempdir().unwrap();
    let (world, store) = open_in(dir.path(), |_| {}).unwrap();
    for _ in 0..100 {
        world.submit().await;
    }
    drop((world, store));
    let path = dir.path().join(DATABASE_FILE);
    let pages = fs::metadata(&path).unwrap().len() / 4_096;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    for page in 3..pages {
        file.write_all_at(&[0xff; 64], page * 4_096).unwrap();
    }
    match doctor::inspect(dir.path()) {
        Ok(report) => assert!(!report.unwrap().problems.is_empty()),
        Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}"),
    }
}

#[test]
fn another_programs_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path())
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    let error = refusal(dir.path(), "use another data folder");
    assert!(matches!(error, OpenError::Foreign { .. }));
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, remedy) in [
        (file.clone(), "name a folder"),
        (file.join("below"), "name a folder"),
        ("/proc/opspawn-test".into(), "use another data folder"),
    ] {
        let error = refusal(&path, remedy);
        assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&path.display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn a_read_only_folder_is_named() {
    use std::os::unix::fs::PermissionsExt as _;

    let dir = tempfile::tempdir().unwrap();
    drop(open_in(dir.path(), |_| {}).unwrap());
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&dir.path().join(LOCK_FILE), 0o444).unwrap();
    mode(dir.path(), 0o555).unwrap();
    match open_in(dir.path(), |_| {}) {
        // The superuser may write everywhere.
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
        Err(error) => {
            assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
            assert!(error.to_string().contains("make it writable"), "{error}");
        }
    }
    mode(dir.path(), 0o755).unwrap();
}

/// security/S9: a process that may open no more files was told to make its folder writable.
#[test]
fn a_process_that_is_out_of_files_is_told_so() {
    const CHILD: &str = "OPSPAWN_TEST_OUT_OF_FILES";
    let Some(dir) = std::env::var_os(CHILD) else {
        let dir = tempfile::tempdir().unwrap();
        drop(open_in(dir.path(), |_| {}).unwrap());
        // The limit is the process's.
        let name = "sqlite::folder::a_process_that_is_out_of_files_is_told_so";
        let child = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64; exec \"$0\" --exact --nocapture \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env(CHILD, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && said.contains("1 passed"),
            "{child:?}"
        );
        return;
    };
    let mut held: Vec<_> = std::iter::from_fn(|| fs::File::open("/dev/null").ok()).collect();
    let mut refused = 0;
    while let Err(error) = open_in(Path::new(&dir), |_| {}) {
        let message = error.to_string();
        assert!(
            message.contains("raise `ulimit -n`"),
            "{message}: {error:?}"
        );
        refused += 1;
        held.pop().expect("with no file held it opens");
    }
    assert!(refused >= 3, "refused {refused} times");
}
