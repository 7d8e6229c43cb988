//! Vector sets from outside: nothing is believed before it was checked.

use super::code::Row;
use super::{LEVEL_MAX, Projection, VectorSet, VectorShape};
use crate::hash::collection_seed;
use crate::table::mix;

/// What was to become a vector set is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a vector set is damaged")]
pub struct InvalidVectors;

/// An element as it travels.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredVector {
    /// By what number others link to it.
    pub id: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// Its attributes.
    pub attributes: Option<Vec<u8>>,
    /// The bytes of its coded vector.
    pub code: Vec<u8>,
    /// What the largest code stands for; 0 where there are no such codes.
    pub range: f32,
    /// The length that the vector had.
    pub norm: f32,
    /// Its links in each layer that it is in, from layer 0 on.
    pub layers: Vec<Vec<u64>>,
}

/// Puts a vector set together from its elements.
#[derive(Debug)]
pub struct VectorSetLoader {
    set: VectorSet,
    ids: Vec<(u64, u32)>,
    /// The links of all elements and layers, by the numbers with which they travel.
    links: Vec<u64>,
    /// How many of them there are for each element and layer.
    counts: Vec<u32>,
}

impl VectorSetLoader {
    /// A set of this shape.
    ///
    /// # Errors
    /// When there are no such sets.
    pub fn new(
        shape: VectorShape,
        projection: Option<Projection>,
    ) -> Result<VectorSetLoader, InvalidVectors> {
        let fits = projection.as_ref().is_none_or(|given| given.output_dim() == shape.dim);
        if !shape.is_valid() || !fits {
            return Err(InvalidVectors);
        }
        let set = VectorSet::new(shape, projection);
        Ok(VectorSetLoader { set, ids: Vec::new(), links: Vec::new(), counts: Vec::new() })
    }

    /// How many links an element may have in a layer.
    pub fn links_max(&self, layer: usize) -> usize {
        self.set.room(layer)
    }

    /// How many layers an element may be in.
    pub const fn layers_max() -> usize {
        LEVEL_MAX + 1
    }

    /// Adds an element.
    ///
    /// # Errors
    /// When it cannot be one of this set.
    pub fn push(&mut self, element: StoredVector) -> Result<(), InvalidVectors> {
        let set = &mut self.set;
        let shape = set.shape;
        let row = Row::from_bytes(&element.code, element.range, shape.dim, shape.quantization);
        let level = element.layers.len().checked_sub(1).filter(|level| *level <= LEVEL_MAX);
        let (Some(row), Some(level)) = (row, level) else { return Err(InvalidVectors) };
        if set.find(&element.name).is_some() || u32::try_from(set.len() + 1).is_err() {
            return Err(InvalidVectors);
        }
        let attributes = element.attributes.map(Vec::into_boxed_slice);
        let number = set.push(&element.name, attributes, element.norm, row, level);
        self.ids.push((element.id, number));
        for (layer, links) in element.layers.iter().enumerate() {
            if links.len() > set.room(layer) {
                return Err(InvalidVectors);
            }
            self.counts.push(links.len() as u32);
            self.links.extend(links);
        }
        set.added = set.added.max(element.id);
        Ok(())
    }

    /// The set, once all elements are there.
    ///
    /// # Errors
    /// When links lead nowhere, do not go both ways or are there twice.
    pub fn finish(mut self) -> Result<VectorSet, InvalidVectors> {
        self.ids.sort_unstable();
        if self.ids.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(InvalidVectors);
        }
        let set = &mut self.set;
        let (mut links, mut counts) = (self.links.iter(), self.counts.iter());
        let mut seen = Vec::new();
        // Each direction of a link adds what the other takes away. The seed is not known outside, so
        // nobody can choose links whose sum is zero by chance.
        let (seed, mut sum) = (collection_seed(), 0u128);
        for number in 0..set.len() as u32 {
            for layer in 0..=set.level_at(number) {
                seen.clear();
                for _ in 0..*counts.next().expect("all layers were counted") {
                    let id = *links.next().expect("all links were kept");
                    let found = self.ids.binary_search_by_key(&id, |(id, _)| *id);
                    let other = self.ids[found.map_err(|_| InvalidVectors)?].1;
                    if other == number || set.level_at(other) < layer {
                        return Err(InvalidVectors);
                    }
                    set.add_one_way(number, other, layer);
                    seen.push(other);
                    let word = link_word(seed, number.min(other), number.max(other), layer);
                    sum = if number < other {
                        sum.wrapping_add(word)
                    } else {
                        sum.wrapping_sub(word)
                    };
                }
                seen.sort_unstable();
                if seen.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(InvalidVectors);
                }
            }
        }
        if sum != 0 {
            return Err(InvalidVectors);
        }
        set.added = set.added.max(set.len() as u64);
        set.entry = set.highest_but(u32::MAX);
        Ok(self.set)
    }
}

/// A number that stands for a link.
fn link_word(seed: u64, low: u32, high: u32, layer: usize) -> u128 {
    let pair = u64::from(low) << 32 | u64::from(high);
    let first = mix(seed ^ mix(pair) ^ layer as u64);
    let second = mix(seed.rotate_left(32) ^ mix(first ^ pair));
    u128::from(first) << 64 | u128::from(second)
}
