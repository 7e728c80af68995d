//! Reads an expression and works it out on the way.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = unary { ("*" | "/" | "%") unary }
//! unary   = ("+" | "-") unary | power
//! power   = postfix [ ("^" | "**") unary ]
//! postfix = atom { superscripts | "%" }
//! atom    = number | name [ "(" sum { "," sum } ")" ] | "(" sum ")" | "√" atom
//! ```
//!
//! A `%` before what begins a value is the remainder, and else it is a percentage. Before a sign it
//! could be either, so that is refused: `7 % -3` and `15% - 3` look alike.

use dashu_int::IBig;

use super::{
    Located, Problem,
    function::Function,
    near::Near,
    number::{self, Number, Work},
};

type Result<T> = std::result::Result<T, Located>;

/// How deep parentheses, functions, signs and exponents may nest.
const MAX_DEPTH: usize = 64;
/// Spellings of an operator.
const MINUS: [char; 2] = ['-', '−'];
const TIMES: [char; 4] = ['*', '×', '·', '⋅'];
const DIVIDED: [char; 3] = ['/', '÷', '∕'];
const SUPERSCRIPTS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];

pub(super) fn evaluate(text: &str) -> Result<Number> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
        work: Work::new(),
    };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(',') => Err(parser.syntax(
            "unexpected `,`; thousands separators are not accepted, and lists stand in functions",
        )),
        Some(')') => Err(parser.syntax("unexpected `)`, as none is open")),
        Some(other @ ('x' | 'X')) => Err(parser.syntax(&format!(
            "expected an operator before `{other}`; `*` multiplies"
        ))),
        Some(other) => Err(parser.syntax(&format!("expected an operator before `{other}`"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The next byte to read; always between two characters.
    at: usize,
    depth: usize,
    work: Work,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<Number> {
        let mut left = self.product()?;
        loop {
            let operation = match self.peek() {
                Some('+') => number::add,
                Some(c) if MINUS.contains(&c) => number::subtract,
                Some(_) | None => return Ok(left),
            };
            let at = self.advance();
            let right = self.product()?;
            left = operation(&left, &right, &mut self.work).map_err(located(at))?;
        }
    }

    fn product(&mut self) -> Result<Number> {
        let mut left = self.unary()?;
        loop {
            let operation = match self.peek() {
                Some(c) if TIMES.contains(&c) => number::multiply,
                Some(c) if DIVIDED.contains(&c) => number::divide,
                Some('%') => number::remainder,
                Some(_) | None => return Ok(left),
            };
            let at = self.advance();
            let right = self.unary()?;
            left = operation(&left, &right, &mut self.work).map_err(located(at))?;
        }
    }

    fn unary(&mut self) -> Result<Number> {
        match self.peek() {
            Some(c) if MINUS.contains(&c) => {
                self.advance();
                Ok(self.deeper(Self::unary)?.negated())
            }
            Some('+') => {
                self.advance();
                self.deeper(Self::unary)
            }
            Some(_) | None => self.power(),
        }
    }

    fn power(&mut self) -> Result<Number> {
        let base = self.postfix()?;
        let at = match self.peek() {
            Some('^') => self.advance(),
            Some('*') if self.text[self.at..].starts_with("**") => {
                self.advance();
                self.advance() - 1
            }
            Some(_) | None => return Ok(base),
        };
        let exponent = self.deeper(Self::unary)?;
        number::power(&base, &exponent, &mut self.work).map_err(located(at))
    }

    fn postfix(&mut self) -> Result<Number> {
        let mut value = self.atom()?;
        loop {
            let next = self.peek();
            let at = self.at;
            if let Some(exponent) = self.superscripts() {
                value = number::power(&value, &Number::whole(exponent), &mut self.work)
                    .map_err(located(at))?;
            } else if next == Some('%') && self.is_percentage()? {
                self.advance();
                value = number::divide(&value, &Number::whole(100), &mut self.work)
                    .map_err(located(at))?;
            } else {
                return Ok(value);
            }
        }
    }

    /// The number of small raised digits, if they come next.
    fn superscripts(&mut self) -> Option<IBig> {
        let digit = |c: char| SUPERSCRIPTS.iter().position(|known| *known == c);
        let rest = &self.text[self.at..];
        let unsigned = rest.strip_prefix('⁻').unwrap_or(rest);
        let digits: String = unsigned
            .chars()
            .map_while(digit)
            .map(|digit| digit.to_string())
            .collect();
        let exponent: IBig = digits.parse().ok()?;
        let sign = rest.len() - unsigned.len();
        self.at += sign;
        self.take(|c| digit(c).is_some());
        Some(if sign > 0 { -exponent } else { exponent })
    }

    /// Whether the `%` that comes next is a percentage rather than a remainder.
    fn is_percentage(&self) -> Result<bool> {
        let after = self.text[self.at + 1..].trim_start().chars().next();
        match after {
            Some('+') => Err(self.ambiguous()),
            Some(c) if MINUS.contains(&c) => Err(self.ambiguous()),
            Some(c) => Ok(!(c.is_alphanumeric() || matches!(c, '.' | '(' | '√'))),
            None => Ok(true),
        }
    }

    fn ambiguous(&self) -> Located {
        self.syntax(
            "`%` before a sign can be a percentage or a remainder: write (15%) + 3, or mod(7, -3)",
        )
    }

    fn atom(&mut self) -> Result<Number> {
        match self.peek() {
            Some('0'..='9' | '.') => self.number(),
            Some('(') => {
                self.advance();
                let value = self.deeper(Self::sum)?;
                self.expect(')')?;
                Ok(value)
            }
            Some('√') => {
                let at = self.advance();
                let value = self.deeper(Self::atom)?;
                number::square_root(&value, &mut self.work).map_err(located(at))
            }
            Some('π') => {
                self.advance();
                Ok(Number::Near(Near::pi()))
            }
            Some(c) if c.is_ascii_alphabetic() => self.name(),
            Some(c) => {
                Err(self.syntax(&format!("expected a number before `{}`", c.escape_debug())))
            }
            None => Err(self.syntax("expected a number, but the expression ends")),
        }
    }

    fn number(&mut self) -> Result<Number> {
        let start = self.at;
        let whole = self.take(|c| c.is_ascii_digit());
        if self.is_grouped(whole) {
            return Err(located(start)(Problem::Syntax(
                "digits with a comma may be one number or two: write 1234, or put a space after \
                 the comma of a list"
                    .to_owned(),
            )));
        }
        let mut fraction = "";
        if self.text[self.at..].starts_with('.') {
            self.at += 1;
            fraction = self.take(|c| c.is_ascii_digit());
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(located(start)(Problem::Syntax(
                "expected a digit beside `.`".to_owned(),
            )));
        }
        let mut exponent = 0;
        if self.text[self.at..].starts_with(['e', 'E']) {
            self.at += 1;
            let sign = self.text[self.at..].starts_with(['+', '-']);
            let from = self.at;
            self.at += usize::from(sign);
            if self.take(|c| c.is_ascii_digit()).is_empty() {
                return Err(self.syntax("expected the digits of an exponent"));
            }
            let text = &self.text[from..self.at];
            exponent = text.parse().map_err(|_| {
                let small = text.starts_with('-');
                located(start)(if small {
                    Problem::TooSmall
                } else {
                    Problem::TooLarge
                })
            })?;
        }
        number::literal(whole, fraction, exponent).map_err(located(start))
    }

    /// Whether a comma with three digits comes next, as in `1,234`.
    fn is_grouped(&self, whole: &str) -> bool {
        let group = self.text[self.at..].strip_prefix(',').unwrap_or_default();
        let digits = group.bytes().take_while(u8::is_ascii_digit).count();
        digits == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0')
    }

    /// A function with its arguments, or a constant.
    fn name(&mut self) -> Result<Number> {
        let start = self.at;
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        match name.to_ascii_lowercase().as_str() {
            "pi" => return Ok(Number::Near(Near::pi())),
            "e" => return Near::e().map(Number::Near).map_err(located(start)),
            _ => {}
        }
        let function = Function::named(name).ok_or_else(|| {
            let name: String = name.chars().take(32).collect();
            located(start)(Problem::Syntax(format!(
                "there is no function `{name}`; there are {}, and the constants pi and e",
                Function::names(),
            )))
        })?;
        self.expect('(')?;
        let values = self.deeper(Self::list)?;
        self.expect(')')?;
        function
            .apply(&values, &mut self.work)
            .map_err(located(start))
    }

    fn list(&mut self) -> Result<Vec<Number>> {
        let mut values = vec![self.sum()?];
        while self.peek() == Some(',') {
            self.advance();
            values.push(self.sum()?);
        }
        Ok(values)
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_DEPTH {
            return Err(self.syntax(&format!(
                "the expression nests deeper than {MAX_DEPTH} levels"
            )));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// The next character that is not white space.
    fn peek(&mut self) -> Option<char> {
        self.take(char::is_whitespace);
        self.text[self.at..].chars().next()
    }

    /// Goes on by one character and returns the place before.
    fn advance(&mut self) -> usize {
        let at = self.at;
        let next = self.text[at..].chars().next();
        self.at += next.map_or(0, char::len_utf8);
        at
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        match self.peek() {
            Some(c) if c == wanted => {
                self.advance();
                Ok(())
            }
            Some(c) => Err(self.syntax(&format!(
                "expected `{wanted}` before `{}`",
                c.escape_debug()
            ))),
            None => Err(self.syntax(&format!("expected `{wanted}`, but the expression ends"))),
        }
    }

    fn syntax(&self, problem: &str) -> Located {
        located(self.at)(Problem::Syntax(problem.to_owned()))
    }
}

fn located(at: usize) -> impl FnOnce(Problem) -> Located {
    move |problem| Located { at, problem }
}
