//! Beginnings of tools.

use crate::cli::{Kind, Language};

const SHELL: &str = r#"#!/bin/sh
# The arguments of the call are JSON on standard input, and those that the declaration names are words here.
# What is written to standard output is the result; a line on standard error and a code that is not 0 is a failure.
set -eu
path=$1
[ -f "$path" ] || { echo "there is no file $path" >&2; exit 1; }
printf '{"lines": %s, "words": %s}\n' "$(wc -l <"$path" | tr -d ' ')" "$(wc -w <"$path" | tr -d ' ')"
"#;

const PYTHON: &str = r#"#!/usr/bin/env python3
"""The arguments of the call are JSON on standard input. What is printed is the result; a message and a
code that is not 0 is a failure."""
import json
import sys

arguments = json.load(sys.stdin)
try:
    with open(arguments["path"], encoding="utf-8") as file:
        text = file.read()
except OSError as error:
    sys.exit(f"{arguments['path']}: {error.strerror}")
json.dump({"lines": len(text.splitlines()), "words": len(text.split())}, sys.stdout)
"#;

const RUST: &str = r#"//! Built by `rustc -O run.rs -o run`. The first word is the argument `path`; the arguments of the call are also
//! JSON on standard input. What is printed is the result; a message and a code that is not 0 is a failure.
use std::{env, fs, process::exit};

fn main() {
    let path = env::args().nth(1).unwrap_or_default();
    match fs::read_to_string(&path) {
        Ok(text) => {
            let (lines, words) = (text.lines().count(), text.split_whitespace().count());
            println!("{{\"lines\": {lines}, \"words\": {words}}}");
        }
        Err(error) => {
            eprintln!("{path}: {error}");
            exit(1);
        }
    }
}
"#;

const RUST_MODULE: &str = r#"//! Built by `rustc --target wasm32-wasip1 -O module.rs -o module.wasm`, once `rustup target add wasm32-wasip1` has
//! brought the target. The arguments of the call are JSON on standard input. What is printed is the result, here the
//! arguments themselves; a message and a code that is not 0 is a failure.
use std::{io, process::exit};

fn main() {
    if let Err(error) = io::copy(&mut io::stdin(), &mut io::stdout()) {
        eprintln!("{error}");
        exit(1);
    }
}
"#;

const TEXT_MODULE: &str = r#";; A tool in the text form of WebAssembly, which needs no compiler. The arguments of the call are JSON on standard
;; input (0). What is written to standard output (1) is the result, here the arguments themselves; a code that is not 0
;; is a failure. Any module for WASI preview 1, and any component that exports `wasi:cli/run`, can stand in its place.
(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  ;; At 0 the address of a piece, at 4 its length, at 8 the number of bytes that were read or written, from 16 on the piece.
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 16))
    (loop $next
      (i32.store (i32.const 4) (i32.const 4096))
      (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
        (then (call $exit (i32.const 1))))
      (if (i32.load (i32.const 8))
        (then
          (i32.store (i32.const 4) (i32.load (i32.const 8)))
          (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))
            (then (call $exit (i32.const 1))))
          (br $next))))))
"#;

/// The beginning of a tool.
pub(super) struct Skeleton {
    kind: Kind,
    /// Name of its file.
    pub(super) file: &'static str,
    /// Content of the file.
    pub(super) text: &'static str,
    /// What runs, as the declaration names it below the tool's folder.
    runs: &'static str,
    /// The compiler with its options, and what it builds; for a language that is compiled.
    pub(super) build: Option<(&'static str, &'static str)>,
}

/// The beginning of a tool of a kind; `None` for a language that has none.
pub(super) fn of(kind: Kind, language: Option<Language>) -> Option<Skeleton> {
    let (file, text, runs, build) = match (kind, language) {
        (Kind::Command, None | Some(Language::Shell)) => ("run.sh", SHELL, "run.sh", None),
        (Kind::Command, Some(Language::Python)) => ("run.py", PYTHON, "run.py", None),
        (Kind::Command, Some(Language::Rust)) => ("run.rs", RUST, "run", Some(("rustc -O", "run"))),
        (Kind::Wasm, None) => ("module.wat", TEXT_MODULE, "module.wat", None),
        (Kind::Wasm, Some(Language::Rust)) => {
            let build = ("rustc --target wasm32-wasip1 -O", "module.wasm");
            ("module.rs", RUST_MODULE, "module.wasm", Some(build))
        }
        (Kind::Wasm, Some(Language::Shell | Language::Python)) => return None,
    };
    Some(Skeleton {
        kind,
        file,
        text,
        runs,
        build,
    })
}

impl Skeleton {
    /// The declaration of the tool.
    pub(super) fn declaration(&self, name: &str) -> String {
        let runs = self.runs;
        match self.kind {
            Kind::Command => format!(
                "\n[tools.command.{name}]\n\
                 description = \"Counts the lines and words of a text file of the workspace\"\n\
                 command = [\"/tool/{runs}\", \"{{path}}\"]\n\
                 folder = \"tools/{name}\"    # the program sees it as /tool\n\
                 workspace = \"read\"         # none, read or write\n\
                 effect = \"pure\"            # what repeating a call does: pure, idempotent, keyed or write\n\
                 timeout = \"10s\"\n\
                 input = {{ type = \"object\", properties = {{ path = {{ type = \"string\" }} }}, \
                 required = [\"path\"], additionalProperties = false }}\n"
            ),
            Kind::Wasm => format!(
                "\n[tools.wasm.{name}]\n\
                 description = \"Gives back its arguments\"\n\
                 module = \"tools/{name}/{runs}\"\n\
                 workspace = \"none\"         # none, read or write\n\
                 effect = \"pure\"            # what repeating a call does: pure, idempotent, keyed or write\n\
                 timeout = \"10s\"\n\
                 fuel = 1_000_000_000         # instructions, about; without it only time limits a call\n\
                 input = {{ type = \"object\", properties = {{ text = {{ type = \"string\" }} }}, \
                 required = [\"text\"], additionalProperties = false }}\n"
            ),
        }
    }
}
