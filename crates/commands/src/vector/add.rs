//! `VADD`.

use slotward_keyspace::{
    LINKS_DEFAULT, LINKS_MAX, LINKS_MIN, Projection, Quantization, Value, VectorSet, VectorShape,
};
use slotward_resp::Args;

use super::{EFFORT_MAX, INVALID_VECTOR, at_least, dimension_mismatch, is_word, parse_vector};
use crate::call::Call;
use crate::error::CmdError;

/// How many neighbours are considered if nothing is said.
const EFFORT_DEFAULT: u64 = 200;

struct Add<'a> {
    /// Dimensions to keep.
    reduce: Option<usize>,
    vector: Vec<f32>,
    element: &'a [u8],
    quantization: Quantization,
    effort: usize,
    links_max: Option<usize>,
    attributes: Option<&'a [u8]>,
}

impl<'a> Add<'a> {
    fn parse(argv: Args<'a>) -> Result<Add<'a>, CmdError> {
        let argc = argv.len();
        let (reduce, begin) = if is_word(argv, 2, "REDUCE") {
            let reduce = at_least(argv, 3, 1).and_then(|reduce| usize::try_from(reduce).ok());
            (Some(reduce.ok_or(INVALID_VECTOR)?), 4)
        } else {
            (None, 2)
        };
        let (vector, at) = parse_vector(argv, begin)?;
        let element = argv.get(at).ok_or(INVALID_VECTOR)?;
        let mut add = Add {
            reduce,
            vector,
            element,
            quantization: Quantization::Int8,
            effort: EFFORT_DEFAULT as usize,
            links_max: None,
            attributes: None,
        };
        let mut index = at + 1;
        while index < argc {
            let more = index + 1 < argc;
            let word = |word| is_word(argv, index, word);
            if word("CAS") {
                // Says how to go about it, not what to do: nothing is done in the background here.
            } else if word("NOQUANT") {
                add.quantization = Quantization::None;
            } else if word("Q8") {
                add.quantization = Quantization::Int8;
            } else if word("BIN") {
                add.quantization = Quantization::Binary;
            } else if word("EF") && more {
                index += 1;
                let effort = at_least(argv, index, 1).filter(|effort| *effort <= EFFORT_MAX);
                add.effort = effort.ok_or(CmdError::text("ERR invalid EF"))? as usize;
            } else if word("M") && more {
                index += 1;
                let links = at_least(argv, index, LINKS_MIN as u64).map(|links| links as usize);
                let links = links.filter(|links| *links <= LINKS_MAX);
                add.links_max = Some(links.ok_or(CmdError::text("ERR invalid M"))?);
            } else if word("SETATTR") && more {
                index += 1;
                add.attributes = argv.get(index);
            } else {
                return Err(CmdError::text("ERR invalid option after element"));
            }
            index += 1;
        }
        Ok(add)
    }

    /// Whether the set takes such a vector.
    fn check(&self, set: &VectorSet) -> Result<(), CmdError> {
        let (shape, given) = (set.shape(), self.vector.len());
        if self.reduce.is_some() && set.projection().is_none() {
            return Err(CmdError::text(
                "ERR cannot add projection to existing set without projection",
            ));
        }
        // A set with a projection takes vectors only together with it.
        let kept = self.reduce.unwrap_or(given);
        let is_projected = set.projection().is_some() == self.reduce.is_some();
        if !is_projected || kept != shape.dim || given != set.input_dim() {
            return Err(dimension_mismatch(given, shape.dim));
        }
        if self.quantization != shape.quantization {
            return Err(CmdError::text("ERR asked quantization mismatch with existing vector set"));
        }
        if self.links_max.is_some_and(|links| links != shape.links_max) {
            return Err(CmdError::text("ERR asked M value mismatch with existing vector set"));
        }
        Ok(())
    }

    fn new_set(&self) -> Result<VectorSet, CmdError> {
        let projection = match self.reduce {
            None => None,
            Some(dim) => Some(Projection::new(self.vector.len(), dim).ok_or(INVALID_VECTOR)?),
        };
        let shape = VectorShape {
            dim: self.reduce.unwrap_or(self.vector.len()),
            quantization: self.quantization,
            links_max: self.links_max.unwrap_or(LINKS_DEFAULT),
        };
        Ok(VectorSet::new(shape, projection))
    }
}

pub(super) fn vadd(call: &mut Call<'_>) -> Result<(), CmdError> {
    let add = Add::parse(call.argv)?;
    let key = call.key(1);
    match call.db.vector_set(&key)? {
        Some(set) => add.check(set)?,
        None => {
            let set = add.new_set()?;
            call.db.insert(&key, Value::VectorSet(Box::new(set)), None);
        }
    }
    let set = call.db.vector_set_mut(&key)?.expect("the set is there");
    let is_new = set.insert(add.element, &add.vector, add.effort);
    if let Some(attributes) = add.attributes {
        let element = set.find(add.element).expect("the element was added");
        set.set_attributes(element, Some(attributes).filter(|text| !text.is_empty()));
    }
    call.effects.changed(1);
    call.reply.boolean(is_new);
    Ok(())
}
