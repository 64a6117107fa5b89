//! Keeping objects while a backup is made: rows age, but what the saved facts name stays in the store.

use std::path::Path;
use std::time::Duration;

use crate::transfer::{Result, Stores};

/// How long objects are kept after the last sign of life of a backup.
const HOLD: Duration = Duration::from_mins(10);

/// How often the hold is made anew.
const RENEWAL: Duration = Duration::from_mins(2);

/// Does `work` while no object goes. A hold that cannot be renewed ends the work: what it still has to read may be gone.
pub(super) async fn during<T>(stores: &Stores, dir: &Path, work: impl Future<Output = Result<T>>) -> Result<T> {
    let name = format!("backup {}", dir.display());
    hold(stores, &name).await?;
    let renew = async {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = hold(stores, &name).await {
                return error;
            }
        }
    };
    let ended = tokio::select! {
        ended = work => ended,
        error = renew => Err(error),
    };
    if let Err(error) = stores.metadata.purge_release(&name).await {
        tracing::warn!(%error, "the hold of the backup stays until it ends by itself");
    }
    ended
}

async fn hold(stores: &Stores, name: &str) -> Result<()> {
    Ok(stores.metadata.purge_hold(name, stores.clock.now().after(HOLD)).await?)
}
