//! Builds a vector set of random vectors, looks things up in it, and tells what that took: for each
//! kind of vector the time of an insertion and of a search, how much of the truth searches found, and
//! the memory of an element.
//!
//! `cargo run --release -p slotward-keyspace --example vectors -- ELEMENTS DIMENSIONS`
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

use std::time::Instant;

use slotward_keyspace::{
    LINKS_DEFAULT, Quantization, VectorQuery, VectorSearch, VectorSet, VectorShape,
};

const QUERIES: usize = 500;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|arg| arg.parse().expect("a number"));
    let elements: usize = numbers.next().unwrap_or(20_000);
    let dim: usize = numbers.next().unwrap_or(300);
    let mut state = 1u64;
    let mut number = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    // Around some centres, as real ones are.
    let centres: Vec<Vec<f32>> = (0..100).map(|_| (0..dim).map(|_| number()).collect()).collect();
    let mut vector = |index: usize| -> Vec<f32> {
        centres[index % centres.len()].iter().map(|x| x + number()).collect()
    };
    let vectors: Vec<Vec<f32>> = (0..elements).map(&mut vector).collect();
    let queries: Vec<Vec<f32>> = (0..QUERIES).map(vector).collect();
    for quantization in [Quantization::None, Quantization::Int8, Quantization::Binary] {
        let shape = VectorShape { dim, quantization, links_max: LINKS_DEFAULT };
        let mut set = VectorSet::new(shape, None);
        let begun = Instant::now();
        for (index, vector) in vectors.iter().enumerate() {
            set.insert(format!("element:{index}").as_bytes(), vector, 200);
        }
        let insertion = begun.elapsed() / elements as u32;
        let queries: Vec<VectorQuery> = queries.iter().map(|vector| set.query(vector)).collect();
        let search = |query: &VectorQuery, how| set.search(query, 10, how, |_| true);
        let graph = VectorSearch::Graph { effort: 100, candidates: usize::MAX };
        let begun = Instant::now();
        let found: Vec<_> = queries.iter().map(|query| search(query, graph)).collect();
        let time = begun.elapsed() / QUERIES as u32;
        let all: Vec<_> = queries.iter().map(|query| search(query, VectorSearch::All)).collect();
        let hits: usize = found
            .iter()
            .zip(&all)
            .map(|(found, all)| {
                let farthest = all.last().map_or(0.0, |(_, distance)| *distance);
                found.iter().filter(|(_, distance)| *distance <= farthest).count()
            })
            .sum();
        let recall = hits as f64 / all.iter().map(Vec::len).sum::<usize>() as f64;
        let bytes = set.heap_bytes() / elements;
        println!(
            "{quantization:?}: insert {insertion:?}, search {time:?}, recall {recall:.3}, {bytes} bytes"
        );
    }
}
