//! What is propagated, which events there are, and corners that no row's script shows.

use slotward_resp::Protocol;

use crate::testing::{Node, check_stream};

const NOW: &str = "1700000000000";

#[test]
fn what_is_propagated_is_what_came_of_it() {
    let added = format!("XADD s {NOW}-0 f a");
    for (why, commands, want) in [
        ("an id that was given", &["XADD s 5 f a"][..], vec!["XADD s 5 f a".to_owned()]),
        ("an id that was made", &["XADD s * f a"], vec![added.clone()]),
        ("half of one", &["XADD s 5-* f a"], vec!["XADD s 5-0 f a".to_owned()]),
        ("nothing", &["XADD s NOMKSTREAM * f a", "XTRIM s MAXLEN 1", "XDEL s 1"], vec![]),
        (
            "an exact trim to what an approximate one left",
            &["XADD s MAXLEN ~ 0 LIMIT 0 7 f a", "XADD s MINID ~ 9 8 f a"],
            vec![
                "XADD s MAXLEN = 0 LIMIT 0 7 f a".to_owned(),
                "XADD s MINID = 18446744073709551615-18446744073709551615 8 f a".to_owned(),
            ],
        ),
        (
            "a delivery is a claim, and the group's progress",
            &["XADD s 5 f a", "XGROUP CREATE s g 0", "XREADGROUP GROUP g c STREAMS s >"],
            vec![
                "XADD s 5 f a".to_owned(),
                "XGROUP CREATE s g 0".to_owned(),
                "XGROUP CREATECONSUMER s g c".to_owned(),
                format!("XCLAIM s g c 0 5-0 TIME {NOW} RETRYCOUNT 1 FORCE JUSTID LASTID 5-0"),
                "XGROUP SETID s g 5-0 ENTRIESREAD 1".to_owned(),
            ],
        ),
        (
            "what is not to be acknowledged leaves only the progress",
            &[
                "XADD s 5 f a",
                "XGROUP CREATE s g 0",
                "XGROUP CREATECONSUMER s g c",
                "XREADGROUP GROUP g c NOACK STREAMS s >",
            ],
            vec![
                "XADD s 5 f a".to_owned(),
                "XGROUP CREATE s g 0".to_owned(),
                "XGROUP CREATECONSUMER s g c".to_owned(),
                "XGROUP SETID s g 5-0 ENTRIESREAD 1".to_owned(),
            ],
        ),
        (
            "nothing was new",
            &["XGROUP CREATE s g $ MKSTREAM", "XREADGROUP GROUP g c STREAMS s >"],
            vec![
                "XGROUP CREATE s g $ MKSTREAM".to_owned(),
                "XGROUP CREATECONSUMER s g c".to_owned(),
            ],
        ),
    ] {
        let want: Vec<&str> = want.iter().map(String::as_str).collect();
        check_stream(why, commands, &want);
    }
}

#[test]
fn events_are_redis_s() {
    for (why, commands, want) in [
        ("an entry", &["XADD s 5 f a"][..], &["xadd"][..]),
        ("with a trim", &["XADD s MAXLEN 0 5 f a"], &["xadd", "xtrim"]),
        ("with a trim of nothing", &["XADD s MAXLEN 1 5 f a"], &["xadd"]),
        ("a deletion", &["XADD s 5 f a", "XDEL s 5", "XDEL s 5"], &["xadd", "xdel"]),
        ("an id", &["XADD s 5 f a", "XSETID s 6"], &["xadd", "xsetid"]),
        (
            "groups",
            &[
                "XGROUP CREATE s g $ MKSTREAM",
                "XGROUP SETID s g 0",
                "XGROUP CREATECONSUMER s g c",
                "XGROUP DELCONSUMER s g c",
                "XREADGROUP GROUP g d STREAMS s >",
                "XGROUP DESTROY s g",
            ],
            &[
                "xgroup-create",
                "xgroup-setid",
                "xgroup-createconsumer",
                "xgroup-delconsumer",
                "xgroup-createconsumer",
                "xgroup-destroy",
            ],
        ),
    ] {
        let mut node = Node::new(3, 1_700_000_000_000);
        for command in commands {
            node.run(command);
        }
        let events: Vec<&str> = node.events.iter().map(|event| event.name).collect();
        assert_eq!(events.iter().filter(|name| name.starts_with('x')).count(), want.len(), "{why}");
        assert_eq!(events, want, "{why}");
    }
}

#[test]
fn errors_come_in_redis_s_order() {
    let mut node = Node::new(3, 1_700_000_000_000);
    node.run("SET str x");
    node.run("XADD s 5 f a");
    node.run("XGROUP CREATE s g 0");
    for (command, want) in [
        ("XADD str 0 f a", "ERR The ID specified in XADD must be greater than 0-0"),
        ("XADD str 1 f a", "WRONGTYPE"),
        ("XADD s 9 f a g", "ERR wrong number of arguments for 'xadd' command"),
        ("XADD s x f a g", "ERR Invalid stream ID"),
        ("XADD s LIMIT 5 * f a", "ERR syntax error, LIMIT cannot be used without specifying"),
        ("XADD s MAXLEN 5 LIMIT 5 * f a", "ERR syntax error, LIMIT cannot be used without the"),
        ("XADD s MAXLEN 5 MINID 5 * f a", "ERR syntax error, MAXLEN and MINID"),
        ("XADD s MAXLEN -1 * f a", "ERR The MAXLEN argument must be >= 0."),
        ("XTRIM s FOO 5", "ERR syntax error"),
        ("XTRIM s LIMIT 0", "ERR syntax error, XTRIM must be called with a trimming strategy"),
        ("XDEL str x", "WRONGTYPE"),
        ("XDEL s x", "ERR Invalid stream ID"),
        ("XDEL absent x", "0"),
        ("XSETID absent 1", "ERR no such key"),
        ("XSETID s 4", "ERR The ID specified in XSETID is smaller than the target stream top"),
        ("XSETID s 9 ENTRIESADDED 0", "ERR The entries_added specified in XSETID is smaller"),
        ("XSETID s 9 MAXDELETEDID 10", "ERR The ID specified in XSETID is smaller than the prov"),
        ("XREAD STREAMS str x", "WRONGTYPE"),
        ("XREAD STREAMS s >", "ERR The > ID can be specified only when calling XREADGROUP"),
        ("XREAD GROUP g c STREAMS s 0", "ERR The GROUP option is only supported by XREADGROUP"),
        ("XREADGROUP COUNT 1 NOACK STREAMS s 0 t 0", "ERR Missing GROUP option for XREADGROUP"),
        ("XREADGROUP GROUP g c STREAMS s $", "ERR The $ ID is meaningless"),
        ("XGROUP CREATE s g x", "ERR Invalid stream ID"),
        ("XGROUP CREATE s h 0 ENTRIESREAD -2", "ERR value for ENTRIESREAD must be positive or -1"),
        ("XGROUP CREATE s h 0 FOO", "ERR unknown subcommand or wrong number of arguments"),
        ("XGROUP SETID s h 0", "NOGROUP No such consumer group 'h' for key name 's'"),
        ("XGROUP DESTROY absent g", "ERR The XGROUP subcommand requires the key to exist"),
        ("XPENDING s h", "NOGROUP No such key 's' or consumer group 'h'"),
        ("XPENDING s g - +", "ERR syntax error"),
        ("XPENDING s g IDLE 5 - +", "ERR syntax error"),
        ("XCLAIM s h c x 1", "NOGROUP"),
        ("XCLAIM s g c x 1", "ERR Invalid min-idle-time argument for XCLAIM"),
        ("XCLAIM s g c 0 1 FOO", "ERR Unrecognized XCLAIM option 'FOO'"),
        ("XAUTOCLAIM s h c x 0", "ERR Invalid min-idle-time argument for XAUTOCLAIM"),
        ("XAUTOCLAIM s g c 0 0 COUNT 0", "ERR COUNT must be > 0"),
        ("XINFO STREAM s FOO", "ERR unknown subcommand or wrong number of arguments"),
        ("XINFO CONSUMERS s h", "NOGROUP No such consumer group 'h' for key name 's'"),
        ("XDELEX s IDS 2 1", "ERR The `numids` parameter must match"),
        ("XDELEX s IDS 0 1", "ERR Number of IDs must be a positive integer"),
        ("XDELEX s KEEPREF DELREF IDS 1 1", "ERR syntax error"),
    ] {
        let reply = node.run(command);
        let text = reply.strip_prefix("(error) ").unwrap_or(&reply);
        assert!(text.starts_with(want), "{command}: {reply}");
    }
}

#[test]
fn reads_are_maps_in_resp3() {
    let mut node = Node::new(3, 1_700_000_000_000);
    node.run("XADD s 5 f a");
    assert!(node.run("XREAD STREAMS s 0").starts_with("1) 1) s\n"));
    node.protocol = Protocol::Resp3;
    assert!(node.run("XREAD STREAMS s 0").starts_with("1) s\n2) 1) 1) 5-0"));
}

#[test]
fn history_shows_what_is_gone_and_counts_deliveries() {
    let mut node = Node::new(3, 1_700_000_000_000);
    node.run("XADD s 5 f a");
    node.run("XADD s 6 f b");
    node.run("XGROUP CREATE s g 0");
    node.run("XREADGROUP GROUP g c STREAMS s >");
    node.run("XDEL s 5");
    let history = node.run("XREADGROUP GROUP g c STREAMS s 0");
    assert!(history.contains("1) 1) 5-0\n         2) (nil)"), "{history}");
    assert!(node.run("XPENDING s g - + 5").ends_with("4) 2"), "6-0 was delivered twice");
    let replica = node.replica();
    assert_eq!(replica.digest(node.now), node.digest(node.now));
}

#[test]
fn the_lag_is_known_as_far_as_it_can_be() {
    let mut node = Node::new(3, 1_700_000_000_000);
    for id in 1..=5 {
        node.run(&format!("XADD s {id} f a"));
    }
    node.run("XGROUP CREATE s g 0");
    let lag = |node: &mut Node| {
        let text = node.run("XINFO GROUPS s");
        let lines: Vec<&str> =
            text.lines().map(|line| line.trim().rsplit(' ').next().unwrap()).collect();
        (lines[9].to_owned(), lines[11].to_owned())
    };
    let pair = |read: &str, lag: &str| (read.to_owned(), lag.to_owned());
    assert_eq!(lag(&mut node), pair("(nil)", "5"));
    node.run("XREADGROUP GROUP g c COUNT 1 STREAMS s >");
    assert_eq!(lag(&mut node), pair("1", "4"));
    node.run("XDEL s 3");
    assert_eq!(lag(&mut node), pair("1", "(nil)"));
    node.run("XREADGROUP GROUP g c STREAMS s >");
    assert_eq!(lag(&mut node), pair("5", "0"));
}

fn replicas_follow(node: &Node) {
    let stream = node.stream_text().join("\n");
    assert!(node.replica().digest(node.now) == node.digest(node.now), "the stream was:\n{stream}");
}

/// Ids of entries of one stream, as a read replies them.
fn ids(reply: &str) -> Vec<String> {
    let is_id = |word: &str| word.split_once('-').is_some_and(|(ms, _)| ms.parse::<u64>().is_ok());
    let words = reply.lines().filter_map(|line| line.rsplit(") ").next());
    words.filter(|word| is_id(word)).map(str::to_owned).collect()
}

#[test]
fn claims_come_first_and_in_their_order() {
    let mut node = Node::new(1, 1_700_000_000_000);
    for id in 1..=6 {
        node.run(&format!("XADD s {id} f v"));
    }
    node.run("XGROUP CREATE s g 0");
    node.run("XREADGROUP GROUP g ann COUNT 2 STREAMS s >");
    node.now.0 += 100;
    node.run("XREADGROUP GROUP g bob COUNT 2 STREAMS s >");
    node.run("XCLAIM s g ann 0 1 JUSTID TIME 1700000000090");
    node.run("XNACK s g FAIL IDS 1 4");
    node.run("XDEL s 2");
    node.now.0 += 50;
    for (why, command, want) in [
        ("nothing idle for so long: what was released, what is new", "CLAIM 1000 COUNT 1", "4-0"),
        (
            "idle longest first, what is gone not at all, then what is new",
            "CLAIM 50",
            "1-0 3-0 5-0 6-0",
        ),
        ("all are fresh", "CLAIM 1", ""),
        ("no idle time at all", "COUNT 2 CLAIM 0", "1-0 3-0"),
    ] {
        let reply = node.run(&format!("XREADGROUP GROUP g cy {command} STREAMS s >"));
        assert_eq!(ids(&reply).join(" "), want, "{why}");
    }
    assert_eq!(node.run("XPENDING s g 2 2 1"), "(empty array)", "what is gone is not pending");
    assert_eq!(
        node.run("XREADGROUP GROUP g cy CLAIM x STREAMS s >"),
        "(error) ERR min-idle-time is not an integer"
    );
    assert_eq!(
        node.run("XREADGROUP GROUP g cy CLAIM -1 STREAMS s >"),
        "(error) ERR min-idle-time must be a positive integer"
    );
    assert_eq!(node.run("XREAD CLAIM 1 STREAMS s 0"), "(error) ERR syntax error");
    replicas_follow(&node);
}

#[test]
fn claims_tell_how_often_and_how_long_ago() {
    let mut node = Node::new(1, 1_700_000_000_000);
    node.run("XADD s 1 f v");
    node.run("XADD s 2 f v");
    node.run("XGROUP CREATE s g 0");
    node.run("XREADGROUP GROUP g ann COUNT 1 STREAMS s >");
    node.now.0 += 70;
    let reply = node.run("XREADGROUP GROUP g bob NOACK CLAIM 70 STREAMS s >");
    let numbers: Vec<&str> = reply
        .lines()
        .filter_map(|line| line.trim().split_once(") "))
        .filter(|(place, _)| matches!(*place, "3" | "4"))
        .map(|(_, number)| number)
        .collect();
    assert_eq!(numbers, ["70", "1", "0", "0"], "{reply}");
    // Not to be acknowledged is what is new.
    assert_eq!(node.run("XPENDING s g - + 9"), "1) 1) 1-0\n   2) bob\n   3) 0\n   4) 2");
}

#[test]
fn what_is_given_back_counts_as_its_mode_says() {
    let mut node = Node::new(1, 1_700_000_000_000);
    for id in 1..=4 {
        node.run(&format!("XADD s {id} f v"));
    }
    node.run("XGROUP CREATE s g 0");
    node.run("XREADGROUP GROUP g ann COUNT 3 STREAMS s >");
    let max = i64::MAX;
    for (why, command, released, deliveries) in [
        ("not counted", "XNACK s g SILENT IDS 1 1", "1", "0".to_owned()),
        ("never below nothing", "XNACK s g SILENT IDS 1 1", "1", "0".to_owned()),
        ("said outright", "XNACK s g FATAL IDS 1 1 RETRYCOUNT 7", "1", "7".to_owned()),
        ("as it was", "XNACK s g FAIL IDS 1 1", "1", "7".to_owned()),
        ("for ever", "XNACK s g FATAL IDS 1 1", "1", max.to_string()),
        ("not pending", "XNACK s g FAIL IDS 1 4", "0", max.to_string()),
        ("not there", "XNACK s g FAIL IDS 1 9 FORCE", "0", max.to_string()),
    ] {
        assert_eq!(node.run(command), released, "{why}");
        let want = format!("1) 1) 1-0\n   2) \"\"\n   3) -1\n   4) {deliveries}");
        assert_eq!(node.run("XPENDING s g 1 1 1"), want, "{why}");
    }
    assert_eq!(node.run("XNACK s g FAIL IDS 1 4 FORCE"), "1");
    assert_eq!(node.run("XPENDING s g 4 4 1"), "1) 1) 4-0\n   2) \"\"\n   3) -1\n   4) 0");
    let syntax = "(error) ERR syntax error";
    assert_eq!(node.run("XNACK s g MAYBE IDS 1 4"), syntax);
    assert_eq!(node.run("XNACK s g FAIL 1 4 5 6"), syntax);
    assert_eq!(node.run("XNACK s g FAIL IDS 1 4 MORE"), syntax);
    assert!(node.run("XNACK s no FAIL IDS 1 4").starts_with("(error) NOGROUP"));
    // Who dies does not take along what was given back; claims go on with it.
    node.run("XGROUP DELCONSUMER s g ann");
    assert_eq!(
        ids(&node.run("XAUTOCLAIM s g bob 9000000000000000000 0 JUSTID")),
        ["0-0", "1-0", "4-0"]
    );
    replicas_follow(&node);
}

#[test]
fn replies_have_limits_over_all_streams() {
    let mut node = Node::new(1, 1_700_000_000_000);
    for stream in ["{s}1", "{s}2", "{s}3"] {
        for id in 1..=3 {
            node.run(&format!("XADD {stream} {id} f {}", "v".repeat(100)));
        }
        node.run(&format!("XGROUP CREATE {stream} g 0"));
    }
    for (why, options, want) in [
        ("per stream", "COUNT 2", 6),
        ("over all", "MAXCOUNT 4", 4),
        ("both", "COUNT 2 MAXCOUNT 3", 3),
        ("one always", "MAXSIZE 1", 1),
        ("bytes", "MAXSIZE 300", 2),
        ("the tighter one", "MAXSIZE 300 MAXCOUNT 1", 1),
        ("more than there is", "MAXCOUNT 100 MAXSIZE 1000000", 9),
    ] {
        let reply = node.run(&format!("XREAD {options} STREAMS {{s}}1 {{s}}2 {{s}}3 0 0 0"));
        assert_eq!(ids(&reply).len(), want, "{why}: {reply}");
    }
    let all = "STREAMS {s}1 {s}2 {s}3";
    let reply = node.run(&format!("XREADGROUP GROUP g ann MAXCOUNT 4 {all} > > >"));
    assert_eq!(ids(&reply).len(), 4);
    // What had no place was not delivered.
    assert!(node.run("XPENDING {s}2 g").starts_with("1) 1\n"));
    let reply = node.run(&format!("XREADGROUP GROUP g ann MAXSIZE 1 {all} 0 0 0"));
    assert_eq!(ids(&reply).len(), 1);
    let reply = node.run(&format!("XREADGROUP GROUP g ann {all} > > >"));
    assert_eq!(ids(&reply).len(), 5);
    for (why, options, want) in [
        ("none", "MAXCOUNT 0", "(error) ERR MAXCOUNT must be a positive integer"),
        ("no number", "MAXSIZE x", "(error) ERR MAXSIZE must be a positive integer"),
        (
            "contradiction",
            "COUNT 3 MAXCOUNT 2",
            "(error) ERR MAXCOUNT must be greater than or equal to COUNT",
        ),
    ] {
        assert_eq!(node.run(&format!("XREAD {options} STREAMS s 0")), want, "{why}");
    }
    replicas_follow(&node);
}

#[test]
fn what_was_said_before_is_not_added_again() {
    let mut node = Node::new(1, 1_700_000_000_000);
    let first = "1700000000000-0";
    for (why, command, want) in [
        ("new", "XADD s IDMP ann a * f 1", first),
        ("the same name", "XADD s IDMP ann a * f 2", first),
        ("of another producer", "XADD s IDMP bob a * f 2", "1700000000000-1"),
        ("fields as a name", "XADD s IDMPAUTO ann * f 3", "1700000000000-2"),
        ("the same fields", "XADD s NOMKSTREAM IDMPAUTO ann MAXLEN 9 * f 3", "1700000000000-2"),
        ("other fields", "XADD s IDMPAUTO ann * f3 \"\"", "1700000000000-3"),
        (
            "an id of one's own",
            "XADD s IDMP ann b 1800000000000-0 f 1",
            "(error) ERR IDMP and IDMPAUTO can be used only with an ID that is generated (*)",
        ),
        (
            "no name",
            "XADD s IDMP ann \"\" * f 1",
            "(error) ERR producer ID and idempotent ID must not be empty",
        ),
        ("no stream", "XADD none NOMKSTREAM IDMP ann a * f 1", "(nil)"),
        ("a name that is an option", "XADD s IDMP MAXLEN IDMP * f 1", "1700000000000-4"),
    ] {
        assert_eq!(node.run(command), want, "{why}");
    }
    assert!(
        node.run("XINFO STREAM s").contains("iids-duplicates\n26) 2\n"),
        "{}",
        node.run("XINFO STREAM s")
    );
    replicas_follow(&node);
    node.now.0 += 100_001;
    assert_eq!(node.run("XADD s IDMP ann a * f 1"), "1700000100001-0", "the name is forgotten");
    let wrong = "(error) ERR The stream ID refers to an entry that does not exist";
    assert_eq!(node.run("XIDMPRECORD s ann a 5-5"), wrong);
    assert_eq!(node.run("XIDMPRECORD none ann a 5-5"), "(error) ERR no such key");
}

#[test]
fn names_are_propagated_behind_their_entries() {
    check_stream(
        "and not, if the entry is gone",
        &["XADD s IDMP ann a * f 1", "XADD s IDMP ann a * f 1", "XADD s IDMP ann b MAXLEN 0 * f 1"],
        &[
            "XADD s 1700000000000-0 f 1",
            "XIDMPRECORD s ann a 1700000000000-0",
            "XADD s MAXLEN 0 1700000000000-1 f 1",
        ],
    );
}

#[test]
fn replicas_count_reads_as_their_master_does() {
    let mut node = Node::new(3, 1_700_000_000_000);
    for id in 1..=3 {
        node.run(&format!("XADD s {id} f a"));
    }
    node.run("XGROUP CREATE s g 1 ENTRIESREAD 3");
    // More were read now than were ever added, since the group began with a wrong number.
    node.run("XREADGROUP GROUP g c COUNT 1 STREAMS s >");
    assert!(node.run("XINFO GROUPS s").contains("10) 4"));
    // Nor do they keep a number that their master did not.
    node.run("XGROUP CREATE s entriesread 1 ENTRIESREAD 9");
    node.run("XGROUP CREATE s h 1");
    node.run("XGROUP SETID s h 2 ENTRIESREAD 9");
    let replica = node.replica();
    assert_eq!(replica.digest(node.now), node.digest(node.now), "{:?}", node.stream_text());
}
