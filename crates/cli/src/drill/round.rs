//! One round of a drill: settle, write, break, watch, mend, read back.

use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};

use super::Fault;
use super::load::{Load, Manner, Place, Written};
use super::outcome::{Event, Loss, Outcome, Span, millis};
use super::route::connect;
use super::target::{Action, Target};
use super::undo::Undo;
use crate::cluster::process::wait_until;
use crate::cluster::progress::Progress;
use crate::cluster::status::{Report, ShardReport, report};

/// How long clients write before the fault, and after all is mended.
const WARM_UP: Duration = Duration::from_millis(700);
/// Between two looks while something is awaited.
const LOOK: Duration = Duration::from_millis(10);
/// How long one sentinel is waited for.
const ASK: Duration = Duration::from_millis(300);
/// How long a deposed master may take to tell the end of its history.
const REPORT_WAIT: Duration = Duration::from_secs(5);
/// Writes put into the sockets of a node that stands still.
const GHOSTS: usize = 3;

/// Everything a round needs to know.
pub(super) struct Drill {
    pub(super) sentinels: Vec<String>,
    pub(super) places: Vec<Place>,
    pub(super) manner: Manner,
    pub(super) fault: Fault,
    pub(super) shard: Option<String>,
    pub(super) node: Option<String>,
    pub(super) duration: Duration,
    pub(super) give_up: Duration,
    pub(super) hook: Option<Vec<String>>,
    pub(super) undo: Undo,
}

/// What the fault is to happen to.
struct Aim {
    targets: Vec<Target>,
    /// The shard that loses its master, as it is before, and that master.
    shard: Option<(ShardReport, String)>,
}

impl Aim {
    fn shard_name(&self) -> Option<&str> {
        self.shard.as_ref().map(|(shard, _)| shard.name.as_str())
    }
}

/// What happened when.
struct Diary {
    fault: Instant,
    events: Vec<Event>,
    problems: Vec<String>,
}

impl Diary {
    fn note(&mut self, at: Instant, what: String) {
        let after = at.saturating_duration_since(self.fault).as_millis() as i64;
        let before = self.fault.saturating_duration_since(at).as_millis() as i64;
        self.events.push(Event { at_ms: after - before, what });
    }

    fn now(&mut self, what: String) {
        self.note(Instant::now(), what);
    }
}

/// What a round has brought to light.
struct Seen {
    written: Vec<Written>,
    backwards: u64,
    executed: u64,
    losses: Vec<Loss>,
    back: Option<Duration>,
    ended: Ended,
    recovered: bool,
}

/// How a process took being asked to stop.
#[derive(Default)]
struct Ended {
    took: Option<Duration>,
    status: Option<i32>,
}

impl Drill {
    /// One round. What must not happen is in the outcome; an error says that nothing could be tried.
    pub(super) fn round(&self, number: u32, progress: &Progress) -> anyhow::Result<Outcome> {
        progress.waiting("waiting until every shard could lose its master");
        let before = self.settled(Instant::now() + self.give_up)?;
        let mut aim = self.aim(&before, number)?;
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let run = format!("{}-{number}", clock.as_millis());
        let load = Load::start(&self.placed(&before), &self.manner, &run);
        self.await_writes(&load)?;
        std::thread::sleep(WARM_UP);

        let ghosts = Ghosts::prepare(self, &aim, &run)?;
        let mut diary = Diary { fault: Instant::now(), events: Vec::new(), problems: Vec::new() };
        progress.waiting(&format!("round {number}: {}", self.fault.name()));
        let ended = self.strike(&mut aim, &mut diary);
        let ghosts = ghosts.send();
        let mut recovered = self.watch(&load, &aim, &mut diary, ended.is_ok());
        let ended = ended.unwrap_or_else(|error| {
            diary.problems.push(format!("{error:#}"));
            Ended::default()
        });
        let mended = Instant::now();
        self.mend(&mut aim, &mut diary)?;
        progress.waiting("waiting until all is as before");
        let after = self.settled(Instant::now() + self.give_up);
        let back = after.is_ok().then(|| mended.elapsed());
        match &after {
            Ok(_) => diary.now("all is as before".to_owned()),
            Err(error) => {
                recovered = false;
                diary.problems.push(format!("{error:#}"));
            }
        }
        let executed = ghosts.executed(mended);
        let losses = self.losses(&aim);
        std::thread::sleep(WARM_UP);
        let (fault, end) = (diary.fault, Instant::now());
        let (written, backwards) = load.finish(Instant::now() + self.give_up)?;

        let seen = Seen { written, backwards, executed, losses, back, ended, recovered };
        let mut outcome = self.outcome(number, &aim, diary, Span::new(fault, end), seen);
        self.judge(&mut outcome, after.ok().as_ref(), &before);
        Ok(outcome)
    }

    fn outcome(&self, number: u32, aim: &Aim, diary: Diary, span: Span, seen: Seen) -> Outcome {
        let lost = seen.written.iter().map(|one| one.lost).sum();
        let shards: Vec<_> = self
            .places
            .iter()
            .map(|place| {
                let affected = aim.shard_name() == Some(place.shard.as_str());
                span.shard(&place.shard, affected, &seen.written)
            })
            .collect();
        let affected = shards.iter().filter(|s| s.affected || aim.shard.is_none());
        Outcome {
            round: number,
            fault: self.fault,
            victims: aim.targets.iter().map(|target| target.address.clone()).collect(),
            shard: aim.shard_name().map(str::to_owned),
            outage_ms: affected.map(|shard| shard.longest_gap_ms).max().unwrap_or(0),
            recovered: seen.recovered,
            back_after_ms: seen.back.map(millis),
            stop_ms: seen.ended.took.map(millis),
            exit_status: seen.ended.status,
            shards,
            lost_acknowledged: lost,
            reads_gone_backwards: seen.backwards,
            writes_to_the_frozen: ghosts_sent(self.fault, aim),
            executed_by_the_thawed: seen.executed,
            loss_reports: seen.losses,
            events: diary.events,
            cell_ms: millis(span.cell),
            first_cell_ms: span.first_ms(),
            problems: diary.problems,
        }
    }

    /// The places with the masters of this moment first.
    fn placed(&self, report: &Report) -> Vec<Place> {
        let now = |place: &Place| {
            let shard = report.shards.iter().find(|shard| shard.name == place.shard);
            let nodes = shard.map(|shard| {
                shard.members.iter().map(|node| node.address.clone()).collect::<Vec<_>>()
            });
            Place { nodes: nodes.unwrap_or_else(|| place.nodes.clone()), ..place.clone() }
        };
        self.places.iter().map(now).collect()
    }

    /// Waits until every shard serves and could lose its master, and all sentinels are there.
    fn settled(&self, deadline: Instant) -> anyhow::Result<Report> {
        let mut last = None;
        let reached = wait_until(deadline, || {
            last = report(&self.sentinels, ASK).ok();
            let there = |report: &Report| {
                report.leader.is_some() && !report.sentinels.iter().any(|sentinel| sentinel.down)
            };
            last.as_ref().is_some_and(|report| report.is_settled() && there(report))
                && self.sentinels.iter().all(|sentinel| {
                    let asked = report(std::slice::from_ref(sentinel), ASK);
                    asked.is_ok_and(|report| there(&report))
                })
        });
        ensure!(reached, "the group does not settle within {} s", self.give_up.as_secs());
        last.context("the sentinels told their status a moment ago")
    }

    fn await_writes(&self, load: &Load) -> anyhow::Result<()> {
        let writing = wait_until(Instant::now() + self.give_up, || {
            load.writers.iter().all(|writer| writer.look(|seen| seen.acknowledged.len() > 20))
        });
        ensure!(writing, "not every shard takes writes");
        Ok(())
    }

    fn aim(&self, report: &Report, number: u32) -> anyhow::Result<Aim> {
        let master_of = |shard: &ShardReport| {
            let master = shard.members.iter().find(|node| node.role == "master");
            master.map(|node| node.address.clone()).context("a shard without a master")
        };
        let leader = || report.leader.clone().context("no sentinel leads");
        let chosen = match (&self.node, &self.shard) {
            (Some(node), _) => report.shards.iter().find(|shard| {
                shard
                    .members
                    .iter()
                    .any(|member| member.address == *node && member.role == "master")
            }),
            (None, Some(name)) => Some(
                report
                    .shards
                    .iter()
                    .find(|shard| shard.name == *name)
                    .with_context(|| format!("there is no shard {name}"))?,
            ),
            (None, None) => {
                let place = &self.places[(number as usize - 1) % self.places.len()];
                report.shards.iter().find(|shard| shard.name == place.shard)
            }
        };
        let chosen = chosen.filter(|_| self.fault != Fault::Sentinels);
        let shard = chosen.map(|shard| Ok::<_, anyhow::Error>((shard.clone(), master_of(shard)?)));
        let shard = shard.transpose()?;
        let victim = match (&self.node, &shard) {
            (Some(node), _) => Some(node.clone()),
            (None, shard) => shard.as_ref().map(|(_, master)| master.clone()),
        };
        let addresses = match self.fault {
            Fault::Sentinels => self.sentinels.clone(),
            Fault::LeaderAndMaster => victim.into_iter().chain([leader()?]).collect(),
            _ => victim.into_iter().collect(),
        };
        let find = |address: &String| {
            Target::find(address, self.manner.password.as_deref(), self.hook.as_deref())
        };
        let targets = addresses.iter().map(find).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!targets.is_empty(), "there is nothing to break");
        Ok(Aim { targets, shard })
    }

    /// The fault begins.
    fn strike(&self, aim: &mut Aim, diary: &mut Diary) -> anyhow::Result<Ended> {
        let action = match self.fault {
            Fault::Stop => Action::Stop,
            Fault::Kill | Fault::LeaderAndMaster | Fault::Sentinels => Action::Kill,
            Fault::Freeze => Action::Freeze,
            Fault::Isolate => Action::Isolate,
        };
        let mut ended = Ended::default();
        diary.fault = Instant::now();
        // All at once: none of them may notice that another has gone.
        let done: Vec<anyhow::Result<Option<i32>>> = std::thread::scope(|scope| {
            let act = |target| scope.spawn(move || Target::act(target, action, &self.undo));
            let acting: Vec<_> = aim.targets.iter_mut().map(act).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
            };
            acting.into_iter().map(join).collect()
        });
        for target in &aim.targets {
            diary.note(diary.fault, format!("{} {}", action.word(), target.address));
        }
        if action == Action::Stop {
            ended.took = Some(diary.fault.elapsed());
            diary.now("the process has ended".to_owned());
        }
        for status in done {
            ended.status = status?.or(ended.status);
        }
        Ok(ended)
    }

    /// Watches until the shard takes writes elsewhere, and for as long as the fault is to last.
    /// Whether it did.
    fn watch(&self, load: &Load, aim: &Aim, diary: &mut Diary, struck: bool) -> bool {
        let lasts = match self.fault {
            Fault::Freeze | Fault::Isolate | Fault::Sentinels => self.duration,
            Fault::Stop | Fault::Kill | Fault::LeaderAndMaster => Duration::ZERO,
        };
        let Some((shard, master)) = aim.shard.as_ref().filter(|_| struck) else {
            std::thread::sleep(lasts.saturating_sub(diary.fault.elapsed()));
            return true;
        };
        let deadline = diary.fault + self.give_up.max(lasts);
        let mut named = false;
        let mut elsewhere = None;
        while Instant::now() < deadline {
            if !named {
                named = self.note_successor(shard, diary);
            }
            if elsewhere.is_none() {
                elsewhere = served_elsewhere(load, shard, master, diary.fault);
                if let Some((at, node)) = &elsewhere {
                    diary.note(*at, format!("{node} acknowledges the first write"));
                }
            }
            if named && elsewhere.is_some() && diary.fault.elapsed() >= lasts {
                diary.events.sort_by_key(|event| event.at_ms);
                return true;
            }
            std::thread::sleep(LOOK);
        }
        let seconds = self.give_up.as_secs();
        diary.problems.push(format!("no other node took writes within {seconds} s"));
        false
    }

    /// Whether the sentinels name another master of the shard.
    fn note_successor(&self, shard: &ShardReport, diary: &mut Diary) -> bool {
        let Ok(report) = report(&self.sentinels, ASK) else { return false };
        let now = report.shards.iter().find(|known| known.name == shard.name);
        let Some(now) = now.filter(|now| now.epoch > shard.epoch) else { return false };
        let master = now.members.first().map_or("?", |node| node.address.as_str());
        diary.now(format!("the sentinels name {master}, epoch {}", now.epoch));
        true
    }

    /// The fault ends.
    fn mend(&self, aim: &mut Aim, diary: &mut Diary) -> anyhow::Result<()> {
        let action = match self.fault {
            Fault::Stop | Fault::Kill | Fault::LeaderAndMaster | Fault::Sentinels => Action::Start,
            Fault::Freeze => Action::Thaw,
            Fault::Isolate => Action::Heal,
        };
        for target in &mut aim.targets {
            target.act(action, &self.undo)?;
            diary.now(format!("{} {}", action.word(), target.address));
        }
        Ok(())
    }

    /// What the sentinels recorded; waits for a master that lives to tell the end of its history.
    fn losses(&self, aim: &Aim) -> Vec<Loss> {
        let Some((before, _)) = &aim.shard else { return Vec::new() };
        let lives = matches!(self.fault, Fault::Freeze | Fault::Isolate);
        let mut losses: Vec<Loss> = Vec::new();
        wait_until(Instant::now() + REPORT_WAIT, || {
            let Ok(report) = report(&self.sentinels, ASK) else { return false };
            let Some(now) = report.shards.iter().find(|shard| shard.name == before.name) else {
                return true;
            };
            let new = now.takeovers.iter().filter(|takeover| takeover.epoch > before.epoch);
            losses = new.map(Loss::from).collect();
            !lives || losses.iter().all(|loss| loss.exact)
        });
        losses
    }

    /// Adds what must not happen, and did.
    fn judge(&self, outcome: &mut Outcome, after: Option<&Report>, before: &Report) {
        let lost = outcome.lost_acknowledged;
        let of_others: u64 = outcome
            .shards
            .iter()
            .filter(|shard| !shard.affected)
            .map(|shard| shard.lost_acknowledged)
            .sum();
        let problems = &mut outcome.problems;
        if of_others > 0 {
            problems.push(format!("{of_others} acknowledged writes of other shards are lost"));
        }
        if lost > 0 && self.fault == Fault::Stop {
            problems.push(format!("{lost} acknowledged writes are lost in a graceful stop"));
        }
        if let Some(status) = outcome.exit_status.filter(|status| *status != 0) {
            problems.push(format!("the process ended with exit status {status}"));
        }
        if outcome.executed_by_the_thawed > 0 {
            problems.push("the node that was frozen executed writes when it went on".to_owned());
        }
        let losses = &outcome.loss_reports;
        if outcome.shard.is_some() && outcome.recovered && losses.is_empty() {
            problems.push("the sentinels recorded no change of master".to_owned());
        }
        if lost > of_others
            && !losses.is_empty()
            && losses.iter().all(|l| l.exact && l.lost_bytes == 0)
        {
            problems.push("writes are lost of which the loss report knows nothing".to_owned());
        }
        if self.fault == Fault::Sentinels {
            let errors: u64 = outcome.shards.iter().flat_map(|shard| shard.errors.values()).sum();
            if errors > 0 {
                problems
                    .push(format!("clients noticed that the sentinels were gone: {errors} errors"));
            }
            let epochs =
                |report: &Report| report.shards.iter().map(|s| s.epoch).collect::<Vec<_>>();
            if after.is_some_and(|after| epochs(after) != epochs(before)) {
                problems.push("a master was replaced although none had failed".to_owned());
            }
        }
    }
}

/// When another node than the old master first acknowledged a write.
fn served_elsewhere(
    load: &Load,
    shard: &ShardReport,
    master: &str,
    fault: Instant,
) -> Option<(Instant, String)> {
    let mut writers = load.writers.iter().filter(|writer| writer.place.shard == shard.name);
    writers.find_map(|writer| {
        writer.look(|seen| {
            let acknowledged = seen.acknowledged.iter().rev();
            let later = acknowledged.take_while(|(_, at, _)| *at > fault);
            let other = later.filter(|(_, _, node)| seen.nodes[*node] != master).last();
            other.map(|(_, at, node)| (*at, seen.nodes[*node].clone()))
        })
    })
}

/// Writes that are sent to a node while it stands still: it must not execute them when it goes on,
/// since another is master by then.
struct Ghosts {
    clients: Vec<crate::client::Client>,
    key: String,
}

/// The same, sent.
struct SentGhosts(Vec<JoinHandle<Option<Instant>>>);

fn ghosts_sent(fault: Fault, aim: &Aim) -> u64 {
    if fault == Fault::Freeze && aim.shard.is_some() { GHOSTS as u64 } else { 0 }
}

impl Ghosts {
    fn prepare(drill: &Drill, aim: &Aim, run: &str) -> anyhow::Result<Ghosts> {
        let place =
            drill.places.iter().find(|place| Some(place.shard.as_str()) == aim.shard_name());
        let (Some(place), Fault::Freeze) = (place, drill.fault) else {
            return Ok(Ghosts { clients: Vec::new(), key: String::new() });
        };
        let (_, master) = aim.shard.as_ref().context("a shard loses its master")?;
        let patience = drill.duration + drill.give_up;
        let password = drill.manner.password.as_deref();
        let clients = (0..GHOSTS).map(|_| connect(master, password, patience));
        Ok(Ghosts {
            clients: clients.collect::<Result<_, _>>()?,
            key: format!("drill:{{{}}}:{run}:ghost", place.tag),
        })
    }

    fn send(self) -> SentGhosts {
        let send = |mut client: crate::client::Client| {
            let key = self.key.clone();
            std::thread::spawn(move || {
                let answer = client.call(&["SET", &key, "executed", "EX", "60"]);
                answer.is_ok().then(Instant::now)
            })
        };
        SentGhosts(self.clients.into_iter().map(send).collect())
    }
}

impl SentGhosts {
    /// How many were answered as executed after the node went on. One that is answered earlier came
    /// before the last of its threads stood still.
    fn executed(self, thawed: Instant) -> u64 {
        let answered = self.0.into_iter().filter_map(|thread| thread.join().ok().flatten());
        answered.filter(|at| *at >= thawed).count() as u64
    }
}
