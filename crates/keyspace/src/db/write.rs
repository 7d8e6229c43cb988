//! Writing: every change captures the group for running snapshots, marks watches, counts.

use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use slotward_types::{Slot, UnixMillis};

use super::{Db, ExpiredFields, ExpiryPolicy, Lent, SetExpiry};
use crate::collections::{Array, Hash, List, Set, SortedSet, Stream, VectorSet};
use crate::counters::Counted;
use crate::entry::{Collection, Entry, EntryView, Payload, collection_at};
use crate::hash::Key;
use crate::keyspace::DbIndex;
use crate::listen::Noted;
use crate::table::{Home, Place, Table, Thin};
use crate::value::{Str, Value, ValueRef, WrongType, parse_int};

/// Values of more elements are left to [`crate::Keyspace::take_garbage`].
const GARBAGE_MIN: usize = 1024;

impl<'a> Db<'a> {
    // --- strings

    /// Sets the key to a string, whatever it held. Canonical integers are kept as such.
    #[inline]
    pub fn set_string(&mut self, key: &Key<'_>, value: &[u8], expiry: SetExpiry) {
        self.put(key, Payload::string(value), expiry);
    }

    /// Sets the key to an integer, whatever it held.
    #[inline]
    pub fn set_integer(&mut self, key: &Key<'_>, value: i64, expiry: SetExpiry) {
        self.put(key, Payload::Int(value), expiry);
    }

    /// Sets the key to a string that was computed as bytes: its encoding is told as `raw`, and it is
    /// never kept as an integer.
    pub fn set_raw_string(&mut self, key: &Key<'_>, value: Vec<u8>, expiry: SetExpiry) {
        self.put(key, Payload::Edited(value), expiry);
    }

    /// Sets the key to a string that was computed as a text: its encoding is told as that of a text,
    /// also if it is kept as an integer.
    pub fn set_text(&mut self, key: &Key<'_>, value: &[u8], expiry: SetExpiry) {
        let payload = parse_int(value).map_or(Payload::Bytes(value), Payload::IntText);
        self.put(key, payload, expiry);
    }

    /// Whether the key holds a string of which [`Db::set_raw_string`], [`Db::set_text`] or an edit
    /// says how its encoding is told. It does not go with the value when that is taken or copied.
    pub fn has_odd_form(&mut self, key: &Key<'_>) -> bool {
        self.live(key).is_some_and(|raw| {
            // SAFETY: the entry is live; the view is not kept.
            unsafe { <Entry as Thin>::view(raw) }.is_odd()
        })
    }

    /// Says that again of a string that was just put at the key.
    pub fn set_odd_form(&mut self, key: &Key<'_>) {
        if let Some(raw) = self.live(key) {
            // SAFETY: the entry is live; the view is not kept.
            Entry::mark_odd(unsafe { <Entry as Thin>::view(raw) });
        }
    }

    /// Lets `change` make another integer of the string at the key, of 0 if there is none. Keeps the
    /// expiry. Counts as a look.
    ///
    /// # Errors
    /// When the key holds another type, or what `change` returns; then nothing is changed.
    #[inline]
    pub fn update_integer<E: From<WrongType>>(
        &mut self,
        key: &Key<'_>,
        change: impl FnOnce(Str<'_>) -> Result<i64, E>,
    ) -> Result<i64, E> {
        let Some(raw) = self.looked_up(key) else {
            let new = change(Str::Int(0))?;
            self.set_integer(key, new, SetExpiry::Keep);
            return Ok(new);
        };
        // SAFETY: the entry is live; the view is not used past the change.
        let view: EntryView<'_> = unsafe { <Entry as Thin>::view(raw) };
        let ValueRef::String(old) = view.value() else { return Err(WrongType.into()) };
        let new = change(old)?;
        if !view.is_integer() {
            self.set_integer(key, new, SetExpiry::Keep);
            return Ok(new);
        }
        self.capture_key(key);
        Entry::set_integer(view, new);
        self.note_written(key, view);
        Ok(new)
    }

    /// Edits the string at the key in place, beginning with an empty one if there is none. Keeps
    /// the expiry.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn string_edit<R>(
        &mut self,
        key: &Key<'_>,
        edit: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> Result<R, WrongType> {
        let Some(raw) = self.live(key) else {
            self.drop_hidden(key);
            let mut bytes = Vec::new();
            let result = edit(&mut bytes);
            self.add(key, Payload::Edited(bytes), None);
            return Ok(result);
        };
        // SAFETY: the entry is live; the view is not used past the change.
        let ValueRef::String(old) = unsafe { <Entry as Thin>::view(raw) }.value() else {
            return Err(WrongType);
        };
        let place = self.place_to_change(key).expect("the key is live");
        let before = place.view().memory();
        // SAFETY: the entry is live and lent to us alone; it is not dropped here.
        let mut entry = ManuallyDrop::new(unsafe { Entry::from_raw(place.raw()) });
        let Some(buffer) = entry.buffer_mut() else {
            let mut bytes = old.to_vec();
            let result = edit(&mut bytes);
            self.overwrite(key, place, Payload::Edited(bytes), SetExpiry::Keep);
            return Ok(result);
        };
        let result = edit(buffer);
        Entry::touch(place.view(), self.clock.written(place.view().access()));
        self.changed(key, before, place.view());
        Ok(result)
    }

    // --- any type

    /// Sets the key to a value, whatever it held.
    pub fn insert(&mut self, key: &Key<'_>, value: Value, expires_at: Option<UnixMillis>) {
        self.put(key, Payload::from(value), expires_at.map_or(SetExpiry::Clear, SetExpiry::At));
    }

    /// Removes the key. False if there was none.
    pub fn remove(&mut self, key: &Key<'_>) -> bool {
        if self.live(key).is_none() {
            return false;
        }
        let entry = self.take_entry(self.index, key).expect("the key is live");
        self.discard(entry);
        true
    }

    /// Removes the key and hands over what it held and when it would have ended.
    pub fn take(&mut self, key: &Key<'_>) -> Option<(Value, Option<UnixMillis>)> {
        self.live(key)?;
        self.take_entry(self.index, key).map(Entry::into_value)
    }

    /// Notes how long the key has been idle, or how often it was used: of these what the rule in
    /// force keeps. For values that come from elsewhere.
    pub fn restore_access(&mut self, key: &Key<'_>, idle_seconds: Option<u32>, count: Option<u8>) {
        if let Some(raw) = self.live(key) {
            // SAFETY: the entry is live; the view is not kept.
            let view = unsafe { <Entry as Thin>::view(raw) };
            Entry::touch(view, self.clock.restored(idle_seconds, count));
        }
    }

    /// Sets when the key ends, or that it does not. False if there is no such key. A time that has
    /// passed is for the caller to turn into [`Db::remove`].
    pub fn set_expires_at(&mut self, key: &Key<'_>, at: Option<UnixMillis>) -> bool {
        if self.live(key).is_none() {
            return false;
        }
        let mut place = self.place_to_change(key).expect("the key is live");
        let (before, was) = (place.view().memory(), place.view().expires_at());
        place.update(|entry| entry.with_expiry(at));
        self.expiry_changed(key.slot, was, at);
        self.changed(key, before, place.view());
        true
    }

    // --- collections

    /// The list at the key, to change it. Say [`Db::unchanged`] if it was not changed after all.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn list_mut(&mut self, key: &Key<'_>) -> Result<Option<&mut List>, WrongType> {
        self.lend(key)
    }

    /// The hash at the key, to change it. Say [`Db::unchanged`] if it was not changed after all.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn hash_mut(&mut self, key: &Key<'_>) -> Result<Option<&mut Hash>, WrongType> {
        self.lend(key)
    }

    /// The set at the key, to change it. Say [`Db::unchanged`] if it was not changed after all.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn set_mut(&mut self, key: &Key<'_>) -> Result<Option<&mut Set>, WrongType> {
        self.lend(key)
    }

    /// The sorted set at the key, to change it. Say [`Db::unchanged`] if it was not changed after
    /// all.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn zset_mut(&mut self, key: &Key<'_>) -> Result<Option<&mut SortedSet>, WrongType> {
        self.lend(key)
    }

    /// The stream at the key, to change it. Say [`Db::unchanged`] if it was not changed after all.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn stream_mut(&mut self, key: &Key<'_>) -> Result<Option<&mut Stream>, WrongType> {
        self.lend(key)
    }

    /// The vector set at the key, to change it. Say [`Db::unchanged`] if it was not changed after all.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn vector_set_mut(&mut self, key: &Key<'_>) -> Result<Option<&mut VectorSet>, WrongType> {
        self.lend(key)
    }

    /// The stream at the key, made if there is none.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn stream_or_new(&mut self, key: &Key<'_>) -> Result<&mut Stream, WrongType> {
        self.lend_or_new(key)
    }

    /// The array at the key, to change it. Say [`Db::unchanged`] if it was not changed after all.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn array_mut(&mut self, key: &Key<'_>) -> Result<Option<&mut Array>, WrongType> {
        self.lend(key)
    }

    /// The array at the key, made if there is none.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn array_or_new(&mut self, key: &Key<'_>) -> Result<&mut Array, WrongType> {
        self.lend_or_new(key)
    }

    /// The list at the key, made if there is none.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn list_or_new(&mut self, key: &Key<'_>) -> Result<&mut List, WrongType> {
        self.lend_or_new(key)
    }

    /// The hash at the key, made if there is none.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn hash_or_new(&mut self, key: &Key<'_>) -> Result<&mut Hash, WrongType> {
        self.lend_or_new(key)
    }

    /// The set at the key, made if there is none.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn set_or_new(&mut self, key: &Key<'_>) -> Result<&mut Set, WrongType> {
        self.lend_or_new(key)
    }

    /// The sorted set at the key, made if there is none.
    ///
    /// # Errors
    /// When the key holds another type.
    pub fn zset_or_new(&mut self, key: &Key<'_>) -> Result<&mut SortedSet, WrongType> {
        self.lend_or_new(key)
    }

    /// Removes the key if it holds an empty collection. True if it did.
    pub fn remove_if_empty(&mut self, key: &Key<'_>) -> bool {
        self.settle();
        let Some(place) = self.table_mut(self.index, key.slot).place(key.hash, key.bytes) else {
            return false;
        };
        let empty = match place.view().value() {
            ValueRef::String(_) => false,
            ValueRef::List(list) => list.is_empty(),
            ValueRef::Hash(hash) => hash.is_empty(),
            ValueRef::Set(set) => set.is_empty(),
            ValueRef::ZSet(zset) => zset.is_empty(),
            ValueRef::Array(array) => array.is_empty(),
            // An empty stream keeps its ids and groups: it stays until it is deleted.
            ValueRef::Stream(_) => false,
            ValueRef::VectorSet(set) => set.is_empty(),
        };
        if empty {
            drop(self.take_entry(self.index, key));
        }
        empty
    }

    /// Lends the collection at the key for a change.
    fn lend<C: Collection>(&mut self, key: &Key<'_>) -> Result<Option<&mut C>, WrongType> {
        let Some(raw) = self.live(key) else { return Ok(None) };
        self.lend_raw(key, raw).map(Some)
    }

    /// The same for an entry that has been found.
    fn lend_raw<C: Collection>(&mut self, key: &Key<'_>, raw: u64) -> Result<&mut C, WrongType> {
        // SAFETY: the entry is live, and lent no longer than `&mut self`: nothing else gets at it
        // meanwhile.
        let mut collection: NonNull<C> = unsafe { collection_at(raw) }.ok_or(WrongType)?;
        self.capture_key(key);
        // SAFETY: the entry is live; the view is not kept.
        let view: EntryView<'_> = unsafe { <Entry as Thin>::view(raw) };
        Entry::touch(view, self.clock.written(view.access()));
        self.lent = Some(Lent {
            slot: key.slot,
            db: self.index,
            raw,
            memory_before: view.memory(),
            expiry_before: view.field_expiry(),
            unchanged: false,
        });
        // SAFETY: as above; all other references to the entry have ended.
        Ok(unsafe { collection.as_mut() })
    }

    fn lend_or_new<C: Collection>(&mut self, key: &Key<'_>) -> Result<&mut C, WrongType> {
        let raw = match self.live(key) {
            Some(raw) => raw,
            None => {
                self.drop_hidden(key);
                self.add(key, C::empty().payload(), None);
                self.live(key).expect("the key was added just now")
            }
        };
        self.lend_raw(key, raw)
    }

    // --- what all of these come down to

    /// The key's place, after its home was captured for running snapshots.
    #[inline]
    fn place_to_change(&mut self, key: &Key<'_>) -> Option<Place<'a, Entry>> {
        self.capture_key(key);
        self.table_mut(self.index, key.slot).place(key.hash, key.bytes)
    }

    /// Captures the key's home for running snapshots, if there are any.
    #[inline]
    fn capture_key(&mut self, key: &Key<'_>) {
        if self.keyspace.snapshots.newest() != 0 {
            self.capture_home_of(key);
        }
    }

    #[cold]
    fn capture_home_of(&mut self, key: &Key<'_>) {
        let index = self.index;
        let table = self.table_mut(index, key.slot);
        if let Some(home) = table.home(key.hash) {
            self.capture(index, table, home);
        }
    }

    #[inline]
    fn capture(&self, db: DbIndex, table: &mut Table<Entry>, home: Home) {
        self.keyspace.snapshots.capture(|| self.keyspace.slots.content(db), table, home);
    }

    /// Sets the key to a payload, whatever it held.
    #[inline]
    fn put(&mut self, key: &Key<'_>, payload: Payload<'_>, expiry: SetExpiry) {
        self.settle();
        match self.place_to_change(key) {
            Some(place) if place.view().is_due(self.now) && self.policy == ExpiryPolicy::Delete => {
                self.expire(self.index, key);
                self.add(key, payload, after_absence(expiry));
            }
            Some(place) if self.notes.is_some() => {
                self.note_overwritten(key, place, payload, expiry);
            }
            Some(place) => {
                let expiry_stays = match expiry {
                    SetExpiry::Clear => place.view().expires_at().is_none(),
                    SetExpiry::Keep => true,
                    SetExpiry::At(_) => false,
                };
                if expiry_stays && Entry::overwrite(place.view(), &payload) {
                    self.note_written(key, place.view());
                } else {
                    self.overwrite(key, place, payload, expiry);
                }
            }
            None => self.add(key, payload, after_absence(expiry)),
        }
    }

    /// An entry was changed where it is, which takes as much memory as before and ends as before.
    #[inline]
    fn note_written(&self, key: &Key<'_>, view: EntryView<'_>) {
        Entry::touch(view, self.clock.written(view.access()));
        self.keyspace.watches.changed(key.slot, self.index, key.bytes, self.actor);
    }

    /// Puts a payload in the place of another. The home has been captured.
    #[inline]
    fn overwrite(
        &mut self,
        key: &Key<'_>,
        mut place: Place<'a, Entry>,
        payload: Payload<'_>,
        expiry: SetExpiry,
    ) {
        let old = place.view();
        let (before, was, fields_were) = (old.memory(), old.expires_at(), old.field_expiry());
        let at = match expiry {
            SetExpiry::Clear => None,
            SetExpiry::Keep => was,
            SetExpiry::At(at) => Some(at),
        };
        let access = self.clock.written(old.access());
        if old.is_string() {
            place.update(|entry| entry.with_payload(payload, at, access));
        } else {
            let old = place.replace(Entry::new(key.bytes, payload, at, access));
            self.discard(old);
        }
        if was.is_some() || at.is_some() {
            self.expiry_changed(key.slot, was, at);
        }
        let fields_are = place.view().field_expiry();
        self.field_expiry_moved(key.slot, self.index, key.bytes, fields_were, fields_are);
        self.changed(key, before, place.view());
    }

    #[cold]
    fn note_overwritten(
        &mut self,
        key: &Key<'_>,
        place: Place<'a, Entry>,
        payload: Payload<'_>,
        expiry: SetExpiry,
    ) {
        let kind_was = place.view().value().kind();
        self.overwrite(key, place, payload, expiry);
        self.noted(Noted::Overwritten, key);
        if self.kind(key) != Some(kind_was) {
            self.noted(Noted::Retyped, key);
        }
    }

    /// Removes an expired key that the policy hides, before a key of the same name is added.
    fn drop_hidden(&mut self, key: &Key<'_>) {
        if self.policy == ExpiryPolicy::Hide {
            drop(self.take_entry(self.index, key));
        }
    }

    /// Adds a key that is not there.
    fn add(&mut self, key: &Key<'_>, payload: Payload<'_>, at: Option<UnixMillis>) {
        let index = self.index;
        let table = self.table_mut(index, key.slot);
        let groups_before = table.heap_bytes();
        match table.home(key.hash) {
            Some(home) => self.capture(index, table, home),
            None => self.keyspace.slots.set_used(index, key.slot, true),
        }
        let newborn = table.homes() == 0;
        let entry = Entry::new(key.bytes, payload, at, self.clock.fresh());
        let (bytes, field_expiry) = (entry.view().memory(), entry.view().field_expiry());
        table.insert_unbalanced(key.hash, entry);
        if newborn {
            table.set_stamp(0, self.keyspace.snapshots.newest());
        }
        table.grow_if_full();
        self.keyspace.slots.reshaped(index, key.slot, table);
        self.keyspace.counters.add(index, Counted::Keys, 1);
        self.count_bytes(index, groups_before, table.heap_bytes() + bytes);
        if at.is_some() {
            self.expiry_changed(key.slot, None, at);
        }
        self.field_expiry_moved(key.slot, index, key.bytes, None, field_expiry);
        self.keyspace.watches.changed(key.slot, index, key.bytes, self.actor);
        self.noted(Noted::Added, key);
    }

    /// Takes a key's entry out, expired or not.
    pub(super) fn take_entry(&mut self, db: DbIndex, key: &Key<'_>) -> Option<Entry> {
        self.settle();
        let table = self.table_mut(db, key.slot);
        let home = table.home(key.hash)?;
        self.capture(db, table, home);
        let groups_before = table.heap_bytes();
        let entry = table.place(key.hash, key.bytes)?.remove();
        self.shrink(db, key.slot, table);
        self.keyspace.counters.add(db, Counted::Keys, -1);
        if entry.view().expires_at().is_some() {
            self.keyspace.counters.add(db, Counted::Volatile, -1);
        }
        self.field_expiry_moved(key.slot, db, key.bytes, entry.view().field_expiry(), None);
        self.count_bytes(db, groups_before + entry.view().memory(), table.heap_bytes());
        self.keyspace.watches.changed(key.slot, db, key.bytes, self.actor);
        Some(entry)
    }

    /// Merges homes as a removal makes it due.
    fn shrink(&self, db: DbIndex, slot: Slot, table: &mut Table<Entry>) {
        while let Some((into, last)) = table.merge_due() {
            // Two homes that are to be one must not differ in who has got their entries.
            if table.stamp(into) != table.stamp(last) {
                self.capture(db, table, into);
                self.capture(db, table, last);
            }
            table.merge();
            if !table.is_empty() {
                break;
            }
        }
        if table.is_empty() {
            self.keyspace.slots.set_used(db, slot, false);
        }
        self.keyspace.slots.reshaped(db, slot, table);
    }

    /// Removes an expired key and notes it.
    pub(super) fn expire(&mut self, db: DbIndex, key: &Key<'_>) {
        // Time has done it, not who met the key.
        let actor = std::mem::take(&mut self.actor);
        if let Some(entry) = self.take_entry(db, key) {
            self.discard(entry);
            self.rare().expired.push((db, key.bytes.into()));
        }
        self.actor = actor;
    }

    /// Removes the fields of a hash whose time has come and notes them. Does nothing if there are
    /// none, or no hash.
    pub(super) fn expire_fields(&mut self, db: DbIndex, key: &Key<'_>) {
        self.settle();
        let selected = std::mem::replace(&mut self.index, db);
        let actor = std::mem::take(&mut self.actor);
        let now = self.now;
        let raw = self.table_mut(db, key.slot).place(key.hash, key.bytes).map(|place| place.raw());
        if let Some(Ok(hash)) = raw.map(|raw| self.lend_raw::<Hash>(key, raw)) {
            let (fields, emptied) = (hash.take_due(now), hash.is_empty());
            if fields.is_empty() {
                self.unchanged();
            }
            self.settle();
            if emptied {
                drop(self.take_entry(db, key));
            }
            if !fields.is_empty() {
                let key = key.bytes.into();
                let removed = ExpiredFields { db, key, fields, emptied };
                self.rare().expired_fields.push(removed);
            }
        }
        self.index = selected;
        self.actor = actor;
    }

    /// Notes when the first field of a hash ends, which has changed perhaps.
    #[inline]
    pub(super) fn field_expiry_moved(
        &self,
        slot: Slot,
        db: DbIndex,
        key: &[u8],
        was: Option<UnixMillis>,
        is: Option<UnixMillis>,
    ) {
        if was == is {
            return;
        }
        self.keyspace.field_expiry.moved(slot, db, key, was, is);
        if let Some(at) = is {
            self.keyspace.slots.note_expiry(slot, at.0);
        }
    }

    /// Drops an entry, or leaves what would take long to somebody who has time.
    fn discard(&self, entry: Entry) {
        let elements = match entry.view().value() {
            ValueRef::String(Str::Int(_) | Str::Bytes(_)) => return,
            ValueRef::List(list) => list.len(),
            ValueRef::Hash(hash) => hash.len(),
            ValueRef::Set(set) => set.len(),
            ValueRef::ZSet(zset) => zset.len(),
            ValueRef::Array(array) => usize::try_from(array.count()).unwrap_or(usize::MAX),
            // Each is an allocation of its own, unlike most elements of the others.
            ValueRef::Stream(stream) => stream.parts() * 8,
            ValueRef::VectorSet(set) => set.len() * 4,
        };
        if elements >= GARBAGE_MIN {
            self.keyspace.add_garbage(entry.into_value().0);
        }
    }

    #[inline]
    fn changed(&self, key: &Key<'_>, bytes_before: usize, now: EntryView<'_>) {
        self.count_bytes(self.index, bytes_before, now.memory());
        self.keyspace.watches.changed(key.slot, self.index, key.bytes, self.actor);
    }

    fn expiry_changed(&self, slot: Slot, was: Option<UnixMillis>, is: Option<UnixMillis>) {
        let delta = i64::from(is.is_some()) - i64::from(was.is_some());
        self.keyspace.counters.add(self.index, Counted::Volatile, delta);
        if let Some(at) = is {
            self.keyspace.slots.note_expiry(slot, at.0);
        }
    }

    #[inline]
    pub(super) fn count_bytes(&self, db: DbIndex, before: usize, after: usize) {
        self.keyspace.counters.add(db, Counted::Bytes, after as i64 - before as i64);
    }
}

/// The expiry that a key gets which was not there before.
fn after_absence(expiry: SetExpiry) -> Option<UnixMillis> {
    match expiry {
        SetExpiry::Clear | SetExpiry::Keep => None,
        SetExpiry::At(at) => Some(at),
    }
}
