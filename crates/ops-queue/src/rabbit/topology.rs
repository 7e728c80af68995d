//! The broker's queues: one for each queue of tasks.
//!
//! Quorum queues survive the loss of a node. A queue holds few messages and drops the oldest beyond the limit: all
//! messages are equal.

use std::fmt;

use lapin::{
    Channel, Connection, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPSoftError},
    types::{AMQPValue, FieldTable},
};

/// The most messages in a queue. Waiting workers take messages at once, so messages stay only while no worker has a
/// free slot.
const MAX_MESSAGES: i64 = 64;
/// The longest name in AMQP, in bytes.
const MAX_NAME_BYTES: usize = 255;
const PREFIX: &str = "opspawn.";

/// The broker's queue for a queue of tasks; `None` if the name is too long for AMQP.
pub(super) fn name(queue: &str) -> Option<String> {
    let name = format!("{PREFIX}{queue}");
    (name.len() <= MAX_NAME_BYTES).then_some(name)
}

fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert(
        "x-queue-type".into(),
        AMQPValue::LongString("quorum".into()),
    );
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MAX_MESSAGES));
    arguments
}

/// Why a queue cannot be declared.
#[derive(Debug)]
pub(super) enum DeclareError {
    /// The broker refuses the queue: another try fails until a person mends the queue.
    Refused(String),
    /// The connection failed.
    Failed(lapin::Error),
}

impl fmt::Display for DeclareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) => f.write_str(text),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// Declares the broker's queue for a queue of tasks, on a channel of its own: a refusal closes the channel.
pub(super) async fn declare(connection: &Connection, queue: &str) -> Result<(), DeclareError> {
    let Some(name) = name(queue) else {
        let text = format!(
            "the queue `{queue}` has a name that AMQP has no room for ({MAX_NAME_BYTES} bytes with `{PREFIX}`); its \
             workers find work through the database, later. Give the queue a shorter name"
        );
        return Err(DeclareError::Refused(text));
    };
    let channel: Channel = connection
        .create_channel()
        .await
        .map_err(DeclareError::Failed)?;
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel
        .queue_declare(name.as_str().into(), options, arguments())
        .await;
    match declared {
        Ok(_) => {
            // What matters is done: the channel ends with the connection as well.
            let _ = channel.close(200, "declared".into()).await;
            Ok(())
        }
        Err(error) => Err(refused(&name, error)),
    }
}

fn refused(name: &str, error: lapin::Error) -> DeclareError {
    let ErrorKind::ProtocolError(said) = error.kind() else {
        return DeclareError::Failed(error);
    };
    let reason = said.get_message().as_str();
    match said.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => {
            DeclareError::Refused(other_arguments(name, reason))
        }
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => DeclareError::Refused(format!(
            "the broker does not let this user declare `{name}` ({reason}). Give the user the right to configure, \
             write and read `{PREFIX}*`, and to write to `amq.default`: `rabbitmqctl set_permissions -p VHOST USER \
             '^opspawn\\.' '^(amq\\.default$|opspawn\\.)' '^opspawn\\.'`"
        )),
        AMQPErrorKind::Soft(_) => {
            DeclareError::Refused(format!("the broker refuses to declare `{name}`: {reason}"))
        }
        AMQPErrorKind::Hard(_) => DeclareError::Failed(error),
    }
}

/// Names the differing argument, from a text like `PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue
/// 'opspawn.default' in vhost '/': received the value 'quorum' of type 'longstr' but current is none`.
fn other_arguments(name: &str, reason: &str) -> String {
    let remedy = format!(
        "Workers find work through the database meanwhile, later. Stop whoever else uses `{name}` and delete it \
         (`rabbitmqctl delete_queue {name}`), or give Opspawn a virtual host of its own; the queue is declared \
         again within a minute"
    );
    let argument = between(reason, "inequivalent arg '", "'");
    let values = reason.split_once(": received ").map(|(_, values)| values);
    let values = values.and_then(|values| values.split_once(" but current is "));
    match (argument, values) {
        (Some(argument), Some((ours, theirs))) => format!(
            "the broker's queue `{name}` was declared with other arguments: `{argument}` is {}, and Opspawn needs {}. \
             {remedy}",
            plain(theirs),
            plain(ours)
        ),
        _ => format!(
            "the broker's queue `{name}` was declared with other arguments: {reason}. {remedy}"
        ),
    }
}

/// A value in the broker's words: `the value 'quorum' of type 'longstr'`, `'true'` or `none`.
fn plain(told: &str) -> String {
    match between(told, "'", "'") {
        Some(value) => format!("`{value}`"),
        None => told.trim().to_owned(),
    }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_with_other_arguments_is_told_with_both_values_and_a_remedy() {
        for (reason, expected) in [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'opspawn.default' in vhost '/': \
                 received the value 'quorum' of type 'longstr' but current is none",
                "`x-queue-type` is none, and Opspawn needs `quorum`",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'opspawn.default' in vhost '/': received \
                 'true' but current is 'false'",
                "`durable` is `false`, and Opspawn needs `true`",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'opspawn.default' in vhost '/': \
                 received the value '64' of type 'signedint' but current is the value '5' of type 'signedint'",
                "`x-max-length` is `5`, and Opspawn needs `64`",
            ),
            ("PRECONDITION_FAILED - something else", "something else"),
        ] {
            let told = other_arguments("opspawn.default", reason);
            assert!(told.contains(expected), "{told}");
            assert!(
                told.contains("rabbitmqctl delete_queue opspawn.default"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_name_without_room_is_refused() {
        assert_eq!(name("default").as_deref(), Some("opspawn.default"));
        assert_eq!(name(&"q".repeat(250)), None);
    }
}
