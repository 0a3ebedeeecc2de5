//! Files that a verb reads, and `-` for standard input.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::Outside;
use super::exit::CliError;
use super::statement;

/// Opens a file, unpacking it when it is gzip; `-` is standard input.
pub(super) fn open<'a>(
    path: &Path,
    outside: &'a mut Outside<'_>,
) -> Result<Box<dyn BufRead + 'a>, CliError> {
    if path == Path::new("-") {
        return Ok(Box::new(BufReader::new(&mut *outside.stdin)));
    }
    statement::open(path)
}

/// Reads a file of at most `bytes_max` bytes.
pub(super) fn read_bounded(
    path: &Path,
    bytes_max: usize,
    outside: &mut Outside<'_>,
) -> Result<Vec<u8>, CliError> {
    let one_more = u64::try_from(bytes_max)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    open(path, outside)?
        .take(one_more)
        .read_to_end(&mut bytes)
        .map_err(|error| statement::refused(path, error))?;
    if bytes.len() > bytes_max {
        let path = path.display();
        return Err(CliError::refused(format!(
            "{path}: longer than {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}
