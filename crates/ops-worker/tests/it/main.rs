//! The worker over a real store: what becomes of runs that go wrong.

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod lease;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod sweeper;
#[cfg(test)]
mod world;
#[cfg(test)]
mod wrong;
