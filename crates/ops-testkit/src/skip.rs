use std::{env, fs::OpenOptions, io::Write as _, thread};

/// Says that the calling test is skipped, and why, in the list that `cargo xtask test` prints at its
/// end. The test must return after it.
///
/// # Panics
/// Without a list (`OPSPAWN_TEST_SKIPS`), where the test would count as passed and nothing would tell
/// that it did not run; and if `CI` is set, as CI must not be green for want of a tool.
pub fn skip(why: &str) {
    let test = thread::current()
        .name()
        .unwrap_or("a test without a name")
        .to_owned();
    let line = format!("{test}: {why}");
    let in_ci = env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false");
    let list = env::var_os("OPSPAWN_TEST_SKIPS").filter(|_| !in_ci);
    let list = list.unwrap_or_else(|| panic!("{line}"));
    let file = OpenOptions::new().create(true).append(true).open(list);
    let told = file.and_then(|mut file| writeln!(file, "{line}"));
    told.expect("the list of skipped tests can be written");
}
