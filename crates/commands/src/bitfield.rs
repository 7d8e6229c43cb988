//! `BITFIELD`: integers of any width at any bit of a string.

use slotward_keyspace::Key;

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::number::parse_integer;

const GET: Arg =
    Arg::block("get-block", &[Arg::string("encoding"), Arg::integer("offset")]).token("GET");

const OVERFLOW: Arg = Arg::one_of(
    "overflow-block",
    &[Arg::word("wrap", "WRAP"), Arg::word("sat", "SAT"), Arg::word("fail", "FAIL")],
)
.token("OVERFLOW")
.optional();

const WRITE: Arg = Arg::one_of(
    "write-operation",
    &[
        Arg::block(
            "set-block",
            &[Arg::string("encoding"), Arg::integer("offset"), Arg::integer("value")],
        )
        .token("SET"),
        Arg::block(
            "incrby-block",
            &[Arg::string("encoding"), Arg::integer("offset"), Arg::integer("increment")],
        )
        .token("INCRBY"),
    ],
);

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "bitfield",
        arity: Arity::AtLeast(2),
        flags: Flags::WRITE.and(Flags::DENYOOM),
        group: Group::Bitmap,
        keys: &[Keys::at(1, Access::READ_UPDATE.and(Access::VARIABLE))],
        args: &[
            Arg::key("key"),
            Arg::one_of("operation", &[GET, Arg::block("write", &[OVERFLOW, WRITE])])
                .optional()
                .multiple(),
        ],
        since: "3.2.0",
        summary: "Reads, sets and adds to integers of any width within a string.",
        complexity: "O(1) for each operation.",
        run: Run::Data(bitfield),
        script: "> BITFIELD k SET i8 0 100 GET u4 0\n1) 0\n2) 6\n> BITFIELD k INCRBY i8 0 100\n\
            1) -56\n> BITFIELD k OVERFLOW SAT INCRBY u4 #1 20 OVERFLOW FAIL INCRBY u4 #1 1\n\
            1) 15\n2) (nil)\n> STRLEN k\n1\n> BITFIELD k GET u64 0\n\
            (error) ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not \
            supported but i64 is.\n> BITFIELD k\n(empty array)\n",
        ..Command::BLANK
    },
    Command {
        name: "bitfield_ro",
        arity: Arity::AtLeast(2),
        flags: Flags::READ.and(Flags::FAST),
        group: Group::Bitmap,
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key"), GET.optional().multiple_token()],
        since: "6.0.0",
        summary: "Reads integers of any width within a string.",
        complexity: "O(1) for each operation.",
        run: Run::Data(bitfield_ro),
        script: "> SET k a\nOK\n> BITFIELD_RO k GET u8 0 GET i2 1\n1) 97\n2) -1\n\
            > BITFIELD_RO k SET u8 0 1\n\
            (error) ERR BITFIELD_RO only supports the GET subcommand\n",
        ..Command::BLANK
    },
];

/// The form of one integer: how many bits, and whether the highest is a sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    signed: bool,
    /// 1 to 63, or 64 if signed.
    bits: usize,
}

/// What becomes of a result that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Overflow {
    /// Its lowest bits are kept.
    Wrap,
    /// It becomes the nearest that fits.
    Saturate,
    /// The integer stays as it was.
    Fail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Get,
    Set(i64),
    Add(i64),
}

#[derive(Debug, Clone, Copy)]
struct Op {
    form: Form,
    /// The first bit.
    at: usize,
    act: Act,
    overflow: Overflow,
}

impl Form {
    fn parse(text: &[u8]) -> Option<Form> {
        let (sign, digits) = text.split_first()?;
        let signed = match sign {
            b'i' => true,
            b'u' => false,
            _ => return None,
        };
        let bits = usize::try_from(parse_integer(digits)?).ok()?;
        let most = if signed { 64 } else { 63 };
        (1..=most).contains(&bits).then_some(Form { signed, bits })
    }

    /// What the lowest bits of a number mean.
    fn of_bits(self, raw: u64) -> i64 {
        let unused = 64 - self.bits as u32;
        if self.signed {
            (raw << unused) as i64 >> unused
        } else {
            (raw << unused >> unused) as i64
        }
    }

    fn range(self) -> (i128, i128) {
        if self.signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// The exact result as it fits, or `None` if it does not and must not be changed.
    fn fit(self, exact: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.range();
        if (min..=max).contains(&exact) {
            return Some(exact as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.of_bits(exact as u64)),
            Overflow::Saturate => Some(exact.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }

    fn read(self, bytes: &[u8], at: usize) -> i64 {
        let bit = |bit: usize| bytes.get(bit / 8).map_or(0, |byte| byte >> (7 - bit % 8) & 1);
        self.of_bits((at..at + self.bits).fold(0, |raw, at| raw << 1 | u64::from(bit(at))))
    }

    fn write(self, bytes: &mut [u8], at: usize, value: i64) {
        for bit in 0..self.bits {
            let (place, mask) = ((at + bit) / 8, 0x80 >> ((at + bit) % 8));
            let on = value as u64 >> (self.bits - 1 - bit) & 1 == 1;
            bytes[place] = if on { bytes[place] | mask } else { bytes[place] & !mask };
        }
    }
}

impl Op {
    /// Does it on the bytes, which are long enough if it writes; the reply, and whether something
    /// was changed.
    fn apply(&self, bytes: &mut [u8]) -> (Option<i64>, bool) {
        let old = self.form.read(bytes, self.at);
        let (exact, returns_old) = match self.act {
            Act::Get => return (Some(old), false),
            // An unsigned integer takes a negative value as the 64 bits that it is.
            Act::Set(value) if !self.form.signed => (i128::from(value as u64), true),
            Act::Set(value) => (i128::from(value), true),
            Act::Add(increment) => (i128::from(old) + i128::from(increment), false),
        };
        let Some(new) = self.form.fit(exact, self.overflow) else { return (None, false) };
        self.form.write(bytes, self.at, new);
        (Some(if returns_old { old } else { new }), new != old)
    }

    /// How many bytes a string has that it may write to.
    fn bytes_needed(&self) -> usize {
        (self.at + self.form.bits).div_ceil(8)
    }
}

fn offset(call: &Call<'_>, index: usize, form: Form) -> Result<usize, CmdError> {
    let text = call.arg(index);
    let (digits, step) = match text.split_first() {
        Some((b'#', digits)) => (digits, form.bits),
        _ => (text, 1),
    };
    let at = parse_integer(digits).and_then(|number| usize::try_from(number).ok());
    at.and_then(|number| number.checked_mul(step))
        .filter(|at| at / 8 < call.settings.string_bytes_max)
        .ok_or(CmdError::BitOffset)
}

fn overflow(word: &[u8]) -> Result<Overflow, CmdError> {
    match word.to_ascii_uppercase().as_slice() {
        b"WRAP" => Ok(Overflow::Wrap),
        b"SAT" => Ok(Overflow::Saturate),
        b"FAIL" => Ok(Overflow::Fail),
        _ => Err(CmdError::text("ERR Invalid OVERFLOW type specified")),
    }
}

fn parse(call: &Call<'_>) -> Result<Vec<Op>, CmdError> {
    const BAD_FORM: CmdError = CmdError::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported \
         but i64 is.",
    );
    let (argc, mut index, mut mode) = (call.argv.len(), 2, Overflow::Wrap);
    let mut ops = Vec::new();
    while index < argc {
        let left = argc - index - 1;
        if call.is_word(index, "OVERFLOW") && left >= 1 {
            mode = overflow(call.arg(index + 1))?;
            index += 2;
            continue;
        }
        let (is_set, is_add) = (call.is_word(index, "SET"), call.is_word(index, "INCRBY"));
        let is_write = (is_set || is_add) && left >= 3;
        let is_get = call.is_word(index, "GET") && left >= 2;
        if !is_write && !is_get {
            return Err(CmdError::Syntax);
        }
        let form = Form::parse(call.arg(index + 1)).ok_or(BAD_FORM)?;
        let at = offset(call, index + 2, form)?;
        let act = match is_write {
            false => Act::Get,
            true if is_set => Act::Set(call.int(index + 3)?),
            true => Act::Add(call.int(index + 3)?),
        };
        ops.push(Op { form, at, act, overflow: mode });
        index += if is_write { 4 } else { 3 };
    }
    Ok(ops)
}

fn bitfield(call: &mut Call<'_>) -> Result<(), CmdError> {
    let ops = parse(call)?;
    let key = call.key(1);
    if ops.iter().all(|op| op.act == Act::Get) {
        return read_all(call, &key, &ops);
    }
    let writing = ops.iter().filter(|op| op.act != Act::Get);
    let needed = writing.map(Op::bytes_needed).max().unwrap_or(0);
    let (replies, changes) = call.db.string_edit(&key, |bytes| {
        let grows = bytes.len() < needed;
        bytes.resize(bytes.len().max(needed), 0);
        let done: Vec<_> = ops.iter().map(|op| op.apply(bytes)).collect();
        // A string that only grew has changed too, even if every operation failed.
        let changes = done.iter().filter(|(_, changed)| *changed).count().max(usize::from(grows));
        (done, changes)
    })?;
    if changes > 0 {
        call.effects.changed(changes as u64);
        call.notify(EventClass::STRING, "setbit", key.bytes);
    }
    call.reply.array(replies.len());
    for (reply, _) in replies {
        match reply {
            Some(number) => call.reply.integer(number),
            None => call.reply.null(),
        }
    }
    Ok(())
}

fn bitfield_ro(call: &mut Call<'_>) -> Result<(), CmdError> {
    let ops = parse(call)?;
    if ops.iter().any(|op| op.act != Act::Get) {
        return Err(CmdError::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let key = call.key(1);
    read_all(call, &key, &ops)
}

fn read_all(call: &mut Call<'_>, key: &Key<'_>, ops: &[Op]) -> Result<(), CmdError> {
    let read = |bytes: &[u8]| ops.iter().map(|op| op.form.read(bytes, op.at)).collect();
    let numbers: Vec<i64> = match call.db.string(key)? {
        Some(value) => value.with_bytes(read),
        None => read(&[]),
    };
    call.reply.array(numbers.len());
    numbers.into_iter().for_each(|number| call.reply.integer(number));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn forms_have_limits() {
        for (text, want) in [
            ("u1", Some((false, 1))),
            ("u63", Some((false, 63))),
            ("u64", None),
            ("i64", Some((true, 64))),
            ("i65", None),
            ("i0", None),
            ("u-1", None),
            ("U8", None),
            ("u08", None),
            ("", None),
        ] {
            let form = Form::parse(text.as_bytes()).map(|form| (form.signed, form.bits));
            assert_eq!(form, want, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_treated_as_asked() {
        for (why, form, exact, wrapped, saturated) in [
            ("unsigned above", "u8", 256, 0, 255),
            ("unsigned below", "u8", -1, 255, 0),
            ("signed above", "i8", 128, -128, 127),
            ("signed below", "i8", -129, 127, -128),
            ("a bit with sign", "i1", 1, -1, 0),
            ("the widest", "i64", i128::from(i64::MAX) + 1, i64::MIN, i64::MAX),
            ("the widest below", "i64", i128::from(i64::MIN) * 2, 0, i64::MIN),
            ("the widest unsigned", "u63", 1 << 63, 0, i64::MAX),
        ] {
            let form = Form::parse(form.as_bytes()).unwrap();
            assert_eq!(form.fit(exact, Overflow::Wrap), Some(wrapped), "{why}");
            assert_eq!(form.fit(exact, Overflow::Saturate), Some(saturated), "{why}");
            assert_eq!(form.fit(exact, Overflow::Fail), None, "{why}");
        }
    }

    proptest! {
        #[test]
        fn an_integer_reads_back_and_its_neighbours_stay(
            mut bytes in prop::collection::vec(any::<u8>(), 20),
            at in 0usize..90,
            signed: bool,
            bits in 1usize..=63,
            value: i64,
        ) {
            let form = Form { signed, bits };
            let value = form.of_bits(value as u64);
            let before = bytes.clone();
            form.write(&mut bytes, at, value);
            prop_assert_eq!(form.read(&bytes, at), value);
            let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1;
            for other in (0..160).filter(|bit| !(at..at + bits).contains(bit)) {
                prop_assert_eq!(bit(&bytes, other), bit(&before, other));
            }
        }
    }
}
