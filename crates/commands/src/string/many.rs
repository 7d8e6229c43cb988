//! `MSETEX`: several keys at one moment, on one condition, with one expiry.

use slotward_keyspace::Key;

use super::options::{Condition, Options, OptionsOf};
use super::{EXPIRY_OPTIONS, KEY_VALUE, WRITE_OOM, string_command};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Begin, Find, Keys};

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[Command {
    keys: &[Keys {
        begin: Begin::Index(1),
        find: Find::KeyNum { number: 0, first: 1, step: 2 },
        access: Access::OVERWRITE,
    }],
    args: &[
        Arg::integer("numkeys"),
        Arg::block("data", KEY_VALUE).multiple(),
        Arg::one_of("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")]).optional(),
        Arg::one_of(
            "expiration",
            &[
                EXPIRY_OPTIONS[0],
                EXPIRY_OPTIONS[1],
                EXPIRY_OPTIONS[2],
                EXPIRY_OPTIONS[3],
                Arg::word("keepttl", "KEEPTTL"),
            ],
        )
        .optional(),
    ],
    since: "8.4.0",
    summary: "Makes several keys hold strings if all or none of them exist, with one expiry.",
    complexity: "O(N) with the number of keys.",
    tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
    run: Run::Data(msetex),
    script: "> MSETEX 2 {k}a 1 {k}b 2 NX EX 100\n1\n> TTL {k}b\n100\n> MSETEX 2 {k}b 3 {k}c 4 NX\n0\n\
        > MSETEX 2 {k}b 3 {k}c 4 XX\n0\n> MSETEX 1 {k}b 3 XX KEEPTTL\n1\n> TTL {k}b\n100\n\
        > MSETEX 2 {k}b 3\n(error) ERR wrong number of key-value pairs\n\
        > MSETEX 0 {k}b 3\n(error) ERR invalid numkeys value\n\
        > MSETEX 1 {k}b 3 NX XX\n(error) ERR syntax error\n",
    ..string_command("msetex", Arity::AtLeast(4), WRITE_OOM)
}];

fn msetex(call: &mut Call<'_>) -> Result<(), CmdError> {
    let numkeys = call.int(1).ok().and_then(|count| u32::try_from(count).ok());
    let numkeys = numkeys
        .filter(|count| (1..=i32::MAX as u32).contains(count))
        .ok_or(CmdError::text("ERR invalid numkeys value"))?;
    let after = 2 + 2 * numkeys as usize;
    if after > call.argv.len() {
        return Err(CmdError::text("ERR wrong number of key-value pairs"));
    }
    let options = Options::parse(call, after, OptionsOf::MSetEx)?;
    let expires_at = options.expires_at(call.now(), "msetex")?;
    let exists = |call: &mut Call<'_>, index: usize| {
        let key = call.key(index);
        call.db.exists(&key)
    };
    let refused = match options.condition {
        Condition::IfAbsent => (2..after).step_by(2).any(|index| exists(call, index)),
        Condition::IfPresent => !(2..after).step_by(2).all(|index| exists(call, index)),
        Condition::None | Condition::Compare(_) => false,
    };
    if refused {
        call.reply.integer(0);
        return Ok(());
    }
    let mut digits = itoa::Buffer::new();
    let moment = expires_at.map(|at| digits.format(at.0).as_bytes());
    for index in (2..after).step_by(2) {
        let (key, value): (Key<'_>, _) = (call.key(index), call.arg(index + 1));
        call.db.set_string(&key, value, options.set_expiry(expires_at));
        call.notify(EventClass::STRING, "set", key.bytes);
        // One by one, for replicas that do not know this command.
        match moment {
            Some(at) => {
                call.effects.propagate([b"SET", key.bytes, value, b"PXAT", at]);
                call.notify(EventClass::GENERIC, "expire", key.bytes);
            }
            None => {
                let kept = options.keep_ttl.then_some(b"KEEPTTL".as_slice());
                let set = [b"SET".as_slice(), key.bytes, value];
                call.effects.propagate(set.into_iter().chain(kept));
            }
        }
    }
    call.effects.changed(numkeys.into());
    call.reply.integer(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Node, check_stream};

    #[test]
    fn counts_conditions_and_expiries() {
        let mut node = Node::new(1, 1_700_000_000_000);
        let (syntax, pairs) =
            ("(error) ERR syntax error", "(error) ERR wrong number of key-value pairs");
        let numkeys = "(error) ERR invalid numkeys value";
        for (why, command, want) in [
            ("more pairs than are there", "MSETEX 3 a 1 b 2", pairs),
            ("far more", "MSETEX 2147483647 a 1 b 2", pairs),
            ("half a pair", "MSETEX 2 a 1 b", pairs),
            ("fewer than are there", "MSETEX 1 a 1 b 2", syntax),
            ("too many", "MSETEX 2147483648 a 1", numkeys),
            ("negative", "MSETEX -1 a 1", numkeys),
            ("no number", "MSETEX x a 1", numkeys),
            ("GET is of SET", "MSETEX 1 a 1 GET", syntax),
            ("conditions are of SET", "MSETEX 1 a 1 IFEQ x", syntax),
            ("two expiries", "MSETEX 1 a 1 EX 10 PX 10", syntax),
            ("an expiry and none", "MSETEX 1 a 1 KEEPTTL EX 10", syntax),
            (
                "an expiry of nothing",
                "MSETEX 1 a 1 EX 0",
                "(error) ERR invalid expire time in 'msetex' command",
            ),
            ("one key twice: the last counts", "MSETEX 2 a 1 a 2", "1"),
            ("so it did", "GET a", "2"),
            ("a moment that is past", "MSETEX 1 a 3 EXAT 1", "1"),
            ("is as if it were not there", "GET a", "(nil)"),
            ("a value may be a word", "MSETEX 1 a NX", "1"),
        ] {
            assert_eq!(node.run(command), want, "{why}");
        }
    }

    #[test]
    fn every_key_is_propagated_for_itself() {
        check_stream(
            "moments, not spans",
            &["MSETEX 2 a 1 b 2 PXAT 1700000100000", "MSETEX 1 a 3 NX", "MSETEX 1 a 3 XX KEEPTTL"],
            &["SET a 1 PXAT 1700000100000", "SET b 2 PXAT 1700000100000", "SET a 3 KEEPTTL"],
        );
    }
}
