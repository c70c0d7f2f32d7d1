//! The doorbell of one node: a channel.

use tokio::sync::broadcast;
use uuid::Uuid;

/// How many rings a listener may be behind before it misses some: a second of a busy node.
const CAPACITY: usize = 4_096;

/// Rings in this process.
#[derive(Clone, Debug)]
pub struct Memory(broadcast::Sender<Uuid>);

impl Memory {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }

    pub(super) fn ring(&self, subject: Uuid) {
        // Fails where nobody listens, which is nobody's loss.
        let _ = self.0.send(subject);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Uuid> {
        self.0.subscribe()
    }
}
