//! A task that works until it is told to end, and is then waited for.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The task, and how it is told.
pub(super) struct Told {
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Told {
    /// Begins `work`, which ends soon after its token is cancelled.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(work: impl FnOnce(CancellationToken) -> F) -> Self {
        let end = CancellationToken::new();
        let task = tokio::spawn(work(end.clone()));
        Self { end, task }
    }

    /// Tells it to end, and waits until it has.
    pub(super) async fn end(self) {
        self.end.cancel();
        let _ended = self.task.await;
    }
}
