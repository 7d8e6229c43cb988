//! The table under everything: groups of eight entries, linear hashing, growth a group at a time.
//!
//! A hash's low bits choose the *home*, a chain of groups of which the first lies in the table's
//! array and the rest are on the heap. When there are more entries than eight for each home, one home is
//! split into two; when there are few, the last is merged back. So nothing is ever rehashed at once, and
//! a home's number says exactly which hashes it holds, which is what scans and snapshots rely on.
//!
//! **Invariant:** a chain has no empty overflow group, and holes only in its last group.
#![allow(unsafe_code)]

mod group;
mod root;

use std::marker::PhantomData;

use self::group::{Group, WIDTH, tag_of};
use self::root::Root;
use crate::hash::hash_bytes;

/// An owned entry behind a thin pointer.
///
/// # Safety
/// `into_raw` gives a non-zero number below 2^48 that stays valid, with the same key, until
/// `from_raw` takes it back.
pub(crate) unsafe trait Thin: Sized {
    /// What a lookup lends.
    type View<'a>
    where
        Self: 'a;

    /// Gives up the entry for its number.
    fn into_raw(self) -> u64;

    /// Takes the entry back.
    ///
    /// # Safety
    /// `raw` came from `into_raw`, once.
    unsafe fn from_raw(raw: u64) -> Self;

    /// The entry's key.
    ///
    /// # Safety
    /// `raw` is a live entry, for as long as `'a`.
    unsafe fn key<'a>(raw: u64) -> &'a [u8];

    /// Lends the entry.
    ///
    /// # Safety
    /// `raw` is a live entry, for as long as `'a`, and nobody changes it meanwhile.
    unsafe fn view<'a>(raw: u64) -> Self::View<'a>
    where
        Self: 'a;

    /// The address to prefetch before the key is read.
    fn address(raw: u64) -> *const u8 {
        std::ptr::without_provenance(raw as usize)
    }
}

/// Asks the processor to fetch the cache line at this address, which need not be valid.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch touches no memory that the program can see, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// How far into an entry a look-up reads, in most cases.
const ENTRY_BYTES_LIKELY: usize = 40;

/// The number of a home.
pub(crate) type Home = u32;

/// The home of a hash in a table of so many.
#[inline]
pub(crate) fn home_of(homes: u32, hash: u64) -> Home {
    debug_assert!(homes > 0);
    let mask = u32::MAX >> homes.leading_zeros();
    let home = hash as u32 & mask;
    if home < homes { home } else { home & (mask >> 1) }
}

/// Where the first group of a hash's home lies in an array of homes, to be prefetched.
#[inline]
pub(crate) fn head_address(groups: *const u8, homes: u32, hash: u64) -> *const u8 {
    groups.wrapping_add(home_of(homes, hash) as usize * size_of::<Group>())
}

/// Entries found by hash and key. 32 bytes; nothing on the heap while empty.
pub(crate) struct Table<E: Thin> {
    root: Root,
    seed: u64,
    len: usize,
    homes: u32,
    overflows: u32,
    entries: PhantomData<E>,
}

const _: () = assert!(size_of::<Table<Nothing>>() == 32);

// SAFETY: a table owns its groups and entries; what may be done with it follows from the entries.
unsafe impl<E: Thin + Send> Send for Table<E> {}
// SAFETY: through a shared reference entries are only read.
unsafe impl<E: Thin + Sync> Sync for Table<E> {}

impl<E: Thin> Table<E> {
    /// An empty table that hashes under this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { root: Root::NONE, seed, len: 0, homes: 0, overflows: 0, entries: PhantomData }
    }

    /// How many entries there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The hash that this table files a key under.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        hash_bytes(self.seed, key)
    }

    /// Bytes of the groups (not of the entries). O(1).
    pub(crate) fn heap_bytes(&self) -> usize {
        Root::heap_bytes(self.homes) + self.overflows as usize * size_of::<Group>()
    }

    /// The entry with this key.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<E::View<'_>> {
        let (group, position) = self.locate(hash, key)?;
        // SAFETY: `locate` found it in a live group; the view borrows the table.
        Some(unsafe { E::view((*group).raw(position)) })
    }

    /// The place of the entry with this key, to change or remove it.
    #[inline]
    pub(crate) fn place(&mut self, hash: u64, key: &[u8]) -> Option<Place<'_, E>> {
        let (group, position) = self.locate(hash, key)?;
        Some(Place { home: home_of(self.homes, hash), table: self, group, position })
    }

    /// Adds an entry whose key is not there yet.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, entry: E) {
        self.insert_unbalanced(hash, entry);
        self.grow_if_full();
    }

    /// Removes the entry with this key.
    pub(crate) fn remove(&mut self, hash: u64, key: &[u8]) -> Option<E> {
        let removed = self.place(hash, key)?.remove();
        self.shrink();
        Some(removed)
    }

    /// All entries, in no useful order.
    pub(crate) fn iter(&self) -> Iter<'_, E> {
        Iter { table: self, next_home: 0, chain: Chain::NONE }
    }

    /// The entries of one home.
    pub(crate) fn entries(&self, home: Home) -> Iter<'_, E> {
        assert!(home < self.homes, "home {home} of {}", self.homes);
        Iter { table: self, next_home: u32::MAX, chain: Chain::begin(self.head(home)) }
    }

    /// Visits the entries of the home that the cursor names, 0 to begin, and returns the cursor of
    /// the next, 0 at the end. Entries present throughout a scan are visited at least once, whatever
    /// is added and removed between the calls.
    ///
    /// The cursor counts in reverse binary: what it has passed is a set of hashes ordered by their
    /// reversed bits, so splits and merges only ever make it visit some again.
    pub(crate) fn scan(&self, cursor: u64, mut visit: impl FnMut(E::View<'_>)) -> u64 {
        if self.homes == 0 {
            return 0;
        }
        self.entries(home_of(self.homes, cursor)).for_each(&mut visit);
        self.scan_next(cursor)
    }

    /// The cursor after this one, of a table that is not empty.
    pub(crate) fn scan_next(&self, cursor: u64) -> u64 {
        let wide = u32::MAX >> self.homes.leading_zeros();
        let narrow = wide >> 1;
        let home = home_of(self.homes, cursor);
        // A home is known by the wide mask if it was split, or born by a split, in this round.
        let split = home > narrow || home + narrow + 1 < self.homes;
        let passed = cursor as u32 | !if split { wide } else { narrow };
        u64::from(passed.reverse_bits().wrapping_add(1).reverse_bits())
    }

    /// Some entry, chosen evenly but for very long chains.
    pub(crate) fn random(&self, mut random: u64) -> Option<E::View<'_>> {
        /// Longer chains hardly exist; their entries are chosen a little less often.
        const CHAIN_MAX: u64 = 24;
        if self.len == 0 {
            return None;
        }
        for _ in 0..256 {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let draw = mix(random);
            let home = ((u128::from(draw) * u128::from(self.homes)) >> 64) as u32;
            let length = self.entries(home).count() as u64;
            if mix(draw) % CHAIN_MAX < length {
                return self.entries(home).nth((mix(draw ^ random) % length) as usize);
            }
        }
        let start = ((u128::from(mix(random)) * u128::from(self.homes)) >> 64) as u32;
        (start..self.homes).chain(0..start).find_map(|home| self.entries(home).next())
    }

    // --- for owners who want to know what happens to homes

    /// How many homes there are.
    #[inline]
    pub(crate) fn homes(&self) -> u32 {
        self.homes
    }

    /// The home of a hash; `None` while the table has none.
    #[inline]
    pub(crate) fn home(&self, hash: u64) -> Option<Home> {
        (self.homes > 0).then(|| home_of(self.homes, hash))
    }

    /// The numbers of the entries of one home.
    pub(crate) fn raws(&self, home: Home) -> impl Iterator<Item = u64> {
        assert!(home < self.homes, "home {home} of {}", self.homes);
        // SAFETY: the table is lent, so its groups live on.
        Chain::begin(self.head(home)).map(|(group, position)| unsafe { (*group).raw(position) })
    }

    /// The home's stamp.
    #[inline]
    pub(crate) fn stamp(&self, home: Home) -> u16 {
        assert!(home < self.homes, "home {home} of {}", self.homes);
        // SAFETY: heads of existing homes are live groups.
        unsafe { (*self.head(home)).stamp() }
    }

    /// Sets the home's stamp.
    #[inline]
    pub(crate) fn set_stamp(&mut self, home: Home, stamp: u16) {
        assert!(home < self.homes, "home {home} of {}", self.homes);
        // SAFETY: heads of existing homes are live groups, and `&mut self` makes this the only use.
        unsafe { (*self.head(home)).set_stamp(stamp) };
    }

    /// The array of homes, if it is one, and how many, for prefetches.
    #[inline]
    pub(crate) fn hint(&self) -> (*const u8, u32) {
        (self.root.array(self.homes), self.homes)
    }

    /// Prefetches the first group of the hash's home.
    #[inline]
    pub(crate) fn prefetch_home(&self, hash: u64) {
        if self.homes > 0 {
            prefetch(self.head(home_of(self.homes, hash)).cast());
        }
    }

    /// Prefetches the entry that is likely the hash's.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        if self.homes == 0 {
            return;
        }
        // SAFETY: the head of an existing home is a live group.
        let group = unsafe { &*self.head(home_of(self.homes, hash)) };
        let mut found = false;
        for position in group.candidates(tag_of(hash)) {
            let address = E::address(group.raw(position));
            prefetch(address);
            // Most entries are shorter than a line, and many begin in one and end in the next.
            prefetch(address.wrapping_add(ENTRY_BYTES_LIKELY));
            found = true;
        }
        if !found {
            prefetch(group.link().cast());
        }
    }

    /// [`Table::insert`] without the growth that may become due.
    pub(crate) fn insert_unbalanced(&mut self, hash: u64, entry: E) {
        if self.homes == 0 {
            // SAFETY: there are no homes.
            unsafe { self.root.push(0) };
            self.homes = 1;
        }
        let mut group = self.head(home_of(self.homes, hash));
        // SAFETY: chains consist of live groups, ours alone.
        unsafe {
            while !(*group).link().is_null() {
                group = (*group).link();
            }
            self.append(group, tag_of(hash), entry.into_raw());
        }
        self.len += 1;
    }

    /// Splits a home if there are more entries than eight for each. Both halves keep its stamp.
    #[inline]
    pub(crate) fn grow_if_full(&mut self) {
        if self.len > self.homes as usize * WIDTH {
            self.split();
        }
    }

    /// The two homes that a removal makes due to be merged (or the same twice if the table is empty
    /// and its last home is to go).
    #[inline]
    pub(crate) fn merge_due(&self) -> Option<(Home, Home)> {
        // Far below the bound for growth, so that a length that goes up and down costs nothing.
        if self.homes == 0 || self.len > 0 && self.len >= self.homes as usize * 3 {
            return None;
        }
        let last = self.homes - 1;
        match last {
            0 => (self.len == 0).then_some((0, 0)),
            _ => Some((last - (1 << last.ilog2()), last)),
        }
    }

    /// Merges what [`Table::merge_due`] names. The home that stays gets the larger stamp.
    pub(crate) fn merge(&mut self) {
        let Some((into, last)) = self.merge_due() else { return };
        if into != last {
            let (target, source) = (self.head(into), self.head(last));
            // SAFETY: both are live chains, ours alone; what is moved is not freed.
            unsafe {
                let stamp = (*target).stamp().max((*source).stamp());
                self.move_chain(source, target);
                (*target).set_stamp(stamp);
            }
        }
        // SAFETY: the last chain is empty now, its overflow groups are freed.
        unsafe { self.root.pop(self.homes) };
        self.homes -= 1;
    }

    fn shrink(&mut self) {
        // Once more when the table has just become empty, so that it gives everything back.
        while self.merge_due().is_some() {
            self.merge();
            if self.len > 0 {
                break;
            }
        }
    }

    #[inline]
    fn head(&self, home: Home) -> *mut Group {
        // SAFETY: callers pass homes that exist.
        unsafe { self.root.group(self.homes, home) }
    }

    #[inline]
    fn locate(&self, hash: u64, key: &[u8]) -> Option<(*mut Group, usize)> {
        if self.homes == 0 {
            return None;
        }
        let tag = tag_of(hash);
        let mut group = self.head(home_of(self.homes, hash));
        while !group.is_null() {
            // SAFETY: chains consist of live groups; entries in them are live.
            unsafe {
                for position in (*group).candidates(tag) {
                    // A candidate may be a false one next to a real one, even an empty position.
                    if (*group).tag(position) == tag && is_same(E::key((*group).raw(position)), key)
                    {
                        return Some((group, position));
                    }
                }
                group = (*group).link();
            }
        }
        None
    }

    /// Puts an entry into the chain's last group, or a new one behind it.
    ///
    /// # Safety
    /// `group` is the live last group of a chain of ours.
    unsafe fn append(&mut self, group: *mut Group, tag: u8, raw: u64) -> *mut Group {
        // SAFETY: as the contract says.
        let last = unsafe { &mut *group };
        if let Some(position) = last.vacancy() {
            last.put(position, tag, raw);
            return group;
        }
        let mut overflow = Box::new(Group::EMPTY);
        overflow.put(0, tag, raw);
        let overflow = Box::into_raw(overflow);
        last.set_link(overflow);
        self.overflows += 1;
        overflow
    }

    /// Frees the groups behind this one.
    ///
    /// # Safety
    /// `group` is a live group of ours; the entries behind it have been moved or dropped.
    unsafe fn free_behind(&mut self, group: *mut Group) {
        // SAFETY: links lead to boxes that only the chain owns.
        unsafe {
            let mut next = (*group).link();
            (*group).set_link(std::ptr::null_mut());
            while !next.is_null() {
                let freed = Box::from_raw(next);
                next = freed.link();
                self.overflows -= 1;
            }
        }
    }

    /// Appends the entries of one chain to another and empties the first.
    ///
    /// # Safety
    /// Both are live chains of ours, and different.
    unsafe fn move_chain(&mut self, source: *mut Group, target: *mut Group) {
        // SAFETY: as the contract says.
        unsafe {
            let mut tail = target;
            while !(*tail).link().is_null() {
                tail = (*tail).link();
            }
            for (group, position) in Chain::begin(source) {
                tail = self.append(tail, (*group).tag(position), (*group).raw(position));
            }
            self.free_behind(source);
            let stamp = (*source).stamp();
            source.write(Group::EMPTY);
            (*source).set_stamp(stamp);
        }
    }

    /// Splits the home whose turn it is.
    fn split(&mut self) {
        let born = self.homes;
        let bit = 1u64 << born.ilog2();
        let home = born - bit as u32;
        // SAFETY: `homes` is counted exactly.
        unsafe { self.root.push(self.homes) };
        self.homes += 1;
        let (source, target) = (self.head(home), self.head(born));
        // SAFETY: both are live chains, ours alone. The write cursor never passes the read cursor,
        // and what lies behind it at the end has been moved.
        unsafe {
            (*target).set_stamp((*source).stamp());
            for (group, position) in Chain::begin(source) {
                prefetch(E::address((*group).raw(position)));
            }
            let (mut kept, mut kept_at, mut tail) = (source, 0, target);
            for (group, position) in Chain::begin(source) {
                let (tag, raw) = ((*group).tag(position), (*group).raw(position));
                if hash_bytes(self.seed, E::key(raw)) & bit != 0 {
                    tail = self.append(tail, tag, raw);
                    continue;
                }
                if kept_at == WIDTH {
                    (kept, kept_at) = ((*kept).link(), 0);
                }
                (*kept).put(kept_at, tag, raw);
                kept_at += 1;
            }
            for position in kept_at..WIDTH {
                (*kept).clear(position);
            }
            self.free_behind(kept);
        }
    }

    /// Takes an entry out of its chain, closing the hole with the chain's last entry.
    ///
    /// # Safety
    /// `group` is a live group in the chain that begins at `head`, and the position is in use.
    unsafe fn take(&mut self, head: *mut Group, group: *mut Group, position: usize) -> u64 {
        // SAFETY: as the contract says; links lead to live groups.
        unsafe {
            let raw = (*group).raw(position);
            let (mut before, mut last) = (head, head);
            while !(*last).link().is_null() {
                (before, last) = (last, (*last).link());
            }
            let end = (*last).occupied().last().expect("no group of a chain but its head is empty");
            if (last, end) != (group, position) {
                (*group).put(position, (*last).tag(end), (*last).raw(end));
            }
            (*last).clear(end);
            if last != head && (*last).len() == 0 {
                self.free_behind(before);
            }
            self.len -= 1;
            raw
        }
    }
}

impl<E: Thin> Drop for Table<E> {
    fn drop(&mut self) {
        for home in 0..self.homes {
            let head = self.head(home);
            // SAFETY: every entry is dropped once, then the groups that held them are freed.
            unsafe {
                for (group, position) in Chain::begin(head) {
                    drop(E::from_raw((*group).raw(position)));
                }
                self.free_behind(head);
            }
        }
        // SAFETY: the chains are freed; nothing uses the table after its drop.
        unsafe { self.root.free(self.homes) };
    }
}

impl<E: Thin> std::fmt::Debug for Table<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("len", &self.len)
            .field("homes", &self.homes)
            .field("overflows", &self.overflows)
            .finish_non_exhaustive()
    }
}

/// Whether two texts are the same. Keys are short: eight bytes at a time beat a call of `memcmp`.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(last_a), Some(last_b)) if a.len() <= SHORT_BYTES => {
            let eights = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
            last_a == last_b && eights.into_iter().all(|(a, b)| a == b)
        }
        _ => a == b,
    }
}

/// Texts of up to this length are compared without a call.
const SHORT_BYTES: usize = 64;

/// Scrambles a number (the finish of SplitMix64).
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// Where an entry is: lent exclusively.
pub(crate) struct Place<'t, E: Thin> {
    table: &'t mut Table<E>,
    home: Home,
    group: *mut Group,
    position: usize,
}

impl<'t, E: Thin> Place<'t, E> {
    /// The entry's number.
    #[inline]
    pub(crate) fn raw(&self) -> u64 {
        // SAFETY: the place was found in a live group, and the table is lent to us alone.
        unsafe { (*self.group).raw(self.position) }
    }

    /// Lends the entry.
    pub(crate) fn view(&self) -> E::View<'_> {
        // SAFETY: the entry is live and lent with the table.
        unsafe { E::view(self.raw()) }
    }

    /// Puts another entry of the same key here.
    pub(crate) fn replace(&mut self, entry: E) -> E {
        let old = self.raw();
        self.set_raw(entry.into_raw());
        // SAFETY: the number is out of the table now.
        unsafe { E::from_raw(old) }
    }

    /// Lets go of the entry to make another of the same key out of it.
    pub(crate) fn update(&mut self, change: impl FnOnce(E) -> E) {
        // A panic in `change` would leave a number here whose entry is gone: end the process then.
        struct Abort;
        impl Drop for Abort {
            fn drop(&mut self) {
                std::process::abort();
            }
        }
        let abort = Abort;
        // SAFETY: the number is replaced before anybody else can see it.
        let entry = change(unsafe { E::from_raw(self.raw()) });
        self.set_raw(entry.into_raw());
        std::mem::forget(abort);
    }

    /// Removes the entry; shrinking is for the caller to see to ([`Table::merge_due`]).
    pub(crate) fn remove(self) -> E {
        let head = self.table.head(self.home);
        // SAFETY: the place is in the chain of its home; the number leaves the table.
        unsafe { E::from_raw(self.table.take(head, self.group, self.position)) }
    }

    fn set_raw(&mut self, raw: u64) {
        // SAFETY: the place was found in a live group, and the table is lent to us alone.
        unsafe { (*self.group).put(self.position, (*self.group).tag(self.position), raw) };
    }
}

/// The positions in use of a chain, one after the other.
#[derive(Clone, Copy)]
struct Chain {
    group: *mut Group,
    position: usize,
}

impl Chain {
    const NONE: Chain = Chain { group: std::ptr::null_mut(), position: 0 };

    fn begin(group: *mut Group) -> Chain {
        Chain { group, position: 0 }
    }
}

impl Iterator for Chain {
    type Item = (*mut Group, usize);

    fn next(&mut self) -> Option<(*mut Group, usize)> {
        while !self.group.is_null() {
            // SAFETY: whoever walks a chain keeps its groups alive.
            let group = unsafe { &*self.group };
            while self.position < WIDTH {
                let position = self.position;
                self.position += 1;
                if group.tag(position) != 0 {
                    return Some((self.group, position));
                }
            }
            *self = Chain::begin(group.link());
        }
        None
    }
}

/// The entries of a table, or of one home.
pub(crate) struct Iter<'a, E: Thin> {
    table: &'a Table<E>,
    next_home: Home,
    chain: Chain,
}

impl<'a, E: Thin> Iterator for Iter<'a, E> {
    type Item = E::View<'a>;

    fn next(&mut self) -> Option<E::View<'a>> {
        loop {
            if let Some((group, position)) = self.chain.next() {
                // SAFETY: the table is lent, so its groups and entries live on.
                return Some(unsafe { E::view((*group).raw(position)) });
            }
            if self.next_home >= self.table.homes {
                return None;
            }
            self.chain = Chain::begin(self.table.head(self.next_home));
            self.next_home += 1;
        }
    }
}

/// Only to state the size of a table.
struct Nothing;

// SAFETY: never made.
unsafe impl Thin for Nothing {
    type View<'a> = ();

    fn into_raw(self) -> u64 {
        unreachable!("never made")
    }

    unsafe fn from_raw(_raw: u64) -> Self {
        Nothing
    }

    unsafe fn key<'a>(_raw: u64) -> &'a [u8] {
        &[]
    }

    unsafe fn view<'a>(_raw: u64) -> Self::View<'a> {}
}

#[cfg(test)]
mod tests;
