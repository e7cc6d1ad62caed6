//! What one query may cost, and how many run at once. Each limit has a name that its error tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::QueryError;
use crate::model::Cell;

/// Most series of one selector, over all the metrics that it means.
pub(super) const SELECTOR_SERIES_MAX: usize = 200_000;

/// Bounds on reading.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries evaluated at once.
    pub concurrent: usize,
    /// Queries that wait for their turn.
    pub waiting: usize,
    /// How long a query may take, its waiting among it.
    pub deadline: Duration,
    /// Most series of one query.
    pub series: usize,
    /// Most bytes of windows that one query may hold.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrent: 8, waiting: 64, deadline: Duration::from_secs(10), series: 500_000, bytes: 512 << 20 }
    }
}

/// What one query has taken, and may take.
#[derive(Clone, Debug)]
pub struct Budget {
    series: (usize, usize),
    bytes: (usize, usize),
}

impl Budget {
    /// All of `limits`.
    #[must_use]
    pub const fn new(limits: &Limits) -> Self {
        Self { series: (0, limits.series), bytes: (0, limits.bytes) }
    }

    /// Takes the series of one selector.
    pub(super) fn take_series(&mut self, n: usize) -> Result<(), QueryError> {
        if n > SELECTOR_SERIES_MAX {
            let text = format!("{n} series > limit of {SELECTOR_SERIES_MAX} of one selector: narrow it by labels");
            return Err(QueryError::Limit(text));
        }
        self.series.0 += n;
        let (taken, most) = self.series;
        if taken > most {
            return Err(QueryError::Limit(format!(
                "{taken} series > limit query_series of {most}: narrow the selectors"
            )));
        }
        Ok(())
    }

    /// Takes room for one window.
    pub(super) fn take_window(&mut self, cell: &Cell) -> Result<(), QueryError> {
        self.take_bytes(cell.bytes())
    }

    /// Takes room for windows.
    pub(super) fn take_bytes(&mut self, n: usize) -> Result<(), QueryError> {
        self.bytes.0 = self.bytes.0.saturating_add(n);
        let (taken, most) = self.bytes;
        if taken > most {
            let text =
                format!("{taken} bytes of windows > limit query_bytes of {most}: narrow the selectors or the range");
            return Err(QueryError::Limit(text));
        }
        Ok(())
    }

    /// `(series, bytes)` taken so far.
    pub(super) const fn taken(&self) -> (usize, usize) {
        (self.series.0, self.bytes.0)
    }
}

/// Lets a few queries in, keeps some waiting, and sends the rest away.
pub(super) struct Gate {
    limits: Limits,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The right of one query to run, until its deadline.
pub(super) struct Pass {
    _permit: Option<OwnedSemaphorePermit>,
    until: Instant,
    deadline: Duration,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, running: Arc::new(Semaphore::new(limits.concurrent)), waiting: AtomicUsize::new(0) }
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// `(running, waiting)`.
    pub(super) fn load(&self) -> (usize, usize) {
        let running = self.limits.concurrent.saturating_sub(self.running.available_permits());
        (running, self.waiting.load(Ordering::Relaxed))
    }

    /// For work that is bounded by its maker and must not wait behind others'.
    pub(super) fn enter_first(&self) -> Pass {
        Pass { _permit: None, until: Instant::now() + self.limits.deadline, deadline: self.limits.deadline }
    }

    pub(super) async fn enter(&self) -> Result<Pass, QueryError> {
        let (until, deadline) = (Instant::now() + self.limits.deadline, self.limits.deadline);
        let pass = |permit| Pass { _permit: Some(permit), until, deadline };
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(pass(permit));
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.limits.waiting {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(QueryError::Busy(self.limits.waiting));
        }
        let waiting = Waiting(&self.waiting);
        let permit = tokio::time::timeout_at(until, Arc::clone(&self.running).acquire_owned()).await;
        drop(waiting);
        // The semaphore is never closed.
        permit.ok().and_then(Result::ok).map(pass).ok_or(QueryError::Deadline(deadline))
    }
}

/// Counts a query as waiting, also when its asker leaves.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pass {
    /// Runs `work` until the deadline.
    pub(super) async fn within<T>(&self, work: impl Future<Output = Result<T, QueryError>>) -> Result<T, QueryError> {
        tokio::time::timeout_at(self.until, work).await.unwrap_or(Err(QueryError::Deadline(self.deadline)))
    }

    /// A flag that is raised at the deadline, for work that does not wait.
    pub(super) fn alarm(&self) -> Alarm {
        let (flag, until) = (Arc::<AtomicBool>::default(), self.until);
        let raised = Arc::clone(&flag);
        let timer = tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            raised.store(true, Ordering::Relaxed);
        });
        Alarm { flag, timer, deadline: self.deadline }
    }
}

/// See [`Pass::alarm`].
pub(super) struct Alarm {
    flag: Arc<AtomicBool>,
    timer: tokio::task::JoinHandle<()>,
    deadline: Duration,
}

impl Alarm {
    /// Raised once it is too late.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.flag
    }

    /// What to say then.
    pub(super) const fn deadline(&self) -> Duration {
        self.deadline
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { concurrent: 1, waiting: 1, deadline: Duration::from_millis(50), series: 3, bytes: 100 }
    }

    #[tokio::test]
    async fn one_runs_one_waits_and_the_next_is_sent_away() {
        let gate = Gate::new(limits());
        let first = gate.enter().await.expect("room");
        let (second, third) = tokio::join!(gate.enter(), gate.enter());
        assert!(matches!(second, Err(QueryError::Deadline(_))));
        assert!(matches!(third, Err(QueryError::Busy(1))));
        assert_eq!(gate.load(), (1, 0));
        drop(first);
        assert!(gate.enter().await.is_ok());
    }

    #[tokio::test]
    async fn what_takes_too_long_is_stopped() {
        let pass = Gate::new(limits()).enter().await.expect("room");
        let alarm = pass.alarm();
        assert!(matches!(pass.within(std::future::pending::<Result<(), _>>()).await, Err(QueryError::Deadline(_))));
        while !alarm.flag().load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn a_budget_names_the_limit_that_was_passed() {
        let mut budget = Budget::new(&limits());
        assert!(budget.take_series(3).is_ok());
        let said = |result: Result<(), QueryError>| result.expect_err("over the limit").to_string();
        assert!(said(budget.take_series(1)).contains("limit query_series of 3"));
        assert!(said(budget.take_series(SELECTOR_SERIES_MAX + 1)).contains("of one selector"));
        assert!(budget.take_window(&Cell::Stale).is_ok());
        assert!(said(budget.take_bytes(100)).contains("limit query_bytes of 100"));
    }
}
