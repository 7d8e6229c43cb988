//! Values compared where they lie: `DELEX`, `DELIFEQ`, `DIGEST`, and the conditions of `SET`.

use slotward_keyspace::{Key, Str};
use xxhash_rust::xxh3::xxh3_64;

use super::{READ_FAST, string_command};
use crate::arg::Arg;
use crate::call::Call;
use crate::command::{Arity, Command, Flags, Run};
use crate::effects::EventClass;
use crate::error::CmdError;
use crate::keys::{Access, Keys};

const WRITE_FAST: Flags = Flags::WRITE.and(Flags::FAST);

/// The conditions, for people.
pub(super) const CONDITIONS: [Arg; 4] = [
    Arg::string("ifeq-value").token("IFEQ"),
    Arg::string("ifne-value").token("IFNE"),
    Arg::string("ifdeq-digest").token("IFDEQ"),
    Arg::string("ifdne-digest").token("IFDNE"),
];

/// Rows of the family.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        keys: &[Keys::at(1, Access::TRIM)],
        args: &[Arg::key("key"), Arg::one_of("condition", &CONDITIONS).optional()],
        since: "8.4.0",
        summary: "Removes the key if the string there, or its digest, is or is not this one.",
        complexity: "O(1) for a value, O(N) with the length of the string for a digest.",
        run: Run::Data(delex),
        script: "> SET k v\nOK\n> DELEX k IFEQ w\n0\n> DELEX k IFNE w\n1\n> DELEX k IFNE w\n0\n\
            > SET k \"Hello world\"\nOK\n> DELEX k IFDEQ b6acb9d84a38ff75\n0\n\
            > DELEX k IFDNE B6ACB9D84A38FF74\n0\n> DELEX k IFDEQ b6acb9d84a38ff7\n\
            (error) ERR must be exactly 16 hexadecimal characters\n\
            > DELEX k IFDEQ b6acb9d84a38ff74\n1\n> RPUSH l a\n1\n> DELEX l IFEQ a\n\
            (error) ERR Key should be of string type if conditions are specified\n\
            > DELEX l\n1\n",
        ..string_command("delex", Arity::AtLeast(2), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::REMOVE)],
        args: &[Arg::key("key"), Arg::string("value")],
        since: "9.0.0",
        summary: "Removes the key if the string there is this one. Of Valkey.",
        run: Run::Data(delifeq),
        script: "> SET k v\nOK\n> DELIFEQ k w\n0\n> DELIFEQ k v\n1\n> DELIFEQ k v\n0\n",
        ..string_command("delifeq", Arity::Exactly(3), WRITE_FAST)
    },
    Command {
        keys: &[Keys::at(1, Access::READ)],
        args: &[Arg::key("key")],
        since: "8.4.0",
        summary: "Returns the XXH3 digest of the string at the key, 64 bits in hexadecimal.",
        complexity: "O(N) with the length of the string.",
        run: Run::Data(digest),
        script: "> SET k \"Hello world\"\nOK\n> DIGEST k\nb6acb9d84a38ff74\n> DIGEST absent\n(nil)\n",
        ..string_command("digest", Arity::Exactly(2), READ_FAST)
    },
];

const DIGEST_LEN: usize = 16;

/// The digest as clients see it, leading zeros included.
fn digest_text(value: Str<'_>) -> String {
    let text = format!("{:016x}", value.with_bytes(xxh3_64));
    assert_eq!(text.len(), DIGEST_LEN, "64 bits are 16 digits");
    text
}

/// What a value is compared with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compare<'a> {
    with: &'a [u8],
    by_digest: bool,
    shall_equal: bool,
}

impl<'a> Compare<'a> {
    /// The condition of this name.
    pub(super) fn parse(name: &[u8], with: &'a [u8]) -> Option<Compare<'a>> {
        let (by_digest, shall_equal) = match name.to_ascii_uppercase().as_slice() {
            b"IFEQ" => (false, true),
            b"IFNE" => (false, false),
            b"IFDEQ" => (true, true),
            b"IFDNE" => (true, false),
            _ => return None,
        };
        Some(Compare { with, by_digest, shall_equal })
    }

    /// Whether it holds for a value.
    ///
    /// # Errors
    /// When it is to be compared with what is no digest.
    pub(super) fn holds(self, value: Str<'_>) -> Result<bool, CmdError> {
        let equal = if self.by_digest {
            let is_digest =
                self.with.len() == DIGEST_LEN && self.with.iter().all(u8::is_ascii_hexdigit);
            if !is_digest {
                return Err(CmdError::text("ERR must be exactly 16 hexadecimal characters"));
            }
            digest_text(value).as_bytes().eq_ignore_ascii_case(self.with)
        } else {
            value.with_bytes(|value| value == self.with)
        };
        Ok(equal == self.shall_equal)
    }

    /// Whether it holds where there is no key: nothing is equal to nothing.
    pub(super) fn holds_for_nothing(self) -> bool {
        !self.shall_equal
    }
}

fn digest(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let text = call.db.string(&key)?.map(digest_text);
    match text {
        Some(text) => call.reply.bulk(text.as_bytes()),
        None => call.reply.null(),
    }
    Ok(())
}

fn delex(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    // An absent key is the answer whatever follows, as in Redis.
    if !call.db.exists(&key) {
        call.reply.integer(0);
        return Ok(());
    }
    let removes = match call.argv.len() {
        2 => true,
        4 => {
            let (name, with) = (call.arg(2), call.arg(3));
            let value = call.db.string(&key).map_err(|_| {
                CmdError::text("ERR Key should be of string type if conditions are specified")
            })?;
            let compare = Compare::parse(name, with)
                .ok_or(CmdError::text("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE"))?;
            value.map_or(Ok(false), |value| compare.holds(value))?
        }
        _ => return Err(CmdError::WrongArgCount("delex")),
    };
    reply_removal(call, &key, removes);
    Ok(())
}

fn delifeq(call: &mut Call<'_>) -> Result<(), CmdError> {
    let key = call.key(1);
    let wanted = call.arg(2);
    let value = call.db.string(&key)?;
    let removes = value.is_some_and(|value| value.with_bytes(|value| value == wanted));
    reply_removal(call, &key, removes);
    Ok(())
}

fn reply_removal(call: &mut Call<'_>, key: &Key<'_>, removes: bool) {
    if removes {
        call.db.remove(key);
        call.effects.changed(1);
        // A replica need not compare, nor know the command.
        call.effects.propagate([b"DEL", key.bytes]);
        call.notify(EventClass::GENERIC, "del", key.bytes);
    }
    call.reply.integer(i64::from(removes));
}

#[cfg(test)]
mod tests {
    use crate::testing::{Node, check_stream};

    #[test]
    fn conditions_of_set_and_delex() {
        let mut node = Node::new(1, 1_700_000_000_000);
        let digest = |node: &mut Node, key: &str| node.run(&format!("DIGEST {key}"));
        for (why, setup, command, want) in [
            ("equal", "SET k v", "SET k w IFEQ v", "OK"),
            ("with GET, not equal", "SET k v", "SET k w IFEQ x GET", "v"),
            ("with GET, equal", "SET k v", "SET k w GET IFEQ v", "v"),
            ("not unequal", "SET k v", "SET k w IFNE v", "(nil)"),
            ("a number is its text", "SET k 12", "SET k w IFEQ 12", "OK"),
            ("absent is not equal", "DEL k", "SET k w IFEQ v", "(nil)"),
            ("absent is unequal to a digest", "DEL k", "SET k w IFDNE 0", "OK"),
            (
                "no digest",
                "SET k v",
                "SET k w IFDEQ 0",
                "(error) ERR must be exactly 16 hexadecimal characters",
            ),
            (
                "no hexadecimal",
                "SET k v",
                "SET k w IFDEQ 000000000000000g",
                "(error) ERR must be exactly 16 hexadecimal characters",
            ),
            ("without what to compare with", "SET k v", "SET k w IFEQ", "(error) ERR syntax error"),
            ("twice", "SET k v", "SET k w IFEQ v IFEQ v", "(error) ERR syntax error"),
            ("with NX before", "SET k v", "SET k w NX IFEQ v", "(error) ERR syntax error"),
            ("with XX after", "SET k v", "SET k w IFEQ v XX", "(error) ERR syntax error"),
            ("an absent key comes first", "DEL k", "DELEX k IFEQ", "0"),
            (
                "too few",
                "SET k v",
                "DELEX k IFEQ",
                "(error) ERR wrong number of arguments for 'delex' command",
            ),
            (
                "no condition",
                "SET k v",
                "DELEX k IF v",
                "(error) ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE",
            ),
            ("lower case", "SET k v", "DELEX k ifeq v", "1"),
            ("GETEX knows none", "SET k v", "GETEX k IFEQ v", "(error) ERR syntax error"),
        ] {
            node.run(setup);
            assert_eq!(node.run(command), want, "{why}");
        }
        node.run("SET k v");
        let of_v = digest(&mut node, "k");
        assert_eq!(node.run(&format!("SET k w IFDEQ {of_v}")), "OK");
        assert_eq!(node.run(&format!("DELEX k IFDNE {}", of_v.to_uppercase())), "1");
        node.run("RPUSH l a");
        let wrong = "(error) WRONGTYPE Operation against a key holding the wrong kind of value";
        assert_eq!(node.run("SET l v IFNE v"), wrong);
        assert_eq!(node.run("DELIFEQ l v"), wrong);
    }

    #[test]
    fn digests_have_all_their_zeros() {
        // The value is from a report of a digest that begins with zeros.
        let mut node = Node::new(1, 1_700_000_000_000);
        node.run(
            "SET k v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls\
             2kwlj7626sd",
        );
        assert_eq!(node.run("DIGEST k"), "00006c38adf31777");
    }

    #[test]
    fn what_was_compared_is_propagated_plainly() {
        check_stream(
            "conditions hold only here",
            &[
                "SET k v",
                "SET k w IFEQ v",
                "SET k x IFNE v KEEPTTL GET",
                "SET k y IFEQ no",
                "DELEX k IFEQ x",
            ],
            &["SET k v", "SET k w", "SET k x KEEPTTL", "DEL k"],
        );
        check_stream(
            "a moment goes as it was said, a span as a moment",
            &[
                "SET k v pxat 1700000100000 nx",
                "SET k v EX 100 XX",
                "SET k w PXAT 1700000100000 IFEQ v GET",
            ],
            &[
                "SET k v pxat 1700000100000 nx",
                "SET k v PXAT 1700000100000",
                "SET k w PXAT 1700000100000",
            ],
        );
        check_stream(
            "of Valkey",
            &["SET k v", "DELIFEQ k x", "DELIFEQ k v"],
            &["SET k v", "DEL k"],
        );
    }
}
