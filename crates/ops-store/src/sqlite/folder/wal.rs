//! The write-ahead log as a file, before SQLite opens the log. SQLite reads up to the first damaged frame,
//! and does not report the frames behind: one flipped bit early in the file takes every later commit away.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read as _},
    path::{Path, PathBuf},
};

use crate::sqlite::folder::open::DATABASE_FILE;

/// Bytes before the first frame.
const HEADER: usize = 32;
/// Bytes before the page of a frame.
const FRAME_HEADER: usize = 24;
/// The first four bytes; the last bit says in which order checksums take bytes.
const MAGIC: u32 = 0x377f_0682;

/// The parts of a write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WalState {
    /// Up to the end of the last commit that SQLite will read.
    pub valid_bytes: u64,
    /// Behind the last commit, of the same log: a transaction that was never committed.
    pub unfinished_bytes: u64,
    /// Behind the damage, of the same log, with commits among them. They cannot be read.
    pub lost_bytes: u64,
    /// How many commits are among the lost bytes.
    pub lost_commits: u64,
}

/// The file beside a database.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(format!("{DATABASE_FILE}-wal"))
}

/// Checks the log of a folder that no process has open; `None` without a log.
pub(crate) fn look(dir: &Path) -> io::Result<Option<WalState>> {
    match File::open(path(dir)) {
        Ok(file) => {
            let length = file.metadata()?.len();
            scan(BufReader::with_capacity(256 << 10, file), length).map(Some)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps a copy of a log with lost commits, under a name that the same log always gets.
pub(crate) fn keep(dir: &Path) -> io::Result<PathBuf> {
    let from = path(dir);
    let mut header = [0; HEADER];
    File::open(&from)?.read_exact(&mut header)?;
    let kept = dir.join(format!(
        "{DAMAGED_PREFIX}{}.wal",
        units::hex::encode(&header[16..24])
    ));
    if !kept.exists() {
        fs::copy(&from, &kept)?;
        File::open(&kept)?.sync_all()?;
    }
    Ok(kept)
}

/// Prefix of the names of saved logs.
const DAMAGED_PREFIX: &str = "opspawn-damaged-";

/// The saved logs that the operator has not deleted yet.
pub(crate) fn kept(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(DAMAGED_PREFIX))
    };
    let mut found: Vec<_> = entries.map(|entry| entry.path()).filter(ours).collect();
    found.sort();
    found
}

fn scan(mut file: impl io::Read, length: u64) -> io::Result<WalState> {
    let mut state = WalState::default();
    if length == 0 {
        return Ok(state);
    }
    let mut header = [0; HEADER];
    let read = fill(&mut file, &mut header)?;
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let order = Order::of(word(0));
    let page = word(8) as usize;
    let well_formed = read == HEADER
        && word(0) & !1 == MAGIC
        && page.is_power_of_two()
        && (512..=65_536).contains(&page);
    let mut sum = Sum::default();
    sum.add(order, &header[..24]);
    if !well_formed || (sum.0, sum.1) != (word(24), word(28)) {
        // No frame is read without it. A header alone was never followed by a commit.
        match length > HEADER as u64 {
            true => (state.lost_bytes, state.lost_commits) = (length, 1),
            false => state.unfinished_bytes = length,
        }
        return Ok(state);
    }
    let salts = (word(16), word(20));
    state.valid_bytes = HEADER as u64;
    let mut frame = vec![0; FRAME_HEADER + page];
    let (mut at, mut tail) = (HEADER as u64, 0);
    let mut chain = true;
    loop {
        let read = fill(&mut file, &mut frame)?;
        if read < FRAME_HEADER {
            break;
        }
        let word = |at: usize| {
            u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]])
        };
        let commit = word(4) != 0;
        let (one, two) = (word(8) == salts.0, word(12) == salts.1);
        at += read as u64;
        if chain && read == frame.len() && one && two {
            sum.add(order, &frame[..8]);
            sum.add(order, &frame[FRAME_HEADER..]);
            chain = (sum.0, sum.1) == (word(16), word(20));
        } else {
            chain = false;
        }
        if chain && commit {
            (state.valid_bytes, tail) = (at, 0);
        } else if one || two {
            // Frames of an older log, which this one has not written over yet, have neither salt. A
            // frame of ours with a damaged salt still has the other one.
            tail = at - state.valid_bytes;
            // A file that ends within a frame was being written: nobody was told that it is stored.
            state.lost_commits += u64::from(commit && !chain && read == frame.len());
        }
        if read < frame.len() {
            break;
        }
    }
    match state.lost_commits {
        0 => state.unfinished_bytes = tail,
        _ => state.lost_bytes = tail,
    }
    Ok(state)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match file.read(&mut buffer[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}

/// In which order a checksum takes the bytes of a word.
#[derive(Debug, Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn of(magic: u32) -> Self {
        match magic & 1 {
            1 => Self::Big,
            _ => Self::Little,
        }
    }
}

/// The running checksum of a log (<https://sqlite.org/fileformat2.html#walformat>).
#[derive(Debug, Clone, Copy, Default)]
struct Sum(u32, u32);

impl Sum {
    fn add(&mut self, order: Order, bytes: &[u8]) {
        let (pairs, _) = bytes.as_chunks::<8>();
        for &[a, b, c, d, e, f, g, h] in pairs {
            let (first, second) = match order {
                Order::Big => (
                    u32::from_be_bytes([a, b, c, d]),
                    u32::from_be_bytes([e, f, g, h]),
                ),
                Order::Little => (
                    u32::from_le_bytes([a, b, c, d]),
                    u32::from_le_bytes([e, f, g, h]),
                ),
            };
            self.0 = self.0.wrapping_add(first).wrapping_add(self.1);
            self.1 = self.1.wrapping_add(second).wrapping_add(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// The log of so many commits of one row each, and the database that it belongs to.
    fn log_of(dir: &Path, commits: u32) -> Vec<u8> {
        let conn = Connection::open(dir.join(DATABASE_FILE)).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x);",
        )
        .unwrap();
        for _ in 1..commits {
            conn.execute("INSERT INTO t VALUES (zeroblob(300))", ())
                .unwrap();
        }
        fs::read(path(dir)).unwrap()
    }

    fn look_at(bytes: &[u8]) -> WalState {
        scan(bytes, bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_whole_log_has_nothing_behind_its_last_commit() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path()).unwrap(), None);
        let log = log_of(dir.path(), 20);
        let state = look_at(&log);
        assert_eq!((state.unfinished_bytes, state.lost_bytes), (0, 0));
        assert_eq!(state.valid_bytes, log.len() as u64);
        assert_eq!(look_at(&[]), WalState::default());
    }

    #[test]
    fn what_was_never_committed_is_told_from_what_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let log = log_of(dir.path(), 20);
        // A kill in the middle of the last commit.
        for missing in [100, 4_000, 5_000] {
            let state = look_at(&log[..log.len() - missing]);
            assert_eq!((state.lost_bytes, state.lost_commits), (0, 0), "{missing}");
            assert!(state.unfinished_bytes > 0, "{missing}");
        }
    }

    #[test]
    fn any_flipped_bit_takes_the_commits_behind_it_and_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let log = log_of(dir.path(), 20);
        let whole = look_at(&log).valid_bytes;
        // Each of the first and the last bytes, and some between: headers, salts, sums and pages.
        let places = (0..200)
            .chain(log.len() - 4_200..log.len())
            .chain((200..log.len()).step_by(97));
        for at in places {
            let mut flipped = log.clone();
            flipped[at] ^= 1 << (at % 8);
            let state = look_at(&flipped);
            assert!(
                state.lost_bytes > 0 && state.lost_commits > 0,
                "byte {at}: {state:?}"
            );
            assert!(state.valid_bytes < whole, "byte {at}: {state:?}");
        }
    }

    #[test]
    fn an_older_log_behind_the_new_one_is_no_damage() {
        let dir = tempfile::tempdir().unwrap();
        let conn = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
        drop(log_of(dir.path(), 30));
        conn.execute_batch("PRAGMA wal_checkpoint(RESTART); INSERT INTO t VALUES (1);")
            .unwrap();
        let state = look(dir.path()).unwrap().unwrap();
        assert_eq!(
            (state.unfinished_bytes, state.lost_bytes),
            (0, 0),
            "{state:?}"
        );
        assert!(
            state.valid_bytes > 4_000 && state.valid_bytes < 20_000,
            "{state:?}"
        );
    }
}
