//! Files of rows: gzip over lines of JSON, hashed as they are written.
//!
//! A cell is a number, a text or null; bytes are hexadecimal digits. The first line is an object that names
//! table and columns, so that a later program with more columns can read it.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use futures_util::stream::{self, Stream, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DigestText, Part};
use crate::metadata::dump::{Batch, Cell, Column, Kind, Table};
use crate::oci::digest::{Algorithm, Digest, Hasher};
use crate::transfer::{Result, TransferError, blocking};

/// Longest line: a row with the largest manifest that is worth speaking of, twice over for its hexadecimal digits.
const LINE_BYTES_MAX: usize = 256 << 20;

/// Rows, or bytes of lines, after which a batch is handed on.
const BATCH_ROWS: usize = 1000;
const BATCH_BYTES: usize = 4 << 20;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    table: String,
    columns: Vec<String>,
}

/// A file of rows being written.
pub(super) struct PartWriter {
    path: PathBuf,
    table: &'static Table,
    out: GzEncoder<HashedFile>,
    rows: u64,
}

impl PartWriter {
    /// Makes the file. Blocks.
    pub(super) fn create(path: PathBuf, table: &'static Table) -> Result<Self> {
        let begin = || -> io::Result<GzEncoder<HashedFile>> {
            let file = HashedFile {
                inner: BufWriter::with_capacity(64 << 10, File::create(&path)?),
                hasher: Hasher::new(Algorithm::Sha256),
                bytes: 0,
            };
            let mut out = GzEncoder::new(file, Compression::fast());
            let columns = table.columns.iter().map(|column| column.name.to_owned()).collect();
            serde_json::to_writer(&mut out, &Head { table: table.name.to_owned(), columns })?;
            out.write_all(b"\n")?;
            Ok(out)
        };
        let out = begin().map_err(|error| TransferError::file(&path, error))?;
        Ok(Self { path, table, out, rows: 0 })
    }

    /// Adds rows, which have all columns. Blocks.
    pub(super) fn add(&mut self, rows: &[Vec<Cell>]) -> Result<()> {
        for row in rows {
            let line = serde_json::to_vec(&row.iter().map(encode).collect::<Vec<_>>()).map_err(io::Error::from);
            let write = |line: Vec<u8>| {
                if line.len() > LINE_BYTES_MAX {
                    let reason =
                        format!("a row of {} has {} bytes, too many for a backup", self.table.name, line.len());
                    return Err(io::Error::other(reason));
                }
                self.out.write_all(&line).and_then(|()| self.out.write_all(b"\n"))
            };
            line.and_then(write).map_err(|error| TransferError::file(&self.path, error))?;
        }
        self.rows += rows.len() as u64;
        Ok(())
    }

    /// Ends the file, which is on the disk when this returns. `file` is its name below the backup. Blocks.
    pub(super) fn finish(self, file: String) -> Result<Part> {
        let Self { path, table, out, rows } = self;
        let end = || -> io::Result<(u64, Digest)> {
            let HashedFile { mut inner, hasher, bytes } = out.finish()?;
            inner.flush()?;
            inner.get_ref().sync_all()?;
            Ok((bytes, hasher.finish()))
        };
        let (bytes, digest) = end().map_err(|error| TransferError::file(&path, error))?;
        Ok(Part { table: table.name.to_owned(), file, rows, bytes, digest: DigestText(digest) })
    }
}

fn encode(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
        Cell::Bytes(bytes) => hex::encode(bytes).into(),
    }
}

/// A file that knows the digest of what went into it.
struct HashedFile {
    inner: BufWriter<File>,
    hasher: Hasher,
    bytes: u64,
}

impl Write for HashedFile {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hasher.update(&data[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A file of rows being read.
pub(super) struct PartReader {
    path: Arc<PathBuf>,
    table: &'static Table,
    columns: Vec<Column>,
    lines: BufReader<GzDecoder<BufReader<File>>>,
    rows_left: u64,
    line: u64,
}

impl PartReader {
    /// Opens a file whose sum was compared before. Blocks.
    pub(super) fn open(dir: &Path, part: &Part) -> Result<Self> {
        let path = Arc::new(dir.join(&part.file));
        let file = File::open(path.as_path()).map_err(|error| TransferError::file(&path, error))?;
        let lines = BufReader::new(GzDecoder::new(BufReader::new(file)));
        let broken = |reason: String| TransferError::broken(&path, reason);
        let table = Table::named(&part.table)
            .ok_or_else(|| broken(format!("table {} is unknown: a newer bonded made this backup", part.table)))?;
        let mut reader =
            Self { path: Arc::clone(&path), table, columns: Vec::new(), lines, rows_left: part.rows, line: 0 };
        let head = reader.read_line()?.ok_or_else(|| broken("it is empty".to_owned()))?;
        let head: Head = serde_json::from_slice(&head).map_err(|error| broken(error.to_string()))?;
        if head.table != part.table {
            return Err(broken(format!("it holds {}, not {}", head.table, part.table)));
        }
        for name in &head.columns {
            let column = table.column(name);
            reader.columns.push(column.ok_or_else(|| broken(format!("column {name} is unknown")))?);
        }
        Ok(reader)
    }

    /// The next rows. `None`: there are no more, and there were as many as there must be. Blocks.
    pub(super) fn next_batch(&mut self) -> Result<Option<Batch>> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < BATCH_ROWS && bytes < BATCH_BYTES {
            let Some(line) = self.read_line()? else { break };
            if self.rows_left == 0 {
                return Err(self.broken("it has more rows than it should"));
            }
            self.rows_left -= 1;
            bytes += line.len();
            rows.push(self.decode(&line)?);
        }
        if !rows.is_empty() {
            return Ok(Some(Batch { table: self.table, columns: self.columns.clone(), rows }));
        }
        match self.rows_left {
            0 => Ok(None),
            left => Err(self.broken(format!("{left} rows are missing"))),
        }
    }

    /// The rows as they are asked for.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Batch>> + Send {
        stream::try_unfold(self, |mut reader| blocking(move || Ok(reader.next_batch()?.map(|batch| (batch, reader)))))
            .into_stream()
    }

    fn read_line(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let most = LINE_BYTES_MAX as u64 + 1;
        let read = self.lines.by_ref().take(most).read_until(b'\n', &mut line);
        read.map_err(|error| self.broken(error))?;
        self.line += 1;
        match line.pop() {
            None => Ok(None),
            Some(b'\n') => Ok(Some(line)),
            Some(_) => Err(self.broken("it ends within a line, or the line is too long")),
        }
    }

    fn decode(&self, line: &[u8]) -> Result<Vec<Cell>> {
        let values: Vec<Value> = serde_json::from_slice(line).map_err(|error| self.broken(error))?;
        if values.len() != self.columns.len() {
            return Err(self.broken("it has another number of columns than its first line says"));
        }
        let cell = |(column, value): (&Column, Value)| {
            decode(column.kind, value).ok_or_else(|| self.broken(format!("{} is not what it must be", column.name)))
        };
        self.columns.iter().zip(values).map(cell).collect()
    }

    fn broken(&self, reason: impl std::fmt::Display) -> TransferError {
        TransferError::broken(&self.path, format!("line {}: {reason}", self.line))
    }
}

fn decode(kind: Kind, value: Value) -> Option<Cell> {
    match (kind, value) {
        (_, Value::Null) => Some(Cell::Null),
        (Kind::Integer | Kind::Flag, Value::Number(number)) => number.as_i64().map(Cell::Integer),
        (Kind::Text, Value::String(text)) => Some(Cell::Text(text)),
        (Kind::Bytes, Value::String(text)) => hex::decode(text).ok().map(|bytes| Cell::Bytes(bytes.into())),
        _ => None,
    }
}

/// Compares a file with its size and sum; `None` when they are right. Blocks.
pub(super) fn sum_fault(dir: &Path, part: &Part) -> Result<Option<String>> {
    let path = dir.join(&part.file);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some("it is missing".to_owned())),
        other => other.map_err(|error| TransferError::file(&path, error))?,
    };
    let (actual, bytes) = hash_file(&mut file).map_err(|error| TransferError::file(&path, error))?;
    if bytes != part.bytes {
        return Ok(Some(format!("it has {bytes} bytes instead of {}", part.bytes)));
    }
    let DigestText(expected) = &part.digest;
    Ok((actual != *expected).then(|| format!("its sum is {actual}, not {expected}")))
}

fn hash_file(file: &mut File) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut buffer, mut bytes) = (Hasher::new(Algorithm::Sha256), vec![0; 256 << 10], 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finish(), bytes));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
    }
}
