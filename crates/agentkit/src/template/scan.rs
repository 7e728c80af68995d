//! Reads a template's tokens before it is parsed: refuses what is too large, and puts calls around
//! what has to be paid for.
//!
//! Nothing moves to another line, so that messages name the line that was written. What is not a
//! template is left to the parser to refuse.

use std::collections::HashSet;

use minijinja::{
    Error, ErrorKind,
    machinery::{Span, Token, tokenize},
    syntax::SyntaxConfig,
};

/// The function around lists and maps that are kept.
pub(super) const OWN: &str = "__own";
/// The function around factors.
pub(super) const NUMBER: &str = "__number";

/// The longest template, in bytes.
const MAX_BYTES: usize = 1024 * 1024;
/// Tokens of one tag: a chain of half as many terms is as deep a tree.
const MAX_TAG: usize = 2_000;
/// Tokens of all tags together.
const MAX_TOKENS: usize = 50_000;
/// How deep blocks may nest; an `elif` nests in the `if` before it.
const MAX_NESTING: usize = 60;

/// A token of a tag, with the bytes where it stands.
struct Piece<'a> {
    token: Token<'a>,
    start: usize,
    end: usize,
}

/// A call to be put around some bytes.
struct Edit {
    start: usize,
    end: usize,
    function: &'static str,
}

#[derive(Default)]
struct Scan<'a> {
    edits: Vec<Edit>,
    /// Names that hold a namespace.
    namespaces: HashSet<&'a str>,
    /// Names that are used as values, not by a member.
    bare: Vec<&'a str>,
    /// Open blocks, each with the levels that it stands for.
    blocks: Vec<usize>,
    tokens: usize,
}

/// The template with its guards.
pub(super) fn guarded(source: &str) -> Result<String, Error> {
    if source.len() > MAX_BYTES {
        let message = format!("the template has more than {MAX_BYTES} bytes");
        return Err(refused(message));
    }
    let mut scan = Scan::default();
    let mut tag: Vec<Piece<'_>> = Vec::new();
    let mut is_block = false;
    for read in tokenize(source, false, SyntaxConfig::default()) {
        let (token, span) = read?;
        let Span {
            start_offset,
            end_offset,
            start_line,
            ..
        } = span;
        match token {
            Token::TemplateData(_) => {}
            Token::VariableStart | Token::BlockStart => {
                is_block = matches!(token, Token::BlockStart);
                tag.clear();
            }
            Token::VariableEnd => scan.expression(&tag)?,
            Token::BlockEnd if is_block => scan.block(&tag)?,
            token => {
                scan.tokens += 1;
                if tag.len() == MAX_TAG || scan.tokens > MAX_TOKENS {
                    return Err(refused(format!(
                        "line {start_line}: a template may have {MAX_TAG} operators, names and values in \
                         one tag and {MAX_TOKENS} in all; split it, or loop over a list"
                    )));
                }
                tag.push(Piece {
                    token,
                    start: start_offset as usize,
                    end: end_offset as usize,
                });
            }
        }
    }
    if let Some(name) = scan
        .bare
        .iter()
        .find(|name| scan.namespaces.contains(*name))
    {
        return Err(refused(format!(
            "`{name}` is a namespace: use its members, as `{name}.count`, and not the namespace itself"
        )));
    }
    Ok(apply(source, scan.edits))
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::SyntaxError, message.into())
}

/// Puts the calls in. A call that begins where another one does and ends later goes around it.
fn apply(source: &str, edits: Vec<Edit>) -> String {
    let mut marks = Vec::with_capacity(2 * edits.len());
    for edit in &edits {
        marks.push((edit.start, 1, std::cmp::Reverse(edit.end), edit.function));
        marks.push((edit.end, 0, std::cmp::Reverse(edit.start), ""));
    }
    marks.sort_unstable();
    let mut guarded = String::with_capacity(source.len() + 20 * edits.len());
    let mut copied = 0;
    for (at, opens, _, function) in marks {
        guarded.push_str(&source[copied..at]);
        copied = at;
        match opens {
            // The inner brackets make one argument of `1, 2`.
            1 => guarded.extend([function, "(("]),
            _ => guarded.push_str("))"),
        }
    }
    guarded.push_str(&source[copied..]);
    guarded
}

/// One level of brackets.
#[derive(Default)]
struct Level {
    /// Where the bracket stands.
    open: usize,
    /// Whether it holds the items of a list or map.
    is_literal: bool,
    /// Whether it holds a group, or a tuple if there is a comma.
    is_group: bool,
    has_comma: bool,
    /// Where the operand begins that is being read.
    operand: Option<usize>,
    /// Whether that operand is complete, so that a bracket after it is a call or an index.
    is_complete: bool,
    is_factor: bool,
    /// A name that comes is that of a member, filter or test.
    is_name: bool,
}

impl<'a> Scan<'a> {
    fn block(&mut self, tag: &[Piece<'a>]) -> Result<(), Error> {
        let Some((
            Piece {
                token: Token::Ident(keyword),
                ..
            },
            rest,
        )) = tag.split_first()
        else {
            return Ok(());
        };
        match *keyword {
            "set" => match find(rest, |token| matches!(token, Token::Assign)) {
                Some(at) => self.assignment(&rest[..at], &rest[at + 1..])?,
                None => {
                    self.nest()?;
                    let filters = find(rest, |token| matches!(token, Token::Pipe));
                    self.expression(filters.map_or(&[], |at| &rest[at..]))?;
                }
            },
            "for" => {
                self.nest()?;
                self.loop_over(rest)?;
            }
            "with" => {
                self.nest()?;
                for part in split(rest) {
                    if let Some(at) = find(part, |token| matches!(token, Token::Assign)) {
                        self.assignment(&part[..at], &part[at + 1..])?;
                    }
                }
            }
            "elif" => {
                self.nest()?;
                // It is parsed inside of the `if` before it, and ends with that.
                let levels = self.blocks.pop().unwrap_or(0);
                if let Some(outer) = self.blocks.last_mut() {
                    *outer += levels;
                }
                self.expression(rest)?;
            }
            "if" | "filter" | "autoescape" | "macro" | "call" | "block" => {
                self.nest()?;
                self.expression(rest)?;
            }
            keyword if keyword.starts_with("end") => drop(self.blocks.pop()),
            _ => self.expression(rest)?,
        }
        Ok(())
    }

    fn nest(&mut self) -> Result<(), Error> {
        self.blocks.push(1);
        if self.blocks.iter().sum::<usize>() > MAX_NESTING {
            let message = format!("blocks nest deeper than {MAX_NESTING} levels");
            return Err(refused(message));
        }
        Ok(())
    }

    fn assignment(&mut self, to: &[Piece<'a>], value: &[Piece<'a>]) -> Result<(), Error> {
        if let [
            Piece {
                token: Token::Ident(name),
                ..
            },
        ] = to
            && is_namespace(value)
        {
            self.namespaces.insert(name);
            return self.expression(&value[1..]);
        }
        self.wrap(value, OWN);
        self.expression(value)
    }

    fn loop_over(&mut self, rest: &[Piece<'a>]) -> Result<(), Error> {
        let Some(at) = find(rest, |token| matches!(token, Token::Ident("in"))) else {
            return Ok(());
        };
        let over = &rest[at + 1..];
        let is_end = |token: &Token<'_>| matches!(token, Token::Ident("if" | "recursive"));
        let end = find(over, is_end).unwrap_or(over.len());
        let (list, rest) = over.split_at(end);
        let is_recursive = |token: &Token<'_>| matches!(token, Token::Ident("recursive"));
        if find(rest, is_recursive).is_some() {
            return Err(refused("a loop cannot be `recursive` here; nest loops"));
        }
        self.wrap(list, OWN);
        self.expression(list)?;
        self.expression(rest.get(1..).unwrap_or_default())
    }

    fn wrap(&mut self, pieces: &[Piece<'_>], function: &'static str) {
        if let (Some(first), Some(last)) = (pieces.first(), pieces.last()) {
            self.edits.push(Edit {
                start: first.start,
                end: last.end,
                function,
            });
        }
    }

    /// Goes through the operands of an expression.
    fn expression(&mut self, pieces: &[Piece<'a>]) -> Result<(), Error> {
        let mut levels = vec![Level::default()];
        let mut end = 0;
        for (index, piece) in pieces.iter().enumerate() {
            let next = pieces.get(index + 1).map(|piece| &piece.token);
            let Some(level) = levels.last_mut() else {
                // The parser says which bracket is too many.
                return Ok(());
            };
            match &piece.token {
                Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                    let begins = !level.is_complete;
                    let is_paren = matches!(piece.token, Token::ParenOpen);
                    level.begin(piece.start);
                    levels.push(Level {
                        open: piece.start,
                        is_literal: begins && !is_paren,
                        is_group: begins && is_paren,
                        ..Level::default()
                    });
                }
                Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                    self.operand_ends(level, end, false);
                    let is_list = level.is_literal || (level.is_group && level.has_comma);
                    if is_list {
                        let start = level.open;
                        self.edits.push(Edit {
                            start,
                            end: piece.end,
                            function: OWN,
                        });
                    }
                    levels.pop();
                }
                Token::Dot | Token::Pipe => level.is_name = true,
                Token::Ident(_) if std::mem::take(&mut level.is_name) => level.is_complete = true,
                Token::Ident("and" | "or" | "in" | "if" | "else") => {
                    self.operand_ends(level, end, false);
                }
                Token::Ident("is") => {
                    self.operand_ends(level, end, false);
                    level.is_name = !matches!(next, Some(Token::Ident("not")));
                }
                Token::Ident("not") if level.is_complete => self.operand_ends(level, end, false),
                Token::Ident("not") => {
                    // Of `is not`, or before an operand.
                    let before = index.checked_sub(1).map(|at| &pieces[at].token);
                    level.is_name = matches!(before, Some(Token::Ident("is")));
                }
                Token::Ident(name) => {
                    level.begin(piece.start);
                    self.used(name, next)?;
                }
                Token::Mul if level.is_complete => self.operand_ends(level, end, true),
                Token::Plus | Token::Minus if !level.is_complete => {
                    level.operand.get_or_insert(piece.start);
                }
                Token::Str(_)
                | Token::String(_)
                | Token::Int(_)
                | Token::Int128(_)
                | Token::Float(_) => level.begin(piece.start),
                Token::Comma => {
                    level.has_comma = true;
                    self.operand_ends(level, end, false);
                }
                _ => self.operand_ends(level, end, false),
            }
            end = piece.end;
        }
        if let [level] = levels.as_mut_slice() {
            self.operand_ends(level, end, false);
        }
        Ok(())
    }

    /// An operand is over, because an operator follows, or nothing.
    fn operand_ends(&mut self, level: &mut Level, end: usize, is_factor: bool) {
        let start = level.operand.take().filter(|_| level.is_complete);
        if let Some(start) = start
            && (is_factor || level.is_factor)
        {
            self.edits.push(Edit {
                start,
                end,
                function: NUMBER,
            });
        }
        level.is_factor = is_factor;
        level.is_complete = false;
    }

    /// A name that is used as an operand.
    fn used(&mut self, name: &'a str, next: Option<&Token<'_>>) -> Result<(), Error> {
        match name {
            OWN | NUMBER => Err(refused(format!("there is no function `{name}`"))),
            "namespace" => Err(refused(
                "a namespace has to be set by itself: {% set ns = namespace(count=0) %}",
            )),
            name => {
                let by_member =
                    matches!(next, Some(Token::Dot | Token::BracketOpen | Token::Assign));
                if !by_member {
                    self.bare.push(name);
                }
                Ok(())
            }
        }
    }
}

impl Level {
    /// An operand begins, or goes on.
    fn begin(&mut self, at: usize) {
        self.operand.get_or_insert(at);
        self.is_complete = true;
        self.is_name = false;
    }
}

/// `namespace(..)` and nothing else.
fn is_namespace(value: &[Piece<'_>]) -> bool {
    let [
        Piece {
            token: Token::Ident("namespace"),
            ..
        },
        arguments @ ..,
    ] = value
    else {
        return false;
    };
    let closes = |token: &Token<'_>| matches!(token, Token::ParenClose);
    let opens = |piece: &Piece<'_>| matches!(piece.token, Token::ParenOpen);
    arguments.first().is_some_and(opens)
        && arguments.last().is_some_and(|last| closes(&last.token))
        && one_bracket(arguments)
}

/// Whether the first bracket is closed by the last one.
fn one_bracket(pieces: &[Piece<'_>]) -> bool {
    let mut depth = 0_i64;
    let inner = &pieces[..pieces.len() - 1];
    inner.iter().all(|piece| {
        depth += change(&piece.token);
        depth > 0
    })
}

fn change(token: &Token<'_>) -> i64 {
    match token {
        Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => 1,
        Token::ParenClose | Token::BracketClose | Token::BraceClose => -1,
        _ => 0,
    }
}

/// The first such token outside of brackets.
fn find(pieces: &[Piece<'_>], is_wanted: impl Fn(&Token<'_>) -> bool) -> Option<usize> {
    let mut depth = 0;
    pieces.iter().position(|piece| {
        depth += change(&piece.token);
        depth == 0 && is_wanted(&piece.token)
    })
}

/// The parts between commas outside of brackets.
fn split<'p, 'a>(pieces: &'p [Piece<'a>]) -> Vec<&'p [Piece<'a>]> {
    let mut parts = Vec::new();
    let mut left = pieces;
    while let Some(at) = find(left, |token| matches!(token, Token::Comma)) {
        parts.push(&left[..at]);
        left = &left[at + 1..];
    }
    parts.push(left);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_put_around_what_has_to_be_paid_for() {
        for (source, wanted) in [
            ("{{ a + b }}", "{{ a + b }}"),
            (
                "{{ a * b.c(1)[2] | f(x) * 3 }}",
                "{{ __number((a)) * __number((b.c(1)[2] | f(x))) * __number((3)) }}",
            ),
            ("{{ -a*-2 }}", "{{ __number((-a))*__number((-2)) }}"),
            (
                "{{ (a + b) * c ** d }}",
                "{{ __number(((a + b))) * __number((c)) ** d }}",
            ),
            (
                "{{ [a, [b], c[0]] }}",
                "{{ __own(([a, __own(([b])), c[0]])) }}",
            ),
            (
                "{{ {'a': (1, 2)} }}",
                "{{ __own(({'a': __own(((1, 2)))})) }}",
            ),
            ("{{ f(a, b) }}", "{{ f(a, b) }}"),
            ("{% set x = a -%}", "{% set x = __own((a)) -%}"),
            (
                "{% set x = [a] * 2 %}",
                "{% set x = __own((__number((__own(([a])))) * __number((2)))) %}",
            ),
            ("{% set a, b = 1, 2 %}", "{% set a, b = __own((1, 2)) %}"),
            (
                "{% set x | upper %}a{% endset %}",
                "{% set x | upper %}a{% endset %}",
            ),
            (
                "{% set n.x = n.x + 1 %}",
                "{% set n.x = __own((n.x + 1)) %}",
            ),
            (
                "{% set n = namespace(a=[1]) %}",
                "{% set n = namespace(a=__own(([1]))) %}",
            ),
            ("{% set n = namespace(a=1) and namespace(b=1) %}", ""),
            (
                "{% for (a, b) in x|f if a in [1] %}",
                "{% for (a, b) in __own((x|f)) if a in __own(([1])) %}",
            ),
            (
                "{% for a in (x if y else z) %}",
                "{% for a in __own(((x if y else z))) %}",
            ),
            (
                "{% with a = 1, (b, c) = (2, 3) %}",
                "{% with a = __own((1)), (b, c) = __own((__own(((2, 3))))) %}",
            ),
            (
                "{% if a is not none and b * 2 > 3 %}",
                "{% if a is not none and __number((b)) * __number((2)) > 3 %}",
            ),
            (
                "{% raw %}{{ [a] }}{% endraw %}{# [b] #}",
                "{% raw %}{{ [a] }}{% endraw %}{# [b] #}",
            ),
            ("{{ \"}} [a] * 2\" }}", "{{ \"}} [a] * 2\" }}"),
            ("no template", "no template"),
        ] {
            match guarded(source) {
                Ok(guarded) => assert_eq!(guarded, wanted, "{source}"),
                Err(error) => assert_eq!(wanted, "", "{source}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_parsed() {
        let nested =
            |open: &str, close: &str| format!("{}x{}", open.repeat(100), close.repeat(100));
        for source in [
            format!("{{{{ 1{} }}}}", "+1".repeat(7_500)),
            format!("{{{{ a{} }}}}", "|f".repeat(7_500)),
            format!("{{{{ a{} }}}}", ".b".repeat(7_500)),
            nested("{% if a %}", "{% endif %}"),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif b %}".repeat(100)),
            nested("{% for a in b %}", "{% endfor %}"),
            "{{ a }}".repeat(60_000),
            "x".repeat(2 * MAX_BYTES),
            "{% for a in b recursive %}{{ loop(a) }}{% endfor %}".to_owned(),
            "{% set n = namespace() %}{{ n }}".to_owned(),
            "{% set n = namespace() %}{% set m = [n] %}".to_owned(),
            "{% set n = [namespace()] %}".to_owned(),
            "{{ __own(1) }}".to_owned(),
        ] {
            assert!(
                guarded(&source).is_err(),
                "{}",
                &source[..source.len().min(80)]
            );
        }
        assert!(guarded("{% set n = namespace(a=1) %}{{ n.a }}{{ f(n=n['a']) }}").is_ok());
        assert!(guarded(&"{% if a %}x{% elif b %}y{% endif %}".repeat(1_000)).is_ok());
    }
}
