//! Stories of the family that a row's script does not tell.

use slotward_resp::Protocol;

use crate::testing::{Node, check_stream};

#[test]
fn replicas_get_what_happened() {
    for (why, commands, want) in [
        ("ZADD is itself", &["ZADD z NX 1 a"][..], &["ZADD z NX 1 a"][..]),
        ("a refused one is nothing", &["ZADD z 1 a", "ZADD z GT 0 a"], &["ZADD z 1 a"]),
        ("the same score is nothing", &["ZADD z 1 a", "ZADD z 1 a"], &["ZADD z 1 a"]),
        (
            "ZMPOP names its key",
            &["ZADD z 1 a", "ZMPOP 2 {z}x z MAX COUNT 7"],
            &["ZADD z 1 a", "ZPOPMAX z 1"],
        ),
        ("ZREM of nothing is nothing", &["ZREM z a"], &[]),
        (
            "an empty result removes",
            &["SET {z}1 x", "ZUNIONSTORE {z}1 1 {z}2"],
            &["SET {z}1 x", "ZUNIONSTORE {z}1 1 {z}2"],
        ),
        ("an empty result at no key is nothing", &["ZUNIONSTORE {z}1 1 {z}2"], &[]),
    ] {
        check_stream(why, commands, want);
    }
}

#[test]
fn scores_stand_beside_their_members_in_resp3() {
    let mut node = Node::new(1, 0);
    node.protocol = Protocol::Resp3;
    node.run("ZADD z 1 a 2 b");
    for (why, line, want) in [
        ("a range nests", "ZRANGE z 0 0 WITHSCORES", "1) 1) a\n   2) 1"),
        ("so does a union", "ZUNION 1 z WITHSCORES", "1) 1) a\n   2) 1\n2) 1) b\n   2) 2"),
        ("a random one too", "ZRANDMEMBER z -1 WITHSCORES", "1) 1) b\n   2) 2"),
        ("one popped without a count does not", "ZPOPMIN z", "1) a\n2) 1"),
        ("popped with a count they do", "ZPOPMIN z 1", "1) 1) b\n   2) 2"),
    ] {
        assert_eq!(node.run(line), want, "{why}");
    }
}

#[test]
fn a_large_one_gives_the_same_replies() {
    let commands = [
        "ZADD z 3 c 1 a 2 b 2 bb 5 e",
        "ZADD z XX CH 4 a 2 b",
        "ZINCRBY z -4 e",
        "ZRANK z c",
        "ZREVRANK z e WITHSCORE",
        "ZRANGE z 0 -1 WITHSCORES",
        "ZRANGE z +inf (1 BYSCORE REV LIMIT 1 2",
        "ZCOUNT z (1 4",
        "ZPOPMAX z",
        "ZREMRANGEBYRANK z 1 1",
        "ZRANGE z 0 -1",
        "ZREM z e bb c x",
        "EXISTS z",
    ];
    let (mut small, mut large) = (Node::new(1, 0), Node::new(1, 0));
    large.settings.limits.zset_max_listpack_entries = 0;
    for command in commands {
        assert_eq!(small.run(command), large.run(command), "{command}");
    }
    assert_eq!(small.replica().digest(small.now), large.replica().digest(large.now));
}

#[test]
fn events_are_told() {
    let mut node = Node::new(1, 0);
    for line in ["ZADD z 1 a 2 b", "ZINCRBY z 1 a", "ZADD z 2 a", "ZPOPMIN z", "ZREM z b"] {
        node.run(line);
    }
    let names: Vec<_> = node.events.iter().map(|event| event.name).collect();
    assert_eq!(names, ["zadd", "zincr", "zpopmin", "zrem", "del"]);
}
