//! Traps that others fell into: `ahead-tools/S1` to `S7`, and `S12`.

use std::{fs, thread, time::Duration};

use serde_json::json;

use crate::host::{TestDir, Tier, clear, named};

/// A shell that ignores what asks it to end, and children that hold its pipes.
#[test]
fn s1_a_call_ends_with_its_main_process() {
    for (number, tier) in Tier::all().into_iter().enumerate() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let marker = format!("ps-{number}-{}", std::process::id());
        let reply = host.run(&dir.attempt(&["holds-pipe", &marker]));
        assert_eq!(reply["ended"], "exit 0", "{reply}");
        assert_eq!(reply["output"], "done\n", "{tier:?}: {reply}");
        assert!(reply["wall_ms"].as_u64().unwrap() < 2_000, "{reply}");
        assert_eq!(named(&marker), Vec::<i32>::new(), "{tier:?}");
        for script in [
            "sleep 600 & echo done",
            "setsid sleep 600 & echo done",
            "(setsid sh -c 'trap \"\" TERM HUP; sleep 600 & sleep 600' &) ; echo done",
            "trap '' TERM HUP INT; echo done",
            "cat; echo done",
            "read line </dev/tty; echo done",
        ] {
            let reply =
                host.run(&json!({"arguments": ["/bin/sh", "-c", script], "wall_ms": 8_000}));
            assert_eq!(reply["ended"], "exit 0", "{tier:?} {script}: {reply}");
            assert_eq!(reply["output"], "done\n", "{tier:?} {script}: {reply}");
        }
    }
}

/// Whoever gives up a call, or dies, leaves nothing.
#[test]
fn s1_a_call_dies_with_its_host_and_with_its_future() {
    for (number, tier) in Tier::all().into_iter().enumerate() {
        let dir = TestDir::new(tier);
        let marker = format!("pd-{number}-{}", std::process::id());
        let request = || {
            let mut request = dir.attempt(&["orphan", &marker]);
            request["arguments"] = json!([
                "/bin/sh",
                "-c",
                format!("/tool/probe attempt orphan {marker}; sleep 600")
            ]);
            request
        };
        let gone = |what: &str| {
            for _ in 0..100 {
                if named(&marker).is_empty() {
                    return;
                }
                thread::sleep(Duration::from_millis(20));
            }
            let left = named(&marker);
            clear(&marker);
            panic!("{tier:?}: {what} left {left:?}");
        };
        // Its future is dropped.
        let mut host = dir.host(&[]);
        let mut dropped = request();
        dropped["drop_after_ms"] = 700.into();
        host.ask(&dropped);
        thread::sleep(Duration::from_millis(500));
        assert_eq!(named(&marker).len(), 1, "{tier:?}: it runs");
        let reply = host.run(&dir.attempt(&["exit", "4"]));
        assert_eq!(reply["ended"], "dropped", "{reply}");
        gone("a dropped call");
        let reply = host.run(&dir.attempt(&["exit", "5"]));
        assert!(
            ["exit 4", "exit 5"].contains(&reply["ended"].as_str().unwrap()),
            "{reply}"
        );
        drop(host);
        // Its host is killed.
        let mut host = dir.host(&[]);
        host.ask(&request());
        thread::sleep(Duration::from_millis(500));
        assert_eq!(named(&marker).len(), 1, "{tier:?}: it runs");
        host.child.kill().unwrap();
        gone("a killed host");
        drop(host);
        // Its helper is killed: the call is lost, and the next one has a new helper.
        let mut host = dir.host(&[]);
        host.ask(&request());
        thread::sleep(Duration::from_millis(500));
        assert_eq!(named(&marker).len(), 1, "{tier:?}: it runs");
        let helper = host.hello["helper"].as_i64().unwrap();
        let killed = std::process::Command::new("kill")
            .args(["-9", &helper.to_string()])
            .status();
        assert!(killed.unwrap().success());
        gone("a killed helper");
        let reply = host.run(&dir.attempt(&["exit", "5"]));
        assert_eq!(reply["ended"], "lost", "{reply}");
        let reply = host.run(&json!({"arguments": ["/bin/true"]}));
        assert!(
            ["exit 0", "exit 5"].contains(&reply["ended"].as_str().unwrap()),
            "{reply}"
        );
    }
}

/// Only standard input, output and error are inherited.
#[test]
fn s4_no_descriptor_is_inherited() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let reply = host.run(&dir.attempt(&["look"]));
        let output = reply["output"].as_str().unwrap();
        // The three, and the folder that is looked at.
        assert!(output.starts_with("descriptors 4\n"), "{tier:?}: {output}");
        for line in [
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapBnd:\t0000000000000000",
        ] {
            let is_there = output.contains(line);
            assert!(is_there, "{tier:?} lacks {line}: {output}");
        }
        let uid = output
            .lines()
            .find(|line| line.starts_with("Uid:"))
            .unwrap();
        assert!(!uid.contains("\t0"), "{tier:?}: {uid}");
        assert!(
            !output.contains("/old"),
            "{tier:?} sees the host's files: {output}"
        );
    }
}

/// What is written inside must not run outside.
#[test]
fn s5_a_repository_cannot_be_written_unless_it_is_granted_itself() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        for folder in ["work/.git", "work/.git/hooks", "work/.git/objects"] {
            fs::create_dir(dir.path(folder)).unwrap();
            dir.own(folder);
        }
        fs::write(dir.path("work/.git/config"), "mine").unwrap();
        dir.own("work/.git/config");
        let reply = host.run(&dir.attempt(&["git", "/workspace"]));
        assert_eq!(reply["output"], "[]\n", "{tier:?}: {reply}");
        for name in ["commondir", "objects/x", "info/attributes"] {
            let path = format!("/workspace/.git/{name}");
            let reply = host.run(&dir.attempt(&["write", &path]));
            assert_eq!(reply["ended"], "exit 0", "{tier:?} {name}: {reply}");
        }
        assert_eq!(
            fs::read_to_string(dir.path("work/.git/config")).unwrap(),
            "mine"
        );
        let mut request = dir.attempt(&["write", "/repository/objects/x"]);
        let git = dir.text("work/.git");
        request["grants"][1] = json!({"source": git, "target": "/repository", "writable": true});
        let reply = host.run(&request);
        assert_eq!(reply["ended"], "exit 42", "{tier:?}: {reply}");
        assert!(
            dir.unsandboxed(&["git", &dir.text("work")]),
            "it is written outside"
        );
    }
}

/// A program that reserves much address space and uses little of it runs.
#[test]
fn s7_reserved_memory_is_not_used_memory() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let node = "/usr/bin/node";
        if !std::path::Path::new(node).exists() {
            ops_testkit::skip("needs node");
            return;
        }
        let script = "fetch('http://127.0.0.1:1').catch(()=>{console.log('well')})";
        let reply = host.run(&json!({"arguments": [node, "-e", script], "memory": 512 << 20}));
        assert_eq!(reply["output"], "well\n", "{tier:?}: {reply}");
        assert_eq!(reply["ended"], "exit 0", "{tier:?}: {reply}");
    }
}
