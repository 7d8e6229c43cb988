//! The clocks of the process: calendar, steady (also in suspend), and a cheap tick counter.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use slotward_types::{Millis, UnixMillis};

/// The calendar's time.
pub(crate) fn unix_now() -> UnixMillis {
    UnixMillis(unix_micros() / 1000)
}

/// The calendar's time in microseconds.
pub(crate) fn unix_micros() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

/// The steady clock of leases, which also runs while the machine is suspended.
pub(crate) fn boot_now() -> Millis {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable timespec of this frame.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    assert_eq!(status, 0, "CLOCK_BOOTTIME exists on every Linux since 2.6.39");
    Millis(time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000)
}

/// A reading of the processor's tick counter; only differences mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks(u64);

impl Ticks {
    /// The counter now.
    #[inline]
    pub(crate) fn now() -> Ticks {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 processor has the instruction, and it only reads a counter.
        let ticks = unsafe { core::arch::x86_64::_rdtsc() };
        #[cfg(not(target_arch = "x86_64"))]
        let ticks = origin().1.elapsed().as_nanos() as u64;
        Ticks(ticks)
    }

    /// How many ticks have passed since an earlier reading; zero if the counter went back.
    #[inline]
    pub(crate) fn since(self, earlier: Ticks) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

fn origin() -> &'static (Ticks, Instant) {
    static ORIGIN: OnceLock<(Ticks, Instant)> = OnceLock::new();
    #[cfg(target_arch = "x86_64")]
    return ORIGIN.get_or_init(|| (Ticks::now(), Instant::now()));
    #[cfg(not(target_arch = "x86_64"))]
    return ORIGIN.get_or_init(|| (Ticks(0), Instant::now()));
}

/// Begins to measure how long a tick is; the longer ago, the better the measure.
pub(crate) fn start() {
    origin();
}

/// How many ticks pass in a microsecond.
pub(crate) fn ticks_per_micro() -> f64 {
    static MEASURED: OnceLock<f64> = OnceLock::new();
    if let Some(rate) = MEASURED.get() {
        return *rate;
    }
    let (ticks, instant) = origin();
    let mut elapsed = instant.elapsed();
    if elapsed < Duration::from_millis(2) {
        std::thread::sleep(Duration::from_millis(2));
        elapsed = instant.elapsed();
    }
    let rate = Ticks::now().since(*ticks) as f64 / (elapsed.as_nanos() as f64 / 1000.0);
    // Settled once enough time has passed to make it exact.
    if elapsed > Duration::from_millis(100) {
        return *MEASURED.get_or_init(|| rate.max(1e-6));
    }
    rate.max(1e-6)
}

/// A number of ticks as microseconds.
pub(crate) fn ticks_to_micros(ticks: u64) -> u64 {
    (ticks as f64 / ticks_per_micro()) as u64
}

/// Processor time the process has used, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuSeconds {
    /// In our own code.
    pub(crate) user: f64,
    /// In the kernel, on our behalf.
    pub(crate) system: f64,
}

/// How much processor time the process has used.
pub(crate) fn cpu_seconds() -> CpuSeconds {
    // SAFETY: a zeroed rusage is a valid one, and the pointer is to a live one of this frame.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        if libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) != 0 {
            return CpuSeconds::default();
        }
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    CpuSeconds { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_agree_on_what_a_moment_is() {
        start();
        assert!(unix_now().0 > 1_600_000_000_000, "later than 2020");
        let (before, after) = (boot_now(), boot_now());
        assert!(after >= before, "the steady clock does not go back");
        assert!(ticks_per_micro() > 0.0);
        assert_eq!(Ticks(5).since(Ticks(9)), 0, "a counter that went back counts as standing");
    }
}
