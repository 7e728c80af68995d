//! Which values of a configuration are credentials, by their names.

/// Words of names of credentials.
const SECRET_NAMES: [&str; 15] = [
    "APIKEY",
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
    "CREDENTIAL",
    "CREDENTIALS",
    "KEY",
    "PASS",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PAT",
    "SECRET",
    "TOKEN",
];

/// Whether a variable or header of that name holds a credential: `GITHUB_TOKEN`, `X-Api-Key`, `dbPassword`.
pub(super) fn is_named(name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let begins = !c.is_ascii_alphanumeric() || c.is_ascii_uppercase() && was_lower;
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_uppercase());
        }
        was_lower = c.is_ascii_lowercase();
    }
    words.iter().any(|word| {
        let is_joined = ["TOKEN", "SECRET", "PASSWORD"];
        SECRET_NAMES.contains(&word.as_str()) || is_joined.iter().any(|end| word.ends_with(end))
    })
}

/// Whether a value names a file, which the server's results may name as well.
pub(super) fn is_path(value: &str) -> bool {
    ["/", "~", "./", "../"]
        .iter()
        .any(|start| value.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_a_credential() {
        for name in [
            "GITHUB_TOKEN",
            "X-Api-Key",
            "Authorization",
            "dbPassword",
            "GHTOKEN",
            "cookie",
            "OPENAI_API_KEY",
            "GITLAB_PAT",
        ] {
            assert!(is_named(name), "{name}");
        }
        for name in [
            "HOME", "KEYBOARD", "AUTHOR", "Accept", "MONKEY", "PATH", "MODE", "",
        ] {
            assert!(!is_named(name), "{name}");
        }
        assert!(is_path("/home/me/.ssh/id") && is_path("~/x") && !is_path("sk-1/2"));
    }
}
