//! Several elements moved at one moment: `LMOVEM` and `BLMOVEM`.

use slotward_keyspace::{End, Kind};

use super::{SIDES, WRITE_OOM, list_command, pop_event, push_event, side};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const KEYS: &[Keys] = &[Keys::at(1, Access::POP), Keys::at(2, Access::ADD)];
const SOURCE: Arg = Arg::key("source");
const DESTINATION: Arg = Arg::key("destination").key_spec(1);
const FROM: Arg = Arg::one_of("wherefrom", SIDES);
const TO: Arg = Arg::one_of("whereto", SIDES);
const HOW_MANY: Arg = Arg::block(
    "how-many",
    &[
        Arg::one_of(
            "selector",
            &[Arg::integer("count").token("COUNT"), Arg::integer("exactly").token("EXACTLY")],
        ),
        Arg::one_of("ordering", &[Arg::word("obo", "OBO"), Arg::word("bulk", "BULK")]),
    ],
)
.optional();

const fn moving(name: &'static str, arity: Arity, flags: Flags) -> Command {
    Command {
        keys: KEYS,
        since: "8.10.0",
        complexity: "O(N) with the number of elements moved.",
        ..list_command(name, arity, flags)
    }
}

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        args: &[SOURCE, DESTINATION, FROM, TO, HOW_MANY],
        summary: "Takes elements from an end of a list and puts them at an end of a list.",
        run: Run::Data(lmovem),
        script: "> RPUSH {l}1 1 2 3 4\n4\n> LMOVEM {l}1 {l}2 LEFT LEFT COUNT 2 OBO\n1) 2\n2) 1\n\
            > LMOVEM {l}1 {l}2 LEFT LEFT EXACTLY 5 BULK\n(nil)\n\
            > LMOVEM {l}1 {l}2 LEFT RIGHT COUNT 5 BULK\n1) 3\n2) 4\n> LRANGE {l}2 0 -1\n\
            1) 2\n2) 1\n3) 3\n4) 4\n> EXISTS {l}1\n0\n> LMOVEM {l}2 {l}1 RIGHT LEFT\n1) 4\n\
            > LMOVEM {l}0 {l}1 LEFT LEFT\n(empty array)\n",
        ..moving("lmovem", Arity::AtLeast(5), WRITE_OOM)
    },
    Command {
        args: &[SOURCE, DESTINATION, FROM, TO, Arg::double("timeout"), HOW_MANY],
        summary: "Takes elements from a list, waiting for them, and puts them at an end of a list.",
        run: Run::Data(blmovem),
        script: "> RPUSH {l}1 1 2 3\n3\n> BLMOVEM {l}1 {l}2 LEFT LEFT 0 EXACTLY 2 BULK\n1) 1\n2) 2\n\
            > BLMOVEM {l}1 {l}2 LEFT LEFT 0.1 EXACTLY 2 BULK\n(nil)\n\
            > BLMOVEM {l}1 {l}2 LEFT LEFT x\n(error) ERR timeout is not a float or out of range\n",
        ..moving("blmovem", Arity::AtLeast(6), WRITE_OOM.and(Flags::BLOCKING))
    },
];

/// Which elements are moved, and how they come to lie.
#[derive(Debug, Clone, Copy)]
struct Moving {
    from: End,
    to: End,
    count: usize,
    /// None if there are fewer.
    exactly: bool,
    /// As if each had been taken and put before the next, as opposed to the order they had.
    one_by_one: bool,
}

impl Moving {
    /// The ends, and how many, which is said from the argument `index` on.
    fn parse(call: &Call<'_>, index: usize) -> Result<Moving, CmdError> {
        let (from, to) = (side(call, 3)?, side(call, 4)?);
        let moving = Moving { from, to, count: 1, exactly: false, one_by_one: true };
        match call.argv.len() - index {
            0 => return Ok(moving),
            3 => {}
            _ => return Err(CmdError::Syntax),
        }
        let exactly = call.is_word(index, "EXACTLY");
        if !exactly && !call.is_word(index, "COUNT") {
            return Err(CmdError::Syntax);
        }
        let one_by_one = call.is_word(index + 2, "OBO");
        if !one_by_one && !call.is_word(index + 2, "BULK") {
            return Err(CmdError::Syntax);
        }
        let count = call.int(index + 1)?;
        let count = usize::try_from(count).ok().filter(|count| *count > 0);
        let count = count.ok_or(CmdError::MustBePositive)?;
        Ok(Moving { count, exactly, one_by_one, ..moving })
    }

    /// Moves and replies; false if there was not enough.
    fn run(self, call: &mut Call<'_>) -> Result<bool, CmdError> {
        let (source, target) = (call.key(1), call.key(2));
        let len = call.db.list(&source)?.map_or(0, |list| list.len());
        if len == 0 || self.exactly && len < self.count {
            return Ok(false);
        }
        call.db.list(&target)?;
        let limits = &call.settings.limits;
        let count = self.count.min(len);
        let list = call.db.list_mut(&source)?.ok_or(CmdError::NoSuchKey)?;
        let mut moved: Vec<Vec<u8>> =
            std::iter::from_fn(|| list.pop_with(self.from, |item| item.to_vec()))
                .take(count)
                .collect();
        assert_eq!(moved.len(), count, "a list has as many elements as it says");
        list.shrink(limits);
        // As they lay in the source, then as they shall lie in the destination.
        if self.from == End::Back {
            moved.reverse();
        }
        if self.one_by_one && self.from == self.to {
            moved.reverse();
        }
        // They go in before an emptied source goes away: the keys may be the same.
        let list = call.db.list_or_new(&target)?;
        match self.to {
            End::Front => moved.iter().rev().for_each(|item| list.push(End::Front, item, limits)),
            End::Back => moved.iter().for_each(|item| list.push(End::Back, item, limits)),
        }
        call.notify(EventClass::LIST, push_event(self.to), target.bytes);
        call.notify(EventClass::LIST, pop_event(self.from), source.bytes);
        if call.db.remove_if_empty(&source) {
            call.notify(EventClass::GENERIC, "del", source.bytes);
        }
        call.effects.changed(count as u64);
        call.reply.array(count);
        moved.iter().for_each(|item| call.reply.bulk(item));
        Ok(true)
    }
}

fn lmovem(call: &mut Call<'_>) -> Result<(), CmdError> {
    let moving = Moving::parse(call, 5)?;
    if !moving.run(call)? {
        if moving.exactly { call.reply.null() } else { call.reply.array(0) }
    }
    Ok(())
}

fn blmovem(call: &mut Call<'_>) -> Result<(), CmdError> {
    let until = call.timeout_seconds(5)?;
    let moving = Moving::parse(call, 6)?;
    if moving.run(call)? {
        let (head, how_many) = (call.argv, call.argv.from(6));
        let head = [b"LMOVEM", &head[1], &head[2], &head[3], &head[4]];
        call.effects.propagate(head.into_iter().chain(how_many.iter()));
    } else {
        call.reply.null();
        call.wait_for(1..2, Kind::List, until);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Node, check_stream};

    #[test]
    fn orders() {
        let mut node = Node::new(1, 1_700_000_000_000);
        for (why, how, reply, source, target) in [
            ("one by one, turned", "LEFT LEFT COUNT 2 OBO", "2 1", "3 4", "2 1 x y"),
            ("as they lay", "LEFT LEFT COUNT 2 BULK", "1 2", "3 4", "1 2 x y"),
            ("to the other end", "LEFT RIGHT COUNT 2 OBO", "1 2", "3 4", "x y 1 2"),
            ("to the other end, in bulk", "LEFT RIGHT COUNT 2 BULK", "1 2", "3 4", "x y 1 2"),
            ("from the back", "RIGHT LEFT COUNT 2 OBO", "3 4", "1 2", "3 4 x y"),
            ("from the back, turned", "RIGHT RIGHT COUNT 2 OBO", "4 3", "1 2", "x y 4 3"),
            ("from the back, in bulk", "RIGHT RIGHT COUNT 2 BULK", "3 4", "1 2", "x y 3 4"),
            ("more than there are", "LEFT RIGHT COUNT 9 BULK", "1 2 3 4", "", "x y 1 2 3 4"),
            ("exactly all", "LEFT RIGHT EXACTLY 4 BULK", "1 2 3 4", "", "x y 1 2 3 4"),
            ("without a number", "LEFT RIGHT", "1", "2 3 4", "x y 1"),
        ] {
            node.run("DEL a b");
            node.run("RPUSH a 1 2 3 4");
            node.run("RPUSH b x y");
            assert_eq!(words(&node.run(&format!("LMOVEM a b {how}"))), reply, "{why}");
            assert_eq!(words(&node.run("LRANGE a 0 -1")), source, "{why}");
            assert_eq!(words(&node.run("LRANGE b 0 -1")), target, "{why}");
        }
    }

    /// The elements of a shown array.
    fn words(shown: &str) -> String {
        let items: Vec<&str> =
            shown.lines().filter_map(|line| line.split_once(") ")).map(|(_, item)| item).collect();
        items.join(" ")
    }

    #[test]
    fn a_list_moved_to_itself_stays() {
        let mut node = Node::new(1, 1_700_000_000_000);
        for (why, how, after) in [
            ("in bulk", "LEFT LEFT EXACTLY 2 BULK", "a b c"),
            ("one by one", "LEFT LEFT EXACTLY 2 OBO", "b a c"),
            ("all of them", "LEFT LEFT COUNT 9 OBO", "c b a"),
            ("round", "LEFT RIGHT COUNT 2 BULK", "c a b"),
        ] {
            node.run("DEL l");
            node.run("RPUSH l a b c");
            node.run(&format!("LMOVEM l l {how}"));
            assert_eq!(words(&node.run("LRANGE l 0 -1")), after, "{why}");
        }
    }

    #[test]
    fn mistakes() {
        let mut node = Node::new(1, 1_700_000_000_000);
        node.run("RPUSH a 1 2");
        node.run("SET s x");
        let syntax = "(error) ERR syntax error";
        let wrong = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
        for (why, command, want) in [
            ("no order", "LMOVEM a b LEFT LEFT COUNT 2", syntax),
            ("no number", "LMOVEM a b LEFT LEFT COUNT BULK", syntax),
            ("no such order", "LMOVEM a b LEFT LEFT COUNT 2 UP", syntax),
            ("no such end", "LMOVEM a b LEFT UP", syntax),
            (
                "none",
                "LMOVEM a b LEFT LEFT COUNT 0 OBO",
                "(error) ERR value is out of range, must be positive",
            ),
            (
                "fewer",
                "LMOVEM a b LEFT LEFT EXACTLY -1 OBO",
                "(error) ERR value is out of range, must be positive",
            ),
            (
                "not an integer",
                "LMOVEM a b LEFT LEFT COUNT x OBO",
                "(error) ERR value is not an integer or out of range",
            ),
            ("a source of another type", "LMOVEM s a LEFT LEFT", wrong),
            ("a destination of another type", "LMOVEM a s LEFT LEFT", wrong),
            (
                "nothing to move, whatever there is",
                "LMOVEM none s LEFT LEFT EXACTLY 1 BULK",
                "(nil)",
            ),
        ] {
            assert_eq!(node.run(command), want, "{why}");
        }
    }

    #[test]
    fn what_waited_is_propagated_as_what_does_not() {
        check_stream(
            "with its numbers",
            &[
                "RPUSH {l}a 1 2 3",
                "BLMOVEM {l}a {l}b LEFT LEFT 0 COUNT 2 OBO",
                "BLMOVEM {l}a {l}b LEFT LEFT 0",
                "BLMOVEM {l}a {l}b LEFT LEFT 0",
            ],
            &[
                "RPUSH {l}a 1 2 3",
                "LMOVEM {l}a {l}b LEFT LEFT COUNT 2 OBO",
                "LMOVEM {l}a {l}b LEFT LEFT",
            ],
        );
    }
}
