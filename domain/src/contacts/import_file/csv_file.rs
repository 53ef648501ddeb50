//! Rows of a CSV file.

use super::columns::ColumnPlan;
use super::encoding::{Encoding, Text};
use super::records::{Flaw, MAX_RECORD, Record, Records};
use super::row::{FileRow, RowError};
use super::{FileError, FileOptions, MAX_ROWS};
use std::io::{BufRead, BufReader, Read, Seek};

/// How much of the file is looked at to tell its delimiter.
const SNIFF: usize = 16 * 1024;

/// The rows of a CSV file: any common delimiter and encoding, any line ends.
pub struct CsvRows<R> {
    records: Records<BufReader<Text<R>>>,
    encoding: Encoding,
    plan: ColumnPlan,
    first: Option<FileRow>,
    rows: usize,
    ended: bool,
}

/// The line and the cells of a record, or why it is none.
type Cells = Result<(u32, Vec<String>), RowError>;

impl<R: Read + Seek> CsvRows<R> {
    /// Reads the header and tells the columns.
    ///
    /// # Errors
    /// See [`FileError`].
    pub fn open(mut input: R, options: &FileOptions) -> Result<Self, FileError> {
        let encoding = Encoding::of(&mut input, options.encoding)?;
        let mut text = BufReader::with_capacity(SNIFF, Text::new(input, encoding)?);
        let sample = text.fill_buf()?;
        if sample.is_empty() {
            return Err(FileError::Empty);
        }
        if sample.contains(&0) {
            let advice = format!("the file is binary, or in another encoding than {}", encoding.name());
            return Err(FileError::Encoding(advice));
        }
        let told = told_delimiter(sample);
        let delimiter = told.unwrap_or_else(|| sniff(sample));
        let mut records = Records::new(text, delimiter);
        if told.is_some() {
            records.skip_line()?;
        }
        let plan = ColumnPlan { fields: Vec::new(), header: None, width: 0 };
        let mut rows = Self { records, encoding, plan, first: None, rows: 0, ended: false };
        let Some((line, cells)) = rows
            .next_cells()?
            .transpose()
            .map_err(|error| FileError::Encoding(format!("line {}: {}", error.line, error.message)))?
        else {
            return Err(FileError::Empty);
        };
        rows.plan = ColumnPlan::from_first_row(&cells, &options.mapping)?;
        if rows.plan.header.is_none() {
            rows.first = Some(rows.plan.read(line, cells));
        }
        Ok(rows)
    }

    /// What each column holds.
    #[must_use]
    pub fn plan(&self) -> &ColumnPlan {
        &self.plan
    }

    /// The encoding that the file was read in.
    #[must_use]
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// The next record that is not blank.
    fn next_cells(&mut self) -> std::io::Result<Option<Cells>> {
        while let Some(record) = self.records.next()? {
            if record.flaw.is_some() || !record.cells.iter().all(Vec::is_empty) {
                return Ok(Some(self.text(record)));
            }
        }
        Ok(None)
    }

    fn text(&self, record: Record) -> Result<(u32, Vec<String>), RowError> {
        let Record { line, cells, flaw } = record;
        let text = |cell: &Vec<u8>| String::from_utf8_lossy(cell).into_owned();
        let broken =
            |reason, message: String| RowError::new(line, reason, message).with_cells(cells.iter().map(text).collect());
        if let Some(flaw) = flaw {
            return Err(match flaw {
                Flaw::Unclosed => broken("unclosed_quote", "a quote is opened and never closed".into()),
                Flaw::TooLong => {
                    let most = MAX_RECORD / 1024;
                    broken("line_too_long", format!("the line is longer than {most} KiB")).naming([most])
                }
            });
        }
        let strange = |cell: &Vec<u8>| match self.encoding.is_utf8() {
            true => std::str::from_utf8(cell).is_err(),
            false => memchr::memmem::find(cell, "\u{fffd}".as_bytes()).is_some(),
        };
        if cells.iter().any(strange) {
            let advice = format!("is not {} text; save the file as UTF-8, or give `encoding`", self.encoding.name());
            return Err(broken("encoding", advice).naming([self.encoding.name()]));
        }
        Ok((line, cells.iter().map(text).collect()))
    }
}

impl<R: Read + Seek> Iterator for CsvRows<R> {
    type Item = FileRow;

    fn next(&mut self) -> Option<FileRow> {
        if self.ended {
            return None;
        }
        let row = match self.first.take() {
            Some(first) => first,
            None => match self.next_cells() {
                Ok(None) => return None,
                Ok(Some(cells)) => cells.and_then(|(line, cells)| self.plan.read(line, cells)),
                Err(_) => {
                    self.ended = true;
                    let line = self.records.line();
                    Err(RowError::new(line, "unreadable", "the file could not be read further"))
                }
            },
        };
        self.rows += 1;
        if self.rows > MAX_ROWS {
            self.ended = true;
            let line = row.as_ref().map_or_else(|error| error.line, |(row, _)| row.line);
            let message = format!("more than {MAX_ROWS} rows; the rest was not read");
            return Some(Err(RowError::new(line, "too_many_rows", message).naming([MAX_ROWS])));
        }
        Some(row)
    }
}

/// The delimiter that a first line `sep=;` tells, as Excel writes and obeys it.
fn told_delimiter(sample: &[u8]) -> Option<u8> {
    let line = sample.split(|b| matches!(b, b'\n' | b'\r')).next()?;
    let line = line.strip_prefix(b"\"").map_or(line, |line| line.strip_suffix(b"\"").unwrap_or(line));
    let (name, told) = line.split_at_checked(4)?;
    if !name.eq_ignore_ascii_case(b"sep=") {
        return None;
    }
    match told {
        b"\\t" => Some(b'\t'),
        [one] if !one.is_ascii_alphanumeric() && *one != b'"' && one.is_ascii() => Some(*one),
        _ => None,
    }
}

/// The delimiter that splits the sample's lines most evenly, quotes respected.
fn sniff(sample: &[u8]) -> u8 {
    let lines: Vec<&[u8]> =
        sample.split(|b| matches!(b, b'\n' | b'\r')).filter(|line| !line.is_empty()).take(20).collect();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn open(bytes: &[u8], encoding: Option<&str>) -> Result<CsvRows<Cursor<Vec<u8>>>, FileError> {
        let encoding = encoding.map(|name| name.parse().expect("an encoding"));
        CsvRows::open(Cursor::new(bytes.to_vec()), &FileOptions { encoding, ..FileOptions::default() })
    }

    fn read(bytes: &[u8]) -> Vec<FileRow> {
        open(bytes, None).expect("opens").collect()
    }

    fn names(bytes: &[u8]) -> Vec<(u32, String)> {
        let rows = read(bytes).into_iter().map(|r| r.expect("row"));
        rows.map(|(row, _)| (row.line, row.name.unwrap_or_default())).collect()
    }

    #[test]
    fn delimiters_encodings_and_lines_are_found() {
        let expect = vec![(2, "Ann".to_owned()), (3, "Lee, B".to_owned())];
        for text in [
            "phone,name\n+60123456789,Ann\n+60123456780,\"Lee, B\"\n",
            "phone;name\r\n+60123456789;Ann\r\n+60123456780;\"Lee, B\"\r\n",
            "phone\tname\r+60123456789\tAnn\r+60123456780\tLee, B",
            "phone|name\n+60123456789|Ann\r\n+60123456780|Lee, B",
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
    fn a_line_that_tells_the_delimiter_is_obeyed() {
        let expect = vec![(3, "Lee, B; C".to_owned())];
        for text in [
            "sep=;\nphone;name\n+60123456780;\"Lee, B; C\"\n",
            "\u{feff}SEP=;\r\nphone;name\r\n+60123456780;\"Lee, B; C\"\r\n",
            "\"sep=|\"\nphone|name\n+60123456780|Lee, B; C\n",
            "sep=\t\rphone\tname\r+60123456780\tLee, B; C\r",
            "sep=^\nphone^name\n+60123456780^Lee, B; C",
        ] {
            assert_eq!(names(text.as_bytes()), expect, "{text:?}");
        }
    }

    #[test]
    fn the_encoding_is_found_out_or_told() {
        let file = |encoding: &str, text: &str| {
            let encoding = encoding_rs::Encoding::for_label(encoding.as_bytes()).expect("a label");
            encoding.encode(&format!("phone,name\n+60123456789,{text}\n+60123456780,Ann\n")).0.into_owned()
        };
        for (label, told, text) in [
            ("windows-1252", "cp1252", "José Müller – “François” Ñuñez"),
            ("windows-1251", "windows-1251", "Екатерина Иванова и Александр Петров"),
            ("gbk", "gb2312", "欢迎光临北京王小明先生和李华女士"),
            ("shift_jis", "cp932", "山田太郎さんこんにちは、鈴木一郎です"),
            ("euc-kr", "cp949", "안녕하세요 김철수입니다 반갑습니다"),
            ("utf-8", "utf8", "José 王小明"),
        ] {
            for encoding in [None, Some(told)] {
                let rows: Vec<_> = open(&file(label, text), encoding).expect("opens").collect();
                let name = rows[0].as_ref().expect("row").0.name.clone();
                assert_eq!(name.as_deref(), Some(text), "{label} as {encoding:?}");
                assert!(rows[1].is_ok());
            }
        }
        assert!("klingon".parse::<Encoding>().is_err() && "x-user-defined".parse::<Encoding>().is_err());
    }

    #[test]
    fn a_broken_line_of_a_utf_8_file_is_an_error_of_its_line_alone() {
        let mut text = "phone,name\n+60123456789,王小明先生您好欢迎\n+60123456780,".as_bytes().to_vec();
        text.extend(b"\xe9\n+60123456781,Bob\n");
        let rows = read(&text);
        assert!(rows[0].is_ok() && rows[2].is_ok());
        let error = rows[1].as_ref().expect_err("broken");
        assert_eq!((error.line, &*error.reason), (3, "encoding"));
        // Told to be something that it is not.
        let rows: Vec<_> = open(&text, Some("gbk")).expect("opens").collect();
        assert!(rows.iter().any(|row| row.as_ref().is_err_and(|e| e.message.contains("GBK"))), "{rows:?}");
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let open = |bytes: &[u8]| open(bytes, None).map(|_| ());
        assert!(matches!(open(b""), Err(FileError::Empty)));
        assert!(matches!(open(b"\0\x01\x02"), Err(FileError::Encoding(_))));
        assert!(matches!(open(b"a,b\n1,2\n"), Err(FileError::Mapping(_))));
    }

    #[test]
    fn an_unclosed_quote_is_told_with_its_line_and_cells() {
        let rows = read(b"phone,name,city\n+60123456789,Ann,Ipoh\n+60123456780,\"Bob,Johor\n+60123456781,Lee,KL\n");
        let told: Vec<_> = rows.iter().map(|r| r.as_ref().map(|(row, _)| row.line).map_err(|e| e.line)).collect();
        assert_eq!(told, [Ok(2), Err(3), Ok(4)]);
        assert_eq!(rows[1].as_ref().expect_err("broken").cells, ["+60123456780", "Bob", "Johor"]);
    }
}
