//! The places that a server of models has, the short queue before them, and its circuit.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use super::{
    circuit::{Circuit, Ended, Pass},
    failure::unavailable,
};
use crate::{config::Ai, error::Result};

/// What all models on one server share. Places go to those who wait in their order.
#[derive(Debug)]
pub(super) struct Server {
    places: Arc<Semaphore>,
    queue: Semaphore,
    wait: Duration,
    circuit: Mutex<Circuit>,
}

impl Server {
    pub fn new(ai: &Ai) -> Self {
        let count = |number: u32| usize::try_from(number).expect("a usize has 32 bits at least");
        Self {
            places: Arc::new(Semaphore::new(count(ai.calls_at_once))),
            queue: Semaphore::new(count(ai.calls_waiting)),
            wait: ai.wait,
            circuit: Mutex::default(),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` where the queue is full, the wait too long, or the circuit open.
    pub async fn enter(self: &Arc<Self>) -> Result<Place> {
        const PAUSED: &str = "the model's server has failed several times, and is left alone for a moment";
        // Not into the queue only to be refused at its end.
        if let Some(wait) = self.circuit().closed_for(Instant::now()) {
            return Err(unavailable(PAUSED, wait));
        }
        let permit = match Arc::clone(&self.places).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queue().await?,
        };
        let admitted = self.circuit().admit(Instant::now());
        let pass = admitted.map_err(|wait| unavailable(PAUSED, wait))?;
        Ok(Place {
            server: Arc::clone(self),
            pass: Some(pass),
            _permit: permit,
        })
    }

    async fn queue(&self) -> Result<OwnedSemaphorePermit> {
        const BUSY: &str = "the model has too much to do";
        // By then, those who wait now have got a place or given up.
        let busy = || unavailable(BUSY, self.wait);
        let _waiting = self.queue.try_acquire().map_err(|_| busy())?;
        let place = timeout(self.wait, Arc::clone(&self.places).acquire_owned()).await;
        Ok(place.map_err(|_| busy())?.expect("nobody closes the semaphore"))
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().expect("nothing panics while it holds the circuit")
    }
}

/// A call's place at its server. Dropping it gives the place back; a call whose end was not told has lost its caller.
#[derive(Debug)]
pub(super) struct Place {
    server: Arc<Server>,
    pass: Option<Pass>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// The server has begun to answer.
    pub fn begun(&mut self) {
        if let Some(pass) = &mut self.pass {
            self.server.circuit().begun(pass);
        }
    }

    /// The call has ended.
    pub fn ended(mut self, how: Ended) {
        self.tell(how);
    }

    fn tell(&mut self, how: Ended) {
        if let Some(pass) = self.pass.take() {
            self.server.circuit().ended(pass, how, Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tell(Ended::Left);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{join_all, poll_immediate};

    use super::{
        super::circuit::{FAILURES, PAUSE},
        *,
    };
    use crate::error::Kind;

    const SECONDS: Duration = Duration::from_secs(7);

    fn server(calls_at_once: u32, calls_waiting: u32, wait: Duration) -> Arc<Server> {
        let mut ai = Ai::default();
        ai.calls_at_once = calls_at_once;
        ai.calls_waiting = calls_waiting;
        ai.wait = wait;
        Arc::new(Server::new(&ai))
    }

    #[tokio::test]
    async fn beyond_its_places_and_its_queue_a_server_refuses_at_once() {
        let server = server(2, 1, SECONDS);
        let first = server.enter().await.unwrap();
        let _second = server.enter().await.unwrap();
        let mut third = Box::pin(server.enter());
        assert!(poll_immediate(&mut third).await.is_none(), "it waits");
        let refused = poll_immediate(server.enter()).await.expect("no wait").unwrap_err();
        assert_eq!((refused.kind(), refused.retry_after()), (Kind::Unavailable, Some(7)));
        drop(first);
        third.await.unwrap();
    }

    #[tokio::test]
    async fn who_waits_too_long_is_refused_and_frees_the_queue() {
        let server = server(1, 1, Duration::from_millis(10));
        let held = server.enter().await.unwrap();
        for _ in 0..2 {
            assert_eq!(server.enter().await.unwrap_err().kind(), Kind::Unavailable);
        }
        // One who goes away while waiting frees it too.
        assert!(poll_immediate(server.enter()).await.is_none());
        let mut waiting = Box::pin(server.enter());
        assert!(poll_immediate(&mut waiting).await.is_none());
        drop(held);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn places_are_given_in_order() {
        let server = server(1, 3, SECONDS);
        let order = Mutex::new(Vec::new());
        let held = server.enter().await.unwrap();
        let calls = (0..3).map(|n| {
            let (server, order) = (&server, &order);
            async move {
                let place = server.enter().await.unwrap();
                order.lock().unwrap().push(n);
                drop(place);
            }
        });
        let mut calls = Box::pin(join_all(calls));
        assert!(poll_immediate(&mut calls).await.is_none());
        drop(held);
        calls.await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
    }

    #[tokio::test]
    async fn failures_close_the_door_until_one_call_has_tried() {
        let server = server(4, 4, SECONDS);
        for _ in 0..FAILURES {
            server.enter().await.unwrap().ended(Ended::Failed);
        }
        let refused = server.enter().await.unwrap_err();
        assert_eq!((refused.kind(), refused.retry_after()), (Kind::Unavailable, Some(15)));
    }

    #[tokio::test]
    async fn after_the_pause_one_call_tries_and_whoever_leaves_makes_room() {
        let server = server(4, 4, SECONDS);
        let long_ago = Instant::now() - PAUSE;
        for _ in 0..FAILURES {
            let pass = server.enter().await.unwrap().pass.take().unwrap();
            server.circuit().ended(pass, Ended::Failed, long_ago);
        }
        let trying = server.enter().await.unwrap();
        assert_eq!(server.enter().await.unwrap_err().kind(), Kind::Unavailable);
        drop(trying); // its caller has left
        let mut trying = server.enter().await.unwrap();
        assert_eq!(server.enter().await.unwrap_err().kind(), Kind::Unavailable);
        trying.begun();
        let other = server.enter().await.unwrap();
        other.ended(Ended::Answered);
        trying.ended(Ended::Answered);
    }

    #[tokio::test]
    async fn who_waits_while_the_circuit_opens_is_refused() {
        let server = server(1, 1, SECONDS);
        for _ in 1..FAILURES {
            server.enter().await.unwrap().ended(Ended::Failed);
        }
        let last = server.enter().await.unwrap();
        let mut waiting = Box::pin(server.enter());
        assert!(poll_immediate(&mut waiting).await.is_none());
        last.ended(Ended::Failed);
        assert_eq!(waiting.await.unwrap_err().retry_after(), Some(15));
    }
}
