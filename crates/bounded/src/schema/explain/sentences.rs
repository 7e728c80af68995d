//! Mistakes as sentences.

use serde_json::Value;
use units::nearest;

use super::{EXCERPT_LIMIT, Found, LISTED};
use crate::schema::{
    keyword::{Check, Leaf, LeafCheck},
    values::Shown,
};

/// The mistake of a value by a keyword that looks at the value alone.
pub(super) fn sentences(check: &Check, value: &Value, found: &mut Found) {
    let shown = Shown(value);
    let items = |count: &u64, what: &str| match count {
        1 => format!("1 {what}"),
        _ if what == "property" => format!("{count} properties"),
        _ => format!("{count} {what}s"),
    };
    let message = match check {
        Check::Never => "nothing is allowed here".to_owned(),
        Check::Type(types) => of_types(value, &types.names().collect::<Vec<_>>()),
        Check::Const(wanted) => format!(
            "{shown} is not {}, which is all that is allowed",
            Shown(wanted)
        ),
        Check::Enum(options) => one_of(value, &options.values),
        Check::Minimum {
            limit,
            exclusive: false,
        } => format!("{shown} is less than the minimum of {limit}"),
        Check::Minimum {
            limit,
            exclusive: true,
        } => format!("{shown} is not greater than {limit}"),
        Check::Maximum {
            limit,
            exclusive: false,
        } => format!("{shown} is greater than the maximum of {limit}"),
        Check::Maximum {
            limit,
            exclusive: true,
        } => format!("{shown} is not less than {limit}"),
        Check::MinLength(least) => format!("{shown} is shorter than {}", items(least, "character")),
        Check::MaxLength(most) => format!("{shown} is longer than {}", items(most, "character")),
        Check::Pattern(pattern) => format!("{shown} does not match \"{}\"", cut(&pattern.source)),
        Check::MinItems(least) => format!("{shown} has fewer than {}", items(least, "item")),
        Check::MaxItems(most) => format!("{shown} has more than {}", items(most, "item")),
        Check::UniqueItems => format!("{shown} has the same item twice"),
        Check::MinProperties(least) => {
            format!("{shown} has fewer than {}", items(least, "property"))
        }
        Check::MaxProperties(most) => format!("{shown} has more than {}", items(most, "property")),
        Check::Not(_) => format!("{shown} is what the `not` keyword excludes"),
        Check::Leaf(leaf) => of_leaf(leaf, value),
        Check::Required(names) => {
            for name in names.iter().filter(|name| value.get(name).is_none()) {
                found.push(format!("\"{}\" is a required property", cut(name)));
            }
            return;
        }
        Check::DependentRequired(all) => {
            for (name, needed) in all.iter().filter(|(name, _)| value.get(name).is_some()) {
                for other in needed.iter().filter(|other| value.get(other).is_none()) {
                    found.push(format!(
                        "\"{}\" is a required property beside \"{}\"",
                        cut(other),
                        cut(name)
                    ));
                }
            }
            return;
        }
        _ => format!("{shown} does not match the schema"),
    };
    found.push(message);
}

pub(super) fn of_leaf(leaf: &Leaf, value: &Value) -> String {
    let shown = Shown(value);
    let says = Shown(&leaf.says);
    match (&leaf.check, leaf.keyword) {
        (LeafCheck::Schema(_), _) => format!("{shown} is not a valid JSON Schema"),
        (LeafCheck::Validator(_), "format") => format!("{shown} is not a {says}"),
        (LeafCheck::Validator(_), "multipleOf") => format!("{shown} is not a multiple of {says}"),
        (LeafCheck::Validator(_), _) => format!("{shown} is not encoded as {says}"),
    }
}

pub(super) fn of_types(value: &Value, names: &[&str]) -> String {
    match names {
        [name] => format!("{} is not of type \"{name}\"", Shown(value)),
        names => format!(
            "{} is not of types \"{}\"",
            Shown(value),
            names.join("\", \"")
        ),
    }
}

pub(super) fn one_of(value: &Value, options: &[Value]) -> String {
    let listed: Vec<String> = options
        .iter()
        .take(LISTED)
        .map(|option| Shown(option).to_string())
        .collect();
    let near = value.as_str().and_then(|text| {
        let names = options.iter().filter_map(Value::as_str);
        nearest(text, names.skip(LISTED))
    });
    let mut text = format!("{} is not one of ", Shown(value));
    match (listed.as_slice(), options.len().saturating_sub(LISTED)) {
        ([first @ .., last], 0) if !first.is_empty() => {
            text.push_str(&format!("{} or {last}", first.join(", ")));
        }
        (listed, 0) => text.push_str(&listed.join(", ")),
        (listed, more) => text.push_str(&format!("{} or {more} others", listed.join(", "))),
    }
    if let Some(near) = near {
        text.push_str(&format!("; did you mean \"{}\"?", cut(near)));
    }
    text
}

pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    let hint = match (nearest(name, known.iter().copied()), known) {
        (Some(near), _) => format!("; did you mean \"{}\"?", cut(near)),
        (None, []) => String::new(),
        (None, known) => {
            let listed: Vec<&str> = known.iter().take(LISTED).map(|name| cut(name)).collect();
            let more = if known.len() > LISTED { ", ..." } else { "" };
            format!("; there are \"{}\"{more}", listed.join("\", \""))
        }
    };
    format!("\"{}\" is not a property that is allowed{hint}", cut(name))
}

pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(EXCERPT_LIMIT)]
}
