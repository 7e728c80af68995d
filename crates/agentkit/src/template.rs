//! Templates of scripts and instructions: [minijinja](https://docs.rs/minijinja), within bounds.
//!
//! A caller chooses a template, so that it must be able to take neither the stack, nor the memory, nor
//! hours. The engine counts its steps as fuel, but not all of what a template can ask for:
//!
//! - It parses, compiles and drops a chain of 7,500 terms recursively. So the tokens of a tag and the
//!   nesting of blocks are bounded before anything is parsed ([`scan`]).
//! - A list that is joined to itself, repeated or put into itself is shared, not copied, so that 40
//!   assignments stand for 2^40 items; comparing, joining or showing them costs no fuel. So every list
//!   and map that an assignment, a loop or a literal makes is copied and paid for, and pays again
//!   whenever it is looked at as a whole ([`owned`]).
//! - A namespace can be put into itself, and showing it then never ends. So a namespace is used by its
//!   members only, and takes copies.
//!
//! What costs little is written where it is asked for; the rest takes [`FULL`] on the pool.

mod owned;
mod scan;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior};

pub(crate) use self::owned::from_json;
#[cfg(feature = "scripted")]
pub(crate) use self::owned::{list, map};

/// What a template may take, in minijinja's fuel: an instruction each, or 64 bytes of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget(u64);

/// What is written where it is asked for: less than a millisecond.
#[cfg(feature = "scripted")]
pub(crate) const INLINE_BUDGET: Budget = Budget(2_000);
/// What is written at all: 64 MiB of text, or some tenths of a second.
pub(crate) const FULL: Budget = Budget(1_000_000);

/// An environment for guarded templates: names that are not defined are errors.
pub(crate) fn environment<'s>() -> Environment<'s> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FULL.0));
    owned::register(&mut environment);
    environment
}

/// The same environment with another budget.
#[cfg(feature = "scripted")]
pub(crate) fn with_budget<'s>(environment: &Environment<'s>, budget: Budget) -> Environment<'s> {
    let mut other = environment.clone();
    other.set_fuel(Some(budget.0));
    other
}

/// Adds a template, once it is known to be within the bounds.
///
/// # Errors
/// What is wrong with it, and on which line.
pub(crate) fn add(
    environment: &mut Environment<'_>,
    name: &str,
    source: &str,
) -> Result<(), Error> {
    let guarded = scan::guarded(source)?;
    // Mistakes are told of the text as it was written.
    environment.add_template_owned(name.to_owned(), source.to_owned())?;
    environment.add_template_owned(name.to_owned(), guarded)
}

/// Whether an expression alone is one, and within the bounds.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "scripted")]
pub(crate) fn check_expression(environment: &Environment<'_>, source: &str) -> Result<(), Error> {
    scan::guarded(&format!("{{{{ {source} }}}}"))?;
    environment
        .compile_expression_owned(source.to_owned())
        .map(drop)
}

/// Renders a template of an environment.
///
/// # Errors
/// Also [`ErrorKind::OutOfFuel`].
pub(crate) fn render(
    environment: &Environment<'_>,
    name: &str,
    context: minijinja::Value,
) -> Result<String, Error> {
    let budget = environment.fuel().unwrap_or(FULL.0);
    let template = environment.get_template(name)?;
    let (written, is_spent) = owned::within_budget(4 * budget, || template.render(context));
    match is_spent && !units::mutant!("agentkit.lists_cost_nothing") {
        true => Err(Error::from(ErrorKind::OutOfFuel)),
        false => written,
    }
}

#[cfg(test)]
mod tests;
