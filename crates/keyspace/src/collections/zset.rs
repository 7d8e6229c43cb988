//! Sorted sets: members with scores, in the order of scores and, where those are equal, of texts.
//!
//! A small one is a packed sequence of member, score, member, score in that order. A large one is
//! a table that finds a member's score and a counted tree that finds ranks and ranges; the members'
//! texts are in the table's records, the tree points to them.
//!
//! **Invariant:** a record is in the table exactly as long as a pointer to it is in the tree.

use std::cmp::Ordering;
use std::ops::Range;

use super::codec;
use super::hash::Pairs;
use super::index::Index;
use super::item::Item;
use super::list::End;
use super::one_of::{Form, Never, OneOf};
use super::pack::{InvalidPack, PACK_BYTES_MAX, Pack, PackIter};
use super::record::{ScorePtr, ScoreRecord, ScoreView};
use super::repeats;
use super::tree::{MemberPtr, Ranked, Tree, TreeIter, TreeIterBack};
use crate::value::{Encoding, EncodingLimits};

/// Members with scores, which are never NaN.
pub struct SortedSet {
    body: Body,
}

type Body = OneOf<Pack, Box<Large>, Never>;

struct Large {
    // The tree goes first when both are dropped: it points into the records.
    tree: Tree<ScorePtr>,
    index: Index<ScoreRecord>,
}

/// One end of a range of scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreBound {
    /// The score.
    pub value: f64,
    /// Whether that score itself is outside.
    pub exclusive: bool,
}

/// One end of a range of members that all have the same score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// Before every member (`-`).
    Min,
    /// After every member (`+`).
    Max,
    /// This text and what lies inwards of it (`[a`).
    Inclusive(&'a [u8]),
    /// What lies inwards of this text (`(a`).
    Exclusive(&'a [u8]),
}

impl ScoreBound {
    /// Whether a score lies before the range that begins here.
    fn begins_after(self, score: f64) -> bool {
        if self.exclusive { score <= self.value } else { score < self.value }
    }

    /// Whether a score lies in or before the range that ends here.
    fn ends_at_or_after(self, score: f64) -> bool {
        if self.exclusive { score < self.value } else { score <= self.value }
    }
}

impl LexBound<'_> {
    fn begins_after(self, member: &[u8]) -> bool {
        match self {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Inclusive(text) => member < text,
            LexBound::Exclusive(text) => member <= text,
        }
    }

    fn ends_at_or_after(self, member: &[u8]) -> bool {
        match self {
            LexBound::Min => false,
            LexBound::Max => true,
            LexBound::Inclusive(text) => member <= text,
            LexBound::Exclusive(text) => member < text,
        }
    }
}

impl Clone for SortedSet {
    fn clone(&self) -> Self {
        match self.body.get() {
            Form::Packed(pack) => SortedSet { body: Body::packed(pack.clone()) },
            Form::Large(_) => SortedSet { body: Body::large(self.to_large()) },
        }
    }
}

impl Default for SortedSet {
    fn default() -> Self {
        SortedSet::new()
    }
}

impl std::fmt::Debug for SortedSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl SortedSet {
    /// A sorted set without members.
    pub fn new() -> SortedSet {
        SortedSet { body: Body::packed(Pack::new()) }
    }

    /// The sorted set that a packed sequence of member, score, member, score is.
    ///
    /// # Errors
    /// When a score is missing or no number, a member stands twice, or the order is wrong.
    pub fn from_pack(pack: Pack, limits: &EncodingLimits) -> Result<SortedSet, InvalidPack> {
        if !pack.len().is_multiple_of(2) || repeats(pack.iter().step_by(2)) {
            return Err(InvalidPack);
        }
        let mut last: Option<(Item<'_>, f64)> = None;
        for (member, score) in Pairs(pack.iter()) {
            let score = checked_score(score).ok_or(InvalidPack)?;
            if last.is_some_and(|last| order(last, score, &member.to_vec()) != Ordering::Less) {
                return Err(InvalidPack);
            }
            last = Some((member, score));
        }
        let too_long = |item: Item<'_>| item.len() > limits.zset_max_listpack_value;
        let large = pack.len() / 2 > limits.zset_max_listpack_entries
            || pack.iter().step_by(2).any(too_long);
        let mut set = SortedSet { body: Body::packed(pack) };
        if large {
            let _ = set.make_large();
        }
        Ok(set)
    }

    /// The packed sequence, while the set is small.
    pub fn as_pack(&self) -> Option<&Pack> {
        if let Form::Packed(pack) = self.body.get() { Some(pack) } else { None }
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        match self.body.get() {
            Form::Packed(pack) => pack.len() / 2,
            Form::Large(large) => large.tree.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self.body.get() {
            Form::Packed(pack) => pack.is_empty(),
            Form::Large(large) => large.tree.len() == 0,
        }
    }

    /// `listpack` or `skiplist`.
    pub fn encoding(&self) -> Encoding {
        match self.body.get() {
            Form::Packed(_) => Encoding::ListPack,
            Form::Large(_) => Encoding::SkipList,
        }
    }

    /// How many bytes the set has reserved outside its own struct, those of the tree estimated.
    pub fn heap_bytes(&self) -> usize {
        match self.body.get() {
            Form::Packed(pack) => pack.allocated(),
            // A place in a leaf takes 16 bytes; leaves are about three quarters full.
            Form::Large(large) => large.index.heap_bytes() + large.tree.len() * 22,
        }
    }

    /// How many allocations dropping the set frees, more or less.
    pub fn free_effort(&self) -> usize {
        match self.body.get() {
            Form::Packed(_) => 1,
            Form::Large(large) => large.tree.len(),
        }
    }

    /// Asks the processor to fetch the scores of these members of a large set.
    pub(crate) fn prefetch(&self, members: &[&[u8]]) {
        if let Form::Large(large) = self.body.get() {
            large.index.prefetch(members);
        }
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self.body.get() {
            Form::Packed(pack) => {
                let at = pack.find(member, 2)?;
                Some(score_of(pack.read(pack.skip(at)).0))
            }
            Form::Large(large) => {
                large.index.get(large.index.hash(member), member).map(|found| found.score)
            }
        }
    }

    /// Gives a member a score, adding it if it is new. Returns the score it had.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &EncodingLimits) -> Option<f64> {
        let mut old = None;
        self.update(member, limits, |present| {
            old = present;
            Some(score)
        });
        old
    }

    /// Lets `decide` see the score that a member has, if it is there, and gives it the score that
    /// `decide` returns, if it returns one.
    ///
    /// # Panics
    /// If the score is NaN.
    #[inline]
    pub fn update(
        &mut self,
        member: &[u8],
        limits: &EncodingLimits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        match self.body.get_mut() {
            Form::Large(large) => large.update(member, decide),
            Form::Packed(pack) => {
                let at = pack.find(member, 2);
                let old = at.map(|at| score_of(pack.read(pack.skip(at)).0));
                let Some(score) = decide(old).map(proper) else { return };
                match at {
                    Some(_) if old == Some(score) => return,
                    Some(at) => pack.remove(at, 2),
                    None if fits_a_pack(pack, member, limits) => {}
                    None => {
                        let large = self.make_large();
                        return large.add(large.index.hash(member), member, score);
                    }
                }
                insert_in_pack(pack, member, score);
            }
        }
    }

    /// Removes a member and returns the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let at = pack.find(member, 2)?;
                let score = score_of(pack.read(pack.skip(at)).0);
                pack.remove(at, 2);
                Some(score)
            }
            Form::Large(large) => {
                let hash = large.index.hash(member);
                let score = large.index.get(hash, member)?.score;
                assert!(large.tree.remove(score, member), "every record is in the tree");
                large.index.remove(hash, member);
                Some(score)
            }
        }
    }

    /// How many members come before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self.body.get() {
            Form::Packed(pack) => Pairs(pack.iter())
                .enumerate()
                .find(|(_, (item, _))| item.with_bytes(|text| text == member))
                .map(|(rank, (_, score))| (rank, score_of(score))),
            Form::Large(large) => {
                let score = large.index.get(large.index.hash(member), member)?.score;
                Some((large.tree.rank_of(score, member), score))
            }
        }
    }

    /// The ranks of the members with scores in this range.
    pub fn ranks_by_score(&self, min: ScoreBound, max: ScoreBound) -> Range<usize> {
        match self.body.get() {
            Form::Packed(_) => self.ranks_where(
                |_, score| min.begins_after(score),
                |_, score| max.ends_at_or_after(score),
            ),
            Form::Large(large) => ascending(
                large.tree.partition(|slot| min.begins_after(slot.score)),
                large.tree.partition(|slot| max.ends_at_or_after(slot.score)),
            ),
        }
    }

    /// The ranks of the members in this range, of a set whose members all have one score.
    pub fn ranks_by_lex(&self, min: LexBound<'_>, max: LexBound<'_>) -> Range<usize> {
        match self.body.get() {
            Form::Packed(_) => self.ranks_where(
                |member, _| member.with_bytes(|text| min.begins_after(text)),
                |member, _| member.with_bytes(|text| max.ends_at_or_after(text)),
            ),
            Form::Large(large) => ascending(
                large.tree.partition(|slot| min.begins_after(slot.ptr.member())),
                large.tree.partition(|slot| max.ends_at_or_after(slot.ptr.member())),
            ),
        }
    }

    fn ranks_where(
        &self,
        before: impl Fn(Item<'_>, f64) -> bool,
        in_or_before: impl Fn(Item<'_>, f64) -> bool,
    ) -> Range<usize> {
        let start = self.iter().take_while(|&(member, score)| before(member, score)).count();
        let inside = self
            .iter_from(start)
            .take_while(|&(member, score)| in_or_before(member, score))
            .count();
        start..start + inside
    }

    /// All members with their scores, ascending.
    pub fn iter(&self) -> SortedIter<'_> {
        self.iter_from(0)
    }

    /// The members from this rank on, ascending.
    pub fn iter_from(&self, rank: usize) -> SortedIter<'_> {
        SortedIter(match self.body.get() {
            Form::Packed(pack) => {
                let at = pack.seek(rank.saturating_mul(2)).unwrap_or(pack.end());
                Either::Pack(pack.iter_at(at))
            }
            Form::Large(large) => Either::Tree(large.tree.iter_from(rank)),
        })
    }

    /// The members with ranks below `end`, descending.
    pub fn iter_back_from(&self, end: usize) -> SortedIterBack<'_> {
        SortedIterBack(match self.body.get() {
            Form::Packed(pack) => Either::Pack(PackIterBack::new(pack, end)),
            Form::Large(large) => Either::Tree(large.tree.iter_back_from(end)),
        })
    }

    /// Removes the members with these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        let count = ranks.end.min(self.len()).saturating_sub(ranks.start);
        if count == 0 {
            return;
        }
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let at = pack.seek(ranks.start * 2).expect("the ranks were checked");
                pack.remove(at, count * 2);
            }
            Form::Large(large) => {
                (0..count).for_each(|_| large.remove_at(ranks.start, |_, _| ()));
            }
        }
    }

    /// Removes the member with the lowest (`Front`) or highest score and shows it to `visit`.
    pub fn pop_with<R>(&mut self, end: End, visit: impl FnOnce(Item<'_>, f64) -> R) -> Option<R> {
        let last = self.len().checked_sub(1)?;
        let rank = if end == End::Front { 0 } else { last };
        match self.body.get_mut() {
            Form::Packed(pack) => {
                let at = pack.seek(rank * 2).expect("the set is not empty");
                let (member, next) = pack.read(at);
                let seen = visit(member, score_of(pack.read(next).0));
                pack.remove(at, 2);
                Some(seen)
            }
            Form::Large(large) => {
                Some(large.remove_at(rank, |member, score| visit(Item::Bytes(member), score)))
            }
        }
    }

    /// Visits some members from the cursor on (0 to begin) and returns the next cursor, 0 when all
    /// have been visited. Members that are there during a whole scan are visited.
    pub fn scan(&self, cursor: u64, visit: &mut dyn FnMut(Item<'_>, f64)) -> u64 {
        match self.body.get() {
            Form::Packed(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            Form::Large(large) => {
                large.index.scan(cursor, |found| visit(Item::Bytes(found.member), found.score))
            }
        }
    }

    /// Some member with its score, chosen by the random number.
    pub fn random(&self, random: u64) -> Option<(Item<'_>, f64)> {
        let rank = random.checked_rem(self.len() as u64)? as usize;
        self.iter_from(rank).next()
    }

    fn to_large(&self) -> Box<Large> {
        let mut large = Box::new(Large { tree: Tree::new(), index: Index::new() });
        for (member, score) in self.iter() {
            member.with_bytes(|member| large.add(large.index.hash(member), member, score));
        }
        large
    }

    fn make_large(&mut self) -> &mut Large {
        self.body = Body::large(self.to_large());
        match self.body.get_mut() {
            Form::Large(large) => large,
            Form::Packed(_) => unreachable!("it was made large just now"),
        }
    }
}

impl Large {
    #[inline]
    fn update(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) {
        let hash = self.index.hash(member);
        let old = self.index.get(hash, member).map(|found| found.score);
        let Some(score) = decide(old).map(proper) else { return };
        match old {
            None => self.add(hash, member, score),
            Some(old) if old == score => {}
            Some(old) => {
                assert!(self.tree.rescore(old, member, score), "every record is in the tree");
                self.index.update(hash, member, |mut record| {
                    record.set_score(score);
                    record
                });
            }
        }
    }

    fn add(&mut self, hash: u64, member: &[u8], score: f64) {
        let record = ScoreRecord::new(member, score);
        let ptr = record.view().ptr;
        self.index.insert(hash, record);
        self.tree.insert(Ranked { score, ptr });
    }

    fn remove_at<R>(&mut self, rank: usize, visit: impl FnOnce(&[u8], f64) -> R) -> R {
        let slot = self.tree.remove_at(rank);
        let member = slot.ptr.member();
        let record = self.index.remove(self.index.hash(member), member);
        let record = record.expect("every member in the tree has its record");
        let ScoreView { member, score, .. } = record.view();
        visit(member, score)
    }
}

/// A score as it is kept: a number, and of the two zeros the positive one, which is also what the
/// packed form of Redis keeps.
fn proper(score: f64) -> f64 {
    assert!(!score.is_nan(), "a score is a number");
    score + 0.0
}

fn ascending(start: usize, end: usize) -> Range<usize> {
    start..end.max(start)
}

fn fits_a_pack(pack: &Pack, member: &[u8], limits: &EncodingLimits) -> bool {
    pack.len() / 2 < limits.zset_max_listpack_entries
        && member.len() <= limits.zset_max_listpack_value
        && pack.used() + member.len() + 40 <= PACK_BYTES_MAX
}

fn insert_in_pack(pack: &mut Pack, member: &[u8], score: f64) {
    let mut at = pack.start();
    while at < pack.end() {
        let (item, next) = pack.read(at);
        let (other, after) = pack.read(next);
        if order((item, score_of(other)), score, member) == Ordering::Greater {
            break;
        }
        at = after;
    }
    with_score_item(score, |score| pack.insert(at, &[Item::of(member), score]));
}

/// How a member is ordered to one with that score and text.
fn order(one: (Item<'_>, f64), score: f64, member: &[u8]) -> Ordering {
    match one.1.partial_cmp(&score) {
        Some(Ordering::Equal) | None => one.0.with_bytes(|text| text.cmp(member)),
        Some(order) => order,
    }
}

/// Shows the packed form of a score: a number if it is a whole one, else its shortest text.
fn with_score_item<R>(score: f64, visit: impl FnOnce(Item<'_>) -> R) -> R {
    /// Whole numbers up to here are exact as doubles and as integers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if score.abs() <= EXACT && score.fract() == 0.0 {
        return visit(Item::Int(score as i64));
    }
    let mut text = ryu::Buffer::new();
    visit(Item::Bytes(text.format(score).as_bytes()))
}

fn checked_score(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(number) => Some(number as f64),
        Item::Bytes(text) => {
            let score: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            (!score.is_nan()).then(|| proper(score))
        }
    }
}

#[inline]
fn score_of(item: Item<'_>) -> f64 {
    checked_score(item).expect("scores of a packed sorted set were checked")
}

enum Either<P, T> {
    Pack(P),
    Tree(T),
}

fn item_of(slot: &Ranked<ScorePtr>) -> (Item<'_>, f64) {
    (Item::Bytes(slot.ptr.member()), slot.score)
}

/// Members with their scores, ascending.
pub struct SortedIter<'a>(Either<PackIter<'a>, TreeIter<'a, ScorePtr>>);

impl<'a> Iterator for SortedIter<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        match &mut self.0 {
            Either::Pack(items) => {
                let member = items.next()?;
                Some((member, score_of(items.next().expect("a member has a score"))))
            }
            Either::Tree(slots) => slots.next().map(item_of),
        }
    }
}

/// The members of a packed set with their scores, descending. A pack is read forwards only, so their
/// places are noted first.
struct PackIterBack<'a> {
    pack: &'a Pack,
    places: Vec<u32>,
}

impl<'a> PackIterBack<'a> {
    /// The members with ranks below `end`.
    fn new(pack: &'a Pack, end: usize) -> Self {
        let (bytes, mut at) = (pack.stored(), pack.start());
        let count = end.min(pack.len() / 2);
        let mut places = Vec::with_capacity(count);
        for _ in 0..count {
            places.push(at as u32);
            at = codec::skip_bare(bytes, codec::skip_bare(bytes, at));
        }
        PackIterBack { pack, places }
    }
}

impl<'a> Iterator for PackIterBack<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let (member, score_at) = self.pack.read(self.places.pop()? as usize);
        Some((member, score_of(self.pack.read(score_at).0)))
    }
}

/// Members with their scores, descending.
pub struct SortedIterBack<'a>(Either<PackIterBack<'a>, TreeIterBack<'a, ScorePtr>>);

impl<'a> Iterator for SortedIterBack<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        match &mut self.0 {
            Either::Pack(members) => members.next(),
            Either::Tree(slots) => slots.next().map(item_of),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Model = Vec<(f64, Vec<u8>)>;

    fn limits(entries: usize) -> EncodingLimits {
        EncodingLimits { zset_max_listpack_entries: entries, ..EncodingLimits::default() }
    }

    fn all(items: impl Iterator<Item = (impl Into<Vec<u8>>, f64)>) -> Model {
        items.map(|(member, score)| (score, member.into())).collect()
    }

    fn sort(model: &mut Model) {
        model.sort_by(|a, b| a.partial_cmp(b).unwrap());
    }

    impl From<Item<'_>> for Vec<u8> {
        fn from(item: Item<'_>) -> Self {
            item.to_vec()
        }
    }

    #[test]
    fn it_becomes_large_as_in_redis() {
        let limits = limits(2);
        let long = "x".repeat(65);
        for (why, members, want) in [
            ("at the limit", &["a", "b"][..], Encoding::ListPack),
            ("beyond it", &["a", "b", "c"], Encoding::SkipList),
            ("a long member", &[&long], Encoding::SkipList),
        ] {
            let mut set = SortedSet::new();
            for member in members {
                assert_eq!(set.insert(member.as_bytes(), 1.0, &limits), None);
            }
            assert_eq!(set.encoding(), want, "{why}");
        }
    }

    #[test]
    fn packs_from_outside_are_checked() {
        let limits = EncodingLimits::default();
        for (why, texts, good) in [
            ("in order", &["a", "1", "b", "1.5", "c", "inf"][..], true),
            ("the exponent that Redis writes", &["a", "1e+20"], true),
            ("a score is missing", &["a", "1", "b"], false),
            ("no number", &["a", "x"], false),
            ("not a number", &["a", "nan"], false),
            ("out of order", &["a", "2", "b", "1"], false),
            ("equal scores out of order", &["b", "1", "a", "1"], false),
            ("a member twice", &["a", "1", "a", "2"], false),
        ] {
            let mut pack = Pack::new();
            texts.iter().for_each(|text| pack.push_back(Item::of(text.as_bytes())));
            assert_eq!(SortedSet::from_pack(pack, &limits).is_ok(), good, "{why}");
        }
    }

    #[test]
    fn scores_survive_packing() {
        let limits = EncodingLimits::default();
        let mut set = SortedSet::new();
        for (at, score) in [
            0.1,
            -1.5,
            1e300,
            -1e-300,
            f64::INFINITY,
            f64::NEG_INFINITY,
            9_007_199_254_740_993.0,
            9.3e18,
            -4096.0,
            -0.0,
        ]
        .into_iter()
        .enumerate()
        {
            let member = [b'a' + at as u8];
            set.insert(&member, score, &limits);
            assert_eq!(set.score(&member).map(f64::to_bits), Some((score + 0.0).to_bits()));
        }
        assert_eq!(set.encoding(), Encoding::ListPack);
    }

    fn apply(set: &mut SortedSet, model: &mut Model, edit: (u8, Vec<u8>, i32), limit: usize) {
        let (kind, member, score) = edit;
        let score = f64::from(score) / 2.0;
        let known = model.iter().position(|(_, other)| *other == member);
        let had = known.map(|at| model[at].0);
        match kind {
            0 => {
                assert_eq!(set.remove(&member), had);
                known.map(|at| model.remove(at));
            }
            1 | 2 => {
                let end = if kind == 1 { End::Front } else { End::Back };
                let got = set.pop_with(end, |member, score| (score, member.to_vec()));
                let want = match end {
                    End::Front if !model.is_empty() => Some(model.remove(0)),
                    _ => model.pop(),
                };
                assert_eq!(got, want);
            }
            _ => {
                assert_eq!(set.insert(&member, score, &limits(limit)), had);
                known.map(|at| model.remove(at));
                model.push((score, member));
                sort(model);
            }
        }
        assert_eq!(set.len(), model.len());
    }

    fn check_ranges(set: &SortedSet, model: &Model) {
        for bound in -5..6 {
            for (exclusive, width) in [(false, 3), (true, 0), (true, 4), (false, -1)] {
                let min = ScoreBound { value: f64::from(bound) / 2.0, exclusive };
                let max = ScoreBound { value: f64::from(bound + width) / 2.0, exclusive };
                let inside = |score: f64| {
                    if exclusive {
                        score > min.value && score < max.value
                    } else {
                        score >= min.value && score <= max.value
                    }
                };
                let want: Model =
                    model.iter().filter(|(score, _)| inside(*score)).cloned().collect();
                let ranks = set.ranks_by_score(min, max);
                let got = all(set.iter_from(ranks.start).take(ranks.len()));
                assert_eq!(got, want);
                let mut back = all(set.iter_back_from(ranks.end).take(ranks.len()));
                back.reverse();
                assert_eq!(back, want);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_is_a_sorted_vector(limit in 0usize..20, edits in prop::collection::vec(
            (0u8..12, "[ab]{1,4}|[0-9]{1,2}", -4i32..5), 0..300))
        {
            let (mut set, mut model) = (SortedSet::new(), Model::new());
            for (kind, member, score) in edits {
                apply(&mut set, &mut model, (kind, member.into_bytes(), score), limit);
            }
            prop_assert_eq!(&all(set.iter()), &model);
            prop_assert_eq!(&all(set.clone().iter()), &model);
            for (rank, (score, member)) in model.iter().enumerate() {
                prop_assert_eq!(set.rank(member), Some((rank, *score)));
                prop_assert_eq!(set.score(member), Some(*score));
            }
            check_ranges(&set, &model);
            let mut scanned = Model::new();
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, &mut |member, score| scanned.push((score, member.to_vec())));
                if cursor == 0 { break; }
            }
            sort(&mut scanned);
            scanned.dedup();
            prop_assert_eq!(&scanned, &model);
            if let Some(pack) = set.as_pack() {
                let copy = SortedSet::from_pack(pack.clone(), &limits(limit)).unwrap();
                prop_assert_eq!(&all(copy.iter()), &model);
            }
            let third = model.len() / 3;
            set.remove_ranks(third..third * 2);
            model.drain(third..third * 2);
            prop_assert_eq!(&all(set.iter()), &model);
        }

        #[test]
        fn members_of_one_score_have_their_ranges(
            limit in prop_oneof![Just(0usize), Just(200)],
            members in prop::collection::btree_set("[a-d]{0,3}", 0..60), low in "[a-d]{0,2}", high in "[a-d]{0,2}"
        ) {
            let mut set = SortedSet::new();
            for member in &members {
                set.insert(member.as_bytes(), 0.0, &limits(limit));
            }
            let (low, high) = (low.as_bytes(), high.as_bytes());
            for (min, max) in [
                (LexBound::Min, LexBound::Max),
                (LexBound::Max, LexBound::Min),
                (LexBound::Inclusive(low), LexBound::Exclusive(high)),
                (LexBound::Exclusive(low), LexBound::Inclusive(high)),
                (LexBound::Inclusive(low), LexBound::Max),
            ] {
                let want: Vec<_> = members
                    .iter()
                    .map(String::as_bytes)
                    .filter(|text| !min.begins_after(text) && max.ends_at_or_after(text))
                    .collect();
                let ranks = set.ranks_by_lex(min, max);
                let got: Vec<_> =
                    set.iter_from(ranks.start).take(ranks.len()).map(|(item, _)| item.to_vec()).collect();
                prop_assert_eq!(got, want);
            }
        }
    }
}
