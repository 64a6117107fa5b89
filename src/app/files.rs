//! Files that an operator names: read whole, and never more of them than there may be.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Reads a file of at most `bytes_max` bytes.
///
/// # Errors
/// Why it cannot be read, or that it is larger.
pub(crate) fn read_at_most(path: &Path, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > bytes_max { Err(format!("it is larger than {bytes_max} bytes")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, "seven77").expect("written");
        assert_eq!(read_at_most(&path, 7), Ok(b"seven77".to_vec()));
        assert_eq!(read_at_most(&path, 6), Err("it is larger than 6 bytes".to_owned()));
        for path in [folder.path(), &folder.path().join("nothing")] {
            read_at_most(path, 7).expect_err("no file");
        }
    }
}
