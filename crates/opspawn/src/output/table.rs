//! Tables of text.

use std::io::IsTerminal as _;

use rustix::termios::tcgetwinsize;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::clean::one_line;

/// Cells between columns.
const GAP: usize = 2;
/// What a column that is cut keeps at the least.
const MIN_WIDTH: usize = 12;
/// The same where the terminal is too narrow for that.
const MIN_NARROW: usize = 5;

/// Rows of cells under a head. On a terminal, the last columns are cut to its width.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    /// How many of the last columns may be cut.
    flexible: usize,
}

impl Table {
    /// A table of these columns, the last of which may be cut.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            head: columns.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
            flexible: 1,
        }
    }

    /// The same, with so many of the last columns that may be cut.
    pub(crate) fn flexible(self, columns: usize) -> Self {
        Self {
            flexible: columns,
            ..self
        }
    }

    /// Adds a row.
    pub(crate) fn add_row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| one_line(&cell)).collect());
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        let stdout = std::io::stdout();
        let width = stdout.is_terminal().then(|| tcgetwinsize(&stdout).ok());
        let width = width.flatten().map(|size| usize::from(size.ws_col));
        for line in self.lines(width.filter(|width| *width > 0)) {
            super::print(&line);
        }
    }

    fn lines(&self, terminal: Option<usize>) -> Vec<String> {
        let all = || std::iter::once(&self.head).chain(&self.rows);
        let mut widths = vec![0; self.head.len()];
        for row in all() {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        if let Some(terminal) = terminal {
            shrink(&mut widths, self.flexible, terminal);
        }
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cell = cut(cell, *width);
                let missing = width.saturating_sub(cell.width()) + GAP;
                line.push_str(&cell);
                line.extend(std::iter::repeat_n(' ', missing));
            }
            line.truncate(line.trim_end().len());
            line
        };
        all().map(line).collect()
    }
}

/// Takes width from the widest of the last columns until the table fits, or they are narrow.
fn shrink(widths: &mut [usize], flexible: usize, terminal: usize) {
    let first = widths.len().saturating_sub(flexible);
    if narrow(widths, first, MIN_WIDTH, terminal) {
        return;
    }
    // Lines that wrap are read by nobody: the other columns are cut as well, if that is enough. The first one names the row.
    let mut all = widths.to_vec();
    if narrow(&mut all, 1, MIN_NARROW, terminal) {
        widths.copy_from_slice(&all);
    }
}

/// Takes width from the widest of the columns from `first` on until the table fits, or none is wider than `least`. Whether it
/// fits.
fn narrow(widths: &mut [usize], first: usize, least: usize, terminal: usize) -> bool {
    let gaps = GAP * widths.len().saturating_sub(1);
    loop {
        let total = widths.iter().sum::<usize>() + gaps;
        if total <= terminal {
            return true;
        }
        let widest = widths[first..].iter_mut().max_by_key(|width| **width);
        match widest {
            Some(width) if *width > least => *width -= 1,
            Some(_) | None => return false,
        }
    }
}

/// The beginning of a cell that fits into a width.
fn cut(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_owned();
    }
    let mut cut = String::new();
    let mut used = 1;
    for c in cell.chars() {
        used += c.width().unwrap_or(0);
        if used > width {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let mut table = Table::new(&["STEP", "NAME", "INPUT", "OUTPUT"]).flexible(2);
        for row in rows {
            table.add_row(row.iter().map(|cell| (*cell).to_owned()));
        }
        table
    }

    /// cli/C11: a row whose first cell is empty was moved to the left.
    #[test]
    fn empty_cells_keep_their_place() {
        let lines = table(&[&["1", "model", "", "x"], &["", "timer", "", ""]]).lines(None);
        assert_eq!(
            lines,
            [
                "STEP  NAME   INPUT  OUTPUT",
                "1     model         x",
                "      timer"
            ]
        );
    }

    /// cli/C11: tables took no notice of the terminal's width.
    #[test]
    fn the_last_columns_are_cut_to_the_terminal() {
        let long = "x".repeat(40);
        let rows: &[&[&str]] = &[&["1", "a_name_that_stays", &long, "漢字漢字漢字漢字漢字"]];
        let lines = table(rows).lines(Some(60));
        assert!(lines.iter().all(|line| line.width() <= 60), "{lines:?}");
        assert!(lines[1].contains("a_name_that_stays") && lines[1].contains('…'));
        let wide = table(rows).lines(Some(200));
        assert!(!wide[1].contains('…'));
        // A terminal that is too narrow for anything still shows the names.
        assert!(table(rows).lines(Some(5))[1].contains("a_name_that_stays"));
    }

    /// A table of tasks is wider than 80 cells without its last column.
    #[test]
    fn a_table_fits_into_80_cells_if_it_can() {
        let mut table = Table::new(&["TASK", "STATE", "NAME", "CREATED", "TOKENS", "GOAL"]);
        let id = "task_01a2060b-404b-705a-b965-2ff9f46dad85";
        let row = [
            id,
            "completed",
            "a name",
            "2026-11-23T01:33:10.620Z",
            "1200",
            "Do what is to be done",
        ];
        table.add_row(row.map(str::to_owned));
        let lines = table.lines(Some(80));
        assert!(lines.iter().all(|line| line.width() <= 80), "{lines:?}");
        assert!(lines[1].starts_with(id), "{lines:?}");
    }

    #[test]
    fn cells_are_one_line_and_steer_nothing() {
        let lines = table(&[&["1", "a\nb", "\u{1b}[2J", ""]]).lines(None);
        assert_eq!(lines[1], "1     a\\nb  \\u{1b}[2J");
    }
}
