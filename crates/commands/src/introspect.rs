//! `COMMAND` and its subcommands, made from the rows.

use slotward_resp::{Args, Reply};

use crate::arg::{Arg, ArgKind};
use crate::command::{Command, Run};
use crate::error::CmdError;
use crate::keys::{Access, Begin, Find, Keys};
use crate::registry::{CommandId, Found, Registry};
use slotward_types::glob_match_nocase;

/// `COMMAND COUNT`.
pub fn command_count(registry: &Registry, reply: &mut Reply) {
    reply.integer(registry.top().len() as i64);
}

/// `COMMAND` (no names: all commands) and `COMMAND INFO [name …]`.
pub fn command_info(registry: &Registry, names: Args<'_>, reply: &mut Reply) {
    if names.is_empty() {
        reply.array(registry.top().len());
        registry.top().iter().for_each(|id| info(registry, *id, reply));
        return;
    }
    reply.array(names.len());
    for name in names.iter() {
        match registry.by_name(name) {
            Some(id) => info(registry, id, reply),
            None => reply.null_array(),
        }
    }
}

fn info(registry: &Registry, id: CommandId, reply: &mut Reply) {
    let command = registry.command(id);
    reply.array(10);
    reply.bulk(registry.full_name(id).as_bytes());
    reply.integer(command.arity.as_redis());
    statuses(registry.flags(id).names(), reply);
    let (first, last, step) = registry.legacy_range(id);
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories = command.acl_categories();
    reply.set(categories.len());
    categories.iter().for_each(|name| reply.simple(&format!("@{name}")));
    reply.set(command.tips.len());
    command.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(command.keys.len());
    command.keys.iter().for_each(|keys| key_spec(keys, reply));
    let subcommands = registry.subcommands(id);
    if subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(subcommands.len());
    }
    subcommands.iter().for_each(|sub_id| info(registry, *sub_id, reply));
}

fn statuses(names: impl Iterator<Item = &'static str>, reply: &mut Reply) {
    let names: Vec<&str> = names.collect();
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name));
}

fn key_spec(keys: &Keys, reply: &mut Reply) {
    reply.map(3);
    reply.bulk(b"flags");
    statuses(keys.access.names(), reply);
    reply.bulk(b"begin_search");
    match keys.begin {
        Begin::Index(index) => {
            spec_of("index", &[("index", i64::from(index))], reply);
        }
        Begin::Keyword { word, from } => {
            spec_head("keyword", 2, reply);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(i64::from(from));
        }
        Begin::Unknown | Begin::Computed(_) => spec_of("unknown", &[], reply),
    }
    reply.bulk(b"find_keys");
    match keys.find {
        Find::Range { last, step, limit } => spec_of(
            "range",
            &[
                ("lastkey", i64::from(last)),
                ("keystep", i64::from(step)),
                ("limit", i64::from(limit)),
            ],
            reply,
        ),
        Find::KeyNum { number, first, step } => spec_of(
            "keynum",
            &[
                ("keynumidx", i64::from(number)),
                ("firstkey", i64::from(first)),
                ("keystep", i64::from(step)),
            ],
            reply,
        ),
        Find::Unknown => spec_of("unknown", &[], reply),
    }
}

fn spec_head(kind: &str, pairs: usize, reply: &mut Reply) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(pairs);
}

fn spec_of(kind: &str, fields: &[(&str, i64)], reply: &mut Reply) {
    spec_head(kind, fields.len(), reply);
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer(*value);
    }
}

/// `COMMAND DOCS [name …]`; names that mean nothing are left out.
pub fn command_docs(registry: &Registry, names: Args<'_>, reply: &mut Reply) {
    let ids: Vec<CommandId> = if names.is_empty() {
        registry.top().to_vec()
    } else {
        names.iter().filter_map(|name| registry.by_name(name)).collect()
    };
    reply.map(ids.len());
    for id in ids {
        reply.bulk(registry.full_name(id).as_bytes());
        docs(registry, id, reply);
    }
}

fn docs(registry: &Registry, id: CommandId, reply: &mut Reply) {
    let command = registry.command(id);
    let subcommands = registry.subcommands(id);
    let pairs = 3
        + usize::from(!command.complexity.is_empty())
        + 3 * usize::from(command.deprecated.is_some())
        + usize::from(!command.history.is_empty())
        + usize::from(!command.args.is_empty())
        + usize::from(!subcommands.is_empty());
    reply.map(pairs);
    pair("summary", command.summary, reply);
    pair("since", command.since, reply);
    pair("group", command.group.name(), reply);
    if !command.complexity.is_empty() {
        pair("complexity", command.complexity, reply);
    }
    if let Some(deprecated) = command.deprecated {
        reply.bulk(b"doc_flags");
        statuses(["deprecated"].into_iter(), reply);
        pair("deprecated_since", deprecated.since, reply);
        pair("replaced_by", deprecated.replaced_by, reply);
    }
    if !command.history.is_empty() {
        reply.bulk(b"history");
        reply.set(command.history.len());
        for (version, change) in command.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
    if !command.args.is_empty() {
        reply.bulk(b"arguments");
        args_docs(command.args, reply);
    }
    if !subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(subcommands.len());
        for sub_id in subcommands {
            reply.bulk(registry.full_name(*sub_id).as_bytes());
            docs(registry, *sub_id, reply);
        }
    }
}

fn pair(name: &str, text: &str, reply: &mut Reply) {
    reply.bulk(name.as_bytes());
    reply.bulk(text.as_bytes());
}

fn args_docs(args: &[Arg], reply: &mut Reply) {
    reply.array(args.len());
    args.iter().for_each(|arg| arg_docs(arg, reply));
}

fn arg_docs(arg: &Arg, reply: &mut Reply) {
    let flags = [
        arg.optional.then_some("optional"),
        arg.multiple.then_some("multiple"),
        arg.multiple_token.then_some("multiple_token"),
    ];
    let flags = flags.into_iter().flatten();
    let has_keys = arg.kind == ArgKind::Key || arg.key_spec > 0;
    let is_group = matches!(arg.kind, ArgKind::OneOf | ArgKind::Block);
    let pairs = 2
        + usize::from(has_keys)
        + usize::from(arg.token.is_some())
        + usize::from(arg.since.is_some())
        + usize::from(flags.clone().next().is_some())
        + usize::from(is_group);
    reply.map(pairs);
    pair("name", arg.name, reply);
    pair("type", arg.kind.name(), reply);
    if has_keys {
        reply.bulk(b"key_spec_index");
        reply.integer(i64::from(arg.key_spec));
    }
    if let Some(token) = arg.token {
        pair("token", token, reply);
    }
    if let Some(since) = arg.since {
        pair("since", since, reply);
    }
    if flags.clone().next().is_some() {
        reply.bulk(b"flags");
        statuses(flags, reply);
    }
    if is_group {
        reply.bulk(b"arguments");
        args_docs(arg.args, reply);
    }
}

/// `COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN word]`, given what follows `LIST`.
///
/// # Errors
/// When the filter is none of these.
pub fn command_list(
    registry: &Registry,
    filter: Args<'_>,
    reply: &mut Reply,
) -> Result<(), CmdError> {
    type Keep<'a> = Box<dyn Fn(CommandId) -> bool + 'a>;
    let is = |index: usize, word: &str| {
        filter.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let keep: Keep<'_> = match filter.len() {
        0 => {
            reply.set(registry.top().len());
            registry.top().iter().for_each(|id| reply.bulk(registry.full_name(*id).as_bytes()));
            return Ok(());
        }
        3 if is(0, "FILTERBY") && is(1, "MODULE") => Box::new(|_| false),
        3 if is(0, "FILTERBY") && is(1, "ACLCAT") => Box::new(|id| {
            let command = registry.command(id);
            command
                .acl_categories()
                .iter()
                .any(|name| filter[2].eq_ignore_ascii_case(name.as_bytes()))
        }),
        3 if is(0, "FILTERBY") && is(1, "PATTERN") => {
            Box::new(|id| glob_match_nocase(&filter[2], registry.full_name(id).as_bytes()))
        }
        _ => return Err(CmdError::Syntax),
    };
    let kept: Vec<CommandId> = registry.ids().filter(|id| keep(*id)).collect();
    reply.set(kept.len());
    kept.iter().for_each(|id| reply.bulk(registry.full_name(*id).as_bytes()));
    Ok(())
}

/// `COMMAND GETKEYS name [arg …]`, given what follows `GETKEYS`.
///
/// # Errors
/// When the words name no command, are too few, or hold no keys.
pub fn command_getkeys(
    registry: &Registry,
    argv: Args<'_>,
    reply: &mut Reply,
) -> Result<(), CmdError> {
    let id = keyed_command(registry, argv)?;
    let mut keys = Vec::new();
    registry
        .keys_of(id, argv, &mut keys)
        .map_err(|error| CmdError::Other(error.to_string().into()))?;
    if keys.is_empty() {
        return Err(CmdError::text("ERR Invalid arguments specified for command"));
    }
    reply.array(keys.len());
    keys.iter().for_each(|index| reply.bulk(&argv[*index]));
    Ok(())
}

/// `COMMAND GETKEYSANDFLAGS name [arg …]`, given what follows `GETKEYSANDFLAGS`.
///
/// # Errors
/// When the words name no command, are too few, or hold no keys.
pub fn command_getkeysandflags(
    registry: &Registry,
    argv: Args<'_>,
    reply: &mut Reply,
) -> Result<(), CmdError> {
    let id = keyed_command(registry, argv)?;
    let mut keys = Vec::new();
    for spec in registry.command(id).keys {
        if !spec.locate(argv, &mut |index| keys.push((index, spec.access))) {
            return Err(CmdError::text("ERR Invalid arguments specified for command"));
        }
    }
    reply.array(keys.len());
    for (index, access) in keys {
        reply.array(2);
        reply.bulk(&argv[index]);
        // Which of its uses a call makes is not told apart here: the widest is given.
        statuses(access.without(Access::VARIABLE).names(), reply);
    }
    Ok(())
}

fn keyed_command(registry: &Registry, argv: Args<'_>) -> Result<CommandId, CmdError> {
    let Found::Command(id) = registry.find(argv) else {
        return Err(CmdError::text("ERR Invalid command specified"));
    };
    let command = registry.command(id);
    let has_keys = command.keys.iter().any(|keys| !keys.access.has(Access::NOT_KEY));
    if !has_keys || matches!(command.run, Run::Container) {
        return Err(CmdError::text("ERR The command has no key arguments"));
    }
    if !command.arity.admits(argv.len()) {
        return Err(CmdError::text("ERR Invalid number of arguments specified for command"));
    }
    Ok(id)
}

/// The reply of `… HELP`: a heading, then usage and summary of every subcommand.
pub fn help(container: &str, subcommands: &[Command], reply: &mut Reply) {
    reply.array(1 + 2 * subcommands.len());
    reply.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for subcommand in subcommands {
        let args =
            subcommand.args.iter().map(usage).fold(String::new(), |all, arg| all + " " + &arg);
        reply.simple(&format!("{}{args}", subcommand.name.to_uppercase()));
        reply.simple(&format!("    {}", subcommand.summary));
    }
}

/// An argument as people write it down: `[EX <seconds>]`, `NX | XX`, `<key> [<key> ...]`.
pub fn usage(arg: &Arg) -> String {
    let inner = |separator: &str| arg.args.iter().map(usage).collect::<Vec<_>>().join(separator);
    let body = match arg.kind {
        ArgKind::Token => String::new(),
        ArgKind::OneOf if arg.optional => inner(" | "),
        ArgKind::OneOf => format!("<{}>", inner(" | ")),
        ArgKind::Block => inner(" "),
        _ => format!("<{}>", arg.name),
    };
    let once = match arg.token {
        Some(token) if body.is_empty() => token.to_owned(),
        Some(token) => format!("{token} {body}"),
        None => body.clone(),
    };
    let all = match (arg.multiple, arg.multiple_token) {
        (false, _) => once,
        (true, true) => format!("{once} [{once} ...]"),
        (true, false) => format!("{once} [{body} ...]"),
    };
    if arg.optional { format!("[{all}]") } else { all }
}
