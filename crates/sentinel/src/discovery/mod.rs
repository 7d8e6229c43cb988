//! Sentinels that are told of a server to watch, and not of each other, meet at that server.
//!
//! Each says hello there and hears who else did: a Slotward node keeps the hellos (`SLOTWARD HELLO`),
//! a server of Redis or Valkey passes them on over the channel `__sentinel__:hello`. What comes of
//! that is the group's affair (`raft`). The leader of a group then has the watched nodes attend to
//! it (`adopt`).

mod adopt;
mod hello;
mod link;

use std::io;
use std::time::Duration;

use slotward_resp::Value;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Monitor;
use crate::control::Control;
use crate::raft::Group;
use crate::say::Limited;
use hello::Hello;
use link::Link;

/// Where Redis's sentinels say hello.
const CHANNEL: &str = "__sentinel__:hello";
/// Between two hellos while there is no group, and once there is.
const HELLO_EVERY: Duration = Duration::from_millis(300);
const HELLO_EVERY_LATER: Duration = Duration::from_secs(2);
const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// What the meetings need to know.
#[derive(Clone)]
pub(crate) struct Discovery {
    pub(crate) monitors: Vec<Monitor>,
    /// Whether masters are known by the names under which they are watched.
    pub(crate) announce_hostnames: bool,
    pub(crate) group: Group,
    pub(crate) control: Control,
}

impl Discovery {
    /// Runs until its thread ends.
    pub(crate) async fn run(self) {
        let mut tasks = tokio::task::JoinSet::new();
        for monitor in self.monitors.clone() {
            tasks.spawn(self.clone().meet(monitor.clone()));
            tasks.spawn(self.clone().adopt(monitor));
        }
        tasks.join_all().await;
    }

    async fn meet(self, monitor: Monitor) {
        let mut said = Limited::new(Duration::from_secs(30));
        loop {
            if let Err(error) = self.attend(&monitor).await {
                let Monitor { name, host, port, .. } = &monitor;
                said.info(|| format!("cannot meet others at {host}:{port} ({name}): {error}"));
            }
            tokio::time::sleep(RECONNECT_AFTER).await;
        }
    }

    /// Says hello over one connection until it breaks.
    async fn attend(&self, monitor: &Monitor) -> io::Result<()> {
        let mut link = Link::open(&monitor.host, monitor.port, monitor).await?;
        loop {
            let hello = self.hello(monitor).await.to_string();
            match link.ask(&["SLOTWARD", "HELLO", &hello]).await? {
                Value::Error(text) if text.starts_with("ERR unknown command") => {
                    return self.attend_by_channel(link, monitor).await;
                }
                Value::Error(text) => return Err(io::Error::other(text)),
                reply => {
                    for text in
                        reply.as_array().unwrap_or_default().iter().filter_map(Value::as_str)
                    {
                        self.hear(monitor, text);
                    }
                    self.group.has_met();
                }
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    async fn attend_by_channel(&self, mut link: Link, monitor: &Monitor) -> io::Result<()> {
        let Monitor { name, host, port, .. } = monitor;
        tracing::info!(
            "{host}:{port} ({name}) is no Slotward node: sentinels can meet there, and cannot fail \
             it over"
        );
        let mut heard = Link::open(host, *port, monitor).await?;
        if let Value::Error(text) = heard.ask(&["SUBSCRIBE", CHANNEL]).await? {
            return Err(io::Error::other(text));
        }
        let mut ticks = interval(HELLO_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = 0;
        loop {
            tokio::select! {
                message = heard.read() => {
                    let message = message?;
                    if let [_, _, text] = message.as_array().unwrap_or_default()
                        && let Some(text) = text.as_str()
                    {
                        self.hear(monitor, text);
                    }
                }
                _ = ticks.tick() => {
                    let hello = self.hello(monitor).await.to_string();
                    if let Value::Error(text) = link.ask(&["PUBLISH", CHANNEL, &hello]).await? {
                        return Err(io::Error::other(text));
                    }
                    said += 1;
                    // Others have had the time to say hello too.
                    if said > HELLO_EVERY_LATER.as_millis() / HELLO_EVERY.as_millis() {
                        self.group.has_met();
                    }
                    ticks.reset_after(self.pause());
                }
            }
        }
    }

    fn pause(&self) -> Duration {
        if self.group.is_settled() { HELLO_EVERY_LATER } else { HELLO_EVERY }
    }

    fn hear(&self, monitor: &Monitor, text: &str) {
        if let Some(hello) = Hello::parse(text)
            && hello.master == monitor.name
        {
            self.group.meet(hello.sentinel);
        }
    }

    async fn hello(&self, monitor: &Monitor) -> Hello {
        let view = self.control.view().await;
        let topology = view.as_ref().map(|view| &view.topology);
        let shard = topology.and_then(|topology| topology.shard_named(&monitor.name));
        let master = shard.and_then(|shard| topology?.nodes.get(&shard.master.node));
        Hello {
            sentinel: self.group.me().clone(),
            group: self.group.name(),
            epoch: topology.map_or(0, |topology| topology.current_epoch().0),
            master: monitor.name.clone(),
            master_host: master.map_or(&monitor.host, |node| &node.host).clone(),
            master_port: master.map_or(monitor.port, |node| node.port),
            master_epoch: shard.map_or(0, |shard| shard.epoch.0),
        }
    }
}
