//! A small HTTP/1.1 client that costs little, so that the server is what is measured.
//!
//! One connection sends one request at a time, from bytes that are there already, and reads the answer into a buffer that
//! is used again. Bodies are handed to the caller piece by piece and kept by nobody.

use std::io::IoSlice;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What of an answer operations look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// Path and query of `Location`.
    pub(crate) location: Option<String>,
    /// How many bytes of body came.
    pub(crate) body_bytes: u64,
}

/// A connection, made when it is first needed and again when the server closes it.
pub(crate) struct Connection {
    authority: String,
    stream: Option<TcpStream>,
    buffer: Box<[u8]>,
    /// What is read and not yet used, in the buffer.
    begin: usize,
    end: usize,
}

impl Connection {
    /// To `host:port`; nothing is sent yet.
    pub(crate) fn new(authority: &str) -> Self {
        Self::with_buffer(authority, BUFFER_BYTES)
    }

    /// The same with a smaller buffer, for very many connections.
    pub(crate) fn with_buffer(authority: &str, bytes: usize) -> Self {
        let buffer = vec![0; bytes].into_boxed_slice();
        Self { authority: authority.to_owned(), stream: None, buffer, begin: 0, end: 0 }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// Connects, if that is not done.
    pub(crate) async fn open(&mut self) -> Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.authority).await;
            let stream = stream.with_context(|| format!("no connection to {}", self.authority))?;
            stream.set_nodelay(true)?;
            (self.begin, self.end) = (0, 0);
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Closes, so that the next request connects anew.
    pub(crate) fn close(&mut self) {
        self.stream = None;
    }

    /// Sends a request given as slices and reads the answer; its body is dropped.
    pub(crate) async fn exchange(&mut self, is_head: bool, request: &[&[u8]]) -> Result<Answer> {
        self.exchange_into(is_head, request, &mut |_| {}).await
    }

    /// Sends a request given as slices and reads the answer; its body goes to `sink`.
    pub(crate) async fn exchange_into(
        &mut self,
        is_head: bool,
        request: &[&[u8]],
        sink: &mut impl FnMut(&[u8]),
    ) -> Result<Answer> {
        self.send(request).await?;
        let head = self.head(is_head).await?;
        let body_bytes = match head.framing {
            Framing::Length(length) => self.body(length, sink).await?,
            Framing::Chunked => self.chunks(sink).await?,
            Framing::Close => bail!("an answer whose end is the end of the connection"),
        };
        if head.closes {
            self.close();
        }
        Ok(Answer { status: head.status, location: head.location, body_bytes })
    }

    /// Sends a request, reads the answer's head and so many bytes of its body, and closes the connection.
    pub(crate) async fn break_off(&mut self, request: &[&[u8]], bytes: u64) -> Result<Answer> {
        self.send(request).await?;
        let head = self.head(false).await?;
        let Framing::Length(length) = head.framing else { bail!("an answer without a length") };
        let body_bytes = self.body(length.min(bytes), &mut |_| {}).await?;
        self.close();
        Ok(Answer { status: head.status, location: head.location, body_bytes })
    }

    /// Sends a request and reads the answer's head; gives the status and the length of the body, which
    /// [`Self::next_piece`] reads.
    pub(crate) async fn begin(&mut self, request: &[&[u8]]) -> Result<(u16, u64)> {
        self.send(request).await?;
        let head = self.head(false).await?;
        let Framing::Length(length) = head.framing else { bail!("an answer without a length") };
        Ok((head.status, length))
    }

    /// Reads what comes next of a body, at most a buffer full; gives its length.
    pub(crate) async fn next_piece(&mut self) -> Result<u64> {
        if self.begin == self.end {
            self.fill().await?;
        }
        let length = self.end - self.begin;
        self.begin = self.end;
        Ok(length as u64)
    }

    async fn send(&mut self, request: &[&[u8]]) -> Result<()> {
        self.open().await?;
        let stream = self.stream.as_mut().context("not connected")?;
        let mut slices: Vec<IoSlice<'_>> = request.iter().map(|slice| IoSlice::new(slice)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = stream.write_vectored(left).await?;
            ensure!(written > 0, "the connection takes no more");
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    async fn head(&mut self, is_head: bool) -> Result<Head> {
        loop {
            let unread = self.buffer.get(self.begin..self.end).unwrap_or_default();
            match Head::parse(unread, is_head)? {
                Some((_, length)) if unread.starts_with(CONTINUE) => self.begin += length,
                Some((head, length)) => {
                    self.begin += length;
                    return Ok(head);
                }
                None => self.fill().await?,
            }
        }
    }

    async fn body(&mut self, length: u64, sink: &mut impl FnMut(&[u8])) -> Result<u64> {
        let mut left = length;
        while left > 0 {
            if self.begin == self.end {
                self.fill().await?;
            }
            let unread = self.buffer.get(self.begin..self.end).unwrap_or_default();
            let take = unread.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            sink(unread.get(..take).unwrap_or_default());
            self.begin += take;
            left -= take as u64;
        }
        Ok(length)
    }

    async fn chunks(&mut self, sink: &mut impl FnMut(&[u8])) -> Result<u64> {
        let mut total = 0;
        loop {
            let unread = self.buffer.get(self.begin..self.end).unwrap_or_default();
            match httparse::parse_chunk_size(unread) {
                Ok(httparse::Status::Complete((line, size))) => {
                    self.begin += line;
                    total += self.body(size, sink).await?;
                    // The line break after a chunk, or after the last one if there are no trailers.
                    self.body(2, &mut |_| {}).await?;
                    if size == 0 {
                        return Ok(total);
                    }
                }
                Ok(httparse::Status::Partial) => self.fill().await?,
                Err(_) => bail!("a chunk without a size"),
            }
        }
    }

    /// Reads more behind what is unread.
    async fn fill(&mut self) -> Result<()> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        } else if self.end == self.buffer.len() {
            ensure!(self.begin > 0, "a head that is longer than {} bytes", self.buffer.len());
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        let stream = self.stream.as_mut().context("not connected")?;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let read = stream.read(room).await?;
        ensure!(read > 0, "the server closed the connection before the answer was complete");
        self.end += read;
        Ok(())
    }
}

/// The head of a request.
pub(crate) fn request(method: &str, authority: &str, target: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nhost: {authority}\r\n");
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Path and query of an address, which may name scheme and host.
fn path_of(location: &str) -> &str {
    let Some((_, rest)) = location.split_once("://") else { return location };
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

/// What of the head of an answer tells how to read on.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    location: Option<String>,
    framing: Framing,
    closes: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    Close,
}

impl Head {
    /// The head at the beginning of these bytes, and its length; none while it is not complete.
    fn parse(bytes: &[u8], is_head: bool) -> Result<Option<(Self, usize)>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes).context("not an HTTP answer")? else {
            return Ok(None);
        };
        let status = response.code.context("an answer without a status")?;
        let (mut location, mut framing, mut closes) = (None, Framing::Close, false);
        for header in response.headers.iter() {
            let text = || std::str::from_utf8(header.value).context("a header that is not text");
            if header.name.eq_ignore_ascii_case("content-length") {
                framing = Framing::Length(text()?.parse().context("a length that is no number")?);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunked;
            } else if header.name.eq_ignore_ascii_case("location") {
                location = Some(path_of(text()?).to_owned());
            } else if header.name.eq_ignore_ascii_case("connection") {
                closes = text()?.eq_ignore_ascii_case("close");
            }
        }
        if is_head || status < 200 || matches!(status, 204 | 304) {
            framing = Framing::Length(0);
        }
        Ok(Some((Self { status, location, framing, closes }, length)))
    }
}

/// Large enough that reading costs few calls, small enough to stay in a cache of the processor.
pub(crate) const BUFFER_BYTES: usize = 256 << 10;
const HEADERS_MAX: usize = 48;
const CONTINUE: &[u8] = b"HTTP/1.1 1";

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn parse(text: &str, is_head: bool) -> Head {
        let (head, length) = Head::parse(text.as_bytes(), is_head).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    #[test]
    fn heads_say_how_to_read_on() {
        let head = parse("HTTP/1.1 202 Accepted\r\nLocation: http://h:1/v2/a?b=c\r\ncontent-length: 0\r\n\r\n", false);
        assert_eq!((head.status, head.location.as_deref()), (202, Some("/v2/a?b=c")));
        assert_eq!((head.framing, head.closes), (Framing::Length(0), false));
        let head = parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n", false);
        assert_eq!((head.framing, head.closes), (Framing::Chunked, true));
        assert_eq!(parse("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", true).framing, Framing::Length(0));
        assert_eq!(parse("HTTP/1.1 204 No Content\r\n\r\n", false).framing, Framing::Length(0));
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n", false).framing, Framing::Close);
        assert_eq!(Head::parse(b"HTTP/1.1 200 OK\r\nContent-", false).unwrap(), None);
        assert!(Head::parse(b"SSH-2.0\r\n\r\n", false).is_err());
    }

    #[test]
    fn a_location_is_reduced_to_its_path() {
        assert_eq!(path_of("http://h:1/v2/x?y=z"), "/v2/x?y=z");
        assert_eq!(path_of("/v2/x"), "/v2/x");
        assert_eq!(path_of("http://h"), "/");
    }

    /// A server that answers the requests of one connection with these bytes, one write for each piece.
    fn server(pieces: &'static [&'static [u8]]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            for piece in pieces {
                assert!(stream.read(&mut request).unwrap() > 0);
                stream.write_all(piece).unwrap();
            }
        });
        authority
    }

    #[tokio::test]
    async fn bodies_are_read_in_both_framings_on_one_connection() {
        let authority = server(&[
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        ]);
        let mut connection = Connection::with_buffer(&authority, 64);
        let mut body = Vec::new();
        let call = request("GET", &authority, "/", &[("accept", "*/*")]);
        let mut keep = |piece: &[u8]| body.extend_from_slice(piece);
        let first = connection.exchange_into(false, &[&call], &mut keep).await.unwrap();
        let second = connection.exchange_into(false, &[&call], &mut keep).await.unwrap();
        assert_eq!((first.body_bytes, second.body_bytes), (6, 3));
        assert_eq!(body, b"hello!abc");
    }

    #[tokio::test]
    async fn an_answer_that_ends_early_is_an_error() {
        let authority = server(&[b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"]);
        let mut connection = Connection::new(&authority);
        let call = request("GET", &authority, "/", &[]);
        let error = connection.exchange(false, &[&call]).await.unwrap_err();
        assert!(error.to_string().contains("before the answer was complete"), "{error}");
    }
}
