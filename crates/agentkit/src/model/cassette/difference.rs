//! In what a request differs from a recorded one.

use serde_json::Value;

/// Differences that are told.
const MAX_DIFFERENCES: usize = 5;
/// How much of a text is shown, from a little before the first letter that differs.
const EXCERPT_LIMIT: usize = 60;
const BEFORE: usize = 20;

/// The differences to the recorded request that has the fewest and, of several, those in the fewest
/// letters; none if nothing is recorded.
pub(super) fn nearest<'a>(
    request: &Value,
    recorded: impl Iterator<Item = &'a Value>,
) -> Option<Vec<String>> {
    let mut all = recorded
        .map(|other| {
            let mut found = Found::default();
            walk(String::new(), other, request, &mut found);
            found
        })
        .collect::<Vec<_>>();
    all.sort_by(|one, two| one.rank().cmp(&two.rank()));
    let mut nearest = all.into_iter().next()?.differences;
    let more = nearest.len().saturating_sub(MAX_DIFFERENCES);
    nearest.truncate(MAX_DIFFERENCES);
    if more > 0 {
        nearest.push(format!("{more} more"));
    }
    Some(nearest)
}

/// The differences between two requests.
#[derive(Default)]
struct Found {
    differences: Vec<String>,
    /// In how many letters texts differ.
    letters: usize,
}

impl Found {
    fn rank(&self) -> (usize, usize, &[String]) {
        (self.differences.len(), self.letters, &self.differences)
    }

    fn push(&mut self, difference: String) {
        self.differences.push(difference);
    }
}

fn walk(path: String, recorded: &Value, now: &Value, found: &mut Found) {
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
            let lengths = (one.chars().count(), two.chars().count());
            let room = lengths.0.min(lengths.1) - same;
            let same_end = one
                .chars()
                .rev()
                .zip(two.chars().rev())
                .take(room)
                .take_while(|(one, two)| one == two)
                .count();
            found.letters += lengths.0.max(lengths.1) - same - same_end;
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
    text.chars().skip(from).take(EXCERPT_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_as_many_differences_those_in_the_fewest_letters_are_nearest() {
        let asked = |goal: &str| json!({"messages": [{"role": "user", "content": goal}]});
        let recorded = [
            asked("Arrange a trip to the sea for nine people."),
            asked("Sum up the orders of May, and say which is the largest."),
        ];
        let now = asked("Sum up the orders of June, and say which is the largest.");
        let told = nearest(&now, recorded.iter()).unwrap();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("orders of May"), "{told:?}");
        assert_eq!(nearest(&now, std::iter::empty()), None);
    }
}
