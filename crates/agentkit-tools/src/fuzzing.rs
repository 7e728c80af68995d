//! Fuzz targets: the grammars that models write for tools, and what files and servers hold.

use serde_json::Value;
use units::fuzzing::Target;

use crate::{
    calculator, encoding, grep, http,
    json::{Limits, Problem, read},
    json_query, table_query,
};

/// The targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "json_path",
        run: json_query::fuzzing::query,
    },
    Target {
        name: "table",
        run: table_query::fuzzing::query,
    },
    Target {
        name: "calculator",
        run: calculator::fuzzing::expression,
    },
    Target {
        name: "json",
        run: json,
    },
    Target {
        name: "encoding",
        run: text,
    },
    Target {
        name: "html",
        run: http::fuzzing::html,
    },
    Target {
        name: "packed_body",
        run: http::fuzzing::packed,
    },
    Target {
        name: "url",
        run: http::fuzzing::url,
    },
];

/// JSON text: this reader takes the texts that serde_json takes, but for bounds.
fn json(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let limits = Limits {
        depth: 100,
        memory: 1 << 20,
    };
    let known = serde_json::from_str::<Value>(&text);
    match (read(&text, limits), known) {
        (Ok(reading), Ok(_)) => {
            assert_eq!(reading.surrogates, 0);
            reading.node.to_value(&mut 0);
        }
        // Lone surrogates, numbers that no f64 holds, and depths beyond serde_json's own bound.
        (Ok(reading), Err(_)) => {
            reading.node.to_value(&mut 0);
        }
        (Err(Problem::Syntax { what, .. }), Ok(_)) => panic!("{what}"),
        (Err(_), _) => {}
    }
}

/// A file's bytes as text, and lines of it by a pattern that stands in its first line.
fn text(data: &[u8]) {
    let Some(text) = encoding::decode(data.to_vec(), None) else {
        return;
    };
    let _ = text.how.told();
    let (pattern, content) = text.content.split_once('\n').unwrap_or((&text.content, ""));
    if let Ok(pattern) = grep::compile(pattern, true) {
        let mut line = 0;
        grep::lines(&pattern, content.as_bytes(), |hit| {
            assert!(hit.line > line && hit.offset <= content.len());
            line = hit.line;
            std::ops::ControlFlow::Continue(())
        });
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_target_holds_its_seeds_and_changed_copies_of_them() {
        units::fuzzing::check(super::TARGETS);
    }
}
