//! Worker threads that build steps and hand them over in order.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use super::Built;

/// The samples of a step; none after the last.
type Plan = Box<dyn FnMut(u64) -> Option<Vec<usize>> + Send>;
/// Makes a step of its samples; none when the flag was raised meanwhile.
type Build<'a> = &'a dyn Fn(u64, Vec<usize>, &AtomicBool) -> Option<Built>;

pub(super) struct Pipeline {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    deliver: u64,
}

pub(super) enum Delivery {
    /// The step that was waited for.
    Built(Box<Built>),
    /// There are no more steps.
    End,
    /// A worker panicked.
    Died,
}

struct Shared {
    state: Mutex<State>,
    /// Told when a worker may begin another step.
    room: Condvar,
    /// Told when a step is built.
    ready: Condvar,
    queue: u64,
    /// Nobody waits for a batch any more, so the ones in the making may be given up.
    closed: AtomicBool,
}

struct State {
    plan: Plan,
    /// The step that the next free worker begins.
    next: u64,
    /// The step that is delivered next.
    deliver: u64,
    built: BTreeMap<u64, Built>,
    ended: bool,
    died: bool,
}

impl Pipeline {
    /// Starts the workers; `build` gives none when the flag that it is given was raised meanwhile.
    pub(super) fn start(
        [workers, queue]: [usize; 2],
        first_step: u64,
        plan: impl FnMut(u64) -> Option<Vec<usize>> + Send + 'static,
        build: impl Fn(u64, Vec<usize>, &AtomicBool) -> Option<Built> + Send + Sync + 'static,
    ) -> Self {
        let state = State {
            plan: Box::new(plan),
            next: first_step,
            deliver: first_step,
            built: BTreeMap::new(),
            ended: false,
            died: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            room: Condvar::new(),
            ready: Condvar::new(),
            queue: queue.max(workers) as u64,
            closed: AtomicBool::new(false),
        });
        let build = Arc::new(build);
        let workers = (0..workers)
            .map(|_| {
                let (shared, build) = (Arc::clone(&shared), Arc::clone(&build));
                thread::spawn(move || work(&shared, &*build))
            })
            .collect();
        Self { shared, workers, deliver: first_step }
    }

    /// The step that [`receive`](Self::receive) waits for.
    pub(super) fn step(&self) -> u64 {
        self.deliver
    }

    pub(super) fn receive(&mut self) -> Delivery {
        let mut state = self.shared.lock();
        loop {
            if let Some(built) = state.built.remove(&self.deliver) {
                self.deliver += 1;
                state.deliver = self.deliver;
                self.shared.room.notify_all();
                return Delivery::Built(Box::new(built));
            }
            if state.ended && self.deliver >= state.next {
                return Delivery::End;
            }
            if state.died {
                return Delivery::Died;
            }
            state = self.shared.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        {
            // Under the lock: a worker that has read the flag is waiting already.
            let _state = self.shared.lock();
            self.shared.closed.store(true, Ordering::Relaxed);
        }
        self.shared.room.notify_all();
        for worker in self.workers.drain(..) {
            // A panic was reported by `receive`.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The state is whole after a panic: it is changed by single assignments only.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and takes the next step; none when the worker shall end.
    fn take(&self) -> Option<(u64, Vec<usize>)> {
        let mut state = self.lock();
        let closed = || self.closed.load(Ordering::Relaxed);
        while !closed() && !state.ended && state.next >= state.deliver + self.queue {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if closed() || state.ended {
            return None;
        }
        let step = state.next;
        let Some(indices) = (state.plan)(step) else {
            state.ended = true;
            self.room.notify_all();
            self.ready.notify_all();
            return None;
        };
        state.next += 1;
        Some((step, indices))
    }
}

fn work(shared: &Shared, build: Build) {
    let _report = ReportPanic(shared);
    while let Some((step, indices)) = shared.take() {
        let Some(built) = build(step, indices, &shared.closed) else { return };
        shared.lock().built.insert(step, built);
        shared.ready.notify_all();
    }
}

/// Tells the receiver of a worker's panic, which would wait forever otherwise.
struct ReportPanic<'a>(&'a Shared);

impl Drop for ReportPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.lock().died = true;
            self.0.ready.notify_all();
        }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("deliver", &self.deliver).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn built(step: u64) -> Built {
        Built { batch: Err(Error::config("step", step, "")), broken: Vec::new() }
    }

    #[test]
    fn a_panic_of_a_worker_reaches_the_receiver() {
        let build = |step, _, _: &AtomicBool| {
            if step == 2 { panic!("on purpose") } else { Some(built(step)) }
        };
        let mut pipeline = Pipeline::start([1, 1], 0, |_| Some(Vec::new()), build);
        assert!(matches!(pipeline.receive(), Delivery::Built(_)));
        assert!(matches!(pipeline.receive(), Delivery::Built(_)));
        assert!(matches!(pipeline.receive(), Delivery::Died));
    }

    #[test]
    fn steps_come_in_order_to_the_end() {
        let plan = |step| (step < 20).then(Vec::new);
        let mut pipeline = Pipeline::start([3, 5], 4, plan, |step, _, _| Some(built(step)));
        for step in 4..20 {
            assert_eq!(pipeline.step(), step);
            let Delivery::Built(built) = pipeline.receive() else { panic!("step {step}") };
            assert!(built.batch.unwrap_err().to_string().contains(&format!("step is {step};")));
        }
        assert!(matches!(pipeline.receive(), Delivery::End));
    }

    #[test]
    fn no_more_steps_are_begun_than_the_queue_holds() {
        let begun = Arc::new(Mutex::new(0));
        let count = Arc::clone(&begun);
        let build = move |step: u64, _, _: &AtomicBool| {
            let mut begun = count.lock().unwrap();
            *begun = step.max(*begun);
            Some(built(step))
        };
        let mut pipeline = Pipeline::start([2, 3], 0, |_| Some(Vec::new()), build);
        for step in 0..50 {
            // Steps up to step + 2 may have been begun before this one is taken.
            assert!(*begun.lock().unwrap() <= step + 2);
            pipeline.receive();
        }
    }
    #[test]
    fn dropping_gives_up_the_step_in_the_making() {
        let begun = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&begun);
        let build = move |_, _, closed: &AtomicBool| {
            told.store(true, Ordering::Relaxed);
            while !closed.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            None
        };
        let pipeline = Pipeline::start([1, 1], 0, |_| Some(Vec::new()), build);
        while !begun.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        // Returns although the step would never be done.
        drop(pipeline);
    }
}
