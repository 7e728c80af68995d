//! Which files and folders are looked at: globs, and the folders that hold files of others.

use std::path::{Path, PathBuf};

use agentkit::event::Failure;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

const MAX_GLOBS: usize = 32;
const MAX_LENGTH: usize = 256;
/// Folders that are left out unless all folders are asked for.
const LEFT_OUT: [&str; 2] = [".git", "node_modules"];
/// How many folders that were left out are told.
const MAX_LISTED: usize = 20;

/// The arguments that say it.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Globs {
    #[serde(default)]
    include: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    #[serde(default)]
    everything: bool,
}

/// Adds the arguments to the properties of a schema.
pub(crate) fn describe(schema: &mut Value) {
    let globs = |description: &str| {
        json!({
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH},
            "maxItems": MAX_GLOBS,
            "description": description,
        })
    };
    schema["properties"]["include"] = globs(
        "Only files that match one of these globs: *.rs (anywhere), docs/**/*.md, *.{csv,tsv}",
    );
    schema["properties"]["exclude"] =
        globs("Not the files and folders that match one of these globs");
    schema["properties"]["everything"] = json!({
        "type": "boolean",
        "description": "Also what is in .git and node_modules; false",
    });
}

/// Judges paths, and keeps what was left out of itself.
#[derive(Debug)]
pub(crate) struct Filter {
    include: Option<GlobSet>,
    exclude: GlobSet,
    everything: bool,
    left_out: Vec<String>,
}

impl Globs {
    pub(crate) fn compile(&self) -> Result<Filter, Failure> {
        Ok(Filter {
            include: match self.include.as_slice() {
                [] => None,
                globs => Some(set(globs)?),
            },
            exclude: set(&self.exclude)?,
            everything: self.everything,
            left_out: Vec::new(),
        })
    }
}

impl Filter {
    pub(crate) fn takes_file(&self, path: &Path) -> bool {
        let included = self.include.as_ref().is_none_or(|set| set.is_match(path));
        included && !self.exclude.is_match(path)
    }

    /// Whether folders are of interest by themselves.
    pub(crate) fn takes_folder(&self, path: &Path) -> bool {
        self.include.is_none() && !self.exclude.is_match(path)
    }

    /// Whether the content of a folder is looked at.
    pub(crate) fn enters(&mut self, path: &Path) -> bool {
        if self.exclude.is_match(path) {
            return false;
        }
        let name = path.file_name().unwrap_or_default();
        if self.everything || !LEFT_OUT.iter().any(|known| *known == name) {
            return true;
        }
        if self.left_out.len() < MAX_LISTED {
            self.left_out.push(path.to_string_lossy().into_owned());
        }
        false
    }

    /// Says which folders were left out unasked.
    pub(crate) fn tell(self, result: &mut Value) {
        if !self.left_out.is_empty() {
            result["left_out"] = self.left_out.into();
        }
    }
}

fn set(globs: &[String]) -> Result<GlobSet, Failure> {
    let invalid = |glob: &str, problem: String| {
        Failure::last(
            "invalid_glob",
            format!("the glob {glob:?} cannot be used: {problem}"),
        )
    };
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        if glob.len() > MAX_LENGTH {
            let message = format!("a glob has more than {MAX_LENGTH} bytes");
            return Err(Failure::last("invalid_glob", message));
        }
        let built = GlobBuilder::new(&anchored(glob))
            .literal_separator(true)
            .build()
            .map_err(|error| invalid(glob, error.kind().to_string()))?;
        set.add(built);
    }
    set.build()
        .map_err(|error| Failure::last("invalid_glob", error.to_string()))
}

/// A name alone matches in every folder, and a folder stands for what is in it, too.
fn anchored(glob: &str) -> String {
    let inner = glob.strip_prefix("./").unwrap_or(glob);
    let (inner, rooted) = match inner.strip_prefix('/') {
        Some(inner) => (inner, true),
        None => (inner, inner.trim_end_matches('/').contains('/')),
    };
    let inner = inner.trim_end_matches('/');
    if rooted {
        inner.to_owned()
    } else {
        format!("**/{inner}")
    }
}

/// The path of an entry in a folder of the workspace.
pub(crate) fn below(folder: &Path, name: impl AsRef<Path>) -> PathBuf {
    if folder.as_os_str() == "." {
        name.as_ref().into()
    } else {
        folder.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        let own = |globs: &[&str]| globs.iter().map(ToString::to_string).collect();
        let globs = Globs {
            include: own(include),
            exclude: own(exclude),
            everything: false,
        };
        globs.compile().unwrap()
    }

    #[test]
    fn globs_choose_files() {
        for (include, exclude, path, expected) in [
            (&[][..], &[][..], "a/b.txt", true),
            (&["*.rs"], &[], "src/deep/lib.rs", true),
            (&["*.rs"], &[], "lib.rs.txt", false),
            (&["src/*.rs"], &[], "src/lib.rs", true),
            (&["src/*.rs"], &[], "src/deep/lib.rs", false),
            (&["src/**/*.rs"], &[], "src/deep/lib.rs", true),
            (&["/*.md"], &[], "README.md", true),
            (&["/*.md"], &[], "docs/README.md", false),
            (&["./docs/*.md"], &[], "docs/a.md", true),
            (&["*.{csv,tsv}"], &[], "x/a.tsv", true),
            (&["*.txt", "*.md"], &["a*"], "b.md", true),
            (&["*.txt", "*.md"], &["a*"], "x/a.md", false),
        ] {
            let filter = filter(include, exclude);
            assert_eq!(
                filter.takes_file(Path::new(path)),
                expected,
                "{include:?} {path}"
            );
        }
    }

    #[test]
    fn folders_of_others_are_left_out_and_told() {
        let mut filter = filter(&[], &["target/"]);
        for (path, expected) in [
            ("src", true),
            ("target", false),
            ("x/target", false),
            (".git", false),
            ("web/node_modules", false),
            (".github", true),
        ] {
            assert_eq!(filter.enters(Path::new(path)), expected, "{path}");
        }
        let mut result = json!({});
        filter.tell(&mut result);
        assert_eq!(result, json!({"left_out": [".git", "web/node_modules"]}));
        let globs: Globs = serde_json::from_value(json!({"everything": true})).unwrap();
        assert!(globs.compile().unwrap().enters(Path::new(".git")));
    }

    #[test]
    fn what_is_no_glob_is_told() {
        for glob in ["[", "{a", &"x".repeat(300)] {
            let globs: Globs = serde_json::from_value(json!({"include": [glob]})).unwrap();
            assert_eq!(globs.compile().unwrap_err().code, "invalid_glob");
        }
    }
}
