//! agentkit as its users meet it: the README's program in a package outside the workspace, with the
//! dependencies that the README names and nothing downloaded. (library/L4: the first program did not compile.)

use std::fs;

use anyhow::{Context as _, bail};

use crate::cmd::{self, Workspace};

/// Where the README shows the library.
const SECTION: &str = "## agentkit as a library";
/// The README's path to the library, in its program's dependencies.
const PATH: &str = "\"../opspawn/crates/agentkit\"";
/// What a program gets only if it asks for a feature.
const ON_REQUEST: &[&str] = &["csv", "fail", "minijinja", "serde-saphyr"];
/// The features that are built alone; together they are built by everything else.
const FEATURES: &[&str] = &["", "definitions", "scripted"];

/// Checks the program, and that each feature builds without the others.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    for features in FEATURES {
        let args = [
            "clippy",
            "--package",
            "opspawn-agentkit",
            "--lib",
            "--locked",
        ];
        let mut clippy = workspace.cargo(&args);
        clippy.args(["--features", features, "--", "-D", "warnings"]);
        cmd::run(&mut clippy)?;
    }
    let readme = fs::read_to_string(workspace.root.join("README.md"))?;
    let (dependencies, program) = snippets(&readme)?;
    let library = workspace.root.join("crates/agentkit");
    let library = format!("{:?}", library.to_str().context("the path is not UTF-8")?);
    if !dependencies.contains(PATH) {
        bail!("the README's dependencies do not name {PATH}");
    }
    let folder = workspace.target.join("library");
    fs::create_dir_all(folder.join("src"))?;
    fs::write(
        folder.join("Cargo.toml"),
        format!(
            "[package]\nname = \"library-user\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [workspace]\n\n{}",
            dependencies.replace(PATH, &library)
        ),
    )?;
    fs::write(folder.join("src/main.rs"), program)?;
    // The versions that are here already.
    fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let manifest = folder.join("Cargo.toml");
    let cargo = |args: &[&str]| {
        let mut command = workspace.cargo(args);
        command
            .arg("--offline")
            .arg("--manifest-path")
            .arg(&manifest);
        command
    };
    let target = folder.join("target");
    cmd::run(
        cargo(&["check", "--quiet"])
            .arg("--target-dir")
            .arg(&target),
    )?;
    let tree = cmd::output(&mut cargo(&[
        "tree",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    let crates = crates(&String::from_utf8_lossy(&tree))?;
    println!("library: the README's program builds outside the workspace, with {crates} crates");
    Ok(())
}

/// The dependencies and the program of the README's section.
fn snippets(readme: &str) -> anyhow::Result<(&str, &str)> {
    let (_, section) = readme
        .split_once(SECTION)
        .with_context(|| format!("the README has no section `{SECTION}`"))?;
    let section = section.split("\n## ").next().unwrap_or(section);
    let block = |language: &str| {
        let begin = format!("```{language}\n");
        let (_, block) = section.split_once(&begin)?;
        block.split_once("```").map(|(block, _)| block)
    };
    let of = |language| block(language).with_context(|| format!("it has no block of {language}"));
    Ok((of("toml")?, of("rust")?))
}

/// How many crates a tree has.
///
/// # Errors
/// One of them comes only on request.
fn crates(tree: &str) -> anyhow::Result<usize> {
    let mut names: Vec<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let name = name.split(' ').next().unwrap_or(name);
        if ON_REQUEST.contains(&name) {
            bail!("`{name}` comes to every user of the library: put it behind a feature");
        }
    }
    Ok(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blocks_of_the_section_are_found() {
        let readme = "# X\n```rust\nno\n```\n## agentkit as a library\nwords\n```toml\n[d]\n```\n\
                      ```rust\nfn main() {}\n```\n## Next\n```sh\nno\n```\n";
        assert_eq!(snippets(readme).unwrap(), ("[d]\n", "fn main() {}\n"));
        assert!(snippets("# X").is_err());
        assert!(snippets("## agentkit as a library\n## Next\n```toml\n```").is_err());
    }

    #[test]
    fn crates_are_counted_once_and_those_on_request_are_refused() {
        assert_eq!(crates("a v1.0.0\nb v1.0.0\na v1.0.0 (*)\n\n").unwrap(), 2);
        let error = crates("a v1.0.0\nminijinja v3.1.0\n").unwrap_err();
        assert!(error.to_string().contains("`minijinja`"));
    }
}
