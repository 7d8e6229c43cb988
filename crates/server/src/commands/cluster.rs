//! `CLUSTER` and the connection's part in a cluster. What asks for a change becomes a proposal to
//! whoever decides (the sentinels, or the node itself where it is alone).

use slotward_cluster::{Seen, SlotMap};
use slotward_commands::{Arg, CmdError, Command, Flags, Group};
use slotward_types::{NodeId, Slot, slot_of};

use super::{ANYTIME, container, row};
use crate::call::{Handler, Later, NodeCall, NodeCommand, Outcome};
use crate::client::mark;
use crate::control::{self, ClusterChange};

const CHANGE: Flags = Flags::ADMIN.and(Flags::STALE).and(Flags::NO_ASYNC_LOADING);

const fn cluster(
    name: &'static str,
    arity: i16,
    flags: Flags,
    since: &'static str,
    summary: &'static str,
    args: &'static [Arg],
) -> Command {
    Command { args, ..row(name, arity, flags, Group::Cluster, since, summary) }
}

const SLOTS_ARG: &[Arg] = &[Arg::integer("slot").multiple()];
const RANGES_ARG: &[Arg] =
    &[Arg::block("range", &[Arg::integer("start-slot"), Arg::integer("end-slot")]).multiple()];
const NODE_ARG: &[Arg] = &[Arg::string("node-id")];

/// Rows of the family.
pub(crate) const COMMANDS: &[NodeCommand] = &[
    NodeCommand::new(
        row(
            "asking",
            1,
            Flags::FAST,
            Group::Cluster,
            "3.0.0",
            "Lets the next command use a slot that is being imported.",
        ),
        Handler::Now(asking),
    ),
    NodeCommand::new(
        row(
            "readonly",
            1,
            ANYTIME.and(Flags::FAST),
            Group::Cluster,
            "3.0.0",
            "Lets a replica answer this connection's reads.",
        ),
        Handler::Now(readonly),
    ),
    NodeCommand::new(
        row(
            "readwrite",
            1,
            ANYTIME.and(Flags::FAST),
            Group::Cluster,
            "3.0.0",
            "Sends this connection's reads to the master again.",
        ),
        Handler::Now(readwrite),
    ),
    NodeCommand::container(
        container("cluster", Group::Cluster, "3.0.0", "Commands about the cluster."),
        &[
            NodeCommand::new(
                cluster("info", 2, ANYTIME, "3.0.0", "Describes the cluster's state.", &[]),
                Handler::Now(info),
            ),
            NodeCommand::new(
                cluster("nodes", 2, ANYTIME, "3.0.0", "Lists the nodes.", &[]),
                Handler::Now(nodes),
            ),
            NodeCommand::new(
                cluster("slots", 2, ANYTIME, "3.0.0", "Tells who serves which slots.", &[]),
                Handler::Now(slots),
            ),
            NodeCommand::new(
                cluster("shards", 2, ANYTIME, "7.0.0", "Describes the shards.", &[]),
                Handler::Now(shards),
            ),
            NodeCommand::new(
                cluster("links", 2, ANYTIME, "7.0.0", "Lists the links between nodes.", &[]),
                Handler::Now(links),
            ),
            NodeCommand::new(
                cluster("myid", 2, ANYTIME, "3.0.0", "Tells this node's id.", &[]),
                Handler::Now(myid),
            ),
            NodeCommand::new(
                cluster("myshardid", 2, ANYTIME, "7.2.0", "Tells this shard's id.", &[]),
                Handler::Now(myshardid),
            ),
            NodeCommand::new(
                cluster(
                    "replicas",
                    3,
                    ANYTIME.and(Flags::ADMIN),
                    "5.0.0",
                    "Lists the replicas of a master.",
                    NODE_ARG,
                ),
                Handler::Now(replicas),
            ),
            NodeCommand::new(
                cluster(
                    "slaves",
                    3,
                    ANYTIME.and(Flags::ADMIN),
                    "3.0.0",
                    "Lists the replicas of a master.",
                    NODE_ARG,
                ),
                Handler::Now(replicas),
            ),
            NodeCommand::new(
                cluster(
                    "keyslot",
                    3,
                    ANYTIME,
                    "3.0.0",
                    "Tells the slot of a key.",
                    &[Arg::string("key")],
                ),
                Handler::Now(keyslot),
            ),
            NodeCommand::new(
                cluster(
                    "countkeysinslot",
                    3,
                    Flags::STALE,
                    "3.0.0",
                    "Tells how many keys a slot has.",
                    &[Arg::integer("slot")],
                ),
                Handler::Later(countkeysinslot),
            ),
            NodeCommand::new(
                cluster(
                    "getkeysinslot",
                    4,
                    Flags::STALE,
                    "3.0.0",
                    "Lists keys of a slot.",
                    &[Arg::integer("slot"), Arg::integer("count")],
                ),
                Handler::Later(getkeysinslot),
            ),
            NodeCommand::new(
                cluster(
                    "count-failure-reports",
                    3,
                    ANYTIME.and(Flags::ADMIN),
                    "3.0.0",
                    "Tells how many nodes hold a node down (the sentinels judge here).",
                    NODE_ARG,
                ),
                Handler::Now(count_failure_reports),
            ),
            NodeCommand::new(
                cluster(
                    "meet",
                    -4,
                    CHANGE,
                    "3.0.0",
                    "Makes two nodes parts of one cluster.",
                    &[
                        Arg::string("ip"),
                        Arg::integer("port"),
                        Arg::integer("cluster-bus-port").optional(),
                    ],
                ),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster("addslots", -3, CHANGE, "3.0.0", "Takes slots nobody has.", SLOTS_ARG),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster(
                    "addslotsrange",
                    -4,
                    CHANGE,
                    "7.0.0",
                    "Takes ranges of slots nobody has.",
                    RANGES_ARG,
                ),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster("delslots", -3, CHANGE, "3.0.0", "Gives slots up.", SLOTS_ARG),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster(
                    "delslotsrange",
                    -4,
                    CHANGE,
                    "7.0.0",
                    "Gives ranges of slots up.",
                    RANGES_ARG,
                ),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster("flushslots", 2, CHANGE, "3.0.0", "Gives all slots up.", &[]),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster("replicate", 3, CHANGE, "3.0.0", "Follows a master.", NODE_ARG),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster("forget", 3, CHANGE, "3.0.0", "Takes a node out.", NODE_ARG),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster(
                    "reset",
                    -2,
                    CHANGE,
                    "3.0.0",
                    "Takes this node out.",
                    &[Arg::one_of(
                        "reset-type",
                        &[Arg::word("hard", "HARD"), Arg::word("soft", "SOFT")],
                    )
                    .optional()],
                ),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster("bumpepoch", 2, CHANGE, "3.0.0", "Raises the epoch.", &[]),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster(
                    "set-config-epoch",
                    3,
                    CHANGE,
                    "3.0.0",
                    "Sets the epoch of a fresh node.",
                    &[Arg::integer("config-epoch")],
                ),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster(
                    "failover",
                    -2,
                    CHANGE,
                    "3.0.0",
                    "Makes this replica the master.",
                    &[Arg::one_of(
                        "options",
                        &[Arg::word("force", "FORCE"), Arg::word("takeover", "TAKEOVER")],
                    )
                    .optional()],
                ),
                Handler::Later(change),
            ),
            NodeCommand::new(
                cluster("saveconfig", 2, CHANGE, "3.0.0", "Saves what this node knows.", &[]),
                Handler::Now(saveconfig),
            ),
            NodeCommand::new(
                cluster("help", 2, ANYTIME, "5.0.0", "Lists the subcommands.", &[]),
                Handler::Now(help),
            ),
        ],
    ),
];

pub(super) fn needs_cluster(call: &NodeCall<'_>) -> Outcome {
    if call.live.settings.cluster_enabled {
        Ok(())
    } else {
        Err(CmdError::text("ERR This instance has cluster support disabled"))
    }
}

fn text_error(text: String) -> CmdError {
    CmdError::Other(text.into())
}

/// Lets `show` look at the cluster as this node sees it.
fn seen<R>(
    call: &mut NodeCall<'_>,
    show: impl FnOnce(&Seen<'_>, &mut NodeCall<'_>, &SlotMap) -> R,
) -> Result<R, CmdError> {
    needs_cluster(call)?;
    let map = call.node.slot_map.load_full();
    let health = control::health(call.node);
    let elsewhere = call.conn.told_host.as_ref().map(|host| map.topology().seen_at(host));
    let topology = elsewhere.as_ref().unwrap_or(map.topology());
    let seen = Seen { topology, viewer: map.me(), health: &health, now: call.now };
    Ok(show(&seen, call, &map))
}

fn asking(call: &mut NodeCall<'_>) -> Outcome {
    needs_cluster(call)?;
    call.conn.asking = true;
    call.reply.ok();
    Ok(())
}

fn readonly(call: &mut NodeCall<'_>) -> Outcome {
    needs_cluster(call)?;
    call.conn.readonly = true;
    call.conn.client.mark(mark::READONLY, true);
    call.reply.ok();
    Ok(())
}

fn readwrite(call: &mut NodeCall<'_>) -> Outcome {
    needs_cluster(call)?;
    call.conn.readonly = false;
    call.conn.client.mark(mark::READONLY, false);
    call.reply.ok();
    Ok(())
}

fn info(call: &mut NodeCall<'_>) -> Outcome {
    let full_coverage = call.live.settings.cluster_require_full_coverage;
    seen(call, |seen, call, _| {
        call.reply.verbatim("txt", slotward_cluster::info(seen, full_coverage).as_bytes());
    })
}

fn nodes(call: &mut NodeCall<'_>) -> Outcome {
    seen(call, |seen, call, _| {
        call.reply.verbatim("txt", slotward_cluster::nodes(seen).as_bytes());
    })
}

fn slots(call: &mut NodeCall<'_>) -> Outcome {
    seen(call, |seen, call, _| slotward_cluster::slots(seen, call.reply))
}

fn shards(call: &mut NodeCall<'_>) -> Outcome {
    seen(call, |seen, call, _| slotward_cluster::shards(seen, call.reply))
}

fn links(call: &mut NodeCall<'_>) -> Outcome {
    needs_cluster(call)?;
    slotward_cluster::links(call.reply);
    Ok(())
}

fn myid(call: &mut NodeCall<'_>) -> Outcome {
    seen(call, |_, call, map| match map.me() {
        Some(id) => {
            call.reply.bulk(id.to_string().as_bytes());
            Ok(())
        }
        None => Err(CmdError::text("ERR this node has no id yet")),
    })?
}

fn myshardid(call: &mut NodeCall<'_>) -> Outcome {
    seen(call, |seen, call, map| {
        let shard = map.me().and_then(|me| seen.topology.shard_of(me));
        let id = shard.map_or(0, |shard| shard.id.0);
        call.reply.bulk(format!("{id:040x}").as_bytes());
    })
}

fn replicas(call: &mut NodeCall<'_>) -> Outcome {
    seen(call, |seen, call, _| {
        let node = call.argv.get(2).unwrap_or_default();
        slotward_cluster::replicas(seen, node, call.reply).map_err(text_error)
    })?
}

fn keyslot(call: &mut NodeCall<'_>) -> Outcome {
    needs_cluster(call)?;
    call.reply.integer(slot_of(call.arg(2)).get().into());
    Ok(())
}

fn slot(call: &NodeCall<'_>, index: usize) -> Result<Slot, CmdError> {
    call.int(index)
        .ok()
        .and_then(|number| u64::try_from(number).ok())
        .and_then(|number| Slot::new(number).ok())
        .ok_or(CmdError::text("ERR Invalid or out of range slot"))
}

fn countkeysinslot<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        needs_cluster(call)?;
        let slot = slot(call, 2).map_err(|_| CmdError::text("ERR Invalid slot"))?;
        let count = call.in_slot(slot, call.conn.db, |view, _| view.slot_len(slot)).await;
        call.reply.integer(count as i64);
        Ok(())
    })
}

fn getkeysinslot<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        needs_cluster(call)?;
        let invalid = || CmdError::text("ERR Invalid slot or number of keys");
        let slot = slot(call, 2).map_err(|_| invalid())?;
        let max = usize::try_from(call.int(3)?).map_err(|_| invalid())?;
        let keys = call
            .in_slot(slot, call.conn.db, |view, _| {
                let mut keys: Vec<Vec<u8>> = Vec::new();
                let mut cursor = 0;
                while keys.len() < max {
                    cursor = view.scan_slot(slot, cursor, &mut |entry| {
                        if keys.len() < max {
                            keys.push(entry.key.to_vec());
                        }
                    });
                    if cursor == 0 {
                        break;
                    }
                }
                keys
            })
            .await;
        call.reply.array(keys.len());
        keys.iter().for_each(|key| call.reply.bulk(key));
        Ok(())
    })
}

fn count_failure_reports(call: &mut NodeCall<'_>) -> Outcome {
    needs_cluster(call)?;
    node_id(call, 2)?;
    call.reply.integer(0);
    Ok(())
}

fn saveconfig(call: &mut NodeCall<'_>) -> Outcome {
    needs_cluster(call)?;
    // What a node must not forget is on its disk before it acts on it.
    call.reply.ok();
    Ok(())
}

fn node_id(call: &NodeCall<'_>, index: usize) -> Result<NodeId, CmdError> {
    let text = call.text(index);
    text.parse().map_err(|_| text_error(format!("ERR Unknown node {text}")))
}

fn port(call: &NodeCall<'_>, index: usize, what: &str) -> Result<u16, CmdError> {
    let number = call.int(index).ok().and_then(|number| u16::try_from(number).ok());
    number
        .filter(|port| *port > 0)
        .ok_or_else(|| text_error(format!("ERR Invalid {what} specified: {}", call.text(index))))
}

fn slot_list(call: &NodeCall<'_>) -> Result<Vec<Slot>, CmdError> {
    let slots =
        (2..call.argv.len()).map(|index| slot(call, index)).collect::<Result<Vec<_>, _>>()?;
    without_repeats(slots)
}

fn range_list(call: &NodeCall<'_>) -> Result<Vec<Slot>, CmdError> {
    if !call.argv.len().is_multiple_of(2) {
        let name = call.text(1).to_ascii_lowercase();
        return Err(text_error(format!(
            "ERR wrong number of arguments for 'cluster|{name}' command"
        )));
    }
    let mut slots = Vec::new();
    for index in (2..call.argv.len()).step_by(2) {
        let (start, end) = (slot(call, index)?, slot(call, index + 1)?);
        if start > end {
            return Err(text_error(format!(
                "ERR start slot number {start} is greater than end slot number {end}"
            )));
        }
        slots.extend(Slot::all().filter(|slot| (start..=end).contains(slot)));
    }
    without_repeats(slots)
}

fn without_repeats(slots: Vec<Slot>) -> Result<Vec<Slot>, CmdError> {
    let mut sorted = slots.clone();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(text_error(format!("ERR Slot {} specified multiple times", pair[0]))),
        None => Ok(slots),
    }
}

/// What the client asks for, by the subcommand's name.
fn parse_change(call: &NodeCall<'_>) -> Result<ClusterChange, CmdError> {
    let option = || call.argv.get(2).map(|_| call.text(2).to_ascii_uppercase());
    Ok(match call.text(1).to_ascii_lowercase().as_str() {
        "meet" => ClusterChange::Meet {
            host: call.text(2),
            port: port(call, 3, "base port")?,
            cport: (call.argv.len() > 4).then(|| port(call, 4, "bus port")).transpose()?,
        },
        "addslots" => ClusterChange::AddSlots(slot_list(call)?),
        "addslotsrange" => ClusterChange::AddSlots(range_list(call)?),
        "delslots" => ClusterChange::DelSlots(slot_list(call)?),
        "delslotsrange" => ClusterChange::DelSlots(range_list(call)?),
        "flushslots" => ClusterChange::FlushSlots,
        "replicate" => ClusterChange::Replicate(node_id(call, 2)?),
        "forget" => ClusterChange::Forget(node_id(call, 2)?),
        "reset" => match option().as_deref() {
            None | Some("SOFT") => ClusterChange::Reset { hard: false },
            Some("HARD") => ClusterChange::Reset { hard: true },
            Some(_) => return Err(CmdError::Syntax),
        },
        "bumpepoch" => ClusterChange::BumpEpoch,
        "set-config-epoch" => {
            let epoch = call.int(2)?;
            let epoch = u64::try_from(epoch)
                .map_err(|_| text_error(format!("ERR Invalid config epoch specified: {epoch}")))?;
            ClusterChange::SetConfigEpoch(epoch)
        }
        "failover" => match option().as_deref() {
            None => ClusterChange::Failover { force: false, takeover: false },
            Some("FORCE") => ClusterChange::Failover { force: true, takeover: false },
            Some("TAKEOVER") => ClusterChange::Failover { force: true, takeover: true },
            Some(_) => return Err(CmdError::Syntax),
        },
        other => unreachable!("no row of a change is called {other}"),
    })
}

fn change<'a>(call: &'a mut NodeCall<'_>) -> Later<'a> {
    Box::pin(async move {
        needs_cluster(call)?;
        let change = parse_change(call)?;
        let node = call.node.clone();
        let control =
            node.control.get().ok_or(CmdError::text("ERR the control plane is not running"))?;
        let answer = control.change(change).await.map_err(text_error)?;
        call.reply.simple(&answer);
        Ok(())
    })
}

fn help(call: &mut NodeCall<'_>) -> Outcome {
    super::help(
        call,
        "CLUSTER",
        &[
            "INFO | NODES | SLOTS | SHARDS | LINKS | MYID | MYSHARDID",
            "REPLICAS <node-id> | COUNT-FAILURE-REPORTS <node-id>",
            "KEYSLOT <key> | COUNTKEYSINSLOT <slot> | GETKEYSINSLOT <slot> <count>",
            "MEET <ip> <port> [<bus-port>] | FORGET <node-id> | RESET [HARD|SOFT]",
            "ADDSLOTS <slot> [<slot> ...] | ADDSLOTSRANGE <start> <end> [<start> <end> ...]",
            "DELSLOTS <slot> [<slot> ...] | DELSLOTSRANGE <start> <end> [<start> <end> ...]",
            "FLUSHSLOTS | REPLICATE <node-id> | FAILOVER [FORCE|TAKEOVER]",
            "BUMPEPOCH | SET-CONFIG-EPOCH <epoch> | SAVECONFIG",
        ],
    );
    Ok(())
}
