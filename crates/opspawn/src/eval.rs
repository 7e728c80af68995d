//! `opspawn eval`: an agent against cases, and one version of it against another. A case may bring the
//! log of an old run: the tools then answer what they answered in it, and nothing is done.

pub(crate) mod checks;
pub(crate) mod file;
#[cfg(test)]
pub(crate) mod fuzzing;
pub(crate) mod judge;
mod live;
pub(crate) mod recording;
pub(crate) mod report;
mod run;
pub(crate) mod transcript;

pub(crate) use self::run::run;
