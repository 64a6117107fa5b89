//! The bytes of an upload that are no part yet.
//!
//! The first `size` bytes stand in one piece of memory, what was read beyond them in another, so that a part is cut
//! without copying it and holds exactly the memory that it is charged for.

use bytes::{Bytes, BytesMut};

use crate::storage::s3::budget::Lease;

/// A buffer with the lease that pays for it.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    front: BytesMut,
    back: BytesMut,
    /// Where the next part ends if it is cut as planned.
    size: usize,
    lease: Lease,
}

/// Bytes that give their lease back when nobody has them any more.
struct Leased {
    bytes: BytesMut,
    _lease: Lease,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Buffer {
    /// Says how long the next part will be.
    pub(super) fn plan(&mut self, size: usize) {
        self.size = size;
        if self.front.len() > size || self.back.is_empty() {
            return;
        }
        // A larger part than the one before it: what was read ahead may belong to it.
        let missing = (size - self.front.len()).min(self.back.len());
        let moved = self.back.split_to(missing);
        self.front.extend_from_slice(&moved);
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.front.len() + self.back.len()
    }

    /// Bytes that are paid for.
    pub(super) fn granted(&self) -> usize {
        self.lease.bytes()
    }

    /// Pays for more.
    pub(super) fn grant(&mut self, lease: Lease) {
        self.lease.add(lease);
    }

    /// Bytes that it takes before it has to be looked at again.
    pub(super) fn room(&self) -> usize {
        let paid = self.granted().saturating_sub(self.len());
        if self.front.len() < self.size { paid.min(self.size - self.front.len()) } else { paid }
    }

    /// Takes bytes, no more than there is room for.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let granted = self.granted();
        let (target, most) = if self.front.len() < self.size {
            (&mut self.front, granted.min(self.size))
        } else {
            (&mut self.back, granted.saturating_sub(self.size))
        };
        if target.capacity() < target.len() + bytes.len() {
            // In steps as large as what is paid for, so that bytes are moved a few times at most; and no larger, as
            // `reserve` would make them.
            let mut larger = BytesMut::with_capacity(most.max(target.len() + bytes.len()));
            larger.extend_from_slice(target);
            *target = larger;
        }
        target.extend_from_slice(bytes);
    }

    /// Whether the planned part is there to the byte.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.size > 0 && self.front.len() == self.size && self.back.is_empty()
    }

    /// The planned part; what was read beyond it stays.
    pub(super) fn take_front(&mut self) -> Bytes {
        let rest = self.lease.split(self.back.len());
        let lease = std::mem::replace(&mut self.lease, rest);
        let bytes = std::mem::replace(&mut self.front, std::mem::take(&mut self.back));
        leased(bytes, lease)
    }

    /// Everything.
    pub(super) fn take_all(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.front);
        bytes.extend_from_slice(&self.back);
        self.back = BytesMut::new();
        leased(bytes, std::mem::take(&mut self.lease))
    }

    /// Everything in one piece, which is to come back with [`restore`](Self::restore).
    ///
    /// Nothing is copied while no part is longer than planned, and the lease stays here.
    pub(super) fn lend(&mut self) -> Bytes {
        let front = std::mem::take(&mut self.front);
        if self.back.is_empty() { front.freeze() } else { [front.as_ref(), self.back.as_ref()].concat().into() }
    }

    /// Takes back what was lent.
    pub(super) fn restore(&mut self, mut lent: Bytes) {
        lent.truncate(lent.len() - self.back.len());
        self.front = lent.try_into_mut().unwrap_or_else(|shared| BytesMut::from(shared.as_ref()));
    }
}

fn leased(bytes: BytesMut, lease: Lease) -> Bytes {
    if bytes.is_empty() { Bytes::new() } else { Bytes::from_owner(Leased { bytes, _lease: lease }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::s3::budget::Budget;

    const KIB64: usize = 64 << 10;

    #[test]
    fn parts_are_cut_where_planned_and_pay_for_themselves() {
        let budget = Budget::new(20 * KIB64, KIB64);
        let mut buffer = Buffer::default();
        buffer.plan(2 * KIB64);
        assert_eq!(buffer.room(), 0);
        buffer.grant(budget.try_take(3 * KIB64).expect("free"));
        let data: Vec<u8> = (0..3 * KIB64).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
        let mut at = 0;
        while buffer.room() > 0 {
            let piece = buffer.room().min(50_000);
            buffer.push(&data[at..at + piece]);
            at += piece;
            assert_eq!(buffer.is_at_boundary(), at == 2 * KIB64);
        }
        let lent = buffer.lend();
        assert_eq!(lent, data);
        buffer.restore(lent);
        let part = buffer.take_front();
        assert_eq!(part, data[..2 * KIB64]);
        assert_eq!((buffer.len(), buffer.granted()), (KIB64, KIB64));
        drop(part);
        assert!(budget.try_take(17 * KIB64).is_some(), "the part has given its memory back");
        buffer.plan(4 * KIB64);
        buffer.grant(budget.try_take(KIB64).expect("free"));
        buffer.push(&data[..10]);
        let rest = buffer.take_all();
        assert_eq!(rest, [&data[2 * KIB64..], &data[..10]].concat());
        assert_eq!((buffer.len(), buffer.granted()), (0, 0));
        drop(rest);
        assert!(budget.try_take(18 * KIB64).is_some());
    }

    #[test]
    fn a_part_that_grew_takes_what_was_read_ahead() {
        let budget = Budget::new(20 * KIB64, KIB64);
        let mut buffer = Buffer::default();
        buffer.plan(10);
        buffer.grant(budget.try_take(KIB64).expect("free"));
        buffer.push(&[1; 10]);
        buffer.push(&[2; 8]);
        buffer.plan(15);
        buffer.push(&[3; 5]);
        assert_eq!(buffer.take_front(), [[1; 10].as_slice(), &[2; 5]].concat());
        assert_eq!(buffer.take_all(), [[2; 3].as_slice(), &[3; 5]].concat());
    }
}
