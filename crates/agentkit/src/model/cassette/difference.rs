//! In what a request differs from a recorded one.

use serde_json::Value;

/// Differences that are told.
const MOST: usize = 5;
/// How much of a text is shown, from a little before the first letter that differs.
const SHOWN: usize = 60;
const BEFORE: usize = 20;

/// The differences to the recorded request that has the fewest; none if nothing is recorded.
pub(super) fn nearest<'a>(
    request: &Value,
    recorded: impl Iterator<Item = &'a Value>,
) -> Option<Vec<String>> {
    let mut all = recorded
        .map(|other| {
            let mut found = Vec::new();
            walk(String::new(), other, request, &mut found);
            found
        })
        .collect::<Vec<_>>();
    all.sort_by(|one, two| (one.len(), one).cmp(&(two.len(), two)));
    let mut nearest = all.into_iter().next()?;
    let more = nearest.len().saturating_sub(MOST);
    nearest.truncate(MOST);
    if more > 0 {
        nearest.push(format!("{more} more"));
    }
    Some(nearest)
}

fn walk(path: String, recorded: &Value, now: &Value, found: &mut Vec<String>) {
    match (recorded, now) {
        (one, two) if one == two => {}
        (Value::Object(one), Value::Object(two)) => {
            let mut keys: Vec<&String> = one.keys().chain(two.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let at = match path.as_str() {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                match (one.get(key), two.get(key)) {
                    (Some(one), Some(two)) => walk(at, one, two, found),
                    (Some(_), None) => found.push(format!("`{at}`, which is missing now")),
                    (None, _) => found.push(format!("`{at}`, which is new")),
                }
            }
        }
        (Value::Array(one), Value::Array(two)) => {
            for (index, (one, two)) in one.iter().zip(two).enumerate() {
                walk(format!("{path}[{index}]"), one, two, found);
            }
            if one.len() != two.len() {
                found.push(format!(
                    "`{path}`, which has {} items, not {}",
                    two.len(),
                    one.len()
                ));
            }
        }
        (Value::String(one), Value::String(two)) => {
            let same = one
                .chars()
                .zip(two.chars())
                .take_while(|(one, two)| one == two)
                .count();
            let (one, two) = (part(one, same), part(two, same));
            found.push(format!("`{path}`: recorded {one:?}, now {two:?}"));
        }
        (one, two) => {
            let (one, two) = (part(&one.to_string(), 0), part(&two.to_string(), 0));
            found.push(format!("`{path}`: recorded {one}, now {two}"));
        }
    }
}

fn part(text: &str, from: usize) -> String {
    let from = from.saturating_sub(BEFORE);
    text.chars().skip(from).take(SHOWN).collect()
}
