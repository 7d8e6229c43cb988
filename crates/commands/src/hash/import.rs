//! `HIMPORT`: hashes whose fields are named once for a connection, and then only their values.
//!
//! A fieldset belongs to the connection that prepared it. Replicas never hear of it: they get the
//! hashes.

use std::collections::BTreeMap;

use slotward_keyspace::{Hash, Value};

use super::{WRITE_OOM, hash_command};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const NAME: Arg = Arg::string("fieldset-name");

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[Command {
    since: "8.10.0",
    summary: "Makes hashes whose fields have been named before.",
    complexity: "Depends on subcommand.",
    subcommands: &[
        Command {
            args: &[NAME, Arg::string("field").multiple()],
            since: "8.10.0",
            summary: "Names fields, in the order in which this connection will give their values.",
            complexity: "O(N*log(N)) with the number of fields.",
            run: Run::Data(prepare),
            script: "> HIMPORT PREPARE u name age\nOK\n> HIMPORT PREPARE u a b a\n\
                (error) ERR duplicate field name\n> HIMPORT SET k u ann 30\nOK\n",
            ..hash_command("prepare", Arity::AtLeast(4), Flags::DENYOOM)
        },
        Command {
            keys: &[Keys::at(2, Access::OVERWRITE)],
            args: &[Arg::key("key"), NAME, Arg::string("value").multiple()],
            since: "8.10.0",
            summary: "Makes the key a hash of the fields named before, with these values.",
            complexity: "O(N) with the number of fields.",
            run: Run::Data(set),
            script: "> HIMPORT PREPARE u name age\nOK\n> HIMPORT SET k u ann 30\nOK\n\
                > HGETALL k\n1) name\n2) ann\n3) age\n4) 30\n> HIMPORT SET k u ann\n\
                (error) ERR value count does not match the number of fields\n\
                > HIMPORT SET k v ann 30\n(error) ERR no such fieldset\n",
            ..hash_command("set", Arity::AtLeast(5), WRITE_OOM)
        },
        Command {
            args: &[NAME],
            since: "8.10.0",
            summary: "Forgets the fields named under a name.",
            complexity: "O(N) with the number of fieldsets of the connection.",
            run: Run::Data(discard),
            script: "> HIMPORT PREPARE u name age\nOK\n> HIMPORT DISCARD u\n1\n> HIMPORT DISCARD u\n0\n",
            ..hash_command("discard", Arity::Exactly(3), Flags::NONE)
        },
        Command {
            since: "8.10.0",
            summary: "Forgets all fields named on this connection.",
            complexity: "O(N) with the number of fieldsets of the connection.",
            run: Run::Data(discard_all),
            script: "> HIMPORT PREPARE u a\nOK\n> HIMPORT PREPARE v a\nOK\n> HIMPORT DISCARDALL\n2\n",
            ..hash_command("discardall", Arity::Exactly(2), Flags::NONE)
        },
    ],
    ..hash_command("himport", Arity::AtLeast(2), Flags::NONE)
}];

/// What a connection has prepared. Costs a pointer until it does.
#[derive(Debug, Default)]
pub struct Fieldsets(Option<Box<Prepared>>);

#[derive(Debug, Default)]
struct Prepared {
    sets: BTreeMap<Box<[u8]>, Fields>,
    /// What all names and fields take, about.
    bytes: usize,
}

type Fields = Box<[Box<[u8]>]>;

/// What the fieldsets of one connection may take, in bytes: it is memory that no policy frees.
const BYTES_MAX: usize = 16 << 20;

/// What a fieldset counts for.
fn bytes_of(name: &[u8], fields: &[Box<[u8]>]) -> usize {
    let overhead = size_of::<Box<[u8]>>();
    let fields: usize = fields.iter().map(|field| field.len() + overhead).sum();
    name.len() + 2 * overhead + fields
}

impl Fieldsets {
    /// Forgets all; how many there were.
    pub fn clear(&mut self) -> usize {
        self.0.take().map_or(0, |prepared| prepared.sets.len())
    }

    fn get(&self, name: &[u8]) -> Option<&Fields> {
        self.0.as_ref()?.sets.get(name)
    }

    /// Keeps a fieldset in place of one of that name; false if there is no room.
    fn insert(&mut self, name: &[u8], fields: Fields) -> bool {
        let prepared = self.0.get_or_insert_default();
        let bytes = bytes_of(name, &fields);
        let old = prepared.sets.get(name).map_or(0, |old| bytes_of(name, old));
        assert!(old <= prepared.bytes, "what is kept was counted");
        if prepared.bytes - old + bytes > BYTES_MAX {
            return false;
        }
        prepared.bytes = prepared.bytes - old + bytes;
        prepared.sets.insert(name.into(), fields);
        true
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let Some(prepared) = &mut self.0 else { return false };
        let Some(fields) = prepared.sets.remove(name) else { return false };
        prepared.bytes -= bytes_of(name, &fields);
        if prepared.sets.is_empty() {
            self.0 = None;
        }
        true
    }
}

fn prepare(call: &mut Call<'_>) -> Result<(), CmdError> {
    let fields: Fields = call.argv.from(3).iter().map(Box::from).collect();
    let mut sorted: Vec<&[u8]> = fields.iter().map(|field| &**field).collect();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(CmdError::text("ERR duplicate field name"));
    }
    if !call.fieldsets.insert(call.argv.get(2).unwrap_or_default(), fields) {
        return Err(CmdError::text("ERR the fieldsets of this connection are too large"));
    }
    call.reply.ok();
    Ok(())
}

fn set(call: &mut Call<'_>) -> Result<(), CmdError> {
    let (key, values) = (call.key(2), call.argv.from(4));
    let fields = call.fieldsets.get(call.arg(3)).ok_or(CmdError::text("ERR no such fieldset"))?;
    if values.len() != fields.len() {
        return Err(CmdError::text("ERR value count does not match the number of fields"));
    }
    let existed = call.db.hash(&key)?.is_some();
    let limits = &call.settings.limits;
    let mut hash = Hash::new();
    for (field, value) in fields.iter().zip(values.iter()) {
        hash.insert(field, value, limits);
    }
    assert_eq!(hash.len(), fields.len(), "the fields of a fieldset differ");
    call.db.insert(&key, Value::Hash(hash), None);
    call.effects.changed(fields.len() as u64);
    if existed {
        call.effects.propagate([b"DEL", key.bytes]);
    }
    let pairs = fields.iter().zip(values.iter()).flat_map(|(field, value)| [&**field, value]);
    call.effects.propagate([b"HSET", key.bytes].into_iter().chain(pairs));
    call.notify(EventClass::HASH, "hset", key.bytes);
    call.reply.ok();
    Ok(())
}

fn discard(call: &mut Call<'_>) -> Result<(), CmdError> {
    let name = call.arg(2);
    let removed = call.fieldsets.remove(name);
    call.reply.integer(i64::from(removed));
    Ok(())
}

fn discard_all(call: &mut Call<'_>) -> Result<(), CmdError> {
    let removed = call.fieldsets.clear();
    call.reply.integer(removed as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Node, check_stream};

    #[test]
    fn a_hash_is_made_anew() {
        let mut node = Node::new(1, 1_700_000_000_000);
        let wrong = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
        for (why, command, want) in [
            ("names may be empty", "HIMPORT PREPARE \"\" \"\" b", "OK"),
            ("and values", "HIMPORT SET h \"\" 1 \"\"", "OK"),
            ("the empty field", "HGET h \"\"", "1"),
            ("another field before", "HSET h old x", "1"),
            ("with an expiry", "EXPIRE h 100", "1"),
            ("replaces it", "HIMPORT SET h \"\" 3 4", "OK"),
            ("all of it", "HGET h old", "(nil)"),
            ("the expiry too", "TTL h", "-1"),
            ("the name is given anew", "HIMPORT PREPARE \"\" x", "OK"),
            (
                "so the old count is wrong",
                "HIMPORT SET h \"\" 3 4",
                "(error) ERR value count does not match the number of fields",
            ),
            ("a failed one", "HIMPORT PREPARE p a a", "(error) ERR duplicate field name"),
            ("is not kept", "HIMPORT SET h p 1 2", "(error) ERR no such fieldset"),
            ("a string", "SET s x", "OK"),
            ("is not replaced", "HIMPORT SET s \"\" 1", wrong),
        ] {
            assert_eq!(node.run(command), want, "{why}");
        }
    }

    #[test]
    fn replicas_get_hashes() {
        check_stream(
            "not fieldsets",
            &[
                "HIMPORT PREPARE f a b",
                "HIMPORT SET h f 1 2",
                "HIMPORT SET h f 3 4",
                "HIMPORT DISCARDALL",
            ],
            &["HSET h a 1 b 2", "DEL h", "HSET h a 3 b 4"],
        );
    }

    #[test]
    fn fieldsets_have_room_for_so_much() {
        let mut fieldsets = Fieldsets::default();
        let fields = || -> Fields { [vec![b'f'; BYTES_MAX / 4].into_boxed_slice()].into() };
        assert!((0..3).all(|name: u8| fieldsets.insert(&[name], fields())));
        assert!(!fieldsets.insert(b"3", fields()), "a fourth has no room");
        assert!(fieldsets.insert(&[0], fields()), "one in place of another has");
        assert!(fieldsets.remove(&[1]) && !fieldsets.remove(&[1]));
        assert!(fieldsets.insert(b"3", fields()), "what was given up counts no more");
        assert_eq!(fieldsets.clear(), 3);
        assert_eq!(fieldsets.clear(), 0);
    }
}
