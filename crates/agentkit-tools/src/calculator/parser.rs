//! Reads an expression and works it out on the way.
//!
//! ```text
//! sum     = product { ("+" | "-") product }
//! product = unary { ("*" | "/" | "%") unary }
//! unary   = ("+" | "-") unary | power
//! power   = atom [ ("^" | "**") unary ]
//! atom    = number | name "(" sum { "," sum } ")" | "(" sum ")"
//! ```

use rust_decimal::Decimal;

use super::{Located, Problem, number};

type Result<T> = std::result::Result<T, Located>;

/// How deep parentheses, functions, signs and exponents may nest.
const MAX_DEPTH: usize = 64;

pub(super) fn evaluate(text: &str) -> Result<Decimal> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(',') => Err(parser.syntax(
            "unexpected `,`; thousands separators are not accepted, and lists stand in functions",
        )),
        Some(')') => Err(parser.syntax("unexpected `)`, as none is open")),
        Some(other) => Err(parser.syntax(&format!("expected an operator before `{other}`"))),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The next byte to read; always between two characters.
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<Decimal> {
        let mut left = self.product()?;
        loop {
            let operation = match self.peek() {
                Some('+') => number::add,
                Some('-') => number::subtract,
                Some(_) | None => return Ok(left),
            };
            let at = self.advance(1);
            let right = self.product()?;
            left = operation(left, right).map_err(located(at))?;
        }
    }

    fn product(&mut self) -> Result<Decimal> {
        let mut left = self.unary()?;
        loop {
            let operation = match self.peek() {
                Some('*') => number::multiply,
                Some('/') => number::divide,
                Some('%') => number::remainder,
                Some(_) | None => return Ok(left),
            };
            let at = self.advance(1);
            let right = self.unary()?;
            left = operation(left, right).map_err(located(at))?;
        }
    }

    fn unary(&mut self) -> Result<Decimal> {
        match self.peek() {
            Some('-') => {
                self.advance(1);
                Ok(-self.deeper(Self::unary)?)
            }
            Some('+') => {
                self.advance(1);
                self.deeper(Self::unary)
            }
            Some(_) | None => self.power(),
        }
    }

    fn power(&mut self) -> Result<Decimal> {
        let base = self.atom()?;
        let length = match self.peek() {
            Some('^') => 1,
            Some('*') if self.text[self.at..].starts_with("**") => 2,
            Some(_) | None => return Ok(base),
        };
        let at = self.advance(length);
        let exponent = self.deeper(Self::unary)?;
        number::power(base, exponent).map_err(located(at))
    }

    fn atom(&mut self) -> Result<Decimal> {
        match self.peek() {
            Some('0'..='9' | '.') => self.number(),
            Some('(') => {
                self.advance(1);
                let value = self.deeper(Self::sum)?;
                self.expect(')')?;
                Ok(value)
            }
            Some(c) if c.is_ascii_alphabetic() => self.function(),
            Some(c) => {
                Err(self.syntax(&format!("expected a number before `{}`", c.escape_debug())))
            }
            None => Err(self.syntax("expected a number, but the expression ends")),
        }
    }

    fn number(&mut self) -> Result<Decimal> {
        let start = self.at;
        let whole = self.take(|c| c.is_ascii_digit());
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

    fn function(&mut self) -> Result<Decimal> {
        let start = self.at;
        let name = self.take(|c| c.is_ascii_alphanumeric() || c == '_');
        let function = Function::named(name).ok_or_else(|| {
            let name: String = name.chars().take(32).collect();
            located(start)(Problem::Syntax(format!(
                "there is no function `{name}`; there are {}",
                Function::ALL.map(Function::name).join(", "),
            )))
        })?;
        self.expect('(')?;
        let values = self.deeper(Self::list)?;
        self.expect(')')?;
        function.apply(&values).map_err(located(start))
    }

    fn list(&mut self) -> Result<Vec<Decimal>> {
        let mut values = vec![self.sum()?];
        while self.peek() == Some(',') {
            self.advance(1);
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

    /// Goes on by so many bytes and returns where it was.
    fn advance(&mut self, bytes: usize) -> usize {
        let at = self.at;
        self.at += bytes;
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
                self.advance(c.len_utf8());
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

#[derive(Debug, Clone, Copy)]
enum Function {
    Sum,
    Avg,
    Min,
    Max,
    Abs,
    Sqrt,
    Floor,
    Ceil,
    Round,
}

impl Function {
    const ALL: [Self; 9] = [
        Self::Sum,
        Self::Avg,
        Self::Min,
        Self::Max,
        Self::Abs,
        Self::Sqrt,
        Self::Floor,
        Self::Ceil,
        Self::Round,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Abs => "abs",
            Self::Sqrt => "sqrt",
            Self::Floor => "floor",
            Self::Ceil => "ceil",
            Self::Round => "round",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|function| function.name().eq_ignore_ascii_case(name))
    }

    /// The value for one or more arguments.
    fn apply(self, values: &[Decimal]) -> std::result::Result<Decimal, Problem> {
        let sum = || {
            values
                .iter()
                .try_fold(Decimal::ZERO, |sum, value| number::add(sum, *value))
        };
        let extreme = |value: Option<&Decimal>| {
            value
                .copied()
                .ok_or(Problem::Undefined("it takes at least one value"))
        };
        match (self, values) {
            (Self::Sum, _) => sum(),
            (Self::Avg, _) => number::divide(sum()?, values.len().into()),
            (Self::Min, _) => extreme(values.iter().min()),
            (Self::Max, _) => extreme(values.iter().max()),
            (Self::Abs, [value]) => Ok(value.abs()),
            (Self::Sqrt, [value]) => number::square_root(*value),
            (Self::Floor, [value]) => Ok(value.floor()),
            (Self::Ceil, [value]) => Ok(value.ceil()),
            (Self::Round, [value]) => number::round(*value, Decimal::ZERO),
            (Self::Round, [value, places]) => number::round(*value, *places),
            (Self::Abs | Self::Sqrt | Self::Floor | Self::Ceil | Self::Round, _) => {
                let wanted = match self {
                    Self::Round => "a value and a number of places",
                    Self::Sum | Self::Avg | Self::Min | Self::Max => "one value or more",
                    Self::Abs | Self::Sqrt | Self::Floor | Self::Ceil => "one value",
                };
                let (name, count) = (self.name(), values.len());
                Err(Problem::Syntax(format!(
                    "{name} takes {wanted}, not {count} values"
                )))
            }
        }
    }
}
