//! What goes beyond one command.

use slotward_resp::Protocol;

use crate::testing::{Node, check_stream};

fn node() -> Node {
    Node::new(1, 1_700_000_000_000)
}

#[test]
fn what_is_propagated() {
    for (why, commands, want) in [
        (
            "writes are themselves",
            &["ARSET a 0 x y", "ARMSET a 7 z"][..],
            &["ARSET a 0 x y", "ARMSET a 7 z"][..],
        ),
        ("appends too", &["ARINSERT a x", "ARRING a 3 y"], &["ARINSERT a x", "ARRING a 3 y"]),
        ("what changes nothing is nothing", &["ARDEL a 1", "ARSEEK a 3", "ARDELRANGE a 0 9"], &[]),
        ("a cursor that stays", &["ARINSERT a x", "ARSEEK a 1"], &["ARINSERT a x"]),
        ("a refused write", &["ARSET a x y", "ARRING a 0 x", "ARMSET a 0 x y z"], &[]),
    ] {
        check_stream(why, commands, want);
    }
}

#[test]
fn events_have_the_names_of_commands() {
    let mut node = node();
    for line in [
        "ARSET a 0 x",
        "ARMSET a 1 y",
        "ARINSERT a z",
        "ARRING a 2 w",
        "ARSEEK a 0",
        "ARDEL a 5",
        "ARDEL a 0",
        "ARDELRANGE a 0 9",
    ] {
        node.run(line);
    }
    let names: Vec<_> = node.events.iter().map(|event| event.name).collect();
    let want = ["arset", "armset", "arinsert", "arring", "arseek", "ardel", "ardelrange", "del"];
    assert_eq!(names, want);
}

#[test]
fn an_array_moves_as_other_values_do() {
    let mut node = node();
    node.run("ARMSET a 3 x 18446744073709551614 7 900 2.50");
    node.run("ARINSERT a first");
    assert_eq!(node.run("COPY a b"), "1");
    assert_eq!(node.run("RENAME a c"), "OK");
    let (b, c) = (node.run("ARSCAN b 0 18446744073709551614"), node.run("ARNEXT c"));
    assert_eq!(
        b,
        "1) 1) 0\n   2) first\n2) 1) 3\n   2) x\n3) 1) 900\n   2) 2.50\n4) 1) 18446744073709551614\n   2) 7"
    );
    assert_eq!(c, "1");
    node.run("ARSET c 0 changed");
    assert_eq!(node.run("ARGET b 0"), "first", "a copy is apart");
    assert_eq!(
        node.run("SORT c"),
        "(error) WRONGTYPE Operation against a key holding the wrong kind of value"
    );
    assert_eq!(node.replica().digest(node.now), node.digest(node.now));
}

#[test]
fn dumps_read_back() {
    let mut node = node();
    for index in 0..300 {
        node.run(&format!("ARSET a {} {index}", index * 37));
        node.run(&format!("ARINSERT a text-of-{index}"));
    }
    let dump = node.run("DUMP a");
    assert!(dump.starts_with("\\x1c"), "{dump}");
    assert_eq!(node.run(&format!("RESTORE b 0 \"{dump}\"")), "OK");
    let range = "0 18446744073709551614";
    assert_eq!(node.run(&format!("ARSCAN b {range}")), node.run(&format!("ARSCAN a {range}")));
    assert_eq!(node.run("ARNEXT b"), "300");
}

#[test]
fn large_numbers_have_a_form_of_their_own() {
    let mut node = node();
    node.protocol = Protocol::Resp3;
    node.run("ARSET a 18446744073709551614 x");
    assert_eq!(node.run("ARLEN a"), "18446744073709551615");
    node.protocol = Protocol::Resp2;
    assert_eq!(
        node.run("ARSCAN a 9223372036854775807 18446744073709551614"),
        "1) 1) 18446744073709551614\n   2) x"
    );
}

#[test]
fn info_tells_of_slices() {
    let mut node = node();
    for index in (0..200).chain((0..20).map(|step| 100_000 + step * 100)) {
        node.run(&format!("ARSET a {index} x"));
    }
    let info = node.run("ARINFO a FULL").replace('\n', " ");
    for part in [
        "2) 220 ",
        "slices  8) 2 ",
        "15) dense-slices 16) 1 17) sparse-slices 18) 1 ",
        "19) avg-dense-size 20) 200 21) avg-dense-fill 22) 1 23) avg-sparse-size 24) 20",
    ] {
        assert!(info.contains(part), "{part:?} is not in {info}");
    }
}

#[test]
fn searches_are_limited() {
    let mut node = node();
    node.run("ARSET a 0 x");
    let many = |count: usize| format!("ARGREP a - +{}", " EXACT x".repeat(count));
    assert_eq!(node.run(&many(250)), "1) 0");
    assert_eq!(node.run(&many(251)), "(error) ERR too many predicates, at most 250 are allowed");
    let long = format!("ARGREP a - + RE {}", "x".repeat(2049));
    assert_eq!(node.run(&long), "(error) ERR regular expression is longer than 2048 bytes");
    let heavy = format!("ARGREP a - +{}", " RE (x{50}){50}".repeat(250));
    assert_eq!(node.run(&heavy), "(error) ERR invalid regular expression");
}
