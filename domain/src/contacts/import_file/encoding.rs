//! Which encoding a text file is in, and its text as UTF-8.

use super::FileError;
use std::io::{Read, Seek, SeekFrom};

/// How much is read at once.
const READ: usize = 64 * 1024;

/// How much text that is no UTF-8 is shown to the detector: it has made up its mind long before.
const SHOWN: usize = 4 * 1024 * 1024;

/// So many right characters for each wrong byte make a UTF-8 file with a few broken lines, not a file in another encoding.
const MOSTLY: u64 = 8;

/// An encoding that files may be in, by the names that browsers know (`windows-1252`, `cp1252`, `gbk`, `shift_jis`, …).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

/// No encoding that is read has this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no encoding that is known; there are utf-8, utf-16le, utf-16be, windows-1250 to windows-1258, iso-8859-2 to -16, gbk, gb18030, big5, shift_jis, euc-jp, euc-kr, koi8-r, macintosh and more"
)]
pub struct UnknownEncoding;

impl std::str::FromStr for Encoding {
    type Err = UnknownEncoding;

    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        let name = name.trim().to_ascii_lowercase();
        // As Windows and Python write them, beside the names of the standard.
        let spelt = match name.strip_prefix("cp") {
            Some("936") => "gbk".into(),
            Some("932") => "shift_jis".into(),
            Some("949") => "euc-kr".into(),
            Some("950") => "big5".into(),
            Some("65001") => "utf-8".into(),
            Some("874") => "windows-874".into(),
            _ => name.replace('_', if name.starts_with("shift") { "_" } else { "-" }),
        };
        let found = encoding_rs::Encoding::for_label_no_replacement(spelt.as_bytes())
            .or_else(|| encoding_rs::Encoding::for_label_no_replacement(name.as_bytes()));
        found.filter(|e| *e != encoding_rs::X_USER_DEFINED).map(Self).ok_or(UnknownEncoding)
    }
}

impl Encoding {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    pub(super) fn is_utf8(self) -> bool {
        self.0 == encoding_rs::UTF_8
    }

    /// Tells a file's encoding: by its byte order mark, else by what was asked for, else by its bytes. The file is read
    /// from its beginning, and left there.
    pub(super) fn of(file: &mut (impl Read + Seek), asked: Option<Self>) -> Result<Self, FileError> {
        let mut start = [0; 4];
        let mut length = 0;
        while let Some(rest) = start.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read(rest)? {
                0 => break,
                n => length += n,
            }
        }
        file.rewind()?;
        if let Some((marked, _)) = encoding_rs::Encoding::for_bom(start.get(..length).unwrap_or_default()) {
            return Ok(Self(marked));
        }
        if let Some(asked) = asked {
            return Ok(asked);
        }
        let found = Self::guess(file)?;
        file.rewind()?;
        Ok(found)
    }

    fn guess(file: &mut (impl Read + Seek)) -> Result<Self, FileError> {
        let (mut right, mut wrong, mut nul) = (0u64, 0u64, false);
        let mut buffer = vec![0; READ];
        let mut kept = 0;
        loop {
            let read = file.read(buffer.get_mut(kept..).unwrap_or_default())?;
            let text = buffer.get(..kept + read).unwrap_or_default();
            let mut rest = 0;
            nul |= memchr::memchr(0, text).is_some();
            let mut chunks = text.utf8_chunks().peekable();
            while let Some(chunk) = chunks.next() {
                right += chunk.valid().bytes().filter(|b| *b >= 0xc0).count() as u64;
                let bad = chunk.invalid();
                // A character may go on in what is read next.
                if chunks.peek().is_none()
                    && read > 0
                    && std::str::from_utf8(bad).is_err_and(|e| e.error_len().is_none())
                {
                    rest = bad.len();
                } else {
                    wrong += u64::from(!bad.is_empty());
                }
            }
            if read == 0 {
                break;
            }
            let from = text.len() - rest;
            buffer.copy_within(from..from + rest, 0);
            kept = rest;
        }
        if nul {
            let advice =
                "the file is binary, or UTF-16 without a byte order mark: save it as UTF-8, or give `encoding`";
            return Err(FileError::Encoding(advice.into()));
        }
        if wrong == 0 || right >= wrong * MOSTLY {
            return Ok(Self(encoding_rs::UTF_8));
        }
        file.seek(SeekFrom::Start(0))?;
        let mut detector = chardetng::EncodingDetector::new(chardetng::Iso2022JpDetection::Deny);
        let mut shown = 0;
        loop {
            let read = file.read(&mut buffer)?;
            shown += read;
            let last = read == 0 || shown >= SHOWN;
            detector.feed(buffer.get(..read).unwrap_or_default(), last);
            if last {
                return Ok(Self(detector.guess(None, chardetng::Utf8Detection::Deny)));
            }
        }
    }
}

/// A file's text as UTF-8, without its byte order mark. UTF-8 goes through as it is, so that a broken line is told by
/// itself; what is no text in another encoding becomes U+FFFD.
pub(super) struct Text<R> {
    inner: R,
    decoder: Option<encoding_rs::Decoder>,
    ready: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl<R: Read + Seek> Text<R> {
    pub(super) fn new(mut inner: R, encoding: Encoding) -> std::io::Result<Self> {
        let decoder = (!encoding.is_utf8()).then(|| encoding.0.new_decoder_with_bom_removal());
        if decoder.is_none() {
            let mut mark = Vec::new();
            inner.by_ref().take(3).read_to_end(&mut mark)?;
            if mark != b"\xef\xbb\xbf" {
                inner.rewind()?;
            }
        }
        Ok(Self { inner, decoder, ready: Vec::new(), taken: 0, ended: false })
    }
}

impl<R: Read> Read for Text<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.taken == self.ready.len() && !self.ended {
            let Some(decoder) = &mut self.decoder else { return self.inner.read(buf) };
            let mut raw = [0; 8 * 1024];
            let n = self.inner.read(&mut raw)?;
            self.ended = n == 0;
            let room = decoder.max_utf8_buffer_length(n).unwrap_or(n * 3 + 16);
            self.ready.resize(room, 0);
            let raw = raw.get(..n).unwrap_or_default();
            let (_, _, written, _) = decoder.decode_to_utf8(raw, &mut self.ready, self.ended);
            self.ready.truncate(written);
            self.taken = 0;
        }
        let ready = self.ready.get(self.taken..).unwrap_or_default();
        let n = buf.len().min(ready.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), ready.get(..n)) {
            to.copy_from_slice(from);
        }
        self.taken += n;
        Ok(n)
    }
}
