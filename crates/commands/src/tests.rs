//! Tests that walk the table.

use slotward_resp::{OwnedArgs, Protocol, Reply};

use crate::arg::{Arg, ArgKind};
use crate::command::{Command, Flags, Run};
use crate::testing::{Node, check_script, check_stream};
use crate::{Access, Arity, Found, KeyShape, Registry};

/// Every row, with its full name and how many words name it.
fn rows() -> Vec<(String, &'static Command, usize)> {
    crate::all()
        .flat_map(|command| {
            let subs = command
                .subcommands
                .iter()
                .map(move |sub| (format!("{}|{}", command.name, sub.name), sub, 2));
            std::iter::once((command.name.to_owned(), command, 1)).chain(subs)
        })
        .collect()
}

#[test]
fn rows_are_complete() {
    let registry = Registry::new([]);
    assert_eq!(registry.len(), rows().len(), "names are unique, or the registry had panicked");
    for (name, row, _) in rows() {
        assert!(row.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-')));
        assert!(row.summary.ends_with('.') && row.summary.len() > 10, "{name} has a summary");
        assert!(row.since.split('.').count() == 3, "{name} says since when");
        assert!(!row.complexity.is_empty(), "{name} says what it costs");
        assert!(
            row.subcommands.is_empty() == !matches!(row.run, Run::Container),
            "{name} is a container or has a handler"
        );
        if matches!(row.run, Run::Data(_)) && !row.keys.is_empty() {
            let script_name = name.replace('|', " ").to_uppercase();
            assert!(row.script.contains(&format!("> {script_name}")), "{name} is in its script");
            let (read, write) = (row.flags.has(Flags::READ), row.flags.has(Flags::WRITE));
            assert!(read != write, "{name} either reads or writes");
            // To Redis, what a group has pending is nothing that is written.
            let writes = (write || row.flags.has(Flags::MAY_REPLICATE)) && name != "xreadgroup";
            assert_eq!(row.writes_a_key(), writes, "{name} is a write if it writes a key");
        }
    }
}

/// Whether an argument may be left out or repeated, is a choice of shorter and longer ones, or a
/// group with one that is so.
fn is_open(arg: &Arg) -> bool {
    let lengths = || arg.args.iter().map(Arg::len_min);
    let differ = arg.kind == ArgKind::OneOf && lengths().min() != lengths().max();
    arg.optional || arg.multiple || differ || arg.args.iter().any(is_open)
}

#[test]
fn arguments_fit_the_arity() {
    for (name, row, words) in rows() {
        if matches!(row.run, Run::Container) {
            continue;
        }
        let min = words + row.args.iter().map(Arg::len_min).sum::<usize>();
        assert_eq!(min, row.arity.min(), "{name} needs as many arguments as its arity says");
        let open = row.args.iter().any(is_open);
        assert_eq!(open, matches!(row.arity, Arity::AtLeast(_)), "{name} may take more or not");
        let specs = row.keys.len();
        let keys = row.args.iter().filter(|arg| arg.kind == ArgKind::Key);
        assert!(keys.clone().all(|arg| usize::from(arg.key_spec) < specs), "{name}'s keys exist");
    }
}

#[test]
fn scripts_go_as_written_and_replicas_follow() {
    let failures: Vec<String> =
        rows().iter().filter_map(|(name, row, _)| check_script(name, row.script).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_propagated_does_not_depend_on_the_clock() {
    for (why, commands, want) in [
        ("SET alone is itself", &["SET k v"][..], &["SET k v"][..]),
        ("a span becomes a moment", &["SET k v EX 10"], &["SET k v PXAT 1700000010000"]),
        ("SETEX becomes SET", &["SETEX k 10 v"], &["SET k v PXAT 1700000010000"]),
        ("GET is of no use to a replica", &["SET k v GET KEEPTTL"], &["SET k v KEEPTTL"]),
        ("a refused SET is nothing", &["SET k v XX"], &[]),
        (
            "EXPIRE becomes PEXPIREAT",
            &["SET k v", "EXPIRE k 1"],
            &["SET k v", "PEXPIREAT k 1700000001000"],
        ),
        ("an end in the past removes", &["SET k v", "EXPIRE k -1"], &["SET k v", "DEL k"]),
        ("GETEX with nothing changes nothing", &["SET k v", "GETEX k"], &["SET k v"]),
        (
            "GETEX PERSIST",
            &["SET k v PX 5", "GETEX k PERSIST"],
            &["SET k v PXAT 1700000000005", "PERSIST k"],
        ),
        ("GETDEL removes", &["SET k v", "GETDEL k"], &["SET k v", "DEL k"]),
        ("GETSET is SET", &["GETSET k v"], &["SET k v"]),
        ("a fraction's result", &["INCRBYFLOAT k 1.5"], &["SET k 1.5 KEEPTTL"]),
        ("DEL of nothing is nothing", &["DEL k"], &[]),
        ("MSET is itself", &["MSET a 1 b 2"], &["MSET a 1 b 2"]),
    ] {
        check_stream(why, commands, want);
    }
}

#[test]
fn a_key_whose_time_came_is_removed_before_the_command_that_met_it() {
    let mut node = Node::new(1, 1_700_000_000_000);
    node.run("SET k 1 PX 100");
    node.now.0 += 101;
    assert_eq!(node.run("INCR k"), "1");
    assert_eq!(node.stream_text(), ["SET k 1 PXAT 1700000000100", "DEL k", "INCR k"]);
}

#[test]
fn events_are_told_in_order() {
    let mut node = Node::new(1, 1_700_000_000_000);
    for line in ["SET k v EX 10", "RENAME k l", "GET k", "DEL l"] {
        node.run(line);
    }
    let names: Vec<_> = node.events.iter().map(|event| event.name).collect();
    assert_eq!(names, ["set", "expire", "rename_from", "rename_to", "del"]);
}

#[test]
fn a_string_has_a_longest_length() {
    let mut node = Node::new(1, 0);
    node.settings.string_bytes_max = 10;
    let too_long = "(error) ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    assert_eq!(node.run("SETRANGE k 10 x"), too_long);
    assert_eq!(node.run("APPEND k 0123456789a"), too_long);
    assert_eq!(node.run("SETRANGE k 9 x"), "10");
    assert_eq!(
        node.run("SETBIT k 80 1"),
        "(error) ERR bit offset is not an integer or out of range"
    );
}

fn args(line: &str) -> OwnedArgs {
    line.split(' ').map(str::as_bytes).collect()
}

#[test]
fn names_are_found_in_any_case() {
    let registry = Registry::new([]);
    for (why, line, want) in [
        ("lower case", "get k", Some("get")),
        ("mixed case", "gEt k", Some("get")),
        ("a subcommand", "OBJECT Encoding k", Some("object|encoding")),
        ("a container alone", "object", Some("object")),
        ("digits that fold to letters are no letters", "ge4 k", None),
        ("a prefix", "ge k", None),
        ("longer than a word", "incrbyfloat k 1", Some("incrbyfloat")),
        ("nothing", "", None),
        ("folding is not exact", "sort_ro", registry.by_name(b"sort_ro").map(|_| "sort_ro")),
        ("folding is not exact for other bytes", "sort\x7fro", None),
    ] {
        let owned = args(line);
        let found = match registry.find(owned.as_args()) {
            Found::Command(id) => Some(registry.full_name(id)),
            _ => None,
        };
        assert_eq!(found, want, "{why}");
    }
    for id in registry.ids() {
        assert_eq!(registry.by_name(registry.full_name(id).to_uppercase().as_bytes()), Some(id));
    }
}

#[test]
fn keys_are_found_as_the_rows_say() {
    let registry = Registry::new([]);
    let shape = |name: &str| registry.key_shape(registry.by_name(name.as_bytes()).unwrap());
    assert_eq!(shape("get"), KeyShape::One(1));
    assert_eq!(shape("object|encoding"), KeyShape::One(2));
    assert_eq!(shape("object|help"), KeyShape::None);
    assert_eq!(shape("rename"), KeyShape::Range { first: 1, last: 2, step: 1 });
    assert_eq!(shape("mset"), KeyShape::Range { first: 1, last: -1, step: 2 });
    assert_eq!(shape("bitop"), KeyShape::Range { first: 2, last: -1, step: 1 });
    for (line, want) in [
        ("GET a", &[1][..]),
        ("MSET a 1 b 2", &[1, 3]),
        ("MSET a 1 b", &[1, 3]),
        ("DEL a b c", &[1, 2, 3]),
        ("RENAME a b", &[1, 2]),
        ("BITOP AND d a b", &[2, 3, 4]),
        ("LCS a b LEN", &[1, 2]),
    ] {
        let (owned, mut keys) = (args(line), Vec::new());
        let Found::Command(id) = registry.find(owned.as_args()) else { panic!("{line}") };
        registry.keys_of(id, owned.as_args(), &mut keys).unwrap();
        assert_eq!(keys, want, "{line}");
    }
}

#[test]
fn unknown_words_are_named() {
    let registry = Registry::new([]);
    let text = |line: &str| {
        let owned = args(line);
        registry.unknown_text(registry.find(owned.as_args()), owned.as_args()).to_string()
    };
    assert_eq!(text("foo a b"), "ERR unknown command 'foo', with args beginning with: 'a' 'b' ");
    assert_eq!(text("object foo"), "ERR unknown subcommand 'foo'. Try OBJECT HELP.");
    let long = text(&format!("foo {} b", "x".repeat(200)));
    assert_eq!(
        long,
        format!("ERR unknown command 'foo', with args beginning with: '{}' ", "x".repeat(128))
    );
}

fn command(line: &str, protocol: Protocol) -> String {
    let registry = Registry::new([]);
    let owned = args(line);
    let argv = owned.as_args();
    let mut reply = Reply::new(Vec::new(), protocol);
    let rest = argv.from(1);
    let result = match &argv[0] {
        b"INFO" => {
            crate::command_info(&registry, rest, &mut reply);
            Ok(())
        }
        b"DOCS" => {
            crate::command_docs(&registry, rest, &mut reply);
            Ok(())
        }
        b"LIST" => crate::command_list(&registry, rest, &mut reply),
        b"GETKEYS" => crate::command_getkeys(&registry, rest, &mut reply),
        b"GETKEYSANDFLAGS" => crate::command_getkeysandflags(&registry, rest, &mut reply),
        other => panic!("{other:?}"),
    };
    if let Err(error) = result {
        reply.error(&error.to_string());
    }
    String::from_utf8(reply.into_buffer()).unwrap().replace("\r\n", "|")
}

#[test]
fn command_replies_have_redis_shapes() {
    for (line, protocol, want) in [
        (
            "INFO del nosuch",
            Protocol::Resp3,
            "*2|*10|$3|del|:-2|~1|+write|:1|:-1|:1|~3|+@keyspace|+@write|+@slow|~2|\
             $26|request_policy:multi_shard|$23|response_policy:agg_sum|~1|%3|$5|flags|~2|+RM|\
             +delete|$12|begin_search|%2|$4|type|$5|index|$4|spec|%1|$5|index|:1|$9|find_keys|%2|\
             $4|type|$5|range|$4|spec|%3|$7|lastkey|:-1|$7|keystep|:1|$5|limit|:0|~0|_|",
        ),
        ("INFO nosuch", Protocol::Resp2, "*1|*-1|"),
        (
            "DOCS object|freq",
            Protocol::Resp3,
            "%1|$11|object|freq|%5|$7|summary|$76|Tells the logarithm of how often the key has \
             been used, under an LFU policy.|$5|since|$5|4.0.0|$5|group|$7|generic|$10|complexity|\
             $4|O(1)|$9|arguments|*1|%3|$4|name|$3|key|$4|type|$3|key|$14|key_spec_index|:0|",
        ),
        ("DOCS nosuch", Protocol::Resp2, "*0|"),
        ("LIST FILTERBY PATTERN object|f*", Protocol::Resp2, "*1|$11|object|freq|"),
        ("LIST FILTERBY ACLCAT nosuch", Protocol::Resp3, "~0|"),
        ("LIST FOO", Protocol::Resp2, "-ERR syntax error|"),
        ("GETKEYS mset a 1 b 2", Protocol::Resp2, "*2|$1|a|$1|b|"),
        ("GETKEYS object help", Protocol::Resp2, "-ERR The command has no key arguments|"),
        ("GETKEYS nosuch a", Protocol::Resp2, "-ERR Invalid command specified|"),
        (
            "GETKEYS get a b",
            Protocol::Resp2,
            "-ERR Invalid number of arguments specified for command|",
        ),
        ("GETKEYSANDFLAGS set a b", Protocol::Resp3, "*1|*2|$1|a|~3|+RW|+access|+update|"),
        (
            "GETKEYSANDFLAGS rename a b",
            Protocol::Resp3,
            "*2|*2|$1|a|~3|+RW|+access|+delete|*2|$1|b|~2|+OW|+update|",
        ),
    ] {
        assert_eq!(command(line, protocol), want, "{line}");
    }
    let get = crate::all().find(|command| command.name == "get").unwrap();
    assert!(!get.keys[0].access.has(Access::RW));
}
