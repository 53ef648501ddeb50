//! Rows of a CSV file.

use super::columns::{ColumnPlan, Mapping};
use super::row::{ImportRow, RowError};
use super::{FileError, MAX_ROWS};
use csv::{ByteRecord, ReaderBuilder};
use std::io::{BufRead, BufReader, Read};

/// The most bytes of one record: a quote that is never closed must not swallow the file into memory.
const MAX_RECORD: usize = 64 * 1024;

/// How much of the file is looked at to tell its delimiter.
const SNIFF: usize = 16 * 1024;

/// The rows of a CSV file: any common delimiter, UTF-8 with or without a byte order mark, UTF-16 with one.
pub struct CsvRows {
    reader: csv::Reader<Bounded<Box<dyn Read + Send>>>,
    plan: ColumnPlan,
    first: Option<(u32, Vec<String>)>,
    record: ByteRecord,
    rows: usize,
    records: usize,
    crlf: bool,
    ended: bool,
}

impl CsvRows {
    /// Reads the header and tells the columns.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn open(input: impl Read + Send + 'static, mapping: &Mapping) -> Result<Self, FileError> {
        let mut input = BufReader::with_capacity(SNIFF, input);
        let start = input.fill_buf()?;
        let utf16 = match start {
            [0xff, 0xfe, ..] => Some(encoding_rs::UTF_16LE),
            [0xfe, 0xff, ..] => Some(encoding_rs::UTF_16BE),
            _ => None,
        };
        let mut text: BufReader<Box<dyn Read + Send>> = match utf16 {
            Some(encoding) => BufReader::with_capacity(SNIFF, Box::new(Utf8From::new(input, encoding))),
            None => {
                if start.starts_with(b"\xef\xbb\xbf") {
                    input.consume(3);
                }
                BufReader::with_capacity(SNIFF, Box::new(input))
            }
        };
        let sample = text.fill_buf()?;
        if sample.is_empty() {
            return Err(FileError::Empty);
        }
        if sample.contains(&0) {
            return Err(FileError::Encoding(
                "the file is binary, or UTF-16 without a byte order mark: save it as UTF-8".into(),
            ));
        }
        let delimiter = sniff(sample);
        let crlf = sample.windows(2).any(|pair| pair == b"\r\n");
        let source: Box<dyn Read + Send> = Box::new(text);
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .from_reader(Bounded { inner: source, since_record: 0 });
        let mut rows = Self {
            reader,
            plan: ColumnPlan { fields: Vec::new(), header: None },
            first: None,
            record: ByteRecord::new(),
            rows: 0,
            records: 0,
            crlf,
            ended: false,
        };
        let (line, cells) = match rows.next_cells() {
            None => return Err(FileError::Empty),
            Some(Err(error)) => {
                return Err(FileError::Encoding(format!(
                    "line {}: {}; save the file as UTF-8",
                    error.line, error.message
                )));
            }
            Some(Ok(row)) => row,
        };
        rows.plan = ColumnPlan::from_first_row(&cells, mapping)?;
        if rows.plan.header.is_none() {
            rows.first = Some((line, cells));
        }
        Ok(rows)
    }

    /// What each column holds.
    #[must_use]
    pub fn plan(&self) -> &ColumnPlan {
        &self.plan
    }

    fn next_cells(&mut self) -> Option<Result<(u32, Vec<String>), RowError>> {
        loop {
            if self.ended {
                return None;
            }
            self.reader.get_mut().since_record = 0;
            let line = u32::try_from(self.reader.position().line()).unwrap_or(u32::MAX);
            match self.reader.read_byte_record(&mut self.record) {
                Ok(false) => return None,
                Ok(true) => {}
                Err(error) => {
                    // After an error of the source there is no telling where the next record begins.
                    self.ended = true;
                    return Some(Err(RowError { line, message: reason(&error) }));
                }
            }
            if self.record.iter().all(<[u8]>::is_empty) {
                continue;
            }
            // Behind a CRLF the reader places the next record before the LF, still on the line that ended.
            let line = self.record.position().map_or(line, |p| u32::try_from(p.line()).unwrap_or(u32::MAX));
            let line = if self.crlf && self.records > 0 { line.saturating_add(1) } else { line };
            self.records += 1;
            let cells: Result<Vec<String>, _> =
                self.record.iter().map(|cell| std::str::from_utf8(cell).map(str::to_owned)).collect();
            return Some(match cells {
                Ok(cells) => Ok((line, cells)),
                Err(_) => Err(RowError { line, message: "is not UTF-8 text".into() }),
            });
        }
    }
}

fn reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::FileTooLarge => {
            format!(
                "a row is longer than {} KiB: a quote that is never closed? The rest of the file was not read",
                MAX_RECORD / 1024
            )
        }
        _ => "the file could not be read further".into(),
    }
}

impl Iterator for CsvRows {
    type Item = Result<ImportRow, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match self.first.take() {
            Some(first) => Ok(first),
            None => self.next_cells()?,
        };
        self.rows += 1;
        if self.rows > MAX_ROWS {
            self.ended = true;
            let line = next.as_ref().map_or_else(|e| e.line, |(line, _)| *line);
            return Some(Err(RowError { line, message: format!("more than {MAX_ROWS} rows; the rest was not read") }));
        }
        Some(next.and_then(|(line, cells)| self.plan.read(line, &cells)))
    }
}

/// The delimiter that splits the sample's lines most evenly, quotes respected.
fn sniff(sample: &[u8]) -> u8 {
    let lines: Vec<&[u8]> = sample.split(|b| *b == b'\n').filter(|line| !line.is_empty()).take(20).collect();
    let score = |delimiter: u8| {
        let counts: Vec<usize> = lines
            .iter()
            .map(|line| {
                let mut quoted = false;
                line.iter()
                    .filter(|b| {
                        if **b == b'"' {
                            quoted = !quoted;
                        }
                        !quoted && **b == delimiter
                    })
                    .count()
            })
            .collect();
        let first = counts.first().copied().unwrap_or(0);
        let alike = counts.iter().filter(|count| **count == first).count();
        if first == 0 { (0, 0) } else { (alike, first) }
    };
    [b',', b';', b'\t', b'|'].into_iter().rev().max_by_key(|d| score(*d)).unwrap_or(b',')
}

/// Refuses to read on when one record has taken more than its share.
struct Bounded<R> {
    inner: R,
    since_record: usize,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.since_record > MAX_RECORD {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        let n = self.inner.read(buf)?;
        self.since_record += n;
        Ok(n)
    }
}

/// UTF-16 turned into UTF-8 as it is read.
struct Utf8From<R> {
    inner: R,
    decoder: encoding_rs::Decoder,
    ready: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: Read> Utf8From<R> {
    fn new(inner: R, encoding: &'static encoding_rs::Encoding) -> Self {
        Self { inner, decoder: encoding.new_decoder_with_bom_removal(), ready: Vec::new(), taken: 0, ended: false }
    }
}

impl<R: Read> Read for Utf8From<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.taken == self.ready.len() && !self.ended {
            let mut raw = [0; 8 * 1024];
            let n = self.inner.read(&mut raw)?;
            self.ended = n == 0;
            let room = self.decoder.max_utf8_buffer_length(n).unwrap_or(n * 3 + 16);
            self.ready.resize(room, 0);
            let (_, _, written, _) = self.decoder.decode_to_utf8(&raw[..n], &mut self.ready, self.ended);
            self.ready.truncate(written);
            self.taken = 0;
        }
        let n = buf.len().min(self.ready.len() - self.taken);
        buf[..n].copy_from_slice(&self.ready[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn read(bytes: &[u8]) -> Vec<Result<ImportRow, RowError>> {
        CsvRows::open(Cursor::new(bytes.to_vec()), &Mapping::new()).expect("opens").collect()
    }

    fn names(bytes: &[u8]) -> Vec<(u32, String)> {
        read(bytes).into_iter().map(|r| r.expect("row")).map(|r| (r.line, r.name.unwrap_or_default())).collect()
    }

    #[test]
    fn delimiters_encodings_and_lines_are_found() {
        let expect = vec![(2, "Ann".to_owned()), (3, "Lee, B".to_owned())];
        for text in [
            "phone,name\n+60123456789,Ann\n+60123456780,\"Lee, B\"\n",
            "phone;name\r\n+60123456789;Ann\r\n+60123456780;\"Lee, B\"\r\n",
            "phone\tname\n+60123456789\tAnn\n+60123456780\tLee, B",
            "phone|name\n+60123456789|Ann\n+60123456780|Lee, B",
            "\u{feff}phone,name\n+60123456789,Ann\n+60123456780,\"Lee, B\"",
        ] {
            assert_eq!(names(text.as_bytes()), expect, "{text:?}");
        }
        let utf16: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain("phone,name\n+60123456789,Ann\n+60123456780,\"Lee, B\"".encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        assert_eq!(names(&utf16), expect);
    }

    #[test]
    fn a_row_in_another_encoding_is_an_error_of_its_line_alone() {
        let rows = read(b"phone,name\n+60123456789,Ann\n+60123456780,\xe9\n+60123456781,Bob\n");
        assert!(rows[0].is_ok() && rows[2].is_ok());
        assert_eq!(rows[1].as_ref().expect_err("latin-1").line, 3);
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let open = |bytes: &[u8]| CsvRows::open(Cursor::new(bytes.to_vec()), &Mapping::new()).map(|_| ());
        assert!(matches!(open(b""), Err(FileError::Empty)));
        assert!(matches!(open(b"\0\x01\x02"), Err(FileError::Encoding(_))));
        assert!(matches!(open(b"a,b\n1,2\n"), Err(FileError::Mapping(_))));
        assert!(matches!(open(b"ph\xe9ne,name\n"), Err(FileError::Encoding(_))));
    }

    #[test]
    fn a_quote_that_is_never_closed_does_not_take_the_memory() {
        let mut text = b"phone,name\n+60123456789,\"".to_vec();
        text.extend(std::iter::repeat_n(b'x', 4 * MAX_RECORD));
        let rows = read(&text);
        assert_eq!(rows.len(), 1);
        assert!(rows[0].as_ref().expect_err("too long").message.contains("quote"));
    }
}
