//! Words of a command that a program reads as code.
//!
//! A word stays one word whatever an argument fills in. A shell reads the word after `-c` as a script, though:
//! `["sh", "-c", "cat {path}"]` runs what a model writes into `path`. Such a declaration is refused. The script takes the
//! argument as a word of its own: `["sh", "-c", "cat \"$1\"", "sh", "{path}"]`.

use super::argv::Template;

/// How a program takes code among its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    /// After options, in the first word that is none, once this letter stands among the options.
    AfterOption(char),
    /// Behind one of these letters, in the same word or the next; or behind one of these long options.
    Behind(&'static [char], &'static [&'static str]),
    /// In the first word that is no option, and behind `-e`.
    First,
    /// In every word: the program joins them for a shell.
    Joined,
}

/// Programs that run another program with the words behind theirs.
const WRAPPERS: &[&str] = &[
    "env",
    "nice",
    "timeout",
    "nohup",
    "setsid",
    "stdbuf",
    "ionice",
    "chrt",
    "taskset",
    "time",
    "sudo",
    "doas",
    "busybox",
    "toybox",
    "xargs",
    "find",
    "unshare",
    "nsenter",
    "strace",
    "chroot",
    "command",
    "exec",
    "unbuffer",
    "tini",
    "dumb-init",
    "gosu",
    "uv",
    "poetry",
    "pipenv",
    "bundle",
    "flock",
    "su",
    "runuser",
    "script",
    "parallel",
];

/// A program by the name of its file, without a version at its end, and how a word takes an argument there.
fn program(name: &str) -> Option<(Code, &'static str)> {
    let shell = "\"$1\"";
    Some(match name {
        "sh" | "bash" | "dash" | "zsh" | "ksh" | "mksh" | "ash" | "yash" | "fish" | "csh"
        | "tcsh" | "rbash" => (Code::AfterOption('c'), shell),
        "su" | "runuser" | "script" | "flock" => {
            (Code::Behind(&['c'], &["--command"]), "a program of its own")
        }
        "watch" | "ssh" | "eval" | "parallel" => (Code::Joined, "a program of its own"),
        "python" | "pypy" | "micropython" => (Code::Behind(&['c'], &[]), "sys.argv[1]"),
        "perl" => (Code::Behind(&['e', 'E'], &[]), "$ARGV[0]"),
        "ruby" | "jruby" => (Code::Behind(&['e'], &[]), "ARGV[0]"),
        "node" | "nodejs" | "bun" => (
            Code::Behind(&['e', 'p'], &["--eval", "--print"]),
            "process.argv[1]",
        ),
        "php" => (Code::Behind(&['r', 'R', 'B', 'E'], &["--run"]), "$argv[1]"),
        "lua" | "luajit" | "Rscript" | "julia" | "osascript" | "guile" => (
            Code::Behind(&['e', 'E', 'c'], &["--eval"]),
            "a file of its own",
        ),
        "pwsh" | "powershell" => (Code::Joined, "a file of its own"),
        "awk" | "gawk" | "mawk" | "nawk" => (Code::First, "ARGV[1]"),
        "sed" | "gsed" => (Code::First, "a file of its own"),
        "jq" => (Code::First, "--arg"),
        _ => return None,
    })
}

/// The name of a program's file without a version: `/usr/bin/python3.12` is `python`.
fn plain(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-')
}

/// The mistake in a command whose code an argument would fill in; `None` for other commands.
pub(super) fn injected(command: &[String]) -> Option<String> {
    let is_wrapped = command
        .first()
        .is_some_and(|first| WRAPPERS.contains(&plain(first)));
    for (at, word) in command.iter().enumerate() {
        if at > 0 && !is_wrapped {
            break;
        }
        if plain(word) == "env"
            && let Some(text) = split_by_env(&command[at + 1..])
        {
            return Some(told(text, "env -S", "a word of its own"));
        }
        if let Some((code, way)) = program(plain(word))
            && let Some(text) = filled_code(code, &command[at + 1..])
        {
            return Some(told(text, plain(word), way));
        }
    }
    None
}

fn told(word: &str, program: &str, way: &str) -> String {
    let name = argument(word).unwrap_or_default();
    format!(
        "the word `{}` is code of `{program}`, so that whatever a call gives as `{name}` would be run; take `{{{name}}}` \
         out of it, give it as a word of its own behind the code, and read it there as {way}",
        word.chars().take(80).collect::<String>()
    )
}

/// The first argument that fills in a word.
fn argument(word: &str) -> Option<String> {
    let word = Template::parse(word).ok()?;
    word.names().next().map(str::to_owned)
}

fn is_filled(word: &str) -> bool {
    argument(word).is_some()
}

/// The word of code that an argument fills in.
fn filled_code(code: Code, words: &[String]) -> Option<&str> {
    let filled = |word: &String| is_filled(word);
    match code {
        Code::Joined => words.iter().find(|word| filled(word)).map(String::as_str),
        Code::AfterOption(letter) => {
            let mut words = words.iter();
            let mut is_code = false;
            while let Some(word) = words.next() {
                let is_option = word.starts_with(['-', '+']) && word.len() > 1;
                if !is_option || word == "--" {
                    let script = if word == "--" { words.next()? } else { word };
                    return (is_code && is_filled(script)).then_some(script);
                }
                if word.starts_with("--") {
                    // `fish --command=..`, and options with a file.
                    if let Some(rest) = word.strip_prefix("--command") {
                        let script = if rest.is_empty() { words.next()? } else { word };
                        return is_filled(script).then_some(script);
                    }
                    continue;
                }
                is_code |= word.starts_with('-') && word.contains(letter);
                // `-o pipefail`
                if word.ends_with(['o', 'O']) {
                    words.next();
                }
            }
            None
        }
        Code::Behind(letters, long) => {
            for (at, word) in words.iter().enumerate() {
                let next = words.get(at + 1);
                if let Some(rest) = long.iter().find_map(|long| word.strip_prefix(long)) {
                    match rest.strip_prefix('=') {
                        Some(_) if is_filled(word) => return Some(word),
                        None if next.is_some_and(filled) => return next.map(String::as_str),
                        Some(_) | None => continue,
                    }
                }
                if word.starts_with("--") {
                    continue;
                }
                if !word.starts_with('-') {
                    // Behind the file of an interpreter stand that file's own words. A value of an option is no file.
                    let is_value =
                        at > 0 && words[at - 1].starts_with('-') && words[at - 1].len() == 2;
                    if long.contains(&"--command") || is_value {
                        continue;
                    }
                    return None;
                }
                let Some(letter) = word.find(letters) else {
                    continue;
                };
                // The code may stand in the same word.
                if is_filled(word) {
                    return Some(word);
                }
                if letter + 1 == word.len() && next.is_some_and(filled) {
                    return next.map(String::as_str);
                }
            }
            None
        }
        Code::First => {
            let mut words = words.iter().peekable();
            let mut has_code = false;
            while let Some(word) = words.next() {
                match word.as_str() {
                    // A file of code, or a value.
                    "-f" | "--file" | "--from-file" => {
                        has_code = true;
                        words.next();
                    }
                    "-v" | "-F" | "--assign" | "--field-separator" => {
                        words.next();
                    }
                    "--arg" | "--argjson" | "--slurpfile" | "--rawfile" => {
                        words.next();
                        words.next();
                    }
                    "-e" | "--expression" | "--source" => {
                        has_code = true;
                        if let Some(code) = words.next().filter(|code| is_filled(code)) {
                            return Some(code);
                        }
                    }
                    option if option.starts_with("-e") || option.starts_with("--expression=") => {
                        has_code = true;
                        if is_filled(option) {
                            return Some(option);
                        }
                    }
                    option if option.starts_with('-') && option.len() > 1 => {}
                    code => return (!has_code && is_filled(code)).then_some(code),
                }
            }
            None
        }
    }
}

/// The word that `env -S` splits, if an argument fills it in.
fn split_by_env(words: &[String]) -> Option<&str> {
    for (at, word) in words.iter().enumerate() {
        let long = word.starts_with("--split-string");
        let short = word.starts_with('-') && !word.starts_with("--") && word.contains('S');
        if !(long || short) {
            continue;
        }
        if is_filled(word) {
            return Some(word);
        }
        return words
            .get(at + 1)
            .filter(|next| is_filled(next))
            .map(String::as_str);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(words: &[&str]) -> Option<String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        injected(&words)
    }

    #[test]
    fn an_argument_inside_code_is_refused() {
        for words in [
            &["bash", "-c", "tr a-z A-Z; cat {path}"][..],
            &["/bin/sh", "-ec", "cat {path}"],
            &["sh", "-c", "-e", "cat {path}"],
            &["bash", "-c", "-o", "pipefail", "cat {path}"],
            &["bash", "-o", "pipefail", "-c", "cat {path}"],
            &["sh", "-c", "--", "{path}"],
            &["dash", "-c", "{path}"],
            &["fish", "--command=cat {path}"],
            &["busybox", "sh", "-c", "cat {path}"],
            &["env", "A=1", "timeout", "5", "zsh", "-c", "cat {path}"],
            &["env", "-S", "cat {path}"],
            &["xargs", "sh", "-c", "echo {path}"],
            &["python3", "-c", "print('{path}')"],
            &["/usr/bin/python3.12", "-Ic", "print('{path}')"],
            &["python3", "-cprint('{path}')"],
            &["perl", "-ne", "print if /{path}/"],
            &["node", "--eval", "f('{path}')"],
            &["node", "--eval=f('{path}')"],
            &["node", "-p", "{path}"],
            &["ruby", "-rjson", "-e", "puts {path}"],
            &["php", "-r", "echo {path};"],
            &["awk", "/{path}/", "file"],
            &["sed", "-n", "s/{path}/x/e", "file"],
            &["sed", "-e", "s/{path}/x/", "file"],
            &["su", "nobody", "-c", "cat {path}"],
            &["ssh", "host", "cat {path}"],
            &["jq", "-r", ".{path}"],
        ] {
            let mistake = refused(words);
            let mistake = mistake.unwrap_or_else(|| panic!("{words:?} was taken"));
            assert!(mistake.contains("take `{path}` out of it"), "{mistake}");
        }
        let mistake = refused(&["bash", "-c", "cat {path}"]).unwrap();
        assert!(mistake.contains("read it there as \"$1\""), "{mistake}");
    }

    #[test]
    fn an_argument_beside_code_is_taken() {
        for words in [
            &["bash", "-c", "cat \"$1\"", "bash", "{path}"][..],
            &["sh", "-euc", "cat \"$1\"", "sh", "{path}"],
            &["bash", "-c", "echo ${{HOME}}"],
            &["bash", "/tool/run.sh", "{path}"],
            &["python3", "/tool/run.py", "-c", "x"],
            &["python3", "-c", "import sys; print(sys.argv[1])", "{path}"],
            &["node", "-e", "f(process.argv[1])", "{path}"],
            &["python3", "/tool/run.py", "-c", "{path}"],
            &["perl", "/tool/x.pl", "{path}"],
            &["awk", "{{print $1}}", "{path}"],
            &["awk", "-f", "/tool/x.awk", "{path}"],
            &["sed", "-e", "s/a/b/", "{path}"],
            &["jq", "--arg", "name", "{path}", ".[$name]"],
            &["grep", "-c", "{path}"],
            &["git", "log", "-c", "{path}"],
            &["/tool/run", "-c", "{path}"],
        ] {
            assert_eq!(refused(words), None, "{words:?}");
        }
    }
}
