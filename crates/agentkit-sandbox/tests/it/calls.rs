//! What calls are given, and what they give back.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
};

use serde_json::json;

use crate::host::{TestDir, Tier};

#[test]
fn input_output_variables_and_codes_are_handed_through() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        assert!(host.is_ready(), "{tier:?}: {}", host.hello);
        let text = "input ".repeat(50_000);
        let mut request = dir.attempt(&["echo"]);
        request["input"] = text.clone().into();
        let reply = host.run(&request);
        assert_eq!(
            reply["output_bytes"],
            text.len(),
            "{tier:?}: {}",
            reply["error"]
        );
        let mut request = dir.attempt(&["variables"]);
        request["variables"] = json!(["OWN=value with = and\nline"]);
        let reply = host.run(&request);
        let output = reply["output"].as_str().unwrap();
        assert!(output.contains("OWN=value with = and\nline"), "{output}");
        assert!(output.contains("HOME=/tmp\n"), "{output}");
        assert!(!output.contains("HOST_SECRET"), "{output}");
        let reply = host.run(&json!({"arguments": ["sh", "-c", "echo no >&2; exit 3"]}));
        assert_eq!(
            (&reply["ended"], &reply["error"]),
            (&"exit 3".into(), &"no\n".into())
        );
        let reply = host.run(&json!({"arguments": ["sh", "-c", "kill -SEGV $$"]}));
        assert_eq!(reply["ended"], "signal 11", "{reply}");
        // A program that does not read its input is no failure.
        let reply = host.run(&json!({"arguments": ["true"], "input": text}));
        assert_eq!(reply["ended"], "exit 0", "{reply}");
        // Where it starts, who it is, and that names resolve.
        let reply = host
            .run(&json!({"arguments": ["sh", "-c", "pwd; id -un; hostname"], "folder": "/usr"}));
        assert!(
            reply["output"].as_str().unwrap().starts_with("/usr\n"),
            "{reply}"
        );
    }
}

#[test]
fn what_cannot_be_started_says_why() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let absent = format!("{}/absent", dir.text("work"));
        for (request, says) in [
            (
                json!({"arguments": ["/no/program"]}),
                "/no/program: No such file",
            ),
            (
                json!({"arguments": ["no-program"]}),
                "no-program: No such file",
            ),
            (
                json!({"arguments": ["/etc/passwd"]}),
                "/etc/passwd: Permission denied",
            ),
            (
                json!({"arguments": ["true"], "folder": "/no/folder"}),
                "cannot enter /no/folder",
            ),
            (
                json!({"arguments": ["true"], "grants": [{"source": absent, "target": "/x"}]}),
                "mounting a granted folder failed",
            ),
        ] {
            let reply = host.run(&request);
            assert_eq!(reply["ended"], "not started", "{tier:?}: {reply}");
            assert!(
                reply["error"].as_str().unwrap().contains(says),
                "{tier:?}: {reply}"
            );
        }
        let reply = host.run(&json!({"arguments": []}));
        assert_eq!(reply["ended"], "invalid", "{reply}");
        let reply = host.run(&json!({"arguments": ["true", "x".repeat(200_000)]}));
        assert_eq!(reply["ended"], "invalid", "{reply}");
    }
}

/// Files that a call writes belong to the host's user, who can use and remove them.
#[test]
fn files_of_calls_are_the_hosts() {
    use std::os::unix::fs::MetadataExt as _;
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        fs::write(dir.path("work/private"), "mine").unwrap();
        fs::set_permissions(
            dir.path("work/private"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        dir.own("work/private");
        let mut request = dir.attempt(&["exit", "0"]);
        let script = "cat private && mkdir made && echo x > made/file && rm private";
        request["arguments"] = json!(["sh", "-c", script]);
        request["folder"] = "/workspace".into();
        let reply = host.run(&request);
        assert_eq!(
            (&reply["ended"], &reply["output"]),
            (&"exit 0".into(), &"mine".into()),
            "{reply}"
        );
        let owner = fs::metadata(dir.path("work")).unwrap().uid();
        assert_eq!(
            fs::metadata(dir.path("work/made/file")).unwrap().uid(),
            owner,
            "{tier:?}"
        );
        assert!(!dir.path("work/private").exists());
    }
}

/// The call's `/tmp` is empty but for what was granted there.
#[test]
fn a_folder_is_granted_at_its_own_path_also_below_tmp() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let outside = dir.text("outside");
        let target = format!("/tmp/granted/{}", std::process::id());
        let mut request = dir.attempt(&["read", &format!("{target}/secret"), "canary"]);
        request["grants"] = json!([
            {"source": dir.text("tool"), "target": "/tool"},
            {"source": outside, "target": target},
        ]);
        let reply = host.run(&request);
        assert_eq!(reply["ended"], "exit 42", "{tier:?}: {reply}");
    }
}

/// Many calls one after the other, in the slots of earlier ones.
#[test]
fn calls_run_beside_one_another() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let mut request = dir.attempt(&["exit", "0"]);
        request["times"] = 60.into();
        let reply = host.run(&request);
        assert!(reply["p50"].as_u64().is_some(), "{tier:?}: {reply}");
    }
}

#[test]
fn hosts_that_are_granted_are_reached_through_the_proxy_and_no_others() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in server.incoming() {
                let mut stream = stream.unwrap();
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).unwrap();
                let body = String::from_utf8_lossy(&buffer[..read]).into_owned();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        let with = |url: &str| {
            let mut request = dir.attempt(&["get", url]);
            request["places"] = json!([format!("api.test:{port}")]);
            request
        };
        let reply = host.run(&with(&format!("http://api.test:{port}/path?q")));
        assert_eq!(reply["ended"], "exit 42", "{tier:?}: {reply}");
        assert!(
            reply["output"]
                .as_str()
                .unwrap()
                .contains("GET /path?q HTTP/1.1"),
            "{reply}"
        );
        let reply = host.run(&with(&format!("http://other.test:{port}/")));
        assert_eq!(reply["ended"], "exit 0", "{reply}");
        assert!(
            reply["output"].as_str().unwrap().contains("403 Forbidden"),
            "{reply}"
        );
        assert!(
            reply["output"].as_str().unwrap().contains("is not granted"),
            "{reply}"
        );
        // A program that uses no proxy reaches nothing.
        let mut direct = dir.attempt(&["tcp", &format!("127.0.0.1:{port}")]);
        direct["places"] = json!([format!("api.test:{port}")]);
        let reply = host.run(&direct);
        assert_eq!(reply["ended"], "exit 0", "{tier:?}: {reply}");
        // CONNECT, by a program that knows proxies.
        if std::path::Path::new("/usr/bin/curl").exists() {
            let url = format!("http://api.test:{port}/tunnelled");
            let reply = host.run(&json!({
                "arguments": ["curl", "-s", "--proxytunnel", url],
                "places": [format!("api.test:{port}")],
            }));
            assert!(
                reply["output"].as_str().unwrap().contains("GET /tunnelled"),
                "{reply}"
            );
        }
    }
}

/// Folders whose paths lead through links of the sandbox's own tree.
#[test]
fn a_folder_below_a_link_of_the_tree_can_be_granted() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let mut host = dir.host(&[]);
        for target in ["/var/tmp/given", "/dev/shm/given/further", "/tmp/given"] {
            for (attempt, file) in [("read", "secret"), ("write", "target")] {
                let file = format!("{target}/{file}");
                let mut request = dir.attempt(&[attempt, &file, "canary"]);
                let grants = request["grants"].as_array_mut().unwrap();
                grants.push(json!({
                    "source": dir.text("outside"), "target": target, "writable": attempt == "write",
                }));
                let reply = host.run(&request);
                assert_eq!(reply["ended"], "exit 42", "{tier:?}: {request} {reply}");
            }
        }
        assert_eq!(fs::read(dir.path("outside/target")).unwrap(), b"escaped");
    }
}
