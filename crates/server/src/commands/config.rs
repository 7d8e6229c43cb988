//! `CONFIG`: the settings, while the node runs.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use slotward_commands::{Arg, CmdError, Command, Group};

use super::{ADMIN, ANYTIME, container, row};
use crate::call::{Handler, NodeCall, NodeCommand, Outcome};

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[NodeCommand::container(
    container("config", Group::Server, "2.0.0", "Commands about the settings."),
    &[
        NodeCommand::new(
            Command {
                args: &[Arg::pattern("parameter").multiple()],
                ..row("get", -3, ADMIN, Group::Server, "2.0.0", "Tells settings by pattern.")
            },
            Handler::Now(get),
        ),
        NodeCommand::new(
            Command {
                args: &[Arg::block("data", &[Arg::string("parameter"), Arg::string("value")])
                    .multiple()],
                ..row("set", -4, ADMIN, Group::Server, "2.0.0", "Changes settings, all or none.")
            },
            Handler::Now(set),
        ),
        NodeCommand::new(
            row("resetstat", 2, ADMIN, Group::Server, "2.0.0", "Starts counting anew."),
            Handler::Now(resetstat),
        ),
        NodeCommand::new(
            row(
                "rewrite",
                2,
                ADMIN,
                Group::Server,
                "2.8.0",
                "Writes the settings to the file they came from.",
            ),
            Handler::Now(rewrite),
        ),
        NodeCommand::new(
            row("help", 2, ANYTIME, Group::Server, "5.0.0", "Lists the subcommands."),
            Handler::Now(help),
        ),
    ],
)];

fn get(call: &mut NodeCall<'_>) -> Outcome {
    let patterns: Vec<&[u8]> = call.argv.from(2).iter().collect();
    let found = call.node.config.lock().get(&patterns);
    call.reply.map(found.len());
    for (name, value) in found {
        call.reply.bulk(name.as_bytes());
        call.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(call: &mut NodeCall<'_>) -> Outcome {
    let words: Vec<String> = (2..call.argv.len()).map(|index| call.text(index)).collect();
    if !words.len().is_multiple_of(2) {
        return Err(CmdError::WrongArgCount("config|set"));
    }
    let pairs: Vec<(&str, &str)> =
        words.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let protected_too = call.is_allowed(call.live.settings.enable_protected_configs);
    let mut config = call.node.config.lock();
    config.set(&pairs, protected_too).map_err(|error| CmdError::Other(error.to_string().into()))?;
    // Published under the lock, so that two changes are seen in their order.
    call.node.publish_settings(&config);
    drop(config);
    call.reply.ok();
    Ok(())
}

fn resetstat(call: &mut NodeCall<'_>) -> Outcome {
    call.node.stats.reset();
    call.node.garbage.reset();
    call.reply.ok();
    Ok(())
}

fn rewrite(call: &mut NodeCall<'_>) -> Outcome {
    let path = &call.node.config_file;
    if path.is_empty() {
        return Err(CmdError::text("ERR The server is running without a config file"));
    }
    if path.ends_with(".yaml") || path.ends_with(".yml") {
        return Err(CmdError::text("ERR Rewriting config file: YAML files are not rewritten"));
    }
    let written = {
        let config = call.node.config.lock();
        write_file(Path::new(path), &config)
    };
    if let Err(error) = written {
        tracing::warn!(%error, path, "the configuration file cannot be rewritten");
        return Err(CmdError::Other(format!("ERR Rewriting config file: {error}").into()));
    }
    call.reply.ok();
    Ok(())
}

/// Puts the file in its place only when it is complete and on disk: a crash leaves the old one.
fn write_file(path: &Path, config: &slotward_config::Config) -> io::Result<()> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let beside = path.with_extension(format!("rewrite-{}", std::process::id()));
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(slotward_config::rewrite(&text, config).as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().inspect_err(|_| {
        // What is half written is of no use to anybody.
        let _ = fs::remove_file(&beside);
    })
}

fn help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(
        call,
        "CONFIG",
        &[
            "GET <pattern> [<pattern> ...]",
            "SET <name> <value> [<name> <value> ...]",
            "RESETSTAT",
            "REWRITE",
        ],
    );
    Ok(())
}
