//! P8: a tool is contained. Each attempt first succeeds outside, in a bounded form.

use std::{
    fs,
    io::Read as _,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::host::{Host, TestDir, Tier, clear, is_root, named, read};

/// How long after its limit a program may live: P8.
const KILL: u64 = 2_000;
/// How much the host may grow: P8.
const GROWTH_KB: i64 = 64 << 10;

/// The request with these fields as well.
fn with(mut request: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

fn held(tier: Tier, host: &mut Host, request: &Value) -> Value {
    let reply = host.run(request);
    assert_ne!(
        reply["ended"], "exit 42",
        "{tier:?} escaped: {request} {reply}"
    );
    assert_ne!(reply["ended"], "exit 3", "{tier:?} {request} {reply}");
    assert!(
        reply["grown_kb"].as_i64().unwrap_or(0) < GROWTH_KB,
        "{tier:?}: the host has grown: {request} {reply}"
    );
    reply
}

/// What succeeds outside, what is tried inside, the limits there, what they end it with, and when in milliseconds.
type TooMuch<'a> = (&'a [&'a str], &'a [&'a str], Value, &'a str, u64);

/// Each use of too much ends the program within 2 s of its limit, with all its processes.
fn is_ended(tier: Tier, dir: &TestDir, rows: &[TooMuch<'_>]) {
    let mut host = dir.host(&[]);
    assert!(host.is_ready(), "{tier:?}: {}", host.hello);
    for (outside, inside, limits, ended, limit) in rows {
        assert!(
            dir.unsandboxed(outside),
            "{tier:?}: {outside:?} does nothing outside"
        );
        let work = dir.path("work");
        for entry in fs::read_dir(&work).unwrap().flatten() {
            let _ = fs::remove_file(entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
        let request = with(dir.attempt(inside), limits.clone());
        let reply = held(tier, &mut host, &request);
        assert_eq!(reply["ended"], *ended, "{tier:?}: {inside:?} {reply}");
        // Processor time does not depend on what else the machine does. Limits of memory, output and disk are
        // passed as fast as the machine can, so that their time says nothing.
        let took = match *ended {
            "passed Cpu" => reply["cpu_ms"].as_u64().unwrap(),
            "passed Wall" => reply["wall_ms"].as_u64().unwrap(),
            _ => 0,
        };
        assert!(took < limit + KILL, "{tier:?}: {inside:?} {reply}");
    }
    // The host still works.
    let reply = host.run(&dir.attempt(&["exit", "7"]));
    assert_eq!(reply["ended"], "exit 7", "{tier:?} {reply}");
}

#[test]
fn a_tool_that_takes_too_much_memory_is_ended() {
    for tier in Tier::all() {
        let limits = || json!({"memory": 256 << 20});
        let rows: &[TooMuch<'_>] = &[
            (
                &["memory", "2048"],
                &["memory", "2048"],
                limits(),
                "passed Memory",
                0,
            ),
            (
                &["memory-of-children", "8", "256"],
                &["memory-of-children", "8", "256"],
                limits(),
                "passed Memory",
                0,
            ),
            (
                &["memory-shared", "2048"],
                &["memory-shared", "2048"],
                limits(),
                "passed Memory",
                0,
            ),
            // Neither of these is in a resident set.
            (
                &["memory-sockets", "450", "0"],
                &["memory-sockets", "450", "20"],
                json!({"memory": 96 << 20}),
                "passed Memory",
                0,
            ),
            (
                &["memory-tables", "64", "0"],
                &["memory-tables", "64", "20"],
                json!({"memory": 96 << 20}),
                "passed Memory",
                0,
            ),
            // `/tmp` is full before the memory is.
            (
                &["memory-tmp", "1024"],
                &["memory-tmp", "1024"],
                limits(),
                "exit 0",
                0,
            ),
        ];
        is_ended(tier, &TestDir::new(tier), rows);
    }
}

#[test]
fn a_tool_that_takes_too_long_is_ended() {
    for tier in Tier::all() {
        // On a busy machine it takes long to have had so much processor time.
        let cpu = |limit: u64| json!({"cpu_ms": limit, "wall_ms": 300_000});
        let rows: &[TooMuch<'_>] = &[
            (
                &["spin", "5"],
                &["spin", "280"],
                cpu(1_000),
                "passed Cpu",
                1_000,
            ),
            (
                &["spin-children", "3", "5"],
                &["spin-children", "3", "280"],
                cpu(1_500),
                "passed Cpu",
                1_500,
            ),
            (
                &["spin-abandoned", "2"],
                &["spin-abandoned", "280"],
                cpu(1_000),
                "passed Cpu",
                1_000,
            ),
            (
                &["hang", "5"],
                &["hang", "60"],
                json!({"wall_ms": 1_000}),
                "passed Wall",
                1_000,
            ),
        ];
        is_ended(tier, &TestDir::new(tier), rows);
    }
}

#[test]
fn a_tool_that_writes_too_much_is_ended() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let (big, many) = (dir.text("work/big"), dir.text("work"));
        let rows: &[TooMuch<'_>] = &[
            (
                &["output", "1024"],
                &["output", "10240"],
                json!({}),
                "passed Output",
                0,
            ),
            (
                &["errors", "1024"],
                &["errors", "10240"],
                json!({}),
                "passed Output",
                0,
            ),
            (
                &["disk", &big, "1024"],
                &["disk", "/workspace/big", "1024"],
                json!({"file": 64 << 20}),
                "passed Disk",
                0,
            ),
            (
                &["disk-of-files", &many, "10"],
                &["disk-of-files", "/workspace", "1000"],
                json!({"disk": 200 << 20, "wall_ms": 30_000}),
                "passed Disk",
                0,
            ),
            (
                &["disk-of-removed", &many, "10"],
                &["disk-of-removed", "/workspace", "500"],
                json!({"disk": 200 << 20, "wall_ms": 30_000}),
                "passed Disk",
                0,
            ),
            (
                &["disk-far-down", &many, "10"],
                &["disk-far-down", "/workspace", "500"],
                json!({"disk": 200 << 20, "wall_ms": 30_000}),
                "passed Disk",
                0,
            ),
        ];
        is_ended(tier, &dir, rows);
    }
}

/// memfd and semaphores are counted where a cgroup counts, and do not exist elsewhere.
#[test]
fn memory_without_a_resident_set_is_held_as_well() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        for attempt in [["memory-file", "1024"], ["memory-semaphores", "200"]] {
            assert!(dir.unsandboxed(&attempt), "{attempt:?}");
            let request = with(dir.attempt(&attempt), json!({"memory": 128 << 20}));
            held(tier, &mut host, &request);
        }
    }
}

/// 300 processes of one name outside; inside no more than the limit, and none after the end.
#[test]
fn a_fork_bomb_fills_its_own_limit_and_leaves_nothing() {
    for (number, tier) in Tier::all().into_iter().enumerate() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let marker = format!("pf-{number}-{}", std::process::id());
        assert!(dir.unsandboxed(&["forks", "300", &marker]));
        // The last ones have no name yet.
        let all = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            named(&marker).len() == 300
        });
        assert!(all, "{tier:?}: {} of 300 are there", named(&marker).len());
        clear(&marker);
        let request = with(
            dir.attempt(&["forks", "300", &marker]),
            json!({"processes": 32, "wall_ms": 5_000}),
        );
        held(tier, &mut host, &request);
        assert_eq!(named(&marker), Vec::<i32>::new(), "{tier:?}");
        // One that never stops ends with the clock, and calls beside it are not starved: S6.
        let bomb = with(
            dir.attempt(&["fork-bomb"]),
            json!({"processes": 32, "wall_ms": 1_000, "cpu_ms": 60_000}),
        );
        let mut beside = dir.host(&[]);
        host.ask(&bomb);
        thread::sleep(Duration::from_millis(300));
        let reply = beside.run(&dir.attempt(&["forks", "20", &marker]));
        assert_eq!(reply["ended"], "exit 42", "{tier:?}: {reply}");
        let reply = host.run(&dir.attempt(&["exit", "0"]));
        assert_eq!(reply["ended"], "passed Wall", "{tier:?}: {reply}");
        assert!(
            reply["wall_ms"].as_u64().unwrap() < 1_000 + KILL,
            "{tier:?}: {reply}"
        );
    }
}

#[test]
fn a_daemon_dies_with_its_call() {
    for (number, tier) in Tier::all().into_iter().enumerate() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let marker = format!("po-{number}-{}", std::process::id());
        assert!(dir.unsandboxed(&["orphan", &marker]));
        let lives = (0..200).any(|_| {
            thread::sleep(Duration::from_millis(10));
            named(&marker).len() == 1
        });
        assert!(lives, "it lives on outside");
        clear(&marker);
        let reply = host.run(&dir.attempt(&["orphan", &marker]));
        assert_eq!(
            reply["ended"], "exit 42",
            "the attempt itself ends well: {reply}"
        );
        assert_eq!(named(&marker), Vec::<i32>::new(), "{tier:?}");
    }
}

#[test]
fn files_outside_are_neither_read_nor_written() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let (secret, target) = (dir.text("outside/secret"), dir.text("outside/target"));
        let (work, outside) = (dir.text("work"), dir.text("outside"));
        let rows: &[(&[&str], &[&str])] = &[
            (&["read", &secret, "canary"], &["read", &secret, "canary"]),
            (&["write", &target], &["write", &target]),
            (
                &["climb", &work, &target],
                &["climb", "/workspace", &target],
            ),
            (&["link", &work, &target], &["link", "/workspace", &target]),
            (
                &["hard-link", &work, &target],
                &["hard-link", "/workspace", &target],
            ),
            (
                &["link-race", &work, &outside],
                &["link-race", "/workspace", &outside],
            ),
            (&["write", &format!("{work}/x")], &["write", "/tool/x"]),
            (&["write", &format!("{work}/x")], &["write", "/usr/x"]),
            (&["write", &format!("{work}/x")], &["write", "/etc/x"]),
            (&["write", &format!("{work}/x")], &["write", "/x"]),
            (
                &["write", &format!("{work}/x")],
                &["write", "/proc/sys/kernel/core_pattern"],
            ),
        ];
        for (out, inside) in rows {
            assert!(
                dir.unsandboxed(out),
                "{tier:?}: {out:?} does nothing outside"
            );
            fs::write(&target, "untouched").unwrap();
            for name in ["work/out", "work/hard"] {
                let _ = fs::remove_file(dir.path(name));
            }
            held(tier, &mut host, &dir.attempt(inside));
            assert_eq!(
                read(&dir.path("outside/target")),
                "untouched",
                "{tier:?}: {inside:?}"
            );
        }
        // What is granted works.
        let reply = host.run(&dir.attempt(&["write", "/workspace/made"]));
        assert_eq!(reply["ended"], "exit 42", "{tier:?}: {reply}");
        assert_eq!(read(&dir.path("work/made")), "escaped");
    }
}

/// A folder that a tool may write holds another granted one: a link in its place is not followed, and the call refused.
#[test]
fn a_granted_folder_that_became_a_link_is_refused() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let inner = dir.path("work/inner");
        fs::create_dir(&inner).unwrap();
        let request = with(
            dir.attempt(&["read", "/inner/secret", "canary"]),
            json!({"grants": [
                {"source": dir.text("tool"), "target": "/tool"},
                {"source": inner.display().to_string(), "target": "/inner"},
            ]}),
        );
        let reply = host.run(&request);
        assert_eq!(reply["ended"], "exit 0", "{reply}");
        fs::remove_dir(&inner).unwrap();
        std::os::unix::fs::symlink(dir.path("outside"), &inner).unwrap();
        assert!(dir.unsandboxed(&["read", &format!("{}/secret", inner.display()), "canary"]));
        let reply = host.run(&request);
        assert_eq!(reply["ended"], "not started", "{tier:?}: {reply}");
        assert!(
            reply["error"]
                .as_str()
                .unwrap()
                .contains("mounting a granted folder"),
            "{reply}"
        );
    }
}

#[test]
fn other_processes_are_not_seen_and_not_reached() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let mut victim = victim(tier);
        let pid = victim.id().to_string();
        let rows: &[(&[&str], bool)] = &[
            (&["environment", "canary of the environment"], true),
            (&["peek", &pid], true),
            (&["root-of", &pid, "/etc/passwd"], true),
            (&["trace", &pid], true),
            (&["kill", &pid], true),
        ];
        for (attempt, _) in rows {
            assert!(
                dir.unsandboxed(attempt),
                "{tier:?}: {attempt:?} does nothing outside"
            );
        }
        let _ = victim.wait();
        let mut victim = self::victim(tier);
        let pid = victim.id().to_string();
        for attempt in [
            &["environment", "canary of the environment"][..],
            &["peek", &pid],
            &["root-of", &pid, "/etc/passwd"],
            &["trace", &pid],
            &["kill", &pid],
            // S12: everything of the same user, and whoever made it.
            &["kill-all"],
            &["root-of", "1", "/old"],
            &["root-of", "1", "/etc/shadow"],
        ] {
            held(tier, &mut host, &dir.attempt(attempt));
            assert!(
                victim.try_wait().unwrap().is_none(),
                "{tier:?}: {attempt:?}"
            );
            let reply = host.run(&dir.attempt(&["exit", "5"]));
            assert_eq!(
                reply["ended"], "exit 5",
                "{tier:?}: the host after {attempt:?}: {reply}"
            );
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
}

/// A process of the host's user.
fn victim(tier: Tier) -> std::process::Child {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new("sleep");
    command
        .arg("60")
        .env("VICTIM", "the canary of the environment");
    if tier == Tier::Nobody {
        command.uid(65_534).gid(65_534);
    }
    command.stdin(Stdio::null()).spawn().unwrap()
}

/// S3 and P8: sockets of every kind.
#[test]
fn no_socket_reaches_anything() {
    for (number, tier) in Tier::all().into_iter().enumerate() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let udp_at = udp.local_addr().unwrap().to_string();
        let path = dir.path("work/socket");
        let _unix = UnixListener::bind(&path).unwrap();
        dir.own("work/socket");
        let name = format!("probe-{number}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _abstract = UnixListener::bind_addr(&address).unwrap();
        let path = path.display().to_string();
        let datagrams = dir.path("work/datagrams");
        let from_pairs = UnixDatagram::bind(&datagrams).unwrap();
        from_pairs.set_nonblocking(true).unwrap();
        fs::set_permissions(&datagrams, fs::Permissions::from_mode(0o777)).unwrap();
        let datagrams = datagrams.display().to_string();
        let rows: &[(&[&str], &[&str])] = &[
            (&["udp", &udp_at], &["udp", &udp_at]),
            (
                &["datagram", &datagrams],
                &["datagram", "/workspace/datagrams"],
            ),
            (&["unix", &path], &["unix", "/workspace/socket"]),
            (&["abstract", &name], &["abstract", &name]),
            (&["socket", "1", "1", "0"], &["socket", "1", "1", "0"]),
            (&["socket", "40", "1", "0"], &["socket", "40", "1", "0"]),
            (&["socket", "38", "5", "0"], &["socket", "38", "5", "0"]),
            (&["socket", "16", "3", "15"], &["socket", "16", "3", "15"]),
            (&["listen"], &["listen"]),
        ];
        for (outside, inside) in rows {
            // Not every kernel has every family: then there is nothing to get out by.
            let is_family = outside[0] == "socket" && outside[1] != "1" && outside[1] != "16";
            assert!(
                is_family || dir.unsandboxed(outside),
                "{tier:?}: {outside:?}"
            );
            let mut buffer = [0; 16];
            let _ = udp.recv(&mut buffer);
            let _ = from_pairs.recv(&mut buffer);
            held(tier, &mut host, &dir.attempt(inside));
            assert!(
                udp.recv(&mut buffer).is_err() && from_pairs.recv(&mut buffer).is_err(),
                "{tier:?}: a datagram came out"
            );
        }
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = open.local_addr().unwrap().to_string();
        assert!(dir.unsandboxed(&["tcp", &at]));
        held(tier, &mut host, &dir.attempt(&["tcp", &at]));
    }
}

/// The metadata address of clouds, on a pair of virtual cards between two network namespaces of the test.
#[test]
fn the_metadata_address_is_not_reached() {
    if !is_root() {
        return;
    }
    let Some(world) = World::new() else {
        panic!("the test needs `ip` of iproute2 and veth to make network namespaces");
    };
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let probe = dir.text("tool/probe");
        let attempt = ["tcp", "169.254.169.254:80"];
        let mut outside = world.command(&probe);
        outside.arg("attempt").args(attempt);
        assert_eq!(
            outside.status().unwrap().code(),
            Some(42),
            "it is reached outside"
        );
        let request = dir.attempt(&attempt).to_string();
        let mut command = world.command("setpriv");
        if tier == Tier::Nobody {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.args([&probe, "host"]);
        if tier == Tier::RootWithoutCgroups {
            command.arg("without-cgroups");
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        use std::io::Write as _;
        writeln!(child.stdin.take().unwrap(), "{request}").unwrap();
        let mut reply = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut reply)
            .unwrap();
        child.wait().unwrap();
        assert!(reply.contains("\"report\""), "{tier:?}: {reply}");
        assert!(reply.contains("\"exit 0\""), "{tier:?}: {reply}");
    }
}

/// Two network namespaces; the second one has the metadata address and a listener.
struct World {
    names: [String; 2],
    listener: std::process::Child,
}

impl World {
    fn new() -> Option<Self> {
        let id = std::process::id();
        let names = [format!("probe-a-{id}"), format!("probe-b-{id}")];
        let [here, there] = &names;
        let ip = |words: &str| {
            let status = Command::new("ip")
                .args(words.split(' '))
                .stderr(Stdio::null())
                .status();
            status.is_ok_and(|status| status.success())
        };
        let made = ip(&format!("netns add {here}"))
            && ip(&format!("netns add {there}"))
            && ip(&format!(
                "-n {here} link add inner type veth peer name outer netns {there}"
            ))
            && ip(&format!("-n {here} addr add 169.254.0.1/16 dev inner"))
            && ip(&format!("-n {here} link set inner up"))
            && ip(&format!("-n {there} addr add 169.254.169.254/16 dev outer"))
            && ip(&format!("-n {there} link set outer up"))
            && ip(&format!("-n {here} link set lo up"));
        if !made {
            for name in &names {
                ip(&format!("netns del {name}"));
            }
            return None;
        }
        let serve =
            "import socket\ns=socket.create_server(('169.254.169.254',80))\nwhile True: s.accept()";
        let listener = Command::new("ip")
            .args(["netns", "exec", there, "python3", "-c", serve])
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        let world = Self { names, listener };
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let mut look = world.command("python3");
            look.args([
                "-c",
                "import socket;socket.create_connection(('169.254.169.254',80),1)",
            ]);
            if look
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
            {
                return Some(world);
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("the metadata address never answered");
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[0], program]);
        command
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.listener.kill();
        let _ = self.listener.wait();
        for name in &self.names {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// S4: the kernel's other doors.
#[test]
fn calls_that_reach_beyond_the_sandbox_are_refused() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let mut done_outside = 0;
        let numbers = [
            (
                "io_uring_setup",
                libc_number::IO_URING_SETUP,
                [8, 0, 0, 0, 0],
            ),
            ("keyctl", libc_number::KEYCTL, [0, -3, 1, 0, 0]),
            (
                "unshare user",
                libc_number::UNSHARE,
                [0x1000_0000, 0, 0, 0, 0],
            ),
            ("userfaultfd", libc_number::USERFAULTFD, [1, 0, 0, 0, 0]),
            (
                "perf_event_open",
                libc_number::PERF_EVENT_OPEN,
                [0, 0, -1, -1, 0],
            ),
            ("bpf", libc_number::BPF, [0, 0, 0, 0, 0]),
            ("mount", libc_number::MOUNT, [0, 0, 0, 0, 0]),
            ("chroot", libc_number::CHROOT, [0, 0, 0, 0, 0]),
            (
                "open_by_handle_at",
                libc_number::OPEN_BY_HANDLE_AT,
                [0, 0, 0, 0, 0],
            ),
            ("clone3", libc_number::CLONE3, [0, 0, 0, 0, 0]),
            ("setns", libc_number::SETNS, [0, 0, 0, 0, 0]),
        ];
        for (_, number, arguments) in numbers {
            let mut words = vec!["call".to_owned(), number.to_string()];
            words.extend(arguments.iter().map(ToString::to_string));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            done_outside += usize::from(dir.unsandboxed(&words));
            held(tier, &mut host, &dir.attempt(&words));
        }
        // A kernel need not have all of them, nor let every user make them.
        assert!(
            done_outside >= 5,
            "{tier:?}: only {done_outside} are made outside"
        );
        if cfg!(target_arch = "x86_64") {
            // A kernel may lack the old table, or have x32 turned off; then nobody gets out by it.
            held(tier, &mut host, &dir.attempt(&["old-entry"]));
            held(tier, &mut host, &dir.attempt(&["other-table"]));
        }
    }
}

/// Numbers of x86-64; the calls have the same numbers elsewhere from 424 on.
mod libc_number {
    #[cfg(target_arch = "aarch64")]
    pub(super) use self::aarch64::*;
    #[cfg(target_arch = "x86_64")]
    pub(super) use self::x86_64::*;

    #[cfg(target_arch = "x86_64")]
    mod x86_64 {
        pub(in super::super) const IO_URING_SETUP: i64 = 425;
        pub(in super::super) const KEYCTL: i64 = 250;
        pub(in super::super) const UNSHARE: i64 = 272;
        pub(in super::super) const USERFAULTFD: i64 = 323;
        pub(in super::super) const PERF_EVENT_OPEN: i64 = 298;
        pub(in super::super) const BPF: i64 = 321;
        pub(in super::super) const MOUNT: i64 = 165;
        pub(in super::super) const CHROOT: i64 = 161;
        pub(in super::super) const OPEN_BY_HANDLE_AT: i64 = 304;
        pub(in super::super) const CLONE3: i64 = 435;
        pub(in super::super) const SETNS: i64 = 308;
    }

    #[cfg(target_arch = "aarch64")]
    mod aarch64 {
        pub(in super::super) const IO_URING_SETUP: i64 = 425;
        pub(in super::super) const KEYCTL: i64 = 219;
        pub(in super::super) const UNSHARE: i64 = 97;
        pub(in super::super) const USERFAULTFD: i64 = 282;
        pub(in super::super) const PERF_EVENT_OPEN: i64 = 241;
        pub(in super::super) const BPF: i64 = 280;
        pub(in super::super) const MOUNT: i64 = 40;
        pub(in super::super) const CHROOT: i64 = 51;
        pub(in super::super) const OPEN_BY_HANDLE_AT: i64 = 265;
        pub(in super::super) const CLONE3: i64 = 435;
        pub(in super::super) const SETNS: i64 = 268;
    }
}
