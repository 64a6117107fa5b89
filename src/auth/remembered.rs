//! What was found out before, as long as nothing has changed since.

use std::hash::Hash;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

/// Values that hold for one version of what everybody may do.
#[derive(Debug)]
pub(super) struct Remembered<K, V> {
    values: Cache<K, (i64, V)>,
}

impl<K: Hash + Eq, V: Clone> Remembered<K, V> {
    /// Room for so many.
    pub(super) fn new(max: usize) -> Self {
        Self { values: Cache::new(max) }
    }

    /// The value, if it was found out at this version.
    pub(super) fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q, version: i64) -> Option<V> {
        self.values.get(key).filter(|(at, _)| *at == version).map(|(_, value)| value)
    }

    /// Remembers a value that was asked for after `version` was read. If something has changed in between, the value is
    /// newer than it looks, and is asked for again.
    pub(super) fn put(&self, key: K, version: i64, value: V) {
        self.values.insert(key, (version, value));
    }
}
