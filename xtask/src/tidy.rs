//! Checks of the repository's files that no other tool has.

mod prose;
mod source;
mod words;

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, bail};

use self::{source::Source, words::Words};
use crate::cmd::{self, Workspace};

/// The longest a source file may be, its unit tests not counted.
const MAX_LINES: usize = 500;
/// Marks of unfinished work; split, so that this file does not find itself.
const MARKS: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("todo", "!("),
];
/// Folders of one person's machine.
const MACHINE: &[&str] = &[concat!("/ro", "ot/"), concat!("/wo", "rk/")];
const DECISIONS: &str = "docs/adr/";

/// Checks every file that git knows or would take in.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    let mut git = workspace.command("git");
    git.args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = String::from_utf8(cmd::output(&mut git)?).context("a file name is not UTF-8")?;
    let mut paths: Vec<&str> = listed.split('\0').filter(|path| !path.is_empty()).collect();
    paths.sort_unstable();
    paths.dedup();

    let words = Words::parse(&fs::read_to_string(workspace.root.join(words::FILE))?)?;
    let mut prose = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for path in &paths {
        // A file deleted but not yet committed is still listed.
        let Ok(bytes) = fs::read(workspace.root.join(path)) else {
            continue;
        };
        count += 1;
        wrong.extend(of_name(path));
        if let Ok(text) = String::from_utf8(bytes) {
            wrong.extend(of_text(path, &text));
            if path.ends_with(".rs") {
                let source = Source::read(&text);
                wrong.extend(words.of_source(path, &source));
                prose::add(&mut prose, path, &source);
            }
        }
    }
    let index = workspace.root.join(DECISIONS).join("README.md");
    wrong.extend(of_decisions(
        &paths,
        &fs::read_to_string(index).unwrap_or_default(),
    ));
    let ceilings = fs::read_to_string(workspace.root.join(prose::FILE))?;
    wrong.extend(prose::check(&ceilings, &prose)?);
    if !wrong.is_empty() {
        bail!("{} findings\n  {}", wrong.len(), wrong.join("\n  "));
    }
    println!("tidy: {count} files; {}", prose::total(&prose));
    Ok(())
}

fn of_name(path: &str) -> Option<String> {
    let name = Path::new(path).file_name()?;
    (name == "mod.rs").then(|| format!("{path}: call it after its folder, beside it"))
}

fn of_text(path: &str, text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if path.ends_with(".rs") && !of_tests(path) {
        let lines = text
            .lines()
            .take_while(|line| line.trim() != "#[cfg(test)]")
            .count();
        if lines > MAX_LINES {
            wrong.push(format!(
                "{path}: {lines} lines without its tests, {MAX_LINES} at most"
            ));
        }
    }
    if !recorded(path) && !text.is_empty() && !text.ends_with('\n') {
        wrong.push(format!("{path}: does not end in a newline"));
    }
    for (line, number) in text.split('\n').zip(1..) {
        if !recorded(path) && line.ends_with([' ', '\t', '\r']) {
            wrong.push(format!("{path}:{number}: ends in white space"));
        }
        if code(path)
            && let Some(mark) = MARKS.iter().find(|mark| line.contains(**mark))
        {
            wrong.push(format!(
                "{path}:{number}: {mark}: do it, or file it as an issue"
            ));
        }
        if let Some(folder) = MACHINE.iter().find(|folder| starts_a_path(line, folder)) {
            wrong.push(format!(
                "{path}:{number}: {folder} is a path of one machine"
            ));
        }
    }
    wrong
}

fn of_decisions(paths: &[&str], index: &str) -> Vec<String> {
    let names = paths.iter().filter_map(|path| path.strip_prefix(DECISIONS));
    names
        .filter(|name| name.ends_with(".md") && *name != "README.md" && !index.contains(*name))
        .map(|name| format!("{DECISIONS}{name}: not listed in {DECISIONS}README.md"))
        .collect()
}

/// Files that hold nothing but tests.
fn of_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|folder| folder == "tests")
}

/// Files whose bytes are evidence: what a wire said, what a program printed.
fn recorded(path: &str) -> bool {
    path.ends_with(".snap")
        || path.starts_with("fuzz/seeds/")
        || path.split('/').any(|folder| folder == "fixtures")
}

fn code(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ends = [
        ".rs", ".toml", ".sh", ".py", ".js", ".sql", ".html", ".css", ".yml", ".yaml",
    ];
    ends.iter().any(|end| name.ends_with(end)) || path.starts_with(".ci/")
}

/// Whether the folder stands at the start of a path in the line, not in the middle of one.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}/*".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_counted_up_to_the_tests() {
        let body = "//\n".repeat(MAX_LINES);
        assert!(of_text("a.rs", &format!("{body}#[cfg(test)]\nmod tests {{}}\n")).is_empty());
        assert_eq!(
            of_text("a.rs", &format!("{body}//\n")),
            ["a.rs: 501 lines without its tests, 500 at most"]
        );
        for path in ["a.md", "src/a/tests.rs", "tests/it/a.rs"] {
            assert!(of_text(path, &format!("{body}//\n")).is_empty(), "{path}");
        }
    }

    #[test]
    fn marks_are_found_in_code_only() {
        for mark in MARKS {
            let line = format!("// {mark} later\n");
            assert_eq!(of_text("a.rs", &line).len(), 1, "{mark}");
            assert_eq!(of_text(".ci/run", &line).len(), 1, "{mark}");
            assert!(of_text("a.md", &line).is_empty(), "{mark}");
        }
    }

    #[test]
    fn machine_paths_are_found_but_not_parts_of_others() {
        for folder in MACHINE {
            for line in [format!("see {folder}x\n"), format!("\"{folder}x\"\n")] {
                assert_eq!(of_text("a.md", &line).len(), 1, "{line}");
            }
            assert!(of_text("a.md", &format!("at example.com{folder}x\n")).is_empty());
        }
    }

    #[test]
    fn white_space_is_checked_except_in_recordings() {
        assert_eq!(of_text("a.md", "x \n"), ["a.md:1: ends in white space"]);
        assert_eq!(of_text("a.md", "x\r\ny\n"), ["a.md:1: ends in white space"]);
        assert_eq!(of_text("a.md", "x"), ["a.md: does not end in a newline"]);
        assert!(of_text("a.md", "").is_empty());
        assert!(of_text("tests/fixtures/a.sse", "x \ny").is_empty());
        assert!(of_text("tests/snapshots/a.snap", "x ").is_empty());
        assert!(of_text("fuzz/seeds/sse/a", "x \ny").is_empty());
    }

    #[test]
    fn old_module_files_are_refused() {
        assert!(of_name("src/model/mod.rs").is_some());
        assert!(of_name("src/model.rs").is_none());
    }

    #[test]
    fn every_decision_is_in_the_index() {
        let paths = [
            "docs/adr/README.md",
            "docs/adr/0001-a.md",
            "docs/adr/0002-b.md",
            "x.md",
        ];
        let wrong = of_decisions(&paths, "- [one](0001-a.md)\n");
        assert_eq!(
            wrong,
            ["docs/adr/0002-b.md: not listed in docs/adr/README.md"]
        );
    }
}
