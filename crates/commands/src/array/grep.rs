//! Searching the elements of an array.

use std::ops::ControlFlow;

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};
use slotward_keyspace::Array;
use slotward_types::{glob_match, glob_match_nocase};

use super::{parse_index, reply_element};
use crate::call::Call;
use crate::error::CmdError;

/// Most predicates, and bytes of a regular expression, that one command may have.
const PREDICATES_MAX: usize = 250;
const EXPRESSION_BYTES_MAX: usize = 2048;
/// Memory that the programs of one command's regular expressions may take together; the tables that
/// they are run with may take as much again.
const PROGRAMS_BYTES_MAX: usize = 4 << 20;
/// What one of them may take at most, and may always.
const PROGRAM_BYTES_MAX: usize = 256 << 10;
const PROGRAM_BYTES_MIN: usize = 16 << 10;

/// A predicate as it was given.
enum Asked<'a> {
    Exact(&'a [u8]),
    Part(&'a [u8]),
    Glob(&'a [u8]),
    Expression(&'a [u8]),
}

/// A predicate, ready to be asked of many elements.
enum Predicate<'a> {
    Exact(&'a [u8]),
    ExactNoCase(&'a [u8]),
    Part(Finder<'a>),
    /// Looks for text in lower case.
    PartNoCase(Finder<'static>),
    Glob(&'a [u8]),
    GlobNoCase(&'a [u8]),
    Expression(Regex),
}

impl Predicate<'_> {
    /// Whether the text fulfils it. `lower` has room for the text in lower case.
    fn holds(&self, text: &[u8], lower: &mut Vec<u8>) -> bool {
        match self {
            Predicate::Exact(want) => text == *want,
            Predicate::ExactNoCase(want) => text.eq_ignore_ascii_case(want),
            Predicate::Part(finder) => finder.find(text).is_some(),
            Predicate::PartNoCase(finder) => {
                lower.clear();
                lower.extend(text.iter().map(u8::to_ascii_lowercase));
                finder.find(lower).is_some()
            }
            Predicate::Glob(pattern) => glob_match(pattern, text),
            Predicate::GlobNoCase(pattern) => glob_match_nocase(pattern, text),
            Predicate::Expression(expression) => expression.is_match(text),
        }
    }
}

/// What an `ARGREP` says behind its range.
struct Query<'a> {
    predicates: Vec<Asked<'a>>,
    all: bool,
    no_case: bool,
    with_values: bool,
    limit: u64,
}

impl<'a> Query<'a> {
    fn parse(call: &Call<'a>, first: usize) -> Result<Query<'a>, CmdError> {
        let mut query = Query {
            predicates: Vec::new(),
            all: false,
            no_case: false,
            with_values: false,
            limit: u64::MAX,
        };
        let mut at = first;
        while at < call.argv.len() {
            let value = || call.argv.get(at + 1).ok_or(CmdError::Syntax);
            let mut takes = 2;
            if call.is_word(at, "EXACT") {
                query.predicates.push(Asked::Exact(value()?));
            } else if call.is_word(at, "MATCH") {
                query.predicates.push(Asked::Part(value()?));
            } else if call.is_word(at, "GLOB") {
                query.predicates.push(Asked::Glob(value()?));
            } else if call.is_word(at, "RE") {
                query.predicates.push(Asked::Expression(value()?));
            } else if call.is_word(at, "LIMIT") {
                value()?;
                query.limit = call.limit(at + 1)?;
            } else {
                takes = 1;
                match () {
                    () if call.is_word(at, "AND") => query.all = true,
                    () if call.is_word(at, "OR") => query.all = false,
                    () if call.is_word(at, "NOCASE") => query.no_case = true,
                    () if call.is_word(at, "WITHVALUES") => query.with_values = true,
                    () => return Err(CmdError::Syntax),
                }
            }
            at += takes;
        }
        if query.predicates.is_empty() {
            return Err(CmdError::Syntax);
        }
        if query.predicates.len() > PREDICATES_MAX {
            return Err(CmdError::text("ERR too many predicates, at most 250 are allowed"));
        }
        Ok(query)
    }

    fn compile(&self) -> Result<Vec<Predicate<'a>>, CmdError> {
        let expressions = self.predicates.iter().filter(|p| matches!(p, Asked::Expression(_)));
        let per_program = PROGRAMS_BYTES_MAX / expressions.count().max(1);
        let program_bytes = per_program.clamp(PROGRAM_BYTES_MIN, PROGRAM_BYTES_MAX);
        let compiled = self.predicates.iter().map(|asked| {
            Ok(match *asked {
                Asked::Exact(text) if self.no_case => Predicate::ExactNoCase(text),
                Asked::Exact(text) => Predicate::Exact(text),
                Asked::Part(text) if self.no_case => {
                    let lower = text.to_ascii_lowercase();
                    Predicate::PartNoCase(Finder::new(&lower).into_owned())
                }
                Asked::Part(text) => Predicate::Part(Finder::new(text)),
                Asked::Glob(pattern) if self.no_case => Predicate::GlobNoCase(pattern),
                Asked::Glob(pattern) => Predicate::Glob(pattern),
                Asked::Expression(text) => {
                    Predicate::Expression(expression(text, self.no_case, program_bytes)?)
                }
            })
        });
        compiled.collect()
    }
}

/// A regular expression over bytes, in time linear to the text: it has no references back.
fn expression(text: &[u8], no_case: bool, program_bytes: usize) -> Result<Regex, CmdError> {
    const INVALID: CmdError = CmdError::text("ERR invalid regular expression");
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(CmdError::text("ERR regular expression is longer than 2048 bytes"));
    }
    RegexBuilder::new(std::str::from_utf8(text).map_err(|_| INVALID)?)
        .unicode(false)
        .case_insensitive(no_case)
        // As in POSIX: a point is any byte, and lines mean nothing.
        .dot_matches_new_line(true)
        .size_limit(program_bytes)
        .dfa_size_limit(program_bytes)
        .nest_limit(100)
        .build()
        .map_err(|_| INVALID)
}

/// One end of the range: an index, or a word for the first or the last one that there can be.
fn bound(text: &[u8]) -> Result<u64, CmdError> {
    match text {
        b"-" => Ok(0),
        b"+" => Ok(Array::INDEX_MAX),
        text => parse_index(text),
    }
}

pub(super) fn argrep(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, from, to) = (call.key(1), bound(call.arg(2))?, bound(call.arg(3))?);
    let query = Query::parse(call, 4)?;
    let predicates = query.compile()?;
    let array = call.db.array(&key)?;
    let at = call.reply.deferred_array();
    let (mut found, mut lower) = (0, Vec::new());
    if let Some(array) = array {
        let _ = array.visit(from, to, &mut |index, element| {
            let matches = element.with_bytes(|text| {
                let mut outcomes = predicates.iter().map(|p| p.holds(text, &mut lower));
                if query.all { outcomes.all(|holds| holds) } else { outcomes.any(|holds| holds) }
            });
            if !matches {
                return ControlFlow::Continue(());
            }
            if query.with_values {
                call.reply.array(2);
            }
            call.reply.unsigned(index);
            if query.with_values {
                reply_element(call.reply, element);
            }
            found += 1;
            if found < query.limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    call.reply.set_len(at, found as usize);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_limited() {
        for (why, text, valid) in [
            ("alternatives", &b"^[A-Za-z]+: (cpu|net)$"[..], true),
            ("classes of POSIX", b"[[:digit:]]{2,3}", true),
            ("bytes that are no text", b"\xff", false),
            ("a reference back", b"(a)\\1", false),
            ("an open group", b"(a", false),
            ("nothing to repeat", b"*a", false),
            ("repetitions of repetitions", b"((a{100}){100}){100}", false),
            ("deep nesting", &[b'('; 500], false),
            ("an empty one", b"", true),
        ] {
            assert_eq!(expression(text, false, PROGRAM_BYTES_MAX).is_ok(), valid, "{why}");
        }
        let long = vec![b'a'; EXPRESSION_BYTES_MAX + 1];
        assert!(expression(&long[1..], true, PROGRAM_BYTES_MAX).is_ok());
        assert!(expression(&long, true, PROGRAM_BYTES_MAX).is_err());
    }

    #[test]
    fn a_point_is_any_byte() {
        let any = expression(b"^a.b$", false, PROGRAM_BYTES_MAX).unwrap();
        for byte in 0..=255u8 {
            assert!(any.is_match(&[b'a', byte, b'b']), "{byte}");
        }
    }
}
