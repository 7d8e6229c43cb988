//! The graph against a look at everything, and what must hold after any change.

use super::*;
use proptest::prelude::*;

/// Numbers that follow from a seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number of a bell curve, near enough.
    fn number(&mut self) -> f32 {
        let part = |bits: u64| (bits & 0xffff) as f32 / 65_536.0;
        let bits = self.next();
        part(bits) + part(bits >> 16) + part(bits >> 32) + part(bits >> 48) - 2.0
    }

    fn vector(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.number()).collect()
    }
}

fn shape(dim: usize, quantization: Quantization, links_max: usize) -> VectorShape {
    VectorShape { dim, quantization, links_max }
}

fn set_of(count: usize, shape: VectorShape, seed: u64) -> VectorSet {
    let mut set = VectorSet::new(shape, None);
    let mut noise = Noise(seed);
    for number in 0..count {
        let vector = noise.vector(shape.dim);
        assert!(set.insert(format!("e{number}").as_bytes(), &vector, 100));
    }
    set
}

/// Which part of the ten nearest the graph finds, over many queries.
fn recall(set: &VectorSet, effort: usize, seed: u64) -> f64 {
    let mut noise = Noise(seed);
    let (mut found, mut all) = (0, 0);
    for _ in 0..50 {
        let query = set.query(&noise.vector(set.input_dim()));
        let exact = set.search(&query, 10, VectorSearch::All, |_| true);
        let graph = VectorSearch::Graph { effort, candidates: usize::MAX };
        let near = set.search(&query, 10, graph, |_| true);
        // Codes of one bit have many at the same distance: as near is as good.
        let farthest = exact.last().map_or(0.0, |(_, distance)| *distance);
        found += near.iter().filter(|(_, distance)| *distance <= farthest).count();
        all += exact.len();
    }
    found as f64 / all as f64
}

/// Everything that must hold between two operations.
fn check(set: &VectorSet) {
    let mut attributed = 0;
    let mut node_bytes = 0;
    for node in 0..set.len() as u32 {
        assert_eq!(set.find(set.name(node)), Some(node));
        attributed += usize::from(set.attributes(node).is_some());
        node_bytes += set.node(node).heap_bytes();
        for layer in 0..=set.level(node) {
            let links = set.links(node, layer);
            assert!(links.len() <= set.room(layer));
            for (index, other) in links.iter().enumerate() {
                assert_ne!(*other, node);
                assert!(!links[..index].contains(other), "linked once");
                assert!(set.links(*other, layer).contains(&node), "linked both ways");
            }
        }
    }
    assert_eq!(set.names.len(), set.len());
    assert_eq!((set.attributed, set.node_bytes), (attributed, node_bytes));
    assert_eq!(set.entry, set.highest_but(u32::MAX));
}

/// The set, written and read back.
fn copied(set: &VectorSet) -> VectorSet {
    let mut loader = VectorSetLoader::new(set.shape(), set.projection().cloned()).unwrap();
    for element in 0..set.len() as u32 {
        loader.push(stored(set, element)).unwrap();
    }
    loader.finish().unwrap()
}

fn stored(set: &VectorSet, element: u32) -> StoredVector {
    let links = |layer| set.links(element, layer).iter().map(|link| u64::from(*link) * 3).collect();
    StoredVector {
        id: u64::from(element) * 3,
        name: set.name(element).to_vec(),
        attributes: set.attributes(element).map(<[u8]>::to_vec),
        code: set.code(element),
        range: set.code_range(element).unwrap_or(0.0),
        norm: set.norm(element),
        layers: (0..=set.level(element)).map(links).collect(),
    }
}

/// Name, code and links by layer.
type Shown = (Vec<u8>, Vec<u8>, Vec<Vec<u64>>);

fn graph(set: &VectorSet) -> Vec<Shown> {
    let of = |element| stored(set, element);
    (0..set.len() as u32).map(of).map(|s| (s.name, s.code, s.layers)).collect()
}

#[test]
fn the_graph_finds_nearly_all_that_a_look_at_everything_finds() {
    for (quantization, least) in
        [(Quantization::None, 0.95), (Quantization::Int8, 0.95), (Quantization::Binary, 0.9)]
    {
        let set = set_of(2000, shape(16, quantization, 16), 1);
        check(&set);
        let found = recall(&set, 100, 2);
        assert!(found >= least, "{quantization:?}: {found}");
    }
}

#[test]
fn few_links_find_a_lot_too() {
    let set = set_of(1000, shape(8, Quantization::Int8, 4), 3);
    check(&set);
    let found = recall(&set, 100, 4);
    assert!(found >= 0.9, "{found}");
}

#[test]
fn what_is_left_after_many_removals_is_found() {
    let mut set = set_of(2000, shape(16, Quantization::Int8, 16), 5);
    let mut noise = Noise(6);
    for _ in 0..1500 {
        let victim = (noise.next() % set.len() as u64) as u32;
        let name = set.name(victim).to_vec();
        assert!(set.remove(&name));
    }
    check(&set);
    let found = recall(&set, 60, 7);
    assert!(found >= 0.95, "{found}");
    // Replacements are removals too.
    for element in 0..set.len() as u32 {
        let name = set.name(element).to_vec();
        assert!(!set.insert(&name, &noise.vector(16), 60));
    }
    check(&set);
    let found = recall(&set, 60, 8);
    assert!(found >= 0.95, "{found}");
}

#[test]
fn crowds_do_not_cut_each_other_off() {
    // A few tight crowds far from each other: links within a crowd must not push out all others.
    let mut set = VectorSet::new(shape(16, Quantization::None, 8), None);
    let mut noise = Noise(9);
    let centres: Vec<Vec<f32>> = (0..10).map(|_| noise.vector(16)).collect();
    for number in 0..1000 {
        let centre = &centres[number / 100];
        let vector: Vec<f32> = centre.iter().map(|x| x + noise.number() * 0.01).collect();
        set.insert(format!("{number}").as_bytes(), &vector, 100);
    }
    check(&set);
    for (number, centre) in centres.iter().enumerate() {
        let search = VectorSearch::Graph { effort: 50, candidates: usize::MAX };
        let found = set.search(&set.query(centre), 10, search, |_| true);
        for (element, _) in found {
            let name: usize = std::str::from_utf8(set.name(element)).unwrap().parse().unwrap();
            assert_eq!(name / 100, number, "the nearest are of the crowd");
        }
    }
}

#[test]
fn equal_vectors_are_all_found() {
    let mut set = VectorSet::new(shape(3, Quantization::Int8, 4), None);
    for number in 0..300 {
        set.insert(format!("{number}").as_bytes(), &[1.0, 2.0, 3.0], 50);
    }
    check(&set);
    let search = VectorSearch::Graph { effort: 300, candidates: usize::MAX };
    let found = set.search(&set.query(&[1.0, 2.0, 3.0]), 300, search, |_| true);
    assert!(found.len() >= 295, "{}", found.len());
}

#[test]
fn only_accepted_elements_are_found() {
    let set = set_of(500, shape(8, Quantization::Int8, 8), 10);
    let query = set.query(&Noise(11).vector(8));
    let is_wanted = |node: u32| node.is_multiple_of(50);
    let exact = set.search(&query, 5, VectorSearch::All, is_wanted);
    let all = VectorSearch::Graph { effort: 20, candidates: usize::MAX };
    assert_eq!(set.search(&query, 5, all, is_wanted), exact);
    let mut asked = 0;
    let few = VectorSearch::Graph { effort: 20, candidates: 30 };
    set.search(&query, 5, few, |node| {
        asked += 1;
        is_wanted(node)
    });
    assert!(asked <= 31, "{asked}");
}

#[test]
fn vectors_come_back() {
    let vector = [1.0, -2.0, 3.0];
    for (quantization, want, tolerance) in [
        (Quantization::None, [1.0, -2.0, 3.0], 1e-6),
        (Quantization::Int8, [1.0, -2.0, 3.0], 0.01),
        (Quantization::Binary, [1.0, -1.0, 1.0], 0.0),
    ] {
        let mut set = VectorSet::new(shape(3, quantization, 16), None);
        set.insert(b"a", &vector, 10);
        for (is, want) in set.vector(0).into_iter().zip(want) {
            assert!((is - want).abs() <= tolerance, "{quantization:?}: {is}");
        }
        assert!((set.norm(0) - 14f32.sqrt()).abs() < 1e-6);
        set.insert(b"zero", &[0.0; 3], 10);
        assert_eq!(set.norm(1), 1.0);
    }
}

#[test]
fn projections_keep_what_is_near_near() {
    let projection = Projection::new(64, 32).unwrap();
    assert_eq!(Projection::new(64, 32), Some(projection.clone()));
    assert_eq!(Projection::from_bytes(64, 32, &projection.to_bytes()), Some(projection.clone()));
    let mut set = VectorSet::new(shape(32, Quantization::None, 16), Some(projection));
    let mut noise = Noise(12);
    let vectors: Vec<Vec<f32>> = (0..100).map(|_| noise.vector(64)).collect();
    for (number, vector) in vectors.iter().enumerate() {
        set.insert(format!("{number}").as_bytes(), vector, 50);
    }
    for (number, vector) in vectors.iter().enumerate() {
        let near: Vec<f32> = vector.iter().map(|x| x + noise.number() * 0.1).collect();
        let found = set.search(&set.query(&near), 1, VectorSearch::All, |_| true);
        assert_eq!(set.name(found[0].0), format!("{number}").as_bytes());
    }
    for (why, input, output) in
        [("none", 0, 5), ("too many", 1 << 17, 2), ("too large a matrix", 1 << 15, 1 << 15)]
    {
        assert_eq!(Projection::new(input, output), None, "{why}");
        assert_eq!(Projection::from_bytes(input, output, &[]), None, "{why}");
    }
}

#[test]
fn names_have_an_order() {
    let mut set = VectorSet::new(shape(2, Quantization::Int8, 4), None);
    for name in ["b", "a", "c", "aa", ""] {
        set.insert(name.as_bytes(), &[1.0, 1.0], 10);
    }
    let names = |from, to| {
        set.range(from, to)
            .map(|name| String::from_utf8_lossy(name).into())
            .collect::<Vec<String>>()
    };
    use Bound::{Excluded, Included, Unbounded};
    assert_eq!(names(Unbounded, Unbounded), ["", "a", "aa", "b", "c"]);
    assert_eq!(names(Included(b"a"), Excluded(b"b")), ["a", "aa"]);
    assert_eq!(names(Excluded(b"a"), Unbounded), ["aa", "b", "c"]);
    let nothing: [String; 0] = [];
    assert_eq!(names(Excluded(b"a"), Excluded(b"a")), nothing);
    assert_eq!(names(Included(b"c"), Included(b"a")), nothing);
}

#[test]
fn room_that_is_not_used_takes_little() {
    let set = set_of(50, shape(4, Quantization::Int8, LINKS_MAX), 14);
    check(&set);
    assert!(set.heap_bytes() < 50 * 1000, "{}", set.heap_bytes());
}

#[test]
fn numbers_from_outside_may_be_any() {
    let set = set_of(3, shape(4, Quantization::Int8, 4), 15);
    for (why, id) in [("from nothing", 0), ("up to the end", u64::MAX - 2)] {
        let mut loader = VectorSetLoader::new(set.shape(), None).unwrap();
        for element in 0..3 {
            let mut stored = stored(&set, element);
            stored.id = id + stored.id / 3;
            stored.layers.iter_mut().flatten().for_each(|link| *link = id + *link / 3);
            loader.push(stored).unwrap();
        }
        let mut again = loader.finish().unwrap();
        again.insert(b"one more", &[1.0; 4], 10);
        assert!(again.added() >= 4, "{why}");
        check(&again);
    }
}

#[test]
fn what_is_damaged_is_refused() {
    let set = set_of(20, shape(4, Quantization::Int8, 4), 13);
    let good: Vec<StoredVector> = (0..20).map(|element| stored(&set, element)).collect();
    type Damage = fn(&mut Vec<StoredVector>);
    let table: [(&str, Damage); 13] = [
        ("a vector cut short", |all| _ = all[3].code.pop()),
        ("a range that is no number", |all| all[3].range = f32::NAN),
        ("a name that is there twice", |all| all[3].name = all[4].name.clone()),
        ("a number that is there twice", |all| all[3].id = all[4].id),
        ("no layer", |all| all[3].layers.clear()),
        ("too many layers", |all| all[3].layers.resize(17, Vec::new())),
        ("too many links", |all| all[3].layers[0] = (0..9).map(|id| id * 3).collect()),
        ("a link to nobody", |all| all[3].layers[0][0] = 1000),
        ("a link to itself", |all| all[3].layers[0][0] = all[3].id),
        ("a link that is there twice", |all| all[3].layers[0][1] = all[3].layers[0][0]),
        ("a link that leads one way", |all| _ = all[3].layers[0].pop()),
        ("a link exchanged for another", |all| {
            let missing =
                (0..20).map(|id| id * 3).find(|id| *id != 9 && !all[3].layers[0].contains(id));
            all[3].layers[0][0] = missing.unwrap();
        }),
        ("an element that is missing", |all| _ = all.pop()),
    ];
    for (why, damage) in table {
        let mut elements = good.clone();
        damage(&mut elements);
        let mut loader = VectorSetLoader::new(set.shape(), None).unwrap();
        let pushed = elements.into_iter().try_for_each(|element| loader.push(element));
        assert!(pushed.and_then(|()| loader.finish()).is_err(), "{why}");
    }
    for (why, shape) in [
        ("no dimension", shape(0, Quantization::Int8, 16)),
        ("too many dimensions", shape(DIM_MAX + 1, Quantization::Int8, 16)),
        ("too few links", shape(3, Quantization::Int8, 3)),
        ("too many links", shape(3, Quantization::Int8, 4097)),
    ] {
        assert!(VectorSetLoader::new(shape, None).is_err(), "{why}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_operations_keep_it_whole_and_a_copy_goes_the_same_way(
        seed: u64,
        quantization in prop::sample::select(
            vec![Quantization::None, Quantization::Int8, Quantization::Binary]),
        links_max in prop::sample::select(vec![4usize, 4, ROW_LINKS_MAX + 1]),
        steps in prop::collection::vec((0u8..8, 0u8..60), 1..160),
    ) {
        let mut noise = Noise(seed);
        let mut set = VectorSet::new(shape(4, quantization, links_max), None);
        let mut other = set.clone();
        let mut names = std::collections::BTreeMap::new();
        for (index, (step, name)) in steps.into_iter().enumerate() {
            if index % 40 == 39 {
                // What was written and read back is as good as the original.
                other = copied(&other);
                prop_assert_eq!(graph(&set), graph(&other));
            }
            let name = format!("n{name}");
            match step {
                0 | 1 => {
                    let was = names.remove(&name).is_some();
                    prop_assert_eq!(set.remove(name.as_bytes()), was);
                    prop_assert_eq!(other.remove(name.as_bytes()), was);
                }
                2 => {
                    if let Some(element) = set.find(name.as_bytes()) {
                        set.set_attributes(element, Some(b"{}"));
                        other.set_attributes(element, Some(b"{}"));
                        names.insert(name, true);
                    }
                }
                _ => {
                    let vector = noise.vector(4);
                    let is_new = !names.contains_key(&name);
                    prop_assert_eq!(set.insert(name.as_bytes(), &vector, 8), is_new);
                    prop_assert_eq!(other.insert(name.as_bytes(), &vector, 8), is_new);
                    names.entry(name).or_insert(false);
                }
            }
        }
        check(&set);
        check(&other);
        prop_assert_eq!(graph(&set), graph(&other));
        for (name, attributed) in &names {
            let element = set.find(name.as_bytes()).unwrap();
            prop_assert_eq!(set.attributes(element).is_some(), *attributed);
        }
        prop_assert_eq!(set.len(), names.len());
        for name in names.keys() {
            set.remove(name.as_bytes());
        }
        prop_assert!(set.is_empty() && set.node_bytes == 0 && set.entry.is_none());
    }
}
