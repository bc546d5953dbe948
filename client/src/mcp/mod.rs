//! `resemble mcp`: the library for an assistant, by the Model Context Protocol.
//!
//! JSON-RPC messages come in on the standard input, a line each, and answers go out on the standard output, where nothing else
//! is ever printed. What the tools answer is the daemon's, asked as the other commands ask it, anew for each call: a daemon that
//! is away costs the calls that are made meanwhile, and no more. Nothing is changed by any tool.
//!
//! | file | what |
//! | --- | --- |
//! | [`input`] | lines, of which none is too long |
//! | [`message`] | requests and answers, as JSON-RPC has them |
//! | [`protocol`] | what is asked of a server, in the revisions of the protocol |
//! | [`tools`] | which tools there are, and what they take |
//! | [`asking`] | what a call asks for: filters, pictures |
//! | [`calls`] | what the tools do |
//!
//! The protocol is two dozen lines of JSON; its own crate `rmcp`, without default features, would bring 25 more crates for them.

mod asking;
mod calls;
mod input;
mod message;
mod protocol;
mod tools;

use std::sync::Arc;

use serde_json::Value;
use tokio::task::{AbortHandle, JoinSet};

use self::input::Line;
use self::message::{Incoming, Refusal};
use crate::Answer;
use crate::cli::Target;
use crate::output;

/// Messages that are answered at a time; more wait in the pipe.
const MOST_AT_A_TIME: usize = 16;

/// Answers until the input ends and all that was asked is answered.
pub(crate) async fn mcp(target: &Target) -> anyhow::Result<Answer> {
    let mut lines = input::lines()?;
    let mut running = Running { target: Arc::new(target.clone()), tasks: JoinSet::new(), ids: Vec::new() };
    loop {
        tokio::select! {
            line = lines.recv(), if running.tasks.len() < MOST_AT_A_TIME => match line {
                Some(line) => running.take(line?)?,
                None => break,
            },
            Some(answer) = running.next() => send(answer)?,
        }
    }
    while let Some(answer) = running.next().await {
        send(answer)?;
    }
    Ok(Answer::Found)
}

fn send(answer: Option<Value>) -> anyhow::Result<()> {
    answer.map_or(Ok(()), output::line)
}

/// Messages that are being answered.
struct Running {
    target: Arc<Target>,
    tasks: JoinSet<Option<Value>>,
    /// Of each the id of the request; null of several in one message.
    ids: Vec<(AbortHandle, Value)>,
}

impl Running {
    /// Begins to answer a message. What is none is refused at once.
    fn take(&mut self, line: Line) -> anyhow::Result<()> {
        let text = match line {
            Line::Whole(text) => text,
            Line::TooLong => {
                let refusal = Refusal::new(message::INVALID_REQUEST, "the message is too long");
                return output::line(message::refused(Value::Null, refusal));
            }
        };
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        match serde_json::from_slice(&text) {
            Ok(Value::Array(batch)) => self.take_batch(batch),
            Ok(message) => match message::read(message) {
                Ok(Incoming::Request(request)) => {
                    let (id, target) = (request.id.clone(), Arc::clone(&self.target));
                    let task =
                        self.tasks.spawn(async move { Some(protocol::answer(&target, request).await) });
                    self.ids.push((task, id));
                    Ok(())
                }
                Ok(Incoming::Cancellation(id)) => {
                    let cancelled = self.ids.iter().filter(|(_, running)| *running == id);
                    cancelled.for_each(|(task, _)| task.abort());
                    Ok(())
                }
                Ok(Incoming::Other) => Ok(()),
                Err((id, refusal)) => output::line(message::refused(id, refusal)),
            },
            Err(error) => {
                let refusal =
                    Refusal::new(message::NOT_JSON, format!("a message is JSON on a line: {error}"));
                output::line(message::refused(Value::Null, refusal))
            }
        }
    }

    /// Begins to answer several messages in one, as the revision of March 2025 has them.
    fn take_batch(&mut self, batch: Vec<Value>) -> anyhow::Result<()> {
        if batch.is_empty() {
            let refusal = Refusal::new(message::INVALID_REQUEST, "there is no message in the list");
            return output::line(message::refused(Value::Null, refusal));
        }
        let target = Arc::clone(&self.target);
        let task = self.tasks.spawn(async move {
            let mut answers = Vec::new();
            for message in batch {
                match message::read(message) {
                    Ok(Incoming::Request(request)) => answers.push(protocol::answer(&target, request).await),
                    Ok(Incoming::Cancellation(_) | Incoming::Other) => {}
                    Err((id, refusal)) => answers.push(message::refused(id, refusal)),
                }
            }
            (!answers.is_empty()).then_some(Value::Array(answers))
        });
        self.ids.push((task, Value::Null));
        Ok(())
    }

    /// Waits for an answer; nothing is said to a cancelled request. `None` where none is being made.
    async fn next(&mut self) -> Option<Option<Value>> {
        let ended = self.tasks.join_next_with_id().await?;
        let task = match &ended {
            Ok((task, _)) => *task,
            Err(error) => error.id(),
        };
        let place = self.ids.iter().position(|(running, _)| running.id() == task);
        let id = place.map_or(Value::Null, |place| self.ids.swap_remove(place).1);
        Some(match ended {
            Ok((_, answer)) => answer,
            Err(error) if error.is_cancelled() => None,
            Err(error) => Some(message::refused(id, Refusal::new(message::INTERNAL, error.to_string()))),
        })
    }
}
