//! An answer that is on its way to someone who listens: what has come of it waits here until they take it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use tokio::{sync::Notify, task::AbortHandle};
use tracing::Instrument;

use super::generation::{Generated, Prepared};
use crate::{
    error::{Error, Result},
    gate::Permit,
};

/// An answer on its way. Dropped before it is done, it ends and nothing is kept.
pub struct Answering {
    permit: Permit,
    state: Arc<Mutex<State>>,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    /// What has come since it was last taken. However slow the listener is, it is no more than the answer.
    text: String,
    done: Option<Result<Generated>>,
}

/// What has come of an answer.
#[derive(Debug)]
pub enum Step {
    /// More of its text.
    Text(String),
    /// It was kept: this is the last step.
    Done(Box<Generated>),
}

impl Answering {
    /// Begins, for the permit's caller; `wake` is rung when there is something to take.
    pub fn start(prepared: Prepared, permit: &Permit, wake: &Arc<Notify>) -> Answering {
        let state = Arc::<Mutex<State>>::default();
        let task = tokio::spawn({
            let (state, wake) = (state.clone(), wake.clone());
            let run = async move {
                let mut on_text = |text: &str| {
                    lock(&state).text.push_str(text);
                    wake.notify_one();
                };
                let running = std::panic::AssertUnwindSafe(prepared.run(&mut on_text));
                let done = running
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| Err(Error::internal("making an answer panicked")));
                lock(&state).done = Some(done);
                wake.notify_one();
            };
            run.in_current_span()
        });
        Answering {
            permit: permit.clone(),
            state,
            task: task.abort_handle(),
        }
    }

    /// Whose answer it is.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// The next step that is there; none for now.
    ///
    /// # Errors
    ///
    /// What the answer failed with, once.
    pub fn take(&self) -> Result<Option<Step>> {
        let mut state = lock(&self.state);
        if !state.text.is_empty() {
            return Ok(Some(Step::Text(std::mem::take(&mut state.text))));
        }
        match state.done.take() {
            Some(done) => done.map(|generated| Some(Step::Done(Box::new(generated)))),
            None => Ok(None),
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
