//! The graph that finds near vectors: a navigable small world in layers (HNSW).
//!
//! Every node is in layer 0 and has links to nodes near it; a quarter of the nodes of each layer are
//! in the next one too, where links reach farther. A search walks down from the one node where the
//! graph is entered, and at the bottom keeps the best that it has seen.
//!
//! **Invariant:** links go both ways, so a node that is removed knows everybody who knows it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::VectorSet;
use super::code::RowRef;
use crate::table::prefetch;

/// Links of a removed node that are looked at together; the work grows with its square.
const RECONNECTED_TOGETHER: usize = 64;

/// A node and how far it is from what is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Near {
    pub(super) distance: f32,
    pub(super) node: u32,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Of those equally far the newest comes first: it has room for links. If equal vectors went to
        // the oldest, those would have no room soon, and what came later would lie apart.
        self.distance.total_cmp(&other.distance).then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Which nodes a search has seen.
#[derive(Default)]
struct Visited {
    words: Vec<u64>,
    touched: Vec<u32>,
}

impl Visited {
    fn new(nodes: usize) -> Visited {
        Visited { words: vec![0; nodes.div_ceil(64)], touched: Vec::new() }
    }

    /// Forgets all.
    fn clear(&mut self) {
        for word in self.touched.drain(..) {
            self.words[word as usize] = 0;
        }
    }

    /// Marks a node; false if it was.
    #[inline]
    fn insert(&mut self, node: u32) -> bool {
        let word = &mut self.words[node as usize / 64];
        let bit = 1 << (node % 64);
        let is_new = *word & bit == 0;
        if *word == 0 {
            self.touched.push(node / 64);
        }
        *word |= bit;
        is_new
    }
}

/// What a search of one layer may take.
struct Effort {
    /// How many of the best are kept.
    keep: usize,
    /// How many nodes may be looked at more closely.
    candidates: usize,
}

impl VectorSet {
    /// How many layers have rows, and not lists: layer 0 or none.
    pub(super) fn row_layers(&self) -> usize {
        usize::from(self.base.is_some())
    }

    /// The nodes that a node is linked with in a layer that it is in.
    #[inline]
    pub(super) fn links_at(&self, node: u32, layer: usize) -> &[u32] {
        match &self.base {
            Some(base) if layer == 0 => {
                let row = base.row(node as usize);
                &row[1..=row[0] as usize]
            }
            _ => &self.node(node).lists[layer - self.row_layers()],
        }
    }

    fn links_mut(&mut self, node: u32, layer: usize) -> &mut [u32] {
        let lists_from = self.row_layers();
        match &mut self.base {
            Some(base) if layer == 0 => {
                let row = base.row_mut(node as usize);
                let count = row[0] as usize;
                &mut row[1..=count]
            }
            _ => &mut self.nodes.row_mut(node as usize)[0].lists[layer - lists_from],
        }
    }

    /// How many links a node may have in a layer.
    pub(super) fn room(&self, layer: usize) -> usize {
        if layer == 0 { 2 * self.shape.links_max } else { self.shape.links_max }
    }

    fn has_room(&self, node: u32, layer: usize) -> bool {
        self.links_at(node, layer).len() < self.room(layer)
    }

    fn is_linked(&self, a: u32, b: u32, layer: usize) -> bool {
        self.links_at(a, layer).contains(&b)
    }

    pub(super) fn add_one_way(&mut self, from: u32, to: u32, layer: usize) {
        let lists_from = self.row_layers();
        match &mut self.base {
            Some(base) if layer == 0 => {
                let row = base.row_mut(from as usize);
                row[0] += 1;
                row[row[0] as usize] = to;
            }
            _ => {
                self.nodes.row_mut(from as usize)[0].lists[layer - lists_from].push(to);
                self.node_bytes += size_of::<u32>();
            }
        }
    }

    /// Keeps the first links of a node.
    fn truncate(&mut self, node: u32, layer: usize, count: usize) {
        let lists_from = self.row_layers();
        match &mut self.base {
            Some(base) if layer == 0 => base.row_mut(node as usize)[0] = count as u32,
            _ => {
                let list = &mut self.nodes.row_mut(node as usize)[0].lists[layer - lists_from];
                self.node_bytes -= (list.len() - count) * size_of::<u32>();
                list.truncate(count);
            }
        }
    }

    fn remove_one_way(&mut self, from: u32, to: u32, layer: usize) {
        let links = self.links_mut(from, layer);
        let at = links.iter().position(|node| *node == to).expect("links go both ways");
        // The order of links is kept: it is part of what a copy of the set has to repeat.
        links.copy_within(at + 1.., at);
        let count = links.len() - 1;
        self.truncate(from, layer, count);
    }

    fn link(&mut self, a: u32, b: u32, layer: usize) {
        self.add_one_way(a, b, layer);
        self.add_one_way(b, a, layer);
    }

    fn unlink(&mut self, a: u32, b: u32, layer: usize) {
        self.remove_one_way(a, b, layer);
        self.remove_one_way(b, a, layer);
    }

    /// How far two nodes are from each other.
    pub(super) fn between(&self, a: u32, b: u32) -> f32 {
        self.vectors.row(a).distance(self.vectors.row(b), self.shape.dim)
    }

    fn near(&self, query: RowRef<'_>, node: u32) -> Near {
        Near { distance: query.distance(self.vectors.row(node), self.shape.dim), node }
    }

    // --- searching

    /// The best node of the layers above `layer`, by always going to the nearest neighbour.
    fn descend(&self, query: RowRef<'_>, entry: u32, layer: usize) -> Near {
        let mut best = self.near(query, entry);
        for layer in (layer + 1..=self.level_at(entry)).rev() {
            loop {
                let links = self.links_at(best.node, layer).iter();
                let nearest = links.map(|node| self.near(query, *node)).min();
                match nearest {
                    Some(nearest) if nearest.distance < best.distance => best = nearest,
                    _ => break,
                }
            }
        }
        best
    }

    /// The best accepted nodes of a layer, nearest first.
    fn search_layer(
        &self,
        query: RowRef<'_>,
        layer: usize,
        starts: &[Near],
        mut effort: Effort,
        visited: &mut Visited,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Vec<Near> {
        visited.clear();
        let mut open: BinaryHeap<Reverse<Near>> = BinaryHeap::new();
        let mut best: BinaryHeap<Near> = BinaryHeap::new();
        for start in starts.iter().filter(|start| visited.insert(start.node)) {
            open.push(Reverse(*start));
            if accept(start.node) {
                best.push(*start);
            }
        }
        let mut unseen = Vec::with_capacity(self.room(layer));
        'walk: while let Some(Reverse(from)) = open.pop() {
            if best.len() >= effort.keep && best.peek().is_some_and(|worst| from > *worst) {
                break;
            }
            unseen.clear();
            let links = self.links_at(from.node, layer);
            unseen.extend(links.iter().filter(|node| visited.insert(**node)));
            unseen.iter().for_each(|node| prefetch(self.vectors.address(*node)));
            for node in &unseen {
                let near = self.near(query, *node);
                if best.len() >= effort.keep && best.peek().is_some_and(|worst| near > *worst) {
                    continue;
                }
                if effort.candidates == 0 {
                    break 'walk;
                }
                effort.candidates -= 1;
                open.push(Reverse(near));
                if accept(*node) {
                    best.push(near);
                    if best.len() > effort.keep {
                        best.pop();
                    }
                }
            }
        }
        best.into_sorted_vec()
    }

    /// The nearest `keep` nodes that are accepted, as well as the graph finds them by looking at no
    /// more than `candidates` nodes closely.
    pub(super) fn search_graph(
        &self,
        query: RowRef<'_>,
        keep: usize,
        candidates: usize,
        accept: impl FnMut(u32) -> bool,
    ) -> Vec<Near> {
        let Some(entry) = self.entry else { return Vec::new() };
        let start = self.descend(query, entry, 0);
        let mut visited = Visited::new(self.len());
        let effort = Effort { keep, candidates };
        self.search_layer(query, 0, &[start], effort, &mut visited, accept)
    }

    /// The nearest `keep` nodes that are accepted, by looking at all.
    pub(super) fn search_all(
        &self,
        query: RowRef<'_>,
        keep: usize,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Vec<Near> {
        let mut best: BinaryHeap<Near> = BinaryHeap::new();
        for node in 0..self.len() as u32 {
            let near = self.near(query, node);
            let is_better = best.len() < keep || best.peek().is_some_and(|worst| near < *worst);
            if is_better && accept(node) {
                best.push(near);
                if best.len() > keep {
                    best.pop();
                }
            }
        }
        best.into_sorted_vec()
    }

    // --- growing

    /// Links a new node, which has its vector and its rows but no links, in all its layers.
    pub(super) fn connect(&mut self, node: u32, effort: usize) {
        let level = self.level_at(node);
        let Some(entry) = self.entry else {
            self.entry = Some(node);
            return;
        };
        let mut visited = Visited::new(self.len());
        let top = level.min(self.level_at(entry));
        let mut starts = vec![self.descend(self.vectors.row(node), entry, top)];
        for layer in (0..=top).rev() {
            let effort = Effort { keep: effort, candidates: usize::MAX };
            let query = self.vectors.row(node);
            let found = self.search_layer(query, layer, &starts, effort, &mut visited, |_| true);
            let chosen = self.choose(&found, self.shape.links_max);
            for near in &chosen {
                if self.has_room(near.node, layer) || self.make_room(near, node, layer) {
                    self.link(node, near.node, layer);
                }
            }
            if self.links_at(node, layer).is_empty() {
                self.force_link(node, &found, layer);
            }
            starts = found;
        }
        if level > self.level_at(entry) {
            self.entry = Some(node);
        }
    }

    /// Of what was found, nearest first, those that lie in different directions: none is nearer to
    /// one chosen before than to the new node. Then the nearest others, up to half of what may be.
    fn choose(&self, found: &[Near], most: usize) -> Vec<Near> {
        let mut chosen: Vec<Near> = Vec::with_capacity(most);
        let mut others = Vec::new();
        for near in found {
            if chosen.len() == most {
                break;
            }
            if chosen.iter().all(|other| self.between(other.node, near.node) >= near.distance) {
                chosen.push(*near);
            } else {
                others.push(*near);
            }
        }
        let missing = (most / 2).saturating_sub(chosen.len());
        chosen.extend(others.into_iter().take(missing));
        chosen
    }

    /// Takes a link away from a node that has no room for the new one, if the new one is worth it:
    /// the farthest that can be reached through somebody nearer, else the farthest. Nobody is left
    /// with few links by this.
    fn make_room(&mut self, at: &Near, new: u32, layer: usize) -> bool {
        let few = self.room(layer) / 4;
        let links = self.links_at(at.node, layer).iter();
        let mut links: Vec<Near> = links
            .map(|node| Near { distance: self.between(at.node, *node), node: *node })
            .collect();
        links.sort_unstable_by(|a, b| b.cmp(a));
        let mut farthest = None;
        for (index, far) in links.iter().enumerate() {
            if far.distance <= at.distance {
                break;
            }
            if self.links_at(far.node, layer).len() <= few {
                continue;
            }
            farthest.get_or_insert(far.node);
            let shadows = |node: u32| self.between(node, far.node) < far.distance;
            if shadows(new) || links[index + 1..].iter().rev().any(|near| shadows(near.node)) {
                farthest = Some(far.node);
                break;
            }
        }
        if let Some(node) = farthest {
            self.unlink(at.node, node, layer);
        }
        farthest.is_some()
    }

    /// Links a node that nobody had room for with the nearest that has, or that can part with
    /// somebody who has other links.
    fn force_link(&mut self, node: u32, found: &[Near], layer: usize) {
        for near in found {
            if !self.has_room(near.node, layer) {
                let mut links = self.links_at(near.node, layer).iter().copied();
                let other = links.rfind(|other| self.links_at(*other, layer).len() > 1);
                let Some(other) = other else { continue };
                self.unlink(near.node, other, layer);
            }
            self.link(node, near.node, layer);
            return;
        }
    }

    // --- shrinking

    /// Takes a node out of all its layers and links its neighbours with each other.
    pub(super) fn disconnect(&mut self, node: u32) {
        for layer in 0..=self.level_at(node) {
            let links = self.links_at(node, layer).to_vec();
            for other in &links {
                self.remove_one_way(*other, node, layer);
            }
            self.truncate(node, layer, 0);
            let mut rest = &links[..];
            while rest.len() > 1 {
                let (block, _) = rest.split_at(rest.len().min(RECONNECTED_TOGETHER));
                self.reconnect(block, layer);
                // Blocks share a node, so that all stay connected.
                rest = &rest[block.len() - 1..];
            }
        }
        if self.entry == Some(node) {
            self.entry = self.highest_but(node);
        }
    }

    /// Links nodes that were connected through one that is gone: first so that each can be reached
    /// from each, then so that none has lost a link, the nearest pairs first.
    fn reconnect(&mut self, nodes: &[u32], layer: usize) {
        let mut groups: Vec<usize> = (0..nodes.len()).collect();
        let mut pairs: Vec<(Near, usize)> = Vec::new();
        for a in 0..nodes.len() {
            for b in a + 1..nodes.len() {
                if self.is_linked(nodes[a], nodes[b], layer) {
                    unite(&mut groups, a, b);
                } else {
                    let distance = self.between(nodes[a], nodes[b]);
                    pairs.push((Near { distance, node: a as u32 }, b));
                }
            }
        }
        pairs.sort_unstable();
        let mut gained = vec![false; nodes.len()];
        for only_apart in [true, false] {
            for (near, b) in &pairs {
                let (a, b) = (near.node as usize, *b);
                let is_wanted = if only_apart {
                    groups[a] != groups[b]
                } else {
                    (!gained[a] || !gained[b]) && !self.is_linked(nodes[a], nodes[b], layer)
                };
                if is_wanted && self.has_room(nodes[a], layer) && self.has_room(nodes[b], layer) {
                    self.link(nodes[a], nodes[b], layer);
                    unite(&mut groups, a, b);
                    (gained[a], gained[b]) = (true, true);
                }
            }
        }
    }

    /// Tells the neighbours of a node that it has another number now. Its rows have moved already.
    pub(super) fn renumber(&mut self, was: u32, is: u32) {
        for layer in 0..=self.level_at(is) {
            for index in 0..self.links_at(is, layer).len() {
                let other = self.links_at(is, layer)[index];
                let link = self.links_mut(other, layer).iter_mut().find(|link| **link == was);
                *link.expect("links go both ways") = is;
            }
        }
    }
}

/// Makes one group of two.
fn unite(groups: &mut [usize], a: usize, b: usize) {
    let (from, to) = (groups[a], groups[b]);
    if from != to {
        groups.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
    }
}
