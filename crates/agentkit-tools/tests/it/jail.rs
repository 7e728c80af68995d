//! Nothing outside the workspace is read, listed or written.
//!
//! Each escape is first shown to work without the jail, so that a test cannot pass for nothing.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;

use crate::harness::Harness;

/// A folder outside with a file in it.
struct OutsideFolder {
    folder: tempfile::TempDir,
}

impl OutsideFolder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        Self { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn assert_untouched(&self) {
        let names: Vec<_> = fs::read_dir(self.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["secret"]);
        assert_eq!(
            fs::read_to_string(self.path().join("secret")).unwrap(),
            "secret"
        );
    }
}

async fn assert_no_way_out(harness: &mut Harness, path: &str, code: &str) {
    let unjailed = harness.path().join(path);
    assert_eq!(
        fs::read_to_string(&unjailed).unwrap(),
        "secret",
        "the way out is there"
    );
    assert_eq!(
        harness.code("read_file", json!({"path": path})).await,
        code,
        "{path}"
    );
    let folder = Path::new(path).parent().unwrap().to_str().unwrap();
    if !folder.is_empty() {
        let listed = harness
            .code("list_files", json!({"path": folder, "recursive": true}))
            .await;
        assert_eq!(listed, code, "{folder}");
        let inside = format!("{folder}/new");
        let arguments = json!({"path": inside, "content": "x"});
        assert_eq!(
            harness.code("write_file", arguments).await,
            code,
            "{inside}"
        );
        let arguments = json!({"path": format!("{folder}/new/deep/file"), "content": "x"});
        assert_eq!(
            harness.code("write_file", arguments).await,
            code,
            "{inside}"
        );
    }
}

#[tokio::test]
async fn paths_do_not_lead_outside() {
    let mut harness = Harness::new();
    let outside = OutsideFolder::new();
    fs::create_dir(harness.path().join("in")).unwrap();
    let secret = outside.path().join("secret");
    let up = "../".repeat(harness.path().components().count() - 1);
    let from_root = secret.to_str().unwrap().trim_start_matches('/');
    for path in [
        secret.to_str().unwrap().to_owned(),
        format!("{up}{from_root}"),
        format!("in/../{up}{from_root}"),
        format!("./in/../{up}/{from_root}"),
    ] {
        assert_no_way_out(&mut harness, &path, "invalid_path").await;
    }
    outside.assert_untouched();
}

#[tokio::test]
async fn symbolic_links_do_not_lead_outside() {
    let mut harness = Harness::new();
    let outside = OutsideFolder::new();
    let inside = |name: &str| harness.path().join(name);
    let relative: PathBuf = Path::new("..").join(
        outside
            .path()
            .strip_prefix(harness.path().parent().unwrap())
            .unwrap(),
    );
    symlink(outside.path(), inside("absolute")).unwrap();
    symlink(&relative, inside("relative")).unwrap();
    symlink("relative", inside("chain")).unwrap();
    fs::create_dir(inside("folder")).unwrap();
    symlink(Path::new("..").join(&relative), inside("folder/link")).unwrap();
    symlink(outside.path().join("secret"), inside("file")).unwrap();
    for path in [
        "absolute/secret",
        "relative/secret",
        "chain/secret",
        "folder/link/secret",
        "file",
    ] {
        assert_no_way_out(&mut harness, path, "outside_workspace").await;
    }
    let listed = harness.ok("list_files", json!({"recursive": true})).await;
    assert!(!listed.to_string().contains("secret"));
    assert_eq!(
        listed["entries"][0],
        json!({"path": "absolute", "type": "symlink"})
    );
    // A write to a link replaces the link.
    harness
        .ok("write_file", json!({"path": "file", "content": "mine"}))
        .await;
    assert!(
        fs::symlink_metadata(harness.path().join("file"))
            .unwrap()
            .is_file()
    );
    outside.assert_untouched();
}

#[tokio::test]
async fn links_that_stay_inside_are_followed() {
    let mut harness = Harness::new();
    fs::create_dir(harness.path().join("real")).unwrap();
    symlink("real", harness.path().join("link")).unwrap();
    let arguments = json!({"path": "link/new/file", "content": "x"});
    let outcome = harness.call("write_file", arguments).await.unwrap();
    assert_eq!(
        outcome.files[0].0.path, "real/new/file",
        "the record names the real place"
    );
    assert_eq!(
        harness
            .ok("read_file", json!({"path": "link/new/file"}))
            .await["text"],
        "x"
    );
    symlink("loop", harness.path().join("loop")).unwrap();
    assert!(
        harness
            .call("read_file", json!({"path": "loop"}))
            .await
            .is_err()
    );
    let listed = harness.ok("list_files", json!({"recursive": true})).await;
    assert_eq!(
        listed["count"], 5,
        "links are not followed downwards: {listed}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_turns_into_a_link_does_not_lead_outside() {
    let mut harness = Harness::new();
    let outside = OutsideFolder::new();
    let (shifting, spare) = (harness.path().join("dir"), harness.path().join("spare"));
    fs::create_dir(&shifting).unwrap();
    fs::write(shifting.join("secret"), "inside").unwrap();
    symlink(outside.path(), &spare).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let attacker = std::thread::spawn({
        let done = Arc::clone(&done);
        let flags = rustix::fs::RenameFlags::EXCHANGE;
        move || {
            let mut swaps = 0_u32;
            while !done.load(Ordering::SeqCst) {
                let cwd = rustix::fs::CWD;
                rustix::fs::renameat_with(cwd, &shifting, cwd, &spare, flags).unwrap();
                swaps += 1;
            }
            swaps
        }
    });
    let (mut inside, mut refused, mut round) = (0, 0, 0);
    // Both states have to be met often, however busy the machine is.
    while round < 1000 || (round < 100_000 && (inside < 50 || refused < 50)) {
        round += 1;
        match harness
            .call("read_file", json!({"path": "dir/secret"}))
            .await
        {
            Ok(outcome) => {
                assert_eq!(outcome.output["text"], "inside");
                inside += 1;
            }
            Err(_) => refused += 1,
        }
        if round % 10 == 0 {
            let path = if round % 20 == 0 {
                "dir/written"
            } else {
                "dir/deep/written"
            };
            let _ = harness
                .call("write_file", json!({"path": path, "content": "x"}))
                .await;
            let _ = harness
                .call("list_files", json!({"path": "dir", "recursive": true}))
                .await;
        }
    }
    done.store(true, Ordering::SeqCst);
    let swaps = attacker.join().unwrap();
    assert!(
        swaps > 100 && inside >= 50 && refused >= 50,
        "{swaps} {inside} {refused}"
    );
    outside.assert_untouched();
}
