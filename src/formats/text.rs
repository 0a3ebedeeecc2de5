//! Lines of UTF-8 text out of plain or gzip-compressed bytes.
//!
//! A line is bounded, counted, checked to be UTF-8, and knows whether its end was written. The SHA-256 of the unpacked
//! bytes comes with it, because that is how the same file is noticed again.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

/// The longest line in bytes; the longest known row of any statement is a fiftieth of it.
pub const LINE_BYTES_MAX: u16 = 50_000;

/// What a gzip file begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What some programs write before UTF-8 text.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Enough to keep the cost of one read far above that of one call.
const BUFFER_BYTES: usize = 128 * 1024;

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The bytes end or break, as a cut gzip file does.
    #[error("line {line}: could not be read")]
    Read {
        /// The line that was being read, counted from 1.
        line: u64,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// The line is longer than any statement's.
    #[error("line {line}: longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// The line, counted from 1.
        line: u64,
    },
    /// The line is not UTF-8.
    #[error("line {line}: not valid UTF-8")]
    NotUtf8 {
        /// The line, counted from 1.
        line: u64,
    },
}

impl TextError {
    /// The line that could not be read.
    pub const fn line(&self) -> u64 {
        match self {
            Self::Read { line, .. } | Self::TooLong { line } | Self::NotUtf8 { line } => *line,
        }
    }

    /// Whether the lines behind it can still be read.
    pub const fn is_one_line_only(&self) -> bool {
        match self {
            Self::NotUtf8 { .. } => true,
            Self::Read { .. } | Self::TooLong { .. } => false,
        }
    }
}

/// Unpacks what is gzip by its first two bytes, and leaves everything else as it is.
pub fn unpack<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut head = Vec::with_capacity(GZIP_MAGIC.len());
    input.by_ref().take(2).read_to_end(&mut head)?;
    let is_packed = head == GZIP_MAGIC;
    let whole = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(input));
    Ok(if is_packed {
        Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            MultiGzDecoder::new(whole),
        ))
    } else {
        Box::new(whole)
    })
}

/// One line without its end.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: u64,
    /// What stands in it.
    pub text: &'a str,
    /// Whether its end was there; only the last line of a file may lack it.
    pub is_ended: bool,
}

/// Reads lines, counts them and digests them.
pub struct LineReader<R> {
    input: R,
    bytes: Vec<u8>,
    lines_read: u64,
    digest: Sha256,
}

impl<R> std::fmt::Debug for LineReader<R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LineReader")
            .field("lines_read", &self.lines_read)
            .finish_non_exhaustive()
    }
}

impl<R: BufRead> LineReader<R> {
    /// Reads from the first line of `input` on.
    pub fn new(input: R) -> Self {
        Self {
            input,
            bytes: Vec::new(),
            lines_read: 0,
            digest: Sha256::new(),
        }
    }

    /// The number of the line that was read last, or 0.
    pub fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// The next line, or `None` behind the last.
    pub fn next_line(&mut self) -> Result<Option<Line<'_>>, TextError> {
        let line = self.lines_read.saturating_add(1);
        self.bytes.clear();
        let length_max = u64::from(LINE_BYTES_MAX);
        let read = (&mut self.input)
            .take(length_max)
            .read_until(b'\n', &mut self.bytes);
        self.digest.update(&self.bytes);
        let length = read.map_err(|source| TextError::Read { line, source })?;
        if length == 0 {
            return Ok(None);
        }
        self.lines_read = line;
        let content = self.bytes.strip_suffix(b"\n");
        if content.is_none() && length >= usize::from(LINE_BYTES_MAX) {
            return Err(TextError::TooLong { line });
        }

        let is_ended = content.is_some();
        let content = content.unwrap_or(&self.bytes);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let content = match content.strip_prefix(BYTE_ORDER_MARK) {
            Some(rest) if line == 1 => rest,
            Some(_) | None => content,
        };
        let text = std::str::from_utf8(content).map_err(|_| TextError::NotUtf8 { line })?;
        Ok(Some(Line {
            number: line,
            text,
            is_ended,
        }))
    }

    /// The bytes of the line that was read last, also where it was refused.
    pub fn last_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The SHA-256 of everything read.
    pub fn sha256(self) -> [u8; 32] {
        self.digest.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn lines(bytes: &[u8]) -> Result<Vec<String>, TextError> {
        let unpacked = unpack(bytes).map_err(|source| TextError::Read { line: 1, source })?;
        let mut reader = LineReader::new(unpacked);
        let mut lines = Vec::new();
        while let Some(line) = reader.next_line()? {
            let end = if line.is_ended { "|" } else { "" };
            lines.push(format!("{}:{}{end}", line.number, line.text));
        }
        Ok(lines)
    }

    #[test]
    fn line_ends_and_the_byte_order_mark_are_no_content() {
        let text = "\u{feff}a\r\n\nb\r\r\n\u{feff}c";
        assert_eq!(
            lines(text.as_bytes()).unwrap(),
            ["1:a|", "2:|", "3:b\r|", "4:\u{feff}c"]
        );
        assert!(lines(b"").unwrap().is_empty());
    }

    #[test]
    fn gzip_is_unpacked_and_a_cut_one_is_refused() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"a\nb\n").unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(lines(&packed).unwrap(), ["1:a|", "2:b|"]);

        let cut = &packed[..packed.len() - 3];
        assert!(matches!(lines(cut), Err(TextError::Read { .. })));
    }

    #[test]
    fn the_digest_is_that_of_the_unpacked_bytes() {
        let mut reader = LineReader::new(&b"abc"[..]);
        while reader.next_line().unwrap().is_some() {}
        assert_eq!(reader.sha256()[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    #[test]
    fn what_is_too_long_or_not_utf8_is_refused_with_its_line() {
        let long = [b"a\n".as_slice(), &vec![b'x'; 50_000]].concat();
        assert_eq!(
            lines(&long).unwrap_err().to_string(),
            "line 2: longer than 50000 bytes"
        );
        let fits = [&vec![b'x'; 49_999], b"\n".as_slice()].concat();
        assert!(lines(&fits).is_ok());
        assert_eq!(
            lines(b"a\nb\n\xff\n").unwrap_err().to_string(),
            "line 3: not valid UTF-8"
        );
    }
}
