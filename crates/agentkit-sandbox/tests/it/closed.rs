//! P9: the sandbox fails closed. Each feature of the kernel is taken away, as an old kernel or a container does.

use crate::host::{TestDir, Tier};

/// What the refusal names, by the feature that is missing; nothing where the sandbox works without it.
const FEATURES: &[(&str, &str)] = &[
    ("Landlock", ""),
    ("MountNamespaces", "making a mount namespace"),
    ("NetworkNamespaces", "making a network namespace"),
    ("ProcessNamespaces", "making the namespaces of a call"),
    ("Mounts", "making the folder tree"),
    ("Root", "making the folder tree"),
    ("MountAttributes", "making the folder tree"),
    ("Seccomp", "installing the seccomp filter"),
];

#[test]
fn without_a_feature_it_works_or_says_what_is_missing() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let secret = dir.text("outside/secret");
        for (feature, names) in FEATURES {
            let mut host = dir.host(&[&format!("deny={feature}")]);
            assert_eq!(
                host.is_ready(),
                names.is_empty(),
                "{tier:?} {feature}: {}",
                host.hello
            );
            let reply = host.run(&dir.attempt(&["read", &secret, "canary"]));
            if names.is_empty() {
                assert_eq!(reply["ended"], "exit 0", "{tier:?} {feature}: {reply}");
                let report = host.hello["report"].as_str().unwrap();
                assert!(report.contains("no landlock"), "{report}");
                let reply = host.run(&dir.attempt(&["write", "/workspace/made"]));
                assert_eq!(reply["ended"], "exit 42", "{reply}");
                for attempt in [
                    &["write", "/tool/x"][..],
                    &["write", "/usr/x"],
                    &["unix", "/workspace/none"],
                    &["root-of", "1", "/old"],
                ] {
                    let reply = host.run(&dir.attempt(attempt));
                    assert_eq!(reply["ended"], "exit 0", "{tier:?} {attempt:?}: {reply}");
                }
                continue;
            }
            // Nothing ran, and the refusal names the step and what mends it.
            assert_eq!(reply["ended"], "unavailable", "{tier:?} {feature}: {reply}");
            for text in [&host.hello["refused"], &reply["error"]] {
                let text = text.as_str().unwrap();
                assert!(text.contains(names), "{tier:?} {feature}: {text}");
                assert!(text.contains("; "), "a remedy: {text}");
            }
        }
    }
}

/// Root maps owners by a user namespace; another user has nothing but one.
#[test]
fn without_user_namespaces_it_says_so() {
    for tier in Tier::all() {
        let dir = TestDir::new(tier);
        let host = dir.host(&["deny=UserNamespaces"]);
        let refused = host.hello["refused"].as_str().unwrap_or_default();
        let step = match tier {
            Tier::Nobody | Tier::Own => "making a user namespace",
            Tier::Root | Tier::RootWithoutCgroups => "changing the user",
        };
        assert!(refused.contains(step), "{tier:?}: {}", host.hello);
    }
}
