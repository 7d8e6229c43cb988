//! Strings as arrays of bits. Bit 0 is the highest bit of the first byte.

use std::ops::RangeInclusive;

use slotward_keyspace::SetExpiry;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::number::parse_integer;
use crate::string::{byte_range, clamped_range};

const UNIT: Arg = Arg::one_of("unit", &[Arg::word("byte", "BYTE"), Arg::word("bit", "BIT")])
    .optional()
    .since("7.0.0");

const fn bitmap_command(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::Bitmap, ..Command::BLANK }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::READ_UPDATE)],
        args: &[Arg::key("key"), Arg::integer("offset"), Arg::integer("value")],
        since: "2.2.0",
        summary: "Sets or clears one bit and tells what it was.",
        run: Run::Data(setbit),
        script: "> SETBIT k 7 1\n0\n> SETBIT k 7 0\n1\n> SETBIT k 100 1\n0\n> STRLEN k\n13\n\
            > SETBIT k -1 1\n(error) ERR bit offset is not an integer or out of range\n\
            > SETBIT k 1 2\n(error) ERR bit is not an integer or out of range\n",
        ..bitmap_command("setbit", Arity::Exactly(4), Flags::WRITE.and(Flags::DENYOOM))
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key"), Arg::integer("offset")],
        since: "2.2.0",
        summary: "Tells one bit; those beyond the end are clear.",
        run: Run::Data(getbit),
        script: "> SET k a\nOK\n> GETBIT k 0\n0\n> GETBIT k 1\n1\n> GETBIT k 99\n0\n\
            > GETBIT absent 0\n0\n> SET n 1\nOK\n> GETBIT n 7\n1\n",
        ..bitmap_command("getbit", Arity::Exactly(3), Flags::READ.and(Flags::FAST))
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[
            Arg::key("key"),
            Arg::block("range", &[Arg::integer("start"), Arg::integer("end"), UNIT]).optional(),
        ],
        since: "2.6.0",
        summary: "Counts the set bits of a string or a part of it.",
        complexity: "O(N)",
        history: &[("7.0.0", "BYTE and BIT.")],
        run: Run::Data(bitcount),
        script: "> SET k foobar\nOK\n> BITCOUNT k\n26\n> BITCOUNT k 0 0\n4\n> BITCOUNT k 1 1\n6\n\
            > BITCOUNT k 5 30 BIT\n17\n> BITCOUNT absent\n0\n> BITCOUNT k 1\n\
            (error) ERR syntax error\n",
        ..bitmap_command("bitcount", Arity::AtLeast(2), Flags::READ)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[
            Arg::key("key"),
            Arg::integer("bit"),
            Arg::block(
                "range",
                &[
                    Arg::integer("start"),
                    Arg::block("end-unit-block", &[Arg::integer("end"), UNIT]).optional(),
                ],
            )
            .optional(),
        ],
        since: "2.8.7",
        summary: "Finds the first bit that is set, or clear, in a string or a part of it.",
        complexity: "O(N)",
        history: &[("7.0.0", "BYTE and BIT.")],
        run: Run::Data(bitpos),
        script: "> SETBIT k 20 1\n0\n> BITPOS k 1\n20\n> BITPOS k 0\n0\n> BITPOS k 1 0 1\n-1\n\
            > BITPOS k 1 17 -1 BIT\n20\n> SETBIT ones 0 1\n0\n> BITPOS ones 0\n1\n\
            > BITPOS absent 1\n-1\n> BITPOS absent 0\n0\n> BITPOS k 2\n\
            (error) ERR The bit argument must be 1 or 0.\n",
        ..bitmap_command("bitpos", Arity::AtLeast(3), Flags::READ)
    },
    Command {
        keys: &[Keys::at(2, Access::OVERWRITE), Keys::from(3, Access::READ)],
        args: &[
            Arg::one_of(
                "operation",
                &[
                    Arg::word("and", "AND"),
                    Arg::word("or", "OR"),
                    Arg::word("xor", "XOR"),
                    Arg::word("not", "NOT"),
                    Arg::word("diff", "DIFF").since("8.2.0"),
                    Arg::word("diff1", "DIFF1").since("8.2.0"),
                    Arg::word("andor", "ANDOR").since("8.2.0"),
                    Arg::word("one", "ONE").since("8.2.0"),
                ],
            ),
            Arg::key("destkey"),
            Arg::key("key").key_spec(1).multiple(),
        ],
        since: "2.6.0",
        summary: "Combines the bits of several strings and stores the result.",
        complexity: "O(N)",
        history: &[("8.2.0", "DIFF, DIFF1, ANDOR and ONE.")],
        run: Run::Data(bitop),
        script: "> MSET a abc b abd\nOK\n> BITOP AND d a b\n3\n> GET d\nab`\n> BITOP XOR d a b\n3\n\
            > GET d\n\\x00\\x00\\x07\n> BITOP NOT d a\n3\n> GET d\n\\x9e\\x9d\\x9c\n\
            > BITOP OR d absent\n0\n> EXISTS d\n0\n> BITOP NOT d a b\n\
            (error) ERR BITOP NOT must be called with a single source key.\n\
            > BITOP DIFF d a b\n3\n> GET d\n\\x00\\x00\\x03\n> BITOP ONE d a b\n3\n\
            > GET d\n\\x00\\x00\\x07\n",
        ..bitmap_command("bitop", Arity::AtLeast(4), Flags::WRITE.and(Flags::DENYOOM))
    },
];

fn bit_offset(call: &Call<'_>, index: usize) -> Result<usize, CmdError> {
    let offset = parse_integer(call.arg(index)).and_then(|offset| usize::try_from(offset).ok());
    offset.filter(|offset| offset / 8 < call.settings.string_bytes_max).ok_or(CmdError::BitOffset)
}

fn setbit(call: &mut Call<'_>) -> Result<(), CmdError> {
    let offset = bit_offset(call, 2)?;
    let on = match parse_integer(call.arg(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(CmdError::BitNotAnInteger),
    };
    let key = call.key(1);
    let (byte, mask) = (offset / 8, 0x80 >> (offset % 8));
    let found = call.db.string(&key)?;
    let is_already = found.is_some_and(|value| {
        value.with_bytes(|bytes| bytes.get(byte).is_some_and(|b| (b & mask != 0) == on))
    });
    if is_already {
        call.reply.integer(i64::from(on));
        return Ok(());
    }
    let was_on = call.db.string_edit(&key, |bytes| {
        if bytes.len() <= byte {
            bytes.resize(byte + 1, 0);
        }
        let was_on = bytes[byte] & mask != 0;
        bytes[byte] = if on { bytes[byte] | mask } else { bytes[byte] & !mask };
        was_on
    })?;
    call.effects.changed(1);
    call.reply.integer(i64::from(was_on));
    call.notify(EventClass::STRING, "setbit", key.bytes);
    Ok(())
}

fn getbit(call: &mut Call<'_>) -> Result<(), CmdError> {
    let offset = bit_offset(call, 2)?;
    let key = call.key(1);
    let is_on = call.db.string(&key)?.is_some_and(|value| {
        value.with_bytes(|bytes| {
            bytes.get(offset / 8).is_some_and(|b| b & (0x80 >> (offset % 8)) != 0)
        })
    });
    call.reply.integer(i64::from(is_on));
    Ok(())
}

/// A part of a string, in bits.
struct Part {
    start: i64,
    end: i64,
    in_bits: bool,
}

impl Part {
    /// How many units a string of so many bytes has.
    fn units(&self, len: usize) -> usize {
        if self.in_bits { len * 8 } else { len }
    }

    /// First and last bit of a range of units.
    fn bits(&self, range: RangeInclusive<usize>) -> (usize, usize) {
        let (first, last) = range.into_inner();
        if self.in_bits { (first, last) } else { (first * 8, last * 8 + 7) }
    }
}

fn unit(call: &Call<'_>, index: usize) -> Result<bool, CmdError> {
    match call.argv.get(index) {
        None => Ok(false),
        Some(word) if word.eq_ignore_ascii_case(b"BIT") => Ok(true),
        Some(word) if word.eq_ignore_ascii_case(b"BYTE") => Ok(false),
        Some(_) => Err(CmdError::Syntax),
    }
}

fn bitcount(call: &mut Call<'_>) -> Result<(), CmdError> {
    let part = match call.argv.len() {
        2 => Part { start: 0, end: -1, in_bits: false },
        4 | 5 => Part { start: call.int(2)?, end: call.int(3)?, in_bits: unit(call, 4)? },
        _ => return Err(CmdError::Syntax),
    };
    let key = call.key(1);
    let count = call.db.string(&key)?.map_or(0, |value| {
        value.with_bytes(|bytes| {
            let range = byte_range(part.start, part.end, part.units(bytes.len()));
            range.map_or(0, |range| {
                let (first, last) = part.bits(range);
                count_ones(bytes, first, last)
            })
        })
    });
    call.reply.integer(count as i64);
    Ok(())
}

/// The byte at `index` with the bits outside `first..=last` cleared.
fn masked(bytes: &[u8], index: usize, first: usize, last: usize) -> u8 {
    let mut byte = bytes[index];
    if index == first / 8 {
        byte &= 0xff >> (first % 8);
    }
    if index == last / 8 {
        byte &= 0xff << (7 - last % 8);
    }
    byte
}

fn count_ones(bytes: &[u8], first: usize, last: usize) -> usize {
    let (from, to) = (first / 8, last / 8);
    let edge = |index: usize| masked(bytes, index, first, last).count_ones() as usize;
    if from == to {
        return edge(from);
    }
    let mut chunks = bytes[from + 1..to].chunks_exact(8);
    let mut count = edge(from) + edge(to);
    for chunk in &mut chunks {
        let word = u64::from_ne_bytes(chunk.try_into().expect("the chunk has eight bytes"));
        count += word.count_ones() as usize;
    }
    count + chunks.remainder().iter().map(|byte| byte.count_ones() as usize).sum::<usize>()
}

fn bitpos(call: &mut Call<'_>) -> Result<(), CmdError> {
    let wanted = match call.int(2)? {
        0 => false,
        1 => true,
        _ => return Err(CmdError::BitArgument),
    };
    let argc = call.argv.len();
    if argc > 6 {
        return Err(CmdError::Syntax);
    }
    let start = if argc > 3 { call.int(3)? } else { 0 };
    let in_bits = unit(call, 5)?;
    let end = if argc > 4 { call.int(4)? } else { -1 };
    let part = Part { start, end, in_bits };
    let key = call.key(1);
    let position = match call.db.string(&key)? {
        None if wanted => -1,
        None => 0,
        Some(value) => value.with_bytes(|bytes| {
            let range = clamped_range(part.start, part.end, part.units(bytes.len()));
            let Some((first, last)) = range.map(|range| part.bits(range)) else { return -1 };
            match first_bit(bytes, wanted, first, last) {
                Some(position) => position as i64,
                // Without an end the string counts as followed by zeros.
                None if !wanted && argc <= 4 => bytes.len() as i64 * 8,
                None => -1,
            }
        }),
    };
    call.reply.integer(position);
    Ok(())
}

fn first_bit(bytes: &[u8], wanted: bool, first: usize, last: usize) -> Option<usize> {
    let skipped = if wanted { 0x00 } else { 0xff };
    let mut bit = first;
    while bit <= last {
        if bit.is_multiple_of(8) && bytes[bit / 8] == skipped {
            bit += 8;
            continue;
        }
        if (bytes[bit / 8] & (0x80 >> (bit % 8)) != 0) == wanted {
            return Some(bit);
        }
        bit += 1;
    }
    None
}

/// How `BITOP` combines the first string with the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BitOp {
    And,
    Or,
    Xor,
    Not,
    /// Set in the first and in no other.
    Diff,
    /// Set in another, not in the first.
    Diff1,
    /// Set in the first and in another.
    AndOr,
    /// Set in exactly one.
    One,
}

impl BitOp {
    fn parse(word: &[u8]) -> Option<BitOp> {
        Some(match word.to_ascii_uppercase().as_slice() {
            b"AND" => BitOp::And,
            b"OR" => BitOp::Or,
            b"XOR" => BitOp::Xor,
            b"NOT" => BitOp::Not,
            b"DIFF" => BitOp::Diff,
            b"DIFF1" => BitOp::Diff1,
            b"ANDOR" => BitOp::AndOr,
            b"ONE" => BitOp::One,
            _ => return None,
        })
    }

    fn check_sources(self, count: usize) -> Result<(), CmdError> {
        match self {
            BitOp::Not if count != 1 => {
                Err(CmdError::text("ERR BITOP NOT must be called with a single source key."))
            }
            BitOp::Diff | BitOp::Diff1 | BitOp::AndOr if count < 2 => {
                let name = format!("{self:?}").to_ascii_uppercase();
                let text =
                    format!("ERR BITOP {name} must be called with at least two source keys.");
                Err(CmdError::Other(text.into()))
            }
            _ => Ok(()),
        }
    }

    /// What is known of the bytes of all strings so far: `(result, seen twice)` becomes that with
    /// one more string. The first string is not among them where it has a part of its own.
    fn fold(self, (result, twice): (u8, u8), byte: u8) -> (u8, u8) {
        match self {
            BitOp::And => (result & byte, 0),
            BitOp::Xor => (result ^ byte, 0),
            BitOp::One => (result | byte, twice | result & byte),
            BitOp::Or | BitOp::Not | BitOp::Diff | BitOp::Diff1 | BitOp::AndOr => {
                (result | byte, 0)
            }
        }
    }

    /// Whether the first string is set against all others together.
    fn sets_first_apart(self) -> bool {
        matches!(self, BitOp::Diff | BitOp::Diff1 | BitOp::AndOr)
    }

    fn finish(self, first: u8, (result, twice): (u8, u8)) -> u8 {
        match self {
            BitOp::And | BitOp::Or | BitOp::Xor => result,
            BitOp::Not => !result,
            BitOp::Diff => first & !result,
            BitOp::Diff1 => result & !first,
            BitOp::AndOr => first & result,
            BitOp::One => result & !twice,
        }
    }

    /// Combines the strings; shorter ones count as followed by zeros.
    fn combine(self, sources: &[Vec<u8>]) -> Vec<u8> {
        let len = sources.iter().map(Vec::len).max().unwrap_or(0);
        let (first, others) = match sources.split_first() {
            Some((first, others)) if self.sets_first_apart() => (first.as_slice(), others),
            _ => (&[][..], sources),
        };
        let byte = |source: &[u8], at: usize| source.get(at).copied().unwrap_or(0);
        let start = if self == BitOp::And { 0xff } else { 0 };
        let at = |at: usize| {
            let all = others.iter().map(|source| byte(source, at));
            self.finish(byte(first, at), all.fold((start, 0), |state, byte| self.fold(state, byte)))
        };
        (0..len).map(at).collect()
    }
}

fn bitop(call: &mut Call<'_>) -> Result<(), CmdError> {
    let op = BitOp::parse(call.arg(1)).ok_or(CmdError::Syntax)?;
    op.check_sources(call.argv.len() - 3)?;
    let mut sources = Vec::with_capacity(call.argv.len() - 3);
    for index in 3..call.argv.len() {
        let key = call.key(index);
        sources.push(call.db.string(&key)?.map_or_else(Vec::new, |value| value.to_vec()));
    }
    let result = op.combine(&sources);
    let len = result.len();
    let target = call.key(2);
    if result.is_empty() {
        if call.db.remove(&target) {
            call.effects.changed(1);
            call.notify(EventClass::GENERIC, "del", target.bytes);
        }
    } else {
        call.db.set_raw_string(&target, result, SetExpiry::Clear);
        call.effects.changed(1);
        call.notify(EventClass::STRING, "set", target.bytes);
    }
    call.reply.integer(len as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_are_counted_and_found_as_one_by_one(
            bytes in prop::collection::vec(any::<u8>(), 1..40),
            a in 0usize..320,
            b in 0usize..320,
            wanted: bool,
        ) {
            let bits = bytes.len() * 8;
            let (first, last) = ((a % bits).min(b % bits), (a % bits).max(b % bits));
            let is_on = |bit: usize| bytes[bit / 8] & (0x80 >> (bit % 8)) != 0;
            let slow = (first..=last).filter(|bit| is_on(*bit)).count();
            prop_assert_eq!(count_ones(&bytes, first, last), slow);
            let slow = (first..=last).find(|bit| is_on(*bit) == wanted);
            prop_assert_eq!(first_bit(&bytes, wanted, first, last), slow);
        }
    }
}
