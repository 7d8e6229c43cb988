//! Reading.

use slotward_types::UnixMillis;

use super::{Db, ExpiryPolicy};
use crate::collections::{Array, Hash, List, Set, SortedSet, Stream, VectorSet};
use crate::entry::{Collection, Entry, EntryView, collection_at};
use crate::hash::Key;
use crate::listen::Noted;
use crate::table::Thin;
use crate::value::{Kind, ObjectInfo, Str, ValueRef, WrongType};

impl Db<'_> {
    /// The key's entry as it is, expired or not.
    #[inline]
    fn stored(&self, key: &Key<'_>) -> Option<EntryView<'_>> {
        self.table_at(self.index, key.slot)?.find(key.hash, key.bytes)
    }

    /// The number of the key's entry, unless it has expired and the policy hides that.
    #[inline]
    pub(super) fn live(&mut self, key: &Key<'_>) -> Option<u64> {
        self.settle();
        let place = self.table_mut(self.index, key.slot).place(key.hash, key.bytes)?;
        let view = place.view();
        if view.is_due(self.now) && !self.meet_expired(key) {
            return None;
        }
        let raw = place.raw();
        match view.hash() {
            Some(hash) if hash.has_due(self.now) => self.meet_due_fields(key, raw),
            _ => Some(raw),
        }
    }

    /// A hash with fields whose time has come was met. What is left of it, if anything.
    #[cold]
    fn meet_due_fields(&mut self, key: &Key<'_>, raw: u64) -> Option<u64> {
        match self.policy {
            ExpiryPolicy::Delete => {
                self.expire_fields(self.index, key);
                self.table_mut(self.index, key.slot).place(key.hash, key.bytes).map(|p| p.raw())
            }
            ExpiryPolicy::Hide => {
                // SAFETY: the entry is live; the view is not kept.
                let hash = unsafe { <Entry as Thin>::view(raw) }.hash();
                let is_over = hash.is_some_and(|hash| hash.is_all_due(self.now));
                (!is_over).then_some(raw)
            }
            ExpiryPolicy::Ignore => Some(raw),
        }
    }

    /// Where due fields are hidden: prepares the hash at the key without them. True if it is that
    /// one which is to be lent.
    fn hides_fields(&mut self, key: &Key<'_>) -> bool {
        if self.policy != ExpiryPolicy::Hide || self.live(key).is_none() {
            return false;
        }
        let hash = self.stored(key).and_then(EntryView::hash);
        let due = hash.filter(|hash| hash.has_due(self.now));
        let shown = due.map(|hash| {
            let mut shown = hash.clone();
            shown.take_due(self.now);
            Box::new(shown)
        });
        let hides = shown.is_some();
        if hides || self.rare.is_some() {
            self.rare().shown = shown;
        }
        hides
    }

    /// What [`Db::hides_fields`] has prepared.
    fn shown(&self) -> Option<&Hash> {
        self.rare.as_ref()?.shown.as_deref()
    }

    /// An expired key was met. True if it counts as present.
    #[cold]
    fn meet_expired(&mut self, key: &Key<'_>) -> bool {
        match self.policy {
            ExpiryPolicy::Delete => {
                self.expire(self.index, key);
                false
            }
            ExpiryPolicy::Hide => false,
            ExpiryPolicy::Ignore => true,
        }
    }

    /// The live entry's number, counted as looked up.
    #[inline]
    pub(super) fn looked_up(&mut self, key: &Key<'_>) -> Option<u64> {
        let found = self.live(key);
        if found.is_some() {
            self.hits += 1;
        } else {
            self.misses += 1;
            self.noted(Noted::Missed, key);
        }
        found
    }

    /// The live entry, noted as used.
    #[inline]
    fn used(&mut self, key: &Key<'_>) -> Option<EntryView<'_>> {
        let raw = self.looked_up(key)?;
        // SAFETY: the entry is live, and lent no longer than `&mut self`.
        let view = unsafe { <Entry as Thin>::view(raw) };
        Entry::touch(view, self.clock.read(view.access()));
        Some(view)
    }

    /// Whether the key exists. Does not count as a use of it.
    pub fn exists(&mut self, key: &Key<'_>) -> bool {
        self.looked_up(key).is_some()
    }

    /// What the key holds, if it exists. Does not count as a use of it, nor as a look.
    pub fn kind(&mut self, key: &Key<'_>) -> Option<Kind> {
        self.live(key)?;
        self.stored(key).map(|view| view.value().kind())
    }

    /// The value of the key, whatever its type.
    pub fn value(&mut self, key: &Key<'_>) -> Option<ValueRef<'_>> {
        if self.hides_fields(key) {
            self.used(key)?;
            return self.shown().map(ValueRef::Hash);
        }
        self.used(key).map(EntryView::value)
    }

    /// The value of the key, whatever its type. Does not count as a use of it.
    pub fn peek(&mut self, key: &Key<'_>) -> Option<ValueRef<'_>> {
        let hides_fields = self.hides_fields(key);
        self.looked_up(key)?;
        if hides_fields {
            return self.shown().map(ValueRef::Hash);
        }
        self.stored(key).map(EntryView::value)
    }

    /// The values of several keys at once, which may repeat.
    pub fn values(&mut self, keys: &[Key<'_>]) -> Vec<Option<ValueRef<'_>>> {
        // Expired keys go first: nothing may change while values are lent.
        let live: Vec<bool> = keys.iter().map(|key| self.used(key).is_some()).collect();
        let lent = keys.iter().zip(live);
        lent.map(|(key, live)| if live { self.stored(key).map(EntryView::value) } else { None })
            .collect()
    }

    /// The string at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    #[inline]
    pub fn string(&mut self, key: &Key<'_>) -> Result<Option<Str<'_>>, WrongType> {
        match self.used(key).map(EntryView::value) {
            None => Ok(None),
            Some(ValueRef::String(string)) => Ok(Some(string)),
            Some(_) => Err(WrongType),
        }
    }

    fn collection<C: Collection>(&mut self, key: &Key<'_>) -> Result<Option<&C>, WrongType> {
        let Some(raw) = self.looked_up(key) else { return Ok(None) };
        // SAFETY: the entry is live, and lent no longer than `&mut self`.
        unsafe {
            let view = <Entry as Thin>::view(raw);
            Entry::touch(view, self.clock.read(view.access()));
            let collection = collection_at::<C>(raw).ok_or(WrongType)?;
            Ok(Some(collection.as_ref()))
        }
    }

    /// The list at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn list(&mut self, key: &Key<'_>) -> Result<Option<&List>, WrongType> {
        self.collection(key)
    }

    /// The hash at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn hash(&mut self, key: &Key<'_>) -> Result<Option<&Hash>, WrongType> {
        if self.hides_fields(key) {
            self.used(key);
            return Ok(self.shown());
        }
        self.collection(key)
    }

    /// The set at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn set(&mut self, key: &Key<'_>) -> Result<Option<&Set>, WrongType> {
        self.collection(key)
    }

    /// The sorted set at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn zset(&mut self, key: &Key<'_>) -> Result<Option<&SortedSet>, WrongType> {
        self.collection(key)
    }

    /// The stream at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn stream(&mut self, key: &Key<'_>) -> Result<Option<&Stream>, WrongType> {
        self.collection(key)
    }

    /// The array at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn array(&mut self, key: &Key<'_>) -> Result<Option<&Array>, WrongType> {
        self.collection(key)
    }

    /// The vector set at the key.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn vector_set(&mut self, key: &Key<'_>) -> Result<Option<&VectorSet>, WrongType> {
        self.collection(key)
    }

    /// When the key ends: `None` if there is no such key, `Some(None)` if it does not end.
    pub fn expires_at(&mut self, key: &Key<'_>) -> Option<Option<UnixMillis>> {
        self.looked_up(key)?;
        self.stored(key).map(EntryView::expires_at)
    }

    /// What is known about the object at the key. Does not count as a use of it.
    pub fn object_info(&mut self, key: &Key<'_>) -> Option<ObjectInfo> {
        self.live(key)?;
        let view = self.stored(key)?;
        let serialized_bytes = match view.value() {
            ValueRef::String(string) => string.len(),
            ValueRef::List(list) => list.heap_bytes(),
            ValueRef::Hash(hash) => hash.heap_bytes(),
            ValueRef::Set(set) => set.heap_bytes(),
            ValueRef::ZSet(zset) => zset.heap_bytes(),
            ValueRef::Stream(stream) => stream.heap_bytes(),
            ValueRef::Array(array) => array.heap_bytes(),
            ValueRef::VectorSet(set) => set.heap_bytes(),
        };
        Some(ObjectInfo {
            encoding: view.encoding(),
            memory_bytes: view.memory(),
            serialized_bytes,
            idle_seconds: u64::from(self.clock.idle_seconds(view.access())),
            use_count: self.clock.count(view.access()),
            refcount: 1,
        })
    }
}
