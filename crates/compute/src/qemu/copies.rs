//! Long copies under way, so that whoever undoes one can cut it short instead of waiting for it.
//!
//! Must not know: what is copied, and how.

use bulut_model::{OperationId, ServerId, SnapshotId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a copy makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Making {
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A disk beside a machine's own.
    Stage(ServerId, OperationId),
}

type UnderWay = HashMap<Making, (CancellationToken, watch::Receiver<()>)>;

/// The copies of one node.
#[derive(Debug, Default)]
pub struct Copies(Mutex<UnderWay>);

impl Copies {
    /// Says that a copy begins; it ends when the guard is dropped.
    pub fn begin(self: &Arc<Self>, making: Making) -> Copying {
        let cut = CancellationToken::new();
        let (end, ended) = watch::channel(());
        self.locked().insert(making, (cut.clone(), ended));
        Copying { copies: Arc::clone(self), making, cut, _end: end }
    }

    /// Tells the copy to end, and returns once it has; at once when there is none.
    pub async fn cut_short(&self, making: Making) {
        let found = self.locked().get(&making).cloned();
        let Some((cut, mut ended)) = found else { return };
        cut.cancel();
        // Nothing is ever sent: the channel's end is the copy's.
        while ended.changed().await.is_ok() {}
    }

    fn locked(&self) -> MutexGuard<'_, UnderWay> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy under way.
#[derive(Debug)]
pub struct Copying {
    copies: Arc<Copies>,
    making: Making,
    /// Cancelled when the copy is not wanted any more.
    pub cut: CancellationToken,
    _end: watch::Sender<()>,
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.copies.locked().remove(&self.making);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn cutting_short_waits_for_the_end_of_that_copy_and_no_other() {
        let copies = Arc::new(Copies::default());
        let (one, two) = (Making::Snapshot(SnapshotId(1)), Making::Stage(ServerId(1), OperationId(1)));
        let (first, second) = (copies.begin(one), copies.begin(two));
        let cutting = tokio::spawn({
            let copies = Arc::clone(&copies);
            async move { copies.cut_short(one).await }
        });
        tokio::time::timeout(Duration::from_secs(5), first.cut.cancelled()).await.unwrap();
        assert!(!second.cut.is_cancelled());
        assert!(!cutting.is_finished(), "it did not wait");
        drop(first);
        tokio::time::timeout(Duration::from_secs(5), cutting).await.unwrap().unwrap();
        copies.cut_short(one).await;
    }
}
