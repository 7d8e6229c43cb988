//! Slot locks: order, cancellation, many threads.

use std::sync::atomic::AtomicUsize;

use super::*;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<'a>(wait: &mut LockWait<'a>, count: &Arc<Count>) -> Option<SlotGuard<'a>> {
    let waker = Waker::from(Arc::clone(count));
    match Pin::new(wait).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(guard) => Some(guard),
        Poll::Pending => None,
    }
}

fn slot(number: u64) -> Slot {
    Slot::new(number).unwrap()
}

#[test]
fn trying_a_taken_lock_leaves_it_taken() {
    let keyspace = Keyspace::new(1, 1);
    let guard = keyspace.try_lock(Slot::ZERO).expect("nobody holds it");
    for attempt in 0..3 {
        assert!(keyspace.try_lock(Slot::ZERO).is_none(), "attempt {attempt}: it is held");
    }
    drop(guard);
    assert!(keyspace.try_lock(Slot::ZERO).is_some());
}

#[test]
fn a_slot_goes_to_those_who_wait_in_order() {
    let keyspace = Keyspace::new(1, 0);
    let woken: Vec<Arc<Count>> = (0..3).map(|_| Arc::default()).collect();
    let held = keyspace.try_lock(slot(5)).unwrap();
    let mut waits: Vec<_> = (0..3).map(|_| keyspace.lock(slot(5))).collect();
    for (wait, count) in waits.iter_mut().zip(&woken) {
        assert!(poll(wait, count).is_none());
    }
    assert!(keyspace.try_lock(slot(6)).is_some(), "another slot is free");
    drop(held);
    for index in 0..3 {
        assert!(keyspace.try_lock(slot(5)).is_none(), "nobody overtakes");
        for later in index + 1..3 {
            assert!(poll(&mut waits[later], &woken[later]).is_none());
        }
        assert_eq!(woken[index].0.load(Ordering::SeqCst), 1);
        drop(poll(&mut waits[index], &woken[index]).expect("it is this one's turn"));
    }
    assert!(keyspace.try_lock(slot(5)).is_some());
}

#[test]
fn who_gives_up_waiting_passes_it_on() {
    let keyspace = Keyspace::new(1, 0);
    let count = Arc::new(Count::default());
    let held = keyspace.try_lock(slot(5)).unwrap();
    let mut first = keyspace.lock(slot(5));
    let mut second = keyspace.lock(slot(5));
    let mut third = keyspace.lock(slot(5));
    let _unpolled = keyspace.lock(slot(5));
    assert!(poll(&mut first, &count).is_none());
    assert!(poll(&mut second, &count).is_none());
    assert!(poll(&mut third, &count).is_none());
    drop(first);
    drop(held);
    // Granted to the second, which goes away without having looked.
    drop(second);
    drop(poll(&mut third, &count).expect("it is the third's turn"));

    let held = keyspace.try_lock(slot(5)).unwrap();
    let mut only = keyspace.lock(slot(5));
    assert!(poll(&mut only, &count).is_none());
    drop(only);
    drop(held);
    assert!(keyspace.try_lock(slot(5)).is_some(), "an abandoned queue leaves the slot free");
}

#[test]
fn a_granted_slot_can_be_borrowed_under_the_barrier() {
    let keyspace = Keyspace::new(1, 0);
    let count = Arc::new(Count::default());
    let held = keyspace.try_lock(slot(5)).unwrap();
    let mut wait = keyspace.lock(slot(5));
    assert!(poll(&mut wait, &count).is_none());
    drop(held);
    drop(keyspace.borrow_slot(slot(5)));
    assert!(keyspace.try_lock(slot(5)).is_none(), "it is still granted");
    drop(poll(&mut wait, &count).expect("granted"));
    drop(keyspace.borrow_slot(slot(5)));
    assert!(keyspace.try_lock(slot(5)).is_some());
}

#[test]
#[should_panic(expected = "is not above")]
fn slots_are_taken_in_ascending_order() {
    let keyspace = Keyspace::new(1, 0);
    let mut locked = Locked::from(keyspace.try_lock(slot(5)).unwrap());
    locked.push(keyspace.try_lock(slot(4)).unwrap());
}

#[test]
fn several_slots_are_found_again() {
    let keyspace = Keyspace::new(1, 0);
    let mut locked = Locked::new();
    assert!(!locked.holds(slot(0)));
    for number in [3, 5, 900] {
        locked.push(keyspace.try_lock(slot(number)).unwrap());
    }
    assert_eq!(locked.slots().map(Slot::get).collect::<Vec<_>>(), [3, 5, 900]);
    assert!(locked.holds(slot(3)) && locked.holds(slot(5)) && locked.holds(slot(900)));
    assert!(!locked.holds(slot(4)));
    drop(locked);
    assert!(keyspace.try_lock(slot(5)).is_some());
}

#[test]
fn threads_exclude_each_other_whatever_way_they_wait() {
    let rounds = if cfg!(miri) { 20 } else { 2000 };
    let keyspace = Keyspace::new(1, 0);
    let inside = AtomicUsize::new(0);
    let total = AtomicUsize::new(0);
    let visit = || {
        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0, "two threads hold one slot");
        total.fetch_add(1, Ordering::Relaxed);
        inside.fetch_sub(1, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (keyspace, visit) = (&keyspace, &visit);
            scope.spawn(move || {
                let count = Arc::new(Count::default());
                for round in 0..rounds {
                    // Some wait a little and give up; all of them come in properly afterwards.
                    if (round + thread) % 3 == 0 {
                        let mut wait = keyspace.lock(slot(5));
                        if let Some(_guard) = poll(&mut wait, &count) {
                            visit();
                        }
                        if let Some(_guard) = poll_granted(&mut wait, &count) {
                            visit();
                        }
                    }
                    if thread == 3 && round % 7 == 0 {
                        let _borrowed = keyspace.borrow_slot(slot(5));
                        visit();
                    }
                    let _guard = keyspace.lock_blocking(slot(5));
                    visit();
                }
            });
        }
    });
    assert!(total.load(Ordering::Relaxed) >= 4 * rounds);
    assert!(keyspace.try_lock(slot(5)).is_some());
}

/// Polls again only a wait that is in a queue: one that is done must not be polled.
fn poll_granted<'a>(wait: &mut LockWait<'a>, count: &Arc<Count>) -> Option<SlotGuard<'a>> {
    wait.waiter.is_some().then(|| poll(wait, count)).flatten()
}
