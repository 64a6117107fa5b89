//! The first bytes of a push body, read before anything is decided about it: a body that is small needs no object, and
//! often no more than one transaction.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::registry::{BodyError, PushBody};

/// A body whose beginning has been read.
pub(super) struct OpenedBody {
    /// What was read, at most one piece more than was asked for.
    pub(super) head: VecDeque<Result<Bytes, BodyError>>,
    /// The rest.
    pub(super) stream: BoxStream<'static, Result<Bytes, BodyError>>,
    /// How much of the body is known.
    pub(super) extent: Extent,
}

/// How long a body is, as far as its head tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it, as one piece.
    Whole(Bytes),
    /// More than the limit.
    Long,
    /// Nobody knows: the client waits to be asked for it, or broke off.
    Unknown,
}

impl OpenedBody {
    /// Whether it is known that no byte comes.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.extent, Extent::Whole(bytes) if bytes.is_empty())
    }

    /// Reads until more than `limit` bytes are there or the body has ended; not at all where its length says enough, nor
    /// where reading would invite a client to send what may be refused.
    pub(super) async fn open(body: PushBody, limit: u64) -> Self {
        let PushBody { mut stream, length, awaits_continue } = body;
        let mut head = VecDeque::new();
        let extent = match length {
            Some(length) if length > limit => Extent::Long,
            _ if awaits_continue => Extent::Unknown,
            _ => read_head(&mut stream, limit, &mut head).await,
        };
        if !matches!(extent, Extent::Long) && !awaits_continue {
            // What has ended is not asked again.
            stream = futures_util::stream::empty().boxed();
        }
        Self { head, stream, extent }
    }
}

async fn read_head(
    stream: &mut BoxStream<'static, Result<Bytes, BodyError>>,
    limit: u64,
    head: &mut VecDeque<Result<Bytes, BodyError>>,
) -> Extent {
    let mut len = 0;
    while let Some(piece) = stream.next().await {
        let broken = piece.is_err();
        len += piece.as_ref().map_or(0, |piece| piece.len() as u64);
        head.push_back(piece);
        if broken {
            return Extent::Unknown;
        }
        if len > limit {
            return Extent::Long;
        }
    }
    let pieces: Vec<Bytes> = head.iter().flatten().cloned().collect();
    Extent::Whole(concat(&Bytes::new(), &pieces))
}

/// A tail and the pieces behind it as one; a single piece is not copied.
pub(super) fn concat(tail: &Bytes, pieces: &[Bytes]) -> Bytes {
    if let (true, [only]) = (tail.is_empty(), pieces) {
        return only.clone();
    }
    let mut all = BytesMut::with_capacity(tail.len() + pieces.iter().map(Bytes::len).sum::<usize>());
    all.extend_from_slice(tail);
    for piece in pieces {
        all.extend_from_slice(piece);
    }
    all.freeze()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn opened(
        pieces: &[Result<&'static str, BodyError>],
        length: Option<u64>,
        awaits_continue: bool,
    ) -> (Extent, usize, usize) {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.map(|text| Bytes::from_static(text.as_bytes()))).collect();
        let body = PushBody { stream: stream::iter(pieces).boxed(), length, awaits_continue };
        let opened = OpenedBody::open(body, 4).await;
        (opened.extent, opened.head.len(), opened.stream.count().await)
    }

    fn whole(text: &'static str) -> Extent {
        Extent::Whole(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test]
    async fn no_more_is_read_than_decides() {
        assert_eq!(opened(&[], None, false).await, (whole(""), 0, 0));
        assert_eq!(opened(&[Ok("ab"), Ok("cd")], None, false).await, (whole("abcd"), 2, 0));
        assert_eq!(opened(&[Ok("abc"), Ok("de"), Ok("f")], None, false).await, (Extent::Long, 2, 1));
        assert_eq!(opened(&[Ok("abc"), Ok("de")], Some(5), false).await, (Extent::Long, 0, 2));
        assert_eq!(opened(&[Ok("abcd")], Some(4), false).await, (whole("abcd"), 1, 0));
        assert_eq!(opened(&[Ok("abcd")], Some(4), true).await, (Extent::Unknown, 0, 1), "nobody asked for it");
        assert_eq!(opened(&[Ok("a"), Err(BodyError::Broken)], None, false).await, (Extent::Unknown, 2, 0));
    }
}
