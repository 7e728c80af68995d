//! The witnesses answer, and what they wrote survives them.

#[cfg(test)]
mod aimock;
#[cfg(test)]
mod ledger;
#[cfg(test)]
mod opspawn;
#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod stub;
