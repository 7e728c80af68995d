//! Modules of WebAssembly that reach beyond their call: hosts through the proxy, probes, and the time of compiling.

use std::{fs, path::Path, time::Duration};

use ops_testkit::wait_until;
use serde_json::Value;

use super::{tasks, test_dir::TestDir};

/// A component that connects to `127.0.0.1:PORT`, sends REQUEST, and writes what comes back to standard output.
fn asks(port: u16, request: &str) -> String {
    let bytes = request.len();
    let request = request.replace('\r', "\\0d").replace('\n', "\\0a");
    format!(
        r#"(component
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error-type))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable-type))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $input (sub resource)))
    (export "output-stream" (type $output (sub resource)))
    (alias outer 1 $error-type (type $outer-error))
    (export "error" (type $own-error (eq $outer-error)))
    (type $failure (variant (case "last-operation-failed" (own $own-error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $failure)))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $input)) (param "len" u64) (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $output)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input-type))
  (alias export $streams "output-stream" (type $output-type))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output-type (type $outer-stream))
    (export "output-stream" (type $own-stream (eq $outer-stream)))
    (export "get-stdout" (func (result (own $own-stream))))))
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type $a-network (sub resource)))
    (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type $code (eq $codes)))
    (type $families (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type $family (eq $families)))
    (type $four (tuple u8 u8 u8 u8))
    (export "ipv4-address" (type $ipv4 (eq $four)))
    (type $six (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $ipv6 (eq $six)))
    (type $place4 (record (field "port" u16) (field "address" $ipv4)))
    (export "ipv4-socket-address" (type $socket4 (eq $place4)))
    (type $place6 (record (field "port" u16) (field "flow-info" u32) (field "address" $ipv6) (field "scope-id" u32)))
    (export "ipv6-socket-address" (type $socket6 (eq $place6)))
    (type $place (variant (case "ipv4" $socket4) (case "ipv6" $socket6)))
    (export "ip-socket-address" (type $address (eq $place)))))
  (alias export $network "network" (type $network-type))
  (alias export $network "error-code" (type $code-type))
  (alias export $network "ip-address-family" (type $family-type))
  (alias export $network "ip-socket-address" (type $address-type))
  (import "wasi:sockets/instance-network@0.2.0" (instance $own-network
    (alias outer 1 $network-type (type $outer-network))
    (export "network" (type $a-network (eq $outer-network)))
    (export "instance-network" (func (result (own $a-network))))))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (export "tcp-socket" (type $socket (sub resource)))
    (alias outer 1 $network-type (type $outer-network))
    (export "network" (type $a-network (eq $outer-network)))
    (alias outer 1 $code-type (type $outer-code))
    (export "error-code" (type $code (eq $outer-code)))
    (alias outer 1 $address-type (type $outer-address))
    (export "ip-socket-address" (type $address (eq $outer-address)))
    (alias outer 1 $input-type (type $outer-input))
    (export "input-stream" (type $input (eq $outer-input)))
    (alias outer 1 $output-type (type $outer-output))
    (export "output-stream" (type $output (eq $outer-output)))
    (alias outer 1 $pollable-type (type $outer-pollable))
    (export "pollable" (type $pollable (eq $outer-pollable)))
    (export "[method]tcp-socket.start-connect"
      (func (param "self" (borrow $socket)) (param "network" (borrow $a-network)) (param "remote-address" $address)
        (result (result (error $code)))))
    (export "[method]tcp-socket.finish-connect"
      (func (param "self" (borrow $socket)) (result (result (tuple (own $input) (own $output)) (error $code)))))
    (export "[method]tcp-socket.subscribe" (func (param "self" (borrow $socket)) (result (own $pollable))))))
  (alias export $tcp "tcp-socket" (type $socket-type))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
    (alias outer 1 $code-type (type $outer-code))
    (export "error-code" (type $code (eq $outer-code)))
    (alias outer 1 $family-type (type $outer-family))
    (export "ip-address-family" (type $family (eq $outer-family)))
    (alias outer 1 $socket-type (type $outer-socket))
    (export "tcp-socket" (type $socket (eq $outer-socket)))
    (export "create-tcp-socket"
      (func (param "address-family" $family) (result (result (own $socket) (error $code)))))))
  (core module $data
    (memory (export "memory") 4)
    (data (i32.const 1024) "{request}")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
  (core instance $data (instantiate $data))
  (alias core export $data "memory" (core memory $memory))
  (alias core export $data "realloc" (core func $realloc))
  (core func $stdout-of (canon lower (func $stdout "get-stdout")))
  (core func $write (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))
  (core func $read
    (canon lower (func $streams "[method]input-stream.blocking-read") (memory $memory) (realloc $realloc)))
  (core func $network-of (canon lower (func $own-network "instance-network")))
  (core func $new (canon lower (func $create "create-tcp-socket") (memory $memory)))
  (core func $start (canon lower (func $tcp "[method]tcp-socket.start-connect") (memory $memory)))
  (core func $finish (canon lower (func $tcp "[method]tcp-socket.finish-connect") (memory $memory)))
  (core func $subscribe (canon lower (func $tcp "[method]tcp-socket.subscribe")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core module $main
    (import "host" "memory" (memory 4))
    (import "host" "stdout" (func $stdout (result i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "read" (func $read (param i32 i64 i32)))
    (import "host" "network" (func $network (result i32)))
    (import "host" "new" (func $new (param i32 i32)))
    (import "host" "start" (func $start
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "finish" (func $finish (param i32 i32)))
    (import "host" "subscribe" (func $subscribe (param i32) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (func $failed (param $at i32) (result i32) (i32.load8_u (local.get $at)))
    (func (export "run") (result i32)
      (local $socket i32) (local $input i32) (local $output i32)
      (call $new (i32.const 0) (i32.const 0))
      (if (call $failed (i32.const 0)) (then (return (i32.const 1))))
      (local.set $socket (i32.load (i32.const 4)))
      (call $start (local.get $socket) (call $network) (i32.const 0) (i32.const {port})
        (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 16))
      (if (call $failed (i32.const 16)) (then (return (i32.const 1))))
      (call $block (call $subscribe (local.get $socket)))
      (call $finish (local.get $socket) (i32.const 32))
      (if (call $failed (i32.const 32)) (then (return (i32.const 1))))
      (local.set $input (i32.load (i32.const 36)))
      (local.set $output (i32.load (i32.const 40)))
      (call $write (local.get $output) (i32.const 1024) (i32.const {bytes}) (i32.const 48))
      (if (call $failed (i32.const 48)) (then (return (i32.const 1))))
      (block $end
        (loop $more
          (call $read (local.get $input) (i64.const 4096) (i32.const 64))
          (br_if $end (call $failed (i32.const 64)))
          (call $write (call $stdout) (i32.load (i32.const 68)) (i32.load (i32.const 72)) (i32.const 80))
          (br_if $end (call $failed (i32.const 80)))
          (br $more)))
      (i32.const 0)))
  (core instance $main (instantiate $main (with "host" (instance
    (export "memory" (memory $memory)) (export "stdout" (func $stdout-of)) (export "write" (func $write))
    (export "read" (func $read)) (export "network" (func $network-of)) (export "new" (func $new))
    (export "start" (func $start)) (export "finish" (func $finish)) (export "subscribe" (func $subscribe))
    (export "block" (func $block))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $exported (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $exported)))"#
    )
}

/// Promise P8: a component reaches the hosts of its declaration through the proxy of its sandbox, and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_component_reaches_its_hosts_through_the_proxy_alone() {
    let dir = TestDir::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfine")
                .await;
        }
    });
    let granted =
        format!("hosts = ['127.0.0.1:{port}']\n[tools.http]\nallow = ['127.0.0.1:{port}']");
    let other = granted.replacen("127.0.0.1", "a.example", 1);
    let through =
        |host: &str| format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let core = "(module (memory (export \"memory\") 1) (func (export \"_start\")))".to_owned();
    for (module, more, is_fine, says) in [
        (asks(3128, &through("127.0.0.1")), &granted, true, "fine"),
        // The proxy lets granted hosts through alone.
        (
            asks(3128, &through("127.0.0.1")),
            &other,
            true,
            "is not granted to this tool",
        ),
        // No other place can be connected to, and none at all without `hosts`.
        (
            asks(port, &through("127.0.0.1")),
            &granted,
            false,
            "the component's `run` failed",
        ),
        (
            asks(3128, &through("127.0.0.1")),
            &String::new(),
            false,
            "the component's `run` failed",
        ),
        (core, &granted, false, "`hosts` are for components"),
    ] {
        let (code, output, error) = call(&dir, &module, more).await;
        let is_here = match is_fine {
            true => code == 0 && output.as_str().is_some_and(|text| text.contains(says)),
            false => code == 1 && error.contains(says),
        };
        assert!(is_here, "{says}: {code} {output} {error}");
    }
}

/// Declares one module with further keys, and calls it; gives the exit code, the output and standard error.
async fn call(dir: &TestDir, module: &str, more: &str) -> (i32, Value, String) {
    fs::create_dir_all(dir.data()).unwrap();
    fs::write(dir.data().join("module.wat"), module).unwrap();
    dir.configure(&format!(
        "[tools.wasm.module]\ndescription = 'x'\nmodule = 'module.wat'\nworkspace = 'none'\neffect = 'pure'\n\
         text = true\n{more}\n"
    ));
    let command = dir.cli(&["tool", "call", "module", "{}", "--json"]);
    let ran = command.run().await;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    (ran.code.unwrap_or(-1), told["output"].clone(), ran.stderr)
}

/// Compiling is a part of the call: it counts within the timeout, and nothing runs afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_compiling_counts_within_the_timeout() {
    let dir = TestDir::new();
    let adds = "i32.const 3 i32.add i32.const 5 i32.mul ".repeat(400);
    let many: String = (0..4_000)
        .map(|at| {
            format!("(func (export \"f{at}\") (param i32) (result i32) local.get 0 {adds})\n")
        })
        .collect();
    let module = format!("(module {many} (func (export \"_start\")))");
    let begun = std::time::Instant::now();
    let (code, _, error) = call(&dir, &module, "timeout = '300ms'").await;
    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains("module_not_compiled") && error.contains("nothing ran"),
        "{error}"
    );
    // Long before the 120 s that compiling may take at the most.
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// Makes the file `acted` in its first folder if it is to act, and does not end.
fn acts(is_acting: bool) -> String {
    let act = match is_acting {
        true => {
            "(drop (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 1) (i64.const 64)
               (i64.const 0) (i32.const 0) (i32.const 0)))"
        }
        false => "",
    };
    format!(
        "(module {OPEN} (memory (export \"memory\") 1) (data (i32.const 64) \"acted\")
           (func (export \"_start\") {act} (loop $l (br $l))))"
    )
}

/// Says whether the file `acted` is there.
fn looks() -> String {
    format!(
        "(module {OPEN}
           (import \"wasi_snapshot_preview1\" \"fd_write\" (func $write (param i32 i32 i32 i32) (result i32)))
           (memory (export \"memory\") 1) (data (i32.const 64) \"acted\\22done\\22\\22not_done\\22\")
           (func (export \"_start\")
             (i32.store (i32.const 16) (i32.const 69)) (i32.store (i32.const 20) (i32.const 6))
             (if (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const 5) (i32.const 0) (i64.const 2)
                   (i64.const 0) (i32.const 0) (i32.const 0))
               (then (i32.store (i32.const 16) (i32.const 75)) (i32.store (i32.const 20) (i32.const 10))))
             (drop (call $write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 8)))))"
    )
}

const OPEN: &str = r#"(import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))"#;

/// Promises P3 and P19: the probe of a module settles a call that was killed, as that of a command tool does.
#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_was_killed_is_settled_by_its_probe() {
    let dir = TestDir::new();
    let (world, other) = (dir.join("world"), dir.join("other"));
    for folder in [&world, &other] {
        fs::create_dir(folder).unwrap();
    }
    fs::create_dir_all(dir.data()).unwrap();
    for (name, text) in [
        ("acts.wat", acts(true)),
        ("idles.wat", acts(false)),
        ("looks.wat", looks()),
    ] {
        fs::write(dir.data().join(name), text).unwrap();
    }
    let tool = |name: &str, folder: &Path| {
        format!(
            "[tools.wasm.{name}]\ndescription = 'x'\nmodule = '{name}.wat'\nworkspace = 'none'\n\
             write = ['{}']\nprobe = {{ module = 'looks.wat', settle = '100ms' }}\n",
            folder.canonicalize().unwrap().display()
        )
    };
    dir.configure(&[tool("acts", &world), tool("idles", &other)].concat());
    let listed = dir.cli(&["tool", "ls"]).run().await.ends(0);
    assert!(listed.stderr.contains("acts: probe"), "{listed:#?}");
    let mut server = dir.server().await;
    let mut ids = Vec::new();
    for name in ["acts", "idles"] {
        ids.push(tasks::scripted(server.http(), &[&format!("{{ tool = \"{name}\" }}")]).await);
        let begun = async || {
            let id = ids.last().unwrap();
            let started = tasks::events(server.http(), id, "tool.called").await;
            (!started.is_empty() && (name == "idles" || world.join("acted").exists())).then_some(())
        };
        wait_until("the call", Duration::from_secs(30), begun)
            .await
            .unwrap();
    }
    server.sigkill().unwrap();
    drop(server);
    let server = dir.server().await;
    let http = server.http();
    let acted = tasks::ended(http, &ids[0]).await;
    assert_eq!(acted["status"], "completed", "{acted:#}");
    let seen = tasks::events(http, &ids[0], "tool.probed").await;
    assert_eq!(seen[0]["saw"], "done", "{seen:#?}");
    // It looks twice: a lost call could still take effect.
    let parked = async || {
        let task = tasks::in_state(http, &ids[1], &["waiting"]).await;
        (task["state_detail"]["on"] == "in_doubt").then_some(())
    };
    wait_until(
        "the task waits for a person",
        Duration::from_secs(30),
        parked,
    )
    .await
    .unwrap();
    let seen = tasks::events(http, &ids[1], "tool.probed").await;
    assert_eq!(seen[0]["saw"], "not_done", "{seen:#?}");
    assert!(!other.join("acted").exists());
}
