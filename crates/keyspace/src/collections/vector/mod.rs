//! Vector sets: names with a vector each, found by what lies near another vector.
//!
//! Vectors are scaled to length one and coded ([`Quantization`]); a graph over them finds neighbours
//! without looking at all. A node of the graph has a number, the place of its rows; the last one moves
//! into the place of one that is removed.
//!
//! **Invariants:** numbers have no holes; links go both ways; the same operations in the same order
//! give the same set on every machine, its graph included, and so do operations on a set that was
//! written and read back.

mod code;
mod distance;
mod graph;
mod load;
mod projection;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use code::Quantization;
pub use load::{InvalidVectors, StoredVector, VectorSetLoader};
pub use projection::Projection;

use crate::table::mix;
use code::{Row, Vectors};
use graph::Near;
use rows::Rows;

/// Most dimensions of a vector. Sums of products of codes stay within 32 bits.
pub const DIM_MAX: usize = 1 << 16;
/// Fewest and most links of a node in the upper layers.
pub const LINKS_MIN: usize = 4;
/// Most links of a node in the upper layers; in layer 0 there may be twice as many.
pub const LINKS_MAX: usize = 4096;
/// Links if nothing is said.
pub const LINKS_DEFAULT: usize = 16;
/// Up to here each node has all its room for links of layer 0 in one place. Beyond, somebody who asks
/// for much room and uses little would have a small command or payload take a lot of memory.
const ROW_LINKS_MAX: usize = 64;
/// The highest layer.
const LEVEL_MAX: usize = 15;
/// About what an element takes in the index of names.
const NAME_BYTES: usize = 64;

/// What all vectors of a set have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorShape {
    /// Dimensions of a vector as it is kept.
    pub dim: usize,
    /// How vectors are kept.
    pub quantization: Quantization,
    /// Most links of a node in the upper layers (`M`).
    pub links_max: usize,
}

impl VectorShape {
    /// Whether a set may have this shape.
    pub fn is_valid(&self) -> bool {
        (1..=DIM_MAX).contains(&self.dim) && (LINKS_MIN..=LINKS_MAX).contains(&self.links_max)
    }
}

/// An element but for its rows.
#[derive(Clone)]
struct Node {
    name: Arc<[u8]>,
    attributes: Option<Box<[u8]>>,
    /// The links of the layers that have no rows: those above 0, and 0 where there may be many.
    lists: Box<[Vec<u32>]>,
    /// The length that the vector had.
    norm: f32,
}

impl Node {
    fn heap_bytes(&self) -> usize {
        let attributes = self.attributes.as_ref().map_or(0, |text| text.len());
        let links: usize = self.lists.iter().map(Vec::len).sum();
        let lists = size_of_val(&*self.lists) + links * size_of::<u32>();
        NAME_BYTES + self.name.len() + attributes + lists
    }
}

/// A vector to look for, coded as those of the set are.
#[derive(Debug, Clone)]
pub struct VectorQuery(Row);

/// How to look for neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorSearch {
    /// Look at all elements.
    All,
    /// Follow the graph.
    Graph {
        /// How many of the best to keep on the way; more find better.
        effort: usize,
        /// How many elements may be looked at more closely.
        candidates: usize,
    },
}

/// A vector set. See the module.
#[derive(Clone)]
pub struct VectorSet {
    shape: VectorShape,
    projection: Option<Projection>,
    vectors: Vectors,
    nodes: Rows<Node>,
    levels: Rows<u8>,
    /// The links of layer 0, their count first, if there is room for not too many.
    base: Option<Rows<u32>>,
    names: BTreeMap<Arc<[u8]>, u32>,
    /// Where searches begin: of the nodes of the highest level the one with the lowest number.
    entry: Option<u32>,
    /// How many elements were ever added, replacements included.
    added: u64,
    /// How many elements have attributes.
    attributed: usize,
    /// What nodes have allocated beside their rows.
    node_bytes: usize,
    /// Tells sets apart within this process.
    id: u64,
}

impl VectorSet {
    /// An empty set.
    ///
    /// # Panics
    /// If the shape is not valid, or a projection gives other vectors than the shape says.
    pub fn new(shape: VectorShape, projection: Option<Projection>) -> VectorSet {
        static IDS: AtomicU64 = AtomicU64::new(0);
        assert!(shape.is_valid(), "a set of vectors has a shape within its limits");
        assert!(projection.as_ref().is_none_or(|projection| projection.output_dim() == shape.dim));
        VectorSet {
            shape,
            projection,
            vectors: Vectors::new(shape.dim, shape.quantization),
            nodes: Rows::new(1),
            levels: Rows::new(1),
            base: (shape.links_max <= ROW_LINKS_MAX).then(|| Rows::new(2 * shape.links_max + 1)),
            names: BTreeMap::new(),
            entry: None,
            added: 0,
            attributed: 0,
            node_bytes: 0,
            id: IDS.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    // --- the set

    /// What its vectors have in common.
    pub fn shape(&self) -> VectorShape {
        self.shape
    }

    /// What vectors go through before they are kept.
    pub fn projection(&self) -> Option<&Projection> {
        self.projection.as_ref()
    }

    /// How many dimensions vectors have that are given to it.
    pub fn input_dim(&self) -> usize {
        self.projection.as_ref().map_or(self.shape.dim, Projection::input_dim)
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many elements have attributes.
    pub fn attributed_len(&self) -> usize {
        self.attributed
    }

    /// How many elements were ever added, replacements included.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// A number that no other set of this process has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The highest layer that has an element.
    pub fn level_max(&self) -> usize {
        self.entry.map_or(0, |entry| self.level_at(entry))
    }

    /// The memory behind this.
    pub fn heap_bytes(&self) -> usize {
        let base = self.base.as_ref().map_or(0, Rows::heap_bytes);
        let rows = self.nodes.heap_bytes() + self.levels.heap_bytes() + base;
        let projection = self.projection.as_ref().map_or(0, Projection::heap_bytes);
        self.vectors.heap_bytes() + rows + projection + self.node_bytes
    }

    // --- elements, by their numbers, which hold until the set changes

    /// The number of the element of this name.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// Its name.
    pub fn name(&self, element: u32) -> &[u8] {
        &self.node(element).name
    }

    /// Its attributes.
    pub fn attributes(&self, element: u32) -> Option<&[u8]> {
        self.node(element).attributes.as_deref()
    }

    /// The length that its vector had.
    pub fn norm(&self, element: u32) -> f32 {
        self.node(element).norm
    }

    /// The bytes of its coded vector.
    pub fn code(&self, element: u32) -> Vec<u8> {
        self.vectors.row(element).to_bytes()
    }

    /// What the largest code stands for, of codes of eight bits.
    pub fn code_range(&self, element: u32) -> Option<f32> {
        self.vectors.row(element).range()
    }

    /// Its vector, as well as the code tells it; of bits, 1 and -1.
    pub fn vector(&self, element: u32) -> Vec<f32> {
        let norm = match self.shape.quantization {
            Quantization::Binary => 1.0,
            _ => self.norm(element),
        };
        let unit = self.vectors.row(element).decode(self.shape.dim);
        unit.into_iter().map(|x| x * norm).collect()
    }

    /// The highest layer that it is in.
    pub fn level(&self, element: u32) -> usize {
        self.level_at(element)
    }

    /// The elements that it is linked with in a layer that it is in.
    pub fn links(&self, element: u32, layer: usize) -> &[u32] {
        self.links_at(element, layer)
    }

    /// How far two elements are from each other: from 0, the same direction, to 2.
    pub fn distance(&self, a: u32, b: u32) -> f32 {
        self.between(a, b)
    }

    /// The elements between two names, in the order of the names' bytes.
    pub fn range<'s>(
        &'s self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl Iterator<Item = &'s [u8]> + use<'s> {
        let is_empty = match (from, to) {
            (Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
            (
                Bound::Included(from) | Bound::Excluded(from),
                Bound::Included(to) | Bound::Excluded(to),
            ) => from > to,
            _ => false,
        };
        let range = (!is_empty).then(|| self.names.range::<[u8], _>((from, to)));
        range.into_iter().flatten().map(|(name, _)| &**name)
    }

    // --- looking for neighbours

    /// A vector to look for: of as many dimensions as [`VectorSet::input_dim`], or as are kept.
    ///
    /// # Panics
    /// If it has another number of dimensions.
    pub fn query(&self, vector: &[f32]) -> VectorQuery {
        let (unit, _) = if vector.len() == self.input_dim() {
            unit_of(&self.projected(vector))
        } else {
            assert_eq!(vector.len(), self.shape.dim, "a query has the dimensions of its set");
            unit_of(vector)
        };
        VectorQuery(Row::of(&unit, self.shape.quantization))
    }

    /// The vector of an element, to look for.
    pub fn query_of(&self, element: u32) -> VectorQuery {
        let (unit, _) = unit_of(&self.vectors.row(element).decode(self.shape.dim));
        VectorQuery(Row::of(&unit, self.shape.quantization))
    }

    /// The nearest elements that are accepted, at most `count`, with their distances, nearest first.
    pub fn search(
        &self,
        query: &VectorQuery,
        count: usize,
        search: VectorSearch,
        accept: impl FnMut(u32) -> bool,
    ) -> Vec<(u32, f32)> {
        let query = query.0.as_ref();
        let mut found = match search {
            VectorSearch::All => self.search_all(query, count, accept),
            VectorSearch::Graph { effort, candidates } => {
                self.search_graph(query, effort.max(count), candidates, accept)
            }
        };
        found.truncate(count);
        found.into_iter().map(|Near { distance, node }| (node, distance)).collect()
    }

    // --- changing

    /// Adds an element, or gives it another vector: true if it is new. `effort` says how many
    /// neighbours to consider. The vector has [`VectorSet::input_dim`] finite dimensions.
    ///
    /// # Panics
    /// If the vector has another number of dimensions.
    pub fn insert(&mut self, name: &[u8], vector: &[f32], effort: usize) -> bool {
        assert_eq!(vector.len(), self.input_dim(), "a vector has the dimensions of its set");
        let (unit, norm) = unit_of(&self.projected(vector));
        let old = self.find(name).map(|node| self.take(node));
        let is_new = old.is_none();
        let row = Row::of(&unit, self.shape.quantization);
        let level = level_of(name, self.len());
        let attributes = old.and_then(|node| node.attributes);
        let node = self.push(name, attributes, norm, row, level);
        self.added = self.added.saturating_add(1);
        self.connect(node, effort.max(1));
        is_new
    }

    /// Removes the element of this name: false if there was none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(node) = self.find(name) else { return false };
        self.take(node);
        true
    }

    /// Sets an element's attributes, or takes them away.
    pub fn set_attributes(&mut self, element: u32, attributes: Option<&[u8]>) {
        let node = &mut self.nodes.row_mut(element as usize)[0];
        self.node_bytes -= node.heap_bytes();
        self.attributed -= usize::from(node.attributes.is_some());
        node.attributes = attributes.map(Box::from);
        self.attributed += usize::from(node.attributes.is_some());
        self.node_bytes += node.heap_bytes();
    }

    fn projected(&self, vector: &[f32]) -> Vec<f32> {
        match &self.projection {
            Some(projection) => projection.apply(vector),
            None => vector.to_vec(),
        }
    }

    fn node(&self, node: u32) -> &Node {
        &self.nodes.row(node as usize)[0]
    }

    fn level_at(&self, node: u32) -> usize {
        usize::from(self.levels.row(node as usize)[0])
    }

    /// Adds a node without links.
    fn push(
        &mut self,
        name: &[u8],
        attributes: Option<Box<[u8]>>,
        norm: f32,
        row: Row,
        level: usize,
    ) -> u32 {
        let number = u32::try_from(self.len()).expect("a set has fewer than 2^32 elements");
        let lists = vec![Vec::new(); level + 1 - self.row_layers()].into_boxed_slice();
        let node = Node { name: name.into(), attributes, lists, norm };
        self.node_bytes += node.heap_bytes();
        self.attributed += usize::from(node.attributes.is_some());
        self.names.insert(Arc::clone(&node.name), number);
        self.vectors.push(row);
        self.levels.push([level as u8]);
        if let Some(base) = &mut self.base {
            base.push(std::iter::repeat_n(0, 2 * self.shape.links_max + 1));
        }
        self.nodes.push([node]);
        number
    }

    /// Takes a node out; the last one gets its number.
    fn take(&mut self, number: u32) -> Node {
        self.disconnect(number);
        let node = self.node(number).clone();
        self.node_bytes -= node.heap_bytes();
        self.attributed -= usize::from(node.attributes.is_some());
        self.names.remove(&node.name);
        self.vectors.swap_remove(number);
        self.levels.swap_remove(number as usize);
        if let Some(base) = &mut self.base {
            base.swap_remove(number as usize);
        }
        self.nodes.swap_remove(number as usize);
        let last = self.len() as u32;
        if number != last {
            let name = Arc::clone(&self.node(number).name);
            *self.names.get_mut(&name).expect("every node has its name in the index") = number;
            self.renumber(last, number);
            self.entry = self.entry.map(|entry| match entry {
                entry if entry == last => number,
                // It may come before the entry now, which has to be the first of its level.
                entry if number < entry && self.level_at(number) == self.level_at(entry) => number,
                entry => entry,
            });
        }
        node
    }

    /// Of the nodes of the highest level but for this one, the first.
    fn highest_but(&self, node: u32) -> Option<u32> {
        let others = (0..self.len() as u32).filter(|other| *other != node);
        others.max_by_key(|other| (self.level_at(*other), std::cmp::Reverse(*other)))
    }
}

impl std::fmt::Debug for VectorSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VectorSet").field("shape", &self.shape).field("len", &self.len()).finish()
    }
}

/// The vector of length one in the same direction, and the length. Of one without a direction: zeros,
/// and 1, so that they stay zeros.
fn unit_of(vector: &[f32]) -> (Vec<f32>, f32) {
    let squares = vector.iter().map(|x| f64::from(*x) * f64::from(*x));
    // As 32 bits first: what is divided by this and multiplied with it again is what it was.
    let norm = squares.sum::<f64>().sqrt() as f32;
    if norm == 0.0 {
        return (vector.to_vec(), 1.0);
    }
    (vector.iter().map(|x| x / norm).collect(), norm)
}

/// The highest layer of a new element: each layer has about a quarter of the one below. Follows from
/// what every copy of the set knows, so that all build the same graph.
fn level_of(name: &[u8], elements: usize) -> usize {
    let mut hash = mix(elements as u64 ^ (name.len() as u64) << 32);
    for chunk in name.chunks(8) {
        let mut bytes = [0; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(bytes));
    }
    (hash.trailing_zeros() as usize / 2).min(LEVEL_MAX)
}
