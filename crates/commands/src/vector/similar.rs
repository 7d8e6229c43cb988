//! `VSIM`.

use slotward_keyspace::{VectorQuery, VectorSearch, VectorSet};
use slotward_resp::{Args, Protocol};

use super::filter::{Filter, SyntaxError};
use super::{at_least, dimension_mismatch, is_word, parse_vector, similarity};
use crate::call::Call;
use crate::error::CmdError;
use crate::number::parse_double;

const COUNT_DEFAULT: u64 = 10;
const EFFORT_DEFAULT: u64 = 100;
/// Elements looked at for each that is wanted, if a filter may refuse them.
const FILTERED_FOR_EACH: usize = 100;
/// Bytes of a wrong expression that an error shows.
const SHOWN_MAX: usize = 128;

#[derive(Default)]
struct Options {
    scores: bool,
    attributes: bool,
    count: usize,
    effort: usize,
    filter: Option<Filter>,
    filter_effort: Option<usize>,
    /// How much less than 1 a similarity may be.
    epsilon: Option<f64>,
    all: bool,
}

impl Options {
    fn parse(argv: Args<'_>, mut index: usize) -> Result<Options, CmdError> {
        let argc = argv.len();
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let mut options = Options {
            count: size(COUNT_DEFAULT),
            effort: size(EFFORT_DEFAULT),
            ..Options::default()
        };
        while index < argc {
            let more = index + 1 < argc;
            let word = |word| is_word(argv, index, word);
            if word("WITHSCORES") {
                options.scores = true;
            } else if word("WITHATTRIBS") {
                options.attributes = true;
            } else if word("TRUTH") {
                options.all = true;
            } else if word("NOTHREAD") {
                // Nothing runs in another thread here.
            } else if word("COUNT") && more {
                index += 1;
                let count = at_least(argv, index, 1).ok_or(CmdError::text("ERR invalid COUNT"))?;
                options.count = size(count);
            } else if word("EF") && more {
                index += 1;
                let effort = at_least(argv, index, 1).ok_or(CmdError::text("ERR invalid EF"))?;
                options.effort = size(effort);
            } else if word("EPSILON") && more {
                index += 1;
                let epsilon = parse_double(&argv[index]).filter(|epsilon| *epsilon > 0.0);
                options.epsilon = Some(epsilon.ok_or(CmdError::text("ERR invalid EPSILON"))?);
            } else if word("FILTER") && more {
                index += 1;
                options.filter = Some(Filter::parse(&argv[index]).map_err(syntax_error)?);
            } else if word("FILTER-EF") && more {
                index += 1;
                let effort = at_least(argv, index, 0);
                let effort = effort.ok_or(CmdError::text("ERR invalid FILTER-EF"))?;
                options.filter_effort = Some(if effort == 0 { usize::MAX } else { size(effort) });
            } else {
                return Err(CmdError::text("ERR syntax error in VSIM command"));
            }
            index += 1;
        }
        Ok(options)
    }

    fn search(&self, set: &VectorSet, query: &VectorQuery) -> Vec<(u32, f64)> {
        let candidates = match &self.filter {
            None => usize::MAX,
            Some(_) => {
                let usual = self.count.saturating_mul(FILTERED_FOR_EACH);
                self.filter_effort.unwrap_or(usual)
            }
        };
        let search = match self.all {
            true => VectorSearch::All,
            false => VectorSearch::Graph { effort: self.effort, candidates },
        };
        let found = set.search(query, self.count, search, |element| match &self.filter {
            None => true,
            Some(filter) => set.attributes(element).is_some_and(|text| filter.accepts(text)),
        });
        // In the 32 bits that distances have: one of exactly so much is near enough.
        let farthest = self.epsilon.map_or(f32::INFINITY, |epsilon| (2.0 * epsilon) as f32);
        let near = found.into_iter().take_while(|(_, distance)| *distance <= farthest);
        near.map(|(element, distance)| (element, similarity(distance))).collect()
    }
}

fn syntax_error(error: SyntaxError<'_>) -> CmdError {
    let near = &error.near[..error.near.len().min(SHOWN_MAX)];
    let near = String::from_utf8_lossy(near);
    CmdError::Other(format!("ERR syntax error in FILTER expression near: {near}").into())
}

/// What to look for, and the index behind it.
fn query(argv: Args<'_>, set: &VectorSet) -> Result<(VectorQuery, usize), CmdError> {
    if is_word(argv, 2, "ELE") {
        let element = set.find(&argv[3]);
        let element = element.ok_or(CmdError::text("ERR element not found in set"))?;
        return Ok((set.query_of(element), 4));
    }
    let (vector, end) = parse_vector(argv, 2)?;
    let (got, kept, input) = (vector.len(), set.shape().dim, set.input_dim());
    if got == kept || got == input {
        return Ok((set.query(&vector), end));
    }
    if set.projection().is_none() {
        return Err(dimension_mismatch(got, kept));
    }
    let text = format!(
        "ERR Input dimension mismatch for projection - got {got} but projection expects {input}"
    );
    Err(CmdError::Other(text.into()))
}

pub(super) fn vsim(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, argv) = (call.key(1), call.argv);
    let Some(set) = call.db.vector_set(&key)? else {
        call.reply.array(0);
        return Ok(());
    };
    let (query, end) = query(argv, set)?;
    let options = Options::parse(argv, end)?;
    let found = options.search(set, &query);
    let Options { scores, attributes, .. } = options;
    let reply = &mut *call.reply;
    let is_map = reply.protocol() == Protocol::Resp3 && (scores || attributes);
    if is_map {
        reply.map(found.len());
    } else {
        reply.array(found.len() * (1 + usize::from(scores) + usize::from(attributes)));
    }
    for (element, similarity) in found {
        reply.bulk(set.name(element));
        if is_map && scores && attributes {
            reply.array(2);
        }
        if scores {
            reply.double(similarity);
        }
        if attributes {
            reply.bulk_or_null(set.attributes(element));
        }
    }
    Ok(())
}
