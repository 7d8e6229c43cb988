//! What the node tells about itself, and its end.

use std::sync::atomic::Ordering;

use slotward_commands::{
    Arg, CmdError, Command, Flags, Group, command_count, command_docs, command_getkeys,
    command_getkeysandflags, command_info, command_list,
};

use super::{ADMIN, ANYTIME, NODE, container, row};
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};
use crate::{clock, info};

const fn server(
    name: &'static str,
    arity: i16,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
) -> Command {
    row(name, arity, flags, Group::Server, since, summary)
}

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        Command {
            args: &[Arg::string("section").optional().multiple()],
            categories: &["dangerous"],
            ..server("info", -1, ANYTIME, "1.0.0", "Describes the node.")
        },
        Handler::Now(info_command),
    ),
    NodeCommand::new(
        server("time", 1, ANYTIME.and(Flags::FAST), "2.6.0", "Tells the time of the node."),
        Handler::Now(time),
    ),
    NodeCommand::new(
        Command {
            categories: &["admin", "dangerous"],
            ..server(
                "lastsave",
                1,
                ANYTIME.and(Flags::FAST),
                "1.0.0",
                "Tells when the last snapshot was written.",
            )
        },
        Handler::Now(lastsave),
    ),
    NodeCommand::new(
        server(
            "save",
            1,
            Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_MULTI),
            "1.0.0",
            "Writes a snapshot to disk.",
        ),
        Handler::Now(no_disk),
    ),
    NodeCommand::new(
        server(
            "bgsave",
            -1,
            Flags::ADMIN.and(Flags::NOSCRIPT),
            "1.0.0",
            "Writes a snapshot to disk in the background.",
        ),
        Handler::Now(no_disk),
    ),
    NodeCommand::new(
        server(
            "bgrewriteaof",
            1,
            Flags::ADMIN.and(Flags::NOSCRIPT),
            "1.0.0",
            "Rewrites the append-only file in the background.",
        ),
        Handler::Now(no_disk),
    ),
    NodeCommand::new(
        Command {
            args: &[Arg::string("option").optional().multiple()],
            ..server(
                "shutdown",
                -1,
                ADMIN.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY),
                "1.0.0",
                "Ends the node.",
            )
        },
        Handler::Later(shutdown),
    ),
    NodeCommand {
        row: server("command", -1, ANYTIME, "2.8.13", "Describes the commands."),
        run: Some(Handler::Now(command)),
        subcommands: &[
            NodeCommand::new(
                server("count", 2, ANYTIME, "2.8.13", "Tells how many commands there are."),
                Handler::Now(command_count_),
            ),
            NodeCommand::new(
                Command {
                    args: &[Arg::string("command-name").optional().multiple()],
                    ..server("info", -2, ANYTIME, "2.8.13", "Describes commands for clients.")
                },
                Handler::Now(command_info_),
            ),
            NodeCommand::new(
                Command {
                    args: &[Arg::string("command-name").optional().multiple()],
                    ..server("docs", -2, ANYTIME, "7.0.0", "Describes commands for people.")
                },
                Handler::Now(command_docs_),
            ),
            NodeCommand::new(
                Command {
                    args: &[Arg::string("filterby").optional().multiple()],
                    ..server("list", -2, ANYTIME, "7.0.0", "Lists the names of commands.")
                },
                Handler::Now(command_list_),
            ),
            NodeCommand::new(
                Command {
                    args: &[Arg::string("command"), Arg::string("arg").optional().multiple()],
                    ..server("getkeys", -3, ANYTIME, "2.8.13", "Finds the keys of a command.")
                },
                Handler::Now(command_getkeys_),
            ),
            NodeCommand::new(
                Command {
                    args: &[Arg::string("command"), Arg::string("arg").optional().multiple()],
                    ..server(
                        "getkeysandflags",
                        -3,
                        ANYTIME,
                        "7.0.0",
                        "Finds the keys of a command and what is done to them.",
                    )
                },
                Handler::Now(command_getkeysandflags_),
            ),
            NodeCommand::new(
                server("help", 2, ANYTIME, "5.0.0", "Lists the subcommands."),
                Handler::Now(command_help),
            ),
        ],
    },
    NodeCommand::container(
        container("slowlog", Group::Server, "2.2.12", "Commands about the slow log."),
        &[
            NodeCommand::new(
                Command {
                    args: &[Arg::integer("count").optional()],
                    ..server(
                        "get",
                        -2,
                        Flags::ADMIN.and(ANYTIME),
                        "2.2.12",
                        "Lists the last slow commands.",
                    )
                },
                Handler::Now(slowlog_get),
            ),
            NodeCommand::new(
                server(
                    "len",
                    2,
                    Flags::ADMIN.and(ANYTIME),
                    "2.2.12",
                    "Tells how many slow commands are remembered.",
                ),
                Handler::Now(slowlog_len),
            ),
            NodeCommand::new(
                server(
                    "reset",
                    2,
                    Flags::ADMIN.and(ANYTIME),
                    "2.2.12",
                    "Forgets the slow commands.",
                ),
                Handler::Now(slowlog_reset),
            ),
            NodeCommand::new(
                server("help", 2, ANYTIME, "6.2.0", "Lists the subcommands."),
                Handler::Now(slowlog_help),
            ),
        ],
    ),
    NodeCommand::container(
        container("latency", Group::Server, "2.8.13", "Commands about delays."),
        &[
            NodeCommand::new(
                server("latest", 2, ADMIN, "2.8.13", "Lists the last delay of every kind."),
                Handler::Now(empty_array),
            ),
            NodeCommand::new(
                Command {
                    args: &[Arg::string("event")],
                    ..server("history", 3, ADMIN, "2.8.13", "Lists the delays of one kind.")
                },
                Handler::Now(empty_array),
            ),
            NodeCommand::new(
                Command {
                    args: &[Arg::string("event").optional().multiple()],
                    ..server("reset", -2, ADMIN, "2.8.13", "Forgets delays.")
                },
                Handler::Now(latency_reset),
            ),
            NodeCommand::new(
                server("help", 2, ANYTIME, "2.8.13", "Lists the subcommands."),
                Handler::Now(latency_help),
            ),
        ],
    ),
    NodeCommand::container(
        container("acl", Group::Server, "6.0.0", "Commands about users."),
        &[
            NodeCommand::new(
                server("whoami", 2, NODE, "6.0.0", "Tells the connection's user."),
                Handler::Now(whoami),
            ),
            NodeCommand::new(
                server("users", 2, ADMIN, "6.0.0", "Lists the users."),
                Handler::Now(acl_users),
            ),
            NodeCommand::new(
                server("help", 2, ANYTIME, "6.0.0", "Lists the subcommands."),
                Handler::Now(acl_help),
            ),
        ],
    ),
    NodeCommand::container(
        container("module", Group::Server, "4.0.0", "Commands about extensions."),
        &[
            NodeCommand::new(
                server(
                    "list",
                    2,
                    Flags::ADMIN.and(Flags::NOSCRIPT),
                    "4.0.0",
                    "Lists the extensions.",
                ),
                Handler::Now(empty_array),
            ),
            NodeCommand::new(
                server("help", 2, ANYTIME, "5.0.0", "Lists the subcommands."),
                Handler::Now(module_help),
            ),
        ],
    ),
];

fn info_command(call: &mut NodeCall<'_>) -> Outcome {
    let sections: Vec<String> =
        (1..call.argv.len()).map(|index| call.text(index).to_ascii_lowercase()).collect();
    let text = info::render(call.node, &sections);
    call.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn time(call: &mut NodeCall<'_>) -> Outcome {
    let micros = clock::unix_micros();
    call.reply.array(2);
    call.reply.bulk((micros / 1_000_000).to_string().as_bytes());
    call.reply.bulk((micros % 1_000_000).to_string().as_bytes());
    Ok(())
}

fn lastsave(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.integer(call.node.last_save.load(Ordering::Relaxed));
    Ok(())
}

fn no_disk(_: &mut NodeCall<'_>) -> Outcome {
    Err(CmdError::text(
        "ERR Nothing is kept on disk yet: snapshots and append-only files are not available",
    ))
}

/// The end of the connection is the answer; there is another only if the shutdown is aborted.
fn shutdown<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        let (mut now, mut abort, mut save, mut nosave) = (false, false, false, false);
        for index in 1..call.argv.len() {
            match call.text(index).to_ascii_uppercase().as_str() {
                "NOSAVE" => nosave = true,
                "SAVE" => save = true,
                "NOW" => now = true,
                // Nothing that could fail stands in the way yet.
                "FORCE" => {}
                "ABORT" => abort = true,
                _ => return Err(CmdError::Syntax),
            }
        }
        if (save && nosave) || (abort && call.argv.len() > 2) {
            return Err(CmdError::Syntax);
        }
        if abort {
            if !call.node.shutdown.cancel() {
                return Err(CmdError::text("ERR No shutdown in progress."));
            }
            call.reply.simple("OK");
            return Ok(());
        }
        if save {
            return no_disk(call);
        }
        tracing::warn!("User requested shutdown...");
        call.node.shutdown.ask(now);
        call.node.shutdown.cancelled().await;
        Err(CmdError::text("ERR Errors trying to SHUTDOWN. Check logs."))
    })
}

fn command(call: &mut NodeCall<'_>) -> Outcome {
    command_info(call.node.commands.registry(), call.argv.from(call.argv.len()), call.reply);
    Ok(())
}

fn command_count_(call: &mut NodeCall<'_>) -> Outcome {
    command_count(call.node.commands.registry(), call.reply);
    Ok(())
}

fn command_info_(call: &mut NodeCall<'_>) -> Outcome {
    command_info(call.node.commands.registry(), call.argv.from(2), call.reply);
    Ok(())
}

fn command_docs_(call: &mut NodeCall<'_>) -> Outcome {
    command_docs(call.node.commands.registry(), call.argv.from(2), call.reply);
    Ok(())
}

fn command_list_(call: &mut NodeCall<'_>) -> Outcome {
    command_list(call.node.commands.registry(), call.argv.from(2), call.reply)
}

fn command_getkeys_(call: &mut NodeCall<'_>) -> Outcome {
    command_getkeys(call.node.commands.registry(), call.argv.from(2), call.reply)
}

fn command_getkeysandflags_(call: &mut NodeCall<'_>) -> Outcome {
    command_getkeysandflags(call.node.commands.registry(), call.argv.from(2), call.reply)
}

fn command_help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(
        call,
        "COMMAND",
        &[
            "COUNT",
            "INFO [<name> ...] | DOCS [<name> ...]",
            "LIST [FILTERBY MODULE <name>|ACLCAT <category>|PATTERN <pattern>]",
            "GETKEYS <command> [<arg> ...] | GETKEYSANDFLAGS <command> [<arg> ...]",
        ],
    );
    Ok(())
}

fn slowlog_get(call: &mut NodeCall<'_>) -> Outcome {
    let count = match call.argv.len() {
        2 => 10,
        3 => match call.int(2)? {
            -1 => usize::MAX,
            count => usize::try_from(count)
                .map_err(|_| CmdError::text("ERR count should be greater than or equal to -1"))?,
        },
        _ => return Err(CmdError::WrongArgCount("slowlog|get")),
    };
    call.node.slow_log.write(count, call.reply);
    Ok(())
}

fn slowlog_len(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.integer(call.node.slow_log.len() as i64);
    Ok(())
}

fn slowlog_reset(call: &mut NodeCall<'_>) -> Outcome {
    call.node.slow_log.reset();
    call.reply.ok();
    Ok(())
}

fn slowlog_help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(call, "SLOWLOG", &["GET [<count>]", "LEN", "RESET"]);
    Ok(())
}

/// For what is not recorded yet: there is nothing to list.
fn empty_array(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.array(0);
    Ok(())
}

fn latency_reset(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.integer(0);
    Ok(())
}

fn latency_help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(call, "LATENCY", &["LATEST", "HISTORY <event>", "RESET [<event> ...]"]);
    Ok(())
}

fn whoami(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.bulk(b"default");
    Ok(())
}

fn acl_users(call: &mut NodeCall<'_>) -> Outcome {
    call.reply.array(1);
    call.reply.bulk(b"default");
    Ok(())
}

fn acl_help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(call, "ACL", &["WHOAMI", "USERS"]);
    Ok(())
}

fn module_help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(call, "MODULE", &["LIST"]);
    Ok(())
}
