use cap_std::ambient_authority;

use super::*;

/// Workspaces with files of so many bytes, in one folder.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, usize)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (path, bytes) in files {
            folder.write(path, *bytes);
        }
        folder
    }

    fn write(&self, path: &str, bytes: usize) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![1; bytes]).unwrap();
    }

    fn path(&self, task: &str) -> PathBuf {
        self.0.path().join(task)
    }

    fn tree(&self, tasks: &[&str]) -> TreeWorkspaces {
        let paths: Vec<_> = tasks.iter().map(|task| self.path(task)).collect();
        TreeWorkspaces::new(move || paths.clone())
    }

    /// Asks for a write of `task_1`; gives the words of a refusal.
    fn refusal(&self, quota: &Quota, tree: &TreeWorkspaces, path: &str, size: u64) -> String {
        let workspace = self.path("task_1");
        let root = Dir::open_ambient_dir(&workspace, ambient_authority()).unwrap();
        let checked = quota.check(&NewFile {
            root: &root,
            workspace: &workspace,
            tree,
            path: Path::new(path),
            size,
        });
        checked.map_or_else(
            |failure| {
                assert_eq!(failure.code, "disk_quota");
                failure.message
            },
            |()| String::new(),
        )
    }
}

fn quota(limits: QuotaLimits) -> Quota {
    Quota::new(limits, Arc::default())
}

fn refuses(words: &str, expected: &[&str]) {
    for expected in expected {
        assert!(words.contains(expected), "{words:?} without {expected:?}");
    }
}

#[test]
fn a_task_may_have_so_many_bytes_and_files() {
    let folder = Folder::new(&[
        ("task_1/a", 60),
        ("task_1/deep/b", 30),
        ("task_2/other", 100),
    ]);
    let alone = folder.tree(&["task_1"]);
    let bytes = quota(QuotaLimits {
        task_bytes: 100,
        ..QuotaLimits::default()
    });
    let check = |path: &str, size| folder.refusal(&bytes, &alone, path, size);
    assert_eq!(check("c", 10), "");
    refuses(&check("c", 11), &["room for 10", "quota.task_bytes"]);
    // The file that is replaced does not count.
    assert_eq!(check("a", 70), "");
    assert!(!check("deep/b", 41).is_empty());
    assert_eq!(bytes.counts.refused.load(Ordering::Relaxed), 2);
    assert_eq!(bytes.counts.bytes.load(Ordering::Relaxed), 80);

    let files = quota(QuotaLimits {
        task_files: 2,
        ..QuotaLimits::default()
    });
    let check = |path: &str, size| folder.refusal(&files, &alone, path, size);
    assert_eq!(check("a", 1_000), "");
    refuses(&check("c", 1), &["has 2 files", "quota.task_files"]);
    let none = Quota::default();
    assert_eq!(folder.refusal(&none, &alone, "c", 1 << 40), "");
}

/// Each child of an agent had a quota of its own, so that an agent which starts agents filled the disk.
#[test]
fn a_tree_of_tasks_may_have_so_many_bytes() {
    let folder = Folder::new(&[("task_0/a", 60), ("task_1/b", 20), ("task_2/c", 100)]);
    let limits = QuotaLimits {
        task_bytes: 1_000,
        tree_bytes: 100,
        ..QuotaLimits::default()
    };
    let tree = folder.tree(&["task_0", "task_1"]);
    let quota = quota(limits);
    assert_eq!(folder.refusal(&quota, &tree, "d", 15), "");
    folder.write("task_1/d", 15);
    let words = folder.refusal(&quota, &tree, "e", 10);
    refuses(
        &words,
        &["have 95 bytes", "may have 100", "quota.tree_bytes"],
    );
    assert_eq!(folder.refusal(&quota, &tree, "b", 20), "");
    // Another tree has its own count. A tree that is over its limit runs no program.
    let room = |tree: &TreeWorkspaces| quota.room(&folder.path("task_2"), tree);
    assert_eq!(room(&folder.tree(&["task_2", "x"])).unwrap(), 100);
    let over = room(&folder.tree(&["task_2", "task_0"])).unwrap_err();
    refuses(&over.message, &["have 160 bytes"]);
    let room = quota.room(&folder.path("task_1"), &tree).unwrap();
    assert_eq!(room, 40, "a program of task_1 may have what task_0 leaves");
}

#[test]
fn all_tasks_may_have_so_many_bytes() {
    let folder = Folder::new(&[("task_1/a", 50), ("task_2/other", 100)]);
    let alone = folder.tree(&["task_1"]);
    let quota = quota(QuotaLimits {
        total_bytes: 200,
        ..QuotaLimits::default()
    });
    let check = |path: &str, size| folder.refusal(&quota, &alone, path, size);
    assert_eq!(check("b", 30), "");
    folder.write("task_1/b", 30);
    refuses(&check("c", 30), &["180 bytes", "quota.total_bytes"]);
    let room = quota.room(&folder.path("task_1"), &alone).unwrap();
    assert_eq!(room, 100, "a program may have what task_2 leaves");
    assert_eq!(check("c", 20), "");
    folder.write("task_1/c", 20);
    // A folder that was deleted gives its room back once it is counted anew.
    fs::remove_dir_all(folder.path("task_2")).unwrap();
    std::thread::sleep(RECOUNT_FULL + Duration::from_millis(50));
    assert_eq!(check("d", 100), "");
}
