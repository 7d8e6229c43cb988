//! Random commands, made from the rows' own documentation of their arguments: none may panic, touch
//! a key that it does not name, or leave a replica with other data than its master.

use slotward_resp::OwnedArgs;

use crate::arg::{Arg, ArgKind};
use crate::command::{Command, Group, Run};
use crate::random::Random;
use crate::testing::Node;

const KEYS: &[&str] = &["a", "b", "c", "{t}1", "{t}2", ""];
const STRINGS: &[&str] =
    &["", "x", "hello", "12", "-7", "1.5", "3.0e3", "inf", "[a", "(1", "-", "+", "\0\u{1}"];
const INTEGERS: &[&str] =
    &["0", "1", "2", "3", "-1", "-2", "100", "9223372036854775807", "-9223372036854775808", "x"];
const MOMENTS: &[&str] = &["1", "1700000100", "1700000100000", "33177117420", "33177117420000"];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

/// Appends what an argument may look like on the wire; now and then what it may not.
fn write_arg(random: &mut Random, arg: &Arg, out: &mut Vec<String>) {
    if arg.optional && random.below(3) > 0 {
        return;
    }
    let times = if arg.multiple { 1 + random.below(3) } else { 1 };
    for time in 0..times {
        if let Some(token) = arg.token
            && (time == 0 || arg.multiple_token)
        {
            out.push(token.to_owned());
        }
        match arg.kind {
            ArgKind::Token => {}
            ArgKind::OneOf => {
                let member = random.below(arg.args.len() as u64) as usize;
                write_arg(random, &arg.args[member], out);
            }
            ArgKind::Block => arg.args.iter().for_each(|arg| write_arg(random, arg, out)),
            ArgKind::Key => out.push(pick(random, KEYS).to_owned()),
            ArgKind::String => out.push(pick(random, STRINGS).to_owned()),
            ArgKind::Pattern => out.push(pick(random, &["*", "h*", "#", "{t}*", "?"]).to_owned()),
            ArgKind::UnixTime => out.push(pick(random, MOMENTS).to_owned()),
            ArgKind::Integer => out.push(pick(random, INTEGERS).to_owned()),
            ArgKind::Double => {
                out.push(pick(random, &["0", "1", "-2.5", "1e3", "inf", "-inf", "nan"]).to_owned());
            }
        }
    }
}

fn random_command(
    random: &mut Random,
    words: &[(Vec<&'static str>, &'static Command)],
) -> OwnedArgs {
    let (names, command) = &words[random.below(words.len() as u64) as usize];
    let mut out: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    command.args.iter().for_each(|arg| write_arg(random, arg, &mut out));
    match random.below(20) {
        0 => {
            out.pop();
        }
        1 => out.push(pick(random, STRINGS).to_owned()),
        _ => {}
    }
    out.iter().map(String::as_bytes).collect()
}

fn data_commands() -> Vec<(Vec<&'static str>, &'static Command)> {
    let mut found = Vec::new();
    for command in crate::all() {
        if matches!(command.run, Run::Data(_)) {
            found.push((vec![command.name], command));
        }
        let subs = command.subcommands.iter();
        found.extend(subs.map(|sub| (vec![command.name, sub.name], sub)));
    }
    found
}

/// Runs commands of these rows on a node and its replica. How many commands changed anything.
fn follow(words: &[(Vec<&'static str>, &'static Command)], seed: u64) -> usize {
    let mut random = Random::new(seed);
    let mut node = Node::new(seed, 1_700_000_000_000);
    node.settings.string_bytes_max = 4096;
    for _ in 0..300 {
        let command = random_command(&mut random, words);
        node.run_args(command.as_args());
        node.now.0 += random.below(2000) as i64;
    }
    let replica = node.replica();
    assert_eq!(
        replica.digest(node.now),
        node.digest(node.now),
        "seed {seed}: the replica differs; it got:\n{}",
        node.stream_text().join("\n")
    );
    node.stream.len()
}

#[test]
fn replicas_follow_random_commands() {
    let words = data_commands();
    let propagated: usize = (0..60).map(|seed| follow(&words, seed)).sum();
    assert!(propagated > 60 * 20, "the run was dull: {propagated} commands changed anything");
}

/// A family that no server at hand can be compared with.
#[test]
fn replicas_follow_random_commands_on_arrays() {
    let mut words = data_commands();
    words.retain(|(names, command)| command.group == Group::Array || names[0] == "copy");
    let propagated: usize = (0..30).map(|seed| follow(&words, seed)).sum();
    assert!(propagated > 30 * 40, "the run was dull: {propagated} commands changed anything");
}
