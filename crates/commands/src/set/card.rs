//! How many members a combination of sets has: `SINTERCARD`, `SUNIONCARD`, `SDIFFCARD`.

use slotward_keyspace::{Key, Set};

use super::{ALL_SETS, Combine, READ, combine, set_command, sets_of};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Run};
use crate::error::CmdError;
use crate::hyperloglog::Estimate;
use crate::keys::{Access, Keys};

const NUMKEYS: Arg = Arg::integer("numkeys");
const KEY: Arg = Arg::key("key").multiple();
const LIMIT: Arg = Arg::integer("limit").token("LIMIT").optional();

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::counted(1, Access::READ)],
        args: &[NUMKEYS, KEY, LIMIT],
        since: "7.0.0",
        summary: "Tells how many members all sets share.",
        complexity: "O(N*M) with the smallest set and the number of sets.",
        run: Run::Data(sintercard),
        script: "> SADD {s}1 1 2 3\n3\n> SADD {s}2 2 3\n2\n> SINTERCARD 2 {s}1 {s}2\n2\n\
            > SINTERCARD 2 {s}1 {s}2 LIMIT 1\n1\n> SINTERCARD 0 {s}1\n\
            (error) ERR numkeys should be greater than 0\n> SINTERCARD 1 {s}1 LIMIT -1\n\
            (error) ERR LIMIT can't be negative\n",
        ..set_command("sintercard", Arity::AtLeast(3), READ)
    },
    Command {
        keys: &[Keys::counted(1, Access::READ)],
        args: &[NUMKEYS, KEY, Arg::word("approx", "APPROX").optional(), LIMIT],
        since: "8.10.0",
        summary: "Tells how many members any of the sets has, or about how many.",
        complexity: ALL_SETS,
        run: Run::Data(sunioncard),
        script: "> SADD {s}1 1 2 3\n3\n> SADD {s}2 3 x\n2\n> SUNIONCARD 3 {s}1 {s}2 {s}0\n4\n\
            > SUNIONCARD 2 {s}1 {s}2 LIMIT 3\n3\n> SUNIONCARD 2 {s}1 {s}2 LIMIT 0 APPROX\n4\n\
            > SUNIONCARD 3 {s}1 {s}2\n\
            (error) ERR Number of keys can't be greater than number of args\n",
        ..set_command("sunioncard", Arity::AtLeast(3), READ)
    },
    Command {
        keys: &[Keys::counted(1, Access::READ)],
        args: &[NUMKEYS, KEY, LIMIT],
        since: "8.10.0",
        summary: "Tells how many members the first set has and no other set.",
        complexity: ALL_SETS,
        run: Run::Data(sdiffcard),
        script: "> SADD {s}1 1 2 3\n3\n> SADD {s}2 2 x\n2\n> SDIFFCARD 2 {s}1 {s}2\n2\n\
            > SDIFFCARD 2 {s}1 {s}2 LIMIT 1\n1\n> SDIFFCARD 2 {s}0 {s}2\n0\n\
            > SDIFFCARD 1 {s}1 APPROX\n(error) ERR syntax error\n",
        ..set_command("sdiffcard", Arity::AtLeast(3), READ)
    },
];

/// `numkeys key… [LIMIT limit] [APPROX]`, taken apart.
struct Asked<'a> {
    keys: Vec<Key<'a>>,
    /// Where counting may stop.
    limit: usize,
    approximate: bool,
}

impl<'a> Asked<'a> {
    fn parse(call: &Call<'a>, may_approximate: bool) -> Result<Asked<'a>, CmdError> {
        let count = call.int(1).ok().filter(|count| *count > 0);
        let count = count.ok_or(CmdError::NumkeysNotPositive)? as u64;
        if count > call.argv.len() as u64 - 2 {
            return Err(CmdError::NumkeysTooLarge);
        }
        let after = 2 + count as usize;
        let (mut limit, mut approximate) = (0, false);
        let mut index = after;
        while index < call.argv.len() {
            if may_approximate && call.is_word(index, "APPROX") {
                approximate = true;
                index += 1;
                continue;
            }
            if !call.is_word(index, "LIMIT") || index + 1 == call.argv.len() {
                return Err(CmdError::Syntax);
            }
            let number = call.int(index + 1).ok().filter(|number| *number >= 0);
            limit = number.ok_or(CmdError::text("ERR LIMIT can't be negative"))?;
            index += 2;
        }
        let limit = if limit == 0 { usize::MAX } else { limit as usize };
        let keys = (2..after).map(|index| call.key(index)).collect();
        Ok(Asked { keys, limit, approximate })
    }
}

/// Counts a combination whose members come out distinct.
fn count(call: &mut Call<'_>, how: Combine) -> Result<(), CmdError> {
    let asked = Asked::parse(call, false)?;
    let values = call.db.values(&asked.keys);
    let sets = sets_of(&values)?;
    let mut found = 0;
    combine(&sets, how, &mut |_| {
        found += 1;
        found != asked.limit
    });
    call.reply.integer(found as i64);
    Ok(())
}

fn sintercard(call: &mut Call<'_>) -> Result<(), CmdError> {
    count(call, Combine::Inter)
}

fn sdiffcard(call: &mut Call<'_>) -> Result<(), CmdError> {
    count(call, Combine::Diff)
}

fn sunioncard(call: &mut Call<'_>) -> Result<(), CmdError> {
    let asked = Asked::parse(call, true)?;
    let limits = &call.settings.limits;
    let values = call.db.values(&asked.keys);
    let sets = sets_of(&values)?;
    let counted = if asked.approximate {
        let mut estimate = Estimate::default();
        combine(&sets, Combine::Union, &mut |member| {
            member.with_bytes(|bytes| estimate.add(bytes));
            true
        });
        estimate.count() as usize
    } else {
        let mut distinct = Set::new();
        combine(&sets, Combine::Union, &mut |member| {
            member.with_bytes(|bytes| distinct.insert(bytes, limits));
            distinct.len() < asked.limit
        });
        distinct.len()
    };
    call.reply.integer(counted.min(asked.limit) as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::Node;

    #[test]
    fn estimates_are_near() {
        let mut node = Node::new(1, 1_700_000_000_000);
        for (key, range) in [("a", 0..6000), ("b", 3000..9000)] {
            for number in range {
                node.run(&format!("SADD {key} member-{number}"));
            }
        }
        assert_eq!(node.run("SUNIONCARD 2 a b"), "9000");
        assert_eq!(node.run("SUNIONCARD 2 a b LIMIT 8999"), "8999");
        let about: i64 = node.run("SUNIONCARD 2 a b APPROX").parse().unwrap();
        // Six standard errors; members and hash are always the same.
        assert!((about - 9000).abs() < 450, "{about} is not about 9000");
        assert_eq!(node.run("SUNIONCARD 2 a b APPROX LIMIT 100"), "100");
    }

    #[test]
    fn a_key_of_another_type_is_an_error_wherever_it_stands() {
        let mut node = Node::new(1, 1_700_000_000_000);
        node.run("SET s x");
        node.run("SADD a 1");
        let wrong = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
        for command in [
            "SUNIONCARD 2 none s",
            "SDIFFCARD 2 none s",
            "SDIFFCARD 2 s a",
            "SUNIONCARD 2 a s APPROX LIMIT 1",
        ] {
            assert_eq!(node.run(command), wrong, "{command}");
        }
    }
}
