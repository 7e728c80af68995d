//! Reads a query, and refuses what RFC 9535 does not know.

use agentkit::event::Failure;
use jsonpath_rust::parser::{
    model::{
        Comparable, Filter, FilterAtom, FnArg, JpQuery, Segment, Selector, Test, TestFunction,
    },
    parse_json_path,
};

const MAX_LENGTH: usize = 1024;
/// How deep parentheses and brackets nest: the parser tries several readings at each level.
const MAX_DEPTH: usize = 8;

/// The query, if it is one.
pub(super) fn parse(text: &str) -> Result<JpQuery, Failure> {
    if text.len() > MAX_LENGTH {
        let size = text.len();
        return Err(invalid(format!(
            "it has {size} bytes, and {MAX_LENGTH} is the limit"
        )));
    }
    if depth(text) > MAX_DEPTH {
        return Err(invalid(format!(
            "its parentheses and brackets nest deeper than {MAX_DEPTH} levels"
        )));
    }
    let query = parse_json_path(text).map_err(|error| invalid(error.to_string()))?;
    segments(&query.segments)?;
    Ok(query)
}

fn invalid(problem: String) -> Failure {
    let message = format!("the query is not JSONPath (RFC 9535): {problem}");
    Failure::last("invalid_query", message)
}

/// How deep brackets nest, those in strings included: it is a bound.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

fn segments(segments: &[Segment]) -> Result<(), Failure> {
    for segment in segments {
        match segment {
            Segment::Descendant(inner) => self::segments(std::slice::from_ref(inner))?,
            Segment::Selector(selector) => self::selector(selector)?,
            Segment::Selectors(selectors) => selectors.iter().try_for_each(selector)?,
        }
    }
    Ok(())
}

fn selector(selector: &Selector) -> Result<(), Failure> {
    match selector {
        Selector::Filter(inner) => filter(inner),
        Selector::Name(_) | Selector::Wildcard | Selector::Index(_) | Selector::Slice(..) => Ok(()),
    }
}

fn filter(filter: &Filter) -> Result<(), Failure> {
    match filter {
        Filter::Or(parts) | Filter::And(parts) => parts.iter().try_for_each(self::filter),
        Filter::Atom(FilterAtom::Filter { expr, .. }) => self::filter(expr),
        Filter::Atom(FilterAtom::Test { expr, .. }) => match &**expr {
            Test::Function(function) => match &**function {
                TestFunction::Length(_) | TestFunction::Value(_) | TestFunction::Count(_) => Err(
                    invalid(format!("the result of {function} has to be compared")),
                ),
                TestFunction::Search(..) | TestFunction::Match(..) | TestFunction::Custom(..) => {
                    self::function(function)
                }
            },
            Test::RelQuery(_) | Test::AbsQuery(_) => test(expr),
        },
        Filter::Atom(FilterAtom::Comparison(comparison)) => {
            let (left, right) = comparison.vals();
            comparable(left)?;
            comparable(right)
        }
    }
}

fn comparable(comparable: &Comparable) -> Result<(), Failure> {
    match comparable {
        Comparable::Function(function) => self::function(function),
        Comparable::Literal(_) | Comparable::SingularQuery(_) => Ok(()),
    }
}

fn test(test: &Test) -> Result<(), Failure> {
    match test {
        Test::RelQuery(inner) => segments(inner),
        Test::AbsQuery(query) => segments(&query.segments),
        Test::Function(inner) => function(inner),
    }
}

fn function(function: &TestFunction) -> Result<(), Failure> {
    match function {
        TestFunction::Length(inner) => argument(inner),
        TestFunction::Value(inner) | TestFunction::Count(inner) => argument(inner),
        TestFunction::Search(left, right) | TestFunction::Match(left, right) => {
            argument(left)?;
            argument(right)
        }
        TestFunction::Custom(name, _) => Err(invalid(format!(
            "there is no function `{name}`; known are length, count, value, match and search"
        ))),
    }
}

fn argument(argument: &FnArg) -> Result<(), Failure> {
    match argument {
        FnArg::Literal(_) => Ok(()),
        FnArg::Test(inner) => test(inner),
        FnArg::Filter(inner) => Err(invalid(format!("`{inner}` is no argument of a function"))),
    }
}
