//! The records of a CSV text, with the lines that an editor shows.
//!
//! The `csv` crate counts `\n` alone and reads an opening quote that is never closed to the end of the file. Here every
//! kind of line end counts, and such a quote costs its own line alone: the lines after it are read.

use std::io::Read;

/// The most bytes of one record: a quote that is never closed must not swallow the file into memory.
pub(super) const MAX_RECORD: usize = 64 * 1024;

/// How much is read at once.
const READ: usize = 64 * 1024;

/// A record of cells, as bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The line on which it begins, from 1.
    pub(super) line: u32,
    /// Its cells; of one that is broken, those of its first line.
    pub(super) cells: Vec<Vec<u8>>,
    /// What is wrong with it.
    pub(super) flaw: Option<Flaw>,
}

/// What can be wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A quote that is never closed.
    Unclosed,
    /// More than [`MAX_RECORD`].
    TooLong,
}

/// What a look at the text says.
enum Seen {
    /// A record of so many bytes and line ends.
    Whole { bytes: usize, lines: u32, cells: Vec<Vec<u8>> },
    /// Its end is not in sight.
    More,
    /// Its quote has no end.
    Unclosed,
}

/// Reads records.
pub(super) struct Records<R> {
    input: R,
    text: Vec<u8>,
    at: usize,
    ended: bool,
    line: u32,
    delimiter: u8,
}

/// The bytes of a line end here, if there is one: `\r\n` is one. `None`: not before more is read.
fn line_end(text: &[u8], ended: bool) -> Option<usize> {
    match text {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        [b'\r'] if !ended => None,
        [b'\r', ..] => Some(1),
        _ => Some(0),
    }
}

fn look(text: &[u8], delimiter: u8, ended: bool) -> Seen {
    let (mut at, mut lines, mut cells, mut cell) = (0, 0, Vec::new(), Vec::new());
    loop {
        if text.get(at) == Some(&b'"') && cell.is_empty() {
            match quoted(text.get(at + 1..).unwrap_or_default(), delimiter, ended, &mut cell) {
                Quoted::Closed { bytes, lines: within } => {
                    at += 1 + bytes;
                    lines += within;
                }
                Quoted::More => return Seen::More,
                Quoted::Unclosed => return Seen::Unclosed,
            }
        }
        let rest = text.get(at..).unwrap_or_default();
        let length = memchr::memchr3(delimiter, b'\n', b'\r', rest).unwrap_or(rest.len());
        cell.extend_from_slice(rest.get(..length).unwrap_or_default());
        at += length;
        match text.get(at) {
            None if !ended => return Seen::More,
            None => {
                cells.push(cell);
                return Seen::Whole { bytes: at, lines, cells };
            }
            Some(byte) if *byte == delimiter => {
                cells.push(std::mem::take(&mut cell));
                at += 1;
            }
            Some(_) => {
                let Some(end) = line_end(text.get(at..).unwrap_or_default(), ended) else { return Seen::More };
                cells.push(cell);
                return Seen::Whole { bytes: at + end, lines: lines + 1, cells };
            }
        }
    }
}

enum Quoted {
    Closed { bytes: usize, lines: u32 },
    More,
    Unclosed,
}

/// Reads from behind an opening quote to behind the closing one. A quote within the first line that neither closes the
/// cell nor is doubled is a character like any other (`"the "big" one"`); on a later line it is the opening quote of
/// another cell, so this one was never closed.
fn quoted(text: &[u8], delimiter: u8, ended: bool, cell: &mut Vec<u8>) -> Quoted {
    let (mut at, mut lines) = (0, 0);
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let length = memchr::memchr3(b'"', b'\n', b'\r', rest).unwrap_or(rest.len());
        cell.extend_from_slice(rest.get(..length).unwrap_or_default());
        at += length;
        match text.get(at) {
            None if ended => return Quoted::Unclosed,
            None => return Quoted::More,
            Some(b'"') => {
                let behind = text.get(at + 1..).unwrap_or_default();
                let blank = behind.iter().take_while(|b| **b == b' ').count();
                match behind.first() {
                    Some(b'"') => {
                        cell.push(b'"');
                        at += 2;
                    }
                    None if !ended => return Quoted::More,
                    _ => match behind.get(blank) {
                        None if !ended => return Quoted::More,
                        None => return Quoted::Closed { bytes: at + 1 + blank, lines },
                        Some(byte) if *byte == delimiter || matches!(byte, b'\n' | b'\r') => {
                            return Quoted::Closed { bytes: at + 1 + blank, lines };
                        }
                        Some(_) if lines > 0 => return Quoted::Unclosed,
                        Some(_) => {
                            cell.push(b'"');
                            at += 1;
                        }
                    },
                }
            }
            Some(_) => {
                let Some(end) = line_end(text.get(at..).unwrap_or_default(), ended) else { return Quoted::More };
                cell.push(b'\n');
                at += end;
                lines += 1;
            }
        }
    }
}

impl<R: Read> Records<R> {
    pub(super) fn new(input: R, delimiter: u8) -> Self {
        Self { input, text: Vec::new(), at: 0, ended: false, line: 1, delimiter }
    }

    /// The line on which the next record begins.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// Passes over the first line, which tells the delimiter.
    pub(super) fn skip_line(&mut self) -> std::io::Result<()> {
        self.skip_to_line_end()
    }

    fn fill(&mut self) -> std::io::Result<()> {
        self.text.drain(..self.at);
        self.at = 0;
        let before = self.text.len();
        self.text.resize(before + READ, 0);
        let read = loop {
            match self.input.read(self.text.get_mut(before..).unwrap_or_default()) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.text.truncate(before + read.as_ref().copied().unwrap_or(0));
        self.ended = read? == 0;
        Ok(())
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Record>> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.is_empty() && self.ended {
                return Ok(None);
            }
            let seen = if rest.is_empty() { Seen::More } else { look(rest, self.delimiter, self.ended) };
            match seen {
                Seen::Whole { bytes, lines, cells } => {
                    let record = Record { line: self.line, cells, flaw: None };
                    self.at += bytes;
                    self.line = self.line.saturating_add(lines);
                    return Ok(Some(record));
                }
                Seen::More if rest.len() <= MAX_RECORD => self.fill()?,
                Seen::More => {
                    let first = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
                    let flaw = if first.is_some() { Flaw::Unclosed } else { Flaw::TooLong };
                    return self.broken(flaw).map(Some);
                }
                Seen::Unclosed => return self.broken(Flaw::Unclosed).map(Some),
            }
        }
    }

    /// A record of which only the first line is taken; the next one begins behind it.
    fn broken(&mut self, flaw: Flaw) -> std::io::Result<Record> {
        let line = self.line;
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len()).min(MAX_RECORD);
        let cells = rest
            .get(..length)
            .unwrap_or_default()
            .split(|b| *b == self.delimiter)
            .map(|cell| cell.strip_prefix(b"\"").unwrap_or(cell).to_vec())
            .collect();
        self.skip_to_line_end()?;
        Ok(Record { line, cells, flaw: Some(flaw) })
    }

    fn skip_to_line_end(&mut self) -> std::io::Result<()> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            match rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
                Some(length) => match line_end(rest.get(length..).unwrap_or_default(), self.ended) {
                    Some(end) => {
                        self.at += length + end;
                        self.line = self.line.saturating_add(1);
                        return Ok(());
                    }
                    None => self.fill()?,
                },
                None if self.ended => {
                    self.at = self.text.len();
                    return Ok(());
                }
                None => {
                    self.at = self.text.len();
                    self.fill()?;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Vec<(u32, String, Option<Flaw>)> {
        let mut records = Records::new(text, b',');
        let mut all = Vec::new();
        while let Some(record) = records.next().expect("memory") {
            let cells: Vec<String> =
                record.cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
            all.push((record.line, cells.join("|"), record.flaw));
        }
        all
    }

    #[test]
    fn lines_are_those_of_an_editor_whatever_ends_them() {
        let text = b"a,b\r\n\"x\r\ny\",1\rc,\"p\nq\rr\"\n\nd,2\r\n\r\ne,3";
        let expected = [(1, "a|b"), (2, "x\ny|1"), (4, "c|p\nq\nr"), (7, ""), (8, "d|2"), (9, ""), (10, "e|3")];
        let read: Vec<_> = read(text);
        assert_eq!(read.iter().map(|(l, c, _)| (*l, c.as_str())).collect::<Vec<_>>(), expected);
        assert!(read.iter().all(|(_, _, flaw)| flaw.is_none()));
    }

    #[test]
    fn a_quote_that_is_never_closed_costs_its_line_alone() {
        let broken = Some(Flaw::Unclosed);
        for (text, expected) in [
            // To the end of the file.
            (
                "h,n\n1,\"Ann\n2,Bob\n3,Lee\n",
                vec![(1, "h|n", None), (2, "1|Ann", broken), (3, "2|Bob", None), (4, "3|Lee", None)],
            ),
            // To the opening quote of another row.
            (
                "h,n\n1,\"Ann\n2,\"Bob\"\n3,\"Lee, C\"\n",
                vec![(1, "h|n", None), (2, "1|Ann", broken), (3, "2|Bob", None), (4, "3|Lee, C", None)],
            ),
            ("1,\"\n2,Bob", vec![(1, "1|", broken), (2, "2|Bob", None)]),
            ("1,\"Ann", vec![(1, "1|Ann", broken)]),
            // Not broken at all.
            (
                "1,\"the \"\"big\"\" one\"\n2,\"the \"big\" one\"\n3,5\" x\n",
                vec![(1, "1|the \"big\" one", None), (2, "2|the \"big\" one", None), (3, "3|5\" x", None)],
            ),
            ("1,\"Ann\" ,x\n", vec![(1, "1|Ann|x", None)]),
        ] {
            let read = read(text.as_bytes());
            assert_eq!(read.iter().map(|(l, c, f)| (*l, c.as_str(), *f)).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_too_long_is_passed_over_and_not_held() {
        let long = "x".repeat(3 * MAX_RECORD);
        let text = format!("a\n{long}\nb\n\"{long}\nc\n");
        let read = read(text.as_bytes());
        let told: Vec<_> = read.iter().map(|(line, cells, flaw)| (*line, cells.len() <= MAX_RECORD, *flaw)).collect();
        assert_eq!(
            told,
            [
                (1, true, None),
                (2, true, Some(Flaw::TooLong)),
                (3, true, None),
                (4, true, Some(Flaw::TooLong)),
                (5, true, None)
            ]
        );
        assert_eq!(read.last().map(|(_, cells, _)| cells.as_str()), Some("c"));
    }

    /// A reader that gives what it has in pieces.
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buf.len());
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    proptest! {
        /// What is well written is read as it was written, on the lines on which it stands.
        #[test]
        fn records_are_read_as_they_were_written(
            rows in prop::collection::vec((prop::collection::vec("[a-z\", \r\n]{0,6}", 1..4), prop::sample::select(vec!["\n", "\r\n", "\r"])), 1..12),
            piece in 1usize..9,
        ) {
            let (mut text, mut expected, mut line) = (String::new(), Vec::new(), 1u32);
            for (cells, end) in &rows {
                let one = |cell: &str| cell.replace("\r\n", "\n").replace('\r', "\n");
                expected.push((line, cells.iter().map(|cell| one(cell)).collect::<Vec<_>>()));
                line += u32::try_from(cells.iter().map(|cell| one(cell).matches('\n').count()).sum::<usize>()).expect("few") + 1;
                text.push_str(&cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect::<Vec<_>>().join(","));
                text.push_str(end);
            }
            let mut records = Records::new(Pieces(text.as_bytes(), piece), b',');
            let mut got = Vec::new();
            while let Some(record) = records.next().expect("memory") {
                prop_assert_eq!(record.flaw, None);
                got.push((record.line, record.cells.into_iter().map(|c| String::from_utf8(c).expect("text")).collect::<Vec<_>>()));
            }
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn any_text_ends_and_its_lines_only_grow(text in prop::collection::vec(prop::sample::select(b"ab\",\r\n ".to_vec()), 0..80), piece in 1usize..5) {
            let mut records = Records::new(Pieces(&text, piece), b',');
            let mut last = 0;
            while let Some(record) = records.next().expect("memory") {
                prop_assert!(record.line > last);
                last = record.line;
            }
        }
    }
}
