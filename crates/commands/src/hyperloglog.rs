//! The HyperLogLog family: how many different elements there were, roughly, in little space.
//!
//! A HyperLogLog is a string with a form of its own; [`sketch`] knows it.

use slotward_keyspace::{ExpiryPolicy, Key};

use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Group, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};
use crate::random::Random;

mod sketch;

const fn row(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command { name, arity, flags, group: Group::HyperLogLog, since: "2.8.9", ..Command::BLANK }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::ADD)],
        args: &[Arg::key("key"), Arg::string("element").optional().multiple()],
        summary: "Notes elements in a HyperLogLog and tells whether that changed it.",
        complexity: "O(1) for each element.",
        run: Run::Data(pfadd),
        script: "> PFADD h a b c\n1\n> PFADD h a\n0\n> PFADD new\n1\n> PFCOUNT h new\n3\n\
            > SET s x\nOK\n> PFADD s a\n\
            (error) WRONGTYPE Key is not a valid HyperLogLog string value.\n",
        ..row("pfadd", Arity::AtLeast(2), Flags::WRITE.and(Flags::DENYOOM).and(Flags::FAST))
    },
    Command {
        keys: &[Keys::from(1, Access::RW.and(Access::ACCESS))],
        args: &[Arg::key("key").multiple()],
        summary: "Tells roughly how many different elements several HyperLogLogs have seen.",
        complexity: "O(N) with the number of keys; a single one keeps its answer until it changes.",
        run: Run::Data(pfcount),
        script: "> PFADD a 1 2 3\n1\n> PFADD b 3 4\n1\n> PFCOUNT a\n3\n> PFCOUNT a b absent\n4\n\
            > PFCOUNT absent\n0\n",
        ..row("pfcount", Arity::AtLeast(2), Flags::READ.and(Flags::MAY_REPLICATE))
    },
    Command {
        keys: &[
            Keys::at(1, Access::RW.and(Access::ACCESS).and(Access::INSERT)),
            Keys::from(2, Access::READ),
        ],
        args: &[Arg::key("destkey"), Arg::key("sourcekey").key_spec(1).optional().multiple()],
        summary: "Merges several HyperLogLogs into one.",
        complexity: "O(N) with the number of keys.",
        run: Run::Data(pfmerge),
        script: "> PFADD a 1 2 3\n1\n> PFADD b 3 4\n1\n> PFMERGE c a b\nOK\n> PFCOUNT c\n4\n",
        ..row("pfmerge", Arity::AtLeast(2), Flags::WRITE.and(Flags::DENYOOM))
    },
    Command {
        keys: &[Keys::at(2, Access::RW.and(Access::ACCESS))],
        args: &[Arg::string("subcommand"), Arg::key("key")],
        summary: "Shows the registers of a HyperLogLog or its form, for tests.",
        complexity: "O(1)",
        run: Run::Data(pfdebug),
        script: "> PFADD h a\n1\n> PFDEBUG ENCODING h\nsparse\n> PFDEBUG DECODE h\n\
            Z:12711 v:2,1 Z:3672\n> PFDEBUG TODENSE h\n1\n> PFDEBUG TODENSE h\n0\n\
            > PFDEBUG ENCODING h\ndense\n> PFDEBUG DECODE h\n\
            (error) ERR HLL encoding is not sparse\n> PFDEBUG ENCODING absent\n\
            (error) ERR The specified key does not exist\n> PFDEBUG COLOUR h\n\
            (error) ERR Unknown PFDEBUG subcommand 'COLOUR'\n",
        ..row("pfdebug", Arity::Exactly(3), Flags::WRITE.and(Flags::DENYOOM).and(Flags::ADMIN))
    },
    Command {
        summary: "Tests the implementation of HyperLogLogs.",
        complexity: "N/A",
        run: Run::Data(pfselftest),
        ..row("pfselftest", Arity::Exactly(1), Flags::ADMIN)
    },
];

impl From<sketch::Corrupt> for CmdError {
    fn from(_: sketch::Corrupt) -> Self {
        CmdError::CorruptHyperLogLog
    }
}

/// What `look` makes of the sketch at the key, if there is one.
fn look<R>(
    call: &mut Call<'_>,
    key: &Key<'_>,
    look: impl FnOnce(&[u8]) -> R,
) -> Result<Option<R>, CmdError> {
    let Some(value) = call.db.string(key)? else { return Ok(None) };
    value.with_bytes(|bytes| {
        if sketch::is_sketch(bytes) { Ok(Some(look(bytes))) } else { Err(CmdError::NotHyperLogLog) }
    })
}

/// How many distinct elements have been seen, about: for commands that count without keeping.
pub(crate) struct Estimate(Box<sketch::Registers>);

impl Default for Estimate {
    fn default() -> Self {
        Estimate(Box::new([0; sketch::REGISTERS]))
    }
}

impl Estimate {
    /// Sees an element.
    pub(crate) fn add(&mut self, element: &[u8]) {
        let (index, value) = sketch::place_of(element);
        self.0[index] = self.0[index].max(value);
    }

    /// How many they were, with a standard error of 0.81 %.
    pub(crate) fn count(&self) -> u64 {
        sketch::estimate_registers(&self.0)
    }
}

fn pfadd(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, limit) = (call.key(1), call.settings.hll_sparse_bytes_max);
    let places: Vec<(usize, u8)> = call.argv.from(2).iter().map(sketch::place_of).collect();
    // Dense sketches are changed in place; the small sparse ones in a copy, for they may turn out
    // to be damaged halfway.
    let raised = look(call, &key, |bytes| -> Result<_, CmdError> {
        if sketch::is_dense(bytes) {
            let lower = |(index, value): &(usize, u8)| sketch::dense_get(bytes, *index) < *value;
            return Ok((places.iter().any(lower), None));
        }
        let mut copy = bytes.to_vec();
        let raised = raise_all(&mut copy, &places, limit)?;
        Ok((raised, Some(copy)))
    })?;
    let (raised, new) = match raised {
        Some(raised) => raised?,
        None => {
            let mut new = sketch::empty();
            raise_all(&mut new, &places, limit)?;
            (true, Some(new))
        }
    };
    if raised {
        call.db.string_edit(&key, |bytes| {
            match new {
                Some(new) => *bytes = new,
                None => places.iter().for_each(|(index, value)| {
                    sketch::dense_raise(bytes, *index, *value);
                }),
            }
            sketch::forget_estimate(bytes);
        })?;
        call.effects.changed(1);
        call.notify(EventClass::STRING, "pfadd", key.bytes);
    }
    call.reply.integer(i64::from(raised));
    Ok(())
}

/// Raises registers; whether any was lower.
fn raise_all(
    bytes: &mut Vec<u8>,
    places: &[(usize, u8)],
    sparse_bytes_max: usize,
) -> Result<bool, sketch::Corrupt> {
    places.iter().try_fold(false, |raised, (index, value)| {
        Ok(sketch::raise(bytes, *index, *value, sparse_bytes_max)? || raised)
    })
}

fn pfcount(call: &mut Call<'_>) -> Result<(), CmdError> {
    if call.argv.len() > 2 {
        let (all, _) = merged(call)?;
        call.reply.integer(sketch::estimate_registers(&all) as i64);
        return Ok(());
    }
    let key = call.key(1);
    let found = look(call, &key, |bytes| match sketch::cached_estimate(bytes) {
        Some(estimate) => Ok((estimate, false)),
        None => sketch::estimate(bytes).map(|estimate| (estimate, true)),
    })?;
    let (estimate, is_new) = found.transpose()?.unwrap_or_default();
    // A replica is told by its master what to keep.
    if is_new && call.db.policy() != ExpiryPolicy::Hide {
        call.db.string_edit(&key, |bytes| sketch::cache_estimate(bytes, estimate))?;
        call.effects.changed(1);
    }
    call.reply.integer(estimate as i64);
    Ok(())
}

/// The highest registers of all keys of the call, and whether one of them is dense.
fn merged(call: &mut Call<'_>) -> Result<(Box<sketch::Registers>, bool), CmdError> {
    let (mut all, mut dense) = (Box::new([0; sketch::REGISTERS]), false);
    for index in 1..call.argv.len() {
        let key = call.key(index);
        let merge = |bytes: &[u8]| {
            dense |= sketch::is_dense(bytes);
            sketch::merge_into(&mut all, bytes)
        };
        look(call, &key, merge)?.transpose()?;
    }
    Ok((all, dense))
}

fn pfmerge(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (all, dense) = merged(call)?;
    let (key, limit) = (call.key(1), call.settings.hll_sparse_bytes_max);
    let mut new = look(call, &key, <[u8]>::to_vec)?.unwrap_or_else(sketch::empty);
    if dense {
        sketch::make_dense(&mut new)?;
    }
    for (index, value) in all.iter().enumerate().filter(|(_, value)| **value > 0) {
        sketch::raise(&mut new, index, *value, limit)?;
    }
    sketch::forget_estimate(&mut new);
    call.db.string_edit(&key, |bytes| *bytes = new)?;
    call.effects.changed(1);
    // Under this name also in Redis.
    call.notify(EventClass::STRING, "pfadd", key.bytes);
    call.reply.ok();
    Ok(())
}

fn pfdebug(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(2);
    let mut bytes = look(call, &key, <[u8]>::to_vec)?
        .ok_or(CmdError::text("ERR The specified key does not exist"))?;
    match call.arg(1).to_ascii_uppercase().as_slice() {
        b"ENCODING" => {
            call.reply.simple(if sketch::is_dense(&bytes) { "dense" } else { "sparse" });
        }
        b"DECODE" => {
            let text = decoded(&bytes)?;
            call.reply.bulk(text.as_bytes());
        }
        b"TODENSE" => {
            let converted = make_dense(call, &key, &mut bytes)?;
            call.reply.integer(i64::from(converted));
        }
        b"GETREG" => {
            make_dense(call, &key, &mut bytes)?;
            call.reply.array(sketch::REGISTERS);
            for index in 0..sketch::REGISTERS {
                call.reply.integer(i64::from(sketch::dense_get(&bytes, index)));
            }
        }
        _ => {
            let word = String::from_utf8_lossy(call.arg(1)).into_owned();
            return Err(CmdError::Other(format!("ERR Unknown PFDEBUG subcommand '{word}'").into()));
        }
    }
    Ok(())
}

fn make_dense(call: &mut Call<'_>, key: &Key<'_>, bytes: &mut Vec<u8>) -> Result<bool, CmdError> {
    let converted = sketch::make_dense(bytes)?;
    if converted {
        call.db.string_edit(key, |old| old.clone_from(bytes))?;
        call.effects.changed(1);
    }
    Ok(converted)
}

/// The runs of a sparse sketch: `z` and `Z` are short and long ones of zeros, `v` one of a value.
fn decoded(bytes: &[u8]) -> Result<String, CmdError> {
    if sketch::is_dense(bytes) {
        return Err(CmdError::text("ERR HLL encoding is not sparse"));
    }
    let runs = sketch::raw_runs(bytes).map(|run| match (run.value, run.long) {
        (0, false) => format!("z:{}", run.len),
        (0, true) => format!("Z:{}", run.len),
        (value, _) => format!("v:{value},{}", run.len),
    });
    Ok(runs.collect::<Vec<_>>().join(" "))
}

fn pfselftest(call: &mut Call<'_>) -> Result<(), CmdError> {
    match self_test(call.random) {
        Some(what) => Err(CmdError::Other(format!("TESTFAILED {what}").into())),
        None => {
            call.reply.ok();
            Ok(())
        }
    }
}

/// What is wrong with the implementation, if something is.
fn self_test(random: &mut Random) -> Option<String> {
    const ROUNDS: usize = 20;
    const ELEMENTS: u64 = 50_000;
    for _ in 0..ROUNDS {
        let mut model = Box::new([0u8; sketch::REGISTERS]);
        let mut bytes = sketch::empty();
        sketch::make_dense(&mut bytes).expect("an empty sketch is whole");
        for (index, value) in model.iter_mut().enumerate() {
            *value = random.below(64) as u8;
            sketch::dense_raise(&mut bytes, index, *value);
        }
        let differs = |index: &usize| sketch::dense_get(&bytes, *index) != model[*index];
        if let Some(index) = (0..sketch::REGISTERS).find(differs) {
            return Some(format!("register {index} does not read back"));
        }
    }
    let (mut sparse, mut dense) = (sketch::empty(), sketch::empty());
    sketch::make_dense(&mut dense).expect("an empty sketch is whole");
    let seed = random.next_u64();
    // Four times the standard error, as in Redis.
    let tolerance = 4.0 * 1.04 / (sketch::REGISTERS as f64).sqrt();
    for count in 1..=ELEMENTS {
        let (index, value) = sketch::place_of(&(seed ^ count).to_le_bytes());
        let raised = sketch::raise(&mut sparse, index, value, 3000);
        if raised != Ok(sketch::dense_raise(&mut dense, index, value)) {
            return Some(format!("sparse and dense differ at element {count}"));
        }
        if count.is_power_of_two() || count == ELEMENTS {
            let estimates = (sketch::estimate(&sparse), sketch::estimate(&dense));
            let Ok(estimate) = estimates.1 else { return Some("a sketch is damaged".to_owned()) };
            let error = (estimate as f64 - count as f64).abs();
            if estimates.0 != estimates.1 || error > (tolerance * count as f64).ceil() {
                return Some(format!("{estimate} estimated for {count}"));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::random::Random;
    use crate::testing::{Node, check_stream};
    use slotward_keyspace::ExpiryPolicy;

    #[test]
    fn the_self_test_passes() {
        assert_eq!(super::self_test(&mut Random::new(7)), None);
    }

    #[test]
    fn an_estimate_is_kept_until_it_is_stale() {
        let mut node = Node::new(1, 0);
        for (why, line, want) in [
            ("something is counted", "PFADD h a b c", "1"),
            ("its estimate is stale", "GETRANGE h 15 15", "\\x80"),
            ("until it is asked for", "PFCOUNT h", "3"),
            ("then it is kept", "GETRANGE h 8 15", "\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00"),
            ("nothing new leaves it", "PFADD h a", "0"),
            ("as it is", "GETRANGE h 15 15", "\\x00"),
            ("something new does not", "PFADD h d", "1"),
            ("so it is stale again", "GETRANGE h 15 15", "\\x80"),
        ] {
            assert_eq!(node.run(line), want, "{why}");
        }
    }

    #[test]
    fn replicas_keep_the_same_bytes() {
        for (why, commands, want) in [
            (
                "an estimate is kept there too",
                &["PFADD h a", "PFCOUNT h", "PFCOUNT h"][..],
                &["PFADD h a", "PFCOUNT h"][..],
            ),
            ("nothing new is nothing", &["PFADD h a", "PFADD h a"], &["PFADD h a"]),
            (
                "a count over several keeps nothing",
                &["PFADD {h}1 a", "PFCOUNT {h}1 {h}2"],
                &["PFADD {h}1 a"],
            ),
        ] {
            check_stream(why, commands, want);
        }
        let mut replica = Node::new(1, 0);
        replica.run("PFADD h a");
        replica.policy = ExpiryPolicy::Hide;
        assert_eq!(replica.run("PFCOUNT h"), "1");
        assert_eq!(replica.run("GETRANGE h 15 15"), "\\x80", "a replica changes nothing by itself");
    }
}
