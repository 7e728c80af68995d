//! What a hostile program tries.

use std::{
    ffi::CString,
    fs,
    io::{self, Read as _, Write as _},
    net::{TcpStream, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram, UnixStream},
    },
    path::Path,
    process::{Command, exit},
    thread::sleep,
    time::{Duration, Instant},
};

use super::raw;

const SUCCEEDED: i32 = 42;
const MIB: usize = 1 << 20;

/// Ends with [`SUCCEEDED`] if the attempt succeeded.
pub(super) fn run(name: &str, rest: &[&str]) -> ! {
    let result = attempt(name, rest);
    match result {
        Ok(true) => exit(SUCCEEDED),
        Ok(false) => exit(0),
        Err(error) => {
            eprintln!("{name}: {error}");
            exit(0)
        }
    }
}

fn argument<'a>(rest: &[&'a str], at: usize) -> &'a str {
    rest.get(at).copied().unwrap_or_default()
}

fn number(rest: &[&str], at: usize) -> usize {
    argument(rest, at).parse().unwrap_or(0)
}

#[expect(
    clippy::too_many_lines,
    reason = "a table of attempts, one a line or a few"
)]
fn attempt(name: &str, rest: &[&str]) -> io::Result<bool> {
    let done = |result: io::Result<i64>| result.map(|_| true);
    match name {
        // Plain programs.
        "exit" => exit(number(rest, 0) as i32),
        "sleep" => {
            sleep(Duration::from_secs(number(rest, 0) as u64));
            Ok(true)
        }
        "echo" => {
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input)?;
            io::stdout().write_all(&input)?;
            exit(0)
        }
        "variables" => {
            let mut all: Vec<String> = std::env::vars().map(|(k, v)| format!("{k}={v}")).collect();
            all.sort();
            print_all(&all);
            exit(0)
        }
        "look" => {
            print_all(&[
                format!("descriptors {}", fs::read_dir("/proc/self/fd")?.count()),
                format!("status {}", fs::read_to_string("/proc/self/status")?),
                format!("mounts {}", fs::read_to_string("/proc/self/mountinfo")?),
            ]);
            exit(0)
        }
        // Too much of something.
        "forks" => {
            let (count, marker) = (number(rest, 0), argument(rest, 1));
            for _ in 0..count {
                if raw::fork()? {
                    idle(marker);
                }
            }
            Ok(true)
        }
        "fork-bomb" => loop {
            // Never stops by itself; bounded by its limits alone.
            let _ = raw::fork();
        },
        "memory" => {
            let mut blocks = Vec::new();
            for _ in 0..number(rest, 0) {
                blocks.push(vec![1_u8; MIB]);
            }
            Ok(blocks.iter().all(|block| block[MIB / 2] == 1))
        }
        "memory-of-children" => {
            let (children, size) = (number(rest, 0), number(rest, 1));
            for _ in 0..children {
                if raw::fork()? {
                    let block = vec![1_u8; size * MIB];
                    sleep(Duration::from_secs(5));
                    exit(i32::from(block[0]));
                }
            }
            sleep(Duration::from_secs(5));
            Ok(true)
        }
        "memory-shared" => Ok(raw::shared(number(rest, 0) * MIB)),
        "memory-file" => {
            let name = CString::new("x")?;
            let fd = raw::call(
                libc::SYS_memfd_create,
                [raw::address(name.as_c_str()), 0, 0, 0, 0],
            )?;
            let mut file = fs::File::options()
                .write(true)
                .open(format!("/proc/self/fd/{fd}"))?;
            for _ in 0..number(rest, 0) {
                file.write_all(&vec![1; MIB])?;
            }
            Ok(true)
        }
        // Held for some seconds, so that whoever looks sees them.
        "memory-sockets" => {
            let kept = raw::fill_sockets(number(rest, 0))?;
            sleep(Duration::from_secs(number(rest, 1) as u64));
            Ok(!kept.is_empty())
        }
        "memory-tables" => {
            let is_read = raw::read_far_apart(number(rest, 0));
            sleep(Duration::from_secs(number(rest, 1) as u64));
            Ok(is_read)
        }
        "memory-semaphores" => {
            for _ in 0..number(rest, 0) {
                raw::call(libc::SYS_semget, [0, 32_000, 0o600, 0, 0])?;
            }
            Ok(true)
        }
        "memory-tmp" => {
            let path = format!("/dev/shm/probe-{}", std::process::id());
            let written = write(Path::new(&path), number(rest, 0));
            let _ = fs::remove_file(path);
            written.map(|()| true)
        }
        "spin" => {
            raw::ignore_ends();
            let end = Instant::now() + Duration::from_secs(number(rest, 0) as u64);
            while Instant::now() < end {}
            Ok(true)
        }
        // The kernel adds the time of these children to nobody's.
        "spin-abandoned" => {
            raw::ignore_children();
            let end = Instant::now() + Duration::from_secs(number(rest, 0) as u64);
            while Instant::now() < end {
                for _ in 0..3 {
                    if raw::fork()? {
                        while raw::own_time() < Duration::from_millis(150) {}
                        exit(0);
                    }
                }
                sleep(Duration::from_millis(300));
            }
            Ok(true)
        }
        "spin-children" => {
            raw::ignore_ends();
            let end = Instant::now() + Duration::from_secs(number(rest, 1) as u64);
            for _ in 0..number(rest, 0) {
                if raw::fork()? {
                    while Instant::now() < end {}
                    exit(0);
                }
            }
            while Instant::now() < end {
                sleep(Duration::from_millis(10));
            }
            Ok(true)
        }
        "hang" => {
            raw::ignore_ends();
            sleep(Duration::from_secs(number(rest, 0) as u64));
            Ok(true)
        }
        "output" | "errors" => {
            let block = vec![b'x'; MIB];
            for _ in 0..number(rest, 0) {
                match name {
                    "output" => io::stdout().write_all(&block)?,
                    _ => io::stderr().write_all(&block)?,
                }
            }
            Ok(true)
        }
        "disk" => write(Path::new(argument(rest, 0)), number(rest, 1)).map(|()| true),
        // Files without a name keep their room while they are open.
        "disk-of-removed" => {
            let path = Path::new(argument(rest, 0)).join("removed");
            let mut kept = Vec::new();
            for _ in 0..number(rest, 1) {
                let mut file = fs::File::create(&path)?;
                fs::remove_file(&path)?;
                file.write_all(&vec![1; 10 * MIB])?;
                kept.push(file);
                sleep(Duration::from_millis(5));
            }
            Ok(true)
        }
        // Folders within folders, until no path names the last.
        "disk-far-down" => {
            std::env::set_current_dir(argument(rest, 0))?;
            let name = "d".repeat(250);
            for _ in 0..20 {
                fs::create_dir(&name)?;
                std::env::set_current_dir(&name)?;
            }
            for index in 0..number(rest, 1) {
                write(Path::new(&index.to_string()), 10)?;
                sleep(Duration::from_millis(5));
            }
            Ok(true)
        }
        "disk-of-files" => {
            for index in 0..number(rest, 1) {
                write(&Path::new(argument(rest, 0)).join(index.to_string()), 10)?;
                sleep(Duration::from_millis(5));
            }
            Ok(true)
        }
        // Outliving the call.
        "orphan" => {
            let marker = argument(rest, 0);
            if raw::fork()? {
                raw::session();
                if raw::fork()? {
                    raw::ignore_ends();
                    idle(marker);
                }
                exit(0);
            }
            sleep(Duration::from_millis(100));
            Ok(true)
        }
        "holds-pipe" => {
            if raw::fork()? {
                idle(argument(rest, 0));
            }
            print_all(&["done".to_owned()]);
            exit(0)
        }
        // Files outside.
        "read" => {
            let text = fs::read_to_string(argument(rest, 0))?;
            Ok(text.contains(argument(rest, 1)))
        }
        "write" => fs::write(argument(rest, 0), "escaped").map(|()| true),
        "climb" => {
            let path = format!(
                "{}/../../../../../../../..{}",
                argument(rest, 0),
                argument(rest, 1)
            );
            fs::write(path, "escaped").map(|()| true)
        }
        "link" => {
            let link = Path::new(argument(rest, 0)).join("out");
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(argument(rest, 1), &link)?;
            fs::write(link, "escaped").map(|()| true)
        }
        "hard-link" => {
            let link = Path::new(argument(rest, 0)).join("hard");
            let _ = fs::remove_file(&link);
            fs::hard_link(argument(rest, 1), &link)?;
            fs::write(link, "escaped").map(|()| true)
        }
        "link-race" => link_race(argument(rest, 0), argument(rest, 1)),
        "git" => {
            let folder = Path::new(argument(rest, 0));
            let mut written = Vec::new();
            for path in [
                ".git/config",
                ".git/hooks/pre-commit",
                ".git/config.worktree",
            ] {
                if fs::write(folder.join(path), "escaped").is_ok() {
                    written.push(path);
                }
            }
            if fs::rename(folder.join(".git"), folder.join("moved")).is_ok() {
                written.push("moved");
            }
            print_all(&[format!("{written:?}")]);
            Ok(!written.is_empty())
        }
        // Other processes.
        "environment" => {
            for entry in fs::read_dir("/proc")?.flatten() {
                let text = fs::read(entry.path().join("environ")).unwrap_or_default();
                let wanted = argument(rest, 0).as_bytes();
                if !wanted.is_empty() && text.windows(wanted.len()).any(|part| part == wanted) {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        "kill" => done(raw::call(
            libc::SYS_kill,
            [number(rest, 0) as i64, 9, 0, 0, 0],
        )),
        "kill-all" => {
            // Only where nothing of others is seen: the test looks at the victims.
            let _ = raw::call(libc::SYS_kill, [-1, libc::SIGKILL.into(), 0, 0, 0]);
            let parent = i64::from(std::os::unix::process::parent_id());
            let _ = raw::call(libc::SYS_kill, [parent, libc::SIGSTOP.into(), 0, 0, 0]);
            Ok(false)
        }
        "trace" => {
            let attach = 0x4206;
            done(raw::call(
                libc::SYS_ptrace,
                [attach, number(rest, 0) as i64, 0, 0, 0],
            ))
        }
        "peek" => Ok(fs::File::open(format!("/proc/{}/mem", argument(rest, 0))).is_ok()),
        "root-of" => {
            let path = format!("/proc/{}/root{}", argument(rest, 0), argument(rest, 1));
            fs::read(path).map(|_| true)
        }
        "kernel-setting" => {
            let path = "/proc/sys/kernel/core_pattern";
            let now = fs::read(path)?;
            fs::write(path, now).map(|()| true)
        }
        // Sockets.
        "tcp" => TcpStream::connect_timeout(
            &argument(rest, 0).parse().map_err(io::Error::other)?,
            Duration::from_secs(2),
        )
        .map(|_| true),
        "udp" => {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.send_to(b"escaped", argument(rest, 0)).map(|_| true)
        }
        "unix" => UnixStream::connect(argument(rest, 0)).map(|_| true),
        // One of a pair of datagram sockets, which sends to whom it likes.
        "datagram" => {
            let (pair, _other) = UnixDatagram::pair()?;
            pair.send_to(b"escaped", argument(rest, 0)).map(|_| true)
        }
        "abstract" => {
            let address = SocketAddr::from_abstract_name(argument(rest, 0))?;
            UnixStream::connect_addr(&address).map(|_| true)
        }
        "socket" => {
            let (family, kind, protocol) = (number(rest, 0), number(rest, 1), number(rest, 2));
            done(raw::call(
                libc::SYS_socket,
                [family as i64, kind as i64, protocol as i64, 0, 0],
            ))
        }
        "listen" => {
            // Loopback of a namespace that calls share would join them.
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(1))
                .map(|_| true)
        }
        "get" => get(argument(rest, 0)),
        // The kernel.
        "old-entry" => old_entry(),
        "other-table" => {
            // getpid of the x32 table.
            let known = raw::call(0x4000_0000 + libc::SYS_getpid, [0; 5]);
            known.map(|pid| pid == i64::from(std::process::id()))
        }
        "call" => {
            let arguments = [1, 2, 3, 4, 5].map(|at| number(rest, at) as i64);
            let result = raw::call(number(rest, 0) as i64, arguments);
            // Refused for its arguments: the call itself was let through.
            let code = result.as_ref().err().and_then(io::Error::raw_os_error);
            let held = [libc::EPERM, libc::ENOSYS, libc::EACCES];
            Ok(!code.is_some_and(|code| held.contains(&code)))
        }
        "descriptor" => {
            let names = fs::read_dir("/proc/self/fd")?.flatten();
            let wanted = Path::new(argument(rest, 0));
            Ok(names
                .filter_map(|entry| fs::read_link(entry.path()).ok())
                .any(|path| path == wanted))
        }
        "set-user-id" => {
            let told = Command::new(argument(rest, 0)).output()?;
            Ok(told.status.success() && String::from_utf8_lossy(&told.stdout).trim() == "0")
        }
        other => {
            eprintln!("no attempt {other}");
            exit(3)
        }
    }
}

fn print_all(lines: &[String]) {
    let mut out = io::stdout().lock();
    for line in lines {
        let _ = writeln!(out, "{line}");
    }
    let _ = out.flush();
}

/// Sleeps under a name that a test finds.
fn idle(marker: &str) -> ! {
    // `comm` has 15 bytes.
    raw::set_name(marker);
    let end = Instant::now() + Duration::from_secs(20);
    while Instant::now() < end {
        sleep(Duration::from_secs(1));
    }
    exit(0)
}

fn write(path: &Path, mebibytes: usize) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    let block = vec![1; MIB];
    for _ in 0..mebibytes {
        file.write_all(&block)?;
    }
    Ok(())
}

/// Swaps a folder for a link while writing through it.
fn link_race(folder: &str, outside: &str) -> io::Result<bool> {
    let folder = Path::new(folder);
    let (inside, name) = (folder.join("race"), "target");
    let outside = Path::new(outside);
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end {
        let _ = fs::remove_dir_all(&inside);
        let _ = fs::remove_file(&inside);
        let _ = fs::create_dir(&inside);
        let _ = fs::write(inside.join(name), "inside");
        let _ = fs::remove_dir_all(&inside);
        let _ = std::os::unix::fs::symlink(outside, &inside);
        let _ = fs::write(inside.join(name), "escaped");
        if fs::read_to_string(outside.join(name)).is_ok_and(|text| text == "escaped") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One request through the proxy of the environment; true for an answer of 200.
fn get(url: &str) -> io::Result<bool> {
    let proxy = std::env::var("HTTP_PROXY").unwrap_or_default();
    let proxy = proxy.trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(proxy)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let host = url
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    write!(stream, "GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    print_all(std::slice::from_ref(&text));
    Ok(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.0 200"))
}

#[cfg(target_arch = "x86_64")]
fn old_entry() -> io::Result<bool> {
    Ok(raw::old_entry() == i64::from(std::process::id()))
}

#[cfg(not(target_arch = "x86_64"))]
fn old_entry() -> io::Result<bool> {
    Ok(false)
}
