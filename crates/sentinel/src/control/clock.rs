//! The steady clock of leases and timeouts.

use rustix::time::{ClockId, clock_gettime};
use slotward_types::Millis;

/// Now, on the clock that also runs while the machine is suspended: a lease that ended in the
/// meantime has ended.
pub(crate) fn now() -> Millis {
    let time = clock_gettime(ClockId::Boottime);
    Millis(time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000)
}
