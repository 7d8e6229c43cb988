//! What scripts do not show: shapes in RESP3, refusals, what is propagated.

use slotward_resp::Protocol;

use crate::testing::{Node, check_stream};

fn node(commands: &[&str]) -> Node {
    let mut node = Node::new(1, 1_700_000_000_000);
    for command in commands {
        let reply = node.run(command);
        assert!(!reply.starts_with("(error)"), "{command}: {reply}");
    }
    node
}

#[test]
fn what_is_refused() {
    let mut node =
        node(&["VADD v VALUES 3 1 2 3 a", "VADD r REDUCE 2 VALUES 3 1 2 3 a", "SET s 1"]);
    let vector = "invalid vector specification";
    for (command, want) in [
        ("VADD v VALUES 3 1 2 b", vector),
        ("VADD v VALUES 0 b c d", vector),
        ("VADD v VALUES -1 b c d", vector),
        ("VADD v VALUES 9223372036854775807 b c d", vector),
        ("VADD v VALUES 3 1 2 inf b", vector),
        ("VADD v VALUES 3 1 2 nan b", vector),
        ("VADD v VALUES 3 1 2 1e39 b", vector),
        ("VADD v FP32 abc e", vector),
        ("VADD v FP32 \"\" e", vector),
        ("VADD v FP32 \"\\x00\\x00\\xc0\\x7f\" e", vector),
        ("VADD v XX 3 1 2 3 b", vector),
        ("VADD v REDUCE 0 VALUES 3 1 2 3 b", vector),
        ("VADD new REDUCE 70000 VALUES 3 1 2 3 b", vector),
        ("VADD v FP32 abcd e", "Vector dimension mismatch - got 1 but set has 3"),
        ("VADD v VALUES 3 1 2 3 b M 3", "invalid M"),
        ("VADD v VALUES 3 1 2 3 b M 4097", "invalid M"),
        ("VADD v VALUES 3 1 2 3 b M 4", "asked M value mismatch with existing vector set"),
        ("VADD v VALUES 3 1 2 3 b EF 0", "invalid EF"),
        ("VADD v VALUES 3 1 2 3 b EF 1000001", "invalid EF"),
        ("VADD v VALUES 3 1 2 3 b FOO", "invalid option after element"),
        ("VADD v VALUES 3 1 2 3 b SETATTR", "invalid option after element"),
        (
            "VADD v REDUCE 2 VALUES 3 1 2 3 b",
            "cannot add projection to existing set without projection",
        ),
        ("VADD r VALUES 3 1 2 3 b", "Vector dimension mismatch - got 3 but set has 2"),
        ("VADD r VALUES 2 1 2 b", "Vector dimension mismatch - got 2 but set has 2"),
        ("VADD r REDUCE 3 VALUES 3 1 2 3 b", "Vector dimension mismatch - got 3 but set has 2"),
        (
            "VSIM r VALUES 4 1 2 3 4",
            "Input dimension mismatch for projection - got 4 but projection expects 3",
        ),
        ("VSIM v VALUES 2 1 1", "Vector dimension mismatch - got 2 but set has 3"),
        ("VSIM v ELE a COUNT 0", "invalid COUNT"),
        ("VSIM v ELE a EF 0", "invalid EF"),
        ("VSIM v ELE a EPSILON 0", "invalid EPSILON"),
        ("VSIM v ELE a EPSILON nan", "invalid EPSILON"),
        ("VSIM v ELE a FILTER-EF -1", "invalid FILTER-EF"),
        ("VSIM v ELE a FILTER", "syntax error in VSIM command"),
        ("VEMB v a FOO", "invalid option"),
        ("VRANDMEMBER v x", "COUNT value is not an integer"),
    ] {
        assert_eq!(node.run(command), format!("(error) ERR {want}"), "{command}");
    }
    for command in ["VADD s VALUES 1 1 a", "VSIM s ELE a", "VCARD s", "VREM s a", "VINFO s"] {
        assert!(node.run(command).starts_with("(error) WRONGTYPE"), "{command}");
    }
    assert!(node.run("GET v").starts_with("(error) WRONGTYPE"));
    assert_eq!(node.run("EXISTS new"), "0", "what was refused left nothing");
    assert_eq!(
        (node.run("TYPE v"), node.run("OBJECT ENCODING v")),
        ("vectorset".into(), "raw".into())
    );
}

#[test]
fn a_query_of_a_reduced_set_may_be_reduced_already() {
    let mut node = node(&["VADD r REDUCE 2 VALUES 3 1 2 3 a"]);
    assert_eq!(node.run("VSIM r VALUES 2 1 1"), "1) a");
    assert_eq!(node.run("VSIM r VALUES 3 1 2 3 WITHSCORES"), "1) a\n2) 1");
}

#[test]
fn maps_and_truth_values_in_resp3() {
    let mut node =
        node(&["VADD v VALUES 2 1 0 a NOQUANT SETATTR x", "VADD v VALUES 2 0 1 b NOQUANT"]);
    node.protocol = Protocol::Resp3;
    for (command, want) in [
        ("VSIM v ELE a", "1) a\n2) b"),
        ("VSIM v ELE a WITHSCORES", "1) a\n2) 1\n3) b\n4) 0.5"),
        ("VSIM v ELE a WITHATTRIBS", "1) a\n2) x\n3) b\n4) (nil)"),
        ("VSIM v ELE a WITHSCORES WITHATTRIBS COUNT 1", "1) a\n2) 1) 1\n   2) x"),
        ("VSIM absent ELE a WITHSCORES", "(empty array)"),
        ("VISMEMBER v a", "true"),
        ("VREM v x", "false"),
        ("VSETATTR v b {}", "true"),
        ("VADD v VALUES 2 1 1 a NOQUANT", "false"),
        ("VGETATTR v a", "x"),
    ] {
        assert_eq!(node.run(command), want, "{command}");
    }
}

#[test]
fn attributes_stay_with_their_element() {
    let mut node = node(&["VADD v VALUES 2 1 0 a SETATTR x"]);
    node.run("VADD v VALUES 2 0 1 a");
    assert_eq!(node.run("VGETATTR v a"), "x", "another vector, the same attributes");
    node.run("VADD v VALUES 2 0 1 a SETATTR y");
    assert_eq!(node.run("VGETATTR v a"), "y");
    node.run("VADD v VALUES 2 0 1 a SETATTR \"\"");
    assert_eq!(node.run("VGETATTR v a"), "(nil)");
}

#[test]
fn commands_propagate_as_they_are() {
    check_stream(
        "what changes nothing is not propagated",
        &["VADD v VALUES 2 1 0 a CAS", "VREM v x", "VSETATTR v x y", "VSIM v ELE a", "VREM v a"],
        &["VADD v VALUES 2 1 0 a CAS", "VREM v a"],
    );
}

#[test]
fn a_replica_has_the_same_graph() {
    let mut node = node(&[]);
    for number in 0..200i64 {
        let (x, y) = (number * 37 % 101 - 50, number * 53 % 97 - 48);
        node.run(&format!("VADD v VALUES 3 {x} {y} {number} e{number} M 4 EF 20"));
        if number % 3 == 0 {
            node.run(&format!("VREM v e{}", number / 2));
        }
    }
    let mut replica = node.replica();
    for number in 0..200 {
        let links = format!("VLINKS v e{number} WITHSCORES");
        assert_eq!(node.run(&links), replica.run(&links));
    }
}

#[test]
fn copies_are_complete() {
    let mut node = node(&["VADD v VALUES 2 1 0 a SETATTR x", "VADD v VALUES 2 0 1 b", "COPY v w"]);
    node.run("VREM v a");
    node.run("RENAME v u");
    assert_eq!((node.run("VCARD u"), node.run("VCARD w")), ("1".into(), "2".into()));
    assert_eq!(node.run("VSIM w ELE a WITHATTRIBS COUNT 1"), "1) a\n2) x");
}
