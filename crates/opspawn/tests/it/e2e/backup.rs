//! `opspawn backup` and `opspawn restore`.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use serde_json::json;

use super::{
    tasks,
    test_dir::{TestDir, assert_calm},
};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Who may do what with a file.
fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_backup_of_a_running_server_is_whole_and_comes_back() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    let http = server.http().clone();
    let first = tasks::run(&http, "say hello").await;
    // Tasks come and go all the while.
    let busy = tokio::spawn({
        let http = http.clone();
        async move {
            loop {
                tasks::agent(&http, "busy").await;
            }
        }
    });
    let made = test_dir
        .cli(&["backup", "--json", "b.db"])
        .run()
        .await
        .ends(0)
        .json();
    busy.abort();
    assert_eq!(made["path"], "b.db");
    assert_eq!(mode(&test_dir.join("b.db")), 0o600);
    let kept = made["tasks"].as_u64().unwrap();
    assert!(kept >= 1, "{made}");
    let later = tasks::run(&http, "after the backup").await;
    let shown = test_dir.cli(&["backup", "c.db"]).run().await.ends(0);
    assert!(shown.stdout.contains("backup    c.db"), "{shown:#?}");
    // In a folder it is named by the time.
    std::fs::create_dir(test_dir.join("backups")).unwrap();
    test_dir.cli(&["backup", "backups"]).run().await.ends(0);
    let names = std::fs::read_dir(test_dir.join("backups")).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let name = &names[0];
    assert!(
        name.starts_with("opspawn-20") && name.ends_with("Z.db"),
        "{name}"
    );
    assert_eq!(names[1..], [format!("{name}.sha256")]);
    assert!(server.stop(TIMEOUT).await.unwrap().success());
    assert_calm(&server);

    let args = ["restore", "b.db", "--data", "again", "--json"];
    let restored = test_dir.bare_cli(&args).run().await.ends(0).json();
    assert_eq!(restored["tasks"], kept);
    assert_eq!(restored["verified"], true);
    assert_eq!(mode(&test_dir.join("again/opspawn.db")), 0o600);
    let get = async |id: &str| {
        test_dir
            .bare_cli(&["task", "get", id, "--data", "again", "--json"])
            .run()
            .await
    };
    let id = tasks::id(&first);
    assert_eq!(get(&id).await.ends(0).json()["result"], first["result"]);
    get(&tasks::id(&later))
        .await
        .ends(2)
        .says(&["there is no task"]);
    let done = test_dir
        .bare_cli(&["doctor", "--data", "again"])
        .run()
        .await
        .ends(0);
    assert!(done.stdout.contains("ok"), "{done:#?}");
}

#[tokio::test]
async fn a_backup_refuses_what_it_cannot_do() {
    let test_dir = TestDir::new();
    let ran = test_dir.cli(&["backup", "b.db"]).run().await.ends(2);
    ran.says(&["has no database", "--data"]);
    assert!(!test_dir.join("b.db").exists() && !test_dir.data().exists());
    let server = test_dir.server().await;
    std::fs::write(test_dir.join("there.db"), "precious").unwrap();
    let ran = test_dir.cli(&["backup", "there.db"]).run().await.ends(2);
    ran.says(&["there.db is there already"]);
    assert_eq!(
        std::fs::read(test_dir.join("there.db")).unwrap(),
        b"precious"
    );
    test_dir
        .cli(&["backup", "none/b.db"])
        .run()
        .await
        .ends(1)
        .says(&["none"]);
    assert_calm(&server);
}

#[tokio::test]
async fn a_restore_refuses_what_it_cannot_do() {
    let test_dir = TestDir::new();
    let mut server = test_dir.server().await;
    tasks::run(server.http(), "hello").await;
    test_dir.cli(&["backup", "good.db"]).run().await.ends(0);

    let into = async |file: &str, dir: &str| {
        test_dir
            .bare_cli(&["restore", file, "--data", dir])
            .run()
            .await
    };
    let data = test_dir.data().display().to_string();
    into("good.db", &data)
        .await
        .ends(5)
        .says(&["is in use by another process"]);
    assert!(server.stop(TIMEOUT).await.unwrap().success());
    into("good.db", &data)
        .await
        .ends(2)
        .says(&["holds data already (opspawn.db)", "--data"]);
    into("none.db", "x")
        .await
        .ends(2)
        .says(&["there is no file none.db"]);
    into("data", "x")
        .await
        .ends(2)
        .says(&["data is not a backup", "it is a folder"]);
    into("/dev/null", "x")
        .await
        .ends(2)
        .says(&["/dev/null is not a backup", "it is a device"]);
    std::fs::write(
        test_dir.join("text.db"),
        "no database at all, but some text",
    )
    .unwrap();
    into("text.db", "x")
        .await
        .ends(2)
        .says(&["text.db is not a backup"]);
    std::fs::write(test_dir.join("empty.db"), "").unwrap();
    into("empty.db", "x")
        .await
        .ends(2)
        .says(&["empty.db is not a backup"]);

    let whole = std::fs::read(test_dir.join("good.db")).unwrap();
    let write = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(test_dir.join(name), bytes).unwrap();
    };
    // The header: user_version is at 60, application_id at 68 (sqlite.org/fileformat).
    write("newer.db", &|bytes| {
        bytes[60..64].copy_from_slice(&9_999_u32.to_be_bytes())
    });
    into("newer.db", "x")
        .await
        .ends(5)
        .says(&["newer.db has schema version 9999"]);
    write("other.db", &|bytes| bytes[68..72].copy_from_slice(b"FIRE"));
    into("other.db", "x")
        .await
        .ends(2)
        .says(&["the database of another program"]);
    write("torn.db", &|bytes| bytes.truncate(whole.len() / 2));
    let torn = into("torn.db", "x").await;
    assert!(matches!(torn.code, Some(1 | 2)), "{torn:#?}");
    write("bits.db", &|bytes| {
        let page = 4_096 * 3;
        bytes[page..page + 200].fill(0xa5);
    });
    into("bits.db", "x")
        .await
        .ends(1)
        .says(&["bits.db is damaged", "use another backup"]);
    // security/S7: one bit of a value, which leaves every page well formed, and one that no row has.
    for (name, at) in [("bit.db", None), ("header.db", Some(92))] {
        write(name, &|bytes| {
            let text = b"hello";
            let found = bytes.windows(text.len()).position(|window| window == text);
            bytes[at.unwrap_or_else(|| found.unwrap())] ^= 1;
        });
        let sums = std::fs::read_to_string(test_dir.join("good.db.sha256")).unwrap();
        std::fs::write(test_dir.join(&format!("{name}.sha256")), sums).unwrap();
        into(name, "x").await.ends(1).says(&["--accept-damage"]);
    }
    let ran = test_dir
        .bare_cli(&["restore", "bit.db", "--accept-damage", "--data", "left"])
        .run()
        .await
        .ends(0);
    ran.says(&["not as it was written", "rows of"]);
    assert!(!test_dir.join("x").join("opspawn.db").exists());

    // What is left of another life would be mixed with the restored one.
    std::fs::create_dir_all(test_dir.join("y/workspaces/task_1")).unwrap();
    into("good.db", "y")
        .await
        .ends(2)
        .says(&["holds data already (workspaces)"]);
    into("good.db", "x").await.ends(0);
    let ls = test_dir
        .bare_cli(&["task", "ls", "--data", "x", "--json"])
        .run()
        .await
        .ends(0)
        .json();
    assert_eq!(ls["total"], json!(1));
    let no_rests = |dir: &Path| {
        let names = std::fs::read_dir(dir).unwrap();
        names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .all(|name| !name.contains("unfinished"))
    };
    assert!(no_rests(&test_dir.join("x")) && no_rests(&test_dir.join(".")));
}
