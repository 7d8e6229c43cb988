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
