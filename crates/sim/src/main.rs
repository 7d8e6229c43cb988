//! Runs seeds: one of them as a readable story, or many on all cores.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use slotward_failover::{Plant, plant};
use slotward_sim::{Report, SCENARIOS, World, live, live_caught, plan};

const USAGE: &str = "\
Usage: cargo xtask sim [--seed N | --seeds N [--from N]] [--plant NAME]

  --seed N      one life, told line by line; ends with what it broke, if it broke something
  --seeds N     so many lives on all cores (1000 if nothing is said)
  --from N      begin with this seed (0 if nothing is said)
  --plant NAME  in a broken variant of the protocol
  --plants      names them
  --story NAME  a directed story, told line by line; with --broken yes without its rule
  --stories     names them, and says what becomes of each with and without its rule
  --moves N     so many lives of the world of slot moves
  --hunt        looks for each of them in as many seeds, and says which seed finds it
";

#[derive(Default)]
struct Options {
    seed: Option<u64>,
    seeds: Option<u64>,
    from: u64,
    plant: Option<Plant>,
    story: Option<String>,
    broken: bool,
    moves: Option<u64>,
}

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--plants") {
        for &bug in Plant::ALL {
            let _gone = writeln!(out, "{bug:?} (rule {}): {}", bug.rule(), bug.about());
        }
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--stories") {
        stories(&mut out);
        return ExitCode::SUCCESS;
    }
    if arguments.iter().any(|argument| argument == "--hunt") {
        hunt(&mut out);
        return ExitCode::SUCCESS;
    }
    let result = match options(&arguments) {
        Ok(Options { seed: Some(seed), plant: bug, story: None, .. }) => tell(seed, bug),
        Ok(Options { moves: Some(count), from, plant: bug, .. }) => moves(from, count, bug),
        Ok(options) if options.story.is_some() => story(&options),
        Ok(options) => run_many(&options),
        Err(text) => Err(text),
    };
    match result {
        Ok(text) => {
            let _gone = writeln!(out, "{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            let _gone = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut left = arguments.iter();
    while let Some(name) = left.next() {
        let value = left.next().ok_or_else(|| USAGE.to_owned())?;
        let number = || value.parse().map_err(|_| format!("{value} is no number\n{USAGE}"));
        match name.as_str() {
            "--seed" => options.seed = Some(number()?),
            "--seeds" => options.seeds = Some(number()?),
            "--story" => options.story = Some(value.clone()),
            "--broken" => options.broken = value == "yes",
            "--moves" => options.moves = Some(number()?),
            "--from" => options.from = number()?,
            "--plant" => {
                let named = Plant::ALL.iter().find(|bug| format!("{bug:?}") == *value);
                let named = named.ok_or_else(|| format!("no plant is called {value}\n{USAGE}"))?;
                options.plant = Some(*named);
            }
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(options)
}

/// One seed, line by line.
fn tell(seed: u64, bug: Option<Plant>) -> Result<String, String> {
    plant(bug);
    let mut world = World::new(plan(seed));
    world.tell(|line| {
        let _gone = writeln!(std::io::stdout(), "{line}");
    });
    live(world, seed).map(|report| summary(1, &report))
}

/// The world of slot moves.
fn moves(from: u64, count: u64, bug: Option<Plant>) -> Result<String, String> {
    plant(bug);
    let (mut begun, mut committed, mut acknowledged) = (0, 0, 0);
    for seed in from..from + count {
        let report = slotward_sim::moves::run(seed)?;
        begun += report.begun;
        committed += report.committed;
        acknowledged += report.acknowledged;
    }
    Ok(format!(
        "{count} seeds of moves: no promise broken; {begun} begun, {committed} committed, \
         {acknowledged} writes acknowledged"
    ))
}

/// One directed story, line by line.
fn story(options: &Options) -> Result<String, String> {
    let name = options.story.as_deref().unwrap_or_default();
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let scenario = scenario.ok_or_else(|| format!("no story is called {name}\n{USAGE}"))?;
    let tell = |line: &str| {
        let _gone = writeln!(std::io::stdout(), "{line}");
    };
    let told = scenario.run(options.seed.unwrap_or(0), options.broken, Some(tell));
    told.map(|()| "no promise broken".to_owned())
}

/// What becomes of each story with and without its rule.
fn stories(out: &mut impl Write) {
    std::panic::set_hook(Box::new(|_| {}));
    let first_line = |told: Result<(), String>| {
        let text = told.err().unwrap_or_else(|| "survived".to_owned());
        text.lines().take(1).collect::<String>()
    };
    for scenario in SCENARIOS {
        let caught = |seed, broken| {
            let run = std::panic::catch_unwind(|| scenario.run(seed, broken, None));
            first_line(run.unwrap_or_else(|_| Err("fails an assertion".to_owned())))
        };
        let real: Vec<String> = (0..5).map(|seed| caught(seed, false)).collect();
        let broken: Vec<String> = (0..5).map(|seed| caught(seed, true)).collect();
        let _gone = writeln!(
            out,
            "{}: {real:?}\n   without its rule ({:?}): {broken:?}",
            scenario.name, scenario.breaks
        );
    }
}

/// Which seed finds which broken variant first.
fn hunt(out: &mut impl Write) {
    std::panic::set_hook(Box::new(|_| {}));
    for &bug in Plant::ALL {
        plant(Some(bug));
        let found = (0..1500).find_map(|seed| live_caught(seed).err());
        let what = found.as_deref().unwrap_or("NOT FOUND").lines().next().unwrap_or_default();
        let _gone = writeln!(out, "{bug:?}: {what}");
    }
}

#[allow(clippy::disallowed_methods, reason = "how fast it goes is shown, and changes nothing")]
fn run_many(options: &Options) -> Result<String, String> {
    let count = options.seeds.unwrap_or(1000);
    let (next, failed) = (AtomicU64::new(0), AtomicBool::new(false));
    let done = Mutex::new((0, Report::default(), None));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let begun = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                plant(options.plant);
                while !failed.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    let result = live_caught(options.from + index);
                    let mut done = done.lock().expect("no holder panics");
                    done.0 += 1;
                    match result {
                        Ok(report) => done.1.add(&report),
                        Err(broken) => {
                            failed.store(true, Ordering::Relaxed);
                            done.2.get_or_insert(broken);
                        }
                    }
                    progress(done.0, count, begun.elapsed().as_secs_f64());
                }
            });
        }
    });
    let (runs, report, broken) = done.into_inner().expect("no holder panics");
    match broken {
        Some(broken) => Err(broken),
        None => Ok(summary(runs, &report)),
    }
}

fn progress(runs: u64, count: u64, seconds: f64) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let end = if runs == count { '\n' } else { '\r' };
        let _gone = write!(err, "{runs}/{count} seeds, {:.0}/s{end}", runs as f64 / seconds);
    }
}

fn summary(runs: u64, report: &Report) -> String {
    let [gone, ran_out, consent, confirmed, restarted] = report.promotions;
    let [partial, full] = report.synchronisations;
    format!(
        "{runs} seeds, {} events: no promise broken, all came together\n\
         promotions: {gone} gone, {ran_out} ran out, {consent} consent, {confirmed} confirmed, \
         {restarted} all restarted\n\
         {} replies, {partial} partial and {full} full synchronisations",
        report.events, report.replies
    )
}
