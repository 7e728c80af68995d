//! Modules of WebAssembly as tools: declared in the configuration file, compiled and run in the sandbox.
//!
//! These tests need a machine that can sandbox: where it cannot, they fail and say why.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::test_dir::TestDir;

/// The imports that modules of these tests choose from.
const READ: &str = r#"(import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))"#;
const WRITE: &str = r#"(import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))"#;
const EXIT: &str = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))"#;
const OPEN: &str = r#"(import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"#;

/// A component that writes `{"component":true}`.
const COMPONENT: &str = r#"(component
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-type))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $stream (sub resource)))
    (alias outer 1 $error-type (type $outer-error))
    (export "error" (type $own-error (eq $outer-error)))
    (type $failure (variant (case "last-operation-failed" (own $own-error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $failure)))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $stream-type))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $stream-type (type $outer-stream))
    (export "output-stream" (type $own-stream (eq $outer-stream)))
    (export "get-stdout" (func (result (own $own-stream))))))
  (core module $data (memory (export "memory") 1) (data (i32.const 16) "{\"component\":true}"))
  (core instance $data (instantiate $data))
  (core func $get (canon lower (func $stdout "get-stdout")))
  (core func $write
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory (core memory $data "memory"))))
  (core module $main
    (import "host" "get" (func $get (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (func (export "run") (result i32)
      (call $write (call $get) (i32.const 16) (i32.const 18) (i32.const 0))
      (i32.const 0)))
  (core instance $main
    (instantiate $main (with "host" (instance (export "get" (func $get)) (export "write" (func $write))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))"#;

/// Declares one module with further keys, and calls it; gives the exit code, the output and standard error.
async fn call(dir: &TestDir, module: &[u8], more: &str) -> (i32, Value, String) {
    let folder = dir.data();
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("module.wasm"), module).unwrap();
    let workspace = match more.contains("workspace") {
        true => "",
        false => "workspace = 'none'",
    };
    let declaration = format!(
        "[tools.wasm.module]\ndescription = 'x'\nmodule = 'module.wasm'\n{workspace}\n{more}\n"
    );
    fs::write(folder.join("opspawn.toml"), declaration).unwrap();
    let command = dir.cli(&["tool", "call", "module", "{}", "--workspace", ".", "--json"]);
    let ran = command.run().await;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    (ran.code.unwrap_or(-1), told["output"].clone(), ran.stderr)
}

fn module(imports: &[&str], rest: &str) -> String {
    format!("(module {} {rest})", imports.concat())
}

/// The folders of compiled modules.
fn kept(dir: &TestDir) -> Vec<PathBuf> {
    let folder = dir.data().join("cache").join("wasm");
    let entries = fs::read_dir(folder).map(|entries| entries.map(|entry| entry.unwrap().path()));
    entries.map(Iterator::collect).unwrap_or_default()
}

fn code_of(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("module.cwasm")).unwrap()
}

#[tokio::test]
async fn a_new_module_works_as_it_is_and_is_compiled_once() {
    let dir = TestDir::new();
    let new = dir
        .cli(&["tool", "new", "echo", "--kind", "wasm"])
        .run()
        .await
        .ends(0);
    assert!(new.stdout.contains("tool call echo"), "{new:#?}");
    let input = r#"{"text": "hello"}"#;
    let echo = dir
        .cli(&["tool", "call", "echo", input, "--json"])
        .run()
        .await
        .ends(0);
    let told: Value = serde_json::from_str(&echo.stdout).unwrap();
    assert_eq!(told["output"], json!({"text": "hello"}), "{echo:#?}");
    let [folder] = kept(&dir).try_into().unwrap();
    let written = fs::metadata(folder.join("module.cwasm"))
        .unwrap()
        .modified()
        .unwrap();
    dir.cli(&["tool", "call", "echo", input])
        .run()
        .await
        .ends(0);
    let [again] = kept(&dir).try_into().unwrap();
    let found = fs::metadata(again.join("module.cwasm"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(found, written, "it was compiled again");

    let wrong = [
        "tool",
        "new",
        "other",
        "--kind",
        "wasm",
        "--language",
        "python",
    ];
    let wrong = dir.cli(&wrong).run().await.ends(2);
    assert!(wrong.stderr.contains("--language rust"), "{wrong:#?}");
    let doctor = dir.cli(&["doctor"]).run().await;
    assert!(doctor.stdout.contains("wasmtime 48"), "{doctor:#?}");
    assert!(doctor.stdout.contains("1 declared"), "{doctor:#?}");
}

#[tokio::test]
async fn a_component_writes_its_result() {
    let dir = TestDir::new();
    let (code, output, error) = call(&dir, COMPONENT.as_bytes(), "fuel = 1000000").await;
    assert_eq!((code, &output), (0, &json!({"component": true})), "{error}");
}

/// Code that changed on the disk is machine code of somebody else: it is not run, but compiled anew.
#[tokio::test]
async fn compiled_code_that_changed_is_not_run() {
    let dir = TestDir::new();
    call(&dir, COMPONENT.as_bytes(), "").await;
    let [folder] = kept(&dir).try_into().unwrap();
    let right = code_of(&folder);
    let mut wrong = right.clone();
    let middle = wrong.len() / 2;
    wrong[middle] ^= 1;
    fs::write(folder.join("module.cwasm"), &wrong).unwrap();
    let (code, output, error) = call(&dir, COMPONENT.as_bytes(), "").await;
    assert_eq!((code, &output), (0, &json!({"component": true})), "{error}");
    let [folder] = kept(&dir).try_into().unwrap();
    assert_ne!(code_of(&folder), wrong);

    // Nor is code of another module that is put in its place.
    let echo = module(&[], "(func (export \"_start\"))");
    call(&dir, echo.as_bytes(), "").await;
    let other = kept(&dir).into_iter().find(|path| *path != folder).unwrap();
    fs::copy(other.join("module.cwasm"), folder.join("module.cwasm")).unwrap();
    let (code, output, error) = call(&dir, COMPONENT.as_bytes(), "").await;
    assert_eq!((code, &output), (0, &json!({"component": true})), "{error}");
}

#[tokio::test]
async fn a_module_that_cannot_be_used_is_told_why() {
    let dir = TestDir::new();
    for (module, says) in [
        (b"".to_vec(), "invalid_module"),
        (b"\0asm\x01\0\0\0junk".to_vec(), "invalid_module"),
        (b"\0asm\x09\0\0\0".to_vec(), "invalid_module"),
        (b"(module".to_vec(), "expected"),
        (b"#!/bin/sh\n".to_vec(), "invalid_module"),
        (b"(module)".to_vec(), "it exports no `_start`"),
        (
            module(&[], "(func (export \"_start\") (param i32))").into(),
            "not a function without parameters",
        ),
        (
            module(
                &["(import \"env\" \"f\" (func))"],
                "(func (export \"_start\"))",
            )
            .into(),
            "env",
        ),
        (b"(component)".to_vec(), "must export `wasi:cli/run`"),
        (
            b"(component (import \"my:own/thing\" (instance (export \"f\" (func)))))".to_vec(),
            "my:own/thing",
        ),
    ] {
        let (code, _, error) = call(&dir, &module, "").await;
        let shown = String::from_utf8_lossy(&module);
        assert_eq!(code, 1, "{shown}: {error}");
        assert!(error.contains("invalid_module"), "{shown}: {error}");
        assert!(error.contains(says), "{shown}: {error}");
    }
    assert!(kept(&dir).is_empty());
    let huge = dir.data().join("module.wasm");
    fs::File::create(&huge).unwrap().set_len(65 << 20).unwrap();
    let ran = dir
        .cli(&["tool", "call", "module", "{}"])
        .run()
        .await
        .ends(1);
    assert!(ran.stderr.contains("more than 67108864 bytes"), "{ran:#?}");
    fs::remove_file(&huge).unwrap();
    let ran = dir.cli(&["tool", "call", "module", "{}"]).run().await;
    assert!(ran.stderr.contains("`module` names"), "{ran:#?}");
}

#[tokio::test]
async fn a_module_that_passes_a_limit_is_ended() {
    let dir = TestDir::new();
    let endless = module(&[], "(func (export \"_start\") (loop $l (br $l)))");
    let floods = module(
        &[WRITE],
        "(memory (export \"memory\") 1)
         (func (export \"_start\")
           (i32.store (i32.const 4) (i32.const 32768))
           (loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l)))",
    );
    let grows = module(
        &[],
        "(memory (export \"memory\") 1)
         (func (export \"_start\")
           (loop $l
             (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
           unreachable)",
    );
    let large = module(
        &[],
        "(memory (export \"memory\") 40000) (func (export \"_start\"))",
    );
    let deep = module(&[], "(func $f (export \"_start\") (call $f))");
    let exits = module(
        &[EXIT],
        "(memory (export \"memory\") 1) (func (export \"_start\") (call $exit (i32.const 3)))",
    );
    let claims = module(
        &[EXIT],
        "(memory (export \"memory\") 1) (func (export \"_start\") (call $exit (i32.const 201)))",
    );
    for (module, more, code, says) in [
        (
            &endless,
            "fuel = 1000000",
            "limit_passed",
            "used up its 1000000 of `fuel`",
        ),
        (
            &endless,
            "timeout = '1s'",
            "limit_passed",
            "did not end within its timeout of 1s",
        ),
        (
            &floods,
            "",
            "limit_passed",
            "wrote more than its limit of 1048576 bytes",
        ),
        (
            &grows,
            "memory = '8MiB'",
            "limit_passed",
            "more memory than its limit of 8388608 bytes",
        ),
        (
            &large,
            "",
            "limit_passed",
            "more memory than its limit of 67108864 bytes",
        ),
        (&deep, "", "command_failed", "trapped"),
        (&exits, "", "command_failed", "exit code 3"),
        // No code of a module is taken for a word of the runtime: preview 1 has none above 125.
        (&claims, "", "command_failed", "trapped"),
    ] {
        let (exit, _, error) = call(&dir, module.as_bytes(), more).await;
        assert_eq!(exit, 1, "{module}: {error}");
        assert!(error.contains(code), "{module}: {error}");
        assert!(error.contains(says), "{module}: {error}");
    }
}

/// Opens a path below the first folder, with these flags, and ends with the error number.
fn opens(path: &str, flags: u32, rights: u64) -> String {
    module(
        &[OPEN, EXIT],
        &format!(
            "(memory (export \"memory\") 1) (data (i32.const 64) \"{path}\")
             (func (export \"_start\")
               (call $exit (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const {})
                 (i32.const {flags}) (i64.const {rights}) (i64.const 0) (i32.const 0) (i32.const 0))))",
            path.len()
        ),
    )
}

#[tokio::test]
async fn a_module_sees_the_granted_folders_and_nothing_else() {
    const READS: u64 = 1 << 1;
    const WRITES: u64 = 1 << 6;
    const CREATE: u32 = 1;
    let dir = TestDir::new();
    fs::write(dir.join("note.txt"), "here").unwrap();
    let (read, write) = ("workspace = 'read'", "workspace = 'write'");
    for (path, flags, rights, access, is_open) in [
        ("note.txt", 0, READS, read, true),
        ("note.txt", 0, READS, "", false),
        ("../note.txt", 0, READS, read, false),
        ("/etc/passwd", 0, READS, read, false),
        ("../etc/passwd", 0, READS, read, false),
        ("new.txt", CREATE, WRITES, read, false),
        ("new.txt", CREATE, WRITES, write, true),
    ] {
        let module = opens(path, flags, rights);
        let (code, _, error) = call(&dir, module.as_bytes(), access).await;
        assert_eq!(code == 0, is_open, "{path} {access}: {error}");
    }
    assert!(dir.join("new.txt").exists());
}

/// The environment and the input of a call, as a component of another language would read them.
#[tokio::test]
async fn arguments_come_on_standard_input() {
    let dir = TestDir::new();
    let copies = module(
        &[READ, WRITE],
        "(memory (export \"memory\") 1)
         (func (export \"_start\")
           (i32.store (i32.const 0) (i32.const 64))
           (i32.store (i32.const 4) (i32.const 4096))
           (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
           (i32.store (i32.const 4) (i32.load (i32.const 8)))
           (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))",
    );
    let (code, output, error) = call(&dir, copies.as_bytes(), "").await;
    assert_eq!((code, &output), (0, &json!({})), "{error}");
}

/// The Rust beginning of a module, built and called by the commands that `tool new` prints.
#[tokio::test]
#[ignore = "needs the target wasm32-wasip1, which `cargo xtask test --install` adds"]
async fn a_new_module_in_rust_works_as_printed() {
    let printed = std::process::Command::new("rustc")
        .args(["--print", "target-libdir", "--target", "wasm32-wasip1"])
        .output();
    let libraries = printed.map(|printed| String::from_utf8_lossy(&printed.stdout).into_owned());
    if !libraries.is_ok_and(|path| Path::new(path.trim()).is_dir()) {
        // Where Rust comes from no rustup, or nothing answers it, the target cannot be had: that is nobody's fault.
        println!("not tried: rustc has no target wasm32-wasip1 (rustup target add wasm32-wasip1)");
        return;
    }
    let dir = TestDir::new();
    let new = [
        "tool",
        "new",
        "echo",
        "--kind",
        "wasm",
        "--language",
        "rust",
    ];
    let made = dir.bare_cli(&new).run().await.ends(0).stdout;
    let (_, commands) = made.split_once("Go on with:").expect("commands");
    let opspawn = super::test_dir::binary();
    let script = format!(
        "set -e\nopspawn() {{ '{}' \"$@\"; }}\n{commands}",
        opspawn.display()
    );
    let ran = std::process::Command::new("sh")
        .args(["-c", &script])
        .current_dir(dir.join("."))
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && output.contains("hello"),
        "{script}: {ran:?}"
    );
}
