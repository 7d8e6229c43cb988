//! A data node alone, for trying the server crate without the rest of the command line.
//!
//! `cargo run -p slotward-server --example node -- --port 7001 --dir /tmp/node`

use slotward_config::{CommandLine, Config, Sources, load, parse_command_line};

#[global_allocator]
static ALLOCATOR: slotward_server::Allocator = slotward_server::Allocator;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let CommandLine::Start { file, directives, .. } =
        parse_command_line(&arguments).map_err(|error| anyhow::anyhow!("{error}"))?
    else {
        anyhow::bail!("this example only starts a node")
    };
    let mut read = |path: &str| {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Ok(vec![(path.to_owned(), text)])
    };
    let sources = Sources {
        file: file.as_deref(),
        stdin: None,
        environment: &[],
        directives: &directives,
        read: &mut read,
    };
    let config = load(Config::new(), sources)?;
    slotward_server::run(config, file.as_deref().unwrap_or_default())
}
