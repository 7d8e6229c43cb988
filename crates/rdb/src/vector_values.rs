//! Values of the vector set type in an RDB stream.
//!
//! To Redis they are values of a module, of the type called `vectorset`: a number for the type, then
//! marked numbers and strings, then the mark of the end.
//!
//! ```text
//! dimensions  elements  M << 8 | quantization  flags (1 projected, 2 attributes)
//! [dimensions before the projection  its matrix]
//! element: name  [attributes]  vector  count of numbers that follow:
//!   id  1 << 24 | level  {links  most links  {id} worst distance << 32 | worst index} for each layer
//!   range << 32 | norm
//! ```
//!
//! Elements are written in their order here and so read back, which keeps the set as it is.

use std::io::Read;

use slotward_keyspace::{
    Projection, Quantization, StoredVector, VectorSet, VectorSetLoader, VectorShape,
};

use crate::error::RdbError;
use crate::input::Input;
use crate::output::Output;

const DAMAGED: RdbError = RdbError::Damaged("a vector set");
/// The name of the module's type, nine letters of six bits, and a version of ten bits.
const TYPE: u64 = type_number(b"vectorset", 0);
const VERSION_BITS: u32 = 10;

/// Marks of what follows.
const END: u64 = 0;
const NUMBER: u64 = 2;
const STRING: u64 = 5;

const PROJECTED: u64 = 1;
const WITH_ATTRIBUTES: u64 = 2;
/// Stands above the level of a node.
const NODE_VERSION: u64 = 1 << 24;
const LEVEL_MASK: u64 = NODE_VERSION - 1;

/// The number of a module's type.
const fn type_number(name: &[u8; 9], version: u64) -> u64 {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut number = 0;
    let mut at = 0;
    while at < name.len() {
        let mut letter = 0;
        while LETTERS[letter] != name[at] {
            letter += 1;
        }
        number = number << 6 | letter as u64;
        at += 1;
    }
    number << VERSION_BITS | version
}

// --- writing

/// Writes a vector set behind its kind and key.
pub(crate) fn write(out: &mut Output, set: &VectorSet) {
    let shape = set.shape();
    out.number(TYPE);
    write_number(out, shape.dim as u64);
    write_number(out, set.len() as u64);
    write_number(out, (shape.links_max as u64) << 8 | quantization_code(shape.quantization));
    let with_attributes = set.attributed_len() > 0;
    let projected = if set.projection().is_some() { PROJECTED } else { 0 };
    write_number(out, projected | if with_attributes { WITH_ATTRIBUTES } else { 0 });
    if let Some(projection) = set.projection() {
        write_number(out, projection.input_dim() as u64);
        write_string(out, &projection.to_bytes());
    }
    // Numbered so that the highest is how many there have been.
    let first = set.added() - set.len() as u64 + 1;
    for element in 0..set.len() as u32 {
        write_string(out, set.name(element));
        if with_attributes {
            write_string(out, set.attributes(element).unwrap_or_default());
        }
        write_string(out, &set.code(element));
        write_node(out, set, element, first);
    }
    out.number(END);
}

fn write_node(out: &mut Output, set: &VectorSet, element: u32, first: u64) {
    let shape = set.shape();
    let mut numbers = vec![first + u64::from(element), NODE_VERSION | set.level(element) as u64];
    for layer in 0..=set.level(element) {
        let links = set.links(element, layer);
        let most = if layer == 0 { 2 * shape.links_max } else { shape.links_max };
        numbers.extend([links.len() as u64, most as u64]);
        numbers.extend(links.iter().map(|link| first + u64::from(*link)));
        let distances = links.iter().map(|link| set.distance(element, *link));
        let worst = distances.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        let (index, distance) = worst.unwrap_or((0, 0.0));
        numbers.push(u64::from(distance.to_bits()) << 32 | index as u64);
    }
    let range = set.code_range(element).unwrap_or(0.0);
    numbers.push(u64::from(range.to_bits()) << 32 | u64::from(set.norm(element).to_bits()));
    write_number(out, numbers.len() as u64);
    numbers.into_iter().for_each(|number| write_number(out, number));
}

fn write_number(out: &mut Output, number: u64) {
    out.number(NUMBER);
    out.number(number);
}

fn write_string(out: &mut Output, bytes: &[u8]) {
    out.number(STRING);
    out.string(bytes);
}

const fn quantization_code(quantization: Quantization) -> u64 {
    match quantization {
        Quantization::None => 0,
        Quantization::Int8 => 1,
        Quantization::Binary => 2,
    }
}

// --- reading

/// Reads a value of a module's type, which has to be a vector set.
pub(crate) fn read<R: Read>(input: &mut Input<R>) -> Result<VectorSet, RdbError> {
    if input.length()? != TYPE {
        return Err(RdbError::Unsupported("a value of a module's type"));
    }
    let dim = read_size(input)?;
    let count = read_number(input)?;
    let config = read_number(input)?;
    let quantization = match config & 0xff {
        0 => Quantization::None,
        1 => Quantization::Int8,
        2 => Quantization::Binary,
        _ => return Err(DAMAGED),
    };
    let links_max = usize::try_from(config >> 8).map_err(|_| DAMAGED)?;
    let shape = VectorShape { dim, quantization, links_max };
    let flags = read_number(input)?;
    let projection = if flags & PROJECTED != 0 {
        let input_dim = read_size(input)?;
        let matrix = read_string(input)?;
        Some(Projection::from_bytes(input_dim, dim, &matrix).ok_or(DAMAGED)?)
    } else {
        None
    };
    let mut loader = VectorSetLoader::new(shape, projection).map_err(|_| DAMAGED)?;
    for _ in 0..count {
        let element = read_element(input, &loader, flags & WITH_ATTRIBUTES != 0)?;
        loader.push(element).map_err(|_| DAMAGED)?;
    }
    if input.length()? != END {
        return Err(DAMAGED);
    }
    loader.finish().map_err(|_| DAMAGED)
}

fn read_element<R: Read>(
    input: &mut Input<R>,
    loader: &VectorSetLoader,
    with_attributes: bool,
) -> Result<StoredVector, RdbError> {
    let name = read_string(input)?;
    let attributes = if with_attributes { Some(read_string(input)?) } else { None };
    let code = read_string(input)?;
    let mut left = read_number(input)?;
    // The numbers have to be as many as was said.
    let mut next = || {
        left = left.checked_sub(1).ok_or(DAMAGED)?;
        read_number(input)
    };
    let id = next()?;
    let level = usize::try_from(next()? & LEVEL_MASK).map_err(|_| DAMAGED)?;
    if level >= VectorSetLoader::layers_max() {
        return Err(DAMAGED);
    }
    let mut layers = Vec::new();
    for layer in 0..=level {
        let links = next()?;
        let _most = next()?;
        if links > loader.links_max(layer) as u64 {
            return Err(DAMAGED);
        }
        layers.push((0..links).map(|_| next()).collect::<Result<Vec<u64>, RdbError>>()?);
        let _worst = next()?;
    }
    let numbers = next()?;
    let (range, norm) = (f32::from_bits((numbers >> 32) as u32), f32::from_bits(numbers as u32));
    if left != 0 {
        return Err(DAMAGED);
    }
    let attributes = attributes.filter(|text| !text.is_empty());
    Ok(StoredVector { id, name, attributes, code, range, norm, layers })
}

fn read_size<R: Read>(input: &mut Input<R>) -> Result<usize, RdbError> {
    usize::try_from(read_number(input)?).map_err(|_| DAMAGED)
}

fn read_number<R: Read>(input: &mut Input<R>) -> Result<u64, RdbError> {
    if input.length()? == NUMBER { input.length() } else { Err(DAMAGED) }
}

fn read_string<R: Read>(input: &mut Input<R>) -> Result<Vec<u8>, RdbError> {
    if input.length()? == STRING { input.string() } else { Err(DAMAGED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_has_redis_number() {
        assert_eq!(TYPE, 0xbde7_2da2_bb1e_b400);
    }
}
