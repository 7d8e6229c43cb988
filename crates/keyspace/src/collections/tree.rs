//! Members in the order of a sorted set, with their ranks: a B+tree whose nodes count what is below
//! them.
//!
//! A leaf holds scores and pointers to members that somebody else owns (the index of the sorted
//! set), so a member's text is stored once. Texts are looked at only where scores are equal.
//!
//! **Invariants:** slots ascend by (score, member) through the whole tree; a child's `count` and
//! `first` are those of the nodes below it; no node but the root is empty.

use std::cmp::Ordering;

/// A pointer to a member's text, valid as long as it is in a tree.
pub(crate) trait MemberPtr: Copy {
    /// The text.
    fn member(&self) -> &[u8];
}

/// One member: its score and where its text is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ranked<P> {
    pub(crate) score: f64,
    pub(crate) ptr: P,
}

impl<P: MemberPtr> Ranked<P> {
    /// How this member is ordered to one of that score and text.
    #[inline]
    fn order(&self, score: f64, member: &[u8]) -> Ordering {
        // Scores are never NaN, and -0 equals 0.
        match self.score.partial_cmp(&score) {
            Some(Ordering::Equal) | None => self.ptr.member().cmp(member),
            Some(order) => order,
        }
    }
}

const LEAF_MAX: usize = 64;
const INNER_MAX: usize = 64;
/// A leaf grows by this many places at a time, so that it wastes few.
const LEAF_STEP: usize = 16;

/// The tree. See the module.
pub(crate) struct Tree<P> {
    root: Node<P>,
    len: usize,
}

enum Node<P> {
    Leaf(Vec<Ranked<P>>),
    Inner(Vec<Child<P>>),
}

struct Child<P> {
    count: usize,
    first: Ranked<P>,
    node: Node<P>,
}

impl<P: MemberPtr> Tree<P> {
    pub(crate) fn new() -> Tree<P> {
        Tree { root: Node::Leaf(Vec::new()), len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a member that is not in the tree.
    pub(crate) fn insert(&mut self, slot: Ranked<P>) {
        self.len += 1;
        if let Some(right) = self.root.insert(slot, true) {
            let left = std::mem::replace(&mut self.root, Node::Inner(Vec::with_capacity(4)));
            let left = left.into_child();
            if let Node::Inner(children) = &mut self.root {
                children.extend([left, right]);
            }
        }
    }

    /// Removes the member with this score and text; false if it is not in the tree.
    pub(crate) fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        match self.root.take(score, member, None) {
            Taken::Absent => false,
            Taken::Rescored => unreachable!("no other score was given"),
            Taken::Removed(_) => {
                self.note_removed();
                true
            }
        }
    }

    /// Gives the member with this score and text another score; false if it is not in the tree.
    pub(crate) fn rescore(&mut self, score: f64, member: &[u8], new: f64) -> bool {
        match self.root.take(score, member, Some(new)) {
            Taken::Absent => false,
            Taken::Rescored => true,
            Taken::Removed(slot) => {
                self.note_removed();
                self.insert(Ranked { score: new, ptr: slot.ptr });
                true
            }
        }
    }

    /// Removes and returns the member with this rank.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn remove_at(&mut self, rank: usize) -> Ranked<P> {
        assert!(rank < self.len, "rank {rank} in a tree of {}", self.len);
        let removed = self.root.remove_at(rank);
        self.note_removed();
        removed
    }

    fn note_removed(&mut self) {
        self.len -= 1;
        while let Node::Inner(children) = &mut self.root {
            match children.len() {
                0 => self.root = Node::Leaf(Vec::new()),
                1 => self.root = children.pop().expect("there is one").node,
                _ => break,
            }
        }
    }

    /// How many members come before that score and text: the rank of the member, if it is there.
    pub(crate) fn rank_of(&self, score: f64, member: &[u8]) -> usize {
        self.partition(|slot| slot.order(score, member) == Ordering::Less)
    }

    /// How many members are `before`, which must hold for a prefix of the order.
    pub(crate) fn partition(&self, before: impl Fn(&Ranked<P>) -> bool) -> usize {
        let mut node = &self.root;
        let mut rank = 0;
        loop {
            match node {
                Node::Leaf(slots) => return rank + slots.partition_point(&before),
                Node::Inner(children) => {
                    let at = children[1..].partition_point(|child| before(&child.first));
                    rank += children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The members from this rank on.
    pub(crate) fn iter_from(&self, rank: usize) -> TreeIter<'_, P> {
        TreeIter { tree: self, next: rank, leaf: [].iter() }
    }

    /// The members before this rank, backwards.
    pub(crate) fn iter_back_from(&self, end: usize) -> TreeIterBack<'_, P> {
        TreeIterBack { tree: self, end: end.min(self.len), leaf: [].iter() }
    }

    /// The leaf that has this rank, and the place in it.
    fn leaf_of(&self, rank: usize) -> (&[Ranked<P>], usize) {
        let (mut node, mut rank) = (&self.root, rank);
        loop {
            match node {
                Node::Leaf(slots) => return (slots, rank),
                Node::Inner(children) => {
                    let (at, rest) = child_of(children, rank);
                    node = &children[at].node;
                    rank = rest;
                }
            }
        }
    }

    /// How many bytes the nodes have reserved.
    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }
}

/// The child that has this rank, and the rank within it.
fn child_of<P>(children: &[Child<P>], mut rank: usize) -> (usize, usize) {
    for (at, child) in children.iter().enumerate() {
        if rank < child.count {
            return (at, rank);
        }
        rank -= child.count;
    }
    unreachable!("the rank is below the count of the node")
}

impl<P: MemberPtr> Node<P> {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(slots) => slots.len(),
            Node::Inner(children) => children.len(),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(slots) => slots.len(),
            Node::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    fn first(&self) -> Ranked<P> {
        match self {
            Node::Leaf(slots) => slots[0],
            Node::Inner(children) => children[0].first,
        }
    }

    fn into_child(self) -> Child<P> {
        Child { count: self.count(), first: self.first(), node: self }
    }

    /// Inserts below this node. A node that was full gives its right part to be put beside it.
    fn insert(&mut self, slot: Ranked<P>, rightmost: bool) -> Option<Child<P>> {
        match self {
            Node::Leaf(slots) => insert_in_leaf(slots, slot, rightmost),
            Node::Inner(children) => {
                let member = slot.ptr.member();
                let at = children[1..]
                    .partition_point(|child| child.first.order(slot.score, member).is_lt());
                let rightmost = rightmost && at + 1 == children.len();
                let child = &mut children[at];
                if child.first.order(slot.score, member).is_gt() {
                    child.first = slot;
                }
                let Some(right) = child.node.insert(slot, rightmost) else {
                    child.count += 1;
                    return None;
                };
                child.count = child.count + 1 - right.count;
                children.insert(at + 1, right);
                if children.len() <= INNER_MAX {
                    return None;
                }
                let keep = if rightmost { INNER_MAX } else { INNER_MAX / 2 };
                let right = children.split_off(keep);
                Some(Node::Inner(right).into_child())
            }
        }
    }

    fn remove_at(&mut self, rank: usize) -> Ranked<P> {
        match self {
            Node::Leaf(slots) => slots.remove(rank),
            Node::Inner(children) => {
                let (at, rest) = child_of(children, rank);
                let child = &mut children[at];
                let removed = child.node.remove_at(rest);
                child.count -= 1;
                if child.count == 0 {
                    children.remove(at);
                } else {
                    if rest == 0 {
                        child.first = child.node.first();
                    }
                    join_if_small(children, at);
                }
                removed
            }
        }
    }

    /// Removes the member with this score and text; or gives it another score, if there is one and
    /// the member stays in its place with it.
    fn take(&mut self, score: f64, member: &[u8], new: Option<f64>) -> Taken<P> {
        match self {
            Node::Leaf(slots) => take_from_leaf(slots, score, member, new),
            Node::Inner(children) => {
                let at =
                    children[1..].partition_point(|child| child.first.order(score, member).is_le());
                let child = &mut children[at];
                let taken = child.node.take(score, member, new);
                if let Taken::Removed(removed) = &taken {
                    child.count -= 1;
                    if child.count == 0 {
                        children.remove(at);
                    } else {
                        if child.first.order(removed.score, member).is_eq() {
                            child.first = child.node.first();
                        }
                        join_if_small(children, at);
                    }
                }
                taken
            }
        }
    }

    #[cfg(test)]
    fn heap_bytes(&self) -> usize {
        match self {
            Node::Leaf(slots) => slots.capacity() * size_of::<Ranked<P>>(),
            Node::Inner(children) => {
                children.capacity() * size_of::<Child<P>>()
                    + children.iter().map(|child| child.node.heap_bytes()).sum::<usize>()
            }
        }
    }
}

/// What became of a member that was to be removed, or to get another score.
enum Taken<P> {
    Absent,
    Rescored,
    Removed(Ranked<P>),
}

fn take_from_leaf<P: MemberPtr>(
    slots: &mut Vec<Ranked<P>>,
    score: f64,
    member: &[u8],
    new: Option<f64>,
) -> Taken<P> {
    let at = slots.partition_point(|slot| slot.order(score, member).is_lt());
    if !slots.get(at).is_some_and(|slot| slot.order(score, member).is_eq()) {
        return Taken::Absent;
    }
    // At the edges of a leaf the neighbours are elsewhere: not worth looking for.
    if let Some(new) = new
        && at > 0
        && at + 1 < slots.len()
        && slots[at - 1].order(new, member).is_lt()
        && slots[at + 1].order(new, member).is_gt()
    {
        slots[at].score = new;
        return Taken::Rescored;
    }
    Taken::Removed(slots.remove(at))
}

fn insert_in_leaf<P: MemberPtr>(
    slots: &mut Vec<Ranked<P>>,
    slot: Ranked<P>,
    rightmost: bool,
) -> Option<Child<P>> {
    let member = slot.ptr.member();
    let at = slots.partition_point(|other| other.order(slot.score, member).is_lt());
    if slots.len() < LEAF_MAX {
        if slots.len() == slots.capacity() {
            slots.reserve_exact(if slots.is_empty() { 4 } else { LEAF_STEP });
        }
        slots.insert(at, slot);
        return None;
    }
    // Members that arrive in order leave full leaves behind.
    let keep = if rightmost && at == slots.len() { slots.len() } else { LEAF_MAX / 2 };
    let mut right = Vec::with_capacity((slots.len() - keep + LEAF_STEP).min(LEAF_MAX));
    right.extend(slots.drain(keep..));
    if at > keep || right.is_empty() {
        right.insert(at - keep, slot);
    } else {
        slots.insert(at, slot);
    }
    slots.shrink_to(slots.len() + LEAF_STEP);
    Some(Node::Leaf(right).into_child())
}

/// Joins a child that has become small with a neighbour, if both leave room in one node.
fn join_if_small<P: MemberPtr>(children: &mut Vec<Child<P>>, at: usize) {
    let len = children[at].node.len();
    if len >= LEAF_MAX / 4 {
        return;
    }
    let fits = |other: usize| children[other].node.len() + len <= LEAF_MAX * 3 / 4;
    let left = if at > 0 && fits(at - 1) {
        at - 1
    } else if at + 1 < children.len() && fits(at + 1) {
        at
    } else {
        return;
    };
    let right = children.remove(left + 1);
    let joined = &mut children[left];
    joined.count += right.count;
    match (&mut joined.node, right.node) {
        (Node::Leaf(slots), Node::Leaf(more)) => slots.extend(more),
        (Node::Inner(nodes), Node::Inner(more)) => nodes.extend(more),
        _ => unreachable!("neighbours are of one height"),
    }
}

/// Members from some rank on.
pub(crate) struct TreeIter<'a, P> {
    tree: &'a Tree<P>,
    next: usize,
    leaf: std::slice::Iter<'a, Ranked<P>>,
}

impl<'a, P: MemberPtr> Iterator for TreeIter<'a, P> {
    type Item = &'a Ranked<P>;

    #[inline]
    fn next(&mut self) -> Option<&'a Ranked<P>> {
        if self.leaf.len() == 0 {
            if self.next >= self.tree.len {
                return None;
            }
            let (leaf, at) = self.tree.leaf_of(self.next);
            self.leaf = leaf[at..].iter();
        }
        self.next += 1;
        self.leaf.next()
    }
}

/// Members before some rank, backwards.
pub(crate) struct TreeIterBack<'a, P> {
    tree: &'a Tree<P>,
    end: usize,
    leaf: std::slice::Iter<'a, Ranked<P>>,
}

impl<'a, P: MemberPtr> Iterator for TreeIterBack<'a, P> {
    type Item = &'a Ranked<P>;

    #[inline]
    fn next(&mut self) -> Option<&'a Ranked<P>> {
        if self.end == 0 {
            return None;
        }
        if self.leaf.len() == 0 {
            let (leaf, at) = self.tree.leaf_of(self.end - 1);
            self.leaf = leaf[..=at].iter();
        }
        self.end -= 1;
        self.leaf.next_back()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A member whose text is its number, in big endian, kept in a table that lives forever.
    #[derive(Debug, Clone, Copy)]
    struct Numbered(&'static [u8; 2]);

    impl MemberPtr for Numbered {
        fn member(&self) -> &[u8] {
            self.0
        }
    }

    static TEXTS: [[u8; 2]; 4096] = {
        let mut texts = [[0; 2]; 4096];
        let mut number = 0;
        while number < texts.len() {
            texts[number] = [(number >> 8) as u8, number as u8];
            number += 1;
        }
        texts
    };

    fn ranked(score: i32, number: u16) -> Ranked<Numbered> {
        Ranked { score: f64::from(score), ptr: Numbered(&TEXTS[number as usize]) }
    }

    fn check(node: &Node<Numbered>, root: bool) -> usize {
        assert!(root || node.len() > 0, "an empty node");
        assert!(node.len() <= LEAF_MAX.max(INNER_MAX), "an overfull node");
        if let Node::Inner(children) = node {
            for child in children {
                assert_eq!(child.count, check(&child.node, false));
                let first = child.node.first();
                assert_eq!(child.first.order(first.score, first.ptr.member()), Ordering::Equal);
            }
        }
        node.count()
    }

    fn list(tree: &Tree<Numbered>) -> Vec<(i32, u16)> {
        tree.iter_from(0).map(|slot| (slot.score as i32, u16::from_be_bytes(*slot.ptr.0))).collect()
    }

    fn compare(tree: &Tree<Numbered>, model: &[(i32, u16)]) {
        assert_eq!(check(&tree.root, true), model.len());
        assert_eq!(list(tree), model);
        let mut back: Vec<_> = tree
            .iter_back_from(model.len())
            .map(|slot| (slot.score as i32, u16::from_be_bytes(*slot.ptr.0)))
            .collect();
        back.reverse();
        assert_eq!(back, model);
    }

    #[test]
    fn members_in_order_leave_full_leaves() {
        let mut tree = Tree::new();
        for number in 0..4096 {
            tree.insert(ranked(i32::from(number), number));
        }
        let each = tree.heap_bytes() as f64 / 4096.0;
        assert!(each < 18.0, "{each} bytes a member");
    }

    #[test]
    fn four_thousand_in_any_order_and_out_again() {
        let (mut tree, mut model) = (Tree::new(), Vec::new());
        for step in 0..4096u32 {
            let number = (step * 2741 % 4096) as u16;
            tree.insert(ranked(i32::from(number % 16), number));
            model.push((i32::from(number % 16), number));
        }
        model.sort_unstable();
        compare(&tree, &model);
        for step in 0..4096usize {
            let rank = step * 31 % model.len();
            let want = model.remove(rank);
            let got = tree.remove_at(rank);
            assert_eq!((got.score as i32, u16::from_be_bytes(*got.ptr.0)), want);
            if step % 256 == 0 {
                compare(&tree, &model);
            }
        }
        assert_eq!(tree.len(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn it_is_a_sorted_vector(
            edits in prop::collection::vec((0u8..10, 0u16..900, -3i32..4), 0..1500)
        ) {
            let (mut tree, mut model) = (Tree::new(), Vec::<(i32, u16)>::new());
            for (kind, number, score) in edits {
                let known = model.iter().position(|&(_, other)| other == number);
                match (kind, known) {
                    (0..=6, None) => {
                        tree.insert(ranked(score, number));
                        model.push((score, number));
                        model.sort_unstable();
                    }
                    (0..=6, Some(rank)) => {
                        let old = std::mem::replace(&mut model[rank].0, score);
                        model.sort_unstable();
                        let text = &TEXTS[number as usize];
                        prop_assert!(tree.rescore(f64::from(old), text, f64::from(score)));
                    }
                    (_, Some(rank)) => {
                        let (score, _) = model.remove(rank);
                        prop_assert_eq!(tree.rank_of(f64::from(score), &TEXTS[number as usize]), rank);
                        prop_assert!(tree.remove(f64::from(score), &TEXTS[number as usize]));
                    }
                    (_, None) => {
                        prop_assert!(!tree.remove(f64::from(score), &TEXTS[number as usize]));
                    }
                }
            }
            compare(&tree, &model);
            for bound in -4i32..5 {
                let below = model.iter().filter(|&&(score, _)| score < bound).count();
                prop_assert_eq!(tree.partition(|slot| slot.score < f64::from(bound)), below);
                let from: Vec<_> = tree.iter_from(below).map(|slot| slot.score as i32).collect();
                prop_assert!(from.iter().eq(model[below..].iter().map(|(score, _)| score)));
            }
        }
    }
}
